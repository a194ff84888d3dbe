//! A subscriber: counts, acknowledges, and checks sequences of each publisher.

use std::io;
use std::rc::Rc;

use anyhow::{Context, Result, bail};
use tokio::net::TcpStream;

use super::board::{Board, add};
use super::write_all;
use crate::clock::now_ns;
use crate::mqtt;

/// Receives until the connection ends; what goes wrong fails the run.
pub async fn run_subscriber(board: Rc<Board>, stream: TcpStream) {
    if let Err(e) = receive(&board, stream).await {
        board.fail(format!("subscriber: {e:#}"));
    }
}

/// Sequences seen from each publisher.
struct Sequences {
    next: Vec<u32>,
    missing: Vec<u32>,
}

impl Sequences {
    /// False: it came before.
    fn take(&mut self, board: &Board, publisher: usize, sequence: u32) -> bool {
        let wanted = self.next[publisher];
        if sequence == wanted {
            self.next[publisher] = wanted + 1;
        } else if sequence > wanted {
            add(&board.gaps, u64::from(sequence - wanted));
            self.missing[publisher] += sequence - wanted;
            self.next[publisher] = sequence + 1;
        } else if self.missing[publisher] > 0 {
            self.missing[publisher] -= 1;
            board.gaps.set(board.gaps.get() - 1);
            add(&board.reordered, 1);
        } else {
            add(&board.dups, 1);
            return false;
        }
        true
    }
}

/// The payload head of a message: publisher, sequence, send time.
#[inline]
fn head(frame: &[u8], payload: usize) -> Result<(usize, u32, u64)> {
    let h = frame.get(payload..).and_then(|p| p.first_chunk::<{ mqtt::HEAD }>()).context("a payload without a head")?;
    let u32_at = |i: usize| u32::from_be_bytes([h[i], h[i + 1], h[i + 2], h[i + 3]]);
    let sent_ns = u64::from(u32_at(8)) << 32 | u64::from(u32_at(12));
    Ok((u32_at(0) as usize, u32_at(4), sent_ns))
}

async fn receive(board: &Board, s: TcpStream) -> Result<()> {
    let publishers = board.sent.len();
    let checked = if board.check_order { publishers } else { 0 };
    let mut sequences = Sequences { next: vec![0; checked], missing: vec![0; checked] };
    let mut buffer = vec![0u8; 128 * 1024];
    let mut end = 0;
    let mut out = Vec::new();
    let mut touched: Vec<usize> = Vec::new();
    loop {
        match s.try_read(&mut buffer[end..]) {
            Ok(0) => bail!("broker closed a subscriber's connection"),
            Ok(n) => end += n,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                s.readable().await?;
                continue;
            }
            Err(e) => return Err(e.into()),
        };
        add(&board.sub_reads, 1);
        let record = board.record_latency.get();
        let now = if record { now_ns() } else { 0 };
        let mut at = 0;
        let mut got = 0u64;
        while let Some(packet) = mqtt::split(&buffer[at..end])? {
            let frame = &buffer[at..at + packet.len];
            match packet.first & 0xf0 {
                mqtt::PUBLISH => {
                    let (qos, packet_id, payload) = mqtt::publish_parts(board.level, frame, packet.body)?;
                    let (publisher, sequence, sent_ns) = head(frame, payload)?;
                    // What a publisher of another run sent is acknowledged and not counted.
                    if publisher < publishers {
                        add(&board.dup_flag, u64::from(packet.first & 0x08 != 0));
                        if !board.check_order || sequences.take(board, publisher, sequence) {
                            got += 1;
                            add(&board.delivered[publisher], 1);
                            if touched.last() != Some(&publisher) && !touched.contains(&publisher) {
                                touched.push(publisher);
                            }
                            if record {
                                board.latency.borrow_mut().add(now.saturating_sub(sent_ns));
                            }
                        }
                    }
                    match qos {
                        1 => mqtt::ack(&mut out, mqtt::PUBACK, packet_id),
                        2 => mqtt::ack(&mut out, mqtt::PUBREC, packet_id),
                        _ => {}
                    }
                }
                // The high half of PUBREL.
                0x60 => mqtt::ack(&mut out, mqtt::PUBCOMP, mqtt::u16_at(frame, packet.body)?),
                mqtt::DISCONNECT => bail!("broker sent DISCONNECT to a subscriber: {:x?}", &frame[packet.body..]),
                _ => {}
            }
            at += packet.len;
        }
        if at > 0 {
            buffer.copy_within(at..end, 0);
            end -= at;
        }
        if end == buffer.len() {
            bail!("packet larger than the read buffer");
        }
        add(&board.total_delivered, got);
        if !out.is_empty() {
            write_all(&s, &out).await?;
            out.clear();
        }
        for publisher in touched.drain(..) {
            let fan = board.fan[publisher].max(1);
            let open = board.sent[publisher].get().saturating_sub(board.delivered[publisher].get() / fan);
            if open * 2 <= board.window {
                board.wake[publisher].notify_one();
            }
        }
    }
}
