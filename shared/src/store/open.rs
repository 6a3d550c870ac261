//! Opening the store that the settings name, and keeping the readiness true to it.

use std::{sync::Arc, time::Duration};

use super::{Result, Retention, Store, StoreError, memory::MemoryStore, redis::RedisStore};
use crate::{
    settings::{Durability, Settings},
    telemetry::{Readiness, metrics::METRICS},
};

/// The parts of the readiness that tell of the store.
pub const READINESS: [&str; 3] = [STORE, BELLS, AGREEMENT];

/// The part that tells whether it answers.
const STORE: &str = "store";

/// The part that tells whether what happens elsewhere is heard of at once.
const BELLS: &str = "bells";

/// The part that tells whether Redis and the settings mean the same: the number of partitions, and the data keys.
const AGREEMENT: &str = "agreement";

/// How often the store is asked whether it is there.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// How often it is asked what has been agreed on.
const AGREE_EVERY: Duration = Duration::from_secs(5);

/// After which bells count as not heard: longer than a connection that is silent takes to be made anew, and short enough
/// that it is noticed within ten seconds.
const SILENT_AFTER: Duration = Duration::from_secs(7);

/// Opens the store: Redis as soon as it answers, or the memory of this process if `redis.url` is
/// not set. What no patience cures is an error.
pub async fn open(settings: &Settings, readiness: &Readiness) -> Result<Arc<dyn Store>> {
    let mut retention = Retention::from(&settings.limits);
    if let Durability::Replicas(_) = settings.redis.durability {
        // Who is told that it is not confirmed sends it again after that.
        retention.resend += settings.redis.confirmed_within();
    }
    if settings.redis.url.is_none() {
        READINESS.into_iter().for_each(|part| readiness.set(part, true, "in memory"));
        return Ok(MemoryStore::new(settings.redis.partitions, retention));
    }
    if let Some(exposure) = settings.redis.exposure() {
        tracing::warn!("insecure: Redis is on another machine {exposure}");
    }
    let keys = settings.sealing_keys().map_err(|mistake| StoreError::Misconfigured(mistake.to_string()))?;
    METRICS.unsealed.set(keys.sealing().is_none().into());
    match keys.sealing() {
        Some(key) => {
            tracing::info!(key = %key.id(), "what Redis keeps of messages and subscribers is sealed")
        }
        None => tracing::warn!(
            "what Redis keeps of messages and subscribers is not sealed: whoever reads Redis or its files reads them; set data_keys"
        ),
    }
    let mut is_told = false;
    loop {
        match RedisStore::connect(&settings.redis, keys.clone(), retention).await {
            Ok(store) => {
                readiness.set(STORE, true, "ok");
                return Ok(store);
            }
            Err(StoreError::Unavailable(reason)) => {
                if !is_told {
                    tracing::warn!(reason, "Redis does not answer: waiting for it");
                    is_told = true;
                }
                readiness.set(STORE, false, "Redis does not answer");
            }
            Err(other) => return Err(other),
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// Keeps the readiness true to the store, for as long as it is polled: whether it answers, whether what it holds fits
/// the settings of this process, and whether this process hears its bells. None waits for another.
pub async fn watch(store: Arc<dyn Store>, readiness: Readiness) {
    tokio::join!(
        watch_answers(&*store, &readiness),
        watch_bells(&*store, &readiness),
        watch_agreement(&*store, &readiness)
    );
}

async fn watch_answers(store: &dyn Store, readiness: &Readiness) {
    loop {
        match store.ping().await {
            Ok(()) => readiness.set(STORE, true, "ok"),
            Err(_) => readiness.set(STORE, false, "does not answer"),
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

async fn watch_bells(store: &dyn Store, readiness: &Readiness) {
    loop {
        match store.silent_for() {
            silent if silent < SILENT_AFTER => readiness.set(BELLS, true, "heard"),
            silent => readiness.set(BELLS, false, format!("not heard for {} s", silent.as_secs())),
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

async fn watch_agreement(store: &dyn Store, readiness: &Readiness) {
    let mut last_mistake = None;
    loop {
        match store.agree().await {
            Ok(()) => {
                last_mistake = None;
                readiness.set(AGREEMENT, true, "ok");
            }
            Err(StoreError::Misconfigured(mistake)) => {
                if last_mistake.as_ref() != Some(&mistake) {
                    tracing::error!(
                        mistake,
                        "this program and the others on this Redis do not mean the same"
                    );
                    last_mistake = Some(mistake.clone());
                }
                readiness.set(AGREEMENT, false, mistake);
            }
            // Whether it answers is said elsewhere; at the start it has been agreed on.
            Err(_) if last_mistake.is_none() => readiness.set(AGREEMENT, true, "ok"),
            Err(_) => {}
        }
        tokio::time::sleep(AGREE_EVERY).await;
    }
}
