//! Certificates for `examples/tls`: an authority of its own, and what it signs for clusters, links and clients.

use std::path::Path;

use anyhow::Result;
use tombolo::certificate::{Authority, Identity};
use tombolo::data_dir::{make_private, write_private};

/// What is written: the Secrets as one manifest, and for clients the authority, a certificate and its key.
pub const FILES: [&str; 4] = ["certificates.yaml", "ca.crt", "client.crt", "client.key"];

/// Makes new certificates and writes them to `folder`, readable for the owner alone.
///
/// # Errors
/// Files that cannot be written.
pub fn write(folder: &Path) -> Result<()> {
    let authority = Authority::new("Tombolo demo authority")?;
    let client = sign(&authority, "demo")?;
    let mut manifest =
        "# Made by `tombolo-demo certificates`; holds private keys and is never stored in Git.\n".to_owned();
    for name in ["deployment-local", "deployment-cloud"] {
        for purpose in ["server", "link"] {
            let common_name = if purpose == "server" { name } else { "link" };
            manifest += &secret(&format!("{name}-{purpose}"), authority.pem(), &sign(&authority, common_name)?);
        }
    }
    manifest += &format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: demo-ca}}\nstringData:\n  ca.crt: |\n{}",
        indented(authority.pem())
    );
    make_private(folder)?;
    for (file, content) in FILES.iter().zip([manifest, authority.pem().to_owned(), client.certificate, client.key]) {
        write_private(&folder.join(file), content.as_bytes())?;
    }
    Ok(())
}

/// A certificate, as server and as client, for this machine and for a Service of that name.
fn sign(authority: &Authority, common_name: &str) -> Result<Identity> {
    // The name of the Service that clients in pods use, too.
    authority.sign(common_name, &[common_name, "localhost", "127.0.0.1", "::1"])
}

/// As cert-manager writes it.
fn secret(name: &str, authority: &str, identity: &Identity) -> String {
    format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\ntype: kubernetes.io/tls\nstringData:\n  \
         tls.crt: |\n{}  tls.key: |\n{}  ca.crt: |\n{}",
        indented(&identity.certificate),
        indented(&identity.key),
        indented(authority)
    )
}

fn indented(pem: &str) -> String {
    pem.lines().map(|line| format!("    {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_holds_a_secret_for_each_use_and_no_name_twice() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        write(folder.path()).expect("written");
        let sources = tombolo::source::read(&[folder.path().join(FILES[0])]).expect("read");
        let manifests = tombolo::manifest::read(&sources);
        assert_eq!(manifests.problems, []);
        let names: Vec<_> = manifests.objects.iter().map(|object| object.name.as_str()).collect();
        let expected = [
            "deployment-local-server",
            "deployment-local-link",
            "deployment-cloud-server",
            "deployment-cloud-link",
            "demo-ca",
        ];
        assert_eq!(names, expected);
        assert!(manifests.objects.iter().all(|object| tombolo::secret::problems(object).is_empty()));
    }

    #[test]
    fn every_example_is_without_mistake_and_without_warning() {
        let made = tempfile::tempdir().expect("a temporary folder");
        write(made.path()).expect("written");
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
        for (example, links) in [("hybrid-cloud", 2), ("one-sided", 2), ("three-nodes", 0), ("tls", 2)] {
            let mut paths = vec![examples.join(example)];
            let mut sources = tombolo::source::read(&paths).expect(example);
            if example == "tls" && !examples.join("tls").join(FILES[0]).exists() {
                paths.push(made.path().join(FILES[0]));
                sources = tombolo::source::read(&paths).expect(example);
            }
            let desired = tombolo::check::check(&sources, &[]).expect(example);
            assert_eq!((&desired.warnings, &desired.notes), (&vec![], &vec![]), "{example}");
            assert_eq!(desired.clusters.iter().map(|cluster| cluster.links.len()).sum::<usize>(), links, "{example}");
        }
    }
}
