//! What an identity may publish and subscribe to: pure rules about topics.

use super::{Identity, Role};

/// Whether `identity` may publish to `topic`. `$LINK` belongs to links and `$SYS` to the broker; other topics that begin
/// with `$` are an application's own. What a link sends does not come this way, so a link may publish to nothing.
pub fn may_publish(identity: &Identity, topic: &str) -> bool {
    match identity.role {
        Role::Client => !is_below(topic, "$LINK") && !is_below(topic, "$SYS"),
        Role::Link { .. } => false,
    }
}

/// Whether `identity` may subscribe to `filter`, without the share of a shared subscription. `$LINK` and all below it is
/// closed; filters that begin with a wildcard don't match it.
pub fn may_subscribe(identity: &Identity, filter: &str) -> bool {
    match identity.role {
        Role::Client => !is_below(filter, "$LINK"),
        Role::Link { .. } => false,
    }
}

fn is_below(topic: &str, root: &str) -> bool {
    topic.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_may_all_but_the_topics_of_links_and_of_the_broker_and_links_nothing() {
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
            ("$LINKS/x", true, true),
            ("a/$LINK", true, true),
        ] {
            assert_eq!(may_publish(&client, topic), publish, "{topic}");
            assert_eq!(may_subscribe(&client, topic), subscribe, "{topic}");
            assert!(!may_publish(&link, topic) && !may_subscribe(&link, topic), "{topic}");
        }
    }
}
