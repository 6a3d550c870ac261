//! `fhircast-conformance`: checks any FHIRcast hub from outside, over HTTP and WebSocket, rule by rule.
//!
//! Arguments, output and exit status are here; the suite itself is [`harness::conformance`].
//! Exit status: 0 every rule that must be kept is kept, 1 one is not, 2 there was nothing to check, or no way to.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::{Parser, ValueEnum};
use harness::conformance::catalogue::Version;
use harness::conformance::hub::Timing;
use harness::conformance::report;
use harness::conformance::run::{Options, run};
use harness::conformance::selection::Selection;
use harness::conformance::token::{SCOPES, TokenSource};
use harness::conformance::trace::Secrets;
use url::Url;

/// Checks a FHIRcast hub from outside, rule by rule.
///
/// The token must be good for any topic, and have the scopes that --scopes prints. Exit status: 0 every rule that must
/// be kept is kept, 1 one is not, 2 there was nothing to check, or no way to.
#[derive(Parser)]
#[command(name = "fhircast-conformance", version)]
struct Flags {
    /// The hub.url of the hub.
    #[arg(long, value_name = "URL", value_parser = hub_url, required_unless_present_any = ["list", "scopes"])]
    hub_url: Option<String>,
    /// The hub.url of another node of the same hub: for what two nodes must agree on.
    #[arg(long, value_name = "URL", value_parser = hub_url)]
    second_node: Option<String>,
    /// The bearer token of every request. Other users of this machine may see it; --token-command hides it.
    #[arg(long, value_name = "T", conflicts_with = "token_command")]
    token: Option<String>,
    /// A command (for `sh -c`) that prints the bearer token; run at the start, when the token is refused, and every
    /// three minutes.
    #[arg(long, value_name = "CMD")]
    token_command: Option<String>,
    /// The token command heeds the variables FHIRCAST_SCOPE, FHIRCAST_TOPIC, FHIRCAST_EXPIRES_IN (seconds) and
    /// FHIRCAST_SUBJECT, so that narrow tokens can be had: for what is seen with those alone.
    #[arg(long, requires = "token_command")]
    token_command_narrows: bool,
    /// Show the scopes that the token must have, and check nothing.
    #[arg(long)]
    scopes: bool,
    /// Where to listen for webhook callbacks; the hub is handed http://ADDR/…
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    callback_listen: SocketAddr,
    /// Check only these rules: ids and beginnings of ids (FC-CNT,FC-SUB-04).
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    only: Vec<String>,
    /// Hold the hub to this version: 2.0.0, 2.1.0-ballot or 3.0.0 [default: the one that it claims, else 2.1.0-ballot].
    #[arg(long, value_name = "VERSION")]
    spec: Option<Version>,
    /// How the report is written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Show the rules, their levels (in 2.0.0/2.1.0-ballot/3.0.0 where they differ) and their checks, and check nothing.
    #[arg(long)]
    list: bool,
    /// How long to wait for what must come.
    #[arg(long, value_name = "SECS", default_value = "5", value_parser = seconds)]
    timeout_secs: Duration,
    /// After how long the hub takes a notification for unanswered.
    #[arg(long, value_name = "SECS", default_value = "10", value_parser = seconds)]
    ack_timeout_secs: Duration,
    /// For how long the hub waits for a subscriber whose socket broke.
    #[arg(long, value_name = "SECS", default_value = "30", value_parser = seconds)]
    grace_secs: Duration,
    /// The origin of a page that the hub lets in (https://viewer.example): for what browsers need
    #[arg(long, value_name = "ORIGIN")]
    origin: Option<String>,
    /// How many checks run side by side; those that wait for a time-out run beside them.
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u16).range(1..=1000))]
    parallel_checks: u16,
    /// A PEM file with the certificate authority of the hub, to be trusted beside the system's.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
    Junit,
}

fn hub_url(text: &str) -> Result<String, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    match url.scheme() {
        "http" | "https" if url.query().is_none() && url.fragment().is_none() => Ok(text.to_owned()),
        "http" | "https" => Err("a hub.url has no query and no fragment".to_owned()),
        scheme => Err(format!("a hub.url is http or https, not {scheme}")),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    match (0.1..=3600.0).contains(&seconds) {
        true => Ok(Duration::from_secs_f64(seconds)),
        false => Err("not between 0.1 and 3600 seconds".to_owned()),
    }
}

fn main() -> ExitCode {
    let secrets = Secrets::default();
    match main_with(Flags::parse(), &secrets) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("fhircast-conformance: {}", secrets.hide(&format!("{error:#}")).replace('\n', " "));
            ExitCode::from(2)
        }
    }
}

fn main_with(flags: Flags, secrets: &Secrets) -> Result<u8> {
    let selection = Selection::of(&flags.only).map_err(|error| anyhow!(error))?;
    if flags.list {
        print(&report::list(&selection, flags.spec))?;
        return Ok(0);
    }
    if flags.scopes {
        print(&format!("{}\n", SCOPES.join("\n")))?;
        return Ok(0);
    }
    let narrows = flags.token_command_narrows;
    let token = match (flags.token, flags.token_command) {
        (Some(token), _) => TokenSource::Given(token),
        (None, Some(line)) => TokenSource::Command { line, narrows },
        (None, None) => TokenSource::None,
    };
    let options = Options {
        hub_url: flags.hub_url.context("--hub-url is needed")?,
        second_node: flags.second_node,
        token,
        callback_listen: flags.callback_listen,
        selection,
        spec: flags.spec,
        timing: Timing {
            timeout: flags.timeout_secs,
            ack_timeout: flags.ack_timeout_secs,
            grace: flags.grace_secs,
        },
        ca: flags.ca,
        origin: flags.origin,
        parallel_checks: flags.parallel_checks.into(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let run = runtime.block_on(run(options, secrets, progress))?;
    print(&match flags.format {
        Format::Text => report::text(&run),
        Format::Json => report::json(&run),
        Format::Junit => report::junit(&run),
    })?;
    Ok(run.exit_code())
}

/// One line that is written over on a terminal; nothing elsewhere.
fn progress(done: usize, of: usize) {
    let mut terminal = std::io::stderr();
    if terminal.is_terminal() {
        let end = if done == of { "\r\x1b[K" } else { "" };
        // Progress that can't be shown is no reason to stop.
        let _ = write!(terminal, "\r\x1b[K{done} of {of} checks{end}");
        let _ = terminal.flush();
    }
}

fn print(text: &str) -> Result<()> {
    std::io::stdout().write_all(text.as_bytes()).context("the report cannot be written")
}
