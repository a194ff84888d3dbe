//! A client of the simulation: connects, and does what its plan says, in order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::network::{End, Micros};
use super::node::Wish;
use super::oracle::{Oracle, Weather};
use super::plan::{Connecting, Deed, Mood};
use super::trace::Trace;
use crate::codec::ack::AckKind;
use crate::codec::connect::{self, Connect};
use crate::codec::{Version, ping};
use crate::random::Random;

/// A client.
pub struct Client {
    pub number: usize,
    pub version: Version,
    /// Seconds that its sessions outlive their connections; `u32::MAX` for one of version 3.1.1.
    pub expiry: u32,
    pub keep_alive: u16,
    /// Where it belongs.
    pub home: usize,
    /// Where it is, or was last.
    pub node: usize,
    /// What it does next.
    pub todo: VecDeque<Deed>,
    pub state: State,
    pub mood: Mood,
    /// How it connects next.
    pub connecting: Connecting,
    /// It wants to be connected, from then on.
    pub wanted_from: Option<Micros>,
    /// Its session, for the oracle.
    pub session: Option<usize>,
    /// A session may have begun that it knows nothing of.
    pub unsure: bool,
    /// It insists on a clean start until it has had one.
    pub must_clean: bool,
    /// When its last connection ended.
    pub gone_at: Micros,
    /// Its will at the broker: number, delay.
    pub will: Option<(usize, u32)>,
    /// What it published and has not seen acknowledged.
    pub unacked: VecDeque<Unacked>,
    /// QoS 2 messages that it holds, by packet id.
    pub(super) held: BTreeMap<u16, usize>,
    pub(super) unanswered: BTreeMap<u16, Question>,
    /// QoS 1 and 2 packet ids under way to it on this connection.
    pub(super) under_way: BTreeSet<u16>,
    pub(super) acks: VecDeque<(Micros, AckKind, u16)>,
    /// It has left something unacknowledged on this connection.
    pub withheld: bool,
    pub(super) end: Option<End>,
    pub(super) input: Vec<u8>,
    pub(super) output: Vec<u8>,
    pub(super) next_id: u16,
    ping_at: Micros,
    /// PINGREQ was sent and not answered.
    pub(super) pinged: bool,
    /// When it gives up waiting for its CONNACK.
    pub(super) patience: Micros,
    pub(super) said_goodbye: bool,
    pub wish: Arc<Wish>,
}

/// Where its connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Away,
    /// Connected, or about to be; CONNACK is awaited.
    Opening,
    Up,
}

/// A publish that is not acknowledged.
pub struct Unacked {
    pub id: u16,
    pub message: usize,
    pub released: bool,
    pub deed: super::plan::Message,
}

/// What a client has asked.
pub enum Question {
    Subscribe(&'static str, Micros),
    Unsubscribe(&'static str),
}

/// What is around a client.
pub struct Around<'a> {
    pub now: Micros,
    pub oracle: &'a mut Oracle,
    pub weather: &'a Weather,
    pub random: &'a mut Random,
    pub trace: &'a mut Trace,
    /// Nobody waits for a node that has a session and can't be reached.
    pub fresh: bool,
    /// Some messages expire.
    pub expiring: bool,
    /// How long a SUBACK may wait for other nodes.
    pub subscribe_timeout: Micros,
}

/// Publishes that a client has unacknowledged at one time.
const WINDOW: usize = 15;

/// How long it waits for a CONNACK.
const PATIENCE: Micros = 4_000_000;

// === impl Client ===

impl Client {
    pub fn new(number: usize, random: &mut Random, nodes: usize) -> Self {
        let (version, expiry) = match random.below(10) {
            0..5 => (Version::V5, 3600),
            5 => (Version::V5, 3),
            6 => (Version::V5, 0),
            7 => (Version::V4, 0),
            _ => (Version::V4, u32::MAX),
        };
        Self {
            number,
            version,
            expiry,
            keep_alive: if random.chance(80) { 2 + random.below(6) as u16 } else { 0 },
            home: random.below(nodes),
            node: 0,
            todo: VecDeque::new(),
            state: State::Away,
            mood: Mood::Prompt,
            connecting: Connecting { node: 0, clean: false, will: None, receive_maximum: u16::MAX },
            wanted_from: None,
            session: None,
            unsure: false,
            must_clean: false,
            gone_at: 0,
            will: None,
            unacked: VecDeque::new(),
            held: BTreeMap::new(),
            unanswered: BTreeMap::new(),
            under_way: BTreeSet::new(),
            acks: VecDeque::new(),
            withheld: false,
            end: None,
            input: Vec::new(),
            output: Vec::new(),
            next_id: 0,
            ping_at: 0,
            pinged: false,
            patience: 0,
            said_goodbye: false,
            wish: Arc::default(),
        }
    }

    pub fn id(&self) -> String {
        format!("client-{}", self.number)
    }

    /// The CONNECT of its next connection, on `end`.
    pub fn open(&mut self, end: End, node: usize, around: &mut Around<'_>) -> Connect {
        let clean = self.connecting.clean || self.must_clean || (self.version == Version::V4 && self.expiry == 0);
        if clean {
            if let Some(session) = self.session.take() {
                around.oracle.end(session, around.now);
            }
            self.must_clean = true;
        }
        if let Some(session) = self.session {
            around.oracle.trying(session, node);
        }
        let will = self.connecting.will.map(|(topic, qos, retain, delay)| {
            let delay = if self.version == Version::V5 { delay } else { 0 };
            let number = around.oracle.will(self.number, node, topic, qos, retain, around.weather);
            self.will = Some((number, delay));
            let (topic, payload, properties) = (topic.to_owned(), payload(number, 0), Vec::new());
            connect::Will { topic, payload, qos, retain, delay, properties }
        });
        self.end = Some(end);
        self.node = node;
        self.wish.set();
        self.state = State::Opening;
        self.patience = around.now + PATIENCE;
        self.said_goodbye = false;
        self.withheld = false;
        self.pinged = false;
        let clean_start = clean;
        let mut properties = connect::Properties { session_expiry: self.expiry, ..connect::Properties::default() };
        if self.version == Version::V5 {
            properties.receive_maximum = self.connecting.receive_maximum;
        }
        around.trace.say(around.now, format_args!("client {} opens at {node}, clean {clean}", self.number));
        Connect {
            version: self.version,
            client_id: self.id(),
            clean_start,
            keep_alive: self.keep_alive,
            will,
            username: None,
            password: None,
            properties,
        }
    }

    /// CONNACK said yes.
    pub(super) fn opened(&mut self, node: usize, present: bool, around: &mut Around<'_>) -> Result<(), String> {
        let is_short = self.expiry < 60 && around.now - self.gone_at >= u64::from(self.expiry) * 1_000_000;
        if present
            && self.unsure
            && let Some(session) = self.session
        {
            // It was on its way when its node died.
            around.oracle.resume(session, around.now);
            if is_away(session, node, around) {
                // It got another one and did not hear so.
                around.oracle.sessions[session].forsaken = true;
                around.oracle.perhaps_elder(session, around.now);
            }
            if is_short {
                around.oracle.perhaps_new(session, around.now);
            }
        }
        if present
            && let Some(session) = self.session
            && around.oracle.sessions[session].ended.is_some()
            && (around.oracle.may_be_forsaken(session) || around.oracle.may_be_elder(session, node, around.weather))
        {
            around.oracle.resume(session, around.now);
            around.oracle.perhaps_elder(session, around.now);
        }
        let was = self.session.filter(|session| around.oracle.sessions[*session].ended.is_none());
        if present && was.is_none() && !self.unsure {
            return Err(format!("client {} finds a session that it should not have", self.number));
        }
        if let Some(session) = was.filter(|_| !present) {
            // Of a node that this one never met nobody knows what it has, nor what came to one that can't be reached since.
            let (home, weather) = (around.oracle.sessions[session].node, around.weather);
            let came_at = around.oracle.sessions[session].moved_at;
            let is_unknown = home != node && (!weather.met[node][home] || weather.troubled[node][home] > came_at);
            let is_away = is_away(session, node, around);
            around.oracle.sessions[session].forsaken |= is_away;
            let is_unknown = is_unknown || is_away;
            if !is_short && !is_unknown && !around.oracle.sessions[session].doubtful {
                return Err(format!("session {session} of client {} is lost", self.number));
            }
            around.oracle.end(session, around.now);
        }
        self.must_clean = false;
        self.unsure = false;
        self.connecting.clean = false;
        if was.is_none() || !present {
            self.session = Some(around.oracle.begin(self.number, node, around.now, around.weather));
            self.held.clear();
            self.unacked.clear();
        } else if let Some(session) = was {
            if around.oracle.may_be_elder(session, node, around.weather) {
                around.oracle.perhaps_elder(session, around.now);
            }
            around.oracle.moved(session, node, around.now, around.weather);
            around.oracle.sessions[session].ends_at = None;
        }
        self.state = State::Up;
        self.ping_at = around.now + self.ping_every();
        if matches!(self.mood, Mood::Never | Mood::Deaf) {
            self.mood = Mood::Prompt;
        }
        self.resend(around);
        Ok(())
    }

    fn resend(&mut self, around: &mut Around<'_>) {
        for at in 0..self.unacked.len() {
            let Unacked { id, message, released, deed } = self.unacked[at];
            if released {
                around.oracle.resent_release(message, self.node);
                self.put_ack(AckKind::Pubrel, id);
            } else {
                around.oracle.resent(message, self.node, around.now, around.weather);
                self.put_publish(deed, message, id, true, around);
            }
        }
    }

    /// Its connection is over.
    pub fn lost(&mut self, around: &mut Around<'_>, why: &str) {
        if self.state == State::Away {
            return;
        }
        let was_up = self.state == State::Up;
        around.trace.say(around.now, format_args!("client {} lost its connection: {why}", self.number));
        self.end = None;
        self.state = State::Away;
        if was_up && !self.said_goodbye {
            self.gone_at = around.now;
        }
        if let Some(session) = self.session {
            around.oracle.sessions[session].ends_at = Some(self.ends_at());
        }
        self.input.clear();
        self.output.clear();
        self.acks.clear();
        self.under_way.clear();
        self.unanswered.clear();
        // The broker may have taken a CONNECT whose answer did not come.
        self.unsure |= !was_up && self.expiry > 0;
        let goodbye = self.said_goodbye;
        if let Some((number, delay)) = self.will.take()
            && !goodbye
        {
            let at_once = was_up && (delay == 0 || self.expiry == 0);
            let latest = around.now + u64::from(self.keep_alive) * 1_500_000 + 3_000_000;
            let certain = at_once && self.keep_alive > 0;
            around.oracle.will_due(number, around.now, certain.then_some(latest), around.weather);
        }
        if self.expiry == 0
            && let Some(session) = self.session.take()
        {
            around.oracle.end(session, around.now);
        }
        if self.wanted_from.is_some() {
            self.wanted_from = Some(around.now + 100_000 + around.random.next() % 800_000);
        }
    }

    /// When its session may end, since it is gone.
    pub(super) fn ends_at(&self) -> Micros {
        self.gone_at + Micros::from(self.expiry) * 1_000_000
    }

    fn ping_every(&self) -> Micros {
        if self.keep_alive == 0 { 3_000_000 } else { u64::from(self.keep_alive) * 500_000 }
    }

    /// When it has something to do by itself.
    pub fn due(&self) -> Micros {
        let ack = self.acks.front().map_or(Micros::MAX, |(at, ..)| *at);
        match self.state {
            State::Away => self.wanted_from.unwrap_or(Micros::MAX),
            State::Opening => self.patience,
            State::Up => ack.min(self.ping_at),
        }
    }

    /// Does what is possible now.
    pub fn step(&mut self, around: &mut Around<'_>) -> Result<(), String> {
        self.wish.take();
        if self.state == State::Away {
            return Ok(());
        }
        if self.state == State::Opening && around.now >= self.patience {
            self.tear();
            self.lost(around, "no CONNACK came");
            return Ok(());
        }
        if self.mood != Mood::Deaf && !self.read(around)? {
            return Ok(());
        }
        if self.state == State::Up {
            while self.acks.front().is_some_and(|(at, ..)| *at <= around.now) {
                let Some((_, kind, id)) = self.acks.pop_front() else { break };
                self.say_ack(kind, id, around);
            }
            if around.now >= self.ping_at {
                if self.pinged && self.mood != Mood::Deaf {
                    self.tear();
                    self.lost(around, "no PINGRESP came");
                    return Ok(());
                }
                self.pinged = self.mood != Mood::Deaf;
                self.ping_at = around.now + self.ping_every();
                self.output.extend_from_slice(&ping::PINGREQ);
            }
            while self.state == State::Up && !self.said_goodbye && self.unacked.len() < WINDOW {
                let Some(deed) = self.todo.pop_front() else { break };
                self.act(deed, around);
            }
        }
        self.flush();
        Ok(())
    }

    /// Reads what is there; false if the connection is over.
    fn read(&mut self, around: &mut Around<'_>) -> Result<bool, String> {
        let waker = Waker::from(Arc::clone(&self.wish));
        let mut cx = Context::from_waker(&waker);
        loop {
            let Some(end) = &mut self.end else { return Ok(false) };
            let mut buffer = [0; 4096];
            let mut into = ReadBuf::new(&mut buffer);
            match Pin::new(end).poll_read(&mut cx, &mut into) {
                std::task::Poll::Pending => break,
                std::task::Poll::Ready(Ok(())) if !into.filled().is_empty() => {
                    self.input.extend_from_slice(into.filled());
                }
                std::task::Poll::Ready(Ok(())) => {
                    self.packets(around)?;
                    if self.said_goodbye
                        && let Some((number, _)) = self.will
                    {
                        around.oracle.messages[number].forbidden = true;
                    }
                    self.lost(around, "the broker closed it");
                    return Ok(false);
                }
                std::task::Poll::Ready(Err(_)) => {
                    self.lost(around, "it broke");
                    return Ok(false);
                }
            }
        }
        self.packets(around)?;
        Ok(self.state != State::Away)
    }

    fn flush(&mut self) {
        let waker = Waker::from(Arc::clone(&self.wish));
        let mut cx = Context::from_waker(&waker);
        while !self.output.is_empty()
            && let Some(end) = &mut self.end
        {
            match Pin::new(end).poll_write(&mut cx, &self.output) {
                std::task::Poll::Ready(Ok(count)) => drop(self.output.drain(..count)),
                // Found by the next read.
                std::task::Poll::Ready(Err(_)) => self.output.clear(),
                std::task::Poll::Pending => break,
            }
        }
    }

    /// Breaks its connection.
    pub fn tear(&mut self) {
        if let Some(end) = &self.end {
            end.tear();
        }
    }
}

/// Whether a session is where it can't be reached from a node, and need not be waited for: a node that does not answer within
/// two seconds counts so. It may be where its client knocked and was refused in the end.
fn is_away(session: usize, node: usize, around: &Around<'_>) -> bool {
    let session = &around.oracle.sessions[session];
    let mut homes = session.tried.iter().copied().chain([session.node]);
    around.fresh && homes.any(|home| home != node && around.now < around.weather.troubled[node][home] + PATIENCE)
}

/// The payload of a message, by which it is known.
pub fn payload(number: usize, padding: usize) -> Vec<u8> {
    let mut payload = format!("{number};").into_bytes();
    payload.resize(payload.len() + padding, b'.');
    payload
}

/// The number of a message, by its payload.
pub fn number_of(payload: &[u8]) -> Option<usize> {
    std::str::from_utf8(payload).ok()?.split_once(';')?.0.parse().ok()
}
