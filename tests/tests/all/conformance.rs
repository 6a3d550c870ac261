//! The conformance suite as its users start it: what it says of this hub, of a hub that breaks a rule, and of what is no
//! hub; and its exit status.

use std::process::{Command, Output};

use harness::callback_server::CallbackServer;
use harness::redis_server::Durability;
use harness::system::{Hub, System};
use harness::tokens::TokenDirectory;
use serde_json::Value;
use tokio::sync::Mutex;

async fn conformance(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fhircast-conformance"));
    command.args(arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The one line with which it says why there is nothing to check.
fn refusal(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let error = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(error.trim_end().lines().count(), 1, "{error}");
    assert!(output.stdout.is_empty(), "{output:?}");
    error
}

#[tokio::test]
async fn a_hub_that_keeps_the_rules_passes_and_the_table_says_so() {
    let hub = Hub::start_embedded(&[]).await.unwrap();
    let output =
        conformance(&["--hub-url", hub.url(), "--only=FC-WSC-01,FC-SUB-01,FC-WHK-02,FC-NOT-08"]).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report = stdout(&output);
    for part in ["group ", "FC-WSC  WebSocket channel", "no --second-node was given", "PASSED: "] {
        assert!(report.contains(part), "{part:?} is not in\n{report}");
    }
    assert!(output.stderr.is_empty(), "no progress where there is no terminal: {output:?}");
}

/// Of whole suites one runs at a time: each asks as much at once as a small machine can do in time.
static WHOLE: Mutex<()> = Mutex::const_new(());

/// What this hub is told, so that the suite need not wait for long.
const QUICK: [(&str, &str); 6] = [
    ("ack_timeout_secs", "4"),
    ("reconnect_grace_secs", "6"),
    ("heartbeat_secs", "3"),
    ("ping_secs", "2"),
    ("retry.initial_secs", "0.2"),
    ("cors.allowed_origins", "https://viewer.example"),
];

/// Runs all of the suite, which must find nothing wrong, nor anything to warn of; the reasons for which it skipped.
async fn conforms(arguments: &[&str]) -> Vec<String> {
    let _alone = WHOLE.lock().await;
    let quick = [
        "--timeout-secs=10",
        "--ack-timeout-secs=4",
        "--grace-secs=6",
        "--origin=https://viewer.example",
        "--format=json",
    ];
    let output = conformance(&[&quick, arguments].concat()).await;
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = report["checks"].as_array().unwrap();
    let wrong: Vec<&Value> =
        checks.iter().filter(|check| check["verdict"] == "failed" || check["verdict"] == "warned").collect();
    assert!(wrong.is_empty() && output.status.code() == Some(0), "{wrong:#?}");
    assert!(checks.len() > 100, "{} checks", checks.len());
    let skipped = checks.iter().filter(|check| check["verdict"] == "skipped");
    let mut reasons: Vec<String> =
        skipped.map(|check| check["reason"].as_str().unwrap().to_owned()).collect();
    reasons.sort();
    reasons.dedup();
    reasons
}

#[tokio::test]
async fn the_embedded_hub_conforms() {
    let hub = Hub::start_embedded(&QUICK).await.unwrap();
    let skipped = conforms(&["--hub-url", hub.url()]).await;
    let without =
        ["no --second-node was given", "no --token was given", "no --token-command was given that narrows"];
    assert_eq!(skipped, without);
}

#[tokio::test]
async fn two_hubs_on_one_redis_conform() {
    let builder = System::builder().hubs(2).workers(1).durability(Durability::None);
    let builder = QUICK.iter().fold(builder, |builder, (name, value)| builder.set(name, value));
    let system = builder.start().await.unwrap();
    let [one, other] = [0, 1].map(|hub| system.hubs[hub].url().to_owned());
    let skipped = conforms(&["--hub-url", &one, "--second-node", &other]).await;
    assert_eq!(skipped, ["no --token was given", "no --token-command was given that narrows"]);
}

/// A directory that makes tokens, the settings of a hub that takes them, and the command that prints one.
fn authority() -> (tempfile::TempDir, Vec<(&'static str, String)>, String) {
    let directory = tempfile::tempdir().unwrap();
    let settings = TokenDirectory::init(directory.path(), None, None).unwrap().settings();
    let command =
        format!("{} mint --dir '{}'", env!("CARGO_BIN_EXE_fhircast-token"), directory.path().display());
    (directory, settings, command)
}

#[tokio::test]
async fn two_hubs_that_want_tokens_conform_and_no_check_is_left_out() {
    let (_directory, settings, command) = authority();
    let builder = System::builder().hubs(2).workers(1).durability(Durability::None);
    let builder = QUICK.iter().fold(builder, |builder, (name, value)| builder.set(name, value));
    let builder = settings.iter().fold(builder, |builder, (name, value)| builder.set(name, value));
    let system = builder.start().await.unwrap();
    let [one, other] = [0, 1].map(|hub| system.hubs[hub].url().to_owned());
    // The command heeds FHIRCAST_SCOPE, so the usual token has the scopes that the suite declares and no other.
    let token = ["--token-command", &command, "--token-command-narrows"];
    let skipped = conforms(&[&["--hub-url", &one, "--second-node", &other], &token[..]].concat()).await;
    assert_eq!(skipped, [""; 0], "FC-SEC-01, FC-SCO-01…03");
}

#[tokio::test]
async fn the_suite_needs_every_scope_that_it_declares() {
    let (_directory, settings, command) = authority();
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let hub = Hub::start_embedded(&settings).await.unwrap();
    let declared = stdout(&conformance(&["--scopes"]).await);
    let declared: Vec<&str> = declared.lines().collect();
    assert!(!declared.is_empty());
    for left_out in &declared {
        let rest: Vec<&str> = declared.iter().copied().filter(|scope| scope != left_out).collect();
        let command = format!("{command} --scope '{}'", rest.join(" "));
        let arguments = ["--hub-url", hub.url(), "--only=FC-REQ-01,FC-REQ-02", "--token-command", &command];
        let output = conformance(&arguments).await;
        assert_eq!(output.status.code(), Some(1), "without {left_out}: {output:?}");
    }
}

#[tokio::test]
async fn an_app_of_any_version_finds_its_rules_kept() {
    let hub = Hub::start_embedded(&QUICK).await.unwrap();
    for spec in ["2.0.0", "3.0.0"] {
        let skipped = conforms(&["--hub-url", hub.url(), "--spec", spec]).await;
        let given = ["--second-node", "--token"];
        let is_expected = |reason: &String| {
            given.iter().any(|flag| reason.contains(flag)) || reason.contains(&format!("not in {spec}"))
        };
        assert!(skipped.iter().all(is_expected), "{skipped:?}");
    }
}

#[tokio::test]
async fn a_rule_that_is_broken_fails_the_run_and_is_shown_with_its_evidence() {
    // Lies about webhooks, serves no WebSocket: whatever is asked of it is answered with its configuration.
    let server = CallbackServer::start().unwrap();
    let configuration = r#"{"fhircastVersion":"3.0.0","websocketSupport":true,"eventsSupported":["*"]}"#;
    for path in ["", "/", "/.well-known/fhircast-configuration"] {
        server.on(path, move |_| Some(harness::callback_server::Reply::status(200).body(configuration)));
    }
    let url = server.url("");
    let only = "--only=FC-SUB-02,FC-WHK-02,FC-CNF-01";
    let arguments = ["--hub-url", &url, only, "--token=a-secret-token", "--format=json"];
    let output = conformance(&arguments).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let verdict = |rule: &str| {
        let checks = report["checks"].as_array().unwrap();
        checks.iter().find(|check| check["rule"] == rule).unwrap().clone()
    };
    assert_eq!(verdict("FC-CNF-01")["verdict"], "passed", "{report}");
    assert_eq!(verdict("FC-SUB-02")["verdict"], "failed", "{report}");
    assert!(verdict("FC-SUB-02")["expected"].as_str().unwrap().contains("202"), "{report}");
    assert!(verdict("FC-WHK-02")["reason"].as_str().unwrap().contains("not in 3.0.0"), "{report}");
    let asked = server.requests().into_iter().find(|request| request.is_notification()).unwrap();
    assert_eq!(asked.header("authorization"), Some("Bearer a-secret-token"), "FC-SEC-01");
    assert!(!format!("{output:?}").contains("a-secret-token"), "a token is never printed");
}

#[tokio::test]
async fn a_token_that_a_hub_echoes_is_not_printed_in_any_format() {
    let server = CallbackServer::start().unwrap();
    let configuration = r#"{"fhircastVersion":"3.0.0","eventsSupported":["*"]}"#;
    server.on("/.well-known/fhircast-configuration", move |_| {
        Some(harness::callback_server::Reply::status(200).body(configuration))
    });
    let echo = |request: &harness::callback_server::Request| {
        let token = request.header("authorization").unwrap_or_default().to_owned();
        Some(harness::callback_server::Reply::status(401).body(format!("no such token: {token}")))
    };
    ["", "/"].into_iter().for_each(|path| server.on(path, echo));
    let url = server.url("");
    for format in ["--format=text", "--format=json", "--format=junit"] {
        let command = "--token-command=echo printed-token";
        let output = conformance(&["--hub-url", &url, "--only=FC-SUB-02", command, format]).await;
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let shown = format!("{output:?}");
        assert!(!shown.contains("printed-token") && shown.contains("[token]"), "{format}: {shown}");
    }
}

#[tokio::test]
async fn a_hub_that_is_not_there_is_one_line_and_2() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = refusal(&conformance(&["--hub-url", &format!("http://127.0.0.1:{port}/api/hub")]).await);
    assert!(error.contains("no hub answers"), "{error}");
}

#[tokio::test]
async fn what_is_no_hub_is_one_line_and_2() {
    let server = CallbackServer::start().unwrap();
    let url = server.url("/api/hub");
    // It answers everything with 200 and nothing.
    let error = refusal(&conformance(&["--hub-url", &url]).await);
    assert!(error.contains("is no FHIRcast hub"), "{error}");
    for (status, body, reason) in [(404, "", "404"), (200, "{}", "fhircastVersion")] {
        server.on("/api/hub/.well-known/fhircast-configuration", move |_| {
            Some(harness::callback_server::Reply::status(status).body(body))
        });
        let error = refusal(&conformance(&["--hub-url", &url]).await);
        assert!(error.contains(reason), "{error}");
    }
}

#[tokio::test]
async fn bad_arguments_are_named_and_2() {
    for (arguments, named) in [
        (vec!["--hub-url=http://127.0.0.1:1/", "--only=FC-XYZ"], "FC-XYZ"),
        (vec!["--hub-url=ftp://127.0.0.1/"], "ftp"),
        (vec!["--hub-url=http://127.0.0.1:1/", "--spec=4.0.0"], "4.0.0"),
        (vec!["--hub-url=http://127.0.0.1:1/", "--timeout-secs=0"], "timeout-secs"),
        (vec![], "--hub-url"),
    ] {
        let output = conformance(&arguments).await;
        let error = String::from_utf8(output.stderr.clone()).unwrap();
        assert!(output.status.code() == Some(2) && error.contains(named), "{arguments:?}: {output:?}");
    }
}

#[tokio::test]
async fn the_list_needs_no_hub() {
    let output = conformance(&["--list", "--only=FC-WSC"]).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let list = stdout(&output);
    assert!(list.contains("FC-WSC-06 [-/M/-]") && list.contains("the_first_message_is_the_confirmation"));
    assert!(!list.contains("FC-SUB"), "{list}");
}
