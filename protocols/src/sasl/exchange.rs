//! The messages of one login, whatever the mechanism and whatever protocol carries them.
//!
//! ```text
//! PLAIN   C: [authzid] NUL login NUL password
//! LOGIN   S: "Username:"  C: login  S: "Password:"  C: password
//! SCRAM   C: first  S: challenge  C: proof  S: signature  C: (empty)
//! OAUTHBEARER  C: token    or    C: token  S: why not, in JSON  C: %x01
//! ```
//!
//! The carrier decodes and encodes base64, sends each [`Step::Challenge`], hands the response to the
//! next [`Exchange::step`], and answers [`Step::Done`] in its own words. It handles `*`, by which a
//! client cancels, itself.
//!
//! Invariants: a password or a proof is judged by the [`Authenticator`] alone, once for each
//! exchange; what cannot be read is refused like a wrong password.

use std::net::IpAddr;

use super::{Credentials, Mechanism, bearer::BearerMessage, scram};
use crate::{
    access::{Authenticator, Identity, LoginError, Protocol},
    net::stream::ChannelBindings,
};

/// What comes next.
#[derive(Debug)]
pub enum Step {
    /// Send this, then hand the response to [`Exchange::step`].
    Challenge(Vec<u8>),
    /// The exchange has ended.
    Done(Result<Identity, LoginError>),
}

#[derive(Debug)]
enum State {
    Plain,
    Login,
    /// LOGIN, with the login that was given.
    Password(Vec<u8>),
    Scram {
        plus: bool,
    },
    Proof(Box<scram::Challenged>),
    /// The proof was right; the client has still to answer the server's signature.
    Signed(Identity),
    Bearer,
    /// The client has been told why; it has still to answer that (RFC 7628 §3.2.3).
    TokenRefused(LoginError),
    Over,
}

/// One login in progress.
pub struct Exchange<'a> {
    authenticator: &'a dyn Authenticator,
    protocol: Protocol,
    peer: IpAddr,
    bindings: &'a ChannelBindings,
    state: State,
}

impl std::fmt::Debug for Exchange<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Exchange").field("protocol", &self.protocol).finish_non_exhaustive()
    }
}

impl<'a> Exchange<'a> {
    /// Begins to log `peer` in. The mechanism must be one that [`Mechanism::offered`] names for the
    /// same `bindings`.
    pub fn new(
        mechanism: Mechanism,
        authenticator: &'a dyn Authenticator,
        (protocol, peer): (Protocol, IpAddr),
        bindings: &'a ChannelBindings,
    ) -> Self {
        let state = match mechanism {
            Mechanism::Plain => State::Plain,
            Mechanism::Login => State::Login,
            Mechanism::ScramSha256 => State::Scram { plus: false },
            Mechanism::ScramSha256Plus => State::Scram { plus: true },
            Mechanism::OauthBearer => State::Bearer,
        };
        Self { authenticator, protocol, peer, bindings, state }
    }

    /// Takes the client's response; `None` at the beginning when it sent no initial response.
    pub async fn step(&mut self, response: Option<&[u8]>) -> Step {
        match (std::mem::replace(&mut self.state, State::Over), response) {
            (State::Login, None) => self.ask(State::Login, b"Username:"),
            (state @ (State::Plain | State::Scram { .. } | State::Bearer), None) => {
                self.ask(state, b"")
            }
            (State::Plain, Some(message)) => self.check(Credentials::from_plain(message)).await,
            (State::Login, Some(login)) => self.ask(State::Password(login.to_vec()), b"Password:"),
            (State::Password(login), Some(password)) => {
                self.check(Credentials::new(&login, password)).await
            }
            (State::Scram { plus }, Some(message)) => self.challenge(message, plus).await,
            (State::Proof(challenged), Some(message)) => self.conclude(&challenged, message).await,
            (State::Signed(identity), Some(b"")) => Step::Done(Ok(identity)),
            (State::Bearer, Some(message)) => self.bearer(message).await,
            (State::TokenRefused(error), _) => Step::Done(Err(error)),
            _ => Step::Done(Err(LoginError::BadCredentials)),
        }
    }

    /// How the exchange ended already, when the client gives it up instead of answering: a token that
    /// was refused stays a failed login (RFC 7628 §3.2.3).
    pub fn refused(&mut self) -> Option<LoginError> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::TokenRefused(error) => Some(error),
            _ => None,
        }
    }

    fn ask(&mut self, state: State, challenge: &[u8]) -> Step {
        self.state = state;
        Step::Challenge(challenge.to_vec())
    }

    /// Credentials that cannot be right (`None`) are refused like wrong ones.
    async fn check(&mut self, credentials: Option<Credentials>) -> Step {
        let Some(given) = credentials else {
            return Step::Done(Err(LoginError::BadCredentials));
        };
        let (login, password) = (given.login(), given.password());
        let checked = self.authenticator.verify_password(self.protocol, self.peer, login, password);
        Step::Done(checked.await)
    }

    /// A token that is refused for what it is costs one message more, which says where to get
    /// another (RFC 7628 §3.2.2).
    async fn bearer(&mut self, message: &[u8]) -> Step {
        let outcome = match BearerMessage::read(message) {
            Some(BearerMessage { login, token }) => {
                let authenticator = self.authenticator;
                authenticator.verify_token(self.protocol, self.peer, login.as_deref(), &token).await
            }
            None => Err(LoginError::BadCredentials),
        };
        match (outcome, self.authenticator.token_refusal()) {
            (Err(error @ LoginError::BadCredentials), Some(json)) => {
                let json = json.as_bytes().to_vec();
                self.ask(State::TokenRefused(error), &json)
            }
            (outcome, _) => Step::Done(outcome),
        }
    }

    async fn challenge(&mut self, message: &[u8], plus: bool) -> Step {
        let first = match scram::ClientFirst::read(message, plus, self.bindings) {
            Ok(first) => first,
            Err(error) => return self.broken(&error),
        };
        let found = self.authenticator.scram_keys(self.protocol, self.peer, &first.login).await;
        let keys = match found {
            Ok(keys) => keys,
            Err(error) => return Step::Done(Err(error)),
        };
        let challenged = first.answered(keys.verifier, &keys.nonce);
        let message = challenged.message().as_bytes().to_vec();
        self.ask(State::Proof(Box::new(challenged)), &message)
    }

    async fn conclude(&mut self, challenged: &scram::Challenged, message: &[u8]) -> Step {
        let (proven, signature) = match challenged.conclude(message) {
            Ok(Some(signature)) => (true, signature),
            Ok(None) => (false, String::new()),
            Err(error) => return self.broken(&error),
        };
        let (login, verifier) = (challenged.login(), challenged.verifier());
        let settled = self
            .authenticator
            .scram_settled(self.protocol, self.peer, login, verifier, proven)
            .await;
        match settled {
            Ok(identity) if proven => self.ask(State::Signed(identity), signature.as_bytes()),
            Ok(_) => Step::Done(Err(LoginError::BadCredentials)),
            Err(error) => Step::Done(Err(error)),
        }
    }

    fn broken(&self, error: &scram::ScramError) -> Step {
        tracing::debug!(peer = %self.peer, protocol = self.protocol.name(), %error, "SCRAM");
        Step::Done(Err(LoginError::BadCredentials))
    }
}
