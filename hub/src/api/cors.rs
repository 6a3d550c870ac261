//! Browser apps on other origins (FC-TRN-07).

use actix_cors::Cors;
use actix_web::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};

/// The middleware for these origins, compared exactly; none is allowed when there are none.
///
/// A preflight is answered here, before anything asks who the caller is. Errors have the headers
/// too, and a page may read why it was refused and when to come back. Requests from other
/// origins are served without the headers that would let a browser show them the answer: a
/// socket's `Origin` is never relied upon (FC-WSC-02). A token stands in `Authorization`, which
/// a page sends on purpose, so credentials that a browser would send by itself are not let in.
pub fn cors(allowed_origins: &[String]) -> Cors {
    let cors = Cors::default()
        .allowed_methods(["GET", "POST"])
        .allow_any_header()
        // What an error says besides its text.
        .expose_headers([WWW_AUTHENTICATE, RETRY_AFTER])
        .max_age(3600);
    allowed_origins.iter().fold(cors, |cors, origin| cors.allowed_origin(origin))
}
