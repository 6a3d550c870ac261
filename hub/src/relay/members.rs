//! The sockets of one topic on this node, by what they ask for.

use std::{collections::HashMap, sync::Arc};

use shared::{
    protocol::{EventFilter, SubscriptionId},
    session::{Audience, view_by},
    settings::Limits,
};

use super::recent::{Frame, Rendered};
use crate::socket::{Closing, SocketHandle};

/// Sockets that ask for the same: an entry is matched once for all of them.
type Group = HashMap<SubscriptionId, SocketHandle>;

/// All sockets of the topic.
#[derive(Default)]
pub struct Members {
    groups: HashMap<EventFilter, Group>,
    filters: HashMap<SubscriptionId, EventFilter>,
}

/// A socket that did not take what it was handed, and why.
pub type Refused = (SocketHandle, Option<Closing>);

/// What came of an entry.
#[derive(Default)]
pub struct Handed {
    /// How many sockets were handed it.
    pub to: usize,
    /// Those of them that did not take it.
    pub refused: Vec<Refused>,
}

impl Members {
    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    /// A socket that asks for `events`. The one of the same subscription, if any, is given back.
    pub fn insert(&mut self, events: EventFilter, socket: SocketHandle) -> Option<SocketHandle> {
        let id = socket.address.id;
        let before = self.remove(&id);
        self.filters.insert(id, events.clone());
        self.groups.entry(events).or_default().insert(id, socket);
        before
    }

    /// The socket of a subscription.
    pub fn get(&self, id: &SubscriptionId) -> Option<&SocketHandle> {
        self.groups.get(self.filters.get(id)?)?.get(id)
    }

    /// Takes a socket out.
    pub fn remove(&mut self, id: &SubscriptionId) -> Option<SocketHandle> {
        let events = self.filters.remove(id)?;
        let group = self.groups.get_mut(&events)?;
        let socket = group.remove(id);
        if group.is_empty() {
            self.groups.remove(&events);
        }
        socket
    }

    /// Does anybody ask for something of which this is so?
    pub fn some_want(&self, is_wanted: impl Fn(&EventFilter) -> bool) -> bool {
        self.groups.keys().any(is_wanted)
    }

    /// The sockets that ask for something of which this is so.
    pub fn those_who_want(
        &self,
        is_wanted: impl Fn(&EventFilter) -> bool,
    ) -> impl Iterator<Item = &SocketHandle> {
        self.groups.iter().filter(move |(events, _)| is_wanted(events)).flat_map(|(_, group)| group.values())
    }

    /// Takes all sockets out, each with what it asks for.
    pub fn take_all(&mut self) -> Vec<(EventFilter, SocketHandle)> {
        self.filters.clear();
        let all = self.groups.drain();
        all.flat_map(|(events, group)| group.into_values().map(move |socket| (events.clone(), socket)))
            .collect()
    }

    /// Hands an entry to all who may see it; those who did not take it are taken out.
    pub fn deliver(&mut self, rendered: &Rendered, limits: &Limits) -> Handed {
        let mut handed = Handed::default();
        let Some(notice) = rendered.entry.entry.as_event() else { return handed };
        let Handed { to, refused } = &mut handed;
        if let Audience::Only(id) = &notice.audience {
            if let (Some(socket), Some(events)) = (self.get(id), self.filters.get(id)) {
                match deliver_to(socket, events, rendered, limits) {
                    Delivered::NotForIt => {}
                    Delivered::Taken => *to = 1,
                    Delivered::Refused(by) => {
                        *to = 1;
                        refused.push(by);
                    }
                }
            }
        } else {
            for (events, group) in &self.groups {
                let Some(frame) = view_by(notice, events).and_then(|view| rendered.frame(view)) else {
                    continue;
                };
                let sockets = group.values().filter(|socket| notice.audience.includes(&socket.address.id));
                refused.extend(sockets.filter_map(|socket| {
                    *to += 1;
                    hand(socket, rendered, frame.clone(), limits)
                }));
            }
        }
        for (socket, _) in &handed.refused {
            self.remove(&socket.address.id);
        }
        handed
    }
}

/// What became of an entry that was to be handed to a socket.
pub enum Delivered {
    /// Its subscriber may not see it.
    NotForIt,
    /// It is on its way.
    Taken,
    /// It was not taken.
    Refused(Refused),
}

/// Hands an entry to one socket, if it may see it.
pub fn deliver_to(
    socket: &SocketHandle,
    events: &EventFilter,
    rendered: &Rendered,
    limits: &Limits,
) -> Delivered {
    let view = shared::session::view(&rendered.entry.entry, &socket.address.id, events);
    let Some(frame) = view.and_then(|view| rendered.frame(view)) else { return Delivered::NotForIt };
    hand(socket, rendered, frame, limits).map_or(Delivered::Taken, Delivered::Refused)
}

fn hand(socket: &SocketHandle, rendered: &Rendered, frame: Frame, limits: &Limits) -> Option<Refused> {
    if socket.is_gone() {
        return Some((socket.clone(), None));
    }
    let entry: &Arc<_> = &rendered.entry;
    socket.notify(entry, frame, limits).err().map(|closing| (socket.clone(), Some(closing)))
}
