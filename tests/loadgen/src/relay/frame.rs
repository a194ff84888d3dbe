//! The little that a relay must know of a packet.

use anyhow::{Context, Result};

use crate::mqtt::{self, Packet};

/// Who a CONNECT comes from.
pub struct Member {
    /// It receives what its group publishes.
    pub receives: bool,
    /// The group.
    pub group: u32,
    /// It is the far end of a link: what comes in is (group, frame).
    pub link: bool,
    /// The CONNACK for it.
    pub connack: &'static [u8],
}

/// Reads the variable header and payload of a CONNECT.
pub fn member(body: &[u8]) -> Result<Member> {
    // 2 + 4 bytes `MQTT`, level, flags, keep alive, properties in MQTT 5, client id.
    let level = *body.get(6).context("a CONNECT without a level")?;
    let properties = if level == 5 { 1 + *body.get(10).context("a CONNECT without properties")? as usize } else { 0 };
    let at = 10 + properties;
    let end = at + 2 + mqtt::u16_at(body, at)? as usize;
    let id = std::str::from_utf8(body.get(at + 2..end).context("a CONNECT without a client id")?)?;
    let mut parts = id.split('.').skip(2);
    let role = parts.next().context("a client id that is not lg.NONCE.ROLE.GROUP.N")?;
    let group = parts.next().context("a client id without a group")?.parse()?;
    let connack: &[u8] = if level == 5 { &[0x20, 3, 0, 0, 0] } else { &[0x20, 2, 0, 0] };
    Ok(Member { receives: role == "s", group, link: role == "l", connack })
}

/// The SUBACK that grants QoS 0 to each filter of a SUBSCRIBE's body.
pub fn suback(body: &[u8]) -> Result<Vec<u8>> {
    let (mut at, mut filters) = (2, 0);
    while at < body.len() {
        at += 3 + mqtt::u16_at(body, at)? as usize;
        filters += 1;
    }
    let mut v = vec![mqtt::SUBACK];
    mqtt::put_varint(&mut v, 2 + filters);
    v.extend_from_slice(body.get(..2).context("a SUBSCRIBE without a packet id")?);
    v.resize(v.len() + filters, 0);
    Ok(v)
}

/// Splits (group, frame) off the front of what came over a link: the group, and the packet with positions in `b`.
#[inline]
pub fn split_link(b: &[u8]) -> Result<Option<(u32, Packet)>> {
    let Some((group, frame)) = b.split_first_chunk::<4>() else { return Ok(None) };
    let packet = mqtt::split(frame)?;
    Ok(packet.map(|p| (u32::from_be_bytes(*group), p)))
}

/// Where the packet id of the PUBLISH `frame` lies.
#[inline]
pub fn packet_id_at(frame: &[u8], body: usize) -> Result<usize> {
    let at = body + 2 + mqtt::u16_at(frame, body)? as usize;
    mqtt::u16_at(frame, at)?;
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_id_tells_role_and_group() {
        for level in [4, 5] {
            let connect = mqtt::Connect { level, client_id: "lg.ab.s.7.1", receive_max: Some(9), ..Default::default() };
            let packet = mqtt::connect(&connect);
            let m = member(&packet[2..]).expect("valid");
            assert!(m.receives && m.group == 7 && !m.link);
        }
        assert!(member(b"\0\x04MQTT").is_err());
    }

    #[test]
    fn a_suback_has_a_code_for_each_filter() {
        let packet = mqtt::subscribe(4, 9, &["a".into(), "b/c".into()], 1);
        assert_eq!(suback(&packet[2..]).expect("valid"), [0x90, 4, 0, 9, 0, 0]);
    }
}
