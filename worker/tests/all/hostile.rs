//! FC-SEC-02: servers that answer callbacks with whatever may hurt: too slowly, too much, too often, or wrongly.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{JoinHandle, sleep},
    time::{Duration, Instant},
};

use shared::protocol::webhook::Mode;
use worker::Served;

use crate::system::System;

/// A request must be over by then: its own deadline is a second.
const IN_TIME: Duration = Duration::from_secs(6);
/// More than what is read of an answer and what the kernel keeps on its way, and much less than a flood.
const FLOOD: usize = 32 << 20;

/// A server that speaks no HTTP but what it is told to.
struct RawServer {
    origin: String,
    requests: Arc<Mutex<Vec<String>>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl RawServer {
    /// Answers each request, of which it has read the head, on a connection of its own.
    fn answering(
        answer: impl Fn(&str, &mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let (requests, is_over) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (seen, over, answer) = (requests.clone(), is_over.clone(), Arc::new(answer));
        let thread = std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let (seen, answer) = (seen.clone(), answer.clone());
                std::thread::spawn(move || {
                    let mut head = Vec::new();
                    let mut byte = [0];
                    while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
                        head.push(byte[0]);
                    }
                    let head = String::from_utf8(head).unwrap();
                    seen.lock().unwrap().push(head.clone());
                    // It ends when the worker hangs up.
                    let _ = answer(&head, &mut stream);
                });
            }
        });
        Self { origin, requests, is_over, thread: Some(thread) }
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for RawServer {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.origin.trim_start_matches("http://"));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn challenge(head: &str) -> &str {
    let from = head.find("hub.challenge=").unwrap() + "hub.challenge=".len();
    &head[from..from + 32]
}

/// Asks for a subscription there, and says whether it was verified, and how long that took.
async fn is_verified(system: &System, server: &RawServer, path: &str) -> (bool, Duration) {
    let subscription = system.subscription(&format!("{}{path}", server.origin), "*");
    system.request(Mode::Subscribe, &subscription).await;
    let begun = Instant::now();
    let outcomes = system.step().await;
    let is_verified = outcomes == [Served::Verified(Mode::Subscribe)];
    assert!(is_verified || outcomes == [Served::NotVerified(Mode::Subscribe)], "{outcomes:?}");
    (is_verified, begun.elapsed())
}

#[actix_rt::test]
async fn an_answer_that_trickles_ends_at_the_deadline() {
    for beginning in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 32\r\n\r\n"] {
        let server = RawServer::answering(move |_, stream| {
            stream.write_all(beginning.as_bytes())?;
            loop {
                stream.write_all(b"a")?;
                sleep(Duration::from_millis(20));
            }
        });
        let (is_verified, took) = is_verified(&System::new(), &server, "/").await;
        assert!(!is_verified && took < IN_TIME, "FC-SEC-02: {beginning:?}: {took:?}");
    }
}

#[actix_rt::test]
async fn of_an_answer_without_end_no_more_is_read_than_it_may_have() {
    let floods: [(&str, &str); 7] = [
        ("HTTP/1.1 200 OK\r\n", "A: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n"),
        ("HTTP/1.1 200 OK\r\nA: ", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
        ("", "HTTP/1.1 100 Continue\r\n\r\n"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "10\r\naaaaaaaaaaaaaaaa\r\n"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10;", "a=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa;"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
            "A: aaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n",
        ),
    ];
    for (beginning, again) in floods {
        let written = Arc::new(AtomicUsize::new(0));
        let counted = written.clone();
        let server = RawServer::answering(move |_, stream| {
            stream.write_all(beginning.as_bytes())?;
            let piece = again.repeat(1000);
            while counted.load(Ordering::SeqCst) < 2 * FLOOD {
                stream.write_all(piece.as_bytes())?;
                counted.fetch_add(piece.len(), Ordering::SeqCst);
            }
            Ok(())
        });
        let (is_verified, took) = is_verified(&System::new(), &server, "/").await;
        assert!(!is_verified && took < IN_TIME, "FC-SEC-02: {again:?}: {took:?}");
        let read = written.load(Ordering::SeqCst);
        assert!(read < FLOOD, "FC-SEC-02: {again:?}: it was read: {read} bytes");
    }
}

#[actix_rt::test]
async fn a_head_is_read_up_to_its_limit() {
    let server = RawServer::answering(|head, stream| {
        let answer = challenge(head);
        let length = "A: ".len() + 8000 + 2;
        let head = format!("HTTP/1.1 200 OK\r\nA: {}\r\nContent-Length: 32\r\n\r\n", "a".repeat(8000));
        assert!(head.len() > length);
        write!(stream, "{head}{answer}")
    });
    let roomy = System::new();
    assert!(is_verified(&roomy, &server, "/").await.0, "it is within the default");
    let tight = System::with(|settings| settings.limits.callback_head_bytes = 4000);
    assert!(!is_verified(&tight, &server, "/").await.0, "FC-SEC-02: limits.callback_head_bytes");
}

#[actix_rt::test]
async fn nothing_is_unpacked() {
    // Were it unpacked, this would be no gzip.
    let server = RawServer::answering(|head, stream| {
        let answer = challenge(head);
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 32\r\n\r\n{answer}")
    });
    assert!(is_verified(&System::new(), &server, "/").await.0, "FC-SEC-02: bytes are taken as they come");
    let asked = server.requests().remove(0).to_lowercase();
    assert!(!asked.contains("accept-encoding: gzip"), "FC-SEC-02: {asked}");
}

#[actix_rt::test]
async fn an_answer_that_lies_about_its_length_confirms_nothing() {
    for (length, hangs_up) in
        [("31", false), ("33", true), ("33", false), ("-1", true), ("x", true), ("32, 31", true)]
    {
        let server = RawServer::answering(move |head, stream| {
            let answer = challenge(head);
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{answer}")?;
            if !hangs_up {
                sleep(IN_TIME);
            }
            Ok(())
        });
        let (is_verified, took) = is_verified(&System::new(), &server, "/").await;
        assert!(!is_verified && took < IN_TIME, "FC-SEC-02: Content-Length: {length}");
    }
}

#[actix_rt::test]
async fn what_a_callback_holds_stays_within_its_line_of_the_request() {
    let server = RawServer::answering(|head, stream| {
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 32\r\n\r\n{}", challenge(head))
    });
    let path = "/cb%0d%0aX-Evil:%201?x=%0d%0aX-Evil:%202&y=%00";
    assert!(is_verified(&System::new(), &server, path).await.0, "FC-WHK-02");
    let asked = server.requests().remove(0);
    let line = asked.lines().next().unwrap();
    assert!(line.starts_with(&format!("GET {path}&hub.mode=subscribe&")), "FC-SEC-02, FC-WHK-02: {line}");
    let names: Vec<String> =
        asked.lines().skip(1).filter_map(|line| Some(line.split_once(':')?.0.to_lowercase())).collect();
    assert!(!names.iter().any(|name| name.contains("evil")), "FC-SEC-02: {asked}");
    let host = server.origin.trim_start_matches("http://");
    assert!(asked.to_lowercase().contains(&format!("host: {host}\r\n")), "{asked}");
}
