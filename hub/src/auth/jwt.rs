//! Signed tokens (RFC 7519; as access tokens: RFC 9068).
//!
//! Pure: keys and time are given. A token is read as far as its header, its signature is verified
//! over the bytes that came, and only then its claims are read. Rule: FC-SEC-01.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, crypto};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use shared::settings::Auth;

use super::{
    Identity, Refusal,
    claims::{Claims, Required, identity, unambiguous},
    keys::Keys,
};

/// `typ` in lower case, without `application/`; it may be absent.
const TYPES: [&str; 2] = ["jwt", "at+jwt"];

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    // Whatever it asks for, the hub does not have it.
    crit: Option<Box<RawValue>>,
}

/// The bearer of a token, if one of `keys` has signed it and its claims hold `now`, in seconds
/// since 1970.
pub fn verify(token: &str, keys: &Keys, settings: &Auth, now: u64) -> Result<Identity, Refusal> {
    let (message, signature) = token.rsplit_once('.').ok_or(Refusal::NotAJwt)?;
    let (header, payload) = message.split_once('.').ok_or(Refusal::NotAJwt)?;
    let header: Header = part(header)?;
    if header.crit.is_some() {
        return Err(Refusal::Critical);
    }
    if !header.typ.as_deref().is_none_or(is_access_token) {
        return Err(Refusal::Type);
    }
    let algorithm = asymmetric(&header.alg).ok_or(Refusal::Algorithm)?;
    let key = keys.find(header.kid.as_deref(), algorithm)?;
    match crypto::verify(signature, message.as_bytes(), key, algorithm) {
        Ok(true) => {}
        Ok(false) | Err(_) => return Err(Refusal::Signature),
    }
    let claims: Claims = part(payload)?;
    identity(&claims, settings, Required::All, "", now)
}

fn part<T: DeserializeOwned>(base64: &str) -> Result<T, Refusal> {
    let json = URL_SAFE_NO_PAD.decode(base64).map_err(|_| Refusal::NotAJwt)?;
    serde_json::from_str(unambiguous(&json)?).map_err(|_| Refusal::NotAJwt)
}

fn is_access_token(typ: &str) -> bool {
    let typ = typ.to_ascii_lowercase();
    TYPES.contains(&typ.strip_prefix("application/").unwrap_or(&typ))
}

/// The algorithms that the hub takes: neither `none`, nor those with a shared secret.
fn asymmetric(alg: &str) -> Option<Algorithm> {
    Some(match alg {
        "RS256" => Algorithm::RS256,
        "RS384" => Algorithm::RS384,
        "RS512" => Algorithm::RS512,
        "PS256" => Algorithm::PS256,
        "PS384" => Algorithm::PS384,
        "PS512" => Algorithm::PS512,
        "ES256" => Algorithm::ES256,
        "ES384" => Algorithm::ES384,
        "EdDSA" => Algorithm::EdDSA,
        _ => return None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The example of RFC 7515, A.3, which has neither `kid` nor `aud`.
    const TOKEN: &str = "eyJhbGciOiJFUzI1NiJ9\
        .eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ\
        .DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    const BEFORE_ITS_END: u64 = 1_300_819_379;

    fn keys() -> Keys {
        let key = json!({
            "kty": "EC", "crv": "P-256",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        });
        Keys::read(json!({"keys": [key]}).to_string().as_bytes()).unwrap()
    }

    fn verified(token: &str) -> Result<Identity, Refusal> {
        verify(token, &keys(), &settings(), BEFORE_ITS_END)
    }

    /// The example names nobody but its issuer.
    fn settings() -> Auth {
        Auth { issuer: Some("joe".to_owned()), client_claims: vec!["iss".to_owned()], ..Auth::default() }
    }

    fn with_header(header: Value) -> String {
        let (_, rest) = TOKEN.split_once('.').unwrap();
        format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header.to_string()))
    }

    #[test]
    fn the_example_of_the_specification_is_believed_until_it_ends() {
        assert_eq!(verified(TOKEN).unwrap().issuer, "joe");
        let late = verify(TOKEN, &keys(), &settings(), BEFORE_ITS_END + 100);
        assert_eq!(late.unwrap_err(), Refusal::Expired, "FC-SEC-01");
    }

    #[test]
    fn any_other_byte_makes_another_token() {
        for at in 0..TOKEN.len() {
            let mut other = TOKEN.as_bytes().to_vec();
            other[at] = if other[at] == b'A' { b'B' } else { b'A' };
            assert!(verified(std::str::from_utf8(&other).unwrap()).is_err(), "FC-SEC-01: at {at}");
        }
    }

    #[test]
    fn headers_that_ask_for_something_else_are_refused() {
        for (header, expected) in [
            (json!({"alg": "none"}), Refusal::Algorithm),
            (json!({"alg": "HS256"}), Refusal::Algorithm),
            (json!({"alg": "es256"}), Refusal::Algorithm),
            (json!({"alg": "ES512"}), Refusal::Algorithm),
            (json!({"alg": "RS256"}), Refusal::Algorithm),
            (json!({"alg": "ES256", "kid": "other"}), Refusal::UnknownKey),
            (json!({"alg": "ES256", "crit": ["exp"], "exp": 1}), Refusal::Critical),
            (json!({"alg": "ES256", "typ": "dpop+jwt"}), Refusal::Type),
            (json!({"alg": "ES256", "typ": "AT+JWT"}), Refusal::Signature),
            (json!({"alg": "ES256", "typ": "application/at+jwt"}), Refusal::Signature),
            (json!({"alg": ["ES256"]}), Refusal::NotAJwt),
            (json!({"alg": "ES256", "kid": 1}), Refusal::NotAJwt),
            (json!({}), Refusal::NotAJwt),
            (json!([]), Refusal::NotAJwt),
        ] {
            let refused = verified(&with_header(header.clone())).unwrap_err();
            assert_eq!(refused, expected, "FC-SEC-01: {header}");
        }
        let twice = URL_SAFE_NO_PAD.encode("{\"alg\":\"ES256\",\"alg\":\"none\"}");
        let token = TOKEN.replacen("eyJhbGciOiJFUzI1NiJ9", &twice, 1);
        assert_eq!(verified(&token).unwrap_err(), Refusal::Ambiguous, "FC-SEC-01");
    }

    #[test]
    fn a_member_that_stands_twice_is_refused_in_header_and_claims() {
        for json in [r#"{"alg":"ES256","x":1,"x":2}"#, r#"{"sub":"a","sub":"b"}"#, r#"{"a":{"b":1,"b":2}}"#] {
            let read = part::<Claims>(&URL_SAFE_NO_PAD.encode(json));
            assert_eq!(read.unwrap_err(), Refusal::Ambiguous, "FC-SEC-01: {json}");
        }
        assert!(part::<Claims>(&URL_SAFE_NO_PAD.encode(r#"{"sub":"a","x":{"sub":"b"}}"#)).is_ok());
    }

    #[test]
    fn what_has_another_shape_is_no_token() {
        for token in ["", "a", "a.b", "a.b.c", "..", "a.b.c.d", &format!("{TOKEN}.a"), &format!("a.{TOKEN}")]
        {
            assert!(verified(token).is_err(), "FC-SEC-01: {token}");
        }
        assert!(verified(TOKEN.rsplit_once('.').unwrap().0).is_err(), "FC-SEC-01: no signature");
    }
}
