//! The HTTP API: one room for each thing that can be asked, one for how errors are answered.

mod admit;
mod answer;
mod audited;
mod body;
mod configuration;
mod cors;
mod error;
mod metadata;
mod pages;
mod publish;
mod span;
mod subscribe;

use std::{net::IpAddr, time::Instant};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{Method, StatusCode, header},
    web,
};
use shared::{
    audit::Record,
    protocol::Topic,
    telemetry::metrics::{HttpRoute, HttpStatus, METRICS},
};

pub use audited::Audited;
pub use cors::cors;
pub use error::ApiError;

use self::{
    admit::{admit, check_head},
    answer::Answer,
    body::MediaType,
    pages::check_page,
};
use crate::{
    auth::Caller,
    client_address::client_address,
    limits::Kind,
    listener::has_left,
    node::Node,
    own_url::has_bad_host,
    route::{Route, route},
    socket,
};

/// Answers every request: finds its route, and hands it to the one who knows.
pub async fn dispatch(request: HttpRequest, payload: web::Payload, node: web::Data<Node>) -> HttpResponse {
    let route = route(request.uri().path(), &node.settings.base_paths);
    let span = span::of(&request, &route, node.settings.tls.cert.is_some());
    let response = span.over(serve(request, payload, node, route)).await;
    span::end(&span, response.status());
    response
}

async fn serve(
    request: HttpRequest,
    payload: web::Payload,
    node: web::Data<Node>,
    route: Route,
) -> HttpResponse {
    let mut counted =
        Counted { route: counted_as(&request, &route), begun: Instant::now(), status: HttpStatus::Left };
    let pause = node.settings.limits.refusal_pause();
    let address = client_address(&request, &node.settings);
    let mut audited = Audited::new(&request, &route, address);
    let answered = answer(&request, payload, node.clone(), route, address, &mut audited).await;
    let answered = audited.end(&node, answered);
    let status = answered.as_ref().map_or_else(ApiError::status, HttpResponse::status);
    counted.status = class(status);
    drop(counted);
    if let Err(ApiError::Limited(_)) = &answered {
        // Who asks again at once is slowed; who waits loses nothing.
        tokio::time::sleep(pause).await;
    }
    answered.unwrap_or_else(ApiError::into_response)
}

async fn answer(
    request: &HttpRequest,
    payload: web::Payload,
    node: web::Data<Node>,
    route: Route,
    address: IpAddr,
    audited: &mut Audited,
) -> Result<HttpResponse, ApiError> {
    if has_bad_host(request.headers()) {
        return Err(ApiError::BadRequest("the Host header is not a host and perhaps a port".to_owned()));
    }
    check_head(request, &node.settings.limits)?;
    if matches!(route, Route::Hub | Route::Topic(_)) {
        check_page(request, &node.settings)?;
    }
    let method = request.method();
    match route {
        Route::Hub if method == Method::POST => {
            let caller = admit(request, &node, address, audited).await?;
            post(request, payload, &node, &caller, None, audited.record()).await
        }
        Route::Hub => Err(ApiError::MethodNotAllowed("POST")),
        Route::Topic(topic) if method == Method::POST => {
            let caller = admit(request, &node, address, audited).await?;
            post(request, payload, &node, &caller, Some(topic), audited.record()).await
        }
        Route::Topic(topic) if is_read(method) => {
            let caller = admit(request, &node, address, audited).await?;
            current_context(&node, &caller, &topic).await
        }
        Route::Topic(_) => Err(ApiError::MethodNotAllowed("GET, POST")),
        Route::WellKnown if is_read(method) => {
            Ok(json(HttpResponse::Ok().body(configuration::document().to_json())))
        }
        Route::Metadata if is_read(method) => Ok(metadata::metadata(request, &node)),
        Route::Socket(endpoint) if method == Method::GET => {
            // The endpoint is the ticket: until it is looked up, whoever is at that address is nobody.
            node.limits.address(address, Kind::Subscribe)?;
            socket::upgrade(request, payload, node, address, &endpoint, audited).await
        }
        Route::WellKnown | Route::Metadata | Route::Socket(_) => Err(ApiError::MethodNotAllowed("GET")),
        Route::BadTopic(problem) => Err(ApiError::BadRequest(problem)),
        Route::Unknown => Err(ApiError::NotFound("nothing is served at this path")),
    }
}

/// Counts a request when it is over, also when nobody waits for its answer any more.
struct Counted {
    route: HttpRoute,
    begun: Instant,
    status: HttpStatus,
}

impl Drop for Counted {
    fn drop(&mut self) {
        METRICS.http_request(self.route, self.status, self.begun.elapsed());
    }
}

/// What a request asks for, as far as its head tells.
fn counted_as(request: &HttpRequest, route: &Route) -> HttpRoute {
    match (request.method(), route) {
        (&Method::POST, Route::Hub) if matches!(MediaType::of(request), Ok(MediaType::Form)) => {
            HttpRoute::Subscribe
        }
        (&Method::POST, Route::Hub | Route::Topic(_)) => HttpRoute::Publish,
        (_, Route::Topic(_)) => HttpRoute::Context,
        (_, Route::Socket(_)) => HttpRoute::Websocket,
        (_, Route::WellKnown | Route::Metadata) => HttpRoute::Conformance,
        (_, Route::Hub | Route::BadTopic(_) | Route::Unknown) => HttpRoute::Other,
    }
}

fn class(status: StatusCode) -> HttpStatus {
    match status.as_u16() {
        100..200 => HttpStatus::Switching,
        200..400 => HttpStatus::Success,
        400..500 => HttpStatus::ClientError,
        _ => HttpStatus::ServerError,
    }
}

fn is_read(method: &Method) -> bool {
    method == Method::GET || method == Method::HEAD
}

/// A form subscribes, JSON is an event (FC-TRN-02).
async fn post(
    request: &HttpRequest,
    payload: web::Payload,
    node: &Node,
    caller: &Caller,
    topic: Option<Topic>,
    record: &mut Record,
) -> Result<HttpResponse, ApiError> {
    let media_type = MediaType::of(request)?;
    match (media_type, &topic) {
        (MediaType::Form, Some(_)) => {
            return Err(ApiError::UnsupportedMediaType(
                "an event is application/json or application/fhir+json",
            ));
        }
        (MediaType::Form, None) | (MediaType::Json, _) => {}
    }
    let kind = if media_type == MediaType::Form { Kind::Subscribe } else { Kind::Publish };
    node.limits.caller(caller, kind)?;
    let body = body::read(request, payload, node, caller).await?;
    if has_left(request) {
        return Err(ApiError::BadRequest("the connection was closed before the request was begun".into()));
    }
    match media_type {
        MediaType::Form => subscribe::subscribe(request, &body, node, caller, record).await,
        MediaType::Json => {
            node.limits.rest_of_publish(caller, body.len())?;
            publish::publish(&body, topic.as_ref(), node, caller, record).await
        }
    }
}

/// Get Current Context (FC-CTX-01…04, FC-SCO-03).
async fn current_context(node: &Node, caller: &Caller, topic: &Topic) -> Result<HttpResponse, ApiError> {
    node.limits.caller(caller, Kind::Read)?;
    caller.may_use(topic)?;
    let scopes = caller.may_read()?;
    node.limits.topic(topic.key(), Kind::Read, 0)?;
    let turn = || node.limits.content_turn(caller);
    let context = node.publisher.current_context(topic.key(), &scopes, turn).await?;
    let context = Answer::new(context, node, caller)?;
    Ok(json(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).body(context)))
}

fn json(mut response: HttpResponse) -> HttpResponse {
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
