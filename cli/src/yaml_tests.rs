//! Tests of the YAML reader: values as kubectl reads them, and the line of every field.

use super::*;
use serde_json::json;

fn one(text: &str) -> Node {
    let (mut documents, errors) = read(text);
    assert_eq!(errors, [], "{text}");
    assert_eq!(documents.len(), 1, "{text}");
    documents.remove(0)
}

#[test]
fn plain_scalars_mean_what_they_mean_to_kubectl() {
    for (text, value) in [
        ("~", Value::Null),
        ("yes", json!(true)),
        ("off", json!(false)),
        ("1883", json!(1883)),
        ("-7", json!(-7)),
        ("0x1f", json!(31)),
        ("0o17", json!(15)),
        ("017", json!(15)),
        ("089", json!(89.0)),
        ("1_000", json!(1000)),
        ("1.5", json!(1.5)),
        ("1e3", json!(1000.0)),
        ("30s", json!("30s")),
        ("1MB", json!("1MB")),
        ("127.0.0.1", json!("127.0.0.1")),
        ("2026-11-23", json!("2026-11-23")),
        (".inf", json!(".inf")),
        ("'1883'", json!("1883")),
        ("\"yes\"", json!("yes")),
        ("!!str 5", json!("5")),
        ("plain words", json!("plain words")),
    ] {
        assert_eq!(one(&format!("- {text}")).value(), json!([value]), "{text}");
    }
}

#[test]
fn every_field_has_the_line_of_its_key_and_an_absent_one_that_of_its_parent() {
    let text = "# comment\nspec:\n  listeners:\n  - name: mqtt\n    port: 1883\n  - {name: tls,\n     port: 8883}\n\
                stringData:\n  tls.crt: |\n    abc\n  user: x\n";
    let root = one(text);
    for (path, line) in [
        ("", 2),
        ("spec", 2),
        ("spec.listeners", 3),
        ("spec.listeners[0]", 4),
        ("spec.listeners[0].port", 5),
        ("spec.listeners[1].port", 7),
        ("spec.listeners[1].tls", 6),
        ("spec.listeners[9].port", 3),
        ("spec.authentication.users", 2),
        ("stringData.tls.crt", 9),
        ("stringData[tls.crt]", 9),
        ("stringData.user", 11),
    ] {
        assert_eq!(root.line_of(path), line, "{path}");
    }
}

#[test]
fn a_broken_document_does_not_hide_the_next_one() {
    let (documents, errors) = read("a: 1\n---\nb: [1\nc: 2\n---\nd: 4\n---\n# nothing\n");
    assert_eq!(documents.iter().map(Node::value).collect::<Vec<_>>(), [json!({"a": 1}), json!({"d": 4})]);
    assert_eq!(errors.len(), 1);
    assert!((3..=5).contains(&errors[0].line), "{errors:?}");
}

#[test]
fn what_manifests_do_not_have_is_refused_with_its_line() {
    for (text, line, message) in [
        ("a: 1\nb: 2\na: 3\n", 3, "`a` is given twice, first on line 1"),
        ("a: &x {b: 1}\nc:\n  <<: *x\n", 3, "merge keys"),
        ("? [1, 2]\n: 3\n", 1, "a list or mapping as a key"),
        ("a:\n\tb: 1\n", 2, "not YAML"),
        ("a: *missing\n", 1, "not YAML"),
        ("a: !secret x\n", 1, "a tag"),
    ] {
        let (_, errors) = read(text);
        assert_eq!(errors.len(), 1, "{text:?} {errors:?}");
        assert_eq!(errors[0].line, line, "{text:?} {errors:?}");
        assert!(errors[0].message.contains(message), "{text:?} {errors:?}");
    }
}

#[test]
fn aliases_stand_for_their_anchor_and_a_bomb_of_them_is_refused() {
    assert_eq!(one("a: &x [1, 2]\nb: *x\n").value(), json!({"a": [1, 2], "b": [1, 2]}));
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb += &format!("a{level}: &a{level} [{aliases}]\n");
    }
    let (documents, errors) = read(&bomb);
    assert!(documents.is_empty());
    assert!(errors[0].message.contains("split the file"), "{errors:?}");
}
