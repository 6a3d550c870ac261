//! The table of attacks: what is sent, and what comes of it.
//!
//! All rows run against one cluster with authentication, side by side, while an app beside them publishes and listens as
//! on any other day: it must be answered within a second throughout, and nobody else may say a word in its session.
//! A row's `rule` is what it would break.

mod bodies;
mod callbacks;
mod crowds;
mod endpoints;
mod floods;
mod framing;
mod headers;
mod paths;
mod sockets;
mod tokens;
mod topics;
mod victim;
mod world;

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use futures_util::{StreamExt, future::BoxFuture, stream};
use harness::{
    attack::{
        ATTACKER,
        raw::{Raw, RawAnswer},
    },
    wait::PATIENCE,
};

use self::{
    victim::Victim,
    world::{World, say},
};

/// Rows that run at once.
const AT_ONCE: usize = 12;
/// How long a connection may be silent until nothing more is expected on it.
const SILENCE: Duration = Duration::from_millis(150);

/// One row of the table.
struct Attack {
    name: &'static str,
    /// The rule that it would break.
    rule: &'static str,
    does: Does,
}

type Bytes = fn(&World) -> Vec<u8>;

/// What is done, and what must come of it.
enum Does {
    /// These bytes, on a connection of their own. One answer and no other: this status, and a text that holds this.
    Ask(Bytes, u16, &'static str),
    /// The same, of which whoever reads HTTP must make nothing: 400, or the hub hangs up.
    Confuse(Bytes),
    /// These bytes, on a socket of the attacker's own, which is closed with this code.
    Say(Bytes, u16),
    /// Whatever else; the steps themselves see what comes of it.
    Steps(for<'w> fn(&'w World) -> BoxFuture<'w, Result<()>>),
}

/// A request that is answered with this status, and a text that holds this.
fn ask(name: &'static str, rule: &'static str, bytes: Bytes, status: u16, text: &'static str) -> Attack {
    Attack { name, rule, does: Does::Ask(bytes, status, text) }
}

/// Steps that see themselves what comes of them.
macro_rules! steps {
    ($name:literal, $rule:literal, |$world:pat_param| $steps:expr) => {
        $crate::attacks::Attack {
            name: $name,
            rule: $rule,
            does: $crate::attacks::Does::Steps(|$world| Box::pin(async move { $steps.await })),
        }
    };
}
use steps;

impl Attack {
    async fn run(&self, world: &World) -> Result<()> {
        match &self.does {
            Does::Ask(bytes, status, text) => {
                let answers = answers(world, bytes).await?;
                let [answer] = answers.as_slice() else { bail!("one answer is expected: {answers:?}") };
                ensure!(
                    answer.status == *status && answer.body().contains(text),
                    "{status} {text:?} is expected: {answer:?}"
                );
                world.ensure_silent_on_secrets(answer)
            }
            Does::Confuse(bytes) => {
                let answers = answers(world, bytes).await?;
                ensure!(
                    answers.len() <= 1 && answers.iter().all(|answer| answer.status == 400),
                    "{answers:?}"
                );
                Ok(())
            }
            Does::Say(bytes, code) => {
                let mut raw = Raw::upgrade(&world.own_endpoint().await?, ATTACKER).await?;
                say(&mut raw, &bytes(world)).await;
                let came = raw.close_code(PATIENCE).await;
                ensure!(came == Some(*code), "a close with {code} is expected, not {came:?}");
                Ok(())
            }
            Does::Steps(steps) => steps(world).await,
        }
    }
}

/// All that is answered to these bytes, on a connection of their own.
async fn answers(world: &World, bytes: &Bytes) -> Result<Vec<RawAnswer>> {
    let mut raw = Raw::connect(world.url(), ATTACKER).await?;
    say(&mut raw, &bytes(world)).await;
    let mut answers: Vec<RawAnswer> = raw.next(PATIENCE).await?.into_iter().collect();
    answers.extend(raw.answers(SILENCE).await);
    Ok(answers)
}

/// All rows.
fn table() -> Vec<Attack> {
    [
        // The slowest first: they take their time, and the others need not wait for it.
        floods::rows(),
        framing::rows(),
        headers::rows(),
        paths::rows(),
        bodies::rows(),
        topics::rows(),
        tokens::rows(),
        endpoints::rows(),
        callbacks::rows(),
        sockets::rows(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_attack_gets_through_while_an_app_is_served_beside_it() {
    let _alone = crowds::ATTACK.lock().await;
    let world = World::start().await.unwrap();
    let victim = Victim::start(&world).await.unwrap();
    let rows = table();
    let running = rows.iter().map(|attack| {
        let world = &world;
        async move { (attack, attack.run(world).await) }
    });
    let outcomes: Vec<_> = stream::iter(running).buffer_unordered(AT_ONCE).collect().await;
    let failed = outcomes.iter().filter_map(|(attack, outcome)| {
        let error = outcome.as_ref().err()?;
        Some(format!("{}: {}: {error:#}", attack.rule, attack.name))
    });
    let mut failed: Vec<String> = failed.collect();
    failed.extend(victim.end().await.err().map(|error| format!("the app beside it: {error:#}")));
    failed.extend(world.ensure_clean_logs().err().map(|error| format!("the logs: {error:#}")));
    assert!(failed.is_empty(), "{} of {} rows:\n{}", failed.len(), rows.len(), failed.join("\n"));
}

#[test]
fn rows_have_names_of_their_own_and_a_rule() {
    let rows = table();
    let mut names: Vec<_> = rows.iter().map(|row| row.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), rows.len());
    assert!(rows.iter().all(|row| row.rule.starts_with("FC-")), "a rule of the catalogue");
}
