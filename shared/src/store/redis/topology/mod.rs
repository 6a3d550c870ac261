//! Which server answers for which keys.
//!
//! One server, a primary behind Sentinels and a cluster differ in this alone: how the primary of
//! a hash slot is found, and found again when it is another. A task looks at once when something
//! points to a change, and from time to time anyway: a primary that was cut off from its
//! Sentinels does not know that it is none any more.

mod cluster;
mod sentinel;

use std::{fmt, sync::Arc, time::Duration};

use futures_util::stream::{FuturesUnordered, StreamExt};
use redis::{ErrorKind, RedisError, RedisResult, ServerErrorKind};
use tokio::{
    sync::{Notify, watch},
    time::{MissedTickBehavior, interval, timeout},
};

pub use self::cluster::read as read_slots;
use self::{cluster::Cluster, sentinel::Sentinels};
use super::{backoff::Backoff, connection::told, dial::Dialer};
use crate::settings::{HostPort, RedisUrl, Shape};

/// Hash slots of Redis Cluster; elsewhere they are all on one server.
pub const SLOTS: u16 = 16_384;

/// How often it is looked whether a primary is still one.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The pauses between two looks while the answer is not good.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
/// How long those are waited for that have not answered when most have: a host that is gone says
/// nothing at all, and often it is the one that the primary was on.
const LAST_ANSWERS: Duration = Duration::from_millis(100);

/// A hash slot: where a key lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot(pub u16);

/// Which server is the primary of which slots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Primaries {
    /// The last slot of each run, and the primary that has it; in order.
    runs: Vec<(u16, Option<usize>)>,
    servers: Vec<HostPort>,
}

impl Primaries {
    /// One server has everything.
    pub fn one(server: HostPort) -> Self {
        Self { runs: vec![(SLOTS - 1, Some(0))], servers: vec![server] }
    }

    /// From runs of slots (first, last, primary), in any order.
    fn of_runs(mut runs: Vec<(u16, u16, HostPort)>) -> Self {
        runs.sort_unstable();
        let mut primaries = Self::default();
        let mut next = 0;
        for (first, last, server) in runs {
            if first < next || last < first || last >= SLOTS {
                continue;
            }
            if first > next {
                primaries.runs.push((first - 1, None));
            }
            let known = primaries.servers.iter().position(|known| *known == server);
            let index = known.unwrap_or_else(|| {
                primaries.servers.push(server);
                primaries.servers.len() - 1
            });
            primaries.runs.push((last, Some(index)));
            next = last + 1;
        }
        primaries
    }

    /// The primary of a slot; `None` while nobody knows one.
    pub fn of(&self, slot: Slot) -> Option<&HostPort> {
        let run = self.runs.partition_point(|(last, _)| *last < slot.0);
        self.runs.get(run).and_then(|(_, index)| index.map(|index| &self.servers[index]))
    }

    /// All primaries.
    pub fn servers(&self) -> &[HostPort] {
        &self.servers
    }
}

/// Where the primaries are looked for.
enum Source {
    Single(HostPort),
    Sentinels(Sentinels),
    Cluster(Box<Cluster>),
}

impl Source {
    async fn look(&mut self) -> RedisResult<Primaries> {
        match self {
            Self::Single(server) => Ok(Primaries::one(server.clone())),
            Self::Sentinels(sentinels) => sentinels.look().await.map(Primaries::one),
            Self::Cluster(cluster) => cluster.look().await,
        }
    }
}

/// The primaries as they are known now. Dropping it ends the task that looks.
pub struct Topology {
    known: watch::Receiver<Arc<Primaries>>,
    doubts: Arc<Notify>,
}

impl Topology {
    /// Looks for the first time, and then starts the task that goes on looking.
    pub async fn start(url: &RedisUrl, dialer: &Dialer) -> RedisResult<Self> {
        let mut source = match (url.shape(), url.hosts()) {
            (Shape::Single { .. }, [server, ..]) => Source::Single(server.clone()),
            (Shape::Sentinel { service }, hosts) => Source::Sentinels(Sentinels::new(dialer, hosts, service)),
            (_, hosts) => Source::Cluster(Box::new(Cluster::new(dialer, hosts))),
        };
        let first = source.look().await?;
        let (publish, known) = watch::channel(Arc::new(first));
        let doubts = Arc::new(Notify::new());
        tokio::spawn(keep_looking(source, publish, doubts.clone()));
        Ok(Self { known, doubts })
    }

    /// The primaries as they are known now.
    pub fn primaries(&self) -> Arc<Primaries> {
        self.known.borrow().clone()
    }

    /// Hears of every change.
    pub fn changes(&self) -> watch::Receiver<Arc<Primaries>> {
        self.known.clone()
    }

    /// Where to say that something points to a change.
    pub fn doubts(&self) -> Arc<Notify> {
        self.doubts.clone()
    }

    /// Something points to a change: look at once.
    pub fn doubt(&self) {
        self.doubts.notify_one();
    }
}

async fn keep_looking(mut source: Source, publish: watch::Sender<Arc<Primaries>>, doubts: Arc<Notify>) {
    if matches!(source, Source::Single(_)) {
        return publish.closed().await;
    }
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut backoff = Backoff::new(SHORTEST_PAUSE, LONGEST_PAUSE);
    let mut is_said = false;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = doubts.notified() => tokio::time::sleep(backoff.pause()).await,
            () = publish.closed() => return,
        }
        match source.look().await {
            Ok(found) => {
                is_said = false;
                publish.send_if_modified(|known| {
                    let has_changed = **known != found;
                    if known.servers() != found.servers() {
                        tracing::info!(primaries = %Listed(found.servers()), "Redis has other primaries");
                    } else if has_changed {
                        tracing::info!("slots have moved between the primaries of Redis");
                    }
                    if has_changed {
                        *known = Arc::new(found);
                        backoff.reset();
                    }
                    has_changed
                });
            }
            Err(error) if !is_said => {
                tracing::warn!(
                    error = told(&error),
                    "nobody says where the primaries of Redis are; trying again"
                );
                is_said = true;
            }
            Err(_) => {}
        }
    }
}

struct Listed<'a>(&'a [HostPort]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, server) in self.0.iter().enumerate() {
            write!(f, "{}{server}", if number > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}

/// What those answer that are asked at once: all of them, or most and whoever else is quick.
async fn answers<T, F>(mut waiting: FuturesUnordered<F>) -> Vec<RedisResult<T>>
where
    F: Future<Output = RedisResult<T>>,
{
    let most = waiting.len() / 2 + 1;
    let (mut answers, mut given) = (Vec::with_capacity(waiting.len()), 0);
    while given < most
        && let Some(answer) = waiting.next().await
    {
        given += usize::from(answer.is_ok());
        answers.push(answer);
    }
    let rest = async {
        while let Some(answer) = waiting.next().await {
            answers.push(answer);
        }
    };
    let _ = timeout(LAST_ANSWERS, rest).await;
    answers
}

/// Asks with a time-out.
pub async fn within<T>(time: Duration, asked: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
    timeout(time, asked).await.unwrap_or_else(|_| Err(timed_out()))
}

/// Does the error say that another server has the slot, or that none has it just now?
pub fn is_elsewhere(error: &RedisError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Server(
            ServerErrorKind::Moved
                | ServerErrorKind::Ask
                | ServerErrorKind::TryAgain
                | ServerErrorKind::ClusterDown
        )
    )
}

/// No answer came.
pub fn timed_out() -> RedisError {
    std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer in time").into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn server(port: u16) -> HostPort {
        HostPort { host: "h".into(), port }
    }

    #[tokio::test]
    async fn who_says_nothing_is_not_waited_for_when_most_have_answered() {
        let ask = |number: u8| async move {
            match number {
                0 => std::future::pending().await,
                1 => Err(timed_out()),
                _ => Ok(number),
            }
        };
        let heard = answers((0..5).map(ask).collect()).await;
        let mut numbers: Vec<u8> = heard.into_iter().flatten().collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [2, 3, 4]);
        assert!(answers((1..2).map(ask).collect()).await[0].is_err());
    }

    #[test]
    fn one_server_has_every_slot() {
        let primaries = Primaries::one(server(1));
        for slot in [0, 1, SLOTS - 1] {
            assert_eq!(primaries.of(Slot(slot)), Some(&server(1)));
        }
    }

    #[test]
    fn slots_belong_to_who_has_their_run_and_some_to_nobody() {
        let primaries = Primaries::of_runs(vec![
            (10_000, 16_383, server(2)),
            (0, 99, server(1)),
            (200, 299, server(2)),
            (300, 300, server(1)),
        ]);
        for (slot, owner) in [
            (0, Some(1)),
            (99, Some(1)),
            (100, None),
            (199, None),
            (200, Some(2)),
            (300, Some(1)),
            (301, None),
            (16_383, Some(2)),
        ] {
            assert_eq!(primaries.of(Slot(slot)), owner.map(server).as_ref(), "{slot}");
        }
        assert_eq!(primaries.servers().len(), 2);
        assert_eq!(Primaries::default().of(Slot(7)), None);
    }
}
