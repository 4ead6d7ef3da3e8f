//! TLS that begins in the middle of a session (RFC 9051 §6.2.1, RFC 2595 §4).
//!
//! Invariants:
//!
//! * What was said in the clear ends with the session that it was said in: the one under TLS is
//!   another, and knows nothing but the peer and how long he may still take to log in.
//! * Octets that came in the clear never reach it; a session gives its stream only when it has
//!   taken all that came.
//!
//! Not here: when a peer may ask for it, and in which words (`imap`, `pop3`); SMTP, whose session
//! keeps its counters (`smtp::server`).

use std::{net::IpAddr, sync::Arc, time::Duration};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    Connection,
    stream::{ChannelBindings, ConnectionStream},
    tls::TlsContext,
};
use crate::access::Protocol;

/// What a door in the clear offers TLS with.
#[derive(Clone, Debug)]
pub struct StartTls {
    /// The certificate.
    pub tls: Arc<TlsContext>,
    /// How long the handshake may take.
    pub handshake_time_max: Duration,
}

/// What a session knows of its connection when it begins.
#[derive(Clone, Debug)]
pub(crate) struct Beginning {
    pub(crate) peer: IpAddr,
    /// What a login can be bound to; `None` in the clear.
    pub(crate) tls: Option<ChannelBindings>,
    /// Whether TLS may begin in the middle.
    pub(crate) start_tls: bool,
    /// Whether this session follows one in the clear, whose greeting the peer has read.
    pub(crate) greeted: bool,
    /// When the peer must have logged in.
    pub(crate) login_deadline: Instant,
    pub(crate) stopping: CancellationToken,
}

impl Beginning {
    /// The beginning of a session on a connection that was let in, and its stream.
    pub(crate) fn of(
        connection: Connection,
        start_tls: Option<&StartTls>,
        login_time_max: Duration,
    ) -> (ConnectionStream, Self) {
        let Connection { stream, peer, stopping, .. } = connection;
        let tls = stream.is_tls().then(|| stream.channel_bindings());
        let beginning = Self {
            peer: peer.ip(),
            start_tls: start_tls.is_some() && tls.is_none(),
            tls,
            greeted: false,
            login_deadline: Instant::now() + login_time_max,
            stopping,
        };
        (stream, beginning)
    }

    /// Runs the handshake on the stream of a session that has ended for it; `None` when there is
    /// no connection any more.
    pub(crate) async fn secured(
        self,
        start_tls: &StartTls,
        stream: ConnectionStream,
        protocol: Protocol,
    ) -> Option<(ConnectionStream, Self)> {
        let left = self.login_deadline.saturating_duration_since(Instant::now());
        let time_max = start_tls.handshake_time_max.min(left);
        let handshake = tokio::select! {
            () = self.stopping.cancelled() => return None,
            handshake = start_tls.tls.accept(stream, time_max) => handshake,
        };
        match handshake {
            Ok(stream) => {
                let tls = Some(stream.channel_bindings());
                Some((stream, Self { tls, start_tls: false, greeted: true, ..self }))
            }
            Err(error) => {
                let protocol = protocol.name();
                metrics::counter!("ceralacca_tls_handshakes_failed_total", "protocol" => protocol)
                    .increment(1);
                tracing::debug!(peer = %self.peer, protocol, %error, "no TLS after it was asked for");
                None
            }
        }
    }
}
