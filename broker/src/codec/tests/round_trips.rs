//! Round trips: what is encoded is decoded to the same, and all valid packets are accepted.

use proptest::prelude::*;

use super::{
    super::{Property, Version, connack, connect, properties, publish, subscribe},
    decode_any, packets,
};

proptest! {
    #[test]
    fn a_publish_comes_back_with_all_its_parts(
        sent in packets::version().prop_flat_map(packets::publish),
        before in prop::collection::vec(any::<u8>(), 0..10),
    ) {
        let mut out = before.clone();
        let layout = publish::encode(&mut out, &sent.parts());
        let frame = &out[before.len()..];
        prop_assert_eq!(publish::layout_from_server(frame, sent.version), Ok(layout));
        prop_assert_eq!(publish::layout(frame, sent.version).is_ok(), sent.subscription_ids.is_empty());
        prop_assert_eq!(layout.total(), frame.len());
        prop_assert_eq!(sent.parts().total(), frame.len());
        prop_assert_eq!(layout.topic(frame), sent.topic.as_bytes());
        prop_assert_eq!(layout.payload(frame), sent.payload);
        prop_assert_eq!((layout.qos(), layout.retain(), layout.dup()), (sent.qos, sent.retain, sent.dup));
        prop_assert_eq!(layout.packet_id(frame), sent.packet_id);
        prop_assert!(layout.properties(frame).starts_with(&sent.properties));
        let all = properties::iter(layout.properties(frame)).collect::<Vec<_>>();
        let ids = all.iter().filter_map(|property| match property {
            Property::SubscriptionId(id) => Some(*id),
            _ => None,
        });
        prop_assert!(ids.eq(sent.subscription_ids.iter().copied()));
        let mut again = Vec::new();
        all.iter().for_each(|property| property.put(&mut again));
        prop_assert_eq!(&again, layout.properties(frame));
        let alias = all.iter().find_map(|property| match property {
            Property::TopicAlias(alias) => Some(*alias),
            _ => None,
        });
        prop_assert_eq!(layout.alias(), alias.unwrap_or(0));
        let mut stripped = Vec::new();
        publish::strip_alias(layout.properties(frame), &mut stripped);
        prop_assert!(properties::iter(&stripped).eq(all.into_iter().filter(|one| !matches!(one, Property::TopicAlias(_)))));
    }

    #[test]
    fn a_patched_publish_differs_in_the_patch_alone(
        sent in packets::publish(Version::V5),
        packet_id in 1..=u16::MAX,
        seconds in any::<u32>(),
    ) {
        let mut frame = sent.bytes();
        let layout = publish::layout_from_server(&frame, Version::V5).expect("a valid PUBLISH");
        layout.set_packet_id(&mut frame, packet_id);
        layout.set_expiry(&mut frame, seconds);
        prop_assert_eq!(publish::layout_from_server(&frame, Version::V5), Ok(layout));
        prop_assert_eq!(layout.packet_id(&frame), if sent.packet_id == 0 { 0 } else { packet_id });
        prop_assert_eq!(layout.expiry(&frame), layout.expiry_at().map(|_| seconds));
        prop_assert_eq!(layout.payload(&frame), sent.payload);
    }

    #[test]
    fn a_connect_comes_back(sent in packets::version().prop_flat_map(packets::connect)) {
        let frame = packets::written(|out| connect::encode(out, &sent));
        prop_assert_eq!(connect::decode(&frame), Ok(sent));
    }

    #[test]
    fn a_connack_comes_back(
        (version, sent) in packets::version().prop_flat_map(|version| (Just(version), packets::connack(version))),
    ) {
        let frame = packets::written(|out| connack::encode(out, version, &sent));
        prop_assert_eq!(connack::decode(&frame, version), Ok(sent));
    }

    #[test]
    fn a_subscribe_comes_back(
        (version, sent) in packets::version().prop_flat_map(|version| (Just(version), packets::subscribe(version))),
    ) {
        let frame = packets::subscribe_bytes(version, &sent);
        let found = subscribe::decode(&frame, version).expect("a valid SUBSCRIBE");
        let filters = found.filters().map(|(filter, options)| (filter.to_owned(), options)).collect();
        prop_assert_eq!((found.packet_id, found.subscription_id, filters), sent);
    }

    #[test]
    fn every_packet_that_we_write_is_accepted(
        (version, frame) in packets::version().prop_flat_map(|version| (Just(version), packets::any_packet(version))),
    ) {
        prop_assert_eq!(decode_any(&frame, version), Ok(()));
    }
}
