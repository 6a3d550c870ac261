//! Requests on their way to the hub: as they came, but for what a distortion does to them (FC-REQ-07).

use std::time::Duration;

use actix_web::http::{StatusCode, header};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, web};
use reqwest::Method;
use reqwest::header::{HeaderName, HeaderValue};
use url::form_urlencoded;

use super::answer::{Answer, Asked};
use super::message::Message;
use super::{Distortion, Proxy, callbacks, locked, socket};

const BODY_LIMIT_BYTES: usize = 64 * 1024 * 1024;
/// For how long an update waits for one that comes at once, so that both are on their way.
const AT_ONCE: Duration = Duration::from_millis(25);
/// Headers of one connection (RFC 9110, 7.6.1), and those that are made anew.
const OF_A_HOP: [&str; 5] = ["connection", "keep-alive", "transfer-encoding", "content-length", "host"];

/// Answers every request.
pub async fn dispatch(request: HttpRequest, payload: web::Payload, proxy: web::Data<Proxy>) -> HttpResponse {
    if request.headers().contains_key(header::UPGRADE) {
        return socket::upgrade(&request, payload, proxy).await.unwrap_or_else(unreachable);
    }
    let Ok(Ok(body)) = payload.to_bytes_limited(BODY_LIMIT_BYTES).await else {
        return HttpResponse::BadRequest().body("the body could not be read to its end");
    };
    let answer = match request.path().strip_prefix(callbacks::PATH) {
        Some(number) => callbacks::relay(&request, body, number, &proxy).await,
        None => ask_hub(&request, body, &proxy).await,
    };
    answer.map_or_else(unreachable, Answer::into_response)
}

fn unreachable(error: reqwest::Error) -> HttpResponse {
    HttpResponse::BadGateway().body(format!("the proxy cannot pass this on: {error}"))
}

/// The URL of the same path at the hub.
pub fn at_hub(request: &HttpRequest, proxy: &Proxy) -> url::Url {
    let mut url = proxy.upstream.clone();
    // Both were taken from a URL's own text, so neither is written anew.
    url.set_path(request.uri().path());
    url.set_query(request.uri().query());
    url
}

/// A request like this one to another URL. Its headers come along, as far as they are not its connection's.
pub fn to(request: &HttpRequest, url: url::Url, body: Bytes) -> reqwest::Request {
    let method = Method::from_bytes(request.method().as_str().as_bytes()).unwrap_or_default();
    let mut sent = reqwest::Request::new(method, url);
    for (name, value) in request.headers().iter().filter(|(name, _)| !is_of_a_hop(name.as_str())) {
        let name = HeaderName::from_bytes(name.as_str().as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.as_bytes())) {
            sent.headers_mut().append(name, value);
        }
    }
    if !body.is_empty() {
        *sent.body_mut() = Some(body.into());
    }
    sent
}

/// Whether a header belongs to one connection only.
pub fn is_of_a_hop(name: &str) -> bool {
    OF_A_HOP.iter().any(|known| known.eq_ignore_ascii_case(name))
}

async fn ask_hub(request: &HttpRequest, body: Bytes, proxy: &Proxy) -> Result<Answer, reqwest::Error> {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_form = content_type.is_some_and(|value| value.starts_with("application/x-www-form-urlencoded"));
    let form: Vec<(String, String)> =
        if is_form { form_urlencoded::parse(&body).into_owned().collect() } else { Vec::new() };
    let event = std::str::from_utf8(&body).ok().filter(|_| !is_form).and_then(Message::read);
    let body = match &event {
        Some(event) => posted(event, body, proxy),
        None if is_form => subscribing(&form, body, proxy),
        None => body,
    };
    let update = event.filter(|event| proxy.distortion == Distortion::RaceWithoutLoser && event.is_update());
    let update = update.and_then(|event| Some((event.topic().to_owned(), event.version()?)));
    if let Some((topic, version)) = &update {
        proxy.seen().sets_out(topic, version);
        tokio::time::sleep(AT_ONCE).await;
    }
    let answer = Answer::of(&proxy.http, to(request, at_hub(request, proxy), body)).await;
    let is_race = update.is_some_and(|(topic, version)| proxy.seen().arrives(&topic, &version));
    let mut answer = answer?;
    if is_race && answer.status == StatusCode::CONFLICT {
        answer = Answer::empty(StatusCode::ACCEPTED);
    }
    answer.distort(&Asked { request, form: &form }, proxy);
    Ok(answer)
}

/// The body of an event on its way to the hub.
fn posted(event: &Message, body: Bytes, proxy: &Proxy) -> Bytes {
    let is_retry = proxy.seen().posts(event.clone(), &body);
    if is_retry && proxy.distortion == Distortion::RetryBroadcastTwice {
        // The same event, but not the same bytes.
        let text = String::from_utf8_lossy(&body).replacen('{', "{ ", 1);
        return text.into_bytes().into();
    }
    body
}

/// The body of a form on its way to the hub: endpoints as the hub knows them, callbacks as the proxy wants them.
fn subscribing(form: &[(String, String)], body: Bytes, proxy: &Proxy) -> Bytes {
    let value = |name: &str| form.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let is_unsubscribe = value("hub.mode") == Some("unsubscribe");
    let secret = value("hub.secret");
    let mut sent = form.to_vec();
    for (name, value) in &mut sent {
        match name.as_str() {
            "hub.channel.endpoint" | "endpoint" => {
                let path = url::Url::parse(value).map(|url| url.path().to_owned()).unwrap_or_default();
                if let Some(endpoint) = locked(&proxy.endpoints).get(&path) {
                    *value = endpoint.to_string();
                    if is_unsubscribe {
                        proxy.seen().unsubscribes(&path);
                    }
                }
            }
            "hub.callback" if callbacks::is_relayed(proxy.distortion) => {
                if let Some(path) = locked(&proxy.callbacks).path_of(value, secret) {
                    *value = format!("http://{}{path}", proxy.address);
                }
            }
            _ => {}
        }
    }
    if sent == form {
        return body;
    }
    form_urlencoded::Serializer::new(String::new()).extend_pairs(sent).finish().into()
}
