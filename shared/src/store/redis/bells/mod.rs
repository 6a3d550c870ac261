//! The bells: one pub/sub connection to each primary, for all topics that this process serves and
//! all partitions whose due sets it watches. They are sharded channels, so the one server that has
//! a topic's log rings its bell.
//!
//! A bell may be lost, with the connection or in a queue that was full; then every listener that
//! it may concern hears [`Rung::Interrupted`] and reads its log. How long it is since each server has been heard is
//! known: a connection rings a bell of its own every few seconds. A connection is made again with
//! backoff and jitter, and a channel whose slot has moved is followed; it is subscribed again
//! *before* the listeners are told to read, so that nothing falls between.

mod ringer;
mod serving;

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    sync::{broadcast, mpsc, oneshot, watch},
    task::JoinHandle,
};

use self::ringer::Ringer;
pub use self::serving::read_entry;
use super::{
    connection::Connections,
    dial::Dialer,
    keys,
    seal::Seal,
    topology::{Primaries, Slot},
};
use crate::{
    lock::lock,
    settings::HostPort,
    store::{BELL_CAPACITY, DUE_BELL_CAPACITY, DueListener, Listener, Rung, StoreError},
};

/// Requests that wait for a connection.
const MAX_WAITING: usize = 1024;

/// Hands out listeners. Each server has a task that keeps the connection to it, and one more
/// task sees to it that every primary has one.
pub struct Bells {
    wanted: Arc<Wanted>,
    ringers: Arc<Ringers>,
    primaries: watch::Receiver<Arc<Primaries>>,
    timeout: Duration,
    supervision: JoinHandle<()>,
}

/// What is listened to, wherever it is.
struct Wanted {
    topics: Mutex<HashMap<String, Topic>>,
    watched: Mutex<HashSet<u16>>,
    due: broadcast::Sender<u16>,
    /// How often a connection has been made.
    connected: AtomicU64,
    /// How many have to be made at the start.
    first: u64,
    /// When each server has last been heard, by the number of the task that keeps the connection to it.
    heard: Mutex<HashMap<u64, (HostPort, Instant)>>,
}

/// Who listens to one channel.
struct Topic {
    slot: Slot,
    listeners: broadcast::Sender<Rung>,
}

/// The tasks that keep the connections, by server.
type Ringers = Mutex<HashMap<HostPort, mpsc::Sender<Request>>>;

/// What such a task is asked.
enum Request {
    /// To subscribe a channel, and to say when that is done.
    Subscribe { channel: String, done: oneshot::Sender<()> },
    /// To unsubscribe a channel to which nobody listens any more.
    Unsubscribe { channel: String },
    /// To look at what is wanted: it has changed.
    Compare,
}

impl Bells {
    /// Starts the tasks. They end when the `Bells` are dropped.
    pub fn start(dialer: Dialer, connections: &Connections, partitions: u16, seal: &Arc<Seal>) -> Self {
        let wanted = Arc::new(Wanted {
            topics: Mutex::default(),
            watched: Mutex::default(),
            due: broadcast::channel(DUE_BELL_CAPACITY).0,
            connected: AtomicU64::new(0),
            first: connections.topology().primaries().servers().len() as u64,
            heard: Mutex::default(),
        });
        let ringers = Arc::new(Ringers::default());
        let primaries = connections.topology().changes();
        let timeout = dialer.timeout();
        let start = {
            let (wanted, primaries, seal) = (wanted.clone(), primaries.clone(), seal.clone());
            let doubts = connections.topology().doubts();
            move |server: &HostPort| {
                let (requests, waiting) = mpsc::channel(MAX_WAITING);
                let ringer = Ringer::new(&dialer, server, &wanted, &primaries, &doubts, partitions, &seal);
                tokio::spawn(ringer.run(waiting));
                requests
            }
        };
        let supervision = tokio::spawn(supervise(ringers.clone(), primaries.clone(), start));
        Self { wanted, ringers, primaries, timeout, supervision }
    }

    /// Listens to the channel of one topic's bell.
    pub async fn listen(&self, channel: String, slot: Slot) -> Result<Listener, StoreError> {
        let receiver = {
            let mut topics = lock(&self.wanted.topics);
            let new = || Topic { slot, listeners: broadcast::channel(BELL_CAPACITY).0 };
            topics.entry(channel.clone()).or_insert_with(new).listeners.subscribe()
        };
        let registration = Registration {
            channel: channel.clone(),
            slot,
            wanted: self.wanted.clone(),
            ringers: self.ringers.clone(),
            primaries: self.primaries.clone(),
        };
        let listener = Listener::new(receiver, registration);
        // Without a connection there is no answer; once there is one, the listener is told to read.
        if let Some(ringer) = ringer(&self.ringers, &self.primaries, slot) {
            let (done, is_done) = oneshot::channel();
            let asked = ringer.send_timeout(Request::Subscribe { channel, done }, self.timeout).await;
            asked.map_err(|_| StoreError::Unavailable("listen: the bells' connection is busy".into()))?;
            let _ = tokio::time::timeout(self.timeout, is_done).await;
        }
        Ok(listener)
    }

    /// Watches the due sets of these partitions, and of no others.
    pub fn watch_due(&self, partitions: &[u16]) {
        *lock(&self.wanted.watched) = partitions.iter().copied().collect();
        for ringer in lock(&self.ringers).values() {
            // One whose queue is full compares when it is through with it.
            let _ = ringer.try_send(Request::Compare);
        }
    }

    /// How often a connection has been made that was not one of the first.
    pub fn interruptions(&self) -> u64 {
        self.wanted.connected.load(Ordering::Relaxed).saturating_sub(self.wanted.first)
    }

    /// How long it is since the server has been heard that has not been for longest, of those of which this is so.
    pub fn silent_for(&self, is_asked_for: impl Fn(&HostPort) -> bool) -> Duration {
        let heard = lock(&self.wanted.heard);
        let those = heard.values().filter(|(server, _)| is_asked_for(server));
        those.map(|(_, at)| at.elapsed()).max().unwrap_or_default()
    }

    /// Hears the due sets that are watched.
    pub fn due_listener(&self) -> DueListener {
        DueListener { receiver: self.wanted.due.subscribe() }
    }
}

impl Drop for Bells {
    fn drop(&mut self) {
        self.supervision.abort();
        lock(&self.ringers).clear();
    }
}

/// The task that keeps the connection to the server that has a slot.
fn ringer(
    ringers: &Ringers,
    primaries: &watch::Receiver<Arc<Primaries>>,
    slot: Slot,
) -> Option<mpsc::Sender<Request>> {
    let server = primaries.borrow().of(slot)?.clone();
    lock(ringers).get(&server).cloned()
}

/// Starts a task for every server that becomes a primary, and ends those of the others.
async fn supervise(
    ringers: Arc<Ringers>,
    mut primaries: watch::Receiver<Arc<Primaries>>,
    start: impl Fn(&HostPort) -> mpsc::Sender<Request>,
) {
    loop {
        let known = primaries.borrow_and_update().clone();
        {
            let mut ringers = lock(&ringers);
            ringers.retain(|server, _| known.servers().contains(server));
            for server in known.servers() {
                ringers.entry(server.clone()).or_insert_with(|| start(server));
            }
        }
        if primaries.changed().await.is_err() {
            return;
        }
    }
}

/// Ends the listening when the last listener of a topic has gone.
struct Registration {
    channel: String,
    slot: Slot,
    wanted: Arc<Wanted>,
    ringers: Arc<Ringers>,
    primaries: watch::Receiver<Arc<Primaries>>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut topics = lock(&self.wanted.topics);
        if topics.get(&self.channel).is_some_and(|topic| topic.listeners.receiver_count() == 0) {
            topics.remove(&self.channel);
            drop(topics);
            if let Some(ringer) = ringer(&self.ringers, &self.primaries, self.slot) {
                // When the queue is full the channel stays subscribed until the next message on it.
                let channel = std::mem::take(&mut self.channel);
                let _ = ringer.try_send(Request::Unsubscribe { channel });
            }
        }
    }
}

impl Wanted {
    /// The channels that a server should be asked for.
    fn of(&self, is_there: impl Fn(Slot) -> bool) -> HashSet<String> {
        let topics = lock(&self.topics);
        let mut channels: HashSet<String> = topics
            .iter()
            .filter(|(_, topic)| is_there(topic.slot))
            .map(|(channel, _)| channel.clone())
            .collect();
        drop(topics);
        let watched = lock(&self.watched);
        let watched = watched.iter().filter(|partition| is_there(keys::slot_of(**partition)));
        channels.extend(watched.map(|partition| keys::due_bell(*partition)));
        channels
    }

    /// Is this channel wanted, of whatever server?
    fn has(&self, channel: &str) -> bool {
        let is_watched = || lock(&self.watched).iter().any(|partition| keys::due_bell(*partition) == channel);
        lock(&self.topics).contains_key(channel) || (keys::is_due_bell(channel) && is_watched())
    }

    /// A task that keeps the connection to this server begins. Answers with its number.
    fn begin(&self, server: &HostPort) -> u64 {
        let mut heard = lock(&self.heard);
        let number = heard.keys().max().map_or(0, |last| last + 1);
        heard.insert(number, (server.clone(), Instant::now()));
        number
    }

    /// The server of this task has been heard.
    fn hear(&self, number: u64) {
        if let Some((_, at)) = lock(&self.heard).get_mut(&number) {
            *at = Instant::now();
        }
    }

    /// Nothing is wanted of it any more.
    fn end(&self, number: u64) {
        lock(&self.heard).remove(&number);
    }

    /// Bells of these channels may have been missed.
    fn interrupt<'a>(&self, channels: impl IntoIterator<Item = &'a String>) {
        let topics = lock(&self.topics);
        for topic in channels.into_iter().filter_map(|channel| topics.get(channel)) {
            let _ = topic.listeners.send(Rung::Interrupted);
        }
    }
}
