//! What a run does: who subscribes where, which event is published when, and the limits on all of it.
//!
//! Everything here is arithmetic on the number of an event or of a subscriber, so that no list of either is kept.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use harness::examples::Message;
use url::{Host, Url};

const MAX_SOCKETS: usize = 10_000;
const MAX_CALLBACKS: usize = 10_000;
const MAX_TOPICS: usize = 10_000;
const MAX_RATE: f64 = 50_000.0;
const MAX_SECONDS: f64 = 3_600.0;
/// Each delivery is remembered (8 bytes) until it is judged.
const MAX_DELIVERIES: usize = 50_000_000;

/// The event that every subscriber asks for and every publisher sends.
pub const EVENT: &str = "Patient-open";

const ID: &str = "@id@";
const TOPIC: &str = "@topic@";

/// What is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// The least that is a Patient-open.
    Small,
    /// The specification's example.
    Spec,
    /// A Patient-open of this many bytes.
    Bytes(usize),
}

impl Payload {
    /// Reads the words after `--payload`.
    pub fn parse(words: &[String]) -> Result<Payload> {
        match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["small"] => Ok(Payload::Small),
            ["spec"] => Ok(Payload::Spec),
            ["bytes", bytes] => Ok(Payload::Bytes(bytes.parse().context("payload: bytes wants a number")?)),
            _ => bail!("payload: expected small, spec or bytes N"),
        }
    }

    /// The message with places for its id and topic.
    pub fn template(self) -> Result<Template> {
        match self {
            Payload::Small => Template::of(&small("")),
            Payload::Spec => {
                Template::of(Message::example("3.0.0/Patient-open")?.id(ID)?.topic(TOPIC)?.text())
            }
            Payload::Bytes(bytes) => {
                // An id is a run (36), a dash and an 8-digit number; a topic a run, a dash and up to 4 digits.
                let bare = small(&narrative(0)).len() - ID.len() - TOPIC.len() + 45 + 41;
                let padding = bytes
                    .checked_sub(bare)
                    .with_context(|| format!("payload: bytes must be at least {bare}"))?;
                Template::of(&small(&narrative(padding)))
            }
        }
    }
}

fn small(more: &str) -> String {
    format!(
        r#"{{"timestamp":"2026-01-01T12:00:00.000Z","id":"{ID}","event":{{"hub.topic":"{TOPIC}","hub.event":"{EVENT}","context":[{{"key":"patient","resource":{{"resourceType":"Patient","id":"p1"{more}}}}}]}}}}"#
    )
}

fn narrative(length: usize) -> String {
    format!(r#","text":{{"status":"generated","div":"{}"}}"#, "x".repeat(length))
}

/// A message cut at its id and its topic.
#[derive(Debug)]
pub struct Template {
    before_id: String,
    between: String,
    after_topic: String,
}

impl Template {
    fn of(text: &str) -> Result<Template> {
        let (before_id, rest) = text.split_once(ID).context("the payload has no id")?;
        let (between, after_topic) =
            rest.split_once(TOPIC).context("the payload has no topic after its id")?;
        Ok(Template {
            before_id: before_id.to_owned(),
            between: between.to_owned(),
            after_topic: after_topic.to_owned(),
        })
    }

    fn fill(&self, id: &str, topic: &str) -> String {
        [&self.before_id, id, &self.between, topic, &self.after_topic].concat()
    }
}

/// A run.
#[derive(Debug)]
pub struct Plan {
    /// Names the run: nobody else's topics and ids start like this.
    pub run: String,
    /// Where the hubs are.
    pub hubs: Vec<Url>,
    /// How many WebSocket subscribers.
    pub sockets: usize,
    /// How many topics.
    pub topics: usize,
    /// How many webhook subscribers.
    pub callbacks: usize,
    /// Events a second.
    pub rate: f64,
    /// Measured seconds.
    pub seconds: f64,
    /// Seconds before those.
    pub warmup_seconds: f64,
    /// What is published.
    pub template: Template,
    /// Whether sockets answer notifications.
    pub answers: bool,
    /// Whether other machines than this may be loaded.
    pub anywhere: bool,
}

impl Plan {
    /// Refuses what is out of bounds, naming the flag.
    pub fn check(&self) -> Result<()> {
        for (flag, value, max) in [
            ("sockets", self.sockets, MAX_SOCKETS),
            ("callbacks", self.callbacks, MAX_CALLBACKS),
            ("topics", self.topics, MAX_TOPICS),
        ] {
            if value > max {
                bail!("{flag}: {value} is more than {max}");
            }
        }
        if self.topics == 0 {
            bail!("topics: at least one is needed");
        }
        if !(self.rate > 0.0 && self.rate <= MAX_RATE) {
            bail!("rate: {} is not between 0 and {MAX_RATE} events a second", self.rate);
        }
        if !(self.seconds > 0.0 && self.warmup_seconds >= 0.0)
            || self.seconds + self.warmup_seconds > MAX_SECONDS
        {
            bail!("seconds: with warmup-seconds, more than 0 and at most {MAX_SECONDS}");
        }
        let deliveries =
            self.events() as usize * (self.sockets + self.callbacks).div_ceil(self.topics).max(1);
        if deliveries > MAX_DELIVERIES {
            bail!("rate: {deliveries} deliveries in all are more than {MAX_DELIVERIES}");
        }
        self.hubs.iter().try_for_each(|hub| self.check_target(hub))
    }

    /// Refuses a target on another machine, unless that was allowed twice.
    pub fn check_target(&self, url: &Url) -> Result<()> {
        if self.anywhere || is_loopback(url) {
            return Ok(());
        }
        bail!(
            "{url} is not on this machine; to load it all the same: --i-know-this-is-not-loopback --yes-really"
        )
    }

    /// How many events are published, warm-up included.
    pub fn events(&self) -> u32 {
        ((self.warmup_seconds + self.seconds) * self.rate).round() as u32
    }

    /// The events after those: one for each topic, published before the schedule starts. A callback that has been sent
    /// its topic's probe (as the context that is open when it subscribes) is known to be subscribed.
    pub fn probes(&self) -> std::ops::Range<u32> {
        self.events()..self.events() + self.topics as u32
    }

    /// How many of the events, the first ones, are warm-up.
    pub fn warmup_events(&self) -> u32 {
        (self.warmup_seconds * self.rate).round() as u32
    }

    /// When, counted from the start, an event is to be published.
    pub fn due(&self, event: u32) -> Duration {
        Duration::from_secs_f64(f64::from(event) / self.rate)
    }

    /// The topic of an event.
    pub fn topic_of_event(&self, event: u32) -> usize {
        event as usize % self.topics
    }

    /// The hub that an event is published to: each topic goes round them all.
    pub fn hub_of_event(&self, event: u32) -> &Url {
        &self.hubs[event as usize / self.topics % self.hubs.len()]
    }

    /// The topic of a subscriber (sockets and callbacks are counted apart).
    pub fn topic_of_subscriber(&self, subscriber: usize) -> usize {
        subscriber % self.topics
    }

    /// The hub that a subscriber uses: those of one topic are spread over them all.
    pub fn hub_of_subscriber(&self, subscriber: usize) -> &Url {
        &self.hubs[subscriber / self.topics % self.hubs.len()]
    }

    /// How many subscribers of all kinds a topic has.
    pub fn subscribers_of_topic(&self, topic: usize) -> usize {
        let share = |all: usize| all / self.topics + usize::from(topic < all % self.topics);
        share(self.sockets) + share(self.callbacks)
    }

    /// A topic's name.
    pub fn topic(&self, topic: usize) -> String {
        format!("{}-{topic:04}", self.run)
    }

    /// The body of an event.
    pub fn body(&self, event: u32) -> String {
        self.template.fill(&format!("{}+{event:08}", self.run), &self.topic(self.topic_of_event(event)))
    }

    /// The id in a notification and the number of its event, without parsing the notification:
    /// the run and a plus occur nowhere else.
    pub fn event_in<'a>(&self, notification: &'a str) -> Option<(&'a str, u32)> {
        let mut rest = notification;
        let mut passed = 0;
        loop {
            let start = rest.find(&self.run)?;
            let number = start + self.run.len();
            if let Some(digits) = rest[number..].strip_prefix('+') {
                let event = digits.get(..8)?.parse().ok()?;
                return Some((&notification[passed + start..passed + number + 9], event));
            }
            passed += number;
            rest = &rest[number..];
        }
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn plan() -> Plan {
        Plan {
            run: harness::examples::fresh_id(),
            hubs: vec![
                "http://127.0.0.1:1/api/hub".parse().unwrap(),
                "http://[::1]:2/api/hub".parse().unwrap(),
            ],
            sockets: 10,
            topics: 4,
            callbacks: 3,
            rate: 100.0,
            seconds: 2.0,
            warmup_seconds: 1.0,
            template: Payload::Spec.template().unwrap(),
            answers: true,
            anywhere: false,
        }
    }

    #[test]
    fn what_is_out_of_bounds_is_refused_by_its_flags_name() {
        plan().check().unwrap();
        type Spoil = fn(&mut Plan);
        let cases: [(&str, Spoil); 8] = [
            ("sockets", |plan| plan.sockets = 10_001),
            ("callbacks", |plan| plan.callbacks = 10_001),
            ("topics", |plan| plan.topics = 0),
            ("rate", |plan| plan.rate = 50_001.0),
            ("rate", |plan| plan.rate = f64::NAN),
            ("seconds", |plan| plan.seconds = 3_600.0),
            ("seconds", |plan| plan.seconds = 0.0),
            ("deliveries", |plan| (plan.sockets, plan.topics, plan.rate) = (10_000, 1, 50_000.0)),
        ];
        for (flag, spoil) in cases {
            let mut plan = plan();
            spoil(&mut plan);
            assert!(plan.check().unwrap_err().to_string().contains(flag), "{flag}");
        }
    }

    #[test]
    fn another_machine_is_refused_unless_allowed() {
        let mut plan = plan();
        for url in
            ["http://192.0.2.1/", "https://hub.example/", "http://localhost.example/", "http://0.0.0.0/"]
        {
            assert!(plan.check_target(&url.parse().unwrap()).is_err(), "{url}");
        }
        for url in ["http://localhost:1/", "ws://127.8.0.1/", "https://[::1]/"] {
            plan.check_target(&url.parse().unwrap()).unwrap();
        }
        plan.anywhere = true;
        plan.check_target(&"https://hub.example/".parse().unwrap()).unwrap();
    }

    #[test]
    fn every_subscriber_and_event_meets_every_topic_and_hub() {
        let plan = plan();
        let mut counted = vec![0; plan.topics];
        for subscriber in 0..plan.sockets {
            counted[plan.topic_of_subscriber(subscriber)] += 1;
        }
        for subscriber in 0..plan.callbacks {
            counted[plan.topic_of_subscriber(subscriber)] += 1;
        }
        for (topic, count) in counted.into_iter().enumerate() {
            assert_eq!(plan.subscribers_of_topic(topic), count);
            for hub in &plan.hubs {
                assert!(plan.probes().any(|probe| plan.topic_of_event(probe) == topic));
                assert!((0..10).any(|n| plan.topic_of_event(n) == topic && plan.hub_of_event(n) == hub));
            }
        }
    }

    #[test]
    fn an_event_is_found_in_its_notification() {
        let plan = plan();
        for payload in [Payload::Small, Payload::Spec, Payload::Bytes(4096)] {
            let plan = Plan { template: payload.template().unwrap(), ..self::plan() };
            let body = plan.body(4711);
            let (id, event) = plan.event_in(&body).unwrap();
            assert_eq!(event, 4711);
            let json: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert_eq!(json["id"], id);
            assert_eq!(json["event"]["hub.event"], EVENT);
            assert_eq!(json["event"]["hub.topic"], plan.topic(plan.topic_of_event(4711)));
        }
        let topic_first = format!(r#"{{"hub.topic":"{}","id":"{}+00000012"}}"#, plan.topic(1), plan.run);
        assert_eq!(plan.event_in(&topic_first).unwrap().1, 12);
        assert_eq!(plan.event_in(&format!(r#"{{"hub.topic":"{}"}}"#, plan.topic(1))), None);
        assert_eq!(plan.event_in(&self::plan().body(1)), None);
    }

    #[test]
    fn a_payload_of_n_bytes_has_n_bytes() {
        let plan = Plan { template: Payload::Bytes(2048).template().unwrap(), ..plan() };
        assert_eq!(plan.body(0).len(), 2048);
        assert!(Payload::Bytes(10).template().unwrap_err().to_string().contains("at least"));
        assert!(Payload::parse(&["bytes".to_owned()]).is_err());
    }
}
