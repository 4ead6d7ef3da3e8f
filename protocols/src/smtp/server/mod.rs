//! The SMTP server: submission (RFC 6409) and relay (RFC 5321).
//!
//! One [`SmtpServer`] serves the sessions of one door; [`crate::net::serve`] brings the
//! connections. Invariants:
//!
//! * A password is asked for under TLS only (RFC 4954 §4), and nothing said before STARTTLS is
//!   remembered after it (RFC 3207 §4.2).
//! * Mail is submitted by somebody who is logged in, and by nobody else; who does not log in holds
//!   a connection of submission no longer than [`ServerSettings::login_time_max`], whatever he says.
//! * Reply 250 after the data goes out when [`MessageSink::finish`] has returned, never before.
//! * Memory of a session is bounded: buffers of `wire`, one envelope of
//!   [`Transport::recipients_max`] recipients.
//!
//! Files: `session` keeps the order of commands, `extensions` says what EHLO offers, `auth` logs in,
//! `transaction` and `chunking` take a message in, `incoming` reads its octets, `data` judges them,
//! [`received`] writes the trace field.
//!
//! Not here: who may send what to whom ([`Transport`]).
//!
//! [`MessageSink::finish`]: super::transport::MessageSink::finish

mod auth;
mod chunking;
mod data;
mod extensions;
mod incoming;
pub mod received;
mod session;
mod transaction;

#[cfg(any(test, fuzzing))]
pub(crate) use data::fuzz;

use std::{sync::Arc, time::Duration};

use super::transport::{Service, Transport};
use crate::{
    access::{Authenticator, Protocol},
    net::{Connection, SessionHandler, tls::TlsContext},
};

/// Names, times and bounds of the server.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Our host name in the greeting and in trace fields.
    pub server_name: String,
    /// How long the server waits for a whole command line (RFC 5321 §4.5.3.2.7: 5 minutes).
    pub command_time_max: Duration,
    /// How long the server waits for the next octets of data (RFC 5321 §4.5.3.2.5: 3 minutes).
    pub data_block_time_max: Duration,
    /// How long the data of one message may take in all.
    pub message_time_max: Duration,
    /// After how long the data of a message must have come at `message_octets_per_second_min`.
    pub message_grace: Duration,
    /// Octets of data per second, on average since their beginning; who sends slower is given up.
    pub message_octets_per_second_min: u64,
    /// How long a peer may take to read replies.
    pub write_time_max: Duration,
    /// How long a TLS handshake after STARTTLS may take.
    pub handshake_time_max: Duration,
    /// How long a client of submission may take to log in, STARTTLS included; then 421.
    pub login_time_max: Duration,
    /// Octets of a command line with its CR LF (RFC 5321 §4.5.3.1.4). MAIL may have 553 more for
    /// SIZE, BODY, AUTH and SMTPUTF8 (RFC 1870 §3, RFC 6152 §2, RFC 4954 §3, RFC 6531 §3.4), and
    /// MAIL and RCPT what their parameters of RFC 3461 take.
    pub command_octets_max: usize,
    /// Octets of a line of data with its CR LF (RFC 5321 §4.5.3.1.6).
    pub data_line_octets_max: usize,
    /// Octets of a message's header.
    pub header_octets_max: u64,
    /// Commands of one session; then 421.
    pub commands_max: usize,
    /// Commands refused with 5yz since the last message was taken, recipients not counted; then 421.
    pub errors_max: usize,
    /// Recipients refused with 5yz since the last message was taken. Beyond, a transaction that has
    /// recipients goes on, each refusal after [`Self::refusal_pause`]; without one the session ends
    /// with 421.
    pub recipients_refused_max: usize,
    /// How long a refusal beyond [`Self::recipients_refused_max`] is waited for.
    pub refusal_pause: Duration,
    /// Failed logins of one session; then 421.
    pub failed_logins_max: usize,
    /// Transactions of one session, announced as MAILMAX (RFC 9422 §4.1); then 421.
    pub transactions_max: usize,
}

impl ServerSettings {
    /// The values of the standard, and generous bounds where it gives none.
    #[must_use]
    pub fn new(server_name: impl Into<String>) -> Self {
        Self {
            server_name: server_name.into(),
            command_time_max: Duration::from_mins(5),
            data_block_time_max: Duration::from_mins(3),
            message_time_max: Duration::from_hours(1),
            message_grace: Duration::from_mins(5),
            message_octets_per_second_min: 1_000,
            write_time_max: Duration::from_mins(1),
            handshake_time_max: Duration::from_secs(30),
            login_time_max: Duration::from_mins(1),
            command_octets_max: 512,
            data_line_octets_max: 1_000,
            header_octets_max: 1024 * 1024,
            commands_max: 50_000,
            errors_max: 50,
            recipients_refused_max: 100,
            refusal_pause: Duration::from_secs(1),
            failed_logins_max: 3,
            transactions_max: 1_000,
        }
    }
}

/// The sessions of one door.
pub struct SmtpServer {
    settings: ServerSettings,
    transport: Arc<dyn Transport>,
    /// Who checks logins: `Some` for submission, `None` for relay.
    authenticator: Option<Arc<dyn Authenticator>>,
    start_tls: Option<Arc<TlsContext>>,
    refusal_line: Vec<u8>,
}

impl std::fmt::Debug for SmtpServer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("SmtpServer")
            .field("settings", &self.settings)
            .field("service", &self.service())
            .finish_non_exhaustive()
    }
}

impl SmtpServer {
    /// Serves our holders on ports 465 and 587. `start_tls` is announced to those who come in the
    /// clear.
    #[must_use]
    pub fn submission(
        settings: ServerSettings,
        transport: Arc<dyn Transport>,
        authenticator: Arc<dyn Authenticator>,
        start_tls: Option<Arc<TlsContext>>,
    ) -> Arc<Self> {
        Self::new(settings, transport, Some(authenticator), start_tls)
    }

    /// Serves other servers on port 25. `start_tls` is announced when given.
    #[must_use]
    pub fn relay(
        settings: ServerSettings,
        transport: Arc<dyn Transport>,
        start_tls: Option<Arc<TlsContext>>,
    ) -> Arc<Self> {
        Self::new(settings, transport, None, start_tls)
    }

    fn new(
        settings: ServerSettings,
        transport: Arc<dyn Transport>,
        authenticator: Option<Arc<dyn Authenticator>>,
        start_tls: Option<Arc<TlsContext>>,
    ) -> Arc<Self> {
        let name = &settings.server_name;
        let refusal_line =
            format!("421 {name} too many connections: try again later\r\n").into_bytes();
        Arc::new(Self { settings, transport, authenticator, start_tls, refusal_line })
    }

    fn service(&self) -> Service {
        if self.authenticator.is_some() { Service::Submission } else { Service::Relay }
    }
}

#[async_trait::async_trait]
impl SessionHandler for SmtpServer {
    fn protocol(&self) -> Protocol {
        match self.service() {
            Service::Submission => Protocol::Submission,
            Service::Relay => Protocol::Relay,
        }
    }

    fn refusal_line(&self) -> &[u8] {
        &self.refusal_line
    }

    async fn session(&self, connection: Connection) {
        session::run(self, connection).await;
    }
}
