//! Context elements and anchors (FC-EVT-05, FC-EVT-07, FC-EXT-01).

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Invalid, json};

/// One element of an event's `context` array: what the hub needs to know of it, and its bytes.
#[derive(Debug, Clone)]
pub struct ContextElement<'a> {
    /// `key`, when it is a string: real messages lack it, and pass (FC-EVT-05).
    pub key: Option<String>,
    /// The resource in member `resource`, if there is one.
    pub resource: Option<Anchor>,
    /// What member `reference` refers to, if it is a literal reference or names a type.
    pub reference: Option<Anchor>,
    /// The element as it stands in the message.
    pub raw: &'a str,
}

#[derive(Deserialize)]
struct ElementHead<'a> {
    #[serde(borrow)]
    key: Option<&'a RawValue>,
    #[serde(borrow)]
    resource: Option<&'a RawValue>,
    #[serde(borrow)]
    reference: Option<&'a RawValue>,
}

impl<'a> ContextElement<'a> {
    /// Reads element number `index` of the array.
    pub fn read(index: usize, raw: &'a str) -> Result<Self, Invalid> {
        if !raw.starts_with('{') {
            return Err(Invalid::value(format!("event.context[{index}]"), "must be a JSON object"));
        }
        let head: ElementHead<'_> = json::parse(raw).map_err(|_| {
            Invalid::value(format!("event.context[{index}]"), "repeats key, resource or reference")
        })?;
        Ok(Self {
            key: head.key.and_then(|key| serde_json::from_str(key.get()).ok()),
            resource: head.resource.and_then(Anchor::of_resource),
            reference: head.reference.and_then(Anchor::of_reference),
            raw,
        })
    }
}

/// A business identifier of a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identifier {
    /// The namespace of the value, an absolute URI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// The identifier in that namespace.
    pub value: String,
}

/// Which resource a context is about: its type, and what tells it from others of that type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// The FHIR resource type: `Patient`.
    #[serde(rename = "resourceType")]
    pub resource_type: String,
    /// The logical id, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Business identifiers, if it has any that carry a value.
    #[serde(default, rename = "identifier", skip_serializing_if = "Vec::is_empty")]
    pub identifiers: Vec<Identifier>,
}

/// A resource as senders write it: whatever is not as FHIR has it counts as absent.
#[derive(Deserialize)]
struct ResourceHead<'a> {
    #[serde(rename = "resourceType", borrow)]
    resource_type: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    identifier: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ReferenceHead<'a> {
    #[serde(borrow)]
    reference: Option<&'a RawValue>,
    #[serde(rename = "type", borrow)]
    resource_type: Option<&'a RawValue>,
    #[serde(borrow)]
    identifier: Option<&'a RawValue>,
}

impl Anchor {
    /// Reads the head of a resource; `None` when it names no type.
    fn of_resource(raw: &RawValue) -> Option<Self> {
        let head: ResourceHead<'_> = serde_json::from_str(raw.get()).ok()?;
        Some(Self {
            resource_type: non_empty_string(head.resource_type)?,
            id: non_empty_string(head.id),
            identifiers: head.identifier.map(identifiers).unwrap_or_default(),
        })
    }

    /// Reads a FHIR Reference: `{"reference": "Patient/1"}`, an absolute URL of that end, or a
    /// `type` with an `identifier`.
    fn of_reference(raw: &RawValue) -> Option<Self> {
        let head: ReferenceHead<'_> = serde_json::from_str(raw.get()).ok()?;
        let literal = non_empty_string(head.reference);
        // Of `Patient/1/_history/2` the version does not matter here.
        let unversioned = literal.iter().filter_map(|literal| literal.split("/_history/").next());
        let mut segments = unversioned.flat_map(|literal| literal.rsplit('/'));
        let (id, from_path) = (segments.next(), segments.next());
        let filled = |segment: Option<&str>| segment.filter(|text| !text.is_empty()).map(str::to_owned);
        let (id, from_path) = (filled(id), filled(from_path));
        let resource_type = non_empty_string(head.resource_type).or(from_path)?;
        Some(Self { resource_type, id, identifiers: head.identifier.map(identifiers).unwrap_or_default() })
    }

    /// Can it be told from another of its type?
    pub fn is_identified(&self) -> bool {
        self.id.is_some() || !self.identifiers.is_empty()
    }

    /// Are the two of this type? Event names are compared without case, so types are here.
    pub fn is_a(&self, resource_type: &str) -> bool {
        self.resource_type.eq_ignore_ascii_case(resource_type)
    }

    /// Is it the same resource: by id when both have one, else by a shared identifier?
    pub fn is_same(&self, other: &Self) -> bool {
        self.is_a(&other.resource_type)
            && match (&self.id, &other.id) {
                (Some(mine), Some(theirs)) => mine == theirs,
                _ => self.identifiers.iter().any(|mine| other.identifiers.contains(mine)),
            }
    }
}

fn non_empty_string(raw: Option<&RawValue>) -> Option<String> {
    serde_json::from_str::<String>(raw?.get()).ok().filter(|text| !text.is_empty())
}

/// FHIR has an array of identifiers in resources and a single one in references.
fn identifiers(raw: &RawValue) -> Vec<Identifier> {
    let values: Vec<&RawValue> = serde_json::from_str(raw.get()).unwrap_or_else(|_| vec![raw]);
    values
        .into_iter()
        .filter_map(|value| serde_json::from_str::<Identifier>(value.get()).ok())
        .filter(|identifier| !identifier.value.is_empty())
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn element(raw: &str) -> ContextElement<'_> {
        ContextElement::read(0, raw).unwrap()
    }

    fn resource(raw: &str) -> Anchor {
        element(&format!(r#"{{"key":"k","resource":{raw}}}"#)).resource.unwrap()
    }

    #[test]
    fn elements_of_any_shape_pass_but_must_be_objects() {
        assert_eq!(element(r#"{"key":"period","decimal":10}"#).key.as_deref(), Some("period"), "FC-EVT-05");
        assert!(element(r#"{"resource":{"status":"x"}}"#).resource.is_none(), "FC-EVT-05");
        assert!(element(r#"{"key":7,"resource":"Patient"}"#).key.is_none(), "FC-EVT-05");
        for raw in ["1", "[]", "\"x\"", "null"] {
            assert!(
                ContextElement::read(3, raw).unwrap_err().to_string().starts_with("event.context[3]"),
                "FC-EVT-05"
            );
        }
    }

    #[test]
    fn references_are_read_by_their_end_or_by_type_and_identifier() {
        let reference = |raw: &str| element(&format!(r#"{{"reference":{raw}}}"#)).reference;
        let literal = reference(r#"{"reference":"https://ehr.example/fhir/Patient/1"}"#).unwrap();
        assert_eq!(
            (literal.resource_type.as_str(), literal.id.as_deref()),
            ("Patient", Some("1")),
            "FC-EVT-07"
        );
        let versioned = reference(r#"{"reference":"Patient/1/_history/2"}"#).unwrap();
        assert!(versioned.is_same(&literal), "FC-EVT-07");
        let logical = reference(r#"{"type":"Patient","identifier":{"system":"s","value":"v"}}"#).unwrap();
        assert!(logical.is_identified() && logical.id.is_none(), "FC-EVT-07");
        for nameless in ["Patient", "//", "/1", ""] {
            assert!(
                reference(&format!(r#"{{"reference":"{nameless}"}}"#)).is_none(),
                "FC-EVT-07: {nameless}"
            );
        }
        assert!(reference(r#""Patient/1""#).is_none());
    }

    #[test]
    fn ids_decide_where_both_have_one_and_identifiers_where_not() {
        let by_id =
            resource(r#"{"resourceType":"Patient","id":"1","identifier":[{"system":"s","value":"v"}]}"#);
        let other_id =
            resource(r#"{"resourceType":"Patient","id":"2","identifier":[{"system":"s","value":"v"}]}"#);
        let no_id = resource(r#"{"resourceType":"Patient","identifier":[{"system":"s","value":"v"}]}"#);
        let other_type = resource(r#"{"resourceType":"Encounter","id":"1"}"#);
        assert!(by_id.is_same(&by_id) && by_id.is_same(&no_id) && no_id.is_same(&other_id));
        assert!(!by_id.is_same(&other_id) && !by_id.is_same(&other_type));
        assert!(!resource(r#"{"resourceType":"Patient"}"#).is_identified());
    }
}
