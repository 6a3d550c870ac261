//! A TCP or TLS connection whose bytes are its user's.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_openssl::SslStream;
use url::Url;

/// How long a connection may take; an attacked machine is busy.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// A connection.
#[derive(Debug)]
pub struct Raw {
    stream: Stream,
    /// What came and was not looked at yet.
    came: Vec<u8>,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<SslStream<TcpStream>>),
}

/// The address in a URL of the hub.
pub fn address(url: &str) -> Result<SocketAddr> {
    let url = Url::parse(url)?;
    let host: IpAddr = url.host_str().context("no host")?.parse().context("the host is no address")?;
    Ok((host, url.port_or_known_default().context("no port")?).into())
}

/// A POST to the hub with this type and these further header lines (each with its end), up to the body.
pub fn post_head(content_type: &str, lines: &str) -> String {
    format!("POST /api/hub HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n{lines}\r\n")
}

/// A whole POST.
pub fn post(content_type: &str, body: &str) -> String {
    format!("{}{body}", post_head(content_type, &format!("Content-Length: {}\r\n", body.len())))
}

impl Raw {
    /// Connects from an address of the loopback network to the host of `url`, without TLS.
    pub async fn connect(url: &str, from: Ipv4Addr) -> Result<Raw> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        let stream =
            timeout(CONNECT_TIMEOUT, socket.connect(address(url)?)).await.context("no connection")??;
        stream.set_nodelay(true)?;
        Ok(Raw { stream: Stream::Plain(stream), came: Vec::new() })
    }

    /// The same with TLS, whoever the other is. Answers with what was agreed on by ALPN when `alpn` was offered, in
    /// its wire format.
    pub async fn connect_tls(url: &str, from: Ipv4Addr, alpn: &[u8]) -> Result<(Raw, Option<Vec<u8>>)> {
        let Stream::Plain(stream) = Raw::connect(url, from).await?.stream else { bail!("it is plain") };
        let mut connector = SslConnector::builder(SslMethod::tls_client())?;
        connector.set_verify(SslVerifyMode::NONE);
        if !alpn.is_empty() {
            connector.set_alpn_protos(alpn)?;
        }
        let ssl = connector.build().configure()?.verify_hostname(false).into_ssl("localhost")?;
        let mut stream = SslStream::new(ssl, stream)?;
        timeout(CONNECT_TIMEOUT, Pin::new(&mut stream).connect()).await.context("no handshake")??;
        let agreed = stream.ssl().selected_alpn_protocol().map(<[u8]>::to_vec);
        Ok((Raw { stream: Stream::Tls(Box::new(stream)), came: Vec::new() }, agreed))
    }

    /// Opens the WebSocket of an endpoint, and leaves the frames to its user.
    pub async fn upgrade(endpoint: &str, from: Ipv4Addr) -> Result<Raw> {
        let url = Url::parse(endpoint)?;
        let mut raw = Raw::connect(&endpoint.replacen("ws", "http", 1), from).await?;
        raw.send(super::frames::upgrade(url.path(), &[]).as_bytes()).await?;
        let answer = raw.answer(CONNECT_TIMEOUT).await?;
        match answer.status {
            101 => Ok(raw),
            status => bail!("the upgrade was answered with {status}: {}", answer.text),
        }
    }

    /// Sends bytes.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(bytes).await?,
            Stream::Tls(stream) => stream.write_all(bytes).await?,
        }
        Ok(())
    }

    /// Reads what comes next; `None` at the end, however it came.
    async fn more(&mut self) -> Option<()> {
        let mut buffer = [0; 4096];
        let read = match &mut self.stream {
            Stream::Plain(stream) => stream.read(&mut buffer).await,
            Stream::Tls(stream) => stream.read(&mut buffer).await,
        };
        let count = read.ok().filter(|count| *count > 0)?;
        self.came.extend_from_slice(&buffer[..count]);
        Some(())
    }

    /// The head of an answer and what came of its body with it, within `patience`.
    pub async fn answer(&mut self, patience: Duration) -> Result<RawAnswer> {
        let end = timeout(patience, async {
            loop {
                if let Some(at) = self.came.windows(4).position(|part| part == b"\r\n\r\n") {
                    return Some(at + 4);
                }
                self.more().await?;
            }
        })
        .await
        .context("no answer in time")?
        .context("the connection ended without an answer")?;
        let head = String::from_utf8_lossy(&self.came[..end]).into_owned();
        let status = head.get(9..12).and_then(|status| status.parse().ok()).context("no HTTP")?;
        let lower = head.to_ascii_lowercase();
        let length =
            lower.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
        let whole = end + length.unwrap_or(0);
        let _ = timeout(patience, async { while self.came.len() < whole && self.more().await.is_some() {} })
            .await;
        let whole = whole.min(self.came.len());
        let text = format!("{head}{}", String::from_utf8_lossy(&self.came[end..whole]));
        self.came.drain(..whole);
        Ok(RawAnswer { status, text })
    }

    /// The next answer; `None` when the connection ends without one.
    pub async fn next(&mut self, patience: Duration) -> Result<Option<RawAnswer>> {
        let begun = Instant::now();
        match self.answer(patience).await {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if begun.elapsed() >= patience || !self.came.is_empty() => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// All answers until the connection ends, or nothing comes for so long.
    pub async fn answers(&mut self, silence: Duration) -> Vec<RawAnswer> {
        let mut answers = Vec::new();
        while let Ok(answer) = self.answer(silence).await {
            answers.push(answer);
        }
        answers
    }

    /// Sends bytes one by one, with a pause behind each; says whether all were taken.
    pub async fn send_slowly(&mut self, bytes: &[u8], pause: Duration) -> bool {
        for byte in bytes {
            let has_ended = matches!(timeout(pause, self.more()).await, Ok(None));
            if has_ended || self.send(std::slice::from_ref(byte)).await.is_err() {
                return false;
            }
        }
        true
    }

    /// Closes this side alone, of a connection without TLS: all has been said.
    pub async fn says_no_more(&mut self) -> Result<()> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.shutdown().await?,
            Stream::Tls(_) => bail!("with TLS this closes both sides"),
        }
        Ok(())
    }

    /// Takes what comes in small pieces, with a pause before each; answers with how many bytes came.
    pub async fn take_slowly(&mut self, pieces: usize, pause: Duration) -> Result<usize> {
        for _ in 0..pieces {
            tokio::time::sleep(pause).await;
            self.more().await.context("the connection has ended")?;
        }
        Ok(self.came.len())
    }

    /// Waits for the other side to end the connection; says whether it did.
    pub async fn ends_within(&mut self, patience: Duration) -> bool {
        timeout(patience, async {
            loop {
                self.came.clear();
                if self.more().await.is_none() {
                    return;
                }
            }
        })
        .await
        .is_ok()
    }

    /// Waits for a Close frame; `None` when the connection ends, or does not end, without one.
    pub async fn close_code(&mut self, patience: Duration) -> Option<u16> {
        timeout(patience, async {
            loop {
                while let Some((opcode, payload, length)) = super::frames::read(&self.came) {
                    let code = payload.get(..2).map(|code| u16::from_be_bytes([code[0], code[1]]));
                    if opcode == super::frames::CLOSE {
                        return code;
                    }
                    self.came.drain(..length);
                }
                self.more().await?;
            }
        })
        .await
        .ok()
        .flatten()
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub struct RawAnswer {
    /// The HTTP status.
    pub status: u16,
    /// Head and body.
    pub text: String,
}

impl RawAnswer {
    /// A header's value; empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        let head = self.text.split("\r\n\r\n").next().unwrap_or_default();
        let mut headers = head.lines().filter_map(|line| line.split_once(':'));
        headers.find(|(known, _)| known.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value.trim())
    }

    /// What follows the head.
    pub fn body(&self) -> &str {
        self.text.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::wait::PATIENCE;
    use tokio::net::TcpListener;

    async fn answering(bytes: &'static [u8]) -> Raw {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(bytes).await.unwrap();
        });
        Raw::connect(&url, Ipv4Addr::LOCALHOST).await.unwrap()
    }

    #[tokio::test]
    async fn answers_are_read_one_after_the_other_until_the_end() {
        let two =
            b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nnoHTTP/1.1 202 Accepted\r\nX: y\r\n\r\n";
        let mut raw = answering(two).await;
        let first = raw.next(PATIENCE).await.unwrap().unwrap();
        assert_eq!((first.status, first.body()), (400, "no"));
        let second = raw.next(PATIENCE).await.unwrap().unwrap();
        assert_eq!((second.status, second.header("x"), second.body()), (202, "y", ""));
        assert!(raw.next(PATIENCE).await.unwrap().is_none());
        assert_eq!(answering(two).await.answers(PATIENCE).await.len(), 2);
    }

    #[tokio::test]
    async fn a_peer_that_has_hung_up_takes_no_more() {
        assert!(!answering(b"").await.send_slowly(&[b'a'; 1000], PATIENCE).await);
    }
}
