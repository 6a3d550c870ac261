//! What a token says, whoever vouches for it: a signature or the authorization server.
//!
//! Pure: the time is given. Rules: FC-SEC-01, FC-SES-02, FC-SCO-01.

use serde_json::{Map, Value};
use shared::{
    protocol::{Scopes, Topic},
    settings::Auth,
};

use super::{Identity, Refusal};

/// Claims that are not to be trusted yet.
pub type Claims = Map<String, Value>;

/// What must be there. What is there is checked in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Required {
    /// An access token that stands for itself: its end, its issuer and its audience.
    All,
    /// What the authorization server says of a token: issuer and audience, if they are set.
    AsSet,
}

/// The bearer, if the claims hold `now`, in seconds since 1970. `vouching` is its issuer where the
/// claims name none.
pub fn identity(
    claims: &Claims,
    settings: &Auth,
    required: Required,
    vouching: &str,
    now: u64,
) -> Result<Identity, Refusal> {
    let leeway = settings.leeway_secs;
    let expires = time(claims, "exp")?;
    match expires {
        None if required == Required::All => return Err(Refusal::NoExpiry),
        Some(end) if now >= end.saturating_add(leeway) => return Err(Refusal::Expired),
        _ => {}
    }
    for beginning in ["nbf", "iat"] {
        if time(claims, beginning)?.is_some_and(|beginning| beginning > now.saturating_add(leeway)) {
            return Err(Refusal::NotYetValid);
        }
    }
    let issuer = text(claims, "iss")?;
    if settings.issuer.as_deref().is_some_and(|expected| issuer != Some(expected)) {
        return Err(Refusal::Issuer);
    }
    if !settings.audience.is_empty() && !is_for(claims, &settings.audience)? {
        return Err(Refusal::Audience);
    }
    Ok(Identity {
        issuer: issuer.unwrap_or(vouching).to_owned(),
        subject: text(claims, "sub")?.map(str::to_owned),
        client: client(claims, &settings.client_claims)?,
        scopes: Scopes::parse(scopes(claims, &settings.scope_claims)?),
        topic: topic(claims, &settings.topic_claim)?,
        expires,
    })
}

fn present<'a>(claims: &'a Claims, name: &str) -> Option<&'a Value> {
    claims.get(name).filter(|value| !value.is_null())
}

/// A NumericDate, which may have a fraction.
fn time(claims: &Claims, name: &'static str) -> Result<Option<u64>, Refusal> {
    let Some(value) = present(claims, name) else { return Ok(None) };
    let whole = value.as_u64().or_else(|| {
        let seconds = value.as_f64().filter(|seconds| (0.0..1e15).contains(seconds))?;
        Some(seconds as u64)
    });
    whole.map(Some).ok_or(Refusal::Claim(name))
}

fn text<'a>(claims: &'a Claims, name: &'static str) -> Result<Option<&'a str>, Refusal> {
    match present(claims, name) {
        None => Ok(None),
        Some(value) => value.as_str().map(Some).ok_or(Refusal::Claim(name)),
    }
}

/// A text or an array of texts.
fn texts<'a>(value: &'a Value, name: &'static str) -> Result<Vec<&'a str>, Refusal> {
    match value {
        Value::String(one) => Ok(vec![one]),
        Value::Array(many) => many.iter().map(|value| value.as_str().ok_or(Refusal::Claim(name))).collect(),
        _ => Err(Refusal::Claim(name)),
    }
}

fn is_for(claims: &Claims, audience: &[String]) -> Result<bool, Refusal> {
    let Some(value) = present(claims, "aud") else { return Ok(false) };
    Ok(texts(value, "aud")?.iter().any(|name| audience.iter().any(|own| own == name)))
}

fn client(claims: &Claims, names: &[String]) -> Result<Option<String>, Refusal> {
    match names.iter().find_map(|name| present(claims, name)) {
        None => Ok(None),
        Some(value) => {
            value.as_str().map(|client| Some(client.to_owned())).ok_or(Refusal::Claim("client_id"))
        }
    }
}

fn scopes<'a>(claims: &'a Claims, names: &[String]) -> Result<Vec<&'a str>, Refusal> {
    let mut all = Vec::new();
    for value in names.iter().filter_map(|name| present(claims, name)) {
        all.extend(texts(value, "scope")?);
    }
    Ok(all)
}

/// The topic that the token is bound to (FC-SES-02). A claim that is no topic binds to none that
/// there could be: such a token is refused, and not taken for one that is free.
fn topic(claims: &Claims, name: &str) -> Result<Option<Topic>, Refusal> {
    let Some(value) = present(claims, name) else { return Ok(None) };
    let topic = value.as_str().and_then(|topic| topic.parse().ok());
    topic.map(Some).ok_or(Refusal::Claim("hub.topic"))
}
