//! Leases of sockets, which end whether anybody lives that ends them or not (FC-SEC-04, FC-SUB-07).

use std::time::{Duration, Instant};

use harness::{examples::fresh_topic, redis_server::Durability, system::System, wait::PATIENCE};

use crate::{
    messages::patient_open,
    setups::{Setup, ids_until},
};

async fn without_a_worker() -> Setup {
    Setup::Cluster(Box::new(
        System::builder().hubs(2).workers(0).durability(Durability::None).start().await.unwrap(),
    ))
}

#[tokio::test]
async fn a_lease_ends_also_when_no_worker_lives() {
    let (setup, topic) = (without_a_worker().await, fresh_topic());
    let witness = setup.listener(&topic, "Patient-open").await;
    let short = setup.named_listener(&topic, "Patient-open", &[("hub.lease_seconds", "2")]).await;
    let end = Instant::now() + Duration::from_secs(2);
    let mut published = 0;
    while Instant::now() < end + Duration::from_millis(500) {
        setup.publish(&patient_open(&topic, &published.to_string())).await;
        published += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(short.wait_closed(PATIENCE).await.unwrap(), Some(1000), "FC-SUB-07");
    let last = (published - 1).to_string();
    assert_eq!(ids_until(&witness, &last).await.len(), published, "the others go on");
    let seen =
        short.seen(|seen| seen.received.iter().map(|received| received.json.clone()).collect::<Vec<_>>());
    let denials: Vec<_> = seen.iter().filter(|json| json["hub.mode"] == "denied").collect();
    assert_eq!(denials.len(), 1, "FC-SUB-10: once: {denials:?}");
    assert_eq!(denials[0]["hub.reason"], "lease expired", "FC-SUB-07, FC-SUB-10");
    assert_eq!(seen.last(), denials.first().copied(), "FC-SEC-04: nothing after the end of the lease");
    assert!(seen.iter().all(|json| json["id"] != last.as_str()), "FC-SEC-04");
}

#[tokio::test]
async fn a_lease_that_has_been_renewed_goes_on() {
    let (setup, topic) = (without_a_worker().await, fresh_topic());
    let viewer = setup.named_listener(&topic, "Patient-open", &[("hub.lease_seconds", "2")]).await;
    let end = Instant::now() + Duration::from_secs(2);
    let again = [
        ("hub.channel.type", "websocket"),
        ("hub.mode", "subscribe"),
        ("hub.topic", topic.as_str()),
        ("hub.events", "Patient-open"),
        ("hub.lease_seconds", "60"),
        ("hub.channel.endpoint", viewer.endpoint()),
    ];
    setup.subscriber().post_form(&again).await.unwrap().expect_status(202).unwrap();
    tokio::time::sleep_until((end + Duration::from_secs(1)).into()).await;
    setup.publish(&patient_open(&topic, "after")).await;
    assert_eq!(ids_until(&viewer, "after").await, ["after"], "FC-SUB-04");
}
