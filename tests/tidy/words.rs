//! Words that do not belong into the repository: paths of somebody's machine, notes to oneself.

use crate::tree::File;

/// In pieces, so that this file does not hold them itself.
const WORDS: [&str; 12] = [
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("../sha", "red"),
    concat!("shared/", "design"),
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("Cla", "ude"),
    concat!("Chat", "GPT"),
    concat!("Co", "pilot"),
    concat!("language ", "model"),
    concat!("<<<<", "<<<"),
];

/// Lines with one of them.
pub fn check(files: &[File]) -> Vec<String> {
    let mut faults = Vec::new();
    for file in files.iter().filter(|f| f.name() != "Cargo.lock") {
        for (number, line) in file.text.lines().enumerate() {
            for word in WORDS.iter().filter(|w| line.contains(*w)) {
                faults.push(format!("{}:{}: `{word}` does not belong here", file.path, number + 1));
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_a_machine_bites() {
        let bad = File::new("a.rs", concat!("//! A.\n// see /wo", "rk/x\n"));
        assert!(check(&[bad])[0].starts_with("a.rs:2"));
        assert!(check(&[File::new("a.rs", "//! A network works.\n")]).is_empty());
    }
}
