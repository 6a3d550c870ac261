//! What the hub and the cluster script print is pasted into a shell, as their user would.

use std::{
    fs::File,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use harness::{
    process::{Process, Signal, program},
    wait::eventually,
};

const PATIENCE: Duration = Duration::from_secs(20);

fn shell(script: &str) -> Output {
    Command::new("bash").args(["-c", script]).output().unwrap()
}

/// A command of `bash`, whose standard input stays open and whose output goes to a file.
fn in_background(script: &str, output: &Path) -> Process {
    let mut command = Command::new("bash");
    command.args(["-c", &format!("sleep 60 | {script}")]).stdout(File::create(output).unwrap());
    Process::start("shell", command).unwrap()
}

async fn printed(file: &Path, what: &str) -> String {
    eventually(PATIENCE, what, || async {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        text.contains(what).then_some(text)
    })
    .await
    .unwrap()
}

/// The commands that the embedded hub prints: indented by three spaces.
fn commands(text: &str) -> Vec<String> {
    text.lines().filter_map(|line| line.strip_prefix("   ")).map(str::to_owned).collect()
}

#[actix_web::test]
async fn the_three_commands_that_the_embedded_hub_prints_work_as_printed() {
    let folder = tempfile::tempdir().unwrap();
    let stdout = folder.path().join("stdout");
    let mut hub = Command::new(program("fhircast-hub").unwrap());
    hub.arg("--embedded").env("FHIRCAST_LISTEN", "127.0.0.1:0").env("FHIRCAST_ADMIN_LISTEN", "127.0.0.1:0");
    hub.stdout(File::create(&stdout).unwrap());
    let _hub = Process::start("embedded", hub).unwrap();
    let commands = commands(&printed(&stdout, "3. Publish").await);
    let [subscribe, listen, publish] = commands.as_slice() else { panic!("not three commands: {commands:?}") };

    // The first two share a shell; that listening is under way shows in what it prints.
    let heard = folder.path().join("heard");
    let _listening = in_background(&format!("{{ {subscribe}; {listen}; }}"), &heard);
    printed(&heard, "hub.lease_seconds").await;
    let published = shell(publish);
    let answer = String::from_utf8_lossy(&published.stdout);
    assert!(answer.starts_with("HTTP/1.1 202 Accepted"), "{answer}");
    let notified = printed(&heard, "context.versionId").await;
    assert!(notified.contains("503824b8-fe8c-4227-b061-7181ba6c3926"), "{notified}");
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[actix_web::test]
async fn the_cluster_serves_at_the_url_that_it_prints_and_stops_all_that_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let stdout = folder.path().join("stdout");
    let programs = program("fhircast-hub").unwrap().parent().unwrap().to_owned();
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy/local/cluster");
    let mut cluster = Command::new(script);
    cluster.arg(programs).env("TMPDIR", folder.path()).stdin(Stdio::null()).stdout(File::create(&stdout).unwrap());
    for name in ["LB", "REDIS", "HUB1", "HUB2", "HUB1_ADMIN", "HUB2_ADMIN", "WORKER1_ADMIN", "WORKER2_ADMIN"] {
        cluster.env(format!("{name}_PORT"), free_port().to_string());
    }
    let mut cluster = Process::start("cluster", cluster).unwrap();
    let text = printed(&stdout, "Ctrl-C stops everything").await;
    let url = text.split_whitespace().find(|word| word.ends_with("/api/hub")).unwrap();

    let load = Command::new(program("fhircast-load").unwrap())
        .args(["--hub", url, "--sockets", "4", "--topics", "2", "--callbacks", "2", "--rate", "20", "--seconds", "1"])
        .output()
        .unwrap();
    assert!(load.status.success(), "{}{}", String::from_utf8_lossy(&load.stdout), String::from_utf8_lossy(&load.stderr));

    cluster.signal(Signal::TERM).unwrap();
    cluster.wait_exit(PATIENCE).await.unwrap();
    let left = shell(&format!("pgrep -af {}", folder.path().display()));
    assert!(left.stdout.is_empty(), "{}", String::from_utf8_lossy(&left.stdout));
    let refused = shell(&format!("curl -s {url}"));
    assert!(!refused.status.success(), "the load balancer still answers");
}
