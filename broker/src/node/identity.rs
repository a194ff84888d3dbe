//! What a node keeps of itself in its data folder: a lock, the id of its cluster, the count of its lives.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::clock::UnixSeconds;
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
}

// === impl Identity ===

impl Identity {
    /// Opens the data folder, making what is missing.
    ///
    /// # Errors
    /// If another process uses it, or a file in it can't be read or written.
    pub fn open(data_dir: &Path) -> Result<Self, IdentityError> {
        fs::create_dir_all(data_dir).map_err(|error| io_error(data_dir, error))?;
        let path = data_dir.join("lock");
        let lock = File::create(&path).map_err(|error| io_error(&path, error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(IdentityError::InUse { path: data_dir.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(io_error(&path, error)),
        }
        let cluster_id = keep(
            &data_dir.join("cluster-id"),
            "a cluster id of 32 hexadecimal digits",
            |text| (text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit())).then(|| text.to_owned()),
            |kept| kept.unwrap_or_else(|| format!("{:032x}", u128::from_be_bytes(tls::random()))),
        )?;
        // The clock may have gone back; the count may not.
        let now = UnixSeconds::now().0 * 1000;
        let incarnation = keep(
            &data_dir.join("incarnation"),
            "a number",
            |text| text.parse::<u64>().ok(),
            |last| last.map_or(now, |last| now.max(last + 1)),
        )?;
        Ok(Self { cluster_id, incarnation, _lock: lock })
    }
}

/// Reads a value from a file, makes the next one of it, and writes that back if it differs.
fn keep<T: ToString + Clone + PartialEq>(
    path: &Path,
    expected: &'static str,
    parse: impl Fn(&str) -> Option<T>,
    next: impl FnOnce(Option<T>) -> T,
) -> Result<T, IdentityError> {
    let last = match fs::read_to_string(path) {
        Ok(content) => Some(parse(content.trim()).ok_or_else(|| IdentityError::Damaged {
            path: path.to_owned(),
            content: content.chars().take(40).collect(),
            expected,
        })?),
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
        let first = Identity::open(folder.path()).expect("opens");
        let (id, incarnation) = (first.cluster_id.clone(), first.incarnation);
        assert!(matches!(Identity::open(folder.path()), Err(IdentityError::InUse { .. })));
        drop(first);
        let second = Identity::open(folder.path()).expect("opens again");
        assert_eq!(second.cluster_id, id);
        assert!(second.incarnation > incarnation);
    }

    #[test]
    fn a_damaged_cluster_id_is_reported_and_not_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("cluster-id"), "half an i").expect("writes");
        let error = Identity::open(folder.path()).expect_err("is refused").to_string();
        assert!(error.contains("cluster-id") && error.contains("half an i"), "{error}");
        assert_eq!(fs::read_to_string(folder.path().join("cluster-id")).expect("reads"), "half an i");
    }
}
