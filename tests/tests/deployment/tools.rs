//! The tools that check the files, and what the checks share.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// The top of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The text of a file, by its path from the top of the repository.
pub fn text(path: &str) -> String {
    let path = repository().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A tool that `deploy/tools/ensure` has installed.
pub fn tool(name: &str) -> PathBuf {
    let tools = repository().join("target/tools");
    let places = [tools.join("python/bin"), tools.join("node/node_modules/.bin")];
    let found = places.iter().map(|place| place.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name} is missing; run deploy/tools/ensure: make test does"))
}

/// Runs a tool to its end at the top of the repository, and answers what it has printed; one that fails fails the test,
/// with all that it said.
pub fn run(command: &mut Command) -> String {
    run_with(command, "")
}

/// The same with this on its standard input.
pub fn run_with(command: &mut Command, input: &str) -> String {
    let (success, printed) = attempt(command, input);
    assert!(success, "{command:?} failed:\n{printed}");
    printed
}

/// Whether a command succeeds with this on its standard input, and all that it has printed: of one that succeeds, its
/// standard output alone.
pub fn attempt(command: &mut Command, input: &str) -> (bool, String) {
    let started = command
        .current_dir(repository())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = started.unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // On a thread of its own: what it prints meanwhile may fill its pipe. One that does not read all of it says why itself.
    let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let mut printed = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        printed.push_str(&String::from_utf8_lossy(&output.stderr));
    }
    (output.status.success(), printed)
}

/// The documents of a YAML text, with anchors and merges resolved.
pub fn yaml_documents(text: &str) -> Vec<Value> {
    let program =
        "import json, sys, yaml; json.dump(list(yaml.safe_load_all(sys.stdin)), sys.stdout, default=str)";
    let printed = run_with(Command::new(tool("python3")).args(["-c", program]), text);
    serde_json::from_str(&printed).unwrap()
}

/// The one document of a YAML file, by its path from the top of the repository.
pub fn yaml(path: &str) -> Value {
    let mut documents = yaml_documents(&text(path));
    assert_eq!(documents.len(), 1, "{path} has another number of documents");
    documents.remove(0)
}

#[test]
fn yaml_is_read_with_its_anchors_and_merges() {
    let documents = yaml_documents("a: &a { x: 1, y: 2 }\nb: { <<: *a, y: 3 }\n---\n[yes, 'yes']\n");
    assert_eq!(
        documents,
        [serde_json::json!({"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}}), serde_json::json!([true, "yes"])]
    );
}

#[test]
#[should_panic(expected = "run deploy/tools/ensure")]
fn a_missing_tool_says_how_to_get_it() {
    tool("no-such-tool");
}

#[test]
#[should_panic(expected = "the cause")]
fn a_tool_that_fails_shows_what_it_said() {
    run(Command::new("sh").args(["-c", "echo the cause >&2; exit 3"]));
}
