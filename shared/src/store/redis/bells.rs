//! The bells: one pub/sub connection a process, for all topics that it serves and all partitions
//! whose due sets it watches.
//!
//! A bell may be lost, with the connection or in a queue that was full; then every listener that
//! it may concern hears [`Rung::Interrupted`] and reads its log. The connection is made again with
//! backoff and jitter; it is subscribed again *before* the listeners are told to read, so that
//! nothing falls between.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::StreamExt;
use rand::Rng;
use redis::{Client, Msg, RedisError, aio::PubSubSink};
use tokio::{
    sync::{broadcast, mpsc, oneshot},
    time::MissedTickBehavior,
};

use super::keys;
use crate::store::{BELL_CAPACITY, DUE_BELL_CAPACITY, DueListener, Listener, LogEntry, Rung, StoreError};

/// Requests that wait for the connection.
const MAX_WAITING: usize = 1024;
/// Channels in one SUBSCRIBE.
const SUBSCRIBE_AT_ONCE: usize = 200;
/// How often the connection is asked whether it lives: one that is open and dead rings no bell.
const PING_EVERY: Duration = Duration::from_secs(3);
/// The first pause before the connection is tried again.
const MIN_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause before the connection is tried again.
const MAX_PAUSE: Duration = Duration::from_secs(2);

enum Request {
    Subscribe { channel: String, done: oneshot::Sender<()> },
    Unsubscribe { channel: String },
    WatchDue { partitions: Vec<u16> },
}

/// Hands out listeners; the connection is made by a task of its own.
pub struct Bells {
    topics: Arc<Topics>,
    requests: mpsc::Sender<Request>,
    due: broadcast::Sender<u16>,
    timeout: Duration,
}

/// Which topics have listeners, by the channel of their bell.
#[derive(Default)]
struct Topics(Mutex<HashMap<String, broadcast::Sender<Rung>>>);

impl Topics {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, broadcast::Sender<Rung>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bells {
    /// Starts the task that keeps the connection. It ends when the `Bells` are dropped.
    pub fn start(client: Client, timeout: Duration) -> Self {
        let (requests, waiting) = mpsc::channel(MAX_WAITING);
        let (due, _) = broadcast::channel(DUE_BELL_CAPACITY);
        let topics = Arc::new(Topics::default());
        let ringer =
            Ringer { client, topics: topics.clone(), due: due.clone(), watched: HashSet::new(), timeout };
        tokio::spawn(ringer.run(waiting));
        Self { topics, requests, due, timeout }
    }

    /// Listens to the channel of one topic's bell.
    pub async fn listen(&self, channel: String) -> Result<Listener, StoreError> {
        let receiver = {
            let mut topics = self.topics.lock();
            topics.entry(channel.clone()).or_insert_with(|| broadcast::channel(BELL_CAPACITY).0).subscribe()
        };
        let registration = Registration {
            channel: channel.clone(),
            topics: self.topics.clone(),
            requests: self.requests.clone(),
        };
        let listener = Listener::new(receiver, registration);
        let (done, is_done) = oneshot::channel();
        let asked = self.requests.send_timeout(Request::Subscribe { channel, done }, self.timeout).await;
        asked.map_err(|_| StoreError::Unavailable("listen: the bells' connection is busy".into()))?;
        // Without a connection there is no answer; once there is one, the listener is told to read.
        let _ = tokio::time::timeout(self.timeout, is_done).await;
        Ok(listener)
    }

    /// Watches the due sets of these partitions, and of no others.
    pub async fn watch_due(&self, partitions: &[u16]) -> Result<(), StoreError> {
        let request = Request::WatchDue { partitions: partitions.to_vec() };
        let asked = self.requests.send_timeout(request, self.timeout).await;
        asked.map_err(|_| StoreError::Unavailable("watch_due: the bells' connection is busy".into()))
    }

    /// Hears the due sets that are watched.
    pub fn due_listener(&self) -> DueListener {
        DueListener { receiver: self.due.subscribe() }
    }
}

/// Ends the listening when the last listener of a topic has gone.
struct Registration {
    channel: String,
    topics: Arc<Topics>,
    requests: mpsc::Sender<Request>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut topics = self.topics.lock();
        if topics.get(&self.channel).is_some_and(|sender| sender.receiver_count() == 0) {
            topics.remove(&self.channel);
            // When the queue is full the channel stays subscribed until the next message on it.
            let _ =
                self.requests.try_send(Request::Unsubscribe { channel: std::mem::take(&mut self.channel) });
        }
    }
}

struct Ringer {
    client: Client,
    topics: Arc<Topics>,
    due: broadcast::Sender<u16>,
    watched: HashSet<u16>,
    timeout: Duration,
}

impl Ringer {
    async fn run(mut self, mut waiting: mpsc::Receiver<Request>) {
        let (mut pause, mut is_said) = (MIN_PAUSE, false);
        while !waiting.is_closed() {
            match self.serve(&mut waiting).await {
                Ok(()) => (pause, is_said) = (MIN_PAUSE, false),
                Err(error) if !is_said => {
                    tracing::warn!(%error, "the bells' connection to Redis has failed; trying again");
                    is_said = true;
                }
                Err(_) => {}
            }
            let jitter = rand::rng().random_range(0.8..1.2);
            tokio::time::sleep(pause.mul_f64(jitter)).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// One connection, from its opening to its end.
    async fn serve(&mut self, waiting: &mut mpsc::Receiver<Request>) -> Result<(), RedisError> {
        let opened = tokio::time::timeout(self.timeout, self.client.get_async_pubsub()).await;
        let (mut sink, mut messages) = opened.map_err(|_| timed_out())??.split();
        self.subscribe_all(&mut sink).await?;
        for sender in self.topics.lock().values() {
            let _ = sender.send(Rung::Interrupted);
        }
        let mut pings = tokio::time::interval(PING_EVERY);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = pings.tick() => {
                    let answered = tokio::time::timeout(self.timeout, sink.ping::<()>()).await;
                    answered.map_err(|_| timed_out())??;
                }
                message = messages.next() => match message {
                    Some(message) => self.ring(&message, &mut sink).await?,
                    None => return Ok(()),
                },
                request = waiting.recv() => match request {
                    Some(request) => self.handle(request, waiting, &mut sink).await?,
                    None => return Ok(()),
                },
            }
        }
    }

    async fn subscribe_all(&self, sink: &mut PubSubSink) -> Result<(), RedisError> {
        let mut channels: Vec<String> = self.topics.lock().keys().cloned().collect();
        channels.extend(self.watched.iter().map(|partition| keys::due_bell(*partition)));
        for channels in channels.chunks(SUBSCRIBE_AT_ONCE) {
            self.subscribe(sink, channels).await?;
        }
        Ok(())
    }

    async fn subscribe(&self, sink: &mut PubSubSink, channels: &[String]) -> Result<(), RedisError> {
        if channels.is_empty() {
            return Ok(());
        }
        tokio::time::timeout(self.timeout, sink.subscribe(channels)).await.map_err(|_| timed_out())?
    }

    async fn unsubscribe(&self, sink: &mut PubSubSink, channels: &[String]) -> Result<(), RedisError> {
        if channels.is_empty() {
            return Ok(());
        }
        tokio::time::timeout(self.timeout, sink.unsubscribe(channels)).await.map_err(|_| timed_out())?
    }

    /// Handles a request, and with it those that wait behind it and are of the same kind.
    async fn handle(
        &mut self,
        request: Request,
        waiting: &mut mpsc::Receiver<Request>,
        sink: &mut PubSubSink,
    ) -> Result<(), RedisError> {
        let (mut channels, mut dones) = (Vec::new(), Vec::new());
        let mut next = Some(request);
        while let Some(request) = next.take() {
            match request {
                Request::Subscribe { channel, done } => {
                    dones.push((channel.clone(), done));
                    channels.push(channel);
                    if channels.len() < SUBSCRIBE_AT_ONCE {
                        next = waiting.try_recv().ok();
                    }
                }
                other => {
                    self.subscribe(sink, &std::mem::take(&mut channels)).await?;
                    self.handle_other(other, sink).await?;
                }
            }
        }
        self.subscribe(sink, &channels).await?;
        for (channel, done) in dones {
            // Who no longer waits has read the log too early.
            if done.send(()).is_err()
                && let Some(sender) = self.topics.lock().get(&channel)
            {
                let _ = sender.send(Rung::Interrupted);
            }
        }
        Ok(())
    }

    async fn handle_other(&mut self, request: Request, sink: &mut PubSubSink) -> Result<(), RedisError> {
        match request {
            Request::Subscribe { .. } => Ok(()),
            Request::Unsubscribe { channel } => {
                // It may be listened to again by now.
                let is_gone = !self.topics.lock().contains_key(&channel);
                if is_gone { self.unsubscribe(sink, &[channel]).await } else { Ok(()) }
            }
            Request::WatchDue { partitions } => {
                let wanted: HashSet<u16> = partitions.into_iter().collect();
                let names = |partitions: Vec<&u16>| -> Vec<String> {
                    partitions.into_iter().map(|p| keys::due_bell(*p)).collect()
                };
                let new = names(wanted.difference(&self.watched).collect());
                let old = names(self.watched.difference(&wanted).collect());
                self.watched = wanted;
                self.subscribe(sink, &new).await?;
                self.unsubscribe(sink, &old).await
            }
        }
    }

    async fn ring(&self, message: &Msg, sink: &mut PubSubSink) -> Result<(), RedisError> {
        let channel = message.get_channel_name();
        if channel.ends_with(":due-bell") {
            if let Some(partition) =
                std::str::from_utf8(message.get_payload_bytes()).ok().and_then(|text| text.parse().ok())
            {
                let _ = self.due.send(partition);
            }
            return Ok(());
        }
        let sender = self.topics.lock().get(channel).cloned();
        let Some(sender) = sender else { return self.unsubscribe(sink, &[channel.to_owned()]).await };
        let rung = match read_entry(message.get_payload_bytes()) {
            Ok(entry) => Rung::Entry(Arc::new(entry)),
            Err(problem) => {
                tracing::error!(problem, "a bell rang with an entry that cannot be read");
                Rung::Interrupted
            }
        };
        let _ = sender.send(rung);
        Ok(())
    }
}

fn timed_out() -> RedisError {
    RedisError::from((redis::ErrorKind::Io, "no answer in time"))
}

/// Reads what the scripts publish: `position previous revision entry`.
fn read_entry(payload: &[u8]) -> Result<LogEntry, String> {
    let payload = std::str::from_utf8(payload).map_err(|error| error.to_string())?;
    let mut parts = payload.splitn(4, ' ');
    let mut part = || parts.next().ok_or("a bell without an entry");
    let (position, previous, revision, entry) = (part()?, part()?, part()?, part()?);
    super::reply::log_entry(position, previous, revision, entry)
}
