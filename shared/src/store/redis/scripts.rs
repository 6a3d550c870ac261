//! The scripts that change anything: one call, one round trip, whole or not at all.

use redis::Script;

/// Declares the scripts: each is sent with the preludes that it needs in front of it.
macro_rules! scripts {
    ($($name:ident: $($prelude:literal)+;)+) => {
        /// All scripts. Each file says at its top what its KEYS and ARGV are.
        pub struct Scripts {
            $(pub $name: Script,)+
        }

        impl Scripts {
            pub fn new() -> Self {
                Self {
                    $($name: Script::new(concat!(
                        $(include_str!(concat!("scripts/", $prelude, ".lua")),)+
                        include_str!(concat!("scripts/", stringify!($name), ".lua")),
                    )),)+
                }
            }

            /// Every script, to be loaded ahead of its first use.
            pub fn all(&self) -> Vec<&Script> {
                vec![$(&self.$name),+]
            }
        }
    };
}

scripts! {
    commit: "prelude" "content_prelude";
    announce: "prelude";
    session: "prelude";
    content: "prelude" "content_prelude";
    subscribe_websocket: "prelude";
    renew_websocket: "prelude";
    log: "prelude";
    subscription: "prelude";
    attach: "prelude";
    activate: "prelude";
    save_cursors: "prelude";
    detach: "prelude";
    end_websocket: "prelude";
    request_webhook: "prelude";
    withdraw_webhook: "prelude";
    claim: "prelude";
    settle: "prelude";
    register_worker: "prelude";
    register_node: "prelude";
    lapsed_nodes: "prelude";
    forget_node: "prelude";
    confirm: "prelude";
    reseal: "prelude";
    trim: "prelude";
}
