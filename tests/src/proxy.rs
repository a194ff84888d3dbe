//! A TCP proxy that fails as networks do: cuts, black holes, delays, one direction alone.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What a direction does with bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Way {
    /// Passes them on.
    #[default]
    Open,
    /// Passes them on after a time.
    Delayed(Duration),
    /// Passes on so many bytes in a second; the sender's window fills.
    Slow(u32),
    /// Holds them: the sender sees nothing but a full window, and they go on when it opens again.
    Held,
    /// Swallows them, as a black hole without RST does; the connection must not be used any more after it.
    Swallowed,
}

/// Bytes that a slow direction takes at a time.
const SLOW_BYTES: usize = 8 * 1024;

/// What the network does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// From who dialled to who listens.
    pub forth: Way,
    /// From who listens to who dialled.
    pub back: Way,
    /// New connections are refused: accepted and closed at once.
    pub refuse: bool,
}

/// A running proxy; it ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    weather: watch::Sender<Weather>,
    cuts: watch::Sender<u64>,
    connections: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

struct Shared {
    weather: watch::Receiver<Weather>,
    cuts: watch::Receiver<u64>,
}

impl Proxy {
    /// Starts a proxy to `target`.
    pub async fn start(target: SocketAddr) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], crate::ports::free()));
        let listener = TcpListener::bind(address).await.expect("the port was free");
        let (weather, weather_seen) = watch::channel(Weather::default());
        let (cuts, cuts_seen) = watch::channel(0);
        let (counter, connections) = watch::channel(0);
        let shared = Arc::new(Shared { weather: weather_seen, cuts: cuts_seen });
        let task = tokio::spawn(serve(listener, target, shared, counter));
        Self { address, weather, cuts, connections, task }
    }

    /// Changes what the network does, for living connections too.
    pub fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// Closes every connection; new ones are taken.
    pub fn cut(&self) {
        self.cuts.send_modify(|n| *n += 1);
    }

    /// Connections taken so far.
    pub fn connections(&self) -> u64 {
        *self.connections.borrow()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.cut();
    }
}

async fn serve(listener: TcpListener, target: SocketAddr, shared: Arc<Shared>, counter: watch::Sender<u64>) {
    while let Ok((near, _)) = listener.accept().await {
        counter.send_modify(|n| *n += 1);
        if shared.weather.borrow().refuse {
            continue;
        }
        tokio::spawn(carry(near, target, shared.clone()));
    }
}

async fn carry(near: TcpStream, target: SocketAddr, shared: Arc<Shared>) {
    let mut cuts = shared.cuts.clone();
    cuts.mark_unchanged();
    let Ok(far) = TcpStream::connect(target).await else { return };
    if near.set_nodelay(true).and_then(|()| far.set_nodelay(true)).is_err() {
        return;
    }
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    tokio::select! {
        // Both directions end together, as a connection does.
        () = one_way(near_in, far_out, shared.weather.clone(), |w| w.forth) => {}
        () = one_way(far_in, near_out, shared.weather.clone(), |w| w.back) => {}
        _ = cuts.changed() => {}
    }
}

async fn one_way(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
    way: impl Fn(&Weather) -> Way,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        // Held bytes stay with the sender's kernel, and its window fills.
        if weather.wait_for(|w| way(w) != Way::Held).await.is_err() {
            return;
        }
        // A slow one takes little at a time, so that it is fast again soon.
        let most = if matches!(way(&weather.borrow()), Way::Slow(_)) { SLOW_BYTES } else { buffer.len() };
        let n = match from.read(&mut buffer[..most]).await {
            Ok(0) | Err(_) => return,
            Ok(n) => n,
        };
        let now = way(&weather.borrow());
        match now {
            Way::Open => {}
            Way::Delayed(by) => tokio::time::sleep(by).await,
            Way::Slow(rate) => tokio::time::sleep(Duration::from_secs_f64(n as f64 / f64::from(rate.max(1)))).await,
            Way::Held => {
                if weather.wait_for(|w| way(w) != Way::Held).await.is_err() {
                    return;
                }
            }
            Way::Swallowed => continue,
        }
        if to.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::within;

    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            while let Ok((mut s, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut r, mut w) = s.split();
                    tokio::io::copy(&mut r, &mut w).await
                });
            }
        });
        address
    }

    async fn ask(s: &mut TcpStream, what: u8) -> std::io::Result<u8> {
        s.write_u8(what).await?;
        s.read_u8().await
    }

    #[tokio::test]
    async fn bytes_pass_until_the_cut_and_a_new_connection_passes_again() {
        let proxy = Proxy::start(echo().await).await;
        let mut s = TcpStream::connect(proxy.address).await.expect("listens");
        assert_eq!(ask(&mut s, 1).await.expect("open"), 1);
        proxy.cut();
        assert!(within("the cut", s.read_u8()).await.is_err());
        let mut s = TcpStream::connect(proxy.address).await.expect("listens");
        assert_eq!(ask(&mut s, 2).await.expect("open"), 2);
        assert_eq!(proxy.connections(), 2);
    }

    #[tokio::test]
    async fn a_held_direction_gives_back_what_it_held() {
        let proxy = Proxy::start(echo().await).await;
        let mut s = TcpStream::connect(proxy.address).await.expect("listens");
        proxy.set(Weather { back: Way::Held, ..Weather::default() });
        s.write_all(&[1, 2]).await.expect("open");
        proxy.set(Weather::default());
        assert_eq!(within("held bytes", s.read_u16()).await.expect("open"), 0x0102);
    }

    #[tokio::test]
    async fn a_slow_direction_passes_so_many_bytes_in_a_second() {
        let proxy = Proxy::start(echo().await).await;
        let mut s = TcpStream::connect(proxy.address).await.expect("listens");
        proxy.set(Weather { forth: Way::Slow(64 * 1024), ..Weather::default() });
        let start = std::time::Instant::now();
        s.write_all(&[0; 32 * 1024]).await.expect("open");
        let mut back = vec![0; 32 * 1024];
        within("all bytes", s.read_exact(&mut back)).await.expect("open");
        assert!(start.elapsed() >= Duration::from_millis(500), "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn a_network_that_refuses_closes_at_once() {
        let proxy = Proxy::start(echo().await).await;
        proxy.set(Weather { refuse: true, ..Weather::default() });
        let mut s = TcpStream::connect(proxy.address).await.expect("listens");
        assert!(within("the end", s.read_u8()).await.is_err());
    }
}
