//! FC-WHK-02, FC-WHK-05, FC-SUB-04, FC-SUB-08.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use shared::protocol::webhook::Mode;
use worker::Served;

use crate::{
    callback::{Callback, Reply},
    system::{System, until},
};

#[actix_rt::test]
async fn a_subscriber_that_echoes_the_challenge_is_subscribed() {
    let (system, callback) = (System::new(), Callback::accepting());
    let address = system.subscribe_to(&callback.url("/cb?session=7"), "Patient-open,*-select").await;
    assert!(system.exists(address).await, "FC-WHK-02");

    let asked = &callback.received()[0];
    assert_eq!((asked.method.as_str(), asked.path.as_str()), ("GET", "/cb"));
    let names: Vec<&str> = asked.query.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        ["session", "hub.mode", "hub.topic", "hub.events", "hub.challenge", "hub.lease_seconds"],
        "FC-WHK-02: its own query comes first"
    );
    assert_eq!(asked.parameter("hub.mode"), Some("subscribe"));
    assert_eq!(asked.parameter("hub.topic"), Some("topic"));
    assert_eq!(asked.parameter("hub.events"), Some("Patient-open,*-select"));
    assert_eq!(asked.parameter("hub.lease_seconds"), Some("3600"));
    assert!(asked.user_agent.as_deref().unwrap().starts_with("fhircast-hub/"));
}

#[actix_rt::test]
async fn every_challenge_is_another() {
    let (system, callback) = (System::new(), Callback::accepting());
    for _ in 0..2 {
        system.subscribe_to(&callback.url("/"), "*").await;
    }
    let challenges: Vec<_> = callback
        .received()
        .iter()
        .map(|asked| asked.parameter("hub.challenge").unwrap().to_owned())
        .collect();
    assert!(challenges[0] != challenges[1] && challenges[0].len() == 32, "{challenges:?}");
}

#[actix_rt::test]
async fn anything_but_2xx_with_the_challenge_leaves_no_subscription() {
    let callback = Callback::answering(|request| match request.path.as_str() {
        "/wrong-body" => Reply::status(200).body("something else"),
        "/more-than-the-challenge" => {
            Reply::status(200).body(format!("{}\n", request.parameter("hub.challenge").unwrap()))
        }
        "/no-body" => Reply::status(204),
        "/redirect" => Reply::challenge(request).header("location", "/good").code(302),
        "/not-found" => Reply::challenge(request).code(404),
        "/error" => Reply::challenge(request).code(500),
        "/too-long" => Reply::status(200).body(vec![b'a'; 70_000]),
        "/hangs" => Reply::never(),
        _ => Reply::challenge(request),
    });
    let system = System::new();
    let paths = [
        "/wrong-body",
        "/more-than-the-challenge",
        "/no-body",
        "/redirect",
        "/not-found",
        "/error",
        "/too-long",
        "/hangs",
    ];
    for path in paths {
        let address = system.request(Mode::Subscribe, &system.subscription(&callback.url(path), "*")).await;
        assert_eq!(system.step().await, [Served::NotVerified(Mode::Subscribe)], "FC-WHK-02: {path}");
        assert!(!system.exists(address).await, "FC-WHK-02: {path}");
    }
    system.publish("Patient-open", "e").await;
    assert!(system.step().await.is_empty(), "nobody is subscribed");
    let came: Vec<String> = callback.received().into_iter().map(|request| request.path).collect();
    assert_eq!(came, paths, "FC-WHK-02: each was asked once, and a redirect is not followed");
}

#[actix_rt::test]
async fn a_request_that_is_not_confirmed_is_dropped_and_its_callback_left_alone() {
    let callback = Callback::answering(|request| match request.path.as_str() {
        "/refuses" => Reply::status(404),
        _ => Reply::challenge(request),
    });
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}/", listener.local_addr().unwrap())
    };
    let system = System::new();
    system.request(Mode::Subscribe, &system.subscription(&closed, "*")).await;
    assert_eq!(system.step().await, [Served::NotVerified(Mode::Subscribe)], "FC-WHK-02");
    assert!(system.step().await.is_empty(), "FC-WHK-02: one that cannot be reached is asked once as well");

    let running = system.start();
    system.request(Mode::Subscribe, &system.subscription(&callback.url("/refuses"), "*")).await;
    until("it is asked", || async { !callback.received().is_empty() }).await;
    for probe in ["/probe-1", "/probe-2"] {
        let address = system.request(Mode::Subscribe, &system.subscription(&callback.url(probe), "*")).await;
        until("the probe is verified", || system.exists(address)).await;
    }
    running.stop().await;
    let came: Vec<String> = callback.received().into_iter().map(|request| request.path).collect();
    assert_eq!(came, ["/refuses", "/probe-1", "/probe-2"], "FC-WHK-02: exactly one GET");
}

#[actix_rt::test]
async fn an_answer_is_read_up_to_its_limit() {
    let callback = Callback::accepting();
    for (limit, expected) in
        [(31, Served::NotVerified(Mode::Subscribe)), (32, Served::Verified(Mode::Subscribe))]
    {
        let system = System::with(|settings| settings.limits.callback_body_bytes = limit);
        system.request(Mode::Subscribe, &system.subscription(&callback.url("/"), "*")).await;
        assert_eq!(system.step().await, [expected], "{limit} bytes");
    }
}

#[actix_rt::test]
async fn subscribing_again_replaces_the_terms_once_they_are_verified() {
    let is_confirmed = Arc::new(AtomicBool::new(true));
    let confirms = is_confirmed.clone();
    let callback = Callback::answering(move |request| {
        if confirms.load(Ordering::SeqCst) { Reply::challenge(request) } else { Reply::status(404) }
    });
    let system = System::new();
    let address = system.subscribe_to(&callback.url("/"), "Patient-open").await;

    is_confirmed.store(false, Ordering::SeqCst);
    system.request(Mode::Subscribe, &system.subscription(&callback.url("/"), "ImagingStudy-open")).await;
    assert_eq!(system.step().await, [Served::NotVerified(Mode::Subscribe)]);
    is_confirmed.store(true, Ordering::SeqCst);
    let events = |known: Option<(shared::store::Subscription, _)>| known.unwrap().0.terms.events.to_string();
    assert_eq!(
        events(system.store.subscription(address.id).await.unwrap()),
        "Patient-open",
        "FC-WHK-02: as before"
    );

    system.publish("Patient-open", "old").await;
    system.step().await;
    let again = system.subscribe_to(&callback.url("/"), "ImagingStudy-open").await;
    assert_eq!(again, address, "FC-SUB-04: still one subscription");
    for (event, id) in [("Patient-open", "p"), ("ImagingStudy-open", "i")] {
        system.publish(event, id).await;
    }
    system.step().await;
    assert_eq!(callback.ids(), ["old", "i"], "FC-SUB-04");
}

#[actix_rt::test]
async fn a_subscription_ends_only_when_its_subscriber_confirms_it() {
    let is_confirmed = Arc::new(AtomicBool::new(true));
    let confirms = is_confirmed.clone();
    let callback = Callback::answering(move |request| {
        if confirms.load(Ordering::SeqCst) { Reply::challenge(request) } else { Reply::status(404) }
    });
    let system = System::new();
    let subscription = system.subscription(&callback.url("/"), "*");
    let address = system.subscribe(&subscription).await;

    is_confirmed.store(false, Ordering::SeqCst);
    system.request(Mode::Unsubscribe, &subscription).await;
    assert_eq!(system.step().await, [Served::NotVerified(Mode::Unsubscribe)]);
    assert!(system.exists(address).await, "FC-WHK-02: somebody else asked");

    is_confirmed.store(true, Ordering::SeqCst);
    system.request(Mode::Unsubscribe, &subscription).await;
    assert_eq!(system.step().await, [Served::Verified(Mode::Unsubscribe)]);
    assert_eq!(callback.received().last().unwrap().parameter("hub.mode"), Some("unsubscribe"));
    assert!(!system.exists(address).await, "FC-WHK-02");
    system.publish("Patient-open", "e").await;
    assert!(system.step().await.is_empty());
}

#[actix_rt::test]
async fn a_late_joiner_is_sent_the_open_contexts_and_then_what_is_new() {
    let (system, callback) = (System::new(), Callback::accepting());
    for (event, id) in [
        ("Patient-open", "p1"),
        ("ImagingStudy-open", "i1"),
        ("Patient-open", "p2"),
        ("Encounter-open", "e1"),
    ] {
        system.publish(event, id).await;
    }
    let running = system.start();
    system
        .request(Mode::Subscribe, &system.subscription(&callback.url("/"), "Patient-*,ImagingStudy-open"))
        .await;
    until("the open contexts come", || async { callback.ids().len() == 2 }).await;
    system.publish("Patient-open", "p3").await;
    until("the new event comes", || async { callback.ids().len() == 3 }).await;
    assert_eq!(
        callback.ids(),
        ["i1", "p2", "p3"],
        "FC-SUB-08: oldest first, what it asked for, nothing closed"
    );
    assert_eq!(callback.notifications()[0].json()["timestamp"], "2026-01-01T00:00:00Z", "FC-SUB-08");
    running.stop().await;
}

#[actix_rt::test]
async fn a_lease_that_is_over_is_denied_and_forgotten() {
    let (system, callback) = (System::new(), Callback::accepting());
    let mut subscription = system.subscription(&callback.url("/cb?session=7"), "Patient-open");
    subscription.terms.lease_secs = 1;
    let running = system.start();
    let address = system.request(Mode::Subscribe, &subscription).await;
    until("it is subscribed", || system.exists(address)).await;
    until("the lease ends", || async { !system.exists(address).await }).await;
    // Somebody goes on: the worker looks at the subscription, and finds its lease over.
    system.publish("Patient-open", "e").await;
    until("the denial comes", || async { callback.received().len() == 2 }).await;
    let denial = callback.received().pop().unwrap();
    let said = |name| denial.parameter(name).unwrap();
    assert_eq!(denial.method, "GET", "FC-WHK-05");
    assert_eq!(
        [said("session"), said("hub.mode"), said("hub.topic"), said("hub.events"), said("hub.reason")],
        ["7", "denied", "topic", "Patient-open", "lease expired"],
        "FC-WHK-05"
    );
    running.stop().await;
    assert!(callback.ids().is_empty(), "FC-WHK-05: nothing after the lease");
    system.publish("Patient-open", "e2").await;
    assert!(system.step().await.is_empty());
}

#[actix_rt::test]
async fn a_lease_ends_with_the_token_however_late_it_is_verified() {
    let (system, callback) = (System::new(), Callback::accepting());
    let mut subscription = system.subscription(&callback.url("/"), "Patient-open");
    let token_ends = system.store.now().await.unwrap() + 4_000;
    subscription.not_after = Some(token_ends);
    system.request(Mode::Subscribe, &subscription).await;
    until("a second has gone", || async { system.store.now().await.unwrap() + 3_000 >= token_ends }).await;
    assert_eq!(system.step().await, [Served::Verified(Mode::Subscribe)]);
    let now = system.store.now().await.unwrap();
    let told: u64 = callback.received()[0].parameter("hub.lease_seconds").unwrap().parse().unwrap();
    assert!((1..=2).contains(&told), "FC-SUB-05, FC-SEC-04: {told} s told");
    if let Some((_, lease)) = system.store.subscription(subscription.id).await.unwrap() {
        let lease = u64::try_from(lease.as_millis()).unwrap();
        assert!(now + lease <= token_ends + 500, "FC-SEC-04: {lease} ms are left");
    }
    let running = system.start();
    until("the denial comes", || async { callback.received().len() == 2 }).await;
    assert_eq!(callback.received()[1].parameter("hub.reason"), Some("lease expired"), "FC-SUB-07");
    running.stop().await;
}

#[actix_rt::test]
async fn a_request_whose_token_has_ended_is_denied_and_not_verified() {
    let (system, callback) = (System::new(), Callback::accepting());
    let mut subscription = system.subscription(&callback.url("/"), "Patient-open");
    let token_ends = system.store.now().await.unwrap() + 500;
    subscription.not_after = Some(token_ends);
    let address = system.request(Mode::Subscribe, &subscription).await;
    until("the token ends", || async { system.store.now().await.unwrap() >= token_ends }).await;
    assert_eq!(system.step().await, [Served::NotVerified(Mode::Subscribe)], "FC-SEC-04");
    let told = callback.received();
    assert_eq!(told.len(), 1, "FC-SUB-10: denied, and not asked");
    assert_eq!(told[0].parameter("hub.mode"), Some("denied"), "FC-SUB-10");
    assert_eq!(told[0].parameter("hub.reason"), Some("token expired"), "FC-SUB-10");
    assert!(!system.exists(address).await, "FC-SEC-04");
}

#[actix_rt::test]
async fn what_comes_after_the_lease_is_not_missed_by_a_subscriber_that_hangs_in_its_denial() {
    let callback = Callback::answering(|request| match request.parameter("hub.mode") {
        Some("denied") => Reply::never(),
        _ => Reply::challenge(request),
    });
    let system = System::new();
    let mut subscription = system.subscription(&callback.url("/"), "Patient-open");
    subscription.terms.lease_secs = 1;
    let address = system.subscribe(&subscription).await;
    until("the lease ends", || async { !system.exists(address).await }).await;
    system.publish("Patient-open", "e").await;
    // The denial takes as long as any request may: the event would be overdue before its end.
    assert_eq!(system.step().await, [Served::Ended], "FC-WHK-05");
    assert!(system.reported().await.is_empty(), "FC-NOT-02: it was for nobody");
}

#[actix_rt::test]
async fn one_address_is_asked_at_its_pace_whatever_it_is_called_and_nobody_else_waits() {
    let (system, callback) = (
        System::with(|settings| {
            settings.limits.verifications_per_address_per_min = 1;
            settings.ack_timeout_secs = 60;
        }),
        Callback::accepting(),
    );
    let worker = system.worker();
    system.request(Mode::Subscribe, &system.subscription(&callback.url("/1"), "*")).await;
    assert_eq!(worker.step().await.unwrap(), [Served::Verified(Mode::Subscribe)]);
    let renamed = callback.url("/2").replace("127.0.0.1", "localhost");
    system.request(Mode::Subscribe, &system.subscription(&renamed, "*")).await;
    let outcomes = worker.step().await.unwrap();
    assert!(matches!(outcomes[..], [Served::Waiting { .. }]), "FC-SEC-02: {outcomes:?}");
    assert!(worker.step().await.unwrap().is_empty(), "FC-SEC-02: it is not due before its turn");
    let elsewhere = callback.url("/3").replace("127.0.0.1", "127.0.0.2");
    system.request(Mode::Subscribe, &system.subscription(&elsewhere, "*")).await;
    assert_eq!(worker.step().await.unwrap(), [Served::NotVerified(Mode::Subscribe)], "nobody listens there");
    assert_eq!(callback.received().len(), 1, "FC-SEC-02");
}

#[actix_rt::test]
async fn those_who_wait_for_their_turn_have_it() {
    let (system, callback) = (
        System::with(|settings| settings.limits.verifications_per_address_per_min = 60),
        Callback::accepting(),
    );
    let mut addresses = Vec::new();
    for number in 0..62 {
        let subscription = system.subscription(&callback.url(&format!("/{number}")), "*");
        addresses.push(system.request(Mode::Subscribe, &subscription).await);
    }
    let running = system.start();
    for address in addresses {
        until("FC-SEC-02: all are verified in the end", || system.exists(address)).await;
    }
    running.stop().await;
    let received = callback.received();
    assert_eq!(received.len(), 62, "FC-WHK-02: each was asked once");
    let span = received[61].at - received[0].at;
    assert!(span > Duration::from_millis(900), "FC-SEC-02: a minute's worth, then one a second: {span:?}");
}

#[actix_rt::test]
async fn a_request_that_workers_die_of_is_asked_about_three_times_and_no_more() {
    let callback = Callback::answering(|_| Reply::never());
    let system = System::with(|settings| settings.ack_timeout_secs = 60);
    let address = system.request(Mode::Subscribe, &system.subscription(&callback.url("/"), "*")).await;
    for asked in 1..=3 {
        let due = || async { !system.store.due(&[address.topic.partition(16)], 9).await.unwrap().is_empty() };
        until("its claim ends", due).await;
        let worker = system.worker();
        let dying = async { until("it is asked", || async { callback.received().len() == asked }).await };
        tokio::select! {
            served = worker.step() => panic!("{served:?}"),
            () = dying => {}
        }
    }
    let due = || async { !system.store.due(&[address.topic.partition(16)], 9).await.unwrap().is_empty() };
    until("its claim ends", due).await;
    assert_eq!(system.step().await, [Served::NotVerified(Mode::Subscribe)], "FC-SEC-02, FC-WHK-02");
    assert_eq!(callback.received().len(), 3, "FC-SEC-02");
    assert!(!system.exists(address).await);
}

#[actix_rt::test]
async fn who_has_a_subscription_in_force_waits_for_no_turn_to_renew_it() {
    let (system, callback) = (
        System::with(|settings| settings.limits.verifications_per_address_per_min = 1),
        Callback::accepting(),
    );
    let worker = system.worker();
    let renewing = system.subscription(&callback.url("/renewing"), "Patient-open");
    system.request(Mode::Subscribe, &renewing).await;
    assert_eq!(worker.step().await.unwrap(), [Served::Verified(Mode::Subscribe)]);
    system.request(Mode::Subscribe, &system.subscription(&callback.url("/stranger"), "*")).await;
    let outcomes = worker.step().await.unwrap();
    assert!(matches!(outcomes[..], [Served::Waiting { .. }]), "FC-SEC-02: {outcomes:?}");
    system.request(Mode::Subscribe, &renewing).await;
    system.publish("Patient-open", "e").await;
    let running = system.start();
    until("FC-WHK-06: it has its event", || async { callback.ids() == ["e"] }).await;
    running.stop().await;
    let asked =
        callback.received().iter().filter(|request| request.parameter("hub.challenge").is_some()).count();
    assert_eq!(asked, 2, "FC-SUB-04: it is asked at once, and once");
}

#[actix_rt::test]
async fn a_request_whose_callback_nobody_can_resolve_now_waits() {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let server = silent.local_addr().unwrap();
    let system = System::with(|settings| {
        settings.callbacks.dns_servers = vec![server];
        settings.callbacks.dns_timeout_ms = 100;
        settings.ack_timeout_secs = 2;
    });
    let url = "http://somewhere.example/";
    let address = system.request(Mode::Subscribe, &system.subscription(url, "*")).await;
    for _ in 0..2 {
        let partition = [address.topic.partition(16)];
        let due = || async { !system.store.due(&partition, 9).await.unwrap().is_empty() };
        until("it is looked at again", due).await;
        let outcomes = system.step().await;
        assert!(matches!(outcomes[..], [Served::Waiting { .. }]), "FC-WHK-02: not dropped: {outcomes:?}");
    }
}
