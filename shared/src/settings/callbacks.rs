//! Where callbacks may go, by which resolver, and as whom.

use std::{fmt, net::SocketAddr, ops::RangeInclusive, path::PathBuf, str::FromStr, time::Duration};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{
    tree::settings,
    values::{at_least, between},
};

settings! {
    /// Where callbacks may go.
    pub struct Callbacks {
        /// Whether a callback may be http instead of https.
        allow_http: bool = false;
        /// Networks that callbacks may go to although they are private or loopback.
        allowed_networks: Vec<IpNet> = Vec::new();
        /// Ports, and ranges of ports such as 8000-8999, that a callback may have.
        allowed_ports: Vec<PortRange> = ranges(&[(80, 80), (443, 443), (1024, u16::MAX)]), not_empty;
        /// Ports among these that no callback may have: those of databases, caches and the like, which would take
        /// a callback's request for one of their own.
        forbidden_ports: Vec<PortRange> = ranges(&SERVICES);
        /// Name servers (address and port) that are asked for the hosts of callbacks; empty: the system's resolver.
        dns_servers: Vec<SocketAddr> = Vec::new();
        /// Milliseconds after which a host's name cannot be resolved: by default longer than the 5 s after which the
        /// system's resolver turns from one name server to the next.
        dns_timeout_ms: u64 = 6000, between(1, 60_000);
        /// Names of hosts that one program resolves at once; of a hub's a quarter for one caller and half for one
        /// address, of a worker's half for what nobody has confirmed yet.
        dns_lookups: usize = 64, at_least(1);
        /// PEM file of certificate authorities that are trusted for callbacks besides the system's.
        ca_file: Option<PathBuf> = None;
        /// PEM file of the certificate chain that the worker shows to callbacks that ask for one; with callbacks.key.
        cert: Option<PathBuf> = None;
        /// PEM file of that certificate's private key.
        key: Option<PathBuf> = None;
        /// Seconds between two looks at these files; what has changed is taken when two looks in a row find the same.
        reload_secs: u64 = 5, between(1, 86_400);
    }
}

impl Callbacks {
    /// `callbacks.reload_secs` as a duration.
    pub fn reload_every(&self) -> Duration {
        Duration::from_secs(self.reload_secs)
    }

    /// `callbacks.dns_timeout_ms` as a duration.
    pub fn dns_timeout(&self) -> Duration {
        Duration::from_millis(self.dns_timeout_ms)
    }
}

/// What listens in many networks, speaks HTTP or anything line by line, and asks nobody who they are: NFS, Docker,
/// etcd, MySQL, PostgreSQL, CouchDB, X11, Redis and its Sentinels, Kubernetes' nodes, Consul, Elasticsearch,
/// memcached, MongoDB.
const SERVICES: [(u16, u16); 16] = [
    (2049, 2049),
    (2375, 2377),
    (2379, 2380),
    (3306, 3306),
    (5432, 5432),
    (5984, 5984),
    (6000, 6063),
    (6379, 6380),
    (6443, 6443),
    (8500, 8501),
    (9200, 9200),
    (9300, 9300),
    (10250, 10259),
    (11211, 11211),
    (26379, 26379),
    (27017, 27019),
];

fn ranges(ports: &[(u16, u16)]) -> Vec<PortRange> {
    ports.iter().map(|(first, last)| PortRange(*first..=*last)).collect()
}

fn not_empty(ports: &[PortRange]) -> Result<(), String> {
    if ports.is_empty() { Err("must hold at least one port".to_owned()) } else { Ok(()) }
}

/// A port, or a range of ports with both ends included: `443`, `8000-8999`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Given", into = "String")]
pub struct PortRange(RangeInclusive<u16>);

impl PortRange {
    /// Is this port among them?
    pub fn contains(&self, port: u16) -> bool {
        self.0.contains(&port)
    }
}

/// In TOML a single port may be a number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Given {
    Number(u64),
    Text(String),
}

impl TryFrom<Given> for PortRange {
    type Error = String;

    fn try_from(given: Given) -> Result<Self, String> {
        match given {
            Given::Number(port) => port.to_string().parse(),
            Given::Text(text) => text.parse(),
        }
    }
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0);
        match (port(first), port(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self(first..=last)),
            _ => Err(format!("must hold ports from 1 to 65535 and ranges such as 8000-8999, not {text:?}")),
        }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.0.start(), self.0.end());
        if first == last { write!(f, "{first}") } else { write!(f, "{first}-{last}") }
    }
}

impl From<PortRange> for String {
    fn from(range: PortRange) -> Self {
        range.to_string()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_ports_survives_its_text() {
        for (text, inside, outside) in
            [("443", 443, 444), ("8000-8999", 8999, 9000), ("1-65535", 65_535, 0), (" 80 - 81 ", 81, 79)]
        {
            let range: PortRange = text.parse().unwrap();
            assert!(range.contains(inside) && !range.contains(outside), "{text}");
            assert_eq!(range.to_string().parse(), Ok(range));
        }
        for text in ["", "0", "x", "80-", "-80", "90-80", "65536", "1-2-3"] {
            assert!(text.parse::<PortRange>().unwrap_err().contains("8000-8999"), "{text}");
        }
    }

    #[test]
    fn no_service_that_is_forbidden_is_an_ordinary_port_of_a_callback() {
        let callbacks = Callbacks::default();
        let may = |port| {
            callbacks.allowed_ports.iter().any(|range| range.contains(port))
                && !callbacks.forbidden_ports.iter().any(|range| range.contains(port))
        };
        for port in [80, 443, 3000, 8000, 8080, 8443, 9000, 40_000] {
            assert!(may(port), "FC-SEC-02: {port}");
        }
        for port in [1, 22, 25, 111, 6379, 2375, 9200, 11_211, 10_250, 27_017] {
            assert!(!may(port), "FC-SEC-02: {port}");
        }
    }
}
