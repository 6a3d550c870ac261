#![allow(clippy::unwrap_used)]

use super::*;
use crate::settings::{Defaults, Settings};

fn gate(change: impl FnOnce(&mut Callbacks)) -> Gate {
    let mut settings = Settings::new(Defaults::Standard).callbacks;
    change(&mut settings);
    Gate::new(&settings).unwrap()
}

async fn told(gate: &Gate, callback: &str) -> Option<String> {
    let callback = Url::parse(callback).unwrap();
    gate.admit(&callback, Some(())).await.err().map(|refusal| refusal.told(&callback).unwrap_or_default())
}

#[tokio::test]
async fn however_an_address_is_written_it_is_judged_as_the_address() {
    let gate = gate(|_| {});
    for host in [
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0X7F.0x1",
        "0177.0.0.1",
        "017700000001",
        "127.0.0.1.",
        "127。0。0。1",
        "１２７.０.０.１",
        "①②⑦.1",
        "%31%32%37.1",
        "[::1]",
        "[0:0::0:1]",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[::ffff:7f00:1]",
    ] {
        let answer = told(&gate, &format!("https://{host}/cb")).await.unwrap();
        assert!(
            answer.contains("a loopback address") && answer.contains("callbacks.allowed_networks"),
            "FC-SEC-02: {host}: {answer}"
        );
    }
}

#[test]
fn a_zone_a_broken_address_or_a_number_too_large_is_no_url() {
    for host in
        ["[fe80::1%25eth0]", "[fe80::1%eth0]", "256.1", "4294967296", "1.2.3.4.5", "0x", "[::1", "a b"]
    {
        let parsed = Url::parse(&format!("https://{host}/"));
        let is_empty_hexadecimal = host == "0x";
        assert!(parsed.is_err() || is_empty_hexadecimal, "FC-SEC-02: {host}: {parsed:?}");
    }
    // As browsers have it: nothing after 0x is nought.
    assert_eq!(Url::parse("https://0x/").unwrap().host_str(), Some("0.0.0.0"), "FC-SEC-02");
}

#[tokio::test]
async fn what_only_a_lenient_parser_takes_for_an_address_reaches_no_resolver() {
    // A resolver would have to wait for this server, and say so.
    let gate = gate(|settings| settings.dns_servers = vec!["127.0.0.1:9".parse().unwrap()]);
    for host in
        ["127.1", "0x7f.1", "2130706433", "0177.1.", "a.0x7f", "example.1", "fe80::1", "[fe80::1%1]", ".", ""]
    {
        assert_eq!(gate.addresses(host, 443, Some(())).await, Err(Refusal::NoHost), "FC-SEC-02: {host}");
    }
}

#[tokio::test]
async fn a_forbidden_literal_is_told_by_its_kind_and_by_the_setting() {
    let gate = gate(|_| {});
    assert_eq!(
        told(&gate, "https://10.0.0.1/").await.unwrap(),
        "hub.callback leads to a private address, and callbacks.allowed_networks does not hold it"
    );
    let metadata = told(&gate, "https://169.254.169.254/latest/meta-data").await.unwrap();
    assert!(metadata.contains("a cloud metadata address, which callbacks never reach"), "{metadata}");
    assert_eq!(told(&gate, "https://8.8.8.8/").await, None);
}

#[tokio::test]
async fn ports_are_those_of_the_settings() {
    let closed = gate(|_| {});
    for (url, expected) in [
        ("https://8.8.8.8/", None),
        ("https://8.8.8.8:8443/", None),
        ("https://8.8.8.8:80/", None),
        ("https://8.8.8.8:22/", Some("callbacks.allowed_ports")),
        ("https://8.8.8.8:25/", Some("callbacks.allowed_ports")),
        ("https://8.8.8.8:6379/", Some("callbacks.forbidden_ports")),
        ("https://8.8.8.8:2375/", Some("callbacks.forbidden_ports")),
        ("http://8.8.8.8/", Some("callbacks.allow_http")),
        ("ftp://8.8.8.8/", Some("callbacks.allow_http")),
    ] {
        let answer = told(&closed, url).await;
        let is_as_expected = match (&answer, expected) {
            (None, None) => true,
            (Some(answer), Some(setting)) => answer.contains(setting) && !answer.contains("8.8.8.8"),
            _ => false,
        };
        assert!(is_as_expected, "FC-SEC-02: {url}: {answer:?}");
    }
    let own = gate(|settings| {
        settings.allow_http = true;
        settings.allowed_ports = vec!["22-25".parse().unwrap()];
        settings.forbidden_ports = vec!["23".parse().unwrap()];
    });
    assert_eq!(told(&own, "http://8.8.8.8:22/").await, None);
    assert!(told(&own, "http://8.8.8.8:23/").await.unwrap().contains("callbacks.forbidden_ports"));
    assert!(told(&own, "http://8.8.8.8/").await.unwrap().contains("callbacks.allowed_ports"));
}

#[tokio::test]
async fn a_name_that_leads_inside_and_a_name_that_leads_nowhere_are_told_alike() {
    let callback = Url::parse("https://intranet.example/").unwrap();
    let inside = Refusal::from(address_policy::check("10.1.2.3".parse().unwrap(), &[]).unwrap_err());
    let nowhere = Refusal::from(Unresolved::NoAddress);
    assert_eq!(inside.told(&callback), nowhere.told(&callback), "FC-SEC-02");
    let said = inside.told(&callback).unwrap();
    assert!(said.contains("callbacks.allowed_networks") && !said.contains("10.1.2.3"), "FC-SEC-02: {said}");
    assert!(inside.to_string().contains("10.1.2.3"), "the operator's log says what it is");
}

#[tokio::test]
async fn names_of_this_machine_lead_to_this_machine_and_are_judged_so() {
    let own = gate(|settings| settings.dns_servers = vec!["127.0.0.1:9".parse().unwrap()]);
    for name in ["localhost", "localhost.", "LOCALHOST", "app.localhost", "ｌｏｃａｌｈｏｓｔ"] {
        let callback = Url::parse(&format!("https://{name}/")).unwrap();
        let refusal = own.admit(&callback, Some(())).await.unwrap_err();
        assert!(matches!(refusal, Refusal::Address(_)), "FC-SEC-02: {name}: {refusal}");
    }
    // And by the system's resolver, which has it in its own file.
    let system = gate(|_| {});
    let refusal = system.admit(&Url::parse("https://localhost/").unwrap(), Some(())).await.unwrap_err();
    assert!(matches!(refusal, Refusal::Address(_)), "FC-SEC-02: {refusal}");
}

#[tokio::test]
async fn who_has_no_share_has_no_name_looked_up_and_an_address_needs_none() {
    let gate = gate(|_| {});
    let name = Url::parse("https://localhost/").unwrap();
    let refusal = gate.admit(&name, None::<()>).await.unwrap_err();
    assert_eq!(refusal.told(&name), None, "FC-SEC-02: it may be all right: {refusal}");
    let address = Url::parse("https://127.0.0.1/").unwrap();
    assert!(matches!(gate.admit(&address, None::<()>).await, Err(Refusal::Address(_))), "FC-SEC-02");
}
