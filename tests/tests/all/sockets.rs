//! The WebSocket channel: confirmation, answers, frames, pings, and coming back (FC-WSC-01…05, 07, 08).

use harness::{
    client::App,
    examples::{fresh_id, fresh_topic},
    history::History,
    socket::{Incoming, Socket, upgrade_status},
    wait::{PATIENCE, eventually},
};
use reqwest::Method;
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    },
};

use crate::{
    messages::{event, patient_open},
    setups::{Kind, code_of, confirmed, ids_until, on_each_setup, sync_error_after},
};

on_each_setup![
    the_first_message_confirms_what_is_left_of_the_lease,
    the_endpoint_alone_opens_the_socket_whatever_the_origin,
    an_answer_may_have_a_number_digits_or_no_status_and_may_come_in_parts,
    a_newer_connection_replaces_the_older_one,
    an_object_that_answers_nothing_is_ignored,
    ten_frames_in_a_row_that_are_no_object_close_the_socket,
    a_binary_frame_and_one_too_large_close_the_socket,
    a_peer_that_misses_pings_is_dropped_and_one_that_answers_them_is_not,
    a_dropped_socket_resumes_without_a_gap,
    a_subscriber_that_never_answers_resumes_without_a_gap,
    who_missed_more_than_may_be_unanswered_gets_all_of_it,
    who_neither_reads_on_nor_answers_is_closed_and_comes_back_to_where_it_was,
    an_endpoint_ends_with_the_reconnect_grace,
];

async fn the_first_message_confirms_what_is_left_of_the_lease(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let lease = [("hub.lease_seconds", "3600")];
    let endpoint =
        setup.subscriber().subscribe_websocket(&topic, "Patient-open,*-close", &lease).await.unwrap();
    // An open context is not sent before the confirmation either.
    setup.publish(&patient_open(&topic, "open")).await;
    for connection in 0..2 {
        let mut socket = Socket::connect(&endpoint).await.unwrap();
        let confirmation = socket.next_json(PATIENCE).await.unwrap();
        assert_eq!(
            confirmation["hub.mode"], "subscribe",
            "FC-WSC-01: connection {connection}: {confirmation}"
        );
        assert_eq!(confirmation["hub.topic"], topic.as_str(), "FC-WSC-01");
        assert_eq!(confirmation["hub.events"], "Patient-open,*-close", "FC-WSC-01");
        let left = confirmation["hub.lease_seconds"].as_u64();
        assert!(left.is_some_and(|left| (3500..=3600).contains(&left)), "FC-WSC-01: {confirmation}");
        if connection == 0 {
            assert_eq!(socket.next_json(PATIENCE).await.unwrap()["id"], "open", "FC-SUB-08");
        }
    }
}

/// The status with which a request for an upgrade is answered.
async fn upgrade(endpoint: &str, origin: &str) -> u16 {
    let app = App::new(&endpoint.replacen("ws", "http", 1)).unwrap();
    let request = app.request(Method::GET, "").header("Connection", "Upgrade").header("Upgrade", "websocket");
    let request = request.header("Sec-WebSocket-Version", "13").header("Origin", origin);
    let request = request.header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    request.send().await.unwrap().status().as_u16()
}

async fn the_endpoint_alone_opens_the_socket_whatever_the_origin(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let endpoint = setup.subscriber().subscribe_websocket(&topic, "*", &[]).await.unwrap();
    for origin in ["null", "https://evil.example"] {
        assert_eq!(upgrade(&endpoint, origin).await, 101, "FC-WSC-02: {origin}");
    }
    let (base, id) = endpoint.rsplit_once('/').unwrap();
    let other = if id.ends_with('0') { "1" } else { "0" };
    let never = format!("{}{other}", &id[..id.len() - 1]);
    for unknown in [never.as_str(), "0", &id.to_uppercase(), &format!("{id}0"), "%00", "a/b"] {
        if unknown != id {
            assert_eq!(upgrade(&format!("{base}/{unknown}"), "null").await, 404, "FC-WSC-02: {unknown}");
        }
    }
    confirmed(&setup.b().endpoint_here(&endpoint).unwrap()).await;
}

async fn an_answer_may_have_a_number_digits_or_no_status_and_may_come_in_parts(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let watcher = setup.listener(&topic, "syncerror").await;
    let endpoint = setup.subscriber().subscribe_websocket(&topic, "Patient-open", &[]).await.unwrap();
    let mut socket = Socket::connect(&endpoint).await.unwrap();
    socket.next_json(PATIENCE).await.unwrap();
    let text = |text: &str| vec![Message::text(text.to_owned())];
    let part = |text: &str, kind, is_last| {
        Message::Frame(Frame::message(text.as_bytes().to_vec(), OpCode::Data(kind), is_last))
    };
    let mut refusals = 0;
    for (id, answer, is_refusal) in [
        ("1", text(r#"{"id":"1"}"#), false),
        ("2", text(r#"{"id":"2","timestamp":"T"}"#), false),
        ("3", text(r#"{"id":"3","status":200}"#), false),
        ("4", text(r#"{"id":"4","status":"202"}"#), false),
        ("5", text(r#"{"id":"5","status":409}"#), true),
        ("6", text(r#"{"status":"500","id":"6"}"#), true),
        (
            "7",
            vec![
                part(r#"{"id":"7","#, Data::Text, false),
                part(r#""status":"#, Data::Continue, false),
                part("404}", Data::Continue, true),
            ],
            true,
        ),
    ] {
        setup.publish(&patient_open(&topic, id)).await;
        assert_eq!(socket.next_json(PATIENCE).await.unwrap()["id"], id);
        for frame in answer {
            socket.send(frame).await.unwrap();
        }
        if is_refusal {
            let sync_error = sync_error_after(&watcher, refusals).await;
            assert_eq!(code_of(&sync_error, "eventid"), id, "FC-WSC-03, FC-NOT-02: {sync_error}");
            refusals += 1;
        }
    }
}

async fn a_newer_connection_replaces_the_older_one(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let endpoint = setup.subscriber().subscribe_websocket(&topic, "Patient-open", &[]).await.unwrap();
    let older = confirmed(&endpoint).await;
    let newer = confirmed(&setup.b().endpoint_here(&endpoint).unwrap()).await;
    assert_eq!(older.wait_closed(PATIENCE).await.unwrap(), Some(4000), "FC-WSC-04");
    setup.publish(&patient_open(&topic, "1")).await;
    assert_eq!(ids_until(&newer, "1").await, ["1"], "FC-WSC-04");
    let newest = confirmed(&endpoint).await;
    assert_eq!(newer.wait_closed(PATIENCE).await.unwrap(), Some(4000), "FC-WSC-04");
    setup.publish(&patient_open(&topic, "2")).await;
    newest.wait_for_event(PATIENCE, "2").await.unwrap();
    assert!(!older.seen(|seen| seen.ids("Patient-open").concat().contains(&"1".to_owned())), "FC-WSC-04");
}

async fn an_object_that_answers_nothing_is_ignored(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let endpoint = setup.subscriber().subscribe_websocket(&topic, "Patient-open", &[]).await.unwrap();
    let mut socket = Socket::connect(&endpoint).await.unwrap();
    socket.next_json(PATIENCE).await.unwrap();
    for nothing in [
        format!(r#"{{"hub.channel.endpoint":"{endpoint}"}}"#),
        "{}".to_owned(),
        r#"{"id":"never-sent","status":500}"#.to_owned(),
        r#"{"id":7,"status":500}"#.to_owned(),
        r#"{"id":"never-sent","status":"bad"}"#.to_owned(),
    ] {
        for _ in 0..3 {
            socket.send(Message::text(nothing.clone())).await.unwrap();
        }
    }
    setup.publish(&patient_open(&topic, "1")).await;
    assert_eq!(socket.next_json(PATIENCE).await.unwrap()["id"], "1", "FC-WSC-05");
}

async fn ten_frames_in_a_row_that_are_no_object_close_the_socket(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let endpoint = setup.subscriber().subscribe_websocket(&topic, "Patient-open", &[]).await.unwrap();
    let mut socket = Socket::connect(&endpoint).await.unwrap();
    socket.next_json(PATIENCE).await.unwrap();
    let nine = ["", "nonsense", "[]", "7", "null", "\"{}\"", "{", "{]", "}"];
    for frame in nine.iter().chain(&["{}"]).chain(&nine) {
        socket.send(Message::text(*frame)).await.unwrap();
    }
    setup.publish(&patient_open(&topic, "1")).await;
    assert_eq!(socket.next_json(PATIENCE).await.unwrap()["id"], "1", "FC-WSC-05: nine in a row are borne");
    socket.send(Message::text("the tenth")).await.unwrap();
    assert_eq!(socket.next(PATIENCE).await.unwrap(), Incoming::Closed(Some(1008)), "FC-WSC-05");
}

async fn a_binary_frame_and_one_too_large_close_the_socket(kind: Kind) {
    let setup = kind.shared().await;
    for (frame, code) in [
        (Message::binary(b"{}".to_vec()), 1003),
        (Message::text(format!("{{\"x\":\"{}\"}}", "x".repeat(70_000))), 1009),
    ] {
        let endpoint = setup.subscriber().subscribe_websocket(&fresh_topic(), "*", &[]).await.unwrap();
        let mut socket = Socket::connect(&endpoint).await.unwrap();
        socket.next_json(PATIENCE).await.unwrap();
        socket.send(frame).await.unwrap();
        assert_eq!(socket.next(PATIENCE).await.unwrap(), Incoming::Closed(Some(code)), "FC-WSC-05");
    }
}

async fn a_peer_that_misses_pings_is_dropped_and_one_that_answers_them_is_not(kind: Kind) {
    let setup = kind.own(&[("ping_secs", "1")]).await;
    let topic = fresh_topic();
    let answering = setup.listener(&topic, "Patient-open").await;
    let endpoint = setup.subscriber().subscribe_websocket(&topic, "Patient-open", &[]).await.unwrap();
    let silent = Socket::connect(&endpoint).await.unwrap();
    for expected in [2.0, 1.0] {
        let what = format!("{expected} open sockets");
        let connections = || async {
            let open = setup.a().metrics().await.unwrap().value("fhircast_connections");
            (open == Some(expected)).then_some(())
        };
        eventually(PATIENCE, &what, connections).await.expect("FC-WSC-07: a silent peer is dropped");
    }
    setup.publish(&patient_open(&topic, "1")).await;
    assert_eq!(ids_until(&answering, "1").await, ["1"], "FC-WSC-07: who answers pings stays");
    drop(silent);
}

async fn a_dropped_socket_resumes_without_a_gap(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let mut listener = setup.listener(&topic, "Patient-open").await;
    let endpoint = listener.endpoint().to_owned();
    let mut history = History::default();
    for round in 0..4 {
        for number in 0..3 {
            let id = format!("{round}-{number}");
            setup.publish(&patient_open(&topic, &id)).await;
            history.accepted([id.clone()]);
            if number == 0 && round % 2 == 0 {
                listener.wait_for_event(PATIENCE, &id).await.unwrap();
                listener.drop_connection().await;
            }
        }
        let node = setup.nodes()[round % setup.nodes().len()];
        listener.reconnect_to(&node.endpoint_here(&endpoint).unwrap()).await.unwrap();
    }
    listener.wait_for_event(PATIENCE, "3-2").await.unwrap();
    listener.tell(&mut history, "the subscriber", "Patient-open");
    let findings = history.check();
    assert!(findings.is_clean(), "FC-WSC-08: all of it, in order: {findings}");
    let first = |connection| {
        move |seen: &harness::socket::Seen| {
            let mut received = seen.received.iter();
            received.find(|received| received.connection == connection).map(|received| received.json.clone())
        }
    };
    for connection in 0..5 {
        let message = listener.wait_for(PATIENCE, "a confirmation", first(connection)).await.unwrap();
        assert_eq!(message["hub.mode"], "subscribe", "FC-WSC-08: first the confirmation: {message}");
    }
}

async fn a_subscriber_that_never_answers_resumes_without_a_gap(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let mut listener = setup.listener(&topic, "Patient-open").await;
    listener.answer_with(|_| None);
    for id in ["1", "2"] {
        setup.publish(&patient_open(&topic, id)).await;
    }
    listener.wait_for_event(PATIENCE, "2").await.unwrap();
    listener.drop_connection().await;
    setup.publish(&patient_open(&topic, "3")).await;
    listener.reconnect().await.unwrap();
    listener.wait_for_event(PATIENCE, "3").await.unwrap();
    let mut history = History::default();
    history.accepted(["1", "2", "3"].map(str::to_owned));
    listener.tell(&mut history, "the subscriber", "Patient-open");
    assert!(history.check().is_clean(), "FC-WSC-08: {}", history.check());
}

async fn who_missed_more_than_may_be_unanswered_gets_all_of_it(kind: Kind) {
    let setup = kind.own(&[("limits.unanswered", "5")]).await;
    for answers in [true, false] {
        let topic = fresh_topic();
        let mut listener = setup.listener(&topic, "Patient-open").await;
        if !answers {
            listener.answer_with(|_| None);
        }
        listener.drop_connection().await;
        let ids: Vec<String> = (0..23).map(|number| number.to_string()).collect();
        for id in &ids {
            setup.publish(&patient_open(&topic, id)).await;
        }
        listener.reconnect().await.unwrap();
        assert_eq!(ids_until(&listener, "22").await, ids, "FC-WSC-08: answers: {answers}");
    }
}

async fn who_neither_reads_on_nor_answers_is_closed_and_comes_back_to_where_it_was(kind: Kind) {
    let setup = kind.own(&[("limits.unanswered", "5"), ("ack_timeout_secs", "1")]).await;
    let topic = fresh_topic();
    let mut listener = setup.listener(&topic, "Patient-open").await;
    // It has answered before, so it is held to its answers.
    setup.publish(&patient_open(&topic, "first")).await;
    listener.wait_for_event(PATIENCE, "first").await.unwrap();
    listener.answer_with(|_| None);
    let ids: Vec<String> = (0..12).map(|number| number.to_string()).collect();
    for id in &ids {
        setup.publish(&patient_open(&topic, id)).await;
    }
    assert_eq!(listener.wait_closed(PATIENCE).await.unwrap(), Some(1008), "limits.unanswered");
    listener.answer_with(|_| Some(200));
    listener.reconnect().await.unwrap();
    listener.wait_for_event(PATIENCE, "11").await.unwrap();
    let mut history = History::default();
    history.accepted(["first".to_owned()].into_iter().chain(ids));
    listener.tell(&mut history, "the subscriber", "Patient-open");
    assert!(history.check().is_clean(), "FC-WSC-08: {}", history.check());
}

async fn an_endpoint_ends_with_the_reconnect_grace(kind: Kind) {
    let setup = kind.own(&[("reconnect_grace_secs", "1")]).await;
    let topic = fresh_topic();
    let watcher = setup.listener(&topic, "syncerror").await;
    let mut endpoints = Vec::new();
    for code in [1000, 1001] {
        let endpoint = setup.subscriber().subscribe_websocket(&topic, "*", &[]).await.unwrap();
        let mut socket = Socket::connect(&endpoint).await.unwrap();
        socket.next_json(PATIENCE).await.unwrap();
        socket.close(code).await.unwrap();
        endpoints.push(endpoint);
    }
    for endpoint in endpoints {
        // Looking at it, unlike connecting, does not end the grace.
        let id = endpoint.rsplit('/').next().unwrap();
        let gone = eventually(PATIENCE, "the end of the grace", || async {
            let looked = setup.subscriber().get(&format!("/ws/{id}")).await.unwrap();
            (looked.status == 404).then_some(())
        });
        gone.await.expect("FC-WSC-08: the endpoint ends with the grace");
        let refused = Socket::connect(&endpoint).await.err().unwrap();
        assert_eq!(upgrade_status(&refused), Some(404), "FC-WSC-08, FC-WSC-02: {refused}");
    }
    let last = fresh_id();
    setup.publish(&event(&topic, &last, "syncerror", "")).await;
    assert_eq!(ids_until(&watcher, &last).await, [last], "FC-NOT-05: 1000 and 1001 are no failures");
}
