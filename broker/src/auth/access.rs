//! What an identity may publish and subscribe to: pure rules about topics.

use super::{Identity, Role};

/// Whether `identity` may publish to `topic`. Clients publish to no topic that begins with `$` `[MQTT-4.7.2-1]`; what a
/// link sends does not come this way, so a link may publish to nothing.
pub fn may_publish(identity: &Identity, topic: &str) -> bool {
    match identity.role {
        Role::Client => !topic.starts_with('$'),
        Role::Link { .. } => false,
    }
}

/// Whether `identity` may subscribe to `filter`, without the share of a shared subscription. `$LINK` and all below it is
/// closed; filters that begin with a wildcard don't match it.
pub fn may_subscribe(identity: &Identity, filter: &str) -> bool {
    match identity.role {
        Role::Client => filter != "$LINK" && !filter.starts_with("$LINK/"),
        Role::Link { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_may_all_but_dollar_topics_and_links_nothing() {
        let client = Identity { user: None, role: Role::Client };
        let link = Identity { user: Some("l".into()), role: Role::Link { name: "to-cloud".into() } };
        for (topic, publish, subscribe) in [
            ("a/b", true, true),
            ("#", true, true),
            ("+/v1", true, true),
            ("$SYS/x", false, true),
            ("$LINK", false, false),
            ("$LINK/v1/x", false, false),
            ("$LINK/#", false, false),
            ("$LINKS/x", false, true),
            ("a/$LINK", true, true),
        ] {
            assert_eq!(may_publish(&client, topic), publish, "{topic}");
            assert_eq!(may_subscribe(&client, topic), subscribe, "{topic}");
            assert!(!may_publish(&link, topic) && !may_subscribe(&link, topic), "{topic}");
        }
    }
}
