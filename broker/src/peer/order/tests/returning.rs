//! An owner that had the session before, and gets it back from the node to which it gave it.

use super::*;
use crate::link::{LaneId, Place, Version as Number};

const FIRST: Number = Number { epoch: 1, number: 1 };

/// The session began here, `b` took it by stamp 60 with two of three messages, and gives it back by stamp 70.
fn returned() -> Owner {
    let mut owner = Owner::new(0);
    owner.common.nodes.connected(&"c".into(), 1, 1);
    owner.record.streams.clear();
    let mut trail = Trail::begun("me".into(), 1);
    trail.push(Stay { node: "b".into(), life: 1, since: since() });
    owner.record.trail = trail.clone();
    let id = "client".into();
    let mut cx = Cx { out: &mut owner.world, common: &mut owner.common, id: &id, now: Millis(5) };
    cx.out.queue = vec![delivery(1), delivery(2), delivery(4)];
    owner.record.on_ask(&mut cx, &"b".into(), stamp(60), Purpose::Serve);
    owner.record.on_take(&mut cx, &"b".into(), 1, (stamp(60), 1));
    let own = Stream { node: "me".into(), life: 1, id: owner.record.epoch, index: 2, queued: 3 };
    let export = Export {
        stamp: stamp(70),
        offer: 1,
        epoch: stamp(60),
        cut: 0,
        queued: 1,
        streams: vec![own],
        trail,
        unasked: Vec::new(),
        dwell: 0,
        had: Had::default(),
        head: head(),
    };
    owner.record.on_connect(&mut cx, stamp(70), false);
    let lookup = owner.record.lookup.as_mut().expect("it looks for its session");
    lookup.answers = BTreeMap::from([("b".into(), Answer::Export(Box::new(export)))]);
    lookup.taking = Some(("b".into(), 1));
    owner.record.on_given(&mut cx, &"b".into(), stamp(70));
    owner
}

/// From the first version on that a node has told.
fn since() -> Since {
    Since::Versions([(super::super::super::trail::OTHERS.into(), Number::default())].into())
}

impl Owner {
    /// All lanes but that of `c` know where the session was and is.
    fn settle_but_c(&mut self) {
        for origin in ["me", "a", "b"] {
            ["b", "me"].iter().for_each(|about| self.common.nodes.mark(origin, 0, &(*about).into(), FIRST));
        }
        let token = self.record.staking.expect("a stake is asked for");
        self.with(|record, cx| record.on_staked(cx, token, &since()));
        self.world.said.clear();
    }

    /// What `b` has, all of it.
    fn b_forwards(&mut self, first: u64, numbers: &[u8]) {
        let entry =
            |(index, number): (u64, &u8)| Entry { index, tag: None, entrance: None, delivery: delivery(*number) };
        let entries = (first..).zip(numbers).map(entry).collect();
        let (stream, epoch) = (stamp(60), stamp(70));
        let forward = Forward { stream, epoch, wants_trail: false, caught_up: true, behind: Vec::new(), entries };
        self.with(|record, cx| record.on_forward(cx, &"b".into(), forward));
    }

    /// A message comes by the lane of `c`.
    fn by_c(&mut self, number: u8) {
        let tag: Arc<Tag> = self.common.nodes.tag("c", 0).expect("a lane").clone();
        self.with(|record, cx| record.offer(cx, &tag, None, delivery(number), false));
    }
}

#[test]
fn what_is_left_of_an_earlier_stay_is_looked_at_as_what_others_forward() {
    let mut owner = returned();
    assert!(owner.world.got.is_empty(), "it is behind the queue of b");
    owner.b_forwards(1, &[3]);
    assert_eq!(owner.world.got, [3, 4]);
    assert_eq!(owner.world.looked_at, [3, 4], "the client may have unsubscribed meanwhile");
}

#[test]
fn what_may_still_come_for_an_earlier_stay_goes_before_what_another_node_had_since() {
    let mut owner = returned();
    owner.settle_but_c();
    owner.b_forwards(1, &[3, 7, 8]);
    assert_eq!(owner.world.got, [3, 4], "c may have sent something here before it knew of b");
    assert!(!owner.is_told_to_go_on("b"));
    owner.by_c(5);
    owner.by_c(6);
    assert_eq!(owner.world.got, [3, 4, 5, 6]);
    assert_eq!(owner.world.looked_at, [3, 4, 5, 6], "the client may have unsubscribed meanwhile");
    ["b", "me"].iter().for_each(|about| owner.common.nodes.mark("c", 0, &(*about).into(), FIRST));
    owner.by_c(9);
    assert!(owner.is_told_to_go_on("b"));
    owner.b_forwards(2, &[7, 8]);
    assert_eq!(owner.world.got, [3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(owner.common.stats.holds_passed, 0);
}

#[test]
fn nobody_waits_longer_than_may_be_for_what_may_come_for_an_earlier_stay() {
    let mut owner = returned();
    owner.settle_but_c();
    owner.b_forwards(1, &[3, 7]);
    owner.now = Millis(5) + ORDER_HOLD;
    owner.with(|_, _| ());
    assert!(owner.is_told_to_go_on("b"));
    owner.b_forwards(2, &[7]);
    assert_eq!(owner.world.got, [3, 4, 7]);
    assert_eq!(owner.common.stats.holds_passed, 1, "it may be out of order");
}

#[test]
fn what_a_lane_brings_again_is_taken_if_it_was_left_to_another_node_and_not_if_it_was_had() {
    let mut owner = returned();
    owner.settle_but_c();
    ["b", "me"].iter().for_each(|about| owner.common.nodes.mark("c", 0, &(*about).into(), FIRST));
    owner.b_forwards(1, &[3]);
    let lane = Arc::new(LaneId { cluster: "far".into(), node: "far-0".into(), life: 1 });
    let entrance = |number| {
        let place = Place { batch: u64::from(number), message: 0 };
        Some(Entrance { lane: lane.clone(), place })
    };
    // It entered where only the stay of `b` was known, and then where the session is known to be here again.
    let mut theirs = Tag::new("a".into());
    theirs.put(&"b".into(), FIRST);
    let (theirs, mine) = (Arc::new(theirs), owner.common.nodes.tag("c", 0).expect("a lane").clone());
    for number in [5, 6] {
        owner.with(|record, cx| record.offer(cx, &theirs, entrance(number), delivery(number), false));
    }
    assert_eq!(owner.world.got, [3, 4], "both are for b to take");
    owner.with(|record, cx| record.offer_again(cx, &mine, entrance(5), delivery(5)));
    owner.with(|record, cx| record.offer_again(cx, &mine, entrance(5), delivery(5)));
    owner.with(|record, cx| record.offer_again(cx, &theirs, entrance(6), delivery(6)));
    owner.with(|record, cx| record.offer_again(cx, &mine, entrance(7), delivery(7)));
    assert_eq!(owner.world.got, [3, 4, 5], "5 is taken once, 6 is still for b, and 7 was taken as it came");
}
