//! Logging in: AUTH (RFC 4954).
//!
//! ```text
//! C: AUTH PLAIN <base64>            C: AUTH SCRAM-SHA-256 <base64>
//! S: 235 2.7.0 …                    S: 334 <base64>
//!                                   C: <base64>
//!                                   S: 334 <base64>
//!                                   C: (empty)
//!                                   S: 235 2.7.0 …
//! ```
//!
//! Invariants: no mechanism here runs outside TLS; what the peer learns of a failure is that
//! login or password is wrong, never which.
//!
//! Not here: the mechanisms ([`crate::sasl`]).

use super::session::{AUTH_LINE_OCTETS_MAX, End, Ready, Session, bad_sequence};
use crate::{
    access::{Identity, LoginError, Protocol},
    sasl::{Exchange, Mechanism, Step},
    smtp::{
        grammar::{AuthArguments, Reply, Secret},
        transport::Peer,
        wire::Line,
    },
};

/// How the exchange of challenges ended without a login.
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
    /// The mechanisms for this connection; none where nobody can log in.
    pub(super) fn mechanisms(&self, peer: &Peer) -> Vec<Mechanism> {
        match &self.server.authenticator {
            Some(authenticator) if peer.tls.is_some() && peer.identity.is_none() => {
                let bindings = self.wire.stream().channel_bindings();
                Mechanism::offered(&bindings, true, &**authenticator)
            }
            _ => Vec::new(),
        }
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
        match self.exchange(&ready.peer, arguments).await {
            Ok(outcome) => self.settle(ready, outcome).await,
            Err(Broken::Reply(reply)) => {
                self.reply(&reply).await?;
                Ok(ready)
            }
            Err(Broken::End(end)) => Err(end),
        }
    }

    fn refuses_auth(&self, peer: &Peer) -> Option<Reply> {
        if self.server.authenticator.is_none() {
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

    /// Runs the mechanism to its end.
    async fn exchange(
        &mut self,
        peer: &Peer,
        arguments: AuthArguments,
    ) -> Result<Result<Identity, LoginError>, Broken> {
        let AuthArguments { mechanism, initial_response } = arguments;
        let offered = self.mechanisms(peer);
        let server = self.server;
        let (Some(mechanism), Some(authenticator)) =
            (Mechanism::among(&offered, &mechanism), &server.authenticator)
        else {
            let names: Vec<_> = offered.into_iter().map(Mechanism::name).collect();
            let text = format!("mechanism not offered: use one of {}", names.join(", "));
            return Err(Broken::Reply(Reply::new(504, "5.5.4", &text)));
        };
        let bindings = self.wire.stream().channel_bindings();
        let who = (Protocol::Submission, peer.address);
        let mut exchange = Exchange::new(mechanism, &**authenticator, who, &bindings);
        let mut response = initial_response;
        loop {
            match exchange.step(response.as_ref().map(|given| given.0.as_slice())).await {
                Step::Challenge(challenge) => response = Some(self.response(&challenge).await?),
                Step::Done(outcome) => return Ok(outcome),
            }
        }
    }

    /// Sends a challenge and reads the response.
    async fn response(&mut self, challenge: &[u8]) -> Result<Secret, Broken> {
        self.reply(&Reply::challenge(challenge)).await?;
        match self.login_line(AUTH_LINE_OCTETS_MAX).await? {
            Line::TooLong(_) => {
                let text = "the authentication line is too long";
                Err(Broken::Reply(Reply::new(500, "5.5.6", text)))
            }
            Line::Whole(line) if line == b"*" => {
                Err(Broken::Reply(Reply::new(501, "5.7.0", "authentication cancelled")))
            }
            Line::Whole(line) if line.is_empty() => Ok(Secret(Vec::new())),
            Line::Whole(line) => Secret::from_base64(&line).ok_or_else(undecodable),
        }
    }

    async fn settle(
        &mut self,
        mut ready: Ready,
        outcome: Result<Identity, LoginError>,
    ) -> Result<Ready, End> {
        let reply = match outcome {
            Ok(identity) => {
                tracing::info!(peer = %self.peer_address, address = %identity.address, "logged in");
                ready.peer.identity = Some(identity);
                Reply::new(235, "2.7.0", "logged in")
            }
            Err(LoginError::BadCredentials) => {
                self.failed_login().await?;
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

    /// Answers and counts a failed login of this session; the authenticator counts for all.
    async fn failed_login(&mut self) -> Result<(), End> {
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
