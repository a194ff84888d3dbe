//! A last word to a client, said so that it arrives: closing a socket with unread bytes in it would tear the word away.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::control::Attach;
use crate::codec::Reason;
use crate::codec::connack::{self, Connack};
use crate::metrics::{Events, Refused};
use crate::transport::Transport;

/// Longest time that a closing connection is kept for the other end to close first.
const LINGER: Duration = Duration::from_secs(1);
/// Bytes read and thrown away meanwhile.
const DISCARD_MAX: usize = 256 << 10;

/// Writes `bytes`, ends the stream, and waits a moment for the other end to see it. Must run on the transport's runtime.
/// `keep` lives until then: the connection's place at the listener, so that refusals are bounded as connections are, and
/// what a shard that ends waits for.
pub fn answer_and_close(mut transport: Transport, bytes: Vec<u8>, keep: impl Send + 'static) {
    tokio::spawn(async move {
        let _keep = keep;
        let farewell = async {
            transport.write_all(&bytes).await?;
            transport.shutdown().await?;
            let mut discard = [0; 4096];
            let mut read = 0;
            while read < DISCARD_MAX {
                match transport.read(&mut discard).await? {
                    0 => break,
                    count => read += count,
                }
            }
            Ok::<_, std::io::Error>(())
        };
        // Whatever goes wrong here, the connection is closed all the same.
        let _ = tokio::time::timeout(LINGER, farewell).await;
    });
}

/// Refuses a connection that came while the node stops.
pub fn refuse_attach(attach: Attach, events: &Events) {
    events.refuse(Refused::Shutdown);
    let mut out = Vec::new();
    connack::encode(&mut out, attach.connect.version, &Connack::refusal(Reason::ServerShuttingDown));
    // A socket that cannot be registered is closed without a word.
    if let Ok(transport) = attach.stream.attach() {
        answer_and_close(transport, out, attach.guard);
    }
}
