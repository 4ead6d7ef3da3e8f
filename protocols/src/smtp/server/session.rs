//! One session: which command may come when, and what is answered.
//!
//! ```text
//! Connected --EHLO/HELO--> Ready --MAIL--> Open --RCPT--> Open --DATA--> Ready
//!     ^------STARTTLS-------'  ^----------RSET, EHLO-------'
//!                                        Open --BDAT--> Chunked --BDAT LAST--> Ready
//! ```
//!
//! Each state is a type and holds what is known in it: a transaction exists only in [`Open`] and
//! [`Chunked`], a peer has a name only from [`Ready`] on.

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{SmtpServer, chunking::Chunked};
use crate::{
    net::Connection,
    smtp::{
        grammar::{ClientName, Command, Reply, SyntaxError, Verb, dsn},
        transport::{Envelope, Peer, Refusal},
        wire::{Line, Wire, WireError},
    },
};

/// Octets of an AUTH line and of the lines of its exchange (RFC 4954 §4).
pub(super) const AUTH_LINE_OCTETS_MAX: usize = 12_288;

/// What MAIL may have beyond other commands: 26 for SIZE (RFC 1870 §3), 17 for BODY
/// (RFC 6152 §2), 500 for AUTH (RFC 4954 §3), 10 for SMTPUTF8 (RFC 6531 §3.4), and RET and ENVID
/// (RFC 3461 §4.3, §4.4).
const MAIL_PARAMETERS_OCTETS: usize = 553 + dsn::MAIL_OCTETS;

/// Why a session ends.
#[derive(Debug)]
pub(super) enum End {
    /// The peer said QUIT.
    Quit,
    /// The program stops.
    Stopping,
    /// Too many commands, errors or failed logins, or a refusal that closes. The reply is sent
    /// already where there is `None`.
    GivenUp(Option<Reply>),
    /// The connection.
    Wire(WireError),
}

impl From<WireError> for End {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

/// The client has not said its name.
#[derive(Debug)]
pub(super) struct Connected;

/// The client has said its name.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) peer: Peer,
}

/// A transaction is open.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) peer: Peer,
    pub(super) envelope: Envelope,
}

#[derive(Debug)]
pub(super) enum State {
    Connected(Connected),
    Ready(Ready),
    Open(Open),
    Chunked(Box<Chunked>),
}

impl State {
    fn peer(self) -> Option<Peer> {
        match self {
            Self::Connected(Connected) => None,
            Self::Ready(Ready { peer }) | Self::Open(Open { peer, .. }) => Some(peer),
            Self::Chunked(chunked) => Some(chunked.peer),
        }
    }

    /// Whether somebody would lose a transaction by the end of the session.
    fn has_recipients(&self) -> bool {
        match self {
            Self::Connected(_) | Self::Ready(_) => false,
            Self::Open(open) => !open.envelope.forward_paths.is_empty(),
            Self::Chunked(_) => true,
        }
    }

    pub(super) fn peer_known(&self) -> Option<&Peer> {
        match self {
            Self::Connected(Connected) => None,
            Self::Ready(Ready { peer }) | Self::Open(Open { peer, .. }) => Some(peer),
            Self::Chunked(chunked) => Some(&chunked.peer),
        }
    }
}

pub(super) struct Session<'a> {
    pub(super) server: &'a SmtpServer,
    pub(super) wire: Wire,
    pub(super) peer_address: std::net::SocketAddr,
    pub(super) failed_logins: usize,
    /// When somebody must have logged in, where one logs in at all.
    login_deadline: Option<Instant>,
    stopping: CancellationToken,
    /// Commands refused since the last message was taken.
    pub(super) errors: usize,
    /// Recipients refused since the last message was taken.
    pub(super) recipients_refused: usize,
    /// One of them is of this transaction, and its data may be in the pipeline.
    pub(super) recipient_was_refused: bool,
    /// A chunk was refused, and more of its message may be in the pipeline.
    pub(super) chunks_refused: bool,
    /// Transactions begun.
    pub(super) transactions: usize,
    commands: usize,
}

/// Serves one connection to its end.
pub(super) async fn run(server: &SmtpServer, connection: Connection) {
    let Connection { stream, peer, stopping, .. } = connection;
    let mut session = Session {
        server,
        wire: Wire::new(stream, server.settings.write_time_max),
        peer_address: peer,
        failed_logins: 0,
        login_deadline: server
            .authenticator
            .is_some()
            .then(|| Instant::now() + server.settings.login_time_max),
        stopping,
        commands: 0,
        errors: 0,
        recipients_refused: 0,
        recipient_was_refused: false,
        chunks_refused: false,
        transactions: 0,
    };
    let mut state = State::Connected(Connected);
    let greeting = Reply::bare(220, &format!("{} ESMTP", server.settings.server_name));
    let mut end = session.reply(&greeting).await.err();
    while end.is_none() {
        // STARTTLS takes the connection apart and needs the session by value.
        match session.next(state).await {
            Ok(Next::State(next)) => state = next,
            Ok(Next::StartTls) => match session.start_tls().await {
                Some(secured) => {
                    session = secured;
                    state = State::Connected(Connected);
                }
                None => return,
            },
            Err(reason) => {
                end = Some(reason);
                break;
            }
        }
        if session.errors > server.settings.errors_max {
            end = Some(given_up("4.7.0", "too many errors: closing the connection"));
            break;
        }
        if session.refuses_too_many() && !state.has_recipients() {
            let text = "too many recipients were refused: closing the connection";
            end = Some(given_up("4.7.0", text));
            break;
        }
    }
    session.end(end).await;
}

/// What follows a command.
#[expect(clippy::large_enum_variant, reason = "there is one for each command, at once taken apart")]
enum Next {
    State(State),
    StartTls,
}

fn given_up(enhanced: &str, text: &str) -> End {
    End::GivenUp(Some(Reply::new(421, enhanced, text)))
}

/// RFC 5321 §4.1.1.8.
fn help(topic: Option<&str>) -> Reply {
    match topic.map(|topic| Verb::of_line(topic.as_bytes())) {
        None => {
            let text = "RFC 5321; HELP and a command shows how it is written";
            Reply::new(214, "2.0.0", text)
        }
        Some(Ok(verb)) => Reply::new(214, "2.0.0", verb.usage()),
        Some(Err(_)) => {
            Reply::new(504, "5.5.4", "no help on that: it is no command of this server")
        }
    }
}

fn line_too_long() -> Reply {
    Reply::new(500, "5.5.2", "line too long")
}

pub(super) fn ok(text: &str) -> Reply {
    Reply::new(250, "2.0.0", text)
}

pub(super) fn bad_sequence(text: &str) -> Reply {
    Reply::new(503, "5.5.1", text)
}

impl Session<'_> {
    /// Answers, and counts what is an error.
    pub(super) async fn reply(&mut self, reply: &Reply) -> Result<(), End> {
        if reply.code() >= 500 {
            self.errors += 1;
        }
        Ok(self.wire.write(reply.octets()).await?)
    }

    pub(super) async fn refuse(&mut self, refusal: &Refusal) -> Result<(), End> {
        tracing::debug!(peer = %self.peer_address, %refusal, "refused");
        self.reply(&Reply::from(refusal)).await?;
        if refusal.close { Err(End::GivenUp(None)) } else { Ok(()) }
    }

    /// Refuses a recipient. That is no error of the client, who cannot know; one who tries names at
    /// random is slowed down and then given up.
    pub(super) async fn refuse_recipient(
        &mut self,
        open: &Open,
        refusal: &Refusal,
    ) -> Result<(), End> {
        if refusal.code < 500 || refusal.close {
            return self.refuse(refusal).await;
        }
        tracing::debug!(peer = %self.peer_address, %refusal, "recipient refused");
        self.recipients_refused += 1;
        self.recipient_was_refused = true;
        if self.refuses_too_many() && !open.envelope.forward_paths.is_empty() {
            self.wire.flush().await?;
            tokio::select! {
                biased;
                () = self.stopping.cancelled() => return Err(End::Stopping),
                () = sleep(self.server.settings.refusal_pause) => {}
            }
        }
        Ok(self.wire.write(Reply::from(refusal).octets()).await?)
    }

    fn refuses_too_many(&self) -> bool {
        self.recipients_refused > self.server.settings.recipients_refused_max
    }

    /// Reads a line of a login; between lines is where a session stops when the program does.
    pub(super) async fn login_line(&mut self, octets_max: usize) -> Result<Line, End> {
        let deadline = Instant::now() + self.server.settings.command_time_max;
        self.line_until(octets_max, self.before_login(deadline)?).await
    }

    /// The end of a wait of somebody who has not logged in; an error when his time is over, which
    /// octets that wait to be read must not hide.
    fn before_login(&self, deadline: Instant) -> Result<Instant, End> {
        match self.login_deadline {
            Some(login) if login <= Instant::now() => Err(End::Wire(WireError::TimeOut)),
            Some(login) => Ok(deadline.min(login)),
            None => Ok(deadline),
        }
    }

    async fn line_until(&mut self, octets_max: usize, deadline: Instant) -> Result<Line, End> {
        tokio::select! {
            biased;
            () = self.stopping.cancelled() => Err(End::Stopping),
            line = self.wire.line(octets_max, deadline) => Ok(line?),
        }
    }

    async fn next(&mut self, state: State) -> Result<Next, End> {
        let deadline = Instant::now() + self.server.settings.command_time_max;
        // What has come of a message in chunks waits no longer than a message may take.
        let deadline = match &state {
            State::Chunked(chunked) => deadline.min(chunked.deadline()),
            _ if state.peer_known().is_some_and(|peer| peer.identity.is_some()) => deadline,
            _ => self.before_login(deadline)?,
        };
        let line = self.line_until(AUTH_LINE_OCTETS_MAX, deadline).await?;
        self.commands += 1;
        if self.commands > self.server.settings.commands_max {
            return Err(given_up("4.7.0", "too many commands: open a new connection"));
        }
        let (parsed, start) = match line {
            Line::Whole(line) => (self.parse(&line), line),
            Line::TooLong(word) => (Err(line_too_long()), word),
        };
        match parsed {
            Ok(command) => self.command(state, command).await,
            // Where the next command begins is unknown: the chunk has no size that can be read.
            Err(reply) if Verb::of_line(&start) == Ok(Verb::Bdat) => Err(End::GivenUp(Some(reply))),
            Err(reply) => {
                self.reply(&reply).await?;
                Ok(Next::State(state))
            }
        }
    }

    fn parse(&self, line: &[u8]) -> Result<Command, Reply> {
        let octets_max = match Verb::of_line(line) {
            Ok(Verb::Auth) => AUTH_LINE_OCTETS_MAX,
            Ok(Verb::Mail) => self.server.settings.command_octets_max + MAIL_PARAMETERS_OCTETS,
            Ok(Verb::Rcpt) => self.server.settings.command_octets_max + dsn::RCPT_OCTETS,
            _ => self.server.settings.command_octets_max,
        };
        if line.len() + 2 > octets_max {
            return Err(line_too_long());
        }
        Command::parse(line).map_err(|error| {
            let (code, enhanced) = match error {
                SyntaxError::UnknownCommand => (500, "5.5.1"),
                SyntaxError::ControlOctet => (500, "5.5.2"),
                SyntaxError::BadArguments(_) => (501, "5.5.4"),
                SyntaxError::UndecodableResponse => (501, "5.5.2"),
                SyntaxError::NotOffered => (502, "5.5.1"),
            };
            Reply::new(code, enhanced, &error.to_string())
        })
    }

    async fn command(&mut self, state: State, command: Command) -> Result<Next, End> {
        let state = match command {
            Command::Ehlo(name) => self.greet(state, &name, true).await?,
            Command::Helo(name) => self.greet(state, &name, false).await?,
            Command::Noop => self.answered(&ok("Ok"), state).await?,
            Command::Help(topic) => self.answered(&help(topic.as_deref()), state).await?,
            Command::Vrfy => {
                let text = "not verified: send a message and see";
                self.answered(&Reply::new(252, "2.1.5", text), state).await?
            }
            Command::Quit => return Err(End::Quit),
            Command::Rset => {
                self.chunks_refused = false;
                let state = match state.peer() {
                    Some(peer) => State::Ready(Ready { peer }),
                    None => State::Connected(Connected),
                };
                self.answered(&ok("Ok"), state).await?
            }
            Command::StartTls => return self.may_start_tls(state).await,
            Command::Auth(arguments) => match state {
                State::Ready(ready) => State::Ready(self.authenticate(ready, arguments).await?),
                State::Connected(_) => {
                    self.answered(&bad_sequence("say EHLO first"), state).await?
                }
                State::Open(_) | State::Chunked(_) => {
                    self.answered(&bad_sequence("not during a transaction"), state).await?
                }
            },
            Command::Mail { reverse_path, parameters } => {
                self.mail(state, &reverse_path, &parameters).await?
            }
            Command::Rcpt { forward_path, parameters } => {
                self.recipient(state, &forward_path, &parameters).await?
            }
            Command::Data => self.data(state).await?,
            Command::Bdat(chunk) => self.bdat(state, chunk).await?,
        };
        Ok(Next::State(state))
    }

    pub(super) async fn answered(&mut self, reply: &Reply, state: State) -> Result<State, End> {
        self.reply(reply).await?;
        Ok(state)
    }

    async fn greet(
        &mut self,
        state: State,
        name: &ClientName,
        extended: bool,
    ) -> Result<State, End> {
        self.chunks_refused = false;
        let peer = Peer {
            service: self.server.service(),
            address: self.peer_address.ip(),
            helo: name.as_str().to_owned(),
            extended,
            tls: self.wire.stream().tls_description(),
            identity: state.peer().and_then(|peer| peer.identity),
        };
        let reply = if extended {
            let offered = self.capabilities(&peer).await;
            Reply::extensions(&self.server.settings.server_name, offered)
        } else {
            Reply::bare(250, &self.server.settings.server_name)
        };
        self.answered(&reply, State::Ready(Ready { peer })).await
    }

    async fn may_start_tls(&mut self, state: State) -> Result<Next, End> {
        let refusal = if self.wire.stream().is_tls() {
            bad_sequence("TLS runs already")
        } else if self.server.start_tls.is_none() {
            Reply::new(502, "5.5.1", "TLS is not offered")
        } else if !self.wire.buffered().is_empty() {
            // Somebody between could have put commands behind STARTTLS, which would then seem to
            // come from the client under TLS (RFC 3207 §6).
            let text = "octets after STARTTLS: nothing may follow before TLS";
            return Err(End::GivenUp(Some(Reply::new(554, "5.5.1", text))));
        } else {
            return Ok(Next::StartTls);
        };
        Ok(Next::State(self.answered(&refusal, state).await?))
    }

    /// Starts TLS; `None` when there is no connection any more.
    async fn start_tls(mut self) -> Option<Self> {
        let tls = self.server.start_tls.as_ref()?;
        self.wire.write(Reply::new(220, "2.0.0", "ready to start TLS").octets()).await.ok()?;
        self.wire.flush().await.ok()?;
        let (stream, read_ahead) = self.wire.into_stream();
        if read_ahead {
            return None;
        }
        let time_max = self.server.settings.handshake_time_max;
        let left = self.login_deadline.map(|end| end.saturating_duration_since(Instant::now()));
        match tls.accept(stream, left.map_or(time_max, |left| time_max.min(left))).await {
            Ok(stream) => {
                let wire = Wire::new(stream, self.server.settings.write_time_max);
                Some(Self { wire, ..self })
            }
            Err(error) => {
                tracing::debug!(peer = %self.peer_address, %error, "no TLS after STARTTLS");
                None
            }
        }
    }

    async fn end(mut self, end: Option<End>) {
        let reply = match end {
            Some(End::Quit) => Some(Reply::new(221, "2.0.0", "goodbye")),
            Some(End::Stopping) => {
                Some(Reply::new(421, "4.3.2", "the service stops: try again later"))
            }
            Some(End::GivenUp(reply)) => reply,
            Some(End::Wire(WireError::TimeOut)) => {
                Some(Reply::new(421, "4.4.2", "time-out: closing the connection"))
            }
            Some(End::Wire(WireError::EndlessLine)) => {
                Some(Reply::new(500, "5.5.2", "line too long: closing the connection"))
            }
            Some(End::Wire(error)) => {
                tracing::debug!(peer = %self.peer_address, %error, "connection gone");
                None
            }
            None => None,
        };
        if let Some(reply) = reply {
            let _ = self.wire.write(reply.octets()).await;
        }
        self.wire.close().await;
    }
}
