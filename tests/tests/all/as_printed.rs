//! What the hub and the cluster script print is pasted into a shell, as their user would.

use std::{
    net::TcpListener,
    path::PathBuf,
    process::{Command, Output},
    time::Duration,
};

use harness::process::{Process, Signal, program};

const PATIENCE: Duration = Duration::from_secs(20);

fn shell(script: &str) -> Output {
    Command::new("bash").args(["-c", script]).output().unwrap()
}

/// Waits until a line holds `what`, and gives that line.
async fn printed(process: &Process, what: &str) -> String {
    let holds = |line: &str| line.contains(what).then(|| line.to_owned());
    process.wait_for_log(PATIENCE, what, holds).await.unwrap()
}

#[actix_web::test]
async fn the_three_commands_that_the_embedded_hub_prints_work_as_printed() {
    let mut hub = Command::new(program("fhircast-hub").unwrap());
    hub.arg("--embedded").env("FHIRCAST_LISTEN", "127.0.0.1:0").env("FHIRCAST_ADMIN_LISTEN", "127.0.0.1:0");
    let hub = Process::start("embedded", hub).unwrap();
    printed(&hub, "Content-Type: application/json").await;
    // The commands are the lines that are indented by three spaces.
    let lines = hub.log_lines();
    let commands: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("   ")).collect();
    let [subscribe, listen, publish] = commands.as_slice() else {
        panic!("not three commands: {commands:?}")
    };

    // The first two share a shell, whose standard input stays open as a terminal's would.
    let folder = tempfile::tempdir().unwrap();
    let mut both = Command::new("bash");
    both.args(["-c", &format!("mkfifo input; exec 0<>input; {subscribe}; exec {listen}")])
        .current_dir(&folder);
    let listening = Process::start("listening", both).unwrap();
    printed(&listening, "hub.lease_seconds").await;
    let published = shell(publish);
    let answer = String::from_utf8_lossy(&published.stdout);
    assert!(answer.starts_with("HTTP/1.1 202 Accepted"), "{answer}");
    let notified = printed(&listening, "context.versionId").await;
    assert!(notified.contains("503824b8-fe8c-4227-b061-7181ba6c3926"), "{notified}");
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[actix_web::test]
async fn the_cluster_serves_at_the_url_that_it_prints_and_stops_all_that_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let programs = program("fhircast-hub").unwrap().parent().unwrap().to_owned();
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy/local/cluster");
    let mut cluster = Command::new(script);
    cluster.arg(programs).env("TMPDIR", folder.path());
    for name in ["LB", "REDIS", "HUB1", "HUB2", "HUB1_ADMIN", "HUB2_ADMIN", "WORKER1_ADMIN", "WORKER2_ADMIN"]
    {
        cluster.env(format!("{name}_PORT"), free_port().to_string());
    }
    let mut cluster = Process::start("cluster", cluster).unwrap();
    let line = printed(&cluster, "The cluster is at").await;
    let url = line.split_whitespace().last().unwrap();
    printed(&cluster, "Ctrl-C stops everything").await;

    let load = Command::new(program("fhircast-load").unwrap())
        .args([
            "--hub",
            url,
            "--sockets",
            "4",
            "--topics",
            "2",
            "--callbacks",
            "2",
            "--rate",
            "20",
            "--seconds",
            "1",
        ])
        .output()
        .unwrap();
    assert!(
        load.status.success(),
        "{}{}",
        String::from_utf8_lossy(&load.stdout),
        String::from_utf8_lossy(&load.stderr)
    );

    cluster.signal(Signal::TERM).unwrap();
    cluster.wait_exit(PATIENCE).await.unwrap();
    let left = shell(&format!("pgrep -af {}", folder.path().display()));
    assert_eq!(left.status.code(), Some(1), "none is found: {}", String::from_utf8_lossy(&left.stdout));
    let refused = shell(&format!("curl -s {url}"));
    assert!(!refused.status.success(), "the load balancer still answers");
}
