//! Where callbacks may lead (FC-SEC-02, FC-TRN-01): one gate for both programs.
//!
//! The hub asks [`Gate::admit`] when somebody subscribes, so that a callback that can never be
//! reached is refused at once and its subscriber told why. The worker asks [`Gate::addresses`] for
//! every connection that it opens, and connects to the very addresses that it is given: what a name
//! led to when it was subscribed counts for nothing by then.
//!
//! - Scheme and port by the settings, then the host: an address by `address_policy`, a name by all
//!   addresses that it has. One forbidden address refuses the host: else an answer that mixes good
//!   and bad would choose by chance.
//! - A host that only a lenient parser would take for an address (`0x7f.1`) is neither: no resolver
//!   ever sees it. (In a URL it has become the address that browsers make of it.)
//! - A refusal says to the operator what the host led to, and to the caller ([`Refusal::told`]) only
//!   what it knows already. A name that leads inside and a name that leads nowhere are told alike, so
//!   nobody can ask the hub which names there are inside.

pub mod address_policy;
mod resolver;

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use url::{Host, Url};

use self::resolver::Resolver;
pub use self::{
    address_policy::{Forbidden, Kind},
    resolver::Unresolved,
};
use crate::settings::{Callbacks, PortRange};

/// The addresses of one host that are connected to at most: a name is no list of targets.
const MOST_ADDRESSES: usize = 4;

/// The settings make no gate.
#[derive(Debug, thiserror::Error)]
#[error("callbacks.dns_servers: {0}")]
pub struct GateError(String);

/// A callback may not lead there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is http, and that is not allowed.
    #[error("the callback is not https, and callbacks.allow_http is off")]
    NotHttps,
    /// It has a port that no callback may have.
    #[error("the callback has port {0}, which callbacks.allowed_ports does not hold")]
    PortNotAllowed(u16),
    /// It has a port that is somebody else's.
    #[error("the callback has port {0}, which callbacks.forbidden_ports holds")]
    PortForbidden(u16),
    /// Its host is neither a name nor an address.
    #[error("the callback's host is no host")]
    NoHost,
    /// Its host leads to where callbacks must not go.
    #[error(transparent)]
    Address(#[from] Forbidden),
    /// Its host leads nowhere, as far as is known.
    #[error(transparent)]
    Unresolved(#[from] Unresolved),
}

impl Refusal {
    /// What the one who named the callback may know of it. `None`: it can't be said now, and may be
    /// all right.
    pub fn told(&self, callback: &Url) -> Option<String> {
        let is_named = matches!(callback.host(), Some(Host::Domain(_)));
        Some(match self {
            Self::Unresolved(Unresolved::Unanswered(_)) => return None,
            Self::Unresolved(Unresolved::NoAddress) => UNREACHABLE.to_owned(),
            Self::Address(_) if is_named => UNREACHABLE.to_owned(),
            Self::Address(Forbidden { kind, .. }) => {
                format!("hub.callback leads to {kind} address, {}", kind.advice())
            }
            Self::NotHttps => "hub.callback must be an https URL (callbacks.allow_http is off)".to_owned(),
            Self::PortNotAllowed(_) => {
                "hub.callback has a port that callbacks.allowed_ports does not hold".to_owned()
            }
            Self::PortForbidden(_) => {
                "hub.callback has a port that callbacks.forbidden_ports holds".to_owned()
            }
            Self::NoHost => "hub.callback must have a host".to_owned(),
        })
    }
}

/// Names alone lead here: see [`Refusal::told`].
const UNREACHABLE: &str = "hub.callback leads nowhere: its host has no address, or one that \
                           callbacks.allowed_networks does not hold";

/// Why a name is not looked up now.
const NO_SHARE: &str = "whoever named it has as many look-ups under way as it may";

/// Decides where callbacks may lead; from the settings.
pub struct Gate {
    allow_http: bool,
    allowed_networks: Vec<IpNet>,
    allowed_ports: Vec<PortRange>,
    forbidden_ports: Vec<PortRange>,
    resolver: Resolver,
}

impl Gate {
    /// A gate. Asks nobody yet.
    pub fn new(settings: &Callbacks) -> Result<Self, GateError> {
        Ok(Self {
            allow_http: settings.allow_http,
            allowed_networks: settings.allowed_networks.clone(),
            allowed_ports: settings.allowed_ports.clone(),
            forbidden_ports: settings.forbidden_ports.clone(),
            resolver: Resolver::new(settings).map_err(|error| GateError(error.to_string()))?,
        })
    }

    /// May a callback lead there, as far as can be said now? `share` is as in [`Self::addresses`].
    pub async fn admit(&self, callback: &Url, share: Option<impl Send + 'static>) -> Result<(), Refusal> {
        self.check_scheme(callback)?;
        let (Some(host), Some(port)) = (callback.host_str(), callback.port_or_known_default()) else {
            return Err(Refusal::NoHost);
        };
        self.addresses(host, port, share).await.map(|_| ())
    }

    /// May a callback have this scheme?
    pub fn check_scheme(&self, callback: &Url) -> Result<(), Refusal> {
        match callback.scheme() {
            "https" => Ok(()),
            "http" if self.allow_http => Ok(()),
            _ => Err(Refusal::NotHttps),
        }
    }

    /// The addresses that a callback with this host (an IPv6 address in brackets) and port may be
    /// connected to: at least one, in the order in which they are to be tried. `share` is what whoever wants
    /// to know has of the look-ups that may be under way at once, and is held until this one has ended;
    /// without one no name is looked up.
    pub async fn addresses(
        &self,
        host: &str,
        port: u16,
        share: Option<impl Send + 'static>,
    ) -> Result<Vec<SocketAddr>, Refusal> {
        self.check_port(port)?;
        let addresses = match literal(host) {
            Some(address) => vec![address],
            None if is_almost_an_address(host) => return Err(Refusal::NoHost),
            None => {
                let share = share.ok_or_else(|| Unresolved::Unanswered(NO_SHARE.to_owned()))?;
                self.resolver.addresses(host, share).await?
            }
        };
        address_policy::check_all(addresses.iter().copied(), &self.allowed_networks)?;
        let connected = addresses.into_iter().take(MOST_ADDRESSES);
        Ok(connected.map(|address| SocketAddr::new(address, port)).collect())
    }

    fn check_port(&self, port: u16) -> Result<(), Refusal> {
        if !self.allowed_ports.iter().any(|range| range.contains(port)) {
            return Err(Refusal::PortNotAllowed(port));
        }
        if self.forbidden_ports.iter().any(|range| range.contains(port)) {
            return Err(Refusal::PortForbidden(port));
        }
        Ok(())
    }
}

/// The address that a URL's host is, if it is one.
pub fn literal(host: &str) -> Option<IpAddr> {
    // In a URL an IPv6 address stands in brackets.
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(inside) => inside.parse().ok().map(IpAddr::V6),
        None => host.parse().ok().map(IpAddr::V4),
    }
}

/// Would a lenient parser (`inet_aton`) read it as an address? No name ends with a number.
fn is_almost_an_address(host: &str) -> bool {
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or(host);
    let is_hexadecimal = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let prefixed = last.strip_prefix("0x").or(last.strip_prefix("0X"));
    last.is_empty()
        || last.bytes().all(|byte| byte.is_ascii_digit())
        || prefixed.is_some_and(is_hexadecimal)
        || host.contains(['[', ']', ':', '%'])
}

#[cfg(test)]
mod tests;
