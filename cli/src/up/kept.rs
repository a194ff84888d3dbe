//! What `tombolo up` makes once for a cluster and keeps: its id, its authority and a certificate for each node.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tombolo_broker::tls;
use tombolo_operator::validate::ValidInternodeTls;

use crate::certificate::Authority;
use crate::data_dir::{make_private, write_private};

const ID: &str = "id";
const AUTHORITY: &str = "ca.crt";
const AUTHORITY_KEY: &str = "ca.key";
/// Where the certificate lies that the manifest names; no node is called so, as its name ends with its number.
const GIVEN: &str = "given";

/// The folder of a cluster, with everything in it that its nodes need.
#[derive(Debug)]
pub struct Kept {
    /// Id of the cluster.
    pub id: String,
    folder: PathBuf,
    given: bool,
}

/// The files of a node's certificate.
#[derive(Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authority of all nodes.
    pub ca: PathBuf,
}

// === impl Kept ===

impl Kept {
    /// Opens the folder and makes what is missing. `given` is the certificate that the manifest names; without one each
    /// of `nodes` gets one of its own. `first_data` is the data folder of the first node: a cluster that ran before it
    /// had other nodes goes by the id that it made there.
    ///
    /// # Errors
    /// A file cannot be written, or is damaged.
    pub fn open(folder: &Path, nodes: &[String], given: Option<&ValidInternodeTls>, first_data: &Path) -> Result<Self> {
        make_private(folder)?;
        let kept = Self { id: id(&folder.join(ID), first_data)?, folder: folder.to_owned(), given: given.is_some() };
        match given {
            Some(given) => kept.take(given)?,
            None => kept.make(nodes)?,
        }
        Ok(kept)
    }

    /// Where the certificate of a node lies.
    pub fn files(&self, node: &str) -> CertificateFiles {
        let name = if self.given { GIVEN } else { node };
        let ca = if self.given { format!("{GIVEN}-{AUTHORITY}") } else { AUTHORITY.to_owned() };
        CertificateFiles {
            certificate: self.folder.join(format!("{name}.crt")),
            key: self.folder.join(format!("{name}.key")),
            ca: self.folder.join(ca),
        }
    }

    fn take(&self, given: &ValidInternodeTls) -> Result<()> {
        let files = self.files(GIVEN);
        let ValidInternodeTls { secret_name: _, certificate, key, ca } = given;
        for (path, content) in [(files.key, key), (files.certificate, certificate), (files.ca, ca)] {
            // What is written anew is loaded anew.
            if fs::read(&path).ok().as_deref() != Some(content.reveal()) {
                write_private(&path, content.reveal())?;
            }
        }
        Ok(())
    }

    /// A certificate is written behind its key, so that one which is there is whole.
    fn make(&self, nodes: &[String]) -> Result<()> {
        let (ca, ca_key) = (self.folder.join(AUTHORITY), self.folder.join(AUTHORITY_KEY));
        let (authority, new) = match (read(&ca)?, read(&ca_key)?) {
            (Some(certificate), Some(key)) => {
                let damaged = || {
                    let folder = self.folder.display();
                    format!("{folder}: {AUTHORITY} or {AUTHORITY_KEY} is damaged; remove both, and new ones are made")
                };
                (Authority::from_pem(&certificate, &key).with_context(damaged)?, false)
            }
            (None, _) | (_, None) => (Authority::new("Nodes of a Tombolo cluster")?, true),
        };
        for node in nodes {
            let files = self.files(node);
            if new || !files.certificate.exists() {
                let identity = authority.sign(node, &[node])?;
                write_private(&files.key, identity.key.as_bytes())?;
                write_private(&files.certificate, identity.certificate.as_bytes())?;
            }
        }
        if new {
            write_private(&ca_key, authority.key_pem().as_bytes())?;
            write_private(&ca, authority.pem().as_bytes())?;
        }
        Ok(())
    }
}

/// The id in `file`, else the one that the first node made for itself, else a new one.
fn id(file: &Path, first_data: &Path) -> Result<String> {
    if let Some(id) = read(file)? {
        return Ok(id.trim().to_owned());
    }
    let of_first = read(&first_data.join("cluster-id"))?.map(|id| id.trim().to_owned());
    let id = match of_first.filter(|id| !id.is_empty()) {
        Some(id) => id,
        None => format!("{:032x}", u128::from_be_bytes(tls::random())),
    };
    write_private(file, id.as_bytes())?;
    Ok(id)
}

/// The text of a file; none if it is not there.
fn read(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{}: cannot be read", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tombolo_operator::validate::Confidential;

    use super::*;

    fn nodes(count: usize) -> Vec<String> {
        (0..count).map(|n| format!("edge-{n}")).collect()
    }

    fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
        let mut files: Vec<_> = fs::read_dir(folder)
            .expect("listed")
            .map(|entry| entry.expect("an entry").path())
            .map(|path| {
                (path.file_name().expect("a name").to_string_lossy().into_owned(), fs::read(path).expect("read"))
            })
            .collect();
        files.sort();
        files
    }

    #[test]
    fn id_and_certificates_are_made_once_and_a_node_that_comes_gets_its_own() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let (folder, data) = (parent.path().join("edge"), parent.path().join("data"));
        let first = Kept::open(&folder, &nodes(2), None, &data).expect("made");
        let before = contents(&folder);
        let names: Vec<_> = before.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["ca.crt", "ca.key", "edge-0.crt", "edge-0.key", "edge-1.crt", "edge-1.key", "id"]);
        for (name, _) in &before {
            let mode = fs::metadata(folder.join(name)).expect("there").permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{name}");
        }
        assert_eq!(first.id.len(), 32);
        let again = Kept::open(&folder, &nodes(3), None, &data).expect("opened");
        assert_eq!(again.id, first.id);
        let after = contents(&folder);
        assert!(before.iter().all(|file| after.contains(file)), "nothing is made anew");
        assert_eq!(after.len(), before.len() + 2);
    }

    #[test]
    fn with_a_new_authority_all_certificates_are_new() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let kept = Kept::open(folder.path(), &nodes(1), None, folder.path()).expect("made");
        let before = fs::read(kept.files("edge-0").certificate).expect("there");
        fs::remove_file(folder.path().join("ca.crt")).expect("removed");
        Kept::open(folder.path(), &nodes(1), None, folder.path()).expect("made anew");
        assert_ne!(fs::read(kept.files("edge-0").certificate).expect("there"), before);
        fs::write(folder.path().join("ca.key"), "half").expect("written");
        let error = Kept::open(folder.path(), &nodes(1), None, folder.path()).expect_err("damaged").to_string();
        assert!(error.contains("remove both"), "{error}");
    }

    #[test]
    fn a_cluster_that_ran_before_keeps_the_id_of_its_first_node() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        fs::write(parent.path().join("cluster-id"), "0123\n").expect("written");
        let folder = parent.path().join("edge");
        for _ in 0..2 {
            assert_eq!(Kept::open(&folder, &nodes(1), None, parent.path()).expect("opened").id, "0123");
            fs::write(parent.path().join("cluster-id"), "other").expect("written");
        }
    }

    #[test]
    fn the_certificate_that_a_manifest_names_is_that_of_every_node() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let given = ValidInternodeTls {
            secret_name: "nodes".into(),
            certificate: Confidential::new("a certificate"),
            key: Confidential::new("a key"),
            ca: Confidential::new("an authority"),
        };
        let kept = Kept::open(folder.path(), &nodes(2), Some(&given), folder.path()).expect("written");
        assert_eq!(kept.files("edge-0"), kept.files("edge-1"));
        let CertificateFiles { certificate, key, ca } = kept.files("edge-0");
        let read = |path: PathBuf| fs::read_to_string(path).expect("there");
        assert_eq!([read(certificate), read(key), read(ca)], ["a certificate", "a key", "an authority"]);
    }
}
