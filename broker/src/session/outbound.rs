//! QoS 1 and 2 messages between PUBLISH and their last acknowledgement, with the packet ids they bear.
//!
//! Ids are given in strict sequence, so a ring indexed by id holds them: no hashing, no search. An acknowledgement
//! out of order marks its entry, and the front advances over what is done.

use std::collections::VecDeque;

use crate::codec::Qos;
use crate::message::Delivery;

/// Longest span of ids between the oldest unacknowledged and the newest; one id that is never acknowledged
/// must not let the span grow to 65,535 entries.
const SPAN_MAX: usize = 16_384;

const IDS: usize = 65_535;

/// Messages in flight to one client.
#[derive(Debug)]
pub struct Outbound {
    /// One byte for each message, so that a fan-out to many sessions stays in the processor's caches.
    states: VecDeque<State>,
    /// What a redelivery needs, beside `states`; empty in sessions that need none.
    kept: VecDeque<Option<Delivery>>,
    /// Packet id of the ring's first entry, 1 to 65,535.
    front: u16,
    in_flight: u16,
    /// Packet ids that the present connection has not seen yet, in order; the window opens for new messages after them.
    resend: VecDeque<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    PubackAwaited,
    PubrecAwaited,
    PubcompAwaited,
    Done,
}

/// A message in flight, as it goes along when its session moves to another node: under the same packet id, or the client
/// would take a repeat for something new `[MQTT-4.4.0-1]`.
#[derive(Clone, Debug)]
pub struct InFlight {
    /// Its packet id, not 0.
    pub packet_id: u16,
    /// How far it got.
    pub stage: Stage,
}

/// How far a message in flight got.
#[derive(Clone, Debug)]
pub enum Stage {
    /// PUBLISH was sent, at the delivery's QoS, which is not 0.
    Published(Delivery),
    /// PUBREC came: PUBCOMP is awaited.
    Released,
}

/// What can't have been in flight to one client: ids that are 0, not in sequence, or too far apart; or a message of QoS 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("packet ids in flight are not in sequence, or too far apart")]
pub struct NotInFlight;

/// What an acknowledgement did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledged {
    /// The id is free again.
    Completed,
    /// PUBREC taken: a PUBREL is due.
    Release,
    /// No such message is in flight.
    Unknown,
    /// It is in flight, and this acknowledges nothing that was sent of it: PUBACK at QoS 2, PUBREC or PUBCOMP at QoS 1, PUBCOMP
    /// before PUBREC.
    Mismatched,
}

// === impl Outbound ===

impl Default for Outbound {
    fn default() -> Self {
        Self { states: VecDeque::new(), kept: VecDeque::new(), front: 1, in_flight: 0, resend: VecDeque::new() }
    }
}

impl Outbound {
    /// Whether one more message may be sent, `window` being the lower of the client's Receive Maximum and ours.
    #[inline]
    pub fn has_room(&self, window: u16) -> bool {
        self.in_flight < window && self.states.len() < SPAN_MAX && self.resend.is_empty()
    }

    /// The packet id that the next message will get.
    #[inline]
    pub fn next_id(&self) -> u16 {
        self.id_at(self.states.len())
    }

    /// Gives a packet id to a message of QoS 1 or 2. The caller has asked `has_room`.
    #[inline]
    pub fn assign(&mut self, qos: Qos, delivery: Option<Delivery>) -> u16 {
        debug_assert!(qos != Qos::AtMostOnce && self.states.len() < SPAN_MAX);
        let packet_id = self.next_id();
        let state = if qos == Qos::AtLeastOnce { State::PubackAwaited } else { State::PubrecAwaited };
        if delivery.is_some() || !self.kept.is_empty() {
            // The first that is kept lines up with those before it, which were not.
            self.kept.resize_with(self.states.len(), || None);
            self.kept.push_back(delivery);
        }
        self.states.push_back(state);
        self.in_flight += 1;
        packet_id
    }

    /// PUBACK, whatever its reason: the message is done.
    #[inline]
    pub fn puback(&mut self, packet_id: u16) -> Acknowledged {
        self.finish(packet_id, State::PubackAwaited)
    }

    /// PUBREC; one with a reason of 0x80 or above ends the message `[MQTT-4.3.3-4]`.
    pub fn pubrec(&mut self, packet_id: u16, success: bool) -> Acknowledged {
        if !success {
            return self.finish(packet_id, State::PubrecAwaited);
        }
        let Some(at) = self.place(packet_id) else { return Acknowledged::Unknown };
        match self.states[at] {
            State::PubrecAwaited => {
                self.states[at] = State::PubcompAwaited;
                self.forget(at);
                Acknowledged::Release
            }
            // A repeated PUBREC: the PUBREL was lost with a connection, or the client is hasty.
            State::PubcompAwaited => Acknowledged::Release,
            State::PubackAwaited => Acknowledged::Mismatched,
            State::Done => Acknowledged::Unknown,
        }
    }

    /// PUBCOMP: the message is done.
    pub fn pubcomp(&mut self, packet_id: u16) -> Acknowledged {
        self.finish(packet_id, State::PubcompAwaited)
    }

    /// Messages of an earlier connection wait to be sent again.
    pub fn is_resending(&self) -> bool {
        !self.resend.is_empty()
    }

    /// Ends a message without the client: it can't be sent to it.
    pub fn abandon(&mut self, packet_id: u16) {
        if self.finish(packet_id, State::PubackAwaited) == Acknowledged::Mismatched {
            self.finish(packet_id, State::PubrecAwaited);
        }
    }

    /// Takes the QoS 1 messages that were sent and not acknowledged, in order, from a session that ends.
    pub fn take_unacknowledged(&mut self) -> Vec<Delivery> {
        let waiting = self.states.iter().zip(&mut self.kept).filter(|(state, _)| **state == State::PubackAwaited);
        waiting.filter_map(|(_, kept)| kept.take()).collect()
    }

    /// What is in flight, in the order of the first sending. A message that is not kept for a redelivery is left out: it
    /// could not be sent again here either.
    pub fn snapshot(&self) -> Vec<InFlight> {
        let stage = |at: usize, state: State| match state {
            State::PubackAwaited | State::PubrecAwaited => self.kept.get(at)?.clone().map(Stage::Published),
            State::PubcompAwaited => Some(Stage::Released),
            State::Done => None,
        };
        let all = self.states.iter().enumerate();
        all.filter_map(|(at, state)| Some(InFlight { packet_id: self.id_at(at), stage: stage(at, *state)? })).collect()
    }

    /// The same in flight as elsewhere before, and `next_id` for the next message.
    ///
    /// # Errors
    /// If that can't be.
    pub fn restore(next_id: u16, in_flight: Vec<InFlight>) -> Result<Self, NotInFlight> {
        let front = in_flight.first().map_or(next_id, |first| first.packet_id);
        let mut outbound = Self { front, ..Self::default() };
        let span = (usize::from(next_id) + IDS - usize::from(front)) % IDS;
        if front == 0 || next_id == 0 || span > SPAN_MAX {
            return Err(NotInFlight);
        }
        for InFlight { packet_id, stage } in in_flight {
            let at = (usize::from(packet_id) + IDS - usize::from(front)) % IDS;
            if packet_id == 0 || at < outbound.states.len() || at >= span {
                return Err(NotInFlight);
            }
            outbound.states.resize(at, State::Done);
            outbound.kept.resize_with(at, || None);
            let (state, kept) = match stage {
                Stage::Published(delivery) => match delivery.qos {
                    Qos::AtMostOnce => return Err(NotInFlight),
                    Qos::AtLeastOnce => (State::PubackAwaited, Some(delivery)),
                    Qos::ExactlyOnce => (State::PubrecAwaited, Some(delivery)),
                },
                Stage::Released => (State::PubcompAwaited, None),
            };
            outbound.states.push_back(state);
            outbound.kept.push_back(kept);
            outbound.in_flight += 1;
        }
        // Ids that were given and are done stand between the last in flight and the next.
        outbound.states.resize(span, State::Done);
        outbound.kept.resize_with(span, || None);
        Ok(outbound)
    }

    /// The packet id at a place of the ring.
    fn id_at(&self, at: usize) -> u16 {
        ((usize::from(self.front) - 1 + at) % IDS) as u16 + 1
    }

    /// Messages in flight.
    pub fn in_flight(&self) -> usize {
        usize::from(self.in_flight)
    }

    /// A new connection continues the session: gives the ids whose PUBREL is sent at once, and remembers the PUBLISH
    /// packets that `next_resend` hands out `[MQTT-4.4.0-1]`.
    pub fn begin_resend(&mut self) -> Vec<u16> {
        let mut released = Vec::new();
        self.resend.clear();
        for (at, state) in self.states.iter().enumerate() {
            match state {
                State::PubackAwaited | State::PubrecAwaited => self.resend.push_back(self.id_at(at)),
                State::PubcompAwaited => released.push(self.id_at(at)),
                State::Done => {}
            }
        }
        released
    }

    /// The next PUBLISH to send again, with DUP, if `window` has room for it: a client that reconnects with a smaller
    /// Receive Maximum gets them a few at a time, in the order of the first sending `[MQTT-4.6.0-1]`.
    pub fn next_resend(&mut self, window: u16) -> Option<(u16, &Delivery)> {
        loop {
            let packet_id = *self.resend.front()?;
            if usize::from(self.in_flight).saturating_sub(self.resend.len()) >= usize::from(window) {
                return None;
            }
            self.resend.pop_front();
            // One that the client acknowledged meanwhile, though it can't have got it, is done.
            if let Some(at) = self.place(packet_id)
                && self.kept.get(at).is_some_and(Option::is_some)
            {
                return self.kept[at].as_ref().map(|delivery| (packet_id, delivery));
            }
        }
    }

    /// Where the message of a packet id stands.
    #[inline]
    fn place(&self, packet_id: u16) -> Option<usize> {
        if packet_id == 0 {
            return None;
        }
        let at = (usize::from(packet_id) + IDS - usize::from(self.front)) % IDS;
        (at < self.states.len()).then_some(at)
    }

    #[inline]
    fn forget(&mut self, at: usize) {
        if let Some(delivery) = self.kept.get_mut(at) {
            *delivery = None;
        }
    }

    #[inline]
    fn finish(&mut self, packet_id: u16, expected: State) -> Acknowledged {
        let Some(at) = self.place(packet_id) else { return Acknowledged::Unknown };
        if self.states[at] != expected {
            return if self.states[at] == State::Done { Acknowledged::Unknown } else { Acknowledged::Mismatched };
        }
        self.states[at] = State::Done;
        self.forget(at);
        self.in_flight -= 1;
        while self.states.front() == Some(&State::Done) {
            self.states.pop_front();
            self.kept.pop_front();
            self.front = if usize::from(self.front) == IDS { 1 } else { self.front + 1 };
        }
        if self.states.is_empty() && self.states.capacity() > 1024 {
            self.states = VecDeque::new();
            self.kept = VecDeque::new();
        }
        Acknowledged::Completed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_in_sequence_and_wrap_past_65535_to_1() {
        let mut outbound = Outbound::default();
        for expected in (1..=65_535u32).chain(1..=3) {
            let id = outbound.assign(Qos::AtLeastOnce, None);
            assert_eq!(u32::from(id), expected);
            assert_eq!(outbound.puback(id), Acknowledged::Completed);
        }
    }

    #[test]
    fn acknowledgements_out_of_order_free_the_window_but_bound_the_span() {
        let mut outbound = Outbound::default();
        let stuck = outbound.assign(Qos::AtLeastOnce, None);
        let mut given = 0;
        while outbound.has_room(10) {
            let id = outbound.assign(Qos::AtLeastOnce, None);
            assert_eq!(outbound.puback(id), Acknowledged::Completed);
            given += 1;
        }
        assert_eq!(given, SPAN_MAX - 1);
        assert_eq!(outbound.puback(stuck), Acknowledged::Completed);
        assert!(outbound.has_room(10));
        assert_eq!(outbound.in_flight(), 0);
    }

    #[test]
    fn a_reconnect_resends_in_order_and_no_more_than_the_new_window_allows() {
        let mut outbound = Outbound::default();
        let message = std::sync::Arc::new(crate::message::tests::message("t", b"x"));
        let delivery =
            |qos| Some(Delivery { message: message.clone(), subscription_ids: None, qos, retain: false, group: 0 });
        let ids: Vec<u16> = [Qos::AtLeastOnce, Qos::ExactlyOnce, Qos::ExactlyOnce, Qos::AtLeastOnce]
            .map(|qos| outbound.assign(qos, delivery(qos)))
            .to_vec();
        assert_eq!(outbound.pubrec(ids[1], true), Acknowledged::Release);
        assert_eq!(outbound.begin_resend(), [ids[1]]);
        assert_eq!(
            outbound.next_resend(2).map(|(id, _)| id),
            Some(ids[0]),
            "one PUBREL and one PUBLISH fill the window"
        );
        assert_eq!(outbound.next_resend(2).map(|(id, _)| id), None);
        assert!(!outbound.has_room(10), "nothing new goes before what is to be sent again");
        assert_eq!(outbound.puback(ids[0]), Acknowledged::Completed);
        assert_eq!(outbound.next_resend(2).map(|(id, _)| id), Some(ids[2]));
        assert_eq!(outbound.pubcomp(ids[1]), Acknowledged::Completed);
        assert_eq!(outbound.next_resend(2).map(|(id, _)| id), Some(ids[3]));
        assert!(outbound.has_room(10));
    }

    #[test]
    fn what_is_in_flight_moves_with_its_packet_ids_and_stages() {
        let message = std::sync::Arc::new(crate::message::tests::message("t", b"x"));
        let delivery =
            |qos| Some(Delivery { message: message.clone(), subscription_ids: None, qos, retain: false, group: 0 });
        // Just before the ids begin again.
        let mut outbound = Outbound { front: 65_534, ..Outbound::default() };
        let qos = [Qos::AtLeastOnce, Qos::AtLeastOnce, Qos::ExactlyOnce, Qos::ExactlyOnce, Qos::AtLeastOnce];
        let ids = qos.map(|qos| outbound.assign(qos, delivery(qos)));
        assert_eq!(ids, [65_534, 65_535, 1, 2, 3]);
        outbound.puback(ids[1]);
        outbound.pubrec(ids[2], true);
        outbound.puback(ids[4]);

        let mut there = Outbound::restore(outbound.next_id(), outbound.snapshot()).expect("that was in flight");
        assert_eq!((there.next_id(), there.in_flight()), (4, 3));
        assert_eq!(there.begin_resend(), [1]);
        assert_eq!(there.next_resend(10).map(|(id, _)| id), Some(65_534));
        assert_eq!(there.next_resend(10).map(|(id, _)| id), Some(2));
        assert!(there.next_resend(10).is_none());
        assert_eq!(there.puback(ids[4]), Acknowledged::Unknown);
        assert_eq!(there.pubrec(2, true), Acknowledged::Release);
        assert_eq!([1, 2].map(|id| there.pubcomp(id)), [Acknowledged::Completed; 2]);
        assert_eq!(there.puback(65_534), Acknowledged::Completed);
        assert_eq!((there.in_flight(), there.next_id(), there.snapshot().len()), (0, 4, 0));
    }

    #[test]
    fn what_can_not_have_been_in_flight_is_refused() {
        let released = |packet_id| InFlight { packet_id, stage: Stage::Released };
        assert!(Outbound::restore(1, Vec::new()).is_ok());
        assert_eq!(Outbound::restore(9, vec![released(7), released(8)]).expect("in sequence").next_id(), 9);
        for (next, ids) in [(0, vec![]), (5, vec![0]), (9, vec![8, 7]), (9, vec![7, 7]), (9, vec![9]), (5, vec![7])] {
            let in_flight = ids.iter().copied().map(released).collect();
            assert_eq!(Outbound::restore(next, in_flight).err(), Some(NotInFlight), "{next} {ids:?}");
        }
    }

    #[test]
    fn the_window_counts_qos_2_until_pubcomp() {
        let mut outbound = Outbound::default();
        let id = outbound.assign(Qos::ExactlyOnce, None);
        assert!(!outbound.has_room(1));
        assert_eq!(outbound.pubrec(id, true), Acknowledged::Release);
        assert!(!outbound.has_room(1));
        assert_eq!(outbound.pubrec(id, true), Acknowledged::Release, "a repeated PUBREC asks for PUBREL again");
        assert_eq!(outbound.pubcomp(id), Acknowledged::Completed);
        assert!(outbound.has_room(1));
        assert_eq!(outbound.pubcomp(id), Acknowledged::Unknown);
    }

    #[test]
    fn a_pubrec_with_an_error_ends_the_message() {
        let mut outbound = Outbound::default();
        let id = outbound.assign(Qos::ExactlyOnce, None);
        assert_eq!(outbound.pubrec(id, false), Acknowledged::Completed);
        assert_eq!(outbound.in_flight(), 0);
    }

    #[test]
    fn an_acknowledgement_of_the_wrong_kind_or_id_changes_nothing() {
        let mut outbound = Outbound::default();
        let one = outbound.assign(Qos::AtLeastOnce, None);
        let two = outbound.assign(Qos::ExactlyOnce, None);
        assert_eq!(outbound.puback(two), Acknowledged::Mismatched);
        assert_eq!(outbound.pubrec(one, true), Acknowledged::Mismatched);
        assert_eq!(outbound.pubrec(one, false), Acknowledged::Mismatched);
        assert_eq!(outbound.pubcomp(one), Acknowledged::Mismatched);
        assert_eq!(outbound.pubcomp(two), Acknowledged::Mismatched);
        assert_eq!(outbound.puback(0), Acknowledged::Unknown);
        assert_eq!(outbound.puback(999), Acknowledged::Unknown);
        assert_eq!(outbound.in_flight(), 2);
    }
}
