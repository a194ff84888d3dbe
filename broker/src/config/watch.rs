//! Watches the configuration folder: looks at its files once a second, and loads them when they changed and came to rest.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::load::load_traced;
use super::{Loaded, Problems};

/// How often files are looked at when `watch` is not told otherwise.
pub const EVERY: Duration = Duration::from_secs(1);

/// The configuration that is wanted, and why a newer one is not.
#[derive(Debug)]
pub struct Watch<T> {
    /// The newest one that passed all checks.
    pub current: watch::Receiver<Arc<T>>,
    /// What is wrong with a newer one; `None` when the newest is the current one.
    pub refused: watch::Receiver<Option<Arc<Problems>>>,
}

/// A file that the configuration names, as it was when it was opened; `None` when it could not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub path: PathBuf,
    pub signature: Option<Signature>,
}

/// What tells a file from what it was. A mounted Secret is replaced by another symbolic link, so it has another inode;
/// a file written in place has another change time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Signature {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl<T> Clone for Watch<T> {
    fn clone(&self) -> Self {
        Self { current: self.current.clone(), refused: self.refused.clone() }
    }
}

/// Loads the configuration and prepares it; then goes on to do so after each change, for as long as somebody holds the
/// [`Watch`]. The future must be spawned for that. `prepare` does the checks that need more than the files, such as
/// building TLS configurations; what it refuses is kept out like what can't be read. `told` hears of each later
/// change whether it was taken.
pub fn watch<T, P, N>(
    file: PathBuf,
    every: Duration,
    prepare: P,
    told: N,
) -> Result<(Watch<T>, impl Future<Output = ()> + Send), Problems>
where
    T: Send + Sync + 'static,
    P: Fn(Loaded) -> Result<T, Problems> + Send + Sync + 'static,
    N: Fn(Result<(), &Problems>) + Send + Sync + 'static,
{
    let (files, result) = load_traced(&file);
    let loaded = result?;
    let first = Arc::new(prepare(loaded.clone())?);
    let (current, current_out) = watch::channel(first);
    let (refused, refused_out) = watch::channel(None);
    let watcher = Watcher { file, every, prepare: Arc::new(prepare), told, files, loaded, current, refused };
    Ok((Watch { current: current_out, refused: refused_out }, watcher.run()))
}

struct Watcher<T, P, N> {
    file: PathBuf,
    every: Duration,
    prepare: Arc<P>,
    told: N,
    /// What the last load read or looked for.
    files: Vec<Seen>,
    /// What was last taken.
    loaded: Loaded,
    current: watch::Sender<Arc<T>>,
    refused: watch::Sender<Option<Arc<Problems>>>,
}

impl<T, P, N> Watcher<T, P, N>
where
    T: Send + Sync + 'static,
    P: Fn(Loaded) -> Result<T, Problems> + Send + Sync + 'static,
    N: Fn(Result<(), &Problems>) + Send + Sync + 'static,
{
    async fn run(mut self) {
        loop {
            let current = self.current.clone();
            tokio::select! {
                () = current.closed() => return,
                () = tokio::time::sleep(self.every) => {}
            }
            let Some(now) = look_again(&self.files).await else { return };
            if now != self.files && self.came_to_rest(&now).await {
                self.reload().await;
            }
        }
    }

    /// Whether the files stayed as they are for a tenth of the interval: who writes several is given time to finish.
    async fn came_to_rest(&self, before: &[Seen]) -> bool {
        tokio::time::sleep(self.every / 10).await;
        look_again(&self.files).await.is_some_and(|now| now == before)
    }

    async fn reload(&mut self) {
        let (file, prepare, last) = (self.file.clone(), Arc::clone(&self.prepare), self.loaded.clone());
        let loading = blocking(move || {
            let (files, result) = load_traced(&file);
            let result = result.and_then(|loaded| {
                // Touched, or written again with the same content.
                if loaded == last { Ok(None) } else { Ok(Some((prepare(loaded.clone())?, loaded))) }
            });
            (files, result)
        });
        let Some((files, result)) = loading.await else { return };
        self.files = files;
        match result {
            Ok(Some((prepared, loaded))) => {
                self.loaded = loaded;
                self.heal();
                self.current.send_replace(Arc::new(prepared));
                (self.told)(Ok(()));
            }
            Ok(None) => self.heal(),
            Err(problems) => {
                (self.told)(Err(&problems));
                self.refused.send_replace(Some(Arc::new(problems)));
            }
        }
    }

    fn heal(&self) {
        self.refused.send_if_modified(|problems| problems.take().is_some());
    }
}

async fn look_again(files: &[Seen]) -> Option<Vec<Seen>> {
    let files = files.to_vec();
    blocking(move || files.into_iter().map(Seen::again).collect()).await
}

/// Runs `work` where it may wait for a disk; `None` when the runtime is shutting down.
async fn blocking<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> Option<R> {
    tokio::task::spawn_blocking(work).await.ok()
}

// === impl Seen ===

impl Seen {
    fn again(self) -> Self {
        let signature = std::fs::metadata(&self.path).ok().as_ref().map(Signature::of);
        Self { path: self.path, signature }
    }
}

// === impl Signature ===

impl Signature {
    pub fn of(file: &Metadata) -> Self {
        Self { device: file.dev(), inode: file.ino(), size: file.size(), changed: (file.ctime(), file.ctime_nsec()) }
    }
}
