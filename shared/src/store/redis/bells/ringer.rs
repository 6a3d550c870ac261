//! The pub/sub connection to one server.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use redis::{
    Client, ErrorKind, FromRedisValue, PushInfo, PushKind, RedisError, RedisResult, Value,
    aio::MultiplexedConnection,
};
use tokio::{
    sync::{Notify, broadcast, mpsc, oneshot, watch},
    time::{MissedTickBehavior, interval},
};
use uuid::Uuid;

use super::{
    super::{
        backoff::Backoff,
        dial::Dialer,
        keys,
        reply::log_entry,
        topology::{Primaries, Slot, within},
    },
    Request, Wanted, lock,
};
use crate::{
    settings::HostPort,
    store::{LogEntry, Rung},
};

/// Channels that are subscribed in one go.
const AT_ONCE: usize = 200;
/// How often the connection has to ring a bell of its own: one that is open and dead rings none.
const PROBE_EVERY: Duration = Duration::from_secs(3);
/// Messages that wait until they are looked at.
const MOST_UNREAD: usize = 4096;
/// The first and the longest pause before the connection is tried again.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Keeps the connection to one server, and rings what it hears.
pub struct Ringer {
    server: HostPort,
    client: RedisResult<Client>,
    dialer: Dialer,
    wanted: Arc<Wanted>,
    primaries: watch::Receiver<Arc<Primaries>>,
    doubts: Arc<Notify>,
    partitions: u16,
}

/// One connection, with what is subscribed on it.
struct Serving<'a> {
    ringer: &'a Ringer,
    connection: MultiplexedConnection,
    subscribed: HashSet<String>,
    /// How often the server will yet say that a channel is not subscribed any more.
    leaving: HashMap<String, u32>,
    probe: String,
    is_probed: bool,
}

impl Ringer {
    pub fn new(
        dialer: &Dialer,
        server: &HostPort,
        wanted: &Arc<Wanted>,
        primaries: &watch::Receiver<Arc<Primaries>>,
        doubts: &Arc<Notify>,
        partitions: u16,
    ) -> Self {
        Self {
            server: server.clone(),
            client: dialer.subscriber(server),
            dialer: dialer.clone(),
            wanted: wanted.clone(),
            primaries: primaries.clone(),
            doubts: doubts.clone(),
            partitions,
        }
    }

    /// Runs until nobody can ask any more.
    pub async fn run(mut self, mut waiting: mpsc::Receiver<Request>) {
        let mut backoff = Backoff::new(SHORTEST_PAUSE, LONGEST_PAUSE);
        let mut is_said = false;
        while !waiting.is_closed() {
            let mut has_served = false;
            match self.serve(&mut waiting, &mut has_served).await {
                Ok(()) => return,
                Err(error) if has_served || !is_said => {
                    tracing::warn!(server = %self.server, %error, "the bells' connection to Redis has failed; trying again");
                    is_said = true;
                }
                Err(_) => {}
            }
            if has_served {
                backoff.reset();
            }
            self.doubts.notify_one();
            tokio::time::sleep(backoff.pause()).await;
        }
    }

    fn has(&self, slot: Slot) -> bool {
        self.primaries.borrow().of(slot) == Some(&self.server)
    }

    /// One connection, from its opening to its end. `Ok` when nobody can ask any more.
    async fn serve(
        &mut self,
        waiting: &mut mpsc::Receiver<Request>,
        has_served: &mut bool,
    ) -> RedisResult<()> {
        let mut changes = self.primaries.clone();
        changes.mark_unchanged();
        let (push, mut pushed) = broadcast::channel(MOST_UNREAD);
        let client = self.client.as_ref().map_err(RedisError::clone)?;
        let config = self.dialer.config().set_push_sender(push);
        let opening = client.get_multiplexed_async_connection_with_config(&config);
        let connection = within(self.dialer.timeout(), opening).await?;
        // It must be of a partition that this server has.
        let partition = (0..self.partitions).find(|partition| self.has(keys::slot_of(*partition)));
        let probe = keys::probe(partition.unwrap_or_default(), &Uuid::new_v4().to_string());
        let mut serving = Serving {
            ringer: self,
            connection,
            subscribed: HashSet::new(),
            leaving: HashMap::new(),
            probe,
            is_probed: false,
        };
        if partition.is_some() {
            serving.subscribe(vec![serving.probe.clone()]).await?;
        }
        serving.compare().await?;
        *has_served = true;
        serving.ringer.wanted.connected.fetch_add(1, Ordering::Relaxed);
        let mut probes = interval(PROBE_EVERY);
        probes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = pushed.recv() => match message {
                    Ok(message) => serving.hear(message).await?,
                    Err(broadcast::error::RecvError::Lagged(_)) => return Err(failed("more bells than can be heard")),
                    Err(broadcast::error::RecvError::Closed) => return Err(failed("the connection has ended")),
                },
                request = waiting.recv() => match request {
                    Some(request) => serving.handle(request, waiting).await?,
                    None => return Ok(()),
                },
                changed = changes.changed() => match changed {
                    Ok(()) => serving.compare().await?,
                    Err(_) => return Ok(()),
                },
                _ = probes.tick() => serving.ring_the_probe(partition.is_some()).await?,
            }
        }
    }
}

impl Serving<'_> {
    /// Subscribes what is wanted and is not subscribed, and the other way round.
    async fn compare(&mut self) -> RedisResult<()> {
        let mut wanted = self.ringer.wanted.of(|slot| self.ringer.has(slot));
        let new: Vec<String> = wanted.difference(&self.subscribed).cloned().collect();
        if self.subscribed.contains(&self.probe) {
            wanted.insert(self.probe.clone());
        }
        let old: Vec<String> = self.subscribed.difference(&wanted).cloned().collect();
        self.subscribe(new.clone()).await?;
        self.ringer.wanted.interrupt(&new);
        self.unsubscribe(old).await
    }

    async fn subscribe(&mut self, channels: Vec<String>) -> RedisResult<()> {
        for channels in channels.chunks(AT_ONCE) {
            // Those of a cluster may be of different slots.
            let mut all = redis::pipe();
            for channel in channels {
                all.cmd("SSUBSCRIBE").arg(channel).ignore();
            }
            self.ask(&all).await?;
            self.subscribed.extend(channels.iter().cloned());
        }
        Ok(())
    }

    async fn unsubscribe(&mut self, channels: Vec<String>) -> RedisResult<()> {
        for channels in channels.chunks(AT_ONCE) {
            let mut all = redis::pipe();
            for channel in channels {
                self.subscribed.remove(channel);
                *self.leaving.entry(channel.clone()).or_default() += 1;
                all.cmd("SUNSUBSCRIBE").arg(channel).ignore();
            }
            self.ask(&all).await?;
        }
        Ok(())
    }

    async fn ask(&mut self, all: &redis::Pipeline) -> RedisResult<()> {
        within(self.ringer.dialer.timeout(), all.query_async::<()>(&mut self.connection)).await
    }

    /// Handles a request, and with it those that wait behind it and are of the same kind.
    async fn handle(&mut self, request: Request, waiting: &mut mpsc::Receiver<Request>) -> RedisResult<()> {
        let (mut channels, mut dones) = (Vec::new(), Vec::new());
        let mut next = Some(request);
        while let Some(request) = next.take() {
            match request {
                Request::Subscribe { channel, done } => {
                    if self.subscribed.contains(&channel) {
                        self.answer(&channel, done);
                    } else {
                        channels.push(channel.clone());
                        dones.push((channel, done));
                    }
                    if channels.len() < AT_ONCE {
                        next = waiting.try_recv().ok();
                    }
                }
                Request::Unsubscribe { channel } => {
                    self.subscribe(std::mem::take(&mut channels)).await?;
                    // It may be listened to again by now.
                    let is_gone = !lock(&self.ringer.wanted.topics).contains_key(&channel);
                    if is_gone && self.subscribed.contains(&channel) {
                        self.unsubscribe(vec![channel]).await?;
                    }
                }
                Request::Compare => {
                    self.subscribe(std::mem::take(&mut channels)).await?;
                    self.compare().await?;
                }
            }
        }
        self.subscribe(channels).await?;
        for (channel, done) in dones {
            self.answer(&channel, done);
        }
        Ok(())
    }

    /// Who no longer waits for this has read the log too early.
    fn answer(&self, channel: &String, done: oneshot::Sender<()>) {
        if done.send(()).is_err() {
            self.ringer.wanted.interrupt([channel]);
        }
    }

    /// Publishes to itself. The last time must have been heard by now.
    async fn ring_the_probe(&mut self, has_a_channel: bool) -> RedisResult<()> {
        if self.is_probed {
            return Err(failed("its own bell is not heard"));
        }
        let mut probe = redis::pipe();
        if has_a_channel {
            probe.cmd("SPUBLISH").arg(&self.probe).arg("").ignore();
        } else {
            probe.cmd("PING").ignore();
        }
        self.is_probed = has_a_channel;
        self.ask(&probe).await
    }

    async fn hear(&mut self, message: PushInfo) -> RedisResult<()> {
        match message.kind {
            PushKind::SMessage => {
                let (channel, payload) = <(String, Vec<u8>)>::from_redis_value(Value::Array(message.data))?;
                self.ring(&channel, &payload).await
            }
            PushKind::SUnsubscribe => {
                let (channel, _) = <(String, Value)>::from_redis_value(Value::Array(message.data))?;
                match self.leaving.get_mut(&channel) {
                    Some(1) => drop(self.leaving.remove(&channel)),
                    Some(times) => *times -= 1,
                    None => return Err(failed("a slot has moved to another server")),
                }
                Ok(())
            }
            PushKind::Disconnection => Err(failed("the connection has ended")),
            _ => Ok(()),
        }
    }

    async fn ring(&mut self, channel: &str, payload: &[u8]) -> RedisResult<()> {
        if *channel == self.probe {
            self.is_probed = false;
            return Ok(());
        }
        if keys::is_due_bell(channel) {
            let partition = std::str::from_utf8(payload).ok().and_then(|text| text.parse().ok());
            if let Some(partition) = partition {
                let _ = self.ringer.wanted.due.send(partition);
            }
            return Ok(());
        }
        let listeners = lock(&self.ringer.wanted.topics).get(channel).map(|topic| topic.listeners.clone());
        let Some(listeners) = listeners else {
            let is_subscribed = self.subscribed.contains(channel);
            return if is_subscribed { self.unsubscribe(vec![channel.to_owned()]).await } else { Ok(()) };
        };
        let rung = match read_entry(payload) {
            Ok(entry) => Rung::Entry(Arc::new(entry)),
            Err(problem) => {
                tracing::error!(problem, "a bell rang with an entry that cannot be read");
                Rung::Interrupted
            }
        };
        let _ = listeners.send(rung);
        Ok(())
    }
}

fn failed(why: &'static str) -> RedisError {
    (ErrorKind::Io, why).into()
}

/// Reads what the scripts publish: `position previous revision entry`.
fn read_entry(payload: &[u8]) -> Result<LogEntry, String> {
    let payload = std::str::from_utf8(payload).map_err(|error| error.to_string())?;
    let mut parts = payload.splitn(4, ' ');
    let mut part = || parts.next().ok_or("a bell without an entry");
    let (position, previous, revision, entry) = (part()?, part()?, part()?, part()?);
    log_entry(position, previous, revision, entry)
}
