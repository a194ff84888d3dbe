//! Tests of names, filters and subscriptions; those of the cover beside them.

mod algebra;
mod cover;

use super::{Filter, Subscription, TopicError, check_name};

/// What a table expects, or the fault.
type Expected<T> = Result<T, TopicError>;

/// A share name and a filter.
type Parts<'a> = (Option<&'a str>, &'a str);

/// A filter that is known to be valid.
fn filter(text: &str) -> Filter {
    Filter::parse(text, u16::MAX).expect("a valid filter")
}

#[test]
fn names_are_checked_by_section_4_7() {
    let long = "x".repeat(65_536);
    let table: &[(&[u8], Expected<()>)] = &[
        (b"a", Ok(())),
        (b"/", Ok(())),
        (b"/finance", Ok(())),
        (b"a//b", Ok(())),
        (b"$SYS/x", Ok(())),
        (b"Accounts payable", Ok(())),
        ("\u{FEFF}ä/😀".as_bytes(), Ok(())),
        (b"a/b/c/d/e/f/g/h", Ok(())),
        (b"a/b/c/d/e/f/g/h/i", Err(TopicError::TooManyLevels)),
        (b"", Err(TopicError::Empty)),
        (b"a/+", Err(TopicError::WildcardInName)),
        (b"a#", Err(TopicError::WildcardInName)),
        (b"a\0b", Err(TopicError::Nul)),
        (b"\xED\xA0\x80", Err(TopicError::NotUtf8)),
        (b"\xED\xBF\xBF", Err(TopicError::NotUtf8)),
        (b"\xC0\x80", Err(TopicError::NotUtf8)),
        (b"a\xFF", Err(TopicError::NotUtf8)),
        (&long.as_bytes()[1..], Ok(())),
        (long.as_bytes(), Err(TopicError::TooLong)),
    ];
    for (name, expected) in table {
        let found = check_name(name, 8).map(|text| assert_eq!(text.as_bytes(), *name));
        assert_eq!(found, *expected, "{:?}", String::from_utf8_lossy(&name[..name.len().min(40)]));
    }
}

#[test]
fn filters_are_checked_by_section_4_7() {
    let long = format!("{}/#", "x".repeat(65_534));
    let table: &[(&str, Expected<(usize, bool)>)] = &[
        ("#", Ok((1, false))),
        ("+", Ok((1, false))),
        ("/", Ok((2, true))),
        ("/+", Ok((2, false))),
        ("+/#", Ok((2, false))),
        ("sport/tennis/#", Ok((3, false))),
        ("sport/+/player1", Ok((3, false))),
        ("+/tennis/#", Ok((3, false))),
        ("$SYS/monitor/+", Ok((3, false))),
        ("a/b/c/d", Ok((4, true))),
        ("a/b/c/d/e", Err(TopicError::TooManyLevels)),
        ("", Err(TopicError::Empty)),
        ("a\0", Err(TopicError::Nul)),
        ("sport/tennis#", Err(TopicError::WildcardInLevel)),
        ("sport/tennis/#/ranking", Err(TopicError::HashNotLast)),
        ("#/", Err(TopicError::HashNotLast)),
        ("sport+", Err(TopicError::WildcardInLevel)),
        ("+sport", Err(TopicError::WildcardInLevel)),
        ("++", Err(TopicError::WildcardInLevel)),
        ("##", Err(TopicError::WildcardInLevel)),
        ("+#", Err(TopicError::WildcardInLevel)),
        (&long, Err(TopicError::TooLong)),
    ];
    for (text, expected) in table {
        let found = Filter::parse(text, 4).map(|filter| {
            assert_eq!(filter.as_str(), *text);
            assert_eq!(filter.levels().count(), filter.level_count());
            (filter.level_count(), filter.is_exact())
        });
        assert_eq!(found, *expected, "{}", &text[..text.len().min(40)]);
    }
}

#[test]
fn filters_match_as_the_examples_of_the_specification_say() {
    let table = [
        ("sport/tennis/player1/#", "sport/tennis/player1", true),
        ("sport/tennis/player1/#", "sport/tennis/player1/ranking", true),
        ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
        ("sport/tennis/player1/#", "sport/tennis/player11", false),
        ("sport/#", "sport", true),
        ("sport/#", "sport/", true),
        ("sport/tennis/+", "sport/tennis/player1", true),
        ("sport/tennis/+", "sport/tennis/player1/ranking", false),
        ("sport/+", "sport", false),
        ("sport/+", "sport/", true),
        ("+/+", "/finance", true),
        ("/+", "/finance", true),
        ("+", "/finance", false),
        ("#", "$SYS/x", false),
        ("#", "$SYS", false),
        ("+/monitor/Clients", "$SYS/monitor/Clients", false),
        ("$SYS/#", "$SYS/x", true),
        ("$SYS/#", "$SYS", true),
        ("$SYS/monitor/+", "$SYS/monitor/Clients", true),
        ("a/+", "a/$b", true),
        ("a/#", "a/$b", true),
        ("#", "a", true),
        ("#", "/", true),
        ("+/#", "a", true),
        ("+/+/#", "a", false),
        ("ACCOUNTS", "Accounts", false),
        ("a/b", "a/b", true),
        ("a/b", "a/b/", false),
        ("a/b/c", "a/b", false),
        ("+/b", "ab/b", true),
        ("+/+/x", "a//x", true),
    ];
    for (text, name, expected) in table {
        assert_eq!(filter(text).matches(name), expected, "{text} {name}");
    }
}

#[test]
fn equality_order_and_hash_of_filters_are_those_of_their_text() {
    let mut set = std::collections::HashSet::from([filter("a/+"), filter("b")]);
    assert!(!set.insert(filter("a/+")));
    assert!(set.contains("b"));
    assert!(filter("a/+") < filter("b"));
    assert_eq!(format!("{} {0:?}", filter("a/+")), "a/+ \"a/+\"");
}

#[test]
fn shared_subscriptions_are_parsed_by_section_4_8_2() {
    let table: &[(&str, Expected<Parts>)] = &[
        ("a/b", Ok((None, "a/b"))),
        ("$share/g/a/+", Ok((Some("g"), "a/+"))),
        ("$share/g//", Ok((Some("g"), "/"))),
        ("$share/g/#", Ok((Some("g"), "#"))),
        ("$share/g/$SYS/#", Ok((Some("g"), "$SYS/#"))),
        ("$share/g/$share/h/x", Ok((Some("g"), "$share/h/x"))),
        ("$share/g/1/2/3/4", Ok((Some("g"), "1/2/3/4"))),
        ("$SHARE/g/a", Ok((None, "$SHARE/g/a"))),
        ("$shared/g/a", Ok((None, "$shared/g/a"))),
        ("$share/g/1/2/3/4/5", Err(TopicError::TooManyLevels)),
        ("$share", Err(TopicError::ShareNameEmpty)),
        ("$share/", Err(TopicError::ShareNameEmpty)),
        ("$share//a", Err(TopicError::ShareNameEmpty)),
        ("$share/g", Err(TopicError::ShareWithoutFilter)),
        ("$share/g/", Err(TopicError::ShareWithoutFilter)),
        ("$share/+/a", Err(TopicError::ShareNameWildcard)),
        ("$share/g#/a", Err(TopicError::ShareNameWildcard)),
        ("$share/#", Err(TopicError::ShareNameWildcard)),
        ("$share/g\0/a", Err(TopicError::Nul)),
        ("$share/g/a\0", Err(TopicError::Nul)),
        ("$share/g/a#", Err(TopicError::WildcardInLevel)),
    ];
    for (text, expected) in table {
        let found = Subscription::parse(text, 4);
        let seen = found.as_ref().map(|subscription| match subscription {
            Subscription::Plain(filter) => (None, filter.as_str()),
            Subscription::Shared { group, filter } => (Some(&**group), filter.as_str()),
        });
        assert_eq!(seen, expected.as_ref().map(|parts| *parts), "{text}");
        if let Ok(subscription) = &found {
            assert_eq!(subscription.to_string(), *text);
            assert_eq!(subscription.is_shared(), Subscription::names_share(text));
        }
    }
}
