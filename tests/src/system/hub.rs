//! A gateway.

use std::ops::{Deref, DerefMut};

use anyhow::{Context, Result, anyhow};
use url::Url;

use super::program::{Environment, Program, loopback_settings, with};
use crate::client::App;
use crate::wait::{PATIENCE, eventually};

/// A running `fhircast-hub`.
pub struct Hub {
    program: Program,
    url: String,
}

impl Hub {
    /// Starts a hub with these settings over the harness's own, and waits until it listens and has looked
    /// for the keys of tokens.
    pub async fn start(settings: &[(&str, &str)]) -> Result<Hub> {
        Hub::start_in(settings, Environment::new()).await
    }

    /// The same with further environment variables.
    pub async fn start_in(settings: &[(&str, &str)], environment: Environment) -> Result<Hub> {
        Hub::from(&[], with(&loopback_settings(), settings), environment).await
    }

    /// Starts `fhircast-hub --embedded`: memory store, a worker in the process.
    pub async fn start_embedded(settings: &[(&str, &str)]) -> Result<Hub> {
        Hub::start_embedded_in(settings, Environment::new()).await
    }

    /// The same, with further environment variables.
    pub async fn start_embedded_in(settings: &[(&str, &str)], environment: Environment) -> Result<Hub> {
        Hub::from(&["--embedded"], with(&loopback_settings(), settings), environment).await
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
        let hub = Hub { program, url };
        if hub.settings.iter().any(|(name, value)| name == "auth.mode" && value == "jwt") {
            hub.has_looked_for_keys().await?;
        }
        Ok(hub)
    }

    /// Waits until it has tried once to read what tokens are verified with: before that it keeps whoever asks waiting,
    /// and not for ever.
    async fn has_looked_for_keys(&self) -> Result<()> {
        eventually(PATIENCE, "the first reading of the keys", || async {
            let report = self.ask("/readyz").await.ok()?.text().await.ok()?;
            (!report.contains("keys: not read yet")).then_some(())
        })
        .await
    }

    /// Ends this process if it still runs, and starts another on the same port with the same settings.
    pub async fn start_again(&mut self) -> Result<()> {
        self.process().kill()?;
        let url = Url::parse(&self.url)?;
        let listen = format!(
            "{}:{}",
            url.host_str().context("hub.url has no host")?,
            url.port_or_known_default().context("hub.url has no port")?
        );
        let settings = with(&self.settings, &[("listen", &listen)]);
        let (arguments, environment) = (self.arguments.clone(), self.environment.clone());
        *self = Hub::from(&arguments, settings, environment).await?;
        Ok(())
    }

    /// The same with these settings over those that it has.
    pub async fn start_again_with(&mut self, settings: &[(&str, &str)]) -> Result<()> {
        self.settings = with(&self.settings, settings);
        self.start_again().await
    }

    /// `hub.url`.
    pub fn url(&self) -> &str {
        &self.url
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
}

impl Deref for Hub {
    type Target = Program;
    fn deref(&self) -> &Program {
        &self.program
    }
}

impl DerefMut for Hub {
    fn deref_mut(&mut self) -> &mut Program {
        &mut self.program
    }
}
