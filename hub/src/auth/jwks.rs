//! The keys of the authorization server, as they are now.
//!
//! They are read at the start, every `auth.jwks_refresh_secs`, when the file changes, and when a
//! token names a key that is not among them: at most once in `auth.jwks_cooldown_secs`, however
//! many such tokens come, so that forged ones cannot make the hub flood the authorization server.
//! One task reads; requests only look at what it has read last, without a lock.
//!
//! - What cannot be read, or is no JWKS, takes the place of nothing: through an outage the last set is
//!   used, until it is `auth.jwks_max_age_secs` old. Then nobody can tell a good token from one whose
//!   key has been withdrawn meanwhile: the hub is not ready, and answers 503, as before the first set.
//! - A JWKS is believed, also one without a single usable key: what the authorization server does not
//!   show any more it has withdrawn, and to go on with keys that it has disowned would be to know
//!   better. So every token is refused (401), which the log says, and it is read anew soon. A hub that
//!   has not had a usable key is not ready: so none is rolled out with the keys of nobody.
//!
//! `fhircast_keys_readings_total` counts what comes of it, `fhircast_keys_read_timestamp_seconds` is when
//! a set was last read.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use actix_web::web;
use arc_swap::ArcSwapOption;
use shared::{
    files::read_at_most,
    settings::{Auth, KeySource},
    telemetry::{
        Readiness,
        metrics::{KeysReading, METRICS},
    },
    unix_time::now_secs,
};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, sleep_until, timeout},
};
use url::Url;

use super::{
    keys::{Keys, NoKeys},
    server::{AuthorizationServer, NoAnswer, Question},
};

/// The part of the readiness that tells of the keys.
const READINESS: &str = "keys";
/// How soon it is tried again when there are no keys at all, and when there are older ones.
const AGAIN_WITHOUT: Duration = Duration::from_secs(2);
const AGAIN_WITH: Duration = Duration::from_secs(30);
/// How often it is looked whether a file has changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Bytes of a file at most.
const MAX_FILE_BYTES: u64 = 262_144;

/// What requests look at.
pub struct KeyStore {
    held: ArcSwapOption<Held>,
    wanted: Notify,
    readings: watch::Sender<Readings>,
    patience: Duration,
}

/// A set, and when it is too old to be believed.
struct Held {
    keys: Arc<Keys>,
    until: Option<Instant>,
}

impl Held {
    fn is_too_old(&self) -> bool {
        self.until.is_some_and(|until| until <= Instant::now())
    }
}

#[derive(Debug, Clone, Copy)]
struct Readings {
    finished: u64,
    is_reading: bool,
    /// Before this no token is a reason to read.
    free_at: Instant,
}

#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
    #[error("{0}")]
    File(String),
    #[error(transparent)]
    NoKeys(#[from] NoKeys),
}

impl KeyStore {
    /// Starts to read them, and to keep them fresh.
    pub fn start(settings: &Auth, source: &KeySource, readiness: Readiness) -> anyhow::Result<Arc<Self>> {
        let source = match source {
            KeySource::Url(url) => Source::Server(AuthorizationServer::new(settings)?, url.clone()),
            KeySource::File(path) => Source::File(path.clone()),
        };
        readiness.set(READINESS, false, "not read yet");
        let readings = Readings { finished: 0, is_reading: true, free_at: Instant::now() };
        let store = Arc::new(Self {
            held: ArcSwapOption::empty(),
            wanted: Notify::new(),
            readings: watch::Sender::new(readings),
            patience: settings.timeout(),
        });
        let reader = Reader {
            store: store.clone(),
            source,
            readiness,
            refresh: settings.jwks_refresh(),
            cooldown: settings.jwks_cooldown(),
            max_age: settings.jwks_max_age(),
        };
        actix_web::rt::spawn(reader.keep_fresh());
        Ok(store)
    }

    /// The last set; `None` as long as there has been none, and when it is too old.
    pub fn now(&self) -> Option<Arc<Keys>> {
        self.held.load().as_ref().filter(|held| !held.is_too_old()).map(|held| held.keys.clone())
    }

    fn has_usable_keys(&self) -> bool {
        self.now().is_some_and(|keys| !keys.is_empty())
    }

    /// A token names an unknown key, or there are no keys: waits for the reading that is under way, or
    /// for a new one if there may be one.
    pub async fn read_again(&self) {
        let mut readings = self.readings.subscribe();
        let now = *readings.borrow();
        if !now.is_reading {
            if Instant::now() < now.free_at {
                return;
            }
            self.wanted.notify_one();
        }
        let finished = readings.wait_for(|readings| readings.finished > now.finished);
        // Who has waited for too long finds the keys as they were.
        let _ = timeout(self.patience, finished).await;
    }
}

enum Source {
    Server(AuthorizationServer, Url),
    File(PathBuf),
}

struct Reader {
    store: Arc<KeyStore>,
    source: Source,
    readiness: Readiness,
    refresh: Duration,
    cooldown: Duration,
    max_age: Option<Duration>,
}

impl Reader {
    async fn keep_fresh(self) {
        let mut known = None;
        let mut last = KeysReading::Taken;
        loop {
            self.store.readings.send_modify(|readings| readings.is_reading = true);
            if let Source::File(path) = &self.source {
                known = stamp(path).await;
            }
            last = self.read(last).await;
            let again = match (last, self.store.has_usable_keys()) {
                (KeysReading::Taken, _) => self.refresh,
                (_, true) => self.refresh.min(AGAIN_WITH),
                (_, false) => self.refresh.min(AGAIN_WITHOUT),
            };
            self.store.readings.send_modify(|readings| {
                readings.is_reading = false;
                readings.finished += 1;
            });
            tokio::select! {
                () = sleep(again) => {}
                () = self.wanted() => {}
                () = self.changed(&known) => {}
                () = self.too_old() => self.forget(),
            }
        }
    }

    /// Resolves when the set that is there is too old.
    async fn too_old(&self) {
        match self.store.held.load().as_ref().and_then(|held| held.until) {
            Some(until) => sleep_until(until).await,
            None => std::future::pending().await,
        }
    }

    fn forget(&self) {
        self.store.held.store(None);
        self.readiness.set(READINESS, false, "too old (auth.jwks_max_age_secs)");
        tracing::error!(
            max_age_secs = self.max_age.map_or(0, |age| age.as_secs()),
            "auth.jwks could not be read for auth.jwks_max_age_secs: its keys are not believed any more, and every request that needs a token is answered 503"
        );
    }

    /// Resolves when a token is a reason to read, and counts that one.
    async fn wanted(&self) {
        loop {
            self.store.wanted.notified().await;
            let free_at = self.store.readings.borrow().free_at;
            if Instant::now() >= free_at {
                // At once: whoever comes between the two would not wait for what is about to be read.
                self.store.readings.send_modify(|readings| {
                    readings.free_at = Instant::now() + self.cooldown;
                    readings.is_reading = true;
                });
                return;
            }
        }
    }

    /// Resolves when the file is another one than `known`; never for a URL.
    async fn changed(&self, known: &Option<Stamp>) {
        let Source::File(path) = &self.source else { return std::future::pending().await };
        loop {
            sleep_until(Instant::now() + LOOK_EVERY).await;
            if stamp(path).await != *known {
                return;
            }
        }
    }

    /// Reads once. What goes wrong is told in full when it begins, and then in the metrics.
    async fn read(&self, last: KeysReading) -> KeysReading {
        let begun = Instant::now();
        let read = match &self.source {
            Source::Server(server, url) => fetched(server, url).await,
            Source::File(path) => from_file(path).await,
        };
        let had_keys = self.store.has_usable_keys();
        let outcome = match &read {
            Ok(keys) if keys.is_empty() => KeysReading::Empty,
            Ok(_) => KeysReading::Taken,
            Err(ReadError::NoKeys(_)) => KeysReading::Refused,
            Err(ReadError::NoAnswer(_) | ReadError::File(_)) => KeysReading::Failed,
        };
        METRICS.keys_readings.with(outcome).inc();
        match read {
            Ok(keys) => {
                METRICS.keys_read.set(now_secs());
                if outcome == KeysReading::Empty {
                    if self.store.held.load().is_none() {
                        self.readiness.set(
                            READINESS,
                            false,
                            "auth.jwks holds no key that verifies signatures",
                        );
                    }
                    if last != outcome || had_keys {
                        tracing::error!(
                            had_keys,
                            "auth.jwks holds no key that verifies signatures: every token is refused until it holds one"
                        );
                    }
                } else {
                    if last != outcome || !had_keys {
                        tracing::info!(keys = keys.count(), "the authorization server's keys are read");
                    }
                    self.readiness.set(READINESS, true, "ok");
                }
                let until = self.max_age.map(|age| begun + age);
                self.store.held.store(Some(Arc::new(Held { keys: Arc::new(keys), until })));
            }
            Err(error) => {
                let has_keys = self.store.now().is_some();
                if !matches!(last, KeysReading::Refused | KeysReading::Failed) {
                    tracing::error!(%error, has_keys, "auth.jwks cannot be read");
                }
                if !has_keys {
                    self.readiness.set(READINESS, false, "auth.jwks cannot be read");
                }
            }
        }
        outcome
    }
}

async fn fetched(server: &AuthorizationServer, url: &Url) -> Result<Keys, ReadError> {
    let document = server.ask(Question::Get(url.clone())).await?;
    Ok(Keys::read(&document)?)
}

/// What tells one state of a file from another.
type Stamp = (SystemTime, u64);

async fn stamp(path: &Path) -> Option<Stamp> {
    let path = path.to_owned();
    let metadata = web::block(move || std::fs::metadata(path)).await.ok()?.ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

async fn from_file(path: &Path) -> Result<Keys, ReadError> {
    let path = path.to_owned();
    let document = web::block(move || read_at_most(&path, MAX_FILE_BYTES))
        .await
        .map_err(|error| ReadError::File(error.to_string()))?;
    Ok(Keys::read(&document.map_err(|error| ReadError::File(error.to_string()))?)?)
}
