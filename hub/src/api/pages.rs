//! Pages of browsers, while authentication is off (FC-TRN-07).
//!
//! Then whoever reaches the hub may read and change every session, and a browser that reaches it asks for whatever page it
//! shows: a form that a page posts needs no permission of ours, and a name that its owner lets lead to this machine makes
//! a page the hub's own. So a page that says where it is from is served only if that is allowed or is the browser's own
//! machine, and a hub that listens to its machine alone is asked by no name but that machine's and its own. With tokens nothing of this matters: no browser
//! sends one by itself. Neither does it for the WebSocket, whose endpoint is the ticket (FC-WSC-02).

use std::net::IpAddr;

use actix_web::{HttpRequest, http::header};
use shared::settings::{AuthMode, Settings};
use url::{Host, Url};

use super::ApiError;
use crate::{client_address::is_from_proxy, own_url::named_host};

/// Is it asked by a page, or by a name, that may not ask?
pub fn check_page(request: &HttpRequest, settings: &Settings) -> Result<(), ApiError> {
    if settings.auth.mode != AuthMode::Off {
        return Ok(());
    }
    let mut origins = request.headers().get_all(header::ORIGIN);
    if !origins.all(|origin| origin.to_str().is_ok_and(|origin| may_ask(origin, settings))) {
        return Err(ApiError::NotServed(
            "the Origin is not one of cors.allowed_origins: while authentication is off no other page is served",
        ));
    }
    let is_alone = settings.listen.ip().to_canonical().is_loopback() && !is_from_proxy(request, settings);
    if is_alone && named_host(request.headers()).is_some_and(|host| !is_own(host, settings)) {
        return Err(ApiError::NotServed(
            "the Host is neither this machine nor that of public_url: while authentication is off no other is served",
        ));
    }
    Ok(())
}

fn may_ask(origin: &str, settings: &Settings) -> bool {
    settings.cors.allowed_origins.iter().any(|allowed| allowed == origin)
        || settings.public_url.as_ref().is_some_and(|own| own.origin().ascii_serialization() == origin)
        || Url::parse(origin).is_ok_and(|origin| is_here(origin.host()))
}

/// A host and perhaps a port.
fn is_own(host: &str, settings: &Settings) -> bool {
    let Ok(named) = Url::parse(&format!("http://{host}")) else { return false };
    let own = settings.public_url.as_ref().and_then(Url::host);
    is_here(named.host()) || own.is_some() && named.host() == own
}

/// Does it lead to this machine, whoever says so?
fn is_here(host: Option<Host<&str>>) -> bool {
    let is_loopback = |address: IpAddr| address.to_canonical().is_loopback();
    match host {
        // No name server is asked for these (RFC 6761).
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => is_loopback(address.into()),
        Some(Host::Ipv6(address)) => is_loopback(address.into()),
        None => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn is_served(settings: &Settings, named: &[(&str, &str)]) -> bool {
        let request = TestRequest::default().peer_addr("127.0.0.1:99".parse().unwrap());
        let request = named.iter().fold(request, |request, header| request.append_header(*header));
        check_page(&request.to_http_request(), settings).is_ok()
    }

    fn off() -> Settings {
        let mut settings = Settings::default();
        settings.cors.allowed_origins = vec!["https://viewer.example".to_owned()];
        settings
    }

    #[test]
    fn without_tokens_a_page_is_served_if_it_is_allowed_or_of_this_machine() {
        for origin in
            ["https://viewer.example", "http://localhost:3000", "http://127.0.0.1", "http://[::1]:1"]
        {
            assert!(is_served(&off(), &[("Origin", origin)]), "FC-TRN-07: {origin}");
        }
        for origin in [
            "https://evil.example",
            "https://viewer.example:444",
            "http://viewer.example",
            "null",
            "",
            "http://localhost.evil.example",
            "http://127.0.0.1.evil.example",
            "file://",
        ] {
            assert!(!is_served(&off(), &[("Origin", origin)]), "FC-TRN-07: {origin}");
        }
        let twice = [("Origin", "https://viewer.example"), ("Origin", "https://evil.example")];
        assert!(!is_served(&off(), &twice), "FC-TRN-07");
        assert!(is_served(&off(), &[]), "no page");
    }

    #[test]
    fn without_tokens_a_hub_of_this_machine_alone_has_no_name_but_its_own() {
        for host in ["127.0.0.1:8080", "localhost", "hub.localhost:1", "[::1]:8080", "LOCALHOST"] {
            assert!(is_served(&off(), &[("Host", host)]), "{host}");
        }
        for host in ["evil.example", "evil.example:8080", "10.0.0.1", "localhost.evil.example"] {
            assert!(!is_served(&off(), &[("Host", host)]), "{host}");
        }
        let public = Settings { public_url: Some("https://hub.example".parse().unwrap()), ..off() };
        assert!(is_served(&public, &[("Host", "hub.example:8443"), ("Origin", "https://hub.example")]));
        assert!(!is_served(&public, &[("Host", "evil.example")]));
        let open = Settings { listen: "0.0.0.0:80".parse().unwrap(), insecure: true, ..off() };
        assert!(is_served(&open, &[("Host", "hub.example")]), "whoever reaches it is served");
        let proxied = Settings { trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()], ..off() };
        assert!(is_served(&proxied, &[("Host", "hub.example")]), "a proxy hands on its own name");
    }

    #[test]
    fn with_tokens_nobody_asks_where_a_page_is_from() {
        let mut settings = off();
        settings.auth.mode = AuthMode::Jwt;
        assert!(is_served(&settings, &[("Origin", "https://evil.example"), ("Host", "evil.example")]));
    }
}
