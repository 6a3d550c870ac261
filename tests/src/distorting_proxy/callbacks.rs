//! Callbacks that the proxy stands for: the hub's requests, passed on, and what is made of them (FC-WHK, FC-SEC-02).

use std::collections::HashSet;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::web::{self, Bytes};
use actix_web::{HttpRequest, rt};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use reqwest::header::HeaderValue;
use url::{Host, Url, form_urlencoded};

use super::answer::Answer;
use super::message::{Message, Told};
use super::{Distortion, Proxy, http, locked};
use crate::callback_server::signature;

/// Where the proxy is called back; a number follows.
pub const PATH: &str = "/relayed-callbacks/";
const SIGNATURE: &str = "x-hub-signature";
/// For how long a delivery waits for the one that is to pass it.
const HELD_FOR: Duration = Duration::from_millis(500);

/// An app's callback.
struct Callback {
    url: Url,
    secret: Option<String>,
    /// How many events have come for it.
    deliveries: usize,
    /// The delivery that waits for the next one to pass it.
    held: Option<reqwest::Request>,
    /// The ids of events that it did not take.
    not_taken: HashSet<String>,
}

/// The callbacks, by their number.
#[derive(Default)]
pub struct Callbacks(Vec<Callback>);

impl Callbacks {
    /// The proxy's path for a callback, the same whenever it is asked for. `None` for one that is not on loopback, or
    /// is none: to refuse those is up to the hub.
    pub fn path_of(&mut self, callback: &str, secret: Option<&str>) -> Option<String> {
        let url = Url::parse(callback).ok().filter(is_plain_and_on_loopback)?;
        let number = self.0.iter().position(|known| known.url == url).unwrap_or_else(|| {
            let (held, not_taken) = (None, HashSet::new());
            self.0.push(Callback { url: url.clone(), secret: None, deliveries: 0, held, not_taken });
            self.0.len() - 1
        });
        if let Some(secret) = secret {
            self.0[number].secret = Some(secret.to_owned());
        }
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        Some(format!("{PATH}{number}{query}"))
    }
}

fn is_plain_and_on_loopback(url: &Url) -> bool {
    let is_loopback = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    let is_http = url.scheme() == "http" || url.scheme() == "https";
    is_loopback
        && is_http
        && url.username().is_empty()
        && url.password().is_none()
        && url.fragment().is_none()
}

/// Whether a distortion concerns callbacks; for the others the hub requests them itself.
pub fn is_relayed(distortion: Distortion) -> bool {
    let of_callbacks = ["FC-WHK-", "FC-NOT-", "FC-EXT-", "FC-CNT-04", "FC-SEC-02"];
    of_callbacks.iter().any(|rules| distortion.rule().starts_with(rules))
}

/// Passes on what the hub asks of the callback with this number.
pub async fn relay(
    request: &HttpRequest,
    body: Bytes,
    number: &str,
    proxy: &web::Data<Proxy>,
) -> Result<Answer, reqwest::Error> {
    let found = number.parse().ok().and_then(|number: usize| {
        let callbacks = locked(&proxy.callbacks);
        callbacks.0.get(number).map(|callback| (number, callback.url.clone()))
    });
    let Some((number, mut url)) = found else { return Ok(Answer::empty(StatusCode::NOT_FOUND)) };
    url.set_query(request.uri().query());
    if request.method() == "POST" {
        deliver(request, body, number, url, proxy).await
    } else {
        ask(request, url, proxy).await
    }
}

/// A verification, or a denial.
async fn ask(request: &HttpRequest, mut url: Url, proxy: &Proxy) -> Result<Answer, reqwest::Error> {
    let query: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    let value = |name: &str| query.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    let challenge = value("hub.challenge");
    let is_denial = value("hub.mode").as_deref() == Some("denied");
    let confirmed = || Answer::empty(StatusCode::OK).with_body(challenge.clone().unwrap_or_default());
    match proxy.distortion {
        Distortion::Unverified if challenge.is_some() => return Ok(confirmed()),
        Distortion::NoDenialToCallback if is_denial => return Ok(Answer::empty(StatusCode::OK)),
        Distortion::VerifiedWithoutQuery if challenge.is_some() => {
            let of_hub = query.iter().filter(|(name, _)| name.starts_with("hub."));
            let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(of_hub).finish();
            url.set_query(Some(&query));
        }
        _ => {}
    }
    let answer = Answer::of(client(proxy), http::to(request, url, Bytes::new())).await;
    match proxy.distortion {
        Distortion::AnyChallenge if challenge.is_some() => Ok(confirmed()),
        _ => answer,
    }
}

fn client(proxy: &Proxy) -> &reqwest::Client {
    match proxy.distortion {
        Distortion::RedirectsFollowed => &proxy.following,
        _ => &proxy.http,
    }
}

/// A notification.
async fn deliver(
    request: &HttpRequest,
    body: Bytes,
    number: usize,
    mut url: Url,
    proxy: &web::Data<Proxy>,
) -> Result<Answer, reqwest::Error> {
    let Some(message) = std::str::from_utf8(&body).ok().and_then(Message::read) else {
        return Answer::of(client(proxy), http::to(request, url, body)).await;
    };
    let id = message.id().to_owned();
    let told = match proxy.distortion {
        Distortion::CallbackWithoutTimestamp => message.without("timestamp"),
        Distortion::NewIdOnRetry if locked(&proxy.callbacks).0[number].not_taken.contains(&id) => {
            Told::Instead(message.with_id(&format!("{id}-again")))
        }
        distortion => message.told(distortion, &proxy.seen()),
    };
    let (body, is_changed) = match told {
        Told::AsItIs => (body, false),
        Told::Instead(message) => (message.text().into(), true),
        Told::Nothing => return Ok(Answer::empty(StatusCode::OK)),
    };
    if proxy.distortion == Distortion::DeliveredWithoutQuery {
        url.set_query(None);
    }
    let signature = match (proxy.distortion, locked(&proxy.callbacks).0[number].secret.as_deref()) {
        (Distortion::SignedWithSha1, Some(secret)) => sha1_signature(secret, &body).ok(),
        (_, Some(secret)) if is_changed => signature(secret, &body).ok(),
        _ => None,
    };
    let mut delivery = http::to(request, url, body);
    match signature.and_then(|signature| HeaderValue::from_str(&signature).ok()) {
        Some(signature) => drop(delivery.headers_mut().insert(SIGNATURE, signature)),
        None if proxy.distortion == Distortion::Unsigned => drop(delivery.headers_mut().remove(SIGNATURE)),
        None => {}
    }
    if proxy.distortion == Distortion::DeliveriesSwapped {
        return swap(delivery, number, proxy).await;
    }
    let answer = Answer::of(client(proxy), delivery).await;
    if !answer.as_ref().is_ok_and(|answer| answer.status.is_success()) {
        locked(&proxy.callbacks).0[number].not_taken.insert(id.clone());
        proxy.seen().fails(&id);
    }
    answer.map(|answer| told_to_hub(answer, proxy.distortion))
}

/// What the hub is told of the callback's answer to a notification.
fn told_to_hub(answer: Answer, distortion: Distortion) -> Answer {
    let status = answer.status.as_u16();
    let is_retried = status >= 500 || [408, 425, 429].contains(&status);
    match distortion {
        Distortion::NothingRetried if is_retried => Answer::empty(StatusCode::OK),
        Distortion::RefusalRetried if status >= 400 && !is_retried && status != 410 => {
            Answer::empty(StatusCode::SERVICE_UNAVAILABLE)
        }
        Distortion::GoneStays if status == 410 => Answer::empty(StatusCode::BAD_REQUEST),
        _ => answer,
    }
}

/// Holds every second delivery until the next one has been made, or none has come for a while.
async fn swap(
    delivery: reqwest::Request,
    number: usize,
    proxy: &web::Data<Proxy>,
) -> Result<Answer, reqwest::Error> {
    let passed = {
        let callback = &mut locked(&proxy.callbacks).0[number];
        callback.deliveries += 1;
        if callback.deliveries.is_multiple_of(2) {
            callback.held = Some(delivery);
            let proxy = proxy.clone();
            rt::spawn(async move {
                tokio::time::sleep(HELD_FOR).await;
                let held = locked(&proxy.callbacks).0[number].held.take();
                if let Some(held) = held {
                    // The hub has been told that this went well.
                    let _ = proxy.http.execute(held).await;
                }
            });
            return Ok(Answer::empty(StatusCode::OK));
        }
        callback.held.take()
    };
    let answer = Answer::of(&proxy.http, delivery).await;
    if let Some(passed) = passed {
        let _ = proxy.http.execute(passed).await;
    }
    answer
}

fn sha1_signature(secret: &str, body: &[u8]) -> Result<String, ErrorStack> {
    let key = PKey::hmac(secret.as_bytes())?;
    let hmac = Signer::new(MessageDigest::sha1(), &key)?.sign_oneshot_to_vec(body)?;
    Ok(format!("sha1={}", hex::encode(hmac)))
}
