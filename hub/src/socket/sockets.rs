//! All sockets of this node: for the cursors, which are written behind, and for the drain. And those that
//! have gone, until the store surely knows.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use actix_web::web;
use futures_util::{StreamExt, stream};
use shared::store::{Address, Connection, CursorMove, Departure, Store, StoreError};

use super::outbox::SocketHandle;
use crate::node::Node;

/// How often cursors are written. What lies between is sent again to who comes back.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// Cursors in one call.
const SAVE_AT_ONCE: usize = 500;

/// For so long, and so many, it is remembered who has gone: a store that goes back in time is told again.
const REMEMBERED_FOR: Duration = Duration::from_secs(300);
const MOST_DEPARTED: usize = 50_000;
/// The first and the longest pause before the store is told again that a socket has gone.
const SHORTEST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// Sockets that have gone of which the store is told at once.
const AT_ONCE: usize = 64;

/// The sockets that are open, by their connection, and those that have gone.
#[derive(Default)]
pub struct Sockets {
    open: Mutex<HashMap<String, SocketHandle>>,
    departed: Mutex<VecDeque<(Instant, Departed)>>,
}

/// A socket that has gone.
#[derive(Debug, Clone)]
pub struct Departed {
    /// Its subscription.
    pub address: Address,
    /// The connection that held it.
    pub connection: Connection,
    /// How it went.
    pub departure: Departure,
}

impl Sockets {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, SocketHandle>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A socket has gone: tells the store, until it answers. Nobody else knows, and while the store
    /// does not either, the subscriber counts as following.
    pub async fn depart(&self, store: &dyn Store, departed: Departed, moved: Option<CursorMove>) {
        let (since, mut pause) = (Instant::now(), SHORTEST_PAUSE);
        let Departed { address, connection, departure } = &departed;
        loop {
            let told = async {
                if let Some(moved) = &moved {
                    store.save_cursors(std::slice::from_ref(moved)).await?;
                }
                store.detach(*address, connection, *departure).await
            };
            match told.await {
                Ok(()) => break,
                Err(error) if since.elapsed() < REMEMBERED_FOR => {
                    tracing::warn!(%error, "a socket has gone and the store does not know; trying again");
                }
                Err(error) => {
                    tracing::error!(%error, "a socket has gone and the store does not know");
                    break;
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        self.remove(connection);
        let mut all = self.departed.lock().unwrap_or_else(PoisonError::into_inner);
        while all.front().is_some_and(|(at, _)| at.elapsed() > REMEMBERED_FOR) || all.len() >= MOST_DEPARTED {
            all.pop_front();
        }
        all.push_back((Instant::now(), departed));
    }

    /// The store may have lost it: tells again which sockets have gone. It changes nothing where the
    /// store knows, or where another connection has come.
    pub async fn detach_again(&self, store: &dyn Store) -> Result<(), StoreError> {
        let all: Vec<Departed> = {
            let departed = self.departed.lock().unwrap_or_else(PoisonError::into_inner);
            let recent = departed.iter().filter(|(at, _)| at.elapsed() <= REMEMBERED_FOR);
            recent.map(|(_, departed)| departed.clone()).collect()
        };
        let told = stream::iter(all).map(|Departed { address, connection, departure }| async move {
            store.detach(address, &connection, departure).await
        });
        let told: Vec<_> = told.buffer_unordered(AT_ONCE).collect().await;
        told.into_iter().collect()
    }

    /// A socket is open.
    pub fn add(&self, socket: SocketHandle) {
        self.lock().insert(socket.connection.id.clone(), socket);
    }

    /// A socket is closed, and the store knows.
    fn remove(&self, connection: &Connection) {
        self.lock().remove(&connection.id);
    }

    /// All of them.
    pub fn all(&self) -> Vec<SocketHandle> {
        self.lock().values().cloned().collect()
    }

    /// Those of which this is so.
    pub fn those(&self, mut is_so: impl FnMut(&SocketHandle) -> bool) -> Vec<SocketHandle> {
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
    let turning = node.loops.watch("cursors");
    loop {
        ticks.tick().await;
        turning.turned();
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
            // There may be many partitions to ask.
            match turning.while_waiting(node.store.save_cursors(&moves)).await {
                Ok(_) => chunk.iter().for_each(|(socket, moved)| socket.outbox.saved(moved.cursor)),
                // Those of other servers need not wait.
                Err(error) => tracing::warn!(%error, "cursors are not saved; trying again"),
            }
        }
    }
}
