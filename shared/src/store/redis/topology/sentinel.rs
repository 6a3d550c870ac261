//! The primary that the Sentinels name.

use std::{collections::HashMap, time::Duration};

use redis::{ErrorKind, RedisError, RedisResult};

use super::{
    super::{dial::Dialer, link::Link},
    answers, within,
};
use crate::settings::HostPort;

/// The Sentinels of one service.
pub struct Sentinels {
    links: Vec<Link>,
    service: String,
    patience: Duration,
}

impl Sentinels {
    pub fn new(dialer: &Dialer, hosts: &[HostPort], service: &str) -> Self {
        let link = |host| Link::new(dialer.sentinel(host), dialer.config());
        let links = hosts.iter().map(link).collect();
        Self { links, service: service.to_owned(), patience: dialer.connect_timeout() }
    }

    /// Asks all of them at once. Of those that answer, the one that knows of the latest failover
    /// is right: another may be cut off, or not have heard of it yet.
    pub async fn look(&self) -> RedisResult<HostPort> {
        let mut latest: Option<(u64, HostPort)> = None;
        let mut last_error = None;
        let asked = self.links.iter().map(|link| self.ask(link)).collect();
        for answer in answers(asked).await {
            match answer {
                Ok(found) if latest.as_ref().is_none_or(|known| found.0 > known.0) => latest = Some(found),
                Ok(_) => {}
                Err(error) => last_error = Some(error),
            }
        }
        latest.map(|(_, primary)| primary).ok_or_else(|| {
            last_error.unwrap_or_else(|| (ErrorKind::EmptySentinelList, "no Sentinel is named").into())
        })
    }

    /// The epoch of the failover that made it the primary, and the primary.
    async fn ask(&self, link: &Link) -> RedisResult<(u64, HostPort)> {
        let held = within(self.patience, link.get()).await?;
        let mut connection = held.connection.clone();
        let mut both = redis::pipe();
        both.cmd("SENTINEL").arg("MASTER").arg(&self.service);
        // MASTER has the address only when all replicas follow the new primary; this has it as
        // soon as it is one.
        both.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(&self.service);
        let asked = both.query_async::<(HashMap<String, String>, (String, u16))>(&mut connection);
        match within(self.patience, asked).await {
            Ok((fields, (host, port))) => match epoch(&fields) {
                Some(epoch) => Ok((epoch, HostPort { host, port })),
                None => Err((ErrorKind::UnexpectedReturnType, "a Sentinel's answer cannot be read").into()),
            },
            Err(error) => {
                let is_the_wire = error.is_io_error() || error.is_connection_dropped();
                if is_the_wire {
                    link.give_up(&held);
                }
                Err(named(error, &self.service))
            }
        }
    }
}

fn epoch(fields: &HashMap<String, String>) -> Option<u64> {
    fields.get("config-epoch")?.parse().ok()
}

/// "No such master with that name" does not say which.
fn named(error: RedisError, service: &str) -> RedisError {
    if error.to_string().contains("No such master") {
        let detail = format!("no primary is called {service:?} there");
        return (ErrorKind::MasterNameNotFoundBySentinel, "a Sentinel does not know the service", detail)
            .into();
    }
    error
}
