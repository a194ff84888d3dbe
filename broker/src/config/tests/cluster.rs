//! The nodes of a cluster: what is read, refused, and may change while a node runs.

use super::*;

const CLUSTER: &str = "
cluster:
  id: an-id
  bind: \"127.0.0.1:7883\"
  certificateFile: c
  keyFile: k
  caFile: a
  nodes:
    - {name: here-0, address: \"127.0.0.1:7883\"}
    - {name: here-1, address: \"here-1.example.com:7883\"}
";

fn clustered() -> Folder {
    Folder::new(&[("broker.yaml", &with(CLUSTER)), ("c", "certificate"), ("k", "key"), ("a", "authority")])
}

#[test]
fn a_cluster_is_read_with_its_certificates() {
    let folder = clustered();
    let loaded = folder.load().expect("all is fine");
    let files = loaded.cluster.expect("a cluster");
    assert_eq!(files.certificate, Some((folder.path("c"), b"certificate".to_vec())));
    assert_eq!(files.key, Some((folder.path("k"), Secret::new(*b"key"))));
    assert_eq!(files.ca, Some((folder.path("a"), b"authority".to_vec())));
    std::fs::remove_file(folder.path("k")).expect("it was there");
    let found = folder.problems();
    assert!(found.starts_with("k: cluster.keyFile: it can't be read"), "{found}");
}

#[test]
fn everything_that_is_wrong_with_a_cluster_is_told() {
    let name = "n".repeat(254);
    let text = CLUSTER
        .replace("an-id", &"i".repeat(256))
        .replacen("127.0.0.1:7883", "0.0.0.0:1883", 1)
        .replace("example.com:7883", "example.com")
        + &format!(
            "    - {{name: here-0, address: \"127.0.0.1:7883\"}}\n    - {{name: {name}, address: \"h:0\"}}\n\
             tuning: {{cluster: {{maxOutboxBytes: 65535, maxOutboxAge: 0, suspendAfter: 3601, subscribeTimeout: 61}}}}\n"
        );
    let folder = clustered();
    folder.write("broker.yaml", &with(&text));
    let found = folder.problems();
    for expected in [
        "tuning.cluster.maxOutboxBytes: 65535 must be at least 65536",
        "tuning.cluster.maxOutboxAge: 0 must be at least 1",
        "tuning.cluster.suspendAfter: 3601 must be at least 1 and at most 3600",
        "tuning.cluster.subscribeTimeout: 61 must be at least 0 and at most 60",
        "cluster.id: it must have 1 to 255 bytes",
        "cluster.bind: 0.0.0.0:1883 is taken by listener `mqtt`",
        "cluster.nodes[1].address: `here-1.example.com` has no port; write HOST:PORT",
        "cluster.nodes[2].name: `here-0` is there already",
        "cluster.nodes[2].address: `127.0.0.1:7883` is the address of `here-0`, too",
        "cluster.nodes[3].name: `nnn",
        "cluster.nodes[3].address: `h:0` has no port from 1 to 65535",
    ] {
        let told = |line: &str| line.starts_with(&format!("broker.yaml: {expected}"));
        assert!(found.lines().any(told), "{expected} is not in\n{found}");
    }
    assert_eq!(found.lines().count(), 11, "{found}");
    for (from, to, expected) in [
        ("127.0.0.1:7883", "127.0.0.1:0", "cluster.bind: port 0 can't be dialled"),
        ("127.0.0.1:7883", "127.0.0.1:8080", "cluster.bind: 127.0.0.1:8080 is taken by admin"),
        ("id: an-id", "id: ''", "cluster.id: it must have 1 to 255 bytes"),
    ] {
        folder.write("broker.yaml", &with(&CLUSTER.replacen(from, to, 1)));
        assert!(folder.problems().contains(expected), "{expected} is not in\n{}", folder.problems());
    }
    let node = |n: usize| format!("    - {{name: here-{n}, address: \"h:{}\"}}\n", n + 1);
    let of = |nodes: usize| {
        let (head, _) = CLUSTER.split_once("    - ").expect("nodes");
        let nodes: String = (0..nodes).map(node).collect();
        folder.write("broker.yaml", &with(&format!("{head}{nodes}")));
        folder.load()
    };
    assert!(of(64).is_ok());
    let error = of(65).expect_err("too many").to_string();
    assert!(error.contains("cluster.nodes: there are 65; a cluster has 1 to 64 nodes"), "{error}");
}

#[test]
fn a_node_that_the_cluster_does_not_name_is_refused() {
    let mut config = clustered().load().expect("all is fine").config;
    let check = |config: &tombolo_broker_api::Config| {
        check_node(std::path::Path::new("broker.yaml"), config).map_err(|problems| problems.to_string())
    };
    assert_eq!(check(&config), Ok(()));
    config.node_name = "here-2".to_owned();
    let message = "broker.yaml: nodeName: `here-2` is not among cluster.nodes (here-0, here-1); add it there, or start \
                   another node";
    assert_eq!(check(&config), Err(message.to_owned()));
    config.cluster = None;
    assert_eq!(check(&config), Ok(()), "a node alone may have any name");
    config.node_name = "here 2".to_owned();
    assert!(check(&config).is_err(), "that is a name");
}

#[test]
fn nodes_and_certificates_change_while_a_node_runs_and_id_and_address_do_not() {
    let base = clustered().load().expect("fine");
    let differ = |change: &dyn Fn(&mut Loaded)| {
        let mut new = base.clone();
        change(&mut new);
        diff(&base, &new)
    };
    fn cluster(loaded: &mut Loaded) -> &mut tombolo_broker_api::Cluster {
        loaded.config.cluster.as_mut().expect("a cluster")
    }
    let peers = Changes { peers_changed: true, ..Changes::default() };
    let restart = |key: &str| Changes { restart_required: vec![key.to_owned()], ..Changes::default() };
    type Change<'a> = &'a dyn Fn(&mut Loaded);
    let table: [(Change<'_>, Changes); 8] = [
        (&|new| drop(cluster(new).nodes.pop()), peers.clone()),
        (&|new| cluster(new).nodes[1].address = "elsewhere:1".to_owned(), peers.clone()),
        (&|new| cluster(new).nodes.reverse(), Changes::default()),
        (&|new| new.cluster.as_mut().expect("files").certificate = None, peers.clone()),
        (&|new| cluster(new).ca_file = "other".into(), peers),
        (&|new| cluster(new).id = "other".to_owned(), restart("cluster.id")),
        (&|new| cluster(new).bind.set_port(1), restart("cluster.bind")),
        (&|new| new.config.cluster = None, restart("cluster")),
    ];
    for (place, (change, expected)) in table.into_iter().enumerate() {
        assert_eq!(differ(change), expected, "row {place}");
    }
}
