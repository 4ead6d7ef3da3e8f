//! Hands messages to other servers (RFC 5321 §2.1, §4.5.4.1).
//!
//! [`SmtpConnection::connect`] tries the servers it is given in their order; one connection then
//! carries any number of messages, one after the other. Invariants:
//!
//! * Every recipient of a message gets one [`Outcome`], and the outcome says whether sending
//!   again can double the message: only [`Outcome::Unknown`] can.
//! * The octets sent are the message's own, dots doubled; a message with a bare CR or LF in it is
//!   never ended, so that no server finds two messages in it.
//! * A message has an end in time, however slowly a server takes it: [`ClientSettings::time_for`].
//! * Memory is bounded by two pieces of 64 KiB, whatever the size of the message.
//! * Nothing of a message goes to a server that does not satisfy the [`TlsPolicy`] it is given.
//!
//! Not here: which servers and which policy (DNS, routes), when to try again, how many connections
//! (the queue).

mod connect;
mod replies;
mod send;
mod stuffing;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;

pub use self::{connect::ConnectError, replies::Interrupted, send::Outcome};
use super::{
    grammar::{ClientName, EnvelopeId, Extensions, ForwardPath, Ret, ReversePath},
    transport::RecipientDsn,
    wire::Wire,
};
use crate::net::tls::TlsClient;

/// Whether TLS is asked for.
#[derive(Clone, Debug)]
pub enum TlsPolicy {
    /// In the clear, whatever is offered.
    Never,
    /// TLS where it is offered; in the clear where it is not or does not work (RFC 7435 §3).
    Opportunistic(TlsClient),
    /// TLS, or no mail. The [`TlsClient`] says whether the server must be known too.
    Required(TlsClient),
}

/// A server to connect to.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its name.
    pub host: Host,
    /// Where it is, in the order in which to try.
    pub addresses: Vec<SocketAddr>,
    /// What is asked of it.
    pub tls: TlsPolicy,
}

/// Names and times of the client.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// What we call ourselves in EHLO.
    pub client_name: ClientName,
    /// Whether commands are sent in groups where PIPELINING is offered.
    pub pipelining: bool,
    /// How long one address may take to accept the connection.
    pub connect_time_max: Duration,
    /// How long one address may take until it is ready for a message. The greeting alone should be waited
    /// for 5 minutes (RFC 5321 §4.5.3.2.1); a server that says nothing for so long has neighbours who
    /// answer, or is tried again.
    pub address_time_max: Duration,
    /// How long all servers of a domain may take together.
    pub servers_time_max: Duration,
    /// How long a TLS handshake may take.
    pub handshake_time_max: Duration,
    /// How long the greeting and the replies to EHLO, MAIL, RCPT and RSET may take
    /// (RFC 5321 §4.5.3.2.1 to §4.5.3.2.3: 5 minutes).
    pub reply_time_max: Duration,
    /// How long the reply to DATA may take (RFC 5321 §4.5.3.2.4: 2 minutes).
    pub data_time_max: Duration,
    /// How long the server may take to accept a piece of data (RFC 5321 §4.5.3.2.5: 3 minutes).
    pub data_block_time_max: Duration,
    /// How long the reply to the end of data may take (RFC 5321 §4.5.3.2.6: 10 minutes). Less
    /// than that makes doubles, because a slow server may have taken the message.
    pub data_end_time_max: Duration,
    /// How long a message may take from MAIL to its last octet, whatever each step may: a server that
    /// takes a little just before each time is over would keep the connection for days. What its
    /// octets take at [`Self::octets_per_second_min`] comes on top.
    pub transaction_time_max: Duration,
    /// What each recipient adds to it: there are servers that ask another about him before they answer.
    pub recipient_time: Duration,
    /// The slowest that octets of a message may go, from its first to its last; 0 counts as 1.
    pub octets_per_second_min: u64,
}

impl ClientSettings {
    /// The times of the standard.
    #[must_use]
    pub fn new(client_name: ClientName) -> Self {
        Self {
            client_name,
            pipelining: true,
            connect_time_max: Duration::from_secs(30),
            address_time_max: Duration::from_mins(1),
            servers_time_max: Duration::from_mins(4),
            handshake_time_max: Duration::from_secs(30),
            reply_time_max: Duration::from_mins(5),
            data_time_max: Duration::from_mins(2),
            data_block_time_max: Duration::from_mins(3),
            data_end_time_max: Duration::from_mins(10),
            transaction_time_max: Duration::from_mins(15),
            recipient_time: Duration::from_secs(10),
            octets_per_second_min: 8 * 1024,
        }
    }

    /// How long a message of `octets` to so many `recipients` may take from MAIL to the end of its data.
    /// The reply to that end has [`Self::data_end_time_max`] of its own, all of it: given up earlier, it
    /// makes doubles.
    #[must_use]
    pub fn time_for(&self, octets: u64, recipients: usize) -> Duration {
        let seconds = octets.div_ceil(self.octets_per_second_min.max(1));
        let recipients = u32::try_from(recipients).unwrap_or(u32::MAX);
        self.transaction_time_max
            .saturating_add(Duration::from_secs(seconds))
            .saturating_add(self.recipient_time.saturating_mul(recipients))
    }
}

/// The name of a server.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Host {
    /// A host name, or an address without brackets. Certificates are verified against it.
    pub name: String,
    /// The port.
    pub port: u16,
}

impl std::fmt::Display for Host {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}:{}", self.name, self.port)
    }
}

/// The envelope of a message to be sent.
#[derive(Clone, Debug)]
pub struct OutgoingMessage {
    /// Whom it comes from.
    pub reverse_path: ReversePath,
    /// Whom it goes to.
    pub forward_paths: Vec<ForwardPath>,
    /// Its octets, as announced with SIZE.
    pub octets: u64,
    /// Whether octets above 127 are in it.
    pub eight_bit: bool,
    /// What the sender asks to be told; said to servers that offer DSN (RFC 3461).
    pub dsn: Option<OutgoingDsn>,
}

impl OutgoingMessage {
    /// Whether the server must offer SMTPUTF8: a path is outside ASCII (RFC 6531 §3.2). A header
    /// outside ASCII, which ordinary mail has had all along, does not ask for it.
    pub fn needs_smtp_utf8(&self) -> bool {
        !self.reverse_path.is_ascii() || !self.forward_paths.iter().all(ForwardPath::is_ascii)
    }
}

/// What the sender of a message asks to be told (RFC 3461).
#[derive(Clone, Debug, Default)]
pub struct OutgoingDsn {
    /// How much of the message a report returns.
    pub ret: Option<Ret>,
    /// The sender's own name for the transaction.
    pub envelope_id: Option<EnvelopeId>,
    /// For each forward path, in their order.
    pub recipients: Vec<RecipientDsn>,
}

/// Where a message's octets come from.
#[async_trait::async_trait]
pub trait MessageSource: Send {
    /// Returns the next octets, in pieces of any size, at best up to 64 KiB; nothing at the end.
    /// After an error the message is not sent; nothing of it has been taken.
    async fn next(&mut self) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>>;
}

/// A message in memory.
#[derive(Clone, Debug)]
pub struct WholeMessage(pub Bytes);

#[async_trait::async_trait]
impl MessageSource for WholeMessage {
    async fn next(&mut self) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
        Ok(std::mem::take(&mut self.0))
    }
}

/// A connection to a server that has answered EHLO or HELO.
#[derive(Debug)]
pub struct SmtpConnection {
    wire: Wire,
    settings: Arc<ClientSettings>,
    host: Host,
    /// What is known of the server by TLS; `None` in the clear.
    assurance: Option<&'static str>,
    extensions: Extensions,
    /// When the time of the message is over, while its envelope and its octets go out.
    message_end: Option<Instant>,
    /// A transaction is half open: RSET comes before the next.
    needs_reset: bool,
    /// The connection failed, or the server said that it closes.
    unusable: bool,
}

impl SmtpConnection {
    /// The host that answered.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// TLS by version and cipher; `None` in the clear.
    pub fn tls_description(&self) -> Option<String> {
        self.wire.stream().tls_description()
    }

    /// What TLS says of who the server is, as [`TlsClient::assurance`]; `None` in the clear.
    pub fn assurance(&self) -> Option<&'static str> {
        self.assurance
    }

    /// What the server offers.
    pub fn extensions(&self) -> Extensions {
        self.extensions
    }

    /// Whether another message can be sent over this connection.
    pub fn is_usable(&self) -> bool {
        !self.unusable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_time_by_its_size() {
        let name = ClientName::parse("mail.two.example").expect("a name");
        let mut settings = ClientSettings::new(name);
        for (octets, seconds) in [(0, 900), (1, 901), (8_192, 901), (72 << 20, 900 + 9_216)] {
            assert_eq!(settings.time_for(octets, 0), Duration::from_secs(seconds), "{octets}");
        }
        assert_eq!(
            settings.time_for(0, 250),
            Duration::from_secs(900 + 2_500),
            "and its recipients"
        );
        settings.octets_per_second_min = 0;
        assert!(
            settings.time_for(u64::MAX, usize::MAX) > Duration::from_hours(1),
            "no bound, and no panic"
        );
    }
}
