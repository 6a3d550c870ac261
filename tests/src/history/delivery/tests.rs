//! Small histories, each with what is wrong with it; and that any history that is right has no findings.

use super::*;
use proptest::prelude::*;

fn ids(findings: &[Finding<char>]) -> String {
    findings.iter().map(|finding| finding.id).collect()
}

fn history(accepted: &str) -> History<char> {
    let mut history = History::default();
    history.accepted(accepted.chars());
    history
}

fn saw(history: &mut History<char>, name: &str, connections: &[&str]) {
    let connections = connections.iter().map(|connection| connection.chars().collect()).collect();
    history.seen(name, Repeats::OnResume, connections);
}

fn called(history: &mut History<char>, name: &str, sequence: &str) {
    history.seen(name, Repeats::OnRetry, vec![sequence.chars().collect()]);
}

#[test]
fn a_faultless_history_has_no_findings() {
    let mut history = history("abcd");
    saw(&mut history, "one", &["abcd"]);
    saw(&mut history, "two", &["ab", "cd"]);
    called(&mut history, "three", "abcd");
    assert!(history.check().is_clean(), "{}", history.check());
}

#[test]
fn an_accepted_event_that_one_subscriber_did_not_see_is_lost() {
    let mut history = history("abc");
    saw(&mut history, "one", &["abc"]);
    saw(&mut history, "two", &["ac"]);
    let findings = history.check();
    assert_eq!(findings.lost, [Finding { who: "two".to_owned(), id: 'b' }]);
    assert!(findings.out_of_order.is_empty());
}

#[test]
fn who_asked_for_some_of_the_events_is_owed_those() {
    let mut history = history("abcd");
    history.seen_of("bd".chars(), "some", Repeats::OnResume, vec![vec!['b']]);
    assert_eq!(ids(&history.check().lost), "d");
}

#[test]
fn what_the_subscriber_saw_only_after_it_came_back_is_not_lost() {
    let mut history = history("abc");
    saw(&mut history, "one", &["a", "", "bc"]);
    assert!(history.check().is_clean());
}

#[test]
fn a_repeat_within_a_connection_is_a_duplicate() {
    let mut history = history("abc");
    saw(&mut history, "one", &["abbc"]);
    assert_eq!(ids(&history.check().duplicated), "b");
}

#[test]
fn a_resumed_connection_may_repeat_the_end_of_what_was_seen() {
    let mut history = history("abcde");
    saw(&mut history, "one", &["abc", "bcd", "de"]);
    let findings = history.check();
    assert!(findings.is_clean(), "{findings}");
    assert_eq!(findings.repeated, 3);
}

#[test]
fn a_repeat_that_comes_after_something_new_is_a_duplicate() {
    let mut history = history("abcd");
    saw(&mut history, "one", &["abc", "dc"]);
    assert_eq!(ids(&history.check().duplicated), "c");
}

#[test]
fn a_resumed_connection_that_goes_back_and_leaves_something_out_is_out_of_order() {
    let mut history = history("abcd");
    saw(&mut history, "one", &["abc", "bd"]);
    assert_eq!(ids(&history.check().out_of_order), "d");
}

#[test]
fn a_callback_may_see_an_event_again_at_once_and_only_then() {
    let mut history = history("abc");
    called(&mut history, "retried", "abbbc");
    let findings = history.check();
    assert!(findings.is_clean(), "{findings}");
    assert_eq!(findings.repeated, 2);
    called(&mut history, "rewound", "abcb");
    assert_eq!(ids(&history.check().duplicated), "b");
}

#[test]
fn a_callback_whose_cursor_went_back_repeats_from_there_and_leaves_nothing_out() {
    let mut history = history("abcd");
    let rewound = |name: &str, history: &mut History<char>, parts: [&str; 2]| {
        history.seen(name, Repeats::OnRetry, parts.map(|part| part.chars().collect()).to_vec());
    };
    rewound("resumed", &mut history, ["abbc", "bbcd"]);
    assert!(history.check().is_clean(), "{}", history.check());
    rewound("disordered", &mut history, ["abc", "bd"]);
    assert_eq!(ids(&history.check().out_of_order), "d");
    rewound("repeating", &mut history, ["abc", "bcdb"]);
    assert_eq!(ids(&history.check().duplicated), "b");
}

#[test]
fn two_subscribers_that_saw_two_orders_are_found_though_each_saw_everything() {
    let mut history = history("abc");
    saw(&mut history, "one", &["abc"]);
    saw(&mut history, "two", &["acb"]);
    let findings = history.check();
    assert_eq!(findings.out_of_order, [Finding { who: "two".to_owned(), id: 'b' }]);
    assert!(findings.lost.is_empty() && findings.duplicated.is_empty());
}

#[test]
fn a_contradiction_over_several_subscribers_is_found() {
    let mut history = history("");
    history.uncertain("abc".chars());
    for (name, sequence) in [("one", "ab"), ("two", "bc"), ("three", "ca")] {
        saw(&mut history, name, &[sequence]);
    }
    assert_eq!(history.check().out_of_order.len(), 1);
}

#[test]
fn the_order_of_a_sequential_publisher_binds() {
    let mut history = History::default();
    history.accepted_in_order("ab".chars());
    saw(&mut history, "one", &["ba"]);
    assert!(!history.check().out_of_order.is_empty());
}

#[test]
fn overlapping_publishes_may_arrive_in_any_one_order() {
    let mut history = history("ab");
    saw(&mut history, "one", &["ba"]);
    saw(&mut history, "two", &["ba"]);
    assert!(history.check().is_clean());
}

#[test]
fn the_logs_own_order_is_the_judge_when_it_is_known() {
    let mut history = history("ab");
    saw(&mut history, "one", &["ba"]);
    history.total_order("ab".chars());
    assert_eq!(history.check().out_of_order, [Finding { who: "one".to_owned(), id: 'a' }]);
}

#[test]
fn an_event_nobody_sent_is_unknown_and_one_without_an_answer_is_not() {
    let mut history = history("a");
    history.uncertain(['u']);
    saw(&mut history, "one", &["aux"]);
    saw(&mut history, "two", &["a"]);
    let findings = history.check();
    assert_eq!(ids(&findings.unknown), "x");
    assert!(findings.lost.is_empty());
}

proptest! {
    #[test]
    fn any_losses_within_one_order_leave_no_disorder(
        keep in prop::collection::vec(prop::collection::vec(any::<bool>(), 30), 1..5)
    ) {
        let mut history: History<usize> = History::default();
        history.accepted(0..30);
        let mut lost = 0;
        for (number, keep) in keep.iter().enumerate() {
            lost += keep.iter().filter(|kept| !**kept).count();
            let sequence = (0..30).filter(|id| keep[*id]).collect();
            history.seen(&number.to_string(), Repeats::OnResume, vec![sequence]);
        }
        let findings = history.check();
        prop_assert_eq!(findings.lost.len(), lost);
        prop_assert!(findings.out_of_order.is_empty());
    }

    #[test]
    fn any_two_events_exchanged_at_one_subscriber_are_found(a in 0..20usize, b in 0..20usize) {
        prop_assume!(a != b);
        let mut history: History<usize> = History::default();
        history.accepted(0..20);
        history.seen("one", Repeats::OnResume, vec![(0..20).collect()]);
        let mut exchanged: Vec<usize> = (0..20).collect();
        exchanged.swap(a, b);
        history.seen("two", Repeats::OnResume, vec![exchanged]);
        prop_assert!(!history.check().out_of_order.is_empty());
    }
}
