//! Where callbacks lead, and when they say that they are to be asked again.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::{Duration, SystemTime},
};

use ipnet::IpNet;
use shared::callbacks::address_policy::check;
use worker::{outcome::retry_after, retry::Backoff};

use super::text;
use crate::{Target, seeds::texts};

pub const ADDRESS: Target = Target {
    name: "address",
    check: check_address,
    seeds: addresses,
    words: &["\x7f\0\0\x01", "\0\0\0\0", "\x64\x40"],
};
pub const RETRY_AFTER: Target = Target {
    name: "retry-after",
    check: check_retry_after,
    seeds: pauses,
    words: &["GMT", "Sun, ", "06 Nov 1994", "08:49:37", "-", "+", "\n", "23:59:60", "Feb", "9999", "0000"],
};

fn addresses() -> Vec<Vec<u8>> {
    let v6 =
        |text: &str| text.parse::<Ipv6Addr>().map(|address| address.octets().to_vec()).unwrap_or_default();
    let mut seeds: Vec<Vec<u8>> = [
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::10.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::1",
        "fe80::1",
        "fd12::1",
        "2001:0:808:808::f5ff:fffe",
        "2a00:1450::1",
        "ff02::1",
        "2001:db8::1",
    ]
    .map(v6)
    .to_vec();
    seeds.extend(
        [[10, 1, 2, 3], [8, 8, 8, 8], [169, 254, 169, 254], [0, 0, 0, 0], [255, 255, 255, 255]]
            .map(|v4| v4.to_vec()),
    );
    seeds
}

/// Four bytes are an IPv4 address, sixteen an IPv6 address; a further byte is the length of a network that is allowed.
fn check_address(bytes: &[u8]) {
    let (address, rest): (IpAddr, &[u8]) = match bytes {
        [octets @ .., length] if octets.len() == 16 => {
            (array::<16>(octets).into(), std::slice::from_ref(length))
        }
        octets if octets.len() >= 16 => (array::<16>(octets).into(), &[]),
        octets if octets.len() >= 4 => (array::<4>(octets).into(), &octets[4..]),
        _ => return,
    };
    let closed = check(address, &[]);
    let open: [IpNet; 2] = [IpNet::from(ipnet::Ipv4Net::default()), IpNet::from(ipnet::Ipv6Net::default())];
    let opened = check(address, &open);
    assert!(closed.is_err() || opened.is_ok(), "FC-SEC-02: to allow more forbids nothing: {address}");
    if let Some(length) = rest.first() {
        let most = if address.is_ipv4() { 32 } else { 128 };
        let one = IpNet::new(address, length % (most + 1)).unwrap_or(open[0]);
        let some = check(address, &[one]);
        assert!(closed.is_err() || some.is_ok(), "FC-SEC-02: {address} {one}");
        assert!(some.is_err() || opened.is_ok(), "FC-SEC-02: {address} {one}");
    }
    match address {
        IpAddr::V4(v4) => {
            assert!(closed.is_err() || is_plainly_public(v4), "FC-SEC-02: {v4}");
            assert!(
                opened.is_err() || !(v4.is_unspecified() || v4.is_broadcast() || v4.is_multicast()),
                "FC-SEC-02: {v4}"
            );
            let octets = v4.octets();
            let [a, b, c, d] = octets.map(u16::from);
            let (high, low) = (a << 8 | b, c << 8 | d);
            // Every IPv6 address that leads to it is as forbidden as it is.
            for carrier in [
                v4.to_ipv6_mapped(),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
                Ipv6Addr::new(0x2001, 0, high, low, 0, 0, !0x0808, !0x0808),
                Ipv6Addr::new(0x2001, 0, 0x0808, 0x0808, 0, 0, !high, !low),
            ] {
                let through = check(carrier.into(), &[]);
                assert_eq!(through.is_ok(), closed.is_ok(), "FC-SEC-02: {carrier} leads to {v4}");
            }
        }
        IpAddr::V6(v6) => {
            let is_special = v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_multicast()
                || v6.is_unique_local()
                || v6.is_unicast_link_local();
            assert!(closed.is_err() || !is_special, "FC-SEC-02: {v6}");
            assert!(opened.is_err() || !(v6.is_unspecified() || v6.is_multicast()), "FC-SEC-02: {v6}");
            if let Some(v4) = v6.to_ipv4_mapped() {
                assert_eq!(check(v4.into(), &[]).is_ok(), closed.is_ok(), "FC-SEC-02: {v6}");
            }
        }
    }
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[..N]);
    array
}

fn is_plainly_public(v4: Ipv4Addr) -> bool {
    let [a, b, ..] = v4.octets();
    !(v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_multicast() || v4.is_documentation())
        && a != 0
        && a < 240
        && !(a == 100 && (64..128).contains(&b))
        && !(a == 198 && (18..20).contains(&b))
}

fn pauses() -> Vec<Vec<u8>> {
    texts([
        "120",
        " 0 ",
        "-1",
        "soon",
        "18446744073709551615",
        "99999999999999999999",
        "Sun, 06 Nov 1994 08:50:37 GMT\nSun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT\nSun Nov  6 08:49:37 1994",
        "Fri, 31 Dec 9999 23:59:59 GMT\nThu, 01 Jan 1970 00:00:00 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Thu, 01 Jan 0000 00:00:00 GMT",
    ])
}

/// The first line is `Retry-After`, the second `Date`.
fn check_retry_after(bytes: &[u8]) {
    let text = text(bytes);
    let mut lines = text.split('\n');
    let (value, date) = (lines.next().unwrap_or_default(), lines.next());
    let pause = retry_after(value, date);
    if let Ok(seconds) = value.trim().parse::<u64>() {
        assert_eq!(pause, Some(Duration::from_secs(seconds)), "FC-WHK-04");
    }
    if date.is_some_and(|date| value.trim() == date.trim()) && value.contains("GMT") {
        assert!(pause.is_none_or(|pause| pause.is_zero()), "FC-WHK-04: now is at once");
    }
    if pause.is_some_and(|pause| pause.as_secs() > 400_000_000_000) {
        assert!(value.trim().parse::<u64>().is_ok(), "no date is so far");
    }
    // What is done with it next must not overflow.
    let _ = pause.and_then(|pause| SystemTime::now().checked_add(pause));
    let backoff = Backoff { initial: Duration::from_secs(1), max: Duration::from_secs(60), jitter: 0.5 };
    let attempts = bytes.iter().take(4).fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte));
    assert!(backoff.after(attempts, 1.0) <= Duration::from_secs(91), "FC-WHK-04");
}
