//! What an audit record holds.
//!
//! It holds no topic but its hash, no resource, no token, no secret, no query of a callback and no ticket. Of what clients
//! write, it holds event names, which have letters, digits, dots, dashes and underscores alone; an event's `id` only when
//! it is a UUID, since any other may say something; and a request's id only when it looks like one.

use std::{borrow::Cow, net::IpAddr, time::Duration};

use time::OffsetDateTime;
use uuid::Uuid;

use super::{Kind, Outcome};
use crate::{
    protocol::{EventName, SubscriptionId, Topic, TopicKey, sync_error::Reason},
    store::{Channel, Owner, Position, Subscription},
};

/// The longest reason, in characters.
const MAX_REASON: usize = 200;
/// The longest id of a request.
const MAX_REQUEST_ID: usize = 64;

/// The bearer of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    /// Who gave the token out.
    pub issuer: String,
    /// The user, or the client that acts for itself.
    pub subject: Option<String>,
    /// The app.
    pub client: Option<String>,
}

/// One record.
#[derive(Debug, Clone)]
pub struct Record {
    /// When.
    pub at: OffsetDateTime,
    /// What was done, or tried.
    pub kind: Kind,
    /// What was asked for, when the record is that it was denied to this caller.
    pub asked: Option<Kind>,
    /// How it went.
    pub outcome: Outcome,
    /// The HTTP status that was answered: by the hub, or by a subscriber to a notification.
    pub status: Option<u16>,
    /// Why it went so.
    pub reason: Option<Cow<'static, str>>,
    /// Who asked, if it has shown who it is.
    pub who: Option<Who>,
    /// Whose it is: the same for all that one bearer of tokens does, also where only its subscription is known.
    pub owner: Option<Owner>,
    /// Where the request came from.
    pub address: Option<IpAddr>,
    /// What the request called itself, so that it is found in others' records.
    pub request_id: Option<String>,
    /// The session.
    pub topic: Option<TopicKey>,
    /// The subscription that it is about.
    pub subscription: Option<SubscriptionId>,
    /// Scheme, host and port of the subscriber's callback.
    pub callback: Option<String>,
    /// The event's name.
    pub event: Option<EventName>,
    /// The event's id.
    pub event_id: Option<Uuid>,
    /// The event's place in the topic's log.
    pub entry: Option<Position>,
    /// The events that were asked for or granted, as `hub.events` names them.
    pub events: Option<String>,
    /// The lease that was asked for or granted.
    pub lease: Option<Duration>,
}

impl Record {
    /// A record of the present moment, of something that has succeeded unless it is said otherwise.
    pub fn new(kind: Kind) -> Self {
        Self {
            at: OffsetDateTime::now_utc(),
            kind,
            asked: None,
            outcome: Outcome::Success,
            status: None,
            reason: None,
            who: None,
            owner: None,
            address: None,
            request_id: None,
            topic: None,
            subscription: None,
            callback: None,
            event: None,
            event_id: None,
            entry: None,
            events: None,
            lease: None,
        }
    }

    /// A record about a subscription.
    pub fn about(kind: Kind, subscription: &Subscription) -> Self {
        let mut record = Self::new(kind);
        record.set_subscription(subscription);
        record
    }

    /// A subscription has been confirmed.
    pub fn grant(subscription: &Subscription, lease: Duration) -> Self {
        let mut record = Self::new(Kind::Grant);
        record.set_granted(subscription, lease);
        record
    }

    /// A subscription has ended, or has never begun.
    pub fn denial(subscription: &Subscription, reason: impl Into<Cow<'static, str>>) -> Self {
        Self::refused(Kind::Denial, subscription, reason)
    }

    /// What was asked for a subscription has not come about.
    pub fn refused(kind: Kind, subscription: &Subscription, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { outcome: Outcome::Refused, ..Self::about(kind, subscription) }.because(reason)
    }

    /// A subscriber did not follow; `event` is what it did not follow, if it is one event.
    pub fn delivery(
        subscription: &Subscription,
        event: Option<(&str, &EventName, Position)>,
        reason: Reason,
    ) -> Self {
        let mut record = Self::about(Kind::Delivery, subscription);
        if let Some((id, name, position)) = event {
            record.set_event(id, name);
            record.entry = Some(position);
        }
        record.outcome = Outcome::Refused;
        match reason {
            Reason::Refused(status) => {
                record.status = Some(status);
                record.because("the subscriber answered with an error")
            }
            Reason::Undelivered => record.because("it was not delivered in time"),
            Reason::Unanswered => record.because("it was not answered in time"),
            Reason::Gone => record.because("the connection was lost"),
            Reason::Missed => record.because("it has missed what is no longer kept"),
            Reason::Lost => record.because("the store has lost it"),
        }
    }

    /// The same with a reason.
    pub fn because(mut self, reason: impl Into<Cow<'static, str>>) -> Self {
        self.set_reason(reason);
        self
    }

    /// Why it went so.
    pub fn set_reason(&mut self, reason: impl Into<Cow<'static, str>>) {
        self.reason = Some(shortened(reason.into()));
    }

    /// It is about this subscription.
    pub fn set_subscription(&mut self, subscription: &Subscription) {
        self.topic = Some(subscription.topic.key());
        self.subscription = Some(subscription.id);
        self.owner = self.owner.or(subscription.owner);
        if let Channel::Webhook { callback, .. } = &subscription.channel {
            self.callback = Some(format!("{callback:?}"));
        }
    }

    /// It grants this subscription what it asks for.
    pub fn set_granted(&mut self, subscription: &Subscription, lease: Duration) {
        self.kind = Kind::Grant;
        self.set_subscription(subscription);
        self.events = Some(subscription.terms.events.to_string());
        self.lease = Some(lease);
    }

    /// It is about this event.
    pub fn set_event(&mut self, id: &str, name: &EventName) {
        self.event = Some(name.clone());
        self.event_id = Uuid::try_parse(id).ok();
    }

    /// Leaves out ids that are the topic itself: some clients have one name for everything.
    pub(super) fn without_ticket(mut self) -> Self {
        let is_topic = |id: &str| {
            id.parse::<Topic>().is_ok_and(|topic| self.topic.is_some_and(|key| key == topic.key()))
        };
        let (event, request) = (
            self.event_id.is_some_and(|id| is_topic(&id.to_string())),
            self.request_id.as_ref().is_some_and(|id| is_topic(id)),
        );
        self.event_id = self.event_id.filter(|_| !event);
        self.request_id = self.request_id.filter(|_| !request);
        self
    }

    /// The id that the request's sender gave it, if it looks like one.
    pub fn set_request_id(&mut self, id: &str) {
        let is_one = |c: char| c.is_ascii_hexdigit() || matches!(c, '-' | '_' | ':');
        if (8..=MAX_REQUEST_ID).contains(&id.len()) && id.chars().all(is_one) {
            self.request_id = Some(id.to_owned());
        }
    }
}

fn shortened(reason: Cow<'static, str>) -> Cow<'static, str> {
    match reason.char_indices().nth(MAX_REASON) {
        None => reason,
        Some((end, _)) => format!("{}…", &reason[..end]).into(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]

    use time::format_description::well_known::Rfc3339;

    use super::*;
    use crate::protocol::{EventFilter, subscription_request::Terms};

    /// A webhook's subscription with all that must not be told.
    pub fn subscription() -> Subscription {
        let topic: Topic = "a-topic-that-is-a-ticket".parse().unwrap();
        let callback = "https://app.example:8443/cb?token=hush";
        Subscription {
            id: SubscriptionId::of_callback(1, &topic, callback),
            topic,
            channel: Channel::Webhook {
                callback: serde_json::from_str(&format!("{callback:?}")).unwrap(),
                secret: Some(serde_json::from_str("\"secret\"").unwrap()),
            },
            terms: Terms {
                events: EventFilter::parse("Patient-open,*-select", 9).unwrap(),
                lease_secs: 3600,
                subscriber_name: Some("Dr. Somebody".to_owned()),
            },
            owner: Some(Owner::of("https://as.example", Some("user"), None)),
            not_after: None,
        }
    }

    /// One record of each kind, with as much in it as there can be.
    pub fn records() -> Vec<Record> {
        let subscription = subscription();
        let name: EventName = "Patient-open".parse().unwrap();
        let id = "0f8fad5b-d9cb-469f-a165-70867728950e";
        let mut publish = Record::new(Kind::Publish);
        publish.set_event(id, &name);
        publish.set_request_id("0af7651916cd43dd8448eb211c80319c");
        publish.topic = Some(subscription.topic.key());
        publish.address = Some([192, 0, 2, 7].into());
        publish.status = Some(202);
        publish.entry = Some(Position { millis: 5, sequence: 1, ..Position::START });
        publish.who = Some(Who {
            issuer: "https://issuer.example".to_owned(),
            subject: Some("user-7".to_owned()),
            client: Some("viewer".to_owned()),
        });
        let asked = |kind, asked, status| {
            let mut record = publish.clone().because("the token does not allow it");
            (record.kind, record.asked, record.status) = (kind, asked, Some(status));
            record.outcome = Outcome::of_status(status);
            record
        };
        let position = Position { millis: 7, sequence: 0, ..Position::START };
        let mut records = vec![
            asked(Kind::Subscribe, None, 202),
            asked(Kind::Unsubscribe, None, 404),
            asked(Kind::Connect, None, 404),
            asked(Kind::Read, None, 200),
            asked(Kind::Denial, Some(Kind::Read), 403),
            asked(Kind::Authentication, Some(Kind::Subscribe), 401),
            asked(Kind::Publish, None, 503),
            asked(Kind::Publish, None, 500),
            publish,
            Record::grant(&subscription, Duration::from_secs(3600)),
            Record::denial(&subscription, "lease expired"),
            Record::delivery(&subscription, Some((id, &name, position)), Reason::Refused(409)),
            Record::delivery(&subscription, None, Reason::Gone),
            Record { outcome: Outcome::Unknown, ..Record::new(Kind::Publish) },
        ];
        for record in &mut records {
            record.at = OffsetDateTime::parse("2026-11-25T17:50:02.25Z", &Rfc3339).unwrap();
        }
        records
    }

    #[test]
    fn only_ids_that_can_say_nothing_are_kept() {
        let name: EventName = "Patient-open".parse().unwrap();
        let mut record = Record::new(Kind::Publish);
        record.set_event("John Smith, 1978-11-03", &name);
        assert_eq!(record.event_id, None);
        record.set_event("0f8fad5b-d9cb-469f-a165-70867728950e", &name);
        assert!(record.event_id.is_some());
        for id in ["", "short", "John-Smith-1978", "0af7\n651916cd43dd", &"a".repeat(65)] {
            record.set_request_id(id);
            assert_eq!(record.request_id, None, "{id}");
        }
        record.set_request_id("0AF76519-16cd");
        assert_eq!(record.request_id.as_deref(), Some("0AF76519-16cd"));
    }

    #[test]
    fn an_id_that_is_the_topic_is_left_out() {
        let id = "0f8fad5b-d9cb-469f-a165-70867728950e";
        let mut record = Record::new(Kind::Publish);
        record.set_event(id, &"Patient-open".parse().unwrap());
        record.set_request_id(id);
        let kept = record.clone().without_ticket();
        assert!(kept.event_id.is_some() && kept.request_id.is_some());
        record.topic = Some(id.parse::<Topic>().unwrap().key());
        let left = record.without_ticket();
        assert!(left.event_id.is_none() && left.request_id.is_none());
    }

    #[test]
    fn a_reason_is_cut_where_it_is_too_long() {
        let record = Record::new(Kind::Publish).because("ü".repeat(300));
        assert_eq!(record.reason.unwrap().chars().count(), MAX_REASON + 1);
    }
}
