//! Asks each broker how it is, outside of every reconcile, and wakes one only when the answer says something else.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tombolo_broker_api::Status;

use super::wakes::Wakes;
use crate::reconcile::targets::Target;
use crate::reconcile::world::{ClusterKey, World};
use crate::status::Report;

/// Between two questions to a broker that is well.
const PERIOD: Duration = Duration::from_secs(5);
/// Between two questions while something is under way.
const PERIOD_BUSY: Duration = Duration::from_secs(1);
/// Longest wait for connection and answer together.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Longest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// A broker that was silent this many times is reported so; one lost answer is none.
const SILENT_MIN: u32 = 3;

/// Asks everybody who is a target, for ever.
pub async fn poll(world: Arc<World>, wakes: Arc<Wakes>) {
    let mut tasks: HashMap<(ClusterKey, u16), (Target, JoinHandle<()>)> = HashMap::new();
    loop {
        let wanted: HashMap<_, _> =
            world.targets.all().into_iter().map(|(key, target)| ((key, target.ordinal), target)).collect();
        tasks.retain(|place, (target, task)| {
            let stays = wanted.get(place) == Some(target);
            if !stays {
                task.abort();
                // What another pod said is not said of this one; a changed token or authority alone forgets nothing.
                if wanted.get(place).is_none_or(|next| next.uid != target.uid) {
                    world.reports.remove(&place.0, place.1);
                }
            }
            stays
        });
        for (place, target) in wanted {
            tasks.entry(place).or_insert_with_key(|(key, _)| {
                let asking = ask_for_ever(Arc::clone(&world), Arc::clone(&wakes), key.clone(), target.clone());
                (target, tokio::spawn(asking))
            });
        }
        world.targets.changed().await;
    }
}

async fn ask_for_ever(world: Arc<World>, wakes: Arc<Wakes>, key: ClusterKey, target: Target) {
    let mut line = Line { target, sender: None, tasks: JoinSet::new() };
    let mut silent = 0;
    loop {
        let answer = timeout(ANSWER_MAX, line.ask()).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let (report, busy) = match answer {
            Ok(status) => {
                silent = 0;
                let busy = is_busy(&status);
                (Some(Report::Said(Box::new(status))), busy)
            }
            Err(error) => {
                line.sender = None;
                silent += 1;
                tracing::debug!(cluster = %key, node = line.target.name, %error, "a broker does not answer");
                ((silent >= SILENT_MIN).then(|| Report::Silent(error.to_string())), true)
            }
        };
        if let Some(report) = report
            && world.reports.put(&key, line.target.ordinal, report)
        {
            wakes.add(key.clone());
        }
        sleep(if busy { PERIOD_BUSY } else { PERIOD }).await;
    }
}

/// Whether another answer is to be expected soon.
fn is_busy(status: &Status) -> bool {
    status.uptime_seconds < 30
        || status.evacuation.is_some()
        || status.links.iter().any(|link| !link.ready)
        || !status.restart_required.is_empty()
}

/// A connection with a broker that is used again and again.
struct Line {
    target: Target,
    sender: Option<SendRequest<Empty<Bytes>>>,
    tasks: JoinSet<()>,
}

// === impl Line ===

impl Line {
    async fn ask(&mut self) -> io::Result<Status> {
        if self.sender.as_ref().is_none_or(SendRequest::is_closed) {
            self.sender = Some(self.connect().await?);
        }
        let sender = self.sender.as_mut().expect("it was connected above");
        let token = String::from_utf8_lossy(self.target.token.reveal()).into_owned();
        let request = Request::get("/v1/status")
            .header("host", &self.target.name)
            .header("authorization", format!("Bearer {token}"))
            .body(Empty::new())
            .map_err(io::Error::other)?;
        let answer = sender.send_request(request).await.map_err(io::Error::other)?;
        if !answer.status().is_success() {
            return Err(io::Error::other(format!("it answered {}", answer.status())));
        }
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(io::Error::other)?;
        serde_json::from_slice(&body.to_bytes()).map_err(|error| io::Error::other(format!("its status: {error}")))
    }

    async fn connect(&mut self) -> io::Result<SendRequest<Empty<Bytes>>> {
        // The connection before is of no more use.
        self.tasks.abort_all();
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&self.target.authority) {
            roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
        }
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from(self.target.name.clone()).map_err(io::Error::other)?;
        let stream = TcpStream::connect(self.target.address).await?;
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        self.tasks.spawn(async move {
            // How it ended is seen by who sends.
            let _ = connection.await;
        });
        Ok(sender)
    }
}
