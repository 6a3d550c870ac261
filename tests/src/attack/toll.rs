//! What an attack costs the process that is attacked, and those whom it serves.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::legitimate::{Felt, Legitimate};
use crate::process_stats::{Sample, sample};
use crate::system::Hub;

/// While an attack goes on.
pub struct Toll {
    pid: u32,
    before: Sample,
    legitimate: Legitimate,
}

/// What it was.
#[derive(Debug, Clone)]
pub struct Paid {
    /// By how much the resident memory has grown, at the moment at which the attack was at its height.
    pub grown_bytes: u64,
    /// What the legitimate client felt.
    pub felt: Felt,
}

impl Toll {
    /// Begins to look at a hub, before the attack does; with the authority of its certificate, if it has one.
    pub fn begin(hub: &mut Hub, ca: Option<std::path::PathBuf>) -> Result<Toll> {
        let pid = hub.process().pid();
        Ok(Toll { pid, before: sample(pid)?, legitimate: Legitimate::start(hub.url(), ca) })
    }

    /// Looks at the height of the attack.
    pub async fn end(self) -> Result<Paid> {
        let after = sample(self.pid).context("the hub has not survived")?;
        let felt = self.legitimate.stop().await?;
        Ok(Paid { grown_bytes: after.rss_bytes.saturating_sub(self.before.rss_bytes), felt })
    }
}

impl Paid {
    /// An error when it was more than this.
    pub fn at_most(&self, grown_bytes: u64, within: Duration) -> Result<()> {
        let Paid { grown_bytes: grown, felt } = self;
        ensure!(*grown <= grown_bytes, "the hub has grown by {grown} bytes, {grown_bytes} were allowed");
        let (worst, (_, late)) = (felt.worst, felt.percentiles());
        ensure!(
            worst <= within,
            "deliveries took {late:?} (p99), and the slowest answer {worst:?}; {within:?} were allowed"
        );
        Ok(())
    }
}
