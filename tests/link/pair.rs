//! Two brokers, `near` and `far`, and a proxy between them; `near` dials.

use tombolo_broker_api::{Accept, Config, Dial, DialTls, Link, Route};
use tombolo_tests::broker::{self, Broker};
use tombolo_tests::client::Client;
use tombolo_tests::links;
use tombolo_tests::packet::{self, Publish};
use tombolo_tests::proxy::Proxy;

/// User and password of the link, and files for both sides.
pub const USER: &str = "link-user";
/// Its password.
pub const PASSWORD: &str = "link-password";
/// The files that `dial` and `accept` name.
pub const FILES: [(&str, &str); 2] = [("user", USER), ("password", PASSWORD)];

/// What is linked.
pub struct Pair {
    /// It dials.
    pub near: Broker,
    /// It is dialled.
    pub far: Broker,
    /// The network between them.
    pub proxy: Proxy,
}

/// All that these filters match.
pub fn route(filters: &[&str]) -> Vec<Route> {
    vec![Route { filters: filters.iter().map(|f| (*f).to_owned()).collect(), except: Vec::new(), max_qos: 2 }]
}

/// A link with `remote` that receives these filters and only accepts.
pub fn accepting(name: &str, remote: &str, receive: &[&str]) -> Link {
    let accept =
        Accept { users: vec![USER.into()], password_files: [(USER.into(), "password".into())].into(), any_user: false };
    Link {
        name: name.to_owned(),
        remote_cluster: remote.to_owned(),
        remote_cluster_id: None,
        enabled: true,
        dial: None,
        accept,
        receive: if receive.is_empty() { Vec::new() } else { route(receive) },
        send: None,
        max_hops: 1,
        spool: Default::default(),
    }
}

/// How `server` is dialled.
pub fn dial(server: &str, tls: Option<DialTls>) -> Dial {
    links::dial(vec![server.to_owned()], tls)
}

/// A link with `remote` that dials `server` and accepts nobody.
pub fn dialling(name: &str, remote: &str, receive: &[&str], server: &str) -> Link {
    let tls = None;
    Link { dial: Some(dial(server, tls)), accept: Accept::default(), ..accepting(name, remote, receive) }
}

impl Pair {
    /// Both sides receive `t/#`.
    pub async fn start() -> Self {
        Self::with(|_, _| {}).await
    }

    /// The same, after a change of both configurations.
    pub async fn with(change: impl FnOnce(&mut Config, &mut Config)) -> Self {
        let (mut near, mut far) = (broker::config("near"), broker::config("far"));
        let proxy = Proxy::start(far.listeners[0].bind).await;
        near.links = vec![dialling("to-far", "far", &["t/#"], &format!("mqtt://{}", proxy.address))];
        far.links = vec![accepting("to-near", "near", &["t/#"])];
        change(&mut near, &mut far);
        let far = Broker::start(far, &FILES).await;
        let near = Broker::start(near, &FILES).await;
        let pair = Self { near, far, proxy };
        pair.ready().await;
        pair
    }

    /// Awaits that both sides are ready.
    pub async fn ready(&self) {
        self.near.admin.link_ready("to-far").await;
        self.far.admin.link_ready("to-near").await;
    }

    /// Awaits that `near` knows so many filters of `far`.
    pub async fn near_knows(&self, filters: u64) {
        self.near.admin.link_when("to-far", "interest known", |l| l.ready && l.filters_served == filters).await;
    }

    /// Awaits that `far` knows so many filters of `near`.
    pub async fn far_knows(&self, filters: u64) {
        self.far.admin.link_when("to-near", "interest known", |l| l.ready && l.filters_served == filters).await;
    }
}

/// Publishes a number at QoS 1 or 2 and completes it.
pub async fn publish(client: &mut Client, topic: &str, qos: u8, n: u32) {
    let id = (n % 60_000) as u16 + 1;
    client.send(Publish::new(5, topic, n.to_be_bytes()).qos(qos, id).bytes()).await;
    if qos == 1 {
        assert!(client.packet().await.ack(0x40).reason < 0x80);
        return;
    }
    assert!(client.packet().await.ack(0x50).reason < 0x80);
    client.send(packet::pubrel(id)).await;
    assert!(client.packet().await.ack(0x70).reason < 0x80);
}

/// The next number that is not a message again on this connection, acknowledged.
pub async fn take(client: &mut Client) -> u32 {
    loop {
        let packet = client.packet().await;
        match packet.kind() {
            0x30 => {
                let message = packet.message(5);
                match message.flags & 6 {
                    2 => client.send(packet::puback(message.id)).await,
                    4 => client.send(packet::pubrec(message.id)).await,
                    _ => {}
                }
                return u32::from_be_bytes(message.payload[..4].try_into().expect("a number"));
            }
            0x60 => client.send(packet::pubcomp(packet.ack(0x62).id)).await,
            _ => panic!("{packet:?} between messages"),
        }
    }
}
