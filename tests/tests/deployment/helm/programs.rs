//! The settings that the chart makes, as the programs read them: what each container is started with is given to the real
//! program, which prints what is in force (`--print-config`).

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use harness::process::program;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::chart::{KUBERNETES, list, rendered, text, try_template};
use super::pages::{Setting, Type, settings};
use crate::tools::attempt;

/// Where the file is within a pod.
const CONFIG: &str = "/etc/fhircast/config/fhircast.toml";
const DATA_KEY: &str = "k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// What a Secret might hold for this variable.
fn secret(variable: &str) -> &'static str {
    match variable {
        "FHIRCAST_REDIS__URL" => "rediss://me:hush@redis.example.org:6379",
        "FHIRCAST_DATA_KEYS" => DATA_KEY,
        "FHIRCAST_TRACING__HEADERS" => "authorization=Bearer hush",
        _ => "hush",
    }
}

/// What the container's program prints of its settings, or says of them.
fn printed(folder: &TempDir, config: &str, container: &Value) -> Result<String, String> {
    let file = folder.path().join("fhircast.toml");
    fs::write(&file, config).unwrap();
    let name = text(&container["command"][0]).strip_prefix("/usr/local/bin/").unwrap();
    let mut command = Command::new(program(name).unwrap());
    for argument in list(&container["args"]) {
        // Kubernetes puts the Service's address in.
        let argument = text(argument).replace(CONFIG, file.to_str().unwrap());
        let address = if argument.contains('[') { "fd00::1" } else { "10.0.0.1" };
        let before = argument.find("$(").map(|at| argument.split_at(at));
        command.arg(match before {
            Some((before, rest)) => format!("{before}{address}{}", rest.split_once(')').unwrap().1),
            None => argument,
        });
    }
    command.arg("--print-config").env_clear();
    for variable in list(&container["env"]) {
        let name = text(&variable["name"]);
        command.env(name, variable["value"].as_str().unwrap_or_else(|| secret(name)));
    }
    match attempt(&mut command, "") {
        (true, printed) => Ok(printed),
        (false, said) => Err(format!("{said}\n{config}")),
    }
}

/// The settings in a file, by their full names, as TOML.
fn read(toml: &str) -> BTreeMap<String, String> {
    let mut group = String::new();
    let mut found = BTreeMap::new();
    for line in toml.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            group = format!("{name}.");
        } else if let Some((name, value)) = line.split_once(" = ")
            && !line.starts_with('#')
        {
            found.insert(format!("{group}{name}"), value.to_owned());
        }
    }
    found
}

fn config_of(manifests: &[Value]) -> &str {
    let config = manifests.iter().find_map(|manifest| manifest["data"]["fhircast.toml"].as_str());
    config.unwrap()
}

#[test]
fn what_each_container_is_started_with_is_taken_by_its_program() {
    let folder = tempfile::tempdir().unwrap();
    let mut containers = 0;
    for rendered in rendered().iter().filter(|rendered| rendered.kubernetes == KUBERNETES[1]) {
        let ours = rendered.pods().into_iter().flat_map(|(_, _, spec)| list(&spec["containers"]));
        for container in ours.filter(|container| container["name"] != "redis") {
            let printed = printed(&folder, rendered.settings(), container);
            let printed = printed.unwrap_or_else(|said| panic!("{}: {said}", rendered.name()));
            let in_force = read(&printed);
            for (setting, value) in read(rendered.settings()) {
                // The Pod of `helm test` asks at a Service.
                if setting == "admin_listen" && list(&container["args"])[0] == "health" {
                    continue;
                }
                let plain = |value: &str| value.trim_end_matches("/\"").trim_end_matches('"').to_owned();
                let in_force = in_force.get(&setting).map(|value| plain(value));
                assert_eq!(in_force, Some(plain(&value)), "{}: {setting}", rendered.name());
            }
            for variable in list(&container["env"]) {
                let name = text(&variable["name"]);
                if let Some(setting) = name.strip_prefix("FHIRCAST_") {
                    let setting = setting.to_lowercase().replace("__", ".");
                    assert!(in_force[&setting].contains("***"), "{}: {setting}", rendered.name());
                }
            }
            containers += 1;
        }
    }
    assert!(containers >= 4 * 6, "{containers}");
}

/// Another value of a setting than its default, as JSON.
fn example(setting: &Setting) -> Value {
    let whole = || setting.default.parse::<u64>().unwrap_or(2) + 1;
    match setting.name.as_str() {
        "listen" => json!("0.0.0.0:8181"),
        "admin_listen" => json!("0.0.0.0:9191"),
        "base_paths" => json!(["/a/b", "/c"]),
        "redis.max_format" => json!(1),
        "redis.url" => json!("rediss+sentinel://a:1,b:2/main"),
        "auth.jwks" => json!("/etc/jwks.json"),
        "cors.allowed_origins" => json!(["https://a.example"]),
        "log.level" => json!("warn,shared=debug"),
        "log.format" => json!("pretty"),
        "auth.mode" => json!("jwt"),
        "tls.client_auth" | "admin_tls.client_auth" => json!("required"),
        "syncerror.severity" => json!("error"),
        "audit.to" => json!("/var/log/fhircast/audit"),
        "audit.format" => json!("fhir"),
        "retry.jitter" | "tracing.sample_ratio" => json!(0.35),
        name => match (&setting.kind, setting.expected.as_str()) {
            (Type::Flag, _) => json!(setting.default != "true"),
            (Type::Whole, _) => json!(whole()),
            (Type::Number, _) => json!(setting.default.parse::<f64>().unwrap() + 0.5),
            (_, "text") => json!(format!("<{name}> & \"more\"")),
            (_, "a list of texts") => json!([format!("{name}-1"), "b, c"]),
            (_, "a path") => json!(format!("/etc/{name}")),
            (_, "primary or replicas=N") => json!("replicas=2"),
            (_, expected) if expected.starts_with("a URL") => json!(format!("https://{name}.example/")),
            (_, expected) if expected.starts_with("a list of networks") => json!(["10.7.0.0/16", "fd00::/8"]),
            (_, expected) if expected.starts_with("a list of ports") => json!(["443", "8000-8999"]),
            (_, expected) if expected.starts_with("a list of IP addresses") => json!(["10.0.0.53:53"]),
            (_, expected) => panic!("{name} is {expected}: give an example of one here"),
        },
    }
}

/// Settings that only one mode of `auth.mode` has a use for, and no other takes.
const OF_MODES: [(&str, &[&str]); 2] = [
    ("jwt", &["auth.jwks"]),
    ("introspection", &["auth.introspection_url", "auth.client_id", "auth.client_secret"]),
];

#[test]
fn every_setting_can_be_set_in_the_values_and_comes_to_the_programs() {
    for (mode, _) in OF_MODES {
        let of_others =
            OF_MODES.iter().filter(|(other, _)| *other != mode).flat_map(|(_, settings)| *settings);
        let of_others: Vec<&str> = of_others.copied().collect();
        all_come_to_the_programs(mode, &of_others);
    }
}

/// All settings but these, set with `auth.mode`.
fn all_come_to_the_programs(mode: &str, but: &[&str]) {
    let mut values = json!({
        "settings": {}, "secrets": {}, "trialRedis": {"enabled": false},
        "extraVolumes": [{"name": "audit", "emptyDir": {}}],
        "extraVolumeMounts": [{"name": "audit", "mountPath": "/var/log/fhircast"}],
    });
    let mut expected = BTreeMap::new();
    let mut secrets = Vec::new();
    // `data_keys_file` is in the place of `data_keys`, which `everything` has.
    let settings = settings().into_iter().filter(|setting| setting.name != "data_keys");
    for setting in settings.filter(|setting| !but.contains(&setting.name.as_str())) {
        let (tree, value) = match setting.secret {
            Some(_) => ("secrets", json!({"existingSecret": "secrets"})),
            None if setting.name == "auth.mode" => ("settings", json!(mode)),
            None => ("settings", example(&setting)),
        };
        match setting.name.split_once('.') {
            Some((group, name)) => values[tree][group][name] = value.clone(),
            None => values[tree][&setting.name] = value.clone(),
        }
        match setting.secret {
            Some(_) => secrets.push(setting.name),
            None => _ = expected.insert(setting.name, value),
        }
    }
    let manifests = try_template("trial", &values.to_string()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for deployment in manifests.iter().filter(|manifest| manifest["kind"] == "Deployment") {
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let printed = read(&printed(&folder, config_of(&manifests), container).unwrap());
        for (name, value) in &expected {
            // Whether a number is written as a whole one is all the same.
            let is_same = match value.as_f64() {
                Some(number) => printed[name].parse::<f64>() == Ok(number),
                None => printed[name] == toml(value),
            };
            assert!(is_same, "{name}: {value} became {}", printed[name]);
        }
        // Whatever hides itself is known here as a secret, and came by a variable.
        let hidden: Vec<&String> =
            printed.iter().filter(|(_, value)| value.contains("***")).map(|(name, _)| name).collect();
        let mut secrets: Vec<&String> = secrets.iter().collect();
        secrets.sort();
        assert_eq!(hidden, secrets, "what the programs hide and what the chart takes for a secret");
    }
}

/// A text, a flag or a list as TOML has it in `--print-config`.
fn toml(value: &Value) -> String {
    match value {
        Value::String(text) if text.contains('"') => format!("'{text}'"),
        Value::Array(items) => format!("[{}]", items.iter().map(toml).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}
