//! A subscriber's server: answers as it is told, and remembers what came.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, dev::ServerHandle, http::StatusCode, web};
use openssl::ssl::SslAcceptorBuilder;

/// A request that came.
#[derive(Debug, Clone)]
pub struct Received {
    pub at: Instant,
    pub method: String,
    pub path: String,
    pub query: Vec<(String, String)>,
    pub content_type: Option<String>,
    pub signature: Option<String>,
    pub user_agent: Option<String>,
    pub body: Vec<u8>,
}

impl Received {
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn is_notification(&self) -> bool {
        self.method == "POST"
    }

    /// The `id` of the event.
    pub fn id(&self) -> String {
        self.json()["id"].as_str().unwrap().to_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// What to answer.
pub struct Reply {
    status: u16,
    header: Option<(&'static str, String)>,
    body: Vec<u8>,
    delay: Duration,
}

impl Reply {
    pub fn status(status: u16) -> Self {
        Self { status, header: None, body: Vec::new(), delay: Duration::ZERO }
    }

    pub fn header(self, name: &'static str, value: impl Into<String>) -> Self {
        Self { header: Some((name, value.into())), ..self }
    }

    pub fn body(self, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..self }
    }

    pub fn code(self, status: u16) -> Self {
        Self { status, ..self }
    }

    pub fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// Longer than any test waits.
    pub fn never() -> Self {
        Self::status(200).after(Duration::from_secs(3600))
    }

    /// What confirms an intent.
    pub fn challenge(request: &Received) -> Self {
        Self::status(200).body(request.parameter("hub.challenge").unwrap_or_default())
    }
}

type Answers = dyn Fn(&Received) -> Reply + Send + Sync;

struct Shared {
    received: Mutex<Vec<Received>>,
    answers: Box<Answers>,
}

/// A running server; dropping it ends it.
pub struct Callback {
    shared: Arc<Shared>,
    origin: String,
    handle: ServerHandle,
}

impl Callback {
    /// Confirms every intent, and answers notifications like this.
    pub fn start(notified: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        Self::answering(
            move |request| {
                if request.is_notification() { notified(request) } else { Reply::challenge(request) }
            },
        )
    }

    /// Confirms and accepts everything.
    pub fn accepting() -> Self {
        Self::start(|_| Reply::status(200))
    }

    /// Answers everything like this.
    pub fn answering(answers: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        Self::serve("127.0.0.1:0", "http", answers, None)
    }

    /// Speaks TLS.
    pub fn with_tls(tls: SslAcceptorBuilder) -> Self {
        Self::with_tls_at("127.0.0.1:0", tls)
    }

    /// Speaks TLS at this address.
    pub fn with_tls_at(address: &str, tls: SslAcceptorBuilder) -> Self {
        Self::serve(address, "https", Reply::challenge, Some(tls))
    }

    fn serve(
        address: &str,
        scheme: &str,
        answers: impl Fn(&Received) -> Reply + Send + Sync + 'static,
        tls: Option<SslAcceptorBuilder>,
    ) -> Self {
        let listener = std::net::TcpListener::bind(address).unwrap();
        let origin = format!("{scheme}://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared { received: Mutex::default(), answers: Box::new(answers) });
        let data = web::Data::from(shared.clone());
        let server =
            HttpServer::new(move || App::new().app_data(data.clone()).default_service(web::to(answer)))
                .workers(1)
                .disable_signals()
                .shutdown_timeout(0);
        let server = match tls {
            Some(tls) => server.listen_openssl(listener, tls),
            None => server.listen(listener),
        };
        let server = server.unwrap().run();
        let handle = server.handle();
        actix_rt::spawn(server);
        Self { shared, origin, handle }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }

    pub fn port(&self) -> u16 {
        self.origin.rsplit(':').next().unwrap().parse().unwrap()
    }

    pub fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }

    pub fn notifications(&self) -> Vec<Received> {
        self.received().into_iter().filter(Received::is_notification).collect()
    }

    /// The ids of the events that came, in order.
    pub fn ids(&self) -> Vec<String> {
        self.notifications().iter().map(Received::id).collect()
    }
}

impl Drop for Callback {
    fn drop(&mut self) {
        drop(self.handle.stop(false));
    }
}

async fn answer(shared: web::Data<Shared>, request: HttpRequest, body: web::Bytes) -> HttpResponse {
    let header = |name| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let url = url::Url::parse(&format!("http://callback{}", request.uri())).unwrap();
    let received = Received {
        at: Instant::now(),
        method: request.method().to_string(),
        path: request.path().to_owned(),
        query: url.query_pairs().into_owned().collect(),
        content_type: header("content-type"),
        signature: header("x-hub-signature"),
        user_agent: header("user-agent"),
        body: body.to_vec(),
    };
    let reply = {
        let mut all = shared.received.lock().unwrap();
        all.push(received.clone());
        (shared.answers)(&received)
    };
    actix_rt::time::sleep(reply.delay).await;
    let mut response = HttpResponse::build(StatusCode::from_u16(reply.status).unwrap());
    if let Some(header) = reply.header {
        response.insert_header(header);
    }
    response.body(reply.body)
}
