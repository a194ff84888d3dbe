//! Free ports below the range that outgoing connections take theirs from.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, PoisonError};

/// First port given out; what lies below belongs to well-known services.
const FIRST: u16 = 20_000;
/// How many blocks; 32,768 is where Linux begins with ephemeral ports.
const BLOCKS: u16 = 120;
/// Ports of a block. The first is held by the test program that the block belongs to, so that no other takes from it.
const BLOCK: u16 = 100;

/// The blocks of this program.
struct Own {
    /// The first ports of all of them.
    held: Vec<TcpListener>,
    /// The next port to be given out, and the first beyond the block.
    next: u16,
    end: u16,
}

static OWN: Mutex<Own> = Mutex::new(Own { held: Vec::new(), next: 0, end: 0 });

/// A port of 127.0.0.1 on which nobody listens, which this program has not given out yet and no other one will.
pub fn free() -> u16 {
    free_in_a_row(1)
}

/// So many ports in a row, at most 99, of which the first is given.
pub fn free_in_a_row(count: u16) -> u16 {
    assert!((1..BLOCK).contains(&count), "a block has {BLOCK} ports, of which one is held");
    let mut own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if own.next + count > own.end {
            own.claim();
        }
        let first = own.next;
        own.next += count;
        if (first..first + count).all(|port| listen(port).is_some()) {
            return first;
        }
    }
}

fn listen(port: u16) -> Option<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()
}

// === impl Own ===

impl Own {
    /// Goes on with a block that is nobody's.
    fn claim(&mut self) {
        // Test programs that run at one time look at different places first.
        let start = std::process::id().wrapping_mul(0x9e37_79b1) >> 16;
        let blocks = (0..u32::from(BLOCKS)).map(|i| FIRST + ((start + i) % u32::from(BLOCKS)) as u16 * BLOCK);
        let found = blocks.into_iter().find_map(|first| Some((first, listen(first)?)));
        let Some((first, held)) = found else { panic!("all {BLOCKS} blocks of ports from {FIRST} on are taken") };
        self.held.push(held);
        (self.next, self.end) = (first + 1, first + BLOCK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_given_out_once_and_nobody_listens_on_it() {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..250 {
            let port = free();
            assert!(seen.insert(port) && listen(port).is_some(), "{port}");
        }
        let first = free_in_a_row(50);
        assert!((first..first + 50).all(|port| seen.insert(port) && listen(port).is_some()), "{first}");
    }
}
