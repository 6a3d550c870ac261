//! The bearer token that requests carry: none, one that was given, or what a command prints.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::process::Command;
use tokio::sync::Mutex;

use super::trace::Secrets;

/// After how long the command is run again, also if nobody has refused its token.
const RENEWED_AFTER: Duration = Duration::from_secs(180);
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// Where the token comes from. It has no `Debug`.
pub enum TokenSource {
    /// The hub needs none.
    None,
    /// This one.
    Given(String),
    /// The standard output of `sh -c` with this.
    Command(String),
}

/// The token at hand.
pub struct Token {
    source: TokenSource,
    secrets: Secrets,
    held: Mutex<Option<(String, Instant)>>,
}

impl Token {
    /// The token from `source`, hidden by `secrets` in all that is printed. A command is run now.
    pub async fn from(source: TokenSource, secrets: &Secrets) -> Result<Token> {
        if let TokenSource::Given(token) = &source {
            secrets.add(token);
        }
        let token = Token { source, secrets: secrets.clone(), held: Mutex::default() };
        token.get().await?;
        Ok(token)
    }

    /// The token; `None` if the hub needs none.
    pub async fn get(&self) -> Result<Option<String>> {
        match &self.source {
            TokenSource::None => Ok(None),
            TokenSource::Given(token) => Ok(Some(token.clone())),
            TokenSource::Command(command) => {
                let mut held = self.held.lock().await;
                if let Some((token, since)) = &*held
                    && since.elapsed() < RENEWED_AFTER
                {
                    return Ok(Some(token.clone()));
                }
                let token = printed_by(command).await?;
                self.secrets.add(&token);
                *held = Some((token.clone(), Instant::now()));
                Ok(Some(token))
            }
        }
    }

    /// Another token than `refused`; `None` if there is no other.
    pub async fn instead_of(&self, refused: &str) -> Result<Option<String>> {
        if !matches!(self.source, TokenSource::Command(_)) {
            return Ok(None);
        }
        {
            let mut held = self.held.lock().await;
            // Another check may have renewed it already.
            if held.as_ref().is_some_and(|(token, _)| token == refused) {
                *held = None;
            }
        }
        Ok(self.get().await?.filter(|token| token != refused))
    }
}

/// What the command prints, which is not shown in an error either: nor is what it says on standard error.
async fn printed_by(command: &str) -> Result<String> {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(COMMAND_TIMEOUT, shell.output())
        .await
        .with_context(|| format!("the token command did not end within {COMMAND_TIMEOUT:?}"))?
        .context("the token command cannot be run")?;
    if !output.status.success() {
        bail!("the token command failed ({})", output.status);
    }
    let token =
        String::from_utf8(output.stdout).context("the token command printed something else than text")?;
    let token = token.trim();
    if token.is_empty() || token.chars().any(|character| !character.is_ascii_graphic()) {
        bail!("the token command did not print one token");
    }
    Ok(token.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[tokio::test]
    async fn a_command_is_run_once_and_again_for_a_refused_token() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().display();
        let command = TokenSource::Command(format!("echo x >> {path}; echo token-$(wc -l < {path})"));
        let secrets = Secrets::default();
        let token = Token::from(command, &secrets).await.unwrap();
        assert_eq!(token.get().await.unwrap().as_deref(), Some("token-1"));
        assert_eq!(token.instead_of("token-1").await.unwrap().as_deref(), Some("token-2"));
        assert_eq!(token.instead_of("token-1").await.unwrap().as_deref(), Some("token-2"));
        assert_eq!(secrets.hide("token-1 token-2"), "[token] [token]");
    }

    #[tokio::test]
    async fn a_command_that_fails_is_an_error_that_shows_nothing_of_it() {
        for command in ["echo secret; exit 3", "echo secret >&2; false", "echo two secrets", "true"] {
            let error = Token::from(TokenSource::Command(command.to_owned()), &Secrets::default()).await;
            let error = format!("{:#}", error.err().unwrap());
            assert!(error.contains("token command") && !error.contains("secret"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_given_token_that_is_refused_has_no_other() {
        let secrets = Secrets::default();
        let token = Token::from(TokenSource::Given("abc".to_owned()), &secrets).await.unwrap();
        assert_eq!(token.instead_of("abc").await.unwrap(), None);
        assert_eq!(secrets.hide("abc"), "[token]");
    }
}
