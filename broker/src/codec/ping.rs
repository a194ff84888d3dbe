//! PINGREQ and PINGRESP, which have no content.

use super::{
    Error, Version,
    frame::{self, Kind},
};

/// A whole PINGREQ.
pub const PINGREQ: [u8; 2] = [0xC0, 0];

/// A whole PINGRESP.
pub const PINGRESP: [u8; 2] = [0xD0, 0];

/// Checks a whole PINGREQ or PINGRESP, whichever is expected.
///
/// # Errors
/// 0x81 for flags or content, 0x82 for another packet.
pub fn check(frame: &[u8], kind: Kind, version: Version) -> Result<(), Error> {
    if frame::body(frame, kind, version)?.is_empty() {
        Ok(())
    } else {
        Err(Error::malformed("a PINGREQ or PINGRESP has no content"))
    }
}
