//! What a filter matches, by the letter of the specification.

/// Whether a filter, with or without its share, matches a topic: section 4.7, level by level.
pub fn matches(filter: &str, topic: &str) -> bool {
    let filter = match filter.strip_prefix("$share/") {
        Some(shared) => shared.split_once('/').map_or("", |(_, filter)| filter),
        None => filter,
    };
    let (mut filters, mut levels) = (filter.split('/'), topic.split('/'));
    loop {
        match (filters.next(), levels.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(filter), Some(level)) if filter == level => {}
            (Some(_) | None, _) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_matches_filters_as_the_specification_says() {
        for (filter, topic, expected) in [
            ("t/#", "t", true),
            ("t/#", "t/1/2", true),
            ("t/+", "t/1", true),
            ("t/+", "t", false),
            ("t/+", "t/1/2", false),
            ("t/1", "t/2", false),
            ("$share/one/s/#", "s/0", true),
            ("$share/one/s/+", "s/0/1", false),
        ] {
            assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
        }
    }
}
