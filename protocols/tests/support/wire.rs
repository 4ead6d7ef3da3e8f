//! One connection to a door of IMAP or POP3, in the clear or under TLS, line by line.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use protocols::net::{
    self, Listener, SessionHandler,
    limits::{ConnectionLimits, ConnectionLimitsSettings},
    start_tls::StartTls,
    stream::ConnectionStream,
    tls::{TlsClient, TlsContext},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::certificates;

pub const SOON: Duration = Duration::from_secs(20);

/// A door that is open, and the authority of its certificate.
#[derive(Clone, Debug)]
pub struct OpenDoor {
    pub address: SocketAddr,
    pub authority: Vec<u8>,
}

async fn open<H: SessionHandler>(
    handler: H,
    implicit_tls: Option<Arc<TlsContext>>,
    authority: Vec<u8>,
) -> OpenDoor {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let limits = ConnectionLimits::new(ConnectionLimitsSettings::default());
    let listener = Listener::new(socket, implicit_tls);
    tokio::spawn(net::serve(listener, limits, CancellationToken::new(), Arc::new(handler)));
    OpenDoor { address, authority }
}

/// Opens a door under TLS.
pub async fn door<H: SessionHandler>(handler: H) -> OpenDoor {
    let made = certificates();
    let tls = TlsContext::from_pem(&made.chain, &made.key).unwrap();
    open(handler, Some(tls), made.authority).await
}

/// Opens a door in the clear, whose handler is made with what it starts TLS with.
pub async fn clear_door<H: SessionHandler>(handler: impl FnOnce(StartTls) -> H) -> OpenDoor {
    let made = certificates();
    let tls = TlsContext::from_pem(&made.chain, &made.key).unwrap();
    open(handler(StartTls { tls, handshake_time_max: SOON }), None, made.authority).await
}

pub struct Wire(pub ConnectionStream);

impl Wire {
    /// Connects under TLS and reads the greeting.
    pub async fn to(door: &OpenDoor) -> Self {
        let mut wire = Self::clear(door).await.secured(door).await;
        wire.line().await;
        wire
    }

    /// Connects; nothing is read.
    pub async fn clear(door: &OpenDoor) -> Self {
        Self(ConnectionStream::Plain(TcpStream::connect(door.address).await.unwrap()))
    }

    /// Runs the client's handshake.
    pub async fn secured(self, door: &OpenDoor) -> Self {
        self.handshake(door).await.unwrap_or_else(|error| panic!("{error:?}"))
    }

    pub async fn handshake(self, door: &OpenDoor) -> Result<Self, net::tls::TlsError> {
        let ConnectionStream::Plain(stream) = self.0 else { panic!("TLS runs already") };
        let client = TlsClient::verified_by(&door.authority).unwrap();
        client.connect("localhost", stream, SOON).await.map(Self)
    }

    pub async fn send(&mut self, octets: impl AsRef<[u8]>) {
        self.0.write_all(octets.as_ref()).await.unwrap();
    }

    /// Reads a line without its end; empty at the end of the stream.
    pub async fn line(&mut self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            match timeout(SOON, self.0.read_u8()).await.expect("an answer") {
                Ok(octet) => line.push(octet),
                Err(_) => break,
            }
        }
        String::from_utf8(line).unwrap().trim_end_matches("\r\n").to_owned()
    }

    pub async fn say(&mut self, text: &str) -> String {
        self.send(format!("{text}\r\n")).await;
        self.line().await
    }

    /// Sends a POP3 command and reads its lines to the point.
    pub async fn lines(&mut self, text: &str) -> Vec<String> {
        let first = self.say(text).await;
        assert!(first.starts_with("+OK"), "{text}: {first}");
        let mut lines = Vec::new();
        loop {
            let line = self.line().await;
            if line == "." || line.is_empty() {
                return lines;
            }
            lines.push(line);
        }
    }

    /// Sends an IMAP command and reads to its completion.
    pub async fn command(&mut self, text: &str) -> String {
        let tag = format!("{} ", text.split(' ').next().unwrap());
        let mut answer = self.say(text).await;
        loop {
            let last = answer.rsplit("\r\n").next().unwrap();
            if last.starts_with(&tag) {
                return answer;
            }
            let line = self.line().await;
            assert!(!line.is_empty(), "the stream ended: {answer}");
            answer = answer + "\r\n" + &line;
        }
    }

    /// Reads all there is to the end of the stream.
    pub async fn rest(&mut self) -> String {
        let mut octets = Vec::new();
        let _ = timeout(SOON, self.0.read_to_end(&mut octets)).await.expect("the peer closes");
        String::from_utf8_lossy(&octets).into_owned()
    }
}
