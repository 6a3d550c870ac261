//! What is attacked: two hubs that want tokens and a worker on one Redis; and what the attacker has: a token of its own, for
//! a topic of its own.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Context, Result, ensure};
use harness::{
    attack::{
        ATTACKER,
        raw::{Raw, RawAnswer},
    },
    callback_server::{CallbackServer, Request},
    client::{App, JSON},
    examples::fresh_topic,
    redis_server::Durability,
    system::System,
    tokens::{TokenAuthority, TokenBuilder},
    wait::PATIENCE,
};
use tokio::net::TcpListener;
use url::Url;

/// The address that callbacks may not lead to, and at which the canary sits.
pub const FORBIDDEN: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Counts those who connect to where nobody must: on the same port of [`FORBIDDEN`] and of `::1`.
pub struct Canary {
    pub port: u16,
    visits: Arc<AtomicUsize>,
}

impl Canary {
    async fn start() -> Result<Canary> {
        let first = TcpListener::bind((FORBIDDEN, 0)).await?;
        let port = first.local_addr()?.port();
        let mut listeners = vec![first];
        // A machine without IPv6 has nobody there either.
        listeners.extend(TcpListener::bind((Ipv6Addr::LOCALHOST, port)).await);
        let visits = Arc::new(AtomicUsize::new(0));
        for listener in listeners {
            let visits = visits.clone();
            tokio::spawn(async move {
                while listener.accept().await.is_ok() {
                    visits.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Ok(Canary { port, visits })
    }

    pub fn visits(&self) -> usize {
        self.visits.load(Ordering::Relaxed)
    }
}

pub struct World {
    pub system: System,
    pub authority: TokenAuthority,
    pub canary: Canary,
    /// A server of the attacker's, where callbacks may lead.
    pub server: CallbackServer,
    /// The session that is attacked.
    pub victim_topic: String,
    /// The attacker's own.
    pub topic: String,
    /// A good token for that, and for all events.
    pub token: String,
}

/// Somebody with a session of its own.
pub struct Somebody {
    pub app: App,
    pub topic: String,
    /// A good token for that, and for all events.
    pub token: String,
}

impl World {
    pub async fn start() -> Result<World> {
        let authority = TokenAuthority::start()?;
        let mut builder = System::builder().hubs(2).workers(1).durability(Durability::None);
        for (name, value) in authority.settings() {
            builder = builder.set(name, value);
        }
        for (name, value) in SETTINGS {
            builder = builder.set(name, value);
        }
        let topic = fresh_topic();
        let token = authority.token()?.subject("attacker").client("app-of-attacker").topic(&topic).mint()?;
        Ok(World {
            system: builder.start().await?,
            authority,
            canary: Canary::start().await?,
            server: CallbackServer::start()?,
            victim_topic: fresh_topic(),
            topic,
            token,
        })
    }

    /// `hub.url` of the node that is attacked.
    pub fn url(&self) -> &str {
        self.system.hubs[0].url()
    }

    /// Its host and port.
    pub fn host(&self) -> String {
        Url::parse(self.url()).map(|url| url.authority().to_owned()).unwrap_or_default()
    }

    /// An app with the attacker's token.
    pub fn app(&self) -> Result<App> {
        Ok(self.system.hubs[0].app()?.with_token(&self.token))
    }

    /// An app with this token.
    pub fn app_with(&self, token: &TokenBuilder) -> Result<App> {
        Ok(self.system.hubs[0].app()?.with_token(&token.mint()?))
    }

    /// Another user than the attacker, by this name.
    pub fn somebody(&self, name: &str) -> Result<Somebody> {
        let topic = fresh_topic();
        let token = self.authority.token()?.subject(name).client(&format!("app-of-{name}")).topic(&topic);
        let token = token.mint()?;
        Ok(Somebody { app: self.system.hubs[0].app()?.with_token(&token), topic, token })
    }

    /// A new endpoint of the attacker's.
    pub async fn own_endpoint(&self) -> Result<String> {
        self.app()?.subscribe_websocket(&self.topic, "*", &[]).await
    }

    /// A request with the attacker's token: method and path, further header lines, body. The lines end as they are given.
    pub fn request(&self, line: &str, headers: &str, body: &str) -> Vec<u8> {
        let (host, token) = (self.host(), &self.token);
        format!("{line} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n{headers}\r\n{body}")
            .into_bytes()
    }

    /// A POST to `hub.url` with a Content-Length.
    pub fn post(&self, content_type: &str, body: &str) -> Vec<u8> {
        self.post_to("/api/hub", content_type, body)
    }

    /// The same to this path.
    pub fn post_to(&self, path: &str, content_type: &str, body: &str) -> Vec<u8> {
        let headers = format!("Content-Type: {content_type}\r\nContent-Length: {}\r\n", body.len());
        self.request(&format!("POST {path}"), &headers, body)
    }

    /// A GET of this path.
    pub fn get(&self, path: &str) -> Vec<u8> {
        self.request(&format!("GET {path}"), "", "")
    }

    /// What is answered to these bytes, on a connection of their own from this address; `None` when the hub hangs up.
    pub async fn answer_or_end(&self, from: Ipv4Addr, bytes: &[u8]) -> Result<Option<RawAnswer>> {
        let mut raw = Raw::connect(self.url(), from).await?;
        say(&mut raw, bytes).await;
        raw.next(PATIENCE).await
    }

    /// The same, when there must be an answer.
    pub async fn answer(&self, bytes: &[u8]) -> Result<RawAnswer> {
        self.answer_or_end(ATTACKER, bytes).await?.context("the hub hung up")
    }

    /// Waits until the attacker's server has been asked for this path.
    pub async fn is_asked_for(&self, path: &str) -> Result<()> {
        let is_it = |request: &Request| request.path == path;
        let asked = |requests: &[Request]| requests.iter().any(is_it).then_some(());
        self.server.wait_for(PATIENCE, "the verification", asked).await
    }

    /// A request in the victim's session, as a smuggler would hide it, with the attacker's own token.
    pub fn smuggled(&self) -> String {
        let event = crate::messages::patient_open(&self.victim_topic, "smuggled");
        String::from_utf8_lossy(&self.post(JSON, &event)).into_owned()
    }

    /// No answer repeats a token or names the victim's topic (FC-TRN-03).
    pub fn ensure_silent_on_secrets(&self, answer: &RawAnswer) -> Result<()> {
        let said = &answer.text;
        ensure!(!said.contains(&self.token) && !said.contains(&self.victim_topic), "FC-TRN-03: {said}");
        Ok(())
    }

    /// Every line of every log is one JSON object, and none names a topic, a token or a whole endpoint.
    pub fn ensure_clean_logs(&self) -> Result<()> {
        let hubs = self.system.hubs.iter().map(|hub| hub.log_lines());
        let workers = self.system.workers.iter().map(|worker| worker.log_lines());
        for line in hubs.chain(workers).flatten() {
            let json: serde_json::Value =
                serde_json::from_str(&line).with_context(|| format!("no JSON: {line}"))?;
            ensure!(json.is_object() && !line.contains('\u{1b}'), "{line}");
            for (what, secret) in
                [("topic", &self.victim_topic), ("topic", &self.topic), ("token", &self.token)]
            {
                ensure!(!line.contains(secret.as_str()), "a {what} is in a log: {line}");
            }
            // A library's own words about a request that is none, which `log.level` leaves out by default.
            let is_http = json["target"].as_str().is_some_and(|target| target.starts_with("actix_http"));
            ensure!(json["level"] != "ERROR" || is_http, "an attack is no error of the hub's: {line}");
        }
        Ok(())
    }
}

/// So that slow attackers need not be waited for, and that callbacks may lead to the attacker's server alone.
const SETTINGS: [(&str, &str); 2] =
    [("callbacks.allowed_networks", "127.0.0.1/32"), ("retry.initial_secs", "0.1")];

/// An address of this machine that no other row uses: what is counted for an address is counted for it alone.
pub fn address(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 7, last)
}

/// Sends bytes. That the hub has hung up is no error: what it said before is still to be read.
pub async fn say(raw: &mut Raw, bytes: &[u8]) {
    let _ = raw.send(bytes).await;
}
