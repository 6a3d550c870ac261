//! The HTTP API: one room for each thing that can be asked, one for how errors are answered.

mod body;
mod configuration;
mod cors;
mod error;
mod metadata;
mod publish;
mod subscribe;

use actix_web::{
    HttpRequest, HttpResponse,
    http::{Method, header},
    web,
};

pub use cors::cors;
pub use error::ApiError;

use self::body::MediaType;
use crate::{
    auth::{Caller, authenticate},
    node::Node,
    route::{Route, route},
    socket,
};

/// Answers every request: finds its route, and hands it to the one who knows.
pub async fn dispatch(request: HttpRequest, payload: web::Payload, node: web::Data<Node>) -> HttpResponse {
    answer(&request, payload, node).await.unwrap_or_else(ApiError::into_response)
}

async fn answer(
    request: &HttpRequest,
    payload: web::Payload,
    node: web::Data<Node>,
) -> Result<HttpResponse, ApiError> {
    let method = request.method();
    match route(request.uri().path(), &node.settings.base_paths) {
        Route::Hub if method == Method::POST => {
            let caller = authenticate(request, &node).await?;
            post(request, payload, &node, &caller, None).await
        }
        Route::Hub => Err(ApiError::MethodNotAllowed("POST")),
        Route::Topic(topic) if method == Method::POST => {
            let caller = authenticate(request, &node).await?;
            post(request, payload, &node, &caller, Some(topic)).await
        }
        Route::Topic(topic) if is_read(method) => {
            let caller = authenticate(request, &node).await?;
            current_context(&node, &caller, &topic).await
        }
        Route::Topic(_) => Err(ApiError::MethodNotAllowed("GET, POST")),
        Route::WellKnown if is_read(method) => {
            Ok(json(HttpResponse::Ok().body(configuration::document().to_json())))
        }
        Route::Metadata if is_read(method) => Ok(metadata::metadata(request, &node)),
        Route::Socket(endpoint) if method == Method::GET => {
            socket::upgrade(request, payload, node, &endpoint).await
        }
        Route::WellKnown | Route::Metadata | Route::Socket(_) => Err(ApiError::MethodNotAllowed("GET")),
        Route::BadTopic(problem) => Err(ApiError::BadRequest(problem)),
        Route::Unknown => Err(ApiError::NotFound("nothing is served at this path")),
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
    topic: Option<shared::protocol::Topic>,
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
    let body = body::read(request, payload, node.settings.limits.body_bytes).await?;
    match media_type {
        MediaType::Form => subscribe::subscribe(request, &body, node, caller).await,
        MediaType::Json => publish::publish(&body, topic.as_ref(), node, caller).await,
    }
}

/// Get Current Context (FC-CTX-01…04, FC-SCO-03).
async fn current_context(
    node: &Node,
    caller: &Caller,
    topic: &shared::protocol::Topic,
) -> Result<HttpResponse, ApiError> {
    caller.may_use(topic)?;
    let scopes = caller.may_read()?;
    let context = node.publisher.current_context(topic.key(), &scopes).await?;
    Ok(json(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).body(context)))
}

fn json(mut response: HttpResponse) -> HttpResponse {
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
