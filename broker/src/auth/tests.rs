//! Authentication as a whole: users of every kind, links, anonymous clients, and what many of them cost.

use std::collections::BTreeMap;
use std::sync::Arc;

use argon2::password_hash::PasswordHasher;
use tombolo_broker_api::{Accept, Anonymous, Config};

use super::*;
use crate::config::{Credential, Loaded};
use crate::metrics::Board;

/// By crypt(3) of glibc, password `bcrypt-pw`.
const BCRYPT: &str = "$2b$04$abcdefghijklmnopqrstuuI.zMOJjHCY5kkTOk7gVTRHNQlmNMlwi";

/// As mosquitto_passwd writes it, password `mosquitto-pw`; the hash is Python's hashlib's.
const MOSQUITTO: &str =
    "$7$101$c2FsdHNhbHRzYWx0$OW/Z9zO++Znd8fU0UPR5kTlhYPwGrdJKjtNS2CAEqvys3bWL7ZkDpcQ7guPI+BCeFUrR2KoPkMCOSUVqnUmsnw==";

fn config(anonymous: Anonymous) -> Config {
    let text = r#"{"clusterName":"here","nodeName":"n","dataDir":"d","listeners":[],"admin":{"bind":"127.0.0.1:0"},
        "links":[{"name":"to-cloud","remoteCluster":"cloud"},{"name":"to-plant","remoteCluster":"plant"}]}"#;
    let mut config: Config = serde_json::from_str(text).expect("a configuration");
    config.authentication.anonymous = anonymous;
    config.authentication.users_file = Some("users.yaml".into());
    config.links[0].accept = Accept { users: vec!["cloud-user".into(), "cert".into()], ..Accept::default() };
    config.links[1].accept = Accept { any_user: true, ..Accept::default() };
    config
}

fn argon2_hash(password: &str) -> String {
    let params = argon2::Params::new(64, 1, 1, None).expect("small parameters");
    let hasher = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    hasher.hash_password_with_salt(password.as_bytes(), b"saltsaltsalt").expect("a hash").to_string()
}

fn loaded(anonymous: Anonymous) -> Loaded {
    let argon2 = argon2_hash("argon2-pw");
    let users = [
        ("demo", "demo"),
        ("bcrypt", BCRYPT),
        ("argon2", &*argon2),
        ("mosquitto", MOSQUITTO),
        ("cloud-user", "cloud-pw"),
    ];
    let users = users.map(|(name, text)| (name.to_owned(), text.parse::<Credential>().expect(name)));
    Loaded {
        config: config(anonymous),
        users: BTreeMap::from(users),
        listeners: BTreeMap::new(),
        links: BTreeMap::new(),
        cluster: None,
    }
}

fn auth(anonymous: Anonymous) -> (Auth, Arc<Board>) {
    let board = Arc::new(Board::new(1));
    let verifier = Arc::new(Verifier::new([7; 32], 1, Arc::clone(&board)));
    (Auth::new(&loaded(anonymous), verifier), board)
}

fn with_password<'a>(user: &'a str, password: &'a str) -> Attempt<'a> {
    Attempt { username: Some(user), password: Some(password.as_bytes()), ..Attempt::default() }
}

#[tokio::test]
async fn each_kind_of_password_lets_in_who_knows_it_and_nobody_else() {
    let (auth, _) = auth(Anonymous::Allowed);
    for (user, password) in
        [("demo", "demo"), ("bcrypt", "bcrypt-pw"), ("argon2", "argon2-pw"), ("mosquitto", "mosquitto-pw")]
    {
        let identity = auth.authenticate(&with_password(user, password)).await.expect(user);
        assert_eq!(identity, Identity { user: Some(user.into()), role: Role::Client });
        for wrong in ["", "demo ", "Demo", "x"] {
            assert_eq!(
                auth.authenticate(&with_password(user, wrong)).await,
                Err(Refusal::BadPassword),
                "{user} {wrong}"
            );
        }
        let without = Attempt { username: Some(user), ..Attempt::default() };
        assert_eq!(auth.authenticate(&without).await, Err(Refusal::BadPassword), "{user}");
    }
    for stranger in ["", "nobody", "Demo"] {
        for password in ["demo", "bcrypt-pw", "nothing", ""] {
            let refused = auth.authenticate(&with_password(stranger, password)).await;
            assert_eq!(refused, Err(Refusal::BadPassword), "{stranger} {password}");
        }
    }
}

#[tokio::test]
async fn anonymous_clients_are_refused_unless_allowed_and_certificates_have_names() {
    let nobody = Attempt::default();
    let (refusing, _) = auth(Anonymous::Refused);
    assert_eq!(refusing.authenticate(&nobody).await, Err(Refusal::Anonymous));
    let (allowing, _) = auth(Anonymous::Allowed);
    assert_eq!(allowing.authenticate(&nobody).await, Ok(Identity { user: None, role: Role::Client }));
    let certificate = Attempt { certificate_name: Some("meter-7"), ..nobody };
    let identity = refusing.authenticate(&certificate).await.expect("a certificate is enough");
    assert_eq!(identity.user.as_deref(), Some("meter-7"));
    // A certificate does not make up for a wrong password.
    let both = Attempt { certificate_name: Some("meter-7"), ..with_password("demo", "wrong") };
    assert_eq!(refusing.authenticate(&both).await, Err(Refusal::BadPassword));
}

#[tokio::test]
async fn where_anybody_is_let_in_and_no_users_file_says_who_is_who_a_user_name_means_nothing() {
    let mut loaded = loaded(Anonymous::Allowed);
    loaded.config.authentication.users_file = None;
    loaded.users.retain(|name, _| name == "cloud-user");
    let auth = |loaded: &Loaded| {
        let verifier = Verifier::new([7; 32], 1, Arc::new(Board::new(1)));
        Auth::new(loaded, Arc::new(verifier))
    };
    let allowing = auth(&loaded);
    for name in ["", "demo"] {
        let identity = allowing.authenticate(&with_password(name, "anything")).await;
        assert_eq!(identity, Ok(Identity { user: None, role: Role::Client }), "{name:?}");
    }
    // Nobody comes in as a link by that, not even where any user may.
    for user in ["demo", "cloud-user"] {
        let attempt = Attempt { link_from: Some("plant"), ..with_password(user, "anything") };
        assert!(allowing.authenticate(&attempt).await.is_err(), "{user}");
    }
    loaded.config.authentication.anonymous = Anonymous::Refused;
    assert_eq!(auth(&loaded).authenticate(&with_password("demo", "anything")).await, Err(Refusal::BadPassword));
}

#[tokio::test]
async fn the_user_of_a_link_can_do_nothing_but_link_and_nobody_else_can_link() {
    let (auth, _) = auth(Anonymous::Allowed);
    let from = |cluster, attempt| Attempt { link_from: Some(cluster), ..attempt };
    let cloud_user = with_password("cloud-user", "cloud-pw");
    let demo = with_password("demo", "demo");
    let certificate = Attempt { certificate_name: Some("cert"), ..Attempt::default() };
    let link = |name: &str| Ok(Role::Link { name: name.into() });
    let table = [
        (cloud_user, Err("0x87 user `cloud-user` belongs to link `to-cloud`")),
        (from("cloud", cloud_user), link("to-cloud")),
        (from("plant", cloud_user), Err("0x87 LinkUserRefused")),
        (from("moon", cloud_user), Err("0x87 UnknownCluster")),
        (from("cloud", demo), Err("0x87 LinkUserRefused")),
        (from("plant", demo), link("to-plant")),
        (demo, Ok(Role::Client)),
        (from("cloud", certificate), link("to-cloud")),
        (from("plant", certificate), Err("0x87 LinkUserRefused")),
        (certificate, Err("0x87 user `cert` belongs to link")),
        (from("plant", Attempt::default()), Err("0x87 LinkUserRefused: user `(none)`")),
        (from("moon", Attempt::default()), Err("0x87 LinkUserRefused")),
        (from("cloud", with_password("cloud-user", "wrong")), Err("0x86 user name or password")),
    ];
    for (attempt, expected) in table {
        let found = auth.authenticate(&attempt).await;
        match (found, expected) {
            (Ok(identity), Ok(role)) => assert_eq!(identity.role, role, "{attempt:?}"),
            (Err(refusal), Err(text)) => {
                let found = format!("{:#x} {refusal}", refusal.reason().code());
                assert!(found.starts_with(text), "{attempt:?}: {found}");
            }
            (found, expected) => panic!("{attempt:?}: {found:?} instead of {expected:?}"),
        }
    }
}

#[tokio::test]
async fn a_password_that_fitted_is_not_hashed_again_until_it_changes() {
    let (auth, board) = auth(Anonymous::Refused);
    for _ in 0..50 {
        assert!(auth.authenticate(&with_password("bcrypt", "bcrypt-pw")).await.is_ok());
    }
    assert_eq!(board.events.password_hashes(), 1);
    assert!(auth.authenticate(&with_password("bcrypt", "x")).await.is_err());
    assert!(auth.authenticate(&with_password("bcrypt", "x")).await.is_err());
    assert_eq!(board.events.password_hashes(), 3, "a wrong password is not remembered");
    let mut changed = loaded(Anonymous::Refused);
    changed.users.insert("bcrypt".into(), argon2_hash("new").parse().expect("a hash"));
    let reloaded = Auth::new(&changed, Arc::clone(&auth.verifier));
    assert_eq!(reloaded.authenticate(&with_password("bcrypt", "bcrypt-pw")).await, Err(Refusal::BadPassword));
    assert!(reloaded.authenticate(&with_password("bcrypt", "new")).await.is_ok());
}

#[tokio::test]
async fn a_storm_of_one_user_costs_one_hash() {
    let (auth, board) = auth(Anonymous::Refused);
    let auth = Arc::new(auth);
    let mut storm = tokio::task::JoinSet::new();
    for _ in 0..500 {
        let auth = Arc::clone(&auth);
        storm.spawn(async move { auth.authenticate(&with_password("argon2", "argon2-pw")).await.is_ok() });
    }
    assert!(storm.join_all().await.into_iter().all(|fits| fits));
    assert_eq!(board.events.password_hashes(), 1);
}

#[tokio::test]
async fn an_unknown_user_is_checked_against_a_credential_of_the_same_kinds() {
    let mut only_hashes = loaded(Anonymous::Refused);
    only_hashes.users.retain(|_, credential| credential.is_slow());
    let board = Arc::new(Board::new(1));
    let auth = Auth::new(&only_hashes, Arc::new(Verifier::new([1; 32], 1, Arc::clone(&board))));
    for stranger in ["a", "b", "c"] {
        assert_eq!(auth.authenticate(&with_password(stranger, "x")).await, Err(Refusal::BadPassword));
    }
    assert_eq!(board.events.password_hashes(), 3);
}
