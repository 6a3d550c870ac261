//! Where spans go, and of which requests.

use std::{fmt, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};
use url::Url;

use super::{
    tree::settings,
    values::{between, fraction},
};

settings! {
    /// Where spans go, and of which requests.
    pub struct Tracing {
        /// Base URL of an OpenTelemetry collector that takes OTLP over HTTP, such as http://127.0.0.1:4318: spans are
        /// posted to /v1/traces below it; absent: no spans are made. A traceparent that comes is passed on all the same.
        otlp_endpoint: Option<Url> = None, otlp_endpoint;
        /// Headers of the requests to the collector, each as name=value, such as those that say who sends.
        headers: CollectorHeaders = CollectorHeaders::default();
        /// PEM file of certificate authorities that are trusted for the collector besides the system's.
        ca_file: Option<PathBuf> = None;
        /// Seconds between two looks at that file; what has changed is taken when two looks in a row find the same.
        reload_secs: u64 = 5, between(1, 86_400);
        /// Name of the service in the spans; absent: the name of the program.
        service_name: Option<String> = None, service_name;
        /// Part of the requests, from 0 to 1, of whose traces spans are made.
        sample_ratio: f64 = 1.0, fraction;
        /// Whether a request with a traceparent is recorded just when that says so, whatever tracing.sample_ratio is;
        /// then whoever may send requests chooses what is recorded.
        honour_sampled: bool = false;
        /// Spans that may wait for the collector; more are dropped and counted, and no request waits.
        waiting_spans: usize = 4096, between(1, 1_000_000);
        /// Milliseconds within which the collector must answer.
        timeout_ms: u64 = 5000, between(1, 60_000);
    }
}

impl Tracing {
    /// `tracing.timeout_ms` as a duration.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// `tracing.reload_secs` as a duration.
    pub fn reload_every(&self) -> Duration {
        Duration::from_secs(self.reload_secs)
    }

    /// Where spans are posted, if anywhere.
    pub fn traces_url(&self) -> Option<Url> {
        let mut url = self.otlp_endpoint.clone()?;
        url.set_path(&format!("{}/v1/traces", url.path().trim_end_matches('/')));
        Some(url)
    }
}

/// Of a collector, as the OTLP specification has it: without the path of a signal.
fn otlp_endpoint(url: &Option<Url>) -> Result<(), String> {
    let Some(url) = url else { return Ok(()) };
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("the scheme must be http or https, not {}", url.scheme()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must hold neither a user name nor a password: give them in tracing.headers".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must have neither a query nor a fragment".to_owned());
    }
    if url.path().trim_end_matches('/').ends_with("/v1/traces") {
        return Err("must not end with /v1/traces, which is put behind it".to_owned());
    }
    if url.port() == Some(4317) {
        return Err("port 4317 is that of OTLP over gRPC; over HTTP it is 4318".to_owned());
    }
    Ok(())
}

fn service_name(name: &Option<String>) -> Result<(), String> {
    match name {
        Some(name) if name.trim().is_empty() => Err("must not be empty".to_owned()),
        _ => Ok(()),
    }
}

/// Headers of requests to the collector. They may say who sends: `Debug` and `Serialize` show `***` in place of values.
#[derive(Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct CollectorHeaders(Vec<(String, String)>);

impl CollectorHeaders {
    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and values: for the request only, never for a log line.
    pub fn expose(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    fn hidden(&self) -> Vec<String> {
        self.0.iter().map(|(name, _)| format!("{name}=***")).collect()
    }
}

impl TryFrom<Vec<String>> for CollectorHeaders {
    type Error = String;

    fn try_from(texts: Vec<String>) -> Result<Self, String> {
        let mut headers: Vec<(String, String)> = Vec::new();
        for (at, text) in texts.iter().enumerate() {
            // What is no header may be part of a secret: it is not repeated.
            let number = at + 1;
            let Some((name, value)) = text.split_once('=') else {
                return Err(format!("header {number} is not name=value"));
            };
            let (name, value) = (name.trim().to_ascii_lowercase(), value.trim().to_owned());
            let is_of_name = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
            if name.is_empty() || !name.chars().all(is_of_name) {
                return Err(format!("header {number} has a name that no header can have"));
            }
            if value.is_empty() || !value.chars().all(|c| matches!(c, ' '..='~')) {
                return Err(format!("{name}: the value must be printable ASCII, and not empty"));
            }
            if OURS.contains(&name.as_str()) {
                return Err(format!("{name} is not to be chosen: it says what is sent, and how"));
            }
            if headers.iter().any(|(known, _)| *known == name) {
                return Err(format!("{name} is given twice"));
            }
            headers.push((name, value));
        }
        Ok(Self(headers))
    }
}

/// Headers that depend on what is sent.
const OURS: [&str; 6] =
    ["host", "content-type", "content-length", "content-encoding", "transfer-encoding", "connection"];

impl From<CollectorHeaders> for Vec<String> {
    fn from(headers: CollectorHeaders) -> Self {
        headers.hidden()
    }
}

impl fmt::Debug for CollectorHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.hidden()).finish()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use crate::settings::{Defaults, Flags, Settings};

    fn load(tracing: &[(&str, &str)]) -> Result<Settings, String> {
        let named = |(name, value): &(&str, &str)| (format!("FHIRCAST_TRACING__{name}"), (*value).to_owned());
        let settings = Settings::load(Defaults::Standard, &Flags::default(), tracing.iter().map(named));
        settings.map_err(|mistakes| mistakes.to_string())
    }

    #[test]
    fn spans_go_below_the_endpoint() {
        assert_eq!(Settings::default().tracing.traces_url(), None);
        for (endpoint, url) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("https://collector.example/", "https://collector.example/v1/traces"),
            ("https://collector.example/otlp/", "https://collector.example/otlp/v1/traces"),
        ] {
            let tracing = load(&[("OTLP_ENDPOINT", endpoint)]).unwrap().tracing;
            assert_eq!(tracing.traces_url().unwrap().as_str(), url);
        }
    }

    #[test]
    fn every_mistake_is_named() {
        let endpoint = ("OTLP_ENDPOINT", "http://c:4318");
        for (settings, says) in [
            (vec![("OTLP_ENDPOINT", "grpc://c:4317")], "tracing.otlp_endpoint"),
            (vec![("OTLP_ENDPOINT", "http://c:4317")], "gRPC"),
            (vec![("OTLP_ENDPOINT", "http://c/v1/traces")], "must not end with /v1/traces"),
            (vec![("OTLP_ENDPOINT", "http://me:hush@c")], "tracing.headers"),
            (vec![("OTLP_ENDPOINT", "http://c/?key=hush")], "neither a query"),
            (vec![("SAMPLE_RATIO", "1.5")], "tracing.sample_ratio"),
            (vec![("SERVICE_NAME", " ")], "tracing.service_name"),
            (vec![endpoint, ("CA_FILE", "/ca.pem")], "tracing.ca_file"),
            (vec![("CA_FILE", "/ca.pem")], "tracing.otlp_endpoint"),
            (vec![("HEADERS", "authorization=hush")], "tracing.headers"),
            (vec![endpoint, ("HEADERS", "hush-hush")], "header 1 is not name=value"),
            (vec![endpoint, ("HEADERS", "a=1,b hush=2")], "header 2 has a name"),
            (vec![endpoint, ("HEADERS", "a=1,A=hush")], "a is given twice"),
            (vec![endpoint, ("HEADERS", "Content-Type=hush")], "content-type is not to be chosen"),
            (vec![endpoint, ("HEADERS", "a=")], "a: the value must be"),
        ] {
            let mistakes = load(&settings).unwrap_err();
            assert!(mistakes.contains(says), "{settings:?}: {mistakes}");
            assert!(!mistakes.contains("hush"), "{mistakes}");
        }
    }

    #[test]
    fn headers_are_hidden_wherever_settings_are_shown() {
        let settings =
            load(&[("OTLP_ENDPOINT", "https://c"), ("HEADERS", "Authorization=Basic aHVzaA==,x-scope=hush")]);
        let settings = settings.unwrap();
        let headers: Vec<_> = settings.tracing.headers.expose().collect();
        assert_eq!(headers, [("authorization", "Basic aHVzaA=="), ("x-scope", "hush")]);
        for shown in [settings.to_toml(), format!("{settings:?}")] {
            assert!(!shown.contains("aHVzaA") && !shown.contains("hush"), "{shown}");
            assert!(shown.contains("authorization=***"), "{shown}");
        }
    }
}
