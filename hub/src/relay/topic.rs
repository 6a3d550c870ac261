//! The relay of one topic.
//!
//! It is always at one position of the log, and has handed all up to there to its sockets. An
//! entry on the bell is taken if it follows that position; if it does not, or bells may have been
//! missed, the log is read from that position. While the store is away the relay keeps its
//! sockets and tries again.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use actix_web::web;
use shared::{
    audit::Record,
    protocol::{SubscriptionId, Topic, TopicKey},
    session::{EntryKind, SubscriptionChange},
    store::{Gap, Listener, LogEntry, LogPage, Position, Rung, StoreError, Subscription},
    telemetry::{
        metrics::METRICS,
        traces::{Span, SpanKind},
    },
};
use tokio::{sync::mpsc, time::Instant};

use super::{
    Command, Followed, Joiner,
    members::Members,
    recent::{Recent, Rendered},
};
use crate::{
    node::Node,
    socket::{Closing, SocketHandle},
};

/// Entries in one read of the log.
pub(super) const PAGE: usize = 500;
/// The `hub.reason` of a subscription that has ended, where the log does not say why.
pub(super) const ENDED: &str = "the subscription has ended";
/// How long after a failed read of the log the next one is tried.
pub(super) const TRY_AGAIN: Duration = Duration::from_millis(500);

pub(super) struct Relay {
    pub(super) node: web::Data<Node>,
    pub(super) topic: Topic,
    pub(super) members: Members,
    pub(super) recent: Recent,
    pub(super) position: Position,
    pub(super) followed: Arc<Followed>,
    /// Sockets that are not yet where the relay is.
    pub(super) waiting: Vec<Joiner>,
    /// When the log has to be read, because more may be in it than has been heard.
    pub(super) catch_up_at: Option<Instant>,
    /// When those that wait may take more.
    pub(super) admit_at: Option<Instant>,
    /// When the next heartbeat is sent.
    pub(super) heartbeat_at: Option<Instant>,
}

/// Runs the relay of a topic until its last socket has gone.
pub async fn run(
    node: web::Data<Node>,
    topic: TopicKey,
    mut commands: mpsc::Receiver<Command>,
    followed: Arc<OnceLock<Arc<Followed>>>,
) {
    METRICS.topics_served.inc();
    let mut listener: Option<Listener> = None;
    let mut relay: Option<Relay> = None;
    while let Some(command) = commands.recv().await {
        if let (None, Command::Join(first)) = (&relay, &command) {
            let (heard, head) = begin(&node, topic).await;
            listener = Some(heard);
            let begun = Relay::new(node.clone(), first.subscription.topic.clone(), head);
            let _ = followed.set(begun.followed.clone());
            relay = Some(begun);
        }
        let (Some(relay), Some(listener)) = (&mut relay, &mut listener) else { break };
        relay.handle(command).await;
        relay.serve(&mut commands, listener).await;
        if relay.has_nobody() {
            break;
        }
    }
    // Who joins from now on is sent to the next relay; who was on the way is handed over.
    commands.close();
    node.relays.forget(topic);
    while let Some(command) = commands.recv().await {
        match command {
            Command::Join(joiner) => node.relays.join(&node, joiner).await,
            Command::Leave(address, connection) => node.relays.leave(address, &connection).await,
            Command::ReadOn => {}
        }
    }
    METRICS.topics_served.dec();
}

/// Listens, and then looks where the log is: what comes later is heard.
async fn begin(node: &Node, topic: TopicKey) -> (Listener, Position) {
    loop {
        let begun = async {
            let listener = node.store.listen(topic).await?;
            let (session, _) = node.store.session(topic, None).await?;
            Ok::<_, StoreError>((listener, session.head))
        };
        match begun.await {
            Ok(begun) => return begun,
            Err(error) => {
                tracing::warn!(%error, ?topic, "a log cannot be followed; trying again");
                tokio::time::sleep(TRY_AGAIN).await;
            }
        }
    }
}

impl Relay {
    fn new(node: web::Data<Node>, topic: Topic, position: Position) -> Self {
        let followed = Arc::new(Followed::default());
        followed.set(position);
        Self {
            node,
            topic,
            members: Members::default(),
            recent: Recent::default(),
            position,
            followed,
            waiting: Vec::new(),
            catch_up_at: None,
            admit_at: None,
            heartbeat_at: None,
        }
    }

    fn has_nobody(&self) -> bool {
        self.members.is_empty() && self.waiting.is_empty()
    }

    /// Serves until nobody is left.
    async fn serve(&mut self, commands: &mut mpsc::Receiver<Command>, listener: &mut Listener) {
        while !self.has_nobody() {
            self.plan_heartbeat();
            let (catch_up_at, admit_at) = (self.catch_up_at, self.admit_at);
            let heartbeat_at = self.heartbeat_at;
            tokio::select! {
                rung = listener.next() => match rung {
                    Rung::Entry(entry) => self.heard(entry).await,
                    Rung::Interrupted => self.catch_up_at = Some(Instant::now()),
                },
                command = commands.recv() => match command {
                    Some(command) => self.handle(command).await,
                    None => return,
                },
                () = sleep_until(catch_up_at), if catch_up_at.is_some() => self.catch_up().await,
                () = sleep_until(admit_at), if admit_at.is_some() => self.admit().await,
                () = sleep_until(heartbeat_at), if heartbeat_at.is_some() => self.beat(),
            }
        }
    }

    async fn handle(&mut self, command: Command) {
        match command {
            Command::Join(joiner) => {
                self.waiting.push(*joiner);
                self.admit().await;
            }
            Command::Leave(address, connection) => {
                let is_it = |socket: &SocketHandle| socket.connection == connection;
                if let Some(socket) = self.members.get(&address.id).filter(|socket| is_it(socket)).cloned() {
                    self.members.remove(&address.id);
                    self.leave_behind(&socket, None);
                }
                self.waiting.retain(|joiner| !is_it(&joiner.socket));
            }
            Command::ReadOn => self.catch_up().await,
        }
    }

    async fn heard(&mut self, entry: Arc<LogEntry>) {
        if entry.previous == self.position {
            self.take(entry).await;
        } else if !self.position.covers(entry.position) {
            self.catch_up_at = Some(Instant::now());
        }
    }

    /// Hands the entry that follows to all sockets that it is for.
    async fn take(&mut self, entry: Arc<LogEntry>) {
        let rendered = Arc::new(Rendered::new(entry));
        let entry = &rendered.entry;
        self.node.publisher.observe(self.topic.key(), entry);
        if entry.entry.as_event().is_some() && !self.members.is_empty() {
            self.fan_out(&rendered);
        }
        if let EntryKind::Subscription(change) = &entry.entry.kind {
            self.change(change).await;
        }
        self.position = entry.position;
        self.recent.push(rendered);
        self.followed.set(self.position);
    }

    /// Hands an event to all members that may see it, as one piece of work however many they are.
    fn fan_out(&mut self, rendered: &Rendered) {
        let span = Span::of(SpanKind::Consumer, "fan out", rendered.entry.entry.trace());
        let handed = span.within(|| {
            let handed = self.members.deliver(rendered, &self.node.settings.limits);
            tracing::debug!(topic = ?self.topic.key(), sockets = handed.to, "an event is handed to sockets");
            handed
        });
        span.note(|| {
            let number = |number| i64::try_from(number).unwrap_or(i64::MAX).into();
            [
                ("messaging.system", "fhircast".into()),
                ("messaging.operation.type", "process".into()),
                ("messaging.operation.name", "fan out".into()),
                ("messaging.destination.name", format!("{:?}", self.topic.key()).into()),
                ("fhircast.channel", "websocket".into()),
                ("fhircast.sockets", number(handed.to)),
                ("fhircast.sockets.refused", number(handed.refused.len())),
            ]
        });
        for (socket, closing) in handed.refused {
            self.leave_behind(&socket, closing);
        }
    }

    async fn change(&mut self, change: &SubscriptionChange) {
        match change {
            SubscriptionChange::Renewed { id } => self.renew(id).await,
            SubscriptionChange::Replaced { id, connection } => {
                if self.members.get(id).is_some_and(|socket| socket.connection.id == *connection)
                    && let Some(socket) = self.members.remove(id)
                {
                    socket.close(Closing::Replaced);
                }
            }
            SubscriptionChange::Ended { id, reason } => {
                if let Some(socket) = self.members.remove(id) {
                    socket.end(reason);
                }
            }
        }
    }

    async fn renew(&mut self, id: &SubscriptionId) {
        let Some(socket) = self.members.get(id).cloned() else { return };
        match self.confirm_anew(&socket).await {
            Ok(Some(subscription)) => {
                self.members.insert(subscription.terms.events, socket);
            }
            Ok(None) => {
                self.members.remove(id);
                socket.end(ENDED);
            }
            // Left behind before this entry, it comes back and is confirmed on the new terms.
            Err(error) => {
                tracing::warn!(%error, "a renewed subscription cannot be read");
                self.members.remove(id);
                self.leave_behind(&socket, Some(Closing::GoingAway));
            }
        }
    }

    /// Reads a subscription that was subscribed again, and confirms it (FC-SUB-04). `None` when
    /// it has ended since.
    pub(super) async fn confirm_anew(
        &self,
        socket: &SocketHandle,
    ) -> Result<Option<Subscription>, StoreError> {
        let Some((subscription, lease)) = self.node.store.subscription(socket.address.id).await? else {
            return Ok(None);
        };
        self.confirm(socket, &subscription, lease);
        Ok(Some(subscription))
    }

    pub(super) fn confirm(&self, socket: &SocketHandle, subscription: &Subscription, lease: Duration) {
        socket.confirm(subscription, lease);
        self.node.audit.note(Record::grant(subscription, lease));
    }

    /// Reads the log from the position to its end.
    async fn catch_up(&mut self) {
        self.catch_up_at = None;
        loop {
            match self.node.store.log(self.topic.key(), self.position, PAGE).await {
                Ok(LogPage { entries, head, gap, has_more }) => {
                    if let Some(gap) = gap {
                        self.interrupt(self.position, gap);
                    }
                    for (number, entry) in entries.into_iter().enumerate() {
                        if number > 0 && entry.previous != self.position {
                            // One between cannot be read.
                            self.interrupt(self.position, Gap::Trimmed);
                        }
                        self.take(entry).await;
                    }
                    if !has_more {
                        self.arrive_at(head);
                        break;
                    }
                }
                Err(error) => return self.try_again(&error),
            }
        }
        // The log was read after all of them were attached: it ends before where they have been.
        let position = self.position;
        for joiner in self.waiting.iter_mut().filter(|joiner| joiner.needs() > position) {
            joiner.has_missed = Some(Gap::Lost);
        }
        self.admit().await;
    }

    /// The log has been read up to its head, and whatever lies between cannot be read.
    fn arrive_at(&mut self, head: Position) {
        if head != self.position {
            if !self.members.is_empty() {
                self.interrupt(self.position, Gap::Trimmed);
            }
            self.position = head;
            self.followed.set(head);
        }
    }

    pub(super) fn try_again(&mut self, error: &StoreError) {
        tracing::warn!(%error, topic = ?self.topic, "the log cannot be read; trying again");
        self.catch_up_at = Some(Instant::now() + TRY_AGAIN);
    }

    /// Goes on without a socket that did not take the entry after the present position.
    fn leave_behind(&self, socket: &SocketHandle, closing: Option<Closing>) {
        socket.outbox.leave_at(self.position);
        close(socket, closing);
    }
}

/// Closes a socket, unless it has gone by itself. Its cursor stays, so nothing is lost.
pub(super) fn close(socket: &SocketHandle, closing: Option<Closing>) {
    if let Some(closing) = closing {
        tracing::info!(subscription = ?socket.address.id, ?closing, "a socket falls behind and is closed");
        socket.close(closing);
    }
}

async fn sleep_until(at: Option<Instant>) {
    if let Some(at) = at {
        tokio::time::sleep_until(at).await;
    }
}
