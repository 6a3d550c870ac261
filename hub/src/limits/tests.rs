//! Rates by a clock that stands still until it is told to move.

use std::time::Duration;

use governor::clock::FakeRelativeClock;
use proptest::prelude::*;

use super::*;

const NOBODY: Network = Network::V6(0);
const ONE: NonZeroU32 = NonZeroU32::MIN;

fn rates(publish: Option<Quota>) -> Rates {
    Rates { publish, subscribe: per_min(60), read: None }
}

fn budgets(capacity: usize, publish: Option<Quota>) -> (Budgets<u64, FakeRelativeClock>, FakeRelativeClock) {
    let clock = FakeRelativeClock::default();
    let rates = rates(publish);
    (Budgets::with_clock(capacity, rates, rates.times(3), clock.clone()), clock)
}

#[test]
fn a_burst_passes_and_then_the_rate_and_who_waits_as_long_as_it_is_told_passes() {
    let (budgets, clock) = budgets(16, per_sec(2, 5));
    let taken = (0..10).filter(|_| budgets.take(&1, Kind::Publish, false, ONE).is_ok()).count();
    assert_eq!(taken, 5);
    let wait = budgets.take(&1, Kind::Publish, false, ONE).unwrap_err();
    clock.advance(wait - Duration::from_millis(1));
    assert!(budgets.take(&1, Kind::Publish, false, ONE).is_err());
    clock.advance(Duration::from_millis(1));
    assert!(budgets.take(&1, Kind::Publish, false, ONE).is_ok(), "what it was told is true");
    assert!(budgets.take(&1, Kind::Publish, false, ONE).is_err());
}

#[test]
fn a_large_publish_counts_for_as_many_and_never_for_more_than_there_may_be_at_once() {
    assert_eq!([0, 1, SHARE_BYTES, SHARE_BYTES + 1].map(|bytes| parts(bytes).get()), [1, 1, 1, 2]);
    let (budgets, clock) = budgets(16, per_sec(2, 5));
    let take = |bytes| budgets.take(&1, Kind::Publish, false, parts(bytes));
    assert!(take(4 * SHARE_BYTES).is_ok());
    let wait = take(2 * SHARE_BYTES).unwrap_err();
    assert!(take(SHARE_BYTES).is_ok(), "what there is no room for takes nothing");
    clock.advance(wait + Duration::from_millis(500));
    assert!(take(2 * SHARE_BYTES).is_ok());
    clock.advance(Duration::from_secs(10));
    assert!(take(1000 * SHARE_BYTES).is_ok(), "all that it may have");
    assert!(take(1).is_err());
}

#[test]
fn a_publish_that_is_larger_than_all_that_there_may_be_at_once_is_not_refused_for_ever() {
    let settings = settings::Limits {
        caller_publishes_burst: 10,
        caller_publishes_per_sec: 1,
        callers_per_address: 1,
        ..Default::default()
    };
    let limits = Limits::new(&settings, 1);
    let caller = Caller { address: [192, 0, 2, 7].into(), identity: None };
    limits.caller(&caller, Kind::Publish).unwrap();
    limits.rest_of_publish(&caller, 16 * SHARE_BYTES).unwrap();
    assert!(limits.caller(&caller, Kind::Publish).is_err(), "all that it may have");
    let settings = settings::Limits { caller_publishes_burst: 1, ..settings };
    let limits = Limits::new(&settings, 1);
    limits.caller(&caller, Kind::Publish).unwrap();
    limits.rest_of_publish(&caller, 16 * SHARE_BYTES).unwrap();
}

#[test]
fn nobody_uses_up_the_budget_of_another_nor_of_another_kind() {
    let (budgets, _) = budgets(16, per_sec(1, 1));
    assert!(budgets.take(&1, Kind::Publish, false, ONE).is_ok());
    assert!(budgets.take(&1, Kind::Publish, false, ONE).is_err());
    assert!(budgets.take(&2, Kind::Publish, false, ONE).is_ok());
    assert!(budgets.take(&1, Kind::Subscribe, false, ONE).is_ok());
    assert!((0..1000).all(|_| budgets.take(&1, Kind::Read, false, ONE).is_ok()), "absent: any number");
}

#[test]
fn who_stands_for_many_has_as_much_as_they() {
    let (budgets, clock) = budgets(16, per_sec(2, 5));
    assert_eq!((0..100).filter(|_| budgets.take(&1, Kind::Publish, true, ONE).is_ok()).count(), 15);
    clock.advance(Duration::from_secs(1));
    assert_eq!((0..100).filter(|_| budgets.take(&1, Kind::Publish, true, ONE).is_ok()).count(), 6);
}

#[test]
fn however_many_keys_there_are_no_more_are_remembered_than_may_be() {
    let (budgets, _) = budgets(100, per_sec(1, 1));
    for key in 0..100_000 {
        assert!(budgets.take(&key, Kind::Publish, false, ONE).is_ok());
    }
    assert!(budgets.len() <= 100, "{}", budgets.len());
}

#[test]
fn an_address_that_fails_too_often_is_not_asked_for_a_while() {
    let clock = FakeRelativeClock::default();
    let failures = Failures::with_clock(16, per_min(6), clock.clone());
    for _ in 0..6 {
        assert!(failures.check(NOBODY).is_ok());
        failures.count(NOBODY);
    }
    let wait = failures.check(NOBODY).unwrap_err();
    assert!(wait <= Duration::from_secs(10), "{wait:?}");
    assert!(failures.check(Network::V6(1)).is_ok(), "another's are its own");
    clock.advance(wait);
    assert!(failures.check(NOBODY).is_ok(), "what it was told is true");
    failures.count(NOBODY);
    assert!(failures.check(NOBODY).is_err(), "one failure, and not as many as before");
}

#[test]
fn what_is_said_of_a_limit_is_its_setting_whose_it_is_and_when_to_come_back() {
    let refused = Refused::for_rate(Limit::TopicPublishesPerSec, Whose::Topic, Duration::from_millis(1001));
    assert_eq!(refused.to_string(), "limits.topic_publishes_per_sec: the topic has reached it; again in 2 s");
    let soon = Refused::for_rate(Limit::CallerReadsPerSec, Whose::Address, Duration::from_micros(1));
    assert_eq!(soon.retry_after_secs, 1);
}

#[test]
fn who_may_ask_for_the_largest_context_is_not_refused_for_its_size_however_little_room_there_is() {
    let settings =
        settings::Limits { content_bytes: 64 << 20, answers_at_once_bytes: 1 << 20, ..Default::default() };
    let limits = Limits::new(&settings, 1);
    let address: IpAddr = [192, 0, 2, 7].into();
    let identity = crate::auth::Identity {
        issuer: "https://as.example".to_owned(),
        subject: Some("user".to_owned()),
        client: None,
        scopes: shared::protocol::Scopes::everything(),
        topic: None,
        expires: None,
    };
    for caller in [Caller { address, identity: Some(identity) }, Caller { address, identity: None }] {
        let shares: Result<Vec<_>, _> =
            (0..settings.content_bytes / SHARE_BYTES).map(|_| limits.answer_share(&caller)).collect();
        assert!(shares.is_ok(), "{:?}", shares.err());
    }
}

proptest! {
    #[test]
    fn no_more_pass_than_the_burst_and_the_rate_allow(
        rate in 1u32..50, burst in 1u32..50, pauses in prop::collection::vec(0u64..400, 1..200),
    ) {
        let (budgets, clock) = budgets(16, per_sec(rate, burst));
        let (mut passed, mut elapsed) = (0u64, 0u64);
        for pause in pauses {
            clock.advance(Duration::from_millis(pause));
            elapsed += pause;
            passed += u64::from(budgets.take(&1, Kind::Publish, false, ONE).is_ok());
            let most = u64::from(burst) + elapsed * u64::from(rate) / 1000 + 1;
            prop_assert!(passed <= most, "{passed} of {most}");
        }
    }
}
