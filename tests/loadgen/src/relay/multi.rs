//! The relays on tokio's `multi_thread` runtime: a receiver is a locked buffer or a channel, with a writer task.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, RwLock, Weak};

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};

use super::frame;
use crate::mqtt;

const UNPOISONED: &str = "nothing panics under this lock";

/// Bytes of a connection's read buffer; a packet must fit.
const BUFFER: usize = 64 * 1024;

enum Receiver {
    Buffer { pending: Mutex<Pending>, wake: Notify },
    Channel(mpsc::UnboundedSender<Arc<[u8]>>),
}

struct Pending {
    bytes: Vec<u8>,
    next_id: u16,
    closed: bool,
}

type Groups = Arc<RwLock<HashMap<u32, Vec<Arc<Receiver>>>>>;

/// Serves 127.0.0.1:`port` with this many threads; `channel`: the common design instead of locked buffers.
pub fn run(port: u16, acks: bool, channel: bool, threads: usize) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    runtime.block_on(async move { tokio::spawn(serve(port, acks, channel)).await? })
}

async fn serve(port: u16, acks: bool, channel: bool) -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.context("the relay cannot listen")?;
    let groups = Groups::default();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let groups = groups.clone();
        tokio::spawn(async move {
            let (mut group, mut me) = (None, None);
            // Whatever ends a connection, only this connection ends.
            let _ = relay(stream, &groups, acks, channel, &mut group, &mut me).await;
            leave(&groups, group, me);
        });
    }
}

fn leave(groups: &Groups, group: Option<u32>, me: Option<Arc<Receiver>>) {
    let Some(me) = me else { return };
    if let Some(group) = group
        && let Some(members) = groups.write().expect(UNPOISONED).get_mut(&group)
    {
        members.retain(|m| !Arc::ptr_eq(m, &me));
    }
    if let Receiver::Buffer { pending, wake } = &*me {
        pending.lock().expect(UNPOISONED).closed = true;
        wake.notify_one();
    }
}

impl Receiver {
    fn start(writer: OwnedWriteHalf, channel: bool) -> Arc<Self> {
        if channel {
            #[allow(
                clippy::disallowed_methods,
                reason = "the common design has no bound; its cost is what is measured"
            )]
            let (sender, queue) = mpsc::unbounded_channel();
            tokio::spawn(write_channel(queue, writer));
            return Arc::new(Self::Channel(sender));
        }
        let pending = Mutex::new(Pending { bytes: Vec::new(), next_id: 1, closed: false });
        let me = Arc::new(Self::Buffer { pending, wake: Notify::new() });
        tokio::spawn(write_buffer(Arc::downgrade(&me), writer));
        me
    }

    #[inline]
    fn push(&self, packet: &[u8], shared: &mut Option<Arc<[u8]>>, id_at: Option<usize>) {
        match self {
            Self::Buffer { pending, wake } => {
                let mut pending = pending.lock().expect(UNPOISONED);
                let start = pending.bytes.len();
                pending.bytes.extend_from_slice(packet);
                if let Some(at) = id_at {
                    let id = pending.next_id;
                    pending.bytes[start + at..start + at + 2].copy_from_slice(&id.to_be_bytes());
                    pending.next_id = id.checked_add(1).unwrap_or(1);
                }
                drop(pending);
                if start == 0 {
                    wake.notify_one();
                }
            }
            Self::Channel(sender) => {
                let message = shared.get_or_insert_with(|| Arc::from(packet)).clone();
                // The receiver has gone; so has this message.
                let _ = sender.send(message);
            }
        }
    }
}

async fn write_channel(mut queue: mpsc::UnboundedReceiver<Arc<[u8]>>, mut writer: OwnedWriteHalf) {
    let mut messages = Vec::with_capacity(256);
    let mut out = Vec::with_capacity(16 * 1024);
    while queue.recv_many(&mut messages, 256).await > 0 {
        out.clear();
        for m in messages.drain(..) {
            out.extend_from_slice(&m);
        }
        if writer.write_all(&out).await.is_err() {
            return;
        }
    }
}

async fn write_buffer(receiver: Weak<Receiver>, mut writer: OwnedWriteHalf) {
    let mut out: Vec<u8> = Vec::new();
    loop {
        let Some(me) = receiver.upgrade() else { return };
        let Receiver::Buffer { pending, wake } = &*me else { return };
        let closed = {
            let mut pending = pending.lock().expect(UNPOISONED);
            std::mem::swap(&mut pending.bytes, &mut out);
            pending.closed
        };
        if out.is_empty() {
            if closed {
                return;
            }
            wake.notified().await;
            continue;
        }
        if writer.write_all(&out).await.is_err() {
            return;
        }
        out.clear();
    }
}

async fn relay(
    stream: TcpStream,
    groups: &Groups,
    acks: bool,
    channel: bool,
    my_group: &mut Option<u32>,
    my_receiver: &mut Option<Arc<Receiver>>,
) -> Result<()> {
    let (mut reader, writer) = stream.into_split();
    let me = Receiver::start(writer, channel);
    *my_receiver = Some(me.clone());
    let mut buffer = vec![0u8; BUFFER];
    let mut end = 0;
    let mut peers: Vec<Arc<Receiver>> = Vec::new();
    loop {
        ensure!(end < buffer.len(), "a packet larger than the buffer");
        match reader.read(&mut buffer[end..]).await? {
            0 => return Ok(()),
            n => end += n,
        }
        let mut at = 0;
        while let Some(packet) = mqtt::split(&buffer[at..end])? {
            let whole = &buffer[at..at + packet.len];
            let body = &whole[packet.body..];
            match packet.first & 0xf0 {
                mqtt::PUBLISH => {
                    if peers.is_empty()
                        && let Some(group) = my_group
                    {
                        peers = groups.read().expect(UNPOISONED).get(group).cloned().unwrap_or_default();
                    }
                    let id_at =
                        if packet.first & 6 != 0 { Some(frame::packet_id_at(whole, packet.body)?) } else { None };
                    let mut shared = None;
                    for peer in &peers {
                        peer.push(whole, &mut shared, id_at);
                    }
                    if let (true, Some(p)) = (acks, id_at) {
                        me.push(&[mqtt::PUBACK, 2, whole[p], whole[p + 1]], &mut None, None);
                    }
                }
                mqtt::CONNECT => {
                    let member = frame::member(body)?;
                    *my_group = Some(member.group);
                    me.push(member.connack, &mut None, None);
                    if member.receives {
                        groups.write().expect(UNPOISONED).entry(member.group).or_default().push(me.clone());
                    }
                }
                0x80 => me.push(&frame::suback(body)?, &mut None, None),
                _ => {}
            }
            at += packet.len;
        }
        buffer.copy_within(at..end, 0);
        end -= at;
    }
}
