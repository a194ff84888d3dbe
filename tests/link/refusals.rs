//! Links that cannot be: each has a named reason in the status, and touches nobody else.

use crate::pair::{FILES, PASSWORD, USER, accepting, dial, dialling};
use tombolo_broker_api::{Config, DialTls, LinkStatus, ListenerTls, Protocol};
use tombolo_tests::broker::{self, Broker};
use tombolo_tests::certificates::{Authority, Identity};
use tombolo_tests::client::Client;
use tombolo_tests::packet::Connect;

/// Starts `near` with a link `to-far` to this server and awaits its reason; a client of `near` is untouched.
async fn refused(change: impl FnOnce(&mut Config), server: &str, reason: &str) -> LinkStatus {
    refused_with(change, server, reason, &FILES).await
}

async fn refused_with(
    change: impl FnOnce(&mut Config),
    server: &str,
    reason: &str,
    files: broker::Files<'_>,
) -> LinkStatus {
    let mut config = broker::config("near");
    config.links = vec![dialling("to-far", "far", &["t/#"], server)];
    change(&mut config);
    let near = Broker::start(config, files).await;
    let mut client = Client::subscriber(near.address, 5, "client", &[("t/#", 1)]).await;
    let link = near.admin.link_failed("to-far", reason).await;
    let error = link.last_error.clone().expect("there is one");
    assert!(error.message.len() > 15 && error.unix_seconds > 1_700_000_000, "for people: {error:?}");
    assert!(!link.ready, "{link:?}");
    client.publish("t/x", "x").await;
    client.expect_message("t/x", "x").await;
    link
}

/// A broker `far` that accepts `near`.
async fn far(change: impl FnOnce(&mut Config)) -> Broker {
    let mut config = broker::config("far");
    config.links = vec![accepting("to-near", "near", &["t/#"])];
    change(&mut config);
    Broker::start(config, &FILES).await
}

#[tokio::test]
async fn nobody_listens() {
    let server = format!("mqtt://127.0.0.1:{}", tombolo_tests::ports::free());
    let link = refused(|_| {}, &server, "NobodyListening").await;
    assert!(link.last_error.is_some_and(|e| e.message.contains("127.0.0.1")));
}

#[tokio::test]
async fn a_name_that_no_server_knows() {
    let mut config = broker::config("near");
    config.links = vec![dialling("to-far", "far", &["t/#"], "mqtt://no-such-host.invalid:1883")];
    let near = Broker::start(config, &FILES).await;
    // Where there is no name server, the answer may be that none comes.
    let failed = |l: &LinkStatus| l.last_error.as_ref().is_some_and(|e| e.reason.starts_with("Dns"));
    let link = near.admin.link_when("to-far", "the name is not known", failed).await;
    assert!(link.last_error.is_some_and(|e| e.message.contains("no-such-host.invalid")));
}

#[tokio::test]
async fn a_wrong_password() {
    let far = far(|_| {}).await;
    let files = [("user", USER), ("password", "wrong")];
    refused_with(|_| {}, &format!("mqtt://{}", far.address), "AuthenticationFailed", &files).await;
    far.admin.metric_when(r#"tombolo_connections_refused_total{reason="bad_password"}"#, 1.0).await;
}

#[tokio::test]
async fn a_wrong_name_of_the_remote() {
    let far = far(|_| {}).await;
    let rename = |config: &mut Config| config.links[0].remote_cluster = "elsewhere".into();
    refused(rename, &format!("mqtt://{}", far.address), "ClusterNameMismatch").await;
}

#[tokio::test]
async fn a_remote_that_does_not_know_us() {
    let far = far(|config| config.links[0].remote_cluster = "somebody".into()).await;
    refused(|_| {}, &format!("mqtt://{}", far.address), "UnknownCluster").await;
}

#[tokio::test]
async fn a_remote_that_never_consented() {
    let far = Broker::start(broker::config("far"), &[]).await;
    let mut config = broker::config("near");
    config.links = vec![dialling("to-far", "far", &["t/#"], &format!("mqtt://{}", far.address))];
    let near = Broker::start(config, &FILES).await;
    let failed = |l: &LinkStatus| l.last_error.is_some() && !l.ready;
    near.admin.link_when("to-far", "refused", failed).await;
}

#[tokio::test]
async fn a_pinned_id_of_another_cluster() {
    let far = far(|_| {}).await;
    let pin = |config: &mut Config| config.links[0].remote_cluster_id = Some("another".into());
    refused(pin, &format!("mqtt://{}", far.address), "ClusterIdMismatch").await;
}

#[tokio::test]
async fn a_link_to_itself() {
    let mut config = broker::config("near");
    let own = format!("mqtt://{}", config.listeners[0].bind);
    // By configuration it has another name, and consents to itself.
    config.links = vec![dialling("to-far", "far", &["t/#"], &own)];
    config.links[0].accept = accepting("x", "x", &[]).accept;
    let near = Broker::start(config, &FILES).await;
    near.admin.link_failed("to-far", "OwnCluster").await;
}

#[tokio::test]
async fn a_link_to_the_own_name_is_refused_in_the_configuration() {
    let mut config = broker::config("near");
    config.links = vec![dialling("to-far", "near", &["t/#"], "mqtt://127.0.0.1:1883")];
    let mut near = Broker::spawn(config, &FILES);
    assert!(!near.child.end().await.success());
    let output = near.child.output();
    assert!(output.contains("links[0].remoteCluster") && output.contains("near"), "{output}");
}

#[tokio::test]
async fn a_link_that_the_other_side_disabled() {
    let far = far(|config| config.links[0].enabled = false).await;
    refused(|_| {}, &format!("mqtt://{}", far.address), "LinkDisabled").await;
}

#[tokio::test]
async fn something_that_is_no_broker() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let http = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        while let Ok((mut stream, _)) = listener.accept().await {
            // The peer may have gone.
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    refused(|_| {}, &format!("mqtt://{address}"), "NotMqtt").await;
    http.abort();
}

/// A `far` that speaks TLS with this identity, and asks for certificates of this authority.
async fn far_tls(identity: &Identity, client_ca: Option<&Authority>) -> Broker {
    let mut config = broker::config("far");
    let mut listener = broker::listener("mqtts", Protocol::Mqtts);
    listener.tls = Some(ListenerTls {
        certificate_file: "tls.crt".into(),
        key_file: "tls.key".into(),
        client_ca_file: client_ca.map(|_| "ca.crt".into()),
        client_certificate: Default::default(),
    });
    config.listeners.push(listener);
    config.links = vec![accepting("to-near", "near", &["t/#"])];
    let ca = client_ca.map(Authority::pem).unwrap_or_default();
    let tls = [("tls.crt", &*identity.certificate), ("tls.key", &*identity.key), ("ca.crt", &*ca)];
    Broker::start(config, &[&FILES[..], &tls].concat()).await
}

/// Links `near` with it over TLS; awaits the reason, or ready when there is none.
async fn near_tls(far: &Broker, authority: &Authority, own: Option<&Identity>, reason: Option<&str>) {
    let mut config = broker::config("near");
    let server = format!("mqtts://localhost:{}", far.config.listeners[1].bind.port());
    let tls = DialTls {
        ca_file: Some("ca.crt".into()),
        certificate_file: own.map(|_| "own.crt".into()),
        key_file: own.map(|_| "own.key".into()),
        server_name: None,
    };
    config.links = vec![dialling("to-far", "far", &["t/#"], &server)];
    config.links[0].dial = Some(dial(&server, Some(tls)));
    let ca = authority.pem();
    let mut files = vec![FILES[0], FILES[1], ("ca.crt", &*ca)];
    if let Some(own) = own {
        files.extend([("own.crt", &*own.certificate), ("own.key", &*own.key)]);
    }
    let near = Broker::start(config, &files).await;
    match reason {
        Some(reason) => drop(near.admin.link_failed("to-far", reason).await),
        None => drop(near.admin.link_ready("to-far").await),
    }
}

#[tokio::test]
async fn certificates_good_expired_and_foreign() {
    let authority = Authority::new("authority");
    let far = far_tls(&authority.identity("far"), None).await;
    near_tls(&far, &authority, None, None).await;
    near_tls(&far, &Authority::new("foreign"), None, Some("TlsUnknownAuthority")).await;
    let expired = far_tls(&authority.expired("far"), None).await;
    near_tls(&expired, &authority, None, Some("TlsCertificateExpired")).await;
}

#[tokio::test]
async fn client_certificates_good_missing_expired_and_foreign() {
    let authority = Authority::new("authority");
    let far = far_tls(&authority.identity("far"), Some(&authority)).await;
    near_tls(&far, &authority, Some(&authority.identity("near")), None).await;
    let refused = Some("TlsClientCertificateRefused");
    near_tls(&far, &authority, None, refused).await;
    near_tls(&far, &authority, Some(&authority.expired("near")), refused).await;
    near_tls(&far, &authority, Some(&Authority::new("foreign").identity("near")), refused).await;
    let mut client = Client::clean(far.address, 5, "client").await;
    client.ping().await;
}

#[tokio::test]
async fn plain_mqtt_where_tls_is_spoken_and_the_other_way() {
    let authority = Authority::new("authority");
    let far = far_tls(&authority.identity("far"), None).await;
    let plain = format!("mqtt://127.0.0.1:{}", far.config.listeners[1].bind.port());
    let mut config = broker::config("near");
    config.links = vec![dialling("to-far", "far", &["t/#"], &plain)];
    let near = Broker::start(config, &FILES).await;
    near.admin.link_when("to-far", "refused", |l| l.last_error.is_some()).await;
    let mut config = broker::config("near");
    let tls = DialTls { ca_file: Some("ca.crt".into()), ..DialTls::default() };
    let server = format!("mqtts://localhost:{}", far.address.port());
    config.links = vec![dialling("to-far", "far", &["t/#"], &server)];
    config.links[0].dial = Some(dial(&server, Some(tls)));
    let ca = authority.pem();
    let near = Broker::start(config, &[FILES[0], FILES[1], ("ca.crt", &ca)]).await;
    near.admin.link_when("to-far", "refused", |l| l.last_error.is_some()).await;
}

#[tokio::test]
async fn the_user_of_a_link_can_do_nothing_but_link() {
    let far = far(|_| {}).await;
    let mut client = Client::open(far.address, 5).await;
    client.send(Connect::new(5, "pretender").login(USER, PASSWORD).bytes()).await;
    // Not authorized.
    assert_eq!(client.packet().await.connack().reason, 0x87);
    client.closed().await;
}
