//! Publishing: decide on the session as last seen, commit, and decide again when it has changed.
//!
//! A publish that meets no conflict costs one round trip to the store: this process keeps the last
//! state that it saw of the sessions it serves. A state that is too old costs a conflict, never a
//! wrong commit; a *rejection* is given only on a state that was read for it.
//!
//! Rules: FC-REQ-01, FC-REQ-05, FC-REQ-07, FC-CNT-05, FC-CTX-01, FC-SCO-03.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use quick_cache::{Weighter, sync::Cache};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::{
    contest::{CONFLICTS_FOR, Contest, Since, Turns},
    losses::Witness,
};
use crate::{
    audit::Audit,
    protocol::{Event, Scopes, TopicKey, TraceContext, sync_error::Severity},
    session::{Audience, Rejection, Rules, SessionState, decide},
    store::{Commit, Committed, LogEntry, Once, Position, Revision, Snapshot, Store, StoreError},
    telemetry::{
        metrics::METRICS,
        traces::{Span, SpanKind},
    },
};

/// Decides and commits events. One for each process, shared by all of its threads.
pub struct Publisher {
    pub(super) store: Arc<dyn Store>,
    rules: Rules,
    pub(super) severity: Severity,
    sessions: Cache<TopicKey, Known, ByBytes>,
    turns: Turns,
    pub(super) witness: Witness,
    pub(super) audit: Audit,
    /// How many contents may be read at once: each may have `limits.content_bytes`, twice while its
    /// answer is made.
    contents: Semaphore,
}

/// A session as this process saw it last.
#[derive(Clone)]
struct Known {
    revision: Revision,
    state: Arc<SessionState>,
    since: Instant,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<TopicKey, Known> for ByBytes {
    fn weight(&self, _: &TopicKey, known: &Known) -> u64 {
        known.state.weight() as u64 + 128
    }
}

/// What came of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// It is in the topic's log.
    At(Position),
    /// The same request had been accepted before; it is not broadcast twice (FC-REQ-07).
    Again,
}

/// Why an event was not published.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PublishError {
    /// The session does not allow it.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The store did not answer; the sender may try again.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Others got through each time; the sender may try again.
    #[error("the session changes too fast: try again")]
    Contended,
}

impl PublishError {
    /// As whoever works for the store sees it: something that is to be tried again.
    pub fn into_store(self) -> StoreError {
        match self {
            Self::Store(error) => error,
            other => StoreError::Unavailable(other.to_string()),
        }
    }
}

/// How long a state that was seen is trusted. A session that the store has forgotten begins to
/// count its revisions anew, so nobody may remember the old ones by then: `limits.session_secs`
/// is always longer.
const KNOWN_FOR: Duration = Duration::from_secs(600);

/// Contents that are read from the store at once.
const CONTENTS_AT_ONCE: usize = 4;
/// How many sessions, and how many bytes of them, a process keeps in memory.
const CACHED_SESSIONS: usize = 20_000;
const CACHED_BYTES: u64 = 256 << 20;

impl Publisher {
    /// A publisher for this process. The subscribers that it reports are recorded in `audit`.
    pub fn new(store: Arc<dyn Store>, rules: Rules, severity: Severity, audit: Audit) -> Self {
        Self {
            store,
            rules,
            severity,
            sessions: Cache::with_weighter(CACHED_SESSIONS, CACHED_BYTES, ByBytes),
            turns: Turns::new(1),
            witness: Witness::default(),
            audit,
            contents: Semaphore::new(CONTENTS_AT_ONCE),
        }
    }

    /// Publishes what a subscriber posted. `text` is the request's body, from which `event` was
    /// read: the same bytes with the same id are the same request.
    pub async fn publish(&self, event: &Event<'_>, text: &str) -> Result<Published, PublishError> {
        let hash = Sha256::new().chain_update(&event.id).chain_update([0]).chain_update(text).finalize();
        let once = Once::Request(hex::encode(&hash[..16]));
        self.commit(event, Audience::Everyone, once).await
    }

    /// Get Current Context (FC-CTX-01…04): the session and its content as they were at one moment, as
    /// far as they may be read (FC-SCO-03). Who has content to read waits for what `turn` waits for.
    pub async fn current_context<T>(
        &self,
        topic: TopicKey,
        scopes: &Scopes,
        turn: impl AsyncFn() -> T,
    ) -> Result<String, PublishError> {
        let since = Instant::now();
        while since.elapsed() < CONFLICTS_FOR {
            let (snapshot, _) = self.store.session(topic, None).await?;
            let shown = read_state(&snapshot)?.current_context(scopes);
            let Some(prefix) = shown.content() else { return Ok(shown.to_json([])) };
            // Who waits here holds the session's fields alone.
            let _turn = turn().await;
            // Never closed.
            let _place = self.contents.acquire().await;
            if let Some(content) = self.store.content(topic, prefix, snapshot.revision).await? {
                return Ok(shown.to_json(content.iter().map(String::as_str)));
            }
        }
        Err(PublishError::Contended)
    }

    /// Commits an event, as a part of what is current. Its entry carries on the trace.
    pub(super) async fn commit(
        &self,
        event: &Event<'_>,
        audience: Audience,
        once: Once,
    ) -> Result<Published, PublishError> {
        let span = Span::part(SpanKind::Producer, "publish");
        span.note(|| {
            [
                ("messaging.system", "fhircast".into()),
                ("messaging.operation.type", "send".into()),
                ("messaging.operation.name", "publish".into()),
                ("messaging.destination.name", format!("{:?}", event.topic.key()).into()),
            ]
        });
        let published = span.over(self.decide_and_commit(event, audience, once, span.carried())).await;
        match &published {
            Ok(_) | Err(PublishError::Rejected(_)) => {}
            Err(PublishError::Store(_)) => span.fail("unavailable"),
            Err(PublishError::Contended) => span.fail("contended"),
        }
        published
    }

    async fn decide_and_commit(
        &self,
        event: &Event<'_>,
        audience: Audience,
        once: Once,
        trace: Option<TraceContext>,
    ) -> Result<Published, PublishError> {
        let topic = event.topic.key();
        let mut known = self.sessions.get(&topic).filter(|known| known.since.elapsed() < KNOWN_FOR);
        let mut is_fresh = false;
        let mut contest = Contest::begin(&self.turns, topic);
        while contest.goes_on() {
            let (revision, state) =
                known.map_or_else(Default::default, |known| (known.revision, known.state));
            let version_id = Uuid::new_v4().to_string();
            let change = match decide(&state, event, audience, &version_id, &self.rules) {
                Ok(change) => change,
                Err(rejection) if is_fresh => return Err(rejection.into()),
                Err(_) => {
                    let (snapshot, is_duplicate) = self.store.session(topic, Some(&once)).await?;
                    if is_duplicate {
                        self.witness.accepted(topic, &event.topic, snapshot.head);
                        return Ok(Published::Again);
                    }
                    known = Some(self.learn(topic, &snapshot)?);
                    is_fresh = true;
                    continue;
                }
            };
            let mut entry = change.entry;
            entry.set_trace(trace.clone());
            let commit = Commit {
                revision: change.depends_on_state.then_some(revision),
                writes: change.writes,
                content: change.content,
                max_content_bytes: self.rules.max_content_bytes,
                entry,
                once: once.clone(),
            };
            match self.store.commit(topic, &commit).await? {
                Committed::At { position, revision } => {
                    self.witness.accepted(topic, &event.topic, position);
                    tracing::debug!(?topic, %position, "an event is in the log");
                    if change.depends_on_state {
                        let state = Arc::new(change.state);
                        self.remember(topic, Known { revision, state, since: Instant::now() });
                    }
                    return Ok(Published::At(position));
                }
                Committed::Duplicate { head } => {
                    self.witness.accepted(topic, &event.topic, head);
                    return Ok(Published::Again);
                }
                Committed::Refused(refusal) => return Err(Rejection::from(refusal).into()),
                Committed::Conflict(snapshot) => {
                    METRICS.commit_conflicts.inc();
                    let learned = self.learn(topic, &snapshot)?;
                    (known, is_fresh) = match contest.lost().await {
                        Since::Nothing => (Some(learned), true),
                        // Who had the turn before has left what it made of the session.
                        Since::Turn => (self.sessions.get(&topic).or(Some(learned)), false),
                        Since::Pause => {
                            let (snapshot, _) = self.store.session(topic, None).await?;
                            (Some(self.learn(topic, &snapshot)?), true)
                        }
                    };
                }
            }
        }
        Err(PublishError::Contended)
    }

    fn learn(&self, topic: TopicKey, snapshot: &Snapshot) -> Result<Known, StoreError> {
        let state = read_state(snapshot)?;
        let known = Known { revision: snapshot.revision, state: Arc::new(state), since: Instant::now() };
        // The store's word counts, also when it is a smaller revision.
        self.sessions.insert(topic, known.clone());
        Ok(known)
    }

    fn remember(&self, topic: TopicKey, known: Known) {
        let is_older = |present: Known| known.revision.is_before(present.revision);
        let is_older = self.sessions.get(&topic).is_some_and(is_older);
        if !is_older {
            self.sessions.insert(topic, known);
        }
    }

    /// Takes note of an entry that this process has read from the log, so that the next publish
    /// on that topic meets no conflict. Topics on which nothing was published here are left alone.
    pub fn observe(&self, topic: TopicKey, entry: &LogEntry) {
        let Some(known) = self.sessions.get(&topic) else { return };
        if known.revision.is_followed_by(entry.revision) {
            let state = Arc::new(known.state.evolve(&entry.entry, self.rules.max_open));
            self.remember(topic, Known { revision: entry.revision, state, since: Instant::now() });
        } else if entry.revision != known.revision && !entry.revision.is_before(known.revision) {
            self.sessions.remove(&topic);
        }
    }
}

/// The state that a snapshot holds.
pub fn read_state(snapshot: &Snapshot) -> Result<SessionState, StoreError> {
    SessionState::from_fields(&snapshot.fields)
        .map_err(|unreadable| StoreError::Corrupt(unreadable.to_string()))
}

/// How long a sender should wait before it tries again after [`PublishError::Store`] or
/// [`PublishError::Contended`].
pub const RETRY_AFTER: Duration = Duration::from_secs(1);
