//! The metrics of sessions that move between the nodes of the cluster, all of them when a node is emptied.

use tombolo_broker_api::{EvacuationPhase, EvacuationStatus, SessionMoves};

use super::text::Text;

/// Appends the families of sessions that move; every field of the status has its sample.
pub fn render(text: &mut Text, moves: &SessionMoves) {
    let SessionMoves {
        looked_up,
        moving,
        unsettled,
        divergent,
        taken,
        given,
        kept,
        forwarded,
        unavailable,
        busy,
        overtaken,
        began_unasked,
        discarded,
        messages_dropped,
        streams_lost,
        abandoned,
        holds_passed,
        tombs_refused,
        garbled,
    } = moves;
    let mut under_way = text.gauge("tombolo_session_moves", "Sessions that are moving, by where they stand.");
    for (state, count) in
        [("looked_up", looked_up), ("moving", moving), ("unsettled", unsettled), ("divergent", divergent)]
    {
        under_way.sample(&[("state", state)], count);
    }
    let mut moved =
        text.counter("tombolo_session_moves_total", "Sessions that moved, or did not, by what became of them.");
    for (result, count) in [
        ("taken", taken),
        ("given", given),
        ("kept", kept),
        ("began_unasked", began_unasked),
        ("discarded", discarded),
        ("stream_lost", streams_lost),
        ("abandoned", abandoned),
        ("not_remembered", tombs_refused),
    ] {
        moved.sample(&[("result", result)], count);
    }
    let mut refused =
        text.counter("tombolo_session_moves_refused_total", "CONNECTs refused since their session was not to be had.");
    for (reason, count) in [("unavailable", unavailable), ("busy", busy), ("overtaken", overtaken)] {
        refused.sample(&[("reason", reason)], count);
    }
    let mut messages = text.counter(
        "tombolo_session_moves_messages_total",
        "Messages that waited for a session that had moved, by what became of them.",
    );
    for (result, count) in [("forwarded", forwarded), ("dropped", messages_dropped), ("out_of_order", holds_passed)] {
        messages.sample(&[("result", result)], count);
    }
    text.counter("tombolo_session_moves_garbled_total", "Control messages of other nodes that could not be read.")
        .value(garbled);
}

/// Appends the families of an evacuation, if one is under way.
pub fn render_evacuation(text: &mut Text, evacuation: Option<&EvacuationStatus>) {
    let Some(evacuation) = evacuation else { return };
    let EvacuationStatus {
        phase,
        since_unix_seconds: _,
        deadline_unix_seconds: _,
        connections,
        sessions,
        draining,
        waiting_messages,
        moved,
    } = evacuation;
    let mut phases = text.gauge("tombolo_evacuation_phase", "1 for where the evacuation stands, 0 for the others.");
    for (label, value) in [
        ("evacuating", EvacuationPhase::Evacuating),
        ("empty", EvacuationPhase::Empty),
        ("timed_out", EvacuationPhase::TimedOut),
    ] {
        phases.sample(&[("phase", label)], u8::from(*phase == value));
    }
    let mut all = text.gauge("tombolo_evacuation", "What is left of a node that is being emptied.");
    for (left, count) in [
        ("connections", connections),
        ("sessions", sessions),
        ("draining", draining),
        ("waiting_messages", waiting_messages),
    ] {
        all.sample(&[("left", left)], count);
    }
    text.gauge("tombolo_evacuation_moved", "Sessions that other nodes took since it began.").value(moved);
}
