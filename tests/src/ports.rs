//! Free ports below the range that outgoing connections take theirs from.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// First port given out; what lies below belongs to well-known services.
const FIRST: u16 = 20_000;
/// How many; 32,768 is where Linux begins with ephemeral ports.
const COUNT: u16 = 12_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port of 127.0.0.1 on which nobody listens and that this process has not given out yet.
pub fn free() -> u16 {
    // Test programs that run at one time begin at different ports.
    let start = (std::process::id() % u32::from(COUNT)) as u16;
    for _ in 0..COUNT {
        let port = FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("none of {COUNT} ports from {FIRST} on is free on 127.0.0.1");
}
