//! QoS 2 packet ids received from a client and not yet released: method A of the specification, section 4.3.3.

use hashbrown::HashSet;

/// Packet ids of QoS 2 publishes between PUBREC and PUBCOMP.
#[derive(Debug, Default)]
pub struct Inbound {
    received: HashSet<u16>,
}

/// What a QoS 2 PUBLISH turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Never seen: publish it, then PUBREC.
    New,
    /// A repeat: PUBREC again, but do not publish `[MQTT-4.3.3-10]`.
    Repeat,
    /// One more than the Receive Maximum that the client was told `[MQTT-3.3.4-9]`.
    OverReceiveMaximum,
}

// === impl Inbound ===

impl Inbound {
    /// Takes note of a QoS 2 PUBLISH.
    pub fn receive(&mut self, packet_id: u16, receive_maximum: u16) -> Arrival {
        if self.received.contains(&packet_id) {
            return Arrival::Repeat;
        }
        if self.received.len() >= usize::from(receive_maximum) {
            return Arrival::OverReceiveMaximum;
        }
        self.received.insert(packet_id);
        Arrival::New
    }

    /// Forgets an id on PUBREL; false if it was not known (PUBCOMP 0x92).
    pub fn release(&mut self, packet_id: u16) -> bool {
        self.received.remove(&packet_id)
    }

    /// The ids between PUBREC and PUBCOMP, to go along when the session moves to another node.
    pub fn ids(&self) -> Vec<u16> {
        self.received.iter().copied().collect()
    }

    /// The same ids as elsewhere before.
    pub fn restore(ids: impl IntoIterator<Item = u16>) -> Self {
        Self { received: ids.into_iter().collect() }
    }

    /// Ids between PUBREC and PUBCOMP.
    pub fn len(&self) -> usize {
        self.received.len()
    }

    /// No id is between PUBREC and PUBCOMP.
    pub fn is_empty(&self) -> bool {
        self.received.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_id_is_published_once_until_it_is_released() {
        let mut inbound = Inbound::default();
        assert_eq!(inbound.receive(7, 10), Arrival::New);
        assert_eq!(inbound.receive(7, 10), Arrival::Repeat);
        assert!(inbound.release(7));
        assert!(!inbound.release(7));
        assert_eq!(inbound.receive(7, 10), Arrival::New);
    }

    #[test]
    fn ids_that_moved_are_still_repeats() {
        let mut inbound = Inbound::default();
        inbound.receive(7, 10);
        let mut there = Inbound::restore(inbound.ids());
        assert_eq!(there.receive(7, 10), Arrival::Repeat);
        assert!(there.release(7) && there.is_empty());
    }

    #[test]
    fn more_ids_than_the_receive_maximum_are_refused_but_repeats_are_not() {
        let mut inbound = Inbound::default();
        assert_eq!(inbound.receive(1, 2), Arrival::New);
        assert_eq!(inbound.receive(2, 2), Arrival::New);
        assert_eq!(inbound.receive(3, 2), Arrival::OverReceiveMaximum);
        assert_eq!(inbound.receive(2, 2), Arrival::Repeat);
    }
}
