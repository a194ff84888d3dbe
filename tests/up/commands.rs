//! `tombolo status`, `render`, `pub` and `sub` beside a running `tombolo up`.

use std::process::{Command, Output};

use tombolo_tests::binaries::binary;
use tombolo_tests::child::Child;
use tombolo_tests::ports;
use tombolo_tests::up::Up;

async fn tombolo(arguments: &[&str]) -> Output {
    let mut command = Command::new(binary("tombolo"));
    command.args(arguments);
    let run = tokio::task::spawn_blocking(move || command.output());
    tombolo_tests::wait::within("the command ends", run).await.expect("no panic").expect("it starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn status_shows_clusters_and_links_and_says_by_its_exit_code_whether_all_is_ready() {
    let up = super::up().await;
    let folder = up.data_dir().display().to_string();
    let output = tombolo(&["status", "--data-dir", &folder]).await;
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    for word in ["deployment-local", "deployment-cloud", "to-cloud", "to-local"] {
        assert!(said.contains(word), "{word} is not shown:\n{said}");
    }
    let output = tombolo(&["status", "--data-dir", &folder, "--json"]).await;
    assert!(serde_json::from_slice::<serde_json::Value>(&output.stdout).is_ok(), "{}", text(&output.stdout));
}

#[tokio::test]
async fn status_without_anything_running_says_so() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let output = tombolo(&["status", "--data-dir", &folder.path().display().to_string()]).await;
    assert!(!output.status.success() && !output.stderr.is_empty());
}

#[tokio::test]
async fn status_of_a_folder_with_which_nothing_runs_names_those_with_which_something_does() {
    let one = super::up().await;
    let mut manifests = super::story();
    for cluster in ["deployment-local", "deployment-cloud"] {
        let (taken, free) = (one.listener(cluster).port().to_string(), ports::free().to_string());
        manifests.iter_mut().for_each(|(_, text)| *text = text.replace(&taken, &free));
    }
    let other = Up::start(&super::borrow(&manifests)).await;
    let folder = tempfile::tempdir().expect("a folder can be made");
    let output = tombolo(&["status", "--data-dir", &folder.path().display().to_string()]).await;
    let said = text(&output.stderr);
    assert!(!output.status.success() && said.contains("--data-dir /"), "{said}");
    for up in [one, other] {
        let runs = up.data_dir().canonicalize().expect("it is there").display().to_string();
        assert!(said.contains(&runs), "{runs} is not named: {said}");
    }
}

#[tokio::test]
async fn sub_prints_what_pub_sends_across_the_link() {
    let up = super::up().await;
    let local = up.listener("deployment-local").port().to_string();
    let cloud = up.listener("deployment-cloud").port().to_string();
    let mut command = Command::new(binary("tombolo"));
    command.args([
        "sub",
        "-h",
        "127.0.0.1",
        "-p",
        &local,
        "-u",
        "demo",
        "-P",
        "demo",
        "-t",
        "from-cluster",
        "-q",
        "1",
        "-C",
        "1",
        "-v",
    ]);
    let mut sub = Child::spawn("tombolo sub", command, up.data_dir().join("sub.log"));
    let served = |s: &tombolo_broker_api::Status| s.links.iter().any(|l| l.filters_served == 1);
    up.admin("deployment-cloud").status_when("the subscription has crossed", served).await;
    let message = ["-t", "from-cluster", "-m", "hello from the cloud", "-q", "1"];
    let output =
        tombolo(&[&["pub", "-h", "127.0.0.1", "-p", &cloud, "-u", "demo", "-P", "demo"][..], &message].concat()).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(sub.end().await.success());
    assert!(sub.output().contains("from-cluster hello from the cloud"), "{}", sub.output());
}

#[tokio::test]
async fn pub_with_a_wrong_password_and_to_nobody_says_what_is_wrong() {
    let up = super::up().await;
    let port = up.listener("deployment-local").port().to_string();
    let output =
        tombolo(&["pub", "-h", "127.0.0.1", "-p", &port, "-u", "demo", "-P", "no", "-t", "t", "-m", "m"]).await;
    assert!(
        !output.status.success() && text(&output.stderr).to_lowercase().contains("password"),
        "{}",
        text(&output.stderr)
    );
    let nobody = ports::free().to_string();
    let output = tombolo(&["pub", "-h", "127.0.0.1", "-p", &nobody, "-t", "t", "-m", "m"]).await;
    assert!(!output.status.success() && text(&output.stderr).contains(&nobody), "{}", text(&output.stderr));
}

#[tokio::test]
async fn render_shows_what_would_be_applied_and_starts_nothing() {
    let up = super::up().await;
    let output = tombolo(&["render", "-f", &up.manifests().display().to_string()]).await;
    let said = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    for word in ["StatefulSet", "Service", "deployment-local", "deployment-cloud"] {
        assert!(said.contains(word), "{word} is not rendered");
    }
}

#[tokio::test]
async fn ping_hears_its_own_message_through_a_node_whatever_its_qos() {
    let up = super::up().await;
    let port = up.listener("deployment-local").port().to_string();
    for flags in [&["-q", "0"][..], &["-q", "1", "-V", "mqttv311"], &["-q", "2", "-t", "from-cluster"]] {
        let output =
            tombolo(&[&["ping", "-h", "127.0.0.1", "-p", &port, "-u", "demo", "-P", "demo"][..], flags].concat()).await;
        let said = text(&output.stdout);
        assert!(output.status.success() && said.contains("heard after"), "{said}{}", text(&output.stderr));
    }
}

#[tokio::test]
async fn ping_says_why_nothing_is_heard_and_does_not_wait_for_what_will_not_change() {
    let up = super::up().await;
    let port = up.listener("deployment-local").port().to_string();
    let output = tombolo(&["ping", "-h", "127.0.0.1", "-p", &port, "-u", "demo", "-P", "no", "-W", "600"]).await;
    let said = text(&output.stderr);
    assert!(!output.status.success() && said.to_lowercase().contains("password"), "{said}");
    // Takes connections, and never says a word.
    let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = mute.local_addr().expect("an address").port().to_string();
    let output = tombolo(&["ping", "-h", "127.0.0.1", "-p", &port, "-W", "1"]).await;
    let said = text(&output.stderr);
    assert!(!output.status.success() && said.contains("within 1 s: no connection"), "{said}");
}

#[tokio::test]
async fn status_of_what_is_no_operator_says_so() {
    let up = super::up().await;
    let admin = up.admin("deployment-local").0.to_string();
    let output = tombolo(&["status", "--operator", &admin]).await;
    let said = text(&output.stderr);
    assert!(!output.status.success() && said.contains("is it an operator"), "{said}");
}

#[tokio::test]
async fn status_of_an_operator_says_what_is_missing_and_when_it_is_there_what_it_watches() {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    tokio::spawn(async move {
        for asked in 0.. {
            let (stream, _) = listener.accept().await.expect("a connection");
            let mut stream = BufReader::new(stream);
            let mut request = String::new();
            while !request.ends_with("\r\n\r\n") {
                stream.read_line(&mut request).await.expect("a request");
            }
            let answer = match (request.split(' ').nth(1), asked) {
                (Some("/readyz"), 0) => "HTTP/1.0 503 Service Unavailable\r\n\r\nnot ready: no CRD brokerclusters\n",
                (Some("/readyz"), _) => "HTTP/1.0 200 OK\r\n\r\nready\n",
                _ => "HTTP/1.0 200 OK\r\n\r\ntombolo_operator_clusters 3\ntombolo_operator_links 2\n",
            };
            stream.write_all(answer.as_bytes()).await.expect("an answer");
        }
    });
    let output = tombolo(&["status", "--operator", &address]).await;
    let said = text(&output.stderr);
    assert!(!output.status.success() && said.contains("answers 503: not ready: no CRD brokerclusters"), "{said}");
    let output = tombolo(&["status", "--operator", &address, "--wait", "30"]).await;
    let said = text(&output.stdout);
    assert!(output.status.success() && said.contains("ready; BrokerClusters: 3, ClusterLinks: 2"), "{said}");
}

#[tokio::test]
async fn the_pods_of_helm_test_use_flags_that_the_command_has() {
    let charts = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts");
    for (template, command) in
        [("tombolo/templates/tests/ready.yaml", "status"), ("tombolo-cluster/templates/tests/ping.yaml", "ping")]
    {
        let template = std::fs::read_to_string(charts.join(template)).expect("a template");
        let template: String = template.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
        let help = text(&tombolo(&[command, "--help"]).await.stdout);
        let flags = template.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
        let flags: Vec<_> = flags.filter(|word| word.starts_with("--") && word.len() > 3).collect();
        assert!(flags.len() >= 2, "{command}: {flags:?}");
        for flag in flags {
            assert!(help.split_whitespace().any(|word| word == flag), "tombolo {command} has no {flag}");
        }
    }
}
