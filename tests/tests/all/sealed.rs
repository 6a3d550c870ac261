//! Data at rest is sealed (FC-SEC-03): what is said about patients and by subscribers is in no key, value, file or
//! channel of Redis.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
};

use harness::{
    callback_server::{CallbackServer, Nobody, Reply},
    data_keys::OLD,
    examples::{fresh_id, fresh_topic},
    redis_server::RedisServer,
    redis_shape::Shape,
    system::{System, SystemBuilder},
    wait::{PATIENCE, eventually},
};
use redis::Value;

use crate::{
    messages::{event, versioned},
    setups::{confirmed, ids_until, sync_error_after},
};

/// What Redis is told, as its MONITOR shows it.
struct Monitor {
    heard: Arc<Mutex<Vec<u8>>>,
    stream: TcpStream,
    thread: Option<JoinHandle<()>>,
}

impl Monitor {
    fn start(server: &RedisServer) -> Monitor {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
        stream.write_all(b"MONITOR\r\n").unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (all, mut told) = (heard.clone(), stream.try_clone().unwrap());
        let thread = std::thread::spawn(move || {
            let mut part = vec![0; 64 * 1024];
            while let Ok(read @ 1..) = told.read(&mut part) {
                all.lock().unwrap_or_else(PoisonError::into_inner).extend(&part[..read]);
            }
        });
        Monitor { heard, stream, thread: Some(thread) }
    }

    fn heard(&self) -> Vec<u8> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        // Redis may have ended the connection already.
        let _ = self.stream.shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// All bytes of an answer, one text after the other.
fn flatten(value: &Value, into: &mut Vec<u8>) {
    match value {
        Value::BulkString(bytes) => into.extend(bytes),
        Value::Array(values) | Value::Set(values) => values.iter().for_each(|value| flatten(value, into)),
        Value::Map(pairs) => pairs.iter().for_each(|(key, value)| {
            flatten(key, into);
            flatten(value, into);
        }),
        Value::SimpleString(text) => into.extend(text.as_bytes()),
        other => into.extend(format!("{other:?}").as_bytes()),
    }
    into.push(b'\n');
}

/// Every key with all that it holds.
async fn keys_of(server: &RedisServer) -> Vec<u8> {
    let mut all = Vec::new();
    let keys: Vec<String> = server.ask(&["KEYS", "*"]).await.unwrap();
    for key in &keys {
        all.extend(key.as_bytes());
        let kind: String = server.ask(&["TYPE", key]).await.unwrap();
        let command: Vec<&str> = match kind.as_str() {
            "string" => vec!["GET", key],
            "hash" => vec!["HGETALL", key],
            "zset" => vec!["ZRANGE", key, "0", "-1", "WITHSCORES"],
            "stream" => vec!["XRANGE", key, "-", "+"],
            "none" => continue,
            other => panic!("{key} is a {other}"),
        };
        flatten(&server.ask(&command).await.unwrap(), &mut all);
    }
    all
}

fn files_below(directory: &Path, into: &mut Vec<u8>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, into);
        } else {
            into.extend(std::fs::read(path).unwrap());
        }
    }
}

/// The append-only file and a dump, in clear as far as Redis is concerned.
async fn files_of(server: &RedisServer) -> Vec<u8> {
    server.ask::<()>(&["CONFIG", "SET", "rdbcompression", "no"]).await.unwrap();
    server.ask::<()>(&["SAVE"]).await.unwrap();
    let (_, directory): (String, String) = server.ask(&["CONFIG", "GET", "dir"]).await.unwrap();
    let mut all = Vec::new();
    files_below(Path::new(&directory), &mut all);
    all
}

/// What is said to the hub, by a name for each part.
struct Said {
    /// What a reader of Redis must not find.
    hidden: Vec<String>,
    /// Likewise, and no key holds it any more.
    passed: Vec<String>,
    /// Of these, what is nowhere even when nothing is sealed.
    never: Vec<String>,
}

/// Subscribers on both channels, events of all kinds, refusals, late joiners: everything that leaves something behind.
async fn say_everything(system: &System) -> Said {
    let mark = fresh_id().replace('-', "");
    let topic = fresh_topic();
    let own = |name: &str| format!("{name}{}", &mark[..12]);
    let (family, patient, observation) = (own("Family"), own("patient-"), own("observation-"));
    let (url, report, name, event_id) = (own("urn:x:"), own("report-"), own("Dr. "), own("event-"));
    let (secret, path, query, pending) = (own("secret-"), own("/callback-"), own("token="), own("pending-"));
    let (a, b) = (system.hubs[0].app().unwrap(), system.hubs[1].app().unwrap());

    let server = CallbackServer::start().unwrap();
    let callback = server.url(&format!("{path}?{query}"));
    let extra = [("hub.secret", secret.as_str()), ("subscriber.name", name.as_str())];
    let asked = a.subscribe_webhook(&topic, "*", &callback, &extra).await.unwrap();
    asked.expect_status(202).unwrap();
    // It is never verified.
    let nobody = Nobody::here().unwrap();
    let nowhere = nobody.url(&format!("/{pending}")).unwrap();
    a.subscribe_webhook(&topic, "*", &nowhere, &extra).await.unwrap().expect_status(202).unwrap();
    let endpoint = a.subscribe_websocket(&topic, "*", &[("subscriber.name", &name)]).await.unwrap();
    let listener = confirmed(&endpoint).await;

    let post = |text: String| {
        let b = &b;
        async move { b.publish(&text).await.unwrap().expect_status(202).unwrap() }
    };
    let in_force = || async {
        post(event(&topic, &fresh_id(), "org.example.probe", "")).await;
        (!server.notifications(&path).is_empty()).then_some(())
    };
    eventually(PATIENCE, "the webhook is in force", in_force).await.unwrap();

    let person = format!(
        r#"{{"key":"patient","resource":{{"resourceType":"Patient","id":"{patient}","name":[{{"family":"{family}"}}]}}}}"#
    );
    post(event(&topic, &event_id, "Patient-open", &person)).await;
    let anchor =
        format!(r#"{{"key":"report","resource":{{"resourceType":"DiagnosticReport","id":"{report}"}}}}"#);
    post(event(&topic, "report", "DiagnosticReport-open", &format!("{anchor},{person}"))).await;
    let context = a.current_context(&topic).await.unwrap().json().unwrap();
    let version = context["context.versionId"].as_str().unwrap().to_owned();
    let updates = format!(
        r#"{{"key":"updates","resource":{{"resourceType":"Bundle","type":"transaction","entry":[{{"fullUrl":"{url}","request":{{"method":"PUT"}},"resource":{{"resourceType":"Observation","id":"{observation}","note":"{family}"}}}}]}}}}"#
    );
    let update = event(&topic, "update", "DiagnosticReport-update", &format!("{anchor},{updates}"));
    post(versioned(&update, &version)).await;
    post(event(&topic, "select", "DiagnosticReport-select", &anchor)).await;

    // Who comes late is sent what is open.
    let watcher_endpoint = b.subscribe_websocket(&topic, "*", &[]).await.unwrap();
    let watcher = confirmed(&watcher_endpoint).await;
    watcher.wait_for_event(PATIENCE, "report").await.unwrap();

    // Somebody refuses, on each channel.
    listener.answer_with(|received| Some(if received.text.contains("refused") { 409 } else { 200 }));
    server.queue(&path, [Reply::status(409)]);
    post(event(&topic, "refused", "org.example.refused", &person)).await;
    sync_error_after(&watcher, 0).await;
    let context = b.current_context(&topic).await.unwrap();
    assert!(context.body.contains(&observation), "FC-CTX-04: {context:?}");
    post(event(&topic, "last", "org.example.last", "")).await;
    ids_until(&listener, "last").await;
    server.wait_for_event(PATIENCE, &path, "last").await.unwrap();
    let answer = server.notifications(&path).pop().unwrap();
    let signed = harness::callback_server::signature(&secret, &answer.body).unwrap();
    assert_eq!(answer.header("x-hub-signature"), Some(signed.as_str()), "FC-WHK-03");
    // A socket that is away leaves why.
    drop(watcher);

    let ticket = |endpoint: &str| endpoint.rsplit('/').next().unwrap().to_owned();
    let never = vec![ticket(&endpoint), ticket(&watcher_endpoint)];
    let mut hidden = vec![family, patient, observation, url, report, name, event_id, secret, path, query];
    hidden.push(topic);
    Said { hidden, passed: vec![pending], never }
}

/// What there is to be read: the keys of each primary, and the files and the traffic of every server.
async fn look(system: &System, monitors: &[Monitor]) -> Vec<(&'static str, Vec<u8>)> {
    let mut places = Vec::new();
    for (server, monitor) in system.redis.servers().iter().zip(monitors) {
        if server.info("replication", "role").await.unwrap() == "master" {
            places.push(("keys", keys_of(server).await));
        }
        places.push(("files", files_of(server).await));
        places.push(("traffic", monitor.heard()));
    }
    places
}

/// The kinds of places in which a text is found.
fn places_of(text: &str, places: &[(&'static str, Vec<u8>)]) -> BTreeSet<&'static str> {
    let finder = memchr::memmem::Finder::new(text);
    places.iter().filter(|(_, all)| finder.find(all).is_some()).map(|(place, _)| *place).collect()
}

const EVERYWHERE: [&str; 3] = ["files", "keys", "traffic"];

fn builder() -> SystemBuilder {
    System::builder().hubs(2).workers(1).set("retry.initial_secs", "0.1")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_key_nothing_that_was_said_is_in_redis_its_files_or_its_traffic() {
    // All of it is written sealed that must be: nothing of it is refused.
    let system = builder().shape(Shape::Cluster).set("data_keys", OLD).set("data_keys_required", "true");
    let system = system.start().await.unwrap();
    let monitors: Vec<Monitor> = system.redis.servers().iter().map(Monitor::start).collect();
    let said = say_everything(&system).await;
    let places = look(&system, &monitors).await;
    let known = places_of("fhircast:", &places);
    assert_eq!(known, BTreeSet::from(EVERYWHERE), "it has been looked everywhere");
    for text in said.hidden.iter().chain(&said.passed).chain(&said.never) {
        assert_eq!(places_of(text, &places), BTreeSet::new(), "FC-SEC-03: {text}");
    }
    for metrics in [system.hubs[0].metrics().await.unwrap(), system.workers[0].metrics().await.unwrap()] {
        assert_eq!(metrics.value("fhircast_unsealed"), Some(0.0), "FC-SEC-03");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_key_all_of_it_is_found_but_the_names_of_content_and_the_tickets() {
    let system = builder().start().await.unwrap();
    let monitors: Vec<Monitor> = system.redis.servers().iter().map(Monitor::start).collect();
    let said = say_everything(&system).await;
    let places = look(&system, &monitors).await;
    for text in &said.hidden {
        assert_eq!(places_of(text, &places), BTreeSet::from(EVERYWHERE), "{text}");
    }
    for text in &said.passed {
        assert_eq!(places_of(text, &places), BTreeSet::from(["files", "traffic"]), "{text}");
    }
    for ticket in &said.never {
        assert_eq!(places_of(ticket, &places), BTreeSet::new(), "FC-SEC-03: {ticket}");
    }
    let server = &system.redis.servers()[0];
    let names: Vec<String> = server.ask(&["KEYS", "*:content-names:*"]).await.unwrap();
    let names: Vec<String> = server.ask(&["ZRANGE", &names[0], "0", "-1"]).await.unwrap();
    assert_eq!(names.len(), 2, "FC-CNT-03: a resource, and its fullUrl");
    for text in &said.hidden {
        assert!(!names.iter().any(|name| name.contains(text.as_str())), "FC-SEC-03: {text} in {names:?}");
    }
    assert!(system.hubs[0].log_tail().contains("is not sealed"), "FC-SEC-03: it is said at the start");
    assert_eq!(system.hubs[0].metrics().await.unwrap().value("fhircast_unsealed"), Some(1.0), "FC-SEC-03");
}
