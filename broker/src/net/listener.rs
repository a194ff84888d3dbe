//! A listener: accepts sockets, keeps to its limit, and lets each be greeted on one of the shards.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use crate::connection::{Door, Handshake, greet};
use crate::metrics::Refused;
use crate::shard::{ConnectionGuard, Shared};

/// Pause after the system had no socket for us, such as when file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// An open listener; dropping it closes it, and leaves its connections alone.
pub struct Listener {
    address: SocketAddr,
    state: Arc<State>,
    accepting: AbortHandle,
}

/// A listener can't be opened.
#[derive(Debug, thiserror::Error)]
#[error("listener `{name}`: can't listen at {bind}: {error}; choose another port, or end who holds this one")]
pub struct ListenError {
    name: String,
    bind: SocketAddr,
    #[source]
    error: std::io::Error,
}

struct State {
    shared: Arc<Shared>,
    connections: Arc<AtomicU64>,
    max_connections: AtomicU64,
    door: Mutex<Arc<Door>>,
    /// The runtimes of the shards.
    shards: Vec<Handle>,
    next: AtomicUsize,
}

// === impl Listener ===

impl Listener {
    /// Opens a listener whose connections are greeted on `shards` in turn.
    ///
    /// # Errors
    /// If the address can't be bound.
    pub async fn open(
        config: &tombolo_broker_api::Listener,
        shared: Arc<Shared>,
        shards: Vec<Handle>,
        door: Arc<Door>,
    ) -> Result<Self, ListenError> {
        let failed = |error| ListenError { name: config.name.clone(), bind: config.bind, error };
        // Bound as a plain socket, so that two brokers never share a port unnoticed.
        let socket = std::net::TcpListener::bind(config.bind).map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        let state = Arc::new(State {
            shared,
            connections: Arc::default(),
            max_connections: AtomicU64::new(u64::from(config.max_connections)),
            door: Mutex::new(door),
            shards,
            next: AtomicUsize::new(0),
        });
        let home = state.shards.len() - 1;
        let accepting = state.shards[home].spawn(accept(socket, home, Arc::clone(&state))).abort_handle();
        Ok(Self { address, state, accepting })
    }

    /// The address that it is bound to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections now, with those not yet greeted.
    pub fn connections(&self) -> u64 {
        self.state.connections.load(Ordering::Acquire)
    }

    /// New connections go by these from now on.
    pub fn update(&self, max_connections: u32, door: Arc<Door>) {
        self.state.max_connections.store(u64::from(max_connections), Ordering::Release);
        *self.state.door.lock().unwrap_or_else(PoisonError::into_inner) = door;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

// === impl State ===

impl State {
    fn door(&self) -> Arc<Door> {
        Arc::clone(&self.door.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn admit(self: &Arc<Self>, socket: TcpStream, peer: SocketAddr, home: usize) {
        let max = self.max_connections.load(Ordering::Acquire);
        let Some(guard) = ConnectionGuard::enter(&self.connections, max) else {
            self.shared.board.events.refuse(Refused::MaxConnections);
            return;
        };
        let shard = self.next.fetch_add(1, Ordering::Relaxed) % self.shards.len();
        let (shared, door) = (Arc::clone(&self.shared), self.door());
        if shard == home {
            tokio::spawn(greet(shared, door, Handshake { socket, peer, guard, shard }));
            return;
        }
        // Taken from this runtime's reactor, so that another one can have it.
        let Ok(socket) = socket.into_std() else { return };
        self.shards[shard].spawn(async move {
            if let Ok(socket) = TcpStream::from_std(socket) {
                greet(shared, door, Handshake { socket, peer, guard, shard }).await;
            }
        });
    }
}

async fn accept(socket: std::net::TcpListener, home: usize, state: Arc<State>) {
    let listener = match TcpListener::from_std(socket) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "A listener could not be registered."),
    };
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => {
                state.shared.board.events.accept();
                state.admit(socket, peer, home);
            }
            Err(error) => {
                state.shared.board.events.accept_error();
                tracing::warn!(%error, "No connection could be accepted.");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
