//! The span of a request: what it asks for, and what it was answered; whose trace it is of, the sender says
//! (`traceparent`, `tracestate`). Nothing of a path is in it, which may be a topic or a ticket.

use actix_web::{
    HttpRequest,
    http::{Method, StatusCode},
};
use shared::{
    protocol::{
        TraceContext,
        trace_context::{TRACEPARENT, TRACESTATE},
    },
    telemetry::traces::{Span, SpanKind},
};

use crate::route::Route;

/// What stands for a method that is none of HTTP's.
const OTHER: &str = "_OTHER";

/// Of a request, over TLS or not.
pub fn of(request: &HttpRequest, route: &Route, is_tls: bool) -> Span {
    let values = |name: &'static str| request.headers().get_all(name).filter_map(|value| value.to_str().ok());
    let before = TraceContext::from_headers(values(TRACEPARENT), values(TRACESTATE));
    let (method, route) = (method(request.method()), template(route));
    let span = Span::of(SpanKind::Server, "request", before.as_ref());
    span.rename(|| match method {
        OTHER => format!("HTTP {route}"),
        method => format!("{method} {route}"),
    });
    span.note(|| {
        let scheme = if is_tls { "https" } else { "http" };
        [("http.request.method", method.into()), ("http.route", route.into()), ("url.scheme", scheme.into())]
    });
    span
}

/// It is answered.
pub fn end(span: &Span, status: StatusCode) {
    span.within(|| tracing::debug!(status = status.as_u16(), "a request is answered"));
    span.note(|| [("http.response.status_code", i64::from(status.as_u16()).into())]);
    if status.is_server_error() {
        span.fail(status.as_str().to_owned());
    }
}

/// A method as it may stand in a span: anybody may make up others.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        _ => OTHER,
    }
}

fn template(route: &Route) -> &'static str {
    match route {
        Route::Hub => "hub.url",
        Route::WellKnown => "hub.url/.well-known/fhircast-configuration",
        Route::Metadata => "hub.url/metadata",
        Route::Socket(_) => "hub.url/ws/{endpoint}",
        Route::Topic(_) | Route::BadTopic(_) => "hub.url/{topic}",
        Route::Unknown => "other",
    }
}
