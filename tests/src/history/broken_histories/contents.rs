//! Versions, bytes, signatures and the current context.

use super::story::*;

#[test]
fn a_version_is_one_events_alone() {
    let run = ["all", "reports", "called"]
        .iter()
        .fold(Run::sound(), |run, who| run.changed(who, "r1", "\"v2\"", "\"v1\""));
    assert!(run.verdict().count(Version) > 0);
}

#[test]
fn an_update_names_the_version_before_it() {
    let run = ["all", "reports", "called"]
        .iter()
        .fold(Run::sound(), |run, who| run.changed(who, "r4", "\"v3\"", "\"v2\""));
    run.shows(&["all", "reports", "called"].map(|who| (Version, who, "r4")));
}

#[test]
fn one_event_has_one_version_on_every_connection() {
    let mut run = Run::sound();
    let again = run.places("all", "r2")[1];
    if let What::Frame { text } = &mut run.lines("all")[again].what {
        *text = text.replace("\"v3\"", "\"v9\"");
    }
    run.shows(&[(Version, "all", "r2"), (Different, "all", "r2")]);
}

#[test]
fn an_open_without_a_version_is_found() {
    let run =
        ["all", "called"].iter().fold(Run::sound(), |run, who| run.changed(who, "e1", "\"v1\"", "null"));
    run.shows(&[(Version, "all", "e1"), (Version, "called", "e1")]);
}

#[test]
fn two_subscribers_that_were_sent_different_bytes_are_found() {
    Run::sound().changed("called", "r3", "\"T\"", "\"t\"").shows(&[(Different, "called", "r3")]);
}

#[test]
fn the_hubs_must_agree_on_the_current_context() {
    Run::sound().context(1, "v4", "v3").shows(&[(Context, "hub 1", "")]);
}

#[test]
fn the_current_context_is_what_the_events_imply() {
    let both = |from: &str, to: &str| Run::sound().context(0, from, to).context(1, from, to);
    for (from, to) in [("v4", "v3"), ("DiagnosticReport", "Patient"), ("\"r2\"", "\"r9\"")] {
        both(from, to).shows(&[(Context, "hub 0", "")]);
    }
}

#[test]
fn a_notification_that_is_not_signed_as_agreed_is_found() {
    let mut run = Run::sound();
    let place = run.places("called", "r3")[0];
    if let What::Request { signed, .. } = &mut run.lines("called")[place].what {
        *signed = false;
    }
    run.shows(&[(Unsigned, "called", "r3")]);
}
