//! Heartbeats for those who asked for them by name (FC-WSC-06).
//!
//! A heartbeat is no entry of the log: nobody answers for it, and it is rendered once for all of
//! the topic's sockets on this node. A topic in which nobody asked for any has no timer.

use std::time::Duration;

use bytestring::ByteString;
use shared::{protocol::heartbeat, publisher::now_iso_8601};
use tokio::time::Instant;
use uuid::Uuid;

use super::topic::Relay;

/// The part of the period after which the next one is sent: it is not late either when the relay has
/// to wait for a store that is slow.
const EARLY: f64 = 0.75;

impl Relay {
    /// Somebody has joined, or asks for something else: is there a next heartbeat?
    pub(super) fn plan_heartbeat(&mut self) {
        if self.heartbeat_at.is_none() && self.members.some_want(heartbeat::is_wanted) {
            self.heartbeat_at = Some(Instant::now() + self.heartbeat_pause());
        }
    }

    /// Sends one to all who asked for it, and plans the next.
    pub(super) fn beat(&mut self) {
        let id = Uuid::new_v4().to_string();
        let period = self.node.settings.heartbeat_secs;
        let frame: ByteString = heartbeat::message(&self.topic, &id, &now_iso_8601(), period).into();
        let limits = &self.node.settings.limits;
        let mut is_wanted = false;
        for socket in self.members.those_who_want(heartbeat::is_wanted) {
            is_wanted = true;
            socket.tell_if_it_listens(frame.clone(), limits);
        }
        self.heartbeat_at = is_wanted.then(|| Instant::now() + self.heartbeat_pause());
    }

    fn heartbeat_pause(&self) -> Duration {
        self.node.settings.heartbeat().mul_f64(EARLY)
    }
}
