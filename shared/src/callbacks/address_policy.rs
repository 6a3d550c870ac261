//! Where callbacks may lead (FC-SEC-02): a pure function over addresses.
//!
//! A callback's host is chosen by whoever subscribes, and the worker stands inside the operator's
//! network: without this, a subscription could reach what only the worker can. Public unicast
//! addresses are allowed, everything else is forbidden unless `callbacks.allowed_networks` holds
//! it. What is no single host (unspecified, multicast, broadcast) stays forbidden even then, and so
//! do the metadata services of clouds, which give out the machine's own rights and are found inside
//! networks that are opened as a whole.
//!
//! An IPv6 address that carries an IPv4 address (mapped, compatible, translated, NAT64, 6to4,
//! Teredo, ISATAP) leads to that one, so it is judged by what it carries as well.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// What a forbidden address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// No address at all.
    Unspecified,
    /// This machine.
    Loopback,
    /// This network segment.
    LinkLocal,
    /// A cloud's service that tells a machine its own secrets.
    Metadata,
    /// Private networks, unique local addresses, and those shared behind a provider's NAT.
    Private,
    /// Many hosts.
    Multicast,
    /// All hosts of a segment.
    Broadcast,
    /// Reserved for documentation, measurements, protocols, or not assigned at all.
    Reserved,
}

impl Kind {
    fn may_be_allowed(self) -> bool {
        !matches!(self, Self::Unspecified | Self::Metadata | Self::Multicast | Self::Broadcast)
    }

    /// What to do about it.
    pub(super) fn advice(self) -> &'static str {
        if self.may_be_allowed() {
            "and callbacks.allowed_networks does not hold it"
        } else {
            "which callbacks never reach, whatever callbacks.allowed_networks holds"
        }
    }
}

/// As in "an unspecified address".
impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "an unspecified",
            Self::Loopback => "a loopback",
            Self::LinkLocal => "a link-local",
            Self::Metadata => "a cloud metadata",
            Self::Private => "a private",
            Self::Multicast => "a multicast",
            Self::Broadcast => "a broadcast",
            Self::Reserved => "a reserved",
        })
    }
}

/// The policy forbids an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{address} is {kind} address, {}", .kind.advice())]
pub struct Forbidden {
    /// The address.
    pub address: IpAddr,
    /// What it, or the IPv4 address that it carries, is.
    pub kind: Kind,
}

/// May callbacks go to this address?
pub fn check(address: IpAddr, allowed: &[IpNet]) -> Result<(), Forbidden> {
    let is_allowed = |address: IpAddr| allowed.iter().any(|network| network.contains(&address));
    for seen in [Some(address)].into_iter().chain(carried(address)).flatten() {
        let Some(kind) = kind(seen) else { continue };
        if !kind.may_be_allowed() || !(is_allowed(seen) || is_allowed(address)) {
            return Err(Forbidden { address, kind });
        }
    }
    Ok(())
}

/// May callbacks go to a host that has these addresses? One forbidden one refuses the host: else
/// an answer that mixes good and bad would choose by chance.
pub fn check_all(addresses: impl IntoIterator<Item = IpAddr>, allowed: &[IpNet]) -> Result<(), Forbidden> {
    addresses.into_iter().try_for_each(|address| check(address, allowed))
}

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6(a: u16, b: u16, c: u16, length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), length)
}

/// The first network that holds an address says what it is. From IANA's registries of special
/// purposes; the metadata services from the clouds' own pages.
const V4: [(Ipv4Net, Kind); 27] = [
    (v4(169, 254, 169, 254, 32), Kind::Metadata),
    // AWS for containers and pods, Scaleway, Alibaba, Oracle, Azure.
    (v4(169, 254, 170, 2, 32), Kind::Metadata),
    (v4(169, 254, 170, 23, 32), Kind::Metadata),
    (v4(169, 254, 42, 42, 32), Kind::Metadata),
    (v4(100, 100, 100, 200, 32), Kind::Metadata),
    (v4(192, 0, 0, 192, 32), Kind::Metadata),
    (v4(168, 63, 129, 16, 32), Kind::Metadata),
    (v4(0, 0, 0, 0, 32), Kind::Unspecified),
    (v4(0, 0, 0, 0, 8), Kind::Reserved),
    (v4(10, 0, 0, 0, 8), Kind::Private),
    (v4(100, 64, 0, 0, 10), Kind::Private),
    (v4(127, 0, 0, 0, 8), Kind::Loopback),
    (v4(169, 254, 0, 0, 16), Kind::LinkLocal),
    (v4(172, 16, 0, 0, 12), Kind::Private),
    (v4(192, 0, 0, 0, 24), Kind::Reserved),
    (v4(192, 0, 2, 0, 24), Kind::Reserved),
    // Sinks of the DNS and a protocol's relays: public, and no host of a callback.
    (v4(192, 31, 196, 0, 24), Kind::Reserved),
    (v4(192, 52, 193, 0, 24), Kind::Reserved),
    (v4(192, 88, 99, 0, 24), Kind::Reserved),
    (v4(192, 168, 0, 0, 16), Kind::Private),
    (v4(192, 175, 48, 0, 24), Kind::Reserved),
    (v4(198, 18, 0, 0, 15), Kind::Reserved),
    (v4(198, 51, 100, 0, 24), Kind::Reserved),
    (v4(203, 0, 113, 0, 24), Kind::Reserved),
    (v4(224, 0, 0, 0, 4), Kind::Multicast),
    (v4(255, 255, 255, 255, 32), Kind::Broadcast),
    (v4(240, 0, 0, 0, 4), Kind::Reserved),
];

const fn host(address: Ipv6Addr) -> Ipv6Net {
    Ipv6Net::new_assert(address, 128)
}

const V6: [(Ipv6Net, Kind); 13] = [
    // AWS, AWS for pods, Google, Scaleway, Oracle.
    (host(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)), Kind::Metadata),
    (host(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)), Kind::Metadata),
    (host(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)), Kind::Metadata),
    (host(Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42)), Kind::Metadata),
    (host(Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe)), Kind::Metadata),
    (v6(0xff00, 0, 0, 8), Kind::Multicast),
    (v6(0xfe80, 0, 0, 10), Kind::LinkLocal),
    (v6(0xfec0, 0, 0, 10), Kind::Private),
    (v6(0xfc00, 0, 0, 7), Kind::Private),
    (v6(0x2001, 0xdb8, 0, 32), Kind::Reserved),
    (v6(0x3fff, 0, 0, 20), Kind::Reserved),
    (v6(0x2620, 0x4f, 0x8000, 48), Kind::Reserved),
    // Besides Teredo, 2001::/23 holds protocols' own addresses and no host of a callback.
    (v6(0x2001, 0, 0, 23), Kind::Reserved),
];
/// All unicast addresses that have been given out to anybody: not those that are discarded
/// (100::/64), that route by segments (5f00::/16), or that a network translates by itself
/// (64:ff9b:1::/48).
const GLOBAL_UNICAST: Ipv6Net = v6(0x2000, 0, 0, 3);

const TEREDO: Ipv6Net = v6(0x2001, 0, 0, 32);
const NAT64: Ipv6Net = v6(0x64, 0xff9b, 0, 96);
const LOCAL_NAT64: Ipv6Net = v6(0x64, 0xff9b, 1, 96);

/// What is special about an address, leaving aside what it carries.
fn kind(address: IpAddr) -> Option<Kind> {
    match address {
        IpAddr::V4(address) => {
            V4.iter().find(|(network, _)| network.contains(&address)).map(|(_, kind)| *kind)
        }
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Some(Kind::Unspecified),
        IpAddr::V6(Ipv6Addr::LOCALHOST) => Some(Kind::Loopback),
        IpAddr::V6(address) if is_only_a_carrier(address) => None,
        IpAddr::V6(address) => {
            let known = V6.iter().find(|(network, _)| network.contains(&address)).map(|(_, kind)| *kind);
            known.or((!GLOBAL_UNICAST.contains(&address)).then_some(Kind::Reserved))
        }
    }
}

/// Does it lead nowhere but to what it carries? Then that alone is judged.
fn is_only_a_carrier(address: Ipv6Addr) -> bool {
    let octets = address.octets();
    let is_mapped_or_compatible =
        octets[..10].iter().all(|octet| *octet == 0) && matches!(octets[10..12], [0, 0] | [0xff, 0xff]);
    is_mapped_or_compatible
        || NAT64.contains(&address)
        || TEREDO.contains(&address)
        || octets[..2] == [0x20, 0x02]
}

/// The IPv4 addresses that an IPv6 address leads to.
fn carried(address: IpAddr) -> [Option<IpAddr>; 2] {
    let IpAddr::V6(address) = address else { return [None, None] };
    let octets = address.octets();
    let at =
        |start: usize| Ipv4Addr::new(octets[start], octets[start + 1], octets[start + 2], octets[start + 3]);
    // SIIT: ::ffff:0:a.b.c.d
    let is_translated = octets[..8].iter().all(|octet| *octet == 0) && octets[8..12] == [0xff, 0xff, 0, 0];
    let is_isatap = matches!(octets[8..12], [0 | 2, 0, 0x5e, 0xfe]);
    match address {
        Ipv6Addr::UNSPECIFIED | Ipv6Addr::LOCALHOST => [None, None],
        _ if octets[..2] == [0x20, 0x02] => [Some(at(2).into()), None],
        // The relay, and behind it the client, whose address is written inverted.
        _ if TEREDO.contains(&address) => {
            [Some(at(4).into()), Some(Ipv4Addr::from_bits(!at(12).to_bits()).into())]
        }
        _ if is_only_a_carrier(address) || is_translated || is_isatap || LOCAL_NAT64.contains(&address) => {
            [Some(at(12).into()), None]
        }
        _ => [None, None],
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kind_of(address: &str, allowed: &[&str]) -> Option<Kind> {
        let allowed: Vec<IpNet> = allowed.iter().map(|network| network.parse().unwrap()).collect();
        check(address.parse().unwrap(), &allowed).err().map(|forbidden| forbidden.kind)
    }

    #[test]
    fn special_addresses_are_forbidden_and_public_ones_are_not() {
        for (address, expected) in [
            ("0.0.0.0", Some(Kind::Unspecified)),
            ("0.1.2.3", Some(Kind::Reserved)),
            ("10.1.2.3", Some(Kind::Private)),
            ("100.64.0.1", Some(Kind::Private)),
            ("100.128.0.1", None),
            ("127.9.9.9", Some(Kind::Loopback)),
            ("169.254.169.254", Some(Kind::Metadata)),
            ("169.254.0.1", Some(Kind::LinkLocal)),
            ("100.100.100.200", Some(Kind::Metadata)),
            ("168.63.129.16", Some(Kind::Metadata)),
            ("192.0.0.192", Some(Kind::Metadata)),
            ("192.0.0.8", Some(Kind::Reserved)),
            ("192.31.196.1", Some(Kind::Reserved)),
            ("192.52.193.1", Some(Kind::Reserved)),
            ("192.88.99.1", Some(Kind::Reserved)),
            ("192.175.48.1", Some(Kind::Reserved)),
            ("172.31.255.255", Some(Kind::Private)),
            ("172.32.0.1", None),
            ("192.0.2.1", Some(Kind::Reserved)),
            ("192.168.1.1", Some(Kind::Private)),
            ("198.19.0.1", Some(Kind::Reserved)),
            ("8.8.8.8", None),
            ("224.0.0.1", Some(Kind::Multicast)),
            ("250.0.0.1", Some(Kind::Reserved)),
            ("255.255.255.255", Some(Kind::Broadcast)),
            ("::", Some(Kind::Unspecified)),
            ("::1", Some(Kind::Loopback)),
            ("fe80::1", Some(Kind::LinkLocal)),
            ("fec0::1", Some(Kind::Private)),
            ("fd12::1", Some(Kind::Private)),
            ("fd00:ec2::254", Some(Kind::Metadata)),
            ("fd20:ce::254", Some(Kind::Metadata)),
            ("2001:10::1", Some(Kind::Reserved)),
            ("2001:20::1", Some(Kind::Reserved)),
            ("3fff::1", Some(Kind::Reserved)),
            ("5f00::1", Some(Kind::Reserved)),
            ("2620:4f:8000::1", Some(Kind::Reserved)),
            ("100:0:0:1::1", Some(Kind::Reserved)),
            ("64:ff9b:1:1::1", Some(Kind::Reserved)),
            ("::ffff:0:8.8.8.8", Some(Kind::Reserved)),
            ("ff02::1", Some(Kind::Multicast)),
            ("2001:db8::1", Some(Kind::Reserved)),
            ("2001:2::1", Some(Kind::Reserved)),
            ("100::1", Some(Kind::Reserved)),
            ("4000::1", Some(Kind::Reserved)),
            ("64:ff9b:1::808:808", Some(Kind::Reserved)),
            ("2a00:1450::1", None),
        ] {
            assert_eq!(kind_of(address, &[]), expected, "FC-SEC-02: {address}");
        }
    }

    #[test]
    fn an_address_inside_an_address_is_what_counts() {
        for (address, expected) in [
            ("::ffff:127.0.0.1", Some(Kind::Loopback)),
            ("::ffff:8.8.8.8", None),
            ("::10.0.0.1", Some(Kind::Private)),
            ("64:ff9b::a9fe:a9fe", Some(Kind::Metadata)),
            ("2a00:1450::5efe:10.0.0.1", Some(Kind::Private)),
            ("2a00:1450::200:5efe:127.0.0.1", Some(Kind::Loopback)),
            ("2a00:1450::5efe:8.8.8.8", None),
            ("64:ff9b::808:808", None),
            ("2002:7f00:1::1", Some(Kind::Loopback)),
            ("2002:808:808::1", None),
            // Relay 8.8.8.8, client 10.0.0.1; then relay 10.0.0.1, client 8.8.8.8.
            ("2001:0:808:808::f5ff:fffe", Some(Kind::Private)),
            ("2001:0:a00:1::f7f7:f7f7", Some(Kind::Private)),
            ("2001:0:808:808::f7f7:f7f7", None),
            ("::ffff:255.255.255.255", Some(Kind::Broadcast)),
        ] {
            assert_eq!(kind_of(address, &[]), expected, "FC-SEC-02: {address}");
        }
    }

    #[test]
    fn allowed_networks_open_what_is_private_and_nothing_that_is_no_host() {
        assert_eq!(kind_of("127.0.0.1", &["127.0.0.0/8"]), None);
        assert_eq!(kind_of("::ffff:127.0.0.1", &["127.0.0.0/8"]), None);
        assert_eq!(kind_of("64:ff9b::a00:1", &["64:ff9b::/96"]), None);
        assert_eq!(kind_of("10.0.0.1", &["10.1.0.0/16"]), Some(Kind::Private));
        let all = ["0.0.0.0/0", "::/0"];
        for never in [
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "ff02::1",
            "::ffff:224.0.0.1",
            "2002:e000:1::",
            "169.254.169.254",
            "100.100.100.200",
            "fd00:ec2::254",
            "::ffff:169.254.169.254",
            "::ffff:0:169.254.169.254",
            "64:ff9b:1::169.254.169.254",
            "fd12::5efe:169.254.169.254",
        ] {
            assert!(kind_of(never, &all).is_some(), "FC-SEC-02: {never}");
        }
        assert_eq!(kind_of("fd12::1", &["fc00::/7"]), None);
        assert_eq!(kind_of("64:ff9b:1::808:808", &["64:ff9b:1::/48"]), None);
    }

    #[test]
    fn one_forbidden_address_refuses_the_host_and_the_refusal_names_the_setting() {
        let addresses = ["8.8.8.8", "10.0.0.1", "9.9.9.9"].map(|address| address.parse().unwrap());
        let refusal = check_all(addresses, &[]).unwrap_err().to_string();
        assert_eq!(refusal, "10.0.0.1 is a private address, and callbacks.allowed_networks does not hold it");
        let never = check("224.0.0.1".parse().unwrap(), &[]).unwrap_err().to_string();
        assert!(never.contains("callbacks.allowed_networks"), "{never}");
    }

    proptest! {
        #[test]
        fn nothing_that_the_standard_library_calls_special_gets_through(bits: u32) {
            let address = Ipv4Addr::from_bits(bits);
            let is_special = address.is_loopback() || address.is_private() || address.is_link_local()
                || address.is_multicast() || address.is_unspecified() || address.is_broadcast() || address.is_documentation();
            prop_assert!(!is_special || check(address.into(), &[]).is_err());
        }

        #[test]
        fn every_way_to_carry_an_address_is_judged_like_the_address(bits in prop_oneof![any::<u32>(), 0x7f00_0000u32..0x7f00_0100, 0x0a00_0000u32..0x0a00_0100]) {
            let address = Ipv4Addr::from_bits(bits);
            let [a, b, c, d] = address.octets().map(u16::from);
            let (high, low) = (a << 8 | b, c << 8 | d);
            let expected = check(address.into(), &[]).is_ok();
            let inside = [
                address.to_ipv6_mapped(),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
                Ipv6Addr::new(0x2001, 0, 0x808, 0x808, 0, 0, !high, !low),
                Ipv6Addr::new(0x2a00, 1, 2, 3, 0, 0x5efe, high, low),
            ];
            for carrier in inside {
                prop_assert_eq!(check(carrier.into(), &[]).is_ok(), expected, "{}", carrier);
            }
        }

        #[test]
        fn an_ipv6_address_that_is_let_through_is_global_unicast_or_carries_one_that_is(bits: u128) {
            let address = Ipv6Addr::from_bits(bits);
            if check(address.into(), &[]).is_ok() {
                prop_assert!(GLOBAL_UNICAST.contains(&address) || is_only_a_carrier(address));
            }
        }
    }
}
