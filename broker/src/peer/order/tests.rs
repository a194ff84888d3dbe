//! The order of parts, and an owner that gets them from several nodes, one message at a time.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::bounds::{ORDER_HOLD, Settings};
use super::super::control::{Control, Denial, Export, Purpose, Stream};
use super::super::envelope::Envelope;
use super::super::forward::{Entry, Forward};
use super::super::had::{Entrance, Had};
use super::super::head::SubscriptionHead;
use super::super::nodes::{Nodes, Reach};
use super::super::outlet::{Claim, Outlet, Refusal, Serve, Session};
use super::super::record::{self, Answer, Common, Cx, Open, Record, Role};
use super::super::trail::{Since, Stay, Tag, Trail};
use super::{Held, Part, Waiting};
use crate::clock::{Millis, Stamp};
use crate::codec::{Qos, Version};
use crate::link::LaneRuns;
use crate::message::Delivery;
use crate::message::tests::message;
use crate::peer::SessionHead;
use crate::session::Limits;
use crate::topic::Subscription;

mod returning;

/// What a session gets, and what is said to other nodes.
#[derive(Default)]
struct World {
    got: Vec<u8>,
    looked_at: Vec<u8>,
    bequeathed: Vec<u8>,
    queue: Vec<Delivery>,
    online: bool,
    said: Vec<(Arc<str>, Control)>,
    refused: Vec<Refusal>,
}

fn stamp(time: u64) -> Stamp {
    Stamp { time, node: 1 }
}

fn delivery(number: u8) -> Delivery {
    let message = Arc::new(message("t", &[number]));
    Delivery { message, subscription_ids: None, qos: Qos::AtLeastOnce, retain: false, group: 0 }
}

fn number(delivery: &Delivery) -> u8 {
    delivery.message.layout().payload(delivery.message.frame())[0]
}

fn head() -> SessionHead {
    SessionHead {
        version: Version::V5,
        principal: "".into(),
        expiry: 100,
        ends_in: None,
        will: None,
        subscriptions: vec![SubscriptionHead {
            subscription: Subscription::parse("t", 16).expect("a filter"),
            options: 1,
            id: None,
        }],
        next_id: 1,
        in_flight: Vec::new(),
        inbound: Vec::new(),
    }
}

impl Outlet for World {
    fn control(&mut self, node: &Arc<str>, payload: &[u8]) -> bool {
        let envelope = Envelope::read(payload).expect("it was written");
        let control = Control::decode(envelope.kind, envelope.body, Millis(0)).expect("it was written");
        self.said.push((Arc::clone(node), control));
        true
    }

    fn stamp(&mut self) -> Stamp {
        stamp(1_000)
    }

    fn merge(&mut self, _: Stamp) -> bool {
        true
    }

    fn claims(&self, _: &str, _: &str) -> Claim {
        Claim::No
    }

    fn session(&self, _: &str) -> Option<Session> {
        Some(Session { epoch: stamp(50), connected: stamp(50), persistent: true, online: self.online })
    }

    fn limits(&self) -> Limits {
        Limits { messages: 10_000, bytes: 1 << 20 }
    }

    fn freeze(&mut self, _: &str) {}

    fn head(&mut self, _: &str) -> Option<SessionHead> {
        Some(head())
    }

    fn take_queue(&mut self, _: &str) -> Vec<Delivery> {
        std::mem::take(&mut self.queue)
    }

    fn thaw(&mut self, _: &str) {}

    fn strip(&mut self, _: &str) {}

    fn leave_groups(&mut self, _: &str) -> bool {
        false
    }

    fn discard(&mut self, _: &str) {}

    fn install(&mut self, _: &str, _: Stamp, _: SessionHead) {}

    fn append(&mut self, _: &str, delivery: Delivery, _: bool) {
        self.got.push(number(&delivery));
    }

    fn forwarded(&mut self, _: &str, _: &Arc<str>, delivery: Delivery) {
        self.looked_at.push(number(&delivery));
        self.got.push(number(&delivery));
    }

    fn bequeath(&mut self, _: &str, delivery: Delivery) {
        self.bequeathed.push(number(&delivery));
    }

    fn unwatch(&mut self, _: &str) {}

    fn end(&mut self, _: &str) {}

    fn taken(&self) -> Vec<LaneRuns> {
        Vec::new()
    }

    fn has_had(&self, _: &Entrance) -> bool {
        false
    }

    fn stake(&mut self, _: u64) {}

    fn serve(&mut self, _: &str, _: Serve) {}

    fn refuse(&mut self, _: &str, why: Refusal) {
        self.refused.push(why);
    }
}

/// An owner, and two nodes that had the session before: `a` by stamp 10, `b` by stamp 20.
struct Owner {
    world: World,
    common: Common,
    record: Record,
    now: Millis,
}

impl Owner {
    /// `queued` of `b`'s messages stood in its queue when it gave the session away.
    fn new(queued: u64) -> Self {
        let mut nodes = Nodes::new("me".into(), 1, 1);
        for node in ["a", "b"] {
            nodes.connected(&node.into(), 1, 1);
        }
        let common = Common::new(nodes, Settings::default());
        let mut record = Record::new(None, &common.nodes);
        (record.role, record.epoch) = (Role::Owner, stamp(30));
        record.trail = Trail::begun("a".into(), 1);
        for node in ["b", "me"] {
            record.trail.push(Stay { node: node.into(), life: 1, since: Since::Unknown });
        }
        let stream = |node: &str, id, queued| {
            let stream = Stream { node: node.into(), life: 1, id: stamp(id), index: 0, queued };
            Open::new(stream, Millis(0))
        };
        record.streams = vec![stream("a", 10, 0), stream("b", 20, queued)];
        record.hold(Millis(0));
        Self { world: World::default(), common, record, now: Millis(5) }
    }

    fn with<R>(&mut self, act: impl FnOnce(&mut Record, &mut Cx<'_, World>) -> R) -> R {
        let id = "client".into();
        let mut cx = Cx { out: &mut self.world, common: &mut self.common, id: &id, now: self.now };
        let result = act(&mut self.record, &mut cx);
        self.record.review(&mut cx);
        result
    }

    fn direct(&mut self, number: u8) {
        self.direct_from("c", number);
    }

    /// A message that entered at a node comes directly.
    fn direct_from(&mut self, origin: &str, number: u8) {
        self.with(|record, cx| record.take(cx, Some(&Tag::new(origin.into())), delivery(number)));
    }

    fn forward(&mut self, node: &str, first: u64, numbers: &[u8], caught_up: bool) {
        self.forward_behind(node, first, numbers, caught_up, &[]);
    }

    /// The same from one to which something may come from these nodes.
    fn forward_behind(&mut self, node: &str, first: u64, numbers: &[u8], caught_up: bool, behind: &[&str]) {
        let behind = behind.iter().copied().map(Arc::from).collect();
        let stream = stamp(if node == "a" { 10 } else { 20 });
        let entry =
            |(index, number): (u64, &u8)| Entry { index, tag: None, entrance: None, delivery: delivery(*number) };
        let entries = (first..).zip(numbers).map(entry).collect();
        let epoch = self.record.epoch;
        let forward = Forward { stream, epoch, wants_trail: false, caught_up, behind, entries };
        self.with(|record, cx| record.on_forward(cx, &node.into(), forward));
    }

    /// Whether a node was told, since this was asked last, to go on.
    fn is_told_to_go_on(&mut self, node: &str) -> bool {
        let said = std::mem::take(&mut self.world.said);
        said.iter().any(|(to, control)| &**to == node && matches!(control, Control::Forwarded { trail: Some(_), .. }))
    }
}

#[test]
fn the_queue_of_the_later_node_comes_first_and_of_what_is_left_that_of_the_earlier_one() {
    let parts = [
        Part::of(stamp(20), 3, 3),
        Part::of(stamp(10), 3, 3),
        Part::of(stamp(10), 4, 3),
        Part::of(stamp(20), 4, 3),
        Part::Direct,
    ];
    assert!(parts.is_sorted(), "{parts:?}");
}

#[test]
fn what_waits_goes_on_in_order_as_far_as_nothing_before_it_is_awaited() {
    let mut held = Held::default();
    let parts = [Part::Queue(Reverse(stamp(10))), Part::Rest(stamp(10)), Part::Direct, Part::Direct];
    parts.iter().for_each(|part| held.push(*part, Some("c".into()), delivery(1)));
    let mut release = |bar| -> Vec<Part> { held.release(|_| bar).into_iter().map(|waiting| waiting.part).collect() };
    assert_eq!(release(Part::Queue(Reverse(stamp(20)))), Vec::new());
    assert_eq!(release(Part::Rest(stamp(20))), parts[..2]);
    assert_eq!(release(Part::Rest(stamp(20))), Vec::new());
    assert_eq!(release(Part::Direct), parts[2..]);
    assert!(held.is_empty() && held.bytes == 0);
}

#[test]
fn what_entered_elsewhere_goes_on_but_not_past_what_may_have_entered_anywhere() {
    let mut held = Held::default();
    for (number, origin) in [(1, Some("c")), (2, Some("d")), (3, None), (4, Some("d"))] {
        held.push(Part::Direct, origin.map(Arc::from), delivery(number));
    }
    let behind = |node: &str| {
        let node = Some(Arc::from(node));
        move |origin: &Option<Arc<str>>| {
            if origin.is_none() || *origin == node { Part::Rest(stamp(10)) } else { Part::Direct }
        }
    };
    let numbers = |gone: Vec<Waiting>| gone.iter().map(|waiting| number(&waiting.delivery)).collect::<Vec<_>>();
    assert_eq!(numbers(held.release(behind("c"))), [2]);
    assert_eq!(numbers(held.release(behind("d"))), [1]);
    assert_eq!(numbers(held.release(|_| Part::Direct)), [3, 4]);
}

#[test]
fn only_what_entered_at_a_node_waits_for_what_may_still_come_from_it_to_another() {
    let mut owner = Owner::new(0);
    owner.forward("a", 1, &[], true);
    owner.forward_behind("b", 1, &[1], true, &["c"]);
    owner.direct_from("c", 9);
    owner.direct_from("d", 2);
    owner.direct_from("c", 10);
    assert_eq!(owner.world.got, [1, 2]);
    owner.forward_behind("b", 2, &[8], false, &[]);
    owner.direct_from("d", 11);
    assert_eq!(owner.world.got, [1, 2, 8], "it has more");
    owner.forward("b", 3, &[], true);
    assert_eq!(owner.world.got, [1, 2, 8, 9, 10, 11]);
    assert_eq!(owner.common.stats.holds_passed, 0);
}

#[test]
fn each_part_waits_for_those_before_it_and_who_has_it_is_told_when_it_may_come() {
    let mut owner = Owner::new(2);
    owner.direct(9);
    owner.forward("a", 1, &[3, 4], true);
    assert!(owner.world.got.is_empty(), "the queue of b comes first: it has what came from a before");
    assert!(!owner.is_told_to_go_on("a"));
    owner.forward("b", 1, &[1, 2, 7], false);
    assert_eq!(owner.world.got, [1, 2], "what came to b later is behind what a still has");
    assert!(owner.is_told_to_go_on("a"));
    owner.forward("a", 1, &[3, 4], true);
    assert_eq!(owner.world.got, [1, 2, 3, 4]);
    assert!(owner.is_told_to_go_on("b"));
    owner.forward("b", 3, &[7, 8], true);
    assert_eq!(owner.world.got, [1, 2, 3, 4, 7, 8, 9]);
    assert_eq!(owner.common.stats.holds_passed, 0);
    owner.direct(10);
    assert_eq!(owner.world.got.last(), Some(&10), "nothing is awaited any more");
}

#[test]
fn after_the_time_all_goes_on_and_what_may_be_out_of_order_is_counted() {
    let mut owner = Owner::new(0);
    owner.direct(2);
    owner.forward("a", 1, &[], true);
    owner.now = Millis(ORDER_HOLD.0 - 1);
    owner.with(|_, _| ());
    assert!(owner.world.got.is_empty());
    assert_eq!(owner.record.due(), Some(ORDER_HOLD), "it is looked at then");
    owner.now = ORDER_HOLD;
    owner.with(|_, _| ());
    assert_eq!(owner.world.got, [2]);
    owner.forward("b", 1, &[1], true);
    assert_eq!((&*owner.world.got, owner.common.stats.holds_passed), (&[2, 1][..], 1));
}

#[test]
fn streams_are_closed_oldest_first_as_soon_as_nothing_can_come_by_them() {
    let mut owner = Owner::new(0);
    let epoch = owner.record.epoch;
    owner.with(|record, cx| record.on_drained(cx, &"b".into(), stamp(20), epoch));
    assert_eq!((owner.record.streams.len(), owner.world.said.len()), (2, 0), "a is older");
    owner.with(|record, cx| record.on_dropped(cx, &"a".into(), stamp(10)));
    assert!(owner.record.streams.is_empty());
    let [(to, Control::Closed { stream })] = &*owner.world.said else { panic!("{:?}", owner.world.said) };
    assert_eq!((&**to, *stream), ("b", stamp(20)));
}

#[test]
fn after_the_time_a_node_that_was_refused_is_told_to_go_on() {
    let mut owner = Owner::new(0);
    owner.forward("b", 1, &[1], true);
    assert!(owner.world.got.is_empty() && !owner.is_told_to_go_on("b"));
    assert_eq!(owner.record.due(), Some(ORDER_HOLD), "it is looked at then");
    owner.now = ORDER_HOLD;
    owner.with(|_, _| ());
    assert!(owner.is_told_to_go_on("b"));
    owner.forward("b", 1, &[1], true);
    assert_eq!((&*owner.world.got, owner.common.stats.holds_passed), (&[1][..], 1));
}

#[test]
fn nobody_waits_for_a_node_that_is_suspended() {
    let mut owner = Owner::new(0);
    owner.direct(3);
    owner.forward("b", 1, &[2], true);
    owner.common.nodes.lost("a", Reach::Unreachable);
    owner.with(|_, _| ());
    assert!(owner.world.got.is_empty(), "it may be back in a moment");
    owner.common.nodes.lost("a", Reach::Suspended);
    owner.with(|_, _| ());
    assert!(owner.is_told_to_go_on("b"));
    owner.forward("b", 1, &[2], true);
    assert_eq!((&*owner.world.got, owner.common.stats.holds_passed), (&[2, 3][..], 2));
}

#[test]
fn what_waits_goes_on_waiting_when_the_session_was_on_offer_and_is_kept() {
    let mut owner = Owner::new(0);
    owner.direct(5);
    owner.world.queue = vec![delivery(1)];
    owner.with(|record, cx| record.on_ask(cx, &"a".into(), stamp(60), Purpose::Serve));
    assert!(matches!(owner.record.role, Role::Frozen(_)));
    owner.with(|record, cx| record.on_abort(cx, &"a".into(), stamp(60)));
    assert_eq!(owner.world.got, [1], "it was in the queue");
    owner.forward("a", 1, &[2], true);
    owner.forward("b", 1, &[3], true);
    assert_eq!(owner.world.got, [1, 2, 3, 5]);
}

#[test]
fn what_a_member_of_a_group_left_behind_goes_to_another_when_the_session_is_lost_with_its_node() {
    let mut owner = Owner::new(0);
    owner.record.streams.clear();
    owner.world.queue = vec![delivery(1), Delivery { group: 7, ..delivery(2) }];
    owner.with(|record, cx| record.on_ask(cx, &"b".into(), stamp(60), Purpose::Serve));
    owner.with(|record, cx| record.on_take(cx, &"b".into(), 1, (stamp(60), 1)));
    owner.common.nodes.remove("a");
    owner.common.nodes.connected(&"b".into(), 2, 1);
    owner.with(|record, cx| record.on_death(cx, &"b".into()));
    owner.with(|record, cx| record.on_closed(cx, &"b".into(), stamp(50)));
    assert!(matches!(owner.record.role, Role::None));
    assert_eq!(owner.world.bequeathed, [2]);
}

#[test]
fn a_late_offer_takes_a_session_from_no_client() {
    let denied = |owner: &Owner, to: &str| {
        let said = owner.world.said.iter().filter(|(node, _)| **node == *to);
        said.filter(|(_, said)| matches!(said, Control::Denied { why: Denial::LookUp, .. })).count()
    };
    let asked = |owner: &mut Owner, by: &str| {
        owner.world.said.clear();
        owner.with(|record, cx| record.on_ask(cx, &by.into(), stamp(900), Purpose::Offered));
    };
    let mut owner = Owner::new(0);
    owner.record.streams.clear();
    owner.world.online = true;
    asked(&mut owner, "b");
    assert!(matches!(owner.record.role, Role::Owner), "its client is connected");
    assert_eq!(denied(&owner, "b"), 1);

    owner.world.online = false;
    owner.record.serving = Some(record::Waiting { stamp: stamp(800), clean: false });
    asked(&mut owner, "b");
    assert!(matches!(owner.record.role, Role::Owner) && owner.record.serving.is_some(), "its client is let in soon");
    assert_eq!(denied(&owner, "b"), 1);

    owner.record.serving = None;
    asked(&mut owner, "b");
    assert!(matches!(&owner.record.role, Role::Frozen(frozen) if &*frozen.to == "b"), "nobody uses it");
    asked(&mut owner, "a");
    assert!(matches!(&owner.record.role, Role::Frozen(frozen) if &*frozen.to == "b"), "it is on its way already");
    assert_eq!(denied(&owner, "a"), 1);
}

#[test]
fn a_late_offer_does_not_end_the_look_up_of_a_client() {
    let mut owner = Owner::new(0);
    owner.record = Record::new(None, &owner.common.nodes);
    owner.record.role = Role::None;
    owner.with(|record, cx| record.on_connect(cx, stamp(800), false));
    owner.with(|record, cx| record.on_ask(cx, &"b".into(), stamp(900), Purpose::Offered));
    assert!(owner.record.lookup.as_ref().is_some_and(|lookup| lookup.client.is_some()));
    owner.with(|record, cx| record.on_ask(cx, &"b".into(), stamp(901), Purpose::Serve));
    assert!(owner.record.lookup.is_none(), "a later CONNECT does");
}

#[test]
fn a_client_at_a_node_whose_clock_is_too_far_ahead_is_refused_for_that() {
    let mut owner = Owner::new(0);
    owner.record = Record::new(None, &owner.common.nodes);
    owner.with(|record, cx| record.on_connect(cx, stamp(900), false));
    owner.with(|record, cx| record.on_denied(cx, stamp(900), stamp(10), Denial::Clock));
    assert_eq!(owner.world.refused, [Refusal::ClockAhead]);
}
