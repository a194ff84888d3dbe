//! The second act: three nodes on each side, one of which is killed while clients publish, and a count at the end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::sync::mpsc;
use tombolo::client::connection::{Connection, Happened, Message};

use crate::process::Up;
use crate::story::{CLOUD, LOCAL, Side, TOPIC, connection, interest_crossed, sides, subscribe};

/// Messages of each publisher.
const EACH: u32 = 300;
/// Time between two of them.
const PACE: Duration = Duration::from_millis(10);
/// After so many of the first publisher its node is killed.
const KILLED_AFTER: u32 = 100;
/// Time that a publisher waits for an answer before it goes to another node.
const ANSWERED: Duration = Duration::from_secs(2);
/// Time that a publisher has for one message, whatever becomes of nodes.
const PUBLISHED: Duration = Duration::from_secs(30);
/// Time for the last message to be seen everywhere.
const SEEN: Duration = Duration::from_secs(20);
/// Time in which nothing more may arrive.
const QUIET: Duration = Duration::from_millis(500);
/// Arrivals that wait to be counted.
const SEEN_MAX: usize = 1024;

/// How often each message was seen, by subscriber.
type Counts = Arc<Mutex<Vec<HashMap<String, u32>>>>;

/// What a publisher has behind it.
#[derive(Default)]
struct Published {
    /// Payloads that were acknowledged, each with the name of the node that did.
    acknowledged: Vec<(String, String)>,
    /// Publishes that were repeated at another node, since no answer came.
    repeated: usize,
}

/// Plays the act.
///
/// # Errors
/// A message that a node which lives has acknowledged did not arrive at a subscriber, or one arrived too often.
pub async fn play(up: &Up) -> Result<()> {
    let (local, cloud) = (sides(up, LOCAL, "mqttv5")?, sides(up, CLOUD, "mqttv311")?);
    println!("act 2   three nodes on each side; one is killed while clients publish");
    // The last local node is to be killed: nobody subscribes there.
    let (doomed, safe) = local.split_last().context("the local side has no node")?;
    let watched: Vec<&Side> = safe.iter().chain(&cloud).collect();
    let (sender, mut seen) = mpsc::channel(SEEN_MAX);
    for (at, side) in watched.iter().enumerate() {
        subscribe(side, at, None, sender.clone()).await?;
    }
    drop(sender);
    println!("        subscribed at {}", watched.iter().map(|side| &*side.name).collect::<Vec<_>>().join(", "));
    interest_crossed(&local.iter().chain(&cloud).collect::<Vec<_>>()).await?;
    let counts: Counts = Arc::new(Mutex::new(vec![HashMap::new(); watched.len()]));
    let counting = Arc::clone(&counts);
    tokio::spawn(async move {
        while let Some(message) = seen.recv().await {
            *lock(&counting)[message.side].entry(message.payload).or_default() += 1;
        }
    });
    // Each begins at another node, the first at the one that is killed, and goes around when it gets no answer.
    let (reached, mut progress) = mpsc::channel(1);
    let mut publishers = Vec::new();
    for (number, (nodes, first)) in
        [(&local, local.len() - 1), (&local, 0), (&cloud, 0), (&cloud, 1)].iter().enumerate()
    {
        let mut nodes = Vec::clone(nodes);
        nodes.rotate_left(*first);
        publishers.push(tokio::spawn(publish_all(number, nodes, (number == 0).then(|| reached.clone()))));
    }
    drop(reached);
    if progress.recv().await.is_some() {
        up.kill(&doomed.name)?;
        println!("        killed {} (kill -9) while {} clients publish with QoS 1", doomed.name, publishers.len());
    }
    let mut all = Published::default();
    for publisher in publishers {
        let Published { acknowledged, repeated } = publisher.await.context("a publisher ended")??;
        all.acknowledged.extend(acknowledged);
        all.repeated += repeated;
    }
    let deadline = Instant::now() + SEEN;
    while missing(&counts, &all, |_| true) > 0 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(QUIET).await;
    report(&watched, &counts, &all, &doomed.name)
}

/// Publishes all messages of one client one after the other; a node that gives no answer is left for the next.
async fn publish_all(number: usize, nodes: Vec<Side>, mut progress: Option<mpsc::Sender<()>>) -> Result<Published> {
    let mut published = Published::default();
    let mut at = 0;
    let mut open: Option<Connection> = None;
    for count in 1..=EACH {
        let payload = format!("{number}/{count}");
        let deadline = Instant::now() + PUBLISHED;
        loop {
            let side = &nodes[at % nodes.len()];
            let tried = tokio::time::timeout(ANSWERED, publish(&mut open, side, number, &payload)).await;
            if let Ok(Ok(())) = tried {
                published.acknowledged.push((payload, side.name.clone()));
                break;
            }
            if Instant::now() > deadline {
                bail!("no node has acknowledged message {payload} within {} s", PUBLISHED.as_secs());
            }
            (open, at) = (None, at + 1);
            published.repeated += 1;
        }
        if count == KILLED_AFTER
            && let Some(progress) = progress.take()
        {
            // Whoever waited may have given up.
            let _ = progress.send(()).await;
        }
        tokio::time::sleep(PACE).await;
    }
    Ok(published)
}

/// Publishes a message and waits until the node has it.
async fn publish(open: &mut Option<Connection>, side: &Side, number: usize, payload: &str) -> Result<()> {
    let message = Message { topic: TOPIC.into(), payload: payload.as_bytes().to_vec(), qos: 1, ..Message::default() };
    let connection = match open {
        Some(connection) => {
            connection.publish(&message)?;
            connection
        }
        None => open.insert(connection(side, &format!("pub-{number}"), None)?),
    };
    loop {
        match connection.next().await.map_err(|lost| anyhow::anyhow!("{}: {}", side.name, lost.message))? {
            Happened::Connected { .. } => connection.publish(&message)?,
            Happened::Published(Ok(())) => return Ok(()),
            Happened::Published(Err(why)) => bail!("{}: refused: {why}", side.name),
            Happened::Closed => bail!("{}: closed", side.name),
            Happened::Subscribed(_) | Happened::Message(_) | Happened::Other(_) => {}
        }
    }
}

/// How many acknowledged messages of the nodes meant are missing at a subscriber.
fn missing(counts: &Counts, all: &Published, meant: impl Fn(&str) -> bool) -> usize {
    let counts = lock(counts);
    let acknowledged = || all.acknowledged.iter().filter(|(_, node)| meant(node));
    counts.iter().map(|seen| acknowledged().filter(|(payload, _)| !seen.contains_key(payload)).count()).sum()
}

fn report(watched: &[&Side], counts: &Counts, all: &Published, doomed: &str) -> Result<()> {
    let lost = missing(counts, all, |node| node != doomed);
    let lost_with_it = missing(counts, all, |node| node == doomed);
    println!(
        "        {} messages acknowledged, {} publishes repeated at another node",
        all.acknowledged.len(),
        all.repeated
    );
    let mut worst = 0;
    for (side, seen) in watched.iter().zip(lock(counts).iter()) {
        let twice: u32 = seen.values().map(|count| count - 1).sum();
        println!("        seen at {}: {} different ones, {twice} twice", side.name, seen.len());
        worst = worst.max(twice as usize);
    }
    println!("        missing: {lost} acknowledged by nodes that live, {lost_with_it} by the one that was killed");
    if lost > 0 {
        bail!("{lost} messages did not arrive although a node that lives has acknowledged them");
    }
    if worst > all.repeated {
        bail!("{worst} messages arrived twice, and only {} were published twice", all.repeated);
    }
    Ok(())
}

fn lock(counts: &Counts) -> std::sync::MutexGuard<'_, Vec<HashMap<String, u32>>> {
    // A count is never half-changed.
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}
