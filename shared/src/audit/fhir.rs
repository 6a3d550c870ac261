//! A record as an AuditEvent of FHIR R4, by the patterns of IHE's Basic Audit Log Patterns (BALP).
//!
//! A request is an operation over REST (`audit-event-type#rest`), a notification a transmission
//! (`iso-21089-lifecycle#transmit`), who cannot show who it is a failed login (DICOM's codes). Agents are the
//! application that asked, its user, and the hub. The session is an entity by the hash of its topic. What was done in the
//! terms of FHIRcast is a second subtype, in a code system of the hub's own.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::{Kind, Outcome, Record, Who, json::time, trail::Source};

const DICOM: &str = "http://dicom.nema.org/resources/ontology/DCM";
const REST: &str = "http://terminology.hl7.org/CodeSystem/audit-event-type";
const LIFECYCLE: &str = "http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle";
const INTERACTION: &str = "http://hl7.org/fhir/restful-interaction";
const PARTICIPATION: &str = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType";
const SOURCE_TYPE: &str = "http://terminology.hl7.org/CodeSystem/security-source-type";
const ENTITY_TYPE: &str = "http://terminology.hl7.org/CodeSystem/audit-entity-type";
const ENTITY_ROLE: &str = "http://terminology.hl7.org/CodeSystem/object-role";
const BALP_ENTITY: &str = "https://profiles.ihe.net/ITI/BALP/CodeSystem/BasicAuditEntityType";
/// The hub's own names for what was done, and for what has an id only here.
const OWN_KINDS: &str = "urn:fhircast-hub:audit-kind";
const OWN_TOPICS: &str = "urn:fhircast-hub:topic-hash";
const OWN_SUBSCRIPTIONS: &str = "urn:fhircast-hub:subscription";
const OWN_NODES: &str = "urn:fhircast-hub:node";

/// The resource, on one line, without its end.
pub(super) fn render(record: &Record, source: &Source) -> String {
    let mut event = json!({
        "resourceType": "AuditEvent",
        "type": type_of(record.kind),
        "subtype": subtypes(record),
        "action": action(record),
        "recorded": time(record),
        "outcome": outcome(record.outcome),
        "agent": agents(record, source),
        "source": {
            "site": source.host,
            "observer": who(OWN_NODES, &source.node, source.program),
            "type": [coding(SOURCE_TYPE, "4", "Application Server")],
        },
    });
    let entities = entities(record);
    if !entities.is_empty() {
        event["entity"] = entities.into();
    }
    if let Some(text) = outcome_text(record) {
        event["outcomeDesc"] = text.into();
    }
    event.to_string()
}

fn coding(system: &str, code: &str, display: &str) -> Value {
    json!({ "system": system, "code": code, "display": display })
}

fn who(system: &str, value: &str, display: &str) -> Value {
    json!({ "identifier": { "system": system, "value": value }, "display": display })
}

fn type_of(kind: Kind) -> Value {
    match kind {
        Kind::Authentication => coding(DICOM, "110114", "User Authentication"),
        Kind::Delivery => coding(LIFECYCLE, "transmit", "Transmit Record Lifecycle Event"),
        _ => coding(REST, "rest", "RESTful Operation"),
    }
}

/// What counts for the FHIR terms: of something denied, what was asked for.
fn meant(record: &Record) -> Kind {
    match record.kind {
        Kind::Denial => record.asked.unwrap_or(Kind::Denial),
        kind => kind,
    }
}

fn subtypes(record: &Record) -> Vec<Value> {
    let mut subtypes = match meant(record) {
        Kind::Authentication => vec![coding(DICOM, "110122", "Login")],
        Kind::Delivery => Vec::new(),
        Kind::Subscribe | Kind::Publish => vec![coding(INTERACTION, "create", "create")],
        Kind::Read => vec![coding(INTERACTION, "read", "read")],
        Kind::Grant => vec![coding(INTERACTION, "update", "update")],
        // Of a denial that nobody asked for: the hub has ended the subscription.
        Kind::Unsubscribe | Kind::Denial => vec![coding(INTERACTION, "delete", "delete")],
        Kind::Connect => vec![coding(INTERACTION, "operation", "operation")],
    };
    subtypes.push(coding(OWN_KINDS, record.kind.as_str(), record.kind.as_str()));
    subtypes
}

fn action(record: &Record) -> &'static str {
    match meant(record) {
        Kind::Subscribe | Kind::Publish => "C",
        Kind::Read => "R",
        Kind::Grant => "U",
        Kind::Unsubscribe | Kind::Denial => "D",
        Kind::Connect | Kind::Delivery | Kind::Authentication => "E",
    }
}

fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Success => "0",
        Outcome::Refused => "4",
        Outcome::Failed | Outcome::Unknown => "8",
        Outcome::Broken => "12",
    }
}

fn outcome_text(record: &Record) -> Option<String> {
    match (&record.reason, record.status) {
        (None, _) if record.outcome == Outcome::Success => None,
        (Some(reason), Some(status)) => Some(format!("{status}: {reason}")),
        (Some(reason), None) => Some(reason.clone().into_owned()),
        (None, Some(status)) => Some(status.to_string()),
        (None, None) => Some(record.outcome.as_str().to_owned()),
    }
}

/// The subscriber is told and the hub tells it; anything else the client asks of the hub.
fn agents(record: &Record, source: &Source) -> Vec<Value> {
    let is_told = matches!(record.kind, Kind::Delivery);
    let (source_role, destination_role) =
        (coding(DICOM, "110153", "Source Role ID"), coding(DICOM, "110152", "Destination Role ID"));
    let (app_role, hub_role) =
        if is_told { (destination_role, source_role) } else { (source_role, destination_role) };
    let user = record.who.as_ref().and_then(user);
    let mut app = json!({
        "type": { "coding": [app_role] },
        // Of what the hub does by itself it is the hub.
        "requestor": user.is_none() && record.address.is_some(),
        "who": app(record),
    });
    if let Some(network) = network(record) {
        app["network"] = network;
    }
    let hub = json!({
        "type": { "coding": [hub_role] },
        "requestor": record.address.is_none(),
        "who": who(OWN_NODES, &source.node, source.program),
    });
    [Some(app), user, Some(hub)].into_iter().flatten().collect()
}

fn app(record: &Record) -> Value {
    let client = record.who.as_ref().and_then(|who| Some((who, who.client.as_ref()?)));
    match (client, record.subscription) {
        (Some((bearer, client)), _) => who(&bearer.issuer, client, "client"),
        (None, Some(id)) => who(OWN_SUBSCRIPTIONS, &format!("{id:?}"), "subscriber"),
        (None, None) => json!({ "display": "unknown" }),
    }
}

fn user(bearer: &Who) -> Option<Value> {
    let subject = bearer.subject.as_ref()?;
    Some(json!({
        "type": { "coding": [coding(PARTICIPATION, "IRCP", "information recipient")] },
        "requestor": true,
        "who": who(&bearer.issuer, subject, "user"),
    }))
}

/// An address (2), or the URI of a callback (5).
fn network(record: &Record) -> Option<Value> {
    let address = record.address.map(|address: IpAddr| json!({ "address": address, "type": "2" }));
    address.or_else(|| Some(json!({ "address": record.callback.as_ref()?, "type": "5" })))
}

fn entities(record: &Record) -> Vec<Value> {
    let detail = |name: &str, value: Option<String>| Some(json!({ "type": name, "valueString": value? }));
    let details: Vec<Value> = [
        detail("event-name", record.event.as_ref().map(|event| event.to_string())),
        detail("event-id", record.event_id.map(|id| id.to_string())),
        detail("entry", record.entry.map(|entry| entry.to_string())),
        detail("subscription", record.subscription.map(|id| format!("{id:?}"))),
        detail("events", record.events.clone()),
        detail("lease-seconds", record.lease.map(|lease| lease.as_secs_f64().round().to_string())),
    ]
    .into_iter()
    .flatten()
    .collect();
    let session = record.topic.map(|topic| {
        let mut session = json!({
            "what": { "identifier": { "system": OWN_TOPICS, "value": topic.to_string() } },
            "type": coding(ENTITY_TYPE, "2", "System Object"),
            "role": coding(ENTITY_ROLE, "20", "Job"),
        });
        if !details.is_empty() {
            session["detail"] = details.into();
        }
        session
    });
    let request = record.request_id.as_ref().map(|id| {
        json!({
            "what": { "identifier": { "value": id } },
            "type": coding(BALP_ENTITY, "XrequestId", "X-Request-Id"),
        })
    });
    session.into_iter().chain(request).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::audit::{
        record::tests::{records, subscription},
        trail::tests::source,
    };

    fn rendered() -> Vec<(Record, Value)> {
        let read = |record: Record| {
            let text = render(&record, &source());
            assert!(!text.contains('\n'), "{text}");
            let event = serde_json::from_str(&text).unwrap();
            (record, event)
        };
        records().into_iter().map(read).collect()
    }

    fn is_coding(value: &Value) -> bool {
        let is_uri = value["system"].as_str().is_some_and(|system| system.contains(':'));
        is_uri && value["code"].as_str().is_some_and(|code| !code.is_empty() && !code.contains(' '))
    }

    /// Every string of a resource has something in it, and no object and no array is empty (FHIR's ele-1).
    fn has_nothing_empty(value: &Value) -> bool {
        match value {
            Value::String(text) => !text.is_empty(),
            Value::Array(items) => !items.is_empty() && items.iter().all(has_nothing_empty),
            Value::Object(members) => !members.is_empty() && members.values().all(has_nothing_empty),
            Value::Null => false,
            Value::Bool(_) | Value::Number(_) => true,
        }
    }

    fn has_only(value: &Value, known: &[&str]) -> bool {
        value.as_object().unwrap().keys().all(|key| known.contains(&key.as_str()))
    }

    #[test]
    fn every_record_is_an_audit_event_of_r4() {
        let elements = [
            "resourceType",
            "type",
            "subtype",
            "action",
            "recorded",
            "outcome",
            "outcomeDesc",
            "agent",
            "source",
            "entity",
        ];
        for (_, event) in rendered() {
            assert_eq!(event["resourceType"], "AuditEvent");
            assert!(has_only(&event, &elements) && has_nothing_empty(&event), "{event}");
            assert!(is_coding(&event["type"]), "type is required: {event}");
            assert!(event["subtype"].as_array().unwrap().iter().all(is_coding), "{event}");
            assert!(["C", "R", "U", "D", "E"].contains(&event["action"].as_str().unwrap()), "{event}");
            assert_eq!(event["recorded"], "2026-11-25T17:50:02.25Z", "an instant with its zone");
            assert!(["0", "4", "8", "12"].contains(&event["outcome"].as_str().unwrap()), "{event}");
            let agents = event["agent"].as_array().unwrap();
            assert!(!agents.is_empty(), "an agent is required: {event}");
            for agent in agents {
                assert!(has_only(agent, &["type", "who", "requestor", "network"]), "{agent}");
                assert!(agent["requestor"].is_boolean(), "it is required: {agent}");
                assert!(agent["type"]["coding"].as_array().unwrap().iter().all(is_coding), "{agent}");
                assert!(agent["who"].is_object(), "{agent}");
                let network = &agent["network"];
                assert!(network.is_null() || ["2", "5"].contains(&network["type"].as_str().unwrap()));
            }
            let requestors = agents.iter().filter(|agent| agent["requestor"] == true).count();
            assert_eq!(requestors, 1, "one has asked: {event}");
            assert_eq!(event["source"]["observer"]["identifier"]["value"], "node-1", "it is required");
            for entity in event["entity"].as_array().into_iter().flatten() {
                assert!(has_only(entity, &["what", "type", "role", "detail"]), "{entity}");
                assert!(is_coding(&entity["type"]), "{entity}");
                assert!(entity["what"]["identifier"]["value"].is_string(), "{entity}");
                for detail in entity["detail"].as_array().into_iter().flatten() {
                    assert!(has_only(detail, &["type", "valueString"]), "{detail}");
                    assert!(detail["type"].is_string() && detail["valueString"].is_string(), "{detail}");
                }
            }
        }
    }

    #[test]
    fn kinds_have_their_codes() {
        for (record, event) in rendered() {
            let (code, action) = match (record.kind, record.asked) {
                (Kind::Publish | Kind::Subscribe, _) => ("rest", "C"),
                (Kind::Read, _) | (Kind::Denial, Some(Kind::Read)) => ("rest", "R"),
                (Kind::Grant, _) => ("rest", "U"),
                (Kind::Unsubscribe | Kind::Denial, _) => ("rest", "D"),
                (Kind::Connect, _) => ("rest", "E"),
                (Kind::Delivery, _) => ("transmit", "E"),
                (Kind::Authentication, _) => ("110114", "E"),
            };
            assert_eq!(
                (event["type"]["code"].as_str(), event["action"].as_str()),
                (Some(code), Some(action))
            );
            let last = event["subtype"].as_array().unwrap().last().unwrap().clone();
            assert_eq!(last["code"], record.kind.as_str());
            let expected = match record.outcome {
                Outcome::Success => "0",
                Outcome::Refused => "4",
                Outcome::Failed | Outcome::Unknown => "8",
                Outcome::Broken => "12",
            };
            assert_eq!(event["outcome"], expected);
        }
    }

    #[test]
    fn a_publish_names_client_user_session_and_event() {
        let all = rendered();
        let of_event =
            |(record, _): &&(Record, Value)| record.kind == Kind::Publish && record.status == Some(202);
        let (_, event) = all.iter().find(of_event).unwrap();
        assert_eq!(event["agent"][0]["who"]["identifier"]["value"], "viewer");
        assert_eq!(event["agent"][0]["network"]["address"], "192.0.2.7");
        assert_eq!(event["agent"][1]["who"]["identifier"]["system"], "https://issuer.example");
        assert_eq!(event["agent"][1]["who"]["identifier"]["value"], "user-7");
        let session = &event["entity"][0];
        assert_eq!(session["what"]["identifier"]["value"], subscription().topic.key().to_string());
        assert_eq!(session["detail"][0], json!({ "type": "event-name", "valueString": "Patient-open" }));
        assert_eq!(event["entity"][1]["what"]["identifier"]["value"], "0af7651916cd43dd8448eb211c80319c");
    }

    #[test]
    fn nothing_is_told_that_opens_anything() {
        for (_, event) in rendered() {
            let text = event.to_string();
            for told in ["ticket", "hush", "secret", "Somebody", &subscription().id.to_string()] {
                assert!(!text.contains(told), "{told} is in {text}");
            }
        }
    }
}
