//! Clocks that are wrong: one half of the processes is ahead, the other behind.

use anyhow::Result;

use crate::fault_lab::system::Site;

/// By so much.
const SECONDS: i64 = 300;

pub(super) fn begin(site: &Site) -> Result<()> {
    set(site, SECONDS)
}

pub(super) fn end(site: &Site) -> Result<()> {
    set(site, 0)
}

fn set(site: &Site, seconds: i64) -> Result<()> {
    let hubs = site.hubs.iter().map(|hub| &hub.clock).enumerate();
    let workers = site.workers.iter().map(|worker| &worker.clock).enumerate();
    for (number, clock) in hubs.chain(workers) {
        let wrong_by = if number.is_multiple_of(2) { seconds } else { -seconds };
        clock.iter().try_for_each(|clock| clock.set(wrong_by))?;
    }
    Ok(())
}
