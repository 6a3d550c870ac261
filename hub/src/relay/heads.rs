//! A look at the heads of the logs, from time to time: a bell may be lost without anybody noticing, and
//! the next one may be far off.
//!
//! It costs one small read a topic, for all topics in a few calls, and nothing for topics that nobody
//! reads here.

use std::time::Duration;

use actix_web::web;
use shared::{
    protocol::TopicKey,
    store::{Position, StoreError},
    telemetry::{Loop, metrics::METRICS},
};

use super::Command;
use crate::node::Node;

/// How often they are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Topics in one call.
const AT_ONCE: usize = 1000;
/// The time in which a bell arrives that is on its way.
const ON_ITS_WAY: Duration = Duration::from_millis(300);

/// Looks for as long as the process runs.
pub async fn watch_heads(node: web::Data<Node>) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let turning = node.loops.watch("heads");
    loop {
        ticks.tick().await;
        turning.turned();
        if let Err(error) = look(&node, &turning).await {
            tracing::debug!(%error, "the heads of the logs cannot be looked at");
        }
        turning.turned();
    }
}

async fn look(node: &Node, turning: &Loop) -> Result<(), StoreError> {
    for followed in node.relays.followed().chunks(AT_ONCE) {
        let topics: Vec<TopicKey> = followed.iter().map(|(topic, _)| *topic).collect();
        let heads = node.store.heads(&topics).await?;
        turning.turned();
        let standing: Vec<_> = followed.iter().zip(heads).filter(is_elsewhere).collect();
        if standing.is_empty() {
            continue;
        }
        tokio::time::sleep(ON_ITS_WAY).await;
        for ((topic, before), _) in standing {
            node.relays.wake(*topic, *before);
        }
    }
    Ok(())
}

fn is_elsewhere((followed, head): &(&(TopicKey, Position), Option<Position>)) -> bool {
    head.is_some_and(|head| head != followed.1)
}

impl super::Relays {
    /// How far each relay has come that has begun.
    fn followed(&self) -> Vec<(TopicKey, Position)> {
        let relays = self.lock();
        let begun = relays.iter().filter_map(|(topic, relay)| Some((*topic, relay.followed.get()?.get())));
        begun.collect()
    }

    /// Has a relay read its log, if it still stands where it stood.
    fn wake(&self, topic: TopicKey, before: Position) {
        let relays = self.lock();
        let Some(relay) = relays.get(&topic) else { return };
        let stands = relay.followed.get().is_some_and(|followed| followed.get() == before);
        // One whose commands wait is not asleep.
        if stands && relay.commands.try_send(Command::ReadOn).is_ok() {
            METRICS.missed_bells.inc();
            tracing::info!(?topic, after = %before, "a bell has been missed: the log is read");
        }
    }
}
