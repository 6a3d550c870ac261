//! The hub under test: where it is, what it says of itself, how long it may take, and how it is asked.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use reqwest::Method;
use serde_json::Value;

use super::catalogue::Version;
use super::token::Token;
use super::trace::Secrets;
use crate::client::App;

/// Where the well-known document is, under `hub.url`.
pub const WELL_KNOWN: &str = "/.well-known/fhircast-configuration";

/// How long things take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// For how long is waited for what must come.
    pub timeout: Duration,
    /// After how long the hub takes a notification for unanswered.
    pub ack_timeout: Duration,
    /// For how long the hub waits for a subscriber whose socket broke.
    pub grace: Duration,
}

impl Default for Timing {
    fn default() -> Timing {
        let [timeout, ack_timeout, grace] = [5, 10, 30].map(Duration::from_secs);
        Timing { timeout, ack_timeout, grace }
    }
}

/// The hub under test.
pub struct HubUnderTest {
    /// `hub.url` without the slash at its end.
    pub url: String,
    /// Another node of the same hub.
    pub second_node: Option<String>,
    /// What it says of itself.
    pub configuration: Configuration,
    /// The version that it is held to.
    pub spec: Version,
    /// How long things take.
    pub timing: Timing,
    /// The token of every request that has none of its own.
    pub token: Token,
    /// What must not be printed.
    pub secrets: Secrets,
    /// The origin of a page that it lets in.
    pub origin: Option<String>,
    /// The certificate authority to trust; the system's if there is none.
    pub ca: Option<PathBuf>,
}

impl HubUnderTest {
    /// An app that asks the node at `url`.
    pub fn app(url: &str, ca: Option<&PathBuf>) -> Result<App> {
        match ca {
            None => App::new(url),
            Some(ca) => {
                App::trusting(url, ca).with_context(|| format!("the authority in {} is no use", ca.display()))
            }
        }
    }
}

/// The well-known document of the hub, as far as it says what need not be there.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// The whole document.
    pub json: Value,
}

impl Configuration {
    /// Asks the hub at `url`. An error says in one line why what is there is no FHIRcast hub.
    pub async fn of(url: &str, ca: Option<&PathBuf>) -> Result<Configuration> {
        let app = HubUnderTest::app(url, ca)?;
        let answer = app.send(app.request(Method::GET, WELL_KNOWN)).await;
        let answer = answer.with_context(|| format!("no hub answers at {url}"))?;
        if answer.status != 200 {
            bail!("{url} is no FHIRcast hub: GET {WELL_KNOWN} answers {}", answer.status);
        }
        let Ok(json) = serde_json::from_str::<Value>(&answer.body) else {
            bail!("{url} is no FHIRcast hub: what GET {WELL_KNOWN} answers is not JSON");
        };
        let known = ["eventsSupported", "websocketSupport", "webhookSupport", "fhircastVersion"];
        if known.iter().all(|member| json.get(member).is_none()) {
            bail!("{url} is no FHIRcast hub: what GET {WELL_KNOWN} answers has none of {}", known.join(", "));
        }
        Ok(Configuration { json })
    }

    /// The WebSocket channel. It is taken to be there unless the hub denies it: 3.0.0 knows no other.
    pub fn websocket(&self) -> bool {
        self.json["websocketSupport"] != false
    }

    /// The webhook channel.
    pub fn webhook(&self) -> bool {
        self.json["webhookSupport"] == true
    }

    /// Get Current Context.
    pub fn current_context(&self) -> bool {
        self.json["getCurrentSupport"] == true || self.capability("supportsGetCurrentContext")
    }

    /// A member of `capabilities`.
    pub fn capability(&self, name: &str) -> bool {
        self.json["capabilities"][name] == true
    }

    /// The `fhircastVersion`, if it is one that there is.
    pub fn version(&self) -> Option<Version> {
        self.json["fhircastVersion"].as_str().and_then(Version::claimed)
    }

    /// True if `eventsSupported` names the event or matches it, in any case. Proprietary events (with a dot in their
    /// name) need not be named, and where there is no list, nothing need be.
    pub fn supports(&self, event: &str) -> bool {
        let Some(supported) = self.json["eventsSupported"].as_array().filter(|list| !list.is_empty()) else {
            return true;
        };
        event.contains('.')
            || supported.iter().filter_map(Value::as_str).any(|pattern| matches(pattern, event))
    }
}

/// `*`, `Patient-*`, `*-open`, `*-*` or a name; in any case.
fn matches(pattern: &str, event: &str) -> bool {
    let same = |pattern: &str, part: &str| pattern == "*" || pattern.eq_ignore_ascii_case(part);
    match (pattern.split_once('-'), event.split_once('-')) {
        (Some(pattern), Some(event)) => same(pattern.0, event.0) && same(pattern.1, event.1),
        _ => same(pattern, event),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_supported_is_named_or_matched() {
        let some =
            Configuration { json: json!({"eventsSupported": ["patient-OPEN", "*-close", "syncerror"]}) };
        for (event, supported) in [
            ("Patient-open", true),
            ("Encounter-close", true),
            ("SyncError", true),
            ("Encounter-open", false),
            ("heartbeat", false),
            ("org.example.thing", true),
        ] {
            assert_eq!(some.supports(event), supported, "{event}");
        }
        assert!(Configuration { json: json!({}) }.supports("Patient-open"));
        assert!(Configuration { json: json!({"eventsSupported": ["*"]}) }.supports("Patient-open"));
    }

    #[test]
    fn only_what_is_claimed_is_there() {
        let none = Configuration { json: json!({"fhircastVersion": "STU3"}) };
        assert!(none.websocket() && !none.webhook() && !none.current_context());
        assert_eq!(none.version(), Some(Version::V3_0_0));
        let all = json!({"webhookSupport": true, "capabilities": {"supportsGetCurrentContext": true}});
        let all = Configuration { json: all };
        assert!(all.webhook() && all.current_context() && all.version().is_none());
    }
}
