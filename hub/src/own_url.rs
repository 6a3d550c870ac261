//! The hub's URL as the client that asks can reach it: what the URLs in answers begin with (FC-SUB-02, FC-CNF-02).
//!
//! `public_url`, where it is set. Otherwise it is made of the host that the request names, or that a trusted proxy says
//! the client has named (`X-Forwarded-Host`, `X-Forwarded-Proto`). Nothing but a plain host and a port gets into it.

use std::net::Ipv6Addr;

use actix_web::{
    HttpRequest,
    http::header::{self, HeaderMap},
};
use shared::settings::Settings;

use crate::client_address::is_from_proxy;

const X_FORWARDED_HOST: &str = "x-forwarded-host";
const X_FORWARDED_PROTO: &str = "x-forwarded-proto";
/// Bytes of a host, as DNS has it.
const MAX_HOST: usize = 253;

/// `hub.url` as the client that asked can reach it.
pub fn hub_url(request: &HttpRequest, settings: &Settings) -> String {
    let base = settings.base_paths.first().map_or("", String::as_str);
    if let Some(url) = &settings.public_url {
        let path = url.path().trim_end_matches('/');
        return format!(
            "{}{}",
            url.origin().ascii_serialization(),
            if path.is_empty() { base } else { path }
        );
    }
    let headers = request.headers();
    let proxied = is_from_proxy(request, settings);
    let own_scheme = if settings.tls.cert.is_some() { "https" } else { "http" };
    let forwarded = |name| if proxied { last_of(headers, name) } else { None };
    let scheme = match forwarded(X_FORWARDED_PROTO) {
        Some("https") => "https",
        Some("http") => "http",
        _ => own_scheme,
    };
    let host = forwarded(X_FORWARDED_HOST).filter(|host| is_host(host)).or_else(|| named_host(headers));
    match host {
        Some(host) => format!("{scheme}://{host}{base}"),
        None => format!("{scheme}://{}{base}", settings.listen),
    }
}

/// Does the request name a host that cannot be one? (RFC 9112, 3.2: that is a bad request; HTTP/1.0 names none.)
pub fn has_bad_host(headers: &HeaderMap) -> bool {
    headers.contains_key(header::HOST) && named_host(headers).is_none()
}

/// The one host that the request names, with its port.
pub fn named_host(headers: &HeaderMap) -> Option<&str> {
    let mut lines = headers.get_all(header::HOST);
    let host = lines.next()?.to_str().ok()?;
    (lines.next().is_none() && is_host(host)).then_some(host)
}

/// The last element is the nearest proxy's, and the only one that is surely not the client's.
fn last_of<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get_all(name).last()?.to_str().ok()?.rsplit(',').next().map(str::trim)
}

/// A name, an IPv4 address or an IPv6 address in brackets; then perhaps a port.
fn is_host(text: &str) -> bool {
    let (is_name, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, "")) => (address.parse::<Ipv6Addr>().is_ok(), None),
            Some((address, rest)) => {
                (address.parse::<Ipv6Addr>().is_ok() && rest.starts_with(':'), rest.strip_prefix(':'))
            }
            None => return false,
        },
        None => match text.split_once(':') {
            Some((name, port)) => (is_plain(name), Some(port)),
            None => (is_plain(text), None),
        },
    };
    is_name && port.is_none_or(is_port)
}

/// Letters, digits, dots, hyphens, and the underscore that names within a house often have.
fn is_plain(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    !name.is_empty() && name.len() <= MAX_HOST && name.chars().all(is_plain)
}

fn is_port(port: &str) -> bool {
    port.chars().all(|c| c.is_ascii_digit()) && port.parse::<u16>().is_ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use actix_web::test::TestRequest;
    use proptest::prelude::*;
    use url::Url;

    use super::*;

    const PROXY: &str = "10.0.0.1:99";
    const STRANGER: &str = "192.0.2.7:99";

    fn made(peer: &str, named: &[(&str, &str)], settings: &Settings) -> String {
        let request = TestRequest::default().peer_addr(peer.parse().unwrap());
        let request = named.iter().fold(request, |request, header| request.append_header(*header));
        hub_url(&request.to_http_request(), settings)
    }

    fn behind_a_proxy() -> Settings {
        Settings { trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()], ..Settings::default() }
    }

    #[test]
    fn the_host_is_the_one_that_the_request_names() {
        for host in
            ["hub.example.org", "hub:8080", "127.0.0.1:8080", "[::1]:8080", "[2001:db8::1]", "fhircast_hub"]
        {
            let url = made(STRANGER, &[("host", host)], &Settings::default());
            assert_eq!(url, format!("http://{host}/api/hub"));
        }
        assert_eq!(made(STRANGER, &[], &Settings::default()), "http://127.0.0.1:8080/api/hub");
    }

    #[test]
    fn a_public_url_goes_over_everything() {
        let settings =
            Settings { public_url: Some("https://hub.example.org/x/".parse().unwrap()), ..behind_a_proxy() };
        let named = [("host", "evil"), ("x-forwarded-host", "evil"), ("x-forwarded-proto", "http")];
        assert_eq!(made(PROXY, &named, &settings), "https://hub.example.org/x");
    }

    #[test]
    fn what_a_proxy_forwards_is_believed_when_it_is_trusted() {
        let named =
            [("host", "hub1:8081"), ("x-forwarded-host", "hub.example.org"), ("x-forwarded-proto", "https")];
        assert_eq!(made(PROXY, &named, &behind_a_proxy()), "https://hub.example.org/api/hub");
        assert_eq!(made(STRANGER, &named, &behind_a_proxy()), "http://hub1:8081/api/hub");
        assert_eq!(made(PROXY, &named, &Settings::default()), "http://hub1:8081/api/hub");
    }

    #[test]
    fn only_the_last_element_that_is_forwarded_counts_and_only_if_it_is_good() {
        let settings = behind_a_proxy();
        let named = [
            ("host", "hub1"),
            ("x-forwarded-host", "evil"),
            ("x-forwarded-host", "evil, hub.example.org"),
            ("x-forwarded-proto", "http,https"),
        ];
        assert_eq!(made(PROXY, &named, &settings), "https://hub.example.org/api/hub");
        let named = [("host", "hub1"), ("x-forwarded-host", "a@b"), ("x-forwarded-proto", "javascript")];
        assert_eq!(made(PROXY, &named, &settings), "http://hub1/api/hub");
    }

    #[test]
    fn what_is_no_host_is_a_bad_request() {
        for bad in [
            "",
            " ",
            "a b",
            "u@h",
            "h/p",
            "h?q",
            "h#f",
            "h:",
            "h:x",
            "h:65536",
            "h:-1",
            "h:+1",
            "[::1",
            "[1.2.3.4]",
            "[::1]x",
            "::1",
            "h%2f",
            "h\"",
            "<h>",
            "h\\",
            "é",
        ] {
            let request = TestRequest::default().append_header(("host", bad)).to_http_request();
            assert!(has_bad_host(request.headers()), "{bad:?}");
        }
        let twice = TestRequest::default().append_header(("host", "a")).append_header(("host", "b"));
        assert!(has_bad_host(twice.to_http_request().headers()));
        assert!(!has_bad_host(TestRequest::default().to_http_request().headers()));
    }

    proptest! {
        #[test]
        fn whatever_is_sent_the_url_is_the_hubs_and_of_plain_characters(host in "[ -~]{0,40}", forwarded in "[ -~]{0,40}") {
            let named = [("host", host.as_str()), ("x-forwarded-host", &forwarded), ("x-forwarded-proto", &host)];
            let url = made(PROXY, &named, &behind_a_proxy());
            prop_assert!(url.chars().all(|c| c.is_ascii_alphanumeric() || "-._:/[]".contains(c)), "{}", url);
            prop_assert!(url.starts_with("http://") && url.ends_with("/api/hub"), "{}", url);
            // What a browser would refuse as a host (a number that is no address) does no harm.
            if let Ok(parsed) = Url::parse(&url) {
                prop_assert_eq!(parsed.path(), "/api/hub");
            }
        }
    }
}
