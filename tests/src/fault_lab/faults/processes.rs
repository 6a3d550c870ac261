//! Processes that die, or stand still.

use anyhow::Result;

use super::Broken;
use crate::chance::Chance;
use crate::fault_lab::system::Site;
use crate::process::Signal;

/// Which process.
#[derive(Debug, Clone, Copy)]
pub(super) enum Victim {
    Hub,
    FirstHub,
    Worker,
    /// The one server.
    Redis,
}

/// What happens to it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Blow {
    Kill,
    Stop,
}

pub(super) fn begin(
    site: &mut Site,
    victim: Victim,
    blow: Blow,
    chance: &mut Chance,
    broken: &mut Broken,
) -> Result<()> {
    let count = match victim {
        Victim::Hub => site.hubs.len(),
        Victim::Worker => site.workers.len(),
        Victim::FirstHub | Victim::Redis => 1,
    };
    broken.process = chance.below(count as u64) as usize;
    let number = broken.process;
    if let Blow::Stop = blow {
        return signal(site, victim, number, Signal::STOP);
    }
    match victim {
        Victim::Hub | Victim::FirstHub => {
            site.hubs[number].hub.process().kill()?;
            let lines = site.hubs[number].hub.process().log_lines();
            site.keep_log(format!("hub-{number}-killed"), lines);
        }
        Victim::Worker => {
            site.workers[number].worker.process().kill()?;
            let lines = site.workers[number].worker.process().log_lines();
            site.keep_log(format!("worker-{number}-killed"), lines);
        }
        Victim::Redis => site.redis.single().kill()?,
    }
    Ok(())
}

pub(super) async fn end(site: &mut Site, victim: Victim, blow: Blow, broken: &Broken) -> Result<()> {
    let number = broken.process;
    if let Blow::Stop = blow {
        return signal(site, victim, number, Signal::CONT);
    }
    match victim {
        Victim::Hub | Victim::FirstHub => site.hubs[number].hub.start_again().await,
        Victim::Worker => site.workers[number].worker.start_again().await,
        Victim::Redis => site.redis.single().start_again().await,
    }
}

fn signal(site: &mut Site, victim: Victim, number: usize, signal: Signal) -> Result<()> {
    match victim {
        Victim::Hub | Victim::FirstHub => site.hubs[number].hub.process().signal(signal),
        Victim::Worker => site.workers[number].worker.process().signal(signal),
        Victim::Redis => site.redis.single().signal(signal),
    }
}
