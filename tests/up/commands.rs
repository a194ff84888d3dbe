//! `tombolo status`, `render`, `pub` and `sub` beside a running `tombolo up`.

use std::process::{Command, Output};

use tombolo_tests::binaries::binary;
use tombolo_tests::child::Child;

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
    let nobody = tombolo_tests::ports::free().to_string();
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
