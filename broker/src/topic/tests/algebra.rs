//! What filters match, cover and have in common, compared with plain sets of names.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{Filter, filter};

/// Matches level by level, as section 4.7 reads.
fn matches_slowly(filter: &str, name: &str) -> bool {
    fn rest(filter: &[&str], name: &[&str]) -> bool {
        match (filter, name) {
            ([], []) | (["#"], _) => true,
            ([level, filter @ ..], [part, name @ ..]) => (*level == "+" || level == part) && rest(filter, name),
            ([_, ..], []) | ([], [_, ..]) => false,
        }
    }
    let filter = filter.split('/').collect::<Vec<_>>();
    let name = name.split('/').collect::<Vec<_>>();
    let hidden = name[0].starts_with('$') && ["+", "#"].contains(&filter[0]);
    !hidden && rest(&filter, &name)
}

/// All texts of 1 to `depth` levels out of `levels`, but the empty one.
fn texts(levels: &[&str], depth: usize) -> Vec<String> {
    let mut all = Vec::new();
    let mut last = vec![String::new()];
    for at in 0..depth {
        let separator = if at == 0 { "" } else { "/" };
        last =
            last.iter().flat_map(|text| levels.iter().map(move |level| format!("{text}{separator}{level}"))).collect();
        all.extend(last.iter().cloned());
    }
    all.retain(|text| !text.is_empty());
    all
}

/// Filters of up to three levels and one more `#`, with the numbers of the names that they match. The names have one
/// level more than the filters without `#`, and a text for a level that no filter knows: so two filters that match the
/// same of these match the same of all.
fn universe() -> Vec<(Filter, Vec<bool>)> {
    let names = texts(&["a", "", "$x", "z"], 4);
    let plain = texts(&["a", "", "$x", "+"], 3);
    let hashed = plain.iter().map(|text| format!("{text}/#")).chain(["#".to_owned(), "/#".to_owned()]);
    let all = plain.iter().cloned().chain(hashed).map(|text| {
        let filter = filter(&text);
        let seen = names.iter().map(|name| filter.matches(name)).collect::<Vec<_>>();
        for (name, seen) in names.iter().zip(&seen) {
            assert_eq!(*seen, matches_slowly(&text, name), "{text} {name}");
        }
        (filter, seen)
    });
    all.collect()
}

#[test]
fn a_filter_covers_another_exactly_when_it_matches_all_that_the_other_matches() {
    let universe = universe();
    for (one, ones) in &universe {
        for (other, others) in &universe {
            let expected = ones.iter().zip(others).all(|(one, other)| *one || !*other);
            assert_eq!(one.covers(other), expected, "{one} covers {other}");
        }
    }
}

#[test]
fn only_two_pairs_of_filters_differ_and_match_the_same() {
    let universe = universe();
    let mut pairs = BTreeSet::new();
    for (at, (one, ones)) in universe.iter().enumerate() {
        let same = universe[at + 1..].iter().filter(|(_, others)| ones == others);
        pairs.extend(same.map(|(other, _)| (one.as_str(), other.as_str())));
    }
    assert_eq!(pairs, BTreeSet::from([("+/#", "#"), ("/+/#", "/#")]));
}

#[test]
fn an_intersection_matches_exactly_what_both_match() {
    let names = texts(&["a", "", "$x", "z"], 4);
    let universe = universe();
    for (one, ones) in &universe {
        for (other, others) in &universe {
            let both = ones.iter().zip(others).map(|(one, other)| *one && *other).collect::<Vec<_>>();
            match one.intersect(other) {
                None => assert!(!both.contains(&true), "{one} and {other}"),
                Some(found) => {
                    let seen = names.iter().map(|name| found.matches(name)).collect::<Vec<_>>();
                    assert_eq!(seen, both, "{one} and {other}: {found}");
                    assert_eq!(filter(found.as_str()).level_count(), found.level_count());
                    assert_eq!(filter(found.as_str()).is_exact(), found.is_exact());
                }
            }
        }
    }
}

#[test]
fn an_intersection_that_no_name_is_long_enough_for_is_empty() {
    let long = "x".repeat(40_000);
    assert_eq!(filter(&format!("{long}/+")).intersect(&filter(&format!("+/{long}"))), None);
}

#[test]
fn filters_of_very_many_levels_do_not_exhaust_the_stack() {
    let deep = filter(&format!("{}#", "/".repeat(65_000)));
    let plus = filter(&"+/".repeat(32_000));
    assert!(filter("#").covers(&deep) && !deep.covers(&filter("#")));
    assert_eq!(deep.intersect(&plus), None);
    let mut cover = super::super::Cover::new();
    cover.add(deep.clone());
    cover.add(plus);
    assert_eq!(cover.add(filter("#")).removed.len(), 2);
    assert_eq!(cover.remove(&filter("#")).added.len(), 2);
    cover.remove(&deep);
    assert_eq!(cover.len(), 1);
}

proptest! {
    #[test]
    fn matching_agrees_with_its_slow_twin(
        text in "(\\+|[a-c]{0,2}|\\$)(/(\\+|[a-c]{0,2}))?(/(\\+|[a-c]{0,2}))?(/#)?",
        name in "[a-c$]{0,2}(/[a-c]{0,2})?(/[a-c]{0,2})?(/[a-c]{0,2})?",
    ) {
        prop_assume!(!text.is_empty() && !name.is_empty());
        prop_assert_eq!(filter(&text).matches(&name), matches_slowly(&text, &name));
    }

    #[test]
    fn any_text_is_parsed_or_refused_without_a_panic(text in ".{0,40}", levels in any::<u16>()) {
        let _ = Filter::parse(&text, levels);
        let _ = super::Subscription::parse(&text, levels);
        let _ = super::check_name(text.as_bytes(), levels);
    }
}
