//! What every session shares, and the door through which [`crate::net`] hands connections in.

use std::{fmt, net::IpAddr, sync::Arc};

use jiff::tz::TimeZone;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Semaphore,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use trust::clock::{Clock, SystemClock};

use super::{limits::ImapLimits, session::Session};
use crate::{
    access::{Authenticator, MailAccess, Protocol},
    net::{
        Connection, SessionHandler,
        start_tls::{Beginning, StartTls},
        stream::ChannelBindings,
    },
    sessions::SessionLimits,
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
    /// Counts the sessions that are logged in, those of POP3 among them.
    pub sessions: Arc<SessionLimits>,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            limits: ImapLimits::default(),
            time_zone: TimeZone::UTC,
            clock: Arc::new(SystemClock),
            sessions: Arc::default(),
        }
    }
}

/// What every session shares.
pub(super) struct Shared {
    pub(super) settings: ServerSettings,
    pub(super) authenticator: Arc<dyn Authenticator>,
    pub(super) mail: Arc<dyn MailAccess>,
    /// A permit for each session that may be compressed.
    pub(super) compressed: Arc<Semaphore>,
}

/// The IMAP server: makes a session of every connection.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
    start_tls: Option<StartTls>,
}

impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Server")
            .field("settings", &self.shared.settings)
            .field("start_tls", &self.start_tls)
            .finish_non_exhaustive()
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
        let most = settings.limits.compressed_sessions_max.min(Semaphore::MAX_PERMITS);
        let compressed = Arc::new(Semaphore::new(most));
        let shared = Shared { settings, authenticator, mail, compressed };
        Self { shared: Arc::new(shared), start_tls: None }
    }

    /// The same server for a door in the clear, where STARTTLS is offered.
    #[must_use]
    pub fn with_start_tls(&self, start_tls: StartTls) -> Self {
        Self { shared: Arc::clone(&self.shared), start_tls: Some(start_tls) }
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
        let login_deadline = Instant::now() + self.shared.settings.limits.login_time_max;
        let (start_tls, greeted) = (false, false);
        let beginning = Beginning { peer, tls, start_tls, greeted, login_deadline, stopping };
        Session::new(Arc::clone(&self.shared), stream, beginning).run().await;
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
        let time_max = self.shared.settings.limits.login_time_max;
        let mut next = Some(Beginning::of(connection, self.start_tls.as_ref(), time_max));
        // At most one session in the clear, and one under TLS behind it.
        while let Some((stream, beginning)) = next {
            let ended = Session::new(Arc::clone(&self.shared), stream, beginning).run().await;
            next = match (ended, &self.start_tls) {
                (Some((stream, beginning)), Some(start_tls)) => {
                    beginning.secured(start_tls, stream, Protocol::Imap).await
                }
                _ => None,
            };
        }
    }
}
