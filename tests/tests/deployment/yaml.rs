//! Every YAML file that is one (the chart's templates are none before they are rendered).

use std::process::Command;

use crate::tools::{run, text, tool, yaml};

fn files() -> Vec<String> {
    let listed = run(Command::new("git").args(["ls-files", "*.yml", "*.yaml"]));
    let files = listed.lines().filter(|file| !file.contains("/templates/"));
    files.map(str::to_owned).collect()
}

#[test]
fn every_yaml_file_is_well_formed_and_tidy() {
    let files = files();
    assert!(files.iter().any(|file| file == "docker-compose.yml"), "{files:?}");
    run(Command::new(tool("yamllint")).args(["--strict", "-c", "deploy/tools/yamllint.yaml"]).args(&files));
}

#[test]
fn every_yaml_file_says_something() {
    for file in files() {
        assert!(!yaml(&file).is_null(), "{file}");
    }
}

#[test]
fn what_checks_the_files_is_pinned() {
    let pins = text("deploy/tools/requirements.txt");
    for line in pins.lines().filter(|line| !line.starts_with('#')) {
        assert!(
            line.split_once("==").is_some_and(|(name, version)| !name.is_empty() && !version.is_empty()),
            "{line}"
        );
    }
}
