//! Events that are lost, twice, out of order or from nowhere, and who is owed what.

use super::story::*;

#[test]
fn a_sound_history_is_found_sound() {
    let verdict = Run::sound().shows(&[]);
    assert_eq!((verdict.accepted, verdict.reconnects, verdict.repeated), (7, 1, 2));
}

#[test]
fn an_accepted_event_that_one_did_not_see_is_lost() {
    Run::sound().without("called", "e2").shows(&[(Lost, "called", "e2")]);
    Run::sound().without("all", "e1").shows(&[(Lost, "all", "e1")]);
}

#[test]
fn who_did_not_ask_for_an_event_is_not_owed_it() {
    assert!(Run::sound().places("reports", "e1").is_empty());
}

#[test]
fn what_all_have_lost_is_lost_for_each() {
    let run = Run::sound().without("all", "r3").without("reports", "r3").without("called", "r3");
    run.shows(&[(Lost, "all", "r3"), (Lost, "reports", "r3"), (Lost, "called", "r3")]);
}

#[test]
fn an_event_without_an_answer_may_be_seen_by_all_or_by_none_and_not_by_some() {
    let uncertain = || Run::sound().answered("q", "r3", None);
    uncertain().shows(&[]);
    uncertain().without("all", "r3").without("reports", "r3").without("called", "r3").shows(&[]);
    uncertain().without("called", "r3").shows(&[(Disagreed, "called", "r3")]);
}

#[test]
fn an_event_that_nobody_sent_or_that_was_refused_is_seen_by_nobody() {
    let nobodys =
        json!({"id": "x", "timestamp": "T", "event": {"hub.event": "org.example.x", "context": []}});
    Run::sound().with("reports", "r4", &nobodys).shows(&[(Unknown, "reports", "x")]);
    let each = ["all", "reports", "called"].map(|who| (Unknown, who, "r3"));
    let refused = (Refused, "q", "r3");
    Run::sound().answered("q", "r3", Some(409)).shows(&[&each[..], &[refused]].concat());
}

#[test]
fn two_orders_are_found() {
    Run::sound().exchanged("called", "e1", "r1").shows(&[(Disordered, "called", "e1")]);
}

#[test]
fn the_order_of_a_publisher_binds_though_all_saw_another_one() {
    let run =
        ["all", "reports", "called"].iter().fold(Run::sound(), |run, who| run.exchanged(who, "r3", "r4"));
    assert!(run.verdict().count(Disordered) > 0);
}

#[test]
fn an_event_that_comes_again_without_a_resume_is_a_duplicate() {
    Run::sound().with("reports", "r4", &notification("r3")).shows(&[(Duplicated, "reports", "r3")]);
    Run::sound().with("called", "r4", &notification("r2")).shows(&[(Duplicated, "called", "r2")]);
}

#[test]
fn a_callback_is_tried_again_only_when_it_has_not_answered_or_something_broke() {
    let unbroken = || {
        let mut run = Run::sound();
        run.lines("lab").remove(0);
        run
    };
    unbroken().shows(&[]);
    let successful = |mut run: Run| {
        let place = run.places("called", "r2")[0];
        set_answer(&mut run.lines("called")[place], 200);
        run
    };
    successful(unbroken()).shows(&[(Duplicated, "called", "r2")]);
    successful(Run::sound()).shows(&[]);
}

#[test]
fn what_was_sent_again_after_it_had_been_forgotten_may_come_again() {
    let verdict = Run::sound().sent_before("p", "e1", 100).with("all", "r4", &notification("e1")).shows(&[]);
    assert_eq!(verdict.repeated, 3);
    let too_soon = Run::sound().sent_before("p", "e1", 100).with("all", "r2", &notification("e1"));
    too_soon.shows(&[(Duplicated, "all", "e1")]);
}

#[test]
fn a_refusal_needs_a_reason() {
    let gone = || Run::sound().without("all", "e2").without("called", "e2");
    gone().answered("p", "e2", Some(409)).shows(&[(Refused, "p", "e2")]);
    gone().answered("p", "e2", Some(400)).shows(&[(Refused, "p", "e2")]);
    gone().sent_before("p", "e2", 100).shows(&[(Lost, "all", "e2"), (Lost, "called", "e2")]);
    let mut resent = gone().sent_before("p", "e2", 100);
    let places = resent.places("p", "e2");
    if let What::Attempt { status, .. } = &mut resent.lines("p")[places[1]].what {
        *status = Some(409);
    }
    resent.shows(&[]);
}

#[test]
fn a_subscription_that_was_ended_is_found_and_owed_nothing_more() {
    let mut run = Run::sound();
    let place = run.places("reports", "r3")[0];
    run.lines("reports").truncate(place + 1);
    let denied = json!({"hub.mode": "denied", "hub.topic": "t", "hub.reason": "because"});
    run.lines("reports").push(frame(time("r3") + 20_000, &denied));
    run.shows(&[(Expelled, "reports", ""), (Stuck, "reports", "")]);
    let run = run.without("reports", "r2");
    run.shows(&[(Expelled, "reports", ""), (Stuck, "reports", ""), (Lost, "reports", "r2")]);
}

#[test]
fn a_second_subscription_is_owed_what_is_sent_after_its_confirmation_and_may_be_sent_what_is_open() {
    let mut run = Run::sound();
    let place = run.places("reports", "r3")[0];
    let ended = Line { at: time("r2") + 20_000, what: What::Ended { how: "404".to_owned() } };
    let again = Line { at: time("r2") + 30_000, what: What::Subscribed };
    let [connected, confirmed] = connected(time("r2") + 40_000);
    let replay = frame(time("r2") + 50_000, &notification("r1"));
    run.lines("reports").splice(place..place, [ended, again, connected, confirmed, replay]);
    run.shows(&[(Expelled, "reports", "")]);
    let run = run.without("reports", "r3");
    run.shows(&[(Expelled, "reports", ""), (Lost, "reports (subscription 2)", "r3")]);
}

#[test]
fn who_never_got_the_last_event_is_stuck() {
    let run = Run::sound().without("reports", "last");
    run.shows(&[(Lost, "reports", "last"), (Stuck, "reports", "")]);
}
