//! What this process has said is in the log, and whether it still is; and what is done when it is not.
//!
//! A Redis that comes back, or a replica that takes over, may lack the last of what was answered
//! with 202. Readers notice when they have seen what is gone; an event that nobody had seen yet is
//! known to none but the process that accepted it. So that one remembers for a while where it put
//! the last event of each topic, and looks when the store's connections have been interrupted.
//!
//! Whoever notices tells all subscribers of the topic: a SyncError, and then what is open. Nobody
//! knows who has seen what is lost; so all are brought to what the log says, and none is left with
//! a context that it does not know.

use std::{
    collections::HashMap,
    iter,
    sync::Mutex,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};

use super::{
    contest::CONFLICTS_FOR,
    publishing::{PublishError, Publisher, read_state},
    reporting::{now_iso_8601, read_own},
};
use crate::{
    lock::lock,
    protocol::{
        SubscriptionId, Topic, TopicKey,
        sync_error::{Cause, Reason},
    },
    session::{Entry, SessionState, sync_error_for, sync_error_for_all},
    store::{Announced, Announcement, Gap, History, Position, Subscription},
    telemetry::metrics::{METRICS, SyncErrorCause},
};

/// How long it is remembered. A primary that is cut off may take events for as long as nobody
/// notices it; the 60 s of a patient Sentinel are well within.
const REMEMBERED_FOR: Duration = Duration::from_secs(300);
/// Positions that are remembered, one for each topic and history: those of the last moments, when
/// there are more.
const MOST: usize = 50_000;
/// Topics that are looked at in the same moment.
const AT_ONCE: usize = 32;

/// The last event of each topic that this process has accepted.
#[derive(Default)]
pub struct Witness(Mutex<HashMap<(TopicKey, History), Accepted>>);

#[derive(Clone)]
struct Accepted {
    topic: Topic,
    position: Position,
    at: Instant,
}

impl Witness {
    /// An event has been accepted. Of one history the last says all; what was accepted in another
    /// is remembered beside it, for its end may be lost.
    pub fn accepted(&self, key: TopicKey, topic: &Topic, position: Position) {
        let (at, mut all) = (Instant::now(), lock(&self.0));
        if let Some(known) = all.get_mut(&(key, position.history)) {
            (known.position, known.at) = (known.position.max(position), at);
            return;
        }
        let mut age = REMEMBERED_FOR;
        while all.len() >= MOST {
            all.retain(|_, accepted| accepted.at.elapsed() < age);
            age /= 2;
        }
        all.insert((key, position.history), Accepted { topic: topic.clone(), position, at });
    }

    fn recent(&self) -> Vec<Accepted> {
        let mut all = lock(&self.0);
        all.retain(|_, accepted| accepted.at.elapsed() < REMEMBERED_FOR);
        all.values().cloned().collect()
    }
}

impl Publisher {
    /// Looks whether what this process has accepted lately is still in the logs, and tells all
    /// subscribers of a topic in which it is not. Returns in how many topics something is lost.
    ///
    /// Says the same thing once, however often and by however many it is asked.
    pub async fn look_for_losses(&self) -> Result<usize, PublishError> {
        let looked = stream::iter(self.witness.recent()).map(|accepted| self.look_for_loss(accepted));
        let looked: Vec<Result<bool, _>> = looked.buffer_unordered(AT_ONCE).collect().await;
        // All have been looked at; an error says that it has to be done again.
        let lost = looked.into_iter().collect::<Result<Vec<bool>, PublishError>>()?;
        Ok(lost.into_iter().filter(|is_lost| *is_lost).count())
    }

    async fn look_for_loss(&self, accepted: Accepted) -> Result<bool, PublishError> {
        let Accepted { topic, position, .. } = accepted;
        let is_lost = self.store.log(topic.key(), position, 1).await?.gap == Some(Gap::Lost);
        if is_lost {
            self.announce_loss(&topic, position).await?;
        }
        Ok(is_lost)
    }

    /// Tells everybody that the log of a topic has lost its end, up to this position or further, and
    /// sends everybody what is open. Whoever notices it as well, or knows of less, adds nothing; a
    /// primary that was cut off and went on taking events may be found to have lost more.
    ///
    /// Returns the entry before that: from there on a subscriber reads who has seen what is lost.
    pub async fn announce_loss(&self, topic: &Topic, lost: Position) -> Result<Position, PublishError> {
        let message = self.message_of_loss(topic, lost, None);
        let told = read_own(&message)?;
        let cause = format!("loss:{}", lost.history);
        let announced = self.announce(topic.key(), &cause, lost, |state| {
            iter::once(sync_error_for_all(&told)).chain(state.opens_for_all()).collect()
        });
        let (from, is_new) = announced.await?;
        if is_new {
            METRICS.sync_errors.with(SyncErrorCause::Lost).inc();
            tracing::error!(topic = ?topic, position = %lost, "events that had been accepted are lost: Redis no longer has them");
        }
        Ok(from)
    }

    /// The SyncError that tells of a loss: all, or one subscriber once more.
    fn message_of_loss(&self, topic: &Topic, lost: Position, once_more: Option<SubscriptionId>) -> String {
        let mark = match once_more {
            None => format!("lost up to {lost}"),
            Some(subscription) => format!("lost up to {lost}, and sent to {subscription}"),
        };
        let (event, subscription, subscriber_name) = (None, None, None);
        let cause = Cause { topic, event, mark: &mark, subscription, subscriber_name, reason: Reason::Lost };
        cause.message(self.severity, &now_iso_8601())
    }

    /// A subscriber was sent an entry by somebody who has lost its subscription since. If Redis has
    /// lost the entry as well, the subscriber may have been told of the loss before it came: it is
    /// told again, and sent what is open. Returns whether it was lost.
    pub async fn amend(&self, subscription: &Subscription, sent: Position) -> Result<bool, PublishError> {
        let topic = subscription.topic.key();
        if self.store.log(topic, sent, 1).await?.gap != Some(Gap::Lost) {
            return Ok(false);
        }
        let message = self.message_of_loss(&subscription.topic, sent, Some(subscription.id));
        let error = sync_error_for(subscription.id, &read_own(&message)?);
        let cause = format!("amends:{}:{}", subscription.id, sent.history);
        let opens = |state: &SessionState| state.opens_for(subscription.id, &subscription.terms.events);
        let entries = |state: &SessionState| iter::once(error.clone()).chain(opens(state)).collect();
        self.announce(topic, &cause, sent, entries).await?;
        Ok(true)
    }

    /// The entry before the announcement, and whether it was made now.
    async fn announce(
        &self,
        topic: TopicKey,
        cause: &str,
        up_to: Position,
        entries: impl Fn(&SessionState) -> Vec<Entry>,
    ) -> Result<(Position, bool), PublishError> {
        let since = Instant::now();
        while since.elapsed() < CONFLICTS_FOR {
            let (snapshot, _) = self.store.session(topic, None).await?;
            let entries = entries(&read_state(&snapshot)?);
            let announcement =
                Announcement { cause: cause.to_owned(), up_to, revision: snapshot.revision, entries };
            match self.store.announce(topic, &announcement).await? {
                Announced::Conflict => {}
                Announced::Now { from } => return Ok((from, true)),
                Announced::Before { from } => return Ok((from, false)),
            }
        }
        Err(PublishError::Contended)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn at(millis: u64, history: u32) -> Position {
        Position { millis, sequence: 0, history: History(history) }
    }

    #[test]
    fn of_each_history_the_last_is_remembered_in_whatever_order_they_are_told() {
        let (witness, topic): (_, Topic) = (Witness::default(), "t".parse().unwrap());
        for position in [at(1, 1), at(5, 1), at(3, 1), at(2, 2)] {
            witness.accepted(topic.key(), &topic, position);
        }
        let mut positions: Vec<Position> = witness.recent().iter().map(|known| known.position).collect();
        positions.sort_unstable();
        assert_eq!(positions, [at(2, 2), at(5, 1)]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let witness = Witness::default();
        for number in 0..=MOST {
            let topic: Topic = number.to_string().parse().unwrap();
            witness.accepted(topic.key(), &topic, at(1, 1));
        }
        let all = witness.recent();
        assert!(all.len() <= MOST && all.iter().any(|known| *known.topic.as_str() == *MOST.to_string()));
    }
}
