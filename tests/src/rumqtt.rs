//! A client that is not ours: rumqttc, in both versions, as a few words.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::wait::within;

/// Messages that may wait to be looked at.
const QUEUE: usize = 100_000;

/// A message as seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The topic.
    pub topic: String,
    /// The payload.
    pub payload: String,
    /// The QoS.
    pub qos: u8,
}

/// What the client was told.
#[derive(Debug)]
enum Event {
    Connected,
    Subscribed,
    /// PUBACK or PUBCOMP.
    Published,
    Message(Seen),
    /// The connection is lost; it is not made again.
    Lost(String),
}

enum Inner {
    V4(rumqttc::AsyncClient),
    V5(rumqttc::v5::AsyncClient),
}

/// A connected client.
pub struct Client {
    inner: Inner,
    events: mpsc::Receiver<Event>,
    task: JoinHandle<()>,
    seen: Vec<Seen>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Client {
    /// Connects as a user.
    pub async fn connect(address: SocketAddr, level: u8, id: &str, user: (&str, &str)) -> Self {
        let (sender, events) = mpsc::channel(QUEUE);
        let (host, port) = (address.ip().to_string(), address.port());
        let (inner, task) = if level == 5 {
            let mut options = rumqttc::v5::MqttOptions::new(id, host, port);
            options.set_credentials(user.0, user.1).set_keep_alive(Duration::from_secs(30));
            let (client, events) = rumqttc::v5::AsyncClient::new(options, 100);
            (Inner::V5(client), tokio::spawn(poll_5(events, sender)))
        } else {
            let mut options = rumqttc::MqttOptions::new(id, host, port);
            options.set_credentials(user.0, user.1).set_keep_alive(Duration::from_secs(30));
            let (client, events) = rumqttc::AsyncClient::new(options, 100);
            (Inner::V4(client), tokio::spawn(poll_4(events, sender)))
        };
        let mut client = Self { inner, events, task, seen: Vec::new() };
        client.until(|e| matches!(e, Event::Connected)).await;
        client
    }

    async fn until(&mut self, wanted: impl Fn(&Event) -> bool) {
        loop {
            let event = within("rumqttc hears from the broker", self.events.recv()).await;
            match event.expect("the task runs as long as the client") {
                Event::Lost(why) => panic!("rumqttc lost its connection: {why}"),
                Event::Message(seen) => self.seen.push(seen),
                event if wanted(&event) => return,
                Event::Connected | Event::Subscribed | Event::Published => {}
            }
        }
    }

    /// Subscribes and awaits SUBACK.
    pub async fn subscribe(&mut self, filter: &str, qos: u8) {
        match &self.inner {
            Inner::V4(c) => c.subscribe(filter, qos_4(qos)).await.expect("the client runs"),
            Inner::V5(c) => c.subscribe(filter, qos_5(qos)).await.expect("the client runs"),
        }
        self.until(|e| matches!(e, Event::Subscribed)).await;
    }

    /// Publishes and, above QoS 0, awaits the acknowledgement.
    pub async fn publish(&mut self, topic: &str, qos: u8, payload: &str) {
        match &self.inner {
            Inner::V4(c) => c.publish(topic, qos_4(qos), false, payload).await.expect("the client runs"),
            Inner::V5(c) => c.publish(topic, qos_5(qos), false, payload.to_owned()).await.expect("the client runs"),
        }
        if qos > 0 {
            self.until(|e| matches!(e, Event::Published)).await;
        }
    }

    /// The next message.
    pub async fn message(&mut self) -> Seen {
        loop {
            if !self.seen.is_empty() {
                return self.seen.remove(0);
            }
            match within("a message", self.events.recv()).await.expect("the task runs as long as the client") {
                Event::Message(seen) => self.seen.push(seen),
                Event::Lost(why) => panic!("rumqttc lost its connection: {why}"),
                Event::Connected | Event::Subscribed | Event::Published => {}
            }
        }
    }

    /// Messages until the one with this payload, without it.
    pub async fn messages_until(&mut self, last: &str) -> Vec<Seen> {
        let mut all = Vec::new();
        loop {
            let seen = self.message().await;
            if seen.payload == last {
                return all;
            }
            all.push(seen);
        }
    }
}

fn qos_4(qos: u8) -> rumqttc::QoS {
    rumqttc::qos(qos).expect("0, 1 or 2")
}

fn qos_5(qos: u8) -> rumqttc::v5::mqttbytes::QoS {
    rumqttc::v5::mqttbytes::qos(qos).expect("0, 1 or 2")
}

async fn poll_4(mut events: rumqttc::EventLoop, sender: mpsc::Sender<Event>) {
    use rumqttc::{Event as Polled, Packet};
    loop {
        let event = match events.poll().await {
            Ok(Polled::Incoming(Packet::ConnAck(_))) => Event::Connected,
            Ok(Polled::Incoming(Packet::SubAck(_))) => Event::Subscribed,
            Ok(Polled::Incoming(Packet::PubAck(_) | Packet::PubComp(_))) => Event::Published,
            Ok(Polled::Incoming(Packet::Publish(p))) => {
                let payload = String::from_utf8_lossy(&p.payload).into_owned();
                Event::Message(Seen { topic: p.topic, payload, qos: p.qos as u8 })
            }
            Ok(_) => continue,
            Err(e) => Event::Lost(e.to_string()),
        };
        let lost = matches!(event, Event::Lost(_));
        if sender.send(event).await.is_err() || lost {
            return;
        }
    }
}

async fn poll_5(mut events: rumqttc::v5::EventLoop, sender: mpsc::Sender<Event>) {
    use rumqttc::v5::Event as Polled;
    use rumqttc::v5::mqttbytes::v5::Packet;
    loop {
        let event = match events.poll().await {
            Ok(Polled::Incoming(Packet::ConnAck(_))) => Event::Connected,
            Ok(Polled::Incoming(Packet::SubAck(_))) => Event::Subscribed,
            Ok(Polled::Incoming(Packet::PubAck(_) | Packet::PubComp(_))) => Event::Published,
            Ok(Polled::Incoming(Packet::Publish(p))) => {
                let payload = String::from_utf8_lossy(&p.payload).into_owned();
                let topic = String::from_utf8_lossy(&p.topic).into_owned();
                Event::Message(Seen { topic, payload, qos: p.qos as u8 })
            }
            Ok(_) => continue,
            Err(e) => Event::Lost(e.to_string()),
        };
        let lost = matches!(event, Event::Lost(_));
        if sender.send(event).await.is_err() || lost {
            return;
        }
    }
}
