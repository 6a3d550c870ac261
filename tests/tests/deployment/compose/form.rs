//! The file itself, and the configuration files, as their own tools judge them; and how the containers are confined.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::containers::mounts;
use crate::tools::{attempt, repository, run, text, tool, yaml};

const FILE: &str = "docker-compose.yml";

/// Of the containers, and of `make cluster SECURE=1`.
const HAPROXY: [&str; 2] = ["deploy/compose/haproxy.cfg", "deploy/local/secure-haproxy.cfg"];

/// How long a hub knows a publish that it has taken (FC-REQ-07).
const RESEND: Duration = Duration::from_secs(5);

/// The lines of a part of haproxy's configuration, without comments: `backend hubs`.
fn part(file: &str, name: &str) -> Vec<String> {
    let text = text(file);
    let lines = text.lines().skip_while(|line| *line != name).skip(1);
    let lines = lines.take_while(|line| line.is_empty() || line.starts_with([' ', '#']));
    let lines: Vec<String> = lines
        .map(|line| line.trim().to_owned())
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    assert!(!lines.is_empty(), "{file}: no {name}");
    lines
}

/// The services with their names.
pub fn services() -> Vec<(String, Value)> {
    let services = yaml(FILE)["services"].as_object().unwrap().clone();
    assert!(services.len() >= 11, "{:?}", services.keys());
    services.into_iter().collect()
}

/// What a service waits for at its stop, and such: `25s` is 25.
pub fn seconds(value: &Value) -> u64 {
    let text = value.as_str().unwrap();
    text.strip_suffix('s')
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("{text} is not in seconds"))
}

#[test]
fn it_is_a_compose_file() {
    run(Command::new(tool("check-jsonschema")).args(["--builtin-schema", "vendor.compose-spec", FILE]));
    // One that knows what is wrong.
    let mut broken = Command::new(tool("check-jsonschema"));
    broken.args(["--builtin-schema", "vendor.compose-spec", "--default-filetype", "yaml", "-"]);
    let (is_one, _) = attempt(&mut broken, &text(FILE).replace("cap_drop:", "cap_drops:"));
    assert!(!is_one);
}

#[test]
fn what_is_mounted_is_there_and_read_only_and_volumes_are_declared() {
    let declared = yaml(FILE)["volumes"].as_object().unwrap().clone();
    for (name, service) in services() {
        for (source, target) in mounts(&service) {
            if source.starts_with("./") {
                assert!(repository().join(&source).exists(), "{name}: {source} is not there");
                let volumes = service["volumes"].to_string();
                assert!(volumes.contains(&format!("{source}:{target}:ro")), "{name} may write {source}");
            } else {
                assert!(declared.contains_key(&source), "{name}: {source} is not declared");
            }
        }
    }
}

#[test]
fn no_container_has_rights_that_it_does_not_need() {
    for (name, service) in services() {
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(service["cap_drop"], serde_json::json!(["ALL"]), "{name}");
        assert_eq!(service["security_opt"], serde_json::json!(["no-new-privileges:true"]), "{name}");
        assert!(service["privileged"].is_null() && service["cap_add"].is_null(), "{name}");
        let user = service["user"].as_str().unwrap_or_else(|| panic!("{name} has no user"));
        assert!(user.split(':').next().unwrap().parse::<u32>().unwrap() > 0, "{name} runs as {user}");
    }
}

#[test]
fn what_a_container_logs_is_bounded_and_one_that_ends_is_started_again() {
    for (name, service) in services() {
        assert!(service["logging"]["options"]["max-size"].is_string(), "{name}");
        assert!(service["logging"]["options"]["max-file"].is_string(), "{name}");
        assert_eq!(service["restart"], "unless-stopped", "{name}");
    }
}

#[test]
fn each_image_that_is_built_is_built_by_one_service_and_by_the_others_neither_built_nor_pulled() {
    let services = services();
    let mut built = 0;
    for (name, service) in services.iter().filter(|(_, service)| !service["build"].is_null()) {
        built += 1;
        for (other, same) in services.iter().filter(|(_, other)| other["image"] == service["image"]) {
            assert!(
                other == name || same["build"].is_null(),
                "{name} and {other} would both make their image"
            );
            assert!(other == name || same["pull_policy"] == "never", "{other} would be pulled");
        }
    }
    assert_eq!(built, 1);
}

#[test]
fn images_are_pinned() {
    for (name, service) in services() {
        let image = service["image"].as_str().unwrap();
        let tag = image.rsplit_once(':').map_or("", |(_, tag)| tag).trim_start_matches('v');
        let numbers = tag.split('-').next().unwrap().split('.');
        assert_eq!(numbers.filter(|number| number.parse::<u32>().is_ok()).count(), 3, "{name}: {image}");
    }
}

#[test]
fn only_this_machine_reaches_what_is_published() {
    for (name, service) in services() {
        let published = service["ports"].as_array().cloned().unwrap_or_default();
        let is_to_be = ["proxy", "prometheus", "grafana"].contains(&name.as_str());
        assert_eq!(published.len(), usize::from(is_to_be), "{name}");
        for port in published {
            let port = super::containers::interpolated(port.as_str().unwrap());
            assert!(port.starts_with("127.0.0.1:"), "{name}: {port}");
        }
    }
}

#[test]
fn there_are_no_secrets_in_the_files() {
    let listed = run(Command::new("git").args(["ls-files", FILE, "deploy/compose", "deploy/Dockerfile"]));
    for file in listed.lines() {
        let said = text(file).to_lowercase();
        for line in said.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
            for word in
                ["password", "secret", "token", "passphrase", "data_keys", "private_key", "requirepass"]
            {
                assert!(!line.contains(word), "{file}: {line}");
            }
        }
    }
}

#[test]
fn prometheus_takes_its_configuration_and_the_alerts() {
    // It looks for the alerts where the container has them.
    let folder = tempfile::tempdir().unwrap();
    let alerts = repository().join("deploy/prometheus/alerts.yaml");
    let configuration = text("deploy/compose/prometheus.yml");
    let here = configuration.replace("/etc/prometheus/alerts.yaml", &alerts.display().to_string());
    assert_ne!(configuration, here);
    let file = folder.path().join("prometheus.yml");
    std::fs::write(&file, here).unwrap();
    run(Command::new("promtool").args(["check", "config"]).arg(&file));
}

#[test]
fn haproxy_takes_its_configuration_and_the_secure_one_says_the_same_of_time_outs_and_retries() {
    // Names that nobody knows here would be warnings.
    let addresses = [("HUB1", "127.0.0.1:1"), ("HUB2", "127.0.0.1:2")];
    let mut check = Command::new("haproxy");
    let said = run(check.args(["-c", "-V", "-f", "deploy/compose/haproxy.cfg"]).envs(addresses));
    assert!(!said.to_lowercase().contains("warning"), "{said}");
    assert_eq!(part(HAPROXY[0], "defaults"), part(HAPROXY[1], "defaults"));
    // What differs is where hubs are and how they are spoken to.
    let said = |file: &str, name: &str| {
        let lines = part(file, name).into_iter();
        lines
            .filter(|line| {
                !["server ", "default-server ", "source "].iter().any(|other| line.starts_with(other))
            })
            .collect::<Vec<_>>()
    };
    for name in ["backend hubs", "backend publishes", "backend sockets"] {
        let [ours, secure] = HAPROXY.map(|file| said(file, name));
        assert!(ours.iter().any(|line| line.starts_with("retry-on ")), "{name}: {ours:?}");
        assert_eq!(ours, secure, "{name}");
    }
    let [ours, secure] = HAPROXY.map(|file| {
        let lines = part(file, "frontend fhircast").into_iter();
        lines.filter(|line| line.contains("_backend ")).collect::<Vec<_>>()
    });
    assert_eq!(ours, secure);
}

#[test]
fn a_publish_that_is_sent_again_reaches_a_hub_while_that_still_knows_the_first() {
    for file in HAPROXY {
        let publishes = part(file, "backend publishes");
        let value = |name: &str| {
            let found = publishes.iter().find_map(|line| line.strip_prefix(name));
            found.unwrap_or_else(|| panic!("{file}: no {name}")).trim().to_owned()
        };
        let milliseconds = |name: &str| value(name).strip_suffix("ms").unwrap().parse::<u64>().unwrap();
        let retries: u64 = value("retries").parse().unwrap();
        // Each time it may wait for the answer, and then for the next connection.
        let last = retries * (milliseconds("timeout server") + milliseconds("timeout connect"));
        assert!(Duration::from_millis(last) < RESEND, "{file}: it may come again after {last} ms");
        // No other backend sends again what was posted and may have been taken.
        let others = part(file, "backend hubs");
        assert!(
            others.iter().any(|line| line == "http-request disable-l7-retry unless { method GET }"),
            "{file}"
        );
        let sorted = part(file, "frontend fhircast");
        let chosen = sorted.iter().find_map(|line| line.strip_prefix("use_backend publishes if ")).unwrap();
        for condition in ["{ method POST }", "application/fhir+json }", "{ req.hdr_val(content-length) le "] {
            assert!(chosen.contains(condition), "{file}: {chosen}");
        }
        // Or the time that a slow client takes would count as the hub's.
        assert!(publishes.iter().any(|line| line.starts_with("http-request wait-for-body time ")), "{file}");
    }
}
