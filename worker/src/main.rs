//! `fhircast-worker`: a worker in a process of its own, beside hubs that share its Redis.

use std::{io::Write, process::ExitCode, sync::Arc};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use shared::{
    audit::Audit,
    publisher::Publisher,
    session,
    settings::{Defaults, Flags, Settings},
    signals::Signals,
    store::open::{READINESS, open, watch},
    telemetry::{Loops, Readiness, admin, health_check, logging},
};
use tokio::select;
use tracing::info;
use worker::{Worker, span_export::SpanExport};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Delivers FHIRcast notifications to webhook subscribers.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    settings: Flags,
}

#[derive(Subcommand)]
enum Command {
    /// Ask the worker that runs here with the same settings how it is, and print what it answers; exits with 0 when it
    /// is well, with 1 when it is not or does not answer, and with 2 when the settings do not allow to ask
    Health(health_check::Arguments),
}

fn main() -> ExitCode {
    let Arguments { command, settings: flags } = Arguments::parse();
    let flags = match &command {
        Some(Command::Health(health)) => &health.flags,
        None => &flags,
    };
    let settings = match Settings::load_here(Defaults::Standard, flags) {
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
    if let Some(Command::Health(health)) = &command {
        return health_check::run(health, &settings);
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
    let worker = Worker::new(store.clone(), publisher, audit.clone(), loops.clone(), &settings)?;
    let watch = actix_rt::spawn(watch(store, readiness.clone()));
    info!(admin = url, "working");

    let stop = async {
        signals.first().await;
        info!(drain_secs = settings.drain_secs, "stopping");
        readiness.set("draining", false, "yes");
        loops.end();
    };
    worker.run_until_stopped(stop).await;
    audit.finish();
    if let Some(spans) = spans {
        spans.finish().await;
    }
    watch.abort();
    admin_handle.stop(true).await;
    info!("stopped");
    Ok(())
}
