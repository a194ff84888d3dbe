//! One pass over a BrokerCluster and its links: observe, validate, plan, apply, report.

pub mod apply;
pub mod cache;
pub mod certificates;
pub mod links;
pub mod observe;
pub mod optional;
pub mod report;
pub mod targets;
pub mod volumes;
pub mod world;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::events::EventType;
use serde_json::Value;
use tombolo_crds::conditions::READY;
use tombolo_crds::{BrokerCluster, ClusterLink, reasons};

use crate::observed::secret_value;
use crate::plan::extras::{CERTIFICATE, OptionalKind, SERVICE_MONITOR, extras};
use crate::plan::kept::KeptLinks;
use crate::plan::rollout::{Cause, Decision, Facts, Progress, step};
use crate::plan::volumes::VolumePlan;
use crate::plan::{Child, Instance, Names, children, config_of, secret_child, template, template_hash};
use crate::status::{
    ClusterSeen, Drain, DrainSeen, Fault, LinkSeen, cluster_status, drain, kept_evacuation, link_status,
};
use crate::validate::{Confidential, Problem, SECURE_ADMIN_PORT, ValidCluster, ValidLink, Validated, validate};
use apply::ApplyError;
use certificates::Certificates;
use links::is_paused;
use observe::{Seen, facts, observe};
use targets::Target;
use world::{ClusterKey, World};

/// When to look again although nothing happened, in seconds since 1970; none: not before something does.
pub type Wake = Option<i64>;

/// What was planned for a cluster that is valid.
struct Planned {
    decision: Decision,
    children: Vec<Value>,
    extras: Vec<(OptionalKind, Value)>,
    config_hash: String,
    targets: Vec<Target>,
    renew_at: i64,
    volumes: VolumePlan,
}

/// A pass failed; it is tried again after a pause.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The API server.
    #[error(transparent)]
    Api(#[from] kube::Error),
    /// The cryptography library.
    #[error(transparent)]
    Certificate(#[from] certificates::CertificateError),
    /// What the API server refused; it stands in the status.
    #[error("{}", .0.message)]
    Fault(Fault),
}

/// One pass.
///
/// # Errors
/// Something must be tried again; what was seen of it stands in the status by then.
pub async fn reconcile(world: &World, key: &ClusterKey, now: i64) -> Result<Wake, ReconcileError> {
    // Observe.
    let seen = observe(world, key).await?;
    let Some(cluster) = seen.cluster.clone() else {
        return without_cluster(world, key, &seen, now).await;
    };
    if cluster.metadata.deletion_timestamp.is_some() {
        // The garbage collector removes what we made; brokers need not be asked.
        world.targets.set(key, Vec::new());
        let_all_go(world, &seen).await?;
        return Ok(None);
    }
    // Validate.
    let mut validated = validate(&seen.observed);
    for cluster in &mut validated.clusters {
        cluster.spec.image.get_or_insert_with(|| world.broker_image.clone());
    }
    let valid = validated.clusters.first();
    let hash = valid.map(|valid| template_hash(&template(valid)));
    let facts = facts(&seen, hash.as_deref());
    if is_paused(&cluster) {
        // What is left alone drains nothing, and holds nobody up.
        let_all_go(world, &seen).await?;
        report(world, &Seeing::of(&seen, &validated, &facts, now)).await?;
        return Ok(None);
    }
    // Plan.
    let planned = valid.map(|valid| plan(&seen, &cluster, valid, &facts, now)).transpose()?;
    // What is being emptied is written down before anything is done about it.
    if let Some(planned) = &planned
        && planned.decision.evacuation.as_ref() != kept_evacuation_of(&cluster).as_ref()
        && planned.decision.evacuation.is_some()
    {
        let seeing = Seeing { planned: Some(planned), ..Seeing::of(&seen, &validated, &facts, now) };
        report(world, &seeing).await?;
    }
    // Apply.
    links::hold(world, &seen.links).await?;
    let applied = match &planned {
        None => Ok(()),
        Some(planned) => carry_out(world, key, &cluster, &seen, planned).await,
    };
    // What is wrong with volumes is the cluster's affair, and none of its links'.
    let grown = match (&planned, &applied) {
        (Some(planned), Ok(())) => volumes::carry_out(world, key, &seen, &planned.volumes).await,
        (None, _) | (_, Err(_)) => Ok(()),
    };
    // Report.
    if applied.is_ok() && grown.is_ok() && planned.as_ref().is_some_and(|planned| is_early(&cluster, &seen, planned)) {
        return Ok(wake(&facts, planned.as_ref()));
    }
    let fault = applied.as_ref().err().map(fault_of);
    let refused = grown.as_ref().err().map(fault_of);
    let current = Seen { cluster: current_cluster(world, key).or(seen.cluster.clone()), ..seen.clone() };
    let seeing = Seeing {
        planned: planned.as_ref(),
        fault: fault.as_ref(),
        refused: refused.as_ref(),
        ..Seeing::of(&current, &validated, &facts, now)
    };
    report(world, &seeing).await?;
    let mut drained_at = None;
    for link in &seen.links {
        match seeing.drain_of(link) {
            Some(Drain::Done) => links::let_go(world, link).await?,
            Some(Drain::Waits { until, something: _ }) => drained_at = drained_at.into_iter().chain([until]).min(),
            None => {}
        }
    }
    match applied.and(grown) {
        Ok(()) => Ok(wake(&facts, planned.as_ref()).into_iter().chain(drained_at).min()),
        Err(ApplyError::Fault(fault)) => Err(ReconcileError::Fault(fault)),
        Err(ApplyError::Api(error)) => Err(error.into()),
    }
}

/// All is well as far as was said, and a node was not asked yet, since this process has just begun: its answer, or that
/// there is none, is awaited, and until then what was said stands.
fn is_early(cluster: &BrokerCluster, seen: &Seen, planned: &Planned) -> bool {
    let told = |generation: Option<i64>, observed: Option<i64>| observed.is_some() && observed == generation;
    let status = cluster.status.as_ref();
    let ready = status.is_some_and(|status| {
        told(cluster.metadata.generation, status.observed_generation)
            && status.conditions.iter().any(|condition| condition.type_ == READY && condition.status == "True")
    });
    let mut links = seen
        .links
        .iter()
        .map(|link| told(link.metadata.generation, link.status.as_ref().and_then(|status| status.observed_generation)));
    ready && links.all(|told| told) && planned.targets.iter().any(|target| !seen.reports.contains_key(&target.ordinal))
}

fn kept_evacuation_of(cluster: &BrokerCluster) -> Option<crate::plan::rollout::Evacuation> {
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    cluster.status.as_ref().and_then(|status| kept_evacuation(status, name))
}

/// The object with the status that was written within this pass.
fn current_cluster(world: &World, key: &ClusterKey) -> Option<BrokerCluster> {
    world.clusters.get(&key.namespace, &key.name)?.as_ref().as_ref().ok().cloned()
}

fn wake(facts: &Facts, planned: Option<&Planned>) -> Wake {
    let planned = planned?;
    // While nothing moves, only certificates have a time.
    let moving = match planned.decision.progress {
        Progress::Done | Progress::Hibernating => None,
        Progress::Starting(_)
        | Progress::Rendering
        | Progress::Evacuating(..)
        | Progress::Replacing(..)
        | Progress::WaitingForApproval(_)
        | Progress::Blocked(_) => planned.decision.wake,
    };
    debug_assert!(facts.min_ready_seconds >= 0, "the schema has a bound");
    moving.into_iter().chain([planned.renew_at]).min()
}

/// Links that name a cluster that does not exist, or none at all.
async fn without_cluster(world: &World, key: &ClusterKey, seen: &Seen, now: i64) -> Result<Wake, ReconcileError> {
    world.targets.set(key, Vec::new());
    let_all_go(world, seen).await?;
    if seen.links.is_empty() {
        world.forget(key);
        return Ok(None);
    }
    let validated = validate(&seen.observed);
    let facts = Facts::default();
    report(world, &Seeing::of(seen, &validated, &facts, now)).await?;
    Ok(None)
}

/// Nobody drains a link of a cluster that is gone or left alone.
async fn let_all_go(world: &World, seen: &Seen) -> Result<(), kube::Error> {
    for link in &seen.links {
        links::let_go(world, link).await?;
    }
    Ok(())
}

/// Pure but for the randomness of keys and tokens that do not exist yet.
fn plan(
    seen: &Seen,
    cluster: &BrokerCluster,
    valid: &ValidCluster,
    facts: &Facts,
    now: i64,
) -> Result<Planned, ReconcileError> {
    let names = Names::of(&valid.name);
    let uid = valid.uid.clone().unwrap_or_default();
    let decision = step(kept_evacuation_of(cluster).as_ref(), facts, now);
    let token = token(seen);
    let volumes = volumes::plan(seen, valid, &decision);
    let paused = seen.links.iter().filter(|link| is_paused(*link) && link.metadata.deletion_timestamp.is_none());
    let kept =
        KeptLinks::read(paused.filter_map(|link| link.metadata.name.clone()).collect(), seen.own.config.as_ref());
    let instance = Instance::decided(&uid, token.clone(), &decision, volumes.template.clone(), kept);
    let issued = cluster.spec.internode_tls.as_ref().is_some_and(|tls| tls.issuer_ref.is_some());
    let (mut objects, authority, renew_at) = match &valid.internode_tls {
        Some(tls) => (Vec::new(), tls.ca.reveal().to_owned(), i64::MAX),
        // Pods wait for the Secret that they mount.
        None if issued => (Vec::new(), Vec::new(), i64::MAX),
        None => {
            let own = (seen.own.authority.as_ref(), seen.own.nodes.as_ref());
            let Certificates { authority, nodes, renew_at } =
                certificates::wanted(&valid.name, &valid.namespace, own.0, own.1, now)?;
            let trusted = nodes.get("ca.crt").map(|trusted| trusted.0.clone()).unwrap_or_default();
            let secrets = [(&names.authority, authority), (&names.internode, nodes)];
            let objects = secrets.map(|(name, data)| Child::Secret(Box::new(secret_child(valid, name, data))));
            (objects.into(), trusted, renew_at)
        }
    };
    let admin = BTreeMap::from([("token".to_owned(), ByteString(token.reveal().to_owned()))]);
    objects.push(Child::Secret(Box::new(secret_child(valid, &names.admin, admin))));
    objects.extend(children(valid, &instance));
    let config_hash = config_of(valid, &instance).config.hash;
    let children: Vec<_> = objects.iter().map(Child::to_json).collect();
    // Without an authority nobody could be believed.
    let asked = if authority.is_empty() { Vec::new() } else { targets(seen, valid, &token, Arc::new(authority)) };
    Ok(Planned { decision, children, extras: extras(valid), config_hash, targets: asked, renew_at, volumes })
}

/// The token that was made once; a new one if there is none that can be used.
fn token(seen: &Seen) -> Confidential {
    let kept = seen.own.admin.as_ref().and_then(|secret| secret_value(secret, "token"));
    match kept.filter(|token| token.len() >= 32 && token.iter().all(u8::is_ascii_hexdigit)) {
        Some(token) => Confidential::new(token),
        None => {
            let mut bytes = [0; 32];
            let provider = rustls::crypto::aws_lc_rs::default_provider();
            provider.secure_random.fill(&mut bytes).expect("the operating system gives random bytes");
            Confidential::new(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
        }
    }
}

fn targets(seen: &Seen, valid: &ValidCluster, token: &Confidential, authority: Arc<Vec<u8>>) -> Vec<Target> {
    let target = |pod: &Arc<Pod>| {
        let address: IpAddr = pod.status.as_ref()?.pod_ip.as_deref()?.parse().ok()?;
        Some(Target {
            ordinal: observe::ordinal(&valid.name, pod)?,
            uid: pod.metadata.uid.clone()?,
            address: SocketAddr::new(address, SECURE_ADMIN_PORT),
            name: pod.metadata.name.clone()?,
            token: token.clone(),
            authority: Arc::clone(&authority),
        })
    };
    seen.pods.iter().filter_map(target).collect()
}

async fn carry_out(
    world: &World,
    key: &ClusterKey,
    cluster: &BrokerCluster,
    seen: &Seen,
    planned: &Planned,
) -> Result<(), ApplyError> {
    let owner = cluster.metadata.uid.as_deref().unwrap_or_default();
    // What else goes into the pod template was checked by the schema.
    let try_first = !cluster.spec.pod_overrides.is_empty();
    // One that is being removed takes nothing any more; what its removal tells makes the next pass.
    let leaves = seen.set.as_ref().is_some_and(|set| set.metadata.deletion_timestamp.is_some());
    let stays = |child: &&Value| !(leaves && child["kind"] == "StatefulSet");
    let now: Vec<_> = planned.children.iter().filter(stays).cloned().collect();
    apply::apply(world, key, owner, &now, try_first).await?;
    let kinds: Vec<_> = planned.extras.iter().map(|(kind, _)| kind.kind).collect();
    world.optional.set_asking(key, &kinds);
    let served = planned.extras.iter().filter(|(kind, _)| world.optional.is_served(kind.kind));
    let served: Vec<_> = served.map(|(_, object)| object.clone()).collect();
    match apply::apply(world, key, owner, &served, false).await {
        // The kind is being removed, which its watch is about to tell.
        Err(ApplyError::Api(kube::Error::Api(status))) if optional::is_leaving(&status) => {}
        outcome => outcome?,
    }
    let wanted: Vec<_> = now.into_iter().chain(served).collect();
    apply::prune(world, key, owner, &wanted).await?;
    let pods: Vec<&Pod> = seen.pods.iter().map(|pod| &**pod).collect();
    apply::nudge(world, &key.namespace, &pods, &planned.config_hash).await?;
    world.targets.set(key, planned.targets.clone());
    if let Some(released) = planned.decision.released.filter(|released| released.forced) {
        let what = match released.cause {
            Cause::Update => "replaced",
            Cause::ScaleDown => "removed",
        };
        let message = format!("{}-{} was not empty in time and is {what} all the same", key.name, released.ordinal);
        let reason = reasons::EVACUATION_DEADLINE_EXCEEDED;
        report::publish(world, cluster, EventType::Warning, reason, &message).await;
    }
    Ok(())
}

fn fault_of(error: &ApplyError) -> Fault {
    match error {
        ApplyError::Fault(fault) => fault.clone(),
        ApplyError::Api(error) => Fault {
            reason: reasons::APPLY_FAILED,
            message: format!("child objects could not be written, which is tried again: {error}"),
            stalled: false,
        },
    }
}

/// What status is made of.
struct Seeing<'a> {
    seen: &'a Seen,
    validated: &'a Validated,
    facts: &'a Facts,
    planned: Option<&'a Planned>,
    fault: Option<&'a Fault>,
    /// Volumes that can't grow.
    refused: Option<&'a Fault>,
    now: i64,
}

// === impl Seeing ===

impl<'a> Seeing<'a> {
    /// Of a cluster for which nothing was planned or done.
    fn of(seen: &'a Seen, validated: &'a Validated, facts: &'a Facts, now: i64) -> Self {
        Self { seen, validated, facts, planned: None, fault: None, refused: None, now }
    }

    fn valid_link(&self, name: &str) -> Option<&'a ValidLink> {
        self.validated.clusters.first().and_then(|valid| valid.links.iter().find(|valid| valid.name == name))
    }

    /// Where a link stands that is deleted and held; none for every other.
    fn drain_of(&self, link: &ClusterLink) -> Option<Drain> {
        let deleted = links::drains_since(link)?;
        let name = link.metadata.name.as_deref().unwrap_or_default();
        Some(drain(&DrainSeen {
            name,
            carries: link.spec.enabled && self.planned.is_some() && self.valid_link(name).is_some(),
            deleted,
            nodes: self.facts.wanted,
            config_hash: self.planned.map(|planned| planned.config_hash.as_str()),
            reports: &self.seen.reports,
            now: self.now,
        }))
    }
}

async fn report(world: &World, seeing: &Seeing<'_>) -> Result<(), kube::Error> {
    let Seeing { seen, validated, facts, planned, fault, refused, now } = *seeing;
    let of = |kind: &str, name: &str| -> Vec<Problem> {
        let all = validated.problems.iter();
        all.filter(|problem| problem.object.kind == kind && problem.object.name == name).cloned().collect()
    };
    let valid = validated.clusters.first();
    let config_hash = planned.map(|planned| planned.config_hash.as_str());
    let paused = seen.cluster.as_ref().is_some_and(is_paused);
    if let Some(cluster) = &seen.cluster {
        let certificates = valid.map(certificates_of).unwrap_or_default();
        let missing = |kind: OptionalKind| {
            let wanted = planned.is_some_and(|planned| planned.extras.iter().any(|(asked, _)| *asked == kind));
            (wanted && !world.optional.is_served(kind.kind)).then(|| missing_kind(kind))
        };
        let awaited = missing(CERTIFICATE).or_else(|| awaited_certificate(cluster, valid));
        let unmonitored = missing(SERVICE_MONITOR);
        let resizing = planned.and_then(|planned| volumes::awaited(&planned.volumes));
        let status = cluster_status(&ClusterSeen {
            cluster,
            problems: &of("BrokerCluster", cluster.metadata.name.as_deref().unwrap_or_default()),
            facts,
            decision: planned.map(|planned| &planned.decision),
            config_hash,
            reports: &seen.reports,
            fault,
            certificates: &certificates,
            volumes: refused.or(resizing.as_ref()),
            internode: awaited.as_ref(),
            monitoring: unmonitored.as_ref(),
            paused,
            now,
        });
        report::report_cluster(world, cluster, status).await?;
    }
    let invalid = Fault {
        reason: reasons::CLUSTER_INVALID,
        message: "its BrokerCluster has problems, so that nothing is made from it; look at its status".to_owned(),
        stalled: true,
    };
    let fault = fault.or((seen.cluster.is_some() && valid.is_none()).then_some(&invalid));
    for link in &seen.links {
        let drain = seeing.drain_of(link);
        // One that goes now needs no status.
        if link.metadata.deletion_timestamp.is_some() && !matches!(drain, Some(Drain::Waits { .. })) {
            continue;
        }
        let name = link.metadata.name.as_deref().unwrap_or_default();
        let status = link_status(&LinkSeen {
            link,
            problems: &of("ClusterLink", name),
            valid: seeing.valid_link(name),
            nodes: facts.wanted,
            fault,
            config_hash,
            reports: &seen.reports,
            drain,
            paused: paused || is_paused(link),
            now,
        });
        report::report_link(world, link, status).await?;
    }
    Ok(())
}

/// What a missing CRD means.
fn missing_kind(kind: OptionalKind) -> Fault {
    let message = format!("the CRD {} is missing; install {}, or change the spec", kind.crd(), kind.vendor);
    Fault { reason: reasons::CRD_MISSING, message, stalled: true }
}

/// What an issuer was asked for and has not made yet.
fn awaited_certificate(cluster: &BrokerCluster, valid: Option<&ValidCluster>) -> Option<Fault> {
    cluster.spec.internode_tls.as_ref()?.issuer_ref.as_ref()?;
    let valid = valid.filter(|valid| valid.internode_tls.is_none())?;
    let name = Names::of(&valid.name).internode;
    let message = format!("cert-manager has not made Secret {name} yet; look at Certificate {name}");
    Some(Fault { reason: reasons::CERTIFICATE_PENDING, message, stalled: false })
}

/// The certificates of listeners and nodes, and when they expire.
fn certificates_of(valid: &ValidCluster) -> Vec<(String, i64)> {
    let with_tls = valid.listeners.iter().filter_map(|listener| {
        let until = certificates::expires(listener.tls.as_ref()?.certificate.reveal())?;
        Some((format!("listener {}", listener.name), until))
    });
    let nodes = valid.internode_tls.as_ref().and_then(|tls| certificates::expires(tls.certificate.reveal()));
    with_tls.chain(nodes.map(|until| ("the nodes".to_owned(), until))).collect()
}
