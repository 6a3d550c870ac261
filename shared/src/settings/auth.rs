//! Who may do what: the settings of tokens, and what they say about each other.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::{Host, Url};

use super::tree::settings;
use super::values::{AuthMode, Password, at_least, between};

settings! {
    /// Who may do what.
    pub struct Auth {
        /// How the hub knows who is asking: "jwt" (it verifies signed tokens), "introspection" (it asks the authorization
        /// server) or "off" (it does not know, and everyone may do everything).
        mode: AuthMode = AuthMode::Off;
        /// The authorization server, exactly as tokens name it in iss.
        issuer: Option<String> = None, some_text;
        /// Names of this hub; a token must be for one of them (aud).
        audience: Vec<String> = Vec::new(), some_texts;
        /// The keys of the authorization server: the https URL of its JWKS (http on this machine only), or the path of a file.
        jwks: Option<KeySource> = None;
        /// Seconds after which the keys are read anew.
        jwks_refresh_secs: u64 = 300, between(1, 86_400);
        /// Seconds that pass between two readings of the keys because of tokens that name an unknown one.
        jwks_cooldown_secs: u64 = 10, between(1, 3600);
        /// Seconds after which keys that could not be read anew are not believed any more; 0: they are believed for as
        /// long as that lasts.
        jwks_max_age_secs: u64 = 86_400, at_least(0);
        /// URL at which the authorization server is asked about a token (RFC 7662): https, or http on this machine.
        introspection_url: Option<Url> = None, protected;
        /// Name of the hub at the authorization server, when it asks about tokens.
        client_id: Option<String> = None, some_text;
        /// Secret that goes with auth.client_id.
        client_secret: Option<Password> = None;
        /// Seconds for which the hub goes by what the authorization server said of a token; 0: it asks every time.
        introspection_cache_secs: u64 = 10, between(0, 300);
        /// Tokens about which the hub remembers what the authorization server said.
        introspection_cache_entries: usize = 10_000, at_least(1);
        /// Seconds within which the authorization server must answer.
        timeout_secs: u64 = 5, between(1, 60);
        /// PEM file of certificate authorities that are trusted for the authorization server besides the system's.
        ca_file: Option<PathBuf> = None;
        /// Seconds between two looks at auth.ca_file; what has changed is taken when two looks in a row find the same.
        reload_secs: u64 = 5, between(1, 86_400);
        /// Seconds by which the clocks of the hub and of the authorization server may differ.
        leeway_secs: u64 = 30, between(0, 300);
        /// Bytes of a token at most.
        token_bytes: usize = 16_384, between(1, 65_536);
        /// Claim with the topic that a token is for; one with dots in it is meant as it stands.
        topic_claim: String = "hub.topic".to_owned(), text;
        /// Claims with the scopes, of which each that is there counts: a text with spaces between them, or an array.
        scope_claims: Vec<String> = ["scope", "scp"].map(str::to_owned).to_vec(), some_texts;
        /// Claims with the name of the app, of which the first that is there counts.
        client_claims: Vec<String> = ["client_id", "azp"].map(str::to_owned).to_vec(), some_texts;
    }
}

impl Auth {
    /// `auth.jwks_refresh_secs` as a duration.
    pub fn jwks_refresh(&self) -> Duration {
        Duration::from_secs(self.jwks_refresh_secs)
    }

    /// `auth.jwks_cooldown_secs` as a duration.
    pub fn jwks_cooldown(&self) -> Duration {
        Duration::from_secs(self.jwks_cooldown_secs)
    }

    /// `auth.jwks_max_age_secs` as a duration; none when keys are believed however old they are.
    pub fn jwks_max_age(&self) -> Option<Duration> {
        (self.jwks_max_age_secs > 0).then(|| Duration::from_secs(self.jwks_max_age_secs))
    }

    /// `auth.introspection_cache_secs` as a duration.
    pub fn introspection_cache(&self) -> Duration {
        Duration::from_secs(self.introspection_cache_secs)
    }

    /// `auth.reload_secs` as a duration.
    pub fn reload_every(&self) -> Duration {
        Duration::from_secs(self.reload_secs)
    }

    /// `auth.timeout_secs` as a duration.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_secs)
    }

    /// What these settings say about each other: the names of the settings, and what is wrong.
    pub(super) fn contradictions(&self) -> Vec<(&'static [&'static str], String)> {
        let mut found: Vec<(&'static [&'static str], String)> = Vec::new();
        let mut needs = |settings: &'static [&'static str], has_it: bool| {
            if !has_it {
                found.push((settings, format!("the mode {:?} needs it", self.mode.as_str())));
            }
        };
        match self.mode {
            AuthMode::Off => {}
            AuthMode::Jwt => {
                needs(&["auth.mode", "auth.issuer"], self.issuer.is_some());
                needs(&["auth.mode", "auth.audience"], !self.audience.is_empty());
                needs(&["auth.mode", "auth.jwks"], self.jwks.is_some());
            }
            AuthMode::Introspection => {
                needs(&["auth.mode", "auth.introspection_url"], self.introspection_url.is_some());
                needs(&["auth.mode", "auth.client_id"], self.client_id.is_some());
                needs(&["auth.mode", "auth.client_secret"], self.client_secret.is_some());
            }
        }
        let mut idle = |settings: &'static [&'static str], is_there: bool| {
            if is_there {
                found.push((settings, format!("the mode {:?} does not use it", self.mode.as_str())));
            }
        };
        // Whoever sets these believes that tokens are asked for.
        if self.mode == AuthMode::Off {
            idle(&["auth.mode", "auth.issuer"], self.issuer.is_some());
            idle(&["auth.mode", "auth.audience"], !self.audience.is_empty());
        }
        if self.mode != AuthMode::Jwt {
            idle(&["auth.mode", "auth.jwks"], self.jwks.is_some());
        }
        if self.mode != AuthMode::Introspection {
            idle(&["auth.mode", "auth.introspection_url"], self.introspection_url.is_some());
            idle(&["auth.mode", "auth.client_id"], self.client_id.is_some());
            idle(&["auth.mode", "auth.client_secret"], self.client_secret.is_some());
        }
        let (refresh, max_age) = (self.jwks_refresh_secs, self.jwks_max_age_secs);
        if max_age > 0 && refresh > max_age / 2 {
            let reason =
                format!("{refresh} is more than half of {max_age}, so that good keys could get too old");
            found.push((&["auth.jwks_refresh_secs", "auth.jwks_max_age_secs"], reason));
        }
        found
    }
}

/// Where the keys of an authorization server are.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum KeySource {
    /// They are fetched.
    Url(Url),
    /// They are read.
    File(PathBuf),
}

impl TryFrom<String> for KeySource {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if !text.contains("://") {
            let problem = text.trim().is_empty().then(|| "must be a URL or the path of a file".to_owned());
            return problem.map_or(Ok(Self::File(text.into())), Err);
        }
        let url = Url::parse(&text).map_err(|problem| format!("must be a URL: {problem}"))?;
        protect(&url)?;
        Ok(Self::Url(url))
    }
}

impl From<KeySource> for String {
    fn from(source: KeySource) -> Self {
        source.to_string()
    }
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => url.fmt(f),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

fn protected(url: &Option<Url>) -> Result<(), String> {
    url.as_ref().map_or(Ok(()), protect)
}

/// What the hub trusts must come over TLS, unless it does not leave this machine.
fn protect(url: &Url) -> Result<(), String> {
    let is_here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must hold neither a user name nor a password".to_owned());
    }
    match url.scheme() {
        "https" => Ok(()),
        "http" if is_here => Ok(()),
        "http" => Err("must be https: http is for this machine (localhost) only".to_owned()),
        other => Err(format!("the scheme must be https, not {other}")),
    }
}

fn text(text: &str) -> Result<(), String> {
    if text.trim().is_empty() { Err("must not be empty".to_owned()) } else { Ok(()) }
}

fn some_text(given: &Option<String>) -> Result<(), String> {
    given.as_deref().map_or(Ok(()), text)
}

fn some_texts(texts: &[String]) -> Result<(), String> {
    texts.iter().try_for_each(|one| text(one))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use crate::settings::{Defaults, Flags, Settings};

    /// What these settings of the group make of the whole: the mistakes, one a line, or nothing.
    fn mistakes(auth: &[(&str, &str)]) -> String {
        let variables = auth
            .iter()
            .map(|(name, value)| (format!("FHIRCAST_AUTH__{}", name.to_uppercase()), (*value).to_owned()));
        let loaded = Settings::load(Defaults::Standard, &Flags::default(), variables);
        loaded.err().map(|mistakes| mistakes.to_string()).unwrap_or_default()
    }

    const JWT: [(&str, &str); 4] =
        [("mode", "jwt"), ("issuer", "https://as"), ("audience", "hub"), ("jwks", "/etc/jwks.json")];
    const INTROSPECTION: [(&str, &str); 4] = [
        ("mode", "introspection"),
        ("introspection_url", "https://as/introspect"),
        ("client_id", "hub"),
        ("client_secret", "s3cret"),
    ];

    #[test]
    fn each_mode_needs_its_own_settings_and_names_those_that_are_missing() {
        assert_eq!(mistakes(&[]), "");
        for complete in [JWT, INTROSPECTION] {
            assert_eq!(mistakes(&complete), "");
            for left_out in 1..complete.len() {
                let mut given = complete.to_vec();
                let (name, _) = given.remove(left_out);
                let found = mistakes(&given);
                assert!(found.contains(&format!("auth.mode and auth.{name}: ")), "{name}: {found}");
            }
        }
    }

    #[test]
    fn what_a_mode_does_not_use_is_refused() {
        for (mode, other) in [
            (vec![], ("issuer", "https://as")),
            (vec![], ("audience", "hub")),
            (vec![], ("jwks", "/etc/jwks.json")),
            (JWT.to_vec(), ("introspection_url", "https://as/introspect")),
            (JWT.to_vec(), ("client_id", "hub")),
            (JWT.to_vec(), ("client_secret", "s3cret")),
            (INTROSPECTION.to_vec(), ("jwks", "/etc/jwks.json")),
        ] {
            let found = mistakes(&[mode, vec![other]].concat());
            assert!(found.contains(&format!("auth.mode and auth.{}: ", other.0)), "{}: {found}", other.0);
            assert!(!found.contains("s3cret"), "{found}");
        }
    }

    #[test]
    fn keys_do_not_get_too_old_before_they_are_read_anew() {
        let with = |refresh, max_age| {
            mistakes(&[&JWT[..], &[("jwks_refresh_secs", refresh), ("jwks_max_age_secs", max_age)]].concat())
        };
        for (refresh, max_age) in [("300", "600"), ("43200", "86400"), ("86400", "0"), ("1", "4294967295")] {
            assert_eq!(with(refresh, max_age), "", "{refresh} {max_age}");
        }
        let found = with("301", "600");
        assert!(
            found.contains("auth.jwks_refresh_secs and auth.jwks_max_age_secs: 301 is more than half"),
            "{found}"
        );
        assert!(with("1", "-1").contains("auth.jwks_max_age_secs: "), "{}", with("1", "-1"));
    }

    #[test]
    fn what_is_trusted_comes_over_tls_or_from_this_machine() {
        for url in
            ["https://as/jwks", "http://127.0.0.1:1/jwks", "http://[::1]/jwks", "http://localhost/jwks"]
        {
            let given = [&JWT[..3], &[("jwks", url)]].concat();
            assert_eq!(mistakes(&given), "", "{url}");
        }
        for url in
            ["http://as/jwks", "ftp://as/jwks", "https://u:p@as/jwks", "https://", "http://10.0.0.1/x", " "]
        {
            let given = [&JWT[..3], &[("jwks", url)]].concat();
            assert!(mistakes(&given).contains("auth.jwks: "), "{url}: {}", mistakes(&given));
            let given = [&INTROSPECTION[..], &[("introspection_url", url)]].concat();
            assert!(mistakes(&given).contains("auth.introspection_url: "), "{url}: {}", mistakes(&given));
        }
    }

    #[test]
    fn texts_are_not_empty_and_the_secret_is_not_shown() {
        for (name, value) in
            [("issuer", " "), ("topic_claim", ""), ("audience", "[\"\"]"), ("leeway_secs", "301")]
        {
            assert!(mistakes(&[(name, value)]).contains(&format!("auth.{name}: ")), "{name}");
        }
        let variables = INTROSPECTION
            .map(|(name, value)| (format!("FHIRCAST_AUTH__{}", name.to_uppercase()), value.to_owned()));
        let settings = Settings::load(Defaults::Standard, &Flags::default(), variables).unwrap();
        for shown in [settings.to_toml(), format!("{settings:?}")] {
            assert!(!shown.contains("s3cret") && shown.contains("***"), "{shown}");
        }
    }
}
