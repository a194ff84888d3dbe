//! The decisions of authentication: what somebody claims to be, and what that makes of it. Pure, without hashing.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tombolo_broker_api::Anonymous;

use super::Refusal;
use crate::config::{Credential, Loaded};

/// What a connection says about itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attempt<'a> {
    /// User name of CONNECT.
    pub username: Option<&'a str>,
    /// Password of CONNECT.
    pub password: Option<&'a [u8]>,
    /// Common name of the client certificate, if one was given and verified.
    pub certificate_name: Option<&'a str>,
    /// The cluster that dials, if it says that it is a link.
    pub link_from: Option<&'a str>,
}

/// Who a connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user; `None`: anonymous.
    pub user: Option<Arc<str>>,
    /// What it is here for.
    pub role: Role,
}

/// What a connection is here for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// An ordinary client.
    Client,
    /// The other end of a link, and nothing else.
    Link {
        /// Name of the link.
        name: Arc<str>,
    },
}

/// How a connection proved to be who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Not at all.
    None,
    /// By the password.
    Password,
    /// By a client certificate that was verified in the TLS handshake.
    Certificate,
}

/// What has to be looked at to believe it.
#[derive(Debug)]
pub(super) enum Claim<'a> {
    Nobody,
    Certificate(&'a str),
    Password { user: &'a str, password: &'a [u8], known: Option<&'a Credential> },
}

#[derive(Debug)]
pub(super) struct Rules {
    users: HashMap<String, Credential>,
    /// Some of the credentials; one of them stands in for that of an unknown user.
    decoys: Vec<Credential>,
    anonymous: Anonymous,
    /// Anonymous clients are let in and there is no users file: nobody's user name means anything, so that a client with one
    /// is as good as without.
    names_are_idle: bool,
    /// Our own cluster, which no link leads to.
    own_cluster: String,
    links: Vec<LinkRule>,
    /// The first link of each user that belongs to one.
    link_users: BTreeMap<String, Arc<str>>,
}

#[derive(Debug)]
struct LinkRule {
    name: Arc<str>,
    remote_cluster: String,
    users: Vec<String>,
    any_user: bool,
}

const DECOYS: usize = 64;

// === impl Rules ===

impl Rules {
    pub fn new(loaded: &Loaded) -> Self {
        let links: Vec<LinkRule> = loaded.config.links.iter().map(LinkRule::new).collect();
        let mut link_users = BTreeMap::new();
        for link in &links {
            for user in &link.users {
                link_users.entry(user.clone()).or_insert_with(|| Arc::clone(&link.name));
            }
        }
        let step = loaded.users.len().div_ceil(DECOYS).max(1);
        Self {
            users: loaded.users.iter().map(|(name, credential)| (name.clone(), credential.clone())).collect(),
            decoys: loaded.users.values().step_by(step).cloned().collect(),
            anonymous: loaded.config.authentication.anonymous,
            names_are_idle: loaded.config.authentication.anonymous == Anonymous::Allowed
                && loaded.config.authentication.users_file.is_none(),
            own_cluster: loaded.config.cluster_name.clone(),
            links,
            link_users,
        }
    }

    /// A user name is believed by its password, even where a certificate was given; a certificate alone by its name.
    pub fn claim<'a>(&'a self, attempt: &Attempt<'a>) -> Claim<'a> {
        // Users of links have passwords of their own, whoever else is let in.
        let username = attempt.username.filter(|user| !self.names_are_idle || self.users.contains_key(*user));
        match (username, attempt.certificate_name) {
            (Some(user), _) => {
                Claim::Password { user, password: attempt.password.unwrap_or_default(), known: self.users.get(user) }
            }
            (None, Some(name)) => Claim::Certificate(name),
            (None, None) => Claim::Nobody,
        }
    }

    pub fn decoys(&self) -> &[Credential] {
        &self.decoys
    }

    /// What somebody who proved to be `user` is here.
    pub fn decide(&self, user: Option<&str>, proof: Proof, link_from: Option<&str>) -> Result<Identity, Refusal> {
        let role = match link_from {
            Some(cluster) => Role::Link { name: self.link(user, proof, cluster)? },
            None => self.client(user)?,
        };
        Ok(Identity { user: user.map(Arc::from), role })
    }

    fn client(&self, user: Option<&str>) -> Result<Role, Refusal> {
        match (user, self.anonymous) {
            (Some(user), _) => match self.link_users.get(user) {
                Some(link) => Err(Refusal::LinkUserOnly { user: user.to_owned(), link: link.to_string() }),
                None => Ok(Role::Client),
            },
            (None, Anonymous::Allowed) => Ok(Role::Client),
            (None, Anonymous::Refused) => Err(Refusal::Anonymous),
        }
    }

    fn link(&self, user: Option<&str>, proof: Proof, cluster: &str) -> Result<Arc<str>, Refusal> {
        let refused = |user: &str| Refusal::LinkUserRefused { user: user.to_owned(), cluster: shortened(cluster) };
        // Before anything is said about links: strangers learn nothing about them.
        let user = user.ok_or_else(|| refused("(none)"))?;
        if cluster == self.own_cluster {
            return Err(Refusal::OwnCluster { cluster: shortened(cluster) });
        }
        let link = self.links.iter().find(|link| link.remote_cluster == cluster);
        let link = link.ok_or_else(|| Refusal::UnknownCluster { cluster: shortened(cluster) })?;
        let named = link.users.iter().any(|allowed| allowed == user);
        let free = link.any_user && proof == Proof::Password && !self.link_users.contains_key(user);
        if named || free { Ok(Arc::clone(&link.name)) } else { Err(refused(user)) }
    }
}

/// A name that came from outside, short enough for a reason string.
fn shortened(name: &str) -> String {
    name.chars().take(100).collect()
}

// === impl LinkRule ===

impl LinkRule {
    fn new(link: &tombolo_broker_api::Link) -> Self {
        Self {
            name: Arc::from(&*link.name),
            remote_cluster: link.remote_cluster.clone(),
            users: link.accept.users.clone(),
            any_user: link.accept.any_user,
        }
    }
}
