//! A run of the suite: which checks, side by side, each in its time, and what came of them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::callbacks::CallbackHost;
use super::catalogue::{Level, RULES, Rule, Version};
use super::check::{Check, Failure, Outcome, Stop, Waits, fail, skip};
use super::hub::{Configuration, HubUnderTest, Timing};
use super::probe::Probe;
use super::selection::Selection;
use super::token::{Token, TokenSource};
use super::trace::{Line, Secrets, Trace};

/// What a run needs to know.
pub struct Options {
    /// `hub.url`.
    pub hub_url: String,
    /// `hub.url` of another node of the same hub.
    pub second_node: Option<String>,
    /// The token of every request.
    pub token: TokenSource,
    /// Where to listen for webhook callbacks.
    pub callback_listen: SocketAddr,
    /// The checks.
    pub selection: Selection,
    /// The version that the hub is held to; the one that it claims if this is `None`.
    pub spec: Option<Version>,
    /// How long things take.
    pub timing: Timing,
    /// The certificate authority to trust.
    pub ca: Option<PathBuf>,
    /// The origin of a page that the hub lets in.
    pub origin: Option<String>,
    /// How many checks run side by side, beside those that wait for a time-out.
    pub parallel_checks: usize,
}

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The rule is kept.
    Passed,
    /// A rule that must be kept is not.
    Failed(Failure),
    /// Another rule is not kept.
    Warned(Failure),
    /// It could not be seen whether it is; why.
    Skipped(String),
}

impl Verdict {
    fn of(outcome: Outcome, level: Option<Level>) -> Verdict {
        match outcome {
            Ok(()) => Verdict::Passed,
            Err(Stop::Skipped(reason)) => Verdict::Skipped(reason),
            Err(Stop::Failed(failure)) if level == Some(Level::Must) => Verdict::Failed(failure),
            Err(Stop::Failed(failure)) => Verdict::Warned(failure),
        }
    }

    /// `passed`, `failed`, `warned`, `skipped`.
    pub fn name(&self) -> &'static str {
        match self {
            Verdict::Passed => "passed",
            Verdict::Failed(_) => "failed",
            Verdict::Warned(_) => "warned",
            Verdict::Skipped(_) => "skipped",
        }
    }
}

/// A check that has been run, or skipped.
#[derive(Debug)]
pub struct Checked {
    /// Its rule.
    pub rule: &'static Rule,
    /// The rule's level in the version that the hub is held to; the latest one if it does not hold there.
    pub level: Level,
    /// Its name.
    pub name: &'static str,
    /// What came of it.
    pub verdict: Verdict,
    /// How long it took.
    pub took: Duration,
    /// What was said.
    pub exchange: Vec<Line>,
}

/// How many of each verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Passed.
    pub passed: usize,
    /// Failed.
    pub failed: usize,
    /// Warned.
    pub warned: usize,
    /// Skipped.
    pub skipped: usize,
}

/// A finished run.
#[derive(Debug)]
pub struct Run {
    /// The hub.
    pub hub_url: String,
    /// What it says that it implements.
    pub claimed_version: String,
    /// What it was held to.
    pub spec: Version,
    /// How long the run took.
    pub took: Duration,
    /// The checks, in the order of their rules.
    pub checks: Vec<Checked>,
    /// The rules that were asked for and have no check.
    pub unchecked: Vec<&'static Rule>,
}

impl Run {
    /// How many checks of this group ended how; of all groups if it is `None`.
    pub fn counts(&self, group: Option<&str>) -> Counts {
        let mut counts = Counts::default();
        for check in self.checks.iter().filter(|check| group.is_none_or(|group| check.rule.group() == group))
        {
            match check.verdict {
                Verdict::Passed => counts.passed += 1,
                Verdict::Failed(_) => counts.failed += 1,
                Verdict::Warned(_) => counts.warned += 1,
                Verdict::Skipped(_) => counts.skipped += 1,
            }
        }
        counts
    }

    /// 0 if every rule that must be kept is, else 1.
    pub fn exit_code(&self) -> u8 {
        u8::from(self.counts(None).failed > 0)
    }
}

/// Runs the checks. `progress` is told how many of how many are done. An error says in one line why there is nothing to
/// check, or no way to.
pub async fn run(options: Options, secrets: &Secrets, progress: impl Fn(usize, usize)) -> Result<Run> {
    let began = Instant::now();
    let url = options.hub_url.trim_end_matches('/').to_owned();
    let configuration = Configuration::of(&url, options.ca.as_ref()).await?;
    if let Some(second) = &options.second_node {
        Configuration::of(second.trim_end_matches('/'), options.ca.as_ref())
            .await
            .context("the second node")?;
    }
    let spec = options.spec.or(configuration.version()).unwrap_or(Version::V2_1_0Ballot);
    let claimed_version = configuration.json["fhircastVersion"].as_str().unwrap_or("nothing").to_owned();
    let app = HubUnderTest::app(&url, options.ca.as_ref())?;
    let hub = Arc::new(HubUnderTest {
        url: url.clone(),
        second_node: options.second_node,
        configuration,
        spec,
        timing: options.timing,
        token: Token::from(options.token, secrets).await?,
        secrets: secrets.clone(),
        ca: options.ca,
        origin: options.origin,
    });
    let callbacks = Arc::new(CallbackHost::listen(options.callback_listen).await?);
    let probe = |trace: Trace| Probe::new(hub.clone(), callbacks.clone(), app.clone(), trace);
    learn_whether_http_callbacks_are_taken(&probe(Trace::begin(secrets)), &callbacks).await;

    let chosen = options.selection.checks();
    // What waits begins first, and beside the others: it takes longest and does least.
    let slots = Arc::new(Semaphore::new(options.parallel_checks));
    let mut order: Vec<usize> = (0..chosen.len()).collect();
    order.sort_by_key(|index| chosen[*index].waits == Waits::No);
    let mut running = JoinSet::new();
    for index in order {
        let (check, slots) = (chosen[index], slots.clone());
        let probe = probe(Trace::begin(secrets));
        running.spawn(async move {
            // It is never closed; were it, the check would run all the same.
            let _slot = if check.waits == Waits::No { slots.acquire_owned().await.ok() } else { None };
            (index, run_one(check, probe).await)
        });
    }
    let mut checks: Vec<(usize, Checked)> = Vec::new();
    progress(0, chosen.len());
    while let Some(done) = running.join_next().await {
        checks.push(done.context("a check was lost")?);
        progress(checks.len(), chosen.len());
    }
    checks.sort_by_key(|(index, _)| *index);
    let checks = checks.into_iter().map(|(_, check)| check).collect();
    let unchecked = options.selection.unchecked();
    Ok(Run { hub_url: url, claimed_version, spec, took: began.elapsed(), checks, unchecked })
}

/// Most rules about webhooks can only be seen where the hub takes the callbacks that the suite has.
async fn learn_whether_http_callbacks_are_taken(probe: &Probe, callbacks: &CallbackHost) {
    let Ok(callback) = probe.callback() else { return };
    let topic = probe.topic();
    // Any other answer, or none, is for the checks to complain about.
    match probe.subscribe_webhook(&callback, &topic, "Patient-open", &[]).await {
        Ok(answer) if answer.status == 400 => callbacks.refused(&answer.body),
        Ok(answer) if answer.status < 300 => drop(probe.unsubscribe_webhook(&topic, &callback).await),
        _ => {}
    }
}

async fn run_one(check: Check, probe: Probe) -> Checked {
    let began = Instant::now();
    let probe = probe.begun();
    let (trace, spec, secrets) = (probe.trace.clone(), probe.spec(), probe.hub.secrets.clone());
    let rule = check.rule();
    let bound = check.waits.bound(probe.timing());
    let outcome = if rule.level(spec).is_none() {
        Err(skip(format!("the rule is not in {spec} (but in {})", rule.versions())))
    } else {
        // A task of its own: a check that panics is a failure, and the run goes on.
        let mut task = tokio::spawn((check.run)(probe));
        match tokio::time::timeout(bound, &mut task).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(panic)) => Err(fail("the check to come to its end", panic)),
            Err(_) => {
                task.abort();
                Err(fail(format!("the check to end within {bound:?}"), "it hangs, and was ended"))
            }
        }
    };
    let hide = |failure: Failure| Failure {
        expected: secrets.hide(&failure.expected),
        came: secrets.hide(&failure.came),
    };
    let verdict = match Verdict::of(outcome, rule.level(spec)) {
        Verdict::Failed(failure) => Verdict::Failed(hide(failure)),
        Verdict::Warned(failure) => Verdict::Warned(hide(failure)),
        Verdict::Skipped(reason) => Verdict::Skipped(secrets.hide(&reason)),
        Verdict::Passed => Verdict::Passed,
    };
    Checked {
        rule,
        level: rule.level(spec).unwrap_or(rule.latest_level()),
        name: check.name,
        verdict,
        took: began.elapsed(),
        exchange: trace.lines(),
    }
}

impl Check {
    /// Its rule.
    pub fn rule(&self) -> &'static Rule {
        // That every check names a rule is tested; the first one is no worse than none.
        Rule::find(self.rule).unwrap_or(&RULES[0])
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::conformance::check::check;
    use crate::conformance::report::sample;

    #[test]
    fn only_a_rule_that_must_be_kept_fails_the_run() {
        let failed = || Err(fail("a", "b"));
        assert_eq!(Verdict::of(failed(), Some(Level::Must)).name(), "failed");
        for level in [Level::Should, Level::Optional, Level::Beyond] {
            assert_eq!(Verdict::of(failed(), Some(level)).name(), "warned", "{level:?}");
        }
        assert_eq!(Verdict::of(Err(skip("c")), Some(Level::Must)), Verdict::Skipped("c".to_owned()));
        assert_eq!(Verdict::of(Ok(()), Some(Level::Must)), Verdict::Passed);
        let mut run = sample();
        assert_eq!((run.counts(None).failed, run.exit_code()), (1, 1));
        run.checks.retain(|check| !matches!(check.verdict, Verdict::Failed(_)));
        assert_eq!((run.counts(None).warned, run.exit_code()), (1, 0));
    }

    async fn hangs(_: Probe) -> Outcome {
        std::future::pending().await
    }

    async fn panics(_: Probe) -> Outcome {
        panic!("on purpose")
    }

    /// The verdict on this check of a hub that is held to 3.0.0 and must do everything at once.
    async fn verdict(check: Check) -> Verdict {
        let secrets = Secrets::default();
        let moment = Duration::from_millis(5);
        let hub = Arc::new(HubUnderTest {
            url: "http://127.0.0.1:1".to_owned(),
            second_node: None,
            configuration: Configuration { json: serde_json::json!({}) },
            spec: Version::V3_0_0,
            timing: Timing { timeout: moment, ack_timeout: moment, grace: moment },
            token: Token::from(TokenSource::None, &secrets).await.unwrap(),
            secrets: secrets.clone(),
            ca: None,
            origin: None,
        });
        let callbacks = CallbackHost::listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let app = HubUnderTest::app(&hub.url, None).unwrap();
        run_one(check, Probe::new(hub, Arc::new(callbacks), app, Trace::begin(&secrets))).await.verdict
    }

    #[tokio::test]
    async fn a_check_that_hangs_or_panics_is_a_failure_that_says_so() {
        for (check, said) in [
            (check!("FC-TRN-01", hangs), "it hangs"),
            (check!("FC-NOT-04", hangs, Waits::Grace), "it hangs"),
            (check!("FC-TRN-01", panics), "on purpose"),
        ] {
            match verdict(check).await {
                Verdict::Failed(failure) | Verdict::Warned(failure) => {
                    assert!(failure.came.contains(said), "{failure:?}");
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_rule_of_other_versions_is_skipped_and_they_are_named() {
        let skipped = verdict(check!("FC-EVT-06", panics)).await;
        let reason = "the rule is not in 3.0.0 (but in 2.0.0, 2.1.0-ballot)".to_owned();
        assert_eq!(skipped, Verdict::Skipped(reason));
    }
}
