//! A client that never reads harms itself alone.

use tombolo_broker_api::{ByteSize, Config};
use tombolo_tests::broker::Broker;
use tombolo_tests::client::Client;
use tombolo_tests::packet::{self, Publish};
use tombolo_tests::placement::{Placement, Site};
use tombolo_tests::scenarios;

scenarios!(
    qos_0_is_dropped_for_who_does_not_read_and_for_nobody_else,
    qos_1_waits_for_who_does_not_read_and_comes_complete_and_in_order,
);

/// Bytes of a payload: many of them fill what kernels buffer.
const PAYLOAD: usize = 16 * 1024;
/// Messages: 64 MiB in all.
const MESSAGES: u16 = 4096;

fn bounded(config: &mut Config) {
    config.tuning.mqtt.max_output_bytes = ByteSize(1 << 20);
    config.tuning.mqtt.max_queued_bytes = ByteSize(8 << 20);
}

/// Memory of the node that has most.
fn rss_mib(site: &Site) -> u64 {
    let resident = |node: &Broker| {
        let status = std::fs::read_to_string(format!("/proc/{}/status", node.child.id())).unwrap_or_default();
        status.lines().find_map(|l| l.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse::<u64>().ok())
    };
    site.nodes.iter().filter_map(resident).max().unwrap_or(0) / 1024
}

async fn qos_0_is_dropped_for_who_does_not_read_and_for_nobody_else(placement: Placement) {
    let site = placement.with(bounded).await;
    let mut deaf = Client::subscriber(site.far, 4, "deaf", &[("flood", 0), ("end", 1)]).await;
    let mut reader = Client::subscriber(site.far, 4, "reader", &[("flood", 0)]).await;
    let mut publisher = Client::clean(site.near, 4, "publisher").await;
    let payload = |i: u16| [&i.to_be_bytes()[..], &[0; PAYLOAD]].concat();
    // In steps, so that only the deaf one is slow.
    for step in (0..MESSAGES).step_by(16) {
        for i in step..step + 16 {
            publisher.publish("flood", payload(i)).await;
        }
        for i in step..step + 16 {
            assert_eq!(reader.message().await.payload[..2], i.to_be_bytes(), "nothing is lost for who reads");
        }
    }
    site.counted(r#"tombolo_messages_dropped_total{reason="output_full"}"#, 1.0).await;
    assert!(rss_mib(&site) < 100, "{} MiB for a client that is bounded to 1 MiB", rss_mib(&site));
    // When it reads again it gets what was kept, in order, and what comes now.
    let first = deaf.message().await;
    assert_eq!(first.payload[..2], [0, 0]);
    publisher.send(Publish::new(4, "end", "").qos(1, 1).bytes()).await;
    let mut last = 0;
    loop {
        let got = deaf.message().await;
        if got.topic == "end" {
            break;
        }
        let i = u16::from_be_bytes([got.payload[0], got.payload[1]]);
        assert!(i > last, "{i} after {last}");
        last = i;
    }
}

async fn qos_1_waits_for_who_does_not_read_and_comes_complete_and_in_order(placement: Placement) {
    let site = placement.with(bounded).await;
    let mut deaf = Client::subscriber(site.far, 5, "deaf", &[("flood", 1)]).await;
    let mut reader = Client::subscriber(site.far, 5, "reader", &[("flood", 0)]).await;
    let mut publisher = Client::clean(site.near, 5, "publisher").await;
    // 6 MiB: above what sockets take, below what the queue may hold.
    for i in 0..384u16 {
        publisher
            .send(Publish::new(5, "flood", [&i.to_be_bytes()[..], &[0; PAYLOAD]].concat()).qos(1, i + 1).bytes())
            .await;
        publisher.expect(packet::puback(i + 1)).await;
        assert_eq!(reader.message().await.payload[..2], i.to_be_bytes());
    }
    for i in 0..384u16 {
        let got = deaf.message().await;
        assert_eq!((&got.payload[..2], got.flags), (&i.to_be_bytes()[..], 0x02));
        deaf.send(packet::puback(got.id)).await;
    }
    deaf.ping().await;
}

#[tokio::test]
async fn a_publisher_that_never_reads_its_acknowledgements_harms_itself_alone() {
    let site = Placement::OneNode.with(bounded).await;
    let mut bystander = Client::subscriber(site.near, 5, "bystander", &[("by", 0)]).await;
    let mut deaf = Client::clean(site.near, 5, "deaf").await;
    // PUBACKs of 4 bytes for as long as the broker takes publishes, at most 32 MiB of them.
    let burst: Vec<u8> = (1..=1000u16).flat_map(|i| Publish::new(5, "x", "").qos(1, i).bytes()).collect();
    let pour = async {
        for _ in 0..2000 {
            deaf.send_anyway(&burst).await;
        }
    };
    // It may be closed, or be held back for ever; neither is waited for.
    let _ = tokio::time::timeout(std::time::Duration::from_secs(3), pour).await;
    bystander.publish("by", "x").await;
    bystander.expect_message("by", "x").await;
    assert!(rss_mib(&site) < 100, "{} MiB", rss_mib(&site));
}

#[tokio::test]
async fn who_asks_without_end_and_reads_no_answer_is_not_read_any_more() {
    let site = Placement::OneNode.with(bounded).await;
    let mut bystander = Client::subscriber(site.near, 5, "bystander", &[("by", 0)]).await;
    let mut deaf = Client::clean(site.near, 5, "deaf").await;
    let burst = packet::PINGREQ.repeat(64 << 10);
    let mut poured = 0;
    // Until the broker takes nothing for a second: an answer for each of 96 MiB of questions would be 96 MiB.
    while poured < 96 << 20 {
        let send = deaf.send_anyway(&burst);
        if tokio::time::timeout(std::time::Duration::from_secs(1), send).await.is_err() {
            break;
        }
        poured += burst.len();
    }
    assert!(poured < 96 << 20, "the broker took all questions though no answer was read");
    bystander.publish("by", "x").await;
    bystander.expect_message("by", "x").await;
    assert!(rss_mib(&site) < 60, "{} MiB", rss_mib(&site));
    // It goes on when it reads.
    for _ in 0..1 << 16 {
        deaf.expect(packet::PINGRESP).await;
    }
}
