//! Somebody who reads a page from top to bottom, and pastes its commands into terminals.

use std::{collections::HashMap, env, fs, os::unix::fs::symlink, process::Command};

use harness::{process::Process, system::Hub, wait::PATIENCE};
use tempfile::TempDir;
use url::Url;

use super::blocks::{Block, FIRST, shows};
use crate::tools;

/// A terminal in the background.
struct Terminal {
    process: Process,
    /// How many of its lines have been looked at.
    seen: usize,
}

/// A reader, with a folder in which the project's are.
pub struct Walk {
    page: String,
    folder: TempDir,
    /// What stands on the page, and what it is here.
    instead: Vec<(String, String)>,
    terminals: HashMap<usize, Terminal>,
    /// What the last command in the first terminal has printed, until the page has shown it.
    printed: Option<String>,
}

impl Walk {
    /// Begins a page that takes the hub to be where `make run` starts one.
    pub fn of(page: &str, hub: &Hub) -> Walk {
        let folder = tempfile::tempdir().unwrap();
        for shipped in ["docs", "tests", "deploy"] {
            symlink(tools::repository().join(shipped), folder.path().join(shipped)).unwrap();
        }
        let here = address(hub);
        let instead = vec![("127.0.0.1:8080".to_owned(), here)];
        Walk { page: page.to_owned(), folder, instead, terminals: HashMap::new(), printed: None }
    }

    /// What stands on the page is something else here.
    pub fn instead(mut self, written: &str, here: impl ToString) -> Walk {
        self.instead.push((written.to_owned(), here.to_string()));
        self
    }

    /// In one go: what stands for one thing may look like another.
    fn here(&self, text: &str) -> String {
        let mut here = String::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let known = self.instead.iter().find(|(written, _)| rest.starts_with(written));
            match known {
                Some((_, instead)) => here.push_str(instead),
                None => here.push(first),
            }
            rest = &rest[known.map_or(first.len_utf8(), |(written, _)| written.len())..];
        }
        here
    }

    /// Does what a block says, or looks whether it is true.
    pub async fn step(&mut self, block: &Block) {
        let place = format!("{}:{}", self.page, block.line);
        let text = self.here(&block.text);
        if let Some(file) = &block.of {
            assert!(tools::text(file).contains(&block.text), "{place}: this is not in {file}");
        } else if block.language == "bash" && block.terminal == FIRST {
            self.printed = Some(self.run(&place, &text).await);
        } else if block.language == "bash" {
            let terminal = Terminal { process: self.start(&place, &text, block.terminal), seen: 0 };
            self.terminals.insert(block.terminal, terminal);
        } else if block.language == "text" && block.terminal == FIRST {
            let printed = self.printed.take();
            let printed = printed.unwrap_or_else(|| panic!("{place}: no command before it"));
            assert!(shows(text.trim_end(), printed.trim_end()), "{place}: this was printed:\n{printed}");
        } else if block.language == "text" {
            let terminal = self.terminals.get_mut(&block.terminal);
            let terminal = terminal.unwrap_or_else(|| panic!("{place}: no such terminal"));
            for line in text.lines() {
                terminal.comes_to_show(&place, line).await;
            }
        } else {
            assert!(["", "sh", "json"].contains(&block.language.as_str()), "{place}: nobody runs this");
        }
    }

    /// A shell with the variables of those before it, in which `node` is the one that the tools have.
    fn shell(&self, script: &str) -> Command {
        let tools = tools::tool("node");
        let path = format!("{}:{}", tools.parent().unwrap().display(), env::var("PATH").unwrap());
        let mut bash = Command::new("bash");
        bash.args(["-c", script]).current_dir(&self.folder).env("PATH", path).env_remove("NODE_OPTIONS");
        bash
    }

    async fn run(&self, place: &str, text: &str) -> String {
        let script =
            format!("set -ae; touch variables; . ./variables; exec 2>&1\n{text}\nexport -p >variables");
        let command = tokio::process::Command::from(self.shell(&script)).kill_on_drop(true).output();
        let output = tokio::time::timeout(2 * PATIENCE, command).await;
        let output = output.unwrap_or_else(|_| panic!("{place}: does not end")).unwrap();
        let printed = String::from_utf8_lossy(&output.stdout).replace('\r', "");
        assert!(output.status.success(), "{place}: fails:\n{printed}");
        printed
    }

    /// Its standard input stays open, as a terminal's does.
    fn start(&self, place: &str, text: &str, terminal: usize) -> Process {
        let input = format!("input{terminal}");
        drop(fs::remove_file(self.folder.path().join(&input)));
        let script =
            format!("touch variables; . ./variables; mkfifo {input}; exec 0<>{input}\n{}", last_is_it(text));
        Process::start(place, self.shell(&script)).unwrap()
    }
}

/// The command takes the shell's place, and so ends with the terminal.
fn last_is_it(command: &str) -> String {
    let is_variable = |word: &&str| word.contains('=');
    let variables: Vec<&str> = command.split_whitespace().take_while(is_variable).collect();
    let rest = command.split_whitespace().skip(variables.len()).collect::<Vec<_>>().join(" ");
    format!("{} exec {rest}", variables.join(" "))
}

impl Terminal {
    async fn comes_to_show(&mut self, place: &str, shown: &str) {
        let mut number = 0;
        let seen = self.seen;
        let what = format!("{place}: {shown}");
        let found = self.process.wait_for_log(PATIENCE, &what, |line| {
            number += 1;
            (number > seen && shows(shown, &without_escapes(line))).then_some(number)
        });
        self.seen = found.await.unwrap();
    }
}

/// A line without what moves a terminal's cursor.
fn without_escapes(line: &str) -> String {
    let mut parts = line.split('\u{1b}');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let escape = if part.starts_with('[') {
            part.find(|end: char| end.is_ascii_alphabetic()).map_or(part.len(), |end| end + 1)
        } else {
            part.chars().next().map_or(0, char::len_utf8)
        };
        text.push_str(&part[escape..]);
    }
    text.trim_start_matches("> ").to_owned()
}

/// Host and port of a hub.
pub fn address(hub: &Hub) -> String {
    let url = Url::parse(hub.url()).unwrap();
    format!("{}:{}", url.host_str().unwrap(), url.port().unwrap())
}

#[test]
fn what_moves_the_cursor_is_not_part_of_a_line() {
    assert_eq!(without_escapes("\u{1b}8\u{1b}[B\u{1b}7\u{1b}[A\u{1b}[L< {\"a\":1}"), "< {\"a\":1}");
    assert_eq!(without_escapes("plain"), "plain");
}
