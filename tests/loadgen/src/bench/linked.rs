//! Two linked brokers, and two linked clusters of two nodes each.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use super::subject::{Subject, config, free_port, get, local};

/// What a link logs in with: files beside the configuration.
pub const LINK_FILES: [(&str, &str); 2] = [("link-user", "link"), ("link-password", "bench")];

/// The side that receives everything and waits to be called.
fn far(config: &mut Value) {
    let accept = json!({"users": ["link"], "passwordFiles": {"link": "link-password"}});
    config["links"] =
        json!([{"name": "near", "remoteCluster": "near", "accept": accept, "receive": [{"filters": ["#"]}]}]);
}

/// The side that calls.
fn near(config: &mut Value, server: SocketAddr) {
    let dial = json!({"servers": [format!("mqtt://{server}")], "clientIdPrefix": "near",
        "usernameFile": "link-user", "passwordFile": "link-password"});
    config["links"] = json!([{"name": "far", "remoteCluster": "far", "dial": dial, "receive": []}]);
}

impl Subject {
    pub(super) fn linked_brokers(&mut self, programs: &Path, at: SocketAddr) -> Result<()> {
        let dialled = local(free_port()?);
        self.subscribe = vec![dialled];
        let admins = [local(free_port()?), local(free_port()?)];
        let mut one = config("far", dialled, admins[0], 1);
        far(&mut one);
        self.broker(programs, "far", &one, &LINK_FILES, admins[0])?;
        let mut other = config("near", at, admins[1], 1);
        near(&mut other, dialled);
        self.broker(programs, "near", &other, &LINK_FILES, admins[1])?;
        self.linked(&admins)
    }

    pub(super) fn linked_clusters(&mut self, programs: &Path) -> Result<()> {
        self.subscribe = vec![local(free_port()?), local(free_port()?)];
        self.publish = vec![local(free_port()?), local(free_port()?)];
        let (to, from) = (self.subscribe.clone(), self.publish.clone());
        self.nodes(programs, "far", &[("far one", to[0]), ("far two", to[1])], |_, config| far(config))?;
        self.nodes(programs, "near", &[("near one", from[0]), ("near two", from[1])], |i, config| near(config, to[i]))?;
        let admins = self.admins.clone();
        self.linked(&admins)
    }

    fn linked(&mut self, admins: &[SocketAddr]) -> Result<()> {
        let ready = |admin: &SocketAddr| {
            let status = get(*admin, "/v1/status").unwrap_or_default();
            let body = status.split("\r\n\r\n").nth(1).and_then(|body| serde_json::from_str::<Value>(body).ok());
            body.is_some_and(|status| {
                status["links"].as_array().is_some_and(|links| links.iter().all(|link| link["ready"] == true))
            })
        };
        self.until("the link is ready", || admins.iter().all(ready))
    }
}
