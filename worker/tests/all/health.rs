//! A worker whose loop stands still is noticed.

use std::{future::poll_fn, sync::mpsc, task::Poll, time::Duration};

use actix_rt::Arbiter;
use shared::{audit::Audit, telemetry::Loops};
use worker::Worker;

use crate::system::{System, until};

/// Within this time whoever looks has to see it.
const NOTICED_WITHIN: Duration = Duration::from_secs(10);

#[actix_rt::test]
async fn a_worker_that_is_held_up_is_not_healthy_until_it_goes_on() {
    let system = System::new();
    assert!(system.settings.stuck_after() < NOTICED_WITHIN);
    // The same with less patience, for the time of a test; a beat is a second.
    let loops = Loops::new(Duration::from_millis(2500));
    let (store, publisher) = (system.store.clone(), system.publisher.clone());
    let worker = Worker::new(store, publisher, Audit::off(), loops.clone(), &system.settings).unwrap();

    // What it asks at each turn whether it is to stop, and is not answered while it is held up.
    let (hold_up, held_up) = mpsc::channel::<()>();
    let (go_on, goes_on) = mpsc::channel::<()>();
    let stop = poll_fn(move |_| {
        if held_up.try_recv().is_ok() {
            let _ = goes_on.recv();
        }
        Poll::Pending
    });
    let thread = Arbiter::new();
    thread.spawn_fn(move || {
        actix_rt::spawn(worker.run_until_stopped(stop));
    });
    until("it turns", async || loops.report() == (true, "claims: turns\n".to_owned())).await;

    hold_up.send(()).unwrap();
    until("it is noticed", async || {
        let (is_healthy, report) = loops.report();
        !is_healthy && report.starts_with("claims: has not turned for ")
    })
    .await;
    go_on.send(()).unwrap();
    until("it turns again", async || loops.report().0).await;
    thread.stop();
}
