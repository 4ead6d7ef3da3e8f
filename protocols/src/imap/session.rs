//! One session: its states, and which commands each of them has (RFC 3501 §3).
//!
//! Invariants:
//!
//! * A state holds what its commands need and nothing else does: without [`Authenticated`] there
//!   is no account to read, without [`SelectedMailbox`] no message.
//! * Commands are carried out one after the other, in the order in which they came; each is
//!   answered by exactly one tagged response, unless the connection ends.
//!
//! Not here: what single commands do (`command`).

use std::{net::IpAddr, sync::Arc};

use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    command,
    completion::{Completion, Condition, Failure},
    enabled::Enabled,
    frame::{Frame, Incoming},
    grammar::{self, Command, Tag},
    selected::SelectedMailbox,
    server::Shared,
};
use crate::{
    access::MailAccount,
    lines::{Disconnect, Stream},
    net::stream::ChannelBindings,
    sasl::Mechanism,
};

/// What commands of every state need.
pub(crate) struct Context<S> {
    pub(crate) frame: Frame<S>,
    pub(crate) server: Arc<Shared>,
    pub(crate) peer: IpAddr,
    /// Who logged in, for the log.
    pub(crate) address: Option<String>,
    /// Whether TLS protects the connection.
    pub(crate) encrypted: bool,
    /// What the client has enabled.
    pub(crate) enabled: Enabled,
    /// What a login can be bound to.
    pub(crate) bindings: ChannelBindings,
    pub(crate) stopping: CancellationToken,
}

impl<S> Context<S> {
    /// The mechanisms of AUTHENTICATE on this connection.
    pub(crate) fn mechanisms(&self) -> Vec<Mechanism> {
        Mechanism::offered(&self.bindings, false)
    }
}

/// Before a login.
pub(crate) struct NotAuthenticated {
    pub(crate) failed_logins: u32,
    deadline: Instant,
}

impl NotAuthenticated {
    /// Waits for something that the peer has to do before the time for logging in is over.
    pub(crate) async fn in_time<T>(&self, wait: impl Future<Output = T>) -> Result<T, Disconnect> {
        timeout_at(self.deadline, wait).await.map_err(|_| Disconnect::LoginTimedOut)
    }
}

/// After a login.
pub(crate) struct Authenticated {
    pub(crate) account: Arc<dyn MailAccount>,
    pub(crate) changes: watch::Receiver<u64>,
}

/// With a mailbox.
pub(crate) struct Selected {
    pub(crate) authenticated: Authenticated,
    pub(crate) mailbox: SelectedMailbox,
}

/// RFC 3501 §3.
enum State {
    NotAuthenticated(NotAuthenticated),
    Authenticated(Authenticated),
    Selected(Box<Selected>),
    Logout,
}

/// Where a command leads.
pub(crate) enum Transition {
    Stay,
    LogIn(Authenticated),
    Select(Box<SelectedMailbox>),
    Deselect,
    LogOut,
}

/// A command that did what it says: its completion, and where it leads.
pub(crate) type Done = Result<(Completion, Transition), Failure>;

/// One connection's session.
pub(crate) struct Session<S> {
    context: Context<S>,
    state: State,
    bad_commands: u32,
}

impl<S: Stream> Session<S> {
    /// Begins a session over `stream`.
    pub(crate) fn new(
        server: Arc<Shared>,
        stream: S,
        peer: IpAddr,
        tls: Option<ChannelBindings>,
        stopping: CancellationToken,
    ) -> Self {
        let (encrypted, bindings) = (tls.is_some(), tls.unwrap_or_default());
        let limits = &server.settings.limits;
        let deadline = Instant::now() + limits.login_time_max;
        let frame = Frame::new(stream, limits);
        Self {
            context: Context {
                frame,
                server,
                peer,
                address: None,
                encrypted,
                enabled: Enabled::default(),
                bindings,
                stopping,
            },
            state: State::NotAuthenticated(NotAuthenticated { failed_logins: 0, deadline }),
            bad_commands: 0,
        }
    }

    /// Runs the session to its end.
    pub(crate) async fn run(mut self) {
        let ended = self.dialogue().await;
        if let Err(disconnect) = ended {
            let cause = std::error::Error::source(&disconnect).map(ToString::to_string);
            let Context { peer, address, .. } = &self.context;
            tracing::debug!(%peer, address, %disconnect, cause, "IMAP session ended");
            // A peer that cannot be reached any more misses nothing.
            let _ = self.say_goodbye(&disconnect).await;
        }
        self.context.frame.close().await;
    }

    async fn dialogue(&mut self) -> Result<(), Disconnect> {
        let greeting = format!(
            "* OK [CAPABILITY {}] Ceralacca pronto / ready\r\n",
            command::capability::list(&self.context, false)
        );
        self.context.frame.put(greeting.as_bytes()).await?;
        while !matches!(self.state, State::Logout) {
            let incoming = self.next_command().await?;
            self.answer(incoming).await?;
            if self.context.stopping.is_cancelled() && !matches!(self.state, State::Logout) {
                return Err(Disconnect::Stopping);
            }
        }
        Ok(())
    }

    /// Waits for a command, no longer than the state allows.
    async fn next_command(&mut self) -> Result<Incoming, Disconnect> {
        let idle_time_max = self.context.server.settings.limits.idle_time_max;
        let (deadline, late) = match &self.state {
            State::NotAuthenticated(state) => (state.deadline, Disconnect::LoginTimedOut),
            _ => (Instant::now() + idle_time_max, Disconnect::IdleTimedOut),
        };
        self.context.frame.flush().await?;
        tokio::select! {
            biased;
            incoming = timeout_at(deadline, self.context.frame.command()) => {
                incoming.map_err(|_| late)?
            }
            () = self.context.stopping.cancelled() => Err(Disconnect::Stopping),
        }
    }

    async fn answer(&mut self, incoming: Incoming) -> Result<(), Disconnect> {
        let (tag, completion) = match incoming {
            Incoming::Command(octets) => self.carry_out(&octets).await?,
            Incoming::Append { tag, head, literal } => {
                let appended = match &mut self.state {
                    State::Authenticated(state) => {
                        command::append::append(&mut self.context, state, head, literal).await
                    }
                    State::Selected(state) => {
                        let state = &mut state.authenticated;
                        command::append::append(&mut self.context, state, head, literal).await
                    }
                    State::NotAuthenticated(_) | State::Logout => {
                        command::append::refuse(&mut self.context, literal, wrong_state()).await
                    }
                };
                let completion = settle(appended)?;
                self.report(true).await?;
                (Some(tag), completion)
            }
            Incoming::LiteralRefused { tag } => (tag, command::append::literal_too_large()),
        };
        self.complete(tag.as_ref(), &completion).await
    }

    async fn carry_out(&mut self, octets: &[u8]) -> Result<(Option<Tag>, Completion), Disconnect> {
        let tag = Tag::of(octets);
        if tag.is_none() {
            let text = "Manca l'etichetta del comando / The command has no tag";
            return Ok((None, Completion::bad(text)));
        }
        let names = self.context.enabled.names();
        let limits = &self.context.server.settings.limits;
        let command = match grammar::parse(octets, names, limits) {
            Ok(command) => command,
            Err(error) => return Ok((tag, error.into())),
        };
        let numbers_may_change = command.lets_numbers_change();
        let completion = match self.dispatch(command).await {
            Ok((completion, transition)) => {
                self.follow(transition);
                completion
            }
            Err(Failure::Refused(completion)) => completion,
            Err(Failure::Disconnected(disconnect)) => return Err(disconnect),
        };
        self.report(numbers_may_change).await?;
        Ok((tag, completion))
    }

    async fn dispatch(&mut self, command: Command) -> Done {
        // A SELECT that fails leaves no mailbox selected (RFC 3501 §6.3.1).
        if matches!(command, Command::Select { .. }) {
            self.follow(Transition::Deselect);
        }
        let context = &mut self.context;
        match command {
            Command::Capability => {
                let authenticated = !matches!(self.state, State::NotAuthenticated(_));
                return command::capability::capability(context, authenticated).await;
            }
            Command::Logout => return command::logout::logout(context).await,
            Command::Id => return command::id::id(context).await,
            Command::Noop if !matches!(self.state, State::Selected(_)) => {
                return Ok((Completion::ok("NOOP"), Transition::Stay));
            }
            _ => {}
        }
        match &mut self.state {
            State::NotAuthenticated(state) => not_authenticated(context, state, command).await,
            State::Authenticated(state) => authenticated(context, state, command).await,
            State::Selected(state) => selected(context, state, command).await,
            State::Logout => Err(wrong_state().into()),
        }
    }

    fn follow(&mut self, transition: Transition) {
        let state = std::mem::replace(&mut self.state, State::Logout);
        self.state = match (transition, state) {
            (Transition::LogIn(authenticated), _) => State::Authenticated(authenticated),
            (Transition::Select(mailbox), State::Authenticated(authenticated)) => {
                State::Selected(Box::new(Selected { authenticated, mailbox: *mailbox }))
            }
            (Transition::Deselect, State::Selected(selected)) => {
                State::Authenticated(selected.authenticated)
            }
            (Transition::Stay | Transition::Deselect | Transition::Select(_), state) => state,
            (Transition::LogOut, _) => State::Logout,
        };
    }

    /// Tells the client what others have changed in its mailbox.
    async fn report(&mut self, numbers_may_change: bool) -> Result<(), Disconnect> {
        let State::Selected(selected) = &mut self.state else { return Ok(()) };
        if selected.authenticated.changes.has_changed().unwrap_or(false) {
            selected.authenticated.changes.mark_unchanged();
            match selected.mailbox.refresh().await {
                // What cannot be read now is told after the next command.
                Ok(()) | Err(Failure::Refused(_)) => {}
                Err(Failure::Disconnected(disconnect)) => return Err(disconnect),
            }
        }
        selected.mailbox.report(&mut self.context.frame, numbers_may_change).await
    }

    async fn complete(
        &mut self,
        tag: Option<&Tag>,
        completion: &Completion,
    ) -> Result<(), Disconnect> {
        let line = completion.line(tag.map_or("*", Tag::as_str));
        self.context.frame.put(line.as_bytes()).await?;
        if completion.condition == Condition::Bad {
            self.bad_commands += 1;
            if self.bad_commands >= self.context.server.settings.limits.bad_commands_max {
                return Err(Disconnect::TooManyErrors);
            }
        } else {
            self.bad_commands = 0;
        }
        Ok(())
    }

    /// Says why the connection ends, where there is somebody to read it (RFC 3501 §7.1.5).
    async fn say_goodbye(&mut self, disconnect: &Disconnect) -> Result<(), Disconnect> {
        let text = match disconnect {
            Disconnect::Closed | Disconnect::Io(_) | Disconnect::WriteTimedOut => return Ok(()),
            // Nothing but silence can follow half a literal.
            Disconnect::MessageUnreadable(error) => {
                let address = &self.context.address;
                tracing::error!(address, %error, "a message could not be read to its end");
                return Ok(());
            }
            Disconnect::IdleTimedOut => "Sessione inattiva / Session idle for too long",
            Disconnect::LoginTimedOut => "Accesso non effettuato in tempo / No login in time",
            Disconnect::LineTooLong(_) => "Riga troppo lunga / Line too long",
            Disconnect::LiteralTooLarge(_) => "Dati troppo grandi / Literal too large",
            Disconnect::TooManyErrors => "Troppi errori / Too many errors",
            Disconnect::MailboxDeleted => "Cartella eliminata / The mailbox was deleted",
            Disconnect::Stopping => "Server in chiusura, riconnettersi / Server stops, reconnect",
        };
        let frame = &mut self.context.frame;
        if let Disconnect::LineTooLong(_) | Disconnect::LiteralTooLarge(_) = disconnect {
            let tag = frame.unfinished_tag().map_or("*", Tag::as_str);
            let refused = Completion {
                code: matches!(disconnect, Disconnect::LiteralTooLarge(_)).then(|| "TOOBIG".into()),
                ..Completion::bad(text)
            };
            let line = refused.line(tag);
            frame.put(line.as_bytes()).await?;
        }
        frame.put(format!("* BYE {text}\r\n").as_bytes()).await?;
        frame.flush().await
    }
}

fn settle(result: Result<Completion, Failure>) -> Result<Completion, Disconnect> {
    match result {
        Ok(completion) | Err(Failure::Refused(completion)) => Ok(completion),
        Err(Failure::Disconnected(disconnect)) => Err(disconnect),
    }
}

/// The command is not one of this state.
pub(crate) fn wrong_state() -> Completion {
    Completion::bad("Comando non ammesso in questo stato / Command not allowed in this state")
}

fn stay(completion: Result<Completion, Failure>) -> Done {
    completion.map(|completion| (completion, Transition::Stay))
}

/// Commands of the not authenticated state (RFC 3501 §6.2).
async fn not_authenticated<S: Stream>(
    context: &mut Context<S>,
    state: &mut NotAuthenticated,
    command: Command,
) -> Done {
    match command {
        Command::Login { login, password } => {
            command::login::login(context, state, &login, &password).await
        }
        Command::Authenticate { mechanism, initial_response } => {
            command::authenticate::authenticate(context, state, &mechanism, initial_response).await
        }
        _ => Err(wrong_state().into()),
    }
}

/// Commands of the authenticated state (RFC 3501 §6.3).
async fn authenticated<S: Stream>(
    context: &mut Context<S>,
    state: &mut Authenticated,
    command: Command,
) -> Done {
    match command {
        Command::Select { mailbox, read_only } => {
            command::select::select(context, state, &mailbox, read_only).await
        }
        Command::List(list) => stay(command::list::list(context, state, &list).await),
        Command::Lsub { reference, pattern } => {
            stay(command::lsub::lsub(context, state, &reference, &pattern).await)
        }
        Command::Status { mailbox, items } => {
            stay(command::status::status(context, state, &mailbox, &items).await)
        }
        Command::GetQuota { root } => {
            stay(command::getquota::get_quota(context, state, &root).await)
        }
        Command::GetQuotaRoot { mailbox } => {
            stay(command::getquota::get_quota_root(context, state, &mailbox).await)
        }
        Command::SetQuota(set) => stay(command::setquota::set_quota(context, state, &set).await),
        Command::Acl(acl) => stay(command::acl::acl(context, state, &acl).await),
        Command::GetMetadata(get) => stay(command::metadata::get(context, state, &get).await),
        Command::SetMetadata(set) => stay(command::metadata::set(state, set).await),
        Command::Create { mailbox, special_use } => {
            stay(command::create::create(context, state, &mailbox, special_use).await)
        }
        Command::Delete { mailbox } => stay(command::delete::delete(state, &mailbox).await),
        Command::Rename { from, to } => {
            stay(command::rename::rename(context, state, &from, &to).await)
        }
        Command::Subscribe { mailbox, subscribed } => {
            stay(command::subscribe::subscribe(state, &mailbox, subscribed).await)
        }
        // Not once a mailbox is selected (RFC 5161 §3.1): `selected` refuses it.
        Command::Enable { extensions } => stay(command::enable::enable(context, &extensions).await),
        Command::Namespace => stay(command::namespace::namespace(context, state).await),
        Command::Idle => stay(command::idle::idle(context, state, None).await),
        _ => Err(wrong_state().into()),
    }
}

/// Commands of the selected state (RFC 3501 §6.4), and those of the authenticated one.
async fn selected<S: Stream>(
    context: &mut Context<S>,
    state: &mut Selected,
    command: Command,
) -> Done {
    let Selected { authenticated: account, mailbox } = state;
    match command {
        Command::Noop | Command::Check => stay(command::noop::noop(mailbox).await),
        Command::Close => command::close::close(mailbox).await,
        Command::Unselect => Ok((Completion::ok("UNSELECT"), Transition::Deselect)),
        Command::Expunge { uids } => stay(command::expunge::expunge(mailbox, uids.as_ref()).await),
        Command::Search { program, uid } => {
            stay(command::search::search(context, mailbox, program, uid).await)
        }
        Command::Fetch { set, items, uid } => {
            stay(command::fetch::fetch(context, mailbox, &set, items, uid).await)
        }
        Command::Store(store) => stay(command::store::store(context, mailbox, &store).await),
        Command::Copy { set, mailbox: to, uid } => {
            stay(command::copy::copy(account, mailbox, &set, &to, uid).await)
        }
        Command::Move { set, mailbox: to, uid } => {
            stay(command::r#move::r#move(context, account, mailbox, &set, &to, uid).await)
        }
        Command::Idle => stay(command::idle::idle(context, account, Some(mailbox)).await),
        Command::Enable { .. } => Err(wrong_state().into()),
        other => authenticated(context, account, other).await,
    }
}
