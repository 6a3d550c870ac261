//! The current context, and the topics that have one (FC-CTX-01…03, FC-SES-01).

use harness::{client::Answer, examples::fresh_topic, wait::PATIENCE};
use serde_json::json;

use crate::{
    messages::{NO_CONTENT, event, patient_open, resource},
    setups::{Kind, Setup, ids_until, on_each_setup},
};

on_each_setup![
    the_current_context_has_the_type_the_version_and_the_elements_of_the_open,
    the_last_context_opened_is_current_until_it_is_closed,
    no_current_context_is_an_empty_one,
    a_topic_is_opaque_and_case_sensitive,
    a_topic_that_cannot_be_one_is_refused,
];

async fn current(setup: &Setup, topic: &str) -> Answer {
    setup.subscriber().current_context(topic).await.unwrap().expect_status(200).unwrap()
}

async fn the_current_context_has_the_type_the_version_and_the_elements_of_the_open(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let listener = setup.listener(&topic, "*").await;
    let elements = format!("{}, {}", resource("ImagingStudy", "1"), resource("Patient", "2"));
    setup.publish(&event(&topic, "1", "imagingstudy-OPEN", &elements)).await;
    let broadcast = listener.wait_for_event(PATIENCE, "1").await.unwrap().json;
    let answer = current(&setup, &topic).await;
    assert!(answer.header("content-type").starts_with("application/json"), "FC-CTX-01: {answer:?}");
    let context = answer.json().unwrap();
    assert_eq!(context["context.type"], "ImagingStudy", "FC-CTX-01");
    assert_eq!(context["context.versionId"], broadcast["event"]["context.versionId"], "FC-CTX-01, FC-CNT-01");
    assert!(context["context.versionId"].as_str().is_some_and(|version| !version.is_empty()), "FC-CTX-01");
    assert!(answer.body.contains(&format!("[{elements},{NO_CONTENT}]")), "FC-CTX-01, FC-TRN-05: {answer:?}");
}

async fn the_last_context_opened_is_current_until_it_is_closed(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    for (number, (name, resource_type, id, expected)) in [
        ("Patient-open", "Patient", "1", "Patient"),
        ("ImagingStudy-open", "ImagingStudy", "1", "ImagingStudy"),
        ("Encounter-open", "Encounter", "1", "Encounter"),
        // Another one is closed: the current one stays.
        ("Patient-close", "Patient", "1", "Encounter"),
        ("Encounter-close", "Encounter", "other", "Encounter"),
        // The current one is closed: none is, though the study is still open.
        ("Encounter-close", "Encounter", "1", ""),
        ("ImagingStudy-open", "ImagingStudy", "1", "ImagingStudy"),
        ("ImagingStudy-close", "ImagingStudy", "1", ""),
    ]
    .into_iter()
    .enumerate()
    {
        setup.publish(&event(&topic, &number.to_string(), name, &resource(resource_type, id))).await;
        let context = current(&setup, &topic).await.json().unwrap();
        assert_eq!(context["context.type"], expected, "FC-CTX-02: after {number}, {name} {id}");
    }
}

async fn no_current_context_is_an_empty_one(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let empty = json!({"context.type": "", "context": []});
    assert_eq!(current(&setup, &topic).await.json().unwrap(), empty, "FC-CTX-03: a topic never seen");
    setup.publish(&patient_open(&topic, "1")).await;
    setup.publish(&event(&topic, "2", "Patient-close", &resource("Patient", "p-1"))).await;
    assert_eq!(current(&setup, &topic).await.json().unwrap(), empty, "FC-CTX-03: all is closed");
}

async fn a_topic_is_opaque_and_case_sensitive(kind: Kind) {
    let setup = kind.shared().await;
    let unique = fresh_topic();
    let long = format!("{unique}{}", "x".repeat(256 - unique.len()));
    for topic in [
        format!("{unique} with a space"),
        format!("{unique}/with/slashes//"),
        format!("{unique}?q=1&r#f"),
        format!("{unique}%41"),
        format!("{unique}+;,:\"'<>\\"),
        format!("{unique}Größe日本語"),
        format!("ws/{unique}"),
        long,
    ] {
        let listener = setup.listener(&topic, "Patient-open").await;
        let confirmation = listener.seen(|seen| seen.received[0].json["hub.topic"].clone());
        assert_eq!(confirmation, topic.as_str(), "FC-SES-01");
        setup.publish(&patient_open(&topic, "1")).await;
        assert_eq!(ids_until(&listener, "1").await, ["1"], "FC-SES-01: {topic}");
        let context = current(&setup, &topic).await.json().unwrap();
        assert_eq!(context["context.type"], "Patient", "FC-SES-01: {topic}");
        let other_case = current(&setup, &topic.replacen(&unique, &unique.to_uppercase(), 1)).await;
        assert_eq!(other_case.json().unwrap()["context.type"], "", "FC-SES-01: case sensitive: {topic}");
    }
}

async fn a_topic_that_cannot_be_one_is_refused(kind: Kind) {
    let setup = kind.shared().await;
    let app = setup.subscriber();
    for topic in ["metadata", ".well-known", "ws", "a\nb", "a\u{7f}", "\u{0}", &"x".repeat(257), ""] {
        let form = [
            ("hub.channel.type", "websocket"),
            ("hub.mode", "subscribe"),
            ("hub.topic", topic),
            ("hub.events", "*"),
        ];
        let subscribed = app.post_form(&form).await.unwrap();
        let published = app.publish(&patient_open(topic, "1")).await.unwrap();
        for answer in [subscribed, published] {
            assert!(
                answer.status == 400 && answer.body.contains("hub.topic"),
                "FC-SES-01: {topic:?}: {answer:?}"
            );
        }
    }
}
