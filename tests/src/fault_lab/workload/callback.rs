//! Subscribers by webhook: a path of the callback server each, with a secret of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use tokio::sync::watch;

use super::events;
use crate::callback_server::{CallbackServer, Gate, Reply, Request, signature};
use crate::client::App;
use crate::examples::fresh_id;
use crate::fault_lab::system::Site;
use crate::history::filter::Filter;
use crate::history::journal::{Channel, Journal, What};
use crate::history::topic::PROBE;
use crate::history::verdict::LAST;
use crate::wait;

const IN_SERVICE_WITHIN: Duration = Duration::from_secs(40);
/// How late a callback is that answers late: the hub still waits for it.
const LATE: Duration = Duration::from_secs(4);

/// What a callback takes that is busy: so long that at any time some are in flight.
const BUSY: Duration = Duration::from_millis(80);

/// How a callback answers notifications.
#[derive(Debug, Clone, Default)]
pub enum Manners {
    /// With 200, at once.
    #[default]
    Good,
    /// Not until the gate opens.
    Hangs(Gate),
    /// With a redirect.
    Redirects,
    /// With 200, after a while.
    Late,
    /// With 200, after the moment that it takes to follow an event.
    Busy,
    /// With 503.
    Fails,
}

/// One callback.
pub struct Callback {
    name: String,
    topic: String,
    filter: String,
    secret: String,
    url: String,
    journal: Journal,
    has_last: Arc<watch::Sender<bool>>,
    server: Arc<CallbackServer>,
    path: String,
}

impl Callback {
    /// Serves it; `manners` says how it answers.
    pub fn new(
        site: &Site,
        topic: &str,
        name: &str,
        filter: &str,
        journal: Journal,
        manners: Option<Arc<watch::Sender<Manners>>>,
    ) -> Result<Callback> {
        let (path, secret) = (format!("/{name}"), format!("secret of {name}"));
        journal.write(What::Reader {
            topic: topic.to_owned(),
            name: name.to_owned(),
            filter: Filter(filter.to_owned()),
            channel: Channel::Webhook,
        });
        let has_last = Arc::new(watch::Sender::new(false));
        let desk = Desk {
            journal: journal.clone(),
            secret: secret.clone(),
            manners,
            has_last: has_last.clone(),
            is_in_force: AtomicBool::new(false),
        };
        site.callbacks.on(&path, move |request| request.is_notification().then(|| desk.serve(request)));
        Ok(Callback {
            name: name.to_owned(),
            topic: topic.to_owned(),
            filter: format!("{filter},{PROBE}"),
            secret,
            url: site.callback(&path)?,
            journal,
            has_last,
            server: site.callbacks.clone(),
            path,
        })
    }

    /// `subscriber.name`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Subscribes, and waits until it is in force: until a probe arrives, and none is on its way any more.
    pub async fn subscribe(&self, door: &str) -> Result<()> {
        let app = App::new(door)?;
        let extra = [("hub.secret", self.secret.as_str()), ("subscriber.name", self.name.as_str())];
        app.subscribe_webhook(&self.topic, &self.filter, &self.url, &extra).await?.expect_status(202)?;
        let (probes, sent) = (fresh_id(), AtomicUsize::new(0));
        wait::eventually(IN_SERVICE_WITHIN, &format!("a probe at {}", self.name), || async {
            let number = sent.fetch_add(1, Ordering::Relaxed);
            let probe = events::probe(&self.topic, &format!("{probes}-{number}"));
            app.publish(&probe.text).await.ok()?;
            let waited = self.server.wait_for_event(Duration::from_millis(100), &self.path, &probe.id).await;
            waited.ok().map(|_| ())
        })
        .await
    }

    /// Waits until it has the last event.
    pub async fn wait_last(&self, within: Duration) -> Result<()> {
        let what = format!("the last event at {}", self.name);
        wait::until(&self.has_last, within, &what, |has| has.then_some(())).await
    }

    /// Its journal is complete.
    pub fn flush(&self) {
        self.journal.flush();
    }
}

/// Where its requests are served.
struct Desk {
    journal: Journal,
    secret: String,
    manners: Option<Arc<watch::Sender<Manners>>>,
    has_last: Arc<watch::Sender<bool>>,
    is_in_force: AtomicBool,
}

impl Desk {
    fn serve(&self, request: &Request) -> Reply {
        if !self.is_in_force.swap(true, Ordering::Relaxed) {
            self.journal.write(What::Subscribed);
        }
        let expected = signature(&self.secret, &request.body).unwrap_or_default();
        let signed = request.header("X-Hub-Signature") == Some(expected.as_str());
        let manners = self.manners.as_ref().map(|manners| manners.borrow().clone()).unwrap_or_default();
        let (answer, reply) = match manners {
            Manners::Good => (Some(200), Reply::status(200)),
            Manners::Hangs(gate) => (None, Reply::status(200).held_by(&gate)),
            Manners::Redirects => (Some(302), Reply::status(302).header("Location", "/elsewhere")),
            Manners::Late => (Some(200), Reply::status(200).after(LATE)),
            Manners::Busy => (Some(200), Reply::status(200).after(BUSY)),
            Manners::Fails => (Some(503), Reply::status(503)),
        };
        let text = String::from_utf8_lossy(&request.body).into_owned();
        let is_last = request.json()["event"]["hub.event"] == LAST;
        self.journal.write(What::Request { text, signed, answer });
        if is_last {
            self.has_last.send_replace(true);
        }
        reply
    }
}
