//! `tombolo ping`: publishes a message, hears it on a second connection, and says how long that took.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use tokio::time::Instant;

use super::connection::{Connection, Happened, Lost, Message};
use super::options::Common;
use crate::clock::unix_time;

const PAUSE_FIRST: Duration = Duration::from_millis(250);
const PAUSE_LAST: Duration = Duration::from_secs(2);
/// Time to say goodbye when all is done.
const GOODBYE: Duration = Duration::from_secs(1);

/// Flags of `tombolo ping`.
#[derive(Args, Clone, Debug)]
pub struct Flags {
    /// Where to connect, and as whom.
    #[command(flatten)]
    pub common: Common,
    /// Topic of the message [default: one of its own below tombolo/ping/].
    #[arg(short, long)]
    pub topic: Option<String>,
    /// Seconds for all of it; while the broker can't be reached, it is tried again.
    #[arg(short = 'W', long = "timeout", value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub timeout: u64,
}

/// Pings; exit code 0 when the message was heard, 1 when it was not.
///
/// # Errors
/// Flags that don't go together, certificates that cannot be read.
pub async fn run(flags: Flags) -> Result<ExitCode> {
    let common = &flags.common;
    if common.keep_session {
        bail!("-c is for pub and sub; ping leaves nothing behind");
    }
    let target = common.target()?;
    let id = common.client_id("ping", unix_time());
    let topic = flags.topic.clone().or(target.topic).unwrap_or_else(|| format!("tombolo/ping/{id}"));
    if topic.contains(['#', '+', '\0']) {
        bail!("`{topic}` is no topic to publish to; it has neither `#` nor `+`, which only subscribe");
    }
    let place = format!("{}:{}", target.host, target.port);
    let time = Duration::from_secs(flags.timeout);
    let deadline = Instant::now() + time;
    let (mut pause, mut last) = (PAUSE_FIRST, "no connection".to_owned());
    loop {
        let tried = tokio::time::timeout_at(deadline, round_trip(common, &id, &topic, &mut last)).await;
        match tried {
            Ok(Ok(Ok(took))) => {
                if !common.quiet {
                    println!("{place}: a message was heard after {:.1} ms", took.as_secs_f64() * 1e3);
                }
                return Ok(ExitCode::SUCCESS);
            }
            Ok(Ok(Err(lost))) if lost.worth_retrying && Instant::now() + pause < deadline => {
                last = lost.message;
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_LAST);
            }
            Ok(Ok(Err(lost))) => return Ok(failed(common, &place, &lost.message)),
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                return Ok(failed(common, &place, &format!("nothing was heard within {} s: {last}", time.as_secs())));
            }
        }
    }
}

fn failed(common: &Common, place: &str, why: &str) -> ExitCode {
    if !common.quiet {
        eprintln!("tombolo ping: {place}: {why}");
    }
    ExitCode::FAILURE
}

/// One message there and back; `at` says how far it came.
async fn round_trip(common: &Common, id: &str, topic: &str, at: &mut String) -> Result<Result<Duration, Lost>> {
    let mut listener = Connection::new(common, &format!("{id}-sub"))?;
    let mut speaker = Connection::new(common, &format!("{id}-pub"))?;
    Ok(exchange(&mut listener, &mut speaker, common.qos, topic, at).await)
}

async fn exchange(
    listener: &mut Connection,
    speaker: &mut Connection,
    qos: u8,
    topic: &str,
    at: &mut String,
) -> Result<Duration, Lost> {
    let refused = |message: String| Lost { message, worth_retrying: false };
    connected(listener).await?;
    "no answer to SUBSCRIBE".clone_into(at);
    listener.subscribe(&[topic.to_owned()], qos, false).map_err(|error| refused(error.to_string()))?;
    loop {
        if let Happened::Subscribed(words) = listener.next().await? {
            if let Some(Err(why)) = words.into_iter().next() {
                return Err(refused(format!("may not subscribe to {topic}: {why}")));
            }
            break;
        }
    }
    "no second connection".clone_into(at);
    connected(speaker).await?;
    "no answer to PUBLISH".clone_into(at);
    let payload = format!("{topic} {}", unix_time().as_nanos()).into_bytes();
    let message = Message { topic: topic.to_owned(), payload: payload.clone(), qos, ..Message::default() };
    let begun = Instant::now();
    speaker.publish(&message).map_err(|error| refused(error.to_string()))?;
    loop {
        if let Happened::Published(word) = speaker.next().await? {
            word.map_err(|why| refused(format!("may not publish to {topic}: {why}")))?;
            break;
        }
    }
    "it was published, and did not arrive at the subscriber".clone_into(at);
    loop {
        if let Happened::Message(heard) = listener.next().await?
            && heard.payload == payload
        {
            break;
        }
    }
    let took = begun.elapsed();
    for connection in [listener, speaker] {
        let goodbye = async {
            if connection.disconnect().is_ok() {
                while !matches!(connection.next().await, Ok(Happened::Closed) | Err(_)) {}
            }
        };
        // Who does not answer a goodbye is not waited for.
        let _ = tokio::time::timeout(GOODBYE, goodbye).await;
    }
    Ok(took)
}

async fn connected(connection: &mut Connection) -> Result<(), Lost> {
    loop {
        if let Happened::Connected { .. } = connection.next().await? {
            return Ok(());
        }
    }
}
