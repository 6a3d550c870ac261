//! The primaries of a cluster, as its nodes tell.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use redis::{ErrorKind, FromRedisValue, RedisResult, Value};

use super::{
    super::{dial::Dialer, link::Link},
    Primaries, answers, within,
};
use crate::{settings::HostPort, telemetry::metrics::RedisConnection};

/// Nodes that are asked in one look.
const MOST_ASKED: usize = 6;

/// A cluster, found from some of its nodes.
pub struct Cluster {
    dialer: Dialer,
    seeds: Vec<HostPort>,
    /// The nodes that have been asked, seeds and others.
    links: BTreeMap<HostPort, Link>,
    patience: Duration,
}

/// What a node says.
struct View {
    /// Does it see a cluster that works, and how much has it heard? The same node is believed
    /// every time among those that have heard as much.
    rank: (bool, u64, Reverse<HostPort>),
    primaries: Primaries,
}

impl Cluster {
    pub fn new(dialer: &Dialer, hosts: &[HostPort]) -> Self {
        let patience = dialer.connect_timeout();
        Self { dialer: dialer.clone(), seeds: hosts.to_vec(), links: BTreeMap::new(), patience }
    }

    fn link(&self, server: &HostPort) -> Link {
        Link::new(self.dialer.redis(server, RedisConnection::Topology), self.dialer.config())
    }

    /// Asks several nodes at once. Of those that answer, the one that has heard of the latest
    /// change is right: another may be cut off.
    pub async fn look(&mut self) -> RedisResult<Primaries> {
        for seed in &self.seeds {
            if !self.links.contains_key(seed) {
                self.links.insert(seed.clone(), self.link(seed));
            }
        }
        let asked = self.links.iter().map(|(server, link)| ask(server, link, self.patience)).collect();
        let (mut best, mut last_error): (Option<View>, _) = (None, None);
        for answer in answers(asked).await {
            match answer {
                Ok(view) if best.as_ref().is_none_or(|known| view.rank > known.rank) => best = Some(view),
                Ok(_) => {}
                Err(error) => last_error = Some(error),
            }
        }
        let Some(View { primaries, .. }) = best else {
            return Err(last_error
                .unwrap_or_else(|| (ErrorKind::ClusterConnectionNotFound, "no node is known").into()));
        };
        self.learn(&primaries);
        Ok(primaries)
    }

    /// Next time, the primaries are asked besides the seeds.
    fn learn(&mut self, primaries: &Primaries) {
        let room = MOST_ASKED.saturating_sub(self.seeds.len());
        let others = primaries.servers().iter().filter(|server| !self.seeds.contains(server));
        let wanted: BTreeSet<&HostPort> = self.seeds.iter().chain(others.take(room)).collect();
        self.links.retain(|server, _| wanted.contains(server));
        for server in wanted {
            if !self.links.contains_key(server) {
                let link = self.link(server);
                self.links.insert(server.clone(), link);
            }
        }
    }
}

async fn ask(server: &HostPort, link: &Link, patience: Duration) -> RedisResult<View> {
    let held = within(patience, link.get()).await?;
    let mut connection = held.connection.clone();
    let mut both = redis::pipe();
    both.cmd("CLUSTER").arg("INFO").cmd("CLUSTER").arg("SLOTS");
    match within(patience, both.query_async::<(String, Vec<Value>)>(&mut connection)).await {
        Ok((info, slots)) => {
            let (is_ok, epoch) = state(&info);
            Ok(View { rank: (is_ok, epoch, Reverse(server.clone())), primaries: read(server, slots)? })
        }
        Err(error) => {
            if error.is_io_error() || error.is_connection_dropped() {
                link.give_up(&held);
            }
            Err(error)
        }
    }
}

fn state(info: &str) -> (bool, u64) {
    let field =
        |name: &str| info.lines().find_map(|line| line.trim_end().strip_prefix(name)?.strip_prefix(':'));
    let epoch = field("cluster_current_epoch").and_then(|epoch| epoch.parse().ok());
    (field("cluster_state") == Some("ok"), epoch.unwrap_or(0))
}

/// Reads CLUSTER SLOTS: first slot, last slot, the primary (host, port, …), its replicas.
pub fn read(asked: &HostPort, slots: Vec<Value>) -> RedisResult<Primaries> {
    let mut runs = Vec::with_capacity(slots.len());
    for run in slots {
        let mut parts = Vec::<Value>::from_redis_value(run)?.into_iter();
        let mut part = || parts.next().unwrap_or(Value::Nil);
        let (first, last) = (u16::from_redis_value(part())?, u16::from_redis_value(part())?);
        let mut primary = Vec::<Value>::from_redis_value(part())?.into_iter();
        let mut part = || primary.next().unwrap_or(Value::Nil);
        // A node that does not know its own address leaves it out: it is the one that was asked.
        let host = Option::<String>::from_redis_value(part())?.filter(|host| !host.is_empty() && host != "?");
        let port = u16::from_redis_value(part())?;
        let server = HostPort { host: host.unwrap_or_else(|| asked.host.clone()), port };
        runs.push((first, last, server));
    }
    Ok(Primaries::of_runs(runs))
}
