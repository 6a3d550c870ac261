//! One HTTP request to the hub and its answer, both written down.

use std::ops::Deref;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use serde_json::Value;

use super::check::{Outcome, expect, fail};
use super::probe::Probe;
use crate::client;

/// What the hub answered; status, headers and body are those of [`client::Answer`].
#[derive(Debug, Clone)]
pub struct Answer {
    asked: String,
    answer: client::Answer,
}

impl Deref for Answer {
    type Target = client::Answer;

    fn deref(&self) -> &client::Answer {
        &self.answer
    }
}

impl Answer {
    /// This answer if it has this status.
    pub fn expect_status(self, status: u16) -> Outcome<Answer> {
        let expected = format!("{} to be answered with {status}", self.asked);
        expect(self.status == status, expected, self.shown())?;
        Ok(self)
    }

    /// This answer if its status is 2xx: where the exact one is another rule's.
    pub fn expect_success(self) -> Outcome<Answer> {
        let expected = format!("{} to be answered with 2xx", self.asked);
        expect((200..300).contains(&self.status), expected, self.shown())?;
        Ok(self)
    }

    /// This answer if it has this status and its body names `word` (in any case), as an error names what is wrong.
    pub fn expect_refusal(self, status: u16, word: &str) -> Outcome<Answer> {
        let answer = self.expect_status(status)?;
        let named = answer.body.to_lowercase().contains(&word.to_lowercase());
        expect(named, format!("the reason to name {word}"), answer.shown())?;
        Ok(answer)
    }

    /// The body as JSON.
    pub fn json(&self) -> Outcome<Value> {
        let expected = || fail(format!("{} to be answered with JSON", self.asked), self.shown());
        serde_json::from_str(&self.body).map_err(|_| expected())
    }

    /// Status, content type and body in one line.
    pub fn shown(&self) -> String {
        format!("{} {} {}", self.status, self.header("content-type"), self.body)
    }
}

enum TokenChoice {
    Usual,
    None,
    This(String),
}

/// A request in the making: by [`Probe::ask`].
pub struct Ask<'a> {
    probe: &'a Probe,
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    token: TokenChoice,
}

impl<'a> Ask<'a> {
    pub(super) fn new(probe: &'a Probe, method: Method, path: &str) -> Ask<'a> {
        let (headers, body) = (Vec::new(), None);
        Ask { probe, method, path: path.to_owned(), headers, body, token: TokenChoice::Usual }
    }

    /// With a header. One that is named again is sent twice.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a body of this type.
    pub fn body(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self.header(CONTENT_TYPE.as_str(), content_type)
    }

    /// Without a token.
    pub fn without_token(mut self) -> Self {
        self.token = TokenChoice::None;
        self
    }

    /// With this token instead of the usual one.
    pub fn token(mut self, token: &str) -> Self {
        self.token = TokenChoice::This(token.to_owned());
        self
    }

    /// Sends it, and reads the answer to its end. A usual token that is refused is renewed once.
    pub async fn send(self) -> Outcome<Answer> {
        let usual = matches!(self.token, TokenChoice::Usual) && self.probe.token.is_none();
        let token = match &self.token {
            TokenChoice::Usual => match &self.probe.token {
                Some(own) => Some(own.clone()),
                None => self.probe.hub.token.get().await?,
            },
            TokenChoice::None => None,
            TokenChoice::This(token) => Some(token.clone()),
        };
        let answer = self.send_with(token.as_deref()).await?;
        if usual
            && answer.status == 401
            && let Some(token) = &token
            && let Some(other) = self.probe.hub.token.instead_of(token).await?
        {
            return self.send_with(Some(&other)).await;
        }
        Ok(answer)
    }

    async fn send_with(&self, token: Option<&str>) -> Outcome<Answer> {
        let mut request = self.probe.app.request(self.method.clone(), &self.path).timeout(self.timeout());
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if let Some(body) = &self.body {
            request = request.body(body.clone());
        }
        let asked = format!("{} {}{}", self.method, self.probe.url, self.path);
        let headers: String =
            self.headers.iter().map(|(name, value)| format!(" [{name}: {value}]")).collect();
        let body = self.body.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
        self.probe.trace.sent(format!("{asked}{headers} {body}"));
        match self.probe.app.send(request).await {
            Ok(answer) => {
                let answer = Answer { asked, answer };
                self.probe.trace.came(answer.shown());
                Ok(answer)
            }
            Err(error) => {
                self.probe.trace.came(format!("no answer: {error:#}"));
                Err(fail(format!("{asked} to be answered"), format!("{error:#}")))
            }
        }
    }

    /// An answer is what must come; a hub that verifies a callback first may take as long again.
    fn timeout(&self) -> Duration {
        2 * self.probe.timing().timeout
    }
}
