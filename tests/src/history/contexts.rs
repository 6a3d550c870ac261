//! Get Current Context, when all is over (FC-CTX-01…04): the same bytes from every hub, and what the events imply.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;

use super::accounts::Account;
use super::filter::Filter;
use super::finding::{Defect, RunFinding};
use super::topic::{Sighting, Topic};
use super::verdict::new;

pub(super) fn findings(topic: &Topic, accounts: &[Account]) -> Vec<RunFinding> {
    let mut found = Vec::new();
    let mut find = |hub: usize, detail: String| {
        found.push(new(topic, Defect::Context, &format!("hub {hub}"), "", detail));
    };
    let Some((first, body)) = topic.contexts.first() else { return found };
    for (hub, other) in &topic.contexts[1..] {
        if other != body {
            find(*hub, format!("its current context is not that of hub {first}"));
        }
    }
    let Some(witness) = accounts.iter().find(|account| is_witness(account)) else { return found };
    let model = Model::of(witness);
    let Ok(context) = serde_json::from_str::<Value>(body) else {
        find(*first, "its current context is no JSON".to_owned());
        return found;
    };
    if let Some(detail) = model.and_then(|model| model.contradicts(&context)) {
        find(*first, format!("{detail}, by what {} saw", witness.name()));
    }
    found
}

/// Who saw everything, from the first event to the last.
fn is_witness(account: &Account) -> bool {
    let sees_all = Filter(account.reader.filter.0.clone()).0.split(',').any(|pattern| pattern.trim() == "*");
    sees_all
        && account.number == 0
        && account.life.ended.is_none()
        && account.life.connections.iter().any(|seen| !seen.is_empty())
}

/// A session as its events make it.
#[derive(Default)]
struct Model {
    current: Option<Open>,
    /// What was open before it, and may be opened again.
    others: BTreeMap<String, Open>,
}

#[derive(Default, Clone)]
struct Open {
    anchor: String,
    version: String,
    /// Resources by `Type/id`; `None` when what there was is not known.
    content: Option<BTreeMap<String, Value>>,
}

impl Model {
    /// `None` when the current context can't be told from what was seen.
    fn of(witness: &Account) -> Option<Model> {
        let mut model = Some(Model::default());
        let (mut seen, mut is_vague) = (HashSet::new(), false);
        let mut announced = witness.announced.iter().peekable();
        for sighting in witness.connections.iter().flatten() {
            if announced.next_if(|at| **at <= sighting.at).is_some() {
                // Until something is opened anew nothing is known.
                model = None;
                is_vague = true;
            }
            if seen.insert(&sighting.id) {
                model = apply(model, sighting, is_vague);
            }
        }
        // Announced after all that was seen, or events whose place is not known.
        (announced.next().is_none() && witness.anywhere.is_empty()).then_some(model).flatten()
    }

    fn contradicts(&self, context: &Value) -> Option<String> {
        let type_of = |open: &Open| open.anchor.split('/').next().unwrap_or_default().to_owned();
        let kind = context["context.type"].as_str().unwrap_or_default();
        let Some(open) = &self.current else {
            return (!kind.is_empty()).then(|| format!("a {kind} is current, and none should be"));
        };
        if !kind.eq_ignore_ascii_case(&type_of(open)) {
            return Some(format!("a {kind:?} is current, and {} should be", open.anchor));
        }
        let version = context["context.versionId"].as_str().unwrap_or_default();
        if version != open.version {
            return Some(format!(
                "version {version} is current, and {} of {} should be",
                open.version, open.anchor
            ));
        }
        let (content, there) = (open.content.as_ref()?, content_of(context));
        (*content != there).then(|| {
            let (there, expected): (Vec<_>, Vec<_>) = (there.keys().collect(), content.keys().collect());
            format!(
                "the content is not what the updates of {} made: {there:?}, not {expected:?}",
                open.anchor
            )
        })
    }
}

fn apply(model: Option<Model>, sighting: &Sighting, is_vague: bool) -> Option<Model> {
    let Some(anchor) = sighting.anchor.clone() else {
        let event = sighting.event.to_ascii_lowercase();
        return match event.as_str() {
            "userlogout" => Some(Model::default()),
            "home-open" => model.map(|mut model| {
                let before = model.current.take();
                model.others.extend(before.map(|open| (open.anchor.clone(), open)));
                model
            }),
            _ => model,
        };
    };
    if sighting.is_open() {
        let mut model = model.unwrap_or_default();
        let before = model.current.take();
        model.others.extend(before.map(|open| (open.anchor.clone(), open)));
        let fresh =
            Open { anchor: anchor.clone(), content: (!is_vague).then(BTreeMap::new), ..Open::default() };
        let mut open = model.others.remove(&anchor).unwrap_or(fresh);
        open.version = sighting.version.clone().unwrap_or_default();
        model.current = Some(open);
        return Some(model);
    }
    let mut model = model?;
    if sighting.is_close() {
        model.current = model.current.filter(|open| open.anchor != anchor);
        model.others.remove(&anchor);
    }
    if sighting.is_update() {
        let current = model.current.as_mut().filter(|open| open.anchor == anchor);
        if let Some(open) = current.or_else(|| model.others.get_mut(&anchor)) {
            open.version = sighting.version.clone().unwrap_or_default();
            if let Some(content) = &mut open.content {
                update(content, &sighting.text);
            }
        }
    }
    Some(model)
}

/// Applies the `PUT`s, `POST`s and `DELETE`s of an update.
fn update(content: &mut BTreeMap<String, Value>, message: &str) {
    let message: Value = serde_json::from_str(message).unwrap_or_default();
    for element in message["event"]["context"].as_array().into_iter().flatten() {
        for entry in element["resource"]["entry"].as_array().into_iter().flatten() {
            let resource = &entry["resource"];
            match entry["request"]["method"].as_str() {
                Some("DELETE") => drop(content.remove(entry["fullUrl"].as_str().unwrap_or_default())),
                _ => drop(content.insert(name_of(resource), resource.clone())),
            }
        }
    }
}

fn name_of(resource: &Value) -> String {
    let part = |name: &str| resource[name].as_str().unwrap_or_default();
    format!("{}/{}", part("resourceType"), part("id"))
}

/// The resources of the element `content`.
fn content_of(context: &Value) -> BTreeMap<String, Value> {
    let elements = context["context"].as_array().into_iter().flatten();
    let content = elements.filter(|element| element["key"] == "content");
    let entries = content.flat_map(|element| element["resource"]["entry"].as_array().into_iter().flatten());
    entries.map(|entry| (name_of(&entry["resource"]), entry["resource"].clone())).collect()
}
