//! MQTT over TLS, with and without client certificates.

use tokio::net::TcpStream;
use tombolo_broker_api::{ClientCertificate, Config, ListenerTls, Protocol};
use tombolo_tests::broker::{self, Broker};
use tombolo_tests::certificates::{Authority, Identity, tls};
use tombolo_tests::client::Client;
use tombolo_tests::packet::{Connect, Publish};

struct Scene {
    broker: Broker,
    authority: Authority,
}

async fn scene(client_certificate: Option<ClientCertificate>) -> Scene {
    let authority = Authority::new("test authority");
    let server = authority.identity("broker");
    let mut config: Config = broker::config("tls");
    let mut listener = broker::listener("mqtts", Protocol::Mqtts);
    listener.tls = Some(ListenerTls {
        certificate_file: "tls/tls.crt".into(),
        key_file: "tls/tls.key".into(),
        client_ca_file: client_certificate.is_some().then(|| "tls/ca.crt".into()),
        client_certificate: client_certificate.unwrap_or_default(),
    });
    config.listeners.push(listener);
    let ca = authority.pem();
    let files: [(&str, &str); 3] =
        [("tls/tls.crt", &server.certificate), ("tls/tls.key", &server.key), ("tls/ca.crt", &ca)];
    Scene { broker: Broker::start(config, &files).await, authority }
}

impl Scene {
    /// A client over TLS; an error when the handshake failed.
    async fn client(&self, ca: &str, identity: Option<&Identity>) -> std::io::Result<Client> {
        let stream = TcpStream::connect(self.broker.config.listeners[1].bind).await?;
        Ok(Client::over(tls(stream, ca, identity).await?, 5))
    }

    /// The broker lets it in.
    async fn let_in(&self, identity: Option<&Identity>) -> bool {
        let Ok(mut client) = self.client(&self.authority.pem(), identity).await else { return false };
        // In TLS 1.3 the client's certificate is judged after the client is through with the handshake.
        client.send_anyway(Connect::new(5, "tls").bytes()).await;
        let got = tokio::spawn(async move { client.packet().await.connack().reason }).await;
        matches!(got, Ok(0))
    }
}

#[tokio::test]
async fn messages_pass_between_tls_and_plain() {
    let scene = scene(None).await;
    let mut secure = scene.client(&scene.authority.pem(), None).await.expect("the handshake succeeds");
    secure.send(Connect::new(5, "secure").bytes()).await;
    assert_eq!(secure.packet().await.connack().reason, 0);
    secure.subscribe(&[("tls/#", 0)]).await;
    let mut plain = Client::subscriber(scene.broker.address, 5, "plain", &[("tls/#", 0)]).await;
    let payload = vec![7; 200_000];
    for (i, big) in [(1, vec![1]), (2, payload.clone()), (3, vec![3])] {
        let topic = format!("tls/{i}");
        secure.send(Publish::new(5, &topic, &big).bytes()).await;
        plain.expect_message(&topic, &big).await;
        secure.expect_message(&topic, &big).await;
        plain.publish(&topic, &big).await;
        secure.expect_message(&topic, &big).await;
        plain.expect_message(&topic, &big).await;
    }
    secure.ping().await;
}

#[tokio::test]
async fn a_broker_with_a_foreign_certificate_is_recognised() {
    let scene = scene(None).await;
    let foreign = Authority::new("foreign").pem();
    assert!(scene.client(&foreign, None).await.is_err());
    scene.broker.admin.metric_when(r#"tombolo_connections_refused_total{reason="tls_handshake"}"#, 1.0).await;
}

#[tokio::test]
async fn a_required_client_certificate_must_be_there_valid_and_of_the_authority() {
    let scene = scene(Some(ClientCertificate::Require)).await;
    let mut bystander = Client::clean(scene.broker.address, 5, "bystander").await;
    let good = scene.authority.identity("device");
    assert!(scene.let_in(Some(&good)).await);
    assert!(!scene.let_in(None).await, "none");
    assert!(!scene.let_in(Some(&scene.authority.expired("device"))).await, "expired");
    assert!(!scene.let_in(Some(&Authority::new("test authority").identity("device"))).await, "foreign");
    scene.broker.admin.metric_when(r#"tombolo_connections_refused_total{reason="tls_handshake"}"#, 3.0).await;
    bystander.ping().await;
}

#[tokio::test]
async fn a_requested_client_certificate_may_be_missing_but_not_foreign() {
    let scene = scene(Some(ClientCertificate::Request)).await;
    assert!(scene.let_in(None).await);
    assert!(scene.let_in(Some(&scene.authority.identity("device"))).await);
    assert!(!scene.let_in(Some(&Authority::new("test authority").identity("device"))).await);
}

#[tokio::test]
async fn plain_mqtt_on_a_tls_port_is_closed_and_counted() {
    let scene = scene(None).await;
    let mut client = Client::open(scene.broker.config.listeners[1].bind, 5).await;
    client.send(Connect::new(5, "plain").bytes()).await;
    // A TLS alert is no MQTT packet, so only the end is looked for: the reader panics or sees it.
    let _ = tokio::spawn(async move { client.rest().await }).await;
    scene.broker.admin.metric_when(r#"tombolo_connections_refused_total{reason="tls_handshake"}"#, 1.0).await;
}
