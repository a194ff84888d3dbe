//! A publisher, and the closed loop that it runs.

use std::io;
use std::rc::Rc;

use anyhow::{Result, bail};
use tokio::net::TcpStream;

use super::board::{Board, add};
use super::write_all;
use crate::clock::now_ns;
use crate::mqtt::{self, Template};

/// How a publisher's topic changes from message to message.
#[derive(Clone, Copy)]
pub enum TopicKind {
    /// Not at all.
    Fixed,
    /// `w/00000/b00000/t`, both numbers drawn below `n`.
    Wild {
        /// The bound.
        n: u32,
    },
}

/// A publisher's connection and the packet that it patches.
pub struct Publisher {
    /// Its index.
    pub index: usize,
    pub(super) stream: Rc<TcpStream>,
    template: Template,
    kind: TopicKind,
    random: u64,
    next_id: u16,
}

impl Publisher {
    /// A publisher that begins with packet id 1.
    pub fn new(index: usize, stream: TcpStream, template: Template, kind: TopicKind) -> Self {
        let random = 0x9e37_79b9_7f4a_7c15 ^ ((index as u64 + 1) << 20);
        Self { index, stream: Rc::new(stream), template, kind, random, next_id: 1 }
    }

    /// xorshift: cheap, and the same in each run.
    fn draw(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 20) as u32
    }

    /// Appends the message with this sequence and send time.
    pub(super) fn emit(&mut self, out: &mut Vec<u8>, sequence: u32, sent_ns: u64) {
        let at = out.len();
        out.extend_from_slice(&self.template.bytes);
        if let TopicKind::Wild { n } = self.kind {
            let (i, j) = (self.draw() % n, self.draw() % n);
            let topic = at + self.template.topic_at;
            digits(&mut out[topic + 2..topic + 7], i);
            digits(&mut out[topic + 9..topic + 14], j);
        }
        if let Some(p) = self.template.packet_id_at {
            out[at + p..at + p + 2].copy_from_slice(&self.next_id.to_be_bytes());
            self.next_id = self.next_id.checked_add(1).unwrap_or(1);
        }
        let p = at + self.template.payload_at;
        out[p..p + 4].copy_from_slice(&(self.index as u32).to_be_bytes());
        out[p + 4..p + 8].copy_from_slice(&sequence.to_be_bytes());
        out[p + 8..p + 16].copy_from_slice(&sent_ns.to_be_bytes());
    }
}

fn digits(b: &mut [u8], mut v: u32) {
    for d in b.iter_mut().rev() {
        *d = b'0' + (v % 10) as u8;
        v /= 10;
    }
}

/// Reads acknowledgements off a publisher's socket.
pub(super) struct AckReader {
    buffer: Vec<u8>,
    end: usize,
    /// Messages acknowledged to the end.
    pub(super) done: u64,
}

impl AckReader {
    pub(super) fn new() -> Self {
        Self { buffer: vec![0; 16 * 1024], end: 0, done: 0 }
    }

    /// Reads once and appends the PUBRELs to send; true when something was read. Fails when the broker refuses.
    pub(super) fn read(&mut self, s: &TcpStream, out: &mut Vec<u8>) -> Result<bool> {
        match s.try_read(&mut self.buffer[self.end..]) {
            Ok(0) => bail!("broker closed a publisher's connection"),
            Ok(n) => self.end += n,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(e) => return Err(e.into()),
        };
        let mut at = 0;
        while let Some(packet) = mqtt::split(&self.buffer[at..self.end])? {
            let body = &self.buffer[at + packet.body..at + packet.len];
            let refused = body.get(2).filter(|reason| **reason >= 0x80);
            match (packet.first & 0xf0, refused) {
                (mqtt::PUBACK | mqtt::PUBCOMP | mqtt::PUBREC, Some(reason)) => bail!("publish refused: {reason:#x}"),
                (mqtt::PUBACK | mqtt::PUBCOMP, None) => self.done += 1,
                (mqtt::PUBREC, None) => mqtt::ack(out, mqtt::PUBREL, mqtt::u16_at(body, 0)?),
                (mqtt::DISCONNECT, _) => bail!("broker sent DISCONNECT to a publisher: {body:x?}"),
                _ => {}
            }
            at += packet.len;
        }
        self.buffer.copy_within(at..self.end, 0);
        self.end -= at;
        Ok(true)
    }
}

/// Publishes `quota` messages in a closed loop; what goes wrong fails the run.
pub async fn run_publisher(board: Rc<Board>, mut publisher: Publisher, quota: u64) {
    if let Err(e) = closed_loop(&board, &mut publisher, quota).await {
        board.fail(format!("publisher {}: {e:#}", publisher.index));
    }
}

async fn closed_loop(board: &Board, p: &mut Publisher, quota: u64) -> Result<()> {
    let i = p.index;
    let fan = board.fan[i];
    let window = board.window;
    let mut out: Vec<u8> = Vec::with_capacity(64 * 1024);
    let mut acks = AckReader::new();
    let mut sent = 0u64;
    let s = p.stream.clone();
    loop {
        if board.qos > 0 {
            while acks.read(&s, &mut out)? {}
            board.acknowledged(i, acks.done);
        }
        let left = quota - sent;
        let mut open = sent - board.delivered[i].get().checked_div(fan).unwrap_or(sent);
        if board.qos > 0 {
            open = open.max(sent - acks.done);
        }
        let n = window.saturating_sub(open).min(left);
        // Half a window at least, so that a message in time does not become a write each.
        if n > 0 && (n == left || n * 2 >= window) {
            let now = now_ns();
            let mut k = 0;
            while k < n {
                let m = (n - k).min(board.batch);
                for _ in 0..m {
                    p.emit(&mut out, sent as u32, now);
                    sent += 1;
                }
                k += m;
                board.sent[i].set(sent);
                add(&board.total_sent, m);
                write_all(&s, &out).await?;
                out.clear();
            }
            continue;
        }
        if !out.is_empty() {
            write_all(&s, &out).await?;
            out.clear();
            continue;
        }
        if left == 0 && (board.qos == 0 || acks.done >= quota) {
            return Ok(());
        }
        if board.qos > 0 {
            tokio::select! {
                () = board.wake[i].notified() => {}
                r = s.readable() => r?,
            }
        } else {
            board.wake[i].notified().await;
        }
    }
}
