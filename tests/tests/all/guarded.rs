//! A setup whose hubs want tokens, for all tests about what a token allows, and apps that bear one.

use std::time::Duration;

use harness::{
    callback_server::{CallbackServer, Request},
    client::{Answer, App},
    socket::Listener,
    system::Hub,
    tokens::{TokenAuthority, TokenBuilder},
    wait::PATIENCE,
};
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::{
    messages::event,
    setups::{Kind, Setup, Shared, confirmed},
};

/// Hubs that want tokens of this authority. All tests here use the same.
pub struct Guarded {
    authority: TokenAuthority,
    pub setup: Setup,
}

static GUARDED: [OnceCell<Guarded>; 2] = [const { OnceCell::const_new() }; 2];

/// What ends each test, and may be read by everybody in it.
const LAST: &str = "org.example.last";
/// Within which a worker has noticed that a lease is over, on a busy machine.
pub const SLACK: Duration = Duration::from_secs(15);

impl AsRef<Setup> for Guarded {
    fn as_ref(&self) -> &Setup {
        &self.setup
    }
}

impl Guarded {
    pub async fn of(kind: Kind) -> Shared<Guarded> {
        let place = if kind == Kind::Embedded { 0 } else { 1 };
        Shared(GUARDED[place].get_or_init(|| Guarded::own(kind, &[])).await)
    }

    /// One of the test's own, with these settings besides.
    pub async fn own(kind: Kind, settings: &[(&str, &str)]) -> Guarded {
        let authority = TokenAuthority::start().unwrap();
        let tokens = authority.settings();
        let tokens: Vec<_> = tokens.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let setup = kind.own(&[&tokens[..], settings].concat()).await;
        Guarded { authority, setup }
    }

    pub fn token(&self) -> TokenBuilder {
        self.authority.token().unwrap()
    }

    /// An app on node a that may do this.
    pub fn app(&self, scopes: &str) -> App {
        bearing(self.setup.a(), &self.token().scope(scopes))
    }

    /// Publishes on node b what anybody may.
    pub async fn publish(&self, event: &str) {
        let app = bearing(self.setup.b(), &self.token().scope("fhircast/*.write"));
        app.publish(event).await.unwrap().expect_status(202).unwrap();
    }

    pub async fn finish(&self, topic: &str, id: &str) {
        self.publish(&event(topic, id, LAST, "")).await;
    }
}

pub fn bearing(node: &Hub, token: &TokenBuilder) -> App {
    node.app().unwrap().with_token(&token.mint().unwrap())
}

pub async fn listen(app: &App, topic: &str, events: &str) -> Listener {
    confirmed(&app.subscribe_websocket(topic, events, &[]).await.unwrap()).await
}

pub fn confirmation(listener: &Listener) -> Value {
    listener.seen(|seen| seen.received[0].json.clone())
}

/// All that came, as it came.
pub fn everything(listener: &Listener) -> String {
    listener.seen(|seen| seen.received.iter().map(|received| received.text.as_str()).collect())
}

/// Waits for the request to a path that is in this mode.
pub async fn told(server: &CallbackServer, path: &str, mode: &str) -> Request {
    let is_it =
        |request: &&Request| request.path == path && request.parameter("hub.mode").as_deref() == Some(mode);
    server.wait_for(PATIENCE + SLACK, mode, |requests| requests.iter().find(is_it).cloned()).await.unwrap()
}

pub async fn hook(app: &App, server: &CallbackServer, path: &str, topic: &str, events: &str) -> Answer {
    app.subscribe_webhook(topic, events, &server.url(path), &[("hub.lease_seconds", "600")]).await.unwrap()
}
