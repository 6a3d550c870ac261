//! Upgrades: asked of the hub first, so that an app is refused as the hub refuses it (FC-WSC-02, FC-WSC-08).

use std::convert::Infallible;
use std::future::ready;

use actix_web::http::{StatusCode, header};
use actix_web::web::{self, Bytes};
use actix_web::{HttpRequest, HttpResponse, rt};
use futures_util::{Stream, StreamExt, stream};
use reqwest::header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;

use super::answer::Answer;
use super::frame::Frames;
use super::relay::Relay;
use super::{Distortion, Proxy, http, locked};

const CHUNK_BYTES: usize = 16 * 1024;
const CHUNKS_QUEUED: usize = 64;

/// Answers a request for an upgrade as the hub does, and passes frames on if it agrees.
pub async fn upgrade(
    request: &HttpRequest,
    payload: web::Payload,
    proxy: web::Data<Proxy>,
) -> Result<HttpResponse, reqwest::Error> {
    let path = request.path().to_owned();
    if proxy.distortion == Distortion::DeadAfterDrop && proxy.seen().is_broken(&path) {
        return Ok(HttpResponse::NotFound().content_type("text/plain").body("this endpoint has ended"));
    }
    let handed_out = locked(&proxy.endpoints).get(&path).cloned();
    let mut url = handed_out.unwrap_or_else(|| http::at_hub(request, &proxy));
    let scheme = if matches!(url.scheme(), "wss" | "https") { "https" } else { "http" };
    // All four are special schemes, and each may become any other.
    let _ = url.set_scheme(scheme);
    let mut asked = http::to(request, url, Bytes::new());
    asked.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    // Frames are to stay readable.
    asked.headers_mut().remove(SEC_WEBSOCKET_EXTENSIONS);
    let answer = proxy.http.execute(asked).await?;
    if answer.status().as_u16() != StatusCode::SWITCHING_PROTOCOLS.as_u16() {
        return Ok(Answer::read(answer).await?.into_response());
    }
    let accept = answer.headers().get(SEC_WEBSOCKET_ACCEPT).map(|value| value.as_bytes().to_vec());
    let (from_hub, to_hub) = tokio::io::split(answer.upgrade().await?);
    let (to_app, for_app) = mpsc::channel(CHUNKS_QUEUED);
    let relay = Relay::new(proxy, path, to_app, to_hub);
    let from_hub = Frames::new(Box::pin(chunks(from_hub)));
    let from_app = Frames::new(Box::pin(payload.scan((), |(), chunk| ready(chunk.ok()))));
    rt::spawn(relay.run(from_hub, from_app));
    let body = stream::unfold(for_app, async |mut for_app| {
        Some((Ok::<Bytes, Infallible>(for_app.recv().await?), for_app))
    });
    let mut response = HttpResponse::SwitchingProtocols();
    response.upgrade("websocket").insert_header((header::SEC_WEBSOCKET_ACCEPT, accept.unwrap_or_default()));
    Ok(response.streaming(Box::pin(body)))
}

/// What can be read, until the end or an error.
fn chunks(reader: impl AsyncRead + Unpin) -> impl Stream<Item = Bytes> {
    stream::unfold(reader, async |mut reader| {
        let mut chunk = vec![0; CHUNK_BYTES];
        let length = reader.read(&mut chunk).await.ok().filter(|length| *length > 0)?;
        chunk.truncate(length);
        Some((Bytes::from(chunk), reader))
    })
}
