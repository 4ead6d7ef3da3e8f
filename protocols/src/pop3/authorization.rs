//! The authorization state: USER and PASS (RFC 1939 §7), AUTH (RFC 5034), STLS (RFC 2595 §4), UTF8
//! (RFC 6856 §2.1), and what every login ends with.
//!
//! Invariant: no password and no proof is taken in the clear.
//!
//! Not here: the mechanisms ([`crate::sasl`]).

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokio::time::{Instant, timeout_at};

use super::{
    maildrop::{Maildrop, OpenError},
    reply::{Code, Reply},
    session::{Session, State, log},
    texts::{self, Text},
};
use crate::{
    access::{Identity, LoginError, Protocol},
    lines::{Disconnect, Stream},
    sasl::{Credentials, Exchange, LINE_OCTETS_MAX, Mechanism, Step},
    sessions::TooManySessions,
};

impl<S: Stream> Session<S> {
    pub(super) async fn authorization(
        &mut self,
        keyword: &[u8],
        argument: Option<&[u8]>,
    ) -> Result<Reply, Disconnect> {
        let State::Authorization { user } = &mut self.state else {
            return Ok(Reply::Wrong(texts::WRONG_STATE));
        };
        match (keyword, argument) {
            (b"USER" | b"PASS" | b"AUTH", _) if self.beginning.tls.is_none() => {
                Ok(Reply::Error(None, texts::TLS_FIRST))
            }
            (b"AUTH", Some(argument)) => self.authenticate(argument).await,
            (b"USER", Some(name)) => {
                *user = Some(name.to_vec());
                Ok(Reply::Ok(texts::PASSWORD))
            }
            (b"PASS", Some(password)) => match user.take() {
                Some(name) => {
                    let verified = self.verified(Credentials::new(&name, password)).await;
                    self.enter(verified).await
                }
                None => Ok(Reply::Wrong(texts::USER_FIRST)),
            },
            (b"STLS", None) => self.start_tls(),
            (b"UTF8", None) => Ok(Reply::Ok(texts::UTF8)),
            (b"STAT" | b"LIST" | b"UIDL" | b"RETR" | b"TOP" | b"DELE" | b"RSET" | b"NOOP", _) => {
                Ok(Reply::Wrong(texts::WRONG_STATE))
            }
            _ => Ok(Reply::Wrong(texts::UNKNOWN)),
        }
    }

    /// Nothing may follow STLS before TLS: what does could have been put there by somebody between,
    /// and would seem to come from the client (RFC 2595 §4).
    fn start_tls(&mut self) -> Result<Reply, Disconnect> {
        if !self.beginning.start_tls {
            return Ok(Reply::Wrong(texts::NO_START_TLS));
        }
        if self.lines.has_input() {
            return Err(Disconnect::OctetsBeforeTls);
        }
        self.state = State::StartTls;
        Ok(Reply::Ok(texts::BEGIN_TLS))
    }

    /// AUTH (RFC 5034 §4): the mechanism and, behind a space, the initial response or `=` for an
    /// empty one.
    async fn authenticate(&mut self, argument: &[u8]) -> Result<Reply, Disconnect> {
        let bindings = self.beginning.tls.clone().unwrap_or_default();
        let mut words = argument.splitn(2, |octet| *octet == b' ');
        let name = String::from_utf8_lossy(words.next().unwrap_or_default()).into_owned();
        let Some(mechanism) = Mechanism::among(&self.mechanisms(), &name) else {
            return Ok(Reply::Wrong(texts::UNKNOWN_MECHANISM));
        };
        let mut response = match words.next() {
            None => None,
            Some(b"=") => Some(Vec::new()),
            Some(text) => match STANDARD.decode(text) {
                Ok(octets) => Some(octets),
                Err(_) => return Ok(Reply::Wrong(texts::UNDECODABLE)),
            },
        };
        let (shared, who) = (Arc::clone(&self.shared), (Protocol::Pop3, self.beginning.peer));
        let mut exchange = Exchange::new(mechanism, &*shared.authenticator, who, &bindings);
        loop {
            match exchange.step(response.as_deref()).await {
                Step::Done(outcome) => return self.enter(outcome).await,
                Step::Challenge(challenge) => {
                    let line = format!("+ {}\r\n", STANDARD.encode(challenge));
                    self.lines.put(line.as_bytes()).await?;
                    self.lines.flush().await?;
                    let line = self.lines.line(LINE_OCTETS_MAX);
                    let line = timeout_at(self.beginning.login_deadline, line).await;
                    let line = line.map_err(|_| Disconnect::LoginTimedOut)??;
                    // `*` cancels (RFC 5034 §4), and is no base64 either.
                    let Ok(octets) = STANDARD.decode(line.trim_ascii_end()) else {
                        return match exchange.refused() {
                            Some(error) => self.enter(Err(error)).await,
                            None => Ok(Reply::Wrong(texts::UNDECODABLE)),
                        };
                    };
                    response = Some(octets);
                }
            }
        }
    }

    async fn verified(&self, credentials: Option<Credentials>) -> Result<Identity, LoginError> {
        let given = credentials.ok_or(LoginError::BadCredentials)?;
        let (login, password) = (given.login(), given.password());
        let authenticator = &self.shared.authenticator;
        let peer = self.beginning.peer;
        authenticator.verify_password(Protocol::Pop3, peer, login, password).await
    }

    /// Opens the maildrop of somebody whose login was checked.
    async fn enter(&mut self, verified: Result<Identity, LoginError>) -> Result<Reply, Disconnect> {
        let identity = match verified {
            Ok(identity) => identity,
            Err(error) => return self.login_refused(&error).await,
        };
        let (account, peer) = (identity.account_id, self.beginning.peer);
        if self.shared.login_delay.holds_back(account, Instant::now()) {
            tracing::info!(%peer, address = %identity.address, "POP3 login held back by the delay");
            return Ok(Reply::coded(Code::LoginDelay, texts::TOO_EARLY));
        }
        match Maildrop::open(&self.shared, &identity, peer).await {
            Ok(maildrop) => {
                tracing::info!(%peer, address = %identity.address, "POP3 login");
                self.shared.login_delay.entered(account, Instant::now());
                let (count, octets) = maildrop.totals();
                self.state = State::Transaction(Box::new(maildrop));
                Ok(Reply::Messages { count, octets, lines: None })
            }
            Err(OpenError::InUse) => Ok(Reply::coded(Code::InUse, texts::IN_USE)),
            Err(OpenError::TooMany(refused)) => {
                tracing::info!(%peer, address = %identity.address, %refused, "POP3 login refused");
                let (italian, english) = refused.texts();
                let code = match refused {
                    TooManySessions::Account => Code::InUse,
                    TooManySessions::Source => Code::SysTemp,
                };
                Ok(Reply::coded(code, Text(italian, english)))
            }
            Err(OpenError::Store(error)) => Ok(log(&error)),
        }
    }

    async fn login_refused(&mut self, error: &LoginError) -> Result<Reply, Disconnect> {
        let cause = std::error::Error::source(error).map(ToString::to_string);
        tracing::info!(peer = %self.beginning.peer, %error, cause, "POP3 login refused");
        let reply = match error {
            LoginError::BadCredentials => Reply::coded(Code::Auth, texts::BAD_CREDENTIALS),
            LoginError::Blocked => Reply::coded(Code::Auth, texts::BLOCKED),
            LoginError::TooManyFailures => Reply::coded(Code::SysTemp, texts::TOO_MANY_FAILURES),
            LoginError::Unavailable(_) => Reply::coded(Code::SysTemp, texts::NOT_NOW),
        };
        self.failed_logins += 1;
        if self.failed_logins < self.shared.limits.failed_logins_max {
            return Ok(reply);
        }
        self.send(reply).await?;
        Err(Disconnect::TooManyErrors)
    }
}
