//! Opening the store that the settings name, and keeping the readiness true to it.

use std::{sync::Arc, time::Duration};

use super::{Result, Retention, Store, StoreError, memory::MemoryStore, redis::RedisStore};
use crate::{
    settings::{Durability, Settings},
    telemetry::{Readiness, metrics::METRICS},
};

/// The part of the readiness that tells of the store.
pub const READINESS: &str = "store";

/// How often the store is asked whether it is there.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Opens the store: Redis as soon as it answers, or the memory of this process if `redis.url` is
/// not set. What no patience cures is an error.
pub async fn open(settings: &Settings, readiness: &Readiness) -> Result<Arc<dyn Store>> {
    let mut retention = Retention::from(&settings.limits);
    if let Durability::Replicas(_) = settings.redis.durability {
        // Who is told that it is not confirmed sends it again after that.
        retention.resend += settings.redis.confirmed_within();
    }
    if settings.redis.url.is_none() {
        readiness.set(READINESS, true, "in memory");
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
                readiness.set(READINESS, true, "ok");
                return Ok(store);
            }
            Err(StoreError::Unavailable(reason)) => {
                if !is_told {
                    tracing::warn!(reason, "Redis does not answer: waiting for it");
                    is_told = true;
                }
                readiness.set(READINESS, false, "Redis does not answer");
            }
            Err(other) => return Err(other),
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// Keeps the readiness true to whether the store answers, for as long as it is polled.
pub async fn watch(store: Arc<dyn Store>, readiness: Readiness) {
    loop {
        match store.ping().await {
            Ok(()) => readiness.set(READINESS, true, "ok"),
            Err(_) => readiness.set(READINESS, false, "does not answer"),
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}
