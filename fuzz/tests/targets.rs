//! Every target over its seeds, and over some thousand mutations of them: the same each time, within seconds.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use fuzz::{Target, mutations::Mutations, targets};

const MUTATIONS: usize = 3000;
/// A target that is slow on a busy machine does with fewer.
const MOST: Duration = Duration::from_secs(3);

/// The first input for which the target's promise does not hold.
fn broken_by(target: &Target) -> Option<Vec<u8>> {
    let seeds = target.seeds();
    assert!(!seeds.is_empty(), "{} has seeds", target.name);
    let begun = Instant::now();
    let mutations = Mutations::new(&seeds, target.words, 1).take(MUTATIONS);
    let mut inputs = seeds.iter().cloned().chain(mutations.take_while(|_| begun.elapsed() < MOST));
    inputs.find(|bytes| catch_unwind(AssertUnwindSafe(|| target.run(bytes))).is_err())
}

#[test]
fn every_target_holds_for_its_seeds_and_for_what_is_a_little_like_them() {
    let broken = targets().iter().filter_map(|target| Some((target.name, broken_by(target)?)));
    let broken: Vec<String> =
        broken.map(|(name, bytes)| format!("{name} does not hold for {}", bytes.escape_ascii())).collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn targets_have_names_of_their_own() {
    let mut names: Vec<_> = targets().iter().map(|target| target.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), targets().len());
}
