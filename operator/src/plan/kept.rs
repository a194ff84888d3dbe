//! Links that are paused: as they stand in the configuration now, whatever their manifests say.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::Secret;
use tombolo_broker_api::{Config, Link};

use super::config::CONFIG_FILE;
use crate::observed::secret_value;

/// Paused links, and those of them that are in the configuration, with their files.
#[derive(Clone, Default, PartialEq)]
pub struct KeptLinks {
    /// Names of all that are paused.
    pub(super) paused: BTreeSet<String>,
    /// As they are.
    pub(super) links: Vec<Link>,
    /// Content of their files by name.
    pub(super) files: BTreeMap<String, Vec<u8>>,
}

// === impl KeptLinks ===

impl KeptLinks {
    /// Those of `paused` that the Secret of the configuration has. What can't be read, or lacks a file, is not kept.
    pub fn read(paused: BTreeSet<String>, config: Option<&Secret>) -> Self {
        let mut kept = Self { paused, ..Self::default() };
        let text = config.and_then(|secret| secret_value(secret, CONFIG_FILE));
        let Some(parsed) = text.and_then(|text| serde_saphyr::from_slice::<Config>(text).ok()) else { return kept };
        for link in parsed.links.into_iter().filter(|link| kept.paused.contains(&link.name)) {
            let content = |name: &String| Some((name.clone(), secret_value(config?, name)?.to_owned()));
            let files: Option<Vec<_>> = file_names(&link).iter().map(content).collect();
            if let Some(files) = files {
                kept.files.extend(files);
                kept.links.push(link);
            }
        }
        kept
    }

    /// Puts them in the place of what their manifests ask for. One whose remote another link names now gives way: no two
    /// links may name one remote.
    pub(super) fn replace(&self, links: &mut Vec<Link>, files: &mut BTreeMap<String, Vec<u8>>) {
        for link in links.extract_if(.., |link| self.paused.contains(&link.name)) {
            file_names(&link).iter().for_each(|name| _ = files.remove(name));
        }
        for link in &self.links {
            if links.iter().any(|other| other.remote_cluster == link.remote_cluster) {
                continue;
            }
            for name in file_names(link) {
                if let Some(content) = self.files.get(&name) {
                    files.insert(name, content.clone());
                }
            }
            links.push(link.clone());
        }
        links.sort_by(|one, other| one.name.cmp(&other.name));
    }
}

impl fmt::Debug for KeptLinks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptLinks").field("paused", &self.paused).field("links", &self.links).finish_non_exhaustive()
    }
}

/// Every file that a link names.
fn file_names(link: &Link) -> Vec<String> {
    let dial = link.dial.iter().flat_map(|dial| {
        let tls = dial.tls.iter().flat_map(|tls| [&tls.ca_file, &tls.certificate_file, &tls.key_file]);
        [&dial.username_file, &dial.password_file].into_iter().chain(tls)
    });
    let paths: Vec<&PathBuf> = dial.flatten().chain(link.accept.password_files.values()).collect();
    let mut names: Vec<_> = paths.into_iter().map(|path| path.display().to_string()).collect();
    names.sort();
    names.dedup();
    names
}
