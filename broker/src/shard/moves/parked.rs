//! CONNECTs that wait until it is known which node has their session.

use crate::clock::Stamp;
use crate::codec::Reason;
use crate::codec::connack::{self, Connack};
use crate::codec::connect::Connect;
use crate::metrics::Refused;
use crate::peer::{Refusal, Serve, Verdict};
use crate::shard::Shard;
use crate::shard::attach::Arrival;
use crate::shard::linger;
use crate::shard::row::{Custody, Row};

// === impl Shard ===

impl Shard {
    /// Finds out what becomes of a CONNECT: its session may be here, at another node, or nowhere.
    pub(in crate::shard) fn arrive(&mut self, arrival: Arrival, stamp: Stamp) {
        let id = arrival.connect.client_id.clone();
        // What ends with its connection is replaced by a new session, as with a clean start.
        let here = self.find(&id).and_then(|slot| self.core.rows.get(slot as usize));
        let here = here.filter(|row| row.custody == Custody::Own).and_then(Row::client);
        let ends = here.is_some_and(|client| !client.is_persistent());
        let clean = arrival.connect.clean_start || ends;
        match self.with_moves(|moves, out, now| moves.connect(out, &id, stamp, clean, now)) {
            Some(Verdict::Local) | None => self.meet(arrival, stamp),
            Some(Verdict::Waits) => drop(self.parked.insert(id.into(), arrival)),
            Some(Verdict::Refused(why)) => self.refuse_arrival(arrival, why),
        }
    }

    /// Serves the CONNECT that waits for this client id.
    pub(in crate::shard) fn serve_parked(&mut self, id: &str, how: Serve) {
        let Some(arrival) = self.parked.remove(id) else { return };
        let (Serve::Fresh(stamp) | Serve::Present(stamp)) = how;
        self.meet(arrival, stamp);
    }

    /// Refuses the CONNECT that waits for this client id.
    pub(in crate::shard) fn refuse_waiting(&mut self, id: &str, why: Refusal) {
        if let Some(arrival) = self.parked.remove(id) {
            self.refuse_arrival(arrival, why);
        }
    }

    /// Refuses all that wait: the node stops, or takes no more clients.
    pub(in crate::shard) fn refuse_parked(&mut self) {
        for (id, arrival) in std::mem::take(&mut self.parked) {
            self.with_moves(|moves, out, now| moves.left(out, &id, now));
            self.shared.board.events.refuse(Refused::Shutdown);
            answer(arrival, Reason::ServerShuttingDown);
        }
    }

    fn refuse_arrival(&mut self, arrival: Arrival, why: Refusal) {
        let (refused, reason) = match why {
            // It never was connected, so there is no DISCONNECT for it; no reason of CONNACK says it either.
            Refusal::TakenOver => return self.shared.board.events.refuse(Refused::TakenOver),
            Refusal::Unavailable => (Refused::HomeUnavailable, Reason::ServerUnavailable),
            Refusal::ClockAhead => (Refused::ClockAhead, Reason::ServerUnavailable),
            Refusal::Busy => (Refused::MovesBusy, Reason::ServerBusy),
            Refusal::TooLarge => (Refused::SessionTooLarge, Reason::QuotaExceeded),
        };
        if let Some(unlogged) = self.shared.board.events.refuse_aloud(refused, self.core.now) {
            let (client, reason) = (&arrival.connect.client_id, refused.label());
            tracing::info!(client, peer = %arrival.peer, reason, unlogged, "A connection is refused.");
        }
        answer(arrival, reason);
    }
}

/// Whether a client takes a CONNACK of that size: it must not be sent otherwise `[MQTT-3.1.2-24]`, and without one no client
/// can go on.
pub(in crate::shard) fn takes(connect: &Connect, answer: &Connack) -> bool {
    connect.properties.maximum_packet_size.is_none_or(|maximum| {
        let mut out = Vec::new();
        connack::encode(&mut out, connect.version, answer);
        out.len() <= maximum as usize
    })
}

/// Says why a connection is not let in, and closes it.
pub(in crate::shard) fn answer(arrival: Arrival, reason: Reason) {
    refuse(arrival, Connack::refusal(reason));
}

/// The same, by a CONNACK with properties, which are left out where they are more than the client takes.
pub(in crate::shard) fn refuse(arrival: Arrival, refusal: Connack) {
    let Arrival { stream: transport, connect, guard, .. } = arrival;
    let mut out = Vec::new();
    let terse = Connack::refusal(refusal.reason);
    if let Some(answer) = [refusal, terse].into_iter().find(|answer| takes(&connect, answer)) {
        connack::encode(&mut out, connect.version, &answer);
    }
    linger::answer_and_close(transport, out, guard);
}
