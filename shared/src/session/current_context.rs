//! Get Current Context (FC-CTX-01…03).

use super::SessionState;
use crate::protocol::{Event, json};

impl SessionState {
    /// The answer to GET `hub.url/{topic}`: the current context as it was opened, with its
    /// present version; an empty one when there is none.
    pub fn current_context(&self) -> String {
        let mut answer = String::from("{");
        let opened = self.current().and_then(|open| Some((open, Event::read(open.message.get()).ok()?)));
        match opened {
            Some((open, event)) => {
                json::push_member(&mut answer, "context.type", &json::string(&open.anchor.resource_type));
                json::push_member(&mut answer, "context.versionId", &json::string(&open.version_id));
                json::push_member(&mut answer, "context", event.raw_context());
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
            &Rules { max_open: 9 },
        )
        .unwrap();
        assert_eq!(
            change.state.current_context(),
            r#"{"context.type":"Patient","context.versionId":"v1","context":[ {"key":"patient","resource":{"resourceType":"Patient","id":"1","weight":1.10}}]}"#,
            "FC-CTX-01, FC-TRN-05"
        );
    }

    #[test]
    fn no_current_context_is_an_empty_one() {
        assert_eq!(
            SessionState::default().current_context(),
            r#"{"context.type":"","context":[]}"#,
            "FC-CTX-03"
        );
    }
}
