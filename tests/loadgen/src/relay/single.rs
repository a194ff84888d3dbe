//! The relay on tokio's `current_thread` runtime, output flushed once per scheduler round.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use anyhow::{Context, Result};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpListener;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;

use super::frame;
use crate::mqtt;

/// Bytes of a read; a packet must fit.
const BUFFER: usize = 256 * 1024;

type Group = Vec<Rc<Connection>>;

struct Connection {
    writer: OwnedWriteHalf,
    out: RefCell<Vec<u8>>,
    dirty: Cell<bool>,
    blocked: Cell<bool>,
    next_id: Cell<u16>,
}

struct Hub {
    groups: RefCell<HashMap<u32, Group>>,
    dirty: RefCell<Vec<Rc<Connection>>>,
    wake: Notify,
    acks: bool,
}

/// Serves 127.0.0.1:`port`.
pub fn run(port: u16, acks: bool) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, serve(port, acks))
}

async fn serve(port: u16, acks: bool) -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.context("the relay cannot listen")?;
    let (groups, dirty) = (RefCell::default(), RefCell::default());
    let hub = Rc::new(Hub { groups, dirty, wake: Notify::new(), acks });
    tokio::task::spawn_local(flusher(hub.clone()));
    let buffer = Rc::new(RefCell::new(vec![0u8; BUFFER]));
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (reader, writer) = stream.into_split();
        let (dirty, blocked, next_id) = (Cell::new(false), Cell::new(false), Cell::new(1));
        let connection = Rc::new(Connection { writer, out: RefCell::default(), dirty, blocked, next_id });
        let (hub, buffer) = (hub.clone(), buffer.clone());
        tokio::task::spawn_local(async move {
            let mut group = None;
            // Whatever ends a connection, only this connection ends.
            let _ = relay(&hub, &connection, reader, &buffer, &mut group).await;
            if let Some(group) = group
                && let Some(members) = hub.groups.borrow_mut().get_mut(&group)
            {
                members.retain(|m| !Rc::ptr_eq(m, &connection));
            }
        });
    }
}

async fn flusher(hub: Rc<Hub>) {
    loop {
        hub.wake.notified().await;
        // Every other ready task runs first, so that one write carries what they all added.
        tokio::task::yield_now().await;
        let dirty = std::mem::take(&mut *hub.dirty.borrow_mut());
        for c in dirty {
            flush_or_wait(c);
        }
    }
}

fn mark(hub: &Hub, c: &Rc<Connection>) {
    if !c.dirty.get() {
        c.dirty.set(true);
        let mut dirty = hub.dirty.borrow_mut();
        if dirty.is_empty() {
            hub.wake.notify_one();
        }
        dirty.push(c.clone());
    }
}

/// False: the socket is full.
fn flush(c: &Connection) -> bool {
    let mut out = c.out.borrow_mut();
    let mut at = 0;
    while at < out.len() {
        match c.writer.try_write(&out[at..]) {
            Ok(n) => at += n,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                out.drain(..at);
                return false;
            }
            Err(_) => break,
        }
    }
    out.clear();
    true
}

fn flush_or_wait(c: Rc<Connection>) {
    c.dirty.set(false);
    if c.blocked.get() || flush(&c) {
        return;
    }
    c.blocked.set(true);
    tokio::task::spawn_local(async move {
        loop {
            if c.writer.writable().await.is_err() || flush(&c) {
                break;
            }
        }
        c.blocked.set(false);
    });
}

async fn relay(
    hub: &Rc<Hub>,
    me: &Rc<Connection>,
    mut reader: OwnedReadHalf,
    buffer: &RefCell<Vec<u8>>,
    my_group: &mut Option<u32>,
) -> Result<()> {
    let mut head: Vec<u8> = Vec::new();
    let mut group: Group = Vec::new();
    loop {
        let before = head.len();
        // poll_read, not readable() and try_read(): a short read then clears readiness without a second recv.
        let read = poll_fn(|cx| {
            let mut b = buffer.borrow_mut();
            b[..before].copy_from_slice(&head);
            let mut read = ReadBuf::new(&mut b[before..]);
            match Pin::new(&mut reader).poll_read(cx, &mut read) {
                Poll::Ready(Ok(())) => Poll::Ready(read.filled().len()),
                Poll::Ready(Err(_)) => Poll::Ready(0),
                Poll::Pending => Poll::Pending,
            }
        })
        .await;
        if read == 0 {
            return Ok(());
        }
        let b = buffer.borrow();
        head.clear();
        let end = before + read;
        let mut at = 0;
        while let Some(packet) = mqtt::split(&b[at..end])? {
            let whole = &b[at..at + packet.len];
            match packet.first & 0xf0 {
                mqtt::PUBLISH => {
                    if group.is_empty()
                        && let Some(found) = my_group.and_then(|g| hub.groups.borrow().get(&g).cloned())
                    {
                        group = found;
                    }
                    publish(hub, me, &group, whole, packet.body)?;
                }
                mqtt::CONNECT => {
                    let member = frame::member(&whole[packet.body..])?;
                    *my_group = Some(member.group);
                    answer(hub, me, member.connack);
                    if member.receives {
                        hub.groups.borrow_mut().entry(member.group).or_default().push(me.clone());
                    }
                }
                0x80 => answer(hub, me, &frame::suback(&whole[packet.body..])?),
                _ => {}
            }
            at += packet.len;
        }
        head.extend_from_slice(&b[at..end]);
    }
}

#[inline]
fn publish(hub: &Hub, me: &Rc<Connection>, group: &Group, whole: &[u8], body: usize) -> Result<()> {
    let id_at = if whole[0] & 6 != 0 { Some(frame::packet_id_at(whole, body)?) } else { None };
    for receiver in group {
        let mut out = receiver.out.borrow_mut();
        let start = out.len();
        out.extend_from_slice(whole);
        if let Some(at) = id_at {
            let id = receiver.next_id.get();
            out[start + at..start + at + 2].copy_from_slice(&id.to_be_bytes());
            receiver.next_id.set(id.checked_add(1).unwrap_or(1));
        }
        drop(out);
        mark(hub, receiver);
    }
    if let (true, Some(at)) = (hub.acks, id_at) {
        mqtt::ack(&mut me.out.borrow_mut(), mqtt::PUBACK, u16::from_be_bytes([whole[at], whole[at + 1]]));
        mark(hub, me);
    }
    Ok(())
}

fn answer(hub: &Hub, me: &Rc<Connection>, packet: &[u8]) {
    me.out.borrow_mut().extend_from_slice(packet);
    mark(hub, me);
}
