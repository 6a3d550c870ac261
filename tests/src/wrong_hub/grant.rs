//! Who may do what at a hub that wants tokens (FC-SEC-01, FC-SES-02, FC-SCO).
//!
//! A token of this hub says what it is good for, and ends with a checksum: [`TOKEN_COMMAND`] prints one for what it is
//! asked for. Whoever can compute the checksum can make one; the hub is a test's own.

use actix_web::HttpRequest;
use actix_web::http::header::AUTHORIZATION;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use super::Wrong;
use super::message::{Filter, Refusal};

/// Prints a token for what `FHIRCAST_SCOPE`, `FHIRCAST_TOPIC` and `FHIRCAST_EXPIRES_IN` ask for.
pub const TOKEN_COMMAND: &str = r#"claims=$(printf '%s|%s|%s' "$FHIRCAST_SCOPE" "$FHIRCAST_TOPIC" "$FHIRCAST_EXPIRES_IN" |
    base64 -w0 | tr -d '=' | tr '+/' '-_'); echo "$claims.$(printf %s "$claims" | sha256sum | cut -c1-16)""#;

/// What the bearer of a token may do.
pub struct Grant {
    read: Vec<String>,
    write: Vec<String>,
    topic: Option<String>,
    /// The seconds until it ends, as it was made: these tokens are used at once.
    pub life_secs: Option<u64>,
}

impl Grant {
    /// Of a hub that wants no token.
    pub fn everything() -> Grant {
        let everything = || vec!["*".to_owned()];
        Grant { read: everything(), write: everything(), topic: None, life_secs: None }
    }

    /// By the token of a request.
    pub fn of(request: &HttpRequest, wrong: Wrong) -> Result<Grant, Refusal> {
        let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = match header.and_then(|value| value.strip_prefix("Bearer ")) {
            None if wrong == Wrong::NoTokenNeeded => return Ok(Grant::everything()),
            None => return Err((401, "a token is needed".to_owned())),
            Some(token) => token,
        };
        match Grant::read(token) {
            None if wrong == Wrong::AnyToken => Ok(Grant::everything()),
            None => Err((401, "the token is none of ours".to_owned())),
            Some(grant) => Ok(grant),
        }
    }

    fn read(token: &str) -> Option<Grant> {
        let (claims, checksum) = token.split_once('.')?;
        if hex::encode(Sha256::digest(claims)).get(..16)? != checksum {
            return None;
        }
        let claims = String::from_utf8(URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
        let [scopes, topic, life_secs] = claims.splitn(3, '|').collect::<Vec<_>>().try_into().ok()?;
        let of = |action: &str| {
            let scopes =
                scopes.split(' ').filter_map(|scope| scope.strip_prefix("fhircast/")?.rsplit_once('.'));
            let allowed = scopes.filter(|(_, allowed)| *allowed == action || *allowed == "*");
            allowed.map(|(name, _)| name.to_owned()).collect()
        };
        let topic = Some(topic.to_owned()).filter(|topic| !topic.is_empty());
        Some(Grant { read: of("read"), write: of("write"), topic, life_secs: life_secs.parse().ok() })
    }

    /// May it use this topic?
    pub fn use_topic(&self, topic: &str, wrong: Wrong) -> Result<(), Refusal> {
        let is_other = self.topic.as_ref().is_some_and(|own| own != topic);
        match is_other && wrong != Wrong::AnyTopicsToken {
            true => Err((403, "the token is for another hub.topic".to_owned())),
            false => Ok(()),
        }
    }

    /// May it send this event?
    pub fn send(&self, name: &str, wrong: Wrong) -> Result<(), Refusal> {
        let as_filter = match wrong {
            Wrong::ScopeCaseMatters => Wrong::CaseMatters,
            Wrong::NoScopePatterns => Wrong::IgnoresWildcards,
            _ => Wrong::Nothing,
        };
        let may = |patterns: &[String]| covers(patterns, name, as_filter);
        let is_allowed = may(&self.write) || wrong == Wrong::ReadersWrite && may(&self.read);
        match is_allowed {
            true => Ok(()),
            false => Err((403, format!("the token has no scope fhircast/{name}.write"))),
        }
    }

    /// May it see this event?
    pub fn may_read(&self, name: &str) -> bool {
        covers(&self.read, name, Wrong::Nothing)
    }

    /// What it may read of what was asked for.
    pub fn granted(&self, asked: &Filter, wrong: Wrong) -> Result<Filter, Refusal> {
        let mut granted: Vec<String> = Vec::new();
        for pattern in &asked.0 {
            // An event that is asked for twice is none of a token's business.
            let mut both: Vec<String> = self.read.iter().filter_map(|scope| meet(pattern, scope)).collect();
            both.dedup();
            granted.append(&mut both);
        }
        match granted.is_empty() && wrong != Wrong::GrantsNothing {
            true => Err((403, "the token has no scope to read any of hub.events".to_owned())),
            false => Ok(Filter(granted)),
        }
    }
}

/// Whether any of these patterns of scopes is for the event; `*` is for all of them, heartbeats too.
fn covers(patterns: &[String], name: &str, wrong: Wrong) -> bool {
    patterns.iter().any(|pattern| pattern == "*") || Filter(patterns.to_vec()).times(name, wrong) > 0
}

/// The pattern of what is asked for and may be read, if there is any.
fn meet(asked: &str, scope: &str) -> Option<String> {
    let part = |one: &str, other: &str| match (one, other) {
        ("*", part) | (part, "*") => Some(part.to_owned()),
        _ => one.eq_ignore_ascii_case(other).then(|| one.to_owned()),
    };
    match (asked.split_once('-'), scope.split_once('-')) {
        _ if scope == "*" => Some(asked.to_owned()),
        _ if asked == "*" => Some(scope.to_owned()),
        (Some(asked), Some(scope)) => {
            Some(format!("{}-{}", part(asked.0, scope.0)?, part(asked.1, scope.1)?))
        }
        (None, None) => part(asked, scope),
        _ => None,
    }
}
