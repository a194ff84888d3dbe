//! What a configuration must fulfil beyond its form: a pure check that finds everything at once.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::Path;

use tombolo_broker_api::{ClusterTuning, Config, Dial, Evacuation, Link, Listener, Mqtt, Protocol, Route, Shards};

use super::{DialFiles, Loaded, Problem, cluster};
use crate::topic::Filter;

/// Largest packet that MQTT can express, fixed header included `[MQTT-3.1.2-24]`.
const PACKET_BYTES_MAX: u64 = 268_435_460;
/// Least room for what waits for another node, in bytes: a batch or two.
const OUTBOX_BYTES_MIN: u64 = 64 << 10;

/// All problems of a configuration whose files could be read.
pub fn problems(file: &Path, loaded: &Loaded) -> Vec<Problem> {
    let mut check = Check { file, found: Vec::new() };
    check.config(loaded);
    check.found
}

/// What is wrong with a name, if anything is.
pub(super) fn not_a_name(name: &str) -> Option<String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let bad = name.is_empty() || name.len() > 253 || !name.chars().all(fine);
    bad.then(|| format!("`{name}` must be 1 to 253 of the characters a-z, A-Z, 0-9, `-`, `_` and `.`"))
}

struct Check<'a> {
    file: &'a Path,
    found: Vec<Problem>,
}

impl Check<'_> {
    fn config(&mut self, loaded: &Loaded) {
        let config = &loaded.config;
        self.name("clusterName", &config.cluster_name);
        self.name("nodeName", &config.node_name);
        self.listeners(config);
        self.tuning(config);
        for (field, message) in config.cluster.iter().flat_map(|cluster| cluster::problems(cluster, config)) {
            self.report(field, message);
        }
        self.unique("links", "name", config.links.iter().map(|link| &*link.name));
        self.unique("links", "remoteCluster", config.links.iter().map(|link| &*link.remote_cluster));
        for (place, link) in config.links.iter().enumerate() {
            self.link(&format!("links[{place}]"), link, loaded);
        }
    }

    fn listeners(&mut self, config: &Config) {
        if config.listeners.is_empty() {
            self.report(
                "listeners",
                "there is none; add one, such as {name: mqtt, protocol: MQTT, bind: 0.0.0.0:1883}",
            );
        }
        self.unique("listeners", "name", config.listeners.iter().map(|listener| &*listener.name));
        let mut taken = BTreeSet::from([config.admin.bind]);
        if let Some(secure) = &config.admin.secure
            && !taken.insert(secure.bind)
            && secure.bind.port() != 0
        {
            self.report("admin.secure.bind", format!("{} is admin.bind, too; choose another port", secure.bind));
        }
        for (place, listener) in config.listeners.iter().enumerate() {
            let at = format!("listeners[{place}]");
            self.listener(&at, listener);
            if listener.bind.port() != 0 && !taken.insert(listener.bind) {
                self.report(
                    format!("{at}.bind"),
                    format!("{} is taken by another listener or by admin; choose another port", listener.bind),
                );
            }
        }
    }

    fn listener(&mut self, at: &str, listener: &Listener) {
        self.name(&format!("{at}.name"), &listener.name);
        self.within(&format!("{at}.maxConnections"), listener.max_connections.into(), 1..=u32::MAX.into());
        match (listener.protocol, &listener.tls) {
            (Protocol::Mqtts, None) => {
                self.report(format!("{at}.tls"), "MQTTS needs certificateFile and keyFile");
            }
            (Protocol::Mqtt, Some(_)) => {
                self.report(format!("{at}.tls"), "MQTT is not encrypted; write protocol: MQTTS, or remove tls");
            }
            (Protocol::Mqtts, Some(_)) | (Protocol::Mqtt, None) => {}
        }
    }

    fn tuning(&mut self, config: &Config) {
        if let Shards::Count(count) = config.tuning.shards {
            self.within("tuning.shards", count.into(), 1..=64);
        }
        let Mqtt {
            max_packet_size,
            receive_maximum,
            max_inflight,
            topic_alias_maximum: _,
            session_expiry_interval,
            max_queued_messages,
            max_queued_bytes,
            max_output_bytes,
            max_subscriptions,
            max_client_id_bytes,
            max_topic_levels,
            max_retained_messages: _,
            max_sessions,
            connect_timeout,
            max_keep_alive: _,
        } = &config.tuning.mqtt;
        // A client id of 23 bytes must be taken `[MQTT-3.1.3-5]`.
        for (key, value, range) in [
            ("maxPacketSize", max_packet_size.0, 1024..=PACKET_BYTES_MAX),
            ("receiveMaximum", u64::from(*receive_maximum), 1..=65_535),
            ("maxInflight", u64::from(*max_inflight), 1..=65_535),
            ("sessionExpiryInterval", session_expiry_interval.0, 0..=u32::MAX.into()),
            ("maxQueuedMessages", u64::from(*max_queued_messages), 1..=u32::MAX.into()),
            ("maxQueuedBytes", max_queued_bytes.0, 1024..=u64::MAX),
            ("maxOutputBytes", max_output_bytes.0, 4096..=u64::MAX),
            ("maxSubscriptions", u64::from(*max_subscriptions), 1..=u32::MAX.into()),
            ("maxClientIdBytes", u64::from(*max_client_id_bytes), 23..=65_535),
            ("maxTopicLevels", u64::from(*max_topic_levels), 1..=65_535),
            ("maxSessions", u64::from(*max_sessions), 1..=u32::MAX.into()),
            ("connectTimeout", connect_timeout.0, 1..=3_600),
        ] {
            self.within(&format!("tuning.mqtt.{key}"), value, range);
        }
        self.cluster_tuning(&config.tuning.cluster);
    }

    fn cluster_tuning(&mut self, tuning: &ClusterTuning) {
        let ClusterTuning {
            max_outbox_bytes,
            max_outbox_age,
            suspend_after,
            shared_subscriptions: _,
            subscribe_timeout,
            when_home_down: _,
            evacuation,
        } = tuning;
        let Evacuation { disconnects_per_second, moves_per_second, timeout, stop_timeout, server_reference: _ } =
            evacuation;
        for (key, value, range) in [
            ("maxOutboxBytes", max_outbox_bytes.0, OUTBOX_BYTES_MIN..=u64::MAX),
            ("maxOutboxAge", max_outbox_age.0, 1..=10 * 365 * 86_400),
            ("suspendAfter", suspend_after.0, 1..=3_600),
            ("subscribeTimeout", subscribe_timeout.0, 0..=60),
            ("evacuation.disconnectsPerSecond", u64::from(*disconnects_per_second), 1..=100_000),
            ("evacuation.movesPerSecond", u64::from(*moves_per_second), 1..=100_000),
            ("evacuation.timeout", timeout.0, 1..=86_400),
            ("evacuation.stopTimeout", stop_timeout.map_or(1, |time| time.0), 1..=86_400),
        ] {
            self.within(&format!("tuning.cluster.{key}"), value, range);
        }
    }

    fn link(&mut self, at: &str, link: &Link, loaded: &Loaded) {
        let config = &loaded.config;
        self.name(&format!("{at}.name"), &link.name);
        self.name(&format!("{at}.remoteCluster"), &link.remote_cluster);
        if link.remote_cluster == config.cluster_name {
            self.report(
                format!("{at}.remoteCluster"),
                format!("`{}` is this cluster; a link joins two", link.remote_cluster),
            );
        }
        self.within(&format!("{at}.maxHops"), link.max_hops.into(), 1..=16);
        let levels = config.tuning.mqtt.max_topic_levels;
        self.routes(&format!("{at}.receive"), &link.receive, levels);
        self.routes(&format!("{at}.send"), link.send.as_deref().unwrap_or_default(), levels);
        self.within(&format!("{at}.spool.maxBytes"), link.spool.max_bytes.0, 1024..=u64::MAX);
        self.within(&format!("{at}.spool.maxAge"), link.spool.max_age.0, 1..=10 * 365 * 86_400);
        self.within(&format!("{at}.spool.drainFor"), link.spool.drain_for.map_or(1, |time| time.0), 1..=86_400);
        if let Some(dial) = &link.dial {
            // Absent when a file could not be read, which was said already.
            if let Some(files) = loaded.links.get(&link.name) {
                self.dial(&format!("{at}.dial"), dial, files);
            }
        }
        self.accept(at, link, loaded);
    }

    fn accept(&mut self, at: &str, link: &Link, loaded: &Loaded) {
        let accept = &link.accept;
        let nobody = accept.users.is_empty() && !accept.any_user;
        if link.dial.is_none() && nobody {
            self.report(at, "nothing is dialled and nobody is accepted; give it `dial`, or name `accept.users`");
        }
        // With certificates of clients, a user may be a common name and need no password.
        let certificates = loaded.listeners.values().any(|files| files.ca.is_some());
        for (place, user) in accept.users.iter().enumerate() {
            if !certificates && !loaded.users.contains_key(user) && !accept.password_files.contains_key(user) {
                self.report(
                    format!("{at}.accept.users[{place}]"),
                    format!("`{user}` is neither in authentication.usersFile nor in accept.passwordFiles"),
                );
            }
        }
        for user in accept.password_files.keys().filter(|user| !accept.users.contains(user)) {
            self.report(
                format!("{at}.accept.passwordFiles"),
                format!("`{user}` is not in accept.users; add it there, or remove its password"),
            );
        }
    }

    fn dial(&mut self, at: &str, dial: &Dial, files: &DialFiles) {
        if dial.servers.is_empty() {
            self.report(format!("{at}.servers"), "there is none; add one, such as mqtt://HOST:1883");
        }
        if dial.tls.is_some() && !files.servers.is_empty() && files.servers.iter().all(|server| !server.tls) {
            self.report(format!("{at}.tls"), "no server speaks TLS; write mqtts:// for the server, or remove tls");
        }
        if dial.client_id_prefix.is_empty()
            || dial.client_id_prefix.len() > 200
            || dial.client_id_prefix.chars().any(char::is_control)
        {
            self.report(format!("{at}.clientIdPrefix"), "it must have 1 to 200 bytes and no control characters");
        }
        if dial.password_file.is_some() && dial.username_file.is_none() {
            self.report(format!("{at}.usernameFile"), "a password needs a user name");
        }
        if let Some(tls) = &dial.tls
            && tls.certificate_file.is_some() != tls.key_file.is_some()
        {
            self.report(format!("{at}.tls"), "certificateFile and keyFile belong together; give both or none");
        }
        self.within(&format!("{at}.keepAlive"), dial.keep_alive.0, 1..=65_535);
        self.within(&format!("{at}.maxInflight"), dial.max_inflight.into(), 1..=65_535);
        self.within(&format!("{at}.retryInterval"), dial.retry_interval.0, 1..=86_400);
    }

    fn routes(&mut self, at: &str, routes: &[Route], levels: u16) {
        for (place, route) in routes.iter().enumerate() {
            let at = format!("{at}[{place}]");
            if route.filters.is_empty() {
                self.report(format!("{at}.filters"), "there is none; add one, such as \"#\"");
            }
            self.within(&format!("{at}.maxQos"), route.max_qos.into(), 0..=2);
            for (key, filters) in [("filters", &route.filters), ("except", &route.except)] {
                for (place, filter) in filters.iter().enumerate() {
                    let at = format!("{at}.{key}[{place}]");
                    match Filter::parse(filter, levels) {
                        Err(error) => self.report(at, format!("`{filter}` is not a topic filter: {error}")),
                        Ok(_) if filter.starts_with('$') => {
                            self.report(at, format!("`{filter}` begins with `$`; such topics never leave a cluster"));
                        }
                        Ok(_) => {}
                    }
                }
            }
        }
    }

    /// Names are labels, parts of client ids and of topics, so they have letters that are safe in all of these.
    fn name(&mut self, field: &str, name: &str) {
        if let Some(message) = not_a_name(name) {
            self.report(field, message);
        }
    }

    fn unique<'a>(&mut self, list: &str, key: &str, values: impl Iterator<Item = &'a str>) {
        let mut seen = BTreeSet::new();
        for (place, value) in values.enumerate() {
            if !seen.insert(value) {
                self.report(
                    format!("{list}[{place}].{key}"),
                    format!("`{value}` is there already; each may occur once"),
                );
            }
        }
    }

    fn within(&mut self, field: &str, value: u64, range: RangeInclusive<u64>) {
        if !range.contains(&value) {
            let most = if *range.end() == u64::MAX { String::new() } else { format!(" and at most {}", range.end()) };
            self.report(field, format!("{value} must be at least {}{most}", range.start()));
        }
    }

    fn report(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.found.push(Problem {
            file: self.file.to_owned(),
            position: None,
            field: field.into(),
            message: message.into(),
        });
    }
}
