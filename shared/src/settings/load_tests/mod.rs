#![allow(clippy::unwrap_used, clippy::expect_used)]

mod checks;
mod values;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Parser;

use super::*;
use crate::protocol::sync_error::Severity;
use crate::settings::Durability;
use crate::settings::LogFormat;

/// A settings file that goes away again.
struct File(PathBuf);

impl File {
    fn new(text: &str) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name =
            format!("fhircast-settings-{}-{}.toml", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[derive(Parser)]
struct Program {
    #[command(flatten)]
    flags: Flags,
}

fn flags(arguments: &[&str]) -> Flags {
    let all = ["program"].iter().chain(arguments);
    Program::try_parse_from(all).ok().unwrap().flags
}

fn owned(env: &[(&str, &str)]) -> Vec<(String, String)> {
    let own = |(name, value): &(&str, &str)| (name.to_string(), value.to_string());
    env.iter().map(own).collect()
}

fn load_all(file: &str, env: &[(&str, &str)], arguments: &[&str]) -> Result<Settings, Mistakes> {
    let file = File::new(file);
    let mut flags = flags(arguments);
    flags.config = Some(file.0.clone());
    Settings::load(Defaults::Standard, &flags, owned(env))
}

fn from_file(file: &str) -> Result<Settings, Mistakes> {
    load_all(file, &[], &[])
}

fn from_env(env: &[(&str, &str)]) -> Result<Settings, Mistakes> {
    Settings::load(Defaults::Standard, &Flags::default(), owned(env))
}

fn from_flags(arguments: &[&str]) -> Result<Settings, Mistakes> {
    Settings::load(Defaults::Standard, &flags(arguments), [])
}

/// The messages of what must be wrong.
fn lines(result: Result<Settings, Mistakes>) -> Vec<String> {
    let mistakes = result.expect_err("these settings have a mistake");
    mistakes.to_string().lines().map(str::to_owned).collect()
}

/// Asserts that `result` has exactly one mistake, which says all of `parts`.
#[track_caller]
fn assert_one_mistake(result: Result<Settings, Mistakes>, parts: &[&str]) {
    let lines = lines(result);
    assert_eq!(lines.len(), 1, "{lines:#?}");
    for part in parts {
        assert!(lines[0].contains(part), "{part:?} is not in {:?}", lines[0]);
    }
}

#[test]
fn nothing_set_gives_the_defaults() {
    let settings = from_env(&[]).unwrap();
    assert_eq!(settings, Settings::default());
    assert_eq!(settings.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(settings.lease.max_secs, 86_400);
    assert!(settings.threads >= 1);
}

#[test]
fn flags_win_over_variables_which_win_over_the_file_which_wins_over_defaults() {
    let settings = load_all(
        "ack_timeout_secs = 1\ndrain_secs = 2\n[lease]\nmax_secs = 50000\ndefault_secs = 40000\n[retry]\nmax_attempts = 3\n",
        &[
            ("FHIRCAST_LEASE__DEFAULT_SECS", "300"),
            ("FHIRCAST_DRAIN_SECS", "3"),
            ("FHIRCAST_LISTEN", "127.0.0.1:1"),
        ],
        &["--listen", "127.0.0.1:2", "--set", "drain_secs=4"],
    )
    .unwrap();
    assert_eq!(settings.ack_timeout_secs, 1);
    assert_eq!(settings.lease.max_secs, 50_000);
    assert_eq!(settings.lease.default_secs, 300);
    assert_eq!(settings.retry.max_attempts, 3);
    assert_eq!(settings.retry.give_up_secs, 300);
    assert_eq!(settings.drain_secs, 4);
    assert_eq!(settings.listen.port(), 2);
}

#[test]
fn every_kind_of_value_can_be_text() {
    let settings = from_env(&[
        ("FHIRCAST_INSECURE", "true"),
        ("FHIRCAST_LISTEN", "[::]:8080"),
        ("FHIRCAST_PUBLIC_URL", "https://hub.example.org/x"),
        ("FHIRCAST_REDIS__PARTITIONS", "16"),
        ("FHIRCAST_REDIS__DURABILITY", "replicas=2"),
        ("FHIRCAST_RETRY__INITIAL_SECS", "2"),
        ("FHIRCAST_RETRY__JITTER", "0.1"),
        ("FHIRCAST_CALLBACKS__CA_FILE", "/etc/ca.pem"),
        ("FHIRCAST_SYNCERROR__SEVERITY", "error"),
        ("FHIRCAST_LOG__FORMAT", "json"),
        ("FHIRCAST_LOG__LEVEL", "3"),
    ])
    .unwrap();
    assert!(settings.insecure);
    assert_eq!(settings.listen.to_string(), "[::]:8080");
    assert_eq!(settings.public_url.unwrap().as_str(), "https://hub.example.org/x");
    assert_eq!(settings.redis.partitions, 16);
    assert_eq!(settings.redis.durability, Durability::Replicas(2));
    assert_eq!(settings.retry.initial_secs, 2.0);
    assert_eq!(settings.retry.jitter, 0.1);
    assert_eq!(settings.callbacks.ca_file.unwrap(), PathBuf::from("/etc/ca.pem"));
    assert_eq!(settings.syncerror.severity, Severity::Error);
    assert_eq!(settings.log.format, LogFormat::Json);
    assert_eq!(settings.log.level, "3");
}

#[test]
fn a_list_is_a_toml_array_or_has_commas() {
    for text in ["[\"/a\", '/b']", "/a,/b", " /a , /b "] {
        let settings = from_env(&[("FHIRCAST_BASE_PATHS", text)]).unwrap();
        assert_eq!(settings.base_paths, ["/a", "/b"], "{text}");
    }
    let settings = from_flags(&["--set", "callbacks.allowed_networks=10.0.0.0/8,::1/128"]).unwrap();
    assert_eq!(settings.callbacks.allowed_networks.len(), 2);
    let settings = from_env(&[("FHIRCAST_CORS__ALLOWED_ORIGINS", "")]).unwrap();
    assert!(settings.cors.allowed_origins.is_empty());
    assert_one_mistake(
        from_env(&[("FHIRCAST_BASE_PATHS", "[/a, /b]")]),
        &["base_paths: ", "TOML array", "FHIRCAST_BASE_PATHS"],
    );
    assert_one_mistake(from_env(&[("FHIRCAST_BASE_PATHS", "[\"/a\"]\nthreads = 1")]), &["base_paths: "]);
}

#[test]
fn all_mistakes_are_reported_at_once_each_with_its_name_and_origin() {
    let found = lines(load_all(
        "threads = 0\ninsecure = \"yes\"\nspeed = 3\n[lease]\nmax_sec = 5\n[log]\nlevel = \"a=b=c\"\n[auth]\nmode = \"oidc\"\n",
        &[
            ("FHIRCAST_LISTEN", "8080"),
            ("FHIRCAST_REDIS_URL", "redis://:secret@h"),
            ("FHIRCAST_RETRY__MAX_ATTEMPTS", "many"),
            ("FHIRCAST_REDIS__PARTITIONS", "5000"),
        ],
        &["--set", "limits.unanswered=-1", "--set", "lesae.max_secs=3", "--set", "drain_secs:3"],
    ));
    let expected = [
        ("lease.max_sec: ", "did you mean lease.max_secs? (from the file /"),
        ("speed: ", "no such setting (from the file /"),
        ("FHIRCAST_REDIS_URL: ", "did you mean FHIRCAST_REDIS__URL? (from the environment)"),
        ("lesae.max_secs: ", "did you mean lease.max_secs? (from the flag --set)"),
        ("--set: ", "\"drain_secs\" has no '='"),
        ("listen: ", "(from the environment variable FHIRCAST_LISTEN)"),
        ("insecure: ", "must be true or false, not string \"yes\" (from the file /"),
        ("threads: ", "must be from 1 to 256, not 0 (from the file /"),
        (
            "redis.partitions: ",
            "from 1 to 4096, not 5000 (from the environment variable FHIRCAST_REDIS__PARTITIONS)",
        ),
        ("auth.mode: ", "must be \"off\" or \"jwt\" or \"introspection\", not \"oidc\""),
        ("limits.unanswered: ", "(from the flag --set limits.unanswered)"),
        ("retry.max_attempts: ", "must be a whole number, not string \"many\""),
        ("log.level: ", "\"a=b=c\""),
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (line, (start, part)) in found.iter().zip(expected) {
        assert!(line.starts_with(start), "{line:?} does not start with {start:?}");
        assert!(line.contains(part), "{part:?} is not in {line:?}");
        assert!(!line.contains("secret"), "{line:?}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_a_mistake() {
    let absent = from_flags(&["--config", "/nonexistent/hub.toml"]);
    assert_one_mistake(absent, &["--config: /nonexistent/hub.toml: "]);
    assert_one_mistake(from_file("threads = 1\nlisten ="), &["--config: ", "line 2: "]);
}

#[test]
fn a_file_that_cannot_be_read_is_not_blamed_on_other_settings() {
    let mut unreadable = flags(&["--listen", "0.0.0.0:80"]);
    unreadable.config = Some("/nonexistent/hub.toml".into());
    let result = Settings::load(Defaults::Standard, &unreadable, []);
    assert_one_mistake(result, &["--config: "]);
}

#[test]
fn a_table_in_the_place_of_a_value_and_the_reverse_are_mistakes() {
    assert_one_mistake(from_file("lease = 3"), &["lease: there is no such setting"]);
    assert!(from_file("[threads]\nx = 3").is_err());
    assert_one_mistake(from_file("\"lease.max_secs\" = 3"), &["no such setting"]);
}

#[test]
fn what_kubernetes_injects_is_ignored_and_what_looks_like_a_setting_is_not() {
    let injected = [
        ("FHIRCAST_HUB_SERVICE_HOST", "10.0.0.1"),
        ("FHIRCAST_HUB_SERVICE_PORT", "80"),
        ("FHIRCAST_HUB_SERVICE_PORT_HTTP", "80"),
        ("FHIRCAST_HUB_PORT", "tcp://10.0.0.1:80"),
        ("FHIRCAST_HUB_PORT_80_TCP", "tcp://10.0.0.1:80"),
        ("FHIRCAST_HUB_PORT_80_TCP_ADDR", "10.0.0.1"),
        ("HOME", "/root"),
    ];
    assert_eq!(from_env(&injected).unwrap(), Settings::default());
    assert_one_mistake(from_env(&[("FHIRCAST_PORT", "8080")]), &["FHIRCAST_PORT: "]);
    assert_one_mistake(
        from_env(&[("FHIRCAST_listen", "127.0.0.1:1")]),
        &["FHIRCAST_listen: ", "did you mean FHIRCAST_LISTEN?"],
    );
}
