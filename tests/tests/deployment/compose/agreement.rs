//! What the file says of the programs is what they say of themselves.

use std::net::IpAddr;
use std::process::Command;

use harness::process::program;
use serde_json::Value;
use shared::settings::IpNet;

use super::containers::interpolated;
use super::form::{seconds, services};
use crate::tools::{run, text, yaml};

/// What a hub does after its drain: LAST_REQUESTS_SECS for requests in flight, and a second for the last scrape.
const AFTER_THE_DRAIN_SECS: u64 = 6;

fn programs() -> Vec<(String, Value)> {
    let is_ours =
        |service: &Value| service["entrypoint"][0].as_str().is_some_and(|word| word.starts_with("fhircast-"));
    let programs: Vec<_> = services().into_iter().filter(|(_, service)| is_ours(service)).collect();
    assert_eq!(programs.len(), 4);
    programs
}

/// What a service's environment holds; what has no value is not in it, unless somebody sets it outside.
fn variables(service: &Value) -> Vec<(String, String)> {
    let all = service["environment"].as_object().unwrap().iter();
    all.filter_map(|(name, value)| Some((name.clone(), interpolated(value.as_str()?)))).collect()
}

/// The settings in force in a service, as the program itself prints them.
fn settings(service: &Value) -> toml::Table {
    let mut command = Command::new(program(service["entrypoint"][0].as_str().unwrap()).unwrap());
    command.arg("--print-config").env_clear();
    command.envs(variables(service));
    toml::from_str(&run(&mut command)).unwrap()
}

#[test]
fn every_variable_is_a_setting_that_the_programs_take() {
    for (name, service) in programs() {
        let settings = settings(&service);
        for (variable, value) in variables(&service) {
            // A program refuses what it does not know, so that it has printed anything is the proof; that it has taken this
            // value is seen in what it printed.
            let setting = variable.strip_prefix("FHIRCAST_").unwrap().to_lowercase();
            let found = setting
                .split("__")
                .try_fold(&toml::Value::Table(settings.clone()), |group, key| group.get(key))
                .cloned();
            let found = match found.unwrap_or_else(|| panic!("{name}: {variable} is no setting")) {
                toml::Value::String(text) => text,
                toml::Value::Array(elements) => {
                    elements.iter().filter_map(toml::Value::as_str).collect::<Vec<_>>().join(",")
                }
                other => other.to_string(),
            };
            assert_eq!(found, value, "{name}: {variable}");
        }
    }
}

#[test]
fn the_command_for_traces_names_the_collector_that_it_starts() {
    let line = text("docker-compose.yml");
    let line =
        line.lines().find_map(|line| line.strip_suffix(" docker compose --profile tracing up")).unwrap();
    let (variable, endpoint) = line.trim_start_matches('#').trim().split_once('=').unwrap();
    let collector = yaml("docker-compose.yml")["services"]["otel-collector"].clone();
    assert_eq!(collector["profiles"], serde_json::json!(["tracing"]));
    let port = endpoint.strip_prefix("http://otel-collector:").unwrap();
    let receiver =
        yaml("deploy/compose/otel-collector.yaml")["receivers"]["otlp"]["protocols"]["http"].clone();
    assert_eq!(receiver["endpoint"], format!("0.0.0.0:{port}"));
    for (name, mut service) in programs() {
        let value =
            service["environment"].get_mut(variable).unwrap_or_else(|| panic!("{name} has no {variable}"));
        assert!(value.is_null(), "{name}: nothing is traced unless it is asked for");
        *value = endpoint.into();
        let taken = settings(&service)["tracing"]["otlp_endpoint"].clone();
        assert_eq!(taken.as_str().unwrap().trim_end_matches('/'), endpoint, "{name}");
    }
}

#[test]
fn the_load_balancer_alone_is_believed_and_nobody_else_is_given_its_address() {
    let compose = yaml("docker-compose.yml");
    let address = compose["services"]["proxy"]["networks"]["default"]["ipv4_address"].as_str().unwrap();
    for (name, service) in programs() {
        let trusted = settings(&service)["trusted_proxies"].clone();
        let trusted: Vec<&str> = trusted.as_array().unwrap().iter().filter_map(toml::Value::as_str).collect();
        assert_eq!(trusted, [format!("{address}/32")], "{name}");
    }
    let network = &compose["networks"]["default"]["ipam"]["config"][0];
    let [given, whole] =
        ["ip_range", "subnet"].map(|key| network[key].as_str().unwrap().parse::<IpNet>().unwrap());
    assert!(!given.contains(&address.parse::<IpAddr>().unwrap()) && whole.contains(&given));
}

#[test]
fn a_container_is_given_the_time_to_drain() {
    for (name, service) in programs() {
        let drain = settings(&service)["drain_secs"].as_integer().unwrap().unsigned_abs();
        let grace = seconds(&service["stop_grace_period"]);
        assert!(grace > drain + AFTER_THE_DRAIN_SECS, "{name}: {grace} s for a drain of {drain} s");
    }
    let configuration = text("deploy/compose/haproxy.cfg");
    let stop = directive(&configuration, "hard-stop-after");
    let (_, proxy) = services().into_iter().find(|(name, _)| name == "proxy").unwrap();
    assert!(seconds(&proxy["stop_grace_period"]) > stop);
}

#[test]
fn the_load_balancer_lets_a_socket_idle_for_longer_than_two_pings() {
    for file in ["deploy/compose/haproxy.cfg", "deploy/local/secure-haproxy.cfg"] {
        let configuration = text(file);
        for (_, service) in programs() {
            let ping = settings(&service)["ping_secs"].as_integer().unwrap().unsigned_abs();
            for timeout in ["timeout tunnel", "timeout client", "timeout server"] {
                assert!(directive(&configuration, timeout) > 2 * ping, "{file}: {timeout}");
            }
        }
    }
}

#[test]
fn the_load_balancer_waits_for_the_answer_to_a_publish_for_longer_than_a_hub_takes() {
    let (_, hub) = programs().remove(0);
    let redis = settings(&hub)["redis"].clone();
    let longest = ["timeout_ms", "durability_timeout_ms"].map(|name| redis[name].as_integer().unwrap());
    for file in ["deploy/compose/haproxy.cfg", "deploy/local/secure-haproxy.cfg"] {
        let configuration = text(file);
        let publishes = configuration.split("\nbackend publishes\n").nth(1).unwrap();
        let waits = publishes.lines().find_map(|line| line.trim().strip_prefix("timeout server ")).unwrap();
        let waits: i64 = waits.strip_suffix("ms").unwrap().parse().unwrap();
        assert!(waits > longest.iter().sum(), "{file}: {waits} ms");
    }
}

#[test]
fn health_is_asked_of_the_very_program_that_runs() {
    for (name, service) in programs() {
        let test: Vec<&str> =
            service["healthcheck"]["test"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert_eq!(test, ["CMD", service["entrypoint"][0].as_str().unwrap(), "health", "--ready"], "{name}");
        assert!(seconds(&service["healthcheck"]["timeout"]) > 3, "{name}: the program's own time-out");
    }
}

/// A time in seconds from haproxy's configuration.
fn directive(configuration: &str, name: &str) -> u64 {
    let line = configuration.lines().find_map(|line| line.trim().strip_prefix(name));
    let value = line.unwrap_or_else(|| panic!("no {name}")).trim();
    let (number, unit) = value.split_at(value.len() - 1);
    number.parse::<u64>().unwrap()
        * match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => panic!("{name} {value}"),
        }
}
