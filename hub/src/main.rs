//! The program `fhircast-hub`.

use std::{io::Write, process::ExitCode};

use anyhow::Context;
use clap::{Parser, Subcommand};
use hub::{
    embedded,
    reseal::reseal,
    server,
    status::{raise_format, status},
};
use shared::{
    audit::Audit,
    settings::{AuditTarget, AuthMode, Defaults, Exposure, Flags, Settings},
    signals::Signals,
    store::open::{READINESS, open, watch},
    telemetry::{
        Loops, Readiness, admin, health_check, logging,
        metrics::{METRICS, Missing},
    },
};
use tokio::sync::oneshot;
use worker::{Worker, span_export::SpanExport};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// FHIRcast hub: keeps a clinician's applications on the same patient, study or report.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    flags: Flags,

    /// Keep everything in memory and deliver callbacks from this process; for one process alone
    #[arg(long)]
    embedded: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Seal anew what Redis keeps, with the first of the data keys, while hubs and workers go on; exits with 0 when
    /// nothing uses another key any more, and with 3 when only events in logs do, which go with their age
    Reseal(Flags),
    /// Say what Redis holds and who uses it: partitions, hubs and workers, sessions by their hashes, subscriptions, what
    /// is due, and what has not been delivered for longest; changes nothing
    Status {
        #[command(flatten)]
        flags: Flags,

        /// All of it, for programs
        #[arg(long)]
        json: bool,
    },

    /// Have all hubs and workers that share a Redis write the newest format that this program knows, which makes what is
    /// new in it work; to be run when no older program is left, and none shall come back
    RaiseFormat(Flags),

    /// Ask the hub that runs here with the same settings how it is, and print what it answers; exits with 0 when it is
    /// well, with 1 when it is not or does not answer, and with 2 when the settings do not allow to ask
    Health(health_check::Arguments),
}

#[actix_web::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let flags = match &arguments.command {
        Some(Command::Reseal(flags) | Command::RaiseFormat(flags) | Command::Status { flags, .. }) => flags,
        Some(Command::Health(health)) => &health.flags,
        None => &arguments.flags,
    };
    let defaults = if arguments.embedded { Defaults::Embedded } else { Defaults::Standard };
    let settings = match Settings::load_here(defaults, flags) {
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
    match start(settings, arguments.command, arguments.embedded).await {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "fhircast-hub: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn start(settings: Settings, command: Option<Command>, is_embedded: bool) -> anyhow::Result<ExitCode> {
    // First of all: it also sees to it that a panic says nothing of what it happened upon.
    logging::init(&settings.log)?;
    match command {
        None => run(settings, is_embedded).await.map(|()| ExitCode::SUCCESS),
        Some(Command::Reseal(_)) => reseal(&settings).await,
        Some(Command::RaiseFormat(_)) => raise_format(&settings).await.map(|()| ExitCode::SUCCESS),
        Some(Command::Status { json, .. }) => status(&settings, json).await.map(|()| ExitCode::SUCCESS),
        Some(Command::Health(health)) => Ok(health_check::run(&health, &settings)),
    }
}

async fn run(settings: Settings, is_embedded: bool) -> anyhow::Result<()> {
    warn_of_exposure(&settings);
    if !is_embedded && settings.redis.url.is_none() {
        anyhow::bail!(
            "redis.url is not set: set it, or start with --embedded to keep everything in this process's memory"
        );
    }
    let mut signals = Signals::new().context("signals cannot be heard")?;
    let readiness = Readiness::new(READINESS.into_iter().chain(["draining"]));
    readiness.set("draining", true, "no");
    let loops = Loops::new(settings.stuck_after());
    let (admin, admin_server) = admin::start(&settings, readiness.clone(), loops.clone())?;
    let admin_handle = admin_server.handle();
    actix_web::rt::spawn(admin_server);

    let spans = SpanExport::start(&settings.tracing, "fhircast-hub")?;
    let audit =
        Audit::start(&settings.audit, "fhircast-hub", &readiness).context("the audit trail cannot start")?;
    let store = tokio::select! {
        store = open(&settings, &readiness) => store?,
        () = signals.next() => return Ok(()),
    };
    let hub =
        server::start(settings.clone(), store.clone(), audit.clone(), readiness.clone(), loops.clone())?;
    let (stop_worker, worker_stops) = oneshot::channel();
    let worker = if is_embedded {
        embedded::announce(&settings);
        let worker = Worker::new(store, hub.publisher.clone(), audit.clone(), loops, &settings)?;
        Some(actix_web::rt::spawn(worker.run_until_stopped(async move {
            let _ = worker_stops.await;
        })))
    } else {
        actix_web::rt::spawn(watch(store, readiness));
        None
    };

    tracing::info!(url = hub.url, admin, "listening");
    if is_embedded {
        if settings.audit.to == AuditTarget::Stdout {
            embedded::print_commands(&mut std::io::stderr(), &hub.url)?;
        } else {
            embedded::print_commands(&mut std::io::stdout(), &hub.url)?;
        }
    }
    let served = hub.run(signals.first()).await;
    let _ = stop_worker.send(());
    if let Some(worker) = worker {
        // The error itself would repeat what a panic says.
        worker.await.map_err(|_| anyhow::anyhow!("the worker has broken down"))?;
    }
    audit.finish();
    if let Some(spans) = spans {
        spans.finish().await;
    }
    admin_handle.stop(true).await;
    tracing::info!("stopped");
    served
}

/// Says, at every start, what leaves the hub open (FC-SEC-01).
fn warn_of_exposure(settings: &Settings) {
    let exposures = settings.exposures();
    METRICS.insecure(Missing::Authentication, exposures.contains(&Exposure::NoAuthentication));
    METRICS.insecure(Missing::Tls, exposures.contains(&Exposure::NoTls));
    for exposure in &exposures {
        match exposure {
            Exposure::NoAuthentication => tracing::warn!(
                listen = %settings.listen,
                "insecure: authentication is off, and other machines reach the hub: whoever does may read and change every session"
            ),
            Exposure::NoTls => tracing::warn!(
                listen = %settings.listen,
                "insecure: other machines reach the hub without TLS: whoever is on the way may read and change what is said"
            ),
        }
    }
    if settings.auth.mode == AuthMode::Off && exposures.is_empty() {
        tracing::warn!(
            "authentication is off: every program on this machine may read and change every session"
        );
    }
}
