//! A name server that answers as it is told, over UDP and TCP, on a port that the system chose: what
//! `callbacks.dns_servers` is given to see how the hub takes answers that are meant to deceive it.
//!
//! It knows enough of DNS for that: one question, A and AAAA and CNAME in answers, truncation.

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Result, bail};

/// The most that is sent over UDP.
const DATAGRAM: usize = 512;
const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;

/// What to answer to a question.
#[derive(Debug, Clone)]
pub enum Records {
    /// These addresses, as far as the question asks for their family; they may be kept for no time.
    Addresses(Vec<IpAddr>),
    /// Another name, and the addresses that it has.
    Alias(String, Vec<IpAddr>),
    /// There is no such name.
    NoName,
    /// The server cannot say.
    Failure,
    /// Nothing at all.
    Silence,
}

type Answers = dyn Fn(&str) -> Records + Send + Sync;

/// A running name server; dropping it ends it.
pub struct NameServer {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl NameServer {
    /// Starts one that answers what `answers` says to each name, in lower case and without the last dot.
    pub fn start(answers: impl Fn(&str) -> Records + Send + Sync + 'static) -> Result<NameServer> {
        let (udp, tcp) = both_on_one_port()?;
        let address = udp.local_addr()?;
        let (asked, is_over) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let answers: Arc<Answers> = Arc::new(answers);
        udp.set_read_timeout(Some(Duration::from_millis(50)))?;
        let by_udp = std::thread::spawn({
            let (asked, is_over, answers) = (asked.clone(), is_over.clone(), answers.clone());
            move || serve_udp(&udp, &asked, &is_over, &*answers)
        });
        let by_tcp = std::thread::spawn({
            let (asked, is_over) = (asked.clone(), is_over.clone());
            move || serve_tcp(&tcp, &asked, &is_over, &*answers)
        });
        Ok(NameServer { address, asked, is_over, threads: vec![by_udp, by_tcp] })
    }

    /// Where it listens: an element of `callbacks.dns_servers`.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The names that it has been asked for, in order.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // It waits for a connection.
        drop(TcpStream::connect(self.address));
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn both_on_one_port() -> Result<(UdpSocket, TcpListener)> {
    for _ in 0..100 {
        let tcp = TcpListener::bind("127.0.0.1:0")?;
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr()?) {
            return Ok((udp, tcp));
        }
    }
    bail!("no port is free for both UDP and TCP")
}

fn serve_udp(socket: &UdpSocket, asked: &Mutex<Vec<String>>, is_over: &AtomicBool, answers: &Answers) {
    let mut question = [0; 1500];
    while !is_over.load(Ordering::SeqCst) {
        let Ok((length, from)) = socket.recv_from(&mut question) else { continue };
        if let Some(answer) = respond(&question[..length], asked, answers, DATAGRAM) {
            let _ = socket.send_to(&answer, from);
        }
    }
}

fn serve_tcp(listener: &TcpListener, asked: &Mutex<Vec<String>>, is_over: &AtomicBool, answers: &Answers) {
    while let Ok((mut stream, _)) = listener.accept() {
        if is_over.load(Ordering::SeqCst) {
            return;
        }
        // One question after another: whoever asks here asks once.
        let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
        let mut length = [0; 2];
        if stream.read_exact(&mut length).is_err() {
            continue;
        }
        let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
        if stream.read_exact(&mut question).is_err() {
            continue;
        }
        if let Some(answer) = respond(&question, asked, answers, usize::from(u16::MAX)) {
            let length = u16::try_from(answer.len()).unwrap_or(u16::MAX).to_be_bytes();
            let _ = stream.write_all(&length).and_then(|()| stream.write_all(&answer));
        }
    }
}

/// The answer to a question, cut to so many bytes.
fn respond(question: &[u8], asked: &Mutex<Vec<String>>, answers: &Answers, most: usize) -> Option<Vec<u8>> {
    let (name, end) = read_name(question, 12)?;
    let kind = u16::from_be_bytes([*question.get(end)?, *question.get(end + 1)?]);
    let name = name.to_lowercase();
    asked.lock().unwrap_or_else(PoisonError::into_inner).push(name.clone());
    let mut records = Vec::new();
    let code = match answers(&name) {
        Records::Silence => return None,
        Records::Failure => 2,
        Records::NoName => 3,
        Records::Addresses(addresses) => {
            // The name of the question, as a pointer to it.
            records.extend(addresses.iter().filter_map(|address| record(&[0xc0, 12], kind, address)));
            0
        }
        Records::Alias(other, addresses) => {
            let other = written(&other);
            records.push([&[0xc0, 12], &fields(CNAME, &other)[..]].concat());
            records.extend(addresses.iter().filter_map(|address| record(&other, kind, address)));
            0
        }
    };
    let asked_for = question.get(12..end + 4)?;
    let whole = records.concat();
    let is_cut = 12 + asked_for.len() + whole.len() > most;
    let count = if is_cut { 0 } else { u16::try_from(records.len()).ok()? };
    let flags: u16 = 0x8180 | code | if is_cut { 0x0200 } else { 0 };
    let mut answer = question.get(..2)?.to_vec();
    for number in [flags, 1, count, 0, 0] {
        answer.extend(number.to_be_bytes());
    }
    answer.extend(asked_for);
    if !is_cut {
        answer.extend(whole);
    }
    Some(answer)
}

/// A name that stands in a message, and where it ends.
fn read_name(message: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        labels.push(String::from_utf8_lossy(message.get(at..at + length)?).into_owned());
        at += length;
    }
}

/// A name as it stands in a message.
fn written(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.trim_end_matches('.').split('.') {
        bytes.push(u8::try_from(label.len()).unwrap_or(63));
        bytes.extend(label.bytes());
    }
    bytes.push(0);
    bytes
}

/// A record of this name, if the address is of the kind that is asked for.
fn record(name: &[u8], kind: u16, address: &IpAddr) -> Option<Vec<u8>> {
    let fields = match address {
        IpAddr::V4(address) if kind == A => fields(A, &address.octets()),
        IpAddr::V6(address) if kind == AAAA => fields(AAAA, &address.octets()),
        _ => return None,
    };
    Some([name, &fields].concat())
}

/// Type, class, no time to live, and the data.
fn fields(kind: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap_or(u16::MAX);
    [&kind.to_be_bytes()[..], &[0, 1, 0, 0, 0, 0], &length.to_be_bytes(), data].concat()
}
