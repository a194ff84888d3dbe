//! Which topics a filter matches among many that lie in order, without looking at all of them.
//!
//! Topics in the order of their bytes are a trie already: what begins with `a/b/` lies together. A filter is followed
//! through them by leaps. Every topic met tells where the next one that may match can lie at the earliest, and `+` alone
//! makes the walk visit each name of its level. No state but the last topic is needed to go on, so a walk can stop
//! anywhere and be resumed later, when topics have come and gone.

use crate::topic::Filter;

/// The sign that sorts next after `/`: the first text behind all that begins with `x/` is `x0`.
const BEHIND_SLASH: char = '0';

/// The sign that sorts next after `$`.
const BEHIND_DOLLAR: char = '%';

/// A filter on its way through topics in order.
pub(super) struct Walk<'a> {
    levels: Vec<&'a str>,
    /// The filter ends with `#`, which is not among the levels.
    multi: bool,
    hides_dollar: bool,
}

/// What a topic tells about itself and those behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The filter matches; go on with the next topic.
    Match,
    /// Go on with the next topic.
    Next,
    /// Go on with the first topic that is not less than the text in the buffer.
    Seek,
    /// No topic behind can match.
    Done,
}

// === impl Walk ===

impl<'a> Walk<'a> {
    pub fn new(filter: &'a Filter) -> Self {
        let mut levels: Vec<&str> = filter.levels().collect();
        let hides_dollar = matches!(levels[0], "+" | "#");
        let multi = levels.last() == Some(&"#");
        if multi {
            levels.pop();
        }
        Self { levels, multi, hides_dollar }
    }

    /// What to do at `topic`; where to go on is written into `seek` if that is the answer.
    pub fn step(&self, topic: &str, seek: &mut String) -> Step {
        seek.clear();
        if self.hides_dollar && topic.starts_with('$') {
            // A wildcard at the first level matches none of these [MQTT-4.7.2-1].
            seek.push(BEHIND_DOLLAR);
            return Step::Seek;
        }
        let mut at = 0;
        for (i, wanted) in self.levels.iter().enumerate() {
            let rest = &topic[at..];
            let end = at + rest.bytes().position(|byte| byte == b'/').unwrap_or(rest.len());
            let deeper = i + 1 < self.levels.len() || self.multi;
            if *wanted != "+" && *wanted != &topic[at..end] {
                return self.leave(i, topic, at, deeper, seek);
            }
            if end == topic.len() {
                return if i + 1 == self.levels.len() { Step::Match } else { Step::Next };
            }
            if i + 1 == self.levels.len() && !self.multi {
                seek.push_str(&topic[..end]);
                seek.push(BEHIND_SLASH);
                return Step::Seek;
            }
            at = end + 1;
        }
        Step::Match
    }

    /// The topic has another text at level `i`, which begins at `at`, than the one that is wanted.
    fn leave(&self, i: usize, topic: &str, at: usize, deeper: bool, seek: &mut String) -> Step {
        let (wanted, rest) = (self.levels[i], &topic[at..]);
        let subtree_ahead =
            || rest.strip_prefix(wanted).is_some_and(|more| more.as_bytes() < b"/".as_slice()) && deeper;
        if wanted > rest || subtree_ahead() {
            seek.push_str(&topic[..at]);
            seek.push_str(wanted);
            if wanted < rest {
                seek.push('/');
            }
            return Step::Seek;
        }
        // All that may match below these levels lies behind us: on to the next name at the last `+` before.
        match self.levels[..i].iter().rposition(|level| *level == "+") {
            None => Step::Done,
            Some(plus) => {
                let end = topic.match_indices('/').nth(plus).map_or(topic.len(), |(slash, _)| slash);
                seek.push_str(&topic[..end]);
                seek.push(BEHIND_SLASH);
                Step::Seek
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// What the filter matches, and how many topics were looked at.
    fn walk(topics: &BTreeSet<String>, filter: &str) -> (Vec<String>, usize) {
        let filter = Filter::parse(filter, 16).unwrap();
        let walk = Walk::new(&filter);
        let (mut seek, mut matched, mut seen) = (String::new(), Vec::new(), 0);
        let mut from = String::new();
        'leap: loop {
            for topic in topics.range(from.clone()..) {
                seen += 1;
                match walk.step(topic, &mut seek) {
                    Step::Match => matched.push(topic.clone()),
                    Step::Next => {}
                    Step::Seek => {
                        assert!(*seek > **topic, "a leap goes forward: {topic} to {seek}");
                        from.clone_from(&seek);
                        continue 'leap;
                    }
                    Step::Done => return (matched, seen),
                }
            }
            return (matched, seen);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]
        #[test]
        fn a_walk_finds_what_matching_one_by_one_finds(
            // `-` sorts before `/` and `0` right behind it, as `%` does behind `$`.
            topics in prop::collection::btree_set("[ab$%/0-]{1,7}", 0..60),
            filter in prop::collection::vec(prop_oneof![Just("+".to_owned()), "[ab$0-]{0,2}"], 1..5),
            multi in any::<bool>(),
        ) {
            let mut filter = filter.join("/");
            if multi {
                filter.push_str("/#");
            }
            prop_assume!(!filter.is_empty());
            for filter in [filter.as_str(), "#"] {
                let parsed = Filter::parse(filter, 16).unwrap();
                let slow: Vec<String> = topics.iter().filter(|topic| parsed.matches(topic)).cloned().collect();
                prop_assert_eq!(walk(&topics, filter).0, slow, "{}", filter);
            }
        }
    }

    #[test]
    fn a_walk_does_not_look_at_what_cannot_match() {
        let mut topics: BTreeSet<String> =
            (0..10_000).map(|i| format!("site/{}/line/{}/state", i / 100, i % 100)).collect();
        topics.extend((0..10_000).map(|i| format!("$SYS/{i}")));
        for (filter, matches, looked_at_most) in [
            ("site/7/line/7/state", 1, 8),
            ("site/7/#", 100, 105),
            ("site/+/line/7/state", 100, 405),
            ("site/7/line/+/state", 100, 205),
            ("+/1/line/1/state", 1, 12),
            ("other/#", 0, 8),
            ("+/+/none/+", 0, 310),
            ("#", 10_000, 10_003),
        ] {
            let (matched, seen) = walk(&topics, filter);
            assert_eq!(matched.len(), matches, "{filter}");
            assert!(seen <= looked_at_most, "{filter} looked at {seen}");
        }
    }
}
