//! What moving sessions ask of those around them: the shard implements it, and so does the simulation.

use std::sync::Arc;

use crate::clock::Stamp;
use crate::link::LaneRuns;
use crate::message::Delivery;
use crate::session::Limits;

use super::had::Entrance;
use super::head::SessionHead;

/// A session that this shard owns, as far as a move is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// The stamp by which it began here, or was taken from another node: a reconnect does not change it.
    pub epoch: Stamp,
    /// The stamp of its last CONNECT.
    pub connected: Stamp,
    /// It outlives its connection.
    pub persistent: bool,
    /// It has a connection.
    pub online: bool,
}

/// What becomes of a CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nobody else has to do with it: go on as if there were no other nodes. A session that begins has the CONNECT's stamp
    /// as its epoch.
    Local,
    /// Keep it until [`Outlet::serve`] or [`Outlet::refuse`], which come in later calls; one that waited for the same client
    /// id before was refused in this call.
    Waits,
    /// Refuse it.
    Refused(Refusal),
}

/// How a CONNECT that waited is served. `stamp` is the one that counts, which may be later than that of the CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serve {
    /// By a new session with this epoch: Session Present 0.
    Fresh(Stamp),
    /// By the session of this shard's table: Session Present 1, and what is in flight is sent again.
    Present(Stamp),
}

/// Why a CONNECT that waited is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A later connection uses the client id: close.
    TakenOver,
    /// Its session is at a node that can't be reached, or a node did not answer in time: 0x88 Server unavailable
    /// (MQTT 3.1.1: 3).
    Unavailable,
    /// The clock of this node is too far ahead of another one's: 0x88 Server unavailable (3).
    ClockAhead,
    /// Its session moved a moment ago, or too much is moving: 0x89 Server busy (3).
    Busy,
    /// What its session has in flight is more than can move: 0x97 Quota exceeded (3).
    TooLarge,
}

/// What a node's directory says of a client id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It has a persistent session of this id.
    Yes,
    /// It has none.
    No,
    /// It has not told all that it has.
    Unknown,
}

/// What moving sessions do to the world. All of it is asked for inside a call of [`super::Moves`], and none may call back
/// into it.
pub trait Outlet {
    /// Sends a control payload to a node. False: there is no connection, or no room; it is said again later.
    fn control(&mut self, node: &Arc<str>, payload: &[u8]) -> bool;

    /// The next stamp.
    fn stamp(&mut self) -> Stamp;

    /// Takes note of another node's stamp; false if it is too far ahead of this node's clock.
    fn merge(&mut self, stamp: Stamp) -> bool;

    /// What the directory of a node says of a client id.
    fn claims(&self, node: &str, id: &str) -> Claim;

    /// The session of this client id in the shard's table, if there is one.
    fn session(&self, id: &str) -> Option<Session>;

    /// The bounds of a session's queue.
    fn limits(&self) -> Limits;

    /// Freezes a session: its connection is not read any more, and closed with 0x8E after what is answered already; a will
    /// without delay is published, as in a take-over; neither its will nor its end fire, and nothing of it changes until
    /// [`Outlet::thaw`], [`Outlet::strip`] or [`Outlet::discard`]. Messages for it are given to [`super::Moves::offer`].
    fn freeze(&mut self, id: &str);

    /// The session without its queue.
    fn head(&mut self, id: &str) -> Option<SessionHead>;

    /// Takes the session's queue, in order.
    fn take_queue(&mut self, id: &str) -> Vec<Delivery>;

    /// Ends a freeze: the session goes on as one whose client is away.
    fn thaw(&mut self, id: &str);

    /// Another node owns it now: what was in flight, the inbound ids and the will go; the subscriptions stay in the index,
    /// and what comes for them is given to [`super::Moves::offer`]. It counts as a session no more.
    fn strip(&mut self, id: &str);

    /// Takes what [`Outlet::strip`] left out of its shared subscriptions, so that it is not chosen any more; false if it was
    /// in none.
    fn leave_groups(&mut self, id: &str) -> bool;

    /// Takes out what [`Outlet::strip`] left, or a frozen session that lost: no will, no bequest.
    fn discard(&mut self, id: &str);

    /// Makes a session of this head, without connection, in place of what [`Outlet::strip`] left, if that is there: its
    /// subscriptions that the head has too never leave the index. Retained messages are not sent. What comes for it is
    /// given to [`super::Moves::offer`] until [`Outlet::unwatch`].
    fn install(&mut self, id: &str, epoch: Stamp, head: SessionHead);

    /// Appends a message to the session's queue, and sends it if there is room; one of QoS 0 only if the client is here. `admitted`: another node's queue had room
    /// for it, so it is not bounded again.
    fn append(&mut self, id: &str, delivery: Delivery, admitted: bool);

    /// Appends a message that node had for the session before it gave it away, and its queue had room for, unless the
    /// client has unsubscribed meanwhile.
    fn forwarded(&mut self, id: &str, from: &Arc<str>, delivery: Delivery);

    /// Gives a message that came by a shared subscription, and waited for a session that is over, to another member.
    fn bequeath(&mut self, id: &str, delivery: Delivery);

    /// Messages for the session need not be given to [`super::Moves::offer`] any more.
    fn unwatch(&mut self, id: &str);

    /// Ends a session as a CONNECT with Clean Start does: its connection gets 0x8E, its will is published.
    fn end(&mut self, id: &str);

    /// What this node has had over links.
    fn taken(&self) -> Vec<LaneRuns>;

    /// Whether it has had this.
    fn has_had(&self, entrance: &Entrance) -> bool;

    /// Asks for versions of this node's interest that contain what the index holds now, and that nobody was told of yet:
    /// for each other node a number of its own, told even if nothing differs, and for this node one that its shards mark
    /// on all their lanes, and to each other, once they route by the index as it is now. [`super::Moves::staked`] with
    /// this token follows.
    fn stake(&mut self, token: u64);

    /// Serves the CONNECT that waits.
    fn serve(&mut self, id: &str, how: Serve);

    /// Refuses the CONNECT that waits.
    fn refuse(&mut self, id: &str, why: Refusal);
}
