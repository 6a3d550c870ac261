//! Data keys are turned on and rotated while everything goes on, and who has other keys than the others is told so
//! (FC-SEC-03).

use std::collections::HashSet;

use harness::{
    callback_server::CallbackServer,
    data_keys::{NEW, OLD},
    examples::{fresh_id, fresh_topic},
    socket::Listener,
    system::{System, run},
    wait::{PATIENCE, eventually},
};

use crate::{
    messages::{event, patient_open},
    setups::{confirmed, ids_until},
};

/// A session with a subscriber on each channel, which goes on whatever happens to the keys.
struct Going {
    topic: String,
    listener: Listener,
    server: CallbackServer,
    opened: usize,
}

impl Going {
    async fn start(system: &System) -> Going {
        let (topic, server) = (fresh_topic(), CallbackServer::start().unwrap());
        let app = system.hubs[0].app().unwrap();
        let asked =
            app.subscribe_webhook(&topic, "*", &server.url("/cb"), &[("hub.secret", "s")]).await.unwrap();
        asked.expect_status(202).unwrap();
        let listener = confirmed(&app.subscribe_websocket(&topic, "*", &[]).await.unwrap()).await;
        let in_force = || async {
            let probe = event(&topic, &fresh_id(), "org.example.probe", "");
            app.publish(&probe).await.unwrap().expect_status(202).unwrap();
            (!server.notifications("/cb").is_empty()).then_some(())
        };
        eventually(PATIENCE, "the webhook is in force", in_force).await.unwrap();
        Going { topic, listener, server, opened: 0 }
    }

    /// At each hub an open, which comes to all that are there; and somebody joins late.
    async fn go_on(&mut self, system: &System) {
        for hub in &system.hubs {
            self.opened += 1;
            let id = format!("open-{}", self.opened);
            let app = hub.app().unwrap();
            app.publish(&patient_open(&self.topic, &id)).await.unwrap().expect_status(202).unwrap();
            self.listener.wait_for_event(PATIENCE, &id).await.unwrap();
            self.server.wait_for_event(PATIENCE, "/cb", &id).await.unwrap();
            let late =
                confirmed(&app.subscribe_websocket(&self.topic, "Patient-open", &[]).await.unwrap()).await;
            late.wait_for_event(PATIENCE, &id).await.unwrap();
            app.unsubscribe_websocket(&self.topic, late.endpoint())
                .await
                .unwrap()
                .expect_status(202)
                .unwrap();
            let context = app.current_context(&self.topic).await.unwrap();
            assert!(context.body.contains(&format!("p-{id}")), "FC-CTX-01: {context:?}");
        }
    }

    /// Each program in turn is started again with these keys.
    async fn roll(&mut self, system: &mut System, keys: &str) {
        for number in 0..system.hubs.len() {
            system.hubs[number].start_again_with(&[("data_keys", keys)]).await.unwrap();
            if number == 0 {
                self.listener.reconnect().await.unwrap();
            }
            self.go_on(system).await;
        }
        for worker in &mut system.workers {
            worker.start_again_with(&[("data_keys", keys)]).await.unwrap();
        }
        self.go_on(system).await;
    }

    /// Every event came, in order; the last before a restart may have come again.
    async fn assert_complete(&self) {
        let last = format!("open-{}", self.opened);
        let mut ids = ids_until(&self.listener, &last).await;
        ids.retain(|id| id.starts_with("open-"));
        let mut seen = HashSet::new();
        ids.retain(|id| seen.insert(id.clone()));
        let expected: Vec<String> = (1..=self.opened).map(|number| format!("open-{number}")).collect();
        assert_eq!(ids, expected, "FC-NOT-08");
        let sync_errors = self.listener.seen(|seen| {
            seen.received.iter().filter(|received| received.json["event"]["hub.event"] == "syncerror").count()
        });
        assert_eq!(sync_errors, 0, "FC-SEC-03: nobody notices a rotation");
    }
}

/// What should not happen, and may: a key is put in front before the others can open what it seals.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_lacks_a_key_misses_nothing_and_goes_on_once_it_has_it() {
    let system = System::builder().hubs(2).workers(1).set("data_keys", OLD).set("ack_timeout_secs", "120");
    let mut system = system.set("reconnect_grace_secs", "120").start().await.unwrap();
    let mut going = Going::start(&system).await;
    going.go_on(&system).await;
    let both = format!("{NEW},{OLD}");
    system.hubs[1].start_again_with(&[("data_keys", &both)]).await.unwrap();
    let (a, b) = (system.hubs[0].app().unwrap(), system.hubs[1].app().unwrap());
    for _ in 0..3 {
        going.opened += 1;
        let text = patient_open(&going.topic, &format!("open-{}", going.opened));
        b.publish(&text).await.unwrap().expect_status(202).unwrap();
    }
    // The first hub has no such key: it says so, and serves nobody what it cannot read.
    let answer = a.current_context(&going.topic).await.unwrap();
    assert_eq!(answer.status, 500, "{answer:?}");
    let says = || async { system.hubs[0].log_tail().contains("it is sealed with the key new").then_some(()) };
    eventually(PATIENCE, "the hub says which key it has not", says).await.unwrap();
    system.hubs[0].start_again_with(&[("data_keys", &both)]).await.unwrap();
    system.workers[0].start_again_with(&[("data_keys", &both)]).await.unwrap();
    going.listener.reconnect().await.unwrap();
    going.go_on(&system).await;
    going.assert_complete().await;
}

async fn reseal(system: &System, keys: &str, more: &[(&str, &str)]) -> (Option<i32>, String) {
    let url = system.redis.url();
    let settings = [&[("redis.url", url.as_str()), ("data_keys", keys)], more].concat();
    let output = run("fhircast-hub", &["reseal"], &settings).await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

/// The settings of one whose logs keep little: what has been read may go.
const SHORT_LOGS: [(&str, &str); 2] = [("limits.log_secs", "5"), ("retry.give_up_secs", "5")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_turned_on_and_rotated_while_everything_goes_on() {
    // Nobody is to be reported because a program takes long to start.
    let system = System::builder().hubs(2).workers(1).set("ack_timeout_secs", "120");
    let mut system = system.set("reconnect_grace_secs", "120").start().await.unwrap();
    let mut going = Going::start(&system).await;
    going.go_on(&system).await;
    // First all can open, then all seal: while they are restarted in turn, everybody reads what any of them writes.
    going.roll(&mut system, &format!("unsealed,{OLD}")).await;
    going.roll(&mut system, OLD).await;
    let (code, said) = reseal(&system, OLD, &[]).await;
    assert_eq!(code, Some(3), "events of before are in the log: {said}");
    assert!(said.contains("no key: ") && said.contains("run this again in 3600 s"), "{said}");

    going.roll(&mut system, &format!("{OLD},{NEW}")).await;
    going.roll(&mut system, &format!("{NEW},{OLD}")).await;
    let both = format!("{NEW},{OLD}");
    let anew = || async {
        let (code, said) = reseal(&system, &both, &SHORT_LOGS).await;
        assert!(matches!(code, Some(0 | 3)), "{said}");
        (code == Some(0)).then_some(said)
    };
    let said = eventually(PATIENCE, "the logs use the old key no more", anew).await.unwrap();
    assert!(said.contains("nothing uses another key"), "{said}");
    going.roll(&mut system, NEW).await;
    going.assert_complete().await;
    let (code, said) = reseal(&system, NEW, &[]).await;
    assert_eq!(code, Some(0), "FC-SEC-03: {said}");
    assert!(!said.contains("old"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_sealed_is_served_until_it_must_be_sealed_and_then_not_before_it_is() {
    let mut system = System::builder().hubs(2).workers(0).start().await.unwrap();
    let topic = fresh_topic();
    let plain = system.hubs[0].app().unwrap();
    plain.publish(&patient_open(&topic, "1")).await.unwrap().expect_status(202).unwrap();
    system.hubs[0].start_again_with(&[("data_keys", OLD)]).await.unwrap();
    let required = [("data_keys", OLD), ("data_keys_required", "true")];
    system.hubs[1].start_again_with(&required).await.unwrap();
    let (lenient, strict) = (system.hubs[0].app().unwrap(), system.hubs[1].app().unwrap());

    let served = lenient.current_context(&topic).await.unwrap();
    assert!(served.status == 200 && served.body.contains("p-1"), "FC-SEC-03: {served:?}");
    let refused = strict.current_context(&topic).await.unwrap();
    assert_eq!(refused.status, 500, "FC-SEC-03: {refused:?}");
    assert!(!refused.body.contains("p-1"), "FC-SEC-03: {refused:?}");
    let next = strict.publish(&patient_open(&topic, "2")).await.unwrap();
    assert_eq!(next.status, 500, "FC-SEC-03: nothing is decided on it: {next:?}");
    let log = system.hubs[1].log_tail();
    assert!(log.contains("it is not sealed, as data_keys_required says it must be"), "FC-SEC-03: {log}");
    let unopened = "fhircast_unopened_total{reason=\"unsealed\"}";
    let counted = [0, 1].map(|hub| system.hubs[hub].metrics());
    let counted = futures_util::future::join_all(counted).await;
    let counted: Vec<f64> = counted.into_iter().map(|page| page.unwrap().value(unopened).unwrap()).collect();
    assert!(counted[0] == 0.0 && counted[1] >= 2.0, "FC-SEC-03: {counted:?}");

    let sealed = || async {
        let more = [&SHORT_LOGS[..], &required[1..]].concat();
        let (code, said) = reseal(&system, OLD, &more).await;
        assert!(matches!(code, Some(0 | 3)), "{said}");
        (code == Some(0)).then_some(())
    };
    eventually(PATIENCE, "everything is sealed", sealed).await.unwrap();
    let served = strict.current_context(&topic).await.unwrap();
    assert!(served.status == 200 && served.body.contains("p-1"), "FC-SEC-03: {served:?}");
    strict.publish(&patient_open(&topic, "3")).await.unwrap().expect_status(202).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_other_keys_is_refused_at_its_start_and_told_which_are_missing() {
    let system = System::builder().hubs(1).workers(0).set("data_keys", OLD).start().await.unwrap();
    let url = system.redis.url();
    for (program, keys) in [("fhircast-hub", NEW), ("fhircast-worker", NEW), ("fhircast-hub", "")] {
        let settings = [("redis.url", url.as_str()), ("data_keys", keys)];
        let output = run(program, &[], &settings).await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "FC-SEC-03: {program} starts with {keys}");
        let reason = "data_keys: they are not those of what Redis holds: it is sealed with the key old";
        assert!(said.contains(reason), "FC-SEC-03: {said}");
        assert!(!said.contains(&NEW[4..20]), "FC-SEC-03: {said}");
    }
    let (code, said) = reseal(&system, NEW, &[]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("it is sealed with the key old"), "{said}");
    let output = run("fhircast-hub", &["reseal"], &[("redis.url", &url)]).await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("data_keys: there are none"), "{output:?}");
}
