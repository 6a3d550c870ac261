//! What the programs measure is what happened.

use harness::{
    callback_server::{CallbackServer, Reply},
    examples::fresh_topic,
    redis_server::Durability,
    socket::Listener,
    system::{Program, System},
    wait::{PATIENCE, eventually},
};

use crate::messages::patient_open;

/// Waits until a series has this value.
async fn until(program: &Program, series: &str, expected: f64) {
    let what = format!("{expected} of {series}");
    let look = || async {
        let measured = program.metrics().await.unwrap().value(series);
        (measured == Some(expected)).then_some(())
    };
    if let Err(error) = eventually(PATIENCE, &what, look).await {
        panic!("{error}: {:?}", program.metrics().await.unwrap().value(series));
    }
}

async fn system() -> System {
    System::builder()
        .hubs(1)
        .workers(1)
        .durability(Durability::None)
        .set("ack_timeout_secs", 1)
        .set("retry.initial_secs", 0.1)
        .start()
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_their_answers_and_their_returns_are_measured() {
    let system = system().await;
    let (hub, app, topic) = (&system.hubs[0], system.hubs[0].app().unwrap(), fresh_topic());
    let endpoint = app.subscribe_websocket(&topic, "Patient-open", &[]).await.unwrap();
    let mut listener = Listener::connect(&endpoint).await.unwrap();
    until(hub, "fhircast_connections", 1.0).await;
    let publish = async |id: &str| {
        app.publish(&patient_open(&topic, id)).await.unwrap().expect_status(202).unwrap();
    };
    for id in ["1", "2"] {
        publish(id).await;
        listener.wait_for_event(PATIENCE, id).await.unwrap();
    }
    until(hub, "fhircast_ack_seconds_count{channel=\"websocket\"}", 2.0).await;
    until(hub, "fhircast_outbox_notifications", 0.0).await;

    listener.drop_connection().await;
    until(hub, "fhircast_connections", 0.0).await;
    publish("3").await;
    listener.reconnect().await.unwrap();
    listener.wait_for_event(PATIENCE, "3").await.unwrap();
    until(hub, "fhircast_resumes_total", 1.0).await;
    until(hub, "fhircast_replayed_notifications_total", 1.0).await;

    // It has answered before, so an answer is waited for.
    listener.answer_with(|_| None);
    publish("4").await;
    until(hub, "fhircast_deadline_delay_seconds_count{deadline=\"ack\"}", 1.0).await;
    until(hub, "fhircast_notifications_total{channel=\"websocket\",outcome=\"unanswered\"}", 1.0).await;

    let nowhere = hub.url().replace("/api/hub", "/nowhere");
    assert_eq!(reqwest::get(nowhere).await.unwrap().status(), 404);
    for (route, status, count) in
        [("publish", "2xx", 4.0), ("subscribe", "2xx", 1.0), ("websocket", "1xx", 2.0), ("other", "4xx", 1.0)]
    {
        let series = format!("fhircast_http_request_seconds_count{{route=\"{route}\",status=\"{status}\"}}");
        until(hub, &series, count).await;
    }
    let metrics = hub.metrics().await.unwrap();
    assert!(metrics.value("fhircast_bell_lag_seconds_count") >= Some(1.0));
    let connects = |of: &str| {
        metrics.value(&format!("fhircast_redis_connects_total{{connection=\"{of}\",outcome=\"made\"}}"))
    };
    assert_eq!(
        (connects("bells"), connects("calls"), connects("confirmations")),
        (Some(1.0), Some(1.0), Some(0.0))
    );
    assert_eq!(metrics.value("fhircast_gaps_total"), Some(0.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callbacks_and_what_there_is_are_measured() {
    let system = system().await;
    let (worker, app, topic) = (&system.workers[0], system.hubs[0].app().unwrap(), fresh_topic());
    app.subscribe_websocket(&topic, "*", &[]).await.unwrap();
    let server = CallbackServer::start().unwrap();
    app.subscribe_webhook(&topic, "Patient-open", &server.url("/cb"), &[]).await.unwrap();
    until(worker, "fhircast_verifications_total{outcome=\"confirmed\"}", 1.0).await;
    server.queue("/cb", [Reply::status(500), Reply::status(202)]);
    app.publish(&patient_open(&topic, "1")).await.unwrap().expect_status(202).unwrap();
    until(worker, "fhircast_notifications_total{channel=\"webhook\",outcome=\"confirmed\"}", 1.0).await;
    until(worker, "fhircast_callback_retries_total", 1.0).await;
    until(worker, "fhircast_ack_seconds_count{channel=\"webhook\"}", 2.0).await;

    until(worker, "fhircast_subscriptions{channel=\"websocket\"}", 1.0).await;
    until(worker, "fhircast_subscriptions{channel=\"webhook\"}", 1.0).await;
    until(worker, "fhircast_due_subscriptions", 0.0).await;
    until(worker, "fhircast_workers", 1.0).await;
    until(worker, "fhircast_ready", 1.0).await;

    // One whose callback does not want it.
    server.on("/no", |_| Some(Reply::status(404)));
    app.subscribe_webhook(&topic, "*", &server.url("/no"), &[]).await.unwrap();
    until(worker, "fhircast_verifications_total{outcome=\"refused\"}", 1.0).await;
}
