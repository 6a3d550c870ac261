//! A child process that never outlives its test, with its log at hand.
//!
//! Promises: dropping a [`Process`] kills it and waits for it; when the test is failing, the end of its log is printed.
//! One that is never dropped ends with the program that started it.
//! Standard output and standard error are captured line by line, bounded in both directions. What hubs and workers
//! print is searched for what nobody may print ([`hygiene`]).

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
pub use rustix::process::Signal;
use rustix::process::{Pid, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::sync::watch;

use crate::{hygiene, orphans, wait};

/// Lines kept of a process's log; older ones are forgotten.
const LINES_KEPT: usize = 50_000;
/// Bytes kept of a line.
const LINE_BYTES_KEPT: usize = 16 * 1024;
/// Lines printed when a test fails.
const TAIL_LINES: usize = 60;

/// What a process has written so far.
#[derive(Default)]
struct Log {
    lines: VecDeque<String>,
    /// How many lines were forgotten before `lines[0]`.
    forgotten: usize,
    /// Streams still open: at 0 nothing more will be written.
    open_streams: usize,
    /// How many lines, the forgotten ones included, have been searched for what must not be printed.
    searched: usize,
    /// The lines in which it was.
    leaks: Vec<String>,
}

impl Log {
    /// Searches the lines up to this one (counted like `searched`).
    fn search(&mut self, end: usize) {
        while self.searched < end {
            let line = self.lines.get(self.searched.saturating_sub(self.forgotten));
            if let Some((line, leak)) = line.and_then(|line| Some((line, hygiene::leak(line)?))) {
                self.leaks.push(format!("{leak} is in: {line}"));
            }
            self.searched += 1;
        }
    }

    fn tail(&self) -> String {
        let skipped = self.lines.len().saturating_sub(TAIL_LINES);
        self.lines.iter().skip(skipped).map(|line| format!("    {line}\n")).collect()
    }
}

/// A running child process.
pub struct Process {
    name: String,
    child: Child,
    exited: Option<ExitStatus>,
    log: Arc<watch::Sender<Log>>,
    readers: Vec<JoinHandle<()>>,
    is_searched: bool,
}

impl Process {
    /// Starts `command` with its output captured; `name` is what error messages call it.
    pub fn start(name: &str, mut command: Command) -> Result<Process> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {name} ({})", command.get_program().display()))?;
        orphans::started(child.id());
        let log = Arc::new(watch::Sender::new(Log { open_streams: 2, ..Log::default() }));
        let stdout = child.stdout.take().map(|stream| capture(stream, log.clone()));
        let stderr = child.stderr.take().map(|stream| capture(stream, log.clone()));
        let readers = stdout.into_iter().chain(stderr).collect();
        Ok(Process { name: name.to_owned(), child, exited: None, log, readers, is_searched: false })
    }

    /// From now on what it prints must hold nothing of what [`hygiene`] knows: or its drop panics.
    pub(crate) fn searched(mut self) -> Process {
        self.is_searched = true;
        self
    }

    /// The lines, of those that it has written since this was asked last, that hold what must not be printed.
    pub fn leaks(&self) -> Vec<String> {
        let mut leaks = Vec::new();
        self.log.send_if_modified(|log| {
            log.search(log.forgotten + log.lines.len());
            leaks = std::mem::take(&mut log.leaks);
            false
        });
        leaks
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The end of what it has written, for error messages.
    pub fn log_tail(&self) -> String {
        self.log.borrow().tail()
    }

    /// Every line that it has written (of the last 50,000).
    pub fn log_lines(&self) -> Vec<String> {
        self.log.borrow().lines.iter().cloned().collect()
    }

    /// Waits until a line, already written or still to come, makes `find` answer `Some`.
    /// Fails at once when the process ends without having written one.
    pub async fn wait_for_log<R>(
        &self,
        timeout: Duration,
        what: &str,
        mut find: impl FnMut(&str) -> Option<R>,
    ) -> Result<R> {
        let mut looked_at = 0usize;
        let outcome = wait::until(&self.log, timeout, what, |log| {
            let start = looked_at.saturating_sub(log.forgotten);
            looked_at = log.forgotten + log.lines.len();
            let found = log.lines.iter().skip(start).find_map(|line| find(line));
            match found {
                Some(value) => Some(Some(value)),
                None if log.open_streams == 0 => Some(None),
                None => None,
            }
        })
        .await;
        match outcome {
            Ok(Some(value)) => Ok(value),
            Ok(None) => Err(anyhow!("{} ended before it logged {what}:\n{}", self.name, self.log_tail())),
            Err(error) => Err(anyhow!("{}: {error}:\n{}", self.name, self.log_tail())),
        }
    }

    /// Waits for a JSON log line whose `message` is `message`, and answers with that line.
    /// Fields are looked for at the top and in `fields`, where tracing's JSON formats put them.
    pub async fn wait_for_message(&self, timeout: Duration, message: &str) -> Result<LogLine> {
        self.wait_for_log(timeout, &format!("the message {message:?}"), |line| {
            let line = LogLine(serde_json::from_str(line).ok()?);
            (line.field("message") == Some(message)).then_some(line)
        })
        .await
    }

    /// Sends a signal; one that has ended already is an error. One that is to stop has stopped: until it notices, its threads
    /// would go on with what comes.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if let Some(status) = self.try_exit()? {
            return Err(anyhow!("{} has ended already ({status}):\n{}", self.name, self.log_tail()));
        }
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).with_context(|| format!("cannot signal {}", self.name))?;
        if signal == Signal::STOP {
            let stopped_or_ended = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            waitid(WaitId::Pid(pid), stopped_or_ended)
                .with_context(|| format!("cannot wait for {}", self.name))?;
        }
        Ok(())
    }

    /// `kill -9`, and waits for the end.
    pub fn kill(&mut self) -> Result<()> {
        if self.try_exit()?.is_none() {
            self.child.kill()?;
            let status = self.child.wait()?;
            self.note_exit(status);
        }
        Ok(())
    }

    /// How it ended, if it has.
    pub fn try_exit(&mut self) -> Result<Option<ExitStatus>> {
        if self.exited.is_none()
            && let Some(status) = self.child.try_wait()?
        {
            self.note_exit(status);
        }
        Ok(self.exited)
    }

    fn note_exit(&mut self, status: ExitStatus) {
        self.exited = Some(status);
        orphans::ended(self.child.id());
    }

    /// Waits until it has ended by itself.
    pub async fn wait_exit(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let name = self.name.clone();
        let waited = wait::eventually(timeout, &format!("{name} ends"), || {
            let exited = self.try_exit().transpose();
            async move { exited }
        })
        .await;
        match waited {
            Ok(status) => status,
            Err(error) => Err(anyhow!("{error}:\n{}", self.log_tail())),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing can be done about an error here: the process is gone or is not ours.
        let _ = self.kill();
        if std::thread::panicking() {
            eprintln!("--- the log of {} (pid {}) ends:\n{}---", self.name, self.pid(), self.log_tail());
        }
        if !self.is_searched {
            return;
        }
        // It has no children that would hold its streams open.
        self.readers.drain(..).for_each(|reader| drop(reader.join()));
        let leaks = self.leaks();
        if leaks.is_empty() {
            return;
        }
        let told = format!("FC-SEC-03: {} has printed what it must not:\n{}", self.name, leaks.join("\n"));
        if std::thread::panicking() {
            eprintln!("{told}");
        } else {
            panic!("{told}");
        }
    }
}

/// A line of a program's JSON log.
#[derive(Debug, Clone)]
pub struct LogLine(serde_json::Value);

impl LogLine {
    /// A field that is a string.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.0.get(name).or_else(|| self.0.get("fields")?.get(name))?.as_str()
    }
}

/// Reads `stream` to its end on a thread of its own, so that the child never blocks on a full pipe.
fn capture(stream: impl Read + Send + 'static, log: Arc<watch::Sender<Log>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while let Ok(1..) = reader.read_until(b'\n', &mut line) {
            line.truncate(LINE_BYTES_KEPT);
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            log.send_modify(|log| {
                if log.lines.len() == LINES_KEPT {
                    log.search(log.forgotten + 1);
                    log.lines.pop_front();
                    log.forgotten += 1;
                }
                log.lines.push_back(text);
            });
        }
        log.send_modify(|log| log.open_streams -= 1);
    })
}

/// The path of one of the workspace's programs, beside the running test or tool.
pub fn program(name: &str) -> Result<PathBuf> {
    let mut directory = std::env::current_exe().context("cannot tell where this program is")?;
    directory.pop();
    if directory.ends_with("deps") {
        directory.pop();
    }
    let path = directory.join(name);
    if !path.is_file() {
        return Err(anyhow!("{} is missing; build the programs first: make test does", path.display()));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::wait::PATIENCE;
    use std::os::unix::process::ExitStatusExt;

    fn shell(script: &str) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::start("script", command).unwrap()
    }

    #[tokio::test]
    async fn lines_of_both_streams_are_found_whenever_they_were_written() {
        let process = shell("echo first; echo second >&2; sleep 60");
        for wanted in ["second", "first"] {
            process.wait_for_log(PATIENCE, wanted, |line| (line == wanted).then_some(())).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_process_that_ends_early_fails_the_wait_at_once_and_shows_its_log() {
        let process = shell("echo the cause; exit 3");
        let error = process.wait_for_log(PATIENCE * 10, "readiness", |_| None::<()>).await.unwrap_err();
        assert!(error.to_string().contains("the cause"), "{error}");
    }

    #[tokio::test]
    async fn fields_of_a_json_line_are_found_at_the_top_and_in_fields() {
        let process = shell(
            r#"echo 'no json'; echo '{"message":"listening","url":"http://a"}'; echo '{"fields":{"message":"working","admin":"http://b"}}'; sleep 60"#,
        );
        let line = process.wait_for_message(PATIENCE, "listening").await.unwrap();
        assert_eq!(line.field("url"), Some("http://a"));
        let line = process.wait_for_message(PATIENCE, "working").await.unwrap();
        assert_eq!(line.field("admin"), Some("http://b"));
    }

    #[tokio::test]
    async fn a_signal_reaches_the_process_and_its_exit_status_is_told() {
        let mut process = shell("trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done");
        process.wait_for_log(PATIENCE, "ready", |line| (line == "ready").then_some(())).await.unwrap();
        process.signal(Signal::TERM).unwrap();
        assert_eq!(process.wait_exit(PATIENCE).await.unwrap().code(), Some(7));
        assert!(process.signal(Signal::TERM).unwrap_err().to_string().contains("ended already"));
    }

    #[tokio::test]
    async fn kill_ends_it_by_signal_nine() {
        let mut process = shell("sleep 60");
        process.kill().unwrap();
        assert_eq!(process.wait_exit(PATIENCE).await.unwrap().signal(), Some(9));
    }

    #[test]
    fn dropping_it_ends_it() {
        let process = shell("exec sleep 60");
        let pid = process.pid();
        assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
        drop(process);
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }

    #[tokio::test]
    async fn a_process_that_has_printed_a_topic_fails_its_test_when_it_is_dropped() {
        let topic = crate::examples::fresh_topic();
        let mut process = shell(&format!("echo GET /api/hub/{topic}")).searched();
        process.wait_exit(PATIENCE).await.unwrap();
        let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(process)));
        let told = dropped.unwrap_err().downcast::<String>().unwrap();
        assert!(told.contains(&topic) && told.contains("script"), "{told}");
        drop(shell("echo nothing of the kind").searched());
    }

    #[test]
    fn a_missing_program_says_how_to_get_it() {
        let error = program("fhircast-none").unwrap_err().to_string();
        assert!(error.contains("fhircast-none") && error.contains("make test"), "{error}");
    }
}
