//! `fhircast-worker`: a worker in a process of its own, beside hubs that share its Redis.

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use clap::Parser;
use shared::{
    publisher::Publisher,
    session,
    settings::{Defaults, Flags, Settings},
    store::{Retention, Store, StoreError, redis::RedisStore},
    telemetry::{Readiness, admin, logging},
};
use tokio::{
    select,
    signal::unix::{Signal, SignalKind, signal},
    time::sleep,
};
use tracing::{info, warn};
use worker::Worker;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How often Redis is asked whether it answers, for `/readyz` and while it has not answered yet.
const LOOK_AT_REDIS: Duration = Duration::from_secs(1);

/// Delivers FHIRcast notifications to webhook subscribers.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    settings: Flags,
}

fn main() -> ExitCode {
    match start(Arguments::parse().settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

#[allow(clippy::print_stdout, reason = "--print-config prints")]
fn start(flags: Flags) -> Result<()> {
    let settings = Settings::load_here(Defaults::Standard, &flags)?;
    if flags.print_config {
        print!("{}", settings.to_toml());
        return Ok(());
    }
    if settings.redis.url.is_none() {
        bail!("redis.url: a worker needs the Redis that the hubs use; the embedded hub has its own worker");
    }
    logging::init(&settings.log)?;
    actix_rt::System::new().block_on(run(settings))
}

async fn run(settings: Settings) -> Result<()> {
    let mut signals = Signals::new()?;
    let readiness = Readiness::new(["redis"]);
    readiness.set("draining", true, "no");
    let (address, admin) = admin::start(settings.admin_listen, readiness.clone())?;
    let admin_handle = admin.handle();
    actix_rt::spawn(admin);

    let store = select! {
        store = connect(&settings, &readiness) => store?,
        () = signals.next() => return Ok(()),
    };
    let rules = session::Rules { max_open: settings.limits.open_contexts };
    let publisher = Arc::new(Publisher::new(store.clone(), rules, settings.syncerror.severity));
    let worker = Worker::new(store.clone(), publisher, &settings)?;
    let watch = actix_rt::spawn(watch(store, readiness.clone()));
    info!(admin = %format!("http://{address}"), "working");

    let stop = async {
        signals.next().await;
        info!(drain_secs = settings.drain_secs, "stopping");
        readiness.set("draining", false, "yes");
        // Whoever asks twice does not want to wait.
        actix_rt::spawn(async move {
            signals.next().await;
            std::process::exit(1);
        });
    };
    worker.run_until_stopped(stop).await;
    watch.abort();
    admin_handle.stop(true).await;
    info!("stopped");
    Ok(())
}

/// Connects as soon as Redis answers; what no patience cures is an error.
async fn connect(settings: &Settings, readiness: &Readiness) -> Result<Arc<dyn Store>> {
    let retention = Retention::from(&settings.limits);
    let mut is_told = false;
    loop {
        match RedisStore::connect(&settings.redis, retention).await {
            Ok(store) => {
                readiness.set("redis", true, "ok");
                return Ok(store);
            }
            Err(StoreError::Unavailable(reason)) => {
                if !is_told {
                    warn!(reason, "Redis does not answer: waiting for it");
                    is_told = true;
                }
                readiness.set("redis", false, "does not answer");
            }
            Err(other) => return Err(other.into()),
        }
        sleep(LOOK_AT_REDIS).await;
    }
}

/// Keeps the readiness true.
async fn watch(store: Arc<dyn Store>, readiness: Readiness) {
    loop {
        match store.ping().await {
            Ok(()) => readiness.set("redis", true, "ok"),
            Err(_) => readiness.set("redis", false, "does not answer"),
        }
        sleep(LOOK_AT_REDIS).await;
    }
}

/// The signals that ask a program to stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let listen = |kind| signal(kind).context("signals cannot be heard");
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
