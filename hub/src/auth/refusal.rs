//! Why a request is not believed, in words for the client's developer.

use shared::telemetry::metrics::Authentication;

/// What is wrong with the token of a request. The texts fit into `error_description` (RFC 6750):
/// no quotes, nothing of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is none.
    #[error("a bearer token is needed: Authorization: Bearer")]
    Missing,
    /// Authorization is there more than once.
    #[error("there is more than one Authorization header")]
    Twice,
    /// It is not written as RFC 6750 says.
    #[error("the Authorization header is not Bearer, a space and a token")]
    Malformed,
    /// It is longer than `auth.token_bytes`.
    #[error("the token is too long")]
    TooLong,
    /// It is no signed JWT.
    #[error("the token is not a signed JWT")]
    NotAJwt,
    /// `typ` says that it is for something else.
    #[error("the token is of another type than at+jwt or JWT (typ)")]
    Type,
    /// `crit` asks for what the hub does not know.
    #[error("the token asks for extensions that the hub does not have (crit)")]
    Critical,
    /// `alg` is not one that the hub takes, or not one of the key.
    #[error("the token is signed with an algorithm that is not accepted, or not that of its key (alg)")]
    Algorithm,
    /// `kid` names no key of the authorization server.
    #[error("the token is signed with a key that the authorization server does not have (kid)")]
    UnknownKey,
    /// It could be signed with more than one key.
    #[error("the token does not say with which of several keys it is signed (kid)")]
    AmbiguousKey,
    /// The signature is not the key's.
    #[error("the signature of the token is wrong")]
    Signature,
    /// A claim, or that of this setting, is not of its type.
    #[error("the claim {0} of the token is not what it should be")]
    Claim(&'static str),
    /// Neither `sub` nor one of `auth.client_claims` is there: its subscriptions would be everybody's.
    #[error("the token does not say whose it is (sub, auth.client_claims)")]
    Nobody,
    /// `cnf` is there.
    #[error("the token is bound to a key, and whether its bearer has it cannot be seen (cnf)")]
    Bound,
    /// `token_type` says that it is no bearer token.
    #[error("the token is of another type than Bearer (token_type)")]
    NotBearer,
    /// A member stands twice, or it is otherwise not to be read in one way alone.
    #[error("the token can be read in more than one way: a member stands twice, or is no text")]
    Ambiguous,
    /// There is no `exp`.
    #[error("the token does not say when it ends (exp)")]
    NoExpiry,
    /// `exp` is past.
    #[error("the token has expired (exp)")]
    Expired,
    /// `nbf` or `iat` lies ahead.
    #[error("the token is not valid yet (nbf, iat)")]
    NotYetValid,
    /// `iss` is not `auth.issuer`.
    #[error("the token is from another issuer (iss)")]
    Issuer,
    /// `aud` holds none of `auth.audience`.
    #[error("the token is for another audience (aud)")]
    Audience,
    /// The authorization server says so.
    #[error("the authorization server says that the token is not active")]
    Inactive,
}

impl Refusal {
    /// The error code of RFC 6750; none where no token was sent.
    pub fn code(self) -> Option<&'static str> {
        match self {
            Self::Missing => None,
            Self::Twice | Self::Malformed => Some("invalid_request"),
            _ => Some("invalid_token"),
        }
    }

    /// How it is counted.
    pub fn outcome(self) -> Authentication {
        match self {
            Self::Missing => Authentication::Missing,
            Self::Twice
            | Self::Malformed
            | Self::TooLong
            | Self::NotAJwt
            | Self::Type
            | Self::Critical
            | Self::Claim(_)
            | Self::Nobody
            | Self::Bound
            | Self::NotBearer
            | Self::Ambiguous
            | Self::NoExpiry => Authentication::Malformed,
            Self::Algorithm | Self::UnknownKey | Self::AmbiguousKey => Authentication::Key,
            Self::Signature => Authentication::Signature,
            Self::Expired => Authentication::Expired,
            Self::NotYetValid => Authentication::NotYetValid,
            Self::Issuer => Authentication::Issuer,
            Self::Audience => Authentication::Audience,
            Self::Inactive => Authentication::Inactive,
        }
    }
}
