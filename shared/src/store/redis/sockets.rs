//! WebSocket subscriptions: who holds each, and the first reading of any subscription.

use std::{collections::BTreeMap, time::Duration};

use futures_util::{StreamExt, stream};
use redis::Value;

use super::{
    RedisStore, keys, lease_millis, not_after, owner,
    reply::{Reply, corrupt},
    seal::Place,
    subscribed,
};
use crate::{
    protocol::SubscriptionId,
    session::SubscriptionChange,
    store::{
        Activated, Activation, Address, Attached, Connection, CursorMove, Departure, Holder, Owner, Parting,
        Result, Subscribed, Subscription,
    },
};

/// Partitions whose cursors are saved at once.
const AT_ONCE: usize = 64;

impl RedisStore {
    pub(super) async fn subscribe_socket(
        &self,
        subscription: &Subscription,
        limit: usize,
    ) -> Result<Subscribed> {
        let (Address { id, topic }, keys) = (subscription.address(), self.topic(subscription.topic.key()));
        let mut script = self.on_topic(&self.scripts.subscribe_websocket, &keys);
        script.key(keys::subscription(id)).key(keys.sockets()).key(keys.leases());
        script.arg(id.to_string()).arg(topic.to_string()).arg(self.record(subscription)?);
        script.arg(lease_millis(subscription)).arg(limit);
        script.arg(owner(subscription.owner.as_ref())).arg(not_after(subscription));
        subscribed(&self.invoke::<String>("subscribe_websocket", keys.slot(), &script).await?)
    }

    pub(super) async fn renew_socket(
        &self,
        subscription: &Subscription,
        grace: Duration,
    ) -> Result<Subscribed> {
        let (Address { id, topic }, keys) = (subscription.address(), self.topic(subscription.topic.key()));
        if id.partition() != keys.partition() {
            return Ok(Subscribed::Unknown);
        }
        let mut script = self.on_topic(&self.scripts.renew_websocket, &keys);
        script.key(keys::subscription(id)).key(keys.sockets()).key(keys.leases());
        script.arg(id.to_string()).arg(topic.to_string()).arg(self.record(subscription)?);
        script.arg(lease_millis(subscription));
        script.arg(self.changed(SubscriptionChange::Renewed { id }));
        script.arg(grace.as_millis() as u64);
        script.arg(owner(subscription.owner.as_ref())).arg(not_after(subscription));
        subscribed(&self.invoke::<String>("renew_websocket", keys.slot(), &script).await?)
    }

    pub(super) async fn read_subscription(
        &self,
        id: SubscriptionId,
    ) -> Result<Option<(Subscription, Duration)>> {
        let mut script = self.scripts.subscription.prepare_invoke();
        script.key(keys::subscription(id));
        let answer: Value = self.invoke("subscription", keys::slot_of(id.partition()), &script).await?;
        if answer == Value::Nil {
            return Ok(None);
        }
        let mut reply = Reply::new(answer)?;
        let subscription = reply
            .json(&self.seal, Place::Record(id))?
            .ok_or_else(|| corrupt("a subscription without a record"))?;
        Ok(Some((subscription, Duration::from_millis(reply.parsed()?))))
    }

    pub(super) async fn attach_socket(
        &self,
        address: Address,
        connection: &Connection,
    ) -> Result<Option<Attached>> {
        let (Address { id, topic }, keys) = (address, self.topic(address.topic));
        if id.partition() != keys.partition() {
            return Ok(None);
        }
        let mut script = self.on_topic(&self.scripts.attach, &keys);
        script.key(keys::subscription(id)).key(keys.sockets()).key(keys.due()).key(keys.held());
        script.arg(id.to_string()).arg(topic.to_string()).arg(&connection.node).arg(&connection.id);
        // The script knows which connection that is, and puts it in the place of the "?".
        let replaced = SubscriptionChange::Replaced { id, connection: "?".into() };
        script.arg(self.changed(replaced));
        let answer: Value = self.invoke("attach", keys.slot(), &script).await?;
        if answer == Value::Nil {
            return Ok(None);
        }
        let mut reply = Reply::new(answer)?;
        let subscription: Subscription = reply
            .json(&self.seal, Place::Record(id))?
            .ok_or_else(|| corrupt("a subscription without a record"))?;
        let lease = Duration::from_millis(reply.parsed()?);
        let head = reply.parsed()?;
        let answers = !reply.text()?.is_empty();
        let cursor = reply.text()?;
        let cursor = if cursor.is_empty() {
            Err(reply.snapshot(&self.seal, topic)?)
        } else {
            Ok(cursor.parse().map_err(corrupt)?)
        };
        Ok(Some(Attached { subscription, lease, head, answers, cursor }))
    }

    pub(super) async fn begin_reading(&self, address: Address, activation: &Activation) -> Result<Activated> {
        let keys = self.topic(address.topic);
        let mut script = self.on_topic(&self.scripts.activate, &keys);
        script.key(keys::subscription(address.id)).key(keys.webhooks()).key(keys.leases());
        script.arg(address.id.to_string()).arg(address.topic.to_string());
        let (field, holder, request) = match &activation.holder {
            Holder::Connection(connection) => ("connection", &connection.id, None),
            Holder::Claim { token, request } => ("claim", token, request.as_deref()),
        };
        script
            .arg(field)
            .arg(holder)
            .arg(activation.revision.to_string())
            .arg(u8::from(activation.is_restart));
        match request {
            Some(request) => script
                .arg(self.record(&request.subscription)?)
                .arg(lease_millis(&request.subscription))
                .arg(not_after(&request.subscription))
                .arg(&request.nonce),
            None => script.arg("").arg(0).arg("").arg(""),
        };
        for entry in &activation.entries {
            script.arg(self.entry(address.topic, entry)?);
        }
        let mut reply = Reply::new(self.invoke("activate", keys.slot(), &script).await?)?;
        match reply.text()?.as_str() {
            "from" => {
                let (from, history) = (reply.parsed()?, reply.parsed()?);
                if request.is_some() {
                    // Who has answered the challenge counts on it.
                    let (topology, partition) = (self.connections.topology(), keys.partition());
                    self.confirmations.wait(topology, partition, history).await?;
                }
                Ok(Activated::From(from))
            }
            "conflict" => Ok(Activated::Conflict(reply.snapshot(&self.seal, address.topic)?)),
            "lost" => Ok(Activated::Lost),
            other => Err(corrupt(format!("an unknown answer: {other}"))),
        }
    }

    pub(super) async fn move_cursors(&self, moves: &[CursorMove]) -> Result<Vec<bool>> {
        let mut by_partition: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
        for (index, each) in moves.iter().enumerate() {
            by_partition.entry(each.address.id.partition()).or_default().push(index);
        }
        let saved = stream::iter(by_partition).map(|(partition, indexes)| async move {
            let mut script = self.scripts.save_cursors.prepare_invoke();
            for each in indexes.iter().map(|index| &moves[*index]) {
                script.key(keys::subscription(each.address.id));
                script.arg(&each.connection.id).arg(each.cursor.to_string()).arg(u8::from(each.answers));
            }
            let answers: Vec<bool> = self.invoke("save_cursors", keys::slot_of(partition), &script).await?;
            Ok(indexes.into_iter().zip(answers))
        });
        // One partition does not wait for the other; all are tried before an error is told.
        let saved: Vec<Result<_>> = saved.buffer_unordered(AT_ONCE).collect().await;
        let mut held = vec![false; moves.len()];
        for (index, is_held) in saved.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten() {
            held[index] = is_held;
        }
        Ok(held)
    }

    pub(super) async fn detach_from(
        &self,
        address: Address,
        (field, holder): (&'static str, &str),
        departure: Departure,
    ) -> Result<bool> {
        let keys = self.topic(address.topic);
        let mut script = self.scripts.detach.prepare_invoke();
        script.key(keys::subscription(address.id)).key(keys.sockets());
        script.key(keys.due()).key(keys.held()).key(keys.due_bell());
        script.arg(address.id.to_string()).arg(address.topic.to_string()).arg(keys.partition());
        script.arg(field).arg(holder).arg(departure.grace.as_millis() as u64);
        script.arg(departure.look_after.as_millis() as u64).arg(match departure.parting {
            Parting::Left => "left",
            Parting::SentAway => "sent away",
            Parting::Lost => "lost",
        });
        self.invoke("detach", keys.slot(), &script).await
    }

    pub(super) async fn end_socket(
        &self,
        address: Address,
        by: Option<&Owner>,
        reason: &str,
    ) -> Result<Subscribed> {
        let (Address { id, topic }, keys) = (address, self.topic(address.topic));
        if id.partition() != keys.partition() {
            return Ok(Subscribed::Unknown);
        }
        let mut script = self.on_topic(&self.scripts.end_websocket, &keys);
        script.key(keys::subscription(id)).key(keys.sockets()).key(keys.leases());
        script.key(keys.due()).key(keys.held());
        let ended = SubscriptionChange::Ended { id, reason: reason.to_owned() };
        script.arg(id.to_string()).arg(topic.to_string()).arg(self.changed(ended));
        script.arg(owner(by));
        subscribed(&self.invoke::<String>("end_websocket", keys.slot(), &script).await?)
    }
}

/// Reads what [`RedisStore::detach_from`] wrote.
pub(super) fn parting(text: &str) -> Result<Parting> {
    match text {
        "left" => Ok(Parting::Left),
        "sent away" => Ok(Parting::SentAway),
        "lost" => Ok(Parting::Lost),
        other => Err(corrupt(format!("an unknown parting: {other}"))),
    }
}
