//! What a SUBSCRIBE asks for: a filter, alone or shared within a group (section 4.8.2).

use std::{fmt, sync::Arc};

use super::{Filter, TopicError};

/// What introduces a shared subscription.
const SHARE: &str = "$share/";

/// A filter, alone or shared within a group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subscription {
    /// Every subscriber receives every message.
    Plain(Filter),
    /// One member of the group receives each message.
    Shared {
        /// The share name, without separators and wildcards.
        group: Arc<str>,
        /// The filter behind the share name.
        filter: Filter,
    },
}

// === impl Subscription ===

impl Subscription {
    /// Parses what a client wrote: `$share/group/filter`, or a filter. The levels of the filter alone count against
    /// `max_levels`.
    ///
    /// # Errors
    /// The first rule that the text breaks.
    pub fn parse(text: &str, max_levels: u16) -> Result<Subscription, TopicError> {
        let Some(rest) = text.strip_prefix(SHARE) else {
            // `$share` alone has no share name; it would be a plain filter that nobody can publish to.
            if text == "$share" {
                return Err(TopicError::ShareNameEmpty);
            }
            return Filter::parse(text, max_levels).map(Subscription::Plain);
        };
        let (group, filter) = rest.split_once('/').unwrap_or((rest, ""));
        if group.is_empty() {
            Err(TopicError::ShareNameEmpty)
        } else if group.contains(['+', '#']) {
            Err(TopicError::ShareNameWildcard)
        } else if group.contains('\0') {
            Err(TopicError::Nul)
        } else if filter.is_empty() {
            Err(TopicError::ShareWithoutFilter)
        } else {
            Ok(Subscription::Shared { group: Arc::from(group), filter: Filter::parse(filter, max_levels)? })
        }
    }

    /// The filter, without the share.
    #[must_use]
    pub const fn filter(&self) -> &Filter {
        match self {
            Subscription::Plain(filter) | Subscription::Shared { group: _, filter } => filter,
        }
    }

    /// Whether it is shared.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        match self {
            Subscription::Plain(_) => false,
            Subscription::Shared { .. } => true,
        }
    }

    /// Whether a text, valid or not, names a shared subscription.
    #[must_use]
    pub fn names_share(text: &str) -> bool {
        text.starts_with(SHARE)
    }
}

impl From<Filter> for Subscription {
    fn from(filter: Filter) -> Subscription {
        Subscription::Plain(filter)
    }
}

/// As the client wrote it.
impl fmt::Display for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subscription::Plain(filter) => write!(f, "{filter}"),
            Subscription::Shared { group, filter } => write!(f, "{SHARE}{group}/{filter}"),
        }
    }
}
