//! CONNECT and CONNACK: fields, versions, assigned client ids, what the broker tells of itself.

use tombolo_tests::broker::Broker;
use tombolo_tests::client::Client;
use tombolo_tests::packet::{Connect, Publish, Will, hex};
use tombolo_tests::property;

#[tokio::test]
async fn a_clean_connect_of_3_1_1_is_answered_with_four_bytes() {
    let broker = Broker::anonymous().await;
    let mut client = Client::open(broker.address, 4).await;
    client.send_hex("10 0d 0004 4d515454 04 02 003c 0001 61").await;
    client.expect_hex("20 02 00 00").await;
    client.ping().await;
}

#[tokio::test]
async fn a_connack_of_5_tells_the_limits_that_are_not_the_default() {
    let broker = Broker::anonymous().await;
    let (mut client, connack) = Client::connect(broker.address, &Connect::new(5, "limits")).await;
    assert!(!connack.session_present);
    let mqtt = &broker.config.tuning.mqtt;
    // Receive Maximum, Topic Alias Maximum, Maximum Packet Size.
    assert_eq!(connack.properties.number(0x21), Some(u32::from(mqtt.receive_maximum)));
    assert_eq!(connack.properties.number(0x22), Some(u32::from(mqtt.topic_alias_maximum)));
    assert_eq!(connack.properties.number(0x27).map(u64::from), Some(mqtt.max_packet_size.0));
    // Maximum QoS, Retain, Wildcards, Subscription Identifiers, Shared Subscriptions: absent means that there is all.
    assert!(connack.properties.get(0x24).is_none(), "Maximum QoS 2 must not be sent [MQTT-3.2.2.3.4]");
    for id in [0x25, 0x28, 0x29, 0x2a] {
        assert_ne!(connack.properties.number(id), Some(0), "property {id:#x} denies a feature that there is");
    }
    // The client gave an id, and asked for nothing.
    assert!(connack.properties.get(0x12).is_none() && connack.properties.get(0x1a).is_none());
    client.ping().await;
}

#[tokio::test]
async fn an_empty_client_id_gets_one_assigned_in_5() {
    let broker = Broker::anonymous().await;
    let (mut one, connack) = Client::connect(broker.address, &Connect::new(5, "")).await;
    let id = connack.properties.text(0x12).expect("Assigned Client Identifier [MQTT-3.2.2-16]").to_owned();
    let (_, other) = Client::connect(broker.address, &Connect::new(5, "")).await;
    assert_ne!(other.properties.text(0x12), Some(&*id));
    one.ping().await;
    // The id is an ordinary one: who connects with it takes over.
    let _two = Client::clean(broker.address, 5, &id).await;
    one.disconnected(0x8e).await;
}

#[tokio::test]
async fn an_empty_client_id_of_3_1_1_is_taken_with_a_clean_session_only() {
    let broker = Broker::anonymous().await;
    let mut clean = Client::clean(broker.address, 4, "").await;
    clean.ping().await;
    let mut kept = Client::open(broker.address, 4).await;
    kept.send(Connect::persistent(4, "").bytes()).await;
    // Identifier rejected, and closed [MQTT-3.1.3-8].
    kept.expect_hex("20 02 00 02").await;
    kept.closed().await;
}

#[tokio::test]
async fn an_unknown_level_is_refused_by_name() {
    let broker = Broker::anonymous().await;
    // Unacceptable protocol version; level 6 is answered as far as anyone can know how [MQTT-3.1.2-2].
    for (level, answers) in
        [(3u8, [hex("20 02 00 01"), hex("20 03 00 84 00")]), (6, [hex("20 03 00 84 00"), hex("20 02 00 01")])]
    {
        let mut client = Client::open(broker.address, 5).await;
        client.send([&hex("10 0d 0004 4d515454")[..], &[level], &hex("02 003c 0001 61")].concat()).await;
        let got = client.packet().await;
        let connack = got.connack();
        assert!(answers.contains(&got.0) || connack.reason == 0x84, "level {level}: {got:?}");
        client.closed().await;
    }
    broker.admin.metric_when(r#"tombolo_connections_refused_total{reason="unsupported_version"}"#, 2.0).await;
}

#[tokio::test]
async fn a_wrong_protocol_name_is_closed_without_an_answer() {
    let broker = Broker::anonymous().await;
    for name in ["0004 6d717474", "0006 4d5149736470", "0004 48545450"] {
        let mut client = Client::open(broker.address, 4).await;
        let body = hex(&format!("{name} 04 02 003c 0001 61"));
        client.send(tombolo_tests::packet::packet(0x10, &body)).await;
        client.closed().await;
    }
}

#[tokio::test]
async fn the_reserved_connect_flag_must_be_0() {
    let broker = Broker::anonymous().await;
    // [MQTT-3.1.2-3]
    let mut client = Client::open(broker.address, 4).await;
    client.send_hex("10 0d 0004 4d515454 04 03 003c 0001 61").await;
    client.closed().await;
    let mut client = Client::open(broker.address, 5).await;
    client.send_hex("10 0e 0004 4d515454 05 03 003c 00 0001 61").await;
    assert!(client.rest().await.iter().all(|p| p.connack().reason == 0x81));
}

#[tokio::test]
async fn a_will_of_qos_3_and_will_flags_without_a_will_are_refused() {
    let broker = Broker::anonymous().await;
    // QoS 3 [MQTT-3.1.2-12]; QoS 1 and RETAIN without the will flag [MQTT-3.1.2-11] [MQTT-3.1.2-13].
    for flags in ["1e", "0a", "22"] {
        let mut client = Client::open(broker.address, 4).await;
        client.send_hex(&format!("10 13 0004 4d515454 04 {flags} 003c 0001 61 0001 74 0001 77")).await;
        client.closed().await;
    }
}

#[tokio::test]
async fn a_password_needs_a_user_name_in_3_1_1_and_not_in_5() {
    let broker = Broker::anonymous().await;
    let mut connect = Connect::new(4, "p");
    connect.password = Some(b"secret".to_vec());
    let mut client = Client::open(broker.address, 4).await;
    client.send(connect.bytes()).await;
    // [MQTT-3.1.2-22]
    client.closed().await;
    connect.level = 5;
    let mut client = Client::open(broker.address, 5).await;
    client.send(connect.bytes()).await;
    // Whatever becomes of it, it is no malformed packet.
    assert_ne!(client.packet().await.connack().reason, 0x81);
}

#[tokio::test]
async fn enhanced_authentication_is_refused_by_name() {
    let broker = Broker::anonymous().await;
    let mut client = Client::open(broker.address, 5).await;
    client.send(Connect::new(5, "a").with(property::authentication_method("SCRAM-SHA-1")).bytes()).await;
    // Bad authentication method [MQTT-4.12.0-1].
    assert_eq!(client.packet().await.connack().reason, 0x8c);
    client.closed().await;
}

#[tokio::test]
async fn a_client_that_takes_no_packet_of_the_size_of_connack_is_refused_and_its_session_left_alone() {
    let broker = Broker::anonymous().await;
    let mut before = Client::clean(broker.address, 5, "tiny").await;
    let connect = |size: u8| Connect::new(5, "tiny").with([0x27, 0, 0, 0, size]);
    // Where a refusal fits, it says Packet too large; nothing larger may be sent [MQTT-3.1.2-24].
    for (size, answer) in [(4, None), (5, Some(0x95)), (15, Some(0x95))] {
        let mut client = Client::open(broker.address, 5).await;
        client.send(connect(size).bytes()).await;
        let got: Vec<u8> = client.rest().await.iter().map(|got| got.connack().reason).collect();
        assert_eq!(got, Vec::from_iter(answer), "{size}");
    }
    broker.admin.metric_when(r#"tombolo_connections_refused_total{reason="packet_too_large"}"#, 3.0).await;
    before.ping().await;
    let (mut client, _) = Client::connect(broker.address, &connect(60)).await;
    client.ping().await;
    before.disconnected(0x8e).await;
}

#[tokio::test]
async fn a_second_connect_ends_the_connection() {
    let broker = Broker::anonymous().await;
    for level in [4, 5] {
        let mut client = Client::clean(broker.address, level, "twice").await;
        client.send(Connect::new(level, "twice").bytes()).await;
        // Protocol Error [MQTT-3.1.0-2].
        client.refused(0x82).await;
    }
}

#[tokio::test]
async fn bytes_right_behind_connect_are_not_lost() {
    let broker = Broker::anonymous().await;
    for level in [4, 5] {
        let id = format!("eager-{level}");
        let topic = format!("eager/{level}");
        let mut client = Client::open(broker.address, level).await;
        let all = [
            Connect::new(level, &id).bytes(),
            tombolo_tests::packet::subscribe(level, 7, &[(&topic, 1)]),
            Publish::new(level, &topic, "x").qos(1, 9).bytes(),
            tombolo_tests::packet::PINGREQ.to_vec(),
        ]
        .concat();
        client.send(all).await;
        assert_eq!(client.packet().await.connack().reason, 0);
        client.expect(tombolo_tests::packet::suback(level, 7, &[1])).await;
        let mut kinds = Vec::new();
        for _ in 0..3 {
            kinds.push(client.packet().await.kind());
        }
        kinds.sort_unstable();
        // PUBLISH, PUBACK, PINGRESP.
        assert_eq!(kinds, [0x30, 0x40, 0xd0]);
    }
}

#[tokio::test]
async fn a_connect_that_comes_byte_by_byte_is_a_connect() {
    let broker = Broker::anonymous().await;
    let mut client = Client::open(broker.address, 5).await;
    let will = Will { topic: "w".into(), payload: b"p".to_vec(), ..Will::default() };
    for byte in Connect::new(5, "slow").will(will).bytes() {
        client.send([byte]).await;
    }
    assert_eq!(client.packet().await.connack().reason, 0);
    client.ping().await;
}

#[tokio::test]
async fn a_property_that_is_unknown_repeated_or_cut_is_malformed_or_a_protocol_error() {
    let broker = Broker::anonymous().await;
    let twice = [property::session_expiry(1), property::session_expiry(2)].concat();
    let cases: [(&[u8], u8); 5] = [
        (&[0x7e, 0], 0x81),                // no such property
        (&property::topic_alias(1), 0x82), // not one of CONNECT
        (&twice, 0x82),                    // once only [MQTT-3.1.2.11.2]
        (&property::receive_maximum(0), 0x82),
        (&[0x11, 0, 0], 0x81), // ends within its value
    ];
    for (content, reason) in cases {
        let mut client = Client::open(broker.address, 5).await;
        client.send(Connect::new(5, "bad").with(content).bytes()).await;
        let got = client.rest().await;
        // Both reasons name the same fault to a person; a broker may also just close.
        let named = |p: &tombolo_tests::received::Packet| matches!(p.connack().reason, 0x81 | 0x82);
        assert!(got.iter().all(named), "{content:x?}: {got:?} instead of {reason:#x}");
    }
}
