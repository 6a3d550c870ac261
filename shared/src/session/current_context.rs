//! Get Current Context (FC-CTX-01…04).

use super::SessionState;
use crate::protocol::{Event, json};

impl SessionState {
    /// The answer to GET `hub.url/{topic}`: the current context as it was opened, with its
    /// present version and its content, or an empty one when there is none. `content` are the
    /// entries that updates have left in it (see [`resources`](super::OpenContext::resources)).
    pub fn current_context<'c>(&self, content: impl IntoIterator<Item = &'c str>) -> String {
        let mut answer = String::from("{");
        let opened = self.current().and_then(|open| Some((open, Event::read(open.message.get()).ok()?)));
        match opened {
            Some((open, event)) => {
                json::push_member(&mut answer, "context.type", &json::string(&open.anchor.resource_type));
                json::push_member(&mut answer, "context.versionId", &json::string(&open.version_id));
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

    #[test]
    fn the_current_context_is_as_it_was_opened() {
        let text = r#"{"timestamp":"T","id":"i","event":{"hub.topic":"t","hub.event":"Patient-open","context":[ {"key":"patient","resource":{"resourceType":"Patient","id":"1","weight":1.10}}]}}"#;
        let change = decide(
            &SessionState::default(),
            &Event::read(text).unwrap(),
            Audience::Everyone,
            "v1",
            &Rules { max_open: 9, max_content_bytes: 99 },
        )
        .unwrap();
        assert_eq!(
            change.state.current_context([r#"{"resource":{"n":2.50}}"#]),
            r#"{"context.type":"Patient","context.versionId":"v1","context":[ {"key":"patient","resource":{"resourceType":"Patient","id":"1","weight":1.10}},{"key":"content","resource":{"resourceType":"Bundle","type":"collection","entry":[{"resource":{"n":2.50}}]}}]}"#,
            "FC-CTX-01, FC-CTX-04, FC-TRN-05"
        );
    }

    #[test]
    fn no_current_context_is_an_empty_one() {
        assert_eq!(
            SessionState::default().current_context([]),
            r#"{"context.type":"","context":[]}"#,
            "FC-CTX-03"
        );
    }
}
