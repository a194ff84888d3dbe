//! Where others are reached: a remote cluster at `mqtt://host:port` or `mqtts://host:port`, a node at `host:port`.

use std::fmt;
use std::str::FromStr;

/// Where a link or a node dials.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    /// Whether TLS is spoken.
    pub tls: bool,
    /// Host name or IP address, an IPv6 one without its brackets.
    pub host: String,
    /// Port, never 0.
    pub port: u16,
}

/// Why an address can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` {what}; write {form}")]
pub struct ServerError {
    text: String,
    what: &'static str,
    form: &'static str,
}

const PORT: u16 = 1883;
const PORT_TLS: u16 = 8883;

// === impl Server ===

impl Server {
    /// Where a node of the cluster is dialled: `host:port`, always by TLS.
    ///
    /// # Errors
    /// It is something else, or has no port.
    pub fn peer(text: &str) -> Result<Self, ServerError> {
        let error = |what| ServerError { text: shown(text), what, form: "HOST:PORT" };
        let (host, port) = host_and_port(text).map_err(error)?;
        let port = port.ok_or_else(|| error("has no port"))?;
        Ok(Self { tls: true, host: host.to_owned(), port })
    }
}

impl FromStr for Server {
    type Err = ServerError;

    fn from_str(text: &str) -> Result<Self, ServerError> {
        let error = |what| ServerError { text: shown(text), what, form: "mqtt://HOST:PORT or mqtts://HOST:PORT" };
        let (scheme, rest) = text.split_once("://").ok_or_else(|| error("has no scheme"))?;
        let tls = match scheme {
            "mqtt" => false,
            "mqtts" => true,
            _ => return Err(error("has a scheme that is neither mqtt nor mqtts")),
        };
        if rest.contains('@') {
            return Err(error("holds a user; user name and password have keys of their own"));
        }
        let (host, port) = host_and_port(rest.strip_suffix('/').unwrap_or(rest)).map_err(error)?;
        let port = port.unwrap_or(if tls { PORT_TLS } else { PORT });
        Ok(Self { tls, host: host.to_owned(), port })
    }
}

/// Host, an IPv6 one without its brackets, and port, if there is one.
fn host_and_port(text: &str) -> Result<(&str, Option<u16>), &'static str> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or("has no `]`")?;
            if host.parse::<std::net::Ipv6Addr>().is_err() {
                return Err("has no IPv6 address between its brackets");
            }
            (host, port)
        }
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let host_is_fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if host.is_empty() || host.len() > 253 || !host.chars().all(host_is_fine) {
        return Err("has no valid host");
    }
    match port.strip_prefix(':') {
        None if port.is_empty() => Ok((host, None)),
        None => Err("has something other than a port after its host"),
        Some(digits) => match digits.parse() {
            Ok(0) | Err(_) => Err("has no port from 1 to 65535"),
            Ok(port) => Ok((host, Some(port))),
        },
    }
}

/// Without what may be a password.
fn shown(text: &str) -> String {
    match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
        _ => text.chars().take(300).collect(),
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "mqtts" } else { "mqtt" };
        match self.host.contains(':') {
            true => write!(f, "{scheme}://[{}]:{}", self.host, self.port),
            false => write!(f, "{scheme}://{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written_alike() {
        for (text, tls, host, port, again) in [
            ("mqtt://127.0.0.1:2883", false, "127.0.0.1", 2883, "mqtt://127.0.0.1:2883"),
            ("mqtts://cloud.example.com", true, "cloud.example.com", 8883, "mqtts://cloud.example.com:8883"),
            ("mqtt://localhost/", false, "localhost", 1883, "mqtt://localhost:1883"),
            ("mqtts://[::1]:9", true, "::1", 9, "mqtts://[::1]:9"),
        ] {
            let server: Server = text.parse().expect(text);
            assert_eq!((server.tls, &*server.host, server.port), (tls, host, port), "{text}");
            assert_eq!(server.to_string(), again);
        }
    }

    #[test]
    fn a_node_is_at_a_host_and_a_port_and_dialled_by_tls() {
        for (text, host, port) in [("here-1.here.svc:7883", "here-1.here.svc", 7883), ("[::1]:9", "::1", 9)] {
            assert_eq!(Server::peer(text), Ok(Server { tls: true, host: host.to_owned(), port }));
        }
    }

    #[test]
    fn what_is_no_address_is_refused_and_a_password_in_it_not_repeated() {
        for text in [
            "",
            "127.0.0.1:1883",
            "tcp://h:1",
            "mqtt://",
            "mqtt://:1883",
            "mqtt://h:0",
            "mqtt://h:65536",
            "mqtt://h:1/x",
            "mqtt://h:1:2",
            "mqtt://[::1",
            "mqtt://[::1]x",
            "mqtt://[h]:1",
            "mqtt://a b:1",
        ] {
            assert!(text.parse::<Server>().is_err(), "{text}");
        }
        for text in ["", "h", "h:0", ":1", "mqtt://h:1", "h:1/", "u@h:1", "::1:1"] {
            assert!(Server::peer(text).is_err(), "{text}");
        }
        let error = "mqtt://user:hidden@h:1".parse::<Server>().expect_err("a user").to_string();
        assert!(!error.contains("hidden"), "{error}");
    }
}
