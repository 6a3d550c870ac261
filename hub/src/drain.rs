//! Letting go (FC-SUB-11): the sockets are closed one after the other, so that their subscribers
//! do not all come to the next node in the same moment; what they have not got waits for them, and what they have
//! got is confirmed before, so that it does not come again.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use actix_web::web;

use crate::node::Node;

/// The longest pause between two closes: few sockets need no whole window.
const MAX_PAUSE: Duration = Duration::from_millis(5);
/// A pause that a timer can keep: shorter ones are made up for by closing several at once.
const TICK: Duration = Duration::from_millis(1);
/// The part of the window in which sockets are closed; the rest is for the last of them.
const CLOSING_PART: f64 = 0.8;
/// How long at most, and for what part of what is left of the window, a subscriber may take to confirm what it has been
/// sent. What is not confirmed by then comes again, with the same id.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(1);
const CONFIRMING_PART: f64 = 0.5;

/// Closes all sockets within the window, and waits until the store knows of each.
pub async fn drain(node: &web::Data<Node>, window: Duration) {
    node.is_draining.store(true, Ordering::Relaxed);
    let start = Instant::now();
    let end = start + window;
    let sockets = node.sockets.all();
    tracing::info!(sockets = sockets.len(), "draining");
    let times = closing_times(window, sockets.len());
    for (socket, time) in sockets.into_iter().zip(times) {
        if time.saturating_sub(start.elapsed()) >= TICK {
            tokio::time::sleep_until((start + time).into()).await;
        }
        socket.leave(until_closed(end));
    }
    while !node.sockets.is_empty() && Instant::now() < end {
        // Those that were on their way in when the drain began.
        node.sockets.all().iter().for_each(|socket| socket.leave(until_closed(end)));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    if !node.sockets.is_empty() {
        tracing::warn!(
            sockets = node.sockets.all().len(),
            "the drain time is over and sockets are still open"
        );
    }
}

/// How long it may take from now on until a socket is closed, when the window ends at `end`: the store has to hear of it
/// before. None at all is as well: it is closed at once.
fn until_closed(end: Instant) -> Duration {
    end.saturating_duration_since(Instant::now()).mul_f64(CONFIRMING_PART).min(CONFIRMED_WITHIN)
}

/// When each of so many sockets is closed, from the beginning of the window on.
fn closing_times(window: Duration, sockets: usize) -> impl Iterator<Item = Duration> {
    let pause = window.mul_f64(CLOSING_PART).div_f64(sockets.max(1) as f64).min(MAX_PAUSE);
    (0..sockets).map(move |number| pause.mul_f64(number as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(10);

    #[test]
    fn ten_thousand_sockets_are_spread_over_the_window() {
        let times: Vec<Duration> = closing_times(WINDOW, 10_000).collect();
        assert!(times.is_sorted() && times.last() < Some(&WINDOW.mul_f64(CLOSING_PART)));
        for second in 0..8 {
            let within = times.iter().filter(|time| time.as_secs() == second).count();
            assert!(within <= 1251, "{within} in second {second}");
        }
    }

    #[test]
    fn few_sockets_do_not_wait_for_the_whole_window() {
        assert!(closing_times(WINDOW, 100).last() < Some(Duration::from_millis(500)));
        assert_eq!(closing_times(WINDOW, 0).count(), 0);
        assert!(closing_times(Duration::ZERO, 9).all(|time| time.is_zero()));
    }
}
