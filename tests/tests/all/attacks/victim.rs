//! The app that is served while the others are attacked: it publishes on one node what its socket on the other must get.

use std::{collections::HashSet, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use harness::{attack::machine::Machine, client::App, examples::fresh_id, socket::Listener, wait::PATIENCE};
use tokio::{sync::watch, task::JoinHandle, time::sleep};

use super::world::World;
use crate::messages::patient_open;

/// Within which it must be answered, and its own event must be there.
const MOST: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(50);

pub struct Victim {
    listener: Arc<Listener>,
    stop: watch::Sender<bool>,
    publishing: JoinHandle<Result<Published>>,
}

struct Published {
    ids: HashSet<String>,
    slowest: Duration,
}

impl Victim {
    pub async fn start(world: &World) -> Result<Victim> {
        let token =
            world.authority.token()?.subject("victim").client("app-of-victim").topic(&world.victim_topic);
        let token = token.mint()?;
        let subscriber = world.system.hubs[0].app()?.with_token(&token);
        let endpoint = subscriber.subscribe_websocket(&world.victim_topic, "*,syncerror", &[]).await?;
        let listener = Arc::new(Listener::connect(&endpoint).await?);
        let (stop, stopped) = watch::channel(false);
        let app = world.system.hubs[1].app()?.with_token(&token);
        let publishing = tokio::spawn(publish(app, world.victim_topic.clone(), listener.clone(), stopped));
        Ok(Victim { listener, stop, publishing })
    }

    /// Stops, and judges: every event of its own came in time, and no other.
    pub async fn end(self) -> Result<()> {
        self.stop.send_replace(true);
        let published = self.publishing.await??;
        ensure!(published.ids.len() >= 3, "it was to publish all the time: {}", published.ids.len());
        ensure!(published.slowest < MOST, "it waited {:?}", published.slowest);
        let foreign: Vec<String> = self.listener.seen(|seen| {
            let events = seen.received.iter().skip(1).map(|received| &received.json);
            let is_own =
                |json: &&serde_json::Value| json["id"].as_str().is_some_and(|id| published.ids.contains(id));
            events.filter(|json| !is_own(json)).map(ToString::to_string).collect()
        });
        ensure!(foreign.is_empty(), "FC-SEC-01: it was told what it has not said: {foreign:?}");
        ensure!(
            self.listener.seen(|seen| seen.connections == 1 && seen.closed.is_empty()),
            "its socket stays open"
        );
        Ok(())
    }
}

async fn publish(
    app: App,
    topic: String,
    listener: Arc<Listener>,
    mut stopped: watch::Receiver<bool>,
) -> Result<Published> {
    let mut published = Published { ids: HashSet::new(), slowest: Duration::ZERO };
    let machine = Machine::watch();
    while !*stopped.borrow_and_update() {
        let id = fresh_id();
        published.ids.insert(id.clone());
        let wait = machine.begin();
        app.publish(&patient_open(&topic, &id)).await?.expect_status(202)?;
        listener.wait_for_event(PATIENCE, &id).await.context("its own event")?;
        published.slowest = published.slowest.max(wait.so_far());
        sleep(PAUSE).await;
    }
    Ok(published)
}
