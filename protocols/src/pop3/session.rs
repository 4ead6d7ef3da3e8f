//! One POP3 session: authorization, transaction, update (RFC 1939 §3).

use std::{net::IpAddr, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use storage::{error::StoreError, mailbox::view::ListedMessage};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::{
    Shared,
    maildrop::{Maildrop, OpenError},
    multiline::{Stuffing, Top},
};
use crate::{
    access::{Identity, LoginError, Protocol},
    lines::{Disconnect, Lines, Stream},
    net::stream::ChannelBindings,
    sasl::{Credentials, Exchange, LINE_OCTETS_MAX, Mechanism, Step},
};

/// RFC 1939 §3.
enum State {
    Authorization { user: Option<Vec<u8>> },
    Transaction(Box<Maildrop>),
    Ended,
}

/// How a command is answered.
enum Reply {
    /// `+OK`, with lines behind it that end with a point where there are some.
    Ok(String, Option<Vec<String>>),
    /// `-ERR`
    Error(&'static str),
    /// `-ERR`, and the command counts as a wrong one.
    Wrong(&'static str),
    /// Everything was sent already.
    Sent,
}

impl Reply {
    fn ok(text: impl Into<String>) -> Self {
        Self::Ok(text.into(), None)
    }
}

const NO_MESSAGE: Reply = Reply::Error("Messaggio inesistente / No such message");
const UNKNOWN: Reply = Reply::Wrong("Comando sconosciuto o errato / Unknown or wrong command");
const WRONG_STATE: Reply =
    Reply::Wrong("Comando non ammesso in questo stato / Command not allowed in this state");
const UNDECODABLE: Reply =
    Reply::Wrong("Autenticazione interrotta o malformata / Authentication cancelled or malformed");
const NOT_NOW: Reply =
    Reply::Error("Servizio momentaneamente non disponibile / Not available now, try again later");
const DAMAGED: Reply = Reply::Error(
    "Messaggio danneggiato nell'archivio, segnalato ai gestori / Message damaged in the store, reported to the operators",
);

/// One connection's session.
pub(super) struct Session<S> {
    lines: Lines<S>,
    shared: Arc<Shared>,
    peer: IpAddr,
    /// What a login can be bound to; `None` in the clear.
    tls: Option<ChannelBindings>,
    stopping: CancellationToken,
    state: State,
    login_deadline: Instant,
    bad_commands: u32,
    failed_logins: u32,
}

impl<S: Stream> Session<S> {
    pub(super) fn new(
        shared: Arc<Shared>,
        stream: S,
        peer: IpAddr,
        tls: Option<ChannelBindings>,
        stopping: CancellationToken,
    ) -> Self {
        Self {
            lines: Lines::new(stream, shared.limits.write_time_max),
            login_deadline: Instant::now() + shared.limits.login_time_max,
            shared,
            peer,
            tls,
            stopping,
            state: State::Authorization { user: None },
            bad_commands: 0,
            failed_logins: 0,
        }
    }

    pub(super) async fn run(mut self) {
        if let Err(disconnect) = self.dialogue().await {
            let cause = std::error::Error::source(&disconnect).map(ToString::to_string);
            tracing::debug!(peer = %self.peer, %disconnect, cause, "POP3 session ended");
            // A peer that cannot be reached any more misses nothing.
            let _ = self.say_goodbye(&disconnect).await;
        }
        self.lines.close().await;
    }

    async fn dialogue(&mut self) -> Result<(), Disconnect> {
        self.lines.put(b"+OK Ceralacca pronto / ready\r\n").await?;
        while !matches!(self.state, State::Ended) {
            let line = self.next_line().await?;
            let reply = self.carry_out(line.trim_ascii_end()).await?;
            self.send(reply).await?;
            if self.stopping.is_cancelled() && !matches!(self.state, State::Ended) {
                return Err(Disconnect::Stopping);
            }
        }
        Ok(())
    }

    async fn next_line(&mut self) -> Result<bytes::BytesMut, Disconnect> {
        let (deadline, late) = match &self.state {
            State::Authorization { .. } => (self.login_deadline, Disconnect::LoginTimedOut),
            _ => (Instant::now() + self.shared.limits.idle_time_max, Disconnect::IdleTimedOut),
        };
        self.lines.flush().await?;
        tokio::select! {
            biased;
            line = timeout_at(deadline, self.lines.line(self.shared.limits.line_octets_max)) => {
                line.map_err(|_| late)?
            }
            () = self.stopping.cancelled() => Err(Disconnect::Stopping),
        }
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
            _ => {}
        }
        match &mut self.state {
            State::Authorization { user } => match (keyword.as_slice(), argument) {
                (b"USER" | b"PASS" | b"AUTH", _) if self.tls.is_none() => {
                    Ok(Reply::Error("Serve una connessione TLS / Use TLS first"))
                }
                (b"AUTH", Some(argument)) => self.authenticate(argument).await,
                (b"USER", Some(name)) => {
                    *user = Some(name.to_vec());
                    Ok(Reply::ok("Password?"))
                }
                (b"PASS", Some(password)) => match user.take() {
                    Some(name) => {
                        let verified = self.verified(Credentials::new(&name, password)).await;
                        self.enter(verified).await
                    }
                    None => Ok(Reply::Wrong("Prima USER / USER first")),
                },
                (
                    b"STAT" | b"LIST" | b"UIDL" | b"RETR" | b"TOP" | b"DELE" | b"RSET" | b"NOOP",
                    _,
                ) => Ok(WRONG_STATE),
                _ => Ok(UNKNOWN),
            },
            State::Transaction(_) => self.transaction(&keyword, argument).await,
            State::Ended => Ok(UNKNOWN),
        }
    }

    /// Commands of the transaction state (RFC 1939 §5, §7).
    async fn transaction(
        &mut self,
        keyword: &[u8],
        argument: Option<&[u8]>,
    ) -> Result<Reply, Disconnect> {
        let State::Transaction(maildrop) = &mut self.state else { return Ok(WRONG_STATE) };
        let argument = argument.map(|octets| String::from_utf8_lossy(octets).into_owned());
        let words: Vec<&str> = argument.as_deref().unwrap_or_default().split_whitespace().collect();
        let (Some(numbers), true) = (numbers(&words), words.len() <= 2) else { return Ok(UNKNOWN) };
        Ok(match (keyword, numbers.as_slice()) {
            (b"NOOP", []) => Reply::ok("NOOP"),
            (b"STAT", []) => {
                let (count, octets) = maildrop.totals();
                Reply::ok(format!("{count} {octets}"))
            }
            (b"RSET", []) => {
                maildrop.reset();
                Reply::ok("RSET")
            }
            (b"LIST" | b"UIDL", []) => {
                let line = |(number, row): (usize, &ListedMessage)| {
                    format!("{number} {}", listed(keyword, maildrop, row))
                };
                let (count, octets) = maildrop.totals();
                let lines = maildrop.messages().map(line).collect();
                Reply::Ok(format!("{count} messaggi / messages ({octets})"), Some(lines))
            }
            (b"LIST" | b"UIDL", [number]) => match message(maildrop, *number) {
                Some(row) => Reply::ok(format!("{number} {}", listed(keyword, maildrop, row))),
                None => NO_MESSAGE,
            },
            (b"DELE", [number]) => {
                let deleted = usize::try_from(*number).is_ok_and(|number| maildrop.delete(number));
                if deleted { Reply::ok("DELE") } else { NO_MESSAGE }
            }
            (b"RETR", [number]) => match message(maildrop, *number).cloned() {
                Some(row) => self.retrieve(&row, None).await?,
                None => NO_MESSAGE,
            },
            (b"TOP", [number, lines]) => match message(maildrop, *number).cloned() {
                Some(row) => self.retrieve(&row, Some(Top::new(*lines))).await?,
                None => NO_MESSAGE,
            },
            _ => UNKNOWN,
        })
    }

    /// RFC 2449 §5, §6.
    fn capa(&self) -> Reply {
        let mut lines = vec!["TOP", "UIDL", "PIPELINING", "RESP-CODES", "EXPIRE NEVER"];
        let mut sasl = String::from("SASL");
        if let Some(bindings) = &self.tls {
            lines.push("USER");
            for mechanism in Mechanism::offered(bindings, false) {
                sasl.extend([" ", mechanism.name()]);
            }
            lines.push(&sasl);
        }
        lines.push("IMPLEMENTATION Ceralacca");
        Reply::Ok("CAPA".to_owned(), Some(lines.into_iter().map(str::to_owned).collect()))
    }

    /// AUTH (RFC 5034 §4): the mechanism and, behind a space, the initial response or `=` for an
    /// empty one.
    async fn authenticate(&mut self, argument: &[u8]) -> Result<Reply, Disconnect> {
        let bindings = self.tls.clone().unwrap_or_default();
        let mut words = argument.splitn(2, |octet| *octet == b' ');
        let name = String::from_utf8_lossy(words.next().unwrap_or_default()).into_owned();
        let offered = Mechanism::offered(&bindings, false);
        let Some(mechanism) = Mechanism::among(&offered, &name) else {
            return Ok(Reply::Wrong(
                "Meccanismo non gestito, vedere CAPA / Unknown mechanism, see CAPA",
            ));
        };
        let mut response = match words.next() {
            None => None,
            Some(b"=") => Some(Vec::new()),
            Some(text) => match STANDARD.decode(text) {
                Ok(octets) => Some(octets),
                Err(_) => return Ok(UNDECODABLE),
            },
        };
        let (shared, who) = (Arc::clone(&self.shared), (Protocol::Pop3, self.peer));
        let mut exchange = Exchange::new(mechanism, &*shared.authenticator, who, &bindings);
        loop {
            match exchange.step(response.as_deref()).await {
                Step::Done(outcome) => return self.enter(outcome).await,
                Step::Challenge(challenge) => {
                    let line = format!("+ {}\r\n", STANDARD.encode(challenge));
                    self.lines.put(line.as_bytes()).await?;
                    self.lines.flush().await?;
                    let line = self.lines.line(LINE_OCTETS_MAX);
                    let line = timeout_at(self.login_deadline, line).await;
                    let line = line.map_err(|_| Disconnect::LoginTimedOut)??;
                    // `*` cancels (RFC 5034 §4), and is no base64 either.
                    let Ok(octets) = STANDARD.decode(line.trim_ascii_end()) else {
                        return Ok(UNDECODABLE);
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
        authenticator.verify_password(Protocol::Pop3, self.peer, login, password).await
    }

    /// Opens the maildrop of somebody whose login was checked.
    async fn enter(&mut self, verified: Result<Identity, LoginError>) -> Result<Reply, Disconnect> {
        let identity = match verified {
            Ok(identity) => identity,
            Err(error) => return self.login_refused(&error).await,
        };
        match Maildrop::open(&self.shared, &identity).await {
            Ok(maildrop) => {
                tracing::info!(peer = %self.peer, address = %identity.address, "POP3 login");
                let (count, octets) = maildrop.totals();
                self.state = State::Transaction(Box::new(maildrop));
                Ok(Reply::ok(format!("{count} messaggi / messages ({octets})")))
            }
            Err(OpenError::InUse) => Ok(Reply::Error(
                "[IN-USE] Un'altra sessione POP3 e' aperta / Another POP3 session is open",
            )),
            Err(OpenError::Store(error)) => {
                log(&error);
                Ok(NOT_NOW)
            }
        }
    }

    async fn login_refused(&mut self, error: &LoginError) -> Result<Reply, Disconnect> {
        let cause = std::error::Error::source(error).map(ToString::to_string);
        tracing::info!(peer = %self.peer, %error, cause, "POP3 login refused");
        let reply = match error {
            LoginError::BadCredentials => {
                Reply::Error("Nome utente o password errati / Wrong user name or password")
            }
            LoginError::Blocked => Reply::Error(
                "Casella bloccata: contattare l'assistenza / Account blocked: write to the help desk",
            ),
            LoginError::TooManyFailures => Reply::Error(
                "Troppi tentativi: attendere alcuni minuti / Too many failures: wait some minutes",
            ),
            LoginError::Unavailable(_) => NOT_NOW,
        };
        self.failed_logins += 1;
        if self.failed_logins < self.shared.limits.failed_logins_max {
            return Ok(reply);
        }
        self.send(reply).await?;
        Err(Disconnect::TooManyErrors)
    }

    /// RETR and TOP: streams a message, up to where `top` stops.
    async fn retrieve(
        &mut self,
        row: &ListedMessage,
        mut top: Option<Top>,
    ) -> Result<Reply, Disconnect> {
        let State::Transaction(maildrop) = &self.state else { return Ok(WRONG_STATE) };
        let view = Arc::clone(&maildrop.view);
        let mut stuffing = Stuffing::default();
        let mut position = 0;
        while position < row.size {
            let piece = match view.read(row.email_number, position..row.size).await {
                Ok(piece) if piece.is_empty() => Err(StoreError::Damaged {
                    object: format!("message {}", row.email_number),
                    detail: "it has fewer octets than its row says".to_owned(),
                }),
                other => other,
            };
            // The first piece is read before +OK: a message that cannot be read costs -ERR.
            let piece = match piece {
                Ok(piece) => piece,
                Err(StoreError::NoSuchMessage { .. }) if position == 0 => return Ok(NO_MESSAGE),
                Err(error) if position == 0 => {
                    log(&error);
                    let damaged = matches!(error, StoreError::Damaged { .. });
                    return Ok(if damaged { DAMAGED } else { NOT_NOW });
                }
                Err(error) => return Err(Disconnect::MessageUnreadable(error)),
            };
            if position == 0 {
                self.lines.put(format!("+OK {} octets\r\n", row.size).as_bytes()).await?;
            }
            position += piece.len() as u64;
            let taken = top.as_mut().map_or(piece.len(), |top| top.take(&piece));
            self.lines.put(&stuffing.piece(&piece[..taken])).await?;
            if taken < piece.len() {
                break;
            }
        }
        if row.size == 0 {
            self.lines.put(b"+OK 0 octets\r\n").await?;
        }
        self.lines.put(stuffing.end()).await?;
        Ok(Reply::Sent)
    }

    /// QUIT, and from the transaction state the update (RFC 1939 §4, §6).
    async fn quit(&mut self) -> Reply {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Transaction(maildrop) => match maildrop.update().await {
                Ok(true) => Reply::ok("Arrivederci / Goodbye"),
                Ok(false) => Reply::Error(
                    "Alcuni messaggi non sono stati eliminati / Some messages were not removed",
                ),
                Err(error) => {
                    log(&error);
                    Reply::Error("Messaggi non eliminati, riprovare / Messages not removed, retry")
                }
            },
            _ => Reply::ok("Arrivederci / Goodbye"),
        }
    }

    async fn send(&mut self, reply: Reply) -> Result<(), Disconnect> {
        let wrong = matches!(reply, Reply::Wrong(_));
        match reply {
            Reply::Ok(text, lines) => {
                self.lines.put(format!("+OK {text}\r\n").as_bytes()).await?;
                if let Some(lines) = lines {
                    for line in lines {
                        self.lines.put(format!("{line}\r\n").as_bytes()).await?;
                    }
                    self.lines.put(b".\r\n").await?;
                }
            }
            Reply::Error(text) | Reply::Wrong(text) => {
                self.lines.put(format!("-ERR {text}\r\n").as_bytes()).await?;
            }
            Reply::Sent => {}
        }
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
            Disconnect::LineTooLong(_) => "Riga troppo lunga / Line too long",
            Disconnect::TooManyErrors => "Troppi errori / Too many errors",
            Disconnect::Stopping => "Server in chiusura, riconnettersi / Server stops, reconnect",
            Disconnect::MessageUnreadable(error) => {
                log(error);
                return Ok(());
            }
            _ => return Ok(()),
        };
        self.lines.put(format!("-ERR {text}\r\n").as_bytes()).await
    }
}

/// Reads every word as a number; `None` when one is not.
fn numbers(words: &[&str]) -> Option<Vec<u64>> {
    let number = |word: &&str| {
        word.bytes().all(|octet| octet.is_ascii_digit()).then(|| word.parse().ok()).flatten()
    };
    words.iter().map(number).collect()
}

fn message(maildrop: &Maildrop, number: u64) -> Option<&ListedMessage> {
    usize::try_from(number).ok().and_then(|number| maildrop.message(number))
}

/// What LIST or UIDL says of a message.
fn listed(keyword: &[u8], maildrop: &Maildrop, row: &ListedMessage) -> String {
    if keyword == b"UIDL" { maildrop.unique_id(row) } else { row.size.to_string() }
}

fn log(error: &StoreError) {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    tracing::error!(%error, cause, "a POP3 command failed in the store");
}
