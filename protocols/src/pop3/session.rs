//! One POP3 session: the order of its states (RFC 1939 §3), and what every state has.
//!
//! Not here: the commands of the authorization state (`authorization`) and of the transaction state
//! (`transaction`), CAPA (`capability`).

use std::sync::Arc;

use bytes::BytesMut;
use storage::error::StoreError;
use tokio::time::{Instant, timeout_at};

use super::{
    Shared,
    maildrop::Maildrop,
    reply::{Code, Reply},
    texts::{self, Language},
};
use crate::{
    lines::{Disconnect, Lines, Stream},
    net::start_tls::Beginning,
    sasl::LINE_OCTETS_MAX,
};

/// RFC 1939 §3.
pub(super) enum State {
    Authorization {
        user: Option<Vec<u8>>,
    },
    Transaction(Box<Maildrop>),
    /// STLS was answered: the stream goes over to TLS.
    StartTls,
    Ended,
}

/// One connection's session.
pub(super) struct Session<S> {
    pub(super) lines: Lines<S>,
    pub(super) shared: Arc<Shared>,
    pub(super) beginning: Beginning,
    pub(super) state: State,
    pub(super) language: Language,
    pub(super) failed_logins: u32,
    bad_commands: u32,
}

impl<S: Stream> Session<S> {
    pub(super) fn new(shared: Arc<Shared>, stream: S, beginning: Beginning) -> Self {
        Self {
            lines: Lines::new(stream, shared.limits.write_time_max),
            shared,
            beginning,
            state: State::Authorization { user: None },
            language: Language::default(),
            failed_logins: 0,
            bad_commands: 0,
        }
    }

    /// Runs the session to its end. Returns the stream when TLS is to begin on it.
    pub(super) async fn run(mut self) -> Option<(S, Beginning)> {
        let mut ended = self.dialogue().await;
        if ended.is_ok() && matches!(self.state, State::StartTls) {
            // From here on the stream is TLS's: what cannot be said there is not said.
            let peer = self.beginning.peer;
            return match self.lines.into_stream().await {
                Ok(stream) => Some((stream, self.beginning)),
                Err(disconnect) => {
                    tracing::debug!(%peer, %disconnect, "POP3 session ended");
                    None
                }
            };
        }
        if let Err(disconnect) = &mut ended {
            let cause = std::error::Error::source(disconnect).map(ToString::to_string);
            tracing::debug!(peer = %self.beginning.peer, %disconnect, cause, "POP3 session ended");
            // A peer that cannot be reached any more misses nothing.
            let _ = self.say_goodbye(disconnect).await;
        }
        self.lines.close().await;
        None
    }

    async fn dialogue(&mut self) -> Result<(), Disconnect> {
        if !self.beginning.greeted {
            let greeting = format!("+OK Ceralacca {}\r\n", texts::GREETING.get(self.language));
            self.lines.put(greeting.as_bytes()).await?;
        }
        while !matches!(self.state, State::Ended | State::StartTls) {
            let line = self.next_line().await?;
            let reply = self.carry_out(line.trim_ascii_end()).await?;
            self.send(reply).await?;
            if self.beginning.stopping.is_cancelled() && !matches!(self.state, State::Ended) {
                return Err(Disconnect::Stopping);
            }
        }
        Ok(())
    }

    async fn next_line(&mut self) -> Result<BytesMut, Disconnect> {
        let limits = &self.shared.limits;
        let (deadline, late, octets_max) = match &self.state {
            // AUTH may bring its initial response along, which is longer than any other line.
            State::Authorization { .. } => (
                self.beginning.login_deadline,
                Disconnect::LoginTimedOut,
                LINE_OCTETS_MAX.max(limits.line_octets_max),
            ),
            _ => (
                Instant::now() + limits.idle_time_max,
                Disconnect::IdleTimedOut,
                limits.line_octets_max,
            ),
        };
        let line_octets_max = limits.line_octets_max;
        self.lines.flush().await?;
        let line = tokio::select! {
            biased;
            line = timeout_at(deadline, self.lines.line(octets_max)) => line.map_err(|_| late)??,
            () = self.beginning.stopping.cancelled() => return Err(Disconnect::Stopping),
        };
        let is_auth = line.get(..5).is_some_and(|word| word.eq_ignore_ascii_case(b"AUTH "));
        if line.len() > line_octets_max && !is_auth {
            return Err(Disconnect::LineTooLong(line_octets_max));
        }
        Ok(line)
    }

    async fn carry_out(&mut self, line: &[u8]) -> Result<Reply, Disconnect> {
        let (keyword, argument) = match line.iter().position(|&octet| octet == b' ') {
            Some(space) => (&line[..space], Some(&line[space + 1..])),
            None => (line, None),
        };
        let keyword = keyword.to_ascii_uppercase();
        match (keyword.as_slice(), argument) {
            (b"CAPA", None) => return Ok(self.capa()),
            (b"QUIT", None) => return Ok(self.quit().await),
            (b"LANG", argument) => return Ok(self.lang(argument)),
            _ => {}
        }
        match &self.state {
            State::Authorization { .. } => self.authorization(&keyword, argument).await,
            State::Transaction(_) => self.transaction(&keyword, argument).await,
            State::StartTls | State::Ended => Ok(Reply::Wrong(texts::UNKNOWN)),
        }
    }

    /// LANG (RFC 6856 §3.1): lists languages, or chooses the one of the answers from this one on.
    fn lang(&mut self, argument: Option<&[u8]>) -> Reply {
        let Some(range) = argument else {
            let line = |(tag, name)| format!("{tag} {name}");
            return Reply::Lines(texts::LANGUAGES, Language::LISTED.map(line).to_vec());
        };
        let found = std::str::from_utf8(range).ok().and_then(Language::of_range);
        let Some(language) = found else { return Reply::Error(None, texts::UNKNOWN_LANGUAGE) };
        self.language = language;
        Reply::Language(texts::LANGUAGE)
    }

    pub(super) async fn send(&mut self, reply: Reply) -> Result<(), Disconnect> {
        let wrong = matches!(reply, Reply::Wrong(_));
        self.lines.put(reply.written(self.language).as_bytes()).await?;
        self.bad_commands = if wrong { self.bad_commands + 1 } else { 0 };
        if self.bad_commands >= self.shared.limits.bad_commands_max {
            return Err(Disconnect::TooManyErrors);
        }
        Ok(())
    }

    /// Says why the connection ends, where the protocol has room for it. A session that was idle
    /// ends without a word (RFC 1939 §3).
    async fn say_goodbye(&mut self, disconnect: &Disconnect) -> Result<(), Disconnect> {
        let text = match disconnect {
            Disconnect::LineTooLong(_) => texts::LINE_TOO_LONG,
            Disconnect::TooManyErrors => texts::TOO_MANY_ERRORS,
            Disconnect::Stopping => texts::STOPPING,
            Disconnect::OctetsBeforeTls => texts::OCTETS_BEFORE_TLS,
            Disconnect::MessageUnreadable(error) => {
                log(error);
                return Ok(());
            }
            _ => return Ok(()),
        };
        let reply = Reply::Error(None, text).written(self.language);
        self.lines.put(reply.as_bytes()).await
    }
}

/// Logs what failed in the store; returns what the peer is told of it.
pub(super) fn log(error: &StoreError) -> Reply {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    tracing::error!(%error, cause, "a POP3 command failed in the store");
    if matches!(error, StoreError::Damaged { .. }) {
        Reply::coded(Code::SysPerm, texts::DAMAGED)
    } else {
        Reply::coded(Code::SysTemp, texts::NOT_NOW)
    }
}
