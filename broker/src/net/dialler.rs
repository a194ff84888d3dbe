//! Dials for links and other nodes: one try for each request, and what comes of it to the shard of the link.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tombolo_broker_api as api;

use super::dial::{DialConfig, dial};
use super::prepared::Prepared;
use crate::clock::UnixSeconds;
use crate::shard::{AttachLink, Control, DialRequest, LinkKey, Shared, Stream};

/// Takes requests until the shards are gone. The configuration is read anew for each, so that a changed password counts
/// from the next try on.
pub async fn run(
    mut requests: mpsc::Receiver<DialRequest>,
    shared: std::sync::Weak<Shared>,
    prepared: watch::Receiver<Arc<Prepared>>,
) {
    while let Some(request) = requests.recv().await {
        let Some(shared) = shared.upgrade() else { return };
        let config = {
            let prepared = prepared.borrow();
            match &request.link {
                LinkKey::Cluster(name) => prepared.links.get(&**name).cloned(),
                LinkKey::Peer(node) => prepared.cluster.as_ref().and_then(|cluster| cluster.dial.get(&**node)).cloned(),
            }
        };
        tokio::spawn(async move {
            let inbox = &shared.inboxes[usize::from(request.shard)];
            let control = match once(&request, config).await {
                Ok(attach) => Control::AttachLink(Box::new(attach)),
                Err((reason, message)) => {
                    let unix_seconds = UnixSeconds::now().0;
                    let error = api::LinkError { reason, message, unix_seconds };
                    Control::DialFailed { link: request.link, error }
                }
            };
            inbox.send(control);
        });
    }
}

async fn once(request: &DialRequest, config: Option<Arc<DialConfig>>) -> Result<AttachLink, (String, String)> {
    let config = config.ok_or_else(|| ("NotConfigured".to_owned(), "the link is no longer configured".to_owned()))?;
    let server = config.servers.get(request.server).or(config.servers.first());
    let server = server.ok_or_else(|| ("NotConfigured".to_owned(), "the link names no server".to_owned()))?;
    let dialled = dial(server, &config).await.map_err(|error| (error.name().to_owned(), error.to_string()))?;
    let detached = dialled.transport.detach().map_err(|error| ("ConnectionLost".to_owned(), error.to_string()))?;
    Ok(AttachLink {
        link: request.link.clone(),
        user: None,
        stream: Stream::Moved(detached),
        leftover: dialled.leftover,
        guard: None,
        dialled: true,
        receive_maximum: dialled.receive_maximum,
        maximum_packet_size: dialled.maximum_packet_size,
        keep_alive: dialled.keep_alive,
    })
}
