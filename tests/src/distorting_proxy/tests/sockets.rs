//! What is distorted over WebSocket.

use std::time::Duration;

use futures_util::StreamExt;
use tokio_tungstenite::tungstenite::Message;

use super::*;
use crate::socket::upgrade_status;

const STUDY: &str = r#"{"key":"study","resource":{"resourceType":"ImagingStudy","id":"s"}}"#;

#[tokio::test]
async fn ends_of_sockets_change() {
    let mut hub = hub(&[("lease.default_secs", "2")]).await;
    let replaced = before(&hub, Distortion::ReplacedWith1000);
    let endpoint = replaced.endpoint("*").await;
    let mut first = confirmed(&endpoint).await;
    let _second = confirmed(&endpoint).await;
    assert_eq!(end(&mut first).await, Some(1000), "FC-WSC-04");
    let outlived = before(&hub, Distortion::LeaseOutlived);
    let (asked, kept) = (outlived.endpoint("*").await, outlived.endpoint("*").await);
    let (mut asked_for, mut kept_open) = (confirmed(&asked).await, confirmed(&kept).await);
    outlived.app.unsubscribe_websocket(&outlived.topic, &asked).await.unwrap().expect_status(202).unwrap();
    assert_eq!(next(&mut asked_for).await["hub.mode"], "denied", "FC-SUB-09");
    assert_eq!(end(&mut asked_for).await, Some(1000), "FC-SUB-09");
    // The endpoint is unknown when the lease has ended; its socket was to be closed then.
    let ended = crate::wait::eventually(PATIENCE, "the end of the lease", async || {
        let answer = hub.app().unwrap().unsubscribe_websocket(&outlived.topic, &kept).await.unwrap();
        (answer.status == 404).then_some(())
    });
    ended.await.unwrap();
    assert!(kept_open.next(Duration::from_millis(300)).await.is_err(), "FC-SUB-07");
    kept_open.close(1000).await.unwrap();
    let away = before(&hub, Distortion::GoingAwayWith1000);
    let mut socket = away.socket("*").await;
    hub.process().signal(crate::process::Signal::TERM).unwrap();
    assert_eq!(end(&mut socket).await, Some(1000), "FC-SUB-11");
}

#[tokio::test]
async fn pings_do_not_arrive_and_the_socket_lives_on() {
    let hub = hub(&[("ping_secs", "1")]).await;
    let setup = before(&hub, Distortion::NoPings);
    let (mut socket, _) = tokio_tungstenite::connect_async(setup.endpoint("syncerror").await).await.unwrap();
    assert!(socket.next().await.unwrap().unwrap().is_text(), "FC-WSC-01");
    // Four times what it takes to be dropped for silence.
    let ping = tokio::time::timeout(Duration::from_secs(4), socket.next()).await;
    assert!(ping.is_err(), "FC-WSC-07: {ping:?}");
    setup.publish("e", "syncerror", "").await;
    assert!(socket.next().await.unwrap().unwrap().is_text(), "FC-NOT-01");
}

#[tokio::test]
async fn who_comes_back_finds_the_endpoint_dead_or_nothing_that_was_missed() {
    let hub = hub(&[]).await;
    let dead = before(&hub, Distortion::DeadAfterDrop);
    let endpoint = dead.endpoint("syncerror").await;
    confirmed(&endpoint).await.close(1001).await.unwrap();
    drop(confirmed(&endpoint).await);
    let refused = crate::wait::eventually(PATIENCE, "the drop is noticed", async || {
        Socket::connect(&endpoint).await.err()
    });
    assert_eq!(upgrade_status(&refused.await.unwrap()), Some(404), "FC-WSC-08");
    for (distortion, expected) in [(Distortion::None, "ab"), (Distortion::MissedIsLost, "bc")] {
        let setup = before(&hub, distortion);
        let endpoint = setup.endpoint("syncerror").await;
        drop(confirmed(&endpoint).await);
        setup.publish("a", "syncerror", "").await;
        let mut socket = confirmed(&endpoint).await;
        for id in ["b", "c"] {
            setup.publish(id, "syncerror", "").await;
        }
        assert_eq!(ids(&mut socket, 2).await, expected, "FC-WSC-08");
    }
}

#[tokio::test]
async fn sync_errors_lose_the_subscriber_or_are_not_sent_at_all() {
    let hub = hub(&[]).await;
    for distortion in [
        Distortion::None,
        Distortion::SyncErrorWithoutSubscriber,
        Distortion::SyncErrorOfOtherCode,
        Distortion::SilentAboutAbsence,
    ] {
        let setup = before(&hub, distortion);
        let (mut refuser, mut other) = (setup.socket("*-open").await, setup.socket("syncerror").await);
        setup.publish("e", "Patient-open", PATIENT).await;
        next(&mut refuser).await;
        refuser.answer("e", 409).await.unwrap();
        let sync_error = next(&mut other).await;
        let issue = &sync_error["event"]["context"][0]["resource"]["issue"][0];
        let names = issue["details"].to_string().contains("Acme");
        assert_eq!(names, distortion != Distortion::SyncErrorWithoutSubscriber, "FC-NOT-03: {issue}");
        let code = if distortion == Distortion::SyncErrorOfOtherCode { "invalid" } else { "processing" };
        assert_eq!(issue["code"], code, "FC-NOT-03: {issue}");
        other.answer(sync_error["id"].as_str().unwrap(), 200).await.unwrap();
        // This one it leaves without an answer, which is told after a second.
        setup.publish("f", "Patient-open", &PATIENT.replace("\"p\"", "\"q\"")).await;
        next(&mut refuser).await;
        let told = other.next(Duration::from_secs(4)).await;
        assert_eq!(told.is_err(), distortion == Distortion::SilentAboutAbsence, "FC-NOT-04: {told:?}");
    }
}

#[tokio::test]
async fn derived_opens_are_swallowed_or_have_the_id_of_their_source() {
    let hub = hub(&[]).await;
    for (distortion, expected) in
        [(Distortion::NoDerivedOpens, "last"), (Distortion::DerivedWithSourceId, "source")]
    {
        let setup = before(&hub, distortion);
        let mut socket = setup.socket("Patient-open,syncerror").await;
        setup.publish("source", "ImagingStudy-open", &format!("{STUDY},{PATIENT}")).await;
        setup.publish("last", "syncerror", "").await;
        assert_eq!(ids(&mut socket, 1).await, expected, "FC-NOT-07");
        if distortion == Distortion::DerivedWithSourceId {
            assert_eq!(ids(&mut socket, 1).await, "last");
        }
        // The hub has heard an answer to each: it has nothing to report, within twice the time for it.
        assert!(socket.next(Duration::from_secs(2)).await.is_err(), "FC-NOT-05");
    }
}

#[tokio::test]
async fn one_of_two_sockets_gets_another_order_and_a_retry_is_told_twice() {
    let hub = hub(&[]).await;
    let swapped = before(&hub, Distortion::SwappedForOne);
    let mut sockets = [swapped.socket("syncerror").await, swapped.socket("syncerror").await];
    for id in ["1", "2", "3", "4"] {
        swapped.publish(id, "syncerror", "").await;
    }
    assert_eq!(ids(&mut sockets[0], 4).await, "1234", "FC-NOT-08");
    assert_eq!(ids(&mut sockets[1], 4).await, "1324", "FC-NOT-08: the last is not kept for ever");
    for (distortion, expected) in [(Distortion::None, "elast"), (Distortion::RetryBroadcastTwice, "eelast")] {
        let setup = before(&hub, distortion);
        let mut socket = setup.socket("syncerror").await;
        for id in ["e", "e", "last"] {
            setup.publish(id, "syncerror", "").await;
        }
        let count = if distortion == Distortion::None { 2 } else { 3 };
        assert_eq!(ids(&mut socket, count).await, expected, "FC-REQ-07");
    }
}

#[tokio::test]
async fn binary_frames_and_extensions_disappear() {
    let hub = hub(&[]).await;
    let setup = before(&hub, Distortion::BinaryIgnored);
    let mut socket = setup.socket("syncerror").await;
    socket.send(Message::binary(b"{}".to_vec())).await.unwrap();
    setup.publish("e", "syncerror", "").await;
    assert_eq!(ids(&mut socket, 1).await, "e", "FC-WSC-05");
    let setup = before(&hub, Distortion::NoExtensions);
    let mut socket = setup.socket("syncerror").await;
    setup.publish("e", "syncerror", r#"{"key":"extension","data":1},{"extension":[],"n":1.10}"#).await;
    let Incoming::Text(told) = socket.next(PATIENCE).await.unwrap() else { panic!("no notification") };
    assert!(told.contains(r#""context":[{"n":1.10}]"#), "FC-EXT-01, FC-TRN-05: {told}");
}
