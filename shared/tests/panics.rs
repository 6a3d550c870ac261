//! What a panic says is not printed, in a process of its own: the hook is for all of a process.

#![allow(clippy::unwrap_used)]

use std::{env, process::Command, thread};

use shared::{settings::Log, telemetry::logging};

const IS_CHILD: &str = "PANICS_CHILD";

#[test]
fn a_panic_is_told_by_its_place_and_not_by_its_message() {
    if env::var_os(IS_CHILD).is_some() {
        logging::init(&Log::default()).unwrap();
        let panicking = thread::Builder::new().name("worker-7".to_owned()).spawn(|| panic!("John Smith"));
        assert!(panicking.unwrap().join().is_err());
        return;
    }
    let mut child = Command::new(env::current_exe().unwrap());
    child.arg("--nocapture").env(IS_CHILD, "1").env("RUST_BACKTRACE", "1");
    let output = child.output().unwrap();
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed);
    assert!(output.status.success(), "{printed}");
    assert!(printed.contains("a panic") && printed.contains("tests/panics.rs:"), "{printed}");
    assert!(printed.contains("worker-7") && printed.contains("backtrace="), "{printed}");
    assert!(!printed.contains("Smith"), "{printed}");
}
