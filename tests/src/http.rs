//! One HTTP GET, for the admin listener.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Status code and body of `GET path`. Fails when nobody answers within 5 seconds.
pub async fn get(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    timeout(Duration::from_secs(5), exchange(address, path))
        .await
        .with_context(|| format!("no answer to GET {path}"))?
}

async fn exchange(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(address).await?;
    // HTTP/1.0: the body ends with the connection, without chunks.
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer without an end of its head")?;
    let code = head.split_whitespace().nth(1).context("an answer without a status code")?.parse()?;
    Ok((code, body.to_owned()))
}
