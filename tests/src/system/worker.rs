//! A worker.

use std::ops::{Deref, DerefMut};

use anyhow::Result;

use super::program::{Environment, Program, loopback_settings, with};

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
        self.process().kill()?;
        *self = Worker::from(self.settings.clone(), self.environment.clone()).await?;
        Ok(())
    }

    /// The same with these settings over those that it has.
    pub async fn start_again_with(&mut self, settings: &[(&str, &str)]) -> Result<()> {
        self.settings = with(&self.settings, settings);
        self.start_again().await
    }
}

impl Deref for Worker {
    type Target = Program;
    fn deref(&self) -> &Program {
        &self.program
    }
}

impl DerefMut for Worker {
    fn deref_mut(&mut self) -> &mut Program {
        &mut self.program
    }
}
