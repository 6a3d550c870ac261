//! One pub/sub connection to one server, from its opening to its end.
//!
//! What is subscribed on it is what the server says, in the order in which it says it. A channel
//! whose slot has left the server loses its bell until another server has it, and no other channel
//! loses anything.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use redis::{
    ErrorKind, FromRedisValue, Pipeline, PushInfo, PushKind, RedisError, RedisResult, Value,
    aio::MultiplexedConnection,
};
use tokio::{
    sync::{
        broadcast::{
            self,
            error::{RecvError, TryRecvError},
        },
        mpsc, oneshot, watch,
    },
    time::{MissedTickBehavior, interval},
};
use uuid::Uuid;

use super::{
    super::{
        keys,
        reply::log_entry,
        seal::Seal,
        topology::{Primaries, is_elsewhere, within},
    },
    Request,
    ringer::Ringer,
};
use crate::{
    lock::lock,
    store::{LogEntry, Rung},
    telemetry::metrics::METRICS,
};

/// Channels that are subscribed in one go.
const AT_ONCE: usize = 200;
/// How often the connection has to ring a bell of its own: one that is open and dead rings none.
const PROBE_EVERY: Duration = Duration::from_secs(3);
/// How soon what could not be subscribed is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(200);
/// Messages that wait until they are looked at.
const MOST_UNREAD: usize = 4096;

/// One connection, with what is subscribed on it.
pub struct Serving<'a> {
    ringer: &'a Ringer,
    changes: watch::Receiver<Arc<Primaries>>,
    connection: MultiplexedConnection,
    pushed: broadcast::Receiver<PushInfo>,
    /// What the server has said so far.
    subscribed: HashSet<String>,
    /// Something is wanted of this server that it does not have, or not yet.
    is_incomplete: bool,
    /// Channels that rang and have no listeners.
    deserted: Vec<String>,
    probe: Option<Probe>,
    asked: u64,
}

/// The channel on which the connection rings a bell of its own: one of a partition of this server.
struct Probe {
    channel: String,
    /// Since when it has not been heard.
    rung: Option<Instant>,
}

impl<'a> Serving<'a> {
    /// Connects, and subscribes what is wanted; then those who wait for it are told to read.
    pub async fn open(ringer: &'a Ringer) -> RedisResult<Self> {
        let mut changes = ringer.primaries.clone();
        changes.mark_unchanged();
        let (push, pushed) = broadcast::channel(MOST_UNREAD);
        let config = ringer.dialer.config().set_push_sender(push);
        let opening = ringer.door.open(&config);
        let connection = within(ringer.dialer.timeout(), opening).await?;
        let mut serving = Self {
            ringer,
            changes,
            connection,
            pushed,
            subscribed: HashSet::new(),
            is_incomplete: false,
            deserted: Vec::new(),
            probe: None,
            asked: 0,
        };
        serving.compare().await?;
        Ok(serving)
    }

    /// Rings what it hears, until the connection fails. `Ok` when nobody can ask any more.
    pub async fn run(&mut self, waiting: &mut mpsc::Receiver<Request>) -> RedisResult<()> {
        let (mut probes, mut tries) = (interval(PROBE_EVERY), interval(TRY_AGAIN));
        probes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tries.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = self.pushed.recv() => self.hear(message)?,
                request = waiting.recv() => match request {
                    Some(request) => self.handle(request, waiting).await?,
                    None => return Ok(()),
                },
                changed = self.changes.changed() => match changed {
                    Ok(()) => self.compare().await?,
                    Err(_) => return Ok(()),
                },
                _ = tries.tick(), if self.is_incomplete => self.compare().await?,
                _ = probes.tick() => self.ring_the_probe().await?,
            }
            if !self.deserted.is_empty() {
                let mut deserted = std::mem::take(&mut self.deserted);
                // Somebody may listen by now.
                deserted.retain(|channel| !self.ringer.wanted.has(channel));
                self.unsubscribe(deserted).await?;
            }
        }
    }

    /// Subscribes what is wanted and is not subscribed, and the other way round.
    async fn compare(&mut self) -> RedisResult<()> {
        self.is_incomplete = false;
        self.keep_a_probe().await?;
        let mut wanted = self.ringer.wanted.of(|slot| self.ringer.has(slot));
        let new: Vec<String> = wanted.difference(&self.subscribed).cloned().collect();
        wanted.extend(self.probe.as_ref().map(|probe| probe.channel.clone()));
        let old: Vec<String> = self.subscribed.difference(&wanted).cloned().collect();
        self.subscribe(&new).await?;
        self.ringer.wanted.interrupt(new.iter().filter(|channel| self.subscribed.contains(*channel)));
        self.unsubscribe(old).await
    }

    /// Chooses another probe when the slot of the one that there was has moved.
    async fn keep_a_probe(&mut self) -> RedisResult<()> {
        if self.probe.as_ref().is_some_and(|probe| self.subscribed.contains(&probe.channel)) {
            return Ok(());
        }
        self.probe = None;
        let mut partitions = 0..self.ringer.partitions;
        if let Some(partition) = partitions.find(|partition| self.ringer.has(keys::slot_of(*partition))) {
            let channel = keys::probe(partition, &Uuid::new_v4().to_string());
            self.subscribe(std::slice::from_ref(&channel)).await?;
            let is_there = self.subscribed.contains(&channel);
            self.probe = is_there.then_some(Probe { channel, rung: None });
        }
        Ok(())
    }

    /// Subscribes what this server has; the rest is tried again later.
    async fn subscribe(&mut self, channels: &[String]) -> RedisResult<()> {
        for channels in channels.chunks(AT_ONCE) {
            // Those of a cluster may be of different slots.
            let mut all = redis::pipe();
            for channel in channels {
                all.cmd("SSUBSCRIBE").arg(channel);
            }
            for answer in self.ask(all).await? {
                match answer {
                    Ok(_) => {}
                    Err(error) if is_elsewhere(&error) => self.miss(),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    async fn unsubscribe(&mut self, channels: Vec<String>) -> RedisResult<()> {
        for channels in channels.chunks(AT_ONCE) {
            let mut all = redis::pipe();
            for channel in channels {
                all.cmd("SUNSUBSCRIBE").arg(channel);
            }
            // What cannot be unsubscribed here has left this server, or will.
            self.ask(all).await?;
        }
        Ok(())
    }

    /// A slot is not where it is thought to be, or nowhere.
    fn miss(&mut self) {
        self.is_incomplete = true;
        self.ringer.doubts.notify_one();
    }

    /// Asks, and then hears what the server has said so far.
    async fn ask(&mut self, mut all: Pipeline) -> RedisResult<Vec<RedisResult<Value>>> {
        // When a slot leaves the server it says so unasked, in words that would be taken for an
        // answer: then the last answer is not to this.
        self.asked += 1;
        let last = self.asked.to_string();
        all.cmd("PING").arg(&last).ignore_errors();
        let asked = all.query_async::<Vec<RedisResult<Value>>>(&mut self.connection);
        let mut answers = within(self.ringer.dialer.timeout(), asked).await?;
        match answers.pop() {
            Some(Ok(Value::BulkString(text))) if text == last.as_bytes() => {}
            Some(Err(error)) => return Err(error),
            _ => return Err(failed("the answers are not those to what was asked")),
        }
        loop {
            match self.pushed.try_recv() {
                Ok(message) => self.hear(Ok(message))?,
                Err(TryRecvError::Empty) => return Ok(answers),
                Err(TryRecvError::Lagged(missed)) => {
                    self.hear(Err(RecvError::Lagged(missed)))?;
                }
                Err(TryRecvError::Closed) => {
                    self.hear(Err(RecvError::Closed))?;
                }
            }
        }
    }

    /// Handles a request, and with it those that wait behind it and are of the same kind.
    async fn handle(&mut self, request: Request, waiting: &mut mpsc::Receiver<Request>) -> RedisResult<()> {
        let (mut channels, mut dones) = (Vec::new(), Vec::new());
        let mut next = Some(request);
        while let Some(request) = next.take() {
            match request {
                Request::Subscribe { channel, done } => {
                    if !self.subscribed.contains(&channel) {
                        channels.push(channel.clone());
                    }
                    dones.push((channel, done));
                    if channels.len() < AT_ONCE {
                        next = waiting.try_recv().ok();
                    }
                }
                Request::Unsubscribe { channel } => {
                    // It may be listened to again by now.
                    if !lock(&self.ringer.wanted.topics).contains_key(&channel) {
                        self.deserted.push(channel);
                    }
                }
                Request::Compare => self.is_incomplete = true,
            }
        }
        self.subscribe(&channels).await?;
        for (channel, done) in dones {
            // Who is not answered is told to read once the channel is subscribed, here or elsewhere.
            if self.subscribed.contains(&channel) {
                self.answer(&channel, done);
            }
        }
        if self.is_incomplete { self.compare().await } else { Ok(()) }
    }

    /// Who no longer waits for this has read the log too early.
    fn answer(&self, channel: &String, done: oneshot::Sender<()>) {
        if done.send(()).is_err() {
            self.ringer.wanted.interrupt([channel]);
        }
    }

    /// Publishes to itself. The last time must have been heard by now.
    async fn ring_the_probe(&mut self) -> RedisResult<()> {
        let mut all = redis::pipe();
        match &mut self.probe {
            Some(Probe { rung: Some(_), .. }) => return Err(failed("its own bell is not heard")),
            Some(probe) => {
                probe.rung = Some(Instant::now());
                all.cmd("SPUBLISH").arg(&probe.channel).arg("");
            }
            None => {}
        }
        let has_probe = self.probe.is_some();
        let answers = self.ask(all).await?;
        if !has_probe {
            // Of a server that has no slot of ours nothing else is to be heard.
            self.ringer.wanted.hear(self.ringer.number);
        }
        for answer in answers {
            match answer {
                Ok(_) => {}
                Err(error) if is_elsewhere(&error) => {
                    self.probe = None;
                    self.miss();
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn hear(&mut self, message: Result<PushInfo, RecvError>) -> RedisResult<()> {
        let message = message.map_err(|error| match error {
            RecvError::Lagged(_) => failed("more bells than can be heard"),
            RecvError::Closed => failed("the connection has ended"),
        })?;
        match message.kind {
            PushKind::SMessage => {
                let (channel, payload) = <(String, Vec<u8>)>::from_redis_value(Value::Array(message.data))?;
                self.ring(&channel, &payload);
            }
            PushKind::SSubscribe => {
                let (channel, _) = <(String, Value)>::from_redis_value(Value::Array(message.data))?;
                self.subscribed.insert(channel);
            }
            PushKind::SUnsubscribe => {
                let (channel, _) = <(String, Value)>::from_redis_value(Value::Array(message.data))?;
                self.subscribed.remove(&channel);
                let is_probe = self.probe.as_ref().is_some_and(|probe| probe.channel == channel);
                if is_probe || self.ringer.wanted.has(&channel) {
                    self.miss();
                }
            }
            PushKind::Disconnection => return Err(failed("the connection has ended")),
            _ => {}
        }
        Ok(())
    }

    fn ring(&mut self, channel: &str, payload: &[u8]) {
        if let Some(probe) = self.probe.as_mut().filter(|probe| *probe.channel == *channel) {
            if let Some(rung) = probe.rung.take() {
                METRICS.bell_lag.observe(rung.elapsed().as_secs_f64());
            }
            self.ringer.wanted.hear(self.ringer.number);
            return;
        }
        if keys::is_due_bell(channel) {
            let partition = std::str::from_utf8(payload).ok().and_then(|text| text.parse().ok());
            if let Some(partition) = partition {
                let _ = self.ringer.wanted.due.send(partition);
            }
            return;
        }
        let listeners = lock(&self.ringer.wanted.topics).get(channel).map(|topic| topic.listeners.clone());
        let Some(listeners) = listeners else {
            self.deserted.push(channel.to_owned());
            return;
        };
        let rung = match read_entry(channel, payload, &self.ringer.seal) {
            Ok(entry) => Rung::Entry(Arc::new(entry)),
            Err(problem) => {
                tracing::error!(problem, "a bell rang with an entry that cannot be read");
                Rung::Interrupted
            }
        };
        let _ = listeners.send(rung);
    }
}

fn failed(why: &'static str) -> RedisError {
    (ErrorKind::Io, why).into()
}

/// Reads what the scripts publish: `position previous revision entry`.
pub fn read_entry(channel: &str, payload: &[u8], seal: &Seal) -> Result<LogEntry, String> {
    let topic = keys::topic_of_bell(channel).ok_or("a bell of no topic")?;
    let mut parts = payload.splitn(4, |byte| *byte == b' ');
    let mut part = || parts.next().ok_or("a bell without an entry");
    let text = |part| std::str::from_utf8(part).map_err(|error| error.to_string());
    let (position, previous, revision) = (text(part()?)?, text(part()?)?, text(part()?)?);
    log_entry(position, previous, revision, part()?.to_vec(), seal, topic)
        .map_err(|unread| unread.to_string())
}
