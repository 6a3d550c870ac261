//! The load tool as its users start it: its floor is clean, its bounds hold, and its exit status says what it saw.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::process::{Command, Output};

use serde_json::Value;

fn load(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fhircast-load")).args(arguments).output().unwrap()
}

#[test]
fn the_floor_delivers_everything_once_and_in_order() {
    let output = load(&[
        "--floor",
        "--sockets=12",
        "--topics=4",
        "--rate=100",
        "--seconds=1",
        "--warmup-seconds=0.2",
        "--format=json",
    ]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["events"]["offered"], 120);
    assert_eq!(report["events"]["accepted"], 120);
    assert_eq!(report["deliveries"]["expected"], 360);
    assert_eq!(report["deliveries"]["delivered"], 360);
    assert_eq!(report["latency_us"]["publish_to_frame"]["count"], 300);
    assert_eq!(report["processes"][0]["name"], "echo");
}

#[test]
fn a_target_on_another_machine_is_refused_before_anything_is_sent() {
    for allowed_once in ["--yes-really", "--i-know-this-is-not-loopback"] {
        let output = load(&["--hub=http://192.0.2.1/api/hub", allowed_once]);
        assert_eq!(output.status.code(), Some(2));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains("not on this machine"), "{error}");
    }
}

#[test]
fn a_hub_that_is_not_there_fails_the_run() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let output = load(&[&format!("--hub=http://127.0.0.1:{port}/api/hub"), "--sockets=1", "--seconds=1"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}
