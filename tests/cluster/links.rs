//! Links between clusters of several nodes: each message once, in order, whichever nodes the connections join, and whichever
//! of them die.

use std::collections::BTreeMap;
use std::time::Duration;

use tombolo_broker_api::{Accept, Dial, Link, LinkStatus, Route};
use tombolo_tests::client::Client;
use tombolo_tests::cluster::Cluster;
use tombolo_tests::links::dial;
use tombolo_tests::packet::{self, PINGREQ, Publish};
use tombolo_tests::proxy::{Proxy, Weather};

/// Two clusters; `near` dials.
struct Linked {
    near: Cluster,
    far: Cluster,
    /// From each node of `near` to each of `far`.
    proxies: BTreeMap<(usize, usize), Proxy>,
}

/// A side of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Near,
    Far,
}

const USER: &str = "link-user";
const FILES: [(&str, &str); 2] = [("user", USER), ("password", "link-password")];

fn link(name: &str, remote: &str, dial: Option<Dial>) -> Link {
    let users = if dial.is_none() { vec![USER.to_owned()] } else { Vec::new() };
    let accept = Accept { users, password_files: [(USER.to_owned(), "password".into())].into(), any_user: false };
    Link {
        name: name.to_owned(),
        remote_cluster: remote.to_owned(),
        remote_cluster_id: None,
        enabled: true,
        accept: if dial.is_none() { accept } else { Accept::default() },
        dial,
        receive: vec![Route { filters: vec!["t/#".to_owned()], except: Vec::new(), max_qos: 2 }],
        send: None,
        max_hops: 1,
        spool: Default::default(),
    }
}

impl Linked {
    /// So many nodes at each side, of which each dials those of the other that `dials` says.
    async fn start(near: usize, far: usize, dials: impl Fn(usize, usize) -> bool) -> Self {
        let far_side =
            Cluster::named("far", far, &FILES, |_, config| config.links = vec![link("link", "near", None)]).await;
        let mut proxies = BTreeMap::new();
        for here in 0..near {
            for there in 0..far {
                proxies.insert((here, there), Proxy::start(far_side.address(there)).await);
            }
        }
        let near_side = Cluster::named("near", near, &FILES, |here, config| {
            let dialled = (0..far).filter(|there| dials(here, *there));
            let servers = dialled.map(|there| format!("mqtt://{}", proxies[&(here, there)].address)).collect();
            config.links = vec![link("link", "far", Some(dial(servers, None)))];
        })
        .await;
        let linked = Self { near: near_side, far: far_side, proxies };
        for side in [Side::Near, Side::Far] {
            for place in 0..linked.side(side).nodes.len() {
                linked.ready(side, place).await;
            }
        }
        linked
    }

    fn side(&self, side: Side) -> &Cluster {
        match side {
            Side::Near => &self.near,
            Side::Far => &self.far,
        }
    }

    /// Awaits the link of a node as wanted.
    async fn sees(&self, side: Side, place: usize, what: &str, holds: impl Fn(&LinkStatus) -> bool) -> LinkStatus {
        self.side(side).nodes[place].admin.link_when("link", what, holds).await
    }

    async fn ready(&self, side: Side, place: usize) -> LinkStatus {
        self.sees(side, place, "ready", |link| link.ready).await
    }

    /// Awaits that each node but those told routes so many filters of the other side, and knows that it is heard.
    async fn knows(&self, side: Side, filters: u64, but: Option<usize>) {
        for place in (0..self.side(side).nodes.len()).filter(|place| Some(*place) != but) {
            self.sees(side, place, "interest known", |link| link.ready && link.filters_served == filters).await;
        }
    }

    /// No connection of a node of `near` comes about any more, and those that stand break.
    fn isolate(&self, near: usize) {
        for ((here, _), proxy) in &self.proxies {
            if *here == near {
                proxy.set(Weather { refuse: true, ..Weather::default() });
                proxy.cut();
            }
        }
    }

    /// Awaits that nothing waits for the other side at a node.
    async fn sent(&self, side: Side, place: usize) {
        self.sees(side, place, "all sent", |link| link.spool.messages == 0).await;
    }
}

/// A publisher with a number of its own, which counts what it publishes.
struct Publisher {
    client: Client,
    number: u32,
    published: u32,
}

impl Publisher {
    async fn new(cluster: &Cluster, place: usize, number: u32) -> Self {
        let client = Client::clean(cluster.address(place), 5, &format!("publisher-{number}")).await;
        Self { client, number, published: 0 }
    }

    /// Sends so many messages of QoS 1, whose acknowledgements are still to come.
    async fn send(&mut self, messages: u32) {
        let packets: Vec<u8> = (0..messages).flat_map(|_| self.next(1).1).collect();
        self.client.send(packets).await;
    }

    fn next(&mut self, qos: u8) -> (u16, Vec<u8>) {
        self.published += 1;
        let payload: Vec<u8> = [self.number, self.published].iter().flat_map(|n| n.to_be_bytes()).collect();
        let id = (self.published % 60_000) as u16 + 1;
        let topic = format!("t/{}", self.number);
        (id, Publish::new(5, &topic, payload).qos(qos, id).bytes())
    }

    /// Publishes one message at this QoS, 1 or 2, and completes it.
    async fn publish(&mut self, qos: u8) {
        let (id, packet) = self.next(qos);
        self.client.send(packet).await;
        if qos == 1 {
            assert!(self.client.packet().await.ack(0x40).reason < 0x80);
            return;
        }
        assert!(self.client.packet().await.ack(0x50).reason < 0x80);
        self.client.send(packet::pubrel(id)).await;
        assert!(self.client.packet().await.ack(0x70).reason < 0x80);
    }
}

/// Publishes so many messages by each of these, without waiting in between; `meanwhile` happens when half of them are on their way.
async fn burst(publishers: &mut [Publisher], messages: u32, meanwhile: impl FnOnce()) {
    for publisher in &mut *publishers {
        publisher.send(messages / 2).await;
    }
    meanwhile();
    for publisher in &mut *publishers {
        publisher.send(messages / 2).await;
    }
    for publisher in publishers {
        for _ in 0..messages / 2 * 2 {
            assert!(publisher.client.packet().await.ack(0x40).reason < 0x80);
        }
    }
}

/// A subscriber that knows what it got.
struct Subscriber {
    name: String,
    client: Client,
    got: BTreeMap<u32, u32>,
}

impl Subscriber {
    async fn new(cluster: &Cluster, place: usize, name: &str) -> Self {
        let client = Client::subscriber(cluster.address(place), 5, name, &[("t/#", 2)]).await;
        Self { name: name.to_owned(), client, got: BTreeMap::new() }
    }

    /// Takes the next packet; true if that was a PINGRESP. Each message must be the one after the last of its publisher.
    async fn take(&mut self) -> bool {
        let packet = self.client.packet().await;
        match packet.kind() {
            0x30 => {
                let message = packet.message(5);
                match message.flags & 6 {
                    2 => self.client.send(packet::puback(message.id)).await,
                    4 => self.client.send(packet::pubrec(message.id)).await,
                    _ => {}
                }
                let number = |at: usize| u32::from_be_bytes(message.payload[at..at + 4].try_into().expect("a number"));
                let (publisher, n) = (number(0), number(4));
                let last = self.got.entry(publisher).or_insert(0);
                assert_eq!(n, *last + 1, "{} got {n} of publisher {publisher} behind {last}", self.name);
                *last = n;
                false
            }
            0x60 => {
                self.client.send(packet::pubcomp(packet.ack(0x62).id)).await;
                false
            }
            0xd0 => true,
            _ => panic!("{packet:?} between messages"),
        }
    }

    /// Takes all that these have published, and nothing besides.
    async fn takes_all(&mut self, publishers: &[&Publisher]) {
        let lacks = |got: &BTreeMap<u32, u32>| {
            publishers.iter().any(|p| got.get(&p.number).copied().unwrap_or(0) < p.published)
        };
        while lacks(&self.got) {
            self.take().await;
        }
        // What comes twice would be here soon.
        tokio::time::sleep(Duration::from_millis(300)).await;
        self.client.send(PINGREQ).await;
        while !self.take().await {}
    }
}

/// Subscribers and publishers at every node of both sides but these, all known everywhere.
async fn clients(linked: &Linked, but: Option<usize>) -> (Vec<Subscriber>, Vec<Publisher>) {
    let (mut subscribers, mut publishers) = (Vec::new(), Vec::new());
    for (side, name, first) in [(Side::Near, "near", 100), (Side::Far, "far", 200)] {
        let cluster = linked.side(side);
        for place in (0..cluster.nodes.len()).filter(|place| Some(*place) != but) {
            subscribers.push(Subscriber::new(cluster, place, &format!("{name}-{place}-subscriber")).await);
            publishers.push(Publisher::new(cluster, place, first + place as u32).await);
        }
    }
    for side in [Side::Near, Side::Far] {
        linked.knows(side, 1, None).await;
    }
    (subscribers, publishers)
}

/// Each publishes so many times, QoS 1 and 2 in turn.
async fn each_publishes(publishers: &mut [Publisher], times: u8) {
    for round in 0..times {
        for publisher in &mut *publishers {
            publisher.publish(1 + round % 2).await;
        }
    }
}

async fn all_arrives(subscribers: &mut [Subscriber], publishers: &[Publisher]) {
    let publishers: Vec<&Publisher> = publishers.iter().collect();
    for subscriber in subscribers {
        subscriber.takes_all(&publishers).await;
    }
}

#[tokio::test]
async fn what_is_published_at_any_node_arrives_once_at_every_node_of_both_clusters() {
    let linked = Linked::start(3, 3, |here, there| here == there).await;
    let (mut subscribers, mut publishers) = clients(&linked, None).await;
    each_publishes(&mut publishers, 20).await;
    all_arrives(&mut subscribers, &publishers).await;
}

#[tokio::test]
async fn one_node_that_takes_all_connections_is_enough_for_all_nodes_of_its_cluster() {
    let linked = Linked::start(3, 3, |_, there| there == 0).await;
    let at_first = linked.ready(Side::Far, 0).await;
    assert_eq!((at_first.accepted, at_first.by_way), (3, 0), "{at_first:?}");
    for place in 1..3 {
        let by_way = linked.ready(Side::Far, place).await;
        assert_eq!((by_way.accepted, by_way.by_way), (0, 1), "{by_way:?}");
    }
    let (mut subscribers, mut publishers) = clients(&linked, None).await;
    each_publishes(&mut publishers, 20).await;
    all_arrives(&mut subscribers, &publishers).await;
}

#[tokio::test]
async fn a_node_that_loses_its_connection_goes_by_way_of_others_and_back_without_loss_or_repeat() {
    let linked = Linked::start(3, 3, |here, there| here == there).await;
    let (mut subscribers, mut publishers) = clients(&linked, None).await;
    for round in 0_u32..160 {
        match round {
            40 => linked.isolate(0),
            100 => linked.proxies.values().for_each(|proxy| proxy.set(Weather::default())),
            _ => {}
        }
        for publisher in &mut publishers {
            publisher.publish(1 + (round % 2) as u8).await;
        }
        if round == 60 {
            linked.sees(Side::Near, 0, "by way of another", |link| link.ready && link.by_way == 1).await;
        }
    }
    linked.sees(Side::Near, 0, "direct again", |link| link.ready && link.dialled == 1 && link.by_way == 0).await;
    all_arrives(&mut subscribers, &publishers).await;
}

#[tokio::test]
async fn connections_that_break_again_and_again_and_come_back_to_other_nodes_lose_and_repeat_nothing() {
    let linked = Linked::start(2, 3, |_, _| true).await;
    let (mut subscribers, mut publishers) = clients(&linked, None).await;
    for round in 0_usize..300 {
        if round % 25 == 7 {
            linked.proxies.iter().filter(|((here, _), _)| *here == round / 25 % 2).for_each(|(_, proxy)| proxy.cut());
        }
        for publisher in &mut publishers {
            publisher.publish(1 + (round % 2) as u8).await;
        }
    }
    all_arrives(&mut subscribers, &publishers).await;
}

#[tokio::test]
async fn nodes_that_are_killed_in_a_stream_of_messages_make_no_loss_and_no_repeat() {
    let mut linked = Linked::start(3, 3, |_, _| true).await;
    let (mut subscribers, mut publishers) = clients(&linked, Some(1)).await;
    for round in 0..6 {
        burst(&mut publishers, 200, || match round {
            1 => linked.far.kill(1),
            4 => linked.near.kill(1),
            _ => {}
        })
        .await;
        // Again and again connections of the others break too.
        linked.proxies.iter().filter(|((here, _), _)| *here == round % 3).for_each(|(_, proxy)| proxy.cut());
    }
    all_arrives(&mut subscribers, &publishers).await;
}

#[tokio::test]
async fn a_node_of_each_side_that_is_killed_takes_nothing_with_it_that_others_published_and_want() {
    let mut linked = Linked::start(3, 3, |_, _| true).await;
    let (mut subscribers, mut publishers) = clients(&linked, Some(1)).await;
    for round in 0_u32..200 {
        match round {
            60 => linked.far.kill(1),
            120 => linked.near.kill(1),
            _ => {}
        }
        for publisher in &mut publishers {
            publisher.publish(1 + (round % 2) as u8).await;
        }
    }
    for side in [Side::Near, Side::Far] {
        for place in [0, 2] {
            linked.sent(side, place).await;
        }
    }
    all_arrives(&mut subscribers, &publishers).await;
}
