//! `fhircast-faults`: breaks one thing after the other under a running system, and says what its subscribers felt of it.
//!
//! The work is done in [`harness::fault_lab`]. Exit status: 0 all that is promised was kept, 1 something was lost without a
//! word, out of order, twice without a reason, or otherwise wrong, 2 an experiment could not be made.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use harness::fault_lab::faults::{self, FAULTS, Fault};
use harness::fault_lab::options::{self, Options};
use harness::fault_lab::report::Report;
use harness::fault_lab::run::run;

/// Tokio's threads: publishers, subscribers and proxies of one experiment.
const RUNTIME_THREADS: usize = 2;

/// Exit statuses.
const KEPT: u8 = 0;
const BROKEN: u8 = 1;
const NOT_MADE: u8 = 2;

/// Breaks things under a whole system of real processes, and judges what came to whom.
#[derive(Parser)]
#[command(version)]
struct Flags {
    /// Seed of the first experiment; each one after it has the next. Without: by the time.
    #[arg(long)]
    seed: Option<u64>,
    /// Goes through the faults again and again for so long.
    #[arg(long, conflicts_with = "runs")]
    minutes: Option<f64>,
    /// Experiments with each fault.
    #[arg(long, default_value_t = 1)]
    runs: u64,
    /// A fault; may be given several times. Without: all that there are in the shape.
    #[arg(long = "fault", value_name = "NAME")]
    faults: Vec<String>,
    /// All the given faults in each experiment, one over the other.
    #[arg(long)]
    together: bool,
    /// How Redis is run: single, sentinel or cluster; may be given several times.
    #[arg(long = "shape", value_name = "SHAPE", default_value = "single")]
    shapes: Vec<String>,
    /// The setting redis.durability: primary, or replicas=1.
    #[arg(long, default_value = options::PRIMARY)]
    durability: String,
    /// Events a second, over all topics.
    #[arg(long, default_value_t = 40.0)]
    events_per_second: f64,
    /// Seconds for which a process stands still, or a link is silent.
    #[arg(long)]
    hold: Option<u64>,
    /// A further setting of every hub and worker; may be given several times.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    settings: Vec<String>,
    /// Where journals and logs are kept of experiments that found something.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Keeps them also when nothing was found.
    #[arg(long)]
    keep_all: bool,
    /// How the report is written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Judges the journals in this directory again, and does nothing else.
    #[arg(long, value_name = "DIR")]
    judge: Option<PathBuf>,
    /// Lists the faults.
    #[arg(long)]
    list: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
}

fn main() -> ExitCode {
    match start(&Flags::parse()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("fhircast-faults: {error:#}");
            ExitCode::from(NOT_MADE)
        }
    }
}

#[allow(clippy::print_stdout)]
fn start(flags: &Flags) -> Result<u8> {
    if flags.list {
        for fault in FAULTS {
            let shapes: Vec<&str> = fault.shapes.iter().map(|shape| options::name_of(*shape)).collect();
            println!("{:<24} {:<24} {}", fault.name, shapes.join(","), fault.about);
        }
        return Ok(KEPT);
    }
    if let Some(directory) = &flags.judge {
        let verdict = harness::history::verdict::judge_directory(directory)?;
        println!("{}", serde_json::to_string_pretty(&verdict)?);
        return Ok(if verdict.findings.is_empty() { KEPT } else { BROKEN });
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let report = runtime.block_on(experiments(flags))?;
    match flags.format {
        Format::Text => println!("{report}"),
        Format::Json => println!("{}", serde_json::to_string_pretty(&report)?),
    }
    Ok(match report.is_clean() {
        false => BROKEN,
        true if !report.failures.is_empty() => NOT_MADE,
        true => KEPT,
    })
}

async fn experiments(flags: &Flags) -> Result<Report> {
    let mut plan: Vec<(Options, Vec<&Fault>)> = Vec::new();
    for shape in &flags.shapes {
        let options = options(flags, shape)?;
        let faults = chosen(flags, &options)?;
        if flags.together {
            plan.push((options, faults));
        } else {
            plan.extend(faults.into_iter().map(|fault| (options.clone(), vec![fault])));
        }
    }
    if plan.is_empty() {
        bail!("there is nothing to break");
    }
    let until = flags.minutes.map(|minutes| Instant::now() + Duration::from_secs_f64(minutes * 60.0));
    let by_the_time = || std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
    let mut seed = flags.seed.unwrap_or_else(by_the_time);
    let mut report = Report::default();
    let mut round = 0;
    loop {
        for (options, faults) in &plan {
            if until.is_some_and(|until| Instant::now() >= until) {
                return Ok(report);
            }
            match run(options, faults, seed).await {
                Ok(experiment) => {
                    let (fault, shape) = (&experiment.fault, experiment.shape);
                    let (accepted, findings) =
                        (experiment.verdict.accepted, experiment.verdict.findings.len());
                    eprintln!("{fault} ({shape}, seed {seed}): {accepted} events, {findings} findings");
                    report.add(experiment);
                }
                Err(error) => {
                    eprintln!("{error:#}");
                    report.failures.push(format!("{error:#}"));
                }
            }
            seed += 1;
        }
        round += 1;
        if until.is_none() && round >= flags.runs {
            return Ok(report);
        }
    }
}

fn options(flags: &Flags, shape: &str) -> Result<Options> {
    let usual = Options::default();
    let setting = |setting: &String| {
        let (name, value) =
            setting.split_once('=').with_context(|| format!("{setting} is not NAME=VALUE"))?;
        Ok((name.to_owned(), value.to_owned()))
    };
    Ok(Options {
        shape: options::shape_named(shape)?,
        durability: flags.durability.clone(),
        events_per_second: flags.events_per_second,
        hold_secs: flags.hold,
        keep: flags.keep.clone().unwrap_or(usual.keep),
        keep_all: flags.keep_all,
        settings: flags.settings.iter().map(setting).collect::<Result<_>>()?,
    })
}

/// The faults that were asked for and exist in this shape.
fn chosen(flags: &Flags, options: &Options) -> Result<Vec<&'static Fault>> {
    let exists = |fault: &&Fault| fault.shapes.contains(&options.shape);
    if flags.faults.is_empty() {
        return Ok(FAULTS.iter().filter(exists).collect());
    }
    let named: Vec<&Fault> = flags.faults.iter().map(|name| faults::named(name)).collect::<Result<_>>()?;
    Ok(named.into_iter().filter(exists).collect())
}
