//! Interest against a slow twin: whatever changes, the other side ends with the same.

use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::link::Version;
use crate::link::interest_in::{InterestFault, InterestIn};
use crate::link::interest_out::InterestOut;
use crate::link::record::{Record, Records};
use crate::link::settings::Route;
use crate::router::Change;
use crate::topic::Filter;

use super::filter;
use super::pair::route;

const LEVELS: [&str; 4] = ["a", "b", "+", "#"];

/// Levels of the topics that are tried; no filter names the last.
const NAMES: [&str; 3] = ["a", "b", "c"];

/// Filters of up to three levels, among few, so that they cover each other often.
fn filters() -> impl Strategy<Value = String> {
    prop::collection::vec(0_usize..4, 1..4).prop_map(|levels| {
        let end = levels.iter().position(|level| *level == 3).map_or(levels.len(), |hash| hash + 1);
        levels[..end].iter().map(|level| LEVELS[*level]).collect::<Vec<_>>().join("/")
    })
}

/// What was not told, record by record, for one that was told all before.
fn told(wanted: &mut InterestOut) -> Vec<Vec<u8>> {
    let from = wanted.version();
    wanted.make();
    wanted.tell(from, false)
}

/// Tells what was not told, record by record.
fn tell(wanted: &mut InterestOut, held: &mut InterestIn) {
    for piece in told(wanted) {
        take(held, &piece).expect("what one side writes the other reads");
    }
}

/// Takes a piece of it.
pub fn take(held: &mut InterestIn, piece: &[u8]) -> Result<(), InterestFault> {
    match Records::new(piece).next() {
        Some(Ok(Record::Page(page))) => held.page(page).map(|_| ()),
        Some(Ok(Record::Delta(delta))) => held.delta(delta).map(|_| ()),
        other => panic!("{other:?} is no piece of interest"),
    }
}

/// Topics that are wanted, out of all that could be told apart.
fn wanted_topics<'a>(filters: impl Iterator<Item = &'a Filter> + Clone, except: &BTreeSet<Filter>) -> Vec<String> {
    let one = NAMES.iter().map(|a| (*a).to_owned());
    let two = NAMES.iter().flat_map(|a| NAMES.iter().map(move |b| format!("{a}/{b}")));
    let three =
        NAMES.iter().flat_map(|a| NAMES.iter().flat_map(move |b| NAMES.iter().map(move |c| format!("{a}/{b}/{c}"))));
    let is_wanted =
        |topic: &String| filters.clone().any(|f| f.matches(topic)) && !except.iter().any(|e| e.matches(topic));
    one.chain(two).chain(three).filter(is_wanted).collect()
}

proptest! {
    #[test]
    fn the_other_side_holds_what_is_wanted_after_any_changes(
        changes in prop::collection::vec((filters(), any::<bool>(), any::<bool>()), 1..60),
        receive in prop::collection::vec(filters(), 1..4),
        except in prop::collection::vec(filters(), 0..2),
    ) {
        let texts = |all: &[String]| all.iter().map(|text| filter(text)).collect::<Vec<_>>();
        let routes = vec![Route { filters: texts(&receive), except: texts(&except), ..route(&[], &[]) }];
        let mut wanted = InterestOut::new(Some(&routes), []);
        let mut held = InterestIn::default();
        let mut clients: BTreeSet<Filter> = BTreeSet::new();
        for (text, comes, tells) in changes {
            let filter = filter(&text);
            if comes && clients.insert(filter.clone()) {
                wanted.change(&filter, Change::Added);
            } else if !comes && clients.remove(&filter) {
                wanted.change(&filter, Change::Removed);
            }
            if tells && wanted.has_untold() {
                tell(&mut wanted, &mut held);
                prop_assert_eq!(held.version(), wanted.version());
                prop_assert_eq!(held.digest(), wanted.digest());
            }
        }
        tell(&mut wanted, &mut held);
        prop_assert!(!wanted.has_untold());
        // The twin: each topic that a client wants and the routes let in, and no other.
        let by_clients = wanted_topics(clients.iter(), &BTreeSet::new());
        let twin: Vec<String> = by_clients.into_iter().filter(|topic| routes[0].admits(topic)).collect();
        prop_assert_eq!(wanted_topics(held.filters().iter(), held.except()), twin);
    }

    #[test]
    fn other_routes_change_what_is_wanted_and_nothing_else(
        clients in prop::collection::btree_set(filters(), 0..12),
        before in prop::collection::vec(filters(), 1..4),
        after in prop::collection::vec(filters(), 1..4),
    ) {
        let routes = |all: &[String]| vec![route(&all.iter().map(String::as_str).collect::<Vec<_>>(), &[])];
        let clients: Vec<Filter> = clients.iter().map(|text| filter(text)).collect();
        let mut wanted = InterestOut::new(Some(&routes(&before)), clients.clone());
        let mut held = InterestIn::default();
        tell(&mut wanted, &mut held);
        wanted.replace(Some(&routes(&after)), clients.clone());
        if wanted.has_untold() {
            tell(&mut wanted, &mut held);
        }
        let anew = InterestOut::new(Some(&routes(&after)), clients);
        let mut other = InterestIn::default();
        let mut anew = anew;
        tell(&mut anew, &mut other);
        prop_assert_eq!(held.filters(), other.filters());
        prop_assert_eq!(held.digest(), other.digest());
    }
}

#[test]
fn a_snapshot_of_many_pages_replaces_only_when_it_is_whole() {
    let all = |route_to: &'static str| (0..100_000).map(move |n| filter(&format!("fleet/{n}/{route_to}/state")));
    let routes = [route(&["#"], &[])];
    let mut wanted = InterestOut::new(Some(&routes), all("old"));
    let mut held = InterestIn::default();
    tell(&mut wanted, &mut held);
    assert_eq!((held.filters().len(), wanted.len()), (100_000, 100_000));
    wanted.replace(Some(&routes), all("new"));
    let pages = told(&mut wanted);
    assert!(pages.len() > 10 && pages.iter().all(|page| page.len() <= 65_536), "{}", pages.len());
    for (index, page) in pages.iter().enumerate() {
        assert!(held.filters().contains(&filter("fleet/7/old/state")), "until page {index}");
        take(&mut held, page).expect("what one side writes the other reads");
    }
    assert!(held.filters().contains(&filter("fleet/7/new/state")) && held.filters().len() == 100_000);
    assert_eq!(held.digest(), wanted.digest());
}

#[test]
fn a_change_that_follows_nothing_changes_nothing() {
    let routes = [route(&["#"], &[])];
    let mut wanted = InterestOut::new(Some(&routes), [filter("a")]);
    let mut held = InterestIn::default();
    tell(&mut wanted, &mut held);
    wanted.change(&filter("b"), Change::Added);
    let lost = told(&mut wanted);
    wanted.change(&filter("c"), Change::Added);
    for piece in told(&mut wanted) {
        take(&mut held, &piece).expect("it can be read");
    }
    assert_eq!(held.filters().len(), 1);
    for piece in lost {
        take(&mut held, &piece).expect("it can be read");
    }
    wanted.tell_all();
    tell(&mut wanted, &mut held);
    assert_eq!((held.filters().len(), held.digest()), (3, wanted.digest()));
}

#[test]
fn a_node_that_lags_is_told_the_changes_that_it_lacks_or_all_if_they_are_not_kept() {
    let routes = [route(&["#"], &[])];
    let mut wanted = InterestOut::new(Some(&routes), [filter("a")]);
    let (mut quick, mut slow) = (InterestIn::default(), InterestIn::default());
    for held in [&mut quick, &mut slow] {
        wanted.make();
        wanted.tell(Version::default(), false).iter().for_each(|piece| take(held, piece).expect("it can be read"));
    }
    for text in ["b", "c", "d"] {
        wanted.change(&filter(text), Change::Added);
        tell(&mut wanted, &mut quick);
    }
    let lacks = wanted.tell(slow.version(), false);
    assert_eq!(lacks.len(), 3);
    lacks.iter().for_each(|piece| take(&mut slow, piece).expect("it can be read"));
    assert_eq!((slow.version(), slow.digest()), (quick.version(), quick.digest()));
    let (all, version) = (wanted.tell(slow.version(), true), wanted.version());
    assert_eq!(all.len(), 1, "who does not hold what it was told is told all, as the same version");
    wanted.told(version);
    let before = Version { number: 1, ..version };
    assert_eq!(wanted.tell(before, false), all, "what all were told is not kept");
    wanted.stake();
    assert!(wanted.has_untold());
    tell(&mut wanted, &mut quick);
    assert_eq!((quick.version(), quick.digest()), (Version { number: 5, ..version }, slow.digest()));
}
