//! The cover, compared with one that is computed anew from a plain list.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{
    super::{Cover, Delta},
    Filter, filter,
};
use crate::digest::digest;

/// The minimal cover of a list: what no other of its filters covers.
fn cover_slowly(list: &[Filter]) -> BTreeSet<Filter> {
    let shortest = |filter: &Filter| match filter.as_str() {
        "+/#" => super::filter("#"),
        "/+/#" => super::filter("/#"),
        _ => filter.clone(),
    };
    let all = list.iter().map(shortest).collect::<BTreeSet<_>>();
    all.iter().filter(|one| !all.iter().any(|other| other != *one && other.covers(one))).cloned().collect()
}

/// Applies a delta, which must fit.
fn apply(delta: Delta, cover: &mut BTreeSet<Filter>) {
    for old in delta.removed {
        assert!(cover.remove(&old), "{old} left and was not there");
    }
    for new in delta.added {
        assert!(cover.insert(new.clone()), "{new} came and was there");
    }
}

fn agrees(cover: &Cover, expected: &BTreeSet<Filter>) {
    assert!(cover.iter().eq(expected.iter()), "{:?} is not {expected:?}", cover.iter().collect::<Vec<_>>());
    assert_eq!(cover.len(), expected.len());
    assert_eq!(cover.is_empty(), expected.is_empty());
    let sum = expected.iter().map(|filter| digest(filter.as_str())).fold(0, u64::wrapping_add);
    assert_eq!(cover.digest(), sum);
}

fn delta(added: &[&str], removed: &[&str]) -> Delta {
    let filters = |texts: &[&str]| texts.iter().map(|text| filter(text)).collect();
    Delta { added: filters(added), removed: filters(removed) }
}

#[test]
fn a_wider_filter_takes_the_place_of_narrower_ones_and_gives_it_back() {
    let mut cover = Cover::new();
    assert_eq!(cover.add(filter("a/b")), delta(&["a/b"], &[]));
    assert_eq!(cover.add(filter("a/b")), delta(&[], &[]));
    assert_eq!(cover.add(filter("a/+")), delta(&["a/+"], &["a/b"]));
    assert_eq!(cover.add(filter("a/#")), delta(&["a/#"], &["a/+"]));
    assert_eq!(cover.add(filter("$SYS/#")), delta(&["$SYS/#"], &[]));
    assert_eq!(cover.add(filter("+/#")), delta(&["#"], &["a/#"]));
    assert_eq!(cover.add(filter("#")), delta(&[], &[]));
    assert_eq!(cover.remove(&filter("+/#")), delta(&[], &[]));
    assert_eq!(cover.remove(&filter("a/#")), delta(&[], &[]));
    assert_eq!(cover.remove(&filter("#")), delta(&["a/+"], &["#"]));
    assert_eq!(cover.remove(&filter("a/+")), delta(&["a/b"], &["a/+"]));
    assert_eq!(cover.remove(&filter("a/b")), delta(&[], &[]));
    assert_eq!(cover.remove(&filter("a/b")), delta(&[], &["a/b"]));
    assert_eq!(cover.remove(&filter("a/b")), delta(&[], &[]));
    assert_eq!(cover.remove(&filter("never/there")), delta(&[], &[]));
}

#[test]
fn a_hundred_thousand_filters_do_not_slow_down_a_change_that_concerns_few_of_them() {
    let device = |at: usize| filter(&format!("site/{}/device/{at}/set", at % 100));
    let mut cover = Cover::new();
    for at in 0..100_000 {
        cover.add(device(at));
    }
    assert_eq!(cover.len(), 100_000);
    // Narrow filters come and go; a walk over all filters for each of these would take minutes.
    for at in 0..2_000 {
        let narrow = filter(&format!("site/{}/device/{at}/+", at % 100));
        assert_eq!(cover.add(narrow.clone()).removed.len(), 1);
        assert_eq!(cover.remove(&narrow).added.len(), 1);
    }
    // So does a wide one, while another covers all but it.
    assert_eq!(cover.add(filter("site/#")).removed.len(), 100_000);
    for _ in 0..2_000 {
        assert_eq!(cover.add(filter("#")).removed.len(), 1);
        assert_eq!(cover.remove(&filter("#")).added.len(), 1);
    }
    assert_eq!(cover.remove(&filter("site/#")).added.len(), 100_000);
    for at in 0..100_000 {
        cover.remove(&device(at));
    }
    assert!(cover.is_empty() && cover.holds_nothing());
}

/// Few levels and few texts, so that filters often cover each other.
fn filters() -> impl Strategy<Value = Filter> {
    let texts = "(\\+|a|b|\\$x|)(/(\\+|a|b|))?(/(\\+|a|b|))?(/#)?";
    let some = texts.prop_filter_map("not empty", |text| (!text.is_empty()).then(|| filter(&text)));
    prop_oneof![1 => Just(filter("#")), 20 => some]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn each_change_agrees_with_a_cover_computed_anew(
        steps in prop::collection::vec((any::<bool>(), filters(), any::<prop::sample::Index>()), 1..60),
    ) {
        let (mut cover, mut list, mut followed) = (Cover::new(), Vec::new(), BTreeSet::new());
        for (add, filter, which) in steps {
            if add || list.is_empty() {
                list.push(filter.clone());
                apply(cover.add(filter), &mut followed);
            } else {
                let filter = list.swap_remove(which.index(list.len()));
                apply(cover.remove(&filter), &mut followed);
            }
            agrees(&cover, &cover_slowly(&list));
            assert!(cover.iter().eq(followed.iter()));
        }
        for filter in list {
            cover.remove(&filter);
        }
        agrees(&cover, &BTreeSet::new());
        prop_assert!(cover.holds_nothing());
    }
}
