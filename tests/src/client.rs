//! A client of raw bytes: what a test sends is what goes out, and what comes is compared byte by byte.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::panic::Location;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::packet::{self, Connect, PINGREQ, PINGRESP, Publish, hex};
use crate::received::{Connack, Message, Packet, Reasoned};
use crate::wait::PATIENCE;

/// A byte stream: TCP, or TLS over it.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A connection to a broker.
pub struct Client {
    stream: Box<dyn Stream>,
    /// What came and was not taken yet.
    pending: Vec<u8>,
    level: u8,
}

/// What `next` found.
enum Next {
    Packet(Packet),
    Closed,
}

impl Client {
    /// A TCP connection on which nothing was sent.
    pub async fn open(address: SocketAddr, level: u8) -> Self {
        let stream = TcpStream::connect(address).await.unwrap_or_else(|e| panic!("nobody listens at {address}: {e}"));
        stream.set_nodelay(true).expect("a socket takes the option");
        Self::over(stream, level)
    }

    /// A connection over a stream.
    pub fn over(stream: impl Stream + 'static, level: u8) -> Self {
        Self { stream: Box::new(stream), pending: Vec::new(), level }
    }

    /// Connects and expects to be let in.
    pub async fn connect(address: SocketAddr, connect: &Connect) -> (Self, Connack) {
        let mut client = Self::open(address, connect.level).await;
        client.send(connect.bytes()).await;
        let connack = client.packet().await.connack();
        assert_eq!(connack.reason, 0, "{} was refused: {connack:x?}", connect.id);
        (client, connack)
    }

    /// Connects with a clean session and expects to be let in.
    pub async fn clean(address: SocketAddr, level: u8, id: &str) -> Self {
        Self::connect(address, &Connect::new(level, id)).await.0
    }

    /// Connects with a session that outlives the connection; tells whether there was one.
    pub async fn persistent(address: SocketAddr, level: u8, id: &str) -> (Self, bool) {
        let (client, connack) = Self::connect(address, &Connect::persistent(level, id)).await;
        (client, connack.session_present)
    }

    /// Connects and subscribes to (filter, options).
    pub async fn subscriber(address: SocketAddr, level: u8, id: &str, filters: &[(&str, u8)]) -> Self {
        let mut client = Self::clean(address, level, id).await;
        client.subscribe(filters).await;
        client
    }

    /// Sends bytes.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]> + Send) -> impl Future<Output = ()> + Send {
        let at = Location::caller();
        async move {
            let write = timeout(PATIENCE, self.stream.write_all(bytes.as_ref())).await;
            write
                .unwrap_or_else(|_| panic!("the broker does not read (at {at})"))
                .unwrap_or_else(|e| panic!("the broker closed before it was sent: {e} (at {at})"));
            self.stream.flush().await.unwrap_or_else(|e| panic!("flush: {e} (at {at})"));
        }
    }

    /// Sends bytes to a broker that may have closed already.
    pub async fn send_anyway(&mut self, bytes: impl AsRef<[u8]> + Send) {
        // Closed is what the caller looks for afterwards.
        let _ = timeout(PATIENCE, self.stream.write_all(bytes.as_ref())).await;
    }

    /// Sends hexadecimal digits as bytes.
    #[track_caller]
    pub fn send_hex(&mut self, digits: &str) -> impl Future<Output = ()> + Send {
        self.send(hex(digits))
    }

    #[track_caller]
    fn read(&mut self, what: &str) -> impl Future<Output = Next> + Send {
        let at = Location::caller();
        async move {
            let mut buffer = [0; 4096];
            loop {
                if let Some(packet) = Packet::take(&mut self.pending) {
                    return Next::Packet(packet);
                }
                let read = timeout(PATIENCE, self.stream.read(&mut buffer)).await;
                match read.unwrap_or_else(|_| panic!("waited {PATIENCE:?} for {what} (at {at})")) {
                    Ok(0) if self.pending.is_empty() => return Next::Closed,
                    Ok(0) => panic!("closed within a packet: {:?} (at {at})", Packet(self.pending.clone())),
                    Ok(n) => self.pending.extend_from_slice(&buffer[..n]),
                    Err(e) if ended(&e) => return Next::Closed,
                    Err(e) => panic!("reading failed: {e} (at {at})"),
                }
            }
        }
    }

    /// The next packet.
    #[track_caller]
    pub fn packet(&mut self) -> impl Future<Output = Packet> + Send {
        let at = Location::caller();
        let read = self.read("a packet");
        async move {
            match read.await {
                Next::Packet(packet) => packet,
                Next::Closed => panic!("the broker closed instead of sending a packet (at {at})"),
            }
        }
    }

    /// Expects exactly these bytes, which are one or more packets.
    #[track_caller]
    pub fn expect(&mut self, bytes: impl AsRef<[u8]> + Send) -> impl Future<Output = ()> + Send {
        let at = Location::caller();
        async move {
            let mut rest = bytes.as_ref().to_vec();
            while let Some(wanted) = Packet::take(&mut rest) {
                match self.read(&format!("{wanted:?}")).await {
                    Next::Packet(got) => assert!(got == wanted, "\n   got {got:?}\nwanted {wanted:?}\n(at {at})"),
                    Next::Closed => panic!("the broker closed instead of sending {wanted:?} (at {at})"),
                }
            }
            assert!(rest.is_empty(), "the test expects half a packet: {:?}", Packet(rest));
        }
    }

    /// Expects exactly the bytes of these hexadecimal digits.
    #[track_caller]
    pub fn expect_hex(&mut self, digits: &str) -> impl Future<Output = ()> + Send {
        self.expect(hex(digits))
    }

    /// Expects that the broker closes and sends nothing before.
    #[track_caller]
    pub fn closed(&mut self) -> impl Future<Output = ()> + Send {
        let at = Location::caller();
        let read = self.read("the end of the connection");
        async move {
            if let Next::Packet(packet) = read.await {
                panic!("the broker sent {packet:?} instead of closing (at {at})");
            }
        }
    }

    /// Expects a DISCONNECT with this reason, and the end.
    #[track_caller]
    pub fn disconnected(&mut self, reason: u8) -> impl Future<Output = Reasoned> + Send {
        let at = Location::caller();
        async move {
            let got = self.packet().await.disconnect();
            assert_eq!(got.reason, reason, "DISCONNECT {:#x} instead of {reason:#x} (at {at}): {got:x?}", got.reason);
            self.closed().await;
            got
        }
    }

    /// Expects the end as each version has it: a DISCONNECT with the reason in MQTT 5, nothing in 3.1.1.
    #[track_caller]
    pub fn refused(&mut self, reason: u8) -> impl Future<Output = ()> + Send {
        let at = Location::caller();
        async move {
            if self.level == 5 {
                let got = self.packet().await.disconnect();
                assert_eq!(got.reason, reason, "DISCONNECT {:#x} instead of {reason:#x} (at {at})", got.reason);
            }
            match self.read("the end of the connection").await {
                Next::Closed => {}
                Next::Packet(packet) => panic!("the broker sent {packet:?} instead of closing (at {at})"),
            }
        }
    }

    /// Whatever comes until the end, which must come.
    pub async fn rest(&mut self) -> Vec<Packet> {
        let mut all = Vec::new();
        while let Next::Packet(packet) = self.read("the end of the connection").await {
            all.push(packet);
        }
        all
    }

    /// The next packet as a message.
    #[track_caller]
    pub fn message(&mut self) -> impl Future<Output = Message> + Send {
        let at = Location::caller();
        async move {
            let packet = self.packet().await;
            assert_eq!(packet.kind(), 0x30, "a PUBLISH is due, not {packet:?} (at {at})");
            packet.message(self.level)
        }
    }

    /// Subscribes with packet id 1 and expects each filter to be granted at its QoS.
    #[track_caller]
    pub fn subscribe(&mut self, filters: &[(&str, u8)]) -> impl Future<Output = ()> + Send {
        let bytes = packet::subscribe(self.level, 1, filters);
        let codes: Vec<u8> = filters.iter().map(|f| f.1 & 3).collect();
        let answer = packet::suback(self.level, 1, &codes);
        let at = Location::caller();
        async move {
            self.send(bytes).await;
            // Retained messages may come before or after, and are not ours to judge here.
            let got = self.packet().await;
            assert!(got.0 == answer, "\n   got {got:?}\nwanted {:?}\n(at {at})", Packet(answer));
        }
    }

    /// Expects a SUBACK or UNSUBACK with these codes, whatever it says beside them.
    #[track_caller]
    pub fn expect_codes(&mut self, codes: &[u8]) -> impl Future<Output = ()> + Send {
        let (at, codes) = (Location::caller(), codes.to_vec());
        async move {
            let got = self.packet().await;
            let found = got.codes(self.level);
            assert!(found == codes, "codes {found:x?} instead of {codes:x?} in {got:?} (at {at})");
        }
    }

    /// Publishes at QoS 0.
    pub async fn publish(&mut self, topic: &str, payload: impl AsRef<[u8]>) {
        let packet = Publish::new(self.level, topic, payload).bytes();
        self.send(packet).await;
    }

    /// Publishes at QoS 1 and expects PUBACK with Success.
    #[track_caller]
    pub fn publish_qos1(&mut self, topic: &str, payload: impl AsRef<[u8]>, id: u16) -> impl Future<Output = ()> + Send {
        let at = Location::caller();
        let publish = Publish::new(self.level, topic, payload).qos(1, id).bytes();
        async move {
            self.send(publish).await;
            let got = self.packet().await;
            assert!(got.0 == packet::puback(id), "{got:?} instead of PUBACK {id} (at {at})");
        }
    }

    /// Expects a message of QoS 0 without properties.
    #[track_caller]
    pub fn expect_message(&mut self, topic: &str, payload: impl AsRef<[u8]>) -> impl Future<Output = ()> + Send {
        self.expect(Publish::new(self.level, topic, payload).bytes())
    }

    /// Sends PINGREQ and expects PINGRESP: the connection lives, and nothing else waits in it.
    #[track_caller]
    pub fn ping(&mut self) -> impl Future<Output = ()> + Send {
        let at = Location::caller();
        async move {
            self.send(PINGREQ).await;
            let got = self.packet().await;
            assert!(got.0 == PINGRESP, "{got:?} instead of PINGRESP (at {at})");
        }
    }

    /// Sends DISCONNECT and awaits the end.
    pub async fn disconnect(mut self) {
        self.send(packet::DISCONNECT).await;
        self.closed().await;
    }

    /// The version that it speaks.
    pub fn level(&self) -> u8 {
        self.level
    }
}

fn ended(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof)
}
