//! Who is asking: the Authorization header, tokens and what they say, keys, scopes, and the address behind proxies.

use std::{net::IpAddr, sync::LazyLock};

use actix_http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use hub::edge::{Keys, Required, bearer_token, client_behind, identity, introspected, verify};
use ipnet::IpNet;
use serde_json::{Map, Value};
use shared::{
    protocol::{EventFilter, EventName, Scopes, TraceContext},
    settings::{Auth, Settings},
};

use super::{names::wants, text};
use crate::{Target, seeds::texts};

pub const AUTHORIZATION_HEADER: Target = Target {
    name: "authorization",
    check: check_header,
    seeds: || {
        texts([
            "Bearer a.b-c_~+/=",
            "bearer  a",
            "Bearer",
            "Basic YTpi",
            "Bearer a, Bearer b",
            "Bearer a b",
            "Bearer =",
        ])
    },
    words: &["Bearer", "Basic", " ", "\t", ",", "=", "\u{e9}"],
};
pub const CLAIMS: Target = Target { name: "claims", check: check_claims, seeds: claims, words: CLAIM_WORDS };
pub const TOKEN: Target = Target { name: "token", check: check_token, seeds: tokens, words: TOKEN_WORDS };
pub const JWKS: Target = Target { name: "jwks", check: check_jwks, seeds: jwks, words: JWK_WORDS };
pub const INTROSPECTION: Target =
    Target { name: "introspection", check: check_introspection, seeds: introspections, words: CLAIM_WORDS };
pub const SCOPES: Target = Target { name: "scopes", check: check_scopes, seeds: scopes, words: SCOPE_WORDS };
pub const FORWARDED_FOR: Target = Target {
    name: "forwarded-for",
    check: check_forwarded,
    seeds: || {
        texts([
            "6.6.6.6, 1.1.1.1, 10.0.0.2",
            "unknown,10.0.0.3",
            "[2001:db8::1]:443",
            "",
            ",,,",
            "10.0.0.1:x",
            "::ffff:10.0.0.1",
        ])
    },
    words: &[",", "10.0.0.1", "192.0.2.7", "[", "]", ":", "::ffff:", " ", "unknown"],
};

pub const TRACE_CONTEXT: Target = Target {
    name: "trace-context",
    check: check_trace_context,
    seeds: || {
        texts([
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\nvendor=1,tenant@vendor=a b",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff-more\n",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01\na=1",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\na=1, ,b=2",
            "",
        ])
    },
    words: &["00-", "-01", "0000000000000000", "\n", "a=1,", "@", "=", ",", " ", "\t"],
};

const CLAIM_WORDS: &[&str] = &[
    "\"iss\":",
    "\"aud\":",
    "\"exp\":",
    "\"nbf\":",
    "\"iat\":",
    "\"sub\":",
    "\"client_id\":",
    "\"scope\":",
    "\"scp\":",
    "\"hub.topic\":",
    "\"active\":",
    "\"token_type\":",
    "\"cnf\":",
    "true",
    "\"bearer\"",
    "\"joe\"",
    "\"hub\"",
    "[\"hub\"]",
    "\"fhircast/*.*\"",
    "1300819380",
    "1e300",
    "-1",
    "null",
    "1.5",
    "\"t\"",
];
const TOKEN_WORDS: &[&str] =
    &[".", "eyJhbGciOiJFUzI1NiJ9", "eyJhbGciOiJub25lIn0", "eyJhbGciOiJIUzI1NiJ9", "AAAA", "=", "-", "_"];
const JWK_WORDS: &[&str] = &[
    "\"keys\":",
    "\"kty\":",
    "\"EC\"",
    "\"RSA\"",
    "\"OKP\"",
    "\"oct\"",
    "\"crv\":",
    "\"P-256\"",
    "\"x\":",
    "\"y\":",
    "\"n\":",
    "\"e\":",
    "\"k\":",
    "\"kid\":",
    "\"use\":",
    "\"alg\":",
    "\"key_ops\":",
    "\"ES256\"",
    "\"none\"",
    "\"HS256\"",
    "AQAB",
];
const SCOPE_WORDS: &[&str] = &[
    "fhircast/",
    ".read",
    ".write",
    ".*",
    "*",
    "*-*",
    "Patient-*",
    "*-open",
    "Patient-open",
    "heartbeat",
    "syncerror",
    "org.example.a",
    " ",
    "\u{a0}",
    "\n",
    ".",
    "FHIRCAST/",
    "read",
    "launch",
];

/// RFC 7515, A.3: a key, and a token that it has signed.
const KEY: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
const SIGNED: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
/// A second before that token ends.
const NOW: u64 = 1_300_819_379;

fn check_header(bytes: &[u8]) {
    let values: Vec<HeaderValue> =
        bytes.split(|byte| *byte == b'\n').filter_map(|line| HeaderValue::from_bytes(line).ok()).collect();
    let mut headers = HeaderMap::new();
    for value in &values {
        headers.append(AUTHORIZATION, value.clone());
    }
    let Ok(token) = bearer_token(&headers, 100) else { return };
    assert_eq!(values.len(), 1, "FC-SEC-01: two say two things");
    assert!((1..=100).contains(&token.len()), "FC-SEC-01");
    assert!(
        token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte)),
        "FC-SEC-01"
    );
    let value = values[0].to_str().unwrap_or_default();
    assert!(value[..7].eq_ignore_ascii_case("bearer ") && value.ends_with(token), "FC-SEC-01");
}

fn auth(audience: &[&str]) -> Auth {
    let audience = audience.iter().map(|name| (*name).to_owned()).collect();
    Auth { issuer: Some("joe".to_owned()), audience, leeway_secs: 0, ..Settings::default().auth }
}

fn claims() -> Vec<Vec<u8>> {
    texts([
        r#"{"iss":"joe","aud":"hub","exp":1300819380,"sub":"u","client_id":"a","scope":"fhircast/Patient-open.read","hub.topic":"t"}"#,
        r#"{"iss":"joe","aud":["x","hub"],"exp":1300819380.5,"nbf":0,"iat":1,"azp":"a","scp":["fhircast/*.*","x"]}"#,
        r#"{"iss":"joe","aud":[],"exp":"1300819380"}"#,
        r#"{"iss":"joe","aud":"hub","exp":1e300,"hub.topic":["t"]}"#,
        r#"{"iss":"joe/","aud":"hub","exp":-1,"hub.topic":"ws"}"#,
        r#"{"iss":null,"aud":null,"exp":null,"scope":null}"#,
    ])
}

fn check_claims(bytes: &[u8]) {
    let Ok(claims) = serde_json::from_slice::<Map<String, Value>>(bytes) else { return };
    let Ok(found) = identity(&claims, &auth(&["hub"]), Required::All, "", NOW) else { return };
    let number = |name| claims.get(name).and_then(Value::as_f64);
    assert!(
        number("exp").is_some_and(|end| end >= NOW as f64),
        "FC-SEC-01: it has an end, and that lies ahead"
    );
    assert!(number("nbf").is_none_or(|beginning| beginning < NOW as f64 + 1.0), "FC-SEC-01");
    assert_eq!(claims.get("iss"), Some(&Value::from("joe")), "FC-SEC-01");
    let audience = claims.get("aud").unwrap_or(&Value::Null);
    let is_for = |name: &Value| name == "hub";
    assert!(
        is_for(audience) || audience.as_array().is_some_and(|names| names.iter().any(is_for)),
        "FC-SEC-01"
    );
    let topic = claims.get("hub.topic").filter(|topic| !topic.is_null());
    assert_eq!(
        found.topic.as_ref().map(|topic| topic.as_str()),
        topic.map(|topic| topic.as_str().unwrap_or("\0")),
        "FC-SES-02"
    );
    assert!(found.expires.is_some_and(|end| end >= NOW), "FC-SEC-04");
    let may_anything = ["scope", "scp"]
        .iter()
        .any(|name| claims.get(*name).is_some_and(|scopes| scopes.to_string().contains("fhircast/")));
    assert!(may_anything || !found.scopes.may_read_any(), "FC-SCO-01");
}

fn tokens() -> Vec<Vec<u8>> {
    let parts: Vec<&str> = SIGNED.split('.').collect();
    let mut seeds = texts([
        SIGNED,
        "..",
        "a.b.c",
        "",
        &format!("eyJhbGciOiJub25lIn0.{}.", parts[1]),
        &format!("{SIGNED}.x"),
    ]);
    // alg none, HS256, crit, another type; over the same claims and with the same signature.
    for header in [
        "eyJhbGciOiJIUzI1NiJ9",
        "eyJhbGciOiJSUzI1NiJ9",
        "eyJhbGciOiJFUzI1NiIsImNyaXQiOlsiYjY0Il19",
        "eyJhbGciOiJFUzI1NiIsInR5cCI6ImlkX3Rva2VuK2p3dCJ9",
    ] {
        seeds.push(format!("{header}.{}.{}", parts[1], parts[2]).into_bytes());
    }
    seeds
}

/// Of all bytes there are, only what the key has signed is believed.
fn check_token(bytes: &[u8]) {
    static KEYS: LazyLock<Option<Keys>> = LazyLock::new(|| Keys::read(KEY.as_bytes()).ok());
    // The RFC's token names nobody but its issuer.
    static AUTH: LazyLock<Auth> =
        LazyLock::new(|| Auth { client_claims: vec!["iss".to_owned()], ..auth(&[]) });
    let keys = KEYS.as_ref().unwrap_or_else(|| panic!("the key is one"));
    let token = text(bytes);
    let signed = SIGNED.rsplit_once('.').map(|(message, _)| message);
    match verify(&token, keys, &AUTH, NOW) {
        Ok(_) => assert_eq!(token.rsplit_once('.').map(|(message, _)| message), signed, "FC-SEC-01"),
        Err(refusal) => assert!(token != SIGNED, "FC-SEC-01: {refusal}"),
    }
    assert!(verify(&token, keys, &AUTH, NOW + 1).is_err(), "FC-SEC-01: not after its end");
}

fn jwks() -> Vec<Vec<u8>> {
    texts([
        KEY,
        r#"{"keys":[{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}]}"#,
        r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"a","use":"sig","alg":"EdDSA"}]}"#,
        r#"{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB","kid":"weak"}]}"#,
        r#"{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA","use":"enc","key_ops":["verify"]},7,null]}"#,
        r#"{"keys":[]}"#,
        "[]",
    ])
}

fn check_jwks(bytes: &[u8]) {
    let Ok(keys) = Keys::read(bytes) else { return };
    assert!(keys.count() <= 100, "FC-SEC-01");
    // Whatever keys somebody is made to take: without a signature no token is believed.
    let claims = SIGNED.split('.').nth(1).unwrap_or_default();
    for header in
        ["eyJhbGciOiJub25lIn0", "eyJhbGciOiJIUzI1NiJ9", "eyJhbGciOiJFUzI1NiJ9", "eyJhbGciOiJFZERTQSJ9"]
    {
        for signature in ["", "AAAA"] {
            let token = format!("{header}.{claims}.{signature}");
            assert!(verify(&token, &keys, &auth(&[]), NOW).is_err(), "FC-SEC-01: {token}");
        }
    }
}

fn introspections() -> Vec<Vec<u8>> {
    texts([
        r#"{"active":true,"iss":"joe","aud":"hub","exp":1300819380,"sub":"u","client_id":"a","scope":"fhircast/*.*"}"#,
        r#"{"active":true,"sub":"u","token_type":"BEARER","hub.topic":"t","cnf":null}"#,
        r#"{"active":true,"sub":"u","token_type":"DPoP","cnf":{"jkt":"x"}}"#,
        r#"{"active":true,"active":false,"sub":"u"}"#,
        r#"{"active":"true","sub":"u"}"#,
        r#"{"active":false}"#,
        "[]",
    ])
}

/// Whatever the authorization server answers: nobody is let in whom it has not called active, in one way alone.
fn check_introspection(bytes: &[u8]) {
    const URL: &str = "https://as.example/introspect";
    let lenient = Auth { issuer: None, ..auth(&[]) };
    for settings in [auth(&["hub"]), lenient] {
        let Ok(Ok(bearer)) = introspected(bytes, &settings, URL, NOW) else { continue };
        let text = std::str::from_utf8(bytes).unwrap_or_else(|_| panic!("FC-SEC-01: it is text"));
        let mut claims: Map<String, Value> =
            serde_json::from_str(text).unwrap_or_else(|problem| panic!("{problem}"));
        let member = |name: &str| claims.get(name).filter(|value| !value.is_null());
        assert_eq!(member("active"), Some(&Value::Bool(true)), "FC-SEC-01");
        let kind = member("token_type").map(|kind| kind.as_str().unwrap_or_default());
        assert!(kind.is_none_or(|kind| kind.eq_ignore_ascii_case("bearer")), "FC-SEC-01");
        assert!(member("cnf").is_none(), "FC-SEC-01");
        assert!(bearer.subject.is_some() || bearer.client.is_some(), "FC-SEC-01: it is somebody's");
        assert_eq!(bearer.expires.is_some(), member("exp").is_some(), "FC-SEC-04");
        assert!(bearer.expires.is_none_or(|end| end > NOW), "FC-SEC-01");
        let issuer = settings.issuer.as_deref().or(member("iss").and_then(Value::as_str)).unwrap_or(URL);
        assert_eq!(bearer.issuer, issuer, "FC-SEC-01");
        for (name, value) in [("active", Value::Bool(false)), ("token_type", Value::from("refresh_token"))] {
            let before = claims.insert(name.to_owned(), value);
            let other = Value::Object(claims.clone()).to_string();
            let refused = introspected(other.as_bytes(), &settings, URL, NOW);
            assert!(refused.is_ok_and(|said| said.is_err()), "FC-SEC-01: {other}");
            match before {
                Some(before) => claims.insert(name.to_owned(), before),
                None => claims.remove(name),
            };
        }
    }
}

fn scopes() -> Vec<Vec<u8>> {
    texts([
        "fhircast/*.*\nPatient-open\nheartbeat",
        "fhircast/Patient-*.read fhircast/*-open.write\nPatient-close\nEncounter-open\nsyncerror",
        "fhircast/org.example.a.read\norg.example.a\norg.example.b",
        "openid launch patient/*.read FHIRCAST/*.* fhircast/*.Read fhircast/*. fhircast/.read\nPatient-open",
        "fhircast/patient-OPEN.*\nPatient-open\nPatient-close",
    ])
}

/// The first line has scopes, the second is a filter, the others are names.
fn check_scopes(bytes: &[u8]) {
    let text = text(bytes);
    let mut lines = text.split('\n');
    let line = lines.next().unwrap_or_default();
    let scopes = Scopes::parse([line]);
    let grants: Vec<(&str, &str)> = line
        .split_ascii_whitespace()
        .filter_map(|scope| scope.strip_prefix("fhircast/")?.rsplit_once('.'))
        .filter(|(pattern, action)| {
            EventFilter::parse(pattern, 1).is_ok() && matches!(*action, "read" | "write" | "*")
        })
        .collect();
    if grants.len() > 100 {
        return;
    }
    let may = |wanted: &str, name: &EventName| {
        grants.iter().any(|(pattern, action)| {
            (*action == "*" || *action == wanted) && (*pattern == "*" || wants(pattern, name.as_str()))
        })
    };
    let asked = lines.next().and_then(|asked| EventFilter::parse(asked, 20).ok());
    let granted = asked.as_ref().map(|asked| scopes.readable(asked));
    for name in lines.filter_map(|line| line.parse::<EventName>().ok()).take(20) {
        assert_eq!(scopes.may_read(&name), may("read", &name), "FC-SCO-01: {line} reads {name}");
        assert_eq!(scopes.may_write(&name), may("write", &name), "FC-SCO-01: {line} writes {name}");
        if let (Some(asked), Some(granted)) = (&asked, &granted) {
            let is_granted = granted.as_ref().is_some_and(|granted| granted.matches(&name));
            assert!(!is_granted || may("read", &name), "FC-SCO-02: {asked} with {line} grants {name}");
            let is_due = asked.matches(&name) && may("read", &name);
            assert_eq!(is_granted, is_due, "FC-SCO-02: {asked} with {line} on {name}");
        }
    }
}

/// Whatever a client writes into X-Forwarded-For, who stands behind a trusted proxy is whom that proxy was reached from.
fn check_forwarded(bytes: &[u8]) {
    let text = text(bytes);
    let hops: Vec<&str> = text.split(',').collect();
    let trusted: [IpNet; 1] = [IpNet::from(ipnet::Ipv4Net::new_assert([10, 0, 0, 0].into(), 8))];
    let (proxy, client): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [192, 0, 2, 7].into());
    assert_eq!(client_behind(client, &hops, &trusted), client, "nobody who is not trusted is asked");
    let told = [hops.as_slice(), &["192.0.2.7"]].concat();
    assert_eq!(client_behind(proxy, &told, &trusted), client, "FC-SEC-01");
    let found = client_behind(proxy, &hops, &trusted);
    let is_said = hops
        .iter()
        .any(|hop| hop.trim().contains(&found.to_string()) || found.is_ipv6() || hop.contains("::"));
    assert!(found == proxy || is_said, "{found} is from nowhere");
}

/// `traceparent` in the first line, `tracestate` in the others. What is read is written as it must be, is read again as
/// the same, and survives the log.
fn check_trace_context(bytes: &[u8]) {
    let text = text(bytes);
    let mut lines = text.split('\n');
    let parent = lines.next().unwrap_or_default();
    let Some(context) = TraceContext::from_headers([parent].into_iter(), lines) else { return };
    let (parent, state) = (context.traceparent(), context.tracestate().unwrap_or_default());
    assert_eq!(parent.len(), 55);
    assert!(
        state.len() <= 512
            && state.split(',').count() <= 32
            && state.bytes().all(|byte| (b' '..=b'~').contains(&byte))
    );
    let again = TraceContext::from_headers([parent.as_str()].into_iter(), [state].into_iter());
    assert_eq!(again.as_ref(), Some(&context));
    let kept = serde_json::to_string(&context).unwrap_or_default();
    assert_eq!(serde_json::from_str::<TraceContext>(&kept).ok(), Some(context));
}
