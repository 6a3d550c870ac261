//! The programs, started as an operator starts them: by environment variables, found by their first log line.
//!
//! [`Hub`] and [`Worker`] are single processes; [`System`] is Redis with some of each. Every setting that a test gives
//! goes over the harness's own ([`loopback_settings`]); variables of the developer's shell never reach the programs.

use std::process::{Command, ExitStatus, Output};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use url::Url;

use crate::client::App;
use crate::hygiene;
use crate::process::{LogLine, Process, Signal, program};
use crate::redis_server::Durability;
use crate::redis_shape::{Redis, Shape};

const START_TIMEOUT: Duration = Duration::from_secs(30);

/// What every test starts from: ports that the system chooses, callbacks to loopback, a log that can be read; and all that
/// the programs could print, so that it can be searched for what they must not.
fn loopback_settings() -> Vec<(String, String)> {
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
fn variable(setting: &str) -> String {
    format!("FHIRCAST_{}", setting.replace('.', "__").to_uppercase())
}

/// `base` with `over` put over it; a setting named twice has its later value.
fn with(base: &[(String, String)], over: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut settings = base.to_vec();
    for (name, value) in over {
        settings.retain(|(known, _)| known != name);
        settings.push(((*name).to_owned(), (*value).to_owned()));
    }
    settings
}

/// Runs one of the programs with these arguments and settings, and nothing else from the environment, to its end.
pub async fn run(name: &str, arguments: &[&str], settings: &[(&str, &str)]) -> Result<Output> {
    let mut command = tokio::process::Command::new(program(name)?);
    command.args(arguments).kill_on_drop(true);
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("FHIRCAST_") {
            command.env_remove(variable);
        }
    }
    let settings = with(&loopback_settings(), settings);
    command.envs(settings.iter().map(|(setting, value)| (variable(setting), value)));
    let output = tokio::time::timeout(START_TIMEOUT, command.output()).await;
    let output = output.with_context(|| format!("{name} {} does not end", arguments.join(" ")))??;
    for printed in [&output.stdout, &output.stderr] {
        if let Some(leak) = hygiene::leak(&String::from_utf8_lossy(printed)) {
            bail!("FC-SEC-03: {name} {} has printed {leak}", arguments.join(" "));
        }
    }
    Ok(output)
}

/// Further environment variables of a program, which are no settings.
pub type Environment = Vec<(String, String)>;

/// One of the two programs, ready for work.
struct Program {
    process: Process,
    name: &'static str,
    settings: Vec<(String, String)>,
    environment: Environment,
    arguments: Vec<&'static str>,
    ready: LogLine,
    admin: String,
}

impl Program {
    async fn start(
        name: &'static str,
        ready_message: &str,
        arguments: &[&'static str],
        settings: Vec<(String, String)>,
        environment: Environment,
    ) -> Result<Program> {
        let mut command = Command::new(program(name)?);
        command.args(arguments);
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("FHIRCAST_") {
                command.env_remove(variable);
            }
        }
        command.envs(settings.iter().map(|(setting, value)| (variable(setting), value)));
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

    async fn metrics(&self) -> Result<Metrics> {
        let answer = reqwest::Client::builder()
            .no_proxy()
            .build()?
            .get(format!("{}/metrics", self.admin))
            .send()
            .await
            .with_context(|| format!("{} does not serve its metrics", self.name))?
            .error_for_status()?;
        let page = answer.text().await?;
        if let Some(leak) = hygiene::leak(&page) {
            bail!("{} shows {leak} among its metrics", self.name);
        }
        Ok(Metrics(page))
    }

    async fn stop(&mut self, timeout: Duration) -> Result<ExitStatus> {
        self.process.signal(Signal::TERM)?;
        self.process.wait_exit(timeout).await
    }
}

/// A running `fhircast-hub`.
pub struct Hub {
    program: Program,
    url: String,
}

impl Hub {
    /// Starts a hub with these settings over the harness's own, and waits until it listens.
    pub async fn start(settings: &[(&str, &str)]) -> Result<Hub> {
        Hub::start_in(settings, Environment::new()).await
    }

    /// The same with further environment variables.
    pub async fn start_in(settings: &[(&str, &str)], environment: Environment) -> Result<Hub> {
        Hub::from(&[], with(&loopback_settings(), settings), environment).await
    }

    /// Starts `fhircast-hub --embedded`: memory store, a worker in the process.
    pub async fn start_embedded(settings: &[(&str, &str)]) -> Result<Hub> {
        Hub::from(&["--embedded"], with(&loopback_settings(), settings), Environment::new()).await
    }

    async fn from(
        arguments: &[&'static str],
        settings: Vec<(String, String)>,
        environment: Environment,
    ) -> Result<Hub> {
        let program = Program::start("fhircast-hub", "listening", arguments, settings, environment).await?;
        let url = program
            .ready
            .field("url")
            .context("the hub logged \"listening\" without the field url")?
            .to_owned();
        Ok(Hub { program, url })
    }

    /// Ends this process if it still runs, and starts another on the same port with the same settings.
    pub async fn start_again(&mut self) -> Result<()> {
        self.program.process.kill()?;
        let url = Url::parse(&self.url)?;
        let listen = format!(
            "{}:{}",
            url.host_str().context("hub.url has no host")?,
            url.port_or_known_default().context("hub.url has no port")?
        );
        let settings = with(&self.program.settings, &[("listen", &listen)]);
        let (arguments, environment) = (self.program.arguments.clone(), self.program.environment.clone());
        *self = Hub::from(&arguments, settings, environment).await?;
        Ok(())
    }

    /// The same with these settings over those that it has.
    pub async fn start_again_with(&mut self, settings: &[(&str, &str)]) -> Result<()> {
        self.program.settings = with(&self.program.settings, settings);
        self.start_again().await
    }

    /// `hub.url`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where health and metrics are served.
    pub fn admin_url(&self) -> &str {
        &self.program.admin
    }

    /// An app that talks to this hub.
    pub fn app(&self) -> Result<App> {
        App::new(&self.url)
    }

    /// `endpoint`, wherever it was handed out, at this node: what a load balancer does.
    pub fn endpoint_here(&self, endpoint: &str) -> Result<String> {
        let (mut there, here) = (Url::parse(endpoint)?, Url::parse(&self.url)?);
        there.set_host(here.host_str())?;
        there.set_port(here.port()).map_err(|()| anyhow!("{endpoint} can't have a port"))?;
        Ok(there.into())
    }

    /// What it measures about itself.
    pub async fn metrics(&self) -> Result<Metrics> {
        self.program.metrics().await
    }

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        self.program.process.log_tail()
    }

    /// All that it has printed.
    pub fn log_lines(&self) -> Vec<String> {
        self.program.process.log_lines()
    }

    /// What it has printed that it must not, since this was asked last.
    pub fn leaks(&self) -> Vec<String> {
        self.program.process.leaks()
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.program.process
    }

    /// SIGTERM, and waits for the end of the drain.
    pub async fn stop(&mut self, timeout: Duration) -> Result<ExitStatus> {
        self.program.stop(timeout).await
    }
}

/// A running `fhircast-worker`.
pub struct Worker {
    program: Program,
}

impl Worker {
    /// Starts a worker with these settings over the harness's own, and waits until it works.
    pub async fn start(settings: &[(&str, &str)]) -> Result<Worker> {
        Worker::start_in(settings, Environment::new()).await
    }

    /// The same with further environment variables.
    pub async fn start_in(settings: &[(&str, &str)], environment: Environment) -> Result<Worker> {
        Worker::from(with(&loopback_settings(), settings), environment).await
    }

    async fn from(settings: Vec<(String, String)>, environment: Environment) -> Result<Worker> {
        let program = Program::start("fhircast-worker", "working", &[], settings, environment).await?;
        Ok(Worker { program })
    }

    /// Ends this process if it still runs, and starts another with the same settings.
    pub async fn start_again(&mut self) -> Result<()> {
        self.program.process.kill()?;
        *self = Worker::from(self.program.settings.clone(), self.program.environment.clone()).await?;
        Ok(())
    }

    /// The same with these settings over those that it has.
    pub async fn start_again_with(&mut self, settings: &[(&str, &str)]) -> Result<()> {
        self.program.settings = with(&self.program.settings, settings);
        self.start_again().await
    }

    /// Where health and metrics are served.
    pub fn admin_url(&self) -> &str {
        &self.program.admin
    }

    /// What it measures about itself.
    pub async fn metrics(&self) -> Result<Metrics> {
        self.program.metrics().await
    }

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        self.program.process.log_tail()
    }

    /// All that it has printed.
    pub fn log_lines(&self) -> Vec<String> {
        self.program.process.log_lines()
    }

    /// What it has printed that it must not, since this was asked last.
    pub fn leaks(&self) -> Vec<String> {
        self.program.process.leaks()
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.program.process
    }

    /// SIGTERM, and waits for the end.
    pub async fn stop(&mut self, timeout: Duration) -> Result<ExitStatus> {
        self.program.stop(timeout).await
    }
}

/// Redis, hubs and workers that belong together.
///
/// Fields are dropped in their order: the programs end before the Redis that they need.
pub struct System {
    /// The gateways.
    pub hubs: Vec<Hub>,
    /// The workers.
    pub workers: Vec<Worker>,
    /// Their Redis.
    pub redis: Redis,
    settings: Vec<(String, String)>,
}

impl System {
    /// One hub and one worker, one Redis with an append-only file; change it before [`SystemBuilder::start`].
    pub fn builder() -> SystemBuilder {
        let (shape, durability) = (Shape::Single, Durability::Aof);
        SystemBuilder { hubs: 1, workers: 1, shape, durability, redis: None, settings: Vec::new() }
    }

    /// Starts one more hub.
    pub async fn add_hub(&mut self) -> Result<()> {
        self.hubs.push(Hub::start(&borrowed(&self.settings)).await?);
        Ok(())
    }

    /// Starts one more worker.
    pub async fn add_worker(&mut self) -> Result<()> {
        self.workers.push(Worker::start(&borrowed(&self.settings)).await?);
        Ok(())
    }
}

/// What a [`System`] is to consist of.
pub struct SystemBuilder {
    hubs: usize,
    workers: usize,
    shape: Shape,
    durability: Durability,
    redis: Option<Redis>,
    settings: Vec<(String, String)>,
}

impl SystemBuilder {
    /// How many hubs.
    pub fn hubs(mut self, hubs: usize) -> Self {
        self.hubs = hubs;
        self
    }

    /// How many workers.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// How Redis is run.
    pub fn shape(mut self, shape: Shape) -> Self {
        self.shape = shape;
        self
    }

    /// A Redis that runs already, in place of one that is started as usual.
    pub fn redis(mut self, redis: impl Into<Redis>) -> Self {
        self.redis = Some(redis.into());
        self
    }

    /// Whether Redis keeps an append-only file.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// A setting of every hub and worker.
    pub fn set(mut self, name: &str, value: impl ToString) -> Self {
        self.settings = with(&self.settings, &[(name, &value.to_string())]);
        self
    }

    /// Starts all of it: Redis first, then the programs.
    pub async fn start(self) -> Result<System> {
        let redis = match self.redis {
            Some(redis) => redis,
            None => Redis::start(self.shape, self.durability).await?,
        };
        if self.settings.iter().any(|(name, _)| name == "redis.url") {
            bail!("redis.url is the system's own");
        }
        let settings = with(&self.settings, &[("redis.url", &redis.url())]);
        let mut system = System { hubs: Vec::new(), workers: Vec::new(), redis, settings };
        for _ in 0..self.hubs {
            system.add_hub().await?;
        }
        for _ in 0..self.workers {
            system.add_worker().await?;
        }
        Ok(system)
    }
}

fn borrowed(settings: &[(String, String)]) -> Vec<(&str, &str)> {
    settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// One scrape of a program's metrics, in Prometheus's text format.
pub struct Metrics(String);

impl From<String> for Metrics {
    fn from(page: String) -> Metrics {
        Metrics(page)
    }
}

impl Metrics {
    /// The sum of the series of `selector`: `name`, or `name{label="x"}`, whose labels a series must have among its own.
    /// `None` when there is no such series (yet).
    pub fn value(&self, selector: &str) -> Option<f64> {
        let (name, labels) = split_series(selector);
        let mut sum = None;
        for line in self.0.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let (series_name, series_labels) = split_series(series);
            if series_name == name && labels.iter().all(|label| series_labels.contains(label)) {
                sum = Some(sum.unwrap_or(0.0) + value.parse::<f64>().unwrap_or(f64::NAN));
            }
        }
        sum
    }

    /// The scrape as it was served.
    pub fn text(&self) -> &str {
        &self.0
    }
}

/// The name of a series, and its labels, each as `name="value"`.
fn split_series(series: &str) -> (&str, Vec<&str>) {
    match series.trim().split_once('{') {
        None => (series.trim(), Vec::new()),
        Some((name, labels)) => {
            let labels = labels.trim_end_matches('}');
            (name, labels.split_inclusive("\",").map(|label| label.trim_end_matches(',').trim()).collect())
        }
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

    #[test]
    fn metrics_are_summed_over_the_series_that_have_the_labels() {
        let metrics = Metrics(
            "# HELP hits_total Hits.\nhits_total{channel=\"a,b\",code=\"202\"} 3\nhits_total{channel=\"c\",code=\"202\"} 4\n\
             hits_total{channel=\"c\",code=\"503\"} 1\nup 1\n"
                .to_owned(),
        );
        assert_eq!(metrics.value("hits_total"), Some(8.0));
        assert_eq!(metrics.value("hits_total{code=\"202\"}"), Some(7.0));
        assert_eq!(metrics.value("hits_total{code=\"202\",channel=\"a,b\"}"), Some(3.0));
        assert_eq!(metrics.value("up"), Some(1.0));
        assert_eq!(metrics.value("hits"), None);
        assert_eq!(metrics.value("hits_total{code=\"2\"}"), None);
    }
}
