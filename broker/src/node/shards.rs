//! The threads of a node: one runtime and one shard on each.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::shard::{Control, Ready, Shard, Shared, Tuning, serve};
use crate::store::Memory;

/// Turns between two looks at the sockets while a shard wakes itself: more would let it starve them, fewer cost a system
/// call for each message of a quiet broker.
const EVENT_INTERVAL: u32 = 2;

/// Longest time that a shard which ends waits for the last word to its connections to be read.
const FAREWELLS_MAX: Duration = Duration::from_millis(1_500);

/// The running shards.
pub struct Shards {
    /// Their runtimes.
    pub handles: Vec<Handle>,
    threads: Vec<JoinHandle<()>>,
}

/// A shard's place: what wakes it, before it exists.
pub fn wakers(count: usize) -> Vec<Arc<Ready>> {
    (0..count).map(|_| Arc::default()).collect()
}

// === impl Shards ===

impl Shards {
    /// Starts a thread for each of `ready`. `ended` is told if one ends, which it does only when told to, or by a bug.
    ///
    /// # Errors
    /// If the system has no thread or no event queue for us.
    pub fn start(
        shared: &Arc<Shared>,
        ready: &[Arc<Ready>],
        tuning: &Arc<Tuning>,
        ended: &tokio::sync::watch::Sender<bool>,
    ) -> std::io::Result<Self> {
        let mut shards = Self { handles: Vec::new(), threads: Vec::new() };
        for (number, ready) in ready.iter().enumerate() {
            let runtime = Builder::new_current_thread().enable_all().event_interval(EVENT_INTERVAL).build()?;
            shards.handles.push(runtime.handle().clone());
            let store = Box::new(Memory);
            let (farewells, mut farewells_over) = mpsc::channel(1);
            let shard =
                Shard::new(number as u8, Arc::clone(shared), Arc::clone(ready), Arc::clone(tuning), store, farewells);
            let ended = ended.clone();
            let thread = std::thread::Builder::new().name(format!("shard-{number}")).spawn(move || {
                // Told also when the shard panics, so that nobody waits for a node that is half dead.
                let _told = TellAtEnd(ended);
                let (done, finished) = oneshot::channel();
                // Spawned, not blocked on: a spawned task is woken without going through the system.
                runtime.spawn(tokio::task::unconstrained(async move {
                    serve(shard).await;
                    let _ = done.send(());
                }));
                runtime.block_on(async {
                    let _ = finished.await;
                    let _ = timeout(FAREWELLS_MAX, farewells_over.recv()).await;
                });
                runtime.shutdown_timeout(Duration::from_millis(200));
            })?;
            shards.threads.push(thread);
        }
        Ok(shards)
    }

    /// Tells all shards to stop and waits for their threads. Blocks.
    pub fn stop(self, shared: &Shared) {
        for inbox in &shared.inboxes {
            inbox.send(Control::Stop);
        }
        for thread in self.threads {
            // A shard that panicked has said so already.
            let _ = thread.join();
        }
    }
}

struct TellAtEnd(tokio::sync::watch::Sender<bool>);

impl Drop for TellAtEnd {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}
