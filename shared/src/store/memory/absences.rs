//! WebSocket subscriptions that are due: their subscriber is away, or their lease is over.

use std::time::Duration;

use uuid::Uuid;

use super::{
    super::{Address, Claim, Connection, Departure, Parting, Progress, Release},
    end_of,
    state::State,
};

impl State {
    /// Lets go of what `is_holder` holds.
    pub fn detach(
        &mut self,
        address: Address,
        is_holder: impl FnOnce(&Connection) -> bool,
        departure: Departure,
        now: u64,
    ) -> bool {
        let Some(socket) = self.socket(address) else { return false };
        let stays = departure.grace.min(socket.lease.remaining(now));
        if !socket.let_go(is_holder, departure.parting, end_of(stays, now), now) {
            return false;
        }
        self.make_due(address, end_of(departure.look_after.min(stays), now), now);
        true
    }

    /// A claim on a WebSocket subscription that is due.
    pub fn claim_websocket(
        &mut self,
        address: Address,
        hold: Duration,
        max_entries: usize,
        now: u64,
    ) -> Option<Claim> {
        let socket = self.socket(address)?;
        let (lease_end, absence) = (socket.lease.until, socket.absence);
        let is_over = lease_end <= now;
        if !is_over && absence.is_none() {
            // A hub looks after it.
            self.due.remove(address);
            return None;
        }
        let token = Uuid::new_v4().to_string();
        socket.token = Some(token.clone());
        let subscription = Some(socket.lease.subscription.clone());
        let (is_read, progress) = (socket.cursor.is_some(), socket.progress());
        let (entries, gap) = self.waiting(address, &progress, !is_over && is_read, max_entries);
        self.hold(address, hold, is_over, now);
        let request = None;
        Some(Claim {
            address,
            token,
            subscription,
            lease_end,
            request,
            progress,
            is_read,
            absence,
            entries,
            gap,
            now,
        })
    }

    pub fn settle_websocket(
        &mut self,
        claim: &Claim,
        progress: &Progress,
        release: Release,
        now: u64,
    ) -> bool {
        let address = claim.address;
        let head = self.head(address.topic);
        let Some(socket) = self.socket(address).filter(|socket| socket.token.as_ref() == Some(&claim.token))
        else {
            return false;
        };
        if let Release::End(reason) = release {
            return self.end_websocket(address, reason, now);
        }
        socket.save(progress);
        let has_more = socket.cursor.is_some_and(|cursor| head != cursor);
        let is_over = socket.lease.is_over(now);
        if !matches!(release, Release::Hold(_)) {
            socket.token = None;
        }
        match release {
            Release::Hold(time) | Release::After(time) => self.make_due(address, end_of(time, now), now),
            Release::Idle if has_more || is_over => self.make_due(address, now, now),
            Release::Idle | Release::End(_) => self.due.remove(address),
        }
        true
    }

    /// The WebSocket subscriptions that a node holds.
    pub fn held_by(&self, node: &str) -> Vec<Address> {
        let held = self.sockets.values().filter(|socket| socket.is_held(|holder| holder.node == node));
        held.map(|socket| socket.lease.subscription.address()).collect()
    }

    pub fn orphan(&mut self, node: &str, grace: Duration, now: u64) -> usize {
        let departure = Departure { parting: Parting::Lost, grace, look_after: Duration::ZERO };
        let held = self.held_by(node);
        for address in &held {
            self.detach(*address, |holder| holder.node == node, departure, now);
        }
        self.nodes.retain(|id, until| id != node || *until > now);
        held.len()
    }
}
