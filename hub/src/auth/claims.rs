//! What a token says, whoever vouches for it: a signature or the authorization server.
//!
//! Pure: the time is given. Rules: FC-SEC-01, FC-SES-02, FC-SCO-01.

use serde_json::{Map, Value};
use shared::{
    protocol::{Scopes, Topic, unambiguous},
    settings::Auth,
};

use super::{Identity, Refusal};

/// Claims that are not to be trusted yet.
pub type Claims = Map<String, Value>;

/// The most brackets and braces of a token that may be open at once.
const MAX_DEPTH: usize = 32;

/// The text of what says something of a token, if all its readers read the same.
pub fn unambiguous(json: &[u8]) -> Result<&str, Refusal> {
    let text = std::str::from_utf8(json).map_err(|_| Refusal::Ambiguous)?;
    unambiguous::check(text, MAX_DEPTH).map_err(|_| Refusal::Ambiguous)?;
    Ok(text)
}

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
    // Who has stolen a bound token has not its key (RFC 7800, 8705, 9449), which the hub does not ask for.
    if present(claims, "cnf").is_some() {
        return Err(Refusal::Bound);
    }
    let subject = text(claims, "sub")?.map(str::to_owned);
    let client = client(claims, &settings.client_claims)?;
    if subject.is_none() && client.is_none() {
        return Err(Refusal::Nobody);
    }
    Ok(Identity {
        issuer: issuer.unwrap_or(vouching).to_owned(),
        subject,
        client,
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
            value.as_str().map(|client| Some(client.to_owned())).ok_or(Refusal::Claim("auth.client_claims"))
        }
    }
}

fn scopes<'a>(claims: &'a Claims, names: &[String]) -> Result<Vec<&'a str>, Refusal> {
    let mut all = Vec::new();
    for value in names.iter().filter_map(|name| present(claims, name)) {
        all.extend(texts(value, "auth.scope_claims")?);
    }
    Ok(all)
}

/// The topic that the token is bound to (FC-SES-02). A claim that is no topic binds to none that
/// there could be: such a token is refused, and not taken for one that is free.
fn topic(claims: &Claims, name: &str) -> Result<Option<Topic>, Refusal> {
    let Some(value) = present(claims, name) else { return Ok(None) };
    let topic = value.as_str().and_then(|topic| topic.parse().ok());
    topic.map(Some).ok_or(Refusal::Claim("auth.topic_claim"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn settings() -> Auth {
        let issuer = Some("https://as.example".to_owned());
        Auth { issuer, audience: vec!["hub".to_owned(), "hub-2".to_owned()], ..Auth::default() }
    }

    /// Claims that hold, with `changes` over them; null takes one away.
    fn with(changes: Value) -> Claims {
        let mut claims = json!({
            "iss": "https://as.example",
            "aud": "hub",
            "sub": "user",
            "exp": NOW + 60,
            "scope": "openid fhircast/Patient-open.read",
        });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims.as_object().unwrap().clone()
    }

    fn read(changes: Value) -> Result<Identity, Refusal> {
        identity(&with(changes), &settings(), Required::All, "", NOW)
    }

    fn reads(identity: &Identity, name: &str) -> bool {
        identity.scopes.may_read(&name.parse().unwrap())
    }

    #[test]
    fn what_holds_is_believed() {
        let bearer = read(json!({"client_id": "app", "azp": "other", "hub.topic": "t"})).unwrap();
        assert_eq!(bearer.issuer, "https://as.example");
        assert_eq!(bearer.subject.as_deref(), Some("user"));
        assert_eq!(bearer.client.as_deref(), Some("app"));
        assert_eq!(bearer.topic, Some("t".parse().unwrap()), "FC-SES-02");
        assert_eq!(bearer.expires, Some(NOW + 60));
        assert!(reads(&bearer, "Patient-open") && !reads(&bearer, "Patient-close"), "FC-SCO-01");
        assert_eq!(read(json!({"azp": "other"})).unwrap().client.as_deref(), Some("other"));
        assert_eq!(read(json!({})).unwrap().topic, None);
    }

    #[test]
    fn times_are_held_with_a_small_leeway() {
        for (changes, expected) in [
            (json!({"exp": null}), Some(Refusal::NoExpiry)),
            (json!({"exp": "tomorrow"}), Some(Refusal::Claim("exp"))),
            (json!({"exp": -1}), Some(Refusal::Claim("exp"))),
            (json!({"exp": NOW - 30}), Some(Refusal::Expired)),
            (json!({"exp": NOW - 29}), None),
            (json!({"exp": NOW as f64 + 0.5}), None),
            (json!({"exp": u64::MAX}), None),
            (json!({"nbf": NOW + 31}), Some(Refusal::NotYetValid)),
            (json!({"nbf": NOW + 30}), None),
            (json!({"nbf": true}), Some(Refusal::Claim("nbf"))),
            (json!({"iat": NOW + 31}), Some(Refusal::NotYetValid)),
            (json!({"iat": NOW - 100_000}), None),
        ] {
            assert_eq!(read(changes.clone()).err(), expected, "FC-SEC-01: {changes}");
        }
    }

    #[test]
    fn issuer_and_audience_are_compared_exactly() {
        for (changes, expected) in [
            (json!({"iss": null}), Some(Refusal::Issuer)),
            (json!({"iss": "https://as.example/"}), Some(Refusal::Issuer)),
            (json!({"iss": ["https://as.example"]}), Some(Refusal::Claim("iss"))),
            (json!({"aud": null}), Some(Refusal::Audience)),
            (json!({"aud": []}), Some(Refusal::Audience)),
            (json!({"aud": "hub-3"}), Some(Refusal::Audience)),
            (json!({"aud": "HUB"}), Some(Refusal::Audience)),
            (json!({"aud": {"hub": 1}}), Some(Refusal::Claim("aud"))),
            (json!({"aud": ["hub", 1]}), Some(Refusal::Claim("aud"))),
            (json!({"aud": ["x", "hub-2"]}), None),
        ] {
            assert_eq!(read(changes.clone()).err(), expected, "FC-SEC-01: {changes}");
        }
    }

    #[test]
    fn a_topic_that_cannot_be_one_does_not_make_a_free_token() {
        for topic in [json!(""), json!(1), json!(["t"]), json!("metadata")] {
            let refused = read(json!({"hub.topic": topic})).unwrap_err();
            assert_eq!(refused, Refusal::Claim("auth.topic_claim"), "FC-SES-02: {topic}");
        }
        let nested = read(json!({"hub": {"topic": "t"}})).unwrap();
        assert_eq!(nested.topic, None, "FC-SES-02: a name with a dot is no path");
    }

    #[test]
    fn scopes_of_every_claim_count_as_text_or_array() {
        for changes in [
            json!({"scope": null, "scp": ["openid", "fhircast/Patient-open.read"]}),
            json!({"scope": "openid", "scp": "fhircast/Patient-open.read"}),
            json!({"scope": ["fhircast/Patient-open.read"]}),
        ] {
            let bearer = read(changes.clone()).unwrap();
            assert!(reads(&bearer, "Patient-open"), "FC-SCO-01: {changes}");
        }
        let none = read(json!({"scope": null})).unwrap();
        assert!(!reads(&none, "Patient-open"), "FC-SCO-02");
        assert_eq!(read(json!({"scope": 1})).unwrap_err(), Refusal::Claim("auth.scope_claims"));
    }

    #[test]
    fn a_token_is_somebodys() {
        let refused = |changes: Value| read(changes).err();
        assert_eq!(refused(json!({"sub": null})), Some(Refusal::Nobody), "FC-SEC-01");
        assert_eq!(refused(json!({"sub": null, "azp": "app"})), None, "a client may act for itself");
        assert_eq!(refused(json!({"client_id": 1})), Some(Refusal::Claim("auth.client_claims")));
    }

    #[test]
    fn a_token_that_is_bound_to_a_key_is_not_taken_for_one_that_anybody_may_bear() {
        for cnf in [json!({"jkt": "x"}), json!({"x5t#S256": "x"}), json!({}), json!("x")] {
            assert_eq!(read(json!({"cnf": cnf})).unwrap_err(), Refusal::Bound, "FC-SEC-01: {cnf}");
        }
        assert!(read(json!({"cnf": null})).is_ok());
    }

    #[test]
    fn what_the_authorization_server_says_need_not_say_everything() {
        let free = Auth { issuer: None, audience: Vec::new(), ..Auth::default() };
        let somebody = json!({"sub": "user"}).as_object().unwrap().clone();
        let bare = |settings: &Auth| identity(&somebody, settings, Required::AsSet, "as", NOW);
        let bearer = bare(&free).unwrap();
        assert_eq!((bearer.issuer.as_str(), bearer.expires), ("as", None));
        assert_eq!(bare(&settings()).unwrap_err(), Refusal::Issuer, "what is set must be said");
    }
}
