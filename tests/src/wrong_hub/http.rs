//! What is asked over HTTP: paths, forms, events, the well-known document (FC-TRN, FC-SUB-01, FC-CNF-01).

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix_web::http::{Method, StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};
use actix_web_actors::ws;
use futures_util::stream;
use serde_json::json;
use url::form_urlencoded;

use super::Wrong;
use super::grant::Grant;
use super::hub::{DEFAULT_LEASE_SECS, Hub, Terms};
use super::message::{Event, Filter, Refusal, bad};
use super::socket::Socket;

/// Where the hub is served; the first is in its URL.
pub const BASE_PATHS: [&str; 3] = ["/api/hub", "/fhircast/STU3", "/fhircast/STU2"];
const BODY_LIMIT_BYTES: usize = 1024 * 1024;
const TOPIC_LIMIT_BYTES: usize = 256;
const RESERVED: [&str; 3] = ["metadata", ".well-known", "ws"];
/// For how long a hub that mistakes events for one another waits for another one.
const AT_ONCE: Duration = Duration::from_millis(25);

/// Answers every request.
pub async fn dispatch(request: HttpRequest, payload: web::Payload, hub: web::Data<Hub>) -> HttpResponse {
    let wrong = hub.wrong;
    answer(&request, payload, hub).await.unwrap_or_else(|(status, reason)| {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut answer = HttpResponse::build(status);
        if status == StatusCode::UNAUTHORIZED && wrong != Wrong::NoChallenge {
            answer.insert_header((header::WWW_AUTHENTICATE, "Bearer realm=\"wrong hub\""));
        }
        match wrong {
            Wrong::ErrorsWithoutText => answer.finish(),
            _ => answer.content_type("text/plain; charset=utf-8").body(reason),
        }
    })
}

async fn answer(
    request: &HttpRequest,
    payload: web::Payload,
    hub: web::Data<Hub>,
) -> Result<HttpResponse, Refusal> {
    let nowhere = || (404, "nothing is served at this path".to_owned());
    let mut path = request.uri().path().to_owned();
    while path.contains("//") {
        path = path.replace("//", "/");
    }
    if hub.wrong == Wrong::NoTrailingSlash && path.ends_with('/') {
        return Err(nowhere());
    }
    let rest = BASE_PATHS.iter().find_map(|base| path.strip_prefix(base)).ok_or_else(nowhere)?;
    if !rest.is_empty() && !rest.starts_with('/') {
        return Err(nowhere());
    }
    let rest = rest.trim_matches('/');
    let (is_get, is_post) = (request.method() == Method::GET, request.method() == Method::POST);
    let grant = || match hub.wants_tokens {
        true => Grant::of(request, hub.wrong),
        false => Ok(Grant::everything()),
    };
    match rest {
        ".well-known/fhircast-configuration" if is_get => Ok(json_answer(200, configuration(hub.wrong))),
        "" if is_post => post(request, payload, &hub, &grant()?, None).await,
        "" => Err((405, "this is where events are posted".to_owned())),
        _ if is_get && rest.starts_with("ws/") => {
            let id = rest["ws/".len()..].to_owned();
            if !hub.knows(&id) && hub.wrong != Wrong::UnknownEndpoint {
                return Err((404, "this endpoint is unknown, or has ended".to_owned()));
            }
            ws::start(Socket::new(hub, id), request, payload).map_err(|error| (400, error.to_string()))
        }
        _ if is_get && RESERVED.contains(&rest) => Err(nowhere()),
        _ if is_get => {
            let (grant, topic) = (grant()?, topic(&decoded(rest), hub.wrong)?);
            grant.use_topic(&topic, hub.wrong)?;
            Ok(json_answer(200, hub.current_context(&topic, &grant)?))
        }
        _ if is_post => {
            post(request, payload, &hub, &grant()?, Some(topic(&decoded(rest), hub.wrong)?)).await
        }
        _ => Err((405, "a topic is read or posted to".to_owned())),
    }
}

/// The segment of a path without its percent signs: form decoding, with what is special there disguised.
fn decoded(segment: &str) -> String {
    let disguised = format!("={}", segment.replace('+', "%2B").replace('&', "%26"));
    form_urlencoded::parse(disguised.as_bytes()).map(|(_, value)| value.into_owned()).collect()
}

/// A topic that may be one (FC-SES-01).
fn topic(text: &str, wrong: Wrong) -> Result<String, Refusal> {
    let is_printable = |c: char| c == ' ' || !(c.is_control() || c.is_whitespace());
    let is_long = text.is_empty() || text.len() > TOPIC_LIMIT_BYTES;
    if is_long || RESERVED.contains(&text) || !text.chars().all(is_printable) {
        return bad("hub.topic must be 1 to 256 bytes, printable, and no name of the hub's own paths");
    }
    Ok(if wrong == Wrong::FoldedTopics { text.to_lowercase() } else { text.to_owned() })
}

fn json_answer(status: u16, body: String) -> HttpResponse {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    HttpResponse::build(status).content_type("application/json").body(body)
}

fn configuration(wrong: Wrong) -> String {
    let mut configuration = json!({
        "eventsSupported": ["*-open", "*-close", "*-update", "*-select", "home-open", "userLogout",
            "userHibernate", "syncerror"],
        "websocketSupport": true,
        "webhookSupport": false,
        "fhircastVersion": "2.1.0-ballot",
        "getCurrentSupport": true,
        "capabilities": {"supportsGetCurrentContext": true, "supportsNonCurrentContextUpdates": true},
        "fhirVersion": "R4",
    });
    if let (Wrong::NoGetCurrentSupport, Some(members)) = (wrong, configuration.as_object_mut()) {
        members.remove("getCurrentSupport");
    }
    configuration.to_string()
}

/// A form subscribes, JSON is an event (FC-TRN-02).
async fn post(
    request: &HttpRequest,
    payload: web::Payload,
    hub: &Hub,
    grant: &Grant,
    in_path: Option<String>,
) -> Result<HttpResponse, Refusal> {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    let is_form = match essence.to_ascii_lowercase().as_str() {
        "application/x-www-form-urlencoded" if in_path.is_none() => true,
        "application/json" | "application/fhir+json" => false,
        _ if hub.wrong == Wrong::AnyContentType => false,
        _ => return Err((415, "Content-Type must be a form's to subscribe, JSON for an event".to_owned())),
    };
    let body = match payload.to_bytes_limited(BODY_LIMIT_BYTES).await {
        Ok(Ok(body)) => body,
        Ok(Err(error)) => return bad(error.to_string()),
        Err(_) => return Err((413, format!("the body is larger than {BODY_LIMIT_BYTES} bytes"))),
    };
    if is_form {
        return subscribe(&body, hub, grant);
    }
    let Ok(text) = std::str::from_utf8(&body) else { return bad("the body must be UTF-8") };
    let mut event = Event::read(text, hub.wrong)?;
    event.topic = topic(&event.topic, hub.wrong)?;
    let is_elsewhere = in_path.is_some_and(|topic| topic != event.topic);
    if is_elsewhere && hub.wrong != Wrong::AnyTopicInPath {
        return bad("event.hub.topic must be the topic in the path");
    }
    grant.use_topic(&event.topic, hub.wrong)?;
    grant.send(&event.name, hub.wrong)?;
    hub.publish(&event, another_comes(hub).await)?;
    Ok(match hub.wrong {
        Wrong::PublishedWith200 => HttpResponse::Ok().finish(),
        Wrong::ChunkedAnswer => HttpResponse::Accepted()
            .content_type("application/json")
            .streaming(stream::empty::<Result<web::Bytes, actix_web::Error>>()),
        _ => HttpResponse::Accepted().finish(),
    })
}

/// Waits, if the hub is one that mistakes events for one another, and says whether another one came.
async fn another_comes(hub: &Hub) -> bool {
    if !matches!(hub.wrong, Wrong::LosesOneOfTwo | Wrong::BothWin) {
        return false;
    }
    let number = hub.coming.fetch_add(1, Ordering::SeqCst) + 1;
    tokio::time::sleep(AT_ONCE).await;
    hub.coming.load(Ordering::SeqCst) != number
}

/// Subscribes or unsubscribes (FC-SUB-01…06, FC-SUB-09).
fn subscribe(body: &[u8], hub: &Hub, grant: &Grant) -> Result<HttpResponse, Refusal> {
    let mut form: HashMap<String, String> = HashMap::new();
    for (name, value) in form_urlencoded::parse(body).into_owned() {
        if form.contains_key(&name) {
            if hub.wrong != Wrong::RepeatedParameter {
                return bad(format!("{name} appears more than once"));
            }
            continue;
        }
        form.insert(name, value);
    }
    let get = |name: &str| form.get(name).map(String::as_str).filter(|value| !value.is_empty());
    if get("hub.channel.type") != Some("websocket") {
        return bad("hub.channel.type must be websocket: the only channel that there is");
    }
    let mode = get("hub.mode").filter(|mode| ["subscribe", "unsubscribe"].contains(mode));
    let Some(mode) = mode else { return bad("hub.mode must be subscribe or unsubscribe") };
    let topic = topic(get("hub.topic").unwrap_or_default(), hub.wrong)?;
    grant.use_topic(&topic, hub.wrong)?;
    let endpoint = get("hub.channel.endpoint").or(get("endpoint"));
    if mode == "unsubscribe" {
        let Some(endpoint) = endpoint else { return bad("hub.channel.endpoint is missing") };
        hub.unsubscribe(&topic, endpoint)?;
        return Ok(json_answer(202, json!({"hub.channel.endpoint": endpoint}).to_string()));
    }
    let events = match get("hub.events") {
        None if hub.wrong == Wrong::MissingEvents => "*",
        None => return bad("hub.events is missing"),
        Some(events) => events,
    };
    let lease_secs = match form.get("hub.lease_seconds").map(|lease| (lease, lease.parse::<u64>())) {
        None => DEFAULT_LEASE_SECS,
        Some((lease, Ok(1..))) if !lease.starts_with('+') => lease.parse().unwrap_or(DEFAULT_LEASE_SECS),
        Some(_) if hub.wrong == Wrong::AnyLease => DEFAULT_LEASE_SECS,
        Some(_) => return bad("hub.lease_seconds must be a positive decimal integer"),
    };
    let name = get("subscriber.name").filter(|_| hub.wrong != Wrong::NamelessSubscribers);
    let asked = Filter::read(events, hub.wrong)?;
    let events = grant.granted(&asked, hub.wrong)?;
    let life_secs = grant.life_secs.filter(|_| hub.wrong != Wrong::OutlivesToken);
    let lease_secs = life_secs.map_or(lease_secs, |life_secs| life_secs.min(lease_secs));
    let terms = Terms { topic, events, asked, lease_secs, name: name.map(str::to_owned) };
    let endpoint = hub.subscribe(terms, endpoint)?;
    let status = if hub.wrong == Wrong::SubscribedWith200 { 200 } else { 202 };
    Ok(json_answer(status, json!({"hub.channel.endpoint": endpoint}).to_string()))
}
