//! The relay on raw epoll: one thread, output buffers flushed once per epoll round, or at once.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};

use super::frame;
use crate::mqtt;

/// Bytes of a read; a packet must fit.
const BUFFER: usize = 256 * 1024;

struct Connection {
    stream: TcpStream,
    /// The beginning of a packet whose rest has not come.
    head: Vec<u8>,
    out: Vec<u8>,
    group: u32,
    dirty: bool,
    blocked: bool,
    next_id: u16,
    link: bool,
}

struct Relay {
    epoll: OwnedFd,
    /// By file descriptor.
    connections: Vec<Option<Box<Connection>>>,
    /// By group: the file descriptors of its receivers.
    groups: Vec<Vec<usize>>,
    dirty: Vec<usize>,
    /// The connection to the far relay.
    link: Option<usize>,
    now: bool,
    acks: bool,
}

/// Serves 127.0.0.1:`port`; with `now` each message is written at once; `link` is a relay that gets all publishes too.
pub fn run(port: u16, now: bool, acks: bool, link: Option<SocketAddr>) -> Result<()> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))).context("the relay cannot listen")?;
    listener.set_nonblocking(true)?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, EventData::new_u64(u64::MAX), EventFlags::IN)?;
    let (connections, groups, dirty) = (Vec::new(), Vec::new(), Vec::new());
    let mut relay = Relay { epoll, connections, groups, dirty, link: None, now, acks };
    if let Some(addr) = link {
        relay.dial(addr)?;
    }
    let mut events = Vec::with_capacity(1024);
    let mut buffer = vec![0u8; BUFFER];
    loop {
        match epoll::wait(&relay.epoll, spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        for event in events.drain(..) {
            if event.data.u64() == u64::MAX {
                while let Ok((stream, _)) = listener.accept() {
                    relay.add(stream)?;
                }
                continue;
            }
            let me = event.data.u64() as usize;
            let flags = event.flags;
            if flags.contains(EventFlags::OUT) {
                relay.unblock(me)?;
            }
            if !flags.difference(EventFlags::OUT).is_empty() && relay.readable(me, &mut buffer).is_err() {
                relay.remove(me);
            }
        }
        relay.flush_dirty()?;
    }
}

/// Writes what a connection holds; false when the socket took only a part.
fn flush(c: &mut Connection) -> bool {
    let mut at = 0;
    while at < c.out.len() {
        match (&c.stream).write(&c.out[at..]) {
            Ok(n) if n > 0 => at += n,
            Ok(_) | Err(_) => break,
        }
    }
    if at == c.out.len() {
        c.out.clear();
        true
    } else {
        c.out.drain(..at);
        false
    }
}

impl Relay {
    fn dial(&mut self, addr: SocketAddr) -> Result<()> {
        let mut stream = TcpStream::connect(addr).with_context(|| format!("no relay at {addr}: start it first"))?;
        stream.write_all(&mqtt::connect(&mqtt::Connect { level: 4, client_id: "lg.x.l.0.0", ..Default::default() }))?;
        let me = self.add(stream)?;
        self.link = Some(me);
        if let Some(c) = &mut self.connections[me] {
            c.group = u32::MAX;
        }
        Ok(())
    }

    fn add(&mut self, stream: TcpStream) -> Result<usize> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let me = stream.as_raw_fd() as usize;
        epoll::add(&self.epoll, &stream, EventData::new_u64(me as u64), EventFlags::IN)?;
        if self.connections.len() <= me {
            self.connections.resize_with(me + 1, || None);
        }
        let (head, out) = (Vec::new(), Vec::new());
        let c = Connection { stream, head, out, group: 0, dirty: false, blocked: false, next_id: 1, link: false };
        self.connections[me] = Some(Box::new(c));
        Ok(me)
    }

    fn remove(&mut self, me: usize) {
        let Some(c) = self.connections[me].take() else { return };
        if let Some(members) = self.groups.get_mut(c.group as usize) {
            members.retain(|m| *m != me);
        }
        // Closing the socket takes it out of epoll.
    }

    fn unblock(&mut self, me: usize) -> io::Result<()> {
        if let Some(c) = &mut self.connections[me]
            && flush(c)
        {
            c.blocked = false;
            epoll::modify(&self.epoll, &c.stream, EventData::new_u64(me as u64), EventFlags::IN)?;
        }
        Ok(())
    }

    /// Flushes, and waits for room when the socket is full.
    fn flush_or_block(epoll: &OwnedFd, me: usize, c: &mut Connection) -> io::Result<()> {
        if !c.blocked && !flush(c) {
            c.blocked = true;
            epoll::modify(epoll, &c.stream, EventData::new_u64(me as u64), EventFlags::IN | EventFlags::OUT)?;
        }
        Ok(())
    }

    fn flush_dirty(&mut self) -> io::Result<()> {
        for me in self.dirty.drain(..) {
            if let Some(c) = &mut self.connections[me] {
                c.dirty = false;
                Self::flush_or_block(&self.epoll, me, c)?;
            }
        }
        Ok(())
    }

    /// Reads once and relays each whole packet. An error means that the connection is to be closed.
    fn readable(&mut self, me: usize, buffer: &mut [u8]) -> Result<()> {
        let Some(c) = &mut self.connections[me] else { return Ok(()) };
        let before = c.head.len();
        buffer.get_mut(..before).context("a packet larger than the buffer")?.copy_from_slice(&c.head);
        let read = match (&c.stream).read(&mut buffer[before..]) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Ok(0) => anyhow::bail!("closed"),
            other => other?,
        };
        c.head.clear();
        let end = before + read;
        let mut at = 0;
        loop {
            let Some(c) = &self.connections[me] else { return Ok(()) };
            let rest = &buffer[at..end];
            let (group, packet, skip) = if c.link {
                let Some((group, packet)) = frame::split_link(rest)? else { break };
                (group as usize, packet, 4)
            } else {
                let Some(packet) = mqtt::split(rest)? else { break };
                (c.group as usize, packet, 0)
            };
            let whole = &rest[skip..skip + packet.len];
            match packet.first & 0xf0 {
                mqtt::PUBLISH => self.publish(me, group, whole, packet.body)?,
                mqtt::CONNECT => self.connect(me, &whole[packet.body..])?,
                0x80 => self.answer(me, &frame::suback(&whole[packet.body..])?),
                _ => {}
            }
            at += skip + packet.len;
        }
        if at < end
            && let Some(c) = &mut self.connections[me]
        {
            c.head.extend_from_slice(&buffer[at..end]);
        }
        Ok(())
    }

    #[inline]
    fn publish(&mut self, me: usize, group: usize, whole: &[u8], body: usize) -> Result<()> {
        let id_at = if whole[0] & 6 != 0 { Some(frame::packet_id_at(whole, body)?) } else { None };
        if let Some(far) = self.link
            && let Some(c) = &mut self.connections[far]
        {
            c.out.extend_from_slice(&(group as u32).to_be_bytes());
            c.out.extend_from_slice(whole);
            mark(&mut self.dirty, far, c);
        }
        for &receiver in self.groups.get(group).map_or(&[][..], |g| g) {
            let Some(c) = &mut self.connections[receiver] else { continue };
            let start = c.out.len();
            c.out.extend_from_slice(whole);
            if let Some(id_at) = id_at {
                c.out[start + id_at..start + id_at + 2].copy_from_slice(&c.next_id.to_be_bytes());
                c.next_id = c.next_id.checked_add(1).unwrap_or(1);
            }
            if self.now && !c.blocked {
                Self::flush_or_block(&self.epoll, receiver, c)?;
            } else {
                mark(&mut self.dirty, receiver, c);
            }
        }
        if let (true, Some(at), Some(c)) = (self.acks, id_at, &mut self.connections[me])
            && !c.link
        {
            mqtt::ack(&mut c.out, mqtt::PUBACK, u16::from_be_bytes([whole[at], whole[at + 1]]));
            if self.now {
                flush(c);
            } else {
                mark(&mut self.dirty, me, c);
            }
        }
        Ok(())
    }

    fn connect(&mut self, me: usize, body: &[u8]) -> Result<()> {
        let member = frame::member(body)?;
        if let Some(c) = &mut self.connections[me] {
            c.link = member.link;
            c.group = member.group;
        }
        self.answer(me, member.connack);
        let group = member.group as usize;
        if member.receives {
            if self.groups.len() <= group {
                self.groups.resize(group + 1, Vec::new());
            }
            self.groups[group].push(me);
        }
        Ok(())
    }

    fn answer(&mut self, me: usize, packet: &[u8]) {
        if let Some(c) = &mut self.connections[me] {
            c.out.extend_from_slice(packet);
            flush(c);
        }
    }
}

#[inline]
fn mark(dirty: &mut Vec<usize>, me: usize, c: &mut Connection) {
    if !c.dirty {
        c.dirty = true;
        dirty.push(me);
    }
}
