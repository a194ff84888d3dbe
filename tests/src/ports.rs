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
    none()
}

/// So many ports in a row, of which the first is given.
pub fn free_in_a_row(count: u16) -> u16 {
    for _ in 0..COUNT {
        let first = free();
        let is_free = |port| port < FIRST + COUNT && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if (first..first + count).all(is_free) {
            // The others are given out, too.
            NEXT.fetch_add(count, Ordering::Relaxed);
            return first;
        }
    }
    none()
}

fn none() -> ! {
    panic!("none of {COUNT} ports from {FIRST} on is free on 127.0.0.1");
}
