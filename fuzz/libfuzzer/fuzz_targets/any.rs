//! One program for all targets, so that they are linked once: FHIRCAST_FUZZ_TARGET says which.
#![no_main]

use std::sync::LazyLock;

use fuzz::Target;
use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("FHIRCAST_FUZZ_TARGET").expect("FHIRCAST_FUZZ_TARGET names the target");
    fuzz::target(&name).expect("FHIRCAST_FUZZ_TARGET is none of the targets")
});

fuzz_target!(|bytes: &[u8]| TARGET.run(bytes));
