//! `docs/OPERATIONS.md`: that what it names is there, and that what it shows is what the programs print.

use std::collections::BTreeSet;
use std::process::Command;

use harness::{
    examples::{Message, fresh_topic},
    process::program,
    redis_server::Durability,
    socket::Socket,
    system::{System, run},
    wait::{PATIENCE, eventually},
};
use serde_json::Value;
use shared::settings::Settings;

use crate::served::served;
use crate::tools::{self, repository, text};

const PAGE: &str = "docs/OPERATIONS.md";

/// What stands between backticks on one line, and in blocks of code.
fn code(page: &str) -> Vec<String> {
    let mut code = Vec::new();
    for (number, part) in page.split("```").enumerate() {
        if number % 2 == 1 {
            code.push(part.to_owned());
        } else {
            code.extend(part.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    code
}

/// The blocks of code that begin like this.
fn blocks(page: &str, first: &str) -> Vec<String> {
    let blocks = page.split("```").skip(1).step_by(2);
    blocks.filter_map(|block| block.split_once('\n')?.1.strip_prefix(first)).map(str::to_owned).collect()
}

/// The first cell of each row of the page of settings.
fn settings() -> BTreeSet<String> {
    let page = Settings::reference().unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    rows.map(|(name, _)| name.to_owned()).collect()
}

/// Names with dots in them, as settings have.
fn dotted(code: &str) -> impl Iterator<Item = &str> {
    let is_of_a_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ['_', '.'].contains(&c);
    code.split(move |c| !is_of_a_name(c))
        .filter(|word| word.contains('.'))
        .map(|word| word.trim_end_matches('.'))
}

#[test]
fn each_setting_that_the_page_names_is_one() {
    let settings = settings();
    let groups: BTreeSet<&str> = settings.iter().filter_map(|name| Some(name.split_once('.')?.0)).collect();
    let (page, compose) = (text(PAGE), text("docker-compose.yml"));
    let mut named = BTreeSet::new();
    for code in code(&page) {
        for name in dotted(&code) {
            let Some((group, rest)) = name.split_once('.') else { continue };
            // Of a group that there is, and no file.
            if !groups.contains(group) || ["toml", "yaml", "conf", ""].contains(&rest) {
                continue;
            }
            named.insert(name.to_owned());
        }
        // `FHIRCAST_REDIS__URL`
        for word in code.split(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')) {
            let is_of_compose = compose.contains(&format!("${{{word}"));
            if let Some(name) = word.strip_prefix("FHIRCAST_").filter(|_| !is_of_compose) {
                named.insert(name.to_lowercase().replace("__", "."));
            }
        }
    }
    assert!(named.len() > 40, "{named:?}");
    // `limits.caller_…`, `tls.…`
    let is_there = |name: &&String| {
        settings.contains(*name)
            || settings.iter().any(|setting| name.ends_with('_') && setting.starts_with(*name))
    };
    let unknown: Vec<&String> = named.iter().filter(|name| !is_there(name)).collect();
    assert_eq!(unknown, [""; 0], "these are no settings");
}

#[test]
fn each_row_of_the_table_of_settings_has_the_default_that_the_programs_have() {
    let defaults = Settings::reference().unwrap();
    let page = text(PAGE);
    let table = page.split("| setting | default | |\n").nth(1).expect("the page has a table of settings");
    let rows: Vec<&str> = table.lines().skip(1).take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() > 30, "{rows:?}");
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let default = cells[2].trim_matches('`');
        // In words, or one of several.
        if default.is_empty() || ["none", "the request's host"].contains(&default) {
            continue;
        }
        let name = cells[1].split(',').next().unwrap().trim_matches('`');
        let line = defaults.lines().find(|line| line.starts_with(&format!("| `{name}`<br>")));
        let line = line.unwrap_or_else(|| panic!("{name} is no setting"));
        let declared = line.split(" | ").nth(1).unwrap().replace('"', "");
        assert!(declared.starts_with(&format!("`{default}`")), "{name}: {declared} and not {default}");
    }
}

#[tokio::test]
async fn each_metric_that_the_page_names_is_served() {
    let served = served().await;
    let page = text(PAGE);
    let is_of_a_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let mut named = BTreeSet::new();
    for code in code(&page) {
        let words = code.split(|c| !is_of_a_name(c)).filter(|word| word.starts_with("fhircast_"));
        named.extend(words.map(str::to_owned));
    }
    assert!(named.len() > 25, "{named:?}");
    // A histogram goes by its name in text, and by its parts in expressions.
    let is_there = |name: &&String| served.families.contains_key(*name) || served.family(name).is_some();
    let unknown: Vec<&String> = named.iter().filter(|name| !is_there(name)).collect();
    assert_eq!(unknown, [""; 0], "these are no metrics");
}

#[test]
fn each_alert_file_and_page_that_the_page_leads_to_is_there() {
    let page = text(PAGE);
    let headings: BTreeSet<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .map(|line| {
            let heading = line.trim_start_matches('#').trim().to_lowercase();
            heading
                .chars()
                .filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c))
                .collect::<String>()
                .replace(' ', "-")
        })
        .collect();
    for link in page.split("](").skip(1).filter_map(|link| link.split(')').next()) {
        match link.split_once('#') {
            Some(("", anchor)) => assert!(headings.contains(anchor), "#{anchor} is no heading"),
            _ if link.starts_with("https://") => {}
            _ => {
                let path = repository().join("docs").join(link.split('#').next().unwrap());
                assert!(path.exists(), "{link} is not there");
            }
        }
    }
    // What is named as an alert is one, though it be no link.
    for word in page.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| word.starts_with("Fhircast")) {
        assert!(headings.contains(&word.to_lowercase()), "{word} is no alert");
    }
    for path in code(&page) {
        let is_one = ["deploy/", "helm/", "docs/"].iter().any(|folder| path.starts_with(folder));
        if is_one && !path.contains([' ', '\n', '*']) {
            assert!(repository().join(&path).exists(), "{path} is not there");
        }
    }
}

#[test]
fn the_programs_have_the_subcommands_and_flags_that_the_page_shows() {
    let page = text(PAGE);
    let mut seen = BTreeSet::new();
    for code in code(&page) {
        for line in code.lines() {
            for name in ["fhircast-hub", "fhircast-worker"] {
                let Some((_, arguments)) = line.split_once(&format!("{name} ")) else { continue };
                let words: Vec<&str> = arguments
                    .split_whitespace()
                    .take_while(|word| !["|", ">", "&&", "#"].contains(word))
                    .collect();
                let subcommand = words.first().filter(|word| {
                    word.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !word.starts_with('-')
                });
                let mut help = Command::new(program(name).unwrap());
                let is_one = ["status", "health", "reseal", "raise-format"];
                let Some(subcommand) = subcommand.filter(|word| is_one.contains(word)) else { continue };
                let help = tools::run(help.args([subcommand, "--help"]));
                seen.insert(format!("{name} {subcommand}"));
                let flags =
                    words.iter().filter_map(|word| word.trim_end_matches(['`', ';', ',']).strip_prefix("--"));
                for flag in flags.map(|flag| flag.split('=').next().unwrap()) {
                    assert!(
                        help.contains(&format!("--{flag}")),
                        "{name} {subcommand} has no --{flag}: {line}"
                    );
                }
            }
        }
    }
    let expected = [
        "fhircast-hub health",
        "fhircast-hub raise-format",
        "fhircast-hub reseal",
        "fhircast-hub status",
        "fhircast-worker health",
    ];
    assert_eq!(seen.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

/// A cluster in which each list that `status` shows has a line: a subscriber that has not answered.
async fn cluster_with_something_in_each_list() -> (System, Socket) {
    let system = System::builder().hubs(1).workers(1).durability(Durability::None).start().await.unwrap();
    let app = system.hubs[0].app().unwrap();
    let topic = fresh_topic();
    let endpoint = app.subscribe_websocket(&topic, "Patient-open", &[]).await.unwrap();
    let socket = Socket::connect(&endpoint).await.unwrap();
    let event = Message::example("3.0.0/Patient-open").unwrap().topic(&topic).unwrap();
    app.publish(event.text()).await.unwrap().expect_status(202).unwrap();
    (system, socket)
}

/// What a list is headed with: its title, up to what changes from one look to the next, or the names of its columns.
fn heading(line: &str) -> Option<String> {
    let is_of_columns =
        |line: &str| !line.is_empty() && line.chars().all(|c| c.is_ascii_uppercase() || c == ' ');
    match line.strip_prefix("  ") {
        Some(columns) => {
            is_of_columns(columns).then(|| columns.split_whitespace().collect::<Vec<_>>().join(" "))
        }
        None => line.split_once([':', ',']).map(|(title, _)| title.to_owned()),
    }
}

#[tokio::test]
async fn the_sample_of_status_has_the_lists_and_columns_that_it_prints() {
    let (system, _socket) = cluster_with_something_in_each_list().await;
    let url = system.redis.url();
    let headings = |page: &str| page.lines().filter_map(heading).collect::<Vec<String>>();
    let shown = blocks(&text(PAGE), "$ fhircast-hub status").remove(0);
    let shown = headings(shown.split_once('\n').unwrap().1);
    let look = || async {
        let printed = run("fhircast-hub", &["status", "--redis-url", &url], &[]).await.ok()?;
        let printed = headings(&String::from_utf8(printed.stdout).unwrap());
        // Each list with its columns, and the line of the format.
        (printed.len() == 13).then_some(printed)
    };
    assert_eq!(shown, eventually(PATIENCE, "something in each list", look).await.unwrap());
}

#[tokio::test]
async fn what_is_asked_of_status_with_jq_is_there() {
    let (system, _socket) = cluster_with_something_in_each_list().await;
    let url = system.redis.url();
    let look = || async {
        let printed = run("fhircast-hub", &["status", "--json", "--redis-url", &url], &[]).await.ok()?;
        let told: Value = serde_json::from_slice(&printed.stdout).unwrap();
        told["undelivered"].get(0).is_some().then_some(told)
    };
    let told = eventually(PATIENCE, "a subscriber that has not answered", look).await.unwrap();
    let mut known: BTreeSet<&String> = told.as_object().unwrap().keys().collect();
    let lists = told.as_object().unwrap().values().filter_map(Value::as_array).flatten();
    known.extend(lists.filter_map(Value::as_object).flat_map(|item| item.keys()));
    let page = text(PAGE);
    let mut asked = 0;
    for line in page.lines().filter_map(|line| line.split_once("--json | jq ")) {
        let is_of_a_name = |c: char| c.is_ascii_lowercase() || c == '_';
        for field in line.1.split('.').skip(1).map(|rest| rest.split(|c| !is_of_a_name(c)).next().unwrap()) {
            assert!(
                field.is_empty() || known.iter().any(|name| *name == field),
                "there is no {field}: {line:?}"
            );
            asked += usize::from(!field.is_empty());
        }
    }
    assert!(asked > 5, "{asked}");
}

#[tokio::test]
async fn each_part_of_health_and_readiness_is_explained() {
    let (page, system) = (
        text(PAGE),
        System::builder().hubs(1).workers(1).durability(Durability::None).start().await.unwrap(),
    );
    for admin in [system.hubs[0].admin_url(), system.workers[0].admin_url()] {
        for path in ["/healthz", "/readyz"] {
            let told = reqwest::get(format!("{admin}{path}")).await.unwrap().text().await.unwrap();
            for line in told.lines() {
                let part = line.split(':').next().unwrap();
                assert!(page.contains(&format!("\n| `{part}` |")), "{path} says {line}, which has no row");
            }
        }
    }
}
