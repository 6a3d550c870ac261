//! The hub's heartbeat (FC-WSC-06; 3.2.2 in 2.1): that the connection lives although nothing happens.

use std::sync::LazyLock;

use serde_json::json;

use super::{EventFilter, EventName, Topic};

/// Has the subscriber asked for heartbeats, by their name?
pub fn is_wanted(events: &EventFilter) -> bool {
    static NAME: LazyLock<Option<EventName>> = LazyLock::new(|| "heartbeat".parse().ok());
    NAME.as_ref().is_some_and(|name| events.matches(name))
}

/// The event. The next one comes within `period_secs`; as in the specification's example, that is
/// a decimal written as text.
pub fn message(topic: &Topic, id: &str, timestamp: &str, period_secs: u64) -> String {
    json!({
        "timestamp": timestamp,
        "id": id,
        "event": {
            "context": [{"key": "period", "decimal": period_secs.to_string()}],
            "hub.topic": topic.as_str(),
            "hub.event": "heartbeat",
        },
    })
    .to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::protocol::Event;

    #[test]
    fn a_heartbeat_is_an_event_with_its_period() {
        let text = message(&"t".parse().unwrap(), "i", "2026-01-01T00:00:00Z", 10);
        let event = Event::read(&text).unwrap();
        assert_eq!((event.name.as_str(), event.id.as_str(), event.topic.as_str()), ("heartbeat", "i", "t"));
        assert_eq!(event.raw_context(), r#"[{"decimal":"10","key":"period"}]"#, "FC-WSC-06");
    }

    #[test]
    fn it_is_asked_for_by_its_name() {
        let wanted = |events| is_wanted(&EventFilter::parse(events, 9).unwrap());
        assert!(wanted("Patient-open,Heartbeat") && !wanted("*") && !wanted("*-*"), "FC-WSC-06");
    }
}
