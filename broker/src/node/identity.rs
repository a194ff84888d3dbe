//! What a node keeps of itself in its data folder: a lock, the id of its cluster, the count of its lives.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::clock::unix_micros;
use crate::tls;

/// Who this node is, for as long as it runs.
#[derive(Debug)]
pub struct Identity {
    /// Id of the cluster: 32 hexadecimal digits, made once.
    pub cluster_id: String,
    /// Greater at each start.
    pub incarnation: u64,
    /// Held while the node runs, so that no other one uses the folder.
    _lock: File,
}

/// The data folder can't be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Another process has it.
    #[error("dataDir {folder}: another broker uses this folder; end it, or give this one a folder of its own", folder = path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// A file in it can't be read or written.
    #[error("dataDir: {path}: {error}; the broker's user must be able to write there", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        error: io::Error,
    },
    /// A file in it is not what it should be.
    #[error("dataDir: {path}: `{content}` is not {expected}; restore it from a copy, or remove it to begin anew", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Its first characters.
        content: String,
        /// What it should hold.
        expected: &'static str,
    },
    /// The folder is that of another cluster.
    #[error(
        "dataDir: {path} says that the folder belongs to cluster `{kept}`, and cluster.id is `{configured}`; give the node \
         a folder of its own, or restore the id",
        path = path.display()
    )]
    OtherCluster {
        /// The file.
        path: PathBuf,
        /// The id in it.
        kept: String,
        /// That of the configuration.
        configured: String,
    },
}

// === impl Identity ===

impl Identity {
    /// Opens the data folder, making what is missing. `cluster_id` is that of the configuration, if it has one.
    ///
    /// # Errors
    /// If another process uses it, a file in it can't be read or written, or it belongs to another cluster.
    pub fn open(data_dir: &Path, cluster_id: Option<&str>) -> Result<Self, IdentityError> {
        fs::create_dir_all(data_dir).map_err(|error| io_error(data_dir, error))?;
        let path = data_dir.join("lock");
        let lock = File::create(&path).map_err(|error| io_error(&path, error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(IdentityError::InUse { path: data_dir.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(io_error(&path, error)),
        }
        let path = data_dir.join("cluster-id");
        let kept = keep(
            &path,
            "a cluster id: 1 to 255 bytes without spaces",
            |text| is_cluster_id(text).then(|| text.to_owned()),
            |kept| match (kept, cluster_id) {
                (Some(kept), _) => kept,
                (None, Some(configured)) => configured.to_owned(),
                (None, None) => format!("{:032x}", u128::from_be_bytes(tls::random())),
            },
        )?;
        if let Some(configured) = cluster_id.filter(|configured| *configured != kept) {
            return Err(IdentityError::OtherCluster { path, kept, configured: configured.to_owned() });
        }
        let cluster_id = kept;
        // The clock may have gone back; the count may not. A node whose folder was emptied may be back within a second.
        let now = unix_micros() / 1000;
        let incarnation = keep(
            &data_dir.join("incarnation"),
            "a number",
            |text| text.parse::<u64>().ok(),
            |last| last.map_or(now, |last| now.max(last + 1)),
        )?;
        Ok(Self { cluster_id, incarnation, _lock: lock })
    }
}

fn is_cluster_id(text: &str) -> bool {
    (1..=255).contains(&text.len()) && !text.chars().any(|c| c.is_whitespace() || c.is_control())
}

/// Reads a value from a file, makes the next one of it, and writes that back if it differs.
fn keep<T: ToString + Clone + PartialEq>(
    path: &Path,
    expected: &'static str,
    parse: impl Fn(&str) -> Option<T>,
    next: impl FnOnce(Option<T>) -> T,
) -> Result<T, IdentityError> {
    let last = match fs::read(path) {
        Ok(content) => {
            let value = std::str::from_utf8(&content).ok().and_then(|text| parse(text.trim()));
            Some(value.ok_or_else(|| IdentityError::Damaged {
                path: path.to_owned(),
                // On one line, whatever it is.
                content: String::from_utf8_lossy(&content).chars().take(40).flat_map(char::escape_debug).collect(),
                expected,
            })?)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(io_error(path, error)),
    };
    let value = next(last.clone());
    if last.as_ref() != Some(&value) {
        let new = path.with_extension("new");
        let written = fs::write(&new, value.to_string())
            .and_then(|()| File::open(&new)?.sync_all())
            .and_then(|()| fs::rename(&new, path));
        written.map_err(|error| io_error(path, error))?;
    }
    Ok(value)
}

fn io_error(path: &Path, error: io::Error) -> IdentityError {
    IdentityError::Io { path: path.to_owned(), error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cluster_id_stays_and_the_incarnation_grows() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = Identity::open(folder.path(), None).expect("opens");
        let (id, incarnation) = (first.cluster_id.clone(), first.incarnation);
        assert!(matches!(Identity::open(folder.path(), None), Err(IdentityError::InUse { .. })));
        drop(first);
        let second = Identity::open(folder.path(), None).expect("opens again");
        assert_eq!(second.cluster_id, id);
        assert!(second.incarnation > incarnation);
    }

    #[test]
    fn a_node_that_lost_its_folder_is_known_as_another_one_a_millisecond_later() {
        let [before, emptied] = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
        let first = Identity::open(before.path(), None).expect("opens").incarnation;
        while unix_micros() / 1000 <= first {}
        assert!(Identity::open(emptied.path(), None).expect("opens").incarnation > first);
    }

    #[test]
    fn a_node_keeps_the_id_of_its_cluster_and_refuses_the_folder_of_another() {
        let folder = tempfile::tempdir().expect("a folder");
        let id = "0f8fad5b-d9cb-469f-a165-70867728950e";
        assert_eq!(Identity::open(folder.path(), Some(id)).expect("opens").cluster_id, id);
        assert_eq!(Identity::open(folder.path(), None).expect("opens").cluster_id, id);
        let error = Identity::open(folder.path(), Some("another-cluster-0000")).expect_err("is refused").to_string();
        assert!(error.contains(id) && error.contains("another-cluster-0000"), "{error}");
    }

    #[test]
    fn a_damaged_cluster_id_is_reported_and_not_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("cluster-id"), "half an i").expect("writes");
        let error = Identity::open(folder.path(), None).expect_err("is refused").to_string();
        assert!(error.contains("cluster-id") && error.contains("half an i"), "{error}");
        assert_eq!(fs::read_to_string(folder.path().join("cluster-id")).expect("reads"), "half an i");
    }

    #[test]
    fn what_is_no_text_is_reported_as_damaged_on_one_line() {
        let folder = tempfile::tempdir().expect("a folder");
        for content in [&b"\xff\0nonsense"[..], b"99999999999999999999999\n", b""] {
            fs::write(folder.path().join("incarnation"), content).expect("writes");
            let error = Identity::open(folder.path(), None).expect_err("is refused");
            assert!(matches!(error, IdentityError::Damaged { .. }), "{error}");
            assert!(!error.to_string().contains(char::is_control), "{error}");
        }
    }
}
