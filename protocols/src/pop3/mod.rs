//! POP3 (RFC 1939) with the extensions that CAPA lists (RFC 2449).
//!
//! * [`session`]: the order of states. * [`authorization`]: logins and STLS. * [`transaction`]: the
//!   messages, and the update. * [`capability`]: CAPA.
//! * [`maildrop`]: the locked INBOX and what is to be deleted. * [`multiline`]: messages on the wire.
//! * [`reply`]: answers and their codes. * [`texts`]: what people read in them, in two languages.
//! * [`login_delay`]: the time between two logins.
//!
//! Invariants: one session per account, the next gets `[IN-USE]`; nothing is deleted before QUIT
//! (RFC 1939 §6); a message is never held in memory; nobody logs in without TLS, and nothing that
//! was said before STLS is known after it.
//!
//! Flags are IMAP's affair: fetching a message does not make it `\Seen`.
//!
//! Not here: who may log in and where the mail is ([`crate::access`]), sockets and TLS
//! ([`crate::net`]).

mod authorization;
mod capability;
mod login_delay;
mod maildrop;
mod multiline;
mod reply;
mod session;
mod texts;
mod transaction;

use std::{
    collections::HashSet,
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use storage::ids::AccountId;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use self::{login_delay::LoginDelay, session::Session};
use crate::{
    access::{Authenticator, MailAccess, Protocol},
    net::{
        Connection, SessionHandler,
        start_tls::{Beginning, StartTls},
        stream::ChannelBindings,
    },
    sessions::SessionLimits,
};

/// Every bound of a POP3 session, and what CAPA says of the site. Connections in all and per source
/// are bounded by [`crate::net`], sessions that are logged in by [`crate::sessions`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pop3Limits {
    /// Octets of a command line, AUTH apart, which has those of [`crate::sasl`]. RFC 2449 §4 asks
    /// for 255; long passwords need more.
    pub line_octets_max: usize,
    /// How long a session may be silent (RFC 1939 §3: at least 10 minutes).
    pub idle_time_max: Duration,
    /// How long a peer may take to log in.
    pub login_time_max: Duration,
    /// How long one piece (64 KiB) of output may take.
    pub write_time_max: Duration,
    /// Wrong commands in a row.
    pub bad_commands_max: u32,
    /// Failed logins of one session.
    pub failed_logins_max: u32,
    /// How long an account must wait between two logins (RFC 2449 §6.5); zero = not at all.
    pub login_delay: Duration,
    /// Accounts whose last login is remembered for that.
    pub logins_remembered_max: usize,
    /// After how many days the site may remove messages (RFC 2449 §6.7); `None` = never. Nothing
    /// here removes them.
    pub expire_days: Option<u32>,
}

impl Default for Pop3Limits {
    fn default() -> Self {
        Self {
            line_octets_max: 2_048,
            idle_time_max: Duration::from_mins(10),
            login_time_max: Duration::from_mins(1),
            write_time_max: Duration::from_mins(2),
            bad_commands_max: 20,
            failed_logins_max: 3,
            login_delay: Duration::ZERO,
            logins_remembered_max: 65_536,
            expire_days: None,
        }
    }
}

/// What every session shares.
struct Shared {
    limits: Pop3Limits,
    authenticator: Arc<dyn Authenticator>,
    mail: Arc<dyn MailAccess>,
    /// Accounts with a session.
    locked: Mutex<HashSet<AccountId>>,
    login_delay: LoginDelay,
    sessions: Arc<SessionLimits>,
}

/// The POP3 server: makes a session of every connection.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
    start_tls: Option<StartTls>,
}

impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Server")
            .field("limits", &self.shared.limits)
            .field("start_tls", &self.start_tls)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// A server that asks `authenticator` who somebody is and `mail` for his mail. Clones share
    /// the locks of accounts. `sessions` counts those that are logged in.
    #[must_use]
    pub fn new(
        limits: Pop3Limits,
        authenticator: Arc<dyn Authenticator>,
        mail: Arc<dyn MailAccess>,
        sessions: Arc<SessionLimits>,
    ) -> Self {
        let login_delay = LoginDelay::new(limits.login_delay, limits.logins_remembered_max);
        let locked = Mutex::default();
        let shared = Shared { limits, authenticator, mail, locked, login_delay, sessions };
        Self { shared: Arc::new(shared), start_tls: None }
    }

    /// The same server, with its locks, for a door in the clear, where STLS is offered.
    #[must_use]
    pub fn with_start_tls(&self, start_tls: StartTls) -> Self {
        Self { shared: Arc::clone(&self.shared), start_tls: Some(start_tls) }
    }

    /// Serves one connection to its end.
    ///
    /// `tls` is what a login can be bound to when TLS protects `stream`: without TLS (`None`) nobody
    /// can log in. When `stopping` is cancelled the session finishes its command and says goodbye,
    /// without deleting anything.
    pub async fn serve<S>(
        &self,
        stream: S,
        peer: IpAddr,
        tls: Option<ChannelBindings>,
        stopping: CancellationToken,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let login_deadline = Instant::now() + self.shared.limits.login_time_max;
        let (start_tls, greeted) = (false, false);
        let beginning = Beginning { peer, tls, start_tls, greeted, login_deadline, stopping };
        Session::new(Arc::clone(&self.shared), stream, beginning).run().await;
    }
}

#[async_trait::async_trait]
impl SessionHandler for Server {
    fn protocol(&self) -> Protocol {
        Protocol::Pop3
    }

    fn refusal_line(&self) -> &[u8] {
        b"-ERR [SYS/TEMP] Troppe connessioni, riprovare / Too many connections, try again\r\n"
    }

    async fn session(&self, connection: Connection) {
        let time_max = self.shared.limits.login_time_max;
        let mut next = Some(Beginning::of(connection, self.start_tls.as_ref(), time_max));
        // At most one session in the clear, and one under TLS behind it.
        while let Some((stream, beginning)) = next {
            let ended = Session::new(Arc::clone(&self.shared), stream, beginning).run().await;
            next = match (ended, &self.start_tls) {
                (Some((stream, beginning)), Some(start_tls)) => {
                    beginning.secured(start_tls, stream, Protocol::Pop3).await
                }
                _ => None,
            };
        }
    }
}
