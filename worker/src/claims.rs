//! The loop that takes what is due.
//!
//! Every worker says once a second that it lives, divides the partitions with the others, and
//! listens to the bells of its own: one event wakes one worker. Bells may be lost and workers may
//! die, so every worker also looks at *all* partitions once a second. What it has given back for a
//! while, it looks at again when the time has come.
//!
//! Nothing is claimed that there is no room for, and each look begins at another partition, so that
//! none is left out for long because those before it have taken the room. A store that is away as a
//! whole is asked again with growing pauses; said once, and said again when it is back.

use std::{
    collections::BTreeSet,
    pin::pin,
    rc::Rc,
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use shared::{
    store::{Address, DueListener, StoreError},
    telemetry::{Loop, metrics::METRICS},
};
use tokio::{
    select,
    task::{JoinError, JoinSet},
    time::{MissedTickBehavior, interval, sleep_until, timeout},
};
use tracing::{debug, error, info, warn};

use crate::{
    Served, census,
    deliverer::{Deliverer, Phase},
    nodes::Nodes,
    rendezvous::partitions_of,
    retry::Backoff,
};

/// How often a worker says that it lives, and looks at all partitions.
const BEAT: Duration = Duration::from_secs(1);
/// How long the others believe it.
const LIFE: Duration = Duration::from_secs(3);
/// The pauses while the store is away.
const OUTAGE: Backoff =
    Backoff { initial: Duration::from_millis(100), max: Duration::from_secs(2), jitter: 0.3 };
/// The part of the drain time after which requests in flight are dropped, so that there is time to
/// give the claims back.
const PATIENCE: f64 = 0.8;

type Ended = (Address, Result<Option<Served>, StoreError>);

struct Claims {
    deliverer: Rc<Deliverer>,
    turning: Loop,
    id: String,
    most: usize,
    listener: DueListener,
    mine: Vec<u16>,
    tasks: JoinSet<Ended>,
    /// Partitions in which something may be due.
    unseen: BTreeSet<u16>,
    /// When to look at which partition again.
    wakes: BTreeSet<(Instant, u16)>,
    nodes: Nodes,
    outage: Option<Outage>,
    /// How often the connections to the store had been interrupted at the last look for losses.
    interruptions: u64,
    counted_at: Option<Instant>,
}

#[derive(Clone, Copy)]
struct Outage {
    attempts: u32,
    until: Instant,
}

/// Works until `stop` is over, with at most `most` claims at once.
pub(crate) async fn run(
    deliverer: Rc<Deliverer>,
    turning: Loop,
    most: usize,
    drain: Duration,
    stop: impl Future<Output = ()>,
) {
    let mut claims = Claims {
        id: format!("{:032x}", rand::random::<u128>()),
        most,
        listener: deliverer.store.due_listener(),
        mine: Vec::new(),
        tasks: JoinSet::new(),
        unseen: BTreeSet::new(),
        wakes: BTreeSet::new(),
        nodes: Nodes::default(),
        outage: None,
        interruptions: deliverer.store.interruptions(),
        counted_at: None,
        turning,
        deliverer,
    };
    select! {
        biased;
        () = stop => {}
        () = claims.work() => {}
    }
    claims.finish(drain).await;
}

impl Claims {
    async fn work(&mut self) {
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.turning.turned();
            if self.is_paused() {
                self.unseen.clear();
            } else if !self.unseen.is_empty() && self.tasks.len() < self.most {
                let looked = self.look().await;
                self.heard_from_store(looked);
                continue;
            }
            let next_wake = self.wakes.first().map(|(time, _)| *time);
            let next_wake = next_wake.unwrap_or_else(|| Instant::now() + BEAT);
            let pause = self.outage.map(|outage| outage.until);
            select! {
                Some(ended) = self.tasks.join_next() => self.ended(ended),
                rung = self.listener.next() => self.rung(rung),
                _ = beat.tick(), if pause.is_none() => self.beat().await,
                () = sleep_until(next_wake.into()) => self.wake(),
                () = sleep_until(pause.unwrap_or_else(Instant::now).into()), if pause.is_some() => self.beat().await,
            }
        }
    }

    fn is_paused(&self) -> bool {
        self.outage.is_some()
    }

    /// Says that it lives, takes its share, and looks for nodes that do not live.
    async fn beat(&mut self) {
        let mut beaten = self.share().await;
        self.turning.turned();
        if beaten.is_ok() {
            // There may be much to let go of.
            beaten = self.turning.while_waiting(self.nodes.look(&self.deliverer)).await;
        }
        if let Err(error) = beaten {
            // One server of many may be away: the share stays, and what the others have is looked at.
            debug!(%error, "the workers cannot be asked for");
            self.nodes.begin_anew();
        }
        self.look_for_losses();
        self.count();
        if self.is_paused() {
            let answered = self.deliverer.store.ping().await;
            self.heard_from_store(answered);
        }
        self.unseen.extend(0..self.deliverer.store.partitions());
    }

    /// Nothing waits for it.
    fn count(&mut self) {
        let is_time = self.counted_at.is_none_or(|at| at.elapsed() >= census::EVERY);
        if is_time && !self.mine.is_empty() {
            self.counted_at = Some(Instant::now());
            tokio::spawn(census::expose(self.deliverer.store.clone(), self.mine.clone()));
        }
    }

    /// The store may have lost what this worker told of. It takes as long as it takes.
    fn look_for_losses(&mut self) {
        let interruptions = self.deliverer.store.interruptions();
        if std::mem::replace(&mut self.interruptions, interruptions) != interruptions {
            let publisher = self.deliverer.publisher.clone();
            tokio::spawn(async move {
                if let Err(error) = publisher.look_for_losses().await {
                    warn!(%error, "what has been told cannot be looked for");
                }
            });
        }
    }

    async fn share(&mut self) -> Result<(), StoreError> {
        let store = &self.deliverer.store;
        let workers = store.register_worker(&self.id, LIFE).await?;
        METRICS.workers.set(i64::try_from(workers.len()).unwrap_or(i64::MAX));
        let mine = partitions_of(&self.id, &workers, store.partitions());
        if mine != self.mine {
            store.watch_due(&mine).await?;
            info!(workers = workers.len(), partitions = mine.len(), "the partitions are divided anew");
            self.mine = mine;
        }
        Ok(())
    }

    /// Claims what is due in the partitions that have not been seen, as far as there is room.
    async fn look(&mut self) -> Result<(), StoreError> {
        let mut partitions: Vec<u16> = std::mem::take(&mut self.unseen).into_iter().collect();
        let first = rand::random_range(0..partitions.len().max(1));
        partitions.rotate_left(first);
        let room = self.most - self.tasks.len();
        let due = self.deliverer.store.due(&partitions, room).await?;
        if due.len() >= room {
            self.unseen.extend(partitions);
        }
        for address in due.into_iter().take(room) {
            let deliverer = self.deliverer.clone();
            self.tasks.spawn_local(async move { (address, deliverer.serve(address).await) });
        }
        Ok(())
    }

    fn rung(&mut self, rung: Option<u16>) {
        let mut next = Some(rung);
        while let Some(rung) = next {
            match rung {
                Some(partition) => {
                    self.unseen.insert(partition);
                }
                None => self.unseen.extend(0..self.deliverer.store.partitions()),
            }
            // Those that rang at the same time are looked at together.
            next = self.listener.next().now_or_never();
        }
    }

    fn wake(&mut self) {
        let now = Instant::now();
        while let Some((_, partition)) = self.wakes.first().copied().filter(|(time, _)| *time <= now) {
            self.wakes.pop_first();
            self.unseen.insert(partition);
        }
    }

    fn ended(&mut self, ended: Result<Ended, JoinError>) {
        match ended {
            Ok((address, Ok(Some(Served::Waiting { pause, .. })))) => {
                let partition = address.topic.partition(self.deliverer.store.partitions());
                self.wakes.insert((Instant::now() + pause, partition));
            }
            // What is due again at once has rung.
            Ok((_, Ok(_))) => {}
            // Its server is away: the look at what is due shows whether all are.
            Ok((_, Err(error))) => debug!(%error, "a delivery waits for the store"),
            // The claim ends by its own time, and somebody tries again.
            // What a panic says may be anything.
            Err(broken) => error!(panicked = broken.is_panic(), "a delivery broke down"),
        }
    }

    fn heard_from_store(&mut self, result: Result<(), StoreError>) {
        match result {
            Ok(()) => {
                if self.outage.take().is_some() {
                    info!("the store answers again");
                }
            }
            Err(error @ StoreError::Unavailable(_)) => {
                self.nodes.begin_anew();
                let attempts = self.outage.map_or(0, |outage| outage.attempts) + 1;
                if attempts == 1 {
                    warn!(%error, "the store is away: deliveries wait for it");
                }
                let until = Instant::now() + OUTAGE.after(attempts, rand::random());
                self.outage = Some(Outage { attempts, until });
            }
            Err(error) => error!(%error, "the store cannot be used"),
        }
    }

    /// Lets requests in flight end, then drops them, and gives all claims back.
    async fn finish(&mut self, drain: Duration) {
        let deadline = Instant::now() + drain;
        self.deliverer.phase.send_replace(Phase::Stopping);
        let mut all = pin!(async { while self.tasks.join_next().await.is_some() {} });
        if timeout(drain.mul_f64(PATIENCE), &mut all).await.is_ok() {
            return;
        }
        self.deliverer.phase.send_replace(Phase::Cut);
        if timeout(deadline.saturating_duration_since(Instant::now()), &mut all).await.is_err() {
            warn!("some claims could not be given back: they end by their own time");
        }
    }
}
