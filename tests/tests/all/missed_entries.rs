//! Subscribers that come back when the log no longer holds all that they have missed (FC-NOT-03, FC-WSC-08).

use harness::{examples::fresh_topic, wait::PATIENCE};

use crate::{
    messages::{event, patient_open},
    setups::{Kind, code_of, ids_until, on_each_setup, sync_error_after, sync_errors_until},
};

on_each_setup![who_has_missed_what_is_no_longer_kept_is_told_and_begins_anew];

/// Redis trims a log by whole nodes of 100 entries, and a relay with a socket keeps the last 256.
const MORE_THAN_IS_KEPT: usize = 300;

async fn who_has_missed_what_is_no_longer_kept_is_told_and_begins_anew(kind: Kind) {
    let (setup, topic) = (kind.own(&[("limits.log_entries", "5")]).await, fresh_topic());
    let mut viewer = setup.named_listener(&topic, "*", &[("subscriber.name", "Viewer")]).await;
    let reporter = setup.listener(&topic, "syncerror,org.example.last").await;
    setup.publish(&patient_open(&topic, "before")).await;
    viewer.wait_for_event(PATIENCE, "before").await.unwrap();
    viewer.drop_connection().await;
    for number in 0..MORE_THAN_IS_KEPT {
        setup.publish(&patient_open(&topic, &number.to_string())).await;
    }
    viewer.reconnect().await.unwrap();
    let told = sync_error_after(&viewer, 0).await;
    let about = (code_of(&told, "subscriber"), code_of(&told, "eventid"));
    assert_eq!(about, ("Viewer".into(), String::new()), "FC-NOT-03: it hears that it has missed something");
    let heard = sync_error_after(&reporter, 0).await;
    assert_eq!(code_of(&heard, "subscriber"), "Viewer", "FC-NOT-03: and so do the others");
    setup.publish(&event(&topic, "last", "org.example.last", "")).await;
    let open_now = (MORE_THAN_IS_KEPT - 1).to_string();
    let expected = ["before", told["id"].as_str().unwrap(), &open_now, "last"];
    assert_eq!(ids_until(&viewer, "last").await, expected, "FC-SUB-08, FC-WSC-08: from what is open now on");
    assert_eq!(sync_errors_until(&reporter, "last").await.len(), 1, "FC-NOT-03: once");
    let gaps = setup.a().metrics().await.unwrap().value("fhircast_gaps_total");
    assert_eq!(gaps, Some(1.0), "a gap is counted");
}
