//! The nodes of one cluster: their certificates and their configurations.

use std::net::SocketAddr;

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use serde_json::{Value, json};

/// Files beside each node's configuration: the authority, and one certificate for all nodes.
pub fn certificates(names: &[String]) -> Result<[(&'static str, String); 3]> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "bench");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let mut params = CertificateParams::new(names.to_vec())?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &authority)?;
    Ok([("ca.crt", authority.pem()), ("tls.crt", certificate.pem()), ("tls.key", key.serialize_pem())])
}

/// Adds to the configuration of a node who the others are.
pub fn join(config: &mut Value, name: &str, bind: SocketAddr, nodes: &[(String, SocketAddr)]) {
    let nodes: Vec<Value> = nodes.iter().map(|(name, at)| json!({"name": name, "address": at.to_string()})).collect();
    config["nodeName"] = json!(name);
    let id = format!("id-of-bench-{}", config["clusterName"].as_str().unwrap_or_default());
    config["cluster"] = json!({
        "id": id,
        "bind": bind,
        "certificateFile": "tls.crt",
        "keyFile": "tls.key",
        "caFile": "ca.crt",
        "nodes": nodes,
    });
}
