//! A short selection of the fault lab's experiments (`make faults` runs all of them, for longer): one of each kind of thing that
//! breaks, in each shape of Redis. What a run that fails has seen is kept; the message says where.

use harness::fault_lab::{
    faults::named,
    options::{Options, Shape},
    run::{Experiment, run},
};

/// Longer than a heartbeat is missed, shorter than in the long runs.
const HOLD_SECS: u64 = 8;

async fn survive(shape: Shape, durability: &str, fault: &str) -> Experiment {
    let seed = std::env::var("FHIRCAST_TEST_SEED")
        .map_or_else(|_| std::time::UNIX_EPOCH.elapsed().unwrap().as_secs(), |seed| seed.parse().unwrap());
    let options = Options {
        shape,
        durability: durability.to_owned(),
        hold_secs: Some(HOLD_SECS),
        keep: std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("fault-lab"),
        ..Options::default()
    };
    let experiment = run(&options, &[named(fault).unwrap()], seed).await.unwrap();
    let findings = &experiment.verdict.findings;
    let shown: String = findings.iter().take(20).map(|finding| format!("\n  {finding}")).collect();
    assert!(findings.is_empty(), "{fault}, seed {seed}, kept in {:?}:{shown}", experiment.kept);
    assert!(experiment.verdict.accepted > 50, "{fault}: {} events show nothing", experiment.verdict.accepted);
    experiment
}

macro_rules! experiments {
    ($($test:ident: $shape:ident $durability:literal $fault:literal;)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                survive(Shape::$shape, $durability, $fault).await;
            }
        )*
    };
}

experiments! {
    a_hub_is_killed: Single "primary" "hub-killed";
    a_worker_is_killed: Single "primary" "worker-killed";
    a_hub_stands_still: Single "primary" "hub-stopped";
    a_hub_is_cut_off_from_redis: Single "primary" "hub-redis-cut";
    a_worker_hears_nothing_from_redis: Single "primary" "worker-redis-silent";
    a_hubs_apps_hear_nothing_from_it: Single "primary" "apps-hub-silent";
    redis_is_killed: Single "primary" "redis-killed";
    the_disk_of_redis_is_full: Single "primary" "disk-full";
    clocks_are_wrong_by_five_minutes: Single "primary" "clocks-skewed";
    a_primary_behind_sentinels_stands_still: Sentinel "primary" "primary-stopped";
    a_master_of_a_cluster_is_killed: Cluster "primary" "primary-killed";
    slots_of_a_cluster_are_moved: Cluster "primary" "slots-moved";
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_all_programs_are_upgraded_nothing_is_lost_and_nothing_comes_again() {
    let experiment = survive(Shape::Single, "primary", "all-upgraded").await;
    assert!(experiment.verdict.reconnects >= 6, "everybody is sent to another hub, and back");
    assert_eq!(experiment.verdict.repeated, 0, "what has been answered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_with_a_primary_when_a_replica_has_it_too() {
    let experiment = survive(Shape::Sentinel, "replicas=1", "primary-killed").await;
    assert_eq!(experiment.verdict.announced, 0, "nothing that was accepted may be lost");
}
