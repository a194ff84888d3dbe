//! A simulation: a StatefulSet controller, brokers and an operator that restarts, over many random histories.

use super::*;

/// Histories; each is a seed.
const HISTORIES: u64 = 1_500;
/// Steps in which anything may happen.
const TROUBLE: i64 = 250;
/// Steps in which it must come to rest once nothing happens any more.
const REST: i64 = 1_500;
const MIN_READY: i64 = 2;
const DEADLINE: i64 = 20;

#[test]
fn no_history_loses_two_pods_at_once_and_each_comes_to_rest() {
    for seed in 0..HISTORIES {
        World::new(seed).run();
    }
}

#[test]
fn an_update_empties_lets_go_and_awaits_one_pod_after_another_from_the_top() {
    let mut world = World::new(7);
    world.quiet = true;
    world.facts.evacuate = true;
    world.facts.manual = false;
    world.facts.wanted = 3;
    world.settle();
    world.template += 1;
    world.settle();
    let order: Vec<_> = world.released.iter().map(|released| (released.ordinal, released.cause)).collect();
    assert_eq!(order, [(2, Cause::Update), (1, Cause::Update), (0, Cause::Update)]);
    world.facts.wanted = 1;
    world.settle();
    let order: Vec<_> = world.released[3..].iter().map(|released| (released.ordinal, released.cause)).collect();
    assert_eq!(order, [(2, Cause::ScaleDown), (1, Cause::ScaleDown)]);
    world.facts.wanted = 0;
    world.settle();
    assert!(world.pods.is_empty() && world.released.len() == 5, "hibernation empties nobody");
}

/// A clock that is a little off makes nobody hasty, and one that is hours behind makes nobody wait for hours.
#[test]
fn a_pod_that_is_ready_since_a_time_to_come_counts_if_clocks_are_far_apart() {
    let set = SetFacts { replicas: 1, partition: HOLD, update_revision: "new".to_owned(), observed: true };
    let progress = |ready_since: i64| {
        let pod = PodFacts { ready_since: Some(ready_since), revision: "new".to_owned(), ..PodFacts::default() };
        let facts =
            Facts { wanted: 1, min_ready_seconds: 5, set: Some(set.clone()), pods: vec![pod], ..Facts::default() };
        step(None, &facts, 1_000).progress
    };
    assert_eq!(progress(995), Progress::Done);
    assert_eq!(progress(998), Progress::Starting(0));
    assert_eq!(progress(1_030), Progress::Starting(0));
    assert_eq!(progress(1_000 + 6 * 3_600), Progress::Done);
}

#[test]
fn a_pod_that_does_not_become_empty_goes_at_its_deadline_and_that_is_said() {
    let pod = |ordinal| PodFacts { ordinal, revision: "a".into(), ready_since: Some(0), ..PodFacts::default() };
    let mut facts = Facts {
        wanted: 2,
        evacuate: true,
        deadline_seconds: 900,
        set: Some(SetFacts { replicas: 2, partition: HOLD, update_revision: "b".into(), observed: true }),
        pods: vec![pod(0), pod(1)],
        ..Facts::default()
    };
    let first = step(None, &facts, 100);
    assert_eq!((first.partition, first.evacuating.as_slice(), first.wake), (HOLD, &[1][..], Some(1000)));
    let state = first.evacuation.expect("it is being emptied");
    facts.pods[1].evacuation = Some(EvacuationPhase::Evacuating);
    assert_eq!(step(Some(&state), &facts, 999).evacuation, Some(state.clone()));
    let last = step(Some(&state), &facts, 1000);
    let released = Released { ordinal: 1, cause: Cause::Update, forced: true };
    assert_eq!((last.evacuation, last.released, last.partition), (None, Some(released), 1));
    assert_eq!(last.evacuating, [1], "it takes no clients back while it waits for its end");
    facts.pods[1].evacuation = Some(EvacuationPhase::Empty);
    assert_eq!(step(Some(&state), &facts, 500).released.map(|released| released.forced), Some(false));
    facts.evacuate = false;
    let at_once = step(Some(&state), &facts, 500);
    assert_eq!((at_once.partition, at_once.evacuating.len()), (1, 0), "Disconnect waits for nothing");
}

#[test]
fn an_update_by_hand_waits_for_consent_and_a_changed_mind_cancels_an_evacuation() {
    let pod = |ordinal| PodFacts { ordinal, revision: "a".into(), ready_since: Some(0), ..PodFacts::default() };
    let set = SetFacts { replicas: 2, partition: HOLD, update_revision: "b".into(), observed: true };
    let mut facts = Facts {
        wanted: 2,
        evacuate: true,
        manual: true,
        deadline_seconds: 900,
        set: Some(set),
        pods: vec![pod(0), pod(1)],
        ..Facts::default()
    };
    assert_eq!(step(None, &facts, 1).progress, Progress::WaitingForApproval(1));
    facts.pods[1].approved = true;
    let state = step(None, &facts, 1).evacuation.expect("with consent it begins");
    facts.set.as_mut().expect("a set").update_revision = "a".into();
    let back = step(Some(&state), &facts, 2);
    assert_eq!((back.evacuation, back.evacuating.len(), back.progress), (None, 0, Progress::Done));
}

struct World {
    random: u64,
    quiet: bool,
    now: i64,
    /// The template that the operator wants, and the one that the StatefulSet has.
    template: u32,
    applied: u32,
    facts: Facts,
    state: Option<Evacuation>,
    pods: Vec<Pod>,
    /// The pod that is away because the operator let it go.
    away: Option<u16>,
    released: Vec<Released>,
}

struct Pod {
    facts: PodFacts,
    /// Steps until it is empty, gone or ready; none: never.
    empty_in: Option<i64>,
    gone_in: i64,
    ready_in: Option<i64>,
    /// The whole cluster was stopped while it was there: all may go at once.
    stopped: bool,
}

// === impl World ===

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            quiet: false,
            now: 0,
            template: 0,
            applied: 0,
            facts: Facts { deadline_seconds: DEADLINE, min_ready_seconds: MIN_READY, ..Facts::default() },
            state: None,
            pods: Vec::new(),
            away: None,
            released: Vec::new(),
        };
        world.facts.wanted = world.below(4) as u16;
        world.facts.evacuate = world.below(4) > 0;
        world.facts.manual = world.below(4) == 0;
        world
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % bound
    }

    fn run(&mut self) {
        for _ in 0..TROUBLE {
            self.trouble();
            self.turn();
        }
        self.quiet = true;
        self.settle();
    }

    /// Nothing happens any more, and everybody who was asked agrees.
    fn settle(&mut self) {
        for _ in 0..REST {
            self.pods.iter_mut().for_each(|pod| {
                pod.facts.approved = true;
                pod.ready_in = pod.ready_in.or(Some(1));
            });
            if matches!(self.turn(), Progress::Done | Progress::Hibernating) && self.template == self.applied {
                let current = format!("r{}", self.template);
                assert_eq!(self.pods.len(), usize::from(self.facts.wanted));
                assert!(self.pods.iter().all(|pod| pod.facts.revision == current), "{:?}", self.facts);
                assert_eq!(self.facts.set.as_ref().map(|set| set.partition), Some(HOLD));
                return;
            }
        }
        panic!("no rest: {:?} {:?}", self.facts, self.state);
    }

    fn trouble(&mut self) {
        match self.below(40) {
            0 => self.template += 1,
            1 => self.facts.wanted = self.below(5) as u16,
            // A restart between deciding and writing the status.
            2 => self.state = None,
            3 => self.facts.evacuate = !self.facts.evacuate,
            4 | 5 if !self.pods.is_empty() => {
                let at = self.below(self.pods.len() as u64) as usize;
                self.pods[at].facts.ready_since = None;
                self.pods[at].ready_in = [None, Some(5)][self.below(2) as usize];
            }
            6 if !self.pods.is_empty() => {
                let at = self.below(self.pods.len() as u64) as usize;
                self.pods[at].facts.terminating = true;
            }
            7 => self.pods.iter_mut().for_each(|pod| pod.facts.approved = true),
            _ => {}
        }
    }

    /// The operator, then the StatefulSet controller, then time.
    fn turn(&mut self) -> Progress {
        self.now += 1;
        self.facts.pods = self.pods.iter().map(|pod| pod.facts.clone()).collect();
        self.facts.template_changed = self.template != self.applied;
        let decision = step(self.state.as_ref(), &self.facts, self.now);
        self.check(&decision);
        self.state = decision.evacuation.clone();
        self.released.extend(decision.released);
        // Sometimes the StatefulSet can't be written; the status was.
        if !self.quiet && self.below(20) == 0 {
            return Progress::Rendering;
        }
        self.apply(&decision);
        self.control();
        self.live();
        decision.progress
    }

    fn check(&self, decision: &Decision) {
        assert!(self.pods.iter().all(|pod| pod.facts.ordinal < decision.nodes), "a node left the list before its pod");
        assert!(decision.evacuating.len() < usize::from(decision.nodes.max(1)), "nobody is left to take anything");
        if let Some(evacuation) = &decision.evacuation {
            assert!(evacuation.deadline <= self.now + DEADLINE && self.facts.evacuate);
        }
    }

    fn apply(&mut self, decision: &Decision) {
        let changed = self.facts.set.is_none() || self.facts.template_changed;
        self.applied = self.template;
        let set = self.facts.set.get_or_insert_with(SetFacts::default);
        (set.replicas, set.partition) = (decision.replicas, decision.partition);
        if changed {
            // The controller needs a moment; until then the revision is the old one.
            set.observed = false;
        }
        for pod in &mut self.pods {
            pod.stopped |= decision.replicas == 0;
            let told = decision.evacuating.contains(&pod.facts.ordinal);
            pod.facts.evacuation = match (told, pod.empty_in) {
                (false, _) => None,
                (true, Some(0)) => Some(EvacuationPhase::Empty),
                (true, _) => Some(EvacuationPhase::Evacuating),
            };
        }
    }

    /// What a StatefulSet controller does with `Parallel`: makes and removes what replicas says, replaces one outdated pod
    /// at or above the partition while all others are ready.
    fn control(&mut self) {
        if self.random & 4 == 0 && !self.quiet {
            return;
        }
        let set = self.facts.set.as_mut().expect("applied");
        let (observed, replicas, partition) = (set.observed, set.replicas, set.partition);
        set.observed = true;
        set.update_revision = format!("r{}", self.applied);
        let update = set.update_revision.clone();
        let old = self.pods.iter().map(|pod| pod.facts.revision.clone()).min().unwrap_or_else(|| update.clone());
        for ordinal in 0..replicas {
            if !self.pods.iter().any(|pod| pod.facts.ordinal == ordinal) {
                let revision = if ordinal < partition { old.clone() } else { update.clone() };
                let facts = PodFacts { ordinal, revision, ..PodFacts::default() };
                let empty_in = (self.random.rotate_left(u32::from(ordinal)) & 3 != 0).then_some(6);
                self.pods.push(Pod { facts, empty_in, gone_in: 3, ready_in: Some(4), stopped: false });
            }
        }
        self.pods.sort_by_key(|pod| pod.facts.ordinal);
        for at in 0..self.pods.len() {
            if self.pods[at].facts.ordinal >= replicas && !self.pods[at].facts.terminating {
                self.delete(at);
            }
        }
        let highest = self.pods.iter().rposition(|pod| pod.facts.ordinal >= partition && pod.facts.revision != update);
        if let Some(at) = highest.filter(|_| observed)
            && !self.pods[at].facts.terminating
        {
            self.delete(at);
        }
    }

    fn delete(&mut self, at: usize) {
        let ordinal = self.pods[at].facts.ordinal;
        // One that is not ready serves nobody: a mended template may take it at any time.
        if !self.pods[at].stopped && self.pods[at].facts.ready_since.is_some() {
            assert!(self.away.is_none_or(|away| away == ordinal), "{ordinal} goes while {:?} is away", self.away);
            self.away = Some(ordinal);
        }
        self.pods[at].facts.terminating = true;
    }

    fn live(&mut self) {
        let now = self.now;
        for pod in &mut self.pods {
            if pod.facts.evacuation.is_some() {
                pod.empty_in = pod.empty_in.map(|left| (left - 1).max(0));
            }
            if pod.facts.terminating {
                pod.gone_in -= 1;
            } else if let Some(left) = &mut pod.ready_in {
                *left -= 1;
                if *left <= 0 && pod.facts.ready_since.is_none() {
                    pod.facts.ready_since = Some(now);
                }
            }
        }
        self.pods.retain(|pod| pod.gone_in > 0);
        self.pods.iter_mut().for_each(|pod| pod.facts.failing = pod.ready_in.is_none());
        let back = |away: u16| {
            let wanted = self.facts.set.as_ref().is_some_and(|set| away < set.replicas);
            let pod = self.pods.iter().find(|pod| pod.facts.ordinal == away);
            match pod {
                None => !wanted,
                Some(pod) => !pod.facts.terminating && (pod.facts.ready_since.is_some() || pod.ready_in.is_none()),
            }
        };
        if self.away.is_some_and(back) {
            self.away = None;
        }
    }
}
