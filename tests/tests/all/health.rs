//! Health and readiness, as an orchestrator asks for them.

use std::time::{Duration, Instant};

use harness::{
    process::Signal,
    redis_cluster::{ClusterOptions, ClusterRedis},
    redis_server::Durability,
    system::{Hub, Program, System, Worker},
    tcp_proxy::{Pace, Paces, TcpProxy},
    wait::{PATIENCE, eventually},
};

/// After which whoever watches a program knows that something is wrong with it.
const NOTICED_WITHIN: Duration = Duration::from_secs(10);

async fn ask(admin_url: &str, path: &str) -> (u16, String) {
    let answer = reqwest::get(format!("{admin_url}{path}")).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn until_ready_is(admin_url: &str, expected: u16) -> String {
    let what = format!("{expected} from {admin_url}/readyz");
    let look = || async {
        let (status, text) = ask(admin_url, "/readyz").await;
        (status == expected).then_some(text)
    };
    eventually(PATIENCE, &what, look).await.unwrap()
}

#[tokio::test]
async fn a_program_that_has_lost_redis_lives_and_is_not_ready_until_it_is_back() {
    let mut system = System::builder().hubs(1).workers(1).durability(Durability::None).start().await.unwrap();
    let admins = [system.hubs[0].admin_url().to_owned(), system.workers[0].admin_url().to_owned()];
    for admin in &admins {
        assert!(until_ready_is(admin, 200).await.contains("store: ok"));
    }
    system.redis.single().stop().await.unwrap();
    for admin in &admins {
        assert!(until_ready_is(admin, 503).await.contains("store: does not answer"));
        assert_eq!(ask(admin, "/healthz").await.0, 200, "it has not to be restarted for that");
    }
    let hub = &system.hubs[0];
    let tried_again = || async {
        let failed =
            hub.metrics().await.ok()?.value("fhircast_redis_errors_total{operation=\"register_node\"}")?;
        (failed >= 2.0).then_some(())
    };
    eventually(PATIENCE, "a hub that has tried twice", tried_again).await.unwrap();
    system.redis.single().start_again().await.unwrap();
    for admin in &admins {
        until_ready_is(admin, 200).await;
    }
    // However long that lasts, the log says once when it begins, and once when it is over.
    let lines = |words: &str| {
        let lines = system.hubs[0].log_lines();
        lines.iter().filter(|line| line.contains(words)).count()
    };
    let over = || async { (lines("the node says again that it lives") == 1).then_some(()) };
    eventually(PATIENCE, "a line that says that it is over", over).await.unwrap();
    assert_eq!(lines("the node cannot say that it lives"), 1);
}

/// A hub behind a wire to Redis that can be spoiled.
struct Wired {
    _system: System,
    proxy: TcpProxy,
    hub: Hub,
    worker: Worker,
}

impl Wired {
    async fn start() -> Wired {
        let system = System::builder().hubs(0).workers(0).durability(Durability::None).start().await.unwrap();
        let server = system.redis.servers()[0].port();
        let proxy = TcpProxy::start(([127, 0, 0, 1], server).into()).unwrap();
        let url = format!("redis://{}", proxy.address());
        let settings = [("redis.url", url.as_str())];
        let (hub, worker) = (Hub::start(&settings).await.unwrap(), Worker::start(&settings).await.unwrap());
        let wired = Wired { _system: system, proxy, hub, worker };
        for admin in wired.admins() {
            let report = until_ready_is(admin, 200).await;
            assert!(report.contains("bells: heard") && report.contains("agreement: ok"), "{report}");
        }
        wired
    }

    fn admins(&self) -> [&str; 2] {
        [self.hub.admin_url(), self.worker.admin_url()]
    }

    /// Both programs say within ten seconds that they are not ready.
    async fn is_noticed(&self, since: Instant) {
        for admin in self.admins() {
            until_ready_is(admin, 503).await;
            assert!(since.elapsed() < NOTICED_WITHIN, "{admin}: {:?}", since.elapsed());
            assert_eq!(ask(admin, "/healthz").await.0, 200, "its loops turn all the same");
        }
    }
}

#[tokio::test]
async fn a_redis_that_is_silent_is_noticed_within_ten_seconds() {
    let wired = Wired::start().await;
    let since = Instant::now();
    wired.proxy.set(Paces::both(Pace::Silent));
    wired.is_noticed(since).await;
    wired.proxy.mend();
    for admin in wired.admins() {
        until_ready_is(admin, 200).await;
    }
}

#[tokio::test]
async fn bells_that_are_not_heard_are_noticed_within_ten_seconds_though_all_else_works() {
    let wired = Wired::start().await;
    let since = Instant::now();
    wired.proxy.set_for_subscribers(Paces::both(Pace::Silent));
    wired.is_noticed(since).await;
    for admin in wired.admins() {
        let (_, report) = ask(admin, "/readyz").await;
        assert!(report.contains("bells: not heard for ") && report.contains("store: ok"), "{report}");
    }
    let metrics = wired.hub.metrics().await.unwrap();
    for (series, value) in [
        ("fhircast_ready_part{part=\"bells\"}", 0.0),
        ("fhircast_ready_part{part=\"store\"}", 1.0),
        ("fhircast_ready", 0.0),
    ] {
        assert_eq!(metrics.value(series), Some(value), "{series}");
    }
    let failed = "fhircast_redis_connects_total{connection=\"bells\",outcome=\"failed\"}";
    assert!(metrics.value(failed) >= Some(1.0), "it is tried again");

    wired.proxy.mend();
    for admin in wired.admins() {
        until_ready_is(admin, 200).await;
    }
}

/// What one server of several has is not to be had then; the rest is, and whoever wants that is not to be sent away.
#[tokio::test]
async fn a_cluster_of_which_one_server_is_away_leaves_the_programs_ready() {
    let node_timeout = Duration::from_secs(60);
    let options = ClusterOptions { replicas: 0, node_timeout, ..Durability::None.into() };
    let mut redis = ClusterRedis::start(options).await.unwrap();
    redis.ask_servers(&["CONFIG", "SET", "cluster-require-full-coverage", "no"]).await.unwrap();
    let hub = Hub::start(&[("redis.url", redis.url().as_str())]).await.unwrap();
    until_ready_is(hub.admin_url(), 200).await;
    redis.signal(0, Signal::STOP).unwrap();
    let stopped = Instant::now();
    while stopped.elapsed() < NOTICED_WITHIN {
        let (status, report) = ask(hub.admin_url(), "/readyz").await;
        assert_eq!(status, 200, "{:?}: {report}", stopped.elapsed());
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let refused = "fhircast_redis_connects_total{connection=\"bells\",outcome=\"failed\"}";
    assert!(hub.metrics().await.unwrap().value(refused) >= Some(1.0), "its bells are not heard");
    redis.signal(0, Signal::CONT).unwrap();
}

#[tokio::test]
async fn a_redis_that_is_another_clusters_is_noticed() {
    let mut system = System::builder().hubs(1).workers(1).durability(Durability::None).start().await.unwrap();
    let admins = [system.hubs[0].admin_url().to_owned(), system.workers[0].admin_url().to_owned()];
    let redis = system.redis.single();
    redis.ask::<()>(&["SET", "fhircast:partitions", "7"]).await.unwrap();
    for admin in &admins {
        let report = until_ready_is(admin, 503).await;
        assert!(report.contains("agreement: redis.partitions: it is 256 here and 7 in Redis"), "{report}");
    }
    // Who finds nothing agreed says what it means.
    redis.ask::<()>(&["FLUSHALL"]).await.unwrap();
    for admin in &admins {
        until_ready_is(admin, 200).await;
    }
    assert_eq!(redis.ask::<String>(&["GET", "fhircast:partitions"]).await.unwrap(), "256");
    // Whoever notices first tells.
    let mut emptied = 0.0;
    for program in [&system.hubs[0] as &Program, &system.workers[0]] {
        emptied += program.metrics().await.unwrap().value("fhircast_store_emptied_total").unwrap();
    }
    assert_eq!(emptied, 1.0);
}

#[tokio::test]
async fn every_loop_of_a_program_is_watched() {
    let system = System::builder().hubs(1).workers(1).durability(Durability::None).start().await.unwrap();
    let (status, loops) = ask(system.hubs[0].admin_url(), "/healthz").await;
    let mut named: Vec<&str> = loops.lines().collect();
    named.sort_unstable();
    let expected = [
        "answers: turns",
        "cursors: turns",
        "doubts: turns",
        "heads: turns",
        "lease: turns",
        "requests: turns",
    ];
    assert_eq!((status, named), (200, expected.to_vec()));
    assert_eq!(ask(system.workers[0].admin_url(), "/healthz").await, (200, "claims: turns\n".to_owned()));
}
