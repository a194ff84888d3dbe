//! The open loop: so many messages a second in all, one write each, round robin over the publishers.

use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::board::{Board, add};
use super::publisher::{AckReader, Publisher};
use super::write_all;
use crate::clock::now_ns;

/// How long the sockets outlive the last publish, for what is still to come.
const LINGER_NS: u64 = 10_000_000_000;

/// Publishes `count` messages at `rate` a second; what goes wrong fails the run.
pub async fn run_paced(board: Rc<Board>, publishers: Vec<Publisher>, rate: f64, count: u64) {
    if let Err(e) = open_loop(&board, publishers, rate, count).await {
        board.fail(format!("{e:#}"));
    }
}

async fn acknowledgements(board: Rc<Board>, stream: Rc<tokio::net::TcpStream>, i: usize) {
    let mut acks = AckReader::new();
    let mut out = Vec::new();
    loop {
        if stream.readable().await.is_err() {
            return;
        }
        if let Err(e) = acks.read(&stream, &mut out) {
            return board.fail(format!("publisher {i}: {e:#}"));
        }
        board.acknowledged(i, acks.done);
        if !out.is_empty() {
            if write_all(&stream, &out).await.is_err() {
                return;
            }
            out.clear();
        }
    }
}

async fn open_loop(board: &Rc<Board>, mut publishers: Vec<Publisher>, rate: f64, count: u64) -> Result<()> {
    if board.qos > 0 {
        for p in &publishers {
            tokio::task::spawn_local(acknowledgements(board.clone(), p.stream.clone(), p.index));
        }
    }
    let start = now_ns();
    let mut tick = interval(Duration::from_millis(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut sent = 0u64;
    let n = publishers.len() as u64;
    let mut out = Vec::with_capacity(4096);
    while sent < count {
        tick.tick().await;
        if board.failed.borrow().is_some() {
            return Ok(());
        }
        let due = (((now_ns() - start) as f64 / 1e9 * rate) as u64).min(count);
        let lag = (due.saturating_sub(sent) as f64 / rate * 1e9) as u64;
        board.lag_ns.set(board.lag_ns.get().max(lag));
        while sent < due {
            let p = &mut publishers[(sent % n) as usize];
            out.clear();
            let sequence = board.sent[p.index].get();
            p.emit(&mut out, sequence as u32, now_ns());
            add(&board.sent[p.index], 1);
            sent += 1;
            board.total_sent.set(sent);
            write_all(&p.stream, &out).await?;
        }
    }
    let until = now_ns() + LINGER_NS;
    let wanted: u64 = board.fan.iter().zip(&board.sent).map(|(fan, sent)| fan * sent.get()).sum();
    let unfinished = || board.total_delivered.get() < wanted || (board.qos > 0 && board.total_acked.get() < sent);
    while now_ns() < until && unfinished() {
        sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}
