//! The accept loop over real sockets: limits, TLS, and the stop.

#![allow(missing_docs)]

mod support;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use protocols::{
    access::Protocol,
    net::{
        Connection, Listener, SessionHandler,
        limits::{ConnectionLimits, ConnectionLimitsSettings},
        serve,
        tls::{TlsClient, TlsContext, TlsError},
    },
};
use support::certificates;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(10);

/// Repeats every octet; panics at `!`; at the stop says `bye` unless it is `deaf`.
struct Echo {
    deaf: bool,
}

#[async_trait::async_trait]
impl SessionHandler for Echo {
    fn protocol(&self) -> Protocol {
        Protocol::Relay
    }

    fn refusal_line(&self) -> &[u8] {
        b"421 busy\r\n"
    }

    async fn session(&self, mut connection: Connection) {
        let mut octet = [0];
        connection.stream.write_all(b"hello\r\n").await.unwrap();
        loop {
            tokio::select! {
                () = connection.stopping.cancelled(), if !self.deaf => {
                    connection.stream.write_all(b"bye\r\n").await.unwrap();
                    return;
                }
                read = connection.stream.read(&mut octet) => {
                    if read.unwrap_or(0) == 0 {
                        return;
                    }
                    assert_ne!(octet[0], b'!', "the session breaks");
                    connection.stream.write_all(&octet).await.unwrap();
                }
            }
        }
    }
}

struct Running {
    address: SocketAddr,
    limits: Arc<ConnectionLimits>,
    shutdown: CancellationToken,
    served: JoinHandle<()>,
}

async fn start(
    settings: ConnectionLimitsSettings,
    tls: Option<Arc<TlsContext>>,
    deaf: bool,
) -> Running {
    start_within(ConnectionLimits::new(settings), tls, deaf).await
}

async fn start_within(
    limits: Arc<ConnectionLimits>,
    tls: Option<Arc<TlsContext>>,
    deaf: bool,
) -> Running {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let mut listener = Listener::new(socket, tls);
    listener.grace_time = Duration::from_millis(300);
    let served =
        tokio::spawn(serve(listener, limits.clone(), shutdown.clone(), Arc::new(Echo { deaf })));
    Running { address, limits, shutdown, served }
}

async fn read_all(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut octets = Vec::new();
    let _ = timeout(SOON, stream.read_to_end(&mut octets)).await.expect("the peer closes");
    String::from_utf8(octets).unwrap()
}

async fn expect(stream: &mut (impl AsyncReadExt + Unpin), expected: &str) {
    let mut octets = vec![0; expected.len()];
    timeout(SOON, stream.read_exact(&mut octets)).await.expect("in time").unwrap();
    assert_eq!(String::from_utf8(octets).unwrap(), expected);
}

#[tokio::test]
async fn excess_connections_are_told_so_and_a_free_place_is_used_again() {
    let settings = ConnectionLimitsSettings { connections_per_source_max: 1, ..Default::default() };
    let running = start(settings, None, false).await;
    let mut first = TcpStream::connect(running.address).await.unwrap();
    expect(&mut first, "hello\r\n").await;
    let mut second = TcpStream::connect(running.address).await.unwrap();
    assert_eq!(read_all(&mut second).await, "421 busy\r\n");
    drop(first);
    timeout(SOON, async {
        while running.limits.open() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    let mut third = TcpStream::connect(running.address).await.unwrap();
    expect(&mut third, "hello\r\n").await;
}

#[tokio::test]
async fn a_crowd_at_one_port_leaves_the_other_ports_their_places() {
    let settings = ConnectionLimitsSettings {
        connections_max: 4,
        connections_per_door_max: 2,
        ..Default::default()
    };
    let limits = ConnectionLimits::new(settings);
    let relay = start_within(limits.clone(), None, false).await;
    let submission = start_within(limits, None, false).await;
    let mut crowd = Vec::new();
    for expected in ["hello\r\n", "hello\r\n", "421 busy\r\n"] {
        let mut stream = TcpStream::connect(relay.address).await.unwrap();
        expect(&mut stream, expected).await;
        crowd.push(stream);
    }
    let mut holder = TcpStream::connect(submission.address).await.unwrap();
    expect(&mut holder, "hello\r\n").await;
}

#[tokio::test]
async fn a_session_that_panics_gives_its_place_back_and_harms_nobody() {
    let running = start(ConnectionLimitsSettings::default(), None, false).await;
    let mut good = TcpStream::connect(running.address).await.unwrap();
    expect(&mut good, "hello\r\n").await;
    let mut bad = TcpStream::connect(running.address).await.unwrap();
    bad.write_all(b"!").await.unwrap();
    assert_eq!(read_all(&mut bad).await, "hello\r\n");
    good.write_all(b"x").await.unwrap();
    expect(&mut good, "x").await;
    assert_eq!(running.limits.open(), 1);
}

#[tokio::test]
async fn the_stop_lets_sessions_say_goodbye_and_then_returns() {
    let running = start(ConnectionLimitsSettings::default(), None, false).await;
    let mut peer = TcpStream::connect(running.address).await.unwrap();
    expect(&mut peer, "hello\r\n").await;
    running.shutdown.cancel();
    assert_eq!(read_all(&mut peer).await, "bye\r\n");
    timeout(SOON, running.served).await.expect("the loop ends").unwrap();
    assert!(TcpStream::connect(running.address).await.is_err());
}

#[tokio::test]
async fn a_session_that_does_not_end_is_cut_off_after_the_grace_time() {
    let running = start(ConnectionLimitsSettings::default(), None, true).await;
    let mut peer = TcpStream::connect(running.address).await.unwrap();
    expect(&mut peer, "hello\r\n").await;
    running.shutdown.cancel();
    timeout(SOON, running.served).await.expect("the loop ends").unwrap();
    assert_eq!(read_all(&mut peer).await, "");
    assert_eq!(running.limits.open(), 0);
}

#[tokio::test]
async fn implicit_tls_serves_verified_clients_and_survives_garbage() {
    let made = certificates();
    let tls = TlsContext::from_pem(&made.chain, &made.key).unwrap();
    let running = start(ConnectionLimitsSettings::default(), Some(tls.clone()), false).await;

    let mut garbage = TcpStream::connect(running.address).await.unwrap();
    garbage.write_all(b"EHLO mail.example\r\n".repeat(100).as_slice()).await.unwrap();
    let mut answer = Vec::new();
    let _ = timeout(SOON, garbage.read_to_end(&mut answer)).await.expect("closed");
    assert!(!answer.starts_with(b"hello"));

    let client = TlsClient::verified_by(&made.authority).unwrap();
    let socket = TcpStream::connect(running.address).await.unwrap();
    let mut stream = client.connect("localhost", socket, SOON).await.unwrap();
    expect(&mut stream, "hello\r\n").await;
    assert!(stream.tls_description().unwrap().starts_with("TLSv1.3 TLS_"));

    // A certificate for another name, and one of another authority, are refused by a client
    // that verifies, and taken by one that does not.
    let socket = TcpStream::connect(running.address).await.unwrap();
    assert!(matches!(
        client.connect("other.example", socket, SOON).await,
        Err(TlsError::Handshake(_))
    ));
    let renewed = certificates();
    tls.reload(&renewed.chain, &renewed.key).unwrap();
    let socket = TcpStream::connect(running.address).await.unwrap();
    assert!(matches!(client.connect("localhost", socket, SOON).await, Err(TlsError::Handshake(_))));
    let socket = TcpStream::connect(running.address).await.unwrap();
    let opportunistic = TlsClient::opportunistic().unwrap();
    let mut stream = opportunistic.connect("other.example", socket, SOON).await.unwrap();
    expect(&mut stream, "hello\r\n").await;
}

#[test]
fn a_key_of_another_certificate_is_refused_and_the_old_one_stays() {
    let (one, other) = (certificates(), certificates());
    assert!(matches!(TlsContext::from_pem(&one.chain, &other.key), Err(TlsError::Material(_))));
    assert!(matches!(TlsContext::from_pem(b"", &one.key), Err(TlsError::NoCertificate)));
    let tls = TlsContext::from_pem(&one.chain, &one.key).unwrap();
    assert!(tls.reload(&one.chain, b"no key").is_err());
}
