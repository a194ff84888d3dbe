//! Which user may come in by a link: the rule as a table.

use serde_json::{Value, json};
use tombolo_operator::observed::Observed;
use tombolo_operator::plan::config::render;
use tombolo_operator::validate::{Validated, validate};

/// A cluster `here` with the users `ann` and `bob`, whose password is `pw`, and a link with `there` for each of `links`.
fn outcome(links: &[Value], access: &[Value]) -> Validated {
    let secret = |name: &str, data: Value| json!({"metadata": {"name": name}, "stringData": data});
    let mut observed = Observed {
        clusters: vec![read(json!({
            "apiVersion": "tombolo.dev/v1alpha1", "kind": "BrokerCluster", "metadata": {"name": "here"},
            "spec": {"authentication": {"users": {"secretRef": {"name": "users"}}}, "linkAccess": access},
        }))],
        links: Vec::new(),
        secrets: vec![
            read(secret("users", json!({"ann": "pw", "bob": "pw"}))),
            read(secret("own", json!({"username": "own", "password": "pw"}))),
            read(secret("other-own", json!({"username": "own", "password": "other"}))),
            read(secret("ann", json!({"username": "ann", "password": "other"}))),
        ],
    };
    for (at, link) in links.iter().enumerate() {
        let mut spec = link.clone();
        spec["clusterRef"] = json!({"name": "here"});
        spec["topics"] = json!(["a"]);
        spec["remote"]["clusterName"] = json!(format!("there-{at}"));
        observed.links.push(read(json!({
            "apiVersion": "tombolo.dev/v1alpha1", "kind": "ClusterLink", "metadata": {"name": format!("link-{at}")},
            "spec": spec,
        })));
    }
    validate(&observed)
}

fn read<T: serde::de::DeserializeOwned>(object: Value) -> T {
    serde_json::from_value(object).expect("an object")
}

fn dials(secret: &str) -> Value {
    json!({"remote": {"server": "mqtt://h", "credentials": {"secretRef": {"name": secret}}}})
}

fn dials_and_accepts(secret: &str, user: &str) -> Value {
    let mut link = dials(secret);
    link["accept"] = json!({"user": user});
    link
}

fn waits() -> Value {
    json!({"remote": {}})
}

fn waits_for(user: &str) -> Value {
    json!({"remote": {}, "accept": {"user": user}})
}

/// For each link that is left: users, those of them with a password of the link's own, and whether any user may.
type Accepted = (Vec<String>, Vec<String>, bool);

fn accepted(outcome: &Validated) -> Vec<Accepted> {
    let config = render(&outcome.clusters[0], &crate::common::placement("here")).config;
    let one = |link: tombolo_broker_api::Link| {
        (link.accept.users, link.accept.password_files.into_keys().collect(), link.accept.any_user)
    };
    config.links.into_iter().map(one).collect()
}

fn reasons(outcome: &Validated) -> (Vec<&str>, Vec<&str>) {
    let reasons = |problems: &[tombolo_operator::validate::Problem]| problems.iter().map(|p| p.reason).collect();
    (reasons(&outcome.problems), reasons(&outcome.warnings))
}

fn row(users: &[&str], own: &[&str], any: bool) -> Accepted {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    (texts(users), texts(own), any)
}

#[test]
fn who_may_come_in_follows_from_accept_and_credentials() {
    type Case = (&'static str, Vec<Value>, Vec<Accepted>, Vec<&'static str>, Vec<&'static str>);
    let cases: Vec<Case> = vec![
        (
            "the link's own credential, and any user since none is named",
            vec![dials("own")],
            vec![row(&["own"], &["own"], true)],
            vec![],
            vec!["AnyUserMayLink"],
        ),
        (
            "the named user and the link's own credential",
            vec![dials_and_accepts("own", "ann")],
            vec![row(&["ann", "own"], &["own"], false)],
            vec![],
            vec![],
        ),
        (
            "the link's own credential alone, when it is the one that is named",
            vec![dials_and_accepts("own", "own")],
            vec![row(&["own"], &["own"], false)],
            vec![],
            vec![],
        ),
        (
            "an ordinary user is not bound by being the credential for the remote",
            vec![dials("ann")],
            vec![row(&[], &[], true)],
            vec![],
            vec!["AnyUserMayLink"],
        ),
        (
            "unless it is named; then the password of the cluster's users counts",
            vec![dials_and_accepts("ann", "ann")],
            vec![row(&["ann"], &[], false)],
            vec![],
            vec!["PasswordsDiffer"],
        ),
        (
            "nobody dials, the named user comes in",
            vec![waits_for("bob")],
            vec![row(&["bob"], &[], false)],
            vec![],
            vec![],
        ),
        ("nobody dials, any user comes in", vec![waits()], vec![row(&[], &[], true)], vec![], vec!["AnyUserMayLink"]),
        ("a named user must be there", vec![waits_for("ghost")], vec![], vec!["UserNotFound"], vec![]),
        (
            "a user stands for one remote",
            vec![waits_for("ann"), waits_for("ann")],
            vec![row(&["ann"], &[], false)],
            vec!["UserBoundTwice"],
            vec![],
        ),
        (
            "when every user stands for a remote, none is left for a link that names nobody",
            vec![waits_for("ann"), waits_for("bob"), waits()],
            vec![row(&["ann"], &[], false), row(&["bob"], &[], false)],
            vec!["UnreachableBySpec"],
            vec![],
        ),
        (
            "one credential for two links lets each come in as the other, which is said",
            vec![dials_and_accepts("own", "ann"), dials_and_accepts("own", "bob")],
            vec![row(&["ann", "own"], &["own"], false), row(&["bob", "own"], &["own"], false)],
            vec![],
            vec!["UserBoundTwice", "UserBoundTwice"],
        ),
        (
            "a user with two passwords comes in by none of them",
            vec![dials_and_accepts("own", "ann"), dials_and_accepts("other-own", "bob")],
            vec![row(&["ann"], &[], false), row(&["bob"], &[], false)],
            vec![],
            vec!["PasswordsDiffer", "PasswordsDiffer"],
        ),
        (
            "and if it is the one that is named, that is an error",
            vec![dials_and_accepts("own", "own"), dials_and_accepts("other-own", "bob")],
            vec![row(&["bob"], &[], false)],
            vec!["PasswordsDiffer"],
            vec!["PasswordsDiffer"],
        ),
    ];
    for (rule, links, expected, problems, warnings) in cases {
        let outcome = outcome(&links, &[]);
        assert_eq!(accepted(&outcome), expected, "{rule}");
        assert_eq!(reasons(&outcome), (problems, warnings), "{rule}: {outcome:#?}");
    }
}

#[test]
fn an_entry_of_link_access_binds_its_user_and_states_both_directions() {
    let outcome = outcome(&[waits()], &[json!({"clusterName": "far", "user": "ann", "send": ["a/#"]})]);
    assert_eq!(accepted(&outcome), [row(&["ann"], &[], false), row(&[], &[], true)]);
    let link = &outcome.clusters[0].links[0];
    assert_eq!((link.name.as_str(), link.receive.len()), ("access_far", 0));
    assert_eq!(link.send.as_ref().map(|send| send[0].filters.clone()), Some(vec!["a/#".to_owned()]));
}

#[test]
fn without_a_link_and_without_an_entry_nobody_comes_in() {
    let outcome = outcome(&[], &[]);
    assert_eq!(accepted(&outcome), []);
}
