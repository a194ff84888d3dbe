//! `spec.config` of a BrokerCluster, parsed with the broker's own types.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};
use tombolo_broker_api::{ClusterTuning, Evacuation, Mqtt, Shards, Tuning};

/// Largest packet that MQTT can express, fixed header included `[MQTT-3.1.2-24]`.
const PACKET_BYTES_MAX: u64 = 268_435_460;
/// Least room for what waits for another node, in bytes: a batch or two.
const OUTBOX_BYTES_MIN: u64 = 64 << 10;

/// What the broker understands, or every field that it does not: path below `spec.config`, and why.
pub(super) fn parse(config: &Map<String, Value>) -> Result<Tuning, Vec<(String, String)>> {
    let whole = Value::Object(config.clone());
    let faults = match serde_json::from_value::<Tuning>(whole.clone()) {
        Ok(tuning) => {
            let faults = out_of_range(&tuning);
            if faults.is_empty() {
                return Ok(tuning);
            }
            faults
        }
        Err(_) => faults_below("", &whole, &|value| value),
    };
    Err(faults)
}

/// The smallest parts that cannot be read. `within` puts a part where it stands in the whole.
///
/// Every key has a default, so that each part can be read by itself; this finds all faults at once, with their paths,
/// which the parser does not tell.
fn faults_below(path: &str, part: &Value, within: &dyn Fn(Value) -> Value) -> Vec<(String, String)> {
    let read = |value: Value| serde_json::from_value::<Tuning>(within(value)).map_err(|error| error.to_string());
    let Err(message) = read(part.clone()) else { return Vec::new() };
    let Value::Object(fields) = part else { return vec![(path.to_owned(), explained(path, message))] };
    // A key that is not known is the fault itself, whatever is below.
    if !path.is_empty()
        && let Err(message) = read(Value::Object(Map::new()))
    {
        return vec![(path.to_owned(), explained(path, message))];
    }
    let mut found = Vec::new();
    for (key, value) in fields {
        let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let one = |value| within(Value::Object(Map::from_iter([(key.clone(), value)])));
        found.extend(faults_below(&below, value, &one));
    }
    if found.is_empty() { vec![(path.to_owned(), explained(path, message))] } else { found }
}

fn explained(path: &str, message: String) -> String {
    match path {
        // The parser can only say that nothing matched.
        "shards" => "it must be `auto` or a number from 1 to 64".to_owned(),
        _ => message,
    }
}

fn out_of_range(tuning: &Tuning) -> Vec<(String, String)> {
    let Tuning { shards, mqtt, cluster } = tuning;
    let ClusterTuning {
        max_outbox_bytes,
        max_outbox_age,
        suspend_after,
        shared_subscriptions: _,
        subscribe_timeout,
        when_home_down: _,
        evacuation,
    } = cluster;
    let Evacuation { disconnects_per_second, moves_per_second, timeout, stop_timeout, server_reference: _ } =
        evacuation;
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
    } = mqtt;
    let shards = match shards {
        Shards::Auto => 1,
        Shards::Count(count) => u64::from(*count),
    };
    // A client id of 23 bytes must be taken `[MQTT-3.1.3-5]`; a Receive Maximum of 0 is an error `[MQTT-3.1.2.11.3]`.
    let bounds: [(&str, u64, RangeInclusive<u64>); 21] = [
        ("shards", shards, 1..=64),
        ("mqtt.maxPacketSize", max_packet_size.0, 1024..=PACKET_BYTES_MAX),
        ("mqtt.receiveMaximum", u64::from(*receive_maximum), 1..=65_535),
        ("mqtt.maxInflight", u64::from(*max_inflight), 1..=65_535),
        ("mqtt.sessionExpiryInterval", session_expiry_interval.0, 0..=u64::from(u32::MAX)),
        ("mqtt.maxQueuedMessages", u64::from(*max_queued_messages), 1..=u64::from(u32::MAX)),
        ("mqtt.maxQueuedBytes", max_queued_bytes.0, 1024..=u64::MAX),
        ("mqtt.maxOutputBytes", max_output_bytes.0, 4096..=u64::MAX),
        ("mqtt.maxSubscriptions", u64::from(*max_subscriptions), 1..=u64::from(u32::MAX)),
        ("mqtt.maxClientIdBytes", u64::from(*max_client_id_bytes), 23..=65_535),
        ("mqtt.maxTopicLevels", u64::from(*max_topic_levels), 1..=65_535),
        ("mqtt.maxSessions", u64::from(*max_sessions), 1..=u64::from(u32::MAX)),
        ("mqtt.connectTimeout", connect_timeout.0, 1..=3_600),
        ("cluster.maxOutboxBytes", max_outbox_bytes.0, OUTBOX_BYTES_MIN..=u64::MAX),
        ("cluster.maxOutboxAge", max_outbox_age.0, 1..=10 * 365 * 86_400),
        ("cluster.suspendAfter", suspend_after.0, 1..=3_600),
        ("cluster.subscribeTimeout", subscribe_timeout.0, 0..=60),
        ("cluster.evacuation.disconnectsPerSecond", u64::from(*disconnects_per_second), 1..=100_000),
        ("cluster.evacuation.movesPerSecond", u64::from(*moves_per_second), 1..=100_000),
        ("cluster.evacuation.timeout", timeout.0, 1..=86_400),
        ("cluster.evacuation.stopTimeout", stop_timeout.map_or(1, |time| time.0), 1..=86_400),
    ];
    let outside = bounds.into_iter().filter(|(_, value, range)| !range.contains(value));
    outside
        .map(|(path, value, range)| {
            let most = if *range.end() == u64::MAX { String::new() } else { format!(" and at most {}", range.end()) };
            (path.to_owned(), format!("{value} must be at least {}{most}", range.start()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parsed(config: Value) -> Result<Tuning, Vec<(String, String)>> {
        parse(config.as_object().expect("a map"))
    }

    #[test]
    fn what_the_broker_understands_is_taken() {
        let tuning = parsed(json!({"shards": 2, "mqtt": {"maxPacketSize": "1MB", "sessionExpiryInterval": "2h"}}));
        let tuning = tuning.expect("valid");
        assert_eq!(tuning.shards, Shards::Count(2));
        assert_eq!(tuning.mqtt.max_packet_size.0, 1_000_000);
        assert_eq!(parsed(json!({})), Ok(Tuning::default()));
    }

    #[test]
    fn every_fault_is_named_with_its_path() {
        for (config, expected) in [
            (json!({"shard": 1}), vec![("shard", "unknown field `shard`")]),
            (json!({"shard": {"a": 1, "b": 2}}), vec![("shard", "unknown field `shard`")]),
            (json!({"shards": "many"}), vec![("shards", "`auto` or a number from 1 to 64")]),
            (json!({"shards": 0}), vec![("shards", "0 must be at least 1 and at most 64")]),
            (json!({"mqtt": 1}), vec![("mqtt", "invalid type")]),
            (
                json!({"mqtt": {"maxPacketSize": "1XB", "receiveMaximum": -1, "nonsense": 0}}),
                vec![
                    ("mqtt.maxPacketSize", "a size such as"),
                    ("mqtt.nonsense", "unknown field"),
                    ("mqtt.receiveMaximum", "invalid value"),
                ],
            ),
            (json!({"mqtt": {"maxPacketSize": "1GB"}}), vec![("mqtt.maxPacketSize", "at most 268435460")]),
            (json!({"mqtt": {"receiveMaximum": 0}}), vec![("mqtt.receiveMaximum", "at least 1")]),
            (json!({"cluster": {"suspendAfter": "2h"}}), vec![("cluster.suspendAfter", "at most 3600")]),
            (json!({"cluster": {"maxOutboxBytes": "1KiB"}}), vec![("cluster.maxOutboxBytes", "at least 65536")]),
            (json!({"cluster": {"evacuation": {"timeout": "0s"}}}), vec![("cluster.evacuation.timeout", "at least 1")]),
            (json!({"cluster": {"whenHomeDown": "Panic"}}), vec![("cluster.whenHomeDown", "unknown variant")]),
        ] {
            let found = parsed(config.clone()).expect_err("faults");
            assert_eq!(found.len(), expected.len(), "{config}: {found:?}");
            for ((path, message), (wanted_path, wanted)) in found.iter().zip(expected) {
                assert_eq!(path, wanted_path, "{config}");
                assert!(message.contains(wanted), "{config}: {message}");
            }
        }
    }
}
