//! Clients that publish and listen with QoS 1 while nodes come and go, and a count of what was acknowledged and never came.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rumqttc::{AsyncClient, ConnectReturnCode, Event, EventLoop, MqttOptions, Packet, QoS};

use crate::house::{PATIENCE, eventually};

/// Publishers, and listeners.
const CLIENTS: usize = 3;
/// Between two messages of one publisher.
const PACE: Duration = Duration::from_millis(10);
/// Before a client that lost its connection comes back.
const PAUSE: Duration = Duration::from_millis(200);

/// Where messages go in, where they come out, and about what.
#[derive(Clone, Copy)]
pub struct Way {
    /// Begins the client ids, so that sessions of other traffic are others.
    pub name: &'static str,
    /// Publishers connect here.
    pub from: SocketAddr,
    /// Listeners connect here.
    pub to: SocketAddr,
    /// The topic.
    pub topic: &'static str,
}

/// Traffic of three publishers and three listeners; each has a thread, so that it goes on whatever the test waits for.
pub struct Traffic {
    way: Way,
    publishers: Vec<JoinHandle<usize>>,
    listeners: Vec<JoinHandle<()>>,
    state: Arc<State>,
}

/// What it came to.
#[derive(Debug)]
pub struct Count {
    /// Messages that the brokers acknowledged to their publishers.
    pub acknowledged: usize,
    /// Of these, and for each listener, those that never came.
    pub missing: Vec<String>,
    /// Messages that came to a listener more than once.
    pub repeated: usize,
    /// How often a client lost its connection.
    pub lost_connections: usize,
}

#[derive(Default)]
struct State {
    stopping: AtomicBool,
    ended: AtomicBool,
    subscribed: AtomicUsize,
    lost_connections: AtomicUsize,
    /// Copies of each message, for each listener.
    heard: Mutex<Vec<BTreeMap<String, usize>>>,
}

// === impl Traffic ===

impl Traffic {
    /// Waits until every listener is subscribed.
    pub async fn start(way: Way) -> Self {
        let state = Arc::new(State { heard: Mutex::new(vec![BTreeMap::new(); CLIENTS]), ..State::default() });
        let listening = (0..CLIENTS).map(|number| {
            let state = Arc::clone(&state);
            std::thread::spawn(move || alone(listen(way, number, &state)))
        });
        let listeners = listening.collect();
        eventually("listeners are subscribed", async || state.subscribed.load(SeqCst) >= CLIENTS).await;
        Self { way, publishers: Vec::new(), listeners, state }
    }

    /// What it is about.
    pub fn topic(&self) -> &'static str {
        self.way.topic
    }

    /// Begins to publish.
    pub fn publish(&mut self) {
        let way = self.way;
        let publishing = (0..CLIENTS).map(|number| {
            let state = Arc::clone(&self.state);
            std::thread::spawn(move || alone(publish(way, number, &state)))
        });
        self.publishers = publishing.collect();
    }

    /// Ends it, and gives what is under way the time that it needs.
    pub async fn end(self) -> Count {
        self.state.stopping.store(true, SeqCst);
        let published: Vec<usize> =
            self.publishers.into_iter().map(|publisher| publisher.join().expect("a publisher ends")).collect();
        let wanted: Vec<String> = published
            .iter()
            .enumerate()
            .flat_map(|(publisher, count)| (0..*count).map(move |number| format!("{publisher} {number}")))
            .collect();
        let missing = || {
            let heard = self.state.heard.lock().expect("nobody panicked");
            let of = |(listener, heard): (usize, &BTreeMap<String, usize>)| {
                let missing = wanted.iter().filter(|wanted| !heard.contains_key(*wanted));
                missing.map(|wanted| format!("listener {listener}: {wanted}")).collect::<Vec<_>>()
            };
            heard.iter().enumerate().flat_map(of).collect::<Vec<_>>()
        };
        let begun = Instant::now();
        while !missing().is_empty() && begun.elapsed() < PATIENCE / 2 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let count = Count {
            acknowledged: wanted.len(),
            missing: missing(),
            repeated: {
                let heard = self.state.heard.lock().expect("nobody panicked");
                heard.iter().flat_map(BTreeMap::values).filter(|copies| **copies > 1).count()
            },
            lost_connections: self.state.lost_connections.load(SeqCst),
        };
        self.state.ended.store(true, SeqCst);
        self.listeners.into_iter().for_each(|listener| listener.join().expect("a listener ends"));
        count
    }
}

// === impl State ===

impl State {
    async fn lost(&self) {
        self.lost_connections.fetch_add(1, SeqCst);
        tokio::time::sleep(PAUSE).await;
    }
}

fn alone<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}

fn client(address: SocketAddr, id: &str) -> (AsyncClient, EventLoop) {
    let mut options = MqttOptions::new(id, address.ip().to_string(), address.port());
    options.set_credentials("demo", "demo").set_keep_alive(Duration::from_secs(5)).set_clean_session(false);
    let (client, mut events) = AsyncClient::new(options, 10);
    events.network_options.set_connection_timeout(5);
    (client, events)
}

/// One message at a time, so that what is acknowledged is known; returns how many were.
async fn publish(way: Way, number: usize, state: &State) -> usize {
    let (client, mut events) = client(way.from, &format!("{}-{}-publisher-{number}", way.name, way.topic));
    let mut acknowledged = 0;
    while !state.stopping.load(SeqCst) {
        let payload = format!("{number} {acknowledged}");
        client.publish(way.topic, QoS::AtLeastOnce, false, payload).await.expect("the event loop lives");
        loop {
            match events.poll().await {
                Ok(Event::Incoming(Packet::PubAck(_))) => break,
                Ok(_) => {}
                // What waits for its acknowledgement is sent again by the client.
                Err(_) => state.lost().await,
            }
        }
        acknowledged += 1;
        tokio::time::sleep(PACE).await;
    }
    acknowledged
}

/// A session that outlives its connections.
async fn listen(way: Way, number: usize, state: &State) {
    let (client, mut events) = client(way.to, &format!("{}-{}-listener-{number}", way.name, way.topic));
    while !state.ended.load(SeqCst) {
        let event = tokio::time::timeout(PAUSE, events.poll()).await;
        match event {
            Ok(Ok(Event::Incoming(Packet::ConnAck(ack)))) => {
                if ack.code == ConnectReturnCode::Success && !ack.session_present {
                    client.subscribe(way.topic, QoS::AtLeastOnce).await.expect("the event loop lives");
                }
            }
            Ok(Ok(Event::Incoming(Packet::SubAck(_)))) => {
                state.subscribed.fetch_add(1, SeqCst);
            }
            Ok(Ok(Event::Incoming(Packet::Publish(message)))) => {
                let payload = String::from_utf8_lossy(&message.payload).into_owned();
                let mut heard = state.heard.lock().expect("nobody panicked");
                *heard[number].entry(payload).or_default() += 1;
            }
            Ok(Ok(_)) | Err(_) => {}
            Ok(Err(_)) => state.lost().await,
        }
    }
}
