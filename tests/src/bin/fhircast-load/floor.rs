//! The floor: a bare echo, in a process of its own, to measure what the ruler itself adds.
//!
//! It speaks just enough of the protocol for this tool's own subscribers: a subscribe request gets an endpoint, and an
//! event's body goes to the topic's sockets as it came. It keeps no order across topics, checks nothing, and forgets all.

use std::collections::HashMap;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use actix::{Actor, Addr, AsyncContext, Handler, StreamHandler};
use actix_web::{App, Error, HttpRequest, HttpResponse, HttpServer, web};
use actix_web_actors::ws;
use anyhow::{Context as _, Result};
use bytestring::ByteString;
use harness::process::Process;
use serde::Deserialize;
use url::{Url, form_urlencoded};

const START_TIMEOUT: Duration = Duration::from_secs(20);
const BODY_LIMIT_BYTES: usize = 64 * 1024 * 1024;

/// The running echo.
pub struct Floor {
    /// Its hub.url.
    pub url: Url,
    /// Its process, which ends with this value.
    pub process: Process,
}

/// Starts this same program as the echo.
pub async fn start() -> Result<Floor> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--floor-server");
    let process = Process::start("the echo", command)?;
    let url = process
        .wait_for_log(START_TIMEOUT, "its URL", |line| line.strip_prefix("listening ")?.parse().ok())
        .await?;
    Ok(Floor { url, process })
}

/// Who listens to a topic.
type Topics = Mutex<HashMap<String, Vec<Addr<Session>>>>;

/// The echo itself; runs until it is killed.
pub fn serve() -> Result<()> {
    // It must not outlive the run, not even when that is killed.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let topics = web::Data::new(Topics::default());
    actix_rt::System::new().block_on(async move {
        let server = HttpServer::new(move || {
            App::new()
                .app_data(topics.clone())
                .app_data(web::Data::new(address))
                .app_data(web::PayloadConfig::new(BODY_LIMIT_BYTES))
                .route("/hub", web::post().to(post))
                .route("/ws/{topic}", web::get().to(connect))
        })
        .workers(1)
        .listen(listener)?
        .run();
        #[allow(clippy::print_stdout)]
        {
            println!("listening http://{address}/hub");
        }
        server.await.context("the echo failed")
    })
}

/// A subscribe or unsubscribe request, or an event.
async fn post(
    request: HttpRequest,
    body: String,
    topics: web::Data<Topics>,
    address: web::Data<std::net::SocketAddr>,
) -> HttpResponse {
    #[derive(Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow)]
        event: Event<'a>,
    }
    #[derive(Deserialize)]
    struct Event<'a> {
        #[serde(rename = "hub.topic")]
        topic: &'a str,
    }
    if request.headers().get("content-type").is_some_and(|kind| kind != "application/json") {
        let topic = form_urlencoded::parse(body.as_bytes()).find(|(name, _)| name == "hub.topic");
        let topic = topic.map(|(_, topic)| topic.into_owned()).unwrap_or_default();
        let endpoint = serde_json::json!({"hub.channel.endpoint": format!("ws://{}/ws/{topic}", **address)});
        return HttpResponse::Accepted().content_type("application/json").body(endpoint.to_string());
    }
    let Ok(envelope) = serde_json::from_str::<Envelope>(&body) else {
        return HttpResponse::BadRequest().finish();
    };
    let topic = envelope.event.topic.to_owned();
    let frame = ByteString::from(body);
    if let Some(sessions) = topics.lock().unwrap_or_else(PoisonError::into_inner).get(&topic) {
        sessions.iter().for_each(|session| session.do_send(Frame(frame.clone())));
    }
    HttpResponse::Accepted().finish()
}

async fn connect(
    request: HttpRequest,
    payload: web::Payload,
    topic: web::Path<String>,
    topics: web::Data<Topics>,
) -> Result<HttpResponse, Error> {
    let session = Session { topic: topic.into_inner(), topics };
    ws::start(session, &request, payload)
}

#[derive(actix::Message)]
#[rtype(result = "()")]
struct Frame(ByteString);

/// One socket.
struct Session {
    topic: String,
    topics: web::Data<Topics>,
}

impl Actor for Session {
    type Context = ws::WebsocketContext<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        topics.entry(self.topic.clone()).or_default().push(context.address());
        context.text(r#"{"hub.mode":"subscribe"}"#);
    }
}

impl Handler<Frame> for Session {
    type Result = ();

    fn handle(&mut self, frame: Frame, context: &mut Self::Context) {
        context.text(frame.0);
    }
}

impl StreamHandler<Result<ws::Message, ws::ProtocolError>> for Session {
    /// Answers to notifications are read and forgotten.
    fn handle(&mut self, _: Result<ws::Message, ws::ProtocolError>, _: &mut Self::Context) {}
}
