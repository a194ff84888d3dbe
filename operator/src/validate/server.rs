//! Addresses of remote clusters.

use std::net::Ipv6Addr;

/// An address that the broker can dial, or why it is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Server {
    /// `mqtt://HOST:PORT` or `mqtts://HOST:PORT`, the port always stated.
    Mqtt { url: String, tls: bool },
    /// A WebSocket, which the schema knows and the broker does not serve yet.
    WebSocket,
}

/// Reads an address that matches the pattern of the schema.
pub(super) fn parse(text: &str) -> Result<Server, String> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(format!("`{text}` has no scheme; write mqtt://HOST:PORT or mqtts://HOST:PORT"));
    };
    let (tls, standard_port) = match scheme {
        "mqtt" => (false, 1883),
        "mqtts" => (true, 8883),
        "ws" | "wss" => return Ok(Server::WebSocket),
        _ => return Err(format!("`{scheme}` is not a scheme of an address; write mqtt:// or mqtts://")),
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if !path.is_empty() {
        return Err(format!("`{text}` has a path, which only a WebSocket address has; remove `/{path}`"));
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(bracketed) => {
            let Some((host, port)) = bracketed.split_once(']').filter(|(host, _)| host.parse::<Ipv6Addr>().is_ok())
            else {
                return Err(format!(
                    "`{text}` holds no IPv6 address between [ and ]; write it as in mqtt://[2001:db8::1]"
                ));
            };
            (format!("[{host}]"), port)
        }
        None => {
            let (host, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
            (host.to_owned(), port)
        }
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => standard_port,
        Some(port) => match port.parse::<u16>() {
            Ok(port) if port > 0 => port,
            Ok(_) | Err(_) => return Err(format!("`{port}` is not a port; it must be 1 to 65535")),
        },
        None => return Err(format!("`{text}` has `{port}` where a port is expected; write :PORT")),
    };
    if host.is_empty() || host.len() > 255 {
        return Err(format!("`{text}` has no host; write {scheme}://HOST:{port}"));
    }
    Ok(Server::Mqtt { url: format!("{scheme}://{host}:{port}"), tls })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_completed() {
        for (text, url, tls) in [
            ("mqtt://127.0.0.1:2883", "mqtt://127.0.0.1:2883", false),
            ("mqtts://cloud.example", "mqtts://cloud.example:8883", true),
            ("mqtt://localhost/", "mqtt://localhost:1883", false),
            ("mqtts://[::1]:9", "mqtts://[::1]:9", true),
        ] {
            assert_eq!(parse(text), Ok(Server::Mqtt { url: url.to_owned(), tls }), "{text}");
        }
        assert_eq!(parse("wss://h/mqtt"), Ok(Server::WebSocket));
    }

    #[test]
    fn what_is_no_address_is_named() {
        for (text, what) in [
            ("h:1883", "no scheme"),
            ("tcp://h", "not a scheme"),
            ("mqtt://h:70000", "not a port"),
            ("mqtt://h:0", "not a port"),
            ("mqtt://h/path", "has a path"),
            ("mqtt://[1.2.3.4]", "no IPv6 address"),
            ("mqtt://[::1]x", "where a port is expected"),
            ("mqtt://", "no host"),
        ] {
            let fault = parse(text).expect_err(text);
            assert!(fault.contains(what), "{text}: {fault}");
        }
    }
}
