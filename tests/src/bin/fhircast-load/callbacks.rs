//! The webhook subscribers, all served by one small server on loopback.

use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use anyhow::{Context, Result, bail};
use futures_util::{StreamExt, TryStreamExt, stream};
use url::form_urlencoded;

use crate::arrivals::{Arrivals, Clock, Delivered, Recorder};
use crate::plan::{EVENT, Plan};
use crate::subscribers::{app_of, apps};

/// Subscriptions made or ended at one time.
const AT_ONCE: usize = 32;
/// How long the verification of all callbacks may take.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(60);
const BODY_LIMIT_BYTES: usize = 64 * 1024 * 1024;

/// The server and the records of its callbacks.
pub struct CallbackHost {
    base: String,
    recorders: Arc<Vec<Recorder>>,
    handle: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

impl CallbackHost {
    /// Starts the server.
    pub fn start(plan: &Arc<Plan>, clock: &Arc<Clock>, delivered: &Arc<Delivered>) -> Result<CallbackHost> {
        let recorders: Vec<_> = (0..plan.callbacks).map(|_| Recorder::new(plan, clock, delivered)).collect();
        let recorders = Arc::new(recorders);
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        let base = format!("http://{}/callback", listener.local_addr()?);
        let (started, start) = mpsc::channel();
        let data = web::Data::from(recorders.clone());
        let thread = std::thread::spawn(move || {
            actix_rt::System::new().block_on(async move {
                let server = HttpServer::new(move || {
                    App::new()
                        .app_data(data.clone())
                        .app_data(web::PayloadConfig::new(BODY_LIMIT_BYTES))
                        .service(
                            web::resource("/callback/{number}")
                                .route(web::get().to(verify))
                                .route(web::post().to(receive)),
                        )
                })
                .workers(1)
                .disable_signals()
                .shutdown_timeout(0)
                .listen(listener);
                let server = match server {
                    Ok(server) => server.run(),
                    Err(error) => return drop(started.send(Err(error))),
                };
                let _ = started.send(Ok(server.handle()));
                // It ends by its handle; an error would show as refused callbacks.
                let _ = server.await;
            });
        });
        let handle = start.recv().context("the callback server did not start")??;
        Ok(CallbackHost { base, recorders, handle, thread: Some(thread) })
    }

    /// Subscribes every callback; each is known to receive when this returns.
    pub async fn subscribe(&self, plan: &Plan) -> Result<()> {
        if plan.callbacks == 0 {
            return Ok(());
        }
        let apps = apps(plan)?;
        let publisher = apps.first().context("there is no hub")?;
        for probe in plan.probes() {
            publisher.publish(&plan.body(probe)).await?.expect_status(202).context("a probe was refused")?;
        }
        stream::iter(0..plan.callbacks)
            .map(|number| {
                let app = app_of(plan, &apps, number);
                let callback = format!("{}/{number}", self.base);
                async move {
                    let topic = plan.topic(plan.topic_of_subscriber(number));
                    let answer = app?.subscribe_webhook(&topic, EVENT, &callback, &[]).await?;
                    answer.expect_status(202).with_context(|| format!("callback {number}"))?;
                    Ok::<_, anyhow::Error>(())
                }
            })
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
        let receiving = || self.recorders.iter().filter(|recorder| recorder.probed()).count();
        let all = || {
            let all = receiving() == plan.callbacks;
            async move { all.then_some(()) }
        };
        if harness::wait::eventually(VERIFY_TIMEOUT, "the callbacks' probes", all).await.is_err() {
            bail!("after {VERIFY_TIMEOUT:?} only {} of {} callbacks receive", receiving(), plan.callbacks);
        }
        Ok(())
    }

    /// Ends the subscriptions and the server; answers with what each callback saw.
    pub async fn stop(mut self, plan: &Plan) -> Vec<(usize, Arrivals)> {
        let arrivals = self.recorders.iter().map(Recorder::take).enumerate().collect();
        let apps = apps(plan).unwrap_or_default();
        stream::iter(0..plan.callbacks)
            .for_each_concurrent(AT_ONCE, |number| {
                let app = app_of(plan, &apps, number);
                let callback = format!("{}/{number}", self.base);
                async move {
                    // The run is over and judged without this: a hub that fails here has nothing left to lose.
                    if let Ok(app) = app {
                        let topic = plan.topic(plan.topic_of_subscriber(number));
                        let _ = app.unsubscribe_webhook(&topic, &callback).await;
                    }
                }
            })
            .await;
        self.handle.stop(false).await;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        arrivals
    }
}

/// Echoes the challenge of an intent; a denial has none.
async fn verify(request: HttpRequest) -> HttpResponse {
    let mut query = form_urlencoded::parse(request.query_string().as_bytes());
    let challenge = query.find(|(name, _)| name == "hub.challenge").map(|(_, value)| value.into_owned());
    HttpResponse::Ok().body(challenge.unwrap_or_default())
}

async fn receive(
    number: web::Path<usize>,
    body: web::Bytes,
    recorders: web::Data<Vec<Recorder>>,
) -> HttpResponse {
    let Some(recorder) = recorders.get(*number) else { return HttpResponse::NotFound().finish() };
    let Ok(notification) = std::str::from_utf8(&body) else { return HttpResponse::BadRequest().finish() };
    recorder.record(notification);
    HttpResponse::Ok().finish()
}
