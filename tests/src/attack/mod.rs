//! What an attacker does, and what a legitimate client feels of it meanwhile.
//!
//! - [`raw`]: connections whose every byte is the attacker's, from any address of this machine.
//! - [`frames`]: WebSocket frames that a client of good will cannot make.
//! - [`legitimate`]: a client that keeps asking, and knows how long the worst answer took.
//! - [`machine`]: by how much the machine was late meanwhile, which is nobody's fault.
//! - [`toll`]: what the attack cost the process.
//!
//! An attack is bounded: by a number of connections, of bytes, or by a time. All of it stays on the loopback network, of
//! which every address is this machine's: `127.0.0.2` is another client to a hub than `127.0.0.1`.

pub mod frames;
pub mod legitimate;
pub mod machine;
pub mod raw;
pub mod toll;

use std::net::Ipv4Addr;

/// Where the attackers of a test sit: not where its legitimate client does.
pub const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// One of many addresses that an attacker has.
pub fn attacker(number: usize) -> Ipv4Addr {
    let [_, b, c, d] = u32::try_from(number % 0xff_0000).unwrap_or_default().to_be_bytes();
    Ipv4Addr::new(127, b + 1, c, d)
}
