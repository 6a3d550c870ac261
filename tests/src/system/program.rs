//! One process of a program: its settings are environment variables, and it is ready when it says so.

use std::ffi::OsString;
use std::process::{ExitStatus, Output};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use tokio::process::Command;

use crate::hygiene;
use crate::metrics::Metrics;
use crate::process::{LogLine, Process, Signal, program};

const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Further environment variables of a program, which are no settings.
pub type Environment = Vec<(String, String)>;

/// What every test starts from: ports that the system chooses, callbacks to loopback, a log that can be read; and all that
/// the programs could print, so that it can be searched for what they must not.
pub(super) fn loopback_settings() -> Vec<(String, String)> {
    [
        ("listen", "127.0.0.1:0"),
        ("admin_listen", "127.0.0.1:0"),
        ("callbacks.allow_http", "true"),
        ("callbacks.allowed_networks", "127.0.0.0/8"),
        ("log.format", "json"),
        ("log.level", "trace"),
        ("audit.to", "stdout"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

/// The environment variable of a setting: `retry.initial_secs` is `FHIRCAST_RETRY__INITIAL_SECS`.
pub fn variable(setting: &str) -> String {
    format!("FHIRCAST_{}", setting.replace('.', "__").to_uppercase())
}

/// `base` with `over` put over it; a setting named twice has its later value.
pub(super) fn with(base: &[(String, String)], over: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut settings = base.to_vec();
    for (name, value) in over {
        settings.retain(|(known, _)| known != name);
        settings.push(((*name).to_owned(), (*value).to_owned()));
    }
    settings
}

/// One of the programs with these arguments and settings; no setting comes from the environment of this process.
fn command(name: &str, arguments: &[&str], settings: &[(String, String)]) -> Result<std::process::Command> {
    let mut command = std::process::Command::new(program(name)?);
    command.args(arguments);
    let is_setting = |variable: &OsString| variable.to_string_lossy().starts_with("FHIRCAST_");
    for (variable, _) in std::env::vars_os().filter(|(variable, _)| is_setting(variable)) {
        command.env_remove(variable);
    }
    command.envs(settings.iter().map(|(setting, value)| (variable(setting), value)));
    Ok(command)
}

/// Runs one of the programs to its end. What it prints must hold nothing of what [`hygiene`] knows.
pub async fn run(name: &str, arguments: &[&str], settings: &[(&str, &str)]) -> Result<Output> {
    let mut command = Command::from(command(name, arguments, &with(&loopback_settings(), settings))?);
    let output = tokio::time::timeout(START_TIMEOUT, command.kill_on_drop(true).output()).await;
    let output = output.with_context(|| format!("{name} {} does not end", arguments.join(" ")))??;
    for printed in [&output.stdout, &output.stderr] {
        if let Some(leak) = hygiene::leak(&String::from_utf8_lossy(printed)) {
            bail!("FC-SEC-03: {name} {} has printed {leak}", arguments.join(" "));
        }
    }
    Ok(output)
}

/// One of the two programs, ready for work.
pub struct Program {
    process: Process,
    name: &'static str,
    pub(super) settings: Vec<(String, String)>,
    pub(super) environment: Environment,
    pub(super) arguments: Vec<&'static str>,
    pub(super) ready: LogLine,
    admin: String,
}

impl Program {
    pub(super) async fn start(
        name: &'static str,
        ready_message: &str,
        arguments: &[&'static str],
        settings: Vec<(String, String)>,
        environment: Environment,
    ) -> Result<Program> {
        let mut command = command(name, arguments, &settings)?;
        command.envs(environment.iter().map(|(variable, value)| (variable, value)));
        let process = Process::start(name, command)?.searched();
        let ready = process.wait_for_message(START_TIMEOUT, ready_message).await?;
        let admin = ready
            .field("admin")
            .ok_or_else(|| anyhow!("{name} logged {ready_message:?} without the field admin"))?
            .to_owned();
        let arguments = arguments.to_vec();
        Ok(Program { process, name, settings, environment, arguments, ready, admin })
    }

    /// Where health and metrics are served.
    pub fn admin_url(&self) -> &str {
        &self.admin
    }

    /// What it measures about itself.
    pub async fn metrics(&self) -> Result<Metrics> {
        let answer = self.ask("/metrics").await?.error_for_status()?;
        let page = answer.text().await?;
        if let Some(leak) = hygiene::leak(&page) {
            bail!("{} shows {leak} among its metrics", self.name);
        }
        Ok(Metrics::from(page))
    }

    pub(super) async fn ask(&self, path: &str) -> Result<reqwest::Response> {
        let http = reqwest::Client::builder().no_proxy().build()?;
        let answer = http.get(format!("{}{path}", self.admin)).send().await;
        answer.with_context(|| format!("{} does not answer at {path}", self.name))
    }

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        self.process.log_tail()
    }

    /// All that it has printed.
    pub fn log_lines(&self) -> Vec<String> {
        self.process.log_lines()
    }

    /// What it has printed that it must not, since this was asked last.
    pub fn leaks(&self) -> Vec<String> {
        self.process.leaks()
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// SIGTERM, and waits for the end of what it has begun.
    pub async fn stop(&mut self, timeout: Duration) -> Result<ExitStatus> {
        self.process.signal(Signal::TERM)?;
        self.process.wait_exit(timeout).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_setting_is_named_by_its_variable() {
        assert_eq!(variable("retry.initial_secs"), "FHIRCAST_RETRY__INITIAL_SECS");
        assert_eq!(variable("listen"), "FHIRCAST_LISTEN");
    }

    #[test]
    fn a_later_setting_goes_over_an_earlier_one() {
        let settings = with(&loopback_settings(), &[("log.format", "pretty"), ("log.format", "json2")]);
        let formats: Vec<_> = settings.iter().filter(|(name, _)| name == "log.format").collect();
        assert_eq!(formats.len(), 1);
        assert_eq!(formats[0].1, "json2");
    }
}
