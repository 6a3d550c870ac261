//! What is made of the programs' and the chart's own declarations: the settings in `values.schema.json`, and the table of
//! values in the chart's README.

use std::fmt::Write;

use harness::pages::up_to_date;
use serde_json::{Map, Value, json};
use shared::settings::Settings;

use super::chart::{CHART, KUBERNETES, template, value_files};
use crate::tools::{self, yaml};

/// The settings that are secret, and where the values name the Secret that holds each.
const SECRETS: [(&str, &str); 5] = [
    ("data_keys", "secrets.data_keys_file, or in extraSecrets.data_keys"),
    ("redis.password", "secrets.redis.password"),
    ("redis.sentinel_password", "secrets.redis.sentinel_password"),
    ("auth.client_secret", "secrets.auth.client_secret"),
    ("tracing.headers", "secrets.tracing.headers"),
];

/// What a setting is in a file.
#[derive(Debug, PartialEq)]
pub enum Type {
    Flag,
    Whole,
    Number,
    Texts,
    Text,
}

/// A setting, as docs/CONFIGURATION.md has it.
pub struct Setting {
    /// Its name, such as `lease.max_secs`.
    pub name: String,
    /// As TOML; or `absent`, or words.
    pub default: String,
    pub help: String,
    /// What its value must be, in words.
    pub expected: String,
    pub kind: Type,
    /// Where the values name its Secret; `None`: it is not secret.
    pub secret: Option<&'static str>,
}

/// All settings of the programs.
pub fn settings() -> Vec<Setting> {
    let page = Settings::reference().unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |"));
    let settings: Vec<Setting> = rows.map(setting).collect();
    assert!(settings.len() > 100, "{}", settings.len());
    settings
}

fn setting(row: &str) -> Setting {
    let [names, default, help] = row.splitn(3, " | ").collect::<Vec<_>>()[..] else { panic!("{row}") };
    let name = names.split('`').next().unwrap().to_owned();
    let (help, expected) = help.rsplit_once(" (").unwrap_or_else(|| panic!("{row}"));
    let expected = expected.trim_end_matches(')').to_owned();
    let kind = match expected.as_str() {
        "true or false" => Type::Flag,
        "a whole number" => Type::Whole,
        "a number" => Type::Number,
        list if list.starts_with("a list of ") => Type::Texts,
        _ => Type::Text,
    };
    let default = default.split("; ").next().unwrap().trim_matches('`').to_owned();
    let secret = SECRETS.iter().find(|(secret, _)| *secret == name).map(|(_, place)| *place);
    Setting { name, default, help: help.replace("\\|", "|"), expected, kind, secret }
}

/// The schema of one setting. The messages of refusals are its choices, which is what every helm shows.
fn schema(setting: &Setting) -> Value {
    let refusal = |what: &str, place: &str| json!({"enum": [format!("({what}, and everybody may read a ConfigMap: name the Secret that holds it in {place})")]});
    let mut schema = match setting.secret {
        Some(place) => refusal("this is secret", place),
        None if setting.name == "redis.url" => {
            json!({"type": "string", "if": {"pattern": "^[^@]*://[^@]*:.*@"}, "then": refusal("a URL with a password is secret", "secrets.redis.url")})
        }
        None => match setting.kind {
            Type::Flag => json!({"type": "boolean"}),
            Type::Whole => json!({"type": "integer", "minimum": 0}),
            Type::Number => json!({"type": "number", "minimum": 0}),
            Type::Texts => json!({"type": "array", "items": {"type": "string"}}),
            Type::Text => json!({"type": "string"}),
        },
    };
    schema["description"] = format!("{} ({})", setting.help, setting.expected).into();
    schema
}

fn group(properties: Map<String, Value>) -> Value {
    json!({"type": "object", "additionalProperties": false, "properties": properties})
}

#[test]
fn the_page_of_the_schema_knows_the_settings_that_the_programs_declare() {
    let mut top = Map::new();
    let mut groups: Map<String, Value> = Map::new();
    for setting in settings() {
        let schema = schema(&setting);
        match setting.name.split_once('.') {
            Some((group_name, name)) => {
                let of_group = groups.entry(group_name).or_insert_with(|| group(Map::new()));
                of_group["properties"][name] = schema;
            }
            None => _ = top.insert(setting.name, schema),
        }
    }
    top.extend(groups);
    let file = format!("{CHART}/values.schema.json");
    let mut all: Value = serde_json::from_str(&tools::text(&file)).unwrap();
    all["properties"]["settings"] = group(top);
    up_to_date(&file, &format!("{}\n", serde_json::to_string_pretty(&all).unwrap())).unwrap();
}

/// The documented values: path, and what it is. A value is documented by a comment that begins with `# -- `.
fn documented(values: &str) -> Vec<(String, String)> {
    let mut path: Vec<(usize, &str)> = Vec::new();
    let mut help: Option<String> = None;
    let mut found = Vec::new();
    for line in values.lines() {
        let rest = line.trim_start();
        let indent = line.len() - rest.len();
        if let Some(begin) = rest.strip_prefix("# -- ") {
            help = Some(begin.to_owned());
        } else if let (Some(more), Some(help)) = (rest.strip_prefix("# "), &mut help) {
            help.push(' ');
            help.push_str(more);
        } else if let Some((key, _)) = rest.split_once(':').filter(|_| !rest.starts_with(['#', '-'])) {
            path.retain(|(depth, _)| *depth < indent);
            path.push((indent, key));
            if let Some(help) = help.take() {
                let names: Vec<&str> = path.iter().map(|(_, name)| *name).collect();
                found.push((names.join("."), help));
            }
        }
    }
    found
}

/// The paths of all that is no map, or an empty one.
fn leaves(value: &Value, path: &str, found: &mut Vec<String>) {
    match value.as_object() {
        Some(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                leaves(value, &format!("{path}{}{name}", if path.is_empty() { "" } else { "." }), found);
            }
        }
        _ => found.push(path.to_owned()),
    }
}

#[test]
fn the_page_of_the_chart_has_a_row_for_every_value() {
    let file = format!("{CHART}/values.yaml");
    let values = yaml(&file);
    let rows = documented(&tools::text(&file));
    let mut undocumented = Vec::new();
    leaves(&values, "", &mut undocumented);
    undocumented.retain(|leaf| {
        let is_part =
            |name: &str| leaf.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        !rows.iter().any(|(name, _)| is_part(name))
    });
    assert_eq!(undocumented, [""; 0], "no comment that begins with two dashes says what these are");

    let mut table = "\n| value | default | |\n|---|---|---|\n".to_owned();
    for (name, help) in &rows {
        let value = &values[name.split('.').next().unwrap()];
        let value = name.split('.').skip(1).fold(value, |value, part| &value[part]);
        // What is said of the parts is not repeated of the whole.
        let has_parts = rows.iter().any(|(other, _)| other.starts_with(&format!("{name}.")));
        let default = if has_parts { String::new() } else { format!("`{value}`") };
        writeln!(table, "| `{name}` | {default} | {help} |").unwrap();
    }
    let readme = format!("{CHART}/README.md");
    let (begin, end) = ("<!-- the values, made of values.yaml -->\n", "\n<!-- end -->\n");
    let text = tools::text(&readme);
    let (before, rest) = text.split_once(begin).unwrap();
    let (_, after) = rest.split_once(end).unwrap();
    up_to_date(&readme, &format!("{before}{begin}{table}{end}{after}")).unwrap();
}

#[test]
fn the_readme_names_every_example_and_its_trial_is_what_helm_takes() {
    let readme = tools::text(&format!("{CHART}/README.md"));
    for values in value_files() {
        assert!(readme.contains(&format!("| `{values}-values.yaml` | ")), "{values}");
    }
    let (_, trial) = readme.split_once("\nhelm install trial helm/fhircast-hub ").unwrap();
    let (trial, _) = trial.split_once("\nhelm test").unwrap();
    let arguments = trial.split_whitespace().filter(|argument| *argument != "\\");
    tools::run(template(KUBERNETES[1]).args(arguments));
}
