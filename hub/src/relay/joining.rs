//! Bringing a socket from its cursor to where the relay is.
//!
//! It is handed what it has missed in the order of the log, no more at a time than its outbox
//! takes: while the outbox is full it waits, and the relay serves the others. What concerns the
//! subscription itself is done in its place in that order.

use std::sync::Arc;

use shared::{
    session::{EntryKind, SubscriptionChange},
    store::{Gap, Position, StoreError},
    telemetry::metrics::METRICS,
};
use tokio::time::Instant;

use super::{
    Joiner,
    members::{Delivered, deliver_to},
    recent::Rendered,
    topic::{ENDED, PAGE, Relay, TRY_AGAIN, close},
};
use crate::socket::Closing;

/// Where a joiner has got to.
enum Stage {
    /// It is where the relay is.
    UpToDate,
    /// It is further than the relay, which has to read the log first.
    Ahead,
    /// Its outbox is full.
    Full,
    /// It is gone, or is being closed.
    Over,
}

impl Joiner {
    /// It need not be handed anything up to this position again.
    pub(super) fn pass(&mut self, position: Position) {
        self.cursor = position;
        self.stalled_since = None;
        self.socket.outbox.leave_at(position);
    }
}

impl Relay {
    /// Serves those who wait; whoever is up to date follows from now on.
    pub(super) async fn admit(&mut self) {
        self.admit_at = None;
        for mut joiner in std::mem::take(&mut self.waiting) {
            match self.bring_up(&mut joiner).await {
                Ok(Stage::UpToDate) => {
                    joiner.socket.outbox.follow(self.followed.clone());
                    if let Some(before) = self.members.insert(joiner.subscription.terms.events, joiner.socket)
                    {
                        before.close(Closing::Replaced);
                    }
                    continue;
                }
                Ok(Stage::Over) => continue,
                Ok(Stage::Ahead) => {
                    self.catch_up_at.get_or_insert_with(Instant::now);
                }
                Ok(Stage::Full) => self.admit_at = Some(Instant::now() + TRY_AGAIN),
                Err(error) => self.try_again(&error),
            }
            self.waiting.push(joiner);
        }
    }

    async fn bring_up(&mut self, joiner: &mut Joiner) -> Result<Stage, StoreError> {
        if let Some(gap) = joiner.has_missed
            && !self.begin_anew(joiner, gap).await?
        {
            return Ok(Stage::Over);
        }
        if joiner.needs() > self.position {
            return Ok(Stage::Ahead);
        }
        while joiner.cursor != self.position {
            let (missed, gap) = self.after(joiner.cursor).await?;
            if let Some(gap) = gap {
                return Ok(has_missed(joiner, gap));
            }
            for rendered in &missed {
                if rendered.entry.previous != joiner.cursor {
                    return Ok(has_missed(joiner, Gap::Trimmed));
                }
                if let Some(stage) = self.hand(joiner, rendered).await? {
                    return Ok(stage);
                }
                joiner.pass(rendered.entry.position);
            }
            if missed.is_empty() {
                return Ok(has_missed(joiner, Gap::Trimmed));
            }
        }
        Ok(Stage::UpToDate)
    }

    /// Entries after a position, up to the relay's: all of them if they are recent, else a page.
    async fn after(&self, position: Position) -> Result<(Vec<Arc<Rendered>>, Option<Gap>), StoreError> {
        if let Some(entries) = self.recent.after(position) {
            return Ok((entries, None));
        }
        let page = self.node.store.log(self.topic.key(), position, PAGE).await?;
        let up_to_here = page.entries.into_iter().take_while(|entry| entry.position <= self.position);
        Ok((up_to_here.map(|entry| Arc::new(Rendered::new(entry))).collect(), page.gap))
    }

    /// Hands one entry over. A stage, if it was not taken or is the last.
    async fn hand(&self, joiner: &mut Joiner, rendered: &Rendered) -> Result<Option<Stage>, StoreError> {
        let Joiner { subscription, socket, .. } = joiner;
        let change = match &rendered.entry.entry.kind {
            EntryKind::Event(_) => {
                let limits = &self.node.settings.limits;
                return Ok(match deliver_to(socket, &subscription.terms.events, rendered, limits) {
                    Delivered::NotForIt => None,
                    Delivered::Taken => {
                        METRICS.replayed_notifications.inc();
                        None
                    }
                    Delivered::Refused((_, closing)) => Some(self.wait_or_give_up(joiner, closing)),
                });
            }
            EntryKind::Subscription(change) => change,
        };
        if *change.id() != subscription.id {
            return Ok(None);
        }
        match change {
            SubscriptionChange::Renewed { .. } => {
                let Some(renewed) = self.confirm_anew(socket).await? else {
                    socket.end(ENDED);
                    return Ok(Some(Stage::Over));
                };
                *subscription = renewed;
                Ok(None)
            }
            SubscriptionChange::Replaced { connection, .. } if *connection == socket.connection.id => {
                socket.close(Closing::Replaced);
                Ok(Some(Stage::Over))
            }
            // It was another, before this one.
            SubscriptionChange::Replaced { .. } => Ok(None),
            SubscriptionChange::Ended { reason, .. } => {
                socket.end(reason);
                Ok(Some(Stage::Over))
            }
        }
    }

    /// A full outbox empties while its subscriber reads and answers; one that does neither for
    /// the ack time-out is closed, with its cursor where it has got to.
    fn wait_or_give_up(&self, joiner: &mut Joiner, closing: Option<Closing>) -> Stage {
        let since = *joiner.stalled_since.get_or_insert_with(std::time::Instant::now);
        if closing.is_some() && since.elapsed() < self.node.settings.ack_timeout() {
            return Stage::Full;
        }
        close(&joiner.socket, closing);
        Stage::Over
    }
}

/// The log does not go on from its cursor: it begins anew when it is looked at next.
fn has_missed(joiner: &mut Joiner, gap: Gap) -> Stage {
    METRICS.gaps.inc();
    tracing::error!(subscription = ?joiner.subscription.id, after = %joiner.cursor, ?gap, "the log does not go on from where a subscriber has come");
    joiner.has_missed = Some(gap);
    Stage::Ahead
}
