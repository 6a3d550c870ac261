//! The runs of the checker: the design keeps its promises, and without any part of it does not.

use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model};

use super::{
    promises::{ALL_ARRIVES, LOSS_IS_TOLD, NO_GAP, NOTHING_LOST, NOTHING_STALE, ONE_BEARER, ONE_OWNER},
    setup::{Channel, Cures, Setup, fault},
};

const THREADS: usize = 2;
const SOCKETS: [Channel; 2] = [Channel::Socket; 2];

/// Looks at every state.
fn keeps(setup: Setup) {
    let since = Instant::now();
    let checker = setup.clone().checker().threads(THREADS).finish_when(HasDiscoveries::AnyFailures);
    let checker = checker.spawn_bfs().join();
    let (unique, steps) = (checker.unique_state_count(), checker.state_count());
    eprintln!("{unique} states, {steps} steps, {:?}: {setup:?}", since.elapsed());
    checker.assert_properties();
}

/// Looks until this promise is broken.
fn breaks(setup: Setup, promise: &'static str) {
    let until = HasDiscoveries::AnyOf([promise].into());
    let checker = setup.clone().checker().threads(THREADS).finish_when(until).spawn_bfs().join();
    let unique = checker.unique_state_count();
    let found =
        checker.discovery(promise).unwrap_or_else(|| panic!("{promise}, in all {unique} states: {setup:?}"));
    eprintln!("after {unique} states, without {promise:?}: {:?}", found.into_actions());
}

/// Without one of the cures.
fn without(leave_out: impl Fn(&mut Cures), setup: Setup) -> Setup {
    let mut cures = setup.cures;
    leave_out(&mut cures);
    Setup { cures, ..setup }
}

const fn failover() -> Setup {
    Setup { events: [1, 1], ..Setup::new(1, fault::FAILOVER) }
}

#[test]
fn no_single_fault_breaks_a_promise() {
    keeps(Setup::new(1, fault::ALL));
    keeps(Setup { readers: SOCKETS, ..Setup::new(1, fault::ALL) });
}

#[test]
fn no_two_faults_of_which_none_is_a_failover_break_a_promise() {
    keeps(Setup::new(2, fault::ALL & !fault::FAILOVER));
    keeps(Setup { readers: SOCKETS, ..Setup::new(2, fault::ALL & !fault::FAILOVER) });
}

#[test]
fn no_failover_with_a_lost_bell_or_answer_breaks_a_promise() {
    let may_fail = fault::FAILOVER | fault::LOST_BELL | fault::LOST_ANSWER;
    keeps(Setup { readers: SOCKETS, events: [2, 0], ..Setup::new(2, may_fail) });
}

#[test]
fn nothing_is_lost_that_two_servers_have() {
    let may_fail = fault::FAILOVER | fault::HUB_CRASH;
    let waits = Setup { waits_for_replica: true, ..Setup::new(2, may_fail) };
    keeps(Setup { readers: SOCKETS, events: [1, 0], ..waits });
}

#[test]
fn a_primary_that_lives_on_breaks_no_promise() {
    keeps(Setup { readers: SOCKETS, events: [2, 0], old_primary_lives: true, ..failover() });
}

/// These and the next take a minute in a release build; `make faults` runs them.
#[test]
#[cfg_attr(not(feature = "thorough"), ignore = "it takes a minute in a release build: make faults")]
fn no_two_faults_break_a_promise() {
    let setup = Setup { events: [1, 1], ..Setup::new(2, fault::WITHOUT_CRASHES & !fault::TRIM) };
    keeps(Setup { readers: SOCKETS, ..setup.clone() });
    keeps(Setup { events: [2, 0], ..setup });
    let waits = Setup { waits_for_replica: true, ..Setup::new(2, fault::ALL & !fault::TRIM) };
    keeps(Setup { events: [2, 0], ..waits });
    let lives_on = Setup { old_primary_lives: true, ..failover() };
    keeps(Setup { readers: SOCKETS, ..lives_on.clone() });
    keeps(Setup { events: [2, 0], ..lives_on });
}

#[test]
#[cfg_attr(not(feature = "thorough"), ignore = "it takes a minute in a release build: make faults")]
fn the_reduction_hides_nothing() {
    keeps(Setup { is_thorough: true, readers: SOCKETS, ..Setup::new(1, fault::ALL) });
    keeps(Setup { is_thorough: true, ..failover() });
}

/// The limit of what is promised with one server: nobody is left who knows.
#[test]
fn an_event_that_only_its_hub_knew_of_is_lost_in_silence_with_both() {
    let both = Setup { events: [1, 1], ..Setup::new(2, fault::FAILOVER | fault::HUB_CRASH) };
    breaks(Setup { readers: SOCKETS, ..both }, LOSS_IS_TOLD);
}

#[test]
fn without_histories_in_positions_two_events_have_one() {
    breaks(without(|cures| cures.history_in_positions = false, failover()), ONE_BEARER);
}

#[test]
fn without_predecessors_a_lost_bell_is_a_gap() {
    let setup = Setup { readers: SOCKETS, ..Setup::new(1, fault::LOST_BELL) };
    breaks(without(|cures| cures.predecessors = false, setup), NO_GAP);
}

#[test]
fn without_a_fence_an_old_claim_and_an_old_connection_move_the_cursor() {
    breaks(without(|cures| cures.fence = false, Setup::new(1, fault::STALL)), ONE_OWNER);
    let cut = Setup { readers: SOCKETS, ..Setup::new(1, fault::CUT) };
    breaks(without(|cures| cures.fence = false, cut), ONE_OWNER);
}

#[test]
fn without_a_look_at_the_heads_the_last_bell_may_not_be_lost() {
    let setup = Setup::new(1, fault::LOST_BELL);
    breaks(without(|cures| cures.look_at_heads = false, setup), ALL_ARRIVES);
}

#[test]
fn without_witnesses_an_event_is_lost_in_silence() {
    breaks(without(|cures| cures.witnesses = false, failover()), LOSS_IS_TOLD);
}

#[test]
fn without_witnesses_of_resends_an_event_that_was_sent_twice_is_lost_in_silence() {
    breaks(without(|cures| cures.witnesses_of_resends = false, failover()), LOSS_IS_TOLD);
}

#[test]
fn without_contexts_for_all_a_webhook_keeps_what_is_lost() {
    breaks(without(|cures| cures.contexts_with_loss = false, failover()), NOTHING_STALE);
}

#[test]
fn without_amends_a_request_that_outlives_the_primary_leaves_what_is_lost() {
    breaks(without(|cures| cures.amends = false, failover()), NOTHING_STALE);
}

#[test]
fn without_the_predecessor_of_the_oldest_entry_a_lost_beginning_is_taken_for_trimmed() {
    breaks(without(|cures| cures.trimmed_by_predecessor = false, failover()), LOSS_IS_TOLD);
}

#[test]
fn told_once_for_all_what_an_old_primary_takes_later_is_lost_in_silence() {
    let lives_on = Setup { readers: SOCKETS, old_primary_lives: true, ..failover() };
    breaks(without(|cures| cures.tells_up_to = false, lives_on), LOSS_IS_TOLD);
}

#[test]
fn a_resend_that_does_not_wait_for_the_replica_is_answered_and_lost() {
    let waits = Setup { waits_for_replica: true, ..failover() };
    breaks(without(|cures| cures.waits_for_resends = false, waits), NOTHING_LOST);
}
