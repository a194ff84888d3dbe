//! The manifest files that `-f` names, as text.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};

/// What a manifest's name may end with when a folder is given.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// Largest file read, in bytes; a manifest is refused by API servers far below.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// A manifest file and what it held when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its name, as the user would type it.
    pub file: Arc<str>,
    /// Its content.
    pub text: String,
}

/// Reads each file and, of each folder, the files that end in `.yaml`, `.yml` or `.json`, in the order of their names;
/// folders in folders are left alone, as `kubectl` does.
///
/// # Errors
/// A path that cannot be read or is not text, and a folder without manifests.
pub fn read(paths: &[PathBuf]) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for path in paths {
        if path.is_dir() {
            let files = manifests_in(path)?;
            if files.is_empty() {
                bail!("{}: no manifest in this folder; their names end in .yaml, .yml or .json", path.display());
            }
            for file in files {
                sources.push(read_one(&file)?);
            }
        } else {
            sources.push(read_one(path)?);
        }
    }
    // A file may be named by itself and by its folder.
    let mut seen = std::collections::HashSet::new();
    sources.retain(|source| seen.insert(Arc::clone(&source.file)));
    Ok(sources)
}

fn manifests_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("{}: cannot be read", folder.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("{}: cannot be read", folder.display()))?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        // What begins with a dot is an editor's own.
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if path.is_file() && !hidden && extension.is_some_and(|extension| EXTENSIONS.contains(&extension)) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read_one(path: &Path) -> Result<Source> {
    let name = path.display();
    let length = fs::metadata(path).with_context(|| format!("{name}: cannot be read"))?.len();
    if length > FILE_BYTES_MAX {
        bail!("{name}: {length} bytes; a manifest has at most {FILE_BYTES_MAX}");
    }
    let bytes = fs::read(path).with_context(|| format!("{name}: cannot be read"))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let line =
            1 + error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        anyhow::anyhow!("{name}:{line}: not UTF-8 text; save the file as UTF-8")
    })?;
    Ok(Source { file: name.to_string().into(), text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_folder_the_manifests_are_read_in_order_and_once() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for name in ["b.yaml", "a.yml", "c.json", "notes.txt", ".a.yaml.swp.yaml"] {
            fs::write(folder.path().join(name), name).expect("written");
        }
        fs::create_dir(folder.path().join("inner.yaml")).expect("made");
        let twice = [folder.path().to_owned(), folder.path().join("b.yaml")];
        let texts: Vec<_> = read(&twice).expect("read").into_iter().map(|source| source.text).collect();
        assert_eq!(texts, ["a.yml", "b.yaml", "c.json"]);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let empty = read(&[folder.path().to_owned()]).expect_err("an empty folder");
        assert!(empty.to_string().contains("no manifest in this folder"), "{empty}");
        let missing = read(&[folder.path().join("x.yaml")]).expect_err("a missing file");
        assert!(missing.to_string().contains("x.yaml: cannot be read"), "{missing}");
        fs::write(folder.path().join("y.yaml"), b"a: 1\nb: \xff").expect("written");
        let binary = read(&[folder.path().join("y.yaml")]).expect_err("not text");
        assert!(binary.to_string().contains("y.yaml:2: not UTF-8"), "{binary}");
    }
}
