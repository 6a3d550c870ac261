//! That the checks of the conformance suite can fail: each of two deliberately wrong hubs breaks one rule at a time, and
//! the suite says so.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use harness::conformance::hub::Timing;
use harness::conformance::run::{Options, Run, Verdict, run};
use harness::conformance::selection::Selection;
use harness::conformance::token::TokenSource;
use harness::conformance::trace::Secrets;
use harness::distorting_proxy::{DistortingProxy, Distortion};
use harness::system::Hub;
use harness::wrong_hub::{TOKEN_COMMAND, Wrong, WrongHub};

/// How many wrong hubs are checked at once.
const AT_ONCE: usize = 8;

/// What the hub behind the proxy is told, and the suite with it.
const ACK_TIMEOUT_SECS: &str = "1";
const GRACE_SECS: &str = "2";
const HEARTBEAT_SECS: &str = "3";
const PING_SECS: &str = "2";

/// The origin that it lets in.
const ORIGIN: &str = "https://viewer.example";

/// What no check can see from outside: only a hub that is stopped shows it.
const UNSEEN: &[Distortion] = &[Distortion::GoingAwayWith1000];

/// How long what must come is waited for: of a hub that does nothing wrong it may be late on a busy machine; of one that
/// is wrong it need not be waited for long.
const PATIENT: Duration = Duration::from_secs(15);
const BRISK: Duration = Duration::from_secs(2);

/// Checks the rules of these ids.
async fn check(hub_url: &str, token: TokenSource, rules: &[&str], timeout: Duration) -> Run {
    let rules: Vec<String> = rules.iter().map(|rule| (*rule).to_owned()).collect();
    let options = Options {
        hub_url: hub_url.to_owned(),
        second_node: None,
        token,
        callback_listen: ([127, 0, 0, 1], 0).into(),
        selection: Selection::of(&rules).unwrap(),
        spec: None,
        timing: Timing { timeout, ack_timeout: Duration::from_secs(1), grace: Duration::from_secs(2) },
        ca: None,
        origin: Some(ORIGIN.into()),
        parallel_checks: 8,
    };
    run(options, &Secrets::default(), |_, _| {}).await.unwrap()
}

/// Tokens of the wrong hub, as narrow as they are wanted.
fn narrowing() -> TokenSource {
    TokenSource::Command { line: TOKEN_COMMAND.to_owned(), narrows: true }
}

/// What the suite says that is not as it should be, of any level.
fn complaints(run: &Run) -> Vec<String> {
    let complaint = |check: &harness::conformance::run::Checked| match &check.verdict {
        Verdict::Failed(failure) | Verdict::Warned(failure) => Some(format!(
            "{} {}: expected {}, came {}",
            check.rule.id, check.name, failure.expected, failure.came
        )),
        Verdict::Passed | Verdict::Skipped(_) => None,
    };
    run.checks.iter().filter_map(complaint).collect()
}

/// Those of which the suite did not notice that they break their rule.
async fn unnoticed<W: Copy>(
    wrongs: &[W],
    describe: impl Fn(W) -> (String, &'static str),
    run: impl AsyncFn(W, &'static str) -> Run,
) -> Vec<String> {
    let outcomes = stream::iter(wrongs).map(|wrong| {
        let (name, rule) = describe(*wrong);
        let run = &run;
        async move { complaints(&run(*wrong, rule).await).is_empty().then_some(format!("{rule} {name}")) }
    });
    outcomes.buffer_unordered(AT_ONCE).filter_map(async |found| found).collect().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_hub_that_conforms_passes_and_fails_each_rule_that_it_breaks() {
    let rules: BTreeSet<&str> = Wrong::ALL.iter().map(|wrong| wrong.rule()).collect();
    let rules: Vec<&str> = rules.into_iter().collect();
    assert!(rules.len() >= 20, "rules that are shown to fail: {rules:?}");
    let right = WrongHub::start(Wrong::Nothing).unwrap();
    let run = check(right.url(), TokenSource::None, &rules, PATIENT).await;
    assert_eq!(complaints(&run), [""; 0], "a hub that does nothing wrong");
    let secured = WrongHub::start_secured(Wrong::Nothing).unwrap();
    let run = check(secured.url(), narrowing(), &rules, PATIENT).await;
    assert_eq!(complaints(&run), [""; 0], "a hub that wants tokens and does nothing wrong");

    let describe = |wrong: Wrong| (format!("{wrong:?}: {}", wrong.what()), wrong.rule());
    let run = async |wrong: Wrong, rule: &'static str| {
        if wrong.is_about_tokens() {
            let hub = WrongHub::start_secured(wrong).unwrap();
            return check(hub.url(), narrowing(), &[rule], BRISK).await;
        }
        let hub = WrongHub::start(wrong).unwrap();
        check(hub.url(), TokenSource::None, &[rule], BRISK).await
    };
    let unnoticed = unnoticed(Wrong::ALL, describe, run).await;
    assert_eq!(unnoticed, [""; 0], "what the suite did not notice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn this_hub_passes_through_a_proxy_and_fails_each_rule_that_the_proxy_breaks() {
    let hub = Hub::start_embedded(&[
        ("ack_timeout_secs", ACK_TIMEOUT_SECS),
        ("reconnect_grace_secs", GRACE_SECS),
        ("heartbeat_secs", HEARTBEAT_SECS),
        ("ping_secs", PING_SECS),
        ("retry.initial_secs", "0.1"),
        ("cors.allowed_origins", ORIGIN),
    ])
    .await
    .unwrap();
    let seen = Distortion::ALL.iter().copied().filter(|distortion| !UNSEEN.contains(distortion));
    let seen: Vec<Distortion> = seen.collect();
    let rules: BTreeSet<&str> = seen.iter().map(|distortion| distortion.rule()).collect();
    let rules: Vec<&str> = rules.into_iter().collect();
    let truthful = DistortingProxy::start(hub.url(), Distortion::None).unwrap();
    let run = check(truthful.url(), TokenSource::None, &rules, PATIENT).await;
    assert_eq!(complaints(&run), [""; 0], "a proxy that changes nothing");

    let describe =
        |distortion: Distortion| (format!("{distortion:?}: {}", distortion.what()), distortion.rule());
    let run = async |distortion: Distortion, rule: &'static str| {
        let proxy = DistortingProxy::start(hub.url(), distortion).unwrap();
        check(proxy.url(), TokenSource::None, &[rule], BRISK).await
    };
    let unnoticed = unnoticed(&seen, describe, run).await;
    assert_eq!(unnoticed, [""; 0], "what the suite did not notice");
}
