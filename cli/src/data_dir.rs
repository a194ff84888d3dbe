//! The folder where `tombolo up` keeps nodes and their data, used by one process at a time.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Name of the file that says what runs, for `tombolo status`.
pub const RUN_FILE: &str = "up.json";
const LOCK_FILE: &str = "lock";

/// The folder, locked until this is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

/// `$XDG_STATE_HOME/tombolo`, else `$HOME/.local/state/tombolo`.
///
/// # Errors
/// Neither variable is set.
pub fn default_path() -> Result<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    match (absolute("XDG_STATE_HOME"), absolute("HOME")) {
        (Some(state), _) => Ok(state.join("tombolo")),
        (None, Some(home)) => Ok(home.join(".local/state/tombolo")),
        (None, None) => bail!("neither XDG_STATE_HOME nor HOME is set; say with --data-dir where data is kept"),
    }
}

// === impl DataDir ===

impl DataDir {
    /// Makes the folder if need be, readable for its owner alone, and locks it.
    ///
    /// # Errors
    /// It cannot be made, or another process has it.
    pub fn open(path: &Path) -> Result<Self> {
        make_private(path)?;
        let path = path.canonicalize().with_context(|| format!("{}: cannot be opened", path.display()))?;
        let lock_path = path.join(LOCK_FILE);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .with_context(|| format!("{}: cannot be written", lock_path.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Who it is, is a help and no more.
                let _ = lock.read_to_string(&mut holder);
                let holder = holder.trim();
                bail!(
                    "{}: in use by another `tombolo up` (process {holder}); stop it with `kill {holder}`, or take \
                     another folder with --data-dir",
                    path.display()
                );
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("{}: cannot be locked", lock_path.display()));
            }
        }
        lock.set_len(0)
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .with_context(|| format!("{}: cannot be written", lock_path.display()))?;
        Ok(Self { path, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder of what is made once for a cluster.
    pub fn cluster(&self, namespace: &str, cluster: &str) -> PathBuf {
        self.path.join("clusters").join(namespace).join(cluster)
    }

    /// The folder of a node: `config` and `data` stand below it.
    pub fn node(&self, namespace: &str, node: &str) -> PathBuf {
        self.path.join("nodes").join(namespace).join(node)
    }
}

/// Whether a process has the folder.
pub fn in_use(path: &Path) -> bool {
    let Ok(lock) = File::open(path.join(LOCK_FILE)) else { return false };
    matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock))
}

/// The folders with which a `tombolo up` of this user runs, as far as the system tells: on Linux alone.
pub fn all_in_use() -> Vec<PathBuf> {
    let entries = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    // Processes of others don't show what they have open.
    let open = entries(Path::new("/proc")).flat_map(|process| entries(&process.join("fd")));
    let locks = open.filter_map(|file| fs::read_link(file).ok()).filter(|path| path.ends_with(LOCK_FILE));
    let folders = locks.filter_map(|lock| lock.parent().map(Path::to_owned));
    let all: BTreeSet<PathBuf> = folders.filter(|path| path.join(RUN_FILE).exists() && in_use(path)).collect();
    all.into_iter().collect()
}

/// Makes a folder, and those above it, for the owner alone.
///
/// # Errors
/// It cannot be made, or a file has its name.
pub fn make_private(path: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| format!("{}: cannot be made", path.display()))
}

/// Writes a file for the owner alone, so that a reader sees the old content or the new, never a part.
///
/// # Errors
/// It cannot be written.
pub fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.new"));
    let written = (|| {
        // A leftover of a crash may have other rights.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        fs::rename(&temporary, path)
    })();
    written.with_context(|| format!("{}: cannot be written", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_folder_in_use_is_refused_with_the_process_that_has_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("state");
        let first = DataDir::open(&path).expect("free");
        assert!(in_use(&path));
        let error = DataDir::open(&path).expect_err("in use").to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        assert!(!in_use(&path));
        DataDir::open(&path).expect("free again");
    }

    #[test]
    fn files_and_folders_are_for_the_owner_alone() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let inner = folder.path().join("a/b");
        make_private(&inner).expect("made");
        write_private(&inner.join("x"), b"1").expect("written");
        write_private(&inner.join("x"), b"2").expect("written over");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&inner), mode(&inner.join("x"))), (0o700, 0o600));
        assert_eq!(fs::read(inner.join("x")).expect("read"), b"2");
        assert_eq!(fs::read_dir(&inner).expect("listed").count(), 1);
    }
}
