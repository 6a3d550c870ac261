//! The bearer token that requests carry: none, one that was given, or what a command prints.
//!
//! A command is told by variables what the token is for: `FHIRCAST_SCOPE` are the scopes that are needed ([`SCOPES`], or
//! fewer), `FHIRCAST_TOPIC` the topic that the token is to be bound to, `FHIRCAST_EXPIRES_IN` the seconds of its life, and
//! `FHIRCAST_SUBJECT` its user; where one is not set, the command may do as it likes. Only a command that is said to heed
//! them is asked for narrow tokens.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::process::Command;
use tokio::sync::{Mutex, Semaphore};

use super::trace::Secrets;

/// After how long the command is run again, also if nobody has refused its token.
const RENEWED_AFTER: Duration = Duration::from_secs(180);
/// How many commands are run at once for narrow tokens.
const COMMANDS_AT_ONCE: usize = 4;
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// Where the token comes from. It has no `Debug`.
pub enum TokenSource {
    /// The hub needs none.
    None,
    /// This one.
    Given(String),
    /// The standard output of `sh -c` with this.
    Command {
        /// What is run.
        line: String,
        /// Whether it heeds the variables that it is given.
        narrows: bool,
    },
}

/// The scopes that the suite needs: it subscribes to everything, by wildcards too, and sends events of many names.
pub const SCOPES: &[&str] = &["fhircast/*.read", "fhircast/*.write"];

/// How a token is to be narrower than the usual one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Narrow {
    /// The scopes, with spaces between them; the usual ones if absent.
    pub scope: Option<String>,
    /// The topic that it is for.
    pub topic: Option<String>,
    /// Seconds until it ends.
    pub expires_in: Option<u64>,
    /// The user.
    pub subject: Option<String>,
}

impl Narrow {
    /// These scopes alone.
    pub fn scope(scopes: &str) -> Narrow {
        Narrow { scope: Some(scopes.to_owned()), ..Narrow::default() }
    }

    fn variables(&self) -> Vec<(&'static str, String)> {
        let scope = Some(self.scope.clone().unwrap_or_else(|| SCOPES.join(" ")));
        let expires_in = self.expires_in.map(|seconds| seconds.to_string());
        [
            ("FHIRCAST_SCOPE", scope),
            ("FHIRCAST_TOPIC", self.topic.clone()),
            ("FHIRCAST_EXPIRES_IN", expires_in),
            ("FHIRCAST_SUBJECT", self.subject.clone()),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }
}

/// The token at hand.
pub struct Token {
    source: TokenSource,
    secrets: Secrets,
    held: Mutex<Option<(String, Instant)>>,
    narrowing: Semaphore,
}

impl Token {
    /// The token from `source`, hidden by `secrets` in all that is printed. A command is run now.
    pub async fn from(source: TokenSource, secrets: &Secrets) -> Result<Token> {
        if let TokenSource::Given(token) = &source {
            secrets.add(token);
        }
        let token = Token {
            source,
            secrets: secrets.clone(),
            held: Mutex::default(),
            narrowing: Semaphore::new(COMMANDS_AT_ONCE),
        };
        token.get().await?;
        Ok(token)
    }

    /// The token; `None` if the hub needs none.
    pub async fn get(&self) -> Result<Option<String>> {
        match &self.source {
            TokenSource::None => Ok(None),
            TokenSource::Given(token) => Ok(Some(token.clone())),
            TokenSource::Command { line, .. } => {
                let mut held = self.held.lock().await;
                if let Some((token, since)) = &*held
                    && since.elapsed() < RENEWED_AFTER
                {
                    return Ok(Some(token.clone()));
                }
                let token = printed_by(line, &Narrow::default()).await?;
                self.secrets.add(&token);
                *held = Some((token.clone(), Instant::now()));
                Ok(Some(token))
            }
        }
    }

    /// Whether requests carry one.
    pub fn is_there(&self) -> bool {
        !matches!(self.source, TokenSource::None)
    }

    /// A token that is narrower than the usual one; `None` if there is nobody who makes such.
    pub async fn narrowed(&self, narrow: &Narrow) -> Result<Option<String>> {
        let TokenSource::Command { line, narrows: true } = &self.source else { return Ok(None) };
        // A machine on which the hub under test runs as well is not to be busy with commands.
        let _permit = self.narrowing.acquire().await?;
        let token = printed_by(line, narrow).await?;
        self.secrets.add(&token);
        Ok(Some(token))
    }

    /// Another token than `refused`; `None` if there is no other.
    pub async fn instead_of(&self, refused: &str) -> Result<Option<String>> {
        if !matches!(self.source, TokenSource::Command { .. }) {
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
async fn printed_by(command: &str, narrow: &Narrow) -> Result<String> {
    let mut shell = Command::new("sh");
    for name in ["FHIRCAST_SCOPE", "FHIRCAST_TOPIC", "FHIRCAST_EXPIRES_IN", "FHIRCAST_SUBJECT"] {
        shell.env_remove(name);
    }
    shell.envs(narrow.variables());
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

    fn command(line: &str, narrows: bool) -> TokenSource {
        TokenSource::Command { line: line.to_owned(), narrows }
    }

    #[tokio::test]
    async fn a_command_is_told_what_the_token_is_for_and_asked_for_narrow_ones_if_it_heeds_that() {
        let line = "echo $FHIRCAST_SCOPE,$FHIRCAST_TOPIC,$FHIRCAST_EXPIRES_IN,$FHIRCAST_SUBJECT | tr ' ' '+'";
        let narrow = Narrow {
            scope: Some("a b".to_owned()),
            topic: Some("t".to_owned()),
            expires_in: Some(60),
            subject: Some("u".to_owned()),
        };
        let token = Token::from(command(line, true), &Secrets::default()).await.unwrap();
        assert_eq!(token.get().await.unwrap().unwrap(), format!("{},,,", SCOPES.join("+")));
        assert_eq!(token.narrowed(&narrow).await.unwrap().unwrap(), "a+b,t,60,u");
        assert_eq!(token.narrowed(&Narrow::scope("c")).await.unwrap().unwrap(), "c,,,");
        let other = Token::from(command(line, false), &Secrets::default()).await.unwrap();
        assert_eq!(other.narrowed(&narrow).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_command_is_run_once_and_again_for_a_refused_token() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().display();
        let command = command(&format!("echo x >> {path}; echo token-$(wc -l < {path})"), false);
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
            let error = Token::from(self::command(command, false), &Secrets::default()).await;
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
