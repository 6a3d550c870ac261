//! Events and `hub.events`: read, and written again byte for byte (FC-EVT, FC-TRN-05).

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::Wrong;

/// Why a request is refused: the status and the reason.
pub type Refusal = (u16, String);

/// A refusal with 400.
pub fn bad<T>(reason: impl Into<String>) -> Result<T, Refusal> {
    Err((400, reason.into()))
}

/// What an event does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Open,
    Close,
    Update,
    Select,
    HomeOpen,
    UserLogout,
    Heartbeat,
    Other,
}

/// What an event of this name does, and to which type; `None` for what is no name (FC-EVT-03).
fn classify(name: &str) -> Option<(Action, &str)> {
    let word = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match name.to_ascii_lowercase().as_str() {
        "home-open" => return Some((Action::HomeOpen, "")),
        "userlogout" => return Some((Action::UserLogout, "")),
        "heartbeat" => return Some((Action::Heartbeat, "")),
        "syncerror" | "userhibernate" => return Some((Action::Other, "")),
        _ => {}
    }
    let Some((resource, action)) = name.split_once('-') else {
        let is_domain = name.contains('.') && name.split('.').all(|label| !label.is_empty() && word(label));
        return is_domain.then_some((Action::Other, ""));
    };
    let action = match action.to_ascii_lowercase().as_str() {
        "open" => Action::Open,
        "close" => Action::Close,
        "update" => Action::Update,
        "select" => Action::Select,
        _ => return None,
    };
    (!resource.is_empty() && resource.bytes().all(|byte| byte.is_ascii_alphabetic()))
        .then_some((action, resource))
}

/// `hub.events` (FC-EVT-06, FC-SUB-03).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter(pub Vec<String>);

impl Filter {
    /// Reads the list; what it names twice counts once.
    pub fn read(text: &str, wrong: Wrong) -> Result<Filter, Refusal> {
        let mut patterns: Vec<String> = Vec::new();
        for pattern in text.split(',').map(str::trim) {
            let (resource, action) = pattern.split_once('-').unwrap_or((pattern, ""));
            let named = format!(
                "{}-{}",
                if resource == "*" { "Any" } else { resource },
                if action == "*" { "open" } else { action }
            );
            if pattern != "*" && classify(pattern).or(classify(&named)).is_none() {
                return bad("hub.events must hold names of events and wildcards");
            }
            let is_known = patterns.iter().any(|known| known.eq_ignore_ascii_case(pattern));
            if !is_known || wrong == Wrong::RepeatedEvents {
                patterns.push(pattern.to_owned());
            }
        }
        Ok(Filter(patterns))
    }

    /// How often an event of this name is sent.
    pub fn times(&self, name: &str, wrong: Wrong) -> usize {
        let matches = |pattern: &&String| matches(pattern, name, wrong);
        let Some(first) = self.0.iter().find(matches) else {
            return usize::from(wrong == Wrong::EventsUnasked);
        };
        self.0.iter().filter(|pattern| pattern.eq_ignore_ascii_case(first)).count()
    }
}

fn matches(pattern: &str, name: &str, wrong: Wrong) -> bool {
    let is = |pattern: &str, part: &str| match wrong {
        Wrong::CaseMatters => pattern == part,
        _ => pattern.eq_ignore_ascii_case(part),
    };
    let is_wild = |pattern: &str| pattern == "*" && wrong != Wrong::IgnoresWildcards;
    match (pattern.split_once('-'), name.split_once('-')) {
        _ if pattern == "*" => !is("heartbeat", name),
        (Some((resource, action)), Some((of_resource, of_action))) => {
            (is_wild(resource) || is(resource, of_resource)) && (is_wild(action) || is(action, of_action))
        }
        (None, None) => is(pattern, name),
        _ => false,
    }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    timestamp: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    event: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow, rename = "hub.topic")]
    topic: Option<&'a RawValue>,
    #[serde(borrow, rename = "hub.event")]
    name: Option<&'a RawValue>,
    #[serde(borrow, rename = "context.versionId", alias = "versionId")]
    version: Option<&'a RawValue>,
    #[serde(borrow)]
    context: Option<&'a RawValue>,
}

/// An element of `context`.
#[derive(Deserialize)]
pub struct Element<'a> {
    #[serde(default)]
    pub key: Value,
    #[serde(borrow)]
    pub resource: Option<&'a RawValue>,
    #[serde(default)]
    reference: Value,
}

/// Which resource it is: its type, and its id or identifiers (FC-EVT-07).
#[derive(Debug, Clone)]
pub struct Anchor {
    pub resource_type: String,
    id: Option<String>,
    identifiers: Vec<(Value, Value)>,
}

impl Anchor {
    pub fn of_resource(resource: &RawValue) -> Option<Anchor> {
        let resource: Value = serde_json::from_str(resource.get()).ok()?;
        let identifiers = resource["identifier"].as_array().map(Vec::as_slice).unwrap_or_default();
        let pair = |each: &Value| (each["system"].clone(), each["value"].clone());
        Some(Anchor {
            resource_type: resource["resourceType"].as_str()?.to_owned(),
            id: resource["id"].as_str().map(str::to_owned),
            identifiers: identifiers.iter().map(pair).filter(|(_, value)| value.is_string()).collect(),
        })
    }

    fn of_reference(reference: &Value) -> Option<Anchor> {
        let identifier =
            (reference["identifier"]["system"].clone(), reference["identifier"]["value"].clone());
        let mut path = reference["reference"].as_str().unwrap_or_default().rsplit('/');
        let (id, of_path) = (path.next().filter(|id| !id.is_empty()), path.next());
        Some(Anchor {
            resource_type: reference["type"].as_str().or(of_path)?.to_owned(),
            id: id.map(str::to_owned),
            identifiers: Some(identifier).into_iter().filter(|(_, value)| value.is_string()).collect(),
        })
    }

    /// The same resource: by id if both have one, else by a shared identifier.
    pub fn is_same(&self, other: &Anchor) -> bool {
        self.resource_type.eq_ignore_ascii_case(&other.resource_type)
            && match (&self.id, &other.id) {
                (Some(mine), Some(theirs)) => mine == theirs,
                _ => self.identifiers.iter().any(|mine| other.identifiers.contains(mine)),
            }
    }

    /// `Type/id`, if it has an id.
    pub fn path(&self) -> Option<String> {
        Some(format!("{}/{}", self.resource_type, self.id.as_ref()?))
    }
}

/// An event as it was posted.
pub struct Event<'a> {
    pub text: &'a str,
    pub id: String,
    pub topic: String,
    pub name: String,
    pub action: Action,
    pub version: Option<String>,
    pub anchor: Option<Anchor>,
    pub context: Vec<Element<'a>>,
}

impl<'a> Event<'a> {
    /// Reads what was posted (FC-EVT-01, FC-EVT-03, FC-EVT-05, FC-EVT-07).
    pub fn read(text: &'a str, wrong: Wrong) -> Result<Event<'a>, Refusal> {
        let Ok(envelope) = serde_json::from_str::<Envelope>(text) else {
            return bad("the body must be a JSON object");
        };
        if envelope.timestamp.is_some() || wrong != Wrong::MissingTimestamp {
            string(envelope.timestamp, "timestamp")?;
        }
        let id = string(envelope.id, "id")?;
        let Some(Ok(event)) = envelope.event.map(|event| serde_json::from_str::<Members>(event.get())) else {
            return bad("event must be an object");
        };
        let (topic, name) = (string(event.topic, "event.hub.topic")?, string(event.name, "event.hub.event")?);
        let (action, resource_type) = match classify(&name) {
            Some(known) => known,
            None if wrong == Wrong::AnyEventName => (Action::Other, ""),
            None => return bad("event.hub.event must be the name of an event"),
        };
        let version = event.version.map(|raw| string(Some(raw), "event.context.versionId")).transpose()?;
        let raw = event.context.map(RawValue::get).unwrap_or_default();
        let Ok(elements) = serde_json::from_str::<Vec<&RawValue>>(raw) else {
            return bad("event.context must be an array");
        };
        let elements = elements.into_iter().map(RawValue::get);
        let context: Option<Vec<Element>> =
            elements.map(|raw| serde_json::from_str(raw).ok().filter(|_| raw.starts_with('{'))).collect();
        let Some(context) = context else { return bad("event.context must hold objects") };
        let resources = context.iter().filter_map(|element| Anchor::of_resource(element.resource?));
        let references = context.iter().filter_map(|element| Anchor::of_reference(&element.reference));
        let may_refer = matches!(action, Action::Update | Action::Select);
        let anchor = resources
            .chain(references.filter(|_| may_refer))
            .find(|anchor| anchor.resource_type.eq_ignore_ascii_case(resource_type))
            .filter(|anchor| anchor.id.is_some() || !anchor.identifiers.is_empty());
        let needs_none = wrong == Wrong::MissingAnchor && !may_refer;
        if anchor.is_none() && !resource_type.is_empty() && !needs_none {
            return bad(format!("event.context must hold the {resource_type} that the event is about"));
        }
        Ok(Event { text, id, topic, name, action, version, anchor, context })
    }
}

fn string(raw: Option<&RawValue>, member: &str) -> Result<String, Refusal> {
    let text = raw.and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
    text.filter(|text| !text.is_empty()).ok_or_else(|| (400, format!("{member} must be a non-empty string")))
}

/// The event with the version that the hub gave it, every other byte as it was posted (FC-TRN-05).
pub fn versioned(text: &str, version: &str, prior: Option<&str>) -> Result<String> {
    let envelope: Envelope = serde_json::from_str(text)?;
    let event = envelope.event.context("there is no event")?.get();
    let given = serde_json::from_str::<Members>(event)?.version.map(RawValue::get);
    let mut versions = format!("\"context.versionId\":{}", Value::from(version));
    if let Some(prior) = prior {
        versions = format!("{versions},\"context.priorVersionId\":{}", Value::from(prior));
    }
    let Some(given) = given else {
        return Ok(replaced(text, &event[..1], &format!("{{{versions},")));
    };
    // The member's name too: some write `versionId`.
    let end = offset(text, given);
    let mut quotes = text[..end].rmatch_indices('"');
    let name = quotes.nth(1).context("the version has no name")?.0;
    Ok(replaced(text, &text[name..end + given.len()], &versions))
}

/// The bytes of the `context` array of an event.
pub fn raw_context(text: &str) -> Result<&str> {
    let envelope: Envelope = serde_json::from_str(text)?;
    let event: Members = serde_json::from_str(envelope.event.context("there is no event")?.get())?;
    Ok(event.context.context("there is no context")?.get())
}

/// A notification as this hub sends it.
pub fn as_sent(text: &str, wrong: Wrong) -> Result<String> {
    let envelope: Envelope = serde_json::from_str(text)?;
    Ok(match (wrong, envelope.timestamp, envelope.id) {
        (Wrong::NumbersAsFloats, ..) => serde_json::from_str::<Value>(text)?.to_string(),
        (Wrong::NoTimestamp, Some(timestamp), _) => {
            let end = offset(text, timestamp.get());
            let name = text[..end].rfind("timestamp").context("there is no timestamp")?;
            replaced(text, &text[name..name + "timestamp".len()], "at")
        }
        (Wrong::NewId, _, Some(id)) => replaced(text, id.get(), &format!("\"{}\"", uuid::Uuid::new_v4())),
        _ => text.to_owned(),
    })
}

/// `text` with `part`, which is a slice of it, replaced.
fn replaced(text: &str, part: &str, new: &str) -> String {
    let start = offset(text, part);
    [&text[..start], new, &text[start + part.len()..]].concat()
}

fn offset(text: &str, part: &str) -> usize {
    part.as_ptr().addr() - text.as_ptr().addr()
}
