//! The check of a topic name, and what may be wrong with a name or a filter.

use std::fmt;

/// The longest name or filter, in bytes: what the two-byte length of an MQTT string can say [MQTT-4.7.3-3].
pub const LENGTH_MAX: usize = 65_535;

/// What is wrong with a topic name, a topic filter or a shared subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicError {
    /// No character at all.
    Empty,
    /// More than 65,535 bytes.
    TooLong,
    /// More levels than the broker allows.
    TooManyLevels,
    /// Not well-formed UTF-8; surrogates are not.
    NotUtf8,
    /// Contains U+0000.
    Nul,
    /// A name contains `+` or `#`.
    WildcardInName,
    /// `+` or `#` shares its level with other characters.
    WildcardInLevel,
    /// Levels follow `#`.
    HashNotLast,
    /// `$share/` without a share name.
    ShareNameEmpty,
    /// The share name contains `+` or `#`.
    ShareNameWildcard,
    /// `$share/name` without a filter behind it.
    ShareWithoutFilter,
}

/// Checks the bytes of a topic name: one character or more, UTF-8 by the rules of MQTT, no wildcard, at most
/// `max_levels` levels (a name has one more of them than it has `/`).
///
/// # Errors
/// The first rule that the name breaks.
#[inline]
pub fn check_name(bytes: &[u8], max_levels: u16) -> Result<&str, TopicError> {
    let mut separators = 0_usize;
    for &byte in bytes {
        match byte {
            b'/' => separators += 1,
            b'+' | b'#' => return Err(TopicError::WildcardInName),
            0 => return Err(TopicError::Nul),
            _ => {}
        }
    }
    check_length(bytes, separators, max_levels)?;
    std::str::from_utf8(bytes).map_err(|_| TopicError::NotUtf8)
}

/// What names and filters have in common.
pub fn check_length(bytes: &[u8], separators: usize, max_levels: u16) -> Result<(), TopicError> {
    if bytes.is_empty() {
        Err(TopicError::Empty)
    } else if bytes.len() > LENGTH_MAX {
        Err(TopicError::TooLong)
    } else if separators >= usize::from(max_levels) {
        Err(TopicError::TooManyLevels)
    } else {
        Ok(())
    }
}

// === impl TopicError ===

impl TopicError {
    /// The fault as a sentence, with its clause.
    #[must_use]
    pub const fn what(self) -> &'static str {
        match self {
            TopicError::Empty => "a topic must have at least one character [MQTT-4.7.3-1]",
            TopicError::TooLong => "a topic must not be longer than 65,535 bytes [MQTT-4.7.3-3]",
            TopicError::TooManyLevels => "the topic has more levels than this broker allows",
            TopicError::NotUtf8 => "a topic must be well-formed UTF-8 [MQTT-1.5.4-1]",
            TopicError::Nul => "a topic must not contain U+0000 [MQTT-4.7.3-2]",
            TopicError::WildcardInName => "a topic name must not contain the wildcards + and # [MQTT-3.3.2-2]",
            TopicError::WildcardInLevel => "a wildcard must be the only character of its level [MQTT-4.7.1-2]",
            TopicError::HashNotLast => "the wildcard # must be the last level of a filter [MQTT-4.7.1-1]",
            TopicError::ShareNameEmpty => "a share name must have at least one character [MQTT-4.8.2-1]",
            TopicError::ShareNameWildcard => "a share name must not contain + or # [MQTT-4.8.2-2]",
            TopicError::ShareWithoutFilter => "a share name must be followed by / and a topic filter [MQTT-4.8.2-2]",
        }
    }

    /// Whether the text breaks a rule of the specification, so that the packet with it is malformed. What is left is well
    /// formed, and not taken by this broker.
    #[must_use]
    pub const fn is_malformed(self) -> bool {
        match self {
            TopicError::TooManyLevels => false,
            TopicError::Empty
            | TopicError::TooLong
            | TopicError::NotUtf8
            | TopicError::Nul
            | TopicError::WildcardInName
            | TopicError::WildcardInLevel
            | TopicError::HashNotLast
            | TopicError::ShareNameEmpty
            | TopicError::ShareNameWildcard
            | TopicError::ShareWithoutFilter => true,
        }
    }
}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what())
    }
}

impl std::error::Error for TopicError {}
