//! Callbacks cannot be used against anybody (FC-SEC-02, FC-WHK-01): what is refused when somebody subscribes, what is
//! refused later, and what is told to whom.
//!
//! All of 127.0.0.0/8 is this machine: 127.0.0.2 stands for a network that is allowed, 127.0.0.1 for the inside.

use std::{
    collections::HashSet,
    net::{IpAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use harness::{
    callback_server::{CallbackServer, Reply},
    client::Answer,
    examples::{fresh_id, fresh_topic},
    name_server::{NameServer, Records},
    redis_server::Durability,
    system::{Hub, System, Worker},
    wait::{PATIENCE, eventually},
};

use crate::messages::patient_open;

const ALLOWED: &str = "127.0.0.2/32";

/// The inside, which must not be reached, and an app's server, both at the same port.
pub struct Place {
    inside: TcpListener,
    pub app: CallbackServer,
    pub port: u16,
}

impl Place {
    pub fn new() -> Place {
        loop {
            let inside = TcpListener::bind("127.0.0.1:0").unwrap();
            inside.set_nonblocking(true).unwrap();
            let port = inside.local_addr().unwrap().port();
            if let Ok(app) = CallbackServer::start_at(("127.0.0.2", port)) {
                return Place { inside, app, port };
            }
        }
    }

    fn is_inside_untouched(&self) -> bool {
        self.inside.accept().is_err()
    }
}

pub fn addresses<const N: usize>(addresses: [&str; N]) -> Records {
    Records::Addresses(addresses.map(|address| address.parse::<IpAddr>().unwrap()).to_vec())
}

pub async fn hub_asking(servers: &NameServer, more: &[(&str, &str)]) -> Hub {
    let servers = servers.address().to_string();
    let own = [("callbacks.allowed_networks", ALLOWED), ("callbacks.dns_servers", servers.as_str())];
    Hub::start_embedded(&[&own[..], more].concat()).await.unwrap()
}

pub async fn subscribe(hub: &Hub, topic: &str, callback: &str) -> Answer {
    hub.app().unwrap().subscribe_webhook(topic, "Patient-open", callback, &[]).await.unwrap()
}

/// How many callbacks the process has refused to connect to, or could not.
async fn given_up(hub: &Hub) -> f64 {
    let metrics = hub.metrics().await.unwrap();
    ["forbidden", "unreachable"]
        .map(|outcome| {
            metrics
                .value(&format!("fhircast_callback_attempts_total{{outcome=\"{outcome}\"}}"))
                .unwrap_or(0.0)
        })
        .iter()
        .sum()
}

#[tokio::test]
async fn a_callback_that_leads_inside_is_refused_when_it_is_subscribed() {
    let hub = Hub::start_embedded(&[("callbacks.allowed_networks", "[]")]).await.unwrap();
    let secret = "token=s3cret";
    for (host, kind) in [
        ("127.0.0.1", "a loopback address"),
        ("2130706433", "a loopback address"),
        ("0x7f.1", "a loopback address"),
        ("127.1", "a loopback address"),
        ("127。0。0。1", "a loopback address"),
        ("[::1]", "a loopback address"),
        ("[::ffff:10.0.0.1]", "a private address"),
        ("169.254.169.254", "a cloud metadata address"),
        ("[fd00:ec2::254]", "a cloud metadata address"),
        ("0.0.0.0", "an unspecified address"),
        ("localhost", "leads nowhere"),
    ] {
        let answer = subscribe(&hub, &fresh_topic(), &format!("http://{host}:8080/cb?{secret}")).await;
        assert_eq!(answer.status, 400, "FC-SEC-02: {host}: {answer:?}");
        let told = &answer.body;
        assert!(
            told.contains("hub.callback")
                && told.contains("callbacks.allowed_networks")
                && told.contains(kind),
            "FC-SEC-02: {host}: {told}"
        );
        assert!(!told.contains("s3cret"), "FC-SEC-02: {told}");
    }
    let log = hub.log_tail();
    assert!(log.contains("a callback is refused") && log.contains("callbacks.allowed_networks"), "{log}");
    assert!(!log.contains("s3cret"), "FC-SEC-02: a callback's query is in no log");
}

#[tokio::test]
async fn a_port_of_a_database_is_refused_when_it_is_subscribed() {
    let hub = Hub::start_embedded(&[]).await.unwrap();
    for (port, setting) in [
        (6379, "callbacks.forbidden_ports"),
        (2375, "callbacks.forbidden_ports"),
        (22, "callbacks.allowed_ports"),
    ] {
        let answer = subscribe(&hub, &fresh_topic(), &format!("http://127.0.0.1:{port}/")).await;
        assert!(answer.status == 400 && answer.body.contains(setting), "FC-SEC-02: {port}: {answer:?}");
    }
    // Nobody else's database is asked: this one is the test's.
    let database = CallbackServer::start().unwrap();
    let url = database.url("/");
    let port = url.trim_end_matches('/').rsplit(':').next().unwrap();
    for (forbidden, status) in [(format!("[{port}]"), 400), ("[]".to_owned(), 202)] {
        let hub = Hub::start_embedded(&[("callbacks.forbidden_ports", &forbidden)]).await.unwrap();
        let answer = subscribe(&hub, &fresh_topic(), &url).await;
        assert_eq!(answer.status, status, "FC-SEC-02: callbacks.forbidden_ports={forbidden}: {answer:?}");
    }
}

#[tokio::test]
async fn names_are_asked_of_the_servers_that_are_set() {
    let place = Place::new();
    let servers = NameServer::start(|name| match name {
        "app.example" => addresses(["127.0.0.2"]),
        "alias.example" => Records::Alias("app.example".to_owned(), vec!["127.0.0.2".parse().unwrap()]),
        _ => Records::NoName,
    })
    .unwrap();
    let hub = hub_asking(&servers, &[]).await;
    for name in ["app.example", "alias.example", "APP.example."] {
        let topic = fresh_topic();
        let path = format!("/{topic}");
        let answer = subscribe(&hub, &topic, &format!("http://{name}:{}{path}", place.port)).await;
        assert_eq!(answer.status, 202, "{name}: {answer:?}");
        place
            .app
            .wait_for(PATIENCE, "the intent", |requests| {
                requests.iter().any(|request| request.path == path).then_some(())
            })
            .await
            .unwrap();
    }
    assert!(servers.asked().contains(&"app.example".to_owned()));
}

#[tokio::test]
async fn a_name_that_leads_inside_is_told_like_a_name_that_leads_nowhere() {
    let place = Place::new();
    let servers = NameServer::start(|name| match name {
        "inside.example" => addresses(["127.0.0.1"]),
        "mixed.example" => addresses(["127.0.0.2", "127.0.0.1"]),
        "metadata.example" => addresses(["169.254.169.254"]),
        "six.example" => addresses(["127.0.0.2", "::1"]),
        "alias.example" => Records::Alias("localhost".to_owned(), vec!["127.0.0.1".parse().unwrap()]),
        "large.example" => Records::Addresses(
            (0..2000u32)
                .map(|number| IpAddr::from((0x7f00_0002 + (number / 1999) * 7).to_be_bytes()))
                .collect(),
        ),
        _ => Records::NoName,
    })
    .unwrap();
    let hub = hub_asking(&servers, &[]).await;
    let mut told = Vec::new();
    for name in ["inside", "mixed", "metadata", "six", "alias", "large", "nobody"]
        .map(|name| format!("{name}.example"))
    {
        let answer = subscribe(&hub, &fresh_topic(), &format!("http://{name}:{}/", place.port)).await;
        assert_eq!(answer.status, 400, "FC-SEC-02: {name}: {answer:?}");
        told.push(answer.body);
    }
    assert!(
        told.iter().all(|text| *text == told[0]),
        "FC-SEC-02: nobody learns which names there are: {told:?}"
    );
    assert!(told[0].contains("callbacks.allowed_networks") && !told[0].contains("127.0.0"), "{}", told[0]);
    assert!(place.is_inside_untouched(), "FC-SEC-02");
}

#[tokio::test]
async fn a_name_that_leads_elsewhere_later_is_judged_by_where_it_leads_then() {
    for evil in ["127.0.0.1", "169.254.169.254"] {
        let place = Place::new();
        // The first question (for both families) is the hub's, when somebody subscribes.
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let servers = NameServer::start(move |_| {
            if count.fetch_add(1, Ordering::SeqCst) < 2 {
                addresses(["127.0.0.2"])
            } else {
                addresses([evil])
            }
        })
        .unwrap();
        let hub = hub_asking(&servers, &[]).await;
        let callback = format!("http://rebinding.example:{}/", place.port);
        let answer = subscribe(&hub, &fresh_topic(), &callback).await;
        assert_eq!(answer.status, 202, "it is all right so far: {answer:?}");
        eventually(PATIENCE, "the worker refuses it", || async {
            (given_up(&hub).await > 0.0).then_some(())
        })
        .await
        .expect("FC-SEC-02");
        assert!(place.is_inside_untouched(), "FC-SEC-02: {evil}");
        assert!(place.app.requests().is_empty(), "FC-SEC-02: nobody is asked by what a name led to before");
        let log = hub.log_tail();
        assert!(
            log.contains(evil) && log.contains("callbacks.allowed_networks"),
            "FC-SEC-02: the log says what it led to, and which setting: {log}"
        );
    }
}

#[tokio::test]
async fn who_is_asked_is_whom_the_turn_was_taken_for() {
    let place = Place::new();
    // Two questions (for both families) are the hub's, and two the worker's, for the pace of that address.
    let asked = Arc::new(AtomicUsize::new(0));
    let servers = NameServer::start(move |_| {
        let is_early = asked.fetch_add(1, Ordering::SeqCst) < 4;
        addresses([if is_early { "127.0.0.2" } else { "127.0.0.1" }])
    })
    .unwrap();
    let hub = hub_asking(&servers, &[]).await;
    let callback = format!("http://rebinding.example:{}/", place.port);
    assert_eq!(subscribe(&hub, &fresh_topic(), &callback).await.status, 202);
    let is_asked =
        place.app.wait_for(PATIENCE, "the intent", |requests| (!requests.is_empty()).then_some(()));
    is_asked.await.expect("FC-SEC-02");
    assert!(place.is_inside_untouched(), "FC-SEC-02");
}

#[tokio::test]
async fn a_verified_callback_whose_name_leads_inside_later_is_sent_nothing_there() {
    let place = Place::new();
    let has_moved = Arc::new(AtomicUsize::new(0));
    let moved = has_moved.clone();
    let servers = NameServer::start(move |_| match moved.load(Ordering::SeqCst) {
        0 => addresses(["127.0.0.2"]),
        _ => addresses(["127.0.0.1"]),
    })
    .unwrap();
    let hub = hub_asking(&servers, &[("retry.initial_secs", "0.1")]).await;
    // A connection that is kept would lead where it has led before.
    place.app.on("/", |request| {
        let challenge = request.parameter("hub.challenge").unwrap_or_default();
        Some(Reply::status(200).body(challenge).header("Connection", "close"))
    });
    let topic = fresh_topic();
    let callback = format!("http://moving.example:{}/", place.port);
    assert_eq!(subscribe(&hub, &topic, &callback).await.status, 202);
    place
        .app
        .wait_for(PATIENCE, "the intent", |requests| (!requests.is_empty()).then_some(()))
        .await
        .unwrap();
    has_moved.store(1, Ordering::SeqCst);
    eventually(PATIENCE, "a delivery is refused", || async {
        hub.app().unwrap().publish(&patient_open(&topic, &fresh_id())).await.unwrap();
        (given_up(&hub).await > 0.0).then_some(())
    })
    .await
    .expect("FC-SEC-02");
    assert!(place.is_inside_untouched(), "FC-SEC-02");
}

#[tokio::test]
async fn a_name_is_no_list_of_targets() {
    let place = Place::new();
    let servers = NameServer::start(|_| {
        addresses(["127.0.0.11", "127.0.0.12", "127.0.0.13", "127.0.0.14", "127.0.0.2"])
    })
    .unwrap();
    let hub = hub_asking(&servers, &[("callbacks.allowed_networks", "127.0.0.0/8")]).await;
    let callback = format!("http://many.example:{}/", place.port);
    assert_eq!(subscribe(&hub, &fresh_topic(), &callback).await.status, 202);
    eventually(PATIENCE, "the worker gives it up", || async { (given_up(&hub).await > 0.0).then_some(()) })
        .await
        .expect("FC-SEC-02");
    assert!(place.app.requests().is_empty(), "FC-SEC-02: the fifth is not asked");
}

#[tokio::test]
async fn a_name_that_nobody_resolves_in_time_is_left_to_the_worker_and_holds_nobody_up() {
    let servers = NameServer::start(|name| match name {
        "silent.example" => Records::Silence,
        _ => Records::Failure,
    })
    .unwrap();
    let hub = hub_asking(&servers, &[("callbacks.dns_timeout_ms", "300"), ("ack_timeout_secs", "1")]).await;
    for name in ["silent.example", "failing.example"] {
        let begun = Instant::now();
        let answer = subscribe(&hub, &fresh_topic(), &format!("http://{name}/")).await;
        assert_eq!(answer.status, 202, "FC-SEC-02: {name}: it may be all right: {answer:?}");
        assert!(begun.elapsed() < Duration::from_secs(5), "FC-SEC-02: {name}: callbacks.dns_timeout_ms");
    }
    let looked = || hub.log_tail().matches("its callback cannot be found").count();
    eventually(PATIENCE, "the worker looks for them again", || async { (looked() >= 4).then_some(()) })
        .await
        .expect("FC-WHK-02: nobody can say that they are nowhere");
}

#[tokio::test]
async fn names_are_resolved_so_many_at_once_and_the_others_wait_no_longer() {
    let servers = NameServer::start(|_| Records::Silence).unwrap();
    let own = [("callbacks.dns_timeout_ms", "300"), ("callbacks.dns_lookups", "1")];
    let hub = hub_asking(&servers, &own).await;
    let begun = Instant::now();
    let topic = fresh_topic();
    let callbacks: Vec<String> = (0..20).map(|number| format!("http://silent-{number}.example/")).collect();
    let all = callbacks.iter().map(|callback| subscribe(&hub, &topic, callback));
    for answer in futures_util::future::join_all(all).await {
        assert_eq!(answer.status, 202, "{answer:?}");
    }
    let elapsed = begun.elapsed();
    assert!(elapsed < Duration::from_secs(5), "FC-SEC-02: one time-out for all of them");
    // The hub and its worker each ask for one name after the other; of who waits for too long nobody has asked.
    let asked = servers.asked().into_iter().collect::<HashSet<_>>().len();
    let most = 2 * (elapsed.as_millis() / 300 + 2);
    assert!(asked as u128 <= most, "FC-SEC-02: callbacks.dns_lookups: {asked} within {elapsed:?}");
}

#[tokio::test]
async fn a_proxy_of_the_environment_is_not_used() {
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    proxy.set_nonblocking(true).unwrap();
    let url = format!("http://{}", proxy.local_addr().unwrap());
    let environment = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]
        .map(|name| (name.to_owned(), url.clone()))
        .to_vec();
    let system = System::builder().hubs(1).workers(0).durability(Durability::None).start().await.unwrap();
    let redis = system.redis.url();
    let _worker = Worker::start_in(&[("redis.url", &redis)], environment).await.unwrap();
    let (server, topic) = (CallbackServer::start().unwrap(), fresh_topic());
    assert_eq!(subscribe(&system.hubs[0], &topic, &server.url("/cb")).await.status, 202);
    server
        .wait_for(PATIENCE, "the intent", |requests| (!requests.is_empty()).then_some(()))
        .await
        .expect("FC-SEC-02: it is asked without the proxy");
    assert!(proxy.accept().is_err(), "FC-SEC-02: a proxy would connect to what was never checked");
}
