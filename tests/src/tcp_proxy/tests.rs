//! Each way in which a link can be spoiled, and that it is whole again afterwards.

#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;
use crate::wait::{self, PATIENCE};
use std::io::ErrorKind;
use tokio::time::timeout;

/// So long is waited for what must not come.
const QUIET: Duration = Duration::from_millis(150);

/// A server that sends back what it gets, behind a proxy.
async fn echo() -> TcpProxy {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await
            });
        }
    });
    TcpProxy::start(address).unwrap()
}

async fn client(proxy: &TcpProxy) -> TcpStream {
    TcpStream::connect(proxy.address()).await.unwrap()
}

/// Sends, and waits for the echo; answers with how long it took.
async fn ask(stream: &mut TcpStream, text: &[u8]) -> Duration {
    let since = Instant::now();
    stream.write_all(text).await.unwrap();
    let mut echoed = vec![0; text.len()];
    timeout(PATIENCE, stream.read_exact(&mut echoed)).await.unwrap().unwrap();
    assert_eq!(echoed, text);
    since.elapsed()
}

async fn is_quiet(stream: &mut TcpStream) -> bool {
    timeout(QUIET, stream.read_u8()).await.is_err()
}

#[tokio::test]
async fn it_passes_everything_both_ways_and_the_end_too() {
    let proxy = echo().await;
    let mut stream = client(&proxy).await;
    let text: Vec<u8> = (0..300_000u32).map(|number| number as u8).collect();
    let (mut from, mut to) = stream.split();
    let (sent, received) = tokio::join!(
        async {
            to.write_all(&text).await?;
            to.shutdown().await
        },
        async {
            let mut echoed = Vec::new();
            from.read_to_end(&mut echoed).await.map(|_| echoed)
        }
    );
    sent.unwrap();
    assert!(received.unwrap() == text);
}

#[tokio::test]
async fn a_cut_resets_what_is_open_and_refuses_what_is_new_until_it_is_mended() {
    let proxy = echo().await;
    let mut stream = client(&proxy).await;
    ask(&mut stream, b"before").await;
    proxy.cut();
    let error = timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    wait::eventually(PATIENCE, "a refusal", || async {
        let refused = TcpStream::connect(proxy.address()).await.err()?;
        (refused.kind() == ErrorKind::ConnectionRefused).then_some(())
    })
    .await
    .unwrap();
    proxy.mend();
    let mut again = wait::eventually(PATIENCE, "a connection", || async {
        TcpStream::connect(proxy.address()).await.ok()
    })
    .await
    .unwrap();
    ask(&mut again, b"after").await;
}

#[tokio::test]
async fn the_port_is_kept_while_the_link_is_cut() {
    let proxy = echo().await;
    proxy.cut();
    wait::eventually(PATIENCE, "a refusal", || async {
        TcpStream::connect(proxy.address()).await.err().map(|_| ())
    })
    .await
    .unwrap();
    let taken = std::net::TcpListener::bind(proxy.address()).unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::AddrInUse);
}

#[tokio::test]
async fn a_silent_link_keeps_connections_open_takes_new_ones_and_passes_nothing_until_it_is_mended() {
    let proxy = echo().await;
    let mut old = client(&proxy).await;
    ask(&mut old, b"before").await;
    proxy.set(Paces::both(Pace::Silent));
    old.write_all(b"o").await.unwrap();
    let mut new = client(&proxy).await;
    new.write_all(b"n").await.unwrap();
    assert!(is_quiet(&mut old).await && is_quiet(&mut new).await);
    proxy.mend();
    assert_eq!(timeout(PATIENCE, old.read_u8()).await.unwrap().unwrap(), b'o');
    assert_eq!(timeout(PATIENCE, new.read_u8()).await.unwrap().unwrap(), b'n');
}

#[tokio::test]
async fn a_side_that_leaves_a_silent_link_is_not_missed_by_the_other() {
    let proxy = echo().await;
    let mut stream = client(&proxy).await;
    ask(&mut stream, b"before").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other = TcpProxy::start(listener.local_addr().unwrap()).unwrap();
    let left = client(&other).await;
    let (mut there, _) = listener.accept().await.unwrap();
    other.set(Paces::both(Pace::Silent));
    drop(left);
    assert!(is_quiet(&mut there).await);
    other.mend();
    assert_eq!(timeout(PATIENCE, there.read(&mut [0])).await.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn one_direction_may_be_silent_alone() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = TcpProxy::start(listener.local_addr().unwrap()).unwrap();
    let mut here = client(&proxy).await;
    let (mut there, _) = listener.accept().await.unwrap();
    proxy.set(Paces { to_client: Pace::Silent, ..Paces::default() });
    here.write_all(b"x").await.unwrap();
    assert_eq!(timeout(PATIENCE, there.read_u8()).await.unwrap().unwrap(), b'x');
    there.write_all(b"y").await.unwrap();
    assert!(is_quiet(&mut here).await);
}

#[tokio::test]
async fn a_delay_is_for_each_direction_and_costs_no_throughput() {
    let proxy = echo().await;
    let mut stream = client(&proxy).await;
    let delay = Duration::from_millis(100);
    proxy.set(Paces::both(Pace::Delayed(delay)));
    assert!(ask(&mut stream, b"x").await >= delay * 2);
    proxy.set(Paces { to_server: Pace::Delayed(delay), ..Paces::default() });
    let since = Instant::now();
    let (mut from, mut to) = stream.split();
    let text = vec![7; BUFFER_BYTES * 20];
    let mut echoed = vec![0; text.len()];
    let (sent, received) = tokio::join!(to.write_all(&text), from.read_exact(&mut echoed));
    assert!(sent.is_ok() && received.is_ok() && echoed == text);
    assert!(since.elapsed() >= delay && since.elapsed() < delay * 15, "{:?}", since.elapsed());
}

#[tokio::test]
async fn a_throttled_link_takes_its_time() {
    let proxy = echo().await;
    let mut stream = client(&proxy).await;
    proxy.set(Paces { to_server: Pace::BytesPerSecond(1000), ..Paces::default() });
    let took = ask(&mut stream, &[1; 300]).await;
    assert!(took >= Duration::from_millis(200), "{took:?}");
    proxy.mend();
    assert!(ask(&mut stream, &[1; 300]).await < Duration::from_millis(200));
}

#[tokio::test]
async fn who_connects_before_the_server_is_known_waits_for_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = TcpProxy::unconnected().unwrap();
    let mut here = client(&proxy).await;
    here.write_all(b"x").await.unwrap();
    proxy.lead_to(listener.local_addr().unwrap());
    let (mut there, _) = listener.accept().await.unwrap();
    assert_eq!(timeout(PATIENCE, there.read_u8()).await.unwrap().unwrap(), b'x');
}

#[tokio::test]
async fn a_server_that_is_not_there_is_seen_by_who_connects() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let proxy = TcpProxy::start(nobody).unwrap();
    let mut stream = client(&proxy).await;
    assert!(timeout(PATIENCE, stream.read_u8()).await.unwrap().is_err());
}

#[tokio::test]
async fn who_hears_what_is_published_may_have_a_pace_of_its_own_and_else_has_that_of_all() {
    let proxy = echo().await;
    let (mut subscriber, mut other) = (client(&proxy).await, client(&proxy).await);
    ask(&mut subscriber, b"HELLO 3").await;
    ask(&mut other, b"GET x").await;
    ask(&mut other, b"HELLO 3").await;

    proxy.set_for_subscribers(Paces::both(Pace::Silent));
    subscriber.write_all(b"x").await.unwrap();
    assert!(is_quiet(&mut subscriber).await);
    ask(&mut other, b"still here").await;

    proxy.mend();
    timeout(PATIENCE, subscriber.read_u8()).await.unwrap().unwrap();
    proxy.set(Paces::both(Pace::Silent));
    for stream in [&mut subscriber, &mut other] {
        stream.write_all(b"y").await.unwrap();
        assert!(is_quiet(stream).await, "what is set for all is set for it too");
    }
}
