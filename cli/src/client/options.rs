//! The flags that `tombolo pub`, `tombolo sub` and `tombolo ping` share, named as in mosquitto's clients.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{ArgAction, Args, ValueEnum};

/// Where to connect, and as whom.
#[derive(Args, Clone, Debug)]
#[command(disable_help_flag = true)]
pub struct Common {
    /// Host of the broker.
    #[arg(short = 'h', long, default_value = "localhost", value_name = "HOST")]
    pub host: String,
    /// Port of the broker [default: 1883, with TLS 8883].
    #[arg(short, long, value_name = "PORT")]
    pub port: Option<u16>,
    /// All in one: mqtt(s)://[user[:password]@]host[:port]/topic.
    #[arg(short = 'L', long, value_name = "URL", conflicts_with_all = ["host", "port"])]
    pub url: Option<String>,
    /// Client id [default: one made up for this run].
    #[arg(short = 'i', long, value_name = "ID")]
    pub id: Option<String>,
    /// User name.
    #[arg(short = 'u', long, value_name = "NAME")]
    pub username: Option<String>,
    /// Password.
    #[arg(
        short = 'P',
        long = "pw",
        value_name = "PASSWORD",
        requires = "username",
        env = "TOMBOLO_PASSWORD",
        hide_env_values = true
    )]
    pub password: Option<String>,
    /// Quality of service: 0 at most once, 1 at least once, 2 exactly once.
    #[arg(short, long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub qos: u8,
    /// Seconds after which a silent connection is probed.
    #[arg(short, long, default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u16).range(5..))]
    pub keepalive: u16,
    /// Version of MQTT (mosquitto's clients take mqttv311 when it is absent).
    #[arg(short = 'V', long = "protocol-version", default_value = "mqttv5", value_name = "VERSION")]
    pub version: Version,
    /// Go on with the session of the same client id, and keep it (needs -i).
    #[arg(short = 'c', long = "disable-clean-session", requires = "id")]
    pub keep_session: bool,
    /// Seconds for which the broker keeps the session after the end (mqttv5) [default: 0, with -c for ever].
    #[arg(short = 'x', long, value_name = "SECONDS")]
    pub session_expiry_interval: Option<u32>,
    /// Say what is sent and received.
    #[arg(short, long)]
    pub debug: bool,
    /// Don't print errors.
    #[arg(long)]
    pub quiet: bool,
    /// Certificate authorities to trust (PEM); turns TLS on.
    #[arg(long, value_name = "FILE")]
    pub cafile: Option<PathBuf>,
    /// Trust the authorities of this system; turns TLS on.
    #[arg(long, conflicts_with = "cafile")]
    pub tls_use_os_certs: bool,
    /// Our certificate, if the broker asks for one (PEM).
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// Its private key (PEM).
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// Topic of the message that the broker publishes if we vanish.
    #[arg(long, value_name = "TOPIC")]
    pub will_topic: Option<String>,
    /// Its payload.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true, requires = "will_topic")]
    pub will_payload: String,
    /// Its quality of service.
    #[arg(long, default_value_t = 0, requires = "will_topic", value_parser = clap::value_parser!(u8).range(0..=2))]
    pub will_qos: u8,
    /// Retain it.
    #[arg(long, requires = "will_topic")]
    pub will_retain: bool,
    /// Print this help.
    #[arg(long, action = ArgAction::HelpLong)]
    pub help: Option<bool>,
}

/// A version of MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Version {
    /// MQTT 3.1.1.
    #[value(name = "mqttv311", aliases = ["311", "3.1.1"])]
    V311,
    /// MQTT 5.0.
    #[value(name = "mqttv5", aliases = ["5", "5.0"])]
    V5,
}

/// Where to connect, once flags and URL are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Whether TLS is spoken.
    pub tls: bool,
    /// User name and password.
    pub credentials: Option<(String, String)>,
    /// The topic of the URL.
    pub topic: Option<String>,
}

// === impl Common ===

impl Common {
    /// Where to connect, from `-L` or from the flags one by one.
    ///
    /// # Errors
    /// A URL that is none, and a port 0.
    pub fn target(&self) -> Result<Target> {
        let tls = self.cafile.is_some() || self.tls_use_os_certs || self.cert.is_some();
        let credentials = self.username.clone().map(|user| (user, self.password.clone().unwrap_or_default()));
        let mut target = match &self.url {
            Some(url) => parse_url(url)?,
            None => Target { host: self.host.clone(), port: 0, tls, credentials: None, topic: None },
        };
        if tls && !target.tls {
            bail!("{}: TLS flags with a URL without TLS; write mqtts://", self.url.as_deref().unwrap_or_default());
        }
        match self.port {
            Some(0) => bail!("port 0 is no port; brokers listen on 1883, with TLS on 8883"),
            Some(port) => target.port = port,
            None if target.port == 0 => target.port = if target.tls { 8883 } else { 1883 },
            None => {}
        }
        target.credentials = credentials.or(target.credentials);
        Ok(target)
    }

    /// The client id: given, or one that no other run has.
    pub fn client_id(&self, role: &str, now: Duration) -> String {
        self.id.clone().unwrap_or_else(|| format!("tombolo-{role}-{}-{:x}", std::process::id(), now.subsec_nanos()))
    }

    /// The session expiry that mosquitto's clients ask for with these flags `[MQTT-3.1.2-11]`.
    pub fn session_expiry(&self) -> u32 {
        self.session_expiry_interval.unwrap_or(if self.keep_session { u32::MAX } else { 0 })
    }
}

fn parse_url(url: &str) -> Result<Target> {
    let form = "a URL is mqtt(s)://[user[:password]@]host[:port][/topic]";
    let (tls, rest) = match url.split_once("://") {
        Some(("mqtt", rest)) => (false, rest),
        Some(("mqtts", rest)) => (true, rest),
        _ => bail!("{url}: {form}"),
    };
    let (authority, topic) = match rest.split_once('/') {
        Some((authority, topic)) => (authority, Some(percent_decode(topic)).filter(|topic| !topic.is_empty())),
        None => (rest, None),
    };
    let (credentials, address) = match authority.rsplit_once('@') {
        Some((user, address)) => (Some(user.split_once(':').unwrap_or((user, ""))), address),
        None => (None, authority),
    };
    // An IPv6 address has colons of its own, and stands in brackets.
    let (host, port) = match address.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':')),
        None => address.split_once(':').map_or((address, None), |(host, port)| (host, Some(port))),
    };
    let port = match port.map(str::parse::<u16>) {
        None => 0,
        Some(Ok(port)) if port != 0 => port,
        Some(_) => bail!("{url}: no port; {form}"),
    };
    if host.is_empty() {
        bail!("{url}: no host; {form}");
    }
    let credentials = credentials.map(|(user, password)| (percent_decode(user), percent_decode(password)));
    Ok(Target { host: host.to_owned(), port, tls, credentials, topic })
}

/// `%23` is `#`; what is not of this form stays as it is.
fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_all_in_one() {
        let target = |host: &str, port, tls| Target { host: host.into(), port, tls, credentials: None, topic: None };
        let credentials = Some(("me@here".to_owned(), "a:b".to_owned()));
        for (url, expected) in [
            ("mqtt://broker", target("broker", 0, false)),
            ("mqtts://broker:8884/", target("broker", 8884, true)),
            ("mqtt://[::1]:1884", target("::1", 1884, false)),
            (
                "mqtt://me%40here:a:b@broker/plant/%23",
                Target { credentials, topic: Some("plant/#".into()), ..target("broker", 0, false) },
            ),
        ] {
            assert_eq!(parse_url(url).expect(url), expected);
        }
        for url in ["broker", "http://broker", "mqtt://", "mqtt://:1883", "mqtt://broker:x", "mqtt://broker:0"] {
            assert!(parse_url(url).is_err(), "{url}");
        }
    }
}
