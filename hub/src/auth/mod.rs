//! Who is asking, and what they may do.
//!
//! A request is authenticated once, before its body is read: the [`Authenticator`] says whose its
//! token is, and `api::admit` makes a [`Caller`] of that. Every room of the API asks the caller
//! whether it may do what it asks for. Sockets have none: an endpoint is a ticket for its own
//! subscription, and what that may read was settled when it was made.
//!
//! - `bearer`: the token of a request. `authenticator`: who vouches for it.
//! - `jwt`, `keys`: signed tokens. `jwks`: the keys as they are now.
//! - `introspection`: what the authorization server says of a token. `server`: how it is reached.
//! - `claims`: what a token says, whoever vouches for it.
//! - `refusal`: why a token is not believed.
//!
//! Rules: FC-SEC-01, FC-SEC-04, FC-SES-02, FC-SCO-01…03.

mod authenticator;
mod bearer;
mod claims;
mod introspection;
mod jwks;
mod jwt;
mod keys;
mod refusal;
mod server;

use std::{borrow::Cow, net::IpAddr};

use shared::{
    protocol::{EventFilter, EventName, MissingScope, Scopes, Topic},
    store::Owner,
};

pub use self::{
    authenticator::{Asking, Authenticator, NotIdentified},
    bearer::token as bearer_token,
    claims::{Required, identity},
    introspection::said as introspected,
    jwt::verify,
    keys::Keys,
    refusal::Refusal,
};
use crate::api::ApiError;

/// Whoever sent a request.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Where the request came from.
    pub address: IpAddr,
    /// Who it is; absent while authentication is off, and only then: everyone may do everything.
    pub identity: Option<Identity>,
}

/// What a token says of its bearer.
#[derive(Debug, Clone)]
pub struct Identity {
    /// `iss`: who gave the token out.
    pub issuer: String,
    /// `sub`: the user, or the client that acts for itself.
    pub subject: Option<String>,
    /// `client_id` or `azp`: the app.
    pub client: Option<String>,
    /// What may be read and written.
    pub scopes: Scopes,
    /// The topic that the token is for, if it says so (FC-SES-02).
    pub topic: Option<Topic>,
    /// When the token ends, in seconds since 1970.
    pub expires: Option<u64>,
}

impl Caller {
    /// May it use this topic at all?
    pub fn may_use(&self, topic: &Topic) -> Result<(), ApiError> {
        match self.identity.as_ref().and_then(|identity| identity.topic.as_ref()) {
            Some(own) if own != topic => {
                Err(ApiError::Forbidden("the token is for another hub.topic".into()))
            }
            _ => Ok(()),
        }
    }

    /// May it send such an event?
    pub fn may_send(&self, name: &EventName) -> Result<(), ApiError> {
        match &self.identity {
            Some(identity) if !identity.scopes.may_write(name) => Err(MissingScope::to_write(name).into()),
            _ => Ok(()),
        }
    }

    /// What it may receive of what it asks for (FC-SCO-02); refused when that is nothing.
    pub fn may_receive(&self, asked: EventFilter) -> Result<EventFilter, ApiError> {
        match &self.identity {
            Some(identity) => {
                identity.scopes.readable(&asked).ok_or_else(|| MissingScope::to_read(&asked).into())
            }
            None => Ok(asked),
        }
    }

    /// What it may read of a session that it asks about. Who may read nothing is refused: the empty
    /// context would tell it that nothing is open.
    pub fn may_read(&self) -> Result<Cow<'_, Scopes>, ApiError> {
        match &self.identity {
            Some(identity) if !identity.scopes.may_read_any() => Err(MissingScope::to_read_any().into()),
            Some(identity) => Ok(Cow::Borrowed(&identity.scopes)),
            None => Ok(Cow::Owned(Scopes::everything())),
        }
    }

    /// Whose its subscriptions are; nobody's while authentication is off.
    pub fn owner(&self) -> Option<Owner> {
        let identity = self.identity.as_ref()?;
        Some(Owner::of(&identity.issuer, identity.subject.as_deref(), identity.client.as_deref()))
    }

    /// The end of its token, which no lease outlives (FC-SEC-04), in milliseconds since 1970.
    pub fn not_after(&self) -> Option<u64> {
        Some(self.identity.as_ref()?.expires?.saturating_mul(1000))
    }
}
