//! One topic's contexts and what is shared in them (FC-CTX, FC-CNT).

use std::collections::HashSet;

use anyhow::Result;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::Wrong;
use super::message::{Action, Anchor, Event, Filter, Refusal, bad, raw_context, versioned};

/// A context that was opened.
struct Open {
    anchor: Anchor,
    name: String,
    /// The open as it was posted.
    text: String,
    version: String,
    is_closed: bool,
    /// The paths (`Type/id`) of the resources of the open.
    opened: Vec<String>,
    content: Vec<Shared>,
}

/// A resource of the content.
#[derive(Clone)]
struct Shared {
    names: Vec<String>,
    entry: String,
}

/// A session: its contexts in the order of their opening, the closed ones too.
#[derive(Default)]
pub struct Session {
    opens: Vec<Open>,
    /// The place of the current one.
    current: Option<usize>,
    /// How many events there have been.
    pub count: usize,
    /// The ids of those that have been.
    pub posted: HashSet<String>,
}

fn conflict<T>(reason: &str) -> Result<T, Refusal> {
    Err((409, reason.to_owned()))
}

impl Session {
    /// The name of the event that opened the current context.
    pub fn current_name(&self) -> Option<&str> {
        self.current.and_then(|at| self.opens.get(at)).map(|open| open.name.as_str())
    }

    /// Does what the event says, or nothing; answers with the notification. `at_once` says that another
    /// event came while this one was being read.
    pub fn apply(&mut self, event: &Event, at_once: bool, wrong: Wrong) -> Result<String, Refusal> {
        let text = || Ok(event.text.to_owned());
        match (event.action, &event.anchor) {
            (Action::Open, Some(anchor)) => self.open(event, anchor, wrong),
            (Action::Update, Some(anchor)) => self.update(event, anchor, at_once, wrong),
            (Action::Select, Some(anchor)) => match self.find(anchor) {
                Some(at) if wrong == Wrong::SelectClears => {
                    self.opens[at].content.clear();
                    text()
                }
                None if wrong != Wrong::SelectOfClosed => conflict("event.context refers to no open context"),
                _ => text(),
            },
            (Action::Close, Some(anchor)) => {
                if let Some(at) = self.find(anchor) {
                    self.close(at, wrong);
                }
                text()
            }
            (Action::Heartbeat, _) if wrong != Wrong::TakesHeartbeats => {
                bad("event.hub.event must not be heartbeat: the hub alone sends it")
            }
            (Action::HomeOpen, _) => {
                self.current = None;
                text()
            }
            (Action::UserLogout, _) => {
                (self.opens, self.current) = (Vec::new(), None);
                text()
            }
            _ => text(),
        }
    }

    /// The place of the open context of this resource.
    fn find(&self, anchor: &Anchor) -> Option<usize> {
        self.opens.iter().position(|open| !open.is_closed && open.anchor.is_same(anchor))
    }

    fn open(&mut self, event: &Event, anchor: &Anchor, wrong: Wrong) -> Result<String, Refusal> {
        let known = self.opens.iter().position(|open| open.anchor.is_same(anchor));
        let before = known.map(|at| self.opens.remove(at));
        let keeps = |open: &Open| match wrong {
            Wrong::OutlivesClose => true,
            Wrong::ReopenClears => false,
            _ => !open.is_closed,
        };
        let content = before.filter(keeps).map(|open| open.content).unwrap_or_default();
        if wrong == Wrong::OneOfAType {
            let of_type = |open: &&mut Open| open.anchor.resource_type == anchor.resource_type;
            self.opens.iter_mut().filter(of_type).for_each(|open| open.is_closed = true);
        }
        let version = if wrong == Wrong::OneVersion { "1".to_owned() } else { new_version() };
        let resources = event.context.iter().filter_map(|element| Anchor::of_resource(element.resource?));
        let notification = rendered(event.text, &version, None)?;
        self.opens.push(Open {
            anchor: anchor.clone(),
            name: event.name.clone(),
            text: event.text.to_owned(),
            version,
            is_closed: false,
            opened: resources.filter_map(|resource| resource.path()).collect(),
            content,
        });
        self.current = Some(self.opens.len() - 1);
        Ok(notification)
    }

    fn close(&mut self, at: usize, wrong: Wrong) {
        self.opens[at].is_closed = true;
        if self.current == Some(at) {
            self.current = match wrong {
                Wrong::CurrentAfterClose => Some(at),
                Wrong::NextBecomesCurrent => self.opens.iter().rposition(|open| !open.is_closed),
                _ => None,
            };
        }
    }

    fn update(
        &mut self,
        event: &Event,
        anchor: &Anchor,
        at_once: bool,
        wrong: Wrong,
    ) -> Result<String, Refusal> {
        let Some(at) = self.find(anchor) else { return conflict("event.context refers to no open context") };
        let open = &mut self.opens[at];
        match &event.version {
            None => return conflict("event.context.versionId is missing"),
            Some(version) if *version != open.version && wrong != Wrong::StaleVersion => {
                return conflict("event.context.versionId is not the current version");
            }
            Some(_) => {}
        }
        let mut content = open.content.clone();
        if let Err(refusal) = share(&mut content, event, &open.opened) {
            if wrong == Wrong::HalfABundle {
                open.content = content;
            }
            return Err(refusal);
        }
        let version = new_version();
        let prior = Some(open.version.as_str()).filter(|_| wrong != Wrong::NoPriorVersion);
        let notification = rendered(event.text, &version, prior)?;
        open.content = content;
        if !(at_once && wrong == Wrong::BothWin) {
            open.version = version;
        }
        Ok(notification)
    }

    /// What a late joiner is sent: the last open of each type that it asked for, oldest first (FC-SUB-08).
    pub fn replay(&self, events: &Filter, wrong: Wrong) -> Vec<String> {
        let (mut types, mut replay) = (Vec::new(), Vec::new());
        for open in self.opens.iter().rev().filter(|_| wrong != Wrong::NoReplay) {
            let resource_type = open.anchor.resource_type.to_lowercase();
            let is_asked_for = events.times(&open.name, wrong) > 0 || wrong == Wrong::ReplaysUnasked;
            let is_seen = wrong == Wrong::ReplaysClosed || !open.is_closed && !types.contains(&resource_type);
            if is_asked_for && is_seen {
                types.push(resource_type);
                replay.extend(versioned(&open.text, &open.version, None).ok());
            }
        }
        replay.reverse();
        replay
    }

    /// The answer to Get Current Context (FC-CTX-01…04).
    pub fn current_context(&self, wrong: Wrong) -> Result<String> {
        let Some(open) = self.current.map(|at| &self.opens[at]) else {
            return Ok(r#"{"context.type":"","context":[]}"#.to_owned());
        };
        let resource_type = Value::from(open.anchor.resource_type.as_str());
        let version = match wrong {
            Wrong::NoVersionInContext => String::new(),
            _ => format!(r#""context.versionId":{},"#, Value::from(open.version.as_str())),
        };
        let mut context = raw_context(&open.text)?.trim_end_matches(']').to_owned();
        if wrong != Wrong::NoContent {
            let entries: Vec<&str> = open.content.iter().map(|shared| shared.entry.as_str()).collect();
            context.push_str(r#",{"key":"content","resource":{"resourceType":"Bundle","type":"collection","#);
            context.push_str(&format!(r#""entry":[{}]}}}}"#, entries.join(",")));
        }
        let answer = format!(r#"{{"context.type":{resource_type},{version}"context":{context}]}}"#);
        Ok(match wrong {
            Wrong::NumbersAsFloats => serde_json::from_str::<Value>(&answer)?.to_string(),
            _ => answer,
        })
    }
}

fn new_version() -> String {
    uuid::Uuid::new_v4().to_string()
}

fn rendered(text: &str, version: &str, prior: Option<&str>) -> Result<String, Refusal> {
    versioned(text, version, prior).map_err(|error| (400, error.to_string()))
}

#[derive(Deserialize)]
struct Bundle<'a> {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(borrow, default)]
    entry: Vec<Entry<'a>>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(default, rename = "fullUrl")]
    full_url: Value,
    #[serde(default)]
    request: Value,
    #[serde(borrow)]
    resource: Option<&'a RawValue>,
}

/// Changes the content as the Bundle with key `updates` says, up to its first mistake (FC-CNT-03).
fn share(content: &mut Vec<Shared>, event: &Event, opened: &[String]) -> Result<(), Refusal> {
    let Some(element) = event.context.iter().find(|element| element.key == "updates") else { return Ok(()) };
    let bundle = element.resource.and_then(|raw| serde_json::from_str::<Bundle>(raw.get()).ok());
    let Some(bundle) = bundle.filter(|bundle| bundle.kind.as_deref() == Some("transaction")) else {
        return bad("the updates in event.context must be a Bundle of type transaction");
    };
    let mut seen: Vec<String> = Vec::new();
    for entry in bundle.entry {
        let names = names(&entry);
        let has = |known: &Shared| known.names.iter().any(|name| names.contains(name));
        if names.iter().any(|name| seen.contains(name)) {
            return bad("an update names a resource twice");
        }
        seen.extend(names.iter().cloned());
        match (entry.request["method"].as_str(), entry.resource) {
            (Some("DELETE"), _) if names.is_empty() => return bad("an update deletes what it does not name"),
            (Some("DELETE"), _) if opened.iter().any(|path| names.contains(path)) => {
                return conflict("an update deletes a resource of the open");
            }
            (Some("DELETE"), _) => content.retain(|known| !has(known)),
            (Some("POST"), _) if content.iter().any(has) => return conflict("an update adds what is there"),
            (Some("PUT" | "POST"), Some(resource)) => {
                content.retain(|known| !has(known));
                let full_url = match &entry.full_url {
                    Value::Null => String::new(),
                    url => format!("\"fullUrl\":{url},"),
                };
                content.push(Shared { entry: format!("{{{full_url}\"resource\":{resource}}}"), names });
            }
            _ => return bad("an update must PUT, POST or DELETE a resource"),
        }
    }
    Ok(())
}

/// What a resource is called: `Type/id`, or a `fullUrl` that says none.
fn names(entry: &Entry) -> Vec<String> {
    let path = |url: &str| match url.rsplit('/').take(2).collect::<Vec<_>>()[..] {
        [id, resource_type] => Some(format!("{resource_type}/{id}")),
        _ => url.contains(':').then(|| url.to_owned()),
    };
    let urls = [&entry.full_url, &entry.request["url"]].into_iter().filter_map(|url| path(url.as_str()?));
    let resource = entry.resource.and_then(Anchor::of_resource).and_then(|resource| resource.path());
    urls.chain(resource).collect()
}
