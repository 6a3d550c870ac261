//! The keys of the authorization server, as they are now.
//!
//! They are read at the start, every `auth.jwks_refresh_secs`, when the file changes, and when a
//! token names a key that is not among them: at most once in `auth.jwks_cooldown_secs`, however
//! many such tokens come, so that forged ones cannot make the hub flood the authorization server.
//! One task reads; requests only look at what it has read last, without a lock. What cannot be read,
//! or holds no key, takes the place of nothing: the last good set is used for as long as that lasts,
//! which the log and `fhircast_keys_read_timestamp_seconds` show. Until there is a first one the hub
//! is not ready, and answers 503.

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
    keys: ArcSwapOption<Keys>,
    wanted: Notify,
    readings: watch::Sender<Readings>,
    patience: Duration,
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
            keys: ArcSwapOption::empty(),
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
        };
        actix_web::rt::spawn(reader.keep_fresh());
        Ok(store)
    }

    /// The last good set; `None` as long as there has been none.
    pub fn now(&self) -> Option<Arc<Keys>> {
        self.keys.load_full()
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
}

impl Reader {
    async fn keep_fresh(self) {
        let mut known = None;
        let mut was_good = true;
        loop {
            self.store.readings.send_modify(|readings| readings.is_reading = true);
            if let Source::File(path) = &self.source {
                known = stamp(path).await;
            }
            let is_good = self.read(was_good).await;
            was_good = is_good;
            let again = match (is_good, self.store.keys.load().is_some()) {
                (true, _) => self.refresh,
                (false, true) => self.refresh.min(AGAIN_WITH),
                (false, false) => self.refresh.min(AGAIN_WITHOUT),
            };
            self.store.readings.send_modify(|readings| {
                readings.is_reading = false;
                readings.finished += 1;
            });
            tokio::select! {
                () = sleep(again) => {}
                () = self.wanted() => {}
                () = self.changed(&known) => {}
            }
        }
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
    async fn read(&self, was_good: bool) -> bool {
        let read = match &self.source {
            Source::Server(server, url) => fetched(server, url).await,
            Source::File(path) => from_file(path).await,
        };
        match read {
            Ok(keys) => {
                METRICS.keys_readings.with(KeysReading::Taken).inc();
                METRICS.keys_read.set(now_secs());
                if !was_good || self.store.keys.load().is_none() {
                    tracing::info!(keys = keys.count(), "the authorization server's keys are read");
                }
                self.store.keys.store(Some(Arc::new(keys)));
                self.readiness.set(READINESS, true, "ok");
                true
            }
            Err(error) => {
                let outcome = match error {
                    ReadError::NoKeys(_) => KeysReading::Refused,
                    ReadError::NoAnswer(_) | ReadError::File(_) => KeysReading::Failed,
                };
                METRICS.keys_readings.with(outcome).inc();
                let has_keys = self.store.keys.load().is_some();
                if was_good {
                    tracing::error!(%error, has_keys, "auth.jwks cannot be read");
                }
                if !has_keys {
                    self.readiness.set(READINESS, false, "auth.jwks cannot be read");
                }
                false
            }
        }
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
