//! What happens to Redis itself: full disks, and, where there are replicas, primaries that are lost, replaced or emptied.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::Broken;
use super::links::{Harm, harm};
use crate::chance::Chance;
use crate::fault_lab::system::Site;
use crate::process::Signal;
use crate::redis_cluster::ClusterOptions;
use crate::redis_sentinel::SentinelOptions;
use crate::redis_server::Durability;
use crate::redis_shape::{Redis, Shape};
use crate::wait;

/// Until then a commanded failover is accepted: those who decide must have seen that all is well.
const ACCEPTED_WITHIN: Duration = Duration::from_secs(20);
/// Slots that are moved.
const SLOTS: usize = 3;

/// After how long a primary that does not answer is taken for dead.
pub(super) fn noticed_after(shape: Shape) -> Duration {
    match shape {
        Shape::Single => Duration::ZERO,
        Shape::Sentinel => SentinelOptions::from(Durability::Aof).down_after,
        Shape::Cluster => ClusterOptions::from(Durability::Aof).node_timeout,
    }
}

/// What happens.
#[derive(Debug, Clone, Copy)]
pub(super) enum Trouble {
    DiskFull,
    PrimaryKilled,
    PrimaryStopped,
    PrimaryLink(Harm),
    Failover,
    SlotsMoved,
}

pub(super) async fn begin(
    site: &mut Site,
    trouble: Trouble,
    chance: &mut Chance,
    broken: &mut Broken,
) -> Result<()> {
    let slots = used_slots(&site.redis).await?;
    let slot = slots.get(chance.below(slots.len().max(1) as u64) as usize).copied();
    broken.server = primary(&site.redis, slot).await?;
    let server = broken.server;
    match trouble {
        Trouble::DiskFull => site.redis.servers()[server].fill_disk(),
        Trouble::PrimaryKilled => match &mut site.redis {
            Redis::Single(_) => bail!("one Redis has no replica"),
            Redis::Sentinel(sentinel) => sentinel.server(server).kill(),
            Redis::Cluster(cluster) => cluster.server(server).kill(),
        },
        Trouble::PrimaryStopped => signal(&mut site.redis, server, Signal::STOP),
        Trouble::PrimaryLink(wrong) => {
            harm(site.redis_doors.get(server).context("no proxy before Redis")?, wrong);
            Ok(())
        }
        Trouble::Failover => fail_over(&site.redis, slot).await,
        Trouble::SlotsMoved => move_slots(&site.redis, &slots).await,
    }
}

pub(super) async fn end(site: &mut Site, trouble: Trouble, broken: &Broken) -> Result<()> {
    let server = broken.server;
    match trouble {
        Trouble::DiskFull => site.redis.servers()[server].free_disk(),
        Trouble::PrimaryKilled => match &mut site.redis {
            Redis::Single(_) => Ok(()),
            Redis::Sentinel(sentinel) => sentinel.start_again(server).await,
            Redis::Cluster(cluster) => cluster.start_again(server).await,
        },
        Trouble::PrimaryStopped => signal(&mut site.redis, server, Signal::CONT),
        Trouble::PrimaryLink(_) => {
            site.redis_doors.iter().for_each(|proxy| proxy.mend());
            Ok(())
        }
        Trouble::Failover | Trouble::SlotsMoved => Ok(()),
    }
}

fn signal(redis: &mut Redis, server: usize, signal: Signal) -> Result<()> {
    match redis {
        Redis::Single(single) => single.signal(signal),
        Redis::Sentinel(sentinel) => sentinel.signal(server, signal),
        Redis::Cluster(cluster) => cluster.signal(server, signal),
    }
}

/// The slots in which there is something, in a cluster.
async fn used_slots(redis: &Redis) -> Result<Vec<u16>> {
    let Redis::Cluster(cluster) = redis else { return Ok(Vec::new()) };
    let mut slots = BTreeSet::new();
    for master in cluster.masters().await? {
        // A test's data is small enough to list.
        let keys: Vec<String> = cluster.servers()[master].ask(&["KEYS", "fhircast:*:log:*"]).await?;
        for key in keys {
            slots.insert(cluster.slot(&key).await?);
        }
    }
    Ok(slots.into_iter().collect())
}

/// The server that has the slot, or everything.
async fn primary(redis: &Redis, slot: Option<u16>) -> Result<usize> {
    match redis {
        Redis::Single(_) => Ok(0),
        Redis::Sentinel(sentinel) => sentinel.primary().await,
        Redis::Cluster(cluster) => cluster.master_of(slot.context("nothing is in the cluster")?).await,
    }
}

async fn fail_over(redis: &Redis, slot: Option<u16>) -> Result<()> {
    wait::eventually(ACCEPTED_WITHIN, "a failover that is accepted", || async {
        match redis {
            Redis::Single(_) => None,
            Redis::Sentinel(sentinel) => sentinel.fail_over().await.ok(),
            Redis::Cluster(cluster) => cluster.fail_over(slot?).await.ok(),
        }
    })
    .await
}

async fn move_slots(redis: &Redis, slots: &[u16]) -> Result<()> {
    let Redis::Cluster(cluster) = redis else { bail!("only a cluster has slots") };
    for slot in slots.iter().take(SLOTS) {
        let from = cluster.master_of(*slot).await?;
        let to = cluster.masters().await?.into_iter().find(|master| *master != from);
        cluster.move_slot(*slot, to.context("one master has all slots")?).await?;
    }
    Ok(())
}
