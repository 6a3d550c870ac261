//! Names cost nothing (FC-SEC-02, FC-WHK-06): who has a zone of them gets no more of the worker by them, at its own
//! address or at another's.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::{
    callbacks::{addresses, hub_asking, subscribe},
    messages::patient_open,
};
use harness::{
    callback_server::{CallbackServer, Gate, Reply},
    examples::fresh_topic,
    name_server::{NameServer, Records},
    wait::{PATIENCE, eventually},
};

/// 127.0.0.2 and 127.0.0.3.
const ALLOWED: &str = "[\"127.0.0.2/31\"]";

#[tokio::test]
async fn many_names_of_one_address_have_the_room_of_one_address() {
    let (tarpit, app) =
        (CallbackServer::start_at("127.0.0.2:0").unwrap(), CallbackServer::start_at("127.0.0.3:0").unwrap());
    let servers = NameServer::start(|name| match name {
        "app.example" => addresses(["127.0.0.3"]),
        name if name.ends_with(".evil.example") => addresses(["127.0.0.2"]),
        _ => Records::NoName,
    })
    .unwrap();
    let own = [
        ("callbacks.allowed_networks", ALLOWED),
        ("limits.deliveries", "8"),
        ("limits.deliveries_per_address", "2"),
        ("ack_timeout_secs", "60"),
    ];
    let hub = hub_asking(&servers, &own).await;
    let by_name = |url: String, name: &str| url.replace("127.0.0.2", name).replace("127.0.0.3", name);
    let gate = Gate::closed();
    let (good, good_path) = (fresh_topic(), "/good");
    let evil: Vec<(String, String)> = (0..8).map(|number| (fresh_topic(), format!("/{number}"))).collect();
    for (number, (topic, path)) in evil.iter().enumerate() {
        let held = gate.clone();
        // Every other one lets its connection be kept.
        let connection = if number % 2 == 0 { "close" } else { "keep-alive" };
        tarpit.on(path, move |request| {
            let is_held = request.json()["id"].as_str().is_some_and(|id| id.starts_with("held"));
            let reply = Reply::status(200).header("Connection", connection);
            let reply = reply.body(request.parameter("hub.challenge").unwrap_or_default());
            Some(if is_held { reply.held_by(&held) } else { reply })
        });
        let callback = by_name(tarpit.url(path), &format!("a{number}.evil.example"));
        assert_eq!(subscribe(&hub, topic, &callback).await.status, 202);
    }
    assert_eq!(subscribe(&hub, &good, &by_name(app.url(good_path), "app.example")).await.status, 202);
    let publisher = hub.app().unwrap();
    let publish = async |topic: &str, id: &str| {
        assert_eq!(publisher.publish(&patient_open(topic, id)).await.unwrap().status, 202);
    };
    for (topic, path) in &evil {
        // Until it is verified nothing is sent.
        let arrived = async || {
            publish(topic, "first").await;
            tarpit.notifications(path).iter().any(|request| request.json()["id"] == "first").then_some(())
        };
        eventually(PATIENCE, "the first event", arrived).await.unwrap();
    }
    for (topic, _) in &evil {
        publish(topic, "held").await;
    }
    let held = || {
        let sent = tarpit.requests().into_iter().filter(|request| request.json()["id"] == "held");
        sent.count()
    };
    eventually(PATIENCE, "the tarpit is full", async || (held() == 2).then_some(())).await.unwrap();
    let arrived = async || {
        publish(&good, "good").await;
        (!app.notifications(good_path).is_empty()).then_some(())
    };
    eventually(PATIENCE, "another's event", arrived).await.expect("FC-WHK-06");
    assert_eq!(held(), 2, "FC-SEC-02: limits.deliveries_per_address");
    gate.open();
    for (_, path) in &evil {
        tarpit.wait_for_event(PATIENCE, path, "held").await.expect("FC-WHK-07: they only wait");
    }
}

/// A server that lets nobody get further than to a connection; how many have come.
fn silent_at(address: &str) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(address).unwrap();
    let (address, count) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let seen = count.clone();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        while let Ok(connection) = listener.accept() {
            seen.fetch_add(1, Ordering::SeqCst);
            open.push(connection);
        }
    });
    (address, count)
}

#[tokio::test]
async fn who_never_shakes_hands_has_the_room_of_one_address_and_the_unconfirmed_half_of_it() {
    let (tarpit, connections) = silent_at("127.0.0.2:0");
    let app = CallbackServer::start_at("127.0.0.3:0").unwrap();
    let servers = NameServer::start(|_| addresses(["127.0.0.2"])).unwrap();
    let hub = hub_asking(
        &servers,
        &[
            ("callbacks.allowed_networks", ALLOWED),
            // Of these what nobody has confirmed may have 4.
            ("limits.deliveries", "16"),
            ("limits.deliveries_per_address", "4"),
            ("ack_timeout_secs", "60"),
        ],
    )
    .await;
    for number in 0..8 {
        let callback = format!("https://a{number}.evil.example:{}/", tarpit.port());
        assert_eq!(subscribe(&hub, &fresh_topic(), &callback).await.status, 202);
    }
    let come = || connections.load(Ordering::SeqCst);
    eventually(PATIENCE, "the tarpit is full", async || (come() == 2).then_some(())).await.unwrap();
    assert_eq!(subscribe(&hub, &fresh_topic(), &app.url("/")).await.status, 202);
    app.wait_for(PATIENCE, "another's intent", |requests| (!requests.is_empty()).then_some(()))
        .await
        .expect("FC-WHK-06");
    assert_eq!(come(), 2, "FC-SEC-02: limits.deliveries_per_address");
}
