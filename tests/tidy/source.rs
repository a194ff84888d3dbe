//! Rust text without what is no code: comments and the content of literals become spaces.

/// The text with comments and the content of strings and characters blanked; lines stay where they are.
pub fn code(text: &str) -> String {
    let b: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut i = 0;
    while i < b.len() {
        let end = match b[i] {
            '/' if b.get(i + 1) == Some(&'/') => line_end(&b, i),
            '/' if b.get(i + 1) == Some(&'*') => comment_end(&b, i),
            '"' => string_end(&b, i),
            'r' if !is_word(&out) && raw_hashes(&b, i).is_some() => raw_end(&b, i),
            '\'' => character_end(&b, i),
            c => {
                out.push(c);
                i += 1;
                continue;
            }
        };
        out.extend(b[i..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
        i = end;
    }
    out
}

/// The last character belongs to an identifier, so an `r` after it begins no raw string (`br` apart).
fn is_word(out: &str) -> bool {
    let mut last = out.chars().rev();
    match last.next() {
        Some('b') => last.next().is_some_and(|c| c.is_alphanumeric() || c == '_'),
        Some(c) => c.is_alphanumeric() || c == '_',
        None => false,
    }
}

fn line_end(b: &[char], i: usize) -> usize {
    b[i..].iter().position(|c| *c == '\n').map_or(b.len(), |n| i + n)
}

fn comment_end(b: &[char], mut i: usize) -> usize {
    let mut depth = 0;
    while i < b.len() {
        match (b[i], b.get(i + 1)) {
            ('/', Some('*')) => (depth, i) = (depth + 1, i + 2),
            ('*', Some('/')) => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            return i;
        }
    }
    i
}

fn string_end(b: &[char], mut i: usize) -> usize {
    i += 1;
    while i < b.len() {
        match b[i] {
            '\\' => i += 2,
            '"' => return i + 1,
            _ => i += 1,
        }
    }
    b.len()
}

fn raw_hashes(b: &[char], i: usize) -> Option<usize> {
    let hashes = b[i + 1..].iter().take_while(|c| **c == '#').count();
    (b.get(i + 1 + hashes) == Some(&'"')).then_some(hashes)
}

fn raw_end(b: &[char], i: usize) -> usize {
    let hashes = raw_hashes(b, i).unwrap_or(0);
    let mut at = i + hashes + 2;
    while at < b.len() {
        if b[at] == '"' && b[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes {
            return at + 1 + hashes;
        }
        at += 1;
    }
    b.len()
}

/// The end of a character literal; of a lifetime, its quote alone.
fn character_end(b: &[char], i: usize) -> usize {
    match (b.get(i + 1), b.get(i + 2)) {
        (Some('\\'), _) => b[i + 3..].iter().position(|c| *c == '\'').map_or(b.len(), |n| i + 4 + n),
        (Some(_), Some('\'')) => i + 3,
        _ => i + 1,
    }
}

/// The code without items under `#[cfg(test)]`.
pub fn production(code: &str) -> String {
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(test)]") {
        out.push_str(&rest[..at]);
        let item = &rest[at..];
        let end = item_end(item);
        out.extend(item[..end].chars().filter(|c| *c == '\n'));
        rest = &item[end..];
    }
    out + rest
}

/// Where an item ends: at its `;`, or at the brace that closes its body.
fn item_end(item: &str) -> usize {
    let mut depth = 0;
    for (at, c) in item.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return at + 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    item.len()
}

/// Modules that stand in files of their own: name, path if it is given, and whether they are for tests alone.
pub fn file_modules(code: &str, text: &str) -> Vec<(String, Option<String>, bool)> {
    let mut found = Vec::new();
    let lines: Vec<(&str, &str)> = code.lines().zip(text.lines()).collect();
    for (i, (line, _)) in lines.iter().enumerate() {
        let Some(declared) = line.trim().strip_suffix(';') else { continue };
        let Some((_, name)) = declared.rsplit_once("mod ").filter(|(before, _)| is_visibility(before)) else {
            continue;
        };
        let above = || lines[..i].iter().rev().take_while(|(code, _)| code.trim_start().starts_with("#["));
        let path = above().find_map(|(_, text)| text.trim().strip_prefix("#[path = \"")?.strip_suffix("\"]"));
        let test = above().any(|(code, _)| code.contains("cfg(test)"));
        found.push((name.trim().to_owned(), path.map(str::to_owned), test));
    }
    found
}

fn is_visibility(before: &str) -> bool {
    let before = before.trim();
    before.is_empty() || before.starts_with("pub") || before.ends_with(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_no_code() {
        let text = "a // b\n/* c /* d */ e */ f \"g \\\" h\" i r#\"j \" k\"# l 'm' '\\'' 'n: o b\"p\" br\"q\"";
        let blank = code(text);
        let words: Vec<&str> = blank.split_whitespace().collect();
        assert_eq!(words, ["a", "f", "i", "l", "n:", "o", "b", "b"]);
        assert_eq!(blank.lines().count(), 2);
    }

    #[test]
    fn test_items_are_not_production() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests { fn b() { {} } }\n#[cfg(test)]\nmod c;\nfn d() {}";
        let left = production(text);
        assert!(left.contains("fn a") && left.contains("fn d") && !left.contains("fn b") && !left.contains("mod c"));
    }

    #[test]
    fn modules_in_files_are_found_with_their_paths() {
        let text = "mod a;\npub(crate) mod b;\n#[cfg(test)]\n#[path = \"x/y.rs\"]\nmod c;\nmod d { }\n";
        let found = file_modules(&code(text), text);
        let wanted = [("a", None, false), ("b", None, false), ("c", Some("x/y.rs"), true)];
        assert_eq!(found, wanted.map(|(n, p, t)| (n.to_owned(), p.map(str::to_owned), t)));
    }
}
