//! The accept loop.
//!
//! Invariants:
//!
//! * No more sessions run than [`ConnectionLimits`] allow; the excess is told so in the
//!   protocol's own words and closed, without a task of its own.
//! * Whoever stands behind a balancer is who the balancer says: limits, logs and sessions see his
//!   address. A connection from a balancer without a PROXY header is closed without a word.
//! * One session cannot stop another or the loop, whatever it does.
//! * After `shutdown` no connection is accepted; sessions are told through
//!   [`Connection::stopping`], and what has not ended after the grace time is dropped.
//!
//! Not here: the PROXY header itself (`proxy`), what is counted (`limits`).

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    limits::{Admission, ConnectionLimits, ConnectionRefused, Door},
    proxy::{self, Named, Proxies},
    stream::ConnectionStream,
    tls::TlsContext,
};
use crate::access::Protocol;

/// How long accepting rests when the operating system refuses, for example for want of file
/// descriptors: without a rest the loop would turn at full speed and not help.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// A bound socket and how connections on it begin and end.
#[derive(Debug)]
pub struct Listener {
    /// The bound socket.
    pub socket: TcpListener,
    /// The certificate for TLS from the first octet (RFC 8314 §3); `None` starts in the clear.
    pub implicit_tls: Option<Arc<TlsContext>>,
    /// How long a TLS handshake may take.
    pub handshake_time_max: Duration,
    /// How long sessions may go on after `shutdown`.
    pub grace_time: Duration,
    /// The balancers in front of this socket.
    pub proxies: Arc<Proxies>,
}

impl Listener {
    /// A listener with a handshake of at most 30 s and a grace time of 30 s.
    #[must_use]
    pub fn new(socket: TcpListener, implicit_tls: Option<Arc<TlsContext>>) -> Self {
        Self {
            socket,
            implicit_tls,
            handshake_time_max: Duration::from_secs(30),
            grace_time: Duration::from_secs(30),
            proxies: Arc::default(),
        }
    }
}

/// A connection that was let in.
#[derive(Debug)]
pub struct Connection {
    /// The octets; under TLS already when the listener's TLS is implicit.
    pub stream: ConnectionStream,
    /// The peer's address and port; behind a balancer, what the balancer says.
    pub peer: SocketAddr,
    /// Where the peer connected to.
    pub local: SocketAddr,
    /// Cancelled when the program stops: the session finishes its command, says goodbye in its
    /// protocol's words and returns.
    pub stopping: CancellationToken,
}

/// A protocol's side of a listener.
#[async_trait::async_trait]
pub trait SessionHandler: Send + Sync + 'static {
    /// Names the protocol in logs and metrics.
    fn protocol(&self) -> Protocol;

    /// The whole greeting of a connection that cannot be served now, line end included, such as
    /// `421 4.3.2 …`. Not sent on implicit TLS, where octets in the clear would be noise.
    fn refusal_line(&self) -> &[u8];

    /// Serves one connection to its end. Errors of the connection are the session's to log.
    async fn session(&self, connection: Connection);
}

/// Accepts connections until `shutdown` is cancelled, then returns as soon as every session has
/// ended, at the latest after the grace time. The listener is one door of `limits`.
pub async fn serve<H: SessionHandler>(
    listener: Listener,
    limits: Arc<ConnectionLimits>,
    shutdown: CancellationToken,
    handler: Arc<H>,
) {
    let mut sessions = JoinSet::new();
    let door = limits.door();
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(_) = sessions.join_next(), if !sessions.is_empty() => {}
            accepted = listener.socket.accept() => match accepted {
                Ok((stream, peer)) => {
                    admit(&listener, &door, &shutdown, &handler, stream, peer, &mut sessions);
                }
                Err(error) => {
                    tracing::warn!(%error, protocol = handler.protocol().name(), "accept failed");
                    sleep(ACCEPT_REST).await;
                }
            },
        }
    }
    let grace_time = listener.grace_time;
    // Closing the socket first: who comes now goes to another node at once.
    drop(listener);
    let ended = timeout(grace_time, async { while sessions.join_next().await.is_some() {} }).await;
    if ended.is_err() {
        let cut = sessions.len();
        tracing::warn!(cut, protocol = handler.protocol().name(), "sessions cut off at the stop");
        sessions.shutdown().await;
    }
}

fn admit<H: SessionHandler>(
    listener: &Listener,
    door: &Door,
    shutdown: &CancellationToken,
    handler: &Arc<H>,
    stream: TcpStream,
    peer: SocketAddr,
    sessions: &mut JoinSet<()>,
) {
    let protocol = handler.protocol().name();
    let behind_proxy = listener.proxies.include(peer.ip());
    let admitted = if behind_proxy { door.admit_unnamed() } else { door.admit(peer.ip()) };
    let admission = match admitted {
        Ok(admission) => admission,
        Err(refused) => {
            refuse(&**handler, &stream, peer, refused, listener.implicit_tls.is_some());
            return;
        }
    };
    if !behind_proxy {
        metrics::counter!("ceralacca_connections_total", "protocol" => protocol).increment(1);
    }
    let beginning = Beginning {
        stream,
        peer,
        proxies: behind_proxy.then(|| Arc::clone(&listener.proxies)),
        implicit_tls: listener.implicit_tls.clone(),
        handshake_time_max: listener.handshake_time_max,
        stopping: shutdown.child_token(),
        admission,
    };
    sessions.spawn(run(beginning, Arc::clone(handler)));
}

/// Tells a peer that there is no room for him, where he can read it.
fn refuse<H: SessionHandler>(
    handler: &H,
    stream: &TcpStream,
    peer: SocketAddr,
    refused: ConnectionRefused,
    implicit_tls: bool,
) {
    let protocol = handler.protocol().name();
    metrics::counter!(
        "ceralacca_connections_refused_total", "protocol" => protocol, "limit" => refused.name()
    )
    .increment(1);
    tracing::debug!(%peer, protocol, %refused, "connection refused");
    if !implicit_tls {
        // The socket's buffer is empty, so this never waits; a peer that is gone already misses
        // nothing.
        let _ = stream.try_write(handler.refusal_line());
    }
}

/// All that a session's task takes with it.
struct Beginning {
    stream: TcpStream,
    peer: SocketAddr,
    /// The peer is a balancer, and a header must come.
    proxies: Option<Arc<Proxies>>,
    implicit_tls: Option<Arc<TlsContext>>,
    handshake_time_max: Duration,
    stopping: CancellationToken,
    admission: Admission,
}

async fn run<H: SessionHandler>(mut beginning: Beginning, handler: Arc<H>) {
    let protocol = handler.protocol().name();
    // Replies are written whole; waiting to join them with later ones only adds delay.
    let stream = &beginning.stream;
    let mut local = match stream.set_nodelay(true).and_then(|()| stream.local_addr()) {
        Ok(local) => local,
        Err(error) => {
            tracing::debug!(peer = %beginning.peer, protocol, %error, "connection gone at once");
            return;
        }
    };
    if let Some(proxies) = beginning.proxies.take() {
        match named(&mut beginning, &*handler, &proxies).await {
            Some(Named::Itself) => {}
            Some(Named::Client { source, destination }) => {
                (beginning.peer, local) = (source, destination);
            }
            None => return,
        }
    }
    let Beginning { stream, peer, implicit_tls, handshake_time_max, stopping, admission, .. } =
        beginning;
    let mut stream = ConnectionStream::Plain(stream);
    if let Some(tls) = implicit_tls {
        let handshake = tokio::select! {
            () = stopping.cancelled() => return,
            handshake = tls.accept(stream, handshake_time_max) => handshake,
        };
        stream = match handshake {
            Ok(stream) => stream,
            Err(error) => {
                metrics::counter!("ceralacca_tls_handshakes_failed_total", "protocol" => protocol)
                    .increment(1);
                tracing::debug!(%peer, protocol, %error, "TLS handshake failed");
                return;
            }
        };
    }
    handler.session(Connection { stream, peer, local, stopping }).await;
    drop(admission);
}

/// Reads the header of a balancer and counts the connection as the one whom it names; `None` when
/// the connection is closed.
async fn named<H: SessionHandler>(
    beginning: &mut Beginning,
    handler: &H,
    proxies: &Proxies,
) -> Option<Named> {
    let (protocol, balancer) = (handler.protocol().name(), beginning.peer);
    let header = tokio::select! {
        () = beginning.stopping.cancelled() => return None,
        header = proxy::read_header(&mut beginning.stream, proxies.header_time_max) => header,
    };
    let named = match header {
        Ok(named) => named,
        Err(error) => {
            metrics::counter!("ceralacca_proxy_headers_refused_total", "protocol" => protocol)
                .increment(1);
            tracing::warn!(%balancer, protocol, %error, "connection from a balancer closed");
            return None;
        }
    };
    let peer = match named {
        Named::Itself => balancer,
        Named::Client { source, .. } => source,
    };
    if let Err(refused) = beginning.admission.name(peer.ip()) {
        let implicit_tls = beginning.implicit_tls.is_some();
        refuse(handler, &beginning.stream, peer, refused, implicit_tls);
        return None;
    }
    metrics::counter!("ceralacca_connections_total", "protocol" => protocol).increment(1);
    Some(named)
}
