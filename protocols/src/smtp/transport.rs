//! What the SMTP server asks of the rest of the program.
//!
//! The server frames commands and octets and keeps the order of the transaction; whether a
//! sender, a recipient or a message is taken, and what happens to it, is [`Transport`]'s affair.
//!
//! Invariant: a message is acknowledged only after [`MessageSink::finish`] returned, and what it
//! returned is durable.

use std::net::IpAddr;

use super::grammar::{EnvelopeId, Notify, OriginalRecipient, Ret};
use crate::access::Identity;

/// Which door the peer came through.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Service {
    /// Ports 465 and 587: our holders, logged in (RFC 6409).
    Submission,
    /// Port 25: other servers (RFC 5321).
    Relay,
}

/// The peer, as known at MAIL.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The door.
    pub service: Service,
    /// Its address.
    pub address: IpAddr,
    /// What it called itself in HELO or EHLO.
    pub helo: String,
    /// Whether that was EHLO, so that the client knows extensions.
    pub extended: bool,
    /// The TLS version and cipher, `None` in the clear.
    pub tls: Option<String>,
    /// Who logged in.
    pub identity: Option<Identity>,
}

/// The envelope of one transaction.
#[derive(Clone, Debug, Default)]
pub struct Envelope {
    /// The reverse path without angle brackets; empty for `<>`.
    pub reverse_path: String,
    /// SIZE as declared by the client (RFC 1870).
    pub declared_size: Option<u64>,
    /// BODY=8BITMIME (RFC 6152).
    pub eight_bit: bool,
    /// SMTPUTF8 (RFC 6531): addresses and header fields may be outside ASCII.
    pub smtp_utf8: bool,
    /// The forward paths taken so far, without angle brackets and source routes.
    pub forward_paths: Vec<String>,
    /// RET, ENVID and what was asked for each recipient (RFC 3461).
    pub dsn: EnvelopeDsn,
}

/// What the sender asks to be told of a transaction (RFC 3461).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct EnvelopeDsn {
    /// How much of the message a report returns.
    pub ret: Option<Ret>,
    /// The sender's own name for the transaction.
    pub envelope_id: Option<EnvelopeId>,
    /// For each of the forward paths, in their order. What is missing at the end asks for nothing.
    pub recipients: Vec<RecipientDsn>,
}

/// What the sender asks to be told of one recipient (RFC 3461).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RecipientDsn {
    /// Of what.
    pub notify: Notify,
    /// Whom the first sender named.
    pub original: Option<OriginalRecipient>,
}

/// A refusal: what the peer reads, and what the log reads.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{code} {enhanced} {text}")]
pub struct Refusal {
    /// Reply code, 4yz or 5yz (RFC 5321 §4.2).
    pub code: u16,
    /// Enhanced status code (RFC 3463), such as `5.7.1`.
    pub enhanced: &'static str,
    /// One line for the peer, printable ASCII, no internals; says what to do.
    pub text: String,
    /// Whether the connection must be closed after the reply.
    pub close: bool,
}

impl Refusal {
    /// A refusal after which the session goes on.
    #[must_use]
    pub fn new(code: u16, enhanced: &'static str, text: impl Into<String>) -> Self {
        Self { code, enhanced, text: text.into(), close: false }
    }
}

/// A message that was taken: the text of the 250 reply, such as `2.0.0 Ok: queued as …`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Taken {
    /// What the provider calls the message: the PEC identifier, or a queue number.
    pub identifier: String,
}

/// A message on its way in. Dropping it forgets everything.
#[async_trait::async_trait]
pub trait MessageSink: Send {
    /// Takes the next octets of the message, dot-stuffing undone, line ends CR LF, in pieces of
    /// any size. After an error the server drops the sink, reads on to the end of data and then
    /// sends the refusal.
    async fn write(&mut self, octets: &[u8]) -> Result<(), Refusal>;

    /// Takes the message over, durably.
    async fn finish(self: Box<Self>) -> Result<Taken, Refusal>;
}

/// What EHLO tells a peer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Announced {
    /// Octets of a message (RFC 1870 §3).
    pub octets_max: u64,
    /// Recipients of a transaction (RFC 9422 §4.2); `None` when it is not known yet.
    pub recipients_max: Option<usize>,
}

/// Takes messages in.
#[async_trait::async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Octets a message may have (SIZE in the EHLO reply), for this peer.
    fn message_octets_max(&self, peer: &Peer) -> u64;

    /// Recipients a transaction may have, for this peer.
    fn recipients_max(&self, peer: &Peer) -> usize;

    /// What EHLO announces of these bounds. They may be lower for a peer who has logged in.
    async fn announced(&self, peer: &Peer) -> Announced {
        Announced {
            octets_max: self.message_octets_max(peer),
            recipients_max: Some(self.recipients_max(peer)),
        }
    }

    /// Judges MAIL FROM.
    async fn mail(&self, peer: &Peer, envelope: &Envelope) -> Result<(), Refusal>;

    /// Judges one RCPT TO; `envelope.forward_paths` holds those taken before.
    async fn recipient(
        &self,
        peer: &Peer,
        envelope: &Envelope,
        forward_path: &str,
    ) -> Result<(), Refusal>;

    /// Opens the message. A refusal here is the reply to DATA itself: nothing has been sent yet.
    async fn data(&self, peer: &Peer, envelope: &Envelope)
    -> Result<Box<dyn MessageSink>, Refusal>;
}
