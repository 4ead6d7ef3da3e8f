//! The PROXY protocol over real sockets: who counts, before TLS, and what is not believed.

#![allow(missing_docs)]

mod support;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use protocols::{
    access::Protocol,
    net::{
        Connection, Listener, SessionHandler,
        limits::{ConnectionLimits, ConnectionLimitsSettings},
        proxy::Proxies,
        serve,
        tls::{TlsClient, TlsContext},
    },
};
use support::certificates;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(10);

/// Says who the peer is and where he connected to.
struct Mirror;

#[async_trait::async_trait]
impl SessionHandler for Mirror {
    fn protocol(&self) -> Protocol {
        Protocol::Relay
    }

    fn refusal_line(&self) -> &[u8] {
        b"421 busy\r\n"
    }

    async fn session(&self, mut connection: Connection) {
        let line = format!("{} {}\r\n", connection.peer, connection.local);
        connection.stream.write_all(line.as_bytes()).await.unwrap();
        let mut octets = Vec::new();
        let _ = connection.stream.read_to_end(&mut octets).await;
    }
}

/// A header of version 2 for TCP over IPv4.
fn header(source: [u8; 4], port: u16) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
    header.extend([&source[..], &[198, 51, 100, 1], &port.to_be_bytes(), &[0, 25]].concat());
    header
}

async fn open(tls: Option<Arc<TlsContext>>, settings: ConnectionLimitsSettings) -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let mut listener = Listener::new(socket, tls);
    listener.proxies = Arc::new(Proxies {
        networks: vec!["127.0.0.8/29".parse().unwrap()],
        header_time_max: Duration::from_millis(300),
    });
    let limits = ConnectionLimits::new(settings);
    tokio::spawn(serve(listener, limits, CancellationToken::new(), Arc::new(Mirror)));
    address
}

/// Connects from 127.0.0.`host`: 8 to 15 are balancers.
async fn from(host: u8, address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, host], 0).into()).unwrap();
    socket.connect(address).await.unwrap()
}

async fn line(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        match timeout(SOON, stream.read_u8()).await.expect("in time") {
            Ok(octet) => line.push(octet),
            Err(_) => break,
        }
    }
    String::from_utf8(line).unwrap()
}

#[tokio::test]
async fn a_balancer_says_who_comes_and_the_rest_of_the_octets_are_the_sessions() {
    let address = open(None, ConnectionLimitsSettings::default()).await;
    let mut stream = from(9, address).await;
    // However the header arrives.
    for octet in header([192, 0, 2, 7], 40_000) {
        stream.write_all(&[octet]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(line(&mut stream).await, "192.0.2.7:40000 198.51.100.1:25\r\n");
    // LOCAL: a balancer that looks whether we live.
    let mut stream = from(9, address).await;
    stream.write_all(b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00").await.unwrap();
    let answer = line(&mut stream).await;
    assert_eq!(answer, format!("{} {address}\r\n", stream.local_addr().unwrap()));
}

#[tokio::test]
async fn the_header_comes_before_tls() {
    let made = certificates();
    let tls = TlsContext::from_pem(&made.chain, &made.key).unwrap();
    let address = open(Some(tls), ConnectionLimitsSettings::default()).await;
    let mut stream = from(8, address).await;
    stream.write_all(&header([192, 0, 2, 7], 40_000)).await.unwrap();
    let client = TlsClient::verified_by(&made.authority).unwrap();
    let mut stream = client.connect("localhost", stream, SOON).await.unwrap();
    assert_eq!(line(&mut stream).await, "192.0.2.7:40000 198.51.100.1:25\r\n");
}

#[tokio::test]
async fn a_balancer_without_a_header_is_closed_without_a_word() {
    let address = open(None, ConnectionLimitsSettings::default()).await;
    let long = [&header([192, 0, 2, 7], 1)[..14], &[0xff, 0xff][..]].concat();
    for octets in
        [&b"EHLO client.example\r\n"[..], b"PROXY TCP4 192.0.2.7 198.51.100.1 1 25\r\n", &long]
    {
        let mut stream = from(15, address).await;
        stream.write_all(octets).await.unwrap();
        assert_eq!(line(&mut stream).await, "", "{octets:?}");
    }
    // One that says nothing, or half of it, is not waited for.
    for octets in [Vec::new(), header([192, 0, 2, 7], 1)[..20].to_vec()] {
        let mut stream = from(15, address).await;
        stream.write_all(&octets).await.unwrap();
        assert_eq!(line(&mut stream).await, "");
    }
}

#[tokio::test]
async fn a_header_of_anybody_else_is_nothing_but_octets() {
    let address = open(None, ConnectionLimitsSettings::default()).await;
    for host in [7, 16] {
        let mut stream = from(host, address).await;
        stream.write_all(&header([192, 0, 2, 7], 40_000)).await.unwrap();
        let answer = line(&mut stream).await;
        assert!(answer.starts_with(&format!("127.0.0.{host}:")), "{answer}");
    }
}

#[tokio::test]
async fn limits_count_whom_the_balancer_names() {
    let settings = ConnectionLimitsSettings {
        connections_per_source_max: 1,
        connections_per_network_max: 2,
        ..Default::default()
    };
    let address = open(None, settings).await;
    let mut open_connections = Vec::new();
    for (client, expected) in [
        ([192, 0, 2, 7], "192.0.2.7:"),
        ([192, 0, 2, 7], "421 busy"),
        ([192, 0, 2, 8], "192.0.2.8:"),
        ([192, 0, 2, 9], "421 busy"),
        ([192, 0, 3, 9], "192.0.3.9:"),
    ] {
        let mut stream = from(9, address).await;
        stream.write_all(&header(client, 40_000)).await.unwrap();
        let answer = line(&mut stream).await;
        assert!(answer.starts_with(expected), "{answer}");
        open_connections.push(stream);
    }
}
