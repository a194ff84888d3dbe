//! The folder of files that a node runs from, as the operator's plan renders it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::data_dir::{make_private, write_private};

/// The file that names all others; it is written when they are there.
pub const CONFIG_FILE: &str = "broker.yaml";

/// Brings a folder to hold exactly `files`, touching only what differs; whether anything did.
///
/// # Errors
/// Something cannot be written or removed.
pub fn write(folder: &Path, files: &BTreeMap<String, Vec<u8>>) -> Result<bool> {
    make_private(folder)?;
    let mut changed = false;
    let (config, others): (Vec<_>, Vec<_>) = files.iter().partition(|(name, _)| *name == CONFIG_FILE);
    for (name, content) in others.into_iter().chain(config) {
        let path = folder.join(name);
        if fs::read(&path).ok().as_deref() != Some(content) {
            write_private(&path, content)?;
            changed = true;
        }
    }
    let entries = fs::read_dir(folder).with_context(|| format!("{}: cannot be read", folder.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("{}: cannot be read", folder.display()))?;
        if !files.contains_key(entry.file_name().to_string_lossy().as_ref()) {
            fs::remove_file(entry.path()).with_context(|| format!("{}: cannot be removed", entry.path().display()))?;
            changed = true;
        }
    }
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(pairs: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
        pairs.iter().map(|(name, content)| ((*name).to_owned(), content.as_bytes().to_vec())).collect()
    }

    #[test]
    fn a_folder_is_brought_to_hold_exactly_what_was_rendered() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("config");
        let first = files(&[("broker.yaml", "a"), ("users.yaml", "b"), ("old.crt", "c")]);
        assert!(write(&path, &first).expect("written"));
        assert!(!write(&path, &first).expect("nothing to do"));
        let second = files(&[("broker.yaml", "a"), ("users.yaml", "d")]);
        assert!(write(&path, &second).expect("written"));
        let mut names: Vec<_> = fs::read_dir(&path)
            .expect("listed")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
            .collect();
        names.sort();
        assert_eq!(names, ["broker.yaml", "users.yaml"]);
        assert_eq!(fs::read(path.join("users.yaml")).expect("read"), b"d");
    }
}
