//! The memory store is the model: the same random operations on it and on Redis, the same answers.
//!
//! What depends on the clock or on chance is kept out: leases, graces and pauses are endless or
//! nothing, positions are told by their place in the log, and tokens not at all.

mod operations;
mod side;

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

use self::{
    operations::{MAX_CONTENT_BYTES, ROOM_FOR_ALL, beginning, operation},
    side::{Cast, Side},
};
use crate::stores::{Kind, RETENTION, open};

/// On one server; in another shape the same scripts run, and only the way to them is another.
const CASES: u32 = 64;
const CASES_IN_ANOTHER_SHAPE: u32 = 16;
const MAX_OPERATIONS: usize = 40;

#[test]
fn redis_answers_as_memory_does() {
    answers_as_memory_does(Kind::Redis, CASES);
}

#[test]
fn redis_behind_sentinels_answers_as_memory_does() {
    answers_as_memory_does(Kind::Sentinel, CASES_IN_ANOTHER_SHAPE);
}

#[test]
fn redis_cluster_answers_as_memory_does() {
    answers_as_memory_does(Kind::Cluster, CASES_IN_ANOTHER_SHAPE);
}

fn answers_as_memory_does(kind: Kind, cases: u32) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (memory, redis) =
        runtime.block_on(async { (open(Kind::Memory, RETENTION).await, open(kind, RETENTION).await) });
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let operations = prop::collection::vec(operation(), 1..=MAX_OPERATIONS);
    let outcome = runner.run(&operations, |operations| {
        runtime.block_on(async {
            let cast = Cast::new();
            let most = if kind.seals() { ROOM_FOR_ALL } else { MAX_CONTENT_BYTES };
            let (mut model, mut real) = (Side::new(memory.share(), most), Side::new(redis.share(), most));
            for (step, operation) in beginning().iter().chain(&operations).enumerate() {
                let expected = model.perform(&cast, step, operation).await;
                let answer = real.perform(&cast, step, operation).await;
                prop_assert_eq!(answer, expected, "the answer to step {}, {:?}", step, operation);
                prop_assert_eq!(
                    real.look(&cast).await,
                    model.look(&cast).await,
                    "after step {}, {:?}",
                    step,
                    operation
                );
            }
            Ok(())
        })
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    runtime.block_on(async { drop(redis) });
}
