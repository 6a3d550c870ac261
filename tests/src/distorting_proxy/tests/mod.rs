//! The proxy before the embedded hub: that it is truthful when nothing is distorted, and that what is distorted shows.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashSet;

use serde_json::Value;

use super::{DistortingProxy, Distortion};
use crate::client::App;
use crate::examples::fresh_topic;
use crate::socket::{Incoming, Socket};
use crate::system::Hub;
use crate::wait::PATIENCE;

mod answers;
mod callbacks;
mod sockets;
mod truthful;

const PATIENT: &str = r#"{"key":"patient","resource":{"resourceType":"Patient","id":"p","n":1.10}}"#;
const ORIGIN: &str = "https://viewer.example";

/// A hub, and an app that uses it through a proxy.
struct Setup {
    _proxy: DistortingProxy,
    app: App,
    topic: String,
}

async fn hub(settings: &[(&str, &str)]) -> Hub {
    let own = [("cors.allowed_origins", ORIGIN), ("retry.initial_secs", "0.1"), ("ack_timeout_secs", "1")];
    Hub::start_embedded(&[&own, settings].concat()).await.unwrap()
}

fn before(hub: &Hub, distortion: Distortion) -> Setup {
    let proxy = DistortingProxy::start(hub.url(), distortion).unwrap();
    Setup { app: App::new(proxy.url()).unwrap(), _proxy: proxy, topic: fresh_topic() }
}

impl Setup {
    fn event(&self, id: &str, name: &str, elements: &str) -> String {
        format!(
            r#"{{"timestamp":"2026-01-01T00:00:00Z","id":"{id}","event":{{"hub.topic":"{}","hub.event":"{name}","context":[{elements}]}}}}"#,
            self.topic
        )
    }

    async fn publish(&self, id: &str, name: &str, elements: &str) {
        let answer = self.app.publish(&self.event(id, name, elements)).await.unwrap();
        answer.expect_status(202).unwrap();
    }

    async fn endpoint(&self, events: &str) -> String {
        self.app.subscribe_websocket(&self.topic, events, &[("subscriber.name", "Acme")]).await.unwrap()
    }

    /// A socket whose confirmation has been read.
    async fn socket(&self, events: &str) -> Socket {
        confirmed(&self.endpoint(events).await).await
    }
}

async fn confirmed(endpoint: &str) -> Socket {
    let mut socket = Socket::connect(endpoint).await.unwrap();
    assert_eq!(next(&mut socket).await["hub.mode"], "subscribe", "FC-WSC-01");
    socket
}

async fn next(socket: &mut Socket) -> Value {
    socket.next_json(PATIENCE).await.unwrap()
}

/// The ids of the next events, each answered.
async fn ids(socket: &mut Socket, count: usize) -> String {
    let mut ids = String::new();
    for _ in 0..count {
        let id = next(socket).await["id"].as_str().unwrap().to_owned();
        socket.answer(&id, 200).await.unwrap();
        ids += &id;
    }
    ids
}

async fn end(socket: &mut Socket) -> Option<u16> {
    match socket.next(PATIENCE).await.unwrap() {
        Incoming::Closed(code) => code,
        Incoming::Text(text) => panic!("a frame where the end was expected: {text}"),
    }
}

#[test]
fn every_distortion_names_a_rule_and_what_is_done_like_no_other() {
    let what: HashSet<&str> = Distortion::ALL.iter().map(|distortion| distortion.what()).collect();
    assert_eq!(what.len(), Distortion::ALL.len());
    assert!(Distortion::ALL.iter().all(|distortion| distortion.rule().starts_with("FC-")));
    assert!(!Distortion::ALL.contains(&Distortion::None));
}
