//! A file has at most 500 lines.

use crate::tree::File;

const LINES: usize = 500;

/// Files that are longer for now, with the length that they may not pass. Entries only ever shrink.
const RATCHET: [(&str, usize); 0] = [];

/// Files above the bound.
pub fn check(files: &[File]) -> Vec<String> {
    files.iter().filter(|f| is_ours(f)).filter_map(|f| too_long(f, &RATCHET)).collect()
}

fn is_ours(file: &File) -> bool {
    // Generated: the lock file and the YAML of the resource types.
    matches!(file.extension(), "rs" | "toml" | "md" | "sh") || matches!(file.name(), "Makefile" | "run")
}

fn too_long(file: &File, ratchet: &[(&str, usize)]) -> Option<String> {
    let lines = file.text.lines().count();
    let bound = ratchet.iter().find(|r| r.0 == file.path).map_or(LINES, |r| r.1);
    (lines > bound).then(|| format!("{}: {lines} lines, above {bound}; split it where a decision is", file.path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_501_is_a_fault() {
        assert!(check(&[File::new("a.rs", &"x\n".repeat(500))]).is_empty());
        assert!(!check(&[File::new("a.rs", &"x\n".repeat(501))]).is_empty());
        assert!(check(&[File::new("Cargo.lock", &"x\n".repeat(501))]).is_empty());
        assert!(too_long(&File::new("a.rs", &"x\n".repeat(600)), &[("a.rs", 600)]).is_none());
    }
}
