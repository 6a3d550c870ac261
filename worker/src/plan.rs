//! What is to be done now for a subscription whose events wait: a pure function of time.
//!
//! An event that has stayed undelivered for the ack time-out is reported (FC-WHK-04), once, also
//! while it only waits behind another, and whether or not a delivery may be tried at the moment.
//! A SyncError is never reported (FC-NOT-05). Times are milliseconds by the store's clock.

use shared::store::{Position, Progress};

/// An event that waits for this subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// Where it is in the log, and thereby when it was accepted.
    pub position: Position,
    /// Is a SyncError sent when it does not arrive?
    pub is_reported: bool,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Report these, in this order.
    pub overdue: Vec<Position>,
    /// Is there an event whose delivery may be tried now?
    pub may_try: bool,
    /// Is there anything left to report later, as far as is known?
    pub has_more_to_report: bool,
    /// Look again at this time, later than now: for the next try, the next report, or for events
    /// that have come since, which must be seen before they are overdue.
    pub wake_at: u64,
}

/// Plans. `waiting` are the events after the cursor, in order, as far as they are known.
pub fn plan(
    now: u64,
    waiting: impl IntoIterator<Item = Waiting>,
    progress: &Progress,
    ack_timeout: u64,
) -> Plan {
    let mut overdue = Vec::new();
    let mut next_report = None;
    let mut is_waiting = false;
    for event in waiting.into_iter().filter(|event| event.position > progress.cursor) {
        is_waiting = true;
        if !event.is_reported || event.position <= progress.reported {
            continue;
        }
        let report_at = event.position.millis.saturating_add(ack_timeout);
        if report_at > now {
            next_report = Some(report_at);
            break;
        }
        overdue.push(event.position);
    }
    let next_try = (is_waiting && progress.retry_at > now).then_some(progress.retry_at);
    let latest = now.saturating_add(ack_timeout.max(1));
    Plan {
        overdue,
        may_try: is_waiting && progress.retry_at <= now,
        has_more_to_report: next_report.is_some(),
        wake_at: [next_report, next_try].into_iter().flatten().fold(latest, u64::min),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Position {
        Position { millis, ..Position::START }
    }

    fn waiting(millis: u64) -> Waiting {
        Waiting { position: at(millis), is_reported: true }
    }

    #[test]
    fn a_fresh_event_is_tried_and_one_that_is_too_old_is_reported_as_well() {
        let progress = Progress { cursor: at(5), ..Progress::default() };
        let fresh = plan(1000, [waiting(990)], &progress, 100);
        assert_eq!(fresh, Plan { overdue: vec![], may_try: true, has_more_to_report: true, wake_at: 1090 });
        let old = plan(1090, [waiting(990)], &progress, 100);
        assert_eq!((old.overdue, old.may_try), (vec![at(990)], true), "FC-WHK-04: retries go on");
    }

    #[test]
    fn events_behind_a_stuck_one_are_reported_in_their_time() {
        let progress = Progress {
            cursor: at(5),
            attempts: 3,
            retry_at: 50_000,
            reported: at(990),
            ..Progress::default()
        };
        let plan = plan(1200, [waiting(990), waiting(1000), waiting(1150)], &progress, 100);
        assert_eq!(
            plan.overdue,
            [at(1000)],
            "FC-WHK-04: the first has been reported, the last is not overdue"
        );
        assert_eq!(
            (plan.may_try, plan.wake_at),
            (false, 1250),
            "FC-WHK-04: woken for the report, before the retry"
        );
    }

    #[test]
    fn what_must_not_be_reported_is_delivered_all_the_same() {
        let quiet = Waiting { position: at(10), is_reported: false };
        let plan = plan(5000, [quiet], &Progress::default(), 100);
        assert_eq!((plan.overdue, plan.may_try, plan.has_more_to_report), (vec![], true, false), "FC-NOT-05");
    }

    #[test]
    fn a_retry_that_is_far_off_does_not_hide_events_that_come_meanwhile() {
        let progress = Progress {
            cursor: at(5),
            attempts: 9,
            retry_at: 90_000,
            reported: at(990),
            ..Progress::default()
        };
        assert_eq!(plan(1200, [waiting(990)], &progress, 100).wake_at, 1300);
    }

    proptest! {
        #[test]
        fn whoever_wakes_when_told_reports_every_event_once_and_in_time(
            mut accepted in proptest::collection::vec(0u64..3000, 0..30),
            retries in proptest::collection::vec(1u64..5000, 0..5),
            ack_timeout in 1u64..1000,
        ) {
            accepted.sort_unstable();
            accepted.dedup();
            let mut progress = Progress::default();
            let mut retries = retries.into_iter();
            let (mut now, mut reported) = (1, Vec::new());
            while now < 6000 {
                let known = accepted.iter().filter(|millis| **millis > 0 && **millis <= now).map(|millis| waiting(*millis));
                let plan = plan(now, known, &progress, ack_timeout);
                for position in plan.overdue {
                    // Acceptance and report happen within the same tick of the clock at best.
                    prop_assert_eq!(now, position.millis + ack_timeout);
                    progress.reported = position;
                    reported.push(position.millis);
                }
                if plan.may_try {
                    progress.retry_at = now + retries.next().unwrap_or(10_000);
                }
                prop_assert!(plan.wake_at > now);
                now = plan.wake_at;
            }
            let expected: Vec<u64> = accepted.into_iter().filter(|millis| *millis > 0).collect();
            prop_assert_eq!(reported, expected);
        }
    }
}
