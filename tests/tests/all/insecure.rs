//! A hub that others can reach without authentication or TLS starts only when it is told so twice, and says so each time
//! (FC-SEC-01).

use harness::{
    certs::Certificates,
    system::{Hub, borrowed},
    wait::PATIENCE,
};

const NO_AUTHENTICATION: &str = "insecure: authentication is off";
const NO_TLS: &str = "insecure: other machines reach the hub without TLS";

fn says(hub: &Hub, what: &str) -> bool {
    // The warnings come before the line that the start has waited for.
    hub.log_lines().iter().any(|line| line.contains(what) && line.contains("WARN"))
}

#[tokio::test]
async fn a_hub_refuses_to_be_reached_from_other_machines_unless_told_twice() {
    for listen in ["0.0.0.0:0", "[::]:0", "[::ffff:0.0.0.0]:0"] {
        let refused = Hub::start_embedded(&[("listen", listen)]).await.err().unwrap().to_string();
        assert!(refused.contains("listen and auth.mode"), "FC-SEC-01: {listen}: {refused}");
        assert!(refused.contains("listen and tls.cert"), "FC-SEC-01: {listen}: {refused}");
    }
    let settings = [("listen", "0.0.0.0:0"), ("insecure", "true")];
    let hub = Hub::start_embedded(&settings).await.unwrap();
    assert!(says(&hub, NO_AUTHENTICATION), "FC-SEC-01: {}", hub.log_tail());
    assert!(says(&hub, NO_TLS), "FC-SEC-01: {}", hub.log_tail());
    assert_eq!(missing(&hub).await, [Some(1.0), Some(1.0)], "FC-SEC-01");
}

/// What the hub shows to be missing: authentication, TLS.
async fn missing(hub: &Hub) -> [Option<f64>; 2] {
    let metrics = hub.metrics().await.unwrap();
    ["authentication", "tls"].map(|what| metrics.value(&format!("fhircast_insecure{{missing=\"{what}\"}}")))
}

#[tokio::test]
async fn a_hub_says_which_of_both_is_missing() {
    let certificates = Certificates::new().unwrap();
    let files = certificates.settings("tls");
    let settings = [&[("listen", "0.0.0.0:0"), ("insecure", "true")], &borrowed(&files)[..]].concat();
    let hub = Hub::start_embedded(&settings).await.unwrap();
    assert!(says(&hub, NO_AUTHENTICATION), "FC-SEC-01: {}", hub.log_tail());
    assert!(!says(&hub, NO_TLS), "FC-SEC-01: {}", hub.log_tail());
    assert_eq!(missing(&hub).await, [Some(1.0), Some(0.0)], "FC-SEC-01");
}

#[tokio::test]
async fn a_hub_on_loopback_says_that_authentication_is_off_and_is_not_insecure() {
    let mut hub = Hub::start_embedded(&[("admin_listen", "0.0.0.0:0")]).await.unwrap();
    hub.process()
        .wait_for_log(PATIENCE, "a warning", |line| line.contains("authentication is off").then_some(()))
        .await
        .unwrap();
    assert!(!says(&hub, "insecure: "), "FC-SEC-01: {}", hub.log_tail());
}
