//! Connecting, with the MQTT handshake, and subscribing.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::mqtt;

/// What every connection of a run says of itself.
#[derive(Clone)]
pub struct Login {
    /// 4 or 5.
    pub level: u8,
    /// Seconds.
    pub keep_alive: u16,
    /// User name.
    pub user: Option<String>,
    /// Password.
    pub pass: Option<String>,
    /// Receive Maximum, level 5 only.
    pub receive_max: Option<u16>,
}

/// Connects and waits for a CONNACK that accepts.
pub async fn connect(addr: SocketAddr, id: &str, login: &Login) -> Result<TcpStream> {
    let mut s = TcpStream::connect(addr).await.with_context(|| format!("nobody accepts connections at {addr}"))?;
    s.set_nodelay(true)?;
    let packet = mqtt::connect(&mqtt::Connect {
        level: login.level,
        client_id: id,
        keep_alive: login.keep_alive,
        user: login.user.as_deref(),
        pass: login.pass.as_deref(),
        receive_max: login.receive_max,
    });
    s.write_all(&packet).await?;
    let (first, body) = read_packet(&mut s).await.with_context(|| format!("no CONNACK for {id}"))?;
    if first != mqtt::CONNACK || body.get(1) != Some(&0) {
        bail!("{id} was refused: packet {first:#x} with body {body:x?}");
    }
    Ok(s)
}

/// Subscribes in packets of at most `chunk` filters and waits for each SUBACK.
pub async fn subscribe(s: &mut TcpStream, level: u8, filters: &[String], qos: u8, chunk: usize) -> Result<()> {
    for (i, part) in filters.chunks(chunk.max(1)).enumerate() {
        let packet_id = (i % 60_000) as u16 + 1;
        s.write_all(&mqtt::subscribe(level, packet_id, part, qos)).await?;
        loop {
            let (first, body) = read_packet(s).await.context("no SUBACK")?;
            if first == mqtt::SUBACK {
                ensure!(body.len() >= part.len() + 2, "a SUBACK of {} bytes for {} filters", body.len(), part.len());
                let codes = &body[body.len() - part.len()..];
                ensure!(codes.iter().all(|c| *c < 0x80), "a subscription was refused: {codes:x?}");
                break;
            }
        }
    }
    Ok(())
}

/// First byte and body of the next packet.
async fn read_packet(s: &mut TcpStream) -> Result<(u8, Vec<u8>)> {
    let first = s.read_u8().await.context("closed while waiting for a packet")?;
    let (mut len, mut shift) = (0usize, 0);
    loop {
        let c = s.read_u8().await?;
        len |= ((c & 0x7f) as usize) << shift;
        if c & 0x80 == 0 {
            break;
        }
        shift += 7;
        ensure!(shift <= 21, "the Remaining Length of a packet has more than four bytes");
    }
    let mut body = vec![0; len];
    s.read_exact(&mut body).await?;
    Ok((first, body))
}
