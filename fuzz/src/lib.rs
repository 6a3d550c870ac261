//! What every parser of foreign bytes promises, as functions over any bytes.
//!
//! A [`Target`] feeds bytes to a parser and asserts more than that it does not panic: that what was read renders and
//! reads as the same, that the sender's bytes pass through (FC-TRN-05), that limits hold, that two ways to the same
//! answer agree. A promise that is broken is a panic.
//!
//! The targets are run in two ways. `cargo test` runs each over its seeds and some thousand [`mutations`] of them,
//! always the same, within seconds. `make fuzz` runs them under libFuzzer (`libfuzzer/`), as long as one likes.

pub mod mutations;
mod seeds;
mod targets;

/// One parser, and what it promises.
pub struct Target {
    /// What it is called on the command line.
    pub name: &'static str,
    check: fn(&[u8]),
    seeds: fn() -> Vec<Vec<u8>>,
    /// Words of its language, for the mutations.
    pub words: &'static [&'static str],
}

impl Target {
    /// Panics if the promise does not hold for these bytes.
    pub fn run(&self, bytes: &[u8]) {
        (self.check)(bytes);
    }

    /// What the mutations begin with: good examples, and bad ones made by hand.
    pub fn seeds(&self) -> Vec<Vec<u8>> {
        (self.seeds)()
    }
}

/// All of them.
pub fn targets() -> &'static [Target] {
    &targets::ALL
}

/// The one of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    targets().iter().find(|target| target.name == name)
}
