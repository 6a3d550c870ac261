//! Answers on their way back, and what a distortion makes of them (FC-TRN, FC-CNF-02, FC-CTX-04, FC-CNT-08, FC-SEC-03).

use std::convert::Infallible;

use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::stream;
use serde_json::json;
use url::Url;

use super::http::is_of_a_hop;
use super::json::Json;
use super::{Distortion, Proxy, locked};

/// The longest secret is one byte shorter (FC-WHK-01).
const TOO_LONG_SECRET_BYTES: usize = 200;

/// What was asked for.
pub struct Asked<'a> {
    /// The request as it came.
    pub request: &'a HttpRequest,
    /// Its form; empty when it had none.
    pub form: &'a [(String, String)],
}

impl Asked<'_> {
    fn secret(&self) -> Option<&str> {
        self.form.iter().find(|(name, _)| name == "hub.secret").map(|(_, value)| value.as_str())
    }
}

/// An answer, read to its end.
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// Names, in lower case, and values.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
    /// Whether it came in chunks (FC-REQ-08).
    is_chunked: bool,
}

impl Answer {
    /// Sends a request and reads what is answered.
    pub async fn of(client: &reqwest::Client, request: reqwest::Request) -> Result<Answer, reqwest::Error> {
        Answer::read(client.execute(request).await?).await
    }

    /// Reads what is answered.
    pub async fn read(response: reqwest::Response) -> Result<Answer, reqwest::Error> {
        let status = StatusCode::from_u16(response.status().as_u16()).unwrap_or(StatusCode::BAD_GATEWAY);
        let is_chunked = response.headers().contains_key("transfer-encoding");
        let headers = response.headers().iter().filter(|(name, _)| !is_of_a_hop(name.as_str()));
        let headers = headers.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect();
        Ok(Answer { status, headers, body: response.bytes().await?.to_vec(), is_chunked })
    }

    /// An answer that says no more than this.
    pub fn empty(status: StatusCode) -> Answer {
        Answer { status, headers: Vec::new(), body: Vec::new(), is_chunked: false }
    }

    /// The same answer with this body.
    pub fn with_body(self, body: impl Into<Vec<u8>>) -> Answer {
        Answer { body: body.into(), ..self }
    }

    /// The answer as it goes out.
    pub fn into_response(self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        for (name, value) in self.headers {
            response.append_header((name, value));
        }
        if self.is_chunked {
            let chunk = (!self.body.is_empty()).then(|| Ok::<_, Infallible>(self.body.into()));
            return response.streaming(stream::iter(chunk));
        }
        response.body(self.body)
    }

    /// Does what the proxy does to the hub's answers.
    pub fn distort(&mut self, asked: &Asked<'_>, proxy: &Proxy) {
        if !asked.form.is_empty() {
            self.change(|json| lead_socket_here(json, proxy));
        }
        let (is_error, path) = (self.status.as_u16() >= 400, asked.request.path());
        match (proxy.distortion, asked.secret()) {
            (Distortion::NoDescription, _) if is_error => {
                self.body.clear();
                self.remove_headers(|name| name == header::CONTENT_TYPE.as_str());
            }
            (Distortion::SecretEchoed, Some(secret)) if is_error => {
                self.body.extend(format!(" (hub.secret is {secret})").bytes());
            }
            (Distortion::LongSecrets, Some(secret))
                if self.status == StatusCode::BAD_REQUEST && secret.len() >= TOO_LONG_SECRET_BYTES =>
            {
                *self = Answer::empty(StatusCode::ACCEPTED);
            }
            (Distortion::SecretReturned, Some(secret)) if self.status == StatusCode::ACCEPTED => {
                self.body = json!({"hub.secret": secret}).to_string().into();
                self.remove_headers(|name| name == header::CONTENT_TYPE.as_str());
                self.headers.push(("content-type".to_owned(), b"application/json".to_vec()));
            }
            (Distortion::NoCors, _) => self.remove_headers(|name| name.starts_with("access-control-")),
            (Distortion::AnyOriginWithCredentials, _) => {
                let (origin, credentials) =
                    ("access-control-allow-origin", "access-control-allow-credentials");
                self.remove_headers(|name| name == origin || name == credentials);
                self.headers.push((origin.to_owned(), b"*".to_vec()));
                self.headers.push((credentials.to_owned(), b"true".to_vec()));
            }
            (Distortion::TooLargeIs400, _) if self.status == StatusCode::PAYLOAD_TOO_LARGE => {
                self.status = StatusCode::BAD_REQUEST;
            }
            (Distortion::MetadataWithoutExtension, _)
                if path.trim_end_matches('/').ends_with("/metadata") =>
            {
                self.change(|json| json.remove_everywhere("extension"));
            }
            (Distortion::NoContent, _) => self.change(|json| {
                if let Some(elements) = json.elements_at(&["context"]) {
                    elements.retain(|element| element.string_at(&["key"]).as_deref() != Some("content"));
                }
            }),
            _ => {}
        }
    }

    fn remove_headers(&mut self, which: impl Fn(&str) -> bool) {
        self.headers.retain(|(name, _)| !which(name));
    }

    /// Changes a JSON body; any other, and one in which nothing changes, stays as it is.
    fn change(&mut self, change: impl FnOnce(&mut Json)) {
        let Some(json) = std::str::from_utf8(&self.body).ok().and_then(Json::parse) else { return };
        let mut changed = json.clone();
        change(&mut changed);
        if changed != json {
            self.body = changed.to_string().into();
        }
    }
}

/// Replaces the endpoint by the same path of the proxy, and remembers it.
fn lead_socket_here(json: &mut Json, proxy: &Proxy) {
    let Some(endpoint) = json.at_mut(&["hub.channel.endpoint"]) else { return };
    if let Some(url) = endpoint.as_string().and_then(|text| Url::parse(&text).ok()) {
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        *endpoint = Json::string(&format!("ws://{}{}{query}", proxy.address, url.path()));
        locked(&proxy.endpoints).insert(url.path().to_owned(), url);
    }
}
