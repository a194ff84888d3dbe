//! `tombolo sub`: prints the messages of its filters.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use tokio::time::Instant;

use super::connection::{Connection, Happened, Message};
use super::format::Format;
use super::options::{Common, Target, Version};
use crate::clock::unix_time;

/// Exit code after `-W`: that of mosquitto_sub.
const TIMED_OUT: u8 = 27;

const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_LAST: Duration = Duration::from_secs(10);

/// Flags of `tombolo sub`.
#[derive(Args, Clone, Debug)]
pub struct Flags {
    /// What pub and sub share.
    #[command(flatten)]
    pub common: Common,
    /// Topic filter; may be given several times.
    #[arg(short, long, value_name = "FILTER")]
    pub topic: Vec<String>,
    /// Don't print what matches this filter; may be given several times.
    #[arg(short = 'T', long, value_name = "FILTER")]
    pub filter_out: Vec<String>,
    /// End after so many messages.
    #[arg(short = 'C', value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// End after so many seconds, with exit code 27.
    #[arg(short = 'W', value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: Option<u64>,
    /// End as soon as the broker has granted the subscriptions.
    #[arg(short = 'E')]
    pub exit_subscribed: bool,
    /// Print the topic before the message.
    #[arg(short, long)]
    pub verbose: bool,
    /// Print messages so: %t topic, %p payload, %q QoS, %r retained, %l length, %x hex, … (see mosquitto_sub).
    #[arg(short = 'F', value_name = "FORMAT")]
    pub format: Option<String>,
    /// No line end after a message.
    #[arg(short = 'N')]
    pub bare: bool,
    /// Don't print retained messages.
    #[arg(short = 'R', conflicts_with = "retained_only")]
    pub no_retained: bool,
    /// Print retained messages only, and end with the first that is not.
    #[arg(long)]
    pub retained_only: bool,
    /// Messages keep the retain flag they were published with (mqttv5).
    #[arg(long)]
    pub retain_as_published: bool,
}

/// Prints messages until told to end; exit code 0, after `-W` 27, 1 when the broker refused or could not be reached.
///
/// # Errors
/// Flags that don't go together.
pub async fn run(flags: Flags) -> Result<ExitCode> {
    let common = &flags.common;
    let target = common.target()?;
    let filters: Vec<String> = flags.topic.iter().cloned().chain(target.topic.clone()).collect();
    if filters.is_empty() {
        bail!("no topic; name one with -t, or at the end of the URL");
    }
    if flags.retain_as_published && common.version == Version::V311 {
        bail!("--retain-as-published needs -V mqttv5");
    }
    let format = match &flags.format {
        Some(text) => Format::parse(text, flags.bare)?,
        None => Format::plain(flags.verbose, flags.bare),
    };
    let connection = Connection::new(common, &common.client_id("sub", unix_time()))?;
    let deadline = flags.timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let listening = listen(connection, &flags, &filters, &format, &target);
    let ended = async {
        match deadline {
            Some(deadline) => {
                tokio::time::timeout_at(deadline, listening).await.unwrap_or(Ok(ExitCode::from(TIMED_OUT)))
            }
            None => listening.await,
        }
    };
    tokio::select! {
        code = ended => code,
        _ = tokio::signal::ctrl_c() => Ok(ExitCode::SUCCESS),
    }
}

async fn listen(
    mut connection: Connection,
    flags: &Flags,
    filters: &[String],
    format: &Format,
    target: &Target,
) -> Result<ExitCode> {
    let common = &flags.common;
    let say = |message: String| {
        if !common.quiet {
            eprintln!("tombolo sub: {message}");
        }
    };
    let (mut left, mut was_connected, mut pause) = (flags.count, false, RETRY_FIRST);
    let mut code = ExitCode::SUCCESS;
    loop {
        match connection.next().await {
            Ok(Happened::Connected { session_present }) => {
                if common.debug {
                    say(format!("connected, session present: {session_present}"));
                }
                (was_connected, pause) = (true, RETRY_FIRST);
                connection.subscribe(filters, common.qos, flags.retain_as_published)?;
            }
            Ok(Happened::Subscribed(words)) => {
                for (filter, word) in filters.iter().zip(&words) {
                    match word {
                        Ok(qos) if common.debug => say(format!("subscribed to {filter} with QoS {qos}")),
                        Ok(_) => {}
                        Err(why) => say(format!("{filter}: {why}")),
                    }
                }
                if words.iter().all(Result::is_err) {
                    code = ExitCode::FAILURE;
                    connection.disconnect()?;
                } else if flags.exit_subscribed {
                    connection.disconnect()?;
                }
            }
            Ok(Happened::Message(message)) => {
                if flags.retained_only && !message.retain {
                    connection.disconnect()?;
                    continue;
                }
                if !wanted(flags, &message) || left == Some(0) {
                    continue;
                }
                if !print(&format.apply(&message, unix_time().as_secs())) {
                    return Ok(code);
                }
                left = left.map(|left| left - 1);
                if left == Some(0) {
                    connection.disconnect()?;
                }
            }
            Ok(Happened::Closed) => return Ok(code),
            Ok(Happened::Other(what)) if common.debug => say(what),
            Ok(Happened::Other(_) | Happened::Published(_)) => {}
            Err(lost) => {
                let place = format!("{}:{}", target.host, target.port);
                if !was_connected || !lost.worth_retrying {
                    say(format!("{place}: {}", lost.message));
                    return Ok(ExitCode::FAILURE);
                }
                say(format!("{place}: {}; next try in {} ms", lost.message, pause.as_millis()));
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY_LAST);
            }
        }
    }
}

fn wanted(flags: &Flags, message: &Message) -> bool {
    let left_out = flags.filter_out.iter().any(|filter| matches(filter, &message.topic));
    let unwanted = left_out || (flags.no_retained && message.retain);
    !unwanted
}

/// Prints at once; false when nobody reads any more.
fn print(line: &[u8]) -> bool {
    let mut out = std::io::stdout().lock();
    out.write_all(line).and_then(|()| out.flush()).is_ok()
}

/// Whether a filter matches a topic; a wildcard at the first level matches no `$…` `[MQTT-4.7.2-1]`.
fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['#', '+']) {
        return false;
    }
    let mut levels = topic.split('/');
    for part in filter.split('/') {
        match (part, levels.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (part, Some(level)) if part == level => {}
            (_, _) => return false,
        }
    }
    levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_as_the_specification_says() {
        for (filter, topic, expected) in [
            ("a/b", "a/b", true),
            ("a/b", "a", false),
            ("a/+", "a/b", true),
            ("a/+", "a/b/c", false),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("#", "a/b", true),
            ("#", "$SYS/x", false),
            ("+/x", "$SYS/x", false),
            ("$SYS/#", "$SYS/x", true),
            ("+", "", true),
        ] {
            assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
        }
    }
}
