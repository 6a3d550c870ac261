//! What is distorted over HTTP.

use reqwest::Method;

use super::*;
use crate::callback_server::{CallbackServer, Nobody, Reply};

const REPORT: &str = r#"{"key":"report","resource":{"resourceType":"DiagnosticReport","id":"1"}}"#;

#[tokio::test]
async fn errors_lose_their_description_or_tell_a_secret_and_other_statuses_change() {
    let hub = hub(&[("limits.body_bytes", "4096")]).await;
    let silent = before(&hub, Distortion::NoDescription);
    let answer = silent.app.post("", "text/plain", b"x").await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (415, ""), "FC-TRN-03");
    let subscribe = async |distortion, extra: &[(&str, &str)]| {
        let setup = before(&hub, distortion);
        let webhook = [("hub.channel.type", "webhook"), ("hub.mode", "subscribe"), ("hub.topic", "t")];
        let form = [&webhook[..], &[("hub.events", "*")], extra].concat();
        setup.app.post_form(&form).await.unwrap()
    };
    let nobody = Nobody::here().unwrap();
    let nowhere = nobody.url("/").unwrap();
    let (secret, callback) = (("hub.secret", "s3cret"), ("hub.callback", nowhere.as_str()));
    let echoed = subscribe(Distortion::SecretEchoed, &[secret]).await;
    assert!(echoed.status == 400 && echoed.body.contains("s3cret"), "FC-TRN-03: {echoed:?}");
    let returned = subscribe(Distortion::SecretReturned, &[secret, callback]).await;
    assert_eq!(returned.status, 202, "FC-SUB-02");
    assert_eq!(returned.json().unwrap()["hub.secret"], "s3cret", "FC-SEC-03");
    let long = "s".repeat(200);
    for (distortion, status) in [(Distortion::None, 400), (Distortion::LongSecrets, 202)] {
        let answer = subscribe(distortion, &[("hub.secret", &long), callback]).await;
        assert_eq!(answer.status, status, "FC-WHK-01: {answer:?}");
    }
    for (distortion, status) in [(Distortion::None, 413), (Distortion::TooLargeIs400, 400)] {
        let setup = before(&hub, distortion);
        let answer = setup.app.publish(&"x".repeat(5000)).await.unwrap();
        assert_eq!(answer.status, status, "FC-CNT-08: {answer:?}");
    }
}

#[tokio::test]
async fn cors_is_taken_away_or_opened_to_everybody() {
    let hub = hub(&[]).await;
    for (distortion, origin, credentials) in [
        (Distortion::None, ORIGIN, ""),
        (Distortion::NoCors, "", ""),
        (Distortion::AnyOriginWithCredentials, "*", "true"),
    ] {
        let setup = before(&hub, distortion);
        let request = setup.app.request(Method::GET, "/.well-known/fhircast-configuration");
        let answer = setup.app.send(request.header("Origin", ORIGIN)).await.unwrap();
        let header = |name: &str| answer.header(&format!("access-control-allow-{name}")).to_owned();
        let expected = (origin.to_owned(), credentials.to_owned());
        assert_eq!((header("origin"), header("credentials")), expected, "FC-TRN-07: {answer:?}");
    }
}

#[tokio::test]
async fn metadata_lose_their_extensions_and_nothing_else() {
    // Any server is a hub for this.
    let server = CallbackServer::start().unwrap();
    let metadata = r#"{ "rest": [{"extension":[{"url":"u"}], "n":1.10}] }"#;
    server.on("/hub/metadata", move |_| Some(Reply::status(200).body(metadata)));
    for (distortion, expected) in
        [(Distortion::None, metadata), (Distortion::MetadataWithoutExtension, r#"{"rest":[{"n":1.10}]}"#)]
    {
        let proxy = DistortingProxy::start(&server.url("/hub"), distortion).unwrap();
        let answer = App::new(proxy.url()).unwrap().get("/metadata").await.unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (200, expected), "FC-CNF-02, FC-TRN-05");
    }
}

#[tokio::test]
async fn the_context_loses_its_content_and_an_update_its_prior_version() {
    let hub = hub(&[]).await;
    let setup = before(&hub, Distortion::NoContent);
    setup.publish("o", "DiagnosticReport-open", REPORT).await;
    let context = setup.app.current_context(&setup.topic).await.unwrap().json().unwrap();
    assert_eq!(context["context"].as_array().unwrap().len(), 1, "FC-CTX-04: {context}");
    let (setup, update) = opened(&hub, Distortion::NoPriorVersion).await;
    let mut socket = setup.socket("*-update").await;
    setup.app.publish(&update("u")).await.unwrap().expect_status(202).unwrap();
    let told = next(&mut socket).await;
    assert!(told["event"]["context.versionId"].is_string(), "FC-CNT-04: {told}");
    assert!(told["event"]["context.priorVersionId"].is_null(), "FC-CNT-04: {told}");
}

#[tokio::test]
async fn a_race_has_no_loser_and_a_late_update_still_is_one() {
    let hub = hub(&[]).await;
    let (setup, update) = opened(&hub, Distortion::RaceWithoutLoser).await;
    let send = async |id| setup.app.publish(&update(id)).await.unwrap().status;
    assert_eq!(tokio::join!(send("a"), send("b")), (202, 202), "FC-CNT-05");
    assert_eq!(send("c").await, 409, "FC-CNT-02");
}

/// A report that is open, and updates of its first version.
async fn opened(hub: &Hub, distortion: Distortion) -> (Setup, impl Fn(&str) -> String) {
    let setup = before(hub, distortion);
    setup.publish("o", "DiagnosticReport-open", REPORT).await;
    let context = setup.app.current_context(&setup.topic).await.unwrap().json().unwrap();
    let version = context["context.versionId"].as_str().unwrap().to_owned();
    let elements = r#"{"key":"report","reference":{"reference":"DiagnosticReport/1"}},{"key":"updates","resource":{"resourceType":"Bundle","type":"transaction","entry":[]}}"#;
    let update = setup.event("u", "DiagnosticReport-update", elements);
    let update = update.replacen(r#""context""#, &format!(r#""context.versionId":"{version}","context""#), 1);
    (setup, move |id| update.replacen(r#""id":"u""#, &format!(r#""id":"{id}""#), 1))
}
