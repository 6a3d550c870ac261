//! The program `fhircast-hub`.

use std::{io::Write, process::ExitCode};

use anyhow::Context;
use clap::Parser;
use hub::{embedded, server};
use shared::{
    settings::{Defaults, Flags, Settings},
    telemetry::{logging, metrics::METRICS},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};
use worker::Worker;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// FHIRcast hub: keeps a clinician's applications on the same patient, study or report.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    flags: Flags,

    /// Keep everything in memory and deliver callbacks from this process; for one process alone
    #[arg(long)]
    embedded: bool,
}

#[actix_web::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let defaults = if arguments.embedded { Defaults::Embedded } else { Defaults::Standard };
    let settings = match Settings::load_here(defaults, &arguments.flags) {
        Ok(settings) => settings,
        Err(mistakes) => {
            let _ = writeln!(std::io::stderr(), "{mistakes}");
            return ExitCode::from(2);
        }
    };
    if arguments.flags.print_config {
        let _ = write!(std::io::stdout(), "{}", settings.to_toml());
        return ExitCode::SUCCESS;
    }
    match run(settings, arguments.embedded).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "the hub has failed");
            let _ = writeln!(std::io::stderr(), "fhircast-hub: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(settings: Settings, is_embedded: bool) -> anyhow::Result<()> {
    logging::init(&settings.log)?;
    METRICS.insecure.set(settings.is_exposed().into());
    if !is_embedded && settings.redis.url.is_none() {
        anyhow::bail!(
            "redis.url is not set: set it, or start with --embedded to keep everything in this process's memory"
        );
    }
    let store = server::open_store(&settings).await?;
    let base_path = settings.base_paths.first().cloned().unwrap_or_default();
    let hub = server::start(settings.clone(), store.clone()).await?;

    let (stop_worker, worker_stops) = oneshot::channel();
    let worker = if is_embedded {
        embedded::announce();
        let worker = Worker::new(store, hub.publisher.clone(), &settings)?;
        Some(actix_web::rt::spawn(worker.run_until_stopped(async move {
            let _ = worker_stops.await;
        })))
    } else {
        None
    };

    tracing::info!(url = hub.url, admin = format!("http://{}", hub.admin), "listening");
    if is_embedded {
        embedded::print_commands(&mut std::io::stdout(), hub.address, &base_path)?;
    }
    let (stop, stopped) = oneshot::channel();
    actix_web::rt::spawn(stop_on_signal(stop));
    let served = hub.run(stopped).await;
    let _ = stop_worker.send(());
    if let Some(worker) = worker {
        worker.await.context("the worker has ended")?;
    }
    tracing::info!("stopped");
    served
}

/// The first SIGTERM or SIGINT drains; the second ends the process at once.
async fn stop_on_signal(stop: oneshot::Sender<()>) {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be heard");
        return;
    };
    let mut stop = Some(stop);
    loop {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        match stop.take() {
            Some(stop) => {
                let _ = stop.send(());
            }
            None => std::process::exit(130),
        }
    }
}
