//! The network of the simulation: byte streams between hosts, with delay, bounded buffers, cuts, and ways that are shut.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::random::Random;
use crate::transport::Simulated;

/// A node or a client.
pub type Host = usize;

/// Microseconds since the start of the simulation.
pub type Micros = u64;

/// All streams. What waits for others is woken without the lock.
#[derive(Clone)]
pub struct Network(Arc<Mutex<State>>);

struct State {
    now: Micros,
    random: Random,
    pipes: Vec<Pipe>,
    /// When something arrives: time, order, pipe, side that it comes from.
    due: BinaryHeap<Reverse<(Micros, u64, usize, usize)>>,
    count: u64,
    /// Ways on which nothing arrives for now, from and to.
    shut: BTreeSet<(Host, Host)>,
    /// Additional delay of a way.
    slow: Vec<(Host, Host, Micros)>,
}

/// A stream: `ways[0]` is what its first end writes.
struct Pipe {
    hosts: [Host; 2],
    ways: [Way; 2],
    /// An end that is gone without a word: nothing of it is heard any more.
    mute: [bool; 2],
    gone: [bool; 2],
}

#[derive(Default)]
struct Way {
    flying: VecDeque<(Micros, Vec<u8>)>,
    flying_bytes: usize,
    arrived: VecDeque<u8>,
    /// The writer ends the stream behind what it wrote.
    ending: bool,
    /// The reader has come to the end.
    ended: bool,
    /// Reader and writer see an error.
    reset: bool,
    last_arrival: Micros,
    capacity: usize,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// One end of a stream.
pub struct End {
    network: Network,
    pipe: usize,
    side: usize,
}

// === impl Network ===

impl Network {
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            now: 0,
            random: Random::new(seed),
            pipes: Vec::new(),
            due: BinaryHeap::new(),
            count: 0,
            shut: BTreeSet::new(),
            slow: Vec::new(),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Both ends of a new stream between two hosts, each way with a buffer of `capacity` bytes.
    pub fn connect(&self, hosts: [Host; 2], capacity: usize) -> (End, End) {
        let mut state = self.lock();
        let way = || Way { capacity, ..Way::default() };
        state.pipes.push(Pipe { hosts, ways: [way(), way()], mute: [false; 2], gone: [false; 2] });
        let pipe = state.pipes.len() - 1;
        drop(state);
        let end = |side| End { network: self.clone(), pipe, side };
        (end(0), end(1))
    }

    /// When the next bytes arrive.
    pub fn next(&self) -> Option<Micros> {
        self.lock().due.peek().map(|Reverse((at, ..))| *at)
    }

    /// Time goes on: what arrives until then, arrives.
    pub fn advance(&self, now: Micros) {
        let mut state = self.lock();
        state.now = now;
        let mut wakers = Vec::new();
        while let Some(Reverse((at, _, pipe, side))) = state.due.peek().copied()
            && at <= now
        {
            state.due.pop();
            state.arrive(pipe, side, &mut wakers);
        }
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Nothing arrives on this way until it is opened again; what is written waits.
    pub fn shut(&self, from: Host, to: Host) {
        self.lock().shut.insert((from, to));
    }

    /// Opens a way again.
    pub fn open(&self, from: Host, to: Host) {
        let mut state = self.lock();
        if state.shut.remove(&(from, to)) {
            for pipe in 0..state.pipes.len() {
                for side in 0..2 {
                    let Pipe { hosts, ways, .. } = &state.pipes[pipe];
                    if (hosts[side], hosts[1 - side]) == (from, to) && ways[side].is_under_way() {
                        let delay = state.delay(from, to);
                        state.schedule(pipe, side, delay);
                    }
                }
            }
        }
    }

    /// Whether a new connection comes through.
    pub fn is_open(&self, from: Host, to: Host) -> bool {
        let state = self.lock();
        !state.shut.contains(&(from, to)) && !state.shut.contains(&(to, from))
    }

    /// All ways are open.
    pub fn heal(&self) {
        let all: Vec<_> = {
            let mut state = self.lock();
            state.slow.clear();
            state.shut.iter().copied().collect()
        };
        all.into_iter().for_each(|(from, to)| self.open(from, to));
    }

    /// Both ways between two hosts take so much longer.
    pub fn slow_down(&self, one: Host, other: Host, delay: Micros) {
        self.lock().slow.extend([(one, other, delay), (other, one, delay)]);
    }

    /// Breaks all streams between two hosts: what is under way is lost. True if there was one.
    pub fn cut(&self, one: Host, other: Host) -> bool {
        self.break_all(|hosts| hosts == [one, other] || hosts == [other, one])
    }

    /// A host is gone, and its system says so to all.
    pub fn kill(&self, host: Host) {
        self.break_all(|hosts| hosts.contains(&host));
    }

    /// A host is gone without a word.
    pub fn silence(&self, host: Host) {
        for pipe in &mut self.lock().pipes {
            for side in 0..2 {
                pipe.mute[side] |= pipe.hosts[side] == host;
            }
        }
    }

    /// A host that was gone without a word is up again: it knows nothing of its old streams, and says so.
    pub fn revive(&self, host: Host) {
        let mut state = self.lock();
        let mut wakers = Vec::new();
        for pipe in &mut state.pipes {
            if (0..2).any(|side| pipe.hosts[side] == host && pipe.mute[side]) {
                pipe.reset(&mut wakers);
            }
        }
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Streams of which an end is still held, by their hosts.
    pub fn open_streams(&self) -> Vec<[Host; 2]> {
        self.lock().pipes.iter().filter(|pipe| pipe.gone != [true; 2]).map(|pipe| pipe.hosts).collect()
    }

    fn break_all(&self, which: impl Fn([Host; 2]) -> bool) -> bool {
        let mut state = self.lock();
        let mut wakers = Vec::new();
        let mut any = false;
        for pipe in state.pipes.iter_mut().filter(|pipe| which(pipe.hosts)) {
            any |= pipe.gone == [false; 2] && !pipe.ways[0].reset;
            pipe.reset(&mut wakers);
        }
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        any
    }
}

// === impl State ===

impl State {
    fn delay(&mut self, from: Host, to: Host) -> Micros {
        let slow: Micros = self.slow.iter().filter(|(a, b, _)| (*a, *b) == (from, to)).map(|(_, _, delay)| delay).sum();
        let jitter = if self.random.chance(3) { 20_000 } else { 700 };
        slow + 50 + self.random.next() % jitter
    }

    fn schedule(&mut self, pipe: usize, side: usize, delay: Micros) {
        let at = (self.now + delay).max(self.pipes[pipe].ways[side].last_arrival);
        self.pipes[pipe].ways[side].last_arrival = at;
        self.count += 1;
        self.due.push(Reverse((at, self.count, pipe, side)));
    }

    fn arrive(&mut self, pipe: usize, side: usize, wakers: &mut Vec<Waker>) {
        let Pipe { hosts, ways, mute, gone } = &mut self.pipes[pipe];
        if mute[side] || mute[1 - side] || self.shut.contains(&(hosts[side], hosts[1 - side])) {
            return;
        }
        let way = &mut ways[side];
        if gone[1 - side] {
            // Nobody reads: the writer learns it.
            let pipe = &mut self.pipes[pipe];
            if !pipe.ways[side].reset && pipe.ways[side].flying_bytes > 0 {
                pipe.reset(wakers);
            }
            return;
        }
        while way.flying.front().is_some_and(|(at, _)| *at <= self.now) {
            let Some((_, bytes)) = way.flying.pop_front() else { break };
            way.flying_bytes -= bytes.len();
            way.arrived.extend(bytes);
        }
        way.ended |= way.ending && way.flying.is_empty();
        wakers.extend(way.reader.take());
    }

    fn write(&mut self, pipe: usize, side: usize, cx: &Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let hosts = self.pipes[pipe].hosts;
        let muted = self.pipes[pipe].mute[side];
        let partly = if self.random.chance(5) { 1 + self.random.below(bytes.len().max(1)) } else { usize::MAX };
        let way = &mut self.pipes[pipe].ways[side];
        if way.reset || way.ending {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = way.capacity.saturating_sub(way.flying_bytes + way.arrived.len()).min(partly);
        if room == 0 && !bytes.is_empty() {
            way.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let taken = &bytes[..room.min(bytes.len())];
        if muted {
            return Poll::Ready(Ok(taken.len()));
        }
        way.flying_bytes += taken.len();
        let delay = self.delay(hosts[side], hosts[1 - side]);
        self.schedule(pipe, side, delay);
        let way = &mut self.pipes[pipe].ways[side];
        way.flying.push_back((way.last_arrival, taken.to_vec()));
        Poll::Ready(Ok(taken.len()))
    }
}

// === impl Pipe ===

impl Pipe {
    fn reset(&mut self, wakers: &mut Vec<Waker>) {
        for way in &mut self.ways {
            way.reset = true;
            way.flying.clear();
            way.flying_bytes = 0;
            wakers.extend(way.reader.take());
            wakers.extend(way.writer.take());
        }
    }
}

// === impl Way ===

impl Way {
    fn is_under_way(&self) -> bool {
        !self.flying.is_empty() || (self.ending && !self.ended)
    }
}

// === impl End ===

impl End {
    /// Ends the stream from this side, behind what was written.
    fn finish(&self) {
        let mut state = self.network.lock();
        let hosts = state.pipes[self.pipe].hosts;
        let way = &mut state.pipes[self.pipe].ways[self.side];
        if !way.ending && !way.reset {
            way.ending = true;
            let delay = state.delay(hosts[self.side], hosts[1 - self.side]);
            state.schedule(self.pipe, self.side, delay);
        }
    }

    /// Breaks the stream at both ends, as a client does that is killed.
    pub fn tear(&self) {
        let mut state = self.network.lock();
        let mut wakers = Vec::new();
        state.pipes[self.pipe].reset(&mut wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Whether it was broken.
    pub fn is_torn(&self) -> bool {
        self.network.lock().pipes[self.pipe].ways[0].reset
    }

    /// From now on nothing of this end is heard.
    pub fn vanish(&self) {
        self.network.lock().pipes[self.pipe].mute[self.side] = true;
    }
}

impl Simulated for End {}

impl AsyncRead for End {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.network.lock();
        let way = &mut state.pipes[self.pipe].ways[1 - self.side];
        if way.reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if way.arrived.is_empty() {
            if way.ended {
                return Poll::Ready(Ok(()));
            }
            way.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = buf.remaining().min(way.arrived.len());
        let (first, second) = way.arrived.as_slices();
        let head = count.min(first.len());
        buf.put_slice(&first[..head]);
        buf.put_slice(&second[..count - head]);
        way.arrived.drain(..count);
        let writer = way.writer.take();
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for End {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.network.lock().write(self.pipe, self.side, cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finish();
        Poll::Ready(Ok(()))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let torn = {
            let mut state = self.network.lock();
            let pipe = &mut state.pipes[self.pipe];
            pipe.gone[self.side] = true;
            // Unread bytes tear away what was said last.
            !pipe.mute[self.side] && !pipe.ways[1 - self.side].arrived.is_empty()
        };
        if torn {
            self.tear();
        } else {
            self.finish();
        }
    }
}
