//! The server: `/jwks.json`, and `/introspect` (RFC 7662) with the credentials of the hub.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use url::form_urlencoded;
use uuid::Uuid;

use super::{Algorithm, Key, TokenBuilder, now};
use crate::callback_server::{CallbackServer, Gate, Reply, Request};
use crate::certs::Certificates;

/// The audience of tokens: the setting `auth.audience`.
pub const AUDIENCE: &str = "https://hub.example/fhircast";

const JWKS: &str = "/jwks.json";
const INTROSPECT: &str = "/introspect";
const CLIENT_ID: &str = "hub";
const CLIENT_SECRET: &str = "the hub's: secret + %";

/// What is wrong with the server.
#[derive(Debug, Clone)]
pub enum Fault {
    /// It answers with this status.
    Status(u16),
    /// It answers 200 with this body.
    Body(String),
    /// It answers when the gate opens.
    Held(Gate),
    /// It sends whoever asks elsewhere.
    Redirect(String),
}

/// Tokens about which only the authority knows.
#[derive(Default)]
pub(super) struct Opaque(Mutex<HashMap<String, Map<String, Value>>>);

impl Opaque {
    pub(super) fn add(&self, claims: Map<String, Value>) -> String {
        let token = Uuid::new_v4().to_string();
        locked(&self.0).insert(token.clone(), claims);
        token
    }
}

#[derive(Default)]
struct State {
    keys: Mutex<Vec<Key>>,
    extra: Mutex<Vec<Value>>,
    faults: Mutex<HashMap<&'static str, Fault>>,
}

/// An authorization server; it ends with this value.
pub struct TokenAuthority {
    server: CallbackServer,
    directory: TempDir,
    state: Arc<State>,
    opaque: Arc<Opaque>,
}

impl TokenAuthority {
    /// Starts one with an RSA, a P-256 and an Ed25519 key: `rsa-1`, `ec-1` and `ed-1`. The last signs.
    pub fn start() -> Result<TokenAuthority> {
        TokenAuthority::on(CallbackServer::start()?)
    }

    /// Starts one that is reached by https, with the server certificate of `certificates`.
    pub fn start_tls(certificates: &Certificates) -> Result<TokenAuthority> {
        TokenAuthority::on(CallbackServer::start_tls(certificates)?)
    }

    fn on(server: CallbackServer) -> Result<TokenAuthority> {
        let keys = [("rsa-1", Algorithm::Rs256), ("ec-1", Algorithm::Es256), ("ed-1", Algorithm::EdDsa)];
        let keys = keys.into_iter().map(|(kid, algorithm)| Key::generate(kid, algorithm));
        let authority = TokenAuthority {
            server,
            directory: tempfile::tempdir()?,
            state: Arc::new(State { keys: Mutex::new(keys.collect::<Result<_>>()?), ..State::default() }),
            opaque: Arc::default(),
        };
        let state = authority.state.clone();
        authority.server.on(JWKS, move |_| Some(state.fault(JWKS).unwrap_or_else(|| state.keys())));
        let (state, opaque) = (authority.state.clone(), authority.opaque.clone());
        authority.server.on(INTROSPECT, move |request| {
            Some(state.fault(INTROSPECT).unwrap_or_else(|| introspected(&opaque, request)))
        });
        authority.write_jwks()?;
        Ok(authority)
    }

    /// Its name: the setting `auth.issuer`.
    pub fn issuer(&self) -> String {
        self.server.url("")
    }

    /// Where its keys are fetched: the setting `auth.jwks`.
    pub fn jwks_url(&self) -> String {
        self.server.url(JWKS)
    }

    /// A file with its keys: the setting `auth.jwks`.
    pub fn jwks_file(&self) -> PathBuf {
        Path::join(self.directory.path(), "jwks.json")
    }

    /// The settings of a hub that reads its keys from the file.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        self.settings_with(self.jwks_file().display().to_string())
    }

    /// The settings of a hub that fetches its keys.
    pub fn fetching_settings(&self) -> Vec<(&'static str, String)> {
        self.settings_with(self.jwks_url())
    }

    fn settings_with(&self, jwks: String) -> Vec<(&'static str, String)> {
        vec![
            ("auth.mode", "jwt".to_owned()),
            ("auth.issuer", self.issuer()),
            ("auth.audience", AUDIENCE.to_owned()),
            ("auth.jwks", jwks),
        ]
    }

    /// The settings of a hub that asks about every token.
    pub fn asking_settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("auth.mode", "introspection".to_owned()),
            ("auth.issuer", self.issuer()),
            ("auth.audience", AUDIENCE.to_owned()),
            ("auth.introspection_url", self.server.url(INTROSPECT)),
            ("auth.client_id", CLIENT_ID.to_owned()),
            ("auth.client_secret", CLIENT_SECRET.to_owned()),
        ]
    }

    /// A token that is good for an hour and for everything, to be changed and minted.
    pub fn token(&self) -> Result<TokenBuilder> {
        let key = locked(&self.state.keys).last().cloned().context("the authority has no key")?;
        Ok(TokenBuilder::new(&self.issuer(), &key).known_to(self.opaque.clone()))
    }

    /// The key of this name.
    pub fn key(&self, kid: &str) -> Result<Key> {
        let keys = locked(&self.state.keys);
        keys.iter().find(|key| key.kid() == kid).cloned().with_context(|| format!("there is no key {kid}"))
    }

    /// Has this key besides the others from now on, and signs with it.
    pub fn add_key(&self, key: &Key) -> Result<()> {
        locked(&self.state.keys).push(key.clone());
        self.write_jwks()
    }

    /// Has this key alone from now on.
    pub fn replace_keys(&self, key: &Key) -> Result<()> {
        *locked(&self.state.keys) = vec![key.clone()];
        self.write_jwks()
    }

    /// Shows this JWK besides its keys, whatever it is.
    pub fn show(&self, jwk: Value) -> Result<()> {
        locked(&self.state.extra).push(jwk);
        self.write_jwks()
    }

    fn write_jwks(&self) -> Result<()> {
        // Put in place by renaming: no reader sees half of it.
        let new = Path::join(self.directory.path(), "jwks.json.new");
        std::fs::write(&new, self.state.jwks()?.to_string())?;
        Ok(std::fs::rename(new, self.jwks_file())?)
    }

    /// The token that [`TokenBuilder::opaque`] gave out is not active any more.
    pub fn revoke(&self, token: &str) {
        locked(&self.opaque.0).remove(token);
    }

    /// From now on the keys are answered like this; `None`: as they should be.
    pub fn keys_fault(&self, fault: Option<Fault>) {
        self.fault(JWKS, fault);
    }

    /// From now on questions about tokens are answered like this; `None`: as they should be.
    pub fn introspection_fault(&self, fault: Option<Fault>) {
        self.fault(INTROSPECT, fault);
    }

    fn fault(&self, path: &'static str, fault: Option<Fault>) {
        let mut faults = locked(&self.state.faults);
        match fault {
            Some(fault) => faults.insert(path, fault),
            None => faults.remove(path),
        };
    }

    /// How often the keys have been asked for.
    pub fn keys_fetched(&self) -> usize {
        self.count(JWKS)
    }

    /// How often it was asked about a token.
    pub fn introspections(&self) -> usize {
        self.count(INTROSPECT)
    }

    fn count(&self, path: &str) -> usize {
        self.server.requests().iter().filter(|request| request.path == path).count()
    }

    /// The server behind it, to be watched or to be waited for.
    pub fn server(&self) -> &CallbackServer {
        &self.server
    }
}

impl State {
    fn jwks(&self) -> Result<Value> {
        let mut shown = locked(&self.keys).iter().map(Key::jwk).collect::<Result<Vec<_>>>()?;
        shown.extend(locked(&self.extra).iter().cloned());
        Ok(json!({ "keys": shown }))
    }

    fn keys(&self) -> Reply {
        match self.jwks() {
            Ok(jwks) => as_json(&jwks),
            Err(error) => Reply::status(500).body(format!("{error:#}")),
        }
    }

    fn fault(&self, path: &str) -> Option<Reply> {
        Some(match locked(&self.faults).get(path)? {
            Fault::Status(status) => Reply::status(*status),
            Fault::Body(body) => Reply::status(200).body(body.as_str()),
            Fault::Held(gate) => Reply::status(503).held_by(gate),
            Fault::Redirect(to) => Reply::status(302).header("Location", to),
        })
    }
}

/// What RFC 7662 says of a token.
fn introspected(opaque: &Opaque, request: &Request) -> Reply {
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let credentials = STANDARD.encode(format!("{}:{}", encode(CLIENT_ID), encode(CLIENT_SECRET)));
    if request.method != "POST" || request.header("authorization") != Some(&format!("Basic {credentials}")) {
        return Reply::status(401).header("WWW-Authenticate", "Basic");
    }
    let token = form_urlencoded::parse(&request.body).find(|(name, _)| name == "token");
    let claims = token.and_then(|(_, token)| locked(&opaque.0).get(token.as_ref()).cloned());
    let is_past = |claims: &Map<String, Value>| {
        claims.get("exp").and_then(Value::as_u64).is_some_and(|end| end <= now())
    };
    as_json(&match claims.filter(|claims| !is_past(claims)) {
        None => json!({"active": false}),
        Some(mut claims) => {
            claims.insert("active".to_owned(), true.into());
            json!(claims)
        }
    })
}

fn as_json(value: &Value) -> Reply {
    Reply::status(200).header("Content-Type", "application/json").body(value.to_string())
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
