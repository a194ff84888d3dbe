//! `tombolo render`: prints what the operator would apply for manifests.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;
use tombolo_operator::plan::{Child, Instance, children};

use crate::check;
use crate::problem::count;
use crate::source;
use crate::up::WRONG_MANIFEST;

/// What stands for the id of a cluster that no API server knows yet; there it is the uid of the object.
const NO_UID: &str = "UID-OF-THE-BROKERCLUSTER";

/// Flags of `tombolo render`.
#[derive(Args, Clone, Debug)]
pub struct Flags {
    /// Manifest file, or folder of them; may be given several times.
    #[arg(short, long, value_name = "FILE|DIR", required = true, num_args = 1..)]
    pub file: Vec<PathBuf>,
}

/// Prints the objects as YAML documents; exit code 2 when the manifests have a mistake.
///
/// # Errors
/// Files that cannot be read.
pub fn run(flags: &Flags) -> Result<ExitCode> {
    let sources = source::read(&flags.file)?;
    let desired = match check::check(&sources, &[]) {
        Ok(desired) => desired,
        Err(problems) => {
            problems.iter().for_each(|problem| eprintln!("{problem}"));
            eprintln!("{}; nothing is rendered", count(problems.len(), "problem"));
            return Ok(ExitCode::from(WRONG_MANIFEST));
        }
    };
    for cluster in &desired.clusters {
        for child in children(cluster, &Instance::steady(cluster, NO_UID)) {
            let yaml =
                serde_saphyr::to_string(&ForPeople(readable(&child))).context("an object cannot be written as YAML")?;
            // A reader that went away needs no more.
            if write!(std::io::stdout(), "---\n{yaml}").is_err() {
                return Ok(ExitCode::SUCCESS);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// An object; texts in Secrets as texts, which the API server takes as well.
fn readable(child: &Child) -> Value {
    let mut json = child.to_json();
    if let (Child::Secret(secret), Some(fields)) = (child, json.as_object_mut()) {
        let values = secret.data.iter().flatten();
        let texts: Option<serde_json::Map<_, _>> =
            values.map(|(key, bytes)| Some((key.clone(), std::str::from_utf8(&bytes.0).ok()?.into()))).collect();
        if let Some(texts) = texts.filter(|texts| !texts.is_empty()) {
            fields.remove("data");
            fields.insert("stringData".to_owned(), Value::Object(texts));
        }
    }
    json
}

/// Writes an object in the order in which people do.
struct ForPeople(Value);

impl Serialize for ForPeople {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const FIRST: [&str; 4] = ["apiVersion", "kind", "metadata", "type"];
        let Value::Object(fields) = &self.0 else { return self.0.serialize(serializer) };
        let mut map = serializer.serialize_map(Some(fields.len()))?;
        for (key, value) in FIRST.iter().filter_map(|key| fields.get_key_value(*key)) {
            map.serialize_entry(key, value)?;
        }
        for (key, value) in fields.iter().filter(|(key, _)| !FIRST.contains(&key.as_str())) {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}
