//! Where a request came from.

use std::net::{IpAddr, Ipv4Addr};

use actix_web::HttpRequest;
use shared::settings::Settings;

/// The address of the client.
pub fn client_address(request: &HttpRequest, _settings: &Settings) -> IpAddr {
    request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip())
}
