//! The admin server of a node: health, readiness, metrics and status over HTTP on a port of its own, and over TLS on
//! another one for who has the token.

mod secure;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tombolo_broker_api::{Admin as AdminConfig, Status};

use crate::metrics;
use secure::{Guard, SecureListener};

/// Where the admin server gets what it serves.
pub trait Source: Send + Sync + 'static {
    /// The state of the node, now.
    fn status(&self) -> impl Future<Output = Status> + Send;

    /// Whether clients can be served.
    ///
    /// # Errors
    /// What is missing for that, as a sentence.
    fn readiness(&self) -> Result<(), String>;

    /// All metrics as text, see [`metrics::render`].
    fn metrics(&self) -> impl Future<Output = String> + Send;
}

/// A running admin server; it ends when this is dropped.
#[derive(Debug)]
pub struct Admin {
    plain: Server,
    secure: Option<Server>,
}

#[derive(Debug)]
struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

/// The admin server can't be started.
#[derive(Debug, thiserror::Error)]
#[error("admin.bind: can't listen at {bind}: {error}; choose another port, or end who holds this one")]
pub struct AdminError {
    /// The address that was wanted.
    pub bind: SocketAddr,
    /// What the operating system says.
    #[source]
    pub error: std::io::Error,
}

/// A source that does not answer in this time is reported as an error of the node.
const ANSWER_MAX: Duration = Duration::from_secs(5);

// === impl Admin ===

impl Admin {
    /// Listens, port 0 for a free one, and serves until it is stopped or dropped. With `secure`, the plain port serves no
    /// status.
    ///
    /// # Errors
    /// An address can't be had.
    pub async fn start<S: Source>(config: &AdminConfig, source: Arc<S>) -> Result<Self, AdminError> {
        Self::start_bounded(config, source, ANSWER_MAX).await
    }

    async fn start_bounded<S: Source>(
        config: &AdminConfig,
        source: Arc<S>,
        bound: Duration,
    ) -> Result<Self, AdminError> {
        let (listener, address) = listen(config.bind).await?;
        let secure = match &config.secure {
            None => None,
            Some(files) => Some((files.clone(), listen(files.bind).await?)),
        };
        let open = open_router(Arc::clone(&source), bound);
        let Some((files, (secure_listener, secure_address))) = secure else {
            let plain = Server::start(address, listener, whole_router(open, source, bound));
            return Ok(Self { plain, secure: None });
        };
        let elsewhere = async || (StatusCode::FORBIDDEN, "status is served over TLS, to who has the token\n");
        let plain = Server::start(address, listener, open.clone().route("/v1/status", get(elsewhere)));
        let guard = Guard::new(files.token_file.clone());
        let guarded = whole_router(open, source, bound).layer(from_fn_with_state(guard, secure::check));
        let secure = Server::start(secure_address, SecureListener::start(secure_listener, files), guarded);
        Ok(Self { plain, secure: Some(secure) })
    }

    /// The address it listens at.
    pub fn address(&self) -> SocketAddr {
        self.plain.address
    }

    /// The address that it serves TLS at, if it does.
    pub fn secure_address(&self) -> Option<SocketAddr> {
        self.secure.as_ref().map(|server| server.address)
    }

    /// Takes no more requests, and waits no longer than `deadline` for those under way.
    pub async fn stop(mut self, deadline: Duration) {
        let servers = [Some(&mut self.plain), self.secure.as_mut()];
        let mut tasks = Vec::new();
        for server in servers.into_iter().flatten() {
            drop(server.stop.take());
            tasks.push(&mut server.task);
        }
        // Past the deadline, dropping ends what is left.
        let _ = timeout(deadline, async {
            for task in tasks {
                let _ = task.await;
            }
        })
        .await;
    }
}

async fn listen(bind: SocketAddr) -> Result<(TcpListener, SocketAddr), AdminError> {
    let listening = async {
        let listener = TcpListener::bind(bind).await?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    listening.await.map_err(|error| AdminError { bind, error })
}

// === impl Server ===

impl Server {
    fn start<L>(address: SocketAddr, listener: L, router: Router) -> Self
    where
        L: axum::serve::Listener<Addr = SocketAddr>,
    {
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let serving = axum::serve(listener, router).with_graceful_shutdown(async move {
                // An error means that the sender was dropped, which ends the server too.
                let _ = stopped.await;
            });
            if let Err(error) = serving.await {
                tracing::error!(%error, "the admin server ended");
            }
        });
        Self { address, stop: Some(stop), task }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What everybody may see.
fn open_router<S: Source>(source: Arc<S>, bound: Duration) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readiness::<S>))
        .route("/metrics", get(async move |State(source): State<Arc<S>>| text_of_metrics(&*source, bound).await))
        .fallback(async || (StatusCode::NOT_FOUND, "there are /healthz, /readyz, /metrics and /v1/status\n"))
        .with_state(source)
}

fn whole_router<S: Source>(open: Router, source: Arc<S>, bound: Duration) -> Router {
    open.route("/v1/status", get(async move || status(&*source, bound).await))
}

async fn readiness<S: Source>(State(source): State<Arc<S>>) -> Response {
    match source.readiness() {
        Ok(()) => "ready\n".into_response(),
        Err(missing) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {missing}\n")).into_response(),
    }
}

async fn text_of_metrics<S: Source>(source: &S, bound: Duration) -> Response {
    match timeout(bound, source.metrics()).await {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(_) => no_answer(bound),
    }
}

async fn status<S: Source>(source: &S, bound: Duration) -> Response {
    match timeout(bound, source.status()).await {
        Ok(status) => Json(status).into_response(),
        Err(_) => no_answer(bound),
    }
}

fn no_answer(bound: Duration) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("the shards did not answer within {bound:?}\n")).into_response()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    #[derive(Default)]
    struct Fake {
        ready: AtomicBool,
        stuck: AtomicBool,
    }

    impl Fake {
        async fn answer(&self) {
            if self.stuck.load(Ordering::Relaxed) {
                std::future::pending().await
            }
        }
    }

    impl Source for Fake {
        async fn status(&self) -> Status {
            self.answer().await;
            Status { cluster_name: "here".into(), ..Status::default() }
        }

        fn readiness(&self) -> Result<(), String> {
            self.ready.load(Ordering::Relaxed).then_some(()).ok_or_else(|| "listener `mqtt` does not listen".into())
        }

        async fn metrics(&self) -> String {
            self.answer().await;
            "a 1\n".into()
        }
    }

    async fn request(address: SocketAddr, line: &str) -> String {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let text = format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(text.as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("it answers");
        answer
    }

    fn parts(answer: &str) -> (&str, &str, &str) {
        let (head, body) = answer.split_once("\r\n\r\n").expect("head and body");
        let (status, headers) = head.split_once("\r\n").expect("a status line");
        (status, headers, body)
    }

    fn at(bind: SocketAddr) -> AdminConfig {
        AdminConfig { bind, secure: None }
    }

    fn anywhere() -> AdminConfig {
        at("127.0.0.1:0".parse().expect("an address"))
    }

    async fn start() -> (Arc<Fake>, Admin) {
        let fake = Arc::new(Fake::default());
        (Arc::clone(&fake), Admin::start(&anywhere(), fake).await.expect("a free port"))
    }

    #[tokio::test]
    async fn every_path_answers_with_its_form() {
        let (fake, admin) = start().await;
        let address = admin.address();
        assert_eq!(parts(&request(address, "GET /healthz").await).2, "ok\n");
        let answer = request(address, "GET /readyz").await;
        assert!(parts(&answer).0.contains("503") && answer.ends_with("not ready: listener `mqtt` does not listen\n"));
        fake.ready.store(true, Ordering::Relaxed);
        assert!(parts(&request(address, "GET /readyz").await).0.contains("200"));
        let answer = request(address, "GET /metrics").await;
        assert!(parts(&answer).1.contains("text/plain; version=0.0.4") && parts(&answer).2 == "a 1\n", "{answer}");
        let answer = request(address, "GET /v1/status").await;
        let status: Status = serde_json::from_str(parts(&answer).2).expect("a status");
        assert_eq!(status.cluster_name, "here");
        for (line, code) in [("GET /", "404"), ("POST /v1/status", "405"), ("DELETE /readyz", "405")] {
            assert!(parts(&request(address, line).await).0.contains(code), "{line}");
        }
    }

    #[tokio::test]
    async fn a_node_that_does_not_answer_is_an_error_and_not_a_hanging_request() {
        let fake = Arc::new(Fake { stuck: AtomicBool::new(true), ..Fake::default() });
        let admin = Admin::start_bounded(&anywhere(), fake, Duration::from_millis(10)).await.expect("a free port");
        for line in ["GET /metrics", "GET /v1/status"] {
            let answer = request(admin.address(), line).await;
            assert!(answer.contains("503") && answer.contains("did not answer within 10ms"), "{answer}");
        }
    }

    #[tokio::test]
    async fn a_taken_port_is_said_and_a_stopped_server_frees_its_own() {
        let (fake, admin) = start().await;
        let address = admin.address();
        let error = Admin::start(&at(address), Arc::clone(&fake)).await.expect_err("the port is taken").to_string();
        assert!(error.contains("choose another port"), "{error}");
        admin.stop(Duration::from_secs(5)).await;
        let again = Admin::start(&at(address), fake).await.expect("the port is free");
        assert_eq!(again.address(), address);
    }
}
