//! A rolling upgrade: each program is asked to stop, and replaced by one that knows a newer format of what Redis keeps.
//! When none is left that does not, the format is raised.
//!
//! The older build is a program that is told to be like one: it writes no newer format, and uses no Redis that has one.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::fault_lab::system::Site;
use crate::system::run;

/// The setting of a program that is like an older one, and its value.
pub(super) const OLD: (&str, &str) = (SETTING, "1");
const NEW: (&str, &str) = (SETTING, "2");
const SETTING: &str = "redis.max_format";

/// What a program says that writes another format from then on.
const FOLLOWS: &str = "is written in another format from now on";

/// How long a program may take to stop, which is longer than the drain, or to see that the format has been raised.
const STOPPED_WITHIN: Duration = Duration::from_secs(20);
/// How long two programs of one kind run side by side before the next is replaced.
const BETWEEN: Duration = Duration::from_millis(700);

pub(super) async fn roll(site: &mut Site) -> Result<()> {
    for number in 0..site.hubs.len().max(site.workers.len()) {
        if let Some(site) = site.hubs.get_mut(number) {
            ensure!(site.hub.stop(STOPPED_WITHIN).await?.success(), "hub {number} did not stop in order");
            site.hub.start_again_with(&[NEW]).await?;
        }
        if let Some(site) = site.workers.get_mut(number) {
            ensure!(
                site.worker.stop(STOPPED_WITHIN).await?.success(),
                "worker {number} did not stop in order"
            );
            site.worker.start_again_with(&[NEW]).await?;
        }
        tokio::time::sleep(BETWEEN).await;
    }
    let url = site.redis.url();
    let raised = run("fhircast-hub", &["raise-format"], &[("redis.url", url.as_str())]).await?;
    let said = String::from_utf8_lossy(&raised.stdout).into_owned();
    ensure!(raised.status.success() && said.contains("format 2 from now on, in place of 1"), "{said}");
    let hubs = site.hubs.iter_mut().map(|site| site.hub.process());
    for process in hubs.chain(site.workers.iter_mut().map(|site| site.worker.process())) {
        let follows = |line: &str| line.contains(FOLLOWS).then_some(());
        process.wait_for_log(STOPPED_WITHIN, "the newer format", follows).await?;
    }
    Ok(())
}
