//! Content sharing (FC-CNT).

use futures_util::future::try_join_all;
use serde_json::{Value, json};

use crate::conformance::ask::Answer;
use crate::conformance::check::{Check, Outcome, check, expect, expect_eq, fail, skip};
use crate::conformance::messages::{
    Event, delete, patient_open, put, report_open, report_select, report_update,
};
use crate::conformance::probe::Probe;
use crate::conformance::subscriber::{Notification, Subscriber};
use crate::examples::{Message, fresh_id};

pub(super) const CHECKS: &[Check] = &[
    check!("FC-CNT-01", every_open_has_a_version_of_its_own),
    check!("FC-CNT-01", a_late_joiner_gets_the_present_version),
    check!("FC-CNT-02", an_update_of_another_version_is_refused),
    check!("FC-CNT-02", an_update_without_a_version_is_refused),
    check!("FC-CNT-02", an_update_of_what_is_not_open_is_refused),
    check!("FC-CNT-03", an_update_adds_replaces_and_removes),
    check!("FC-CNT-03", what_is_there_cannot_be_added_again),
    check!("FC-CNT-03", a_bundle_is_applied_whole_or_not_at_all),
    check!("FC-CNT-03", what_was_opened_cannot_be_removed),
    check!("FC-CNT-03", the_examples_of_the_specification_are_applied),
    check!("FC-CNT-04", an_update_comes_with_its_new_and_its_prior_version),
    check!("FC-CNT-05", of_racing_updates_one_wins),
    check!("FC-CNT-06", a_select_is_told_and_changes_nothing),
    check!("FC-CNT-06", a_select_of_what_is_not_open_is_refused),
    check!("FC-CNT-07", a_close_disposes_of_its_content_alone),
    check!("FC-CNT-08", a_giant_is_413),
    check!("FC-CNT-09", an_update_may_be_of_a_context_that_is_not_current),
    check!("FC-CNT-10", two_contexts_of_a_type_have_their_own_content),
    check!("FC-CNT-10", opening_again_keeps_the_content),
];

/// Bytes that few hubs take.
const GIANT: usize = 16 << 20;

/// An app that follows a report which it has opened.
struct Report {
    probe: Probe,
    topic: String,
    open: Event,
    version: String,
    app: Subscriber,
}

impl Report {
    async fn open(probe: &Probe, topic: &str) -> Outcome<Report> {
        probe.needs_content_sharing()?;
        let mut app = probe.subscribe(topic, "*-open,*-close,*-update,*-select").await?;
        let open = report_open(topic);
        probe.publish(&open).await?;
        let version = loop {
            let came = app.next_event().await?;
            if came.id() == open.id() {
                break version_of(&came)?;
            }
        };
        Ok(Report { probe: probe.clone(), topic: topic.to_owned(), open, version, app })
    }

    fn update_of(&self, entries: Value) -> Event {
        report_update(&self.topic, self.open.anchor_id(), &self.version, entries)
    }

    /// An update that must be accepted; the version after it is noted.
    async fn update(&mut self, entries: Value) -> Outcome<Notification> {
        let update = self.update_of(entries);
        self.probe.publish(&update).await?;
        let came = self.app.expect_event(&update).await?;
        self.version = version_of(&came)?;
        Ok(came)
    }

    async fn try_update(&self, entries: Value) -> Outcome<Answer> {
        self.probe.offer(&self.update_of(entries)).await
    }

    async fn content(&self) -> Outcome<Vec<String>> {
        content(&self.probe, &self.topic).await
    }
}

fn version_of(came: &Notification) -> Outcome<String> {
    let version = came.version().as_str().filter(|version| !version.is_empty()).map(str::to_owned);
    version.ok_or_else(|| fail("a context.versionId", &came.text))
}

/// The ids of the resources in the content of the current context, sorted.
async fn content(probe: &Probe, topic: &str) -> Outcome<Vec<String>> {
    let context = probe.current_context(topic).await?;
    let elements = context["context"].as_array().cloned().unwrap_or_default();
    let found = elements.iter().find(|element| element["key"] == "content");
    let content = found.ok_or_else(|| fail("an element with key content", &context))?;
    let entries = content["resource"]["entry"].as_array().cloned().unwrap_or_default();
    let id = |entry: &Value| entry["resource"]["id"].as_str().unwrap_or_default().to_owned();
    let mut ids: Vec<String> = entries.iter().map(id).collect();
    ids.sort();
    Ok(ids)
}

fn sorted(ids: &[&str]) -> Vec<String> {
    let mut ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
    ids.sort();
    ids
}

fn post(observation_id: &str) -> Value {
    let mut entry = put(observation_id);
    entry["request"] = json!({"method": "POST"});
    entry
}

async fn every_open_has_a_version_of_its_own(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut report = Report::open(&probe, &topic).await?;
    let mut versions = vec![report.version.clone()];
    for open in [report_open(&topic), report.open.clone().again(), patient_open(&topic)] {
        probe.publish(&open).await?;
        let version = version_of(&report.app.expect_event(&open).await?)?;
        expect(!versions.contains(&version), "a version that the topic has not had", &version)?;
        versions.push(version);
    }
    Ok(())
}

async fn a_late_joiner_gets_the_present_version(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut report = Report::open(&probe, &topic).await?;
    report.update(json!([put(&fresh_id())])).await?;
    let mut late = probe.subscribe(&topic, "DiagnosticReport-open").await?;
    let came = late.expect_event(&report.open).await?;
    expect_eq("context.versionId", &report.version, came.version())
}

async fn an_update_of_another_version_is_refused(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut report = Report::open(&probe, &topic).await?;
    let stale = report.update_of(json!([put(&fresh_id())]));
    report.update(json!([put("kept")])).await?;
    probe.offer(&stale).await?.expect_status(409)?;
    expect_eq("the content", sorted(&["kept"]), report.content().await?)?;
    // Nothing of it is told.
    report.update(json!([put("kept too")])).await?;
    Ok(())
}

async fn an_update_without_a_version_is_refused(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let report = Report::open(&probe, &topic).await?;
    let update = report.update_of(json!([put(&fresh_id())])).without("/event/context.versionId");
    probe.offer(&update).await?.expect_status(409)?;
    Ok(())
}

async fn an_update_of_what_is_not_open_is_refused(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let report = Report::open(&probe, &topic).await?;
    let unknown = report_update(&topic, &fresh_id(), &report.version, json!([put(&fresh_id())]));
    probe.offer(&unknown).await?.expect_status(409)?;
    probe.publish(&report.open.clone().closed()).await?;
    report.try_update(json!([put(&fresh_id())])).await?.expect_status(409)?;
    Ok(())
}

async fn an_update_adds_replaces_and_removes(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut report = Report::open(&probe, &topic).await?;
    expect_eq("the content", sorted(&[]), report.content().await?)?;
    report.update(json!([put("a"), put("b"), put("c")])).await?;
    expect_eq("the content", sorted(&["a", "b", "c"]), report.content().await?)?;
    let by_full_url = json!({"fullUrl": "Observation/b", "request": {"method": "DELETE"}});
    report.update(json!([put("a"), by_full_url, delete("c"), put("d")])).await?;
    expect_eq("the content", sorted(&["a", "d"]), report.content().await?)
}

async fn what_is_there_cannot_be_added_again(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut report = Report::open(&probe, &topic).await?;
    // 3.0.0 has no POST: a hub may refuse it always, but not accept it twice.
    if report.try_update(json!([post("a")])).await?.status != 202 {
        return Ok(());
    }
    report.version = version_of(&report.app.next_event().await?)?;
    report.try_update(json!([post("a"), put("b")])).await?.expect_status(409)?;
    expect_eq("the content", sorted(&["a"]), report.content().await?)
}

async fn a_bundle_is_applied_whole_or_not_at_all(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut report = Report::open(&probe, &topic).await?;
    report.update(json!([put("kept")])).await?;
    let no_method = json!({"resource": {"resourceType": "Observation", "id": "x"}});
    let no_resource = json!({"request": {"method": "PUT"}});
    for (what, bad) in [("no method", no_method), ("no resource", no_resource), ("named twice", put("new"))] {
        let answer = report.try_update(json!([delete("kept"), put("new"), bad])).await?;
        let expected = format!("a Bundle with an entry that is bad ({what}) to be refused with 400");
        expect(answer.status == 400, expected, answer.shown())?;
        expect_eq("the content", sorted(&["kept"]), report.content().await?)?;
    }
    let batch = report.update_of(json!([put("new")])).with("/event/context/1/resource/type", "batch");
    probe.offer(&batch).await?.expect_status(400)?;
    report.update(json!([put("last")])).await?;
    Ok(())
}

async fn what_was_opened_cannot_be_removed(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let report = Report::open(&probe, &topic).await?;
    let url = format!("DiagnosticReport/{}", report.open.anchor_id());
    let entry = json!({"fullUrl": url, "request": {"method": "DELETE", "url": url}});
    report.try_update(json!([entry])).await?.expect_status(409)?;
    Ok(())
}

async fn the_examples_of_the_specification_are_applied(probe: Probe) -> Outcome {
    let topic = probe.topic();
    probe.needs_content_sharing()?;
    let mut app = probe.subscribe(&topic, "*-open,*-update").await?;
    let example = |name: &str| Message::example(name)?.topic(&topic);
    let open = Event::parse(example("3.0.0/DiagnosticReport-open")?.text())?;
    probe.publish(&open).await?;
    let mut version = version_of(&app.expect_event(&open).await?)?;
    for (name, kept) in [("3.0.0/DiagnosticReport-update", 3), ("3.0.0/DiagnosticReport-update-2", 2)] {
        let update = Event::parse(example(name)?.version(&version)?.id(&fresh_id())?.text())?;
        probe.publish(&update).await?;
        version = version_of(&app.expect_event(&update).await?)?;
        expect_eq("the number of resources in the content", kept, content(&probe, &topic).await?.len())?;
    }
    Ok(())
}

async fn an_update_comes_with_its_new_and_its_prior_version(probe: Probe) -> Outcome {
    let mut report = Report::open(&probe, &probe.topic()).await?;
    let prior = report.version.clone();
    let update = report.update_of(json!([put(&fresh_id())]));
    probe.publish(&update).await?;
    let came = report.app.expect_event(&update).await?;
    expect_eq("context.priorVersionId", &prior, &came.json["event"]["context.priorVersionId"])?;
    expect(version_of(&came)? != prior, "a context.versionId other than the prior one", &came.text)?;
    expect_eq("the Bundle", update.context("updates"), came.context("updates"))
}

async fn of_racing_updates_one_wins(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut report = Report::open(&probe, &topic).await?;
    let other = probe.second_node().unwrap_or_else(|_| probe.clone());
    for _ in 0..10 {
        let updates: Vec<Event> = (0..8).map(|_| report.update_of(json!([put(&fresh_id())]))).collect();
        let racing = updates.iter().enumerate();
        let racing = racing
            .map(|(number, update)| if number.is_multiple_of(2) { &probe } else { &other }.offer(update));
        let statuses: Vec<u16> = try_join_all(racing).await?.iter().map(|answer| answer.status).collect();
        let won = statuses.iter().filter(|status| **status == 202).count();
        let lost = statuses.iter().filter(|status| **status == 409).count();
        expect(won == 1 && lost == 7, "one 202 and seven 409", format!("{statuses:?}"))?;
        let came = report.app.next_event().await?;
        expect_eq("context.priorVersionId", &report.version, &came.json["event"]["context.priorVersionId"])?;
        report.version = version_of(&came)?;
    }
    Ok(())
}

async fn a_select_is_told_and_changes_nothing(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut report = Report::open(&probe, &topic).await?;
    report.update(json!([put("a")])).await?;
    let before = probe.current_context(&topic).await?;
    let select = report_select(&topic, report.open.anchor_id(), &["Observation/a"]);
    probe.publish(&select).await?;
    let came = report.app.expect_event(&select).await?;
    expect_eq("the selection", select.context("select"), came.context("select"))?;
    expect_eq("the current context", before, probe.current_context(&topic).await?)
}

async fn a_select_of_what_is_not_open_is_refused(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let report = Report::open(&probe, &topic).await?;
    probe.offer(&report_select(&topic, &fresh_id(), &["Observation/a"])).await?.expect_status(409)?;
    probe.publish(&report.open.clone().closed()).await?;
    let closed = report_select(&topic, report.open.anchor_id(), &["Observation/a"]);
    probe.offer(&closed).await?.expect_status(409)?;
    Ok(())
}

async fn a_close_disposes_of_its_content_alone(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut first = Report::open(&probe, &topic).await?;
    first.update(json!([put("first")])).await?;
    let mut second = Report::open(&probe, &topic).await?;
    second.update(json!([put("second")])).await?;
    probe.publish(&second.open.clone().closed()).await?;
    probe.publish(&first.open.clone().again()).await?;
    expect_eq("the content that stays", sorted(&["first"]), content(&probe, &topic).await?)?;
    probe.publish(&second.open.clone().again()).await?;
    expect_eq("the content after the close", sorted(&[]), content(&probe, &topic).await?)
}

async fn a_giant_is_413(probe: Probe) -> Outcome {
    probe.needs_content_sharing()?;
    let topic = probe.topic();
    let note = "x".repeat(GIANT);
    let open = patient_open(&topic).with("/event/context/0/resource/note", note);
    let answer = probe.offer(&open).await?;
    if answer.status < 300 {
        return Err(skip(format!("the hub takes {GIANT} bytes")));
    }
    answer.expect_status(413)?;
    Ok(())
}

async fn an_update_may_be_of_a_context_that_is_not_current(probe: Probe) -> Outcome {
    probe.needs_capability("supportsNonCurrentContextUpdates")?;
    let topic = probe.topic();
    let mut first = Report::open(&probe, &topic).await?;
    let second = Report::open(&probe, &topic).await?;
    first.app.expect_event(&second.open).await?;
    first.update(json!([put("first")])).await?;
    expect_eq("the content of the current context", sorted(&[]), second.content().await?)?;
    probe.publish(&first.open.clone().again()).await?;
    expect_eq("the content of the other", sorted(&["first"]), content(&probe, &topic).await?)
}

async fn two_contexts_of_a_type_have_their_own_content(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut first = Report::open(&probe, &topic).await?;
    first.update(json!([put("same"), put("first")])).await?;
    let mut second = Report::open(&probe, &topic).await?;
    expect(first.version != second.version, "two versions", &second.version)?;
    second.update(json!([put("same")])).await?;
    second.update(json!([delete("same")])).await?;
    expect_eq("the content of the second", sorted(&[]), second.content().await?)?;
    probe.publish(&second.open.clone().closed()).await?;
    probe.publish(&first.open.clone().again()).await?;
    expect_eq("the content of the first", sorted(&["same", "first"]), content(&probe, &topic).await?)
}

async fn opening_again_keeps_the_content(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut report = Report::open(&probe, &topic).await?;
    report.update(json!([put("a")])).await?;
    probe.publish(&patient_open(&topic)).await?;
    probe.publish(&report.open.clone().again()).await?;
    expect_eq("the content", sorted(&["a"]), report.content().await?)
}
