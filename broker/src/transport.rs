//! The byte stream under an MQTT connection, TCP or TLS, which can be moved from one runtime to another.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{client, server};

/// A byte stream of either kind; of TLS, either end.
pub enum Transport {
    /// Plain TCP.
    Tcp(TcpStream),
    /// TLS that we accepted.
    TlsServer(Box<server::TlsStream<Movable>>),
    /// TLS that we dialled.
    TlsClient(Box<client::TlsStream<Movable>>),
    /// A stream of a simulation.
    #[cfg(test)]
    Simulated(Box<dyn Simulated>),
}

/// A byte stream without a socket.
#[cfg(test)]
pub trait Simulated: AsyncRead + AsyncWrite + Send + Unpin {}

/// A TCP stream that can be taken out from below TLS, so that a runtime's reactor forgets it and another one's learns it.
/// Between taking out and putting back every use is an error `NotConnected`.
pub struct Movable(Option<TcpStream>);

/// A transport that no runtime knows: it can go to another thread and be attached there. Bytes that TLS holds, encrypted
/// or not, go with it.
pub struct Detached {
    socket: std::net::TcpStream,
    tls: Option<TlsState>,
}

enum TlsState {
    Server(Box<server::TlsStream<Movable>>),
    Client(Box<client::TlsStream<Movable>>),
}

// === impl Transport ===

impl Transport {
    /// Takes the transport away from the runtime that it runs on.
    pub fn detach(self) -> io::Result<Detached> {
        let (socket, tls) = match self {
            Self::Tcp(stream) => (stream, None),
            Self::TlsServer(mut tls) => (tls.get_mut().0.take_out()?, Some(TlsState::Server(tls))),
            Self::TlsClient(mut tls) => (tls.get_mut().0.take_out()?, Some(TlsState::Client(tls))),
            #[cfg(test)]
            Self::Simulated(_) => return Err(io::ErrorKind::Unsupported.into()),
        };
        Ok(Detached { socket: socket.into_std()?, tls })
    }

    /// Address of the other end.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket()?.peer_addr()
    }

    /// The certificate that the other end proved to own, with TLS only.
    pub fn peer_certificate(&self) -> Option<&CertificateDer<'static>> {
        let chain = match self {
            Self::Tcp(_) => None,
            Self::TlsServer(tls) => tls.get_ref().1.peer_certificates(),
            Self::TlsClient(tls) => tls.get_ref().1.peer_certificates(),
            #[cfg(test)]
            Self::Simulated(_) => None,
        };
        chain?.first()
    }

    fn socket(&self) -> io::Result<&TcpStream> {
        match self {
            Self::Tcp(stream) => Ok(stream),
            Self::TlsServer(tls) => tls.get_ref().0.get(),
            Self::TlsClient(tls) => tls.get_ref().0.get(),
            #[cfg(test)]
            Self::Simulated(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

impl From<TcpStream> for Transport {
    fn from(stream: TcpStream) -> Self {
        Self::Tcp(stream)
    }
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::TlsServer(tls) => Pin::new(tls).poll_read(cx, buf),
            Self::TlsClient(tls) => Pin::new(tls).poll_read(cx, buf),
            #[cfg(test)]
            Self::Simulated(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::TlsServer(tls) => Pin::new(tls).poll_write(cx, bytes),
            Self::TlsClient(tls) => Pin::new(tls).poll_write(cx, bytes),
            #[cfg(test)]
            Self::Simulated(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::TlsServer(tls) => Pin::new(tls).poll_write_vectored(cx, slices),
            Self::TlsClient(tls) => Pin::new(tls).poll_write_vectored(cx, slices),
            #[cfg(test)]
            Self::Simulated(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::TlsServer(tls) => tls.is_write_vectored(),
            Self::TlsClient(tls) => tls.is_write_vectored(),
            #[cfg(test)]
            Self::Simulated(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::TlsServer(tls) => Pin::new(tls).poll_flush(cx),
            Self::TlsClient(tls) => Pin::new(tls).poll_flush(cx),
            #[cfg(test)]
            Self::Simulated(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::TlsServer(tls) => Pin::new(tls).poll_shutdown(cx),
            Self::TlsClient(tls) => Pin::new(tls).poll_shutdown(cx),
            #[cfg(test)]
            Self::Simulated(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

// === impl Movable ===

impl Movable {
    /// Puts a stream where TLS can be built upon it.
    pub fn new(stream: TcpStream) -> Self {
        Self(Some(stream))
    }

    fn get(&self) -> io::Result<&TcpStream> {
        self.0.as_ref().ok_or_else(moved_away)
    }

    fn take_out(&mut self) -> io::Result<TcpStream> {
        self.0.take().ok_or_else(moved_away)
    }

    fn poll_with<T>(
        self: Pin<&mut Self>,
        poll: impl FnOnce(Pin<&mut TcpStream>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match &mut self.get_mut().0 {
            Some(stream) => poll(Pin::new(stream)),
            None => Poll::Ready(Err(moved_away())),
        }
    }
}

fn moved_away() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the socket was moved to another runtime")
}

impl AsyncRead for Movable {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll_with(|stream| stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Movable {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_with(|stream| stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_with(|stream| stream.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_with(|stream| stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_with(|stream| stream.poll_shutdown(cx))
    }
}

// === impl Detached ===

impl Detached {
    /// Gives the transport to the runtime that this is called on. Read once afterwards: what came in between, and what
    /// TLS had decrypted already, is announced by no event.
    pub fn attach(self) -> io::Result<Transport> {
        let stream = TcpStream::from_std(self.socket)?;
        Ok(match self.tls {
            None => Transport::Tcp(stream),
            Some(TlsState::Server(mut tls)) => {
                tls.get_mut().0.0 = Some(stream);
                Transport::TlsServer(tls)
            }
            Some(TlsState::Client(mut tls)) => {
                tls.get_mut().0.0 = Some(stream);
                Transport::TlsClient(tls)
            }
        })
    }
}

#[cfg(test)]
mod tests;
