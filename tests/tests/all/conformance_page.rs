//! `docs/CONFORMANCE.md`, made of the catalogue of rules, the checks of the conformance suite, and what the module docs of
//! the programs say that they implement; and that it is up to date. `make docs` writes it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use harness::conformance::catalogue::{GROUPS, RULES, Rule, Version};
use harness::conformance::checks;
use harness::pages::{root, up_to_date};

/// Where the versions of the specification disagree: the rules, and what is done in each of them.
const DIFFERENCES: &[(&str, [&str; 3])] = &[
    ("FC-EVT-06", ["wildcards are matched", "the same", "has none; they are matched all the same"]),
    (
        "FC-EVT-07",
        [
            "has no updates",
            "the anchor of an update or select is a `resource`",
            "it is a `reference`; both are taken",
        ],
    ),
    ("FC-SUB-08", ["not asked for; done all the same", "should; done", "must; done"]),
    ("FC-SUB-09", ["`hub.channel.endpoint`", "the same", "the same; `endpoint` is taken as well"]),
    (
        "FC-WSC-06",
        [
            "has no heartbeat; who asks for it by name gets it",
            "done",
            "has none; who asks for it by name gets it",
        ],
    ),
    ("FC-WHK-01…07", ["done", "done", "has no webhooks; they are served all the same"]),
    (
        "FC-NOT-03",
        [
            "severity as `syncerror.severity` says",
            "`error`: set `syncerror.severity = \"error\"`; the subscriber is in the coding `subscriber`",
            "`warning`, the default; the subscriber is in the coding `subscribername` as well",
        ],
    ),
    (
        "FC-CNF-01",
        [
            "`webhookSupport`",
            "`webhookSupport`, `getCurrentSupport`",
            "`capabilities` says the same in its own form",
        ],
    ),
    (
        "FC-CNF-02",
        [
            "no extension is named",
            "the extension under its name of that version",
            "the extension under its name of that version",
        ],
    ),
    ("FC-CTX-04", ["has no content: an app finds one element more, `content`", "done", "done"]),
    (
        "FC-CNT-02",
        [
            "has no updates",
            "`context.versionId`",
            "the same; `versionId`, which some senders write, is taken too",
        ],
    ),
    (
        "FC-CNT-03",
        [
            "has no updates",
            "`POST` adds, and is 409 if it is there; `PUT` and `DELETE` too",
            "`PUT` and `DELETE`; `POST` is taken too",
        ],
    ),
];

/// Every file of the programs, in the order of their names.
fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> =
        ["hub/src", "shared/src", "worker/src"].iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The ids in a text, with those that a range such as `FC-NOT-04…06` leaves out.
fn ids(text: &str) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for (at, _) in text.match_indices("FC-") {
        let number = |text: &str| text.get(..2).and_then(|digits| digits.parse::<u32>().ok());
        let Some(group) = text.get(at..at + 7).filter(|group| group.ends_with('-')) else { continue };
        let Some(first) = number(&text[at + 7..]) else { continue };
        let last = text[at + 9..].strip_prefix('…').and_then(number).unwrap_or(first);
        ids.extend((first..=last).map(|number| format!("{group}{number:02}")));
    }
    ids
}

/// The modules that say in their first lines that they implement a rule; where any says it for itself, not those that
/// only sum up what is below them.
fn implementers() -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for path in sources() {
        let text = fs::read_to_string(&path).unwrap();
        let head: Vec<&str> = text.lines().filter(|line| line.starts_with("//!")).collect();
        let name = path.strip_prefix(root()).unwrap().to_str().unwrap().replace("/src/", "/");
        for id in ids(&head.join("\n")) {
            all.entry(id).or_default().push(name.trim_end_matches(".rs").to_owned());
        }
    }
    for modules in all.values_mut() {
        let is_sum = |module: &String| ["/mod", "/lib"].iter().any(|end| module.ends_with(end));
        if modules.iter().any(|module| !is_sum(module)) {
            modules.retain(|module| !is_sum(module));
        }
    }
    all
}

fn level(rule: &Rule, version: Version) -> &'static str {
    rule.level(version).map_or("", |level| level.sign())
}

fn page() -> String {
    let implementers = implementers();
    let mut page = String::from(
        "# Conformance\n\n\
         Made by `make docs` of the catalogue of rules, the checks of `fhircast-conformance` and the module docs; a test\n\
         keeps it true. The hub implements 2.1.0-ballot,\nand serves apps of 2.0.0 and 3.0.0 unchanged.\n\n\
         Levels in each version: **M** must, **S** should, **O** optional and done, **+** not in the specification, a\n\
         promise of this hub; empty: not in that version, and done all the same. `fhircast-conformance --hub-url URL`\n\
         checks any hub.\n",
    );
    for (group, title) in GROUPS {
        let _ = write!(
            page,
            "\n## {title} ({group})\n\n\
             | rule | 2.0.0 | 2.1.0 | 3.0.0 | what it asks for | implemented in | checked by |\n|---|---|---|---|---|---|---|\n"
        );
        for rule in RULES.iter().filter(|rule| rule.group() == *group) {
            let levels = Version::ALL.map(|version| level(rule, version)).join(" | ");
            let done = match implementers.get(rule.id) {
                Some(modules) => {
                    modules.iter().map(|module| format!("`{module}`")).collect::<Vec<_>>().join(", ")
                }
                None => String::new(),
            };
            let checks = checks::all().filter(|check| check.rule == rule.id);
            let checks: Vec<String> = checks.map(|check| check.name.replace('_', " ")).collect();
            let _ = writeln!(
                page,
                "| {} | {levels} | {} | {done} | {} |",
                rule.id,
                rule.title.replace('|', "\\|"),
                checks.join("; ")
            );
        }
    }
    page.push_str(
        "\n## Where the versions disagree\n\n| rule | 2.0.0 | 2.1.0-ballot | 3.0.0 |\n|---|---|---|---|\n",
    );
    for (rule, done) in DIFFERENCES {
        let _ = writeln!(page, "| {rule} | {} |", done.join(" | "));
    }
    page
}

#[test]
fn the_page_is_what_the_catalogue_the_checks_and_the_code_say() {
    up_to_date("docs/CONFORMANCE.md", &page()).unwrap();
}

#[test]
fn every_rule_is_implemented_and_checked() {
    let implementers = implementers();
    let is_checked = |rule: &&Rule| checks::all().any(|check| check.rule == rule.id);
    let is_done = |rule: &&Rule| implementers.contains_key(rule.id);
    let missing: Vec<&str> =
        RULES.iter().filter(|rule| !is_checked(rule) || !is_done(rule)).map(|rule| rule.id).collect();
    assert_eq!(missing, [""; 0], "not implemented, or not checked");
    let known: Vec<&String> = implementers.keys().filter(|id| Rule::find(id).is_none()).collect();
    assert!(known.is_empty(), "a module names a rule that there is not: {known:?}");
}
