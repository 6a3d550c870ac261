//! A TCP proxy whose link can be spoiled while it runs: what a network does, without a privilege to change the network's.
//!
//! A [`TcpProxy`] stands before one server, on a port of its own that it keeps while it lives. Each direction
//! of its connections, old and new, goes at a [`Pace`]. [`TcpProxy::cut`] ends all of them with RST and refuses new ones;
//! [`TcpProxy::mend`] makes it a plain wire again. What a silent link was given it passes on later, as TCP does when the
//! network is back: it loses no bytes of a connection that lives.

use std::fmt::{Debug, Formatter};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: u32 = 1024;
const BUFFER_BYTES: usize = 16 * 1024;
/// Reads that may be on their way in one direction: with a delay, this many [`BUFFER_BYTES`] fit into it.
const CHUNKS_UNDERWAY: usize = 64;
/// What the kernel takes before the proxy has read it: little, so that a link that is slow is felt by who sends.
const WINDOW_BYTES: u32 = 32 * 1024;
/// What a Redis client says first that wants to hear what is published.
const SUBSCRIBES: &[u8] = b"HELLO";
/// Writes of a throttled link in each second.
const WRITES_A_SECOND: u64 = 20;

/// How one direction of a link passes on what it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pace {
    /// At once.
    #[default]
    Free,
    /// Not at all, and without a word: the connection looks open from both sides.
    Silent,
    /// Each byte so much later.
    Delayed(Duration),
    /// At most so many bytes a second on each connection.
    BytesPerSecond(u64),
}

/// The pace of both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Paces {
    /// From who connected to the server.
    pub to_server: Pace,
    /// From the server to who connected.
    pub to_client: Pace,
}

impl Paces {
    /// The same pace in both directions.
    pub fn both(pace: Pace) -> Paces {
        Paces { to_server: pace, to_client: pace }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Open(Paces),
    Cut,
}

/// A running proxy; dropping it ends its connections.
pub struct TcpProxy {
    address: SocketAddr,
    server: watch::Sender<Option<SocketAddr>>,
    link: watch::Sender<Link>,
    /// Of connections to Redis on which is heard what is published.
    subscribers: watch::Sender<Option<Paces>>,
    task: JoinHandle<()>,
    /// Bound and never listening: it keeps the port while the link is cut.
    _port: TcpSocket,
}

impl TcpProxy {
    /// A plain wire to `server`, on a port of loopback that the system chooses. Must be called within a runtime.
    pub fn start(server: SocketAddr) -> Result<TcpProxy> {
        let proxy = TcpProxy::unconnected()?;
        proxy.lead_to(server);
        Ok(proxy)
    }

    /// One whose server is not known yet: who connects waits for [`TcpProxy::lead_to`].
    pub fn unconnected() -> Result<TcpProxy> {
        let port = TcpSocket::new_v4()?;
        port.set_reuseport(true)?;
        port.bind((Ipv4Addr::LOCALHOST, 0).into()).context("no port for a proxy")?;
        let address = port.local_addr()?;
        let server = watch::Sender::new(None);
        let (link, subscribers) =
            (watch::Sender::new(Link::Open(Paces::default())), watch::Sender::new(None));
        // Listening before anybody is told the address.
        let listener = listen(address)?;
        let links = Links { all: link.subscribe(), subscribers: subscribers.subscribe() };
        let task = tokio::spawn(serve(listener, address, server.subscribe(), links));
        Ok(TcpProxy { address, server, link, subscribers, task, _port: port })
    }

    /// New connections lead to this server.
    pub fn lead_to(&self, server: SocketAddr) {
        self.server.send_replace(Some(server));
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Both directions go at these paces from now on.
    pub fn set(&self, paces: Paces) {
        self.link.send_replace(Link::Open(paces));
    }

    /// Of the connections to Redis, those on which is heard what is published go at these paces from now on, whatever is
    /// set for all, until it is mended.
    pub fn set_for_subscribers(&self, paces: Paces) {
        self.subscribers.send_replace(Some(paces));
    }

    /// Ends every connection with RST, on both sides, and refuses new ones.
    pub fn cut(&self) {
        self.link.send_replace(Link::Cut);
    }

    /// A plain wire again.
    pub fn mend(&self) {
        self.subscribers.send_replace(None);
        self.set(Paces::default());
    }
}

impl Debug for TcpProxy {
    fn fmt(&self, out: &mut Formatter<'_>) -> std::fmt::Result {
        write!(out, "a proxy at {}", self.address)
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    // Of each connection that is accepted.
    socket.set_recv_buffer_size(WINDOW_BYTES)?;
    socket.bind(address)?;
    Ok(socket.listen(BACKLOG)?)
}

/// Accepts while the link is open; while it is cut nobody listens.
async fn serve(
    first: TcpListener,
    address: SocketAddr,
    server: watch::Receiver<Option<SocketAddr>>,
    links: Links,
) {
    let mut link = links.all.clone();
    let mut connections = JoinSet::new();
    let mut listener = Some(first);
    loop {
        if is_cut(&link) {
            listener = None;
            // Each of them sees the cut and resets its two ends.
            while connections.join_next().await.is_some() {}
            if link.wait_for(|link| *link != Link::Cut).await.is_err() {
                return;
            }
        }
        let Some(listening) = listener.take().or_else(|| listen(address).ok()) else {
            // The port is ours, so this is a passing shortage, of file descriptors for example.
            sleep(Duration::from_millis(20)).await;
            continue;
        };
        tokio::select! {
            accepted = listening.accept() => {
                if let Ok((client, _)) = accepted {
                    connections.spawn(connect(client, server.clone(), links.clone()));
                }
            }
            changed = link.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            Some(_) = connections.join_next() => {}
        }
        listener = Some(listening);
    }
}

/// What connections go by.
#[derive(Clone)]
struct Links {
    all: watch::Receiver<Link>,
    subscribers: watch::Receiver<Option<Paces>>,
}

/// What one connection goes by: the link of all, until it has said that it subscribes.
struct Own {
    links: Links,
    has_spoken: AtomicBool,
    is_subscriber: AtomicBool,
    link: watch::Sender<Link>,
}

impl Own {
    fn new(links: Links) -> Own {
        let link = watch::Sender::new(*links.all.borrow());
        Own { links, has_spoken: AtomicBool::default(), is_subscriber: AtomicBool::default(), link }
    }

    fn refresh(&self) {
        let Links { all, subscribers } = &self.links;
        let own = (*subscribers.borrow()).filter(|_| self.is_subscriber.load(Ordering::Relaxed));
        let link = own.map_or_else(|| *all.borrow(), Link::Open);
        self.link.send_replace(link);
    }

    /// Looks at what a client says first.
    fn hear(&self, chunk: &[u8]) {
        let is_first = !self.has_spoken.swap(true, Ordering::Relaxed);
        if is_first && chunk.windows(SUBSCRIBES.len()).any(|bytes| bytes == SUBSCRIBES) {
            self.is_subscriber.store(true, Ordering::Relaxed);
            self.refresh();
        }
    }

    /// Follows what is set for all.
    async fn follow(&self) {
        let Links { mut all, mut subscribers } = self.links.clone();
        loop {
            self.refresh();
            let changed = tokio::select! {
                changed = all.changed() => changed,
                changed = subscribers.changed() => changed,
            };
            if changed.is_err() {
                // The proxy is being dropped, and this task with it.
                std::future::pending::<()>().await;
            }
        }
    }
}

fn is_cut(link: &watch::Receiver<Link>) -> bool {
    *link.borrow() == Link::Cut
}

/// One connection, from its accept to its end.
async fn connect(client: TcpStream, mut server: watch::Receiver<Option<SocketAddr>>, links: Links) {
    let (mut cut, mut link) = (links.all.clone(), links.all.clone());
    let cut = async move { drop(cut.wait_for(|link| *link == Link::Cut).await) };
    tokio::pin!(cut);
    // A silent link answers no handshake either; who connects sees only that the kernel took the connection.
    let opened = async {
        let silent = |link: &Link| matches!(link, Link::Open(paces) if paces.to_server == Pace::Silent);
        let _ = link.wait_for(|link| !silent(link)).await;
        let known = server.wait_for(Option::is_some).await.map(|server| *server);
        let Ok(Some(address)) = known else { return Err(ErrorKind::NotConnected.into()) };
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(WINDOW_BYTES)?;
        socket.connect(address).await
    };
    let opened = tokio::select! {
        opened = opened => opened,
        () = &mut cut => return reset(&client),
    };
    // Nobody listens there: who connected is to see the same as without the proxy, nearly.
    let Ok(upstream) = opened else { return reset(&client) };
    // Bytes are to leave as they came; an error would only make it slower.
    let (_, _) = (client.set_nodelay(true), upstream.set_nodelay(true));
    let (mut client, mut upstream) = (client, upstream);
    let own = Own::new(links);
    let is_cut = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = upstream.split();
        let hear = |chunk: &[u8]| own.hear(chunk);
        let to_server = pump(from_client, to_server, own.link.subscribe(), |paces| paces.to_server, hear);
        let to_client = pump(from_server, to_client, own.link.subscribe(), |paces| paces.to_client, |_| {});
        tokio::select! {
            ended = async { tokio::join!(to_server, to_client) } => ended != (End::Finished, End::Finished),
            () = &mut cut => true,
            () = own.follow() => true,
        }
    };
    if is_cut {
        reset(&client);
        reset(&upstream);
    }
}

/// The connection ends with RST when it is dropped.
fn reset(stream: &TcpStream) {
    // Without it the end would be a FIN: less rude than meant, but an end.
    let _ = stream.set_zero_linger();
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The sender has said that it is done, and the receiver was told.
    Finished,
    /// One of the two is gone.
    Broken,
}

/// Passes one direction on until its sender is done. When one end breaks, the other is not left waiting:
/// [`connect`] joins both directions, and a broken one breaks the other by its shut-down.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut link: watch::Receiver<Link>,
    of: fn(&Paces) -> Pace,
    hear: impl Fn(&[u8]),
) -> End {
    let (chunks, mut arrivals) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS_UNDERWAY);
    let mut reading = link.clone();
    let read = async move {
        loop {
            let pace = audible(&mut reading, of).await;
            let mut chunk = vec![0; chunk_bytes(pace)];
            let read = tokio::select! {
                read = from.read(&mut chunk) => read,
                _ = reading.changed() => continue,
            };
            let count = match read {
                Ok(0) => return End::Finished,
                Ok(count) => count,
                Err(_) => return End::Broken,
            };
            chunk.truncate(count);
            hear(&chunk);
            let delay = if let Pace::Delayed(delay) = pace { delay } else { Duration::ZERO };
            if chunks.send((Instant::now() + delay, chunk)).await.is_err() {
                return End::Broken;
            }
        }
    };
    let write = async move {
        let mut written = End::Finished;
        while let Some((at, chunk)) = arrivals.recv().await {
            sleep_until(at).await;
            let pace = audible(&mut link, of).await;
            if to.write_all(&chunk).await.is_err() {
                written = End::Broken;
                break;
            }
            if let Pace::BytesPerSecond(rate) = pace {
                sleep(Duration::from_secs_f64(chunk.len() as f64 / rate.max(1) as f64)).await;
            }
        }
        // The other side has gone already when this fails.
        let _ = to.shutdown().await;
        written
    };
    let (read, write) = tokio::join!(read, write);
    if read == End::Finished { write } else { End::Broken }
}

/// Waits until this direction is not silent; answers with its pace.
async fn audible(link: &mut watch::Receiver<Link>, of: fn(&Paces) -> Pace) -> Pace {
    loop {
        match *link.borrow_and_update() {
            Link::Open(paces) if of(&paces) != Pace::Silent => return of(&paces),
            _ => {}
        }
        if link.changed().await.is_err() {
            // The proxy is being dropped, and this task with it.
            std::future::pending::<()>().await;
        }
    }
}

fn chunk_bytes(pace: Pace) -> usize {
    match pace {
        Pace::BytesPerSecond(rate) => {
            usize::try_from(rate / WRITES_A_SECOND).unwrap_or(BUFFER_BYTES).clamp(1, BUFFER_BYTES)
        }
        _ => BUFFER_BYTES,
    }
}

#[cfg(test)]
mod tests;
