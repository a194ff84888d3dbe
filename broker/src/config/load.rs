//! Reads `broker.yaml` and every file that it names, with a bound for each, into one value.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use tombolo_broker_api::{Config, Dial, Link};

use super::watch::{Seen, Signature};
use super::{Credential, Problem, Problems, Secret, Server, validate};

/// A configuration and the content of all files it names; it passed every check that needs no other module.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// What `broker.yaml` says, `data_dir` made independent of the working directory.
    pub config: Config,
    /// Everybody with a password: the users file, and the users of links.
    pub users: BTreeMap<String, Credential>,
    /// Certificates by listener, for those that speak TLS.
    pub listeners: BTreeMap<String, TlsFiles>,
    /// What is needed to dial, by link, for those that dial.
    pub links: BTreeMap<String, DialFiles>,
    /// Certificate, key and authority among the nodes of the cluster, if there are others.
    pub cluster: Option<TlsFiles>,
}

/// Content of PEM files, and where they were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Our certificate chain.
    pub certificate: Option<(PathBuf, Vec<u8>)>,
    /// Its private key.
    pub key: Option<(PathBuf, Secret)>,
    /// Authorities of the other side.
    pub ca: Option<(PathBuf, Vec<u8>)>,
}

/// What is needed to dial a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialFiles {
    /// Where, in the order to try.
    pub servers: Vec<Server>,
    /// User name.
    pub username: Option<String>,
    /// Password.
    pub password: Option<Secret>,
    /// PEM files of TLS.
    pub tls: TlsFiles,
}

// === impl Loaded ===

impl Loaded {
    /// All certificates, keys and authorities that it names.
    pub fn tls_files(&self) -> impl Iterator<Item = &TlsFiles> {
        self.listeners.values().chain(self.links.values().map(|link| &link.tls)).chain(&self.cluster)
    }
}

const CONFIG_BYTES_MAX: u64 = 4 << 20;
const USERS_BYTES_MAX: u64 = 64 << 20;
const PEM_BYTES_MAX: u64 = 1 << 20;
const CREDENTIAL_BYTES_MAX: u64 = 64 << 10;

/// Reads and checks the configuration, and says everything that is wrong with it at once.
pub fn load(file: &Path) -> Result<Loaded, Problems> {
    load_traced(file).1
}

/// As [`load`]; also every file that was read or looked for, as it was when it was opened.
pub(super) fn load_traced(file: &Path) -> (Vec<Seen>, Result<Loaded, Problems>) {
    let folder = file.parent().unwrap_or(Path::new("")).to_owned();
    let mut reader = Reader { file, folder, files: Vec::new(), problems: Vec::new() };
    let loaded = reader.config().map(|config| reader.complete(config));
    let Reader { files, mut problems, .. } = reader;
    if let Some(loaded) = &loaded {
        problems.extend(validate::problems(file, loaded));
    }
    match loaded {
        Some(loaded) if problems.is_empty() => (files, Ok(loaded)),
        _ => (files, Err(Problems(problems))),
    }
}

/// Reads files one after the other and gathers what is wrong.
struct Reader<'a> {
    file: &'a Path,
    folder: PathBuf,
    files: Vec<Seen>,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn config(&mut self) -> Option<Config> {
        let bytes = self.read("", self.file.to_owned(), CONFIG_BYTES_MAX)?;
        let config: Result<Config, _> = parse_yaml(&bytes);
        config.map_err(|(position, message)| self.report(self.file.to_owned(), position, "", message)).ok()
    }

    fn complete(&mut self, mut config: Config) -> Loaded {
        config.data_dir = self.folder.join(&config.data_dir);
        // These are read anew for each connection, wherever the process stands then.
        if let Some(secure) = &mut config.admin.secure {
            for file in [&mut secure.certificate_file, &mut secure.key_file, &mut secure.token_file] {
                *file = self.folder.join(&*file);
            }
        }
        let users = self.users(&config);
        let mut listeners = BTreeMap::new();
        for (place, listener) in config.listeners.iter().enumerate() {
            if let Some(tls) = &listener.tls {
                let at = format!("listeners[{place}].tls");
                let files = TlsFiles {
                    certificate: self.pem(&format!("{at}.certificateFile"), Some(&tls.certificate_file)),
                    key: self.key(&format!("{at}.keyFile"), Some(&tls.key_file)),
                    ca: self.pem(&format!("{at}.clientCaFile"), tls.client_ca_file.as_deref()),
                };
                listeners.insert(listener.name.clone(), files);
            }
        }
        let mut links = BTreeMap::new();
        for (place, link) in config.links.iter().enumerate() {
            if let Some(dial) = &link.dial {
                links.insert(link.name.clone(), self.dial(&format!("links[{place}].dial"), dial));
            }
        }
        let cluster = config.cluster.as_ref().map(|cluster| TlsFiles {
            certificate: self.pem("cluster.certificateFile", Some(&cluster.certificate_file)),
            key: self.key("cluster.keyFile", Some(&cluster.key_file)),
            ca: self.pem("cluster.caFile", Some(&cluster.ca_file)),
        });
        Loaded { users, listeners, links, cluster, config }
    }

    fn users(&mut self, config: &Config) -> BTreeMap<String, Credential> {
        let mut users = BTreeMap::new();
        if let Some(path) = &config.authentication.users_file {
            let field = "authentication.usersFile";
            let path = self.folder.join(path);
            if let Some(bytes) = self.read(field, path.clone(), USERS_BYTES_MAX) {
                self.users_of_file(&path, &bytes, &mut users);
            }
        }
        for (place, link) in config.links.iter().enumerate() {
            self.users_of_link(place, link, &mut users);
        }
        users
    }

    fn users_of_file(&mut self, path: &Path, bytes: &[u8], users: &mut BTreeMap<String, Credential>) {
        // A Secret without keys is an empty file.
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        let texts: BTreeMap<String, String> = match parse_yaml(bytes) {
            Ok(texts) => texts,
            Err((position, _)) => {
                // The parser's own words could repeat a password.
                let message =
                    "it must be a YAML map of user names to passwords, each name once, each password a string";
                return self.report(path.to_owned(), position, "", message.to_owned());
            }
        };
        for (name, text) in texts {
            match text.parse() {
                Ok(credential) => drop(users.insert(name, credential)),
                Err(error) => self.report(path.to_owned(), None, &name, error.to_string()),
            }
        }
    }

    fn users_of_link(&mut self, place: usize, link: &Link, users: &mut BTreeMap<String, Credential>) {
        for (name, path) in &link.accept.password_files {
            let field = format!("links[{place}].accept.passwordFiles.{name}");
            let path = self.folder.join(path);
            let Some(bytes) = self.read(&field, path.clone(), CREDENTIAL_BYTES_MAX) else { continue };
            match Credential::parse(without_newline(&bytes)) {
                Ok(credential) => match users.get(name) {
                    Some(other) if *other != credential => {
                        let message = format!(
                            "user `{name}` has another password elsewhere; give the link a user of its own, or both the same password"
                        );
                        self.report(self.file.to_owned(), None, &field, message);
                    }
                    Some(_) => {}
                    None => drop(users.insert(name.clone(), credential)),
                },
                Err(error) => self.report(path, None, &field, error.to_string()),
            }
        }
    }

    fn dial(&mut self, at: &str, dial: &Dial) -> DialFiles {
        let mut servers = Vec::new();
        for (place, text) in dial.servers.iter().enumerate() {
            match text.parse() {
                Ok(server) => servers.push(server),
                Err(error) => {
                    self.report(self.file.to_owned(), None, &format!("{at}.servers[{place}]"), format!("{error}"));
                }
            }
        }
        let tls = dial.tls.clone().unwrap_or_default();
        let username = self.credential(&format!("{at}.usernameFile"), dial.username_file.as_deref());
        DialFiles {
            servers,
            username: username.and_then(|bytes| match String::from_utf8(bytes) {
                Ok(name) => Some(name),
                Err(_) => {
                    self.report(
                        self.file.to_owned(),
                        None,
                        &format!("{at}.usernameFile"),
                        "the user name isn't UTF-8".into(),
                    );
                    None
                }
            }),
            password: self.credential(&format!("{at}.passwordFile"), dial.password_file.as_deref()).map(Secret::new),
            tls: TlsFiles {
                certificate: self.pem(&format!("{at}.tls.certificateFile"), tls.certificate_file.as_deref()),
                key: self.key(&format!("{at}.tls.keyFile"), tls.key_file.as_deref()),
                ca: self.pem(&format!("{at}.tls.caFile"), tls.ca_file.as_deref()),
            },
        }
    }

    fn credential(&mut self, field: &str, path: Option<&Path>) -> Option<Vec<u8>> {
        let path = self.folder.join(path?);
        let bytes = self.read(field, path, CREDENTIAL_BYTES_MAX)?;
        Some(without_newline(&bytes).to_owned())
    }

    fn pem(&mut self, field: &str, path: Option<&Path>) -> Option<(PathBuf, Vec<u8>)> {
        let path = self.folder.join(path?);
        let bytes = self.read(field, path.clone(), PEM_BYTES_MAX)?;
        Some((path, bytes))
    }

    fn key(&mut self, field: &str, path: Option<&Path>) -> Option<(PathBuf, Secret)> {
        self.pem(field, path).map(|(path, bytes)| (path, Secret::new(bytes)))
    }

    fn read(&mut self, field: &str, path: PathBuf, bytes_max: u64) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let opened = File::open(&path);
        let metadata = opened.as_ref().ok().and_then(|file| file.metadata().ok());
        self.files.push(Seen { path: path.clone(), signature: metadata.as_ref().map(Signature::of) });
        let read = opened.and_then(|file| file.take(bytes_max + 1).read_to_end(&mut bytes));
        let message = match read {
            Ok(_) if bytes.len() as u64 <= bytes_max => return Some(bytes),
            Ok(_) => format!("it has more than {bytes_max} bytes; name another file"),
            Err(error) => format!("it can't be read: {error}; make the file, or name another one"),
        };
        self.report(path, None, field, message);
        None
    }

    fn report(&mut self, file: PathBuf, position: Option<(u64, u64)>, field: &str, message: String) {
        self.problems.push(Problem { file, position, field: field.to_owned(), message });
    }
}

/// A problem's position and message in place of the parser's error, which would draw a picture of the lines around.
fn parse_yaml<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, (Option<(u64, u64)>, String)> {
    let mut options = serde_saphyr::Options::default();
    options.with_snippet = false;
    if let Some(budget) = &mut options.budget {
        // The size of the file bounds these; the defaults are less than a large users file has.
        budget.max_nodes = usize::MAX;
        budget.max_events = usize::MAX;
    }
    serde_saphyr::from_slice_with_options(bytes, options).map_err(|error| {
        let position = error.location().map(|location| (location.line(), location.column()));
        let formatter = serde_saphyr::UserMessageFormatter;
        (position, error.without_snippet().render_with_formatter(&formatter))
    })
}

/// Editors and `echo` end a file with a newline, which is not part of a password.
fn without_newline(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}
