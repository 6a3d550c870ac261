//! Which nodes and workers are alive, and what is left behind by those that are not.

use std::{collections::HashMap, time::Duration};

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{
    RedisStore,
    connection::{text, unavailable},
    keys,
};
use crate::store::{Address, Departure, Parting, Result};

/// Subscriptions of a dead node that are let go of at once.
const AT_ONCE: usize = 64;

impl RedisStore {
    pub(super) async fn note_worker(&self, id: &str, ttl: Duration) -> Result<Vec<String>> {
        let mut script = self.scripts.register_worker.prepare_invoke();
        script.key(keys::WORKERS).arg(id).arg(ttl.as_millis() as u64);
        let mut workers: Vec<String> = self.invoke("register_worker", &script).await?;
        workers.sort_unstable();
        Ok(workers)
    }

    pub(super) async fn note_node(&self, id: &str, ttl: Duration) -> Result<bool> {
        let mut script = self.scripts.register_node.prepare_invoke();
        script.key(keys::NODES).arg(id).arg(ttl.as_millis() as u64);
        self.invoke("register_node", &script).await
    }

    pub(super) async fn nodes_lapsed(&self) -> Result<Vec<String>> {
        let mut script = self.scripts.lapsed_nodes.prepare_invoke();
        script.key(keys::NODES);
        self.invoke("lapsed_nodes", &script).await
    }

    pub(super) async fn orphan_node(&self, node: &str, grace: Duration) -> Result<usize> {
        let departure = Departure { parting: Parting::Lost, grace, look_after: Duration::ZERO };
        let held = stream::iter(self.held_by(node).await?);
        let detached = held.map(|address| self.detach_from(address, ("node", node), departure));
        let detached: Vec<bool> = detached.buffer_unordered(AT_ONCE).try_collect().await?;
        let mut script = self.scripts.forget_node.prepare_invoke();
        script.key(keys::NODES).arg(node);
        let _: u8 = self.invoke("forget_node", &script).await?;
        Ok(detached.into_iter().filter(|was_held| *was_held).count())
    }

    async fn held_by(&self, node: &str) -> Result<Vec<Address>> {
        let mut all = redis::pipe();
        for partition in 0..self.partitions {
            all.hgetall(keys::held(partition));
        }
        let mut connection = self.connections.bulk("held").await?;
        let held: Vec<HashMap<String, String>> =
            unavailable("held", all.query_async(&mut connection).await.map_err(text))?;
        let members = held.iter().flatten().filter(|(_, holder)| *holder == node);
        Ok(members.filter_map(|(member, _)| keys::address(member)).collect())
    }
}
