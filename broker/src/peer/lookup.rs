//! The asker's side of a move: a CONNECT for a session that this node does not own asks all nodes that can be reached, and
//! is served when all of them have answered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tombolo_broker_api::WhenHomeDown;

use crate::clock::{Millis, Stamp};

use super::bounds::Repeat;
use super::control::{Control, Denial, Export, Purpose};
use super::nodes::Reach;
use super::outlet::{Claim, Outlet, Refusal, Serve, Verdict};
use super::record::{Answer, Cx, Drain, LookUp, Record, Role, Waiting};

// === impl Record ===

impl Record {
    /// A client connects here.
    pub fn on_connect<O: Outlet>(&mut self, cx: &mut Cx<'_, O>, stamp: Stamp, clean: bool) -> Verdict {
        // It was not given yet, so the later connection has it.
        self.thaw(cx);
        let client = Some(Waiting { stamp, clean });
        if let Role::Owner = self.role {
            let waited = self.serving.take().is_some();
            if waited {
                cx.common.stats.overtaken += 1;
                cx.out.refuse(cx.id, Refusal::TakenOver);
            }
            if clean {
                self.reset(cx);
                self.role = Role::Owner;
            } else if waited {
                self.serving = client;
                return Verdict::Waits;
            }
            return Verdict::Local;
        }
        let deadline = cx.now + cx.common.settings.lookup;
        if let Some(lookup) = &mut self.lookup {
            if lookup.client.is_some() {
                cx.out.refuse(cx.id, Refusal::TakenOver);
                cx.common.stats.overtaken += 1;
            }
            if lookup.taking.is_some() {
                (lookup.client, lookup.deadline) = (client, deadline);
                return Verdict::Waits;
            }
        } else if cx.common.lookups >= cx.common.settings.lookups_max {
            cx.common.stats.busy += 1;
            return Verdict::Refused(Refusal::Busy);
        }
        self.begin_lookup(cx, stamp, clean, client, deadline);
        Verdict::Waits
    }

    /// Asks anew; what was answered to an older stamp counts no more.
    fn begin_lookup<O: Outlet>(
        &mut self,
        cx: &mut Cx<'_, O>,
        stamp: Stamp,
        clean: bool,
        client: Option<Waiting>,
        deadline: Millis,
    ) {
        let (again, named) = self.lookup.take().map(|before| (before.again, before.named)).unwrap_or_default();
        let (answers, repeat) = (BTreeMap::new(), Repeat::now(cx.now));
        self.lookup = Some(LookUp { stamp, clean, client, deadline, again, answers, named, taking: None, repeat });
    }

    /// The client that waited is gone.
    pub fn on_left<O: Outlet>(&mut self, cx: &mut Cx<'_, O>) {
        self.serving = None;
        let Some(lookup) = &mut self.lookup else { return };
        if lookup.taking.is_some() {
            lookup.client = None;
        } else {
            self.end_lookup(cx, None);
        }
    }

    /// A node has a session without connection that it would like to give away.
    pub fn on_offer<O: Outlet>(&mut self, cx: &mut Cx<'_, O>) {
        let idle = matches!(self.role, Role::None | Role::Drain(_)) && self.lookup.is_none();
        if idle && cx.common.lookups < cx.common.settings.lookups_max {
            let (stamp, deadline) = (cx.out.stamp(), cx.now + cx.common.settings.lookup);
            self.begin_lookup(cx, stamp, false, None, deadline);
        }
    }

    /// Asks those who have not answered; asks for what is to be given. Decides when all have.
    pub fn search<O: Outlet>(&mut self, cx: &mut Cx<'_, O>) {
        let Some(lookup) = &mut self.lookup else { return };
        if lookup.deadline <= cx.now {
            if lookup.taking.is_none() {
                // Nobody waits for a silent node but who needs it.
                let silent = cx.common.nodes.reachable_but(|node| lookup.answers.contains_key(node));
                cx.common.nodes.silenced(&silent);
                self.decide(cx);
                let undecided = self.lookup.as_ref().is_some_and(|lookup| lookup.taking.is_none());
                return if undecided {
                    self.end_lookup(cx, Some(Refusal::Unavailable))
                };
            }
            // What is being taken will be, but nobody waits for it any more.
            lookup.deadline = Millis::NEVER;
            if lookup.client.take().is_some() {
                cx.common.stats.unavailable += 1;
                cx.out.refuse(cx.id, Refusal::Unavailable);
            }
        }
        let stamp = lookup.stamp;
        let purpose = match lookup.client {
            _ if lookup.clean => Purpose::End,
            Some(_) => Purpose::Serve,
            None => Purpose::Offered,
        };
        if lookup.repeat.is_due(cx.now) {
            lookup.repeat.said(cx.now);
            if let Some((node, _)) = &lookup.taking {
                let node = node.clone();
                let Some(offer) = self.offer_of(&node) else { return };
                return cx.say(&node, &Control::Take { stamp, offer });
            }
            let silent = cx.common.nodes.reachable_but(|node| lookup.answers.contains_key(node));
            silent.iter().for_each(|node| cx.say(node, &Control::Ask { stamp, purpose }));
        }
        self.decide(cx);
    }

    /// A node answered.
    pub fn on_answer<O: Outlet>(&mut self, cx: &mut Cx<'_, O>, from: &Arc<str>, stamp: Stamp, answer: Answer) {
        let Some(lookup) = self.lookup.as_mut().filter(|lookup| lookup.stamp == stamp && lookup.taking.is_none())
        else {
            return;
        };
        match &answer {
            Answer::None(homes) => lookup.named.extend(homes.iter().cloned()),
            Answer::Elsewhere(owner) => drop(lookup.named.insert(owner.clone())),
            Answer::Export(_) => {}
        }
        lookup.answers.insert(from.clone(), answer);
        self.decide(cx);
    }

    /// The owner has the session on offer.
    pub fn on_export<O: Outlet>(&mut self, cx: &mut Cx<'_, O>, from: &Arc<str>, export: Box<Export>) {
        let stamp = export.stamp;
        match &self.lookup {
            Some(lookup) if lookup.stamp == stamp && !lookup.clean => match &lookup.taking {
                // What is taken is taken as it was when it was asked for.
                Some(_) => {}
                None => {
                    let (moves, bytes) = cx.common.load;
                    let settings = &cx.common.settings;
                    if moves >= settings.moves_max || bytes + export.head.weight() > settings.heads_bytes_max {
                        return self.end_lookup(cx, Some(Refusal::Busy));
                    }
                    self.on_answer(cx, from, stamp, Answer::Export(export));
                }
            },
            // A copy of what was taken.
            _ if matches!(self.role, Role::Owner) && self.epoch == stamp => {
                let is_known =
                    self.streams.iter().any(|open| open.stream.node == *from && open.stream.id == export.epoch);
                if !is_known && self.trail.last_of(from).is_none() {
                    self.outdo(cx, from.clone());
                }
            }
            Some(_) | None => cx.say(from, &Control::Abort { stamp }),
        }
    }

    /// A node says no.
    pub fn on_denied<O: Outlet>(&mut self, cx: &mut Cx<'_, O>, stamp: Stamp, winner: Stamp, why: Denial) {
        let Some(lookup) = self.lookup.as_ref().filter(|lookup| lookup.stamp == stamp && lookup.taking.is_none())
        else {
            return;
        };
        let (clean, client, deadline, again) = (lookup.clean, lookup.client, lookup.deadline, lookup.again);
        match why {
            // A slow clock costs a round trip, not a refusal.
            Denial::LookUp | Denial::Owner if !again && client.is_some() && cx.out.merge(winner) => {
                let stamp = cx.out.stamp();
                self.begin_lookup(cx, stamp, clean, Some(Waiting { stamp, clean }), deadline);
                if let Some(lookup) = &mut self.lookup {
                    lookup.again = true;
                }
                self.search(cx);
            }
            Denial::LookUp | Denial::Owner => self.end_lookup(cx, Some(Refusal::TakenOver)),
            Denial::Busy => self.end_lookup(cx, Some(Refusal::Busy)),
            Denial::Clock => self.end_lookup(cx, Some(Refusal::ClockAhead)),
            Denial::TooLarge => self.end_lookup(cx, Some(Refusal::TooLarge)),
        }
    }

    /// Ends a look-up that took nothing; who waits is refused, if that is said.
    pub fn end_lookup<O: Outlet>(&mut self, cx: &mut Cx<'_, O>, why: Option<Refusal>) {
        let Some(lookup) = self.lookup.take() else { return };
        let stamp = lookup.stamp;
        for (node, answer) in &lookup.answers {
            if let Answer::Export(_) = answer {
                cx.say(node, &Control::Abort { stamp });
            }
        }
        if let (Some(why), Some(_)) = (why, lookup.client) {
            let stats = &mut cx.common.stats;
            match why {
                Refusal::TakenOver => stats.overtaken += 1,
                Refusal::Unavailable | Refusal::ClockAhead => stats.unavailable += 1,
                Refusal::Busy | Refusal::TooLarge => stats.busy += 1,
            }
            cx.out.refuse(cx.id, why);
        }
    }

    /// When all that can be reached have answered: takes what one of them offers, or begins a new session, or lets the
    /// client wait for a node that can't be reached.
    fn decide<O: Outlet>(&mut self, cx: &mut Cx<'_, O>) {
        let Some(lookup) = self.lookup.as_mut().filter(|lookup| lookup.taking.is_none()) else { return };
        let stamp = lookup.stamp;
        let nodes = &cx.common.nodes;
        let waits_for = |(node, reach)| reach == Reach::Connected && !lookup.answers.contains_key::<Arc<str>>(node);
        if nodes.to_ask().any(waits_for) {
            return;
        }
        let offers = lookup.answers.iter().filter_map(|(node, answer)| match answer {
            Answer::Export(export) if nodes.is_connected(node) => Some((export.epoch, node.clone())),
            Answer::Export(_) | Answer::None(_) | Answer::Elsewhere(_) => None,
        });
        let mut offers: Vec<(Stamp, Arc<str>)> = offers.collect();
        offers.sort();
        if let Some((_, from)) = offers.pop() {
            // Of two that could not reach each other, and had a session of this name, the later one counts.
            let life = nodes.life_of(&from).unwrap_or_default();
            lookup.taking = Some((from.clone(), life));
            lookup.repeat = Repeat::now(cx.now);
            lookup.repeat.said(cx.now);
            let Some(offer) = self.offer_of(&from) else { return };
            return cx.say(&from, &Control::Take { stamp, offer });
        }
        let clean = lookup.clean;
        let answered = lookup.answers.keys().cloned().collect();
        let Some(client) = lookup.client else {
            // Nobody waits for a new session.
            return self.end_lookup(cx, None);
        };
        if !clean && cx.common.settings.when_home_down == WhenHomeDown::Wait {
            match self.home_reach(cx) {
                // Perhaps it comes back, or is met for the first time, before the client has waited enough.
                Some(Reach::Unreachable) => return,
                Some(Reach::Suspended) => return self.end_lookup(cx, Some(Refusal::Unavailable)),
                Some(Reach::Connected) | None => {}
            }
        }
        if let Role::Drain(_) = self.role {
            cx.out.discard(cx.id);
        }
        self.lookup = None;
        self.reset(cx);
        (self.role, self.epoch) = (Role::Owner, client.stamp);
        cx.out.serve(cx.id, Serve::Fresh(client.stamp));
        self.note_unasked(cx, &answered);
    }

    /// How the nodes stand that can't be reached and have the session, by all that is known: suspended, if one of them is.
    fn home_reach<O: Outlet>(&self, cx: &Cx<'_, O>) -> Option<Reach> {
        let nodes = &cx.common.nodes;
        let given = match &self.role {
            Role::Drain(Drain { to: Some((owner, _)), .. }) => Some(owner),
            Role::Drain(_) | Role::None | Role::Owner | Role::Frozen(_) => None,
        };
        // It gave the session to one who died, and perhaps gave it on before: nobody can say yet.
        let sought = matches!(&self.role, Role::Drain(Drain { to: None, .. }));
        let told = self.lookup.iter().flat_map(|lookup| &lookup.named);
        let named: BTreeSet<&Arc<str>> = told.chain(given).collect();
        let reaches = nodes.to_ask().filter_map(|(node, reach)| match (reach, cx.out.claims(node, cx.id)) {
            (Reach::Connected, _) => None,
            (_, _) if named.contains(node) => Some(reach),
            (Reach::Unreachable | Reach::Suspended, Claim::No) => None,
            (Reach::Unreachable | Reach::Suspended, Claim::Yes) => Some(reach),
            // Nobody knows what it has. It is waited for as long as anybody waits for it.
            (Reach::Unreachable, Claim::Unknown) => Some(reach),
            (Reach::Suspended, Claim::Unknown) => None,
        });
        let reaches: Vec<Reach> = reaches.chain(sought.then_some(Reach::Suspended)).collect();
        let suspended = reaches.contains(&Reach::Suspended);
        if suspended { Some(Reach::Suspended) } else { reaches.first().copied() }
    }

    /// Notes who did not answer before the session came to be here, and may have one of this name; what they have is asked
    /// when they can be reached.
    pub fn note_unasked<O: Outlet>(&mut self, cx: &mut Cx<'_, O>, answered: &BTreeSet<Arc<str>>) {
        let nodes = &cx.common.nodes;
        self.unasked.extend(nodes.others().map(|(node, _)| node.clone()));
        self.unasked.retain(|node| nodes.contains(node) && !answered.contains(node));
        cx.common.stats.unasked += u64::from(!self.unasked.is_empty());
        self.tomb = None;
        self.settling = Some((Stamp::default(), Repeat::now(cx.now)));
        self.settle(cx);
    }
}
