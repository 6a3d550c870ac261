//! One experiment, from the start of all processes to the verdict.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use tokio::time::Instant;

use super::faults::Fault;
use super::options::{Options, name_of};
use super::system::Site;
use super::workload::Workload;
use crate::chance::Chance;
use crate::history::finding::{Defect, RunFinding};
use crate::history::journal::{Journals, What, read_all};
use crate::history::times::{Times, times};
use crate::history::verdict::{Verdict, judge};

/// Events of each publisher before the fault, and after it.
const EVENTS_BEFORE: usize = 6;
const EVENTS_AFTER: usize = 6;
/// The fault begins within so many milliseconds after that, by chance.
const BEGINS_WITHIN_MS: u64 = 1000;
/// How long the last event may take to come to everybody.
const DELIVERED_WITHIN: Duration = Duration::from_secs(45);
/// How long is listened after it, so that what comes too much is seen too.
const AFTERMATH: Duration = Duration::from_millis(700);

/// What came of an experiment.
#[derive(Debug, Serialize)]
pub struct Experiment {
    /// The faults, by their names.
    pub fault: String,
    /// The shape of Redis.
    pub shape: &'static str,
    /// The setting `redis.durability`.
    pub durability: String,
    /// The seed.
    pub seed: u64,
    /// What the journals show.
    pub verdict: Verdict,
    /// How long it was felt.
    pub times: Times,
    /// What it must not exceed, and did not or did.
    pub target: Option<Measured>,
    /// Where the journals and logs are, if they were kept.
    pub kept: Option<PathBuf>,
}

/// A promise in numbers, and what was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// What it is about.
    pub of: &'static str,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// How long it may take.
    pub within_ms: u64,
}

impl Measured {
    /// Was it kept?
    pub fn is_kept(&self) -> bool {
        self.took_ms <= self.within_ms
    }
}

/// Runs one experiment with these faults, which begin one after the other and overlap.
pub async fn run(options: &Options, faults: &[&Fault], seed: u64) -> Result<Experiment> {
    let names: Vec<&str> = faults.iter().map(|fault| fault.name).collect();
    let name = names.join("+");
    let directory = tempfile::Builder::new().prefix("fhircast-faults-").tempdir()?;
    let journals = Journals::begin(directory.path())?;
    let played = play(options, faults, seed, &journals).await;
    let (mut site, stuck) = played.with_context(|| format!("{name}, seed {seed}"))?;

    let read = read_all(directory.path())?;
    let mut verdict = judge(&read);
    verdict.findings.extend(stuck.into_iter().map(|detail| RunFinding {
        defect: Defect::Stuck,
        topic: String::new(),
        who: "the system".to_owned(),
        event: String::new(),
        detail,
    }));
    if faults.iter().any(|fault| fault.may_expel) {
        verdict.findings.retain(|finding| finding.defect != Defect::Expelled);
    }
    let times = times(&read).unwrap_or_default();
    let target = faults.first().filter(|_| faults.len() == 1).and_then(|fault| fault.target);
    let target = target.map(|target| Measured {
        of: target.of,
        took_ms: (target.measure)(&times) / 1000,
        within_ms: u64::try_from((target.within)(options.shape).as_millis()).unwrap_or(u64::MAX),
    });
    let mut kept = None;
    if options.keep_all || !verdict.findings.is_empty() {
        site.write_logs(directory.path())?;
        let to =
            options.keep.join(format!("{name}-{}-{}-{seed}", name_of(options.shape), options.durability));
        copy(directory.path(), &to, &verdict)?;
        kept = Some(to);
    }
    let (shape, durability) = (name_of(options.shape), options.durability.clone());
    Ok(Experiment { fault: name, shape, durability, seed, verdict, times, target, kept })
}

/// Answers with the site, and with what did not come to an end.
async fn play(
    options: &Options,
    faults: &[&Fault],
    seed: u64,
    journals: &Journals,
) -> Result<(Site, Vec<String>)> {
    let mut chance = Chance::new(seed);
    let first = faults.first().context("no fault")?;
    let mut size = first.size();
    size.clocks = faults.iter().any(|fault| fault.size().clocks);
    let load =
        faults.iter().map(|fault| fault.load(options)).max_by_key(|load| load.topics).context("no fault")?;
    let mut options = options.clone();
    let own = faults.iter().flat_map(|fault| fault.settings());
    options.settings.extend(own.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    let options = &options;
    let mut site = Site::start(options, size, journals.directory()).await?;
    let lab = journals.open("lab");
    let mut workload = Workload::start(&site, load, &chance.part(1), journals).await?;
    faults.iter().for_each(|fault| fault.prepare(&workload));
    workload.wait_served(EVENTS_BEFORE).await.context("before the fault")?;

    let mut broken = Vec::new();
    for fault in faults {
        tokio::time::sleep(Duration::from_millis(chance.below(BEGINS_WITHIN_MS))).await;
        if fault.breaks_anything() {
            lab.write(What::FaultBegins { fault: fault.name.to_owned(), rewinds: fault.rewinds });
        }
        let ends = Instant::now() + fault.lasts(options);
        broken.push((fault, fault.begin(&mut site, &workload, &mut chance).await?, ends));
    }
    // A process that is started again waits for its Redis.
    broken.sort_by_key(|(fault, _, ends)| (!fault.concerns_redis(), *ends));
    for (fault, broken, ends) in broken {
        tokio::time::sleep_until(ends).await;
        fault.end(&mut site, &workload, broken).await?;
        lab.write(What::FaultEnds { fault: fault.name.to_owned() });
    }

    let mut stuck = Vec::new();
    if let Err(error) = workload.wait_served(EVENTS_AFTER).await {
        stuck.push(format!("after the fault: {error}"));
    }
    if let Err(error) = workload.finish().await {
        stuck.push(format!("{error}"));
    }
    let without = workload.wait_last(DELIVERED_WITHIN).await;
    if !without.is_empty() {
        stuck.push(format!("the last event does not come to {}", without.join(", ")));
    }
    tokio::time::sleep(AFTERMATH).await;
    if let Err(error) = workload.read_contexts(&lab).await {
        stuck.push(format!("{error}"));
    }
    workload.stop().await;
    lab.flush();
    Ok((site, stuck))
}

/// Copies the files of an experiment, with its findings.
fn copy(from: &Path, to: &Path, verdict: &Verdict) -> Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    for file in std::fs::read_dir(from)? {
        let file = file?;
        std::fs::copy(file.path(), to.join(file.file_name()))?;
    }
    let findings: String = verdict.findings.iter().map(|finding| format!("{finding}\n")).collect();
    Ok(std::fs::write(to.join("findings.txt"), findings)?)
}
