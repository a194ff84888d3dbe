//! A topic filter: what it matches, what it covers, and what it has in common with another.

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use super::name::{TopicError, check_length};

/// A valid topic filter. A clone shares the text; equality, order and hash are those of the text.
///
/// Texts that differ match different names, with two exceptions: `#` matches what `+/#` does, and `/#` what `/+/#` does,
/// because a name has at least one character.
#[derive(Clone)]
pub struct Filter {
    text: Arc<str>,
    /// One more than there are `/`; 65,536 where the text is nothing else.
    level_count: u32,
    exact: bool,
}

// === impl Filter ===

impl Filter {
    /// Parses a filter of at most `max_levels` levels. `$share/…` has no special meaning here: see
    /// [`Subscription`](super::Subscription).
    ///
    /// # Errors
    /// The first rule that the filter breaks.
    pub fn parse(text: &str, max_levels: u16) -> Result<Filter, TopicError> {
        let (level_count, exact) = check_filter(text, max_levels)?;
        Ok(Filter { text: Arc::from(text), level_count, exact })
    }

    /// The text of the filter.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The levels, wildcards included: `a/+/#` has `a`, `+` and `#`.
    pub fn levels(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.text.split('/')
    }

    /// How many levels there are, 1 or more.
    #[must_use]
    pub const fn level_count(&self) -> usize {
        self.level_count as usize
    }

    /// Whether there is no wildcard, so that the filter matches only the name equal to it.
    #[must_use]
    pub const fn is_exact(&self) -> bool {
        self.exact
    }

    /// The shorter text where two match the same names: `#` for `+/#`, `/#` for `/+/#`.
    #[must_use]
    pub(super) fn shortest(self) -> Filter {
        match &*self.text {
            "+/#" => Filter { text: Arc::from("#"), level_count: 1, exact: false },
            "/+/#" => Filter { text: Arc::from("/#"), level_count: 2, exact: false },
            _ => self,
        }
    }

    /// Whether the filter matches a topic name, which must be valid.
    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        if self.exact { *self.text == *topic } else { matches(self.text.as_bytes(), topic.as_bytes()) }
    }

    /// Whether this filter matches every name that `other` matches.
    #[must_use]
    pub fn covers(&self, other: &Filter) -> bool {
        if self.exact {
            return self.text == other.text;
        }
        if hides(self, other) {
            return false;
        }
        let mut theirs = levels(&other.text);
        for ours in levels(&self.text) {
            if ours == "#" {
                return true;
            }
            match theirs.next() {
                None | Some("#") => return false,
                Some(theirs) if ours != "+" && ours != theirs => return false,
                Some(_) => {}
            }
        }
        theirs.next().is_none()
    }

    /// The filter that matches exactly the names that both match; nothing when there is no such name, or when all of
    /// them would be matched by a filter only that has more than 65,535 bytes or levels.
    #[must_use]
    pub fn intersect(&self, other: &Filter) -> Option<Filter> {
        if self.covers(other) {
            return Some(other.clone());
        }
        if other.covers(self) {
            return Some(self.clone());
        }
        if hides(self, other) || hides(other, self) {
            return None;
        }
        let mut text = String::with_capacity(self.text.len().max(other.text.len()));
        let (mut a, mut b) = (levels(&self.text), levels(&other.text));
        loop {
            let level = match (a.next(), b.next()) {
                (None, None) => break,
                // `#` matches its parent too, so it meets the end of the other.
                (None, Some("#")) | (Some("#"), None) => break,
                (None, Some(_)) | (Some(_), None) => return None,
                (Some("#"), Some("#")) => "#",
                (Some("#"), Some(level)) => {
                    join(&mut text, level);
                    b.for_each(|level| join(&mut text, level));
                    break;
                }
                (Some(level), Some("#")) => {
                    join(&mut text, level);
                    a.for_each(|level| join(&mut text, level));
                    break;
                }
                (Some("+"), Some(level)) | (Some(level), Some("+")) => level,
                (Some(a), Some(b)) if a == b => a,
                (Some(_), Some(_)) => return None,
            };
            join(&mut text, level);
        }
        text.pop(); // the last separator
        let (level_count, exact) = check_filter(&text, u16::MAX).ok()?;
        Some(Filter { text: Arc::from(text), level_count, exact }.shortest())
    }
}

impl PartialEq for Filter {
    fn eq(&self, other: &Filter) -> bool {
        self.text == other.text
    }
}

impl Eq for Filter {}

impl PartialOrd for Filter {
    fn partial_cmp(&self, other: &Filter) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Filter {
    fn cmp(&self, other: &Filter) -> Ordering {
        self.text.cmp(&other.text)
    }
}

impl Hash for Filter {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

/// So that maps keyed by filters are asked with a text.
impl std::borrow::Borrow<str> for Filter {
    fn borrow(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.text, f)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

// === functions ===

/// The levels of a filter, of the longer text where two match the same names: there a `#` never stands for the parent of
/// its level, as no name is empty, and so levels compare one by one.
pub fn levels(text: &str) -> impl Iterator<Item = &str> {
    let text = match text {
        "#" => "+/#",
        "/#" => "/+/#",
        other => other,
    };
    text.split('/')
}

/// Appends a level and a separator. (A separator before the level would be lost behind an empty first level.)
fn join(text: &mut String, level: &str) {
    text.push_str(level);
    text.push('/');
}

/// Checks a filter; returns how many levels it has and whether there is no wildcard.
fn check_filter(text: &str, max_levels: u16) -> Result<(u32, bool), TopicError> {
    let bytes = text.as_bytes();
    let mut separators = 0_usize;
    let mut exact = true;
    for (at, &byte) in bytes.iter().enumerate() {
        match byte {
            b'/' => separators += 1,
            0 => return Err(TopicError::Nul),
            b'+' | b'#' => {
                exact = false;
                let alone = (at == 0 || bytes[at - 1] == b'/') && bytes.get(at + 1).is_none_or(|&next| next == b'/');
                if !alone {
                    return Err(TopicError::WildcardInLevel);
                }
                if byte == b'#' && at + 1 != bytes.len() {
                    return Err(TopicError::HashNotLast);
                }
            }
            _ => {}
        }
    }
    check_length(bytes, separators, max_levels)?;
    Ok((separators as u32 + 1, exact))
}

/// Whether `outer` begins with a wildcard and `inner` with a level that wildcards never match [MQTT-4.7.2-1].
fn hides(outer: &Filter, inner: &Filter) -> bool {
    inner.text.starts_with('$') && outer.text.starts_with(['+', '#'])
}

/// Matches byte by byte, one level a turn.
fn matches(filter: &[u8], topic: &[u8]) -> bool {
    if topic.first() == Some(&b'$') && matches!(filter.first(), Some(b'+' | b'#')) {
        return false;
    }
    let (mut f, mut t) = (0, 0);
    loop {
        match filter.get(f) {
            Some(b'#') => return true,
            Some(b'+') => {
                f += 1;
                while t < topic.len() && topic[t] != b'/' {
                    t += 1;
                }
            }
            Some(_) | None => {
                while f < filter.len() && filter[f] != b'/' {
                    if topic.get(t) != Some(&filter[f]) {
                        return false;
                    }
                    f += 1;
                    t += 1;
                }
            }
        }
        // The filter stands at a separator or its end; so must the topic.
        match (filter.get(f), topic.get(t)) {
            (None, None) => return true,
            (Some(_), None) => return &filter[f..] == b"/#",
            (Some(_), Some(b'/')) => {
                f += 1;
                t += 1;
            }
            (None | Some(_), Some(_)) => return false,
        }
    }
}
