//! What Redis holds of a topic, and what the scripts read of it. `steps` has what they write.

use super::{
    setup::Cures,
    system::{Entry, HISTORIES, Position, Serial, Serials, Token},
};

/// Why the log does not go on from a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Gap {
    /// What came after it is older than the log.
    Trimmed,
    /// The log does not know it.
    Lost,
}

/// The place of a webhook in the due set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Due {
    /// It is not in it.
    No,
    /// Now.
    Now,
    /// When the claim is over.
    Claimed,
}

/// A subscription's record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subscription {
    pub cursor: Position,
    pub holder: Token,
    pub due: Due,
}

/// One server's state of the topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Store {
    /// The log, also what has been trimmed of it.
    pub log: Vec<Serial>,
    pub trimmed: usize,
    /// The history that this server writes.
    pub history: u8,
    /// By how much its clock is ahead, for the next entry.
    pub ahead: u8,
    /// The events that are recognised when they are sent again.
    pub once: u8,
    /// Up to which number the loss of each history has been told of.
    pub told: [u8; HISTORIES],
    pub subscriptions: [Subscription; 2],
}

impl Store {
    pub fn new(subscriptions: [Subscription; 2]) -> Self {
        Self {
            log: Vec::new(),
            trimmed: 0,
            history: 0,
            ahead: 0,
            once: 0,
            told: [0; HISTORIES],
            subscriptions,
        }
    }

    pub fn head(&self, ever: &[Entry]) -> Position {
        self.log.last().map_or(Position::START, |last| ever[*last as usize].at)
    }

    /// The entries after a position, by their numbers.
    pub fn after(&self, ever: &[Entry], position: Position) -> impl Iterator<Item = Serial> {
        self.log[self.trimmed..]
            .iter()
            .copied()
            .filter(move |serial| ever[*serial as usize].at.number > position.number)
    }

    /// What is wrong between a position and what the log has after it.
    pub fn gap_after(&self, ever: &[Entry], position: Position, cures: &Cures) -> Option<Gap> {
        let head = self.head(ever);
        let follows = self.after(ever, position).next().map_or(head, |next| ever[next as usize].after);
        if follows == position || !cures.predecessors {
            return None;
        }
        let is_trimmed = match self.log.get(self.trimmed).map(|oldest| ever[*oldest as usize]) {
            Some(oldest) if cures.trimmed_by_predecessor => oldest.after.number >= position.number,
            Some(oldest) => oldest.at.number > position.number,
            None => head.number > position.number,
        };
        Some(if is_trimmed { Gap::Trimmed } else { Gap::Lost })
    }

    /// Is there more to read for who has come to this position?
    pub fn is_ahead_of(&self, ever: &[Entry], position: Position, by_difference: bool) -> bool {
        let head = self.head(ever);
        if by_difference { head != position } else { head.number > position.number }
    }

    /// The place of an entry in the log.
    pub fn index(&self, serial: Serial) -> Option<usize> {
        self.log.iter().position(|known| *known == serial)
    }

    /// The place of a position in the log, counted from 1; 0 for the start.
    pub fn index_of(&self, ever: &[Entry], position: Position) -> Option<usize> {
        if position == Position::START {
            return Some(0);
        }
        self.log.iter().position(|serial| ever[*serial as usize].at == position).map(|index| index + 1)
    }

    /// All that is or was in the log.
    pub fn serials(&self) -> Serials {
        self.log.iter().fold(0, |bits, serial| bits | 1 << serial)
    }

    /// Has it been told that this position is lost?
    pub fn has_told(&self, position: Position) -> bool {
        self.told[position.history as usize] >= position.number
    }
}
