//! The file that says what a `tombolo up` runs, for `tombolo status` and for scripts.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::data_dir::{self, RUN_FILE, write_private};
use crate::view::View;

/// What runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunFile {
    /// The process.
    pub pid: u32,
    /// Its data folder.
    pub data_dir: PathBuf,
    /// Its nodes.
    pub nodes: Vec<RunningNode>,
}

/// A node, and where it can be reached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunningNode {
    /// Namespace of its cluster.
    pub namespace: String,
    /// Its cluster.
    pub cluster: String,
    /// Its name.
    pub node: String,
    /// Process that it runs in.
    pub pid: u32,
    /// Address of its admin listener.
    pub admin: String,
    /// Its listeners.
    pub listeners: Vec<RunningListener>,
}

/// A listener and its address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunningListener {
    /// Its name.
    pub name: String,
    /// The address it is bound to.
    pub address: String,
}

/// The content of the file.
///
/// # Errors
/// None that is known; JSON of plain data can always be written.
pub fn render(data_dir: &Path, views: &[View]) -> Result<Vec<u8>> {
    let node = |view: &View| RunningNode {
        namespace: view.namespace.clone(),
        cluster: view.cluster.clone(),
        node: view.node.clone(),
        pid: view.pid,
        admin: view.admin.clone(),
        listeners: view
            .status
            .iter()
            .flat_map(|status| &status.listeners)
            .map(|listener| RunningListener { name: listener.name.clone(), address: listener.address.clone() })
            .collect(),
    };
    let file =
        RunFile { pid: std::process::id(), data_dir: data_dir.to_owned(), nodes: views.iter().map(node).collect() };
    let mut content = serde_json::to_vec_pretty(&file).context("what runs cannot be written as JSON")?;
    content.push(b'\n');
    Ok(content)
}

/// Writes it.
///
/// # Errors
/// It cannot be written.
pub fn write(data_dir: &Path, content: &[u8]) -> Result<()> {
    write_private(&data_dir.join(RUN_FILE), content)
}

/// Removes it; that it is gone already is fine.
pub fn remove(data_dir: &Path) {
    // What stays behind is recognised by the lock, which is free then.
    let _ = fs::remove_file(data_dir.join(RUN_FILE));
}

/// Nothing runs with that data folder, but perhaps with others.
fn nothing_runs(data_dir: &Path, others: &[PathBuf]) -> String {
    let nothing = format!("nothing runs with the data folder {}", data_dir.display());
    match others {
        [] => format!("{nothing}; start it with `tombolo up -f FILE`, or name its folder with --data-dir"),
        [first, ..] => {
            let first = first.display();
            let others: Vec<_> = others.iter().map(|path| path.display().to_string()).collect();
            format!("{nothing}, but with {}; name one: --data-dir {first}", others.join(", "))
        }
    }
}

/// Reads what runs with that data folder.
///
/// # Errors
/// Nothing runs with it, or the file cannot be read.
pub fn read(data_dir: &Path) -> Result<RunFile> {
    let path = data_dir.join(RUN_FILE);
    if !data_dir::in_use(data_dir) || !path.exists() {
        bail!(nothing_runs(data_dir, &data_dir::all_in_use()));
    }
    let content = fs::read(&path).with_context(|| format!("{}: cannot be read", path.display()))?;
    serde_json::from_slice(&content).with_context(|| format!("{}: is not what `tombolo up` writes", path.display()))
}
