//! Callbacks that hang, redirect, fail, reset, or answer late: the first one of each topic, so that the second shows whether
//! anybody waits for it.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::Result;

use crate::callback_server::Gate;
use crate::fault_lab::system::{Site, address_of};
use crate::fault_lab::workload::Workload;
use crate::fault_lab::workload::callback::Manners;

/// How they behave.
#[derive(Debug, Clone, Copy)]
pub(super) enum Manner {
    Hangs,
    Redirects,
    Fails,
    Late,
    /// All of them: a connection is reset before anybody can tell whose it is.
    Resets,
}

pub(super) fn begin(site: &Site, workload: &Workload, manner: Manner) -> Result<()> {
    let manners = match manner {
        Manner::Hangs => Manners::Hangs(Gate::closed()),
        Manner::Redirects => Manners::Redirects,
        Manner::Fails => Manners::Fails,
        Manner::Late => Manners::Late,
        Manner::Resets => {
            // The proxy takes connections for a server that is not there.
            let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
            site.callback_link.lead_to(nobody);
            // Those that are open end; new ones are led to nobody.
            site.callback_link.cut();
            site.callback_link.mend();
            return Ok(());
        }
    };
    workload.manners.send_replace(manners);
    Ok(())
}

pub(super) fn end(site: &Site, workload: &Workload, manner: Manner) -> Result<()> {
    if let Manner::Resets = manner {
        site.callback_link.lead_to(address_of(&site.callbacks.url("/"))?);
    }
    if let Manners::Hangs(gate) = workload.manners.send_replace(Manners::Good) {
        gate.open();
    }
    Ok(())
}
