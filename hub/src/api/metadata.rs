//! The CapabilityStatement of this hub (FC-CNF-02).

use std::sync::LazyLock;

use actix_web::{HttpRequest, HttpResponse, http::header};
use shared::{protocol::capability_statement::capability_statement, publisher::now_iso_8601};

use crate::node::Node;

/// Answers with the resource. Its date is that of the process: what it says cannot change meanwhile.
pub fn metadata(request: &HttpRequest, node: &Node) -> HttpResponse {
    static STARTED: LazyLock<String> = LazyLock::new(now_iso_8601);
    let statement = capability_statement(&node.hub_url(request), &STARTED);
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "application/fhir+json"))
        .body(statement.to_string())
}
