//! What every session shares, and the door through which [`crate::net`] hands connections in.

use std::{fmt, net::IpAddr, sync::Arc};

use jiff::tz::TimeZone;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use trust::clock::{Clock, SystemClock};

use super::{limits::ImapLimits, session::Session};
use crate::{
    access::{Authenticator, MailAccess, Protocol},
    net::{Connection, SessionHandler, stream::ChannelBindings},
};

/// What may be chosen about the server.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// The bounds of a session.
    pub limits: ImapLimits,
    /// The zone in which INTERNALDATE is written and days are counted.
    pub time_zone: TimeZone,
    /// The time from which the age of messages is counted.
    pub clock: Arc<dyn Clock>,
}

impl Default for ServerSettings {
    fn default() -> Self {
        let clock = Arc::new(SystemClock);
        Self { limits: ImapLimits::default(), time_zone: TimeZone::UTC, clock }
    }
}

/// What every session shares.
pub(super) struct Shared {
    pub(super) settings: ServerSettings,
    pub(super) authenticator: Arc<dyn Authenticator>,
    pub(super) mail: Arc<dyn MailAccess>,
}

/// The IMAP server: makes a session of every connection.
#[derive(Clone)]
pub struct Server(Arc<Shared>);

impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Server").field(&self.0.settings).finish()
    }
}

impl Server {
    /// A server that asks `authenticator` who somebody is and `mail` for his mail.
    #[must_use]
    pub fn new(
        settings: ServerSettings,
        authenticator: Arc<dyn Authenticator>,
        mail: Arc<dyn MailAccess>,
    ) -> Self {
        Self(Arc::new(Shared { settings, authenticator, mail }))
    }

    /// Serves one connection to its end.
    ///
    /// `tls` is what a login can be bound to when TLS protects `stream`: without TLS (`None`) nobody
    /// can log in. When
    /// `stopping` is cancelled the session finishes its command and says goodbye.
    pub async fn serve<S>(
        &self,
        stream: S,
        peer: IpAddr,
        tls: Option<ChannelBindings>,
        stopping: CancellationToken,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        Session::new(Arc::clone(&self.0), stream, peer, tls, stopping).run().await;
    }
}

#[async_trait::async_trait]
impl SessionHandler for Server {
    fn protocol(&self) -> Protocol {
        Protocol::Imap
    }

    fn refusal_line(&self) -> &[u8] {
        b"* BYE [UNAVAILABLE] Troppe connessioni, riprovare / Too many connections, try again\r\n"
    }

    async fn session(&self, connection: Connection) {
        let Connection { stream, peer, stopping, .. } = connection;
        let tls = stream.is_tls().then(|| stream.channel_bindings());
        self.serve(stream, peer.ip(), tls, stopping).await;
    }
}
