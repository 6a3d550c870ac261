//! The WebSocket subscribers: a task each, which records and answers.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt, TryStreamExt, stream};
use harness::client::App;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};
use url::Url;

use crate::arrivals::{Arrivals, Clock, Delivered, Recorder};
use crate::plan::{EVENT, Plan};

/// Sockets opened or closed at one time.
const AT_ONCE: usize = 32;
/// Of a socket's read buffer; the library's own default of 128 KiB would be this tool's memory.
const READ_BUFFER_BYTES: usize = 8 * 1024;

type Stream = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// An open subscription.
pub struct Subscriber {
    number: usize,
    endpoint: String,
    recorder: Recorder,
    task: JoinHandle<()>,
}

/// Subscribes and connects all sockets; each has its confirmation when this returns.
pub async fn open(
    plan: &Arc<Plan>,
    clock: &Arc<Clock>,
    delivered: &Arc<Delivered>,
) -> Result<Vec<Subscriber>> {
    let apps = apps(plan)?;
    stream::iter(0..plan.sockets)
        .map(|number| {
            let app = app_of(plan, &apps, number);
            let recorder = Recorder::new(plan, clock, delivered);
            async move {
                let topic = plan.topic(plan.topic_of_subscriber(number));
                let endpoint = app?.subscribe_websocket(&topic, EVENT, &[]).await?;
                plan.check_target(&Url::parse(&endpoint)?)?;
                let stream = connect(&endpoint).await.with_context(|| format!("socket {number}"))?;
                let task = tokio::spawn(listen(stream, recorder.clone(), plan.answers));
                Ok(Subscriber { number, endpoint, recorder, task })
            }
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

/// Unsubscribes all sockets, and answers with what each saw.
pub async fn close(plan: &Plan, subscribers: Vec<Subscriber>) -> Vec<(usize, Arrivals)> {
    let apps = apps(plan).unwrap_or_default();
    stream::iter(subscribers)
        .map(|subscriber| {
            let arrivals = subscriber.recorder.take();
            let app = app_of(plan, &apps, subscriber.number);
            async move {
                // The run is over and judged without this: a hub that fails here has nothing left to lose.
                if let Ok(app) = app {
                    let topic = plan.topic(plan.topic_of_subscriber(subscriber.number));
                    let _ = app.unsubscribe_websocket(&topic, &subscriber.endpoint).await;
                }
                subscriber.task.abort();
                (subscriber.number, arrivals)
            }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}

/// A client for each hub.
pub fn apps(plan: &Plan) -> Result<Vec<App>> {
    plan.hubs.iter().map(|hub| App::new(hub.as_str())).collect()
}

/// The client of the hub that a subscriber uses.
pub fn app_of<'a>(plan: &Plan, apps: &'a [App], subscriber: usize) -> Result<&'a App> {
    let hub = plan.hub_of_subscriber(subscriber);
    let index = plan.hubs.iter().position(|known| known == hub);
    index.and_then(|index| apps.get(index)).context("a subscriber has no hub")
}

/// Connects and waits for the confirmation.
async fn connect(endpoint: &str) -> Result<Stream> {
    let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES);
    let (mut stream, _) = connect_async_with_config(endpoint, Some(config), true).await?;
    loop {
        match stream.next().await {
            Some(Ok(Message::Text(text))) if text.contains("\"hub.mode\"") => return Ok(stream),
            Some(Ok(Message::Text(text))) => bail!("the first message is no confirmation: {text}"),
            Some(Ok(Message::Close(frame))) => bail!("closed before the confirmation: {frame:?}"),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error.into()),
            None => bail!("ended before the confirmation"),
        }
    }
}

async fn listen(mut stream: Stream, recorder: Recorder, answers: bool) {
    while let Some(Ok(message)) = stream.next().await {
        if let Message::Text(text) = message
            && let Some(id) = recorder.record(&text)
            && answers
        {
            let answer = format!(r#"{{"id":"{id}","status":"200"}}"#);
            if stream.send(Message::text(answer)).await.is_err() {
                break;
            }
        }
    }
    recorder.cut_off();
}
