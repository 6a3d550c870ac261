//! All that the store holds, and what it throws away.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use super::{
    super::{
        Activation, Announced, Announcement, Commit, Committed, LogPage, Once, Position, Retention, Revision,
        Snapshot, Subscription,
    },
    due::DueSet,
    end_of, millis,
    sockets::Socket,
    topic::TopicState,
    webhooks::Webhook,
};
use crate::protocol::{SubscriptionId, TopicKey};

/// How often the whole state is searched for what nobody will ask for again.
const SEARCH_EVERY: Duration = Duration::from_secs(10);

/// All topics, subscriptions and workers.
pub(super) struct State {
    pub retention: Retention,
    pub topics: HashMap<TopicKey, TopicState>,
    pub sockets: HashMap<SubscriptionId, Socket>,
    pub webhooks: HashMap<SubscriptionId, Webhook>,
    pub due: DueSet,
    /// Each worker, and until when it counts as alive.
    workers: BTreeMap<String, u64>,
    /// Each node, and until when it counts as alive.
    pub nodes: BTreeMap<String, u64>,
    next_search: u64,
}

impl State {
    pub fn new(partitions: u16, retention: Retention) -> Self {
        let (topics, sockets, webhooks, workers, nodes) = Default::default();
        let (due, next_search) = (DueSet::new(partitions), 0);
        Self { retention, topics, sockets, webhooks, due, workers, nodes, next_search }
    }

    /// The topic to write to: it comes into being now if it was not there.
    pub fn topic(&mut self, topic: TopicKey, now: u64) -> &mut TopicState {
        let state = self.topics.entry(topic).or_default();
        state.touch(now);
        state
    }

    pub fn head(&self, topic: TopicKey) -> Position {
        self.topics.get(&topic).map_or(Position::START, TopicState::head)
    }

    pub fn session(&self, topic: TopicKey, once: Option<&Once>, now: u64) -> (Snapshot, bool) {
        let Some(state) = self.topics.get(&topic) else { return Default::default() };
        (state.snapshot(), once.is_some_and(|once| state.remembers(once, now)))
    }

    pub fn commit(&mut self, topic: TopicKey, commit: &Commit, now: u64) -> Committed {
        let retention = self.retention;
        let committed = self.topic(topic, now).commit(commit, now, &retention);
        if matches!(committed, Committed::At { .. }) {
            self.make_webhooks_due(topic, now);
        }
        committed
    }

    pub fn announce(&mut self, topic: TopicKey, announcement: &Announcement, now: u64) -> Announced {
        let retention = self.retention;
        let announced = self.topic(topic, now).announce(announcement, now, &retention);
        if matches!(announced, Announced::Now { .. }) {
            self.make_webhooks_due(topic, now);
        }
        announced
    }

    pub fn log(&self, topic: TopicKey, after: Position, limit: usize) -> LogPage {
        self.topics
            .get(&topic)
            .map_or_else(|| TopicState::default().page(after, limit), |state| state.page(after, limit))
    }

    /// Appends the first entries of a subscription: it reads from behind the returned position.
    pub fn begin(
        &mut self,
        topic: TopicKey,
        activation: &Activation,
        now: u64,
    ) -> Result<Position, Snapshot> {
        let retention = self.retention;
        let state = self.topic(topic, now);
        if state.revision() != activation.revision {
            return Err(state.snapshot());
        }
        let cursor = state.head();
        for entry in &activation.entries {
            state.append(entry.clone(), now, &retention);
        }
        Ok(cursor)
    }

    /// A subscription whose lease is not over.
    pub fn subscription(&self, id: SubscriptionId, now: u64) -> Option<(Subscription, Duration)> {
        let socket = self.sockets.get(&id).filter(|socket| !socket.is_over(now)).map(|socket| &socket.lease);
        let webhook = self.webhooks.get(&id).and_then(|webhook| webhook.verified.as_ref());
        let leased = socket.or(webhook).filter(|leased| !leased.is_over(now))?;
        Some((leased.subscription.clone(), leased.remaining(now)))
    }

    pub fn register_worker(&mut self, id: &str, ttl: Duration, now: u64) -> Vec<String> {
        self.workers.insert(id.to_owned(), end_of(ttl, now));
        self.workers.retain(|_, until| *until > now);
        self.workers.keys().cloned().collect()
    }

    pub fn register_node(&mut self, id: &str, ttl: Duration, now: u64) -> bool {
        self.nodes.insert(id.to_owned(), end_of(ttl, now)).is_some_and(|until| until > now)
    }

    pub fn lapsed_nodes(&self, now: u64) -> Vec<String> {
        let lapsed = self.nodes.iter().filter(|(_, until)| **until <= now);
        lapsed.map(|(id, _)| id.clone()).collect()
    }

    pub fn content(&self, topic: TopicKey, prefix: &str, revision: Revision) -> Option<Vec<String>> {
        match self.topics.get(&topic) {
            Some(state) => state.content(prefix, revision),
            None => (revision == Revision::NONE).then(Vec::new),
        }
    }

    /// Throws away what nobody will ask for again, once in a while.
    ///
    /// A subscription that is over stays for as long as the log: so long a node may take to notice
    /// and to tell the subscriber.
    pub fn throw_away(&mut self, now: u64) {
        if now < self.next_search {
            return;
        }
        self.next_search = end_of(SEARCH_EVERY, now);
        let before = now.saturating_sub(millis(self.retention.log));
        for address in self.sockets_over_before(before) {
            self.remove_socket(address);
        }
        for address in self.webhooks_over_before(before) {
            self.end_webhook(address);
        }
        let retention = self.retention;
        self.topics.retain(|_, state| state.is_kept(now, &retention));
    }
}

/// A subscription in force.
pub(super) struct Leased {
    pub subscription: Subscription,
    /// When its lease ends.
    pub until: u64,
}

impl Leased {
    pub fn new(subscription: Subscription, now: u64) -> Self {
        let until = end_of(subscription.lease(now).unwrap_or_default(), now);
        Self { subscription, until }
    }

    pub fn is_over(&self, now: u64) -> bool {
        self.until <= now
    }

    /// What remains of the lease: zero when it is over.
    pub fn remaining(&self, now: u64) -> Duration {
        Duration::from_millis(self.until.saturating_sub(now))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{
        super::super::{Address, Channel, Connection, Departure, Parting, Release, WebhookRequest},
        *,
    };
    use crate::{
        protocol::{EventFilter, Topic, subscription_request::Terms, webhook::Mode},
        session::{ContentWrite, Entry, SubscriptionChange},
    };

    const RETENTION: Retention = Retention {
        log: Duration::from_secs(100),
        log_entries: 1000,
        log_bytes: 1 << 20,
        session: Duration::from_secs(200),
        resend: Duration::from_secs(5),
    };
    const NOW: u64 = 1_000_000;

    fn subscription(id: SubscriptionId, channel: Channel) -> Subscription {
        let topic: Topic = "a topic".parse().unwrap();
        let events = EventFilter::parse("*", 1).unwrap();
        let terms = Terms { events, lease_secs: 50, subscriber_name: None };
        Subscription { id, topic, channel, terms, owner: None, not_after: None }
    }

    fn commit(state: &mut State, topic: TopicKey, now: u64) {
        let id = SubscriptionId::random(0);
        let commit = Commit {
            revision: None,
            writes: vec![("field".into(), Some("value".into()))],
            content: vec![ContentWrite::Keep { field: "1/x".into(), value: "y".into(), is_new: false }],
            max_content_bytes: 1,
            entry: Entry::subscription(SubscriptionChange::Renewed { id }),
            once: Once::Cause(id.to_string()),
        };
        assert!(matches!(state.commit(topic, &commit, now), Committed::At { .. }));
    }

    fn is_empty(state: &State) -> bool {
        let State { topics, sockets, webhooks, .. } = state;
        topics.is_empty()
            && sockets.is_empty()
            && webhooks.is_empty()
            && state.due.first(&[0], 9, u64::MAX).is_empty()
    }

    #[test]
    fn a_topic_goes_when_nobody_has_touched_it_for_long_and_its_log_before_it() {
        let mut state = State::new(1, RETENTION);
        let topic = "a topic".parse::<Topic>().unwrap().key();
        commit(&mut state, topic, NOW);
        state.throw_away(NOW + 99_000);
        assert_eq!(state.log(topic, Position::START, 9).entries.len(), 1);
        state.throw_away(NOW + 199_000);
        assert_eq!(state.log(topic, Position::START, 9).entries.len(), 0);
        assert_eq!(state.session(topic, None, NOW + 199_000).0.revision.number, 1);
        state.throw_away(NOW + 210_000);
        assert!(is_empty(&state));
    }

    #[test]
    fn a_topic_that_is_listened_to_stays() {
        let mut state = State::new(1, RETENTION);
        let topic = "a topic".parse::<Topic>().unwrap().key();
        let listener = state.topic(topic, NOW).listen();
        state.throw_away(NOW + 300_000);
        assert!(!is_empty(&state));
        drop(listener);
        state.throw_away(NOW + 600_000);
        assert!(is_empty(&state));
    }

    #[test]
    fn subscriptions_that_are_over_go_and_their_topic_after_them() {
        let mut state = State::new(1, RETENTION);
        let socket = subscription(SubscriptionId::random(0), Channel::Websocket);
        let detached = subscription(SubscriptionId::random(0), Channel::Websocket);
        let connection = Connection { node: "node".into(), id: "connection".into() };
        for subscription in [&socket, &detached] {
            state.subscribe_websocket(subscription, 9, NOW);
        }
        state.attach(detached.address(), &connection, NOW).unwrap();
        let departure =
            Departure { parting: Parting::Lost, grace: Duration::from_secs(1), look_after: Duration::ZERO };
        state.detach(detached.address(), |holder| *holder == connection, departure, NOW);
        state.throw_away(NOW + 102_000);
        assert_eq!(state.sockets.keys().collect::<Vec<_>>(), [&socket.id], "its grace ended first");
        state.throw_away(NOW + 149_000);
        assert_eq!(state.sockets.len(), 1, "its lease has just ended");
        state.throw_away(NOW + 160_000);
        assert_eq!(state.sockets.len(), 0);
        state.throw_away(NOW + 400_000);
        assert!(is_empty(&state));
    }

    #[test]
    fn a_webhook_that_is_never_verified_goes() {
        let mut state = State::new(1, RETENTION);
        let channel: Channel =
            serde_json::from_value(serde_json::json!({"webhook": {"callback": "https://app.example"}}))
                .unwrap();
        let subscription = subscription(SubscriptionId::random(0), channel);
        let address: Address = subscription.address();
        let request = WebhookRequest { nonce: "n".into(), mode: Mode::Subscribe, subscription };
        state.request_webhook(&request, 9, NOW);
        let claim = state.claim(address, Duration::from_secs(1), 9, NOW).unwrap();
        assert!(state.settle(&claim, &claim.progress, None, Release::After(Duration::from_secs(9)), NOW));
        state.throw_away(NOW + 99_000);
        assert_eq!(state.webhooks.len(), 1);
        state.throw_away(NOW + 800_000);
        assert!(is_empty(&state));
    }

    #[test]
    fn what_was_committed_long_ago_is_forgotten() {
        let mut state = State::new(1, RETENTION);
        let topic = "a topic".parse::<Topic>().unwrap().key();
        for at in 0..50 {
            commit(&mut state, topic, NOW + at * 10_000);
        }
        state.throw_away(NOW + 500_000);
        assert_eq!(state.topic(topic, NOW).remembered(), 9, "of the last 100 seconds");
    }
}
