//! Steps 1 to 3 of the story, each awaited, seen and printed.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Args, FromArgMatches};
use tokio::sync::mpsc;
use tombolo::client::connection::{Connection, Happened, Message};
use tombolo::client::options::Common;
use tombolo::status::{ANSWER, ask};
use tombolo::table::millis;
use tombolo::up::run_file::RunningNode;

use crate::process::Up;

/// The self-hosted cluster.
pub const LOCAL: &str = "deployment-local";
/// The one in the cloud.
pub const CLOUD: &str = "deployment-cloud";
/// What both want of each other.
pub const TOPIC: &str = "from-cluster";
const USER: &str = "demo";
const PASSWORD: &str = "demo";

/// Time for one message to be seen at both sides.
const SEEN: Duration = Duration::from_secs(10);
/// Time in which nothing more may arrive.
const QUIET: Duration = Duration::from_millis(500);

/// Arrivals that wait to be looked at; past it a subscriber waits.
const SEEN_MAX: usize = 64;

/// A node of one of the two clusters.
#[derive(Clone)]
pub struct Side {
    /// Its name; in the first act, where each cluster has one node, that of the cluster.
    pub name: String,
    host: String,
    port: String,
    admin: String,
    /// Version of MQTT that its client speaks.
    version: &'static str,
}

/// A message, and the side where it was seen.
pub struct Seen {
    /// Its place among those that subscribe.
    pub side: usize,
    /// The message.
    pub payload: String,
    qos: u8,
    at: Instant,
}

/// Plays the steps.
///
/// # Errors
/// The first step that was not seen.
pub async fn play(up: &mut Up, certificates: Option<&Path>) -> Result<[Side; 2]> {
    let side = |cluster: &str, version| -> Result<Side> {
        let first = sides(up, cluster, version)?.into_iter().next();
        Ok(Side { name: cluster.to_owned(), ..first.with_context(|| format!("{cluster} does not run"))? })
    };
    let sides = [side(LOCAL, "mqttv5")?, side(CLOUD, "mqttv311")?];
    println!("step 1  two clusters run");
    for side in &sides {
        println!("        {} listens on {}:{}", side.name, side.host, side.port);
    }
    println!("step 2  they are linked, both ways");
    for side in &sides {
        for link in ask(&side.admin, ANSWER)?.links {
            let micros = link.round_trip_micros.context("a link that is ready has no heartbeat")?;
            println!("        {}: link {} is ready, a heartbeat came back in {}", side.name, link.name, millis(micros));
        }
    }
    println!("step 3  one message published at one side is seen at both, once");
    let (sender, mut seen) = mpsc::channel(SEEN_MAX);
    for (at, side) in sides.iter().enumerate() {
        subscribe(side, at, certificates, sender.clone()).await?;
        println!("        subscribed to {TOPIC} in {} as user {USER} ({})", side.name, side.version);
    }
    let since = Instant::now();
    interest_crossed(&sides.each_ref()).await?;
    println!("        each side knows that the other wants it, after {}", millis(since.elapsed().as_micros() as u64));
    let mut published = Vec::new();
    for (from, direction) in [(1, "in the cloud"), (0, "on the local side")] {
        for qos in 0..=2 {
            let payload = format!("published {direction} with QoS {qos}");
            let since = Instant::now();
            publish(&sides[from], certificates, &payload, qos).await?;
            let times = arrivals(&mut seen, &payload, qos, since).await?;
            println!(
                "        {payload}: seen in {LOCAL} after {:.1} ms, in {CLOUD} after {:.1} ms",
                times[0], times[1]
            );
            published.push(payload);
        }
    }
    if let Ok(Some(extra)) = tokio::time::timeout(QUIET, seen.recv()).await {
        bail!("`{}` arrived a second time, in {}", extra.payload, sides[extra.side].name);
    }
    println!("        nothing arrived twice: {} messages, {} arrivals", published.len(), 2 * published.len());
    Ok(sides)
}

/// The nodes of a cluster, whose clients speak this version.
///
/// # Errors
/// What runs is not known, or has no listener.
pub fn sides(up: &Up, cluster: &str, version: &'static str) -> Result<Vec<Side>> {
    let nodes = up.run_file()?.nodes.into_iter().filter(|node| node.cluster == cluster);
    let side = |node: RunningNode| {
        let listener = node.listeners.first().with_context(|| format!("{} has no listener", node.node))?;
        let (host, port) = listener.address.rsplit_once(':').context("a listener's address has no port")?;
        Ok(Side { host: host.to_owned(), port: port.to_owned(), name: node.node, admin: node.admin, version })
    };
    nodes.map(side).collect()
}

/// Flags as of `tombolo pub` and `tombolo sub`.
fn flags(side: &Side, certificates: Option<&Path>) -> Vec<String> {
    let mut flags: Vec<String> =
        ["-h", &side.host, "-p", &side.port, "-u", USER, "-P", PASSWORD].map(str::to_owned).to_vec();
    if let Some(folder) = certificates {
        for (flag, file) in [("--cafile", "ca.crt"), ("--cert", "client.crt"), ("--key", "client.key")] {
            flags.extend([flag.to_owned(), folder.join(file).display().to_string()]);
        }
    }
    flags
}

/// A connection with a node, not made yet.
///
/// # Errors
/// Certificates that cannot be read.
pub fn connection(side: &Side, role: &str, certificates: Option<&Path>) -> Result<Connection> {
    let command = Common::augment_args(clap::Command::new("demo").no_binary_name(true));
    let mut words = flags(side, certificates);
    words.extend(["-V".to_owned(), side.version.to_owned()]);
    let common = Common::from_arg_matches(&command.try_get_matches_from(words)?)?;
    Connection::new(&common, &format!("demo-{role}-{}", side.name))
}

/// Subscribes, and from then on tells what is seen.
///
/// # Errors
/// The node does not grant QoS 2 in time.
pub async fn subscribe(side: &Side, at: usize, certificates: Option<&Path>, seen: mpsc::Sender<Seen>) -> Result<()> {
    let mut connection = connection(side, "sub", certificates)?;
    let filters = [TOPIC.to_owned()];
    let granted = async {
        loop {
            match connection.next().await.map_err(|lost| anyhow::anyhow!("{}: {}", side.name, lost.message))? {
                Happened::Connected { .. } => connection.subscribe(&filters, 2, false)?,
                Happened::Subscribed(words) => match words.into_iter().next() {
                    Some(Ok(2)) => return Ok(()),
                    word => bail!("{}: subscribed to {TOPIC} with QoS 2, and was told {word:?}", side.name),
                },
                Happened::Message(_) | Happened::Published(_) | Happened::Closed | Happened::Other(_) => {}
            }
        }
    };
    tokio::time::timeout(SEEN, granted).await.with_context(|| format!("{}: no answer to SUBSCRIBE", side.name))??;
    tokio::spawn(async move {
        while let Ok(happened) = connection.next().await {
            if let Happened::Message(Message { payload, qos, .. }) = happened {
                let payload = String::from_utf8_lossy(&payload).into_owned();
                if seen.send(Seen { side: at, payload, qos, at: Instant::now() }).await.is_err() {
                    return;
                }
            }
        }
    });
    Ok(())
}

/// Waits until each side was told what the other wants: who publishes before, publishes to nobody.
///
/// # Errors
/// It takes too long.
pub async fn interest_crossed(sides: &[&Side]) -> Result<()> {
    let deadline = Instant::now() + SEEN;
    loop {
        let mut known = true;
        for side in sides {
            known &= ask(&side.admin, ANSWER)?.links.iter().all(|link| link.filters_served > 0);
        }
        if known {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("the sides did not learn within {} s what the other wants", SEEN.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Publishes, and waits until the broker has it.
async fn publish(side: &Side, certificates: Option<&Path>, payload: &str, qos: u8) -> Result<()> {
    let mut connection = connection(side, "pub", certificates)?;
    let message = Message { topic: TOPIC.into(), payload: payload.as_bytes().to_vec(), qos, ..Message::default() };
    let done = async {
        loop {
            match connection.next().await.map_err(|lost| anyhow::anyhow!("{}: {}", side.name, lost.message))? {
                Happened::Connected { .. } => connection.publish(&message)?,
                Happened::Published(Ok(())) => connection.disconnect()?,
                Happened::Published(Err(why)) => bail!("{}: refused: {why}", side.name),
                Happened::Closed => return Ok(()),
                Happened::Subscribed(_) | Happened::Message(_) | Happened::Other(_) => {}
            }
        }
    };
    tokio::time::timeout(SEEN, done).await.with_context(|| format!("{}: no answer to PUBLISH", side.name))?
}

/// Waits until the message was seen at both sides; the milliseconds each took.
async fn arrivals(seen: &mut mpsc::Receiver<Seen>, payload: &str, qos: u8, since: Instant) -> Result<[f64; 2]> {
    let mut times = HashMap::new();
    let deadline = tokio::time::Instant::now() + SEEN;
    while times.len() < 2 {
        let names = [LOCAL, CLOUD];
        let message = match tokio::time::timeout_at(deadline, seen.recv()).await {
            Ok(Some(message)) => message,
            Ok(None) => bail!("both subscribers lost their connection"),
            Err(_) => {
                let missing: Vec<_> = (0..2).filter(|side| !times.contains_key(side)).map(|side| names[side]).collect();
                bail!("`{payload}` was not seen in {} within {} s", missing.join(" and "), SEEN.as_secs());
            }
        };
        if message.payload != payload || times.contains_key(&message.side) {
            bail!("`{}` arrived in {} once too often", message.payload, names[message.side]);
        }
        if message.qos != qos {
            bail!("`{payload}` arrived in {} with QoS {}, published with {qos}", names[message.side], message.qos);
        }
        times.insert(message.side, message.at.duration_since(since).as_secs_f64() * 1000.0);
    }
    Ok([times[&0], times[&1]])
}

/// What to type to see it oneself.
pub fn print_commands(sides: &[Side; 2], certificates: Option<&Path>) {
    let [local, cloud] = sides.each_ref().map(|side| flags(side, certificates).join(" "));
    println!("\nEverything runs until Ctrl-C. In other terminals, subscribe at both sides:");
    println!("  mosquitto_sub {local} -t {TOPIC} -v");
    println!("  mosquitto_sub {cloud} -t {TOPIC} -v");
    println!("and publish at one:");
    println!("  mosquitto_pub {cloud} -t {TOPIC} -q 1 -m 'hello from the cloud'");
    println!("  mosquitto_pub {local} -t {TOPIC} -q 1 -m 'hello from the plant'");
    println!(
        "The same with tombolo: `tombolo sub`, `tombolo pub`. With MQTTX: `mqttx sub`, `mqttx pub`, or in its window"
    );
    for side in sides {
        let scheme = if certificates.is_some() { "mqtts" } else { "mqtt" };
        println!("  {scheme}://{}:{}, user {USER}, password {PASSWORD}  ({})", side.host, side.port, side.name);
    }
    println!("Admin: {}", sides.each_ref().map(|side| format!("http://{}/v1/status", side.admin)).join(", "));
}
