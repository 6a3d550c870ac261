//! Losses that were announced, and what an announcement explains.

use super::story::*;

#[test]
fn a_loss_is_announced_only_to_who_was_told_of_it() {
    let gone = || Run::sound().rewinding().without("all", "r3").without("reports", "r3");
    let verdict = gone().with("all", "r4", &lost("l1")).shows(&[(Lost, "reports", "r3")]);
    assert_eq!(verdict.announced, 1);
    let verdict = gone().with("all", "r4", &lost("l1")).with("reports", "r4", &lost("l2")).shows(&[]);
    assert_eq!(verdict.announced, 2);
}

#[test]
fn an_announcement_excuses_nothing_that_was_sent_after_it_or_long_before_the_fault() {
    let early = Run::sound().rewinding().with("all", "e1", &lost("l1")).without("all", "r3");
    early.shows(&[(Lost, "all", "r3")]);
    let mut late = Run::sound().rewinding().with("all", "r4", &lost("l1")).without("all", "r3");
    late.lines("lab")[0].at = time("r3") + 3 * SECOND;
    late.shows(&[(Lost, "all", "r3")]);
}

#[test]
fn who_has_lost_its_connection_has_announced_nothing() {
    let gone = sync_error("s1", "Acme", "", "Acme has lost its connection and did not come back");
    Run::sound().with_everywhere("r4", &gone).without("all", "r3").shows(&[(Lost, "all", "r3")]);
}

#[test]
fn a_callbacks_cursor_may_go_back_with_redis_and_only_then() {
    let again = |id: &str| Run::sound().with("called", "e2", &notification(id));
    let rewound = || again("r2").with("called", "r2", &notification("e2"));
    rewound().shows(&[(Duplicated, "called", "r2"), (Duplicated, "called", "e2")]);
    let verdict = rewound().rewinding().shows(&[]);
    assert_eq!(verdict.repeated, 4);
    again("r2").rewinding().shows(&[(Disordered, "called", "r3")]);
    let twice = rewound().with("called", "r4", &notification("r3"));
    twice.rewinding().shows(&[(Duplicated, "called", "r3")]);
    let socket = Run::sound().with("reports", "r4", &notification("r3"));
    socket.rewinding().shows(&[(Duplicated, "reports", "r3")]);
}

#[test]
fn what_is_open_may_come_again_after_a_loss_was_announced() {
    let replay = || Run::sound().rewinding().with("reports", "r3", &notification("r1"));
    replay().shows(&[(Duplicated, "reports", "r1")]);
    replay().with("reports", "r2", &lost("l1")).shows(&[]);
    let opened_after_it = Run::sound().rewinding().with("all", "e1", &lost("l1"));
    opened_after_it.with("all", "e2", &notification("r1")).shows(&[]);
    let much_later = Run::sound().rewinding().with("all", "e1", &lost("l1"));
    much_later.with("all", "r4", &notification("r1")).shows(&[(Duplicated, "all", "r1")]);
    let no_open = Run::sound().rewinding().with("all", "e1", &lost("l1"));
    no_open.with("all", "e2", &notification("r2")).shows(&[(Duplicated, "all", "r2")]);
}

#[test]
fn a_loss_is_announced_only_where_something_can_have_been_lost() {
    Run::sound().with("all", "r4", &lost("l1")).shows(&[(Unfounded, "all", "l1")]);
    Run::sound().rewinding().with("all", "r4", &lost("l1")).shows(&[]);
}

#[test]
fn who_asks_for_no_sync_errors_is_judged_by_what_the_others_were_told() {
    let deaf = |mut run: Run| {
        let lines = [connected(2 * SECOND).to_vec(), frames(0, &["e1", "r1", "last"])].concat();
        run.0.push(reader("deaf", &format!("*-open,{LAST}"), Channel::Websocket, lines));
        run
    };
    let sound = || deaf(Run::sound().rewinding());
    sound().shows(&[]);
    let replayed = || sound().with("deaf", "r1", &notification("e1"));
    replayed().shows(&[(Duplicated, "deaf", "e1")]);
    replayed().with("all", "r2", &lost("l1")).shows(&[]);
    sound().without("deaf", "r1").shows(&[(Lost, "deaf", "r1")]);
    sound().without("deaf", "r1").with("all", "r2", &lost("l1")).shows(&[]);
}

#[test]
fn a_callback_that_went_back_with_redis_may_leave_out_what_it_was_told_is_lost() {
    let went_back = || Run::sound().rewinding().with("called", "e2", &notification("r1"));
    went_back().shows(&[(Disordered, "called", "r3")]);
    went_back().with("called", "r1", &lost("l1")).shows(&[]);
}

#[test]
fn two_workers_on_two_primaries_may_confuse_a_callback_until_it_is_told_of_the_loss() {
    let confused =
        || Run::sound().with("called", "e2", &notification("r1")).with("called", "r3", &notification("e2"));
    confused().shows(&[(Duplicated, "called", "e2"), (Duplicated, "called", "r1")]);
    assert!(confused().rewinding().verdict().count(Disordered) > 0);
    confused().rewinding().with("called", "r4", &lost("l1")).shows(&[]);
}

#[test]
fn of_two_histories_an_event_may_have_two_versions_for_who_is_told_and_two_announcements() {
    let in_two = || {
        let run = Run::sound().changed("called", "e1", "\"v1\"", "\"w1\"");
        run.with("all", "r2", &lost("l1")).with("all", "r4", &lost("l2"))
    };
    assert_eq!(in_two().verdict().count(Different), 1);
    let run = in_two().rewinding();
    run.shows(&[]);
    let often = ["l3", "l4", "l5"].iter().fold(run, |run, id| run.with("all", "r4", &lost(id)));
    often.shows(&[(DoubleSyncError, "all", "")]);
}

#[test]
fn what_was_refused_may_have_been_seen_in_a_history_that_was_lost_by_who_is_told() {
    let refused = || {
        let only_called = Run::sound().without("all", "e2").answered("p", "e2", Some(409));
        only_called.with("all", "r4", &lost("l1"))
    };
    refused().rewinding().shows(&[(Unknown, "called", "e2")]);
    refused().rewinding().with("called", "r3", &lost("l1")).shows(&[]);
}
