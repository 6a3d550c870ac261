//! What comes to a callback server.

use std::time::Instant;

use url::form_urlencoded;

/// A request that came.
#[derive(Debug, Clone)]
pub struct Request {
    /// When its body was complete.
    pub at: Instant,
    /// `GET` for intents and denials, `POST` for notifications.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The query as it came.
    pub query: String,
    /// Header names, in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The exact body.
    pub body: Vec<u8>,
}

impl Request {
    /// A header's value, if it came.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// A parameter of the query, decoded.
    pub fn parameter(&self, name: &str) -> Option<String> {
        form_urlencoded::parse(self.query.as_bytes())
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.into_owned())
    }

    /// The body as JSON; null when it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// True for a POST.
    pub fn is_notification(&self) -> bool {
        self.method == "POST"
    }
}
