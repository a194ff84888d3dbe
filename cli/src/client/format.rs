//! How `tombolo sub` prints a message: `-v`, `-N` and the sequences of `-F`.

use anyhow::{Result, bail};

use super::connection::Message;

/// A part of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    Byte(u8),
    Payload,
    PayloadHex { upper: bool },
    Length,
    Topic,
    Qos,
    Retain,
    PacketId,
    ContentType,
    ResponseTopic,
    Expiry,
    UserProperties,
    UnixSeconds,
}

/// How each message is printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format(Vec<Piece>);

// === impl Format ===

impl Format {
    /// The payload, with `verbose` after topic and blank; then a line end unless `bare`.
    pub fn plain(verbose: bool, bare: bool) -> Self {
        let mut pieces = if verbose { vec![Piece::Topic, Piece::Byte(b' ')] } else { Vec::new() };
        pieces.push(Piece::Payload);
        if !bare {
            pieces.push(Piece::Byte(b'\n'));
        }
        Self(pieces)
    }

    /// Reads the text of `-F`; a line end follows unless `bare`.
    ///
    /// # Errors
    /// A sequence that is not known.
    pub fn parse(text: &str, bare: bool) -> Result<Self> {
        let mut pieces = Vec::new();
        let mut bytes = text.bytes();
        while let Some(byte) = bytes.next() {
            pieces.push(match byte {
                b'%' => match bytes.next() {
                    Some(b'%') => Piece::Byte(b'%'),
                    Some(b'p') => Piece::Payload,
                    Some(b'x') => Piece::PayloadHex { upper: false },
                    Some(b'X') => Piece::PayloadHex { upper: true },
                    Some(b'l') => Piece::Length,
                    Some(b't') => Piece::Topic,
                    Some(b'q') => Piece::Qos,
                    Some(b'r') => Piece::Retain,
                    Some(b'm') => Piece::PacketId,
                    Some(b'C') => Piece::ContentType,
                    Some(b'R') => Piece::ResponseTopic,
                    Some(b'E') => Piece::Expiry,
                    Some(b'P') => Piece::UserProperties,
                    Some(b'U') => Piece::UnixSeconds,
                    other => bail!(
                        "`%{}` in -F is not known; there are %p %x %X %l %t %q %r %m %C %R %E %P %U %%",
                        other.map(char::from).unwrap_or_default()
                    ),
                },
                b'\\' => Piece::Byte(match bytes.next() {
                    Some(b'n') => b'\n',
                    Some(b't') => b'\t',
                    Some(b'r') => b'\r',
                    Some(b'0') => 0,
                    Some(b'\\') => b'\\',
                    other => {
                        let other = other.map(char::from).unwrap_or_default();
                        bail!("`\\{other}` in -F is not known; there are \\n \\t \\r \\0 \\\\")
                    }
                }),
                byte => Piece::Byte(byte),
            });
        }
        if !bare {
            pieces.push(Piece::Byte(b'\n'));
        }
        Ok(Self(pieces))
    }

    /// A message as it is printed; `unix_seconds` is the time it came.
    pub fn apply(&self, message: &Message, unix_seconds: u64) -> Vec<u8> {
        let mut line = Vec::new();
        for piece in &self.0 {
            match piece {
                Piece::Byte(byte) => line.push(*byte),
                Piece::Payload => line.extend_from_slice(&message.payload),
                Piece::PayloadHex { upper } => {
                    for byte in &message.payload {
                        let hex = if *upper { format!("{byte:02X}") } else { format!("{byte:02x}") };
                        line.extend_from_slice(hex.as_bytes());
                    }
                }
                Piece::Length => line.extend_from_slice(message.payload.len().to_string().as_bytes()),
                Piece::Topic => line.extend_from_slice(message.topic.as_bytes()),
                Piece::Qos => line.push(b'0' + message.qos),
                Piece::Retain => line.push(b'0' + u8::from(message.retain)),
                Piece::PacketId => line.extend_from_slice(message.packet_id.to_string().as_bytes()),
                Piece::ContentType => line.extend_from_slice(message.content_type.as_deref().unwrap_or("").as_bytes()),
                Piece::ResponseTopic => {
                    line.extend_from_slice(message.response_topic.as_deref().unwrap_or("").as_bytes());
                }
                Piece::Expiry => {
                    line.extend_from_slice(message.expiry.map_or_else(String::new, |n| n.to_string()).as_bytes())
                }
                Piece::UserProperties => {
                    let pairs: Vec<_> =
                        message.user_properties.iter().map(|(key, value)| format!("{key}:{value}")).collect();
                    line.extend_from_slice(pairs.join(" ").as_bytes());
                }
                Piece::UnixSeconds => line.extend_from_slice(unix_seconds.to_string().as_bytes()),
            }
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_made_of_the_pieces_asked_for() {
        let message = Message {
            topic: "plant/7".into(),
            payload: vec![b'h', b'i', 0xff],
            qos: 2,
            retain: true,
            packet_id: 9,
            user_properties: vec![("a".into(), "1".into()), ("b".into(), "2".into())],
            ..Message::default()
        };
        for (format, line) in [
            (Format::plain(false, false), &b"hi\xff\n"[..]),
            (Format::plain(true, true), b"plant/7 hi\xff"),
            (
                Format::parse("%t|%q%r %l %m %x %X%%\\t%P %U", false).expect("known"),
                b"plant/7|21 3 9 6869ff 6869FF%\ta:1 b:2 17\n",
            ),
        ] {
            assert_eq!(format.apply(&message, 17), line, "{format:?}");
        }
        assert!(Format::parse("%z", false).is_err());
        assert!(Format::parse("%", false).is_err());
        assert!(Format::parse("\\q", false).is_err());
    }
}
