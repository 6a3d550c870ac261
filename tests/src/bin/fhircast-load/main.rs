//! `fhircast-load`: the ruler. It loads hubs with publishers and subscribers, and says what arrived, when, and what it cost.
//!
//! Open-loop: each publish has its time in a schedule, and every latency is counted from that time, so that a hub that
//! stalls is not flattered by a publisher that waits for it. Every delivery is remembered and judged by
//! [`harness::history`]: lost, duplicated, out of order. `--floor` measures the ruler itself, against a bare echo.
//! Exit status: 0 clean, 1 something was lost, duplicated, out of order or unknown, 2 the run itself failed.

mod arrivals;
mod callbacks;
mod floor;
mod plan;
mod publishers;
mod report;
mod subscribers;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use url::Url;

use crate::arrivals::{Clock, Delivered};
use crate::callbacks::CallbackHost;
use crate::plan::{Payload, Plan};
use crate::report::Report;
use harness::process_stats::{self, Watched};

/// Tokio's threads: enough to saturate one hub on a small machine, few enough to leave it one.
const RUNTIME_THREADS: usize = 2;
/// How long what was accepted may take to arrive after the last publish.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// How long is listened after the last expected delivery, so that a duplicate of it is seen too.
const AFTERMATH: Duration = Duration::from_millis(200);

/// Loads FHIRcast hubs on this machine and measures what arrives, when, and at what cost.
#[derive(Parser)]
#[command(version)]
struct Flags {
    /// A hub.url; give several to spread sockets and publishes over several hubs.
    #[arg(long = "hub", value_name = "URL", required_unless_present_any = ["floor", "floor_server"])]
    hubs: Vec<Url>,
    /// WebSocket subscribers, spread over the topics and hubs.
    #[arg(long, default_value_t = 100)]
    sockets: usize,
    /// Topics.
    #[arg(long, default_value_t = 20)]
    topics: usize,
    /// Webhook subscribers, spread over the topics; served by this tool on loopback.
    #[arg(long, default_value_t = 0)]
    callbacks: usize,
    /// Events a second, over all topics.
    #[arg(long, default_value_t = 200.0)]
    rate: f64,
    /// How long the measured part lasts.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// How long to publish before: judged like the rest, but left out of the latencies.
    #[arg(long, default_value_t = 1.0)]
    warmup_seconds: f64,
    /// What is published: `small`, `spec` (the specification's Patient-open) or `bytes N`.
    #[arg(long, num_args = 1..=2, value_names = ["KIND", "N"], default_value = "spec")]
    payload: Vec<String>,
    /// A process to watch, for example hub=4711; may be given several times.
    #[arg(long = "pid", value_name = "NAME=PID")]
    pids: Vec<Watched>,
    /// How the report is written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Leave notifications unanswered.
    #[arg(long)]
    no_answers: bool,
    /// Measure a bare echo instead of a hub: what this tool itself adds.
    #[arg(long, conflicts_with_all = ["hubs", "callbacks"])]
    floor: bool,
    /// The echo that `--floor` starts.
    #[arg(long, hide = true)]
    floor_server: bool,
    /// Load a hub that is not on this machine (also needs --yes-really).
    #[arg(long)]
    i_know_this_is_not_loopback: bool,
    /// See --i-know-this-is-not-loopback.
    #[arg(long)]
    yes_really: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
}

fn main() -> ExitCode {
    match run(Flags::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("fhircast-load: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(flags: Flags) -> Result<bool> {
    if flags.floor_server {
        floor::serve()?;
        return Ok(true);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let format = flags.format;
    let report = runtime.block_on(measure(flags))?;
    #[allow(clippy::print_stdout)]
    match format {
        Format::Text => println!("{report}"),
        Format::Json => println!("{}", serde_json::to_string_pretty(&report)?),
    }
    Ok(report.is_clean())
}

async fn measure(flags: Flags) -> Result<Report> {
    let payload = Payload::parse(&flags.payload)?;
    let mut watched = flags.pids;
    let mut hubs = flags.hubs;
    // Held to the end of the run: dropping it ends the echo.
    let floor = if flags.floor { Some(floor::start().await?) } else { None };
    if let Some(floor) = &floor {
        hubs = vec![floor.url.clone()];
        watched.push(Watched { name: "echo".to_owned(), pid: floor.process.pid() });
    }
    let plan = Arc::new(Plan {
        run: harness::examples::fresh_id(),
        hubs,
        sockets: flags.sockets,
        topics: flags.topics,
        callbacks: flags.callbacks,
        rate: flags.rate,
        seconds: flags.seconds,
        warmup_seconds: flags.warmup_seconds,
        template: payload.template()?,
        answers: !flags.no_answers,
        anywhere: flags.i_know_this_is_not_loopback && flags.yes_really,
    });
    plan.check()?;
    watched.push(Watched { name: "this tool".to_owned(), pid: std::process::id() });

    let before_sockets = process_stats::samples(&watched)?;
    let clock = Arc::new(Clock::default());
    let delivered = Arc::new(Delivered::default());
    let sockets = subscribers::open(&plan, &clock, &delivered).await?;
    let with_sockets = process_stats::samples(&watched)?;
    let callbacks = CallbackHost::start(&plan, &clock, &delivered)?;
    callbacks.subscribe(&plan).await?;

    let at_start = process_stats::samples(&watched)?;
    let outcomes = publishers::publish(&plan, &clock).await?;
    let published_for = clock.elapsed();
    let expected = outcomes.expected_deliveries(&plan);
    delivered.reached(expected, DRAIN_TIMEOUT).await;
    let delivered_for = clock.elapsed();
    let at_end = process_stats::samples(&watched)?;
    tokio::time::sleep(AFTERMATH).await;

    let socket_arrivals = subscribers::close(&plan, sockets).await;
    let callback_arrivals = callbacks.stop(&plan).await;
    if socket_arrivals.len() != plan.sockets || callback_arrivals.len() != plan.callbacks {
        bail!("a subscriber's record is missing");
    }
    Ok(report::Run {
        plan: &plan,
        floor: flags.floor,
        outcomes,
        sockets: socket_arrivals,
        callbacks: callback_arrivals,
        published_for,
        delivered_for,
        watched: &watched,
        samples: report::Samples { before_sockets, with_sockets, at_start, at_end },
    }
    .report())
}
