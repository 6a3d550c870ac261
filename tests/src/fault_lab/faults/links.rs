//! Links that are cut, silent, slow or narrow.

use std::time::Duration;

use anyhow::Result;

use super::Broken;
use crate::chance::Chance;
use crate::fault_lab::system::Site;
use crate::tcp_proxy::{Pace, Paces, TcpProxy};

const SLOW: Duration = Duration::from_millis(300);
const NARROW: u64 = 4_000;
/// For which a link is cut that was silent, so that what was given to it comes to nobody.
const FORGOTTEN_FOR: Duration = Duration::from_millis(200);

/// Which link.
#[derive(Debug, Clone, Copy)]
pub(super) enum Link {
    HubRedis,
    WorkerRedis,
    AppsHub,
    WorkerCallbacks,
    /// The links of those subscribers that have their own.
    SlowReader,
}

/// What is wrong with it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Harm {
    Cut,
    Silent,
    Slow,
    Narrow,
    /// 1 byte a second to the client.
    Trickle,
}

pub(super) fn harm(proxy: &TcpProxy, harm: Harm) {
    match harm {
        Harm::Cut => proxy.cut(),
        Harm::Silent => proxy.set(Paces::both(Pace::Silent)),
        Harm::Slow => proxy.set(Paces::both(Pace::Delayed(SLOW))),
        Harm::Narrow => proxy.set(Paces::both(Pace::BytesPerSecond(NARROW))),
        Harm::Trickle => proxy.set(Paces { to_client: Pace::BytesPerSecond(1), ..Paces::default() }),
    }
}

pub(super) fn begin(site: &Site, link: Link, wrong: Harm, chance: &mut Chance, broken: &mut Broken) {
    let count = match link {
        Link::WorkerRedis => site.workers.len(),
        _ => site.hubs.len(),
    };
    broken.process = chance.below(count as u64) as usize;
    of(site, link, broken.process).into_iter().for_each(|proxy| harm(proxy, wrong));
}

pub(super) async fn end(site: &Site, link: Link, wrong: Harm, broken: &Broken) -> Result<()> {
    let links = of(site, link, broken.process);
    if let (Link::WorkerCallbacks, Harm::Silent) = (link, wrong) {
        // A request that its sender has given up would come when others have overtaken it: nothing could be said
        // against that, and nothing be seen by it.
        links.iter().for_each(|proxy| proxy.cut());
        tokio::time::sleep(FORGOTTEN_FOR).await;
    }
    links.iter().for_each(|proxy| proxy.mend());
    Ok(())
}

fn of(site: &Site, link: Link, number: usize) -> Vec<&TcpProxy> {
    match link {
        Link::HubRedis => site.hubs[number].redis.iter().collect(),
        Link::WorkerRedis => site.workers[number].redis.iter().collect(),
        Link::AppsHub => vec![&site.hubs[number].door],
        Link::WorkerCallbacks => vec![&site.callback_link],
        Link::SlowReader => site.hubs.iter().map(|hub| &hub.side_door).collect(),
    }
}
