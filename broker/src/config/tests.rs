//! Configuration folders good and bad, changes between them, and a watched folder that changes.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;

use super::*;

mod cluster;

const BASE: &str = "
clusterName: here
nodeName: here-0
dataDir: data
listeners:
  - {name: mqtt, protocol: MQTT, bind: \"127.0.0.1:1883\"}
admin: {bind: \"127.0.0.1:8080\"}
";

struct Folder {
    dir: TempDir,
}

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = Self { dir: TempDir::new().expect("a folder") };
        for (name, content) in files {
            folder.write(name, content);
        }
        folder
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).expect("a file");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn load(&self) -> Result<Loaded, Problems> {
        load(&self.path("broker.yaml"))
    }

    /// What is wrong, one line each, without the folder.
    fn problems(&self) -> String {
        let text = self.load().expect_err("something is wrong").to_string();
        text.replace(&format!("{}/", self.dir.path().display()), "")
    }
}

fn with(more: &str) -> String {
    format!("{BASE}{more}")
}

const LINK: &str = "
links:
  - name: to-cloud
    remoteCluster: cloud
    dial: {servers: [\"mqtt://127.0.0.1:2883\"], clientIdPrefix: from-here, usernameFile: link/user, passwordFile: link/password}
    receive: [{filters: [from-cluster]}]
";

fn linked() -> Folder {
    let folder = Folder::new(&[("broker.yaml", &with(LINK))]);
    std::fs::create_dir(folder.path("link")).expect("a folder");
    folder.write("link/user", "u\n");
    folder.write("link/password", "p w\r\n");
    folder
}

#[test]
fn a_folder_is_read_with_all_its_files() {
    let users = "authentication: {usersFile: users.yaml}\n";
    let folder = linked();
    folder.write(
        "broker.yaml",
        &with(&format!("{users}{LINK}    accept: {{users: [cloud], passwordFiles: {{cloud: accept}}}}\n")),
    );
    folder.write("users.yaml", "demo: demo\nnumber: 1234\n'on': 'true'\n");
    folder.write("accept", "secret\n");
    let loaded = folder.load().expect("all is fine");
    assert_eq!(loaded.config.data_dir, folder.path("data"));
    let names: Vec<_> = loaded.users.keys().map(String::as_str).collect();
    assert_eq!(names, ["cloud", "demo", "number", "on"]);
    assert_eq!(loaded.users["number"], Credential::Plain(Secret::new(*b"1234")));
    assert_eq!(loaded.users["cloud"], Credential::Plain(Secret::new(*b"secret")));
    let dial = &loaded.links["to-cloud"];
    assert_eq!((dial.username.as_deref(), dial.password.as_ref()), (Some("u"), Some(&Secret::new(*b"p w"))));
    assert_eq!(dial.servers[0].port, 2883);
    folder.write("users.yaml", "\n");
    assert_eq!(folder.load().expect("nobody is fine too").users.len(), 1);
}

#[test]
fn a_file_that_can_not_be_read_as_configuration_is_said_with_its_place() {
    let table = [
        ("clusterName: [", "broker.yaml:"),
        ("", "broker.yaml"),
        (&with("colour: red\n"), "broker.yaml:8:1: unknown field `colour`"),
        (&with("tuning: {shards: 9999}\n"), "broker.yaml:8:18: the number of shards must be `auto` or 1 to 64"),
        (&with("tuning: {mqtt: {maxPacketSize: large}}\n"), "broker.yaml:8:32: `large` is not a size such as"),
        (&with("tuning: {shards: many}\n"), "broker.yaml:8"),
        (&BASE.replace("127.0.0.1:1883", "here"), "broker.yaml:6:"),
        (&BASE.replace("MQTT,", "HTTP,"), "broker.yaml:6:"),
    ];
    for (text, expected) in table {
        let found = Folder::new(&[("broker.yaml", text)]).problems();
        assert!(found.starts_with(expected) && !found.contains('\n'), "{found} instead of {expected}");
    }
    let found = Folder::new(&[]).problems();
    assert!(found.starts_with("broker.yaml: it can't be read: No such file"), "{found}");
}

#[test]
fn all_semantic_problems_are_told_at_once() {
    let text = "
clusterName: here and there
nodeName: ''
dataDir: data
listeners:
  - {name: mqtt, protocol: MQTT, bind: \"127.0.0.1:1883\", tls: {certificateFile: c, keyFile: k}}
  - {name: mqtt, protocol: MQTTS, bind: \"127.0.0.1:1883\", maxConnections: 0}
admin: {bind: \"127.0.0.1:1883\"}
tuning: {shards: 65, mqtt: {maxPacketSize: 1, connectTimeout: 0, maxClientIdBytes: 22}}
links:
  - {name: a, remoteCluster: here and there, receive: [{filters: [\"a/#/b\", \"$SYS/x\"], except: [\"+a\"], maxQos: 3}]}
  - name: a
    remoteCluster: cloud
    maxHops: 0
    send: [{filters: []}]
    accept: {users: [nobody]}
    dial:
      servers: [\"mqtt://h:1\", \"http://x\"]
      clientIdPrefix: ''
      passwordFile: c
      keepAlive: 0
      tls: {certificateFile: c}
  - name: b
    remoteCluster: cloud
    accept: {users: [x], passwordFiles: {y: k}}
";
    let found = Folder::new(&[("broker.yaml", text), ("c", "c"), ("k", "k")]).problems();
    for expected in [
        "clusterName: `here and there` must be",
        "nodeName: `` must be",
        "listeners[1].name: `mqtt` is there already",
        "listeners[0].bind: 127.0.0.1:1883 is taken",
        "listeners[1].bind: 127.0.0.1:1883 is taken",
        "listeners[0].tls: MQTT is not encrypted",
        "listeners[1].tls: MQTTS needs certificateFile",
        "listeners[1].maxConnections: 0 must be at least 1",
        "tuning.shards: 65 must be at least 1 and at most 64",
        "tuning.mqtt.maxPacketSize: 1 must be at least 1024",
        "tuning.mqtt.connectTimeout: 0 must be",
        "tuning.mqtt.maxClientIdBytes: 22 must be at least 23",
        "links[0].remoteCluster: `here and there` is this cluster",
        "links[0]: nothing is dialled and nobody is accepted",
        "links[0].receive[0].filters[0]: `a/#/b` is not a topic filter",
        "links[0].receive[0].filters[1]: `$SYS/x` begins with `$`",
        "links[0].receive[0].except[0]: `+a` is not a topic filter",
        "links[0].receive[0].maxQos: 3 must be",
        "links[1].name: `a` is there already",
        "links[1].maxHops: 0 must be",
        "links[1].send[0].filters: there is none",
        "links[1].accept.users[0]: `nobody` is neither",
        "links[1].dial.servers[1]: `http://x` has a scheme",
        "links[1].dial.clientIdPrefix: it must have",
        "links[1].dial.usernameFile: a password needs a user name",
        "links[1].dial.keepAlive: 0 must be",
        "links[1].dial.tls: no server speaks TLS",
        "links[1].dial.tls: certificateFile and keyFile belong together",
        "links[2].remoteCluster: `cloud` is there already",
        "links[2].accept.users[0]: `x` is neither",
        "links[2].accept.passwordFiles: `y` is not in accept.users",
    ] {
        assert!(
            found.lines().any(|line| line.starts_with(&format!("broker.yaml: {expected}"))),
            "{expected} is not in\n{found}"
        );
    }
    assert_eq!(found.lines().count(), 32, "{found}");
}

#[test]
fn missing_files_and_bad_passwords_are_named_and_passwords_never_shown() {
    let folder = linked();
    std::fs::remove_file(folder.path("link/password")).expect("it was there");
    let users = "authentication: {usersFile: users.yaml}\n";
    folder.write(
        "broker.yaml",
        &with(&format!("{users}{LINK}    accept: {{users: [demo], passwordFiles: {{demo: link/user}}}}\n")),
    );
    folder.write("users.yaml", "demo: hidden\nbad: $2b$hidden\nempty: ''\n");
    let found = folder.problems();
    for expected in [
        "link/password: links[0].dial.passwordFile: it can't be read",
        "users.yaml: bad: it begins like a bcrypt hash",
        "users.yaml: empty: the password is empty",
        "broker.yaml: links[0].accept.passwordFiles.demo: user `demo` has another password",
    ] {
        assert!(found.lines().any(|line| line.starts_with(expected)), "{expected} is not in\n{found}");
    }
    assert!(!found.contains("hidden"), "{found}");
    for text in
        ["hidden\n", "- hidden\n", "a: hidden\na: hidden2\n", "a: [hidden]\n", "a: {hidden: 1}\n", "a: \"hidden\n"]
    {
        folder.write("users.yaml", text);
        let found = folder.problems();
        assert!(found.contains("users.yaml:") && !found.contains("hidden"), "{found}");
    }
    folder.write("users.yaml", &"#".repeat((64 << 20) + 1));
    assert!(folder.problems().contains("it has more than 67108864 bytes"));
}

#[test]
fn what_differs_is_what_must_be_done() {
    let base = linked().load().expect("fine");
    let differ = |change: &dyn Fn(&mut Loaded)| {
        // The folder of each is another one.
        let mut new = base.clone();
        change(&mut new);
        diff(&base, &new)
    };
    assert!(differ(&|new| new.config.hash = "x".into()).is_empty());
    let name = || vec!["mqtt".to_owned()];
    let link = || vec!["to-cloud".to_owned()];
    type Change<'a> = &'a dyn Fn(&mut Loaded);
    let table: [(Change<'_>, Changes); 15] = [
        (&|new| new.config.listeners[0].bind.set_port(1), Changes { listeners_rebound: name(), ..Changes::default() }),
        (
            &|new| new.config.listeners[0].max_connections = 1,
            Changes { listeners_updated: name(), ..Changes::default() },
        ),
        (
            &|new| drop(new.listeners.insert("mqtt".into(), TlsFiles::default())),
            Changes { listeners_updated: name(), ..Changes::default() },
        ),
        (
            &|new| new.config.listeners[0].name = "new".into(),
            Changes { listeners_added: vec!["new".into()], listeners_removed: name(), ..Changes::default() },
        ),
        (&|new| new.config.tuning.mqtt.receive_maximum = 1, Changes { limits: true, ..Changes::default() }),
        (&|new| new.config.tuning.cluster.suspend_after.0 = 1, Changes { limits: true, ..Changes::default() }),
        (
            &|new| drop(new.users.insert("x".into(), Credential::Plain(Secret::new(*b"x")))),
            Changes { access: true, ..Changes::default() },
        ),
        (
            &|new| new.config.authentication.anonymous = tombolo_broker_api::Anonymous::Allowed,
            Changes { access: true, ..Changes::default() },
        ),
        (
            &|new| new.config.links[0].accept.any_user = true,
            Changes { access: true, links_changed: link(), ..Changes::default() },
        ),
        (&|new| new.config.links.clear(), Changes { access: true, links_removed: link(), ..Changes::default() }),
        (
            &|new| new.config.links[0].receive[0].filters.push("x".into()),
            Changes { links_changed: link(), ..Changes::default() },
        ),
        (
            &|new| new.links.get_mut("to-cloud").expect("it dials").password = None,
            Changes { links_changed: link(), ..Changes::default() },
        ),
        (&|new| new.config.links[0].enabled = false, Changes { links_changed: link(), ..Changes::default() }),
        (
            &|new| new.config.tuning.shards = tombolo_broker_api::Shards::Count(3),
            Changes { restart_required: vec!["tuning.shards".into()], ..Changes::default() },
        ),
        (
            &|new| new.config.admin.bind.set_port(1),
            Changes { restart_required: vec!["admin.bind".into()], ..Changes::default() },
        ),
    ];
    for (place, (change, expected)) in table.into_iter().enumerate() {
        assert_eq!(differ(change), expected, "row {place}");
    }
}

#[tokio::test]
async fn a_change_is_taken_a_bad_one_is_kept_out_and_told_and_a_good_one_heals() {
    let folder = linked();
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&told);
    // What needs more than the files: here, that the node is not called `refused`.
    let prepare = |loaded: Loaded| {
        if loaded.config.node_name == "refused" {
            let problem = Problem { file: "x".into(), position: None, field: "y".into(), message: "z".into() };
            return Err(Problems(vec![problem]));
        }
        Ok(loaded.config.node_name)
    };
    let hear = move |result: Result<(), &Problems>| heard.lock().expect("unharmed").push(result.is_ok());
    let (watch, watcher) =
        watch(folder.path("broker.yaml"), Duration::from_millis(20), prepare, hear).expect("all is fine");
    let watcher = tokio::spawn(watcher);
    let Watch { mut current, mut refused } = watch;
    assert_eq!(**current.borrow_and_update(), "here-0");

    // Mounted Secrets are swapped by a rename.
    folder.write("new.yaml", &with(LINK).replace("here-0", "here-1"));
    std::fs::rename(folder.path("new.yaml"), folder.path("broker.yaml")).expect("renamed");
    current.changed().await.expect("the watcher runs");
    assert_eq!(**current.borrow_and_update(), "here-1");

    // A file that is named, not broker.yaml itself.
    std::fs::remove_file(folder.path("link/user")).expect("it was there");
    refused.changed().await.expect("the watcher runs");
    let text = refused.borrow_and_update().as_ref().expect("refused").to_string();
    assert!(text.contains("usernameFile: it can't be read"), "{text}");

    // The file comes back as it was: nothing to take, nothing to complain about.
    folder.write("link/user", "u\n");
    refused.changed().await.expect("the watcher runs");
    assert!(refused.borrow_and_update().is_none());

    folder.write("broker.yaml", &with(LINK).replace("here-0", "refused"));
    refused.changed().await.expect("the watcher runs");
    assert_eq!(refused.borrow_and_update().as_ref().expect("refused").to_string(), "x: y: z");
    assert!(!current.has_changed().expect("the watcher runs"));

    folder.write("broker.yaml", &with(LINK).replace("here-0", "here-2"));
    current.changed().await.expect("the watcher runs");
    assert_eq!(**current.borrow_and_update(), "here-2");
    assert!(refused.borrow().is_none());
    assert_eq!(*told.lock().expect("unharmed"), [true, false, false, true]);

    // It ends with the last who listens.
    drop(current);
    watcher.await.expect("no panic");
}
