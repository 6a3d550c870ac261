//! What settings say about each other: a contradiction refuses to start, and names both.

use std::{fmt::Display, net::IpAddr};

use super::data_keys::NONE_SEALS;
use super::mistakes::Mistake;
use super::{Audit, AuditTarget, AuthMode, ClientAuth, HostPort, Redis, Settings, Shape, Tls, Tracing};

/// What leaves the hub open to other machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposure {
    /// Whoever reaches it may do everything.
    NoAuthentication,
    /// Whoever is on the way reads and changes what is said.
    NoTls,
}

impl Settings {
    /// What leaves the hub open to other machines; nothing while it listens on loopback alone. It starts with any of
    /// these only when `insecure` is set (FC-SEC-01).
    ///
    /// The listener for health and metrics does not count: probes and scrapes come from other machines, and it says
    /// nothing that must be kept.
    pub fn exposures(&self) -> Vec<Exposure> {
        if self.listen.ip().to_canonical().is_loopback() {
            return Vec::new();
        }
        let has_no_authentication = self.auth.mode == AuthMode::Off;
        let has_no_tls = self.tls.cert.is_none();
        let found = [(has_no_authentication, Exposure::NoAuthentication), (has_no_tls, Exposure::NoTls)];
        found.into_iter().filter(|(is_so, _)| *is_so).map(|(_, exposure)| exposure).collect()
    }
}

impl Redis {
    /// What leaves a Redis on another machine open to others there, and what they can do; nothing for one on this
    /// machine. It is said and not refused: a network of its own may be what protects it (FC-SEC-03).
    pub fn exposure(&self) -> Option<&'static str> {
        let url = self.url.as_ref()?;
        if url.hosts().iter().all(is_here) {
            return None;
        }
        // A certificate says who asks as well as a password does.
        let has_credentials = url.password().is_some() || self.password.is_some() || self.cert.is_some();
        match (url.is_tls(), has_credentials) {
            (true, true) => None,
            (true, false) => {
                Some("without a password: whoever reaches it may read and change all that it keeps")
            }
            (false, true) => Some(
                "without TLS: whoever is on the way may learn its password, and read and change all that it keeps",
            ),
            (false, false) => Some(
                "without TLS and without a password: whoever reaches it or is on the way may read and change all that it keeps",
            ),
        }
    }
}

/// Is it this machine, as far as its name tells?
fn is_here(host: &HostPort) -> bool {
    let is_loopback = |address: IpAddr| address.to_canonical().is_loopback();
    host.host.eq_ignore_ascii_case("localhost") || host.host.parse().is_ok_and(is_loopback)
}

/// The contradictions in `settings`. Those that name a setting with a mistake of its own are left out: its default
/// stands in its place, and says nothing. So are all when the file could not be read.
pub(super) fn contradictions(settings: &Settings, mistakes: &[Mistake]) -> Vec<Mistake> {
    let is_mistaken = |name: &&str| {
        mistakes.iter().any(|mistake| match mistake {
            Mistake::Value { setting, .. } => setting == name,
            Mistake::File { .. } => true,
            _ => false,
        })
    };
    let mut found = Contradictions(Vec::new());
    found.in_order(settings);
    found.in_listeners(settings);
    found.in_tls(settings);
    found.in_data_keys(settings);
    found.in_redis(&settings.redis);
    for (settings, reason) in settings.auth.contradictions() {
        found.add(settings, reason);
    }
    found.in_audit(&settings.audit);
    found.in_tracing(&settings.tracing);
    found.0.retain(|contradiction| match contradiction {
        Mistake::Contradiction { settings, .. } => !settings.iter().any(is_mistaken),
        _ => true,
    });
    found.0
}

struct Contradictions(Vec<Mistake>);

impl Contradictions {
    fn in_order(&mut self, settings: &Settings) {
        let Settings { lease, limits, retry, .. } = settings;
        self.not_above(&["lease.default_secs", "lease.max_secs"], lease.default_secs, lease.max_secs);
        self.not_above(&["lease.max_secs", "limits.session_secs"], lease.max_secs, limits.session_secs);
        self.not_above(&["limits.log_secs", "limits.session_secs"], limits.log_secs, limits.session_secs);
        self.not_above(&["retry.initial_secs", "retry.max_secs"], retry.initial_secs, retry.max_secs);
        self.not_above(&["retry.give_up_secs", "limits.log_secs"], retry.give_up_secs, limits.log_secs);
        if limits.log_bytes / 4 < limits.body_bytes {
            self.add(
                &["limits.log_bytes", "limits.body_bytes"],
                format!(
                    "{} is less than four times {}, so that few large events would push out all others",
                    limits.log_bytes, limits.body_bytes
                ),
            );
        }
        if limits.unsent_bytes / 2 < limits.body_bytes {
            self.add(
                &["limits.unsent_bytes", "limits.body_bytes"],
                format!(
                    "{} is less than twice {}, so that one large event could close a socket",
                    limits.unsent_bytes, limits.body_bytes
                ),
            );
        }
    }

    fn in_listeners(&mut self, settings: &Settings) {
        let Settings { listen, admin_listen, .. } = settings;
        if listen == admin_listen && listen.port() != 0 {
            self.add(&["listen", "admin_listen"], format!("both are {listen}, and only one can have it"));
        }
        if let Some(all) = settings.trusted_proxies.iter().find(|network| network.prefix_len() == 0) {
            self.add(
                &["trusted_proxies"],
                format!("{all} is everybody, and every client could choose the address that counts for it"),
            );
        }
        if settings.insecure {
            return;
        }
        let advice = "bind to a loopback address, or set insecure = true if it is protected otherwise";
        for exposure in settings.exposures() {
            match exposure {
                Exposure::NoAuthentication => self.add(
                    &["listen", "auth.mode"],
                    format!("{listen} is open to other machines while authentication is \"off\": {advice}"),
                ),
                Exposure::NoTls => self.add(
                    &["listen", "tls.cert"],
                    format!("{listen} is open to other machines without TLS: {advice}"),
                ),
            }
        }
    }

    fn in_tls(&mut self, settings: &Settings) {
        let Settings { tls, admin_tls, .. } = settings;
        self.paired(&["tls.cert", "tls.key"], tls.cert.is_some(), tls.key.is_some());
        self.paired(&["admin_tls.cert", "admin_tls.key"], admin_tls.cert.is_some(), admin_tls.key.is_some());
        let callbacks = &settings.callbacks;
        self.paired(&["callbacks.cert", "callbacks.key"], callbacks.cert.is_some(), callbacks.key.is_some());
        self.in_client_auth(&["tls.client_auth", "tls.client_ca_file", "tls.cert"], tls);
        self.in_client_auth(
            &["admin_tls.client_auth", "admin_tls.client_ca_file", "admin_tls.cert"],
            admin_tls,
        );
    }

    fn in_client_auth(&mut self, settings: &'static [&'static str], tls: &Tls) {
        let reason = match (tls.client_auth, &tls.client_ca_file) {
            (ClientAuth::Off, None) => return,
            (ClientAuth::Off, Some(_)) => {
                "there is an authority for the certificates of clients, and none is asked for"
            }
            (_, None) => "no authority is named that the certificates of clients would be checked by",
            (_, Some(_)) if tls.cert.is_none() => "certificates of clients need TLS",
            (_, Some(_)) => return,
        };
        self.add(settings, reason.to_owned());
    }

    fn in_data_keys(&mut self, settings: &Settings) {
        if !settings.data_keys.is_empty() && settings.data_keys_file.is_some() {
            let reason = "both are given, and only one can count";
            self.add(&["data_keys", "data_keys_file"], reason.to_owned());
        }
        let has_keys = settings.data_keys.sealing().is_some() || settings.data_keys_file.is_some();
        if settings.data_keys_required && !has_keys {
            self.add(&["data_keys", "data_keys_required"], NONE_SEALS.to_owned());
        }
    }

    fn in_redis(&mut self, redis: &Redis) {
        self.paired(&["redis.cert", "redis.key"], redis.cert.is_some(), redis.key.is_some());
        let Some(url) = &redis.url else { return };
        let twice = "both are given, and only one can count";
        if url.username().is_some() && redis.username.is_some() {
            self.add(&["redis.url", "redis.username"], twice.to_owned());
        }
        if url.password().is_some() && redis.password.is_some() {
            self.add(&["redis.url", "redis.password"], twice.to_owned());
        }
        if redis.database != 0 {
            match url.shape() {
                Shape::Single { database: Some(_) } => {
                    self.add(&["redis.url", "redis.database"], twice.to_owned());
                }
                Shape::Cluster => {
                    let reason = "a cluster has no database but 0";
                    self.add(&["redis.url", "redis.database"], reason.to_owned());
                }
                Shape::Single { database: None } | Shape::Sentinel { .. } => {}
            }
        }
        let has_sentinels = matches!(url.shape(), Shape::Sentinel { .. });
        if (redis.sentinel_username.is_some() || redis.sentinel_password.is_some()) && !has_sentinels {
            let reason = "the URL names no Sentinels";
            self.add(&["redis.url", "redis.sentinel_username", "redis.sentinel_password"], reason.to_owned());
        }
        if (redis.ca_file.is_some() || redis.cert.is_some()) && !url.is_tls() {
            let reason = "the URL asks for no TLS: its scheme would be rediss";
            self.add(&["redis.url", "redis.ca_file", "redis.cert"], reason.to_owned());
        }
    }

    fn in_audit(&mut self, audit: &Audit) {
        if audit.required && audit.to == AuditTarget::Off {
            let reason = "an audit trail that is required has to go somewhere";
            self.add(&["audit.to", "audit.required"], reason.to_owned());
        }
    }

    fn in_tracing(&mut self, tracing: &Tracing) {
        let Some(endpoint) = &tracing.otlp_endpoint else {
            let reason = "there is no collector, whose address tracing.otlp_endpoint would be";
            if !tracing.headers.is_empty() {
                self.add(&["tracing.otlp_endpoint", "tracing.headers"], reason.to_owned());
            }
            if tracing.ca_file.is_some() {
                self.add(&["tracing.otlp_endpoint", "tracing.ca_file"], reason.to_owned());
            }
            return;
        };
        if tracing.ca_file.is_some() && endpoint.scheme() != "https" {
            let reason = "the endpoint asks for no TLS: its scheme would be https";
            self.add(&["tracing.otlp_endpoint", "tracing.ca_file"], reason.to_owned());
        }
    }

    /// A certificate and its key come together.
    fn paired(&mut self, settings: &'static [&'static str], has_cert: bool, has_key: bool) {
        let reason = match (has_cert, has_key) {
            (true, false) => "there is a certificate without its key",
            (false, true) => "there is a key without its certificate",
            _ => return,
        };
        self.add(settings, reason.to_owned());
    }

    fn not_above<T: PartialOrd + Display>(&mut self, settings: &'static [&'static str], lower: T, upper: T) {
        if lower > upper {
            self.add(settings, format!("{lower} is more than {upper}"));
        }
    }

    fn add(&mut self, settings: &'static [&'static str], reason: String) {
        self.0.push(Mistake::Contradiction { settings, reason });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::settings::{Defaults, Flags};

    fn exposure(redis: &[(&str, &str)]) -> Option<&'static str> {
        let named = |(name, value): &(&str, &str)| (format!("FHIRCAST_REDIS__{name}"), (*value).to_owned());
        let settings = Settings::load(Defaults::Standard, &Flags::default(), redis.iter().map(named));
        settings.unwrap().redis.exposure()
    }

    #[test]
    fn a_redis_on_another_machine_is_exposed_without_tls_or_a_password() {
        let neither = "without TLS and without a password: ";
        for (url, says) in [
            ("redis://10.0.0.1", neither),
            ("redis://me@redis.example", neither),
            ("redis+cluster://127.0.0.1,10.0.0.1", neither),
            ("redis+sentinel://:p@a,b/service", "without TLS: "),
            ("rediss://redis.example", "without a password: "),
        ] {
            assert!(exposure(&[("URL", url)]).unwrap().starts_with(says), "FC-SEC-03: {url}");
        }
        let with_password = [("URL", "redis://redis.example"), ("PASSWORD", "p")];
        assert!(exposure(&with_password).unwrap().starts_with("without TLS: "), "FC-SEC-03");
        let with_cert = [("URL", "rediss://redis.example"), ("CERT", "/c.pem"), ("KEY", "/k.pem")];
        assert_eq!(exposure(&with_cert), None);
    }

    #[test]
    fn a_redis_here_or_with_both_is_not_exposed() {
        for url in [
            "redis://localhost",
            "redis://127.0.0.2",
            "redis://[::1]",
            "redis+sentinel://127.0.0.1:1,localhost:2/s",
            "rediss://:p@redis.example",
        ] {
            assert_eq!(exposure(&[("URL", url)]), None, "{url}");
        }
        assert_eq!(exposure(&[]), None);
    }
}
