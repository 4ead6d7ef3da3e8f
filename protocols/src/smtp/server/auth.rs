//! Logging in: AUTH PLAIN and LOGIN (RFC 4954).
//!
//! ```text
//! C: AUTH PLAIN <base64>            C: AUTH LOGIN
//! S: 235 2.7.0 …                    S: 334 VXNlcm5hbWU6
//!                                   C: <base64 of the login>
//!                                   S: 334 UGFzc3dvcmQ6
//!                                   C: <base64 of the password>
//! ```
//!
//! Invariants: no mechanism here runs outside TLS; what the peer learns of a failure is that
//! login or password is wrong, never which.

use smtp_codec::types::{AuthMechanism, Capability};

use super::session::{AUTH_LINE_OCTETS_MAX, End, Ready, Session, bad_sequence};
use crate::{
    access::{LoginError, Protocol},
    sasl::Credentials,
    smtp::{
        grammar::{AuthArguments, Reply, Secret},
        transport::Peer,
        wire::Line,
    },
};

/// How the exchange of challenges ended without credentials.
enum Broken {
    /// The session goes on after this reply.
    Reply(Reply),
    End(End),
}

impl From<End> for Broken {
    fn from(end: End) -> Self {
        Self::End(end)
    }
}

fn undecodable() -> Broken {
    Broken::Reply(Reply::new(501, "5.5.2", "the response cannot be decoded"))
}

fn credentials_invalid() -> Reply {
    Reply::new(535, "5.7.8", "user name or password is wrong")
}

impl Session<'_> {
    /// What the reply to EHLO offers.
    pub(super) fn capabilities(&self, peer: &Peer) -> Vec<Capability> {
        let octets_max = self.server.transport.message_octets_max(peer);
        let size = u32::try_from(octets_max).map_or_else(
            |_| Capability::Other { keyword: "SIZE".into(), params: vec![octets_max.to_string()] },
            Capability::Size,
        );
        let mut capabilities = vec![
            Capability::Pipelining,
            size,
            Capability::EightBitMIME,
            Capability::EnhancedStatusCodes,
            Capability::DSN,
        ];
        if peer.tls.is_none() && self.server.start_tls.is_some() {
            capabilities.push(Capability::StartTLS);
        }
        if peer.tls.is_some() && peer.identity.is_none() && self.server.login.is_some() {
            let mechanisms = vec![AuthMechanism::Plain, AuthMechanism::Login];
            capabilities.push(Capability::Auth(mechanisms));
        }
        capabilities
    }

    /// Carries AUTH out and answers it.
    pub(super) async fn authenticate(
        &mut self,
        ready: Ready,
        arguments: AuthArguments,
    ) -> Result<Ready, End> {
        if let Some(reply) = self.refuses_auth(&ready.peer) {
            self.reply(&reply).await?;
            return Ok(ready);
        }
        match self.credentials(arguments).await {
            Ok(Some(credentials)) => self.check(ready, &credentials).await,
            Ok(None) => {
                self.failed_login(&ready).await?;
                Ok(ready)
            }
            Err(Broken::Reply(reply)) => {
                self.reply(&reply).await?;
                Ok(ready)
            }
            Err(Broken::End(end)) => Err(end),
        }
    }

    fn refuses_auth(&self, peer: &Peer) -> Option<Reply> {
        if self.server.login.is_none() {
            Some(Reply::new(502, "5.5.1", "nobody logs in here: submit on port 465 or 587"))
        } else if !peer.extended {
            Some(bad_sequence("say EHLO first"))
        } else if peer.tls.is_none() {
            Some(Reply::new(538, "5.7.11", "encryption required: say STARTTLS first"))
        } else if peer.identity.is_some() {
            Some(bad_sequence("already logged in"))
        } else {
            None
        }
    }

    /// Runs the mechanism; `None` for a message that can be decoded and holds no credentials.
    async fn credentials(
        &mut self,
        arguments: AuthArguments,
    ) -> Result<Option<Credentials>, Broken> {
        let AuthArguments { mechanism, initial_response } = arguments;
        match mechanism.as_str() {
            "PLAIN" => {
                let message = self.response(initial_response, "").await?;
                Ok(Credentials::from_plain(&message.0))
            }
            "LOGIN" => {
                let login = self.response(initial_response, "VXNlcm5hbWU6").await?;
                let password = self.response(None, "UGFzc3dvcmQ6").await?;
                Ok(Credentials::new(&login.0, &password.0))
            }
            _ => {
                let text = "mechanism not offered: use PLAIN or LOGIN";
                Err(Broken::Reply(Reply::new(504, "5.5.4", text)))
            }
        }
    }

    /// Returns the initial response, or sends `challenge` (base64) and reads the response.
    async fn response(
        &mut self,
        initial: Option<Secret>,
        challenge: &str,
    ) -> Result<Secret, Broken> {
        if let Some(response) = initial {
            return Ok(response);
        }
        self.reply(&Reply::bare(334, challenge)).await?;
        match self.line(AUTH_LINE_OCTETS_MAX).await? {
            Line::TooLong => {
                let text = "the authentication line is too long";
                Err(Broken::Reply(Reply::new(500, "5.5.6", text)))
            }
            Line::Whole(line) if line == b"*" => {
                Err(Broken::Reply(Reply::new(501, "5.7.0", "authentication cancelled")))
            }
            Line::Whole(line) => Secret::from_base64(&line).ok_or_else(undecodable),
        }
    }

    async fn check(&mut self, mut ready: Ready, credentials: &Credentials) -> Result<Ready, End> {
        let Some(login) = &self.server.login else { return Ok(ready) };
        let address = ready.peer.address;
        if !login.throttle.allows(address) {
            let reply = Reply::new(421, "4.7.0", &LoginError::TooManyFailures.to_string());
            return Err(End::GivenUp(Some(reply)));
        }
        let checked = login
            .authenticator
            .verify_password(
                Protocol::Submission,
                address,
                credentials.login(),
                credentials.password(),
            )
            .await;
        let reply = match checked {
            Ok(identity) => {
                tracing::info!(peer = %self.peer_address, address = %identity.address, "logged in");
                ready.peer.identity = Some(identity);
                Reply::new(235, "2.7.0", "logged in")
            }
            Err(LoginError::BadCredentials) => {
                self.failed_login(&ready).await?;
                return Ok(ready);
            }
            Err(error @ LoginError::Blocked) => Reply::new(525, "5.7.13", &error.to_string()),
            Err(error @ LoginError::TooManyFailures) => {
                return Err(End::GivenUp(Some(Reply::new(421, "4.7.0", &error.to_string()))));
            }
            Err(error @ LoginError::Unavailable(_)) => {
                tracing::warn!(peer = %self.peer_address, ?error, "logins are not possible");
                Reply::new(454, "4.7.0", &error.to_string())
            }
        };
        self.reply(&reply).await?;
        Ok(ready)
    }

    /// Answers and counts a failed login, for the session and for its source.
    async fn failed_login(&mut self, ready: &Ready) -> Result<(), End> {
        if let Some(login) = &self.server.login {
            login.throttle.failed(ready.peer.address);
        }
        metrics::counter!("ceralacca_logins_failed_total", "protocol" => Protocol::Submission.name())
            .increment(1);
        tracing::info!(peer = %self.peer_address, "login failed");
        self.failed_logins += 1;
        self.reply(&credentials_invalid()).await?;
        if self.failed_logins >= self.server.settings.failed_logins_max {
            let text = "too many failed logins: closing the connection";
            return Err(End::GivenUp(Some(Reply::new(421, "4.7.0", text))));
        }
        Ok(())
    }
}
