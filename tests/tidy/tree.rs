//! The files of the repository, read once.

use std::fs;
use std::path::{Path, PathBuf};

/// A text file.
#[derive(Clone, Debug)]
pub struct File {
    /// Path from the root, with `/`.
    pub path: String,
    /// Its content.
    pub text: String,
}

impl File {
    /// A file of a fixture.
    #[cfg(test)]
    pub fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    /// The name without folders.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// What follows the last dot of the name, or nothing.
    pub fn extension(&self) -> &str {
        self.name().rsplit_once('.').map_or("", |(_, extension)| extension)
    }

    /// The folder, without a slash at its end; empty at the root.
    pub fn folder(&self) -> &str {
        self.path.rsplit_once('/').map_or("", |(folder, _)| folder)
    }
}

/// Folders that hold nothing of ours; `.git` is a file where the repository has a second working tree.
const SKIPPED: [&str; 3] = ["target", ".git", "proptest-regressions"];

/// All text files of the repository.
pub fn read() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the repository");
    let mut files = Vec::new();
    walk(root, root, &mut files);
    assert!(files.len() > 50, "only {} files found below {}", files.len(), root.display());
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn walk(root: &Path, folder: &Path, files: &mut Vec<File>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    for path in entries.map(|e| e.expect("folders can be read").path()) {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_owned();
        if SKIPPED.contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() && !path.is_symlink() {
            walk(root, &path, files);
        } else if let Ok(text) = fs::read_to_string(&path) {
            files.push(File { path: relative(root, &path), text });
        }
    }
}

fn relative(root: &Path, path: &Path) -> String {
    let parts: PathBuf = path.strip_prefix(root).expect("it was found below").into();
    parts.to_str().expect("our names are plain").replace('\\', "/")
}
