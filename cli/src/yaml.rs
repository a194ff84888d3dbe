//! YAML with positions: documents as trees whose every field knows its line.
//!
//! `serde` loses positions, and a manifest's problems are found long after it was read (schema, CEL, the operator's
//! checks), so the tree is built here from the events of the parser that `serde-saphyr` brings along. Plain scalars
//! are read as `kubectl` reads them.

use std::collections::HashMap;

use serde_json::{Map, Number, Value};
use serde_saphyr::granit_parser::{Event, Options, Parser, ScalarStyle, Span};

/// Nodes in one file, aliases expanded; more is refused, as a few lines of aliases can stand for billions.
const NODES_MAX: usize = 200_000;

/// A value and the line where it begins, counted from 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Line of the value; in a mapping the line of its key.
    pub line: usize,
    /// What it holds.
    pub content: Content,
}

/// What a node holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// A text, number, boolean or null.
    Scalar(Value),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order of the file.
    Map(Vec<(String, Node)>),
}

/// Text that is not YAML, or YAML that is not the kind a manifest is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// Line, counted from 1.
    pub line: usize,
    /// What is wrong; what would be right.
    pub message: String,
}

/// The documents of a file, and everything that is wrong with its syntax; a broken document does not hide the next.
pub fn read(text: &str) -> (Vec<Node>, Vec<SyntaxError>) {
    let mut options = Options::default();
    options.set_emit_comments(false);
    let mut parser = Parser::new_from_str_with_options(text, options);
    let mut reader = Reader::default();
    loop {
        match parser.next_event() {
            None => break,
            Some(Ok((event, span))) => reader.take(event, span),
            Some(Err(error)) => {
                let message = format!("not YAML: {}", error.info());
                reader.errors.push(SyntaxError { line: error.marker().line(), message });
                reader.abandon();
                // Goes to the next document, if there is one.
                if !matches!(parser.proceed_next_document(), Ok(true)) {
                    break;
                }
            }
        }
        if reader.nodes > NODES_MAX {
            let message = format!("more than {NODES_MAX} values, aliases expanded; split the file");
            reader.errors.push(SyntaxError { line: 1, message });
            return (Vec::new(), reader.errors);
        }
    }
    (reader.documents, reader.errors)
}

// === impl Node ===

impl Node {
    /// The same as JSON, without the fields of mappings that are null: the API server drops those, too.
    pub fn value(&self) -> Value {
        match &self.content {
            Content::Scalar(value) => value.clone(),
            Content::List(items) => Value::Array(items.iter().map(Self::value).collect()),
            Content::Map(entries) => {
                let kept = entries.iter().filter(|(_, node)| node.content != Content::Scalar(Value::Null));
                Value::Object(kept.map(|(key, node)| (key.clone(), node.value())).collect::<Map<_, _>>())
            }
        }
    }

    /// The field of that name, if this is a mapping that has it.
    pub fn get(&self, name: &str) -> Option<&Self> {
        match &self.content {
            Content::Map(entries) => entries.iter().find(|(key, _)| key == name).map(|(_, node)| node),
            Content::Scalar(_) | Content::List(_) => None,
        }
    }

    /// The text, if this is one.
    pub fn as_str(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar(Value::String(text)) => Some(text),
            Content::Scalar(_) | Content::List(_) | Content::Map(_) => None,
        }
    }

    /// The line of a field such as `spec.listeners[0].port`; of the nearest part above it if the field is absent.
    pub fn line_of(&self, path: &str) -> usize {
        let mut node = self;
        let mut line = self.line;
        let mut rest = path;
        while !rest.is_empty() {
            let found = match &node.content {
                Content::Scalar(_) => None,
                Content::List(items) => split_index(rest).and_then(|(index, rest)| Some((items.get(index)?, rest))),
                Content::Map(entries) => longest_key(entries, rest),
            };
            let Some((next, tail)) = found else { break };
            (node, line, rest) = (next, next.line, tail);
        }
        line
    }

    fn count(&self) -> usize {
        1 + match &self.content {
            Content::Scalar(_) => 0,
            Content::List(items) => items.iter().map(Self::count).sum(),
            Content::Map(entries) => entries.iter().map(|(_, node)| node.count()).sum(),
        }
    }
}

/// `[3].port` is item 3 and `port`.
fn split_index(path: &str) -> Option<(usize, &str)> {
    let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
    Some((index.parse().ok()?, rest.strip_prefix('.').unwrap_or(rest)))
}

/// The entry whose key the path begins with: the longest, since keys of a Secret have dots (`tls.crt`).
fn longest_key<'n, 'p>(entries: &'n [(String, Node)], path: &'p str) -> Option<(&'n Node, &'p str)> {
    let bracketed = path.strip_prefix('[').and_then(|inner| inner.split_once(']'));
    if let Some((key, rest)) = bracketed {
        let (_, node) = entries.iter().find(|(name, _)| name == key.trim_matches('"'))?;
        return Some((node, rest.strip_prefix('.').unwrap_or(rest)));
    }
    let candidates = entries.iter().filter_map(|(key, node)| {
        let rest = path.strip_prefix(key.as_str())?;
        match rest.as_bytes().first() {
            None | Some(b'[') => Some((key.len(), node, rest)),
            Some(b'.') => Some((key.len(), node, &rest[1..])),
            Some(_) => None,
        }
    });
    candidates.max_by_key(|(length, _, _)| *length).map(|(_, node, rest)| (node, rest))
}

// === the reader ===

/// Builds trees from parser events.
#[derive(Default)]
struct Reader {
    documents: Vec<Node>,
    errors: Vec<SyntaxError>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

/// A list or mapping whose end has not been seen.
struct Open {
    line: usize,
    anchor: usize,
    content: Content,
    /// The key that waits for its value, in a mapping.
    key: Option<(String, usize)>,
}

impl Reader {
    fn take(&mut self, event: Event<'_>, span: Span) {
        let line = span.start.line();
        match event {
            Event::DocumentStart(..) => self.abandon(),
            Event::Scalar(text, style, anchor, tag) => {
                let tag = tag.as_ref().map(|tag| tag.core_suffix().unwrap_or("?").to_owned());
                let value = match (style, tag.as_deref()) {
                    (ScalarStyle::Plain, None) | (_, Some("int" | "float" | "bool" | "null")) => resolve(&text),
                    (_, None | Some("str")) => Value::String(text.into_owned()),
                    (_, Some(_)) => {
                        self.error(line, "a tag that manifests don't have; remove it");
                        Value::Null
                    }
                };
                self.put(Node { line, content: Content::Scalar(value) }, anchor);
            }
            Event::SequenceStart(_, anchor, _) => {
                self.open.push(Open { line, anchor, content: Content::List(Vec::new()), key: None });
            }
            Event::MappingStart(_, anchor, _) => {
                self.open.push(Open { line, anchor, content: Content::Map(Vec::new()), key: None });
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(Open { line, anchor, content, .. }) = self.open.pop() {
                    self.put(Node { line, content }, anchor);
                }
            }
            Event::Alias(anchor) => match self.anchors.get(&anchor) {
                Some(node) if self.nodes + node.count() <= NODES_MAX => {
                    let copy = Node { line, content: node.content.clone() };
                    self.nodes += copy.count();
                    self.put(copy, 0);
                }
                Some(_) => self.nodes = NODES_MAX + 1,
                None => self.error(line, "an alias inside the value it stands for"),
            },
            // The parser's enum may grow; what is left today are the ends of stream and document.
            _ => {}
        }
    }

    /// Puts a finished value where it belongs: under the key that waits, into the list, or as a document.
    fn put(&mut self, mut node: Node, anchor: usize) {
        self.nodes += 1;
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            // A document of comments alone is one null.
            if node.content != Content::Scalar(Value::Null) {
                self.documents.push(node);
            }
            return;
        };
        let mut problem = None;
        match (&mut open.content, open.key.take()) {
            (Content::List(items), _) => items.push(node),
            (Content::Map(entries), Some((key, line))) => {
                let at = node.line;
                node.line = line;
                if let Some((_, first)) = entries.iter().find(|(name, _)| *name == key) {
                    let message = format!("`{key}` is given twice, first on line {}; remove one", first.line);
                    problem = Some((line, message));
                } else if key == "<<" {
                    problem = Some((at, "merge keys (`<<`) are not read; write the fields out".to_owned()));
                } else {
                    entries.push((key, node));
                }
            }
            (Content::Map(_), None) => match node.content {
                Content::Scalar(Value::String(key)) => open.key = Some((key, node.line)),
                Content::Scalar(other) => open.key = Some((other.to_string(), node.line)),
                Content::List(_) | Content::Map(_) => {
                    problem = Some((node.line, "a list or mapping as a key; manifests have names only".to_owned()));
                    open.key = Some((String::new(), node.line));
                }
            },
            (Content::Scalar(_), _) => unreachable!("only lists and mappings are open"),
        }
        if let Some((line, message)) = problem {
            self.error(line, message);
        }
    }

    fn error(&mut self, line: usize, message: impl Into<String>) {
        self.errors.push(SyntaxError { line, message: message.into() });
    }

    fn abandon(&mut self) {
        self.open.clear();
        self.anchors.clear();
    }
}

/// What a plain scalar means to `kubectl`, which keeps YAML 1.1's words for booleans and its prefixes of numbers.
fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => return Value::Bool(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => return Value::Bool(false),
        _ => {}
    }
    let plain = text.replace('_', "");
    let starts_like_number = plain.trim_start_matches(['-', '+']).starts_with(|c: char| c.is_ascii_digit() || c == '.');
    if !starts_like_number || text.starts_with('_') {
        return Value::String(text.to_owned());
    }
    let number = integer(&plain).or_else(|| plain.parse::<f64>().ok().and_then(Number::from_f64));
    number.map_or_else(|| Value::String(text.to_owned()), Value::Number)
}

fn integer(text: &str) -> Option<Number> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (digits, radix) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&digits[2..], 16),
        [b'0', b'o' | b'O', ..] => (&digits[2..], 8),
        [b'0', b'b' | b'B', ..] => (&digits[2..], 2),
        [b'0', _, ..] => (&digits[1..], 8),
        _ => (digits, 10),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    if negative { i64::try_from(magnitude).ok().map(|n| Number::from(-n)) } else { Some(Number::from(magnitude)) }
}

#[cfg(test)]
#[path = "yaml_tests.rs"]
mod tests;
