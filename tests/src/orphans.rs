//! What this program has started and made ends with it, however it ends: also when it is killed, and also what is kept
//! in statics until the end.
//!
//! A shell at the other end of a pipe keeps the list of processes and directories. When the pipe closes, because this
//! program is no more, it kills and removes what is left on it.

use std::{
    io::Write,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, OnceLock, PoisonError},
};

use anyhow::Result;
use tempfile::TempDir;

/// Reads `+123`, `+/a/directory`, `-123`, … until the end, and then ends what is left.
const UNDERTAKER: &str = r#"
left=' '
while read -r line; do
  one=${line#?}
  case $line in
    +*) left="$left$one " ;;
    -*) left="${left%% $one *} ${left#* $one }" ;;
  esac
done
for one in $left; do case $one in /*) ;; *) kill -9 "$one" ;; esac; done
for one in $left; do case $one in /*) rm -rf "$one" ;; esac; done
"#;

/// The shell; `None` if there is none to be had: then only who drops what it has started ends it.
static SHELL: OnceLock<Option<Mutex<Child>>> = OnceLock::new();

fn write(line: &str) {
    let start = || {
        // A group of its own: Ctrl-C is for the tests.
        let mut command = Command::new("sh");
        command.args(["-c", UNDERTAKER]).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().ok().map(Mutex::new)
    };
    if let Some(shell) = SHELL.get_or_init(start) {
        let mut shell = shell.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipe) = &mut shell.stdin {
            let _ = pipe.write_all(line.as_bytes());
        }
    }
}

/// This process has been started.
pub(crate) fn started(pid: u32) {
    write(&format!("+{pid}\n"));
}

/// This process has ended, and its number may soon be another's.
pub(crate) fn ended(pid: u32) {
    write(&format!("-{pid}\n"));
}

/// A directory for one process, which goes with this value, or at the latest with this program.
pub(crate) struct Directory(TempDir);

impl Directory {
    /// Makes an empty one.
    pub(crate) fn new() -> Result<Directory> {
        let directory = tempfile::tempdir()?;
        write(&format!("+{}\n", directory.path().display()));
        Ok(Directory(directory))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// The path of a file in it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        write(&format!("-{}\n", self.path().display()));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn what_is_left_when_the_pipe_closes_is_ended() {
        let sleep = || Command::new("sleep").arg("600").spawn().unwrap();
        let (mut left, mut ended) = (sleep(), sleep());
        let (gone, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut shell = Command::new("sh").args(["-c", UNDERTAKER]).stdin(Stdio::piped()).spawn().unwrap();
        let (left_pid, ended_pid) = (left.id(), ended.id());
        let (gone_path, kept_path) = (gone.path().display(), kept.path().display());
        let lines =
            format!("+{ended_pid}\n+{kept_path}\n+{left_pid}\n+{gone_path}\n-{kept_path}\n-{ended_pid}\n");
        shell.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        shell.wait().unwrap();
        assert!(!left.wait().unwrap().success(), "it is killed");
        assert!(ended.try_wait().unwrap().is_none(), "it is nobody's business any more");
        assert!(!gone.path().exists() && kept.path().exists());
        ended.kill().unwrap();
        ended.wait().unwrap();
    }
}
