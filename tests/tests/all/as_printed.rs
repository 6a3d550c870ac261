//! What the hub and the cluster script print is pasted into a shell, as their user would.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use harness::{
    process::{Process, Signal, program},
    redis_server::free_ports,
    wait::PATIENCE,
};
use tempfile::TempDir;

/// Runs a command to its end.
async fn ended(command: Command) -> Output {
    let what = format!("{command:?}");
    let output = tokio::process::Command::from(command).kill_on_drop(true).output();
    tokio::time::timeout(2 * PATIENCE, output)
        .await
        .unwrap_or_else(|_| panic!("{what} does not end"))
        .unwrap()
}

async fn shell(script: &str) -> Output {
    let mut bash = Command::new("bash");
    bash.args(["-c", script]);
    ended(bash).await
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
    subscribe_listen_and_publish_as_printed(&hub.log_lines()).await;
}

/// Pastes the three commands that stand in `lines`.
async fn subscribe_listen_and_publish_as_printed(lines: &[String]) {
    // The commands are the lines that are indented by three spaces.
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
    let published = shell(publish).await;
    let answer = String::from_utf8_lossy(&published.stdout);
    assert!(answer.starts_with("HTTP/1.1 202 Accepted"), "{answer}");
    let notified = printed(&listening, "context.versionId").await;
    assert!(notified.contains(r#""id":"4711""#), "{notified}");
}

/// A cluster of local processes that a script has started, on ports of its own.
struct Cluster {
    folder: TempDir,
    script: Process,
}

impl Cluster {
    fn start(script: &str, environment: &[(&str, &Path)]) -> Cluster {
        let folder = tempfile::tempdir().unwrap();
        let programs = program("fhircast-hub").unwrap().parent().unwrap().to_owned();
        let mut command = Command::new(local(script));
        command.arg(programs).env("TMPDIR", folder.path()).envs(environment.iter().copied());
        let (nodes, admin) = (["LB", "REDIS", "HUB1", "HUB2"], ["HUB1", "HUB2", "WORKER1", "WORKER2", "LB"]);
        let names = nodes.map(|node| format!("{node}_PORT")).into_iter();
        let names = names.chain(admin.map(|node| format!("{node}_ADMIN_PORT")));
        command.envs(names.zip(free_ports::<9>().unwrap().map(|port| port.to_string())));
        Cluster { folder, script: Process::start(script, command).unwrap() }
    }

    /// Its URL, once all of it is there.
    async fn url(&self) -> String {
        let line = printed(&self.script, "The cluster is at").await;
        printed(&self.script, "Ctrl-C stops everything").await;
        line.split_whitespace().last().unwrap().to_owned()
    }

    async fn stops_all_that_it_started(mut self, url: &str) {
        self.script.signal(Signal::TERM).unwrap();
        self.script.wait_exit(PATIENCE).await.unwrap();
        let left = shell(&format!("pgrep -af {}", self.folder.path().display())).await;
        assert_eq!(left.status.code(), Some(1), "none is found: {}", String::from_utf8_lossy(&left.stdout));
        let refused = shell(&format!("curl -sk {url}")).await;
        assert!(!refused.status.success(), "the load balancer still answers");
    }
}

fn local(script: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy/local").join(script)
}

#[actix_web::test]
async fn the_cluster_serves_at_the_url_that_it_prints_and_stops_all_that_it_started() {
    let cluster = Cluster::start("cluster", &[]);
    let url = cluster.url().await;
    let mut load = Command::new(program("fhircast-load").unwrap());
    load.args([
        "--hub",
        &url,
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
    ]);
    let load = ended(load).await;
    assert!(
        load.status.success(),
        "{}{}",
        String::from_utf8_lossy(&load.stdout),
        String::from_utf8_lossy(&load.stderr)
    );
    cluster.stops_all_that_it_started(&url).await;
}

#[actix_web::test]
async fn the_commands_that_the_secure_cluster_prints_work_as_printed_and_nothing_is_served_without_tls() {
    let certs = tempfile::tempdir().unwrap();
    let cluster = Cluster::start("secure-cluster", &[("CERTS", certs.path())]);
    let url = cluster.url().await;
    assert!(url.starts_with("https://localhost:"), "{url}");
    subscribe_listen_and_publish_as_printed(&cluster.script.log_lines()).await;

    let asked = async |arguments: &str| {
        let ca = certs.path().join("ca.pem");
        let status = format!(
            "curl -sS -o /dev/null -w '%{{http_code}}' --cacert {} {arguments} {url}/demo",
            ca.display()
        );
        String::from_utf8_lossy(&shell(&status).await.stdout).into_owned()
    };
    assert_eq!(asked("").await, "401", "FC-SEC-01: without a token");
    assert_eq!(asked("-H 'Authorization: Bearer x'").await, "401", "FC-SEC-01: with a token that is none");
    let trail = shell(&format!("cat {}/*/hub*.audit", cluster.folder.path().display())).await.stdout;
    let trail = String::from_utf8_lossy(&trail);
    assert!(trail.contains("doctor"), "the audit trail says who: {trail}");

    let plain = shell(&format!("curl -sS {}", url.replacen("https", "http", 1))).await;
    assert!(!String::from_utf8_lossy(&plain.stdout).contains("HTTP/1.1 200"), "FC-TRN-01");
    let untrusted = shell(&format!("curl -sS {url}")).await;
    assert!(!untrusted.status.success(), "FC-TRN-01: nobody trusts the authority without being told");
    for key in ["ca-key.pem", "server-key.pem", "client-key.pem"] {
        let mode = certs.path().join(key).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }
    cluster.stops_all_that_it_started(&url).await;
}

#[tokio::test]
async fn dev_certs_makes_an_authority_once_and_certificates_every_time() {
    let folder = tempfile::tempdir().unwrap();
    let make = async |new: &str| {
        let mut command = Command::new(local("dev-certs"));
        command.arg(folder.path()).env("NEW_CA", new);
        let made = ended(command).await;
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        ["ca.pem", "server.pem", "client.pem"].map(|name| std::fs::read(folder.path().join(name)).unwrap())
    };
    let ([ca, server, client], [same_ca, other_server, other_client]) = (make("").await, make("").await);
    assert_eq!(ca, same_ca);
    assert!(server != other_server && client != other_client);
    assert_ne!(make("1").await[0], ca);
    std::fs::remove_file(folder.path().join("ca-key.pem")).unwrap();
    let mut command = Command::new(local("dev-certs"));
    command.arg(folder.path());
    let half = ended(command).await;
    assert!(!half.status.success(), "half an authority is not made a whole one unasked");
}
