//! `fhircast-worker`: a worker in a process of its own, beside hubs that share its Redis.

use std::{io::Write, process::ExitCode, sync::Arc};

use anyhow::{Context, Result, bail};
use clap::Parser;
use shared::{
    audit::Audit,
    publisher::Publisher,
    session,
    settings::{Defaults, Flags, Settings},
    signals::Signals,
    store::open::{READINESS, open, watch},
    telemetry::{Loops, Readiness, admin, logging},
};
use tokio::select;
use tracing::info;
use worker::{Worker, span_export::SpanExport};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Delivers FHIRcast notifications to webhook subscribers.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    settings: Flags,
}

fn main() -> ExitCode {
    let flags = Arguments::parse().settings;
    let settings = match Settings::load_here(Defaults::Standard, &flags) {
        Ok(settings) => settings,
        Err(mistakes) => {
            let _ = writeln!(std::io::stderr(), "{mistakes}");
            return ExitCode::from(2);
        }
    };
    if flags.print_config {
        let _ = write!(std::io::stdout(), "{}", settings.to_toml());
        return ExitCode::SUCCESS;
    }
    match start(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "fhircast-worker: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(settings: Settings) -> Result<()> {
    if settings.redis.url.is_none() {
        bail!("redis.url: a worker needs the Redis that the hubs use; the embedded hub has its own worker");
    }
    logging::init(&settings.log)?;
    actix_rt::System::new().block_on(run(settings))
}

async fn run(settings: Settings) -> Result<()> {
    let mut signals = Signals::new().context("signals cannot be heard")?;
    let readiness = Readiness::new(READINESS);
    readiness.set("draining", true, "no");
    let loops = Loops::new(settings.stuck_after());
    let (url, admin) = admin::start(&settings, readiness.clone(), loops.clone())?;
    let admin_handle = admin.handle();
    actix_rt::spawn(admin);

    let spans = SpanExport::start(&settings.tracing, "fhircast-worker")?;
    let audit = Audit::start(&settings.audit, "fhircast-worker", &readiness)
        .context("the audit trail cannot start")?;
    let store = select! {
        store = open(&settings, &readiness) => store?,
        () = signals.next() => return Ok(()),
    };
    let rules = session::Rules::from(&settings.limits);
    let severity = settings.syncerror.severity;
    let publisher = Arc::new(Publisher::new(store.clone(), rules, severity, audit.clone()));
    let worker = Worker::new(store.clone(), publisher, audit.clone(), loops, &settings)?;
    let watch = actix_rt::spawn(watch(store, readiness.clone()));
    info!(admin = url, "working");

    let stop = async {
        signals.first().await;
        info!(drain_secs = settings.drain_secs, "stopping");
        readiness.set("draining", false, "yes");
    };
    worker.run_until_stopped(stop).await;
    if let Some(spans) = spans {
        spans.finish().await;
    }
    audit.finish();
    watch.abort();
    admin_handle.stop(true).await;
    info!("stopped");
    Ok(())
}
