//! `tombolo pub`: publishes messages and ends when the broker has them.

use std::io::{BufRead, Read};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{ArgGroup, Args};
use tokio::sync::mpsc;

use super::connection::{Connection, Happened, Lost, Message, WINDOW};
use super::options::Common;
use crate::clock::unix_time;

/// Flags of `tombolo pub`.
#[derive(Args, Clone, Debug)]
#[command(group = ArgGroup::new("payload").required(true))]
pub struct Flags {
    /// What pub and sub share.
    #[command(flatten)]
    pub common: Common,
    /// Topic to publish to.
    #[arg(short, long)]
    pub topic: Option<String>,
    /// The message.
    #[arg(short, long, value_name = "TEXT", group = "payload", allow_hyphen_values = true)]
    pub message: Option<String>,
    /// The content of a file is the message.
    #[arg(short, long, value_name = "FILE", group = "payload")]
    pub file: Option<PathBuf>,
    /// Standard input as a whole is the message.
    #[arg(short, long, group = "payload")]
    pub stdin_file: bool,
    /// Each line of standard input is a message.
    #[arg(short = 'l', long, group = "payload")]
    pub stdin_line: bool,
    /// A message without payload; with -r it removes the retained one.
    #[arg(short, long, group = "payload")]
    pub null_message: bool,
    /// The broker keeps the message for those who subscribe later.
    #[arg(short, long)]
    pub retain: bool,
    /// Publish so many times.
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "stdin_line")]
    pub repeat: u32,
    /// Seconds between two of them.
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0, requires = "repeat")]
    pub repeat_delay: f64,
}

/// Publishes; exit code 0 when the broker has everything, 1 when it refused or the connection failed.
///
/// # Errors
/// Flags that don't go together, input that cannot be read.
pub async fn run(flags: Flags) -> Result<ExitCode> {
    let common = &flags.common;
    let target = common.target()?;
    let Some(topic) = flags.topic.clone().or(target.topic) else {
        bail!("no topic; name one with -t, or at the end of the URL");
    };
    if topic.is_empty() || topic.contains(['#', '+', '\0']) {
        bail!("`{topic}` is no topic to publish to; it has neither `#` nor `+`, which only subscribe");
    }
    if !(0.0..=86_400.0).contains(&flags.repeat_delay) {
        bail!("--repeat-delay is a number of seconds from 0 to 86400");
    }
    let connection = Connection::new(common, &common.client_id("pub", unix_time()))?;
    let template = Message { topic, qos: common.qos, retain: flags.retain, ..Message::default() };
    let payloads = payloads(&flags)?;
    match send(connection, template, payloads, common.debug).await {
        Ok(refused) if refused.is_empty() => Ok(ExitCode::SUCCESS),
        Ok(refused) => {
            report(common, &format!("refused by the broker: {}", refused.join(", ")));
            Ok(ExitCode::FAILURE)
        }
        Err(lost) => {
            report(common, &format!("{}:{}: {}", target.host, target.port, lost.message));
            Ok(ExitCode::FAILURE)
        }
    }
}

fn report(common: &Common, message: &str) {
    if !common.quiet {
        eprintln!("tombolo pub: {message}");
    }
}

/// The payloads to send; lines of standard input come from a thread, as reading them blocks.
fn payloads(flags: &Flags) -> Result<mpsc::Receiver<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel(WINDOW);
    if flags.stdin_line {
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().split(b'\n') {
                let Ok(mut line) = line else { return };
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                if sender.blocking_send(line).is_err() {
                    return;
                }
            }
        });
        return Ok(receiver);
    }
    let payload = if let Some(text) = &flags.message {
        text.clone().into_bytes()
    } else if let Some(file) = &flags.file {
        std::fs::read(file).with_context(|| format!("{}: cannot be read", file.display()))?
    } else if flags.stdin_file {
        let mut payload = Vec::new();
        std::io::stdin().lock().read_to_end(&mut payload).context("standard input cannot be read")?;
        payload
    } else {
        Vec::new()
    };
    let (repeat, pause) = (flags.repeat, Duration::from_secs_f64(flags.repeat_delay));
    tokio::spawn(async move {
        for round in 0..repeat {
            if round > 0 && !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            if sender.send(payload.clone()).await.is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}

/// Sends all payloads, at most `WINDOW` under way; the reasons of those that the broker refused.
async fn send(
    mut connection: Connection,
    template: Message,
    mut payloads: mpsc::Receiver<Vec<u8>>,
    debug: bool,
) -> Result<Vec<String>, Lost> {
    let local = |error: anyhow::Error| Lost { message: error.to_string(), worth_retrying: false };
    let mut refused = Vec::new();
    let (mut connected, mut under_way, mut more) = (false, 0, true);
    loop {
        if connected && !more && under_way == 0 {
            more = true;
            connected = false;
            connection.disconnect().map_err(local)?;
        }
        tokio::select! {
            happened = connection.next() => match happened? {
                Happened::Connected { .. } => connected = true,
                Happened::Published(outcome) => {
                    under_way -= 1;
                    refused.extend(outcome.err());
                }
                Happened::Closed => return Ok(refused),
                Happened::Other(what) if debug => eprintln!("{what}"),
                Happened::Other(_) | Happened::Subscribed(_) | Happened::Message(_) => {}
            },
            payload = payloads.recv(), if connected && more && under_way < WINDOW => match payload {
                Some(payload) => {
                    connection.publish(&Message { payload, ..template.clone() }).map_err(local)?;
                    under_way += 1;
                }
                None => more = false,
            },
        }
    }
}
