//! Get Current Context (FC-CTX-01…04), as far as it may be read (FC-SCO-03).
//!
//! Who may read the open event of the current context is shown the context as it was opened, and
//! its content if it may read the updates that made it. Who may not is shown what a subscriber
//! would be who joined now with the same right: what is derived from that event (FC-NOT-07), with
//! nothing in its content; or no context.

use super::{SessionState, view::Seen};
use crate::protocol::{Event, EventName, Scopes, json};

/// The current context as somebody may see it.
#[derive(Default)]
pub struct CurrentContext {
    seen: Option<Seen>,
    content: Option<String>,
}

impl SessionState {
    /// The current context as it is shown to whoever may read so much.
    pub fn current_context(&self, scopes: &Scopes) -> CurrentContext {
        let Some(open) = self.current() else { return CurrentContext::default() };
        let seen = open.seen_by(|name| scopes.may_read(name), &[]);
        let update = format!("{}-update", open.anchor.resource_type).parse::<EventName>();
        let is_whole = seen.as_ref().is_some_and(|seen| seen.name == open.name);
        let shows_content = is_whole && update.is_ok_and(|update| scopes.may_read(&update));
        CurrentContext { seen, content: shows_content.then(|| open.resources()) }
    }
}

impl CurrentContext {
    /// How the names of the content's entries begin that are shown. `None`: none of them are.
    pub fn content(&self) -> Option<&str> {
        self.content.as_deref()
    }

    /// The answer to GET `hub.url/{topic}`: type, present version and context, with the content
    /// at its end, or the empty context. `content` are the entries that updates have left (see
    /// [`content`](Self::content)).
    pub fn to_json<'c>(&self, content: impl IntoIterator<Item = &'c str>) -> String {
        let mut answer = String::from("{");
        let seen = self.seen.as_ref().and_then(|seen| Some((seen, Event::read(&seen.message).ok()?)));
        match seen {
            Some((seen, event)) => {
                let version = event.version_id.as_deref().unwrap_or_default();
                json::push_member(&mut answer, "context.type", &json::string(&seen.resource_type));
                json::push_member(&mut answer, "context.versionId", &json::string(version));
                json::push_member(&mut answer, "context", &with_content(event.raw_context(), content));
            }
            None => {
                json::push_member(&mut answer, "context.type", "\"\"");
                json::push_member(&mut answer, "context", "[]");
            }
        }
        answer.push('}');
        answer
    }
}

/// A context array with the content as its last element (FC-CTX-04).
fn with_content<'c>(context: &str, content: impl IntoIterator<Item = &'c str>) -> String {
    let elements = context.trim_end().strip_suffix(']').unwrap_or("[").trim_end();
    let mut whole = elements.to_owned();
    if !elements.ends_with('[') {
        whole.push(',');
    }
    whole.push_str(r#"{"key":"content","resource":{"resourceType":"Bundle","type":"collection","entry":["#);
    for (index, entry) in content.into_iter().enumerate() {
        if index > 0 {
            whole.push(',');
        }
        whole.push_str(entry);
    }
    whole.push_str("]}}]");
    whole
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::session::{Audience, Rules, decide};

    const PATIENT: &str = r#"{"key":"patient","resource":{"resourceType":"Patient","id":"1","weight":1.10}}"#;
    const STUDY: &str = r#"{"key":"study","resource":{"resourceType":"ImagingStudy","id":"2"}}"#;
    const ENTRY: &str = r#"{"resource":{"n":2.50}}"#;

    fn opened(name: &str, context: &str) -> SessionState {
        let text = format!(
            r#"{{"timestamp":"T","id":"i","event":{{"hub.topic":"t","hub.event":"{name}","context":[{context}]}}}}"#
        );
        let rules = Rules { max_open: 9, max_content_bytes: 99 };
        let state = SessionState::default();
        decide(&state, &Event::read(&text).unwrap(), Audience::Everyone, "v1", &rules).unwrap().state
    }

    /// The answer, with one entry of content if any is shown.
    fn shown(state: &SessionState, scopes: &str) -> String {
        let shown = state.current_context(&Scopes::parse([scopes]));
        shown.to_json(shown.content().map(|_| ENTRY))
    }

    fn answer(of_type: &str, context: &str, content: &str) -> String {
        format!(
            r#"{{"context.type":"{of_type}","context.versionId":"v1","context":[{context},{{"key":"content","resource":{{"resourceType":"Bundle","type":"collection","entry":[{content}]}}}}]}}"#
        )
    }

    const EMPTY: &str = r#"{"context.type":"","context":[]}"#;

    #[test]
    fn the_current_context_is_as_it_was_opened() {
        let context = format!(" {PATIENT}");
        assert_eq!(
            shown(&opened("Patient-open", &context), "fhircast/*.read"),
            answer("Patient", &context, ENTRY),
            "FC-CTX-01, FC-CTX-04, FC-TRN-05"
        );
    }

    #[test]
    fn no_current_context_is_an_empty_one() {
        assert_eq!(shown(&SessionState::default(), "fhircast/*.read"), EMPTY, "FC-CTX-03");
    }

    #[test]
    fn the_content_is_shown_to_who_may_read_the_updates_of_that_type() {
        let state = opened("ImagingStudy-open", STUDY);
        for (scopes, content) in [
            ("fhircast/ImagingStudy-open.read fhircast/imagingstudy-UPDATE.read", ENTRY),
            ("fhircast/ImagingStudy-open.read", ""),
            ("fhircast/ImagingStudy-open.read fhircast/Patient-update.read", ""),
            ("fhircast/ImagingStudy-open.read fhircast/ImagingStudy-update.write", ""),
        ] {
            assert_eq!(shown(&state, scopes), answer("ImagingStudy", STUDY, content), "FC-SCO-03: {scopes}");
        }
    }

    #[test]
    fn who_may_not_read_the_open_is_shown_what_is_derived_from_it() {
        let state = opened("ImagingStudy-open", &format!("{STUDY},{PATIENT}"));
        let patient = answer("Patient", PATIENT, "");
        for scopes in [
            "fhircast/Patient-open.read",
            "fhircast/patient-*.read",
            "fhircast/Patient-*.read fhircast/ImagingStudy-update.read fhircast/ImagingStudy-open.write",
        ] {
            assert_eq!(shown(&state, scopes), patient, "FC-CTX-01, FC-NOT-07: {scopes}");
        }
        for scopes in ["fhircast/Patient-close.read", "fhircast/ImagingStudy-update.read", "fhircast/*.write"]
        {
            assert_eq!(shown(&state, scopes), EMPTY, "FC-CTX-01, FC-SCO-03: {scopes}");
        }
    }
}
