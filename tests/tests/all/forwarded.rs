//! Where a request came from, as the audit trail has it: what a client says of itself counts for nothing, with a trusted
//! proxy before the hub or without.

use std::path::Path;

use harness::{
    examples::fresh_topic,
    system::Hub,
    wait::{PATIENCE, eventually},
};
use reqwest::Method;
use serde_json::Value;

/// The address that the audit trail has for a request with these lines of `X-Forwarded-For`.
async fn recorded(trusted: &str, lines: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let trail = folder.path().join("audit");
    let settings = [("trusted_proxies", trusted), ("audit.to", trail.to_str().unwrap())];
    let hub = Hub::start_embedded(&settings).await.unwrap();
    let app = hub.app().unwrap();
    let request = app.request(Method::GET, &format!("/{}", fresh_topic()));
    let request = lines.iter().fold(request, |request, line| request.header("X-Forwarded-For", *line));
    app.send(request).await.unwrap().expect_status(200).unwrap();
    let address = eventually(PATIENCE, "a record", || async { address_in(&trail) });
    address.await.unwrap()
}

fn address_in(trail: &Path) -> Option<String> {
    let text = std::fs::read_to_string(trail).ok()?;
    let mut records = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    records.find_map(|record| Some(record["address"].as_str()?.to_owned()))
}

#[tokio::test]
async fn a_client_cannot_choose_its_address() {
    for (trusted, lines, address) in [
        ("[]", &["192.0.2.66"][..], "127.0.0.1"),
        ("10.0.0.0/8", &["192.0.2.66"], "127.0.0.1"),
        // The harness is the proxy here: what stands last is what it says of the client.
        ("127.0.0.0/8", &["192.0.2.66, 192.0.2.7"], "192.0.2.7"),
        ("127.0.0.0/8", &["192.0.2.66", "192.0.2.7"], "192.0.2.7"),
        ("127.0.0.0/8,10.0.0.0/8", &["192.0.2.66,192.0.2.7,10.0.0.9"], "192.0.2.7"),
        ("127.0.0.0/8", &["192.0.2.66,rubbish"], "127.0.0.1"),
    ] {
        assert_eq!(recorded(trusted, lines).await, address, "trusted: {trusted}, lines: {lines:?}");
    }
}
