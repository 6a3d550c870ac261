//! Tokens that nobody gave out, or not for this.

use anyhow::{Result, ensure};
use harness::{
    client::{FORM, JSON},
    tokens::{Algorithm, Key, TokenBuilder},
};

use super::{Attack, steps, world::World};
use crate::messages::patient_open;

/// Publishes in the victim's session with this token; it must be 401, with the reason and without the token.
async fn is_refused(world: &World, token: &str) -> Result<()> {
    let app = world.system.hubs[0].app()?.with_token(token);
    let answer = app.publish(&patient_open(&world.victim_topic, "forged")).await?;
    ensure!(answer.status == 401, "{answer:?}");
    ensure!(answer.header("www-authenticate").starts_with("Bearer"), "FC-SEC-01: {answer:?}");
    let said = format!("{} {}", answer.header("www-authenticate"), answer.body);
    ensure!(token.len() < 20 || !said.contains(token), "FC-TRN-03: {said}");
    Ok(())
}

/// A token for the victim's session, good but for what is changed in it.
fn good(world: &World) -> Result<TokenBuilder> {
    Ok(world.authority.token()?.topic(&world.victim_topic))
}

/// A row whose token is made by the expression.
macro_rules! forged {
    ($name:literal, |$world:pat_param| $token:expr) => {
        steps!($name, "FC-SEC-01", |world| async {
            let $world = world;
            let token: String = $token;
            is_refused(world, &token).await
        })
    };
}

/// A row whose token is not where tokens are taken from: a request with these header lines.
macro_rules! misplaced {
    ($name:literal, |$world:pat_param| $request:expr) => {
        steps!($name, "FC-SEC-01", |world| async {
            let $world = world;
            let (line, headers, body): (String, String, String) = $request;
            is_refused_by_headers(world, &line, &headers, &body).await
        })
    };
}

/// A request with these header lines in place of a token.
async fn is_refused_by_headers(world: &World, line: &str, headers: &str, body: &str) -> Result<()> {
    let host = world.host();
    let length = body.len();
    let request =
        format!("{line} HTTP/1.1\r\nHost: {host}\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
    let answer = world.answer(request.as_bytes()).await?;
    ensure!(answer.status == 401, "{answer:?}");
    Ok(())
}

/// A read of the victim's session with these header lines in place of a token.
fn read(world: &World, headers: String) -> (String, String, String) {
    (format!("GET /api/hub/{}", world.victim_topic), headers, String::new())
}

/// A POST with this body.
fn post(content_type: &str, body: String) -> (String, String, String) {
    ("POST /api/hub".to_owned(), format!("Content-Type: {content_type}\r\n"), body)
}

fn changed(token: &str, part: usize, change: impl Fn(&str) -> String) -> String {
    let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    parts[part] = change(&parts[part]);
    parts.join(".")
}

pub fn rows() -> Vec<Attack> {
    vec![
        misplaced!("no token", |_| post(JSON, "{}".to_owned())),
        misplaced!("a token in the query", |world| {
            let line = format!("GET /api/hub/{}?access_token={}", world.victim_topic, good(world)?.mint()?);
            (line, String::new(), String::new())
        }),
        misplaced!("a token in the form", |world| {
            post(FORM, format!("access_token={}&hub.topic={}", good(world)?.mint()?, world.victim_topic))
        }),
        misplaced!("a token in a cookie", |world| {
            read(world, format!("Cookie: Authorization=Bearer {0}; token={0}\r\n", good(world)?.mint()?))
        }),
        misplaced!("two tokens, of which one is good", |world| {
            let good = good(world)?.mint()?;
            read(world, format!("Authorization: Bearer x\r\nAuthorization: Bearer {good}\r\n"))
        }),
        misplaced!("two tokens in one header", |world| {
            read(world, format!("Authorization: Bearer x, Bearer {}\r\n", good(world)?.mint()?))
        }),
        misplaced!("a token as a password", |world| {
            read(world, format!("Authorization: Basic {}\r\n", good(world)?.mint()?))
        }),
        forged!("an empty word", |_| "-".to_owned()),
        forged!("dots", |_| "...".to_owned()),
        forged!("expired", |world| good(world)?.expires_in(-3600).mint()?),
        forged!("not valid yet", |world| good(world)?.valid_in(3600).mint()?),
        forged!("without an end", |world| good(world)?.without("exp").mint()?),
        forged!("an end that is a text", |world| good(world)?.claim("exp", "4102444800").mint()?),
        forged!("an end beyond all numbers", |world| good(world)?.claim("exp", 1e300).mint()?),
        forged!("a negative end", |world| good(world)?.claim("exp", -1).mint()?),
        forged!("another issuer", |world| good(world)?.issuer("https://evil.example").mint()?),
        forged!("an issuer with a slash more", |world| {
            good(world)?.issuer(&format!("{}/", world.authority.issuer())).mint()?
        }),
        forged!("no issuer", |world| good(world)?.without("iss").mint()?),
        forged!("another audience", |world| good(world)?.audience("https://other.example").mint()?),
        forged!("no audience", |world| good(world)?.without("aud").mint()?),
        forged!("an audience that begins like the hub's", |world| {
            good(world)?.audience(format!("{}/x", harness::tokens::AUDIENCE)).mint()?
        }),
        forged!("alg none", |world| good(world)?.unsigned().mint()?),
        forged!("alg None", |world| good(world)?.unsigned().header("alg", "nOnE").mint()?),
        forged!("the public RSA key as a secret", |world| {
            let key = world.authority.key("rsa-1")?;
            good(world)?.signed_by(&key).hmac(&key.public_pem()?).mint()?
        }),
        forged!("the public EC key as a secret", |world| {
            let key = world.authority.key("ec-1")?;
            good(world)?.signed_by(&key).hmac(&key.public_pem()?).mint()?
        }),
        forged!("a key of the attacker's by a known name", |world| {
            good(world)?.forged_by(&Key::generate("ed-1", Algorithm::EdDsa)?).mint()?
        }),
        forged!("a key of the attacker's by an unknown name", |world| {
            good(world)?.signed_by(&Key::generate("unknown", Algorithm::EdDsa)?).mint()?
        }),
        forged!("a key's name that is a path", |world| good(world)?.kid("../../../../dev/null").mint()?),
        forged!("a key's name with SQL in it", |world| good(world)?.kid("ed-1' OR '1'='1").mint()?),
        forged!("the name of another key of the authority", |world| good(world)?.kid("rsa-1").mint()?),
        forged!("another algorithm than the key's", |world| {
            good(world)?.signed_by(&world.authority.key("rsa-1")?).header("alg", "ES256").mint()?
        }),
        forged!("a key within the token", |world| {
            let own = Key::generate("own", Algorithm::EdDsa)?;
            good(world)?.signed_by(&own).header("jwk", own.jwk()?).mint()?
        }),
        forged!("a key at the attacker's", |world| {
            let own = Key::generate("own", Algorithm::EdDsa)?;
            good(world)?
                .signed_by(&own)
                .header("jku", world.server.url("/jwks"))
                .header("x5u", world.server.url("/x5u"))
                .mint()?
        }),
        forged!("an extension that must be known", |world| {
            good(world)?.header("crit", serde_json::json!(["b64"])).header("b64", false).mint()?
        }),
        forged!("an ID token", |world| good(world)?.header("typ", "id_token+jwt").mint()?),
        forged!("no signature", |world| good(world)?.signature(b"").mint()?),
        forged!("a signature of zeros", |world| {
            good(world)?.signed_by(&world.authority.key("ec-1")?).signature(&[0; 64]).mint()?
        }),
        forged!("a signature that is DER", |world| {
            good(world)?
                .signed_by(&world.authority.key("ec-1")?)
                .signature(&[0x30, 6, 2, 1, 0, 2, 1, 0])
                .mint()?
        }),
        forged!("the signature of another token", |world| {
            let (one, other) = (good(world)?.mint()?, good(world)?.subject("other").mint()?);
            let signature = other.rsplit('.').next().unwrap_or_default().to_owned();
            changed(&one, 2, |_| signature.clone())
        }),
        forged!("claims that were changed", |world| {
            let other = good(world)?.subject("admin").mint()?;
            let claims = other.split('.').nth(1).unwrap_or_default().to_owned();
            changed(&world.token, 1, |_| claims.clone())
        }),
        forged!("a part more", |world| format!("{}.{}", good(world)?.mint()?, "AAAA")),
        forged!("claims that are no JSON", |world| changed(&good(world)?.mint()?, 1, |_| "AAAA".to_owned())),
        forged!("a header that is no JSON", |world| changed(&good(world)?.mint()?, 0, |_| "AAAA".to_owned())),
        forged!("a topic that is no text", |world| good(world)?
            .claim("hub.topic", serde_json::json!(["a", "b"]))
            .mint()?),
        forged!("a token of twenty thousand bytes", |_| "a".repeat(20_000)),
    ]
}
