//! POP3 (RFC 1939) with the extensions that CAPA lists (RFC 2449).
//!
//! * [`session`]: the authorization and transaction states. * [`maildrop`]: the locked INBOX and
//!   what is to be deleted. * [`multiline`]: messages on the wire.
//!
//! Invariants: one session per account, the next gets `[IN-USE]`; nothing is deleted before QUIT
//! (RFC 1939 §6); a message is never held in memory.
//!
//! Flags are IMAP's affair: fetching a message does not make it `\Seen`.
//!
//! Not here: who may log in and where the mail is ([`crate::access`]), sockets and TLS
//! ([`crate::net`]).

mod maildrop;
mod multiline;
mod session;

use std::{
    collections::HashSet,
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use storage::ids::AccountId;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use crate::{
    access::{Authenticator, MailAccess, Protocol},
    net::{Connection, SessionHandler, stream::ChannelBindings},
};

/// Every bound of a POP3 session. Connections in all and per source are bounded by [`crate::net`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pop3Limits {
    /// Octets of a command line. RFC 2449 §4 asks for 255; long passwords need more.
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
}

/// The POP3 server: makes a session of every connection.
#[derive(Clone)]
pub struct Server(Arc<Shared>);

impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Server").field(&self.0.limits).finish()
    }
}

impl Server {
    /// A server that asks `authenticator` who somebody is and `mail` for his mail. Clones share
    /// the locks of accounts.
    #[must_use]
    pub fn new(
        limits: Pop3Limits,
        authenticator: Arc<dyn Authenticator>,
        mail: Arc<dyn MailAccess>,
    ) -> Self {
        Self(Arc::new(Shared { limits, authenticator, mail, locked: Mutex::default() }))
    }

    /// Serves one connection to its end.
    ///
    /// `tls` is what a login can be bound to when TLS protects `stream`: without TLS (`None`) nobody
    /// can log in. When
    /// `stopping` is cancelled the session finishes its command and says goodbye, without
    /// deleting anything.
    pub async fn serve<S>(
        &self,
        stream: S,
        peer: IpAddr,
        tls: Option<ChannelBindings>,
        stopping: CancellationToken,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        session::Session::new(Arc::clone(&self.0), stream, peer, tls, stopping).run().await;
    }
}

#[async_trait::async_trait]
impl SessionHandler for Server {
    fn protocol(&self) -> Protocol {
        Protocol::Pop3
    }

    fn refusal_line(&self) -> &[u8] {
        b"-ERR Troppe connessioni, riprovare / Too many connections, try again\r\n"
    }

    async fn session(&self, connection: Connection) {
        let Connection { stream, peer, stopping, .. } = connection;
        let tls = stream.is_tls().then(|| stream.channel_bindings());
        self.serve(stream, peer.ip(), tls, stopping).await;
    }
}
