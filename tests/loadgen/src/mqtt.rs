//! The few MQTT packets that a load generator needs, for level 4 (3.1.1) and level 5.

use anyhow::{Result, bail};

/// First byte of CONNECT.
pub const CONNECT: u8 = 0x10;
/// First byte of CONNACK.
pub const CONNACK: u8 = 0x20;
/// High half of PUBLISH's first byte.
pub const PUBLISH: u8 = 0x30;
/// First byte of PUBACK.
pub const PUBACK: u8 = 0x40;
/// First byte of PUBREC.
pub const PUBREC: u8 = 0x50;
/// First byte of PUBREL.
pub const PUBREL: u8 = 0x62;
/// First byte of PUBCOMP.
pub const PUBCOMP: u8 = 0x70;
/// First byte of SUBSCRIBE.
pub const SUBSCRIBE: u8 = 0x82;
/// First byte of SUBACK.
pub const SUBACK: u8 = 0x90;
/// First byte of DISCONNECT.
pub const DISCONNECT: u8 = 0xe0;

/// Payload head: publisher index (u32), sequence (u32), send time in ns (u64).
pub const HEAD: usize = 16;

/// Appends a Variable Byte Integer.
pub fn put_varint(out: &mut Vec<u8>, mut v: usize) {
    loop {
        let b = (v & 0x7f) as u8;
        v >>= 7;
        if v == 0 {
            out.push(b);
            return;
        }
        out.push(b | 0x80);
    }
}

fn put_str(out: &mut Vec<u8>, s: &str) {
    out.extend_from_slice(&(s.len() as u16).to_be_bytes());
    out.extend_from_slice(s.as_bytes());
}

fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 5);
    out.push(first);
    put_varint(&mut out, body.len());
    out.extend_from_slice(body);
    out
}

/// What a CONNECT says.
#[derive(Default)]
pub struct Connect<'a> {
    /// 4 or 5.
    pub level: u8,
    /// The client id.
    pub client_id: &'a str,
    /// Seconds.
    pub keep_alive: u16,
    /// User name.
    pub user: Option<&'a str>,
    /// Password.
    pub pass: Option<&'a str>,
    /// Our Receive Maximum, level 5 only.
    pub receive_max: Option<u16>,
}

/// Encodes a CONNECT with a clean start.
pub fn connect(c: &Connect) -> Vec<u8> {
    let mut v = Vec::with_capacity(64);
    put_str(&mut v, "MQTT");
    v.push(c.level);
    let mut flags = 0x02;
    if c.user.is_some() {
        flags |= 0x80;
    }
    if c.pass.is_some() {
        flags |= 0x40;
    }
    v.push(flags);
    v.extend_from_slice(&c.keep_alive.to_be_bytes());
    if c.level == 5 {
        match c.receive_max {
            Some(m) => {
                v.extend_from_slice(&[3, 0x21]);
                v.extend_from_slice(&m.to_be_bytes());
            }
            None => v.push(0),
        }
    }
    put_str(&mut v, c.client_id);
    for field in [c.user, c.pass].into_iter().flatten() {
        put_str(&mut v, field);
    }
    frame(CONNECT, &v)
}

/// Encodes a SUBSCRIBE of all filters at one QoS.
pub fn subscribe(level: u8, packet_id: u16, filters: &[String], qos: u8) -> Vec<u8> {
    let mut v = Vec::with_capacity(16 + filters.iter().map(|f| f.len() + 3).sum::<usize>());
    v.extend_from_slice(&packet_id.to_be_bytes());
    if level == 5 {
        v.push(0);
    }
    for f in filters {
        put_str(&mut v, f);
        v.push(qos);
    }
    frame(SUBSCRIBE, &v)
}

/// Appends a PUBACK, PUBREC, PUBREL or PUBCOMP of two bytes.
pub fn ack(out: &mut Vec<u8>, kind: u8, packet_id: u16) {
    out.extend_from_slice(&[kind, 2, (packet_id >> 8) as u8, packet_id as u8]);
}

/// A PUBLISH encoded once; only topic digits, packet id and payload head change from message to message.
pub struct Template {
    /// The whole packet.
    pub bytes: Vec<u8>,
    /// Where the topic begins.
    pub topic_at: usize,
    /// Where the packet id lies, above QoS 0.
    pub packet_id_at: Option<usize>,
    /// Where the payload begins.
    pub payload_at: usize,
}

/// Encodes the PUBLISH to patch. Fails when the payload is shorter than [`HEAD`].
pub fn template(level: u8, topic: &str, qos: u8, payload: usize) -> Result<Template> {
    if payload < HEAD {
        bail!("a payload of {payload} bytes cannot hold its head; use --payload {HEAD} or more");
    }
    let mut v = Vec::with_capacity(payload + topic.len() + 8);
    put_str(&mut v, topic);
    let packet_id_at = (qos > 0).then_some(v.len());
    if qos > 0 {
        v.extend_from_slice(&[0, 0]);
    }
    if level == 5 {
        v.push(0);
    }
    let payload_at = v.len();
    v.resize(payload_at + payload, b'x');
    let bytes = frame(PUBLISH | (qos << 1), &v);
    let header = bytes.len() - v.len();
    Ok(Template {
        bytes,
        topic_at: header + 2,
        packet_id_at: packet_id_at.map(|p| p + header),
        payload_at: payload_at + header,
    })
}

/// Where a whole packet lies in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Its first byte.
    pub first: u8,
    /// Where the variable header begins.
    pub body: usize,
    /// Length with the fixed header.
    pub len: usize,
}

/// The whole packet at the front of `b`; `None` when more bytes are needed. Fails on a Remaining Length of five bytes.
#[inline]
pub fn split(b: &[u8]) -> Result<Option<Packet>> {
    let Some(&first) = b.first() else { return Ok(None) };
    let (mut len, mut shift, mut at) = (0usize, 0u32, 1usize);
    loop {
        let Some(&c) = b.get(at) else { return Ok(None) };
        len |= ((c & 0x7f) as usize) << shift;
        at += 1;
        if c & 0x80 == 0 {
            break;
        }
        shift += 7;
        if shift > 21 {
            bail!("the Remaining Length of a packet has more than four bytes");
        }
    }
    Ok((b.len() >= at + len).then_some(Packet { first, body: at, len: at + len }))
}

/// Two bytes at `at`. Fails when the packet is shorter.
#[inline]
pub fn u16_at(b: &[u8], at: usize) -> Result<u16> {
    match b.get(at..at + 2) {
        Some(p) => Ok(u16::from_be_bytes([p[0], p[1]])),
        None => bail!("a packet of {} bytes ends before byte {}", b.len(), at + 2),
    }
}

/// QoS, packet id (0 at QoS 0) and start of the payload of the PUBLISH `b`, whose variable header begins at `body`.
#[inline]
pub fn publish_parts(level: u8, b: &[u8], body: usize) -> Result<(u8, u16, usize)> {
    let qos = (b[0] >> 1) & 3;
    let mut at = body + 2 + u16_at(b, body)? as usize;
    let mut packet_id = 0;
    if qos > 0 {
        packet_id = u16_at(b, at)?;
        at += 2;
    }
    if level == 5 {
        let (mut len, mut shift) = (0usize, 0u32);
        loop {
            let Some(&c) = b.get(at) else { bail!("a PUBLISH ends within its property length") };
            at += 1;
            len |= ((c & 0x7f) as usize) << shift;
            shift += 7;
            if c & 0x80 == 0 || shift > 21 {
                break;
            }
        }
        at += len;
    }
    Ok((qos, packet_id, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_split_only_when_whole() {
        let packet = template(5, "t/1", 1, 200).expect("long enough").bytes;
        for cut in 0..packet.len() {
            assert_eq!(split(&packet[..cut]).expect("valid length"), None);
        }
        let whole = split(&packet).expect("valid length").expect("whole");
        assert_eq!((whole.first, whole.len), (0x32, packet.len()));
    }

    #[test]
    fn a_length_of_five_bytes_is_an_error() {
        assert!(split(&[0x30, 0xff, 0xff, 0xff, 0xff, 1]).is_err());
    }

    #[test]
    fn a_template_tells_where_to_patch() {
        for level in [4, 5] {
            for qos in 0..3 {
                let mut t = template(level, "a/b", qos, 20).expect("long enough");
                if let Some(at) = t.packet_id_at {
                    t.bytes[at..at + 2].copy_from_slice(&[1, 2]);
                }
                let p = split(&t.bytes).expect("valid").expect("whole");
                let id = if qos > 0 { 0x0102 } else { 0 };
                assert_eq!(publish_parts(level, &t.bytes, p.body).expect("valid"), (qos, id, t.payload_at));
                assert_eq!(&t.bytes[t.topic_at..t.topic_at + 3], b"a/b");
            }
        }
    }
}
