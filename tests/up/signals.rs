//! Signals and restarts.

use rustix::process::Signal;
use tombolo_tests::client::Client;
use tombolo_tests::packet::Connect;

#[tokio::test]
async fn sigterm_and_sigint_stop_it_cleanly() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut up = super::up().await;
        let connect = Connect::new(5, "client").login("demo", "demo");
        let (mut client, _) = Client::connect(up.listener("deployment-local"), &connect).await;
        let address = up.listener("deployment-cloud");
        up.child.signal(signal);
        let status = up.child.end().await;
        assert!(status.success(), "{status}");
        // Server shutting down.
        client.disconnected(0x8b).await;
        assert!(up.child.output().contains("stopped"), "{}", up.child.output());
        assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nobody listens any more");
    }
}

#[tokio::test]
async fn a_cluster_keeps_its_id_over_a_restart() {
    let mut up = super::up().await;
    let id = up.admin("deployment-local").status().await.expect("it runs").cluster_id;
    assert!(!id.is_empty());
    assert!(up.child.terminate().await.success());
    up.restart().await;
    assert_eq!(up.admin("deployment-local").status().await.expect("it runs").cluster_id, id);
}

#[tokio::test]
async fn it_starts_again_after_kill() {
    let mut up = super::up().await;
    up.child.kill();
    up.restart().await;
    up.admin("deployment-cloud").link_ready("to-local").await;
}

#[tokio::test]
async fn a_second_one_with_the_same_data_folder_is_refused() {
    let up = super::up().await;
    let mut command = std::process::Command::new(tombolo_tests::binaries::binary("tombolo"));
    command.args(["up", "--plain", "-f"]).arg(up.manifests()).arg("--data-dir").arg(up.data_dir());
    let output = command.output().expect("it starts");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("in use") || said.contains("runs"), "{said}");
}
