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
    sends: Sends,
    expected: Expected,
}

/// What is done.
enum Sends {
    /// These bytes, on a connection of their own, as a request.
    Bytes(fn(&World) -> Vec<u8>),
    /// These bytes, on a socket of the attacker's own.
    Frames(fn(&World) -> Vec<u8>),
    /// Whatever else; the steps themselves see what comes of it.
    Steps(for<'w> fn(&'w World) -> BoxFuture<'w, Result<Came>>),
}

/// What must come of it.
enum Expected {
    /// One answer and no other: this status, and a text that holds this.
    Answer(u16, &'static str),
    /// A refusal of whoever reads HTTP or WebSocket: 400, or that the hub hangs up.
    NoAnswerBut400,
    /// The socket is closed with this code.
    Closed(u16),
    /// What the steps have seen to.
    AsSeen,
}

/// What came of it.
enum Came {
    Answers(Vec<RawAnswer>),
    Close(Option<u16>),
    Seen,
}

impl Attack {
    async fn run(&self, world: &World) -> Result<()> {
        let came = match &self.sends {
            Sends::Bytes(bytes) => {
                let mut raw = Raw::connect(world.url(), ATTACKER).await?;
                say(&mut raw, &bytes(world)).await;
                let mut answers: Vec<RawAnswer> = raw.next(PATIENCE).await?.into_iter().collect();
                answers.extend(raw.answers(SILENCE).await);
                Came::Answers(answers)
            }
            Sends::Frames(bytes) => {
                let mut raw = Raw::upgrade(&world.own_endpoint().await?, ATTACKER).await?;
                say(&mut raw, &bytes(world)).await;
                Came::Close(raw.close_code(PATIENCE).await)
            }
            Sends::Steps(steps) => steps(world).await?,
        };
        match (&self.expected, came) {
            (Expected::Answer(status, text), Came::Answers(answers)) => {
                let [answer] = answers.as_slice() else { bail!("one answer is expected: {answers:?}") };
                ensure!(
                    answer.status == *status && answer.body().contains(text),
                    "{status} {text:?} is expected: {answer:?}"
                );
                world.ensure_silent_on_secrets(answer)
            }
            (Expected::NoAnswerBut400, Came::Answers(answers)) => {
                ensure!(
                    answers.len() <= 1 && answers.iter().all(|answer| answer.status == 400),
                    "{answers:?}"
                );
                Ok(())
            }
            (Expected::Closed(code), Came::Close(came)) => {
                ensure!(came == Some(*code), "a close with {code} is expected, not {came:?}");
                Ok(())
            }
            (Expected::AsSeen, _) => Ok(()),
            _ => bail!("the row expects what its attack cannot give"),
        }
    }
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
