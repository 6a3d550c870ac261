//! Names cost nothing (FC-SEC-02, FC-WHK-06): who has a zone of them gets no more of the worker by them, at its own
//! address or at another's, and holds up nobody by not answering for them.

use std::{
    collections::HashMap,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use harness::{
    callback_server::{CallbackServer, Gate, Reply},
    examples::fresh_topic,
    name_server::{NameServer, Records},
    system::Hub,
    tokens::TokenAuthority,
    wait::{PATIENCE, eventually},
};
use tokio::time::timeout;

use crate::{
    callbacks::{Place, addresses, hub_asking, subscribe},
    messages::patient_open,
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

#[tokio::test]
async fn names_that_nobody_answers_for_keep_no_others_callback_from_being_looked_up() {
    let authority = TokenAuthority::start().unwrap();
    let servers = NameServer::start(|name| match name {
        name if name.ends_with(".silent.example") => Records::Silence,
        _ => Records::NoName,
    })
    .unwrap();
    let mut settings = authority.settings();
    settings.push(("callbacks.dns_servers", servers.address().to_string()));
    settings.push(("callbacks.dns_timeout_ms", "60000".to_owned()));
    settings.push(("callbacks.dns_lookups", "4".to_owned()));
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let (hub, topic) = (Hub::start_embedded(&settings).await.unwrap(), fresh_topic());
    let app = |subject: &str| {
        let token = authority.token().unwrap().subject(subject).scope("fhircast/*.read");
        hub.app().unwrap().with_token(&token.mint().unwrap())
    };
    let (attacker, other) = (app("attacker"), app("other"));
    let ready = eventually(PATIENCE, "the keys", || async {
        (other.current_context(&topic).await.ok()?.status == 200).then_some(())
    });
    ready.await.unwrap();
    let callbacks: Vec<String> = (0..20).map(|number| format!("https://{number}.silent.example/")).collect();
    let mut all: FuturesUnordered<_> =
        callbacks.iter().map(|callback| attacker.subscribe_webhook(&topic, "*", callback, &[])).collect();
    for _ in 1..callbacks.len() {
        let answer = timeout(PATIENCE, all.next()).await.expect("one has a look-up, and the others none");
        assert_eq!(answer.unwrap().unwrap().status, 202, "FC-SEC-02: it may be all right");
    }
    let known = other.subscribe_webhook(&topic, "*", "https://nobody.example/", &[]);
    let answer = timeout(PATIENCE, known).await.expect("FC-SEC-02: nobody waits for others' names").unwrap();
    assert_eq!(answer.status, 400, "FC-SEC-02: {answer:?}");
}

#[tokio::test]
async fn names_that_nobody_answers_for_keep_no_event_from_its_callback() {
    let place = Place::new();
    let asked: Mutex<HashMap<String, usize>> = Mutex::default();
    let silences = Arc::new(AtomicUsize::new(0));
    let count = silences.clone();
    let servers = NameServer::start(move |name| {
        // Two questions (for both families) are the hub's; those of the worker are not answered.
        let times =
            *asked.lock().unwrap().entry(name.to_owned()).and_modify(|times| *times += 1).or_insert(1);
        if name.ends_with(".silent.example") && times > 2 {
            count.fetch_add(1, Ordering::SeqCst);
            return Records::Silence;
        }
        addresses(["127.0.0.2"])
    })
    .unwrap();
    let own =
        [("callbacks.dns_timeout_ms", "60000"), ("callbacks.dns_lookups", "2"), ("ack_timeout_secs", "60")];
    let hub = hub_asking(&servers, &own).await;
    // Each event's connection is another.
    place.app.on("/", |request| {
        let challenge = request.parameter("hub.challenge").unwrap_or_default();
        Some(Reply::status(200).body(challenge).header("Connection", "close"))
    });
    let topic = fresh_topic();
    let answer = subscribe(&hub, &topic, &format!("http://app.example:{}/", place.port)).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let publisher = hub.app().unwrap();
    let arrives = async |id: &str| {
        let arrived = async || {
            assert_eq!(publisher.publish(&patient_open(&topic, id)).await.unwrap().status, 202);
            let sent = place.app.notifications("/");
            sent.iter().any(|request| request.json()["id"] == id).then_some(())
        };
        eventually(PATIENCE, "an event", arrived).await.expect("FC-WHK-06");
    };
    arrives("before").await;
    for number in 0..8 {
        let callback = format!("http://{number}.silent.example:{}/", place.port);
        assert_eq!(subscribe(&hub, &fresh_topic(), &callback).await.status, 202);
    }
    let is_looking = async || (silences.load(Ordering::SeqCst) > 0).then_some(());
    eventually(PATIENCE, "the worker looks for them", is_looking).await.unwrap();
    for id in ["1", "2", "3"] {
        arrives(id).await;
    }
}
