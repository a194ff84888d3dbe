//! Topic filters of links, read as MQTT reads them.

/// Why a topic filter cannot stand on a link.
///
/// `levels_max` is the broker's `mqtt.maxTopicLevels`.
pub(super) fn fault(filter: &str, levels_max: u16) -> Option<String> {
    if let Some(rest) = filter.strip_prefix("$share/") {
        let plain = rest.split_once('/').map_or("FILTER", |(_, filter)| filter);
        return Some(format!("`{filter}` is a shared subscription; a link carries topics: write `{plain}`"));
    }
    if filter == "$LINK" || filter.starts_with("$LINK/") {
        return Some(format!("`{filter}` is what links themselves speak on; name topics of clients"));
    }
    if filter.starts_with('$') {
        return Some(format!("`{filter}` begins with `$`; such topics never leave a cluster, so name others"));
    }
    malformed(filter, levels_max)
}

/// Why a topic filter cannot be an exception; one that begins with `$` can, though it changes nothing.
pub(super) fn fault_of_exception(filter: &str, levels_max: u16) -> Option<String> {
    malformed(filter, levels_max)
}

/// Clauses `[MQTT-4.7.1-1]` to `[MQTT-4.7.3-3]`.
fn malformed(filter: &str, levels_max: u16) -> Option<String> {
    if filter.is_empty() {
        return Some("an empty topic filter matches nothing; write `#` for every topic".to_owned());
    }
    if filter.len() > usize::from(u16::MAX) {
        return Some(format!("a topic filter of {} bytes is longer than MQTT allows (65535)", filter.len()));
    }
    if filter.contains('\0') {
        return Some("a topic filter must not contain U+0000".to_owned());
    }
    let levels = filter.split('/').count();
    if levels > usize::from(levels_max) {
        return Some(format!(
            "`{filter}` has {levels} levels; spec.config.mqtt.maxTopicLevels of the cluster allows {levels_max}"
        ));
    }
    for (at, level) in filter.split('/').enumerate() {
        if level.contains('#') && (level != "#" || at + 1 != levels) {
            return Some(format!("`{filter}`: `#` must stand alone in the last level, as in `a/#`"));
        }
        if level.contains('+') && level != "+" {
            return Some(format!("`{filter}`: `+` must stand alone in its level, as in `a/+/b`"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_of_mqtt_pass_and_others_are_named() {
        for filter in ["#", "+", "a", "/", "a//b", "+/a/#", "/#", " ", "a/b c/\u{e9}"] {
            assert_eq!(fault(filter, 8), None, "{filter}");
        }
        for (filter, what) in [
            ("", "matches nothing"),
            ("a/#/b", "`#` must stand alone in the last level"),
            ("a#", "`#` must stand alone"),
            ("a+/b", "`+` must stand alone"),
            ("a/b/c/d/e/f/g/h/i", "has 9 levels"),
            ("a\0", "U+0000"),
            ("$share/group/a/b", "write `a/b`"),
            ("$LINK/v1/#", "what links themselves speak on"),
            ("$SYS/#", "never leave a cluster"),
        ] {
            let fault = fault(filter, 8).expect(filter);
            assert!(fault.contains(what), "{filter}: {fault}");
        }
        assert_eq!(fault_of_exception("$SYS/#", 8), None);
        assert!(fault_of_exception("a/#/b", 8).is_some());
    }
}
