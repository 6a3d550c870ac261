//! Asking the servers, and who uses them.

use std::collections::{HashMap, HashSet};

use super::{
    super::{
        census,
        connection::{Connections, Target},
        keys,
        refusal::Asker,
        shares::some,
        startup::field,
    },
    Overview, Program, Server, sessions,
};
use crate::{
    format::Format,
    settings::Redis as Settings,
    store::{Result, StoreError},
};

/// Looks at one store.
pub struct Looking<'s> {
    pub connections: Connections,
    pub settings: &'s Settings,
}

/// Takes note of what could not be asked for.
struct Noted<'p>(&'p mut Vec<String>);

impl Noted<'_> {
    fn or<T>(&mut self, what: &str, answer: Result<T>, otherwise: T) -> T {
        answer.unwrap_or_else(|error| {
            self.0.push(format!("{what}: {error}"));
            otherwise
        })
    }
}

impl Looking<'_> {
    /// What cannot be asked for is told; the rest is there. An error when nothing can be asked for.
    pub async fn look(&self) -> Result<Overview> {
        let mut problems = Vec::new();
        let agreed = match self.agreed().await {
            // Whoever is not let in by one is let in by none.
            Err(error @ StoreError::Misconfigured(_)) => return Err(error),
            agreed => agreed,
        };
        let mut noted = Noted(&mut problems);
        let (format, partitions) =
            noted.or("format and partitions", agreed, (None, self.settings.partitions));
        let all: Vec<u16> = (0..partitions).collect();
        let servers = self.servers(partitions).await;
        if let Some(problem) = servers.iter().map(|server| server.problem.clone()).collect::<Option<Vec<_>>>()
        {
            return Err(StoreError::Unavailable(problem.into_iter().next().unwrap_or_default()));
        }
        let census = noted.or("subscriptions", census::of(&self.connections, &all).await, Vec::new());
        let mut hubs = noted.or("hubs", self.programs(keys::NODES).await, Vec::new());
        let workers = noted.or("workers", self.programs(keys::WORKERS).await, Vec::new());
        let held = noted.or("sockets of hubs", self.held(&all).await, HashMap::new());
        for hub in &mut hubs {
            hub.sockets = held.get(&hub.id).copied().unwrap_or_default();
        }
        let looked = sessions::look(&self.connections, partitions, &census).await;
        let (sessions, undelivered) = noted.or("sessions", looked, Default::default());
        let known: HashSet<u16> = census.iter().map(|of| of.partition).collect();
        let unanswered = all.into_iter().filter(|partition| !known.contains(partition)).collect();
        let census = census.into_iter().filter(|of| !of.is_empty()).collect();
        Ok(Overview {
            problems,
            servers,
            format,
            partitions,
            unanswered,
            hubs,
            workers,
            census,
            sessions,
            undelivered,
        })
    }

    fn asker(&self) -> Asker<'_> {
        Asker::at_the_start(&self.connections, self.settings)
    }

    /// What those who use it have agreed on.
    async fn agreed(&self) -> Result<(Option<Format>, u16)> {
        let number = async |key: &'static str| {
            let ask = |mut wire| async move {
                redis::cmd("GET").arg(key).query_async::<Option<u16>>(&mut wire).await
            };
            self.asker().ask("agreed", Target::Slot(keys::slot(key)), ask).await
        };
        let (format, partitions) = (number(keys::FORMAT).await?, number(keys::PARTITIONS).await?);
        let partitions = partitions
            .ok_or_else(|| StoreError::Misconfigured("no hub or worker has used this Redis yet".into()))?;
        let format =
            format.map_or(Format::OLDEST, |number| Format::new(u8::try_from(number).unwrap_or(u8::MAX)));
        Ok((Some(format), partitions))
    }

    async fn servers(&self, partitions: u16) -> Vec<Server> {
        let primaries = self.connections.topology().primaries();
        let mut servers = Vec::new();
        for address in primaries.servers() {
            let ask = |mut wire| async move { redis::cmd("INFO").query_async::<String>(&mut wire).await };
            let answer = self.asker().ask("info", Target::Server(address), ask).await;
            let problem = answer.as_ref().err().map(|error| match error {
                StoreError::Unavailable(why) => why.clone(),
                other => other.to_string(),
            });
            let info = answer.unwrap_or_default();
            let number = |name| field(&info, name).and_then(|text| text.parse().ok()).unwrap_or_default();
            let is_well = |name| field(&info, name).is_none_or(|status| status == "ok");
            let has = |partition: &u16| primaries.of(keys::slot_of(*partition)) == Some(address);
            servers.push(Server {
                address: address.to_string(),
                version: field(&info, "redis_version").unwrap_or("unknown").to_owned(),
                replicas: number("connected_slaves"),
                used_bytes: number("used_memory"),
                max_bytes: number("maxmemory"),
                has_aof: field(&info, "aof_enabled") == Some("1"),
                persists: is_well("aof_last_write_status") && is_well("rdb_last_bgsave_status"),
                partitions: (0..partitions).filter(has).count(),
                problem,
            });
        }
        servers
    }

    /// Those who must say again and again that they are alive.
    async fn programs(&self, key: &'static str) -> Result<Vec<Program>> {
        let ask = |mut wire| async move {
            redis::pipe()
                .cmd("TIME")
                .zrange_withscores(key, 0, -1)
                .query_async::<((u64, u64), Vec<(String, f64)>)>(&mut wire)
                .await
        };
        let ((seconds, micros), programs) =
            self.asker().ask("programs", Target::Slot(keys::slot(key)), ask).await?;
        let program = |(id, until): (String, f64)| {
            let is_alive = until as u64 > seconds * 1000 + micros / 1000;
            Program { id, is_alive, sockets: 0 }
        };
        Ok(programs.into_iter().map(program).collect())
    }

    /// How many sockets each hub holds.
    async fn held(&self, partitions: &[u16]) -> Result<HashMap<String, usize>> {
        let ask = |mut wire, share: Vec<u16>| async move {
            let mut all = redis::pipe();
            for partition in share {
                all.hvals(keys::held(partition));
            }
            all.query_async::<Vec<Vec<String>>>(&mut wire).await
        };
        let mut held = HashMap::new();
        for node in
            some(self.connections.ask_each("held", partitions, ask).await)?.into_iter().flatten().flatten()
        {
            *held.entry(node).or_default() += 1;
        }
        Ok(held)
    }
}
