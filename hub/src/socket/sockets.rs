//! All sockets of this node: for the cursors, which are written behind, and for the drain.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use actix_web::web;
use shared::store::{Connection, CursorMove};

use super::outbox::SocketHandle;
use crate::node::Node;

/// How often cursors are written. What lies between is sent again to who comes back.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// Cursors in one call.
const SAVE_AT_ONCE: usize = 500;

/// The sockets that are open, by their connection.
#[derive(Default)]
pub struct Sockets(Mutex<HashMap<String, SocketHandle>>);

impl Sockets {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, SocketHandle>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A socket is open.
    pub fn add(&self, socket: SocketHandle) {
        self.lock().insert(socket.connection.id.clone(), socket);
    }

    /// A socket is closed, and the store knows.
    pub fn remove(&self, connection: &Connection) {
        self.lock().remove(&connection.id);
    }

    /// All of them.
    pub fn all(&self) -> Vec<SocketHandle> {
        self.lock().values().cloned().collect()
    }

    /// Those of which this is so.
    pub fn those(&self, is_so: impl Fn(&SocketHandle) -> bool) -> Vec<SocketHandle> {
        self.lock().values().filter(|socket| is_so(socket)).cloned().collect()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }
}

/// Writes the cursors that have moved, once a second, for as long as the process runs.
pub async fn save_cursors(node: web::Data<Node>) {
    let mut ticks = tokio::time::interval(SAVE_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let moved: Vec<(SocketHandle, CursorMove)> = node
            .sockets
            .all()
            .into_iter()
            .filter_map(|socket| {
                let moved = socket.outbox.cursor_move(socket.address, &socket.connection)?;
                Some((socket, moved))
            })
            .collect();
        for chunk in moved.chunks(SAVE_AT_ONCE) {
            let moves: Vec<CursorMove> = chunk.iter().map(|(_, moved)| moved.clone()).collect();
            match node.store.save_cursors(&moves).await {
                Ok(_) => chunk.iter().for_each(|(socket, moved)| socket.outbox.saved(moved.cursor)),
                Err(error) => {
                    tracing::warn!(%error, "cursors are not saved; trying again");
                    break;
                }
            }
        }
    }
}
