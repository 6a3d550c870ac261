//! Where a request came from, through proxies that are trusted (`trusted_proxies`).
//!
//! `X-Forwarded-For` is read from the right, where each proxy has put the address that it was reached from. The
//! client is the first one that is not trusted, so whatever a client writes there itself is never reached. From
//! anyone but a trusted proxy the header counts for nothing. `Forwarded` (RFC 7239) is not read: two headers that
//! disagree would let the client choose.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use actix_web::{HttpRequest, http::header::HeaderMap};
use shared::settings::{IpNet, Settings};

const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// The address of the client.
pub fn client_address(request: &HttpRequest, settings: &Settings) -> IpAddr {
    let peer = peer(request);
    if !is_trusted(peer, &settings.trusted_proxies) {
        return peer;
    }
    client_behind(peer, &hops(request.headers()), &settings.trusted_proxies)
}

/// Does the request come straight from a proxy that is trusted?
pub fn is_from_proxy(request: &HttpRequest, settings: &Settings) -> bool {
    is_trusted(peer(request), &settings.trusted_proxies)
}

fn peer(request: &HttpRequest) -> IpAddr {
    request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip().to_canonical())
}

/// Is it the address of a proxy that is trusted?
pub fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|network| network.contains(&address))
}

/// The entries of all lines, from the left. A line that is no text is an entry that is no address.
fn hops(headers: &HeaderMap) -> Vec<&str> {
    headers.get_all(X_FORWARDED_FOR).flat_map(|line| line.to_str().unwrap_or_default().split(',')).collect()
}

/// Walks from `peer` along what the proxies say, as far as they are trusted. What is no address ends the walk.
pub fn client_behind(peer: IpAddr, hops: &[&str], trusted: &[IpNet]) -> IpAddr {
    let mut client = peer;
    for hop in hops.iter().rev() {
        if !is_trusted(client, trusted) {
            break;
        }
        match address(hop.trim()) {
            Some(before) => client = before,
            None => break,
        }
    }
    client
}

/// An address, which some proxies write with a port, and IPv6 in brackets.
fn address(hop: &str) -> Option<IpAddr> {
    let bare = hop.strip_prefix('[').and_then(|hop| hop.strip_suffix(']'));
    let parsed = match bare {
        Some(bare) => bare.parse().ok().map(IpAddr::V6),
        None => hop.parse().ok().or_else(|| hop.parse::<SocketAddr>().ok().map(|with_port| with_port.ip())),
    };
    parsed.map(|address| address.to_canonical())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use actix_web::test::TestRequest;
    use proptest::prelude::*;

    use super::*;

    fn settings(trusted: &[&str]) -> Settings {
        let trusted_proxies = trusted.iter().map(|network| network.parse().unwrap()).collect();
        Settings { trusted_proxies, ..Settings::default() }
    }

    fn found(peer: &str, lines: &[&str], trusted: &[&str]) -> String {
        let request = TestRequest::default().peer_addr(SocketAddr::new(peer.parse().unwrap(), 4711));
        let request =
            lines.iter().fold(request, |request, line| request.append_header((X_FORWARDED_FOR, *line)));
        client_address(&request.to_http_request(), &settings(trusted)).to_string()
    }

    #[test]
    fn the_peer_is_the_client_unless_it_is_a_trusted_proxy() {
        assert_eq!(found("10.0.0.1", &["1.1.1.1"], &[]), "10.0.0.1");
        assert_eq!(found("10.0.0.1", &["1.1.1.1"], &["10.9.0.0/16"]), "10.0.0.1");
        assert_eq!(found("10.0.0.1", &["1.1.1.1"], &["10.0.0.0/16"]), "1.1.1.1");
        assert_eq!(found("10.0.0.1", &[], &["10.0.0.0/16"]), "10.0.0.1");
        assert_eq!(found("::ffff:10.0.0.1", &["::ffff:1.1.1.1"], &["10.0.0.0/16"]), "1.1.1.1");
        assert_eq!(found("fd00::1", &["2001:db8::1"], &["fd00::/8"]), "2001:db8::1");
    }

    #[test]
    fn the_last_hop_that_is_not_trusted_is_the_client_whatever_stands_before_it() {
        let trusted = &["10.0.0.0/8"];
        assert_eq!(found("10.0.0.1", &["6.6.6.6, 1.1.1.1, 10.0.0.2"], trusted), "1.1.1.1");
        assert_eq!(found("10.0.0.1", &["6.6.6.6", "1.1.1.1,10.0.0.2 ", " 10.0.0.3"], trusted), "1.1.1.1");
        assert_eq!(found("10.0.0.1", &["10.0.0.9, 10.0.0.2"], trusted), "10.0.0.9", "all are trusted");
    }

    #[test]
    fn an_entry_that_is_no_address_ends_the_walk() {
        let trusted = &["10.0.0.0/8"];
        for bad in
            ["unknown", "", "10.0.0.256", "_hidden", "10.0.0.2:x", "[10.0.0.2]", "[::1", "1.1.1.1 2.2.2.2"]
        {
            assert_eq!(
                found("10.0.0.1", &[&format!("6.6.6.6,{bad},10.0.0.2")], trusted),
                "10.0.0.2",
                "{bad:?}"
            );
            assert_eq!(found("10.0.0.1", &["6.6.6.6", bad], trusted), "10.0.0.1", "{bad:?}");
        }
    }

    #[test]
    fn addresses_may_have_ports_and_brackets() {
        let trusted = &["10.0.0.0/8"];
        for (hop, address) in [
            ("1.1.1.1:443", "1.1.1.1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:443", "2001:db8::1"),
        ] {
            assert_eq!(found("10.0.0.1", &[hop], trusted), address);
        }
    }

    /// What a client could send: addresses, also of proxies, and anything else.
    fn forged() -> impl Strategy<Value = String> {
        let hop = prop_oneof!["10\\.0\\.0\\.[1-9]", "[1-9]\\.[1-9]\\.[1-9]\\.[1-9]", "[ -~]{0,12}"];
        proptest::collection::vec(hop, 0..5).prop_map(|hops| hops.join(","))
    }

    proptest! {
        /// A client at 192.0.2.7 sends what it likes; each proxy adds whom it was reached from, in a line of its own or
        /// in the last one.
        #[test]
        fn a_client_cannot_choose_its_address(
            lines in proptest::collection::vec(forged(), 0..4),
            proxies in proptest::collection::vec((1u8..=9, any::<bool>()), 1..4),
        ) {
            let mut lines = lines;
            let mut from = "192.0.2.7".to_owned();
            for (proxy, own_line) in proxies {
                match lines.last_mut() {
                    Some(last) if !own_line => { last.push(','); last.push_str(&from); }
                    _ => lines.push(from),
                }
                from = format!("10.0.0.{proxy}");
            }
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            prop_assert_eq!(found(&from, &lines, &["10.0.0.0/8"]), "192.0.2.7");
        }

        #[test]
        fn a_client_that_comes_straight_is_its_peer(lines in proptest::collection::vec(forged(), 0..4)) {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            prop_assert_eq!(found("192.0.2.7", &lines, &["10.0.0.0/8"]), "192.0.2.7");
        }
    }
}
