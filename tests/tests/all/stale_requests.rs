//! Requests that a hub finds when it wakes, and whose senders have left (FC-REQ-07): another hub has done them meanwhile.

use std::net::Ipv4Addr;

use harness::{
    attack::raw::{Raw, post},
    certs::Certificates,
    client::{App, JSON},
    examples::fresh_topic,
    process::Signal,
    system::{Hub, borrowed},
    wait::PATIENCE,
};

use crate::messages::patient_open;

#[tokio::test]
async fn a_hub_that_wakes_does_nothing_for_those_who_have_left() {
    let hub = Hub::start_embedded(&[]).await.unwrap();
    let connection = Raw::connect(hub.url(), Ipv4Addr::LOCALHOST).await.unwrap();
    let app = hub.app().unwrap();
    does_nothing_for_who_has_left(hub, connection, app).await;
}

#[tokio::test]
async fn nor_does_it_inside_of_tls() {
    let certificates = Certificates::new().unwrap();
    let hub = Hub::start_embedded(&borrowed(&certificates.settings("tls"))).await.unwrap();
    let (connection, _) = Raw::connect_tls(hub.url(), Ipv4Addr::LOCALHOST, b"").await.unwrap();
    let app = App::trusting(hub.url(), &certificates.ca()).unwrap();
    does_nothing_for_who_has_left(hub, connection, app).await;
}

async fn does_nothing_for_who_has_left(mut hub: Hub, mut connection: Raw, app: App) {
    let topic = fresh_topic();
    hub.process().signal(Signal::STOP).unwrap();
    connection.send(post(JSON, &patient_open(&topic, "stale")).as_bytes()).await.unwrap();
    drop(connection);
    hub.process().signal(Signal::CONT).unwrap();
    // Inside of TLS a connection that is cut ends before its request is read.
    let is_over = |line: &str| {
        let is_refused = line.contains("closed before the request was begun");
        (is_refused || line.contains("a connection has ended")).then_some(())
    };
    hub.process().wait_for_log(PATIENCE, "the refusal", is_over).await.expect("FC-REQ-07");
    let current = app.current_context(&topic).await.unwrap().json().unwrap();
    assert_eq!(current["context.type"], "", "FC-REQ-07: it was not opened");
    app.publish(&patient_open(&topic, "fresh")).await.unwrap().expect_status(202).unwrap();
}
