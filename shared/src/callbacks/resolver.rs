//! From the name of a callback's host to its addresses: by the system's resolver, or by the name
//! servers of `callbacks.dns_servers`.
//!
//! - Never longer than `callbacks.dns_timeout_ms`, and never more than `callbacks.dns_lookups` at once
//!   in one program; who finds no room waits within the same time.
//! - The system's resolver blocks a thread for as long as it takes, also when nobody waits any more:
//!   the thread keeps its place in that count, and the share of whoever wanted to know.
//! - Own name servers are asked for the whole name alone: no search domains, no hosts file. What they
//!   answer is remembered for its own time to live, a minute at most; `localhost` and the names below
//!   it they are not asked for.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use dns_lookup::{LookupErrorKind, lookup_host};
use hickory_resolver::{
    TokioResolver,
    config::{
        ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
    },
    net::{NetError, runtime::TokioRuntimeProvider},
};
use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};

use crate::settings::Callbacks;

/// How long an answer of a name server is remembered, whatever it says.
const MEMORY: Duration = Duration::from_secs(60);
/// How long it is remembered that there is none.
const NEGATIVE_MEMORY: Duration = Duration::from_secs(5);
/// Answers that are remembered.
const REMEMBERED: u64 = 1024;

/// Why a name has no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// There is no such name, or it has no address.
    #[error("its host's name has no address")]
    NoAddress,
    /// Nobody answered in time, or who answered could not say.
    #[error("its host's name cannot be resolved: {0}")]
    Unanswered(String),
}

/// Asks for the addresses of names.
pub(super) struct Resolver {
    way: Way,
    lookups: Arc<Semaphore>,
    patience: Duration,
}

enum Way {
    System,
    Servers(Box<TokioResolver>),
}

impl Resolver {
    pub(super) fn new(settings: &Callbacks) -> Result<Self, NetError> {
        let way = match settings.dns_servers.as_slice() {
            [] => Way::System,
            servers => Way::Servers(Box::new(asking(servers, settings.dns_timeout())?)),
        };
        let lookups = Arc::new(Semaphore::new(settings.dns_lookups.min(Semaphore::MAX_PERMITS)));
        Ok(Self { way, lookups, patience: settings.dns_timeout() })
    }

    /// The addresses of a name, in the order in which they came; at least one. `share` is kept for as long
    /// as it takes, which may be longer than anybody waits.
    pub(super) async fn addresses(
        &self,
        name: &str,
        share: impl Send + 'static,
    ) -> Result<Vec<IpAddr>, Unresolved> {
        let found = timeout(self.patience, self.look_up(name, share)).await;
        let late = |_| Unresolved::Unanswered("no answer within callbacks.dns_timeout_ms".to_owned());
        match found.map_err(late)?? {
            none if none.is_empty() => Err(Unresolved::NoAddress),
            some => Ok(some),
        }
    }

    async fn look_up(&self, name: &str, share: impl Send + 'static) -> Result<Vec<IpAddr>, Unresolved> {
        let unanswered = |error: &dyn std::fmt::Display| Unresolved::Unanswered(error.to_string());
        // It is never closed.
        let place = self.lookups.clone().acquire_owned().await.map_err(|error| unanswered(&error))?;
        let place = (place, share);
        match &self.way {
            Way::System => {
                let name = name.to_owned();
                let looked_up = spawn_blocking(move || {
                    let _place = place;
                    lookup_host(&name).map(Iterator::collect::<Vec<_>>)
                });
                looked_up.await.map_err(|error| unanswered(&error))?.map_err(|error| match error.kind() {
                    LookupErrorKind::NoName | LookupErrorKind::NoData => Unresolved::NoAddress,
                    _ => unanswered(&std::io::Error::from(error)),
                })
            }
            Way::Servers(resolver) => {
                let whole = format!("{}.", name.trim_end_matches('.'));
                match resolver.lookup_ip(whole).await {
                    Ok(found) => Ok(found.iter().collect()),
                    Err(error) if error.is_no_records_found() => Err(Unresolved::NoAddress),
                    Err(error) => Err(unanswered(&error)),
                }
            }
        }
    }
}

fn asking(servers: &[SocketAddr], patience: Duration) -> Result<TokioResolver, NetError> {
    let name_server = |server: &SocketAddr| {
        let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
            connection.port = server.port();
            connection
        });
        NameServerConfig::new(server.ip(), true, connections.into())
    };
    let config = ResolverConfig::from_name_servers(servers.iter().map(name_server).collect());
    let mut options = ResolverOpts::default();
    // A second try, or a second server, must have its turn within the whole.
    options.timeout = patience / 3;
    options.attempts = 2;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.use_hosts_file = ResolveHosts::Never;
    options.cache_size = REMEMBERED;
    options.positive_max_ttl = Some(MEMORY);
    options.negative_max_ttl = Some(NEGATIVE_MEMORY);
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).with_options(options).build()
}
