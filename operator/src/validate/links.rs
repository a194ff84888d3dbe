//! The links of one cluster together: one for each remote, and who may come in by which.

use std::collections::BTreeMap;

use tombolo_crds::clusterlink::Accept;
use tombolo_crds::reasons;

use super::password;
use super::problem::Report;
use super::valid::{Confidential, ValidCluster, ValidLink};

/// A link that is valid by itself, with what its manifest says about who may come in.
pub(super) struct Candidate<'a> {
    pub link: ValidLink,
    /// None for an entry of `spec.linkAccess`, whose user is in the link already.
    pub manifest: Option<&'a tombolo_crds::ClusterLinkSpec>,
    /// The manifest's field that names the user who may come in.
    pub user_field: String,
    pub report: Report<'a>,
}

/// Decides who may come in by which link, and leaves out those that nobody could use.
///
/// Candidates come sorted by age and name; where two want the same, the first has it.
pub(super) fn admit<'a>(cluster: &ValidCluster, candidates: &mut [Candidate<'a>]) -> Vec<ValidLink> {
    let users = cluster.users.clone().unwrap_or_default();
    // With certificates of clients, a user may be a common name and need no password.
    let by_certificate =
        cluster.listeners.iter().any(|listener| listener.tls.as_ref().is_some_and(|tls| tls.clients.is_some()));
    let mut bound: BTreeMap<String, String> = BTreeMap::new();
    for candidate in candidates.iter_mut() {
        let Some(user) = stated_user(candidate) else { continue };
        let own = own_username(&candidate.link) == Some(user.as_str());
        if !users.contains_key(&user) && !by_certificate && !own {
            let message = match &cluster.spec.authentication.users {
                Some(secret) => format!(
                    "`{user}` is no user of cluster `{}`; add it to Secret `{}`",
                    cluster.name, secret.secret_ref.name
                ),
                None => format!(
                    "`{user}` is no user of cluster `{}`, which has none; name a Secret in its spec.authentication.users",
                    cluster.name
                ),
            };
            candidate.report.problem(candidate.user_field.clone(), reasons::USER_NOT_FOUND, message);
        } else if let Some(other) = bound.get(&user) {
            let message =
                format!("`{user}` stands for cluster `{other}` already; give each remote cluster its own user");
            candidate.report.problem(candidate.user_field.clone(), reasons::USER_BOUND_TWICE, message);
        } else {
            bound.insert(user.clone(), candidate.link.remote_cluster.clone());
            candidate.link.accept_users = vec![user];
        }
    }
    admit_own_credentials(&users, candidates);
    let some_are_free = users.keys().any(|user| !bound.contains_key(user));
    for candidate in candidates.iter_mut() {
        let Some(manifest) = candidate.manifest else { continue };
        candidate.link.accept_any_user = manifest.accept.is_none() && some_are_free;
        if candidate.link.accept_any_user {
            let message = format!(
                "any user of cluster `{}` that stands for no other remote may come in as `{}`; name the one that may in spec.accept.user",
                cluster.name, candidate.link.remote_cluster
            );
            candidate.report.warning("spec.accept", reasons::ANY_USER_MAY_LINK, message);
        }
        let link = &candidate.link;
        let nobody = link.accept_users.is_empty() && link.accept_own.is_none() && !link.accept_any_user;
        if link.dial.is_none() && nobody && candidate.report.problems.is_empty() {
            let message = format!(
                "`{}` is not dialled, and nobody may come in as it; set spec.remote.server, or spec.accept.user to a user of cluster `{}`",
                link.remote_cluster, cluster.name
            );
            candidate.report.problem("spec.remote", reasons::UNREACHABLE_BY_SPEC, message);
        }
    }
    let good = candidates.iter().filter(|candidate| candidate.report.problems.is_empty());
    let mut links: Vec<_> = good.map(|candidate| candidate.link.clone()).collect();
    links.sort_by(|one, other| one.name.cmp(&other.name));
    links
}

/// The user that a manifest names to come in as the remote.
fn stated_user(candidate: &Candidate) -> Option<String> {
    match candidate.manifest {
        Some(manifest) => manifest.accept.as_ref().map(|Accept { user }| user.clone()),
        None => candidate.link.accept_users.first().cloned(),
    }
}

fn own_username(link: &ValidLink) -> Option<&str> {
    link.dial.as_ref().map(|dial| dial.username.as_str())
}

/// Lets the user of a link's own credential come in by it: the short form, one Secret for both sides.
///
/// Not so an ordinary user of the cluster: it would be able to do nothing but link from then on.
fn admit_own_credentials(users: &BTreeMap<String, Confidential>, candidates: &mut [Candidate<'_>]) {
    let all: Vec<_> = candidates
        .iter()
        .filter_map(|candidate| {
            let dial = candidate.link.dial.as_ref()?;
            Some((dial.username.clone(), dial.password.clone(), candidate.link.remote_cluster.clone()))
        })
        .collect();
    for candidate in candidates.iter_mut() {
        let Some(dial) = candidate.link.dial.as_ref() else { continue };
        let field = "spec.remote.credentials.secretRef.name";
        let (name, secret) = (&dial.username, &dial.password);
        if let Some(here) = users.get(name) {
            let is_hash = std::str::from_utf8(here.reveal()).is_ok_and(password::is_hash);
            if here != secret && !is_hash && candidate.link.accept_users.contains(name) {
                let message = format!("user `{name}` has another password here; the one of the cluster's users counts");
                candidate.report.warning(field, reasons::PASSWORDS_DIFFER, message);
            }
            continue;
        }
        let others =
            || all.iter().filter(|(other, _, remote)| other == name && *remote != candidate.link.remote_cluster);
        if others().any(|(_, password, _)| password != secret) {
            let message = format!(
                "user `{name}` has another password in another link, so that nobody comes in by it; give each link's user its own name"
            );
            // A user that is named and cannot authenticate is an error; one that is not named is news.
            if candidate.link.accept_users.contains(name) {
                candidate.report.problem(field, reasons::PASSWORDS_DIFFER, message);
            } else {
                candidate.report.warning(field, reasons::PASSWORDS_DIFFER, message);
            }
            continue;
        }
        if let Some((_, _, other)) = others().next() {
            let message = format!(
                "user `{name}` is the one of the link with `{other}`, too, so that each can come in as the other; give each link its own user"
            );
            candidate.report.warning(field, reasons::USER_BOUND_TWICE, message);
        }
        candidate.link.accept_own = Some((name.clone(), secret.clone()));
    }
}
