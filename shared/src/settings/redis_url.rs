//! Where Redis is, in each of the shapes in which it is run.

use std::fmt;

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use url::Host;

/// The URL of Redis, perhaps with a password: `Debug`, `Display` and `Serialize` show `***` in its place.
///
/// - `redis://host:6379/0`: one server
/// - `redis+sentinel://host:26379,host:26379/service`: the primary that these Sentinels name
/// - `redis+cluster://host:6379,host:6379`: Redis Cluster, found from these nodes
///
/// With `rediss` in place of `redis`, every connection is made with TLS. `user:password@` before the hosts is for
/// Redis itself, not for Sentinel.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct RedisUrl {
    shape: Shape,
    is_tls: bool,
    hosts: Vec<HostPort>,
    username: Option<String>,
    password: Option<String>,
    /// What is shown: the text as it was given, with `***` for the password.
    shown: String,
}

/// How Redis is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One server.
    Single {
        /// The number of its database; `None` when the URL does not name one.
        database: Option<u16>,
    },
    /// A primary and its replicas, watched by Sentinels.
    Sentinel {
        /// The name by which the Sentinels know the primary.
        service: String,
    },
    /// Redis Cluster.
    Cluster,
}

/// A host, by name or address, and its port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    /// A name, or an address without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

impl RedisUrl {
    /// How Redis is run.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Whether connections are made with TLS.
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// The server, the Sentinels, or some nodes of the cluster.
    pub fn hosts(&self) -> &[HostPort] {
        &self.hosts
    }

    /// The user, if the URL names one.
    pub fn username(&self) -> Option<&str> {
        self.username.as_deref()
    }

    /// The password, if the URL holds one: for the connection only, never for a log line.
    pub fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }
}

impl TryFrom<String> for RedisUrl {
    type Error = String;

    // The reasons never repeat what stands before the hosts: it may hold a password.
    fn try_from(text: String) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").ok_or("it does not begin with a scheme and ://")?;
        let (is_tls, kind) = match scheme.split_once('+').unwrap_or((scheme, "")) {
            ("redis", kind) => (false, kind),
            ("rediss", kind) => (true, kind),
            _ => return Err(not_a_scheme(scheme)),
        };
        let (credentials, rest) =
            rest.rsplit_once('@').map_or((None, rest), |(before, rest)| (Some(before), rest));
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        if path.contains(['?', '#', '/']) || hosts.contains(['?', '#']) {
            return Err("nothing may follow the hosts but one database or service".to_owned());
        }
        let (shape, port) = match kind {
            "" => (Shape::Single { database: database(path)? }, REDIS_PORT),
            "sentinel" if path.is_empty() => {
                return Err("the name of the service must follow the hosts: …/service".to_owned());
            }
            "sentinel" => (Shape::Sentinel { service: decoded(path)? }, SENTINEL_PORT),
            "cluster" if !path.is_empty() => return Err("a cluster has no databases".to_owned()),
            "cluster" => (Shape::Cluster, REDIS_PORT),
            _ => return Err(not_a_scheme(scheme)),
        };
        let hosts = hosts.split(',').map(|host| host_port(host, port)).collect::<Result<Vec<_>, _>>()?;
        if hosts.len() > 1 && matches!(shape, Shape::Single { .. }) {
            return Err(format!(
                "it names several hosts: say with {scheme}+sentinel or {scheme}+cluster what they are"
            ));
        }
        let (username, password) = credentials.map_or(Ok((None, None)), user_and_password)?;
        let shown = match credentials {
            Some(before) if password.is_some() => {
                let user = before.split(':').next().unwrap_or_default();
                format!("{scheme}://{user}:***@{rest}")
            }
            _ => text,
        };
        Ok(Self { shape, is_tls, hosts, username, password, shown })
    }
}

fn not_a_scheme(scheme: &str) -> String {
    // What comes before the first ':' of a URL without a scheme may be a password's beginning.
    let is_one = scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    let found = if is_one { format!(", not {scheme}") } else { String::new() };
    format!("the scheme must be redis or rediss, alone or with +sentinel or +cluster{found}")
}

fn decoded(text: &str) -> Result<String, String> {
    match percent_decode_str(text).decode_utf8() {
        Ok(decoded) => Ok(decoded.into_owned()),
        Err(_) => Err("what stands in percent signs is not UTF-8".to_owned()),
    }
}

fn database(path: &str) -> Result<Option<u16>, String> {
    match path {
        "" => Ok(None),
        number => {
            number.parse().map(Some).map_err(|_| format!("the database must be a number, not {number:?}"))
        }
    }
}

fn user_and_password(text: &str) -> Result<(Option<String>, Option<String>), String> {
    let (user, password) = text.split_once(':').map_or((text, None), |(user, rest)| (user, Some(rest)));
    let filled = |text: &&str| !text.is_empty();
    Ok((
        Some(user).filter(filled).map(decoded).transpose()?,
        password.filter(filled).map(decoded).transpose()?,
    ))
}

fn host_port(text: &str, default_port: u16) -> Result<HostPort, String> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    if host.is_empty() {
        return Err("it names no host".to_owned());
    }
    let port = port.map_or(Ok(default_port), |port| port.parse());
    let port = port.map_err(|_| format!("the port of {host} must be a number up to 65535"))?;
    let host = match Host::parse(host) {
        Ok(Host::Ipv6(address)) => address.to_string(),
        Ok(host) => host.to_string(),
        Err(reason) => return Err(format!("{host:?} is no host: {reason}")),
    };
    Ok(HostPort { host, port })
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({self})")
    }
}

impl From<RedisUrl> for String {
    fn from(url: RedisUrl) -> Self {
        url.shown
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn url(text: &str) -> RedisUrl {
        RedisUrl::try_from(text.to_owned()).unwrap()
    }

    fn hosts(text: &str) -> Vec<String> {
        url(text).hosts().iter().map(HostPort::to_string).collect()
    }

    #[test]
    fn each_shape_is_told_by_its_scheme() {
        assert_eq!(url("redis://h").shape, Shape::Single { database: None });
        assert_eq!(url("rediss://h/").shape, Shape::Single { database: None });
        assert_eq!(url("redis://h/2").shape, Shape::Single { database: Some(2) });
        let sentinel = Shape::Sentinel { service: "my service".into() };
        assert_eq!(url("redis+sentinel://a,b/my%20service").shape, sentinel);
        assert_eq!(url("rediss+cluster://a:1,b:2/").shape, Shape::Cluster);
        for (text, is_tls) in [("redis://h", false), ("rediss://h", true), ("rediss+sentinel://h/s", true)] {
            assert_eq!(url(text).is_tls(), is_tls, "{text}");
        }
    }

    #[test]
    fn hosts_have_the_port_of_their_kind_unless_they_name_another() {
        assert_eq!(hosts("redis://h"), ["h:6379"]);
        assert_eq!(hosts("redis+sentinel://a,10.0.0.1:7,[::1]/s"), ["a:26379", "10.0.0.1:7", "[::1]:26379"]);
        assert_eq!(hosts("redis+cluster://[fe80::1]:8,b"), ["[fe80::1]:8", "b:6379"]);
    }

    #[test]
    fn a_user_and_a_password_may_stand_before_the_hosts() {
        let url = url("redis+cluster://me:a%40b@c@h:1,i:2");
        assert_eq!((url.username(), url.password()), (Some("me"), Some("a@b@c")));
        assert_eq!(url.to_string(), "redis+cluster://me:***@h:1,i:2");
        assert_eq!(super::tests::url("redis://:x@h").password(), Some("x"));
        assert_eq!(super::tests::url("redis://me@h").username(), Some("me"));
    }

    #[test]
    fn what_is_no_such_url_is_refused_with_the_reason() {
        for (text, part) in [
            ("h:6379", "scheme"),
            ("http://h", "redis or rediss"),
            ("redis+unix://h", "+sentinel or +cluster"),
            ("redis://", "no host"),
            ("redis:///0", "no host"),
            ("redis://h/x", "database"),
            ("redis://a,b", "redis+sentinel or redis+cluster"),
            ("redis+sentinel://a", "service"),
            ("redis+sentinel://a/s/1", "one database or service"),
            ("redis+cluster://a/1", "no databases"),
            ("redis+cluster://a,,b", "no host"),
            ("redis://h:70000", "port of h"),
            ("redis://a b", "no host"),
            ("redis://h?x", "nothing may follow"),
        ] {
            let reason = RedisUrl::try_from(text.to_owned()).unwrap_err();
            assert!(reason.contains(part), "{text}: {reason}");
        }
    }
}
