//! Which nodes and workers are alive, and what is left behind by those that are not.

use std::{collections::HashMap, time::Duration};

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{RedisStore, keys};
use crate::store::{Address, Departure, Parting, Result};

/// Subscriptions of a dead node that are let go of at once.
const AT_ONCE: usize = 64;

impl RedisStore {
    pub(super) async fn note_worker(&self, id: &str, ttl: Duration) -> Result<Vec<String>> {
        let mut script = self.scripts.register_worker.prepare_invoke();
        script.key(keys::WORKERS).arg(id).arg(ttl.as_millis() as u64);
        let mut workers: Vec<String> =
            self.invoke("register_worker", keys::slot(keys::WORKERS), &script).await?;
        workers.sort_unstable();
        Ok(workers)
    }

    pub(super) async fn note_node(&self, id: &str, ttl: Duration) -> Result<bool> {
        let mut script = self.scripts.register_node.prepare_invoke();
        script.key(keys::NODES).arg(id).arg(ttl.as_millis() as u64);
        self.invoke("register_node", keys::slot(keys::NODES), &script).await
    }

    pub(super) async fn nodes_lapsed(&self) -> Result<Vec<String>> {
        let mut script = self.scripts.lapsed_nodes.prepare_invoke();
        script.key(keys::NODES);
        self.invoke("lapsed_nodes", keys::slot(keys::NODES), &script).await
    }

    pub(super) async fn orphan_node(&self, node: &str, grace: Duration) -> Result<usize> {
        let departure = Departure { parting: Parting::Lost, grace, look_after: Duration::ZERO };
        let held = stream::iter(self.held_by(node).await?);
        let detached = held.map(|address| self.detach_from(address, ("node", node), departure));
        let detached: Vec<bool> = detached.buffer_unordered(AT_ONCE).try_collect().await?;
        let mut script = self.scripts.forget_node.prepare_invoke();
        script.key(keys::NODES).arg(node);
        let _: u8 = self.invoke("forget_node", keys::slot(keys::NODES), &script).await?;
        Ok(detached.into_iter().filter(|was_held| *was_held).count())
    }

    async fn held_by(&self, node: &str) -> Result<Vec<Address>> {
        let ask = |mut wire, partitions: Vec<u16>| async move {
            let mut all = redis::pipe();
            for partition in partitions {
                all.hgetall(keys::held(partition));
            }
            all.query_async::<Vec<HashMap<String, String>>>(&mut wire).await
        };
        let partitions: Vec<u16> = (0..self.partitions).collect();
        // All of them, or the node would be forgotten with some of what it held.
        let answers = self.connections.ask_each("held", &partitions, ask).await;
        let held = answers.into_iter().collect::<Result<Vec<_>>>()?;
        let members = held.iter().flatten().flatten().filter(|(_, holder)| *holder == node);
        Ok(members.filter_map(|(member, _)| keys::address(member)).collect())
    }
}
