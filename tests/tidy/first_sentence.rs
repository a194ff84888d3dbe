//! A file begins with one sentence that says what it is.

use crate::tree::File;

/// Files without it.
pub fn check(files: &[File]) -> Vec<String> {
    files.iter().filter_map(fault).collect()
}

fn fault(file: &File) -> Option<String> {
    let rule = match (file.extension(), file.name()) {
        ("rs", _) => Rule { mark: "//! ", sentence: true },
        // Written by Cargo.
        (_, "Cargo.lock") => return None,
        ("toml" | "yaml" | "yml" | "sh", _) | (_, "Makefile" | "run" | ".gitignore") => {
            Rule { mark: "# ", sentence: false }
        }
        ("md", _) => Rule { mark: "# ", sentence: false },
        _ => return None,
    };
    let mut lines = file.text.lines().skip_while(|line| line.starts_with("#!/"));
    let Some(text) = lines.next().and_then(|line| line.strip_prefix(rule.mark)) else {
        return Some(format!("{}:1: begins without a sentence that says what it is (`{}…`)", file.path, rule.mark));
    };
    let paragraph = lines.map_while(|line| line.strip_prefix(rule.mark.trim_end()).filter(|l| !l.is_empty()));
    let whole = std::iter::once(text).chain(paragraph).collect::<Vec<_>>().join(" ");
    let ended = !rule.sentence || whole.trim_end().ends_with(['.', ':', '?']);
    let said = text.trim().len() > 3;
    (!(ended && said)).then(|| format!("{}:1: `{whole}` is no sentence", file.path))
}

struct Rule {
    mark: &'static str,
    /// It must end as a sentence does.
    sentence: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_its_sentence_is_a_fault() {
        for (path, text) in [
            ("a.rs", "use std::fs;\n"),
            ("a.rs", "//! no end\n"),
            ("a.rs", "//!\n//! Late.\n"),
            ("a.toml", "[package]\n"),
            ("Makefile", "all:\n"),
            ("a.sh", "#!/bin/sh\nset -e\n"),
            ("a.md", "text\n"),
        ] {
            assert_eq!(check(&[File::new(path, text)]).len(), 1, "{path}: {text}");
        }
        for (path, text) in [
            ("a.rs", "//! Says what it is,\n//! in two lines.\n\nuse std::fs;\n"),
            ("a.toml", "# What it is.\n[package]\n"),
            ("a.sh", "#!/bin/sh\n# What it does.\n"),
            ("a.md", "# Title\n"),
            ("LICENSE", "Apache\n"),
        ] {
            assert_eq!(check(&[File::new(path, text)]), Vec::<String>::new());
        }
    }
}
