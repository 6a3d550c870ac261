//! From a topic's log to the sockets of this node.
//!
//! Each topic that has sockets here has one relay: a task that hears the topic's bell, reads the
//! log where the bell is not enough, and hands each entry to the sockets whose filter matches. An
//! entry is matched once for each distinct filter and rendered once for each distinct view.
//!
//! - [`Relays`]: the relays of this node, started with the first socket and ended with the last.
//! - `topic`: the relay of one topic.
//! - `gap`: what is told to those who have missed what the log no longer holds.
//! - `heads`: a look at the logs' heads, for bells that were lost.
//! - `heartbeat`: heartbeats for those who asked for them.
//! - `joining`: bringing a socket from its cursor to where the relay is.
//! - `members`: its sockets, by what they ask for.
//! - `recent`: the last entries, for those who come back.
//!
//! Rules: FC-NOT-01, FC-NOT-08, FC-SUB-04, FC-SUB-09, FC-WSC-04, FC-WSC-06, FC-WSC-08.

mod gap;
mod heads;
mod heartbeat;
mod joining;
mod members;
mod recent;
mod topic;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Instant,
};

use actix_web::web;
use shared::{
    protocol::{EventFilter, TopicKey},
    store::{Address, Connection, Gap, Position, Subscription},
};
use tokio::sync::mpsc;

pub use self::{heads::watch_heads, recent::Frame};
use crate::{node::Node, socket::SocketHandle};

/// Commands that wait for a relay.
const MAX_WAITING: usize = 1024;

/// What a relay is told.
enum Command {
    /// A socket has been opened.
    Join(Box<Joiner>),
    /// A socket has been closed.
    Leave(Address, Connection),
    /// There is more in the log than it has heard of.
    ReadOn,
}

/// A socket that wants what comes after its cursor.
pub struct Joiner {
    subscription: Subscription,
    socket: SocketHandle,
    /// The log's head when the socket took its subscription.
    attached_at: Position,
    cursor: Position,
    /// Since when it has taken nothing more.
    stalled_since: Option<Instant>,
    /// Why the log does not go on from its cursor, if it does not.
    has_missed: Option<Gap>,
}

impl Joiner {
    /// A socket that has just been opened.
    pub fn new(
        subscription: Subscription,
        socket: SocketHandle,
        attached_at: Position,
        cursor: Position,
    ) -> Self {
        Self { subscription, socket, attached_at, cursor, stalled_since: None, has_missed: None }
    }

    /// A socket that was served up to a position from which the log does not go on.
    fn having_missed(events: EventFilter, socket: SocketHandle, cursor: Position, gap: Gap) -> Self {
        let mut subscription = Subscription::clone(&socket.subscription);
        subscription.terms.events = events;
        Self { has_missed: Some(gap), ..Self::new(subscription, socket, cursor, cursor) }
    }

    /// How far the relay must have come before it can serve the socket. Then it also knows of all
    /// who held the subscription before.
    fn needs(&self) -> Position {
        self.attached_at.max(self.cursor)
    }
}

/// How far a relay has come in its topic's log.
#[derive(Default)]
pub struct Followed(Mutex<Position>);

impl Followed {
    /// The last entry that has been handed to all sockets that it is for.
    pub fn get(&self) -> Position {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, position: Position) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = position;
    }
}

/// A relay, for those who speak to it.
#[derive(Clone)]
struct Running {
    commands: mpsc::Sender<Command>,
    /// How far it has come, as soon as it has begun.
    followed: Arc<OnceLock<Arc<Followed>>>,
}

/// The relays of this node, by topic.
#[derive(Default)]
pub struct Relays(Mutex<HashMap<TopicKey, Running>>);

impl Relays {
    fn lock(&self) -> MutexGuard<'_, HashMap<TopicKey, Running>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves a socket from its cursor on.
    pub async fn join(&self, node: &web::Data<Node>, joiner: Box<Joiner>) {
        let topic = joiner.subscription.topic.key();
        let mut command = Command::Join(joiner);
        // A relay that is about to end takes no command any more: then the next one gets it.
        while let Err(mpsc::error::SendError(returned)) = self.relay(node, topic).send(command).await {
            command = returned;
        }
    }

    /// Serves a socket no longer.
    pub async fn leave(&self, address: Address, connection: &Connection) {
        let relay = self.lock().get(&address.topic).cloned();
        if let Some(relay) = relay {
            let _ = relay.commands.send(Command::Leave(address, connection.clone())).await;
        }
    }

    fn relay(&self, node: &web::Data<Node>, topic: TopicKey) -> mpsc::Sender<Command> {
        let mut relays = self.lock();
        if let Some(relay) = relays.get(&topic).filter(|relay| !relay.commands.is_closed()) {
            return relay.commands.clone();
        }
        let (commands, received) = mpsc::channel(MAX_WAITING);
        let running = Running { commands: commands.clone(), followed: Arc::default() };
        tokio::spawn(topic::run(node.clone(), topic, received, running.followed.clone()));
        relays.insert(topic, running);
        commands
    }

    /// Forgets the relay of a topic, unless another has taken its place.
    fn forget(&self, topic: TopicKey) {
        let mut relays = self.lock();
        if relays.get(&topic).is_some_and(|relay| relay.commands.is_closed()) {
            relays.remove(&topic);
        }
    }
}
