//! AUTH: a step of an enhanced authentication; MQTT 5.0 only.

use super::{
    Error, Property, Reason, Version,
    frame::{self, Kind},
    properties::{Block, Set},
    wire::Reader,
};

/// An AUTH packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Auth<'a> {
    /// Success, Continue authentication or Re-authenticate.
    pub reason: Reason,
    /// That of the CONNECT; absent only in the short form.
    pub method: Option<&'a str>,
    /// What the method says.
    pub data: Option<&'a [u8]>,
    /// For a person to read.
    pub reason_string: Option<&'a str>,
}

/// Decodes a whole AUTH.
///
/// # Errors
/// 0x81 and 0x82 by the specification; 0x82 on a connection of MQTT 3.1.1, whose packet type 15 is reserved.
pub fn decode(frame: &[u8], version: Version) -> Result<Auth<'_>, Error> {
    if version == Version::V4 {
        return Err(Error::protocol("MQTT 3.1.1 has no AUTH packet"));
    }
    let mut reader = Reader::new(frame::body(frame, Kind::Auth, version)?);
    let mut auth = Auth { reason: Reason::Success, method: None, data: None, reason_string: None };
    if reader.is_empty() {
        return Ok(auth);
    }
    auth.reason = match Reason::from_code(reader.u8()?) {
        Some(reason @ (Reason::Success | Reason::ContinueAuthentication | Reason::Reauthenticate)) => reason,
        Some(_) | None => return Err(Error::protocol("the Reason Code is not one of an AUTH [MQTT-3.15.2-1]")),
    };
    let mut block = Block::take(&mut reader, Set::AUTH)?;
    while let Some(property) = block.next()? {
        // A User Property is only checked: nobody asks for it.
        if let Property::AuthenticationMethod(method) = property {
            auth.method = Some(method);
        } else if let Property::AuthenticationData(data) = property {
            auth.data = Some(data);
        } else if let Property::ReasonString(text) = property {
            auth.reason_string = Some(text);
        }
    }
    reader.end()?;
    if auth.method.is_none() {
        return Err(Error::protocol("an AUTH must name its Authentication Method (section 3.15.2.2.2)"));
    }
    Ok(auth)
}
