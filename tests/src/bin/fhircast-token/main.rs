//! `fhircast-token`: an authorization server in a directory, for development. What it does is [`harness::tokens`].

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use harness::system::variable;
use harness::tokens::TokenDirectory;

/// Makes tokens that a FHIRcast hub takes. For development: whoever can read the directory can make any token.
#[derive(Parser)]
#[command(name = "fhircast-token", version)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Makes a key (key.pem) and its JWKS (jwks.json), and prints the settings of a hub that takes tokens signed with it,
    /// as environment variables
    Init(Init),
    /// Prints a token
    ///
    /// Scope, topic, subject and life may also come from the variables FHIRCAST_SCOPE, FHIRCAST_TOPIC, FHIRCAST_SUBJECT
    /// and FHIRCAST_EXPIRES_IN: so it is a --token-command that narrows, for fhircast-conformance.
    Mint(Mint),
}

#[derive(Args)]
struct Init {
    /// The directory; a key that is there is not written over
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The issuer of its tokens
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// The hub that its tokens are for
    #[arg(long, value_name = "NAME")]
    audience: Option<String>,
}

#[derive(Args)]
struct Mint {
    /// The directory that init has made
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// What it may do, with spaces between the scopes [default: fhircast/*.*]
    #[arg(long, value_name = "SCOPES")]
    scope: Option<String>,
    /// The topic that it is for [default: any]
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
    /// The user
    #[arg(long, value_name = "USER")]
    subject: Option<String>,
    /// The app
    #[arg(long, value_name = "CLIENT")]
    client: Option<String>,
    /// Seconds until it ends [default: 3600]
    #[arg(long, value_name = "SECS")]
    expires_in: Option<i64>,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().what {
        What::Init(init) => init.run(),
        What::Mint(mint) => mint.run(),
    };
    let printed = done.and_then(|text| Ok(writeln!(std::io::stdout(), "{text}")?));
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fhircast-token: {error:#}");
            ExitCode::FAILURE
        }
    }
}

impl Init {
    fn run(self) -> Result<String> {
        let directory = TokenDirectory::init(&self.dir, self.issuer.as_deref(), self.audience.as_deref())?;
        let line = |(name, value): (&str, String)| format!("{}={value}", variable(name));
        Ok(directory.settings().into_iter().map(line).collect::<Vec<_>>().join("\n"))
    }
}

impl Mint {
    fn run(self) -> Result<String> {
        let or_set = |flag: Option<String>, name: &str| {
            flag.or_else(|| std::env::var(name).ok()).filter(|value| !value.is_empty())
        };
        let mut token = TokenDirectory::open(&self.dir)?.token();
        if let Some(scopes) = or_set(self.scope, "FHIRCAST_SCOPE") {
            token = token.scope(&scopes);
        }
        if let Some(topic) = or_set(self.topic, "FHIRCAST_TOPIC") {
            token = token.topic(&topic);
        }
        if let Some(subject) = or_set(self.subject, "FHIRCAST_SUBJECT") {
            token = token.subject(&subject);
        }
        if let Some(client) = self.client {
            token = token.client(&client);
        }
        let expires_in = or_set(self.expires_in.map(|secs| secs.to_string()), "FHIRCAST_EXPIRES_IN");
        if let Some(seconds) = expires_in {
            token = token.expires_in(seconds.parse().context("FHIRCAST_EXPIRES_IN must be seconds")?);
        }
        token.mint()
    }
}
