//! Which node may be taken away next: a state machine over what is seen of the pods, for updates and for fewer nodes.
//!
//! At most one node is being emptied or replaced at a time, always the highest: a StatefulSet replaces and removes from
//! the top. Its `partition` stands at [`HOLD`] while nothing is to be replaced and is lowered to one pod after another
//! once that pod is empty, so that without an operator nothing goes on by itself, and pods that fail are still made anew.

use tombolo_broker_api::EvacuationPhase;

/// The partition at which a StatefulSet replaces no pod: above every ordinal.
pub const HOLD: u16 = 64;

/// Seconds by which clocks of a Kubernetes cluster may disagree and still be trusted.
const CLOCKS_APART_MAX: i64 = 60;

/// What is seen of a cluster's pods, and what its spec asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Nodes that the spec asks for.
    pub wanted: u16,
    /// A pod is emptied before it goes; otherwise its clients are closed at once.
    pub evacuate: bool,
    /// Each pod is replaced only once somebody agreed.
    pub manual: bool,
    /// Seconds that a pod gets to become empty.
    pub deadline_seconds: i64,
    /// Seconds that a pod must be ready before it counts.
    pub min_ready_seconds: i64,
    /// The StatefulSet; none before it is made.
    pub set: Option<SetFacts>,
    /// The pod template that is about to be applied is another than that of the StatefulSet.
    pub template_changed: bool,
    /// The pods that exist, in any order.
    pub pods: Vec<PodFacts>,
}

/// What is seen of the StatefulSet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SetFacts {
    /// Its `spec.replicas`.
    pub replicas: u16,
    /// Its partition.
    pub partition: u16,
    /// Revision of its template.
    pub update_revision: String,
    /// Its controller has seen its newest spec, so that the revision is that of the template.
    pub observed: bool,
}

/// What is seen of a pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodFacts {
    /// Its number.
    pub ordinal: u16,
    /// The revision of the template that it was made from.
    pub revision: String,
    /// Since when it is ready, in seconds since 1970; none: it is not.
    pub ready_since: Option<i64>,
    /// It fails again and again, and would not become ready by itself.
    pub failing: bool,
    /// It is being deleted.
    pub terminating: bool,
    /// Somebody agreed that it is replaced, by annotation.
    pub approved: bool,
    /// How far it is emptied, as its broker said last; none: it did not say that it is being emptied.
    pub evacuation: Option<EvacuationPhase>,
}

/// A pod that is being emptied: the state that outlives the operator, kept in the status of the BrokerCluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evacuation {
    /// Number of the pod.
    pub ordinal: u16,
    /// Why.
    pub cause: Cause,
    /// Since when, in seconds since 1970.
    pub start: i64,
    /// When it goes although it is not empty.
    pub deadline: i64,
}

/// Why a node is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its pod template changed.
    Update,
    /// It is one too many.
    ScaleDown,
}

/// What is to be done now.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The pod that is being emptied.
    pub evacuation: Option<Evacuation>,
    /// `spec.replicas` of the StatefulSet.
    pub replicas: u16,
    /// Its partition.
    pub partition: u16,
    /// Nodes in the configuration: those that exist or are about to.
    pub nodes: u16,
    /// Nodes that the configuration tells all to empty.
    pub evacuating: Vec<u16>,
    /// A pod that may go from now on.
    pub released: Option<Released>,
    /// Where it all stands.
    pub progress: Progress,
    /// When to look again although nothing happened, in seconds since 1970.
    pub wake: Option<i64>,
}

/// A pod that may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Released {
    /// Its number.
    pub ordinal: u16,
    /// Why.
    pub cause: Cause,
    /// It was not empty in time.
    pub forced: bool,
}

/// Where a rollout stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// All pods are there, of the newest template and ready.
    Done,
    /// `replicas: 0`, and no pod is left.
    Hibernating,
    /// Pods are being made, or become ready; the lowest of them.
    Starting(u16),
    /// The StatefulSet controller has not seen the newest template yet.
    Rendering,
    /// A pod is being emptied.
    Evacuating(u16, Cause),
    /// A pod was let go and is not gone, or its successor is not there.
    Replacing(u16, Cause),
    /// A pod waits for somebody's consent before it is replaced.
    WaitingForApproval(u16),
    /// The next pod is not touched before this one is ready.
    Blocked(u16),
}

/// The next step, and the state after it. The same input gives the same output; nothing is remembered elsewhere.
pub fn step(state: Option<&Evacuation>, facts: &Facts, now: i64) -> Decision {
    let Some(set) = &facts.set else {
        let progress = if facts.wanted == 0 { Progress::Hibernating } else { Progress::Starting(0) };
        // Pods without a set go on in the one that is made now: those that are too many are emptied by it first.
        let highest = facts.pods.iter().map(|pod| pod.ordinal + 1).max().unwrap_or(0);
        let replicas = if facts.wanted == 0 { 0 } else { facts.wanted.max(highest) };
        return Decision::at(replicas, HOLD, progress).with_nodes(facts);
    };
    let view = View { facts, set, now };
    // A set that grows, or stops altogether, needs nobody's departure.
    let replicas = if facts.wanted == 0 { 0 } else { set.replicas.max(facts.wanted) };
    let held = Decision::at(replicas, view.partition(), Progress::Done);
    let decision = match view.turn(replicas) {
        Turn::Empty(target) => view.empty(state, target, held),
        Turn::Drop => {
            let ordinal = set.replicas - 1;
            Decision { replicas: ordinal, progress: Progress::Replacing(ordinal, Cause::ScaleDown), ..held }
        }
        Turn::Wait => Decision { progress: view.progress(replicas), ..held },
    };
    decision.with_nodes(facts).with_wake(facts, now)
}

/// What one step sees.
struct View<'a> {
    facts: &'a Facts,
    set: &'a SetFacts,
    now: i64,
}

/// What comes next.
enum Turn<'a> {
    /// A pod goes once it is empty.
    Empty(Target<'a>),
    /// The highest pod is one too many and was never made.
    Drop,
    /// Something is under way, or nothing is to be done.
    Wait,
}

/// The pod whose turn it is.
struct Target<'a> {
    pod: &'a PodFacts,
    cause: Cause,
}

// === impl View ===

impl<'a> View<'a> {
    /// Pods that were let go and are still there, or are leaving by themselves.
    fn leaving(&self) -> Vec<u16> {
        let released = |pod: &&PodFacts| self.outdated(pod) && pod.ordinal >= self.partition();
        let gone = |pod: &&PodFacts| pod.terminating || pod.ordinal >= self.set.replicas || released(pod);
        self.facts.pods.iter().filter(gone).map(|pod| pod.ordinal).collect()
    }

    fn outdated(&self, pod: &PodFacts) -> bool {
        pod.revision != self.set.update_revision
    }

    fn available(&self, pod: &PodFacts) -> bool {
        let since = pod.ready_since.filter(|_| !pod.terminating);
        // Of a pod that is ready since a time to come nobody can say for how long: it counts, or an update would wait until
        // a clock that is hours behind has caught up.
        since.is_some_and(|since| {
            since + self.facts.min_ready_seconds <= self.now || since > self.now + CLOCKS_APART_MAX
        })
    }

    fn pod(&self, ordinal: u16) -> Option<&'a PodFacts> {
        self.facts.pods.iter().find(|pod| pod.ordinal == ordinal)
    }

    /// Where the partition stays if nothing is let go: a template that is new holds everything, and so does one that
    /// every pod has.
    fn partition(&self) -> u16 {
        let pending = self.facts.pods.iter().any(|pod| self.outdated(pod));
        let unknown = !self.set.observed || (0..self.set.replicas).any(|ordinal| self.pod(ordinal).is_none());
        if self.facts.template_changed || !(pending || unknown) { HOLD } else { self.set.partition }
    }

    /// The highest pod that is one too many, or else the highest that is outdated; nobody while another one leaves.
    fn turn(&self, replicas: u16) -> Turn<'a> {
        if replicas == 0 || !self.leaving().is_empty() {
            return Turn::Wait;
        }
        if self.facts.wanted < self.set.replicas {
            return match self.pod(self.set.replicas - 1) {
                Some(pod) => Turn::Empty(Target { pod, cause: Cause::ScaleDown }),
                None => Turn::Drop,
            };
        }
        if self.facts.template_changed || !self.set.observed {
            return Turn::Wait;
        }
        let outdated = self.facts.pods.iter().filter(|pod| self.outdated(pod));
        match outdated.max_by_key(|pod| pod.ordinal) {
            Some(pod) => Turn::Empty(Target { pod, cause: Cause::Update }),
            None => Turn::Wait,
        }
    }

    fn empty(&self, state: Option<&Evacuation>, target: Target, held: Decision) -> Decision {
        let Target { pod, cause } = target;
        let ordinal = pod.ordinal;
        let running = state.filter(|state| state.ordinal == ordinal && state.cause == cause);
        if running.is_none() {
            if let Some(blocker) = self.blocker(&target) {
                return Decision { progress: Progress::Blocked(blocker), ..held };
            }
            if cause == Cause::Update && self.facts.manual && !pod.approved {
                return Decision { progress: Progress::WaitingForApproval(ordinal), ..held };
            }
        }
        let evacuation = running.cloned().unwrap_or(Evacuation {
            ordinal,
            cause,
            start: self.now,
            deadline: self.now + self.facts.deadline_seconds,
        });
        // Who does not run has nobody to send away, and who is alone has nobody to send them to.
        let pointless = pod.failing || running.is_none() && self.facts.pods.len() == 1;
        let forced = match pod.evacuation {
            _ if !self.facts.evacuate || pointless => Some(false),
            Some(EvacuationPhase::Empty) => Some(false),
            Some(EvacuationPhase::TimedOut) => Some(true),
            Some(EvacuationPhase::Evacuating) | None => (self.now >= evacuation.deadline).then_some(true),
        };
        let Some(forced) = forced else {
            let wake = Some(evacuation.deadline);
            let progress = Progress::Evacuating(ordinal, cause);
            return Decision { evacuation: Some(evacuation), progress, wake, ..held };
        };
        let (replicas, partition) = match cause {
            Cause::ScaleDown => (ordinal, held.partition),
            Cause::Update => (held.replicas, ordinal),
        };
        let released = Some(Released { ordinal, cause, forced });
        Decision { replicas, partition, released, progress: Progress::Replacing(ordinal, cause), ..held }
    }

    /// A pod that must be ready before another one goes. Outdated ones that fail are waited for by nobody, so that a mended
    /// template reaches them.
    fn blocker(&self, target: &Target) -> Option<u16> {
        if target.cause == Cause::ScaleDown && target.pod.failing {
            return None;
        }
        let mut others = (0..self.set.replicas).filter(|ordinal| *ordinal != target.pod.ordinal);
        others.find(|ordinal| match self.pod(*ordinal) {
            None => true,
            Some(pod) => !(self.available(pod) || pod.failing && self.outdated(pod)),
        })
    }

    fn progress(&self, replicas: u16) -> Progress {
        if let Some(ordinal) = self.leaving().into_iter().max() {
            let cause = if ordinal >= self.set.replicas.min(replicas) { Cause::ScaleDown } else { Cause::Update };
            return Progress::Replacing(ordinal, cause);
        }
        if replicas == 0 {
            return if self.facts.pods.is_empty() {
                Progress::Hibernating
            } else {
                Progress::Replacing(0, Cause::ScaleDown)
            };
        }
        let starting = (0..replicas).find(|ordinal| !self.pod(*ordinal).is_some_and(|pod| self.available(pod)));
        match starting {
            Some(ordinal) => Progress::Starting(ordinal),
            None if self.facts.template_changed || !self.set.observed => Progress::Rendering,
            None => Progress::Done,
        }
    }
}

// === impl Decision ===

impl Decision {
    fn at(replicas: u16, partition: u16, progress: Progress) -> Self {
        Self {
            evacuation: None,
            replicas,
            partition,
            nodes: replicas,
            evacuating: Vec::new(),
            released: None,
            progress,
            wake: None,
        }
    }

    /// A node stays in the list until its pod is gone: what waits for it, or from it, is still under way.
    fn with_nodes(mut self, facts: &Facts) -> Self {
        let highest = facts.pods.iter().map(|pod| pod.ordinal + 1).max().unwrap_or(0);
        self.nodes = self.replicas.max(highest);
        let outdated = |pod: &PodFacts| facts.set.as_ref().is_some_and(|set| pod.revision != set.update_revision);
        let leaves = |pod: &PodFacts| {
            self.evacuation.as_ref().is_some_and(|evacuation| evacuation.ordinal == pod.ordinal)
                || pod.ordinal >= self.replicas
                || pod.ordinal >= self.partition && outdated(pod)
        };
        if facts.evacuate {
            self.evacuating = facts.pods.iter().filter(|pod| leaves(pod)).map(|pod| pod.ordinal).collect();
            self.evacuating.sort_unstable();
            // Nobody would be left to take anything.
            if self.evacuating.len() >= usize::from(self.nodes) {
                self.evacuating.clear();
            }
        }
        self
    }

    /// A pod becomes available by time alone.
    fn with_wake(mut self, facts: &Facts, now: i64) -> Self {
        let at = facts.pods.iter().filter_map(|pod| pod.ready_since.map(|since| since + facts.min_ready_seconds));
        self.wake = at.filter(|at| *at > now).chain(self.wake).min();
        self
    }
}

#[cfg(test)]
mod sim;
