//! A way to the API server on which a test answers, delays, cuts or loses what it likes, or ends the operator.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use kube::Client;
use kube::client::Body;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::plane::client_without_retries;

type Broken = Box<dyn std::error::Error + Send + Sync>;
type Answered = Response<UnsyncBoxBody<Bytes, Broken>>;
/// Decides about each request.
pub type Rules = Box<dyn FnMut(&Asked) -> Option<Fault> + Send>;

/// A request that has come and was not forwarded yet.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its method.
    pub method: Method,
    /// Its path.
    pub path: String,
    /// It asks for a watch.
    pub watches: bool,
    /// The how manieth write it is, from 1; none: it only reads, or is about the Lease, which goes on by itself.
    pub write: Option<usize>,
}

/// What happens to it.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The API server is not asked; this is the code of the answer, with the seconds after which to try again.
    Answer(u16, Option<u64>),
    /// The API server is not asked, and the connection is reset.
    Reset,
    /// It is carried out, and the connection is reset instead of an answer.
    Lost,
    /// It is carried out, and answered so much later.
    Slow(Duration),
    /// It is carried out, and answered when somebody lets it.
    Held(Arc<Notify>),
    /// The answer ends after so many bytes, most often within a line.
    Cut(usize),
    /// A watch tells that its version is too old.
    Expired,
    /// The operator is killed, before the request is forwarded or after it was carried out.
    Kill(When),
}

/// When the operator is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Before the API server knows of the request.
    Before,
    /// When the API server has done it, and before the operator knows.
    After,
}

/// What became of a write.
#[derive(Clone, Debug)]
pub struct Written {
    /// Its method.
    pub method: Method,
    /// Its path.
    pub path: String,
    /// The API server's answer; none: it was not asked.
    pub code: Option<u16>,
}

/// The proxy. It ends when it is dropped.
pub struct ApiProxy {
    /// Where it listens, without TLS.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    cut: Notify,
    end: Notify,
}

#[derive(Default)]
struct State {
    rules: Option<Rules>,
    victim: Option<Pid>,
    writes: usize,
    faults: usize,
    written: Vec<Written>,
}

// === impl ApiProxy ===

impl ApiProxy {
    /// Starts one without faults, whose rights are those of the kubeconfig. It has a thread of its own: whoever waits for a
    /// program in a test must not keep an operator from renewing its Lease.
    pub fn start(kubeconfig: String) -> Self {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        listener.set_nonblocking(true).expect("a socket can be told");
        let address = listener.local_addr().expect("it has an address");
        let shared = Arc::new(Shared::default());
        let accepting = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(accept(listener, &kubeconfig, accepting));
        });
        Self { address, shared, thread: Some(thread) }
    }

    /// From now on this happens; writes are counted from 1 again.
    pub fn rules(&self, rules: impl FnMut(&Asked) -> Option<Fault> + Send + 'static) {
        let rules: Rules = Box::new(rules);
        let mut state = self.shared.lock();
        (state.rules, state.writes) = (Some(rules), 0);
    }

    /// From now on nothing goes wrong.
    pub fn calm(&self) {
        self.shared.lock().rules = None;
    }

    /// Whom [`Fault::Kill`] kills.
    pub fn victim(&self, process: u32) {
        self.shared.lock().victim = i32::try_from(process).ok().and_then(Pid::from_raw);
    }

    /// Cuts every connection, watches that say nothing too.
    pub fn cut(&self) {
        self.shared.cut.notify_waiters();
    }

    /// Every write so far but those of Leases, in their order.
    pub fn written(&self) -> Vec<Written> {
        self.shared.lock().written.clone()
    }

    /// Requests to which something happened.
    pub fn faults(&self) -> usize {
        self.shared.lock().faults
    }
}

impl Drop for ApiProxy {
    fn drop(&mut self) {
        self.shared.end.notify_one();
        if let Some(thread) = self.thread.take() {
            // It panicked if it failed, and has said so.
            let _ = thread.join();
        }
    }
}

// === impl Shared ===

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panicked")
    }

    fn decide(&self, request: &Request<Incoming>) -> (Option<usize>, Option<Fault>) {
        let mut state = self.lock();
        let path = request.uri().path().to_owned();
        let write = request.method() != Method::GET && !path.contains("/leases");
        let write = write.then(|| {
            state.writes += 1;
            state.writes
        });
        let watches = request.uri().query().is_some_and(|query| query.contains("watch=true"));
        let asked = Asked { method: request.method().clone(), path: path.clone(), watches, write };
        let fault = state.rules.as_mut().and_then(|rules| rules(&asked));
        state.faults += usize::from(fault.is_some());
        let place = write.map(|_| {
            state.written.push(Written { method: asked.method, path, code: None });
            state.written.len() - 1
        });
        (place, fault)
    }

    /// Ends the operator. It answers nothing and asks nothing any more.
    fn kill(&self) {
        let victim = self.lock().victim.take();
        if let Some(victim) = victim {
            // It may have ended already.
            let _ = kill_process(victim, Signal::KILL);
        }
    }

    async fn forward(
        &self,
        upstream: &Client,
        request: Request<Incoming>,
        place: Option<usize>,
    ) -> Result<Response<Body>, Broken> {
        let (mut head, body) = request.into_parts();
        for name in [HOST, AUTHORIZATION, CONTENT_LENGTH] {
            head.headers.remove(name);
        }
        let body = Body::from(body.collect().await?.to_bytes());
        let answer = upstream.send(Request::from_parts(head, body)).await?;
        if let Some(place) = place {
            self.lock().written[place].code = Some(answer.status().as_u16());
        }
        Ok(answer)
    }

    async fn answer(&self, upstream: &Client, request: Request<Incoming>) -> Result<Answered, Broken> {
        let reset = || Err("the connection is reset by the test".into());
        let (place, fault) = self.decide(&request);
        match fault {
            Some(Fault::Answer(code, retry_after)) => return Ok(refusal(code, retry_after)),
            Some(Fault::Reset) => return reset(),
            Some(Fault::Expired) => return Ok(expired()),
            Some(Fault::Kill(When::Before)) => {
                self.kill();
                return reset();
            }
            Some(Fault::Lost | Fault::Slow(_) | Fault::Held(_) | Fault::Cut(_) | Fault::Kill(When::After)) | None => {}
        }
        let (head, body) = self.forward(upstream, request, place).await?.into_parts();
        let mut left = usize::MAX;
        match fault {
            Some(Fault::Lost) => return reset(),
            Some(Fault::Kill(_)) => {
                self.kill();
                return reset();
            }
            Some(Fault::Slow(pause)) => tokio::time::sleep(pause).await,
            Some(Fault::Held(held)) => held.notified().await,
            Some(Fault::Cut(bytes)) => left = bytes,
            Some(Fault::Answer(..) | Fault::Reset | Fault::Expired) | None => {}
        }
        let stream = body.into_data_stream().map_err(Broken::from).map(move |data| {
            let mut data = data?;
            if left == 0 {
                return Err("the stream is cut by the test".into());
            }
            data.truncate(left);
            left -= data.len();
            Ok(Frame::data(data))
        });
        Ok(Response::from_parts(head, BodyExt::boxed_unsync(StreamBody::new(stream))))
    }
}

async fn accept(listener: std::net::TcpListener, kubeconfig: &str, shared: Arc<Shared>) {
    let listener = TcpListener::from_std(listener).expect("a listener");
    let upstream = client_without_retries(kubeconfig).await;
    // Connections go with the runtime.
    loop {
        let (stream, _) = tokio::select! {
            accepted = listener.accept() => accepted.expect("a connection"),
            () = shared.end.notified() => return,
        };
        tokio::spawn(serve(stream, upstream.clone(), Arc::clone(&shared)));
    }
}

async fn serve(stream: TcpStream, upstream: Client, shared: Arc<Shared>) {
    // Whatever is cut is reset, and does not end well.
    let _ = stream.set_zero_linger();
    let service = service_fn(|request| shared.answer(&upstream, request));
    let serving = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        // How it ended is the test's doing, or the operator's.
        _ = serving => {}
        () = shared.cut.notified() => {}
    }
}

fn whole(text: String) -> UnsyncBoxBody<Bytes, Broken> {
    Full::new(Bytes::from(text)).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// What an API server says that is busy, was overtaken, or is not well.
fn refusal(code: u16, retry_after: Option<u64>) -> Answered {
    let reason = match code {
        409 => "Conflict",
        410 => "Expired",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        _ => "InternalError",
    };
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code, "reason": reason,
        "message": format!("the test answers {code}"),
    });
    let mut answer = Response::new(whole(status.to_string()));
    *answer.status_mut() = StatusCode::from_u16(code).expect("a code");
    answer.headers_mut().insert(CONTENT_TYPE, "application/json".parse().expect("a value"));
    if let Some(seconds) = retry_after {
        answer.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    answer
}

/// A watch whose first event says that it must begin anew.
fn expired() -> Answered {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 410, "reason": "Expired",
        "message": "too old resource version: 1 (2)",
    });
    let event = json!({"type": "ERROR", "object": status});
    let mut answer = Response::new(whole(format!("{event}\n")));
    answer.headers_mut().insert(CONTENT_TYPE, "application/json".parse().expect("a value"));
    answer
}
