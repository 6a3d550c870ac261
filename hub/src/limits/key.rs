//! Whom a rate belongs to.

use std::net::IpAddr;

use shared::{network::Network, store::Owner};

use super::Whose;
use crate::auth::Caller;

/// Whoever asks: a token's owner, or else an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallerKey {
    /// Who has shown a token, or made a subscription with one.
    Owner(Owner),
    /// Whoever is at that address.
    Address(Network),
}

impl CallerKey {
    /// The key of `caller`.
    pub fn of(caller: &Caller) -> Self {
        Self::of_owner(caller.owner(), caller.address)
    }

    /// The key of who is at `address` for this owner, or for nobody in particular.
    pub fn of_owner(owner: Option<Owner>, address: IpAddr) -> Self {
        owner.map_or_else(|| Self::Address(Network::of(address)), Self::Owner)
    }

    /// Does it stand for all who share an address?
    pub fn is_an_address(&self) -> bool {
        matches!(self, Self::Address(_))
    }

    /// Whose limits are its.
    pub fn whose(&self) -> Whose {
        if self.is_an_address() { Whose::Address } else { Whose::Caller }
    }
}
