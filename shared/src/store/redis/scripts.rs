//! The scripts that change anything: one call, one round trip, whole or not at all.

use redis::Script;

macro_rules! script {
    ($name:literal) => {
        Script::new(concat!(
            include_str!("scripts/prelude.lua"),
            include_str!(concat!("scripts/", $name, ".lua"))
        ))
    };
}

/// All scripts. Each file says at its top what its KEYS and ARGV are.
pub struct Scripts {
    pub commit: Script,
    pub subscribe_websocket: Script,
    pub renew_websocket: Script,
    pub subscription: Script,
    pub attach: Script,
    pub activate: Script,
    pub save_cursors: Script,
    pub detach: Script,
    pub end_websocket: Script,
    pub request_webhook: Script,
    pub claim: Script,
    pub settle: Script,
    pub register_worker: Script,
}

impl Scripts {
    pub fn new() -> Self {
        Self {
            commit: script!("commit"),
            subscribe_websocket: script!("subscribe_websocket"),
            renew_websocket: script!("renew_websocket"),
            subscription: script!("subscription"),
            attach: script!("attach"),
            activate: script!("activate"),
            save_cursors: script!("save_cursors"),
            detach: script!("detach"),
            end_websocket: script!("end_websocket"),
            request_webhook: script!("request_webhook"),
            claim: script!("claim"),
            settle: script!("settle"),
            register_worker: script!("register_worker"),
        }
    }

    /// Every script, to be loaded ahead of its first use.
    pub fn all(&self) -> [&Script; 13] {
        [
            &self.commit,
            &self.subscribe_websocket,
            &self.renew_websocket,
            &self.subscription,
            &self.attach,
            &self.activate,
            &self.save_cursors,
            &self.detach,
            &self.end_websocket,
            &self.request_webhook,
            &self.claim,
            &self.settle,
            &self.register_worker,
        ]
    }
}
