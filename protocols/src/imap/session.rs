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

mod told;

use std::{net::IpAddr, sync::Arc};

use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    command,
    completion::{Completion, Condition, Failure},
    enabled::{Enabled, uid_required},
    frame::{Frame, Incoming, Literal, ReadAppend},
    goodbye,
    grammar::{self, Command, Tag},
    news,
    notify::{Notify, Own},
    progress::Progress,
    selected::SelectedMailbox,
    server::Shared,
};
use crate::{
    access::MailAccount,
    lines::{Disconnect, Stream},
    net::{start_tls::Beginning, stream::ChannelBindings},
    sasl::Mechanism,
    sessions::OpenSession,
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
    /// The tag of the command that is carried out.
    pub(crate) tag: String,
    /// What the client has enabled.
    pub(crate) enabled: Enabled,
    /// What it is told unasked.
    pub(crate) notify: Notify,
    /// How far the command is that is carried out.
    pub(crate) progress: Progress,
    /// What a login can be bound to.
    pub(crate) bindings: ChannelBindings,
    /// Whether STARTTLS is offered.
    pub(crate) start_tls: bool,
    pub(crate) stopping: CancellationToken,
}

impl<S> Context<S> {
    /// The mechanisms of AUTHENTICATE on this connection.
    pub(crate) fn mechanisms(&self) -> Vec<Mechanism> {
        Mechanism::offered(&self.bindings, true, &*self.server.authenticator)
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
    pub(crate) _counted: OpenSession,
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
    /// STARTTLS was answered: the stream goes over to TLS.
    StartTls,
    /// UNAUTHENTICATE was answered: another session begins on the same connection.
    Unauthenticated,
}

impl State {
    /// Whether the session has come to its end, whatever follows on the connection.
    fn is_over(&self) -> bool {
        matches!(self, Self::Logout | Self::StartTls | Self::Unauthenticated)
    }

    /// The account and the mailbox that are open.
    fn opened(&mut self) -> Option<(&mut Authenticated, Option<&mut SelectedMailbox>)> {
        match self {
            Self::Authenticated(state) => Some((state, None)),
            Self::Selected(state) => Some((&mut state.authenticated, Some(&mut state.mailbox))),
            _ => None,
        }
    }
}

/// Where a command leads.
pub(crate) enum Transition {
    Stay,
    LogIn(Authenticated),
    Select(Box<SelectedMailbox>),
    Deselect,
    LogOut,
    StartTls,
    Unauthenticate,
}

/// A command that did what it says: its completion, and where it leads.
pub(crate) type Done = Result<Completed, Failure>;

/// The same, of a command that cannot fail.
pub(crate) type Completed = (Completion, Transition);

/// One connection's session.
pub(crate) struct Session<S> {
    context: Context<S>,
    state: State,
    greeted: bool,
    login_deadline: Instant,
    bad_commands: u32,
}

impl<S: Stream> Session<S> {
    /// Begins a session over `stream`.
    pub(crate) fn new(server: Arc<Shared>, stream: S, beginning: Beginning) -> Self {
        let frame = Frame::new(stream, &server.settings.limits);
        Self::on(frame, server, beginning)
    }

    /// Begins a session on what is left of another one: nothing is known of that.
    fn on(mut frame: Frame<S>, server: Arc<Shared>, beginning: Beginning) -> Self {
        let Beginning { peer, tls, start_tls, greeted, login_deadline, stopping } = beginning;
        let (encrypted, bindings) = (tls.is_some(), tls.unwrap_or_default());
        let enabled = Enabled::default();
        frame.set_enabled(enabled);
        let context = Context {
            frame,
            server,
            peer,
            address: None,
            encrypted,
            tag: String::new(),
            enabled,
            notify: Notify::default(),
            progress: Progress::default(),
            bindings,
            start_tls,
            stopping,
        };
        let state = NotAuthenticated { failed_logins: 0, deadline: login_deadline };
        let state = State::NotAuthenticated(state);
        Self { context, state, greeted, login_deadline, bad_commands: 0 }
    }

    /// Runs the session to its end, and those that follow it on the same stream. Returns the stream
    /// when TLS is to begin on it.
    pub(crate) async fn run(mut self) -> Option<(S, Beginning)> {
        loop {
            let ended = self.dialogue().await;
            match (ended, &self.state) {
                (Ok(()), State::StartTls) => return self.into_stream().await,
                (Ok(()), State::Unauthenticated) => {
                    let (frame, server, beginning) = self.apart();
                    self = Self::on(frame, server, beginning);
                }
                (Ok(()), _) => break,
                (Err(disconnect), _) => {
                    let cause = std::error::Error::source(&disconnect).map(ToString::to_string);
                    let Context { peer, address, .. } = &self.context;
                    tracing::debug!(%peer, address, %disconnect, cause, "IMAP session ended");
                    // A peer that cannot be reached any more misses nothing.
                    let _ = goodbye::say(&mut self.context, &disconnect).await;
                    break;
                }
            }
        }
        self.context.frame.close().await;
        None
    }

    /// What the next session on this connection may know of it.
    fn apart(self) -> (Frame<S>, Arc<Shared>, Beginning) {
        let Context { frame, server, peer, encrypted, bindings, start_tls, stopping, .. } =
            self.context;
        // TLS does not begin the time anew; who gives his login up has it again.
        let login_deadline = match &self.state {
            State::Unauthenticated => Instant::now() + server.settings.limits.login_time_max,
            _ => self.login_deadline,
        };
        let tls = encrypted.then_some(bindings);
        let greeted = true;
        let beginning = Beginning { peer, tls, start_tls, greeted, login_deadline, stopping };
        (frame, server, beginning)
    }

    /// From here on the stream is TLS's: what cannot be said there is not said.
    async fn into_stream(self) -> Option<(S, Beginning)> {
        let (frame, _, beginning) = self.apart();
        match frame.into_stream().await {
            Ok(stream) => Some((stream, beginning)),
            Err(disconnect) => {
                tracing::debug!(peer = %beginning.peer, %disconnect, "IMAP session ended");
                None
            }
        }
    }

    async fn dialogue(&mut self) -> Result<(), Disconnect> {
        if !self.greeted {
            let greeting = format!(
                "* OK [CAPABILITY {}] Ceralacca pronto / ready\r\n",
                command::capability::list(&self.context, false)
            );
            self.context.frame.put(greeting.as_bytes()).await?;
        }
        while !self.state.is_over() {
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
        self.context.frame.set_appends(!matches!(self.state, State::NotAuthenticated(_)));
        self.context.frame.flush().await?;
        if let Some((state, mailbox)) = self.state.opened() {
            news::until_command(&mut self.context, state, mailbox, deadline).await?;
        }
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
            Incoming::Append { tag, begun, literal } => {
                let expunges =
                    matches!(&begun, Ok((script, _)) if script.target().replace.is_some());
                let told = self.told();
                self.begin(&tag);
                let appended = self.append(begun, Some(literal)).await;
                let completion = settle(appended)?;
                (Some(tag), self.settled(completion, true, expunges, told).await?)
            }
            Incoming::LiteralRefused { tag } => (tag, command::append::literal_too_large()),
        };
        self.complete(tag.as_ref(), &completion).await
    }

    /// APPEND and REPLACE, whose messages are read while they are carried out.
    async fn append(
        &mut self,
        begun: ReadAppend,
        literal: Option<Literal>,
    ) -> Result<Completion, Failure> {
        let context = &mut self.context;
        // Before the message is asked for.
        if let Ok((script, _)) = &begun
            && context.enabled.uid_only
            && script.names_numbers()
        {
            return self.refuse(literal, uid_required()).await;
        }
        match &mut self.state {
            State::Authenticated(state) => {
                command::append::append(context, state, None, begun, literal).await
            }
            State::Selected(selected) => {
                let Selected { authenticated, mailbox } = &mut **selected;
                command::append::append(context, authenticated, Some(mailbox), begun, literal).await
            }
            _ => self.refuse(literal, wrong_state()).await,
        }
    }

    /// Refuses APPEND, with the literals that come unasked: before a login in the time for that, and
    /// none that is larger than other commands' may be.
    async fn refuse(
        &mut self,
        literal: Option<Literal>,
        completion: Completion,
    ) -> Result<Completion, Failure> {
        let context = &mut self.context;
        let limits = &context.server.settings.limits;
        let State::NotAuthenticated(state) = &self.state else {
            let octets_max = limits.append_octets_max;
            return command::append::refuse(context, literal, octets_max, completion).await;
        };
        let octets_max = limits.literal_octets_max as u64;
        state.in_time(command::append::refuse(context, literal, octets_max, completion)).await?
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
            Err(error) => return Ok((tag, self.context.enabled.unreadable(error))),
        };
        if let Err(refused) = self.context.enabled.admits(&command) {
            return Ok((tag, refused));
        }
        if let Some(tag) = &tag {
            self.begin(tag);
        }
        let (numbers_may_change, expunges) = (command.lets_numbers_change(), command.expunges());
        let (told, own) = (self.told(), Own::of(&command));
        let completion = match self.dispatch(command, tag.as_ref()).await {
            Ok((completion, transition)) => {
                self.follow(transition);
                self.context.notify.did(own);
                completion
            }
            Err(Failure::Refused(completion)) => completion,
            Err(Failure::Disconnected(disconnect)) => return Err(disconnect),
        };
        let completion = self.settled(completion, numbers_may_change, expunges, told).await?;
        Ok((tag, completion))
    }

    async fn dispatch(&mut self, command: Command, tag: Option<&Tag>) -> Done {
        // A SELECT that fails leaves no mailbox selected (RFC 3501 §6.3.1).
        if matches!(command, Command::Select(_)) {
            // Whatever the client enabled (RFC 7162 §3.2.11, RFC 9051 §6.3.2).
            if matches!(self.state, State::Selected(_)) {
                let closed =
                    "* OK [CLOSED] Cartella precedente chiusa / Previous mailbox closed\r\n";
                self.context.frame.put(closed.as_bytes()).await?;
            }
            self.follow(Transition::Deselect);
        }
        if let Command::Append { script, steps } = command {
            let completion = self.append(Ok((script, steps)), None).await?;
            return Ok((completion, Transition::Stay));
        }
        if command.enables_condstore() && !matches!(self.state, State::NotAuthenticated(_)) {
            self.enable_condstore().await?;
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
            State::Selected(state) => selected(context, state, command, tag).await,
            State::Logout | State::StartTls | State::Unauthenticated => Err(wrong_state().into()),
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
                self.context.notify.left(&selected.mailbox);
                State::Authenticated(selected.authenticated)
            }
            (Transition::Stay | Transition::Deselect | Transition::Select(_), state) => state,
            (Transition::LogOut, _) => State::Logout,
            (Transition::StartTls, _) => State::StartTls,
            (Transition::Unauthenticate, _) => State::Unauthenticated,
        };
    }

    async fn complete(
        &mut self,
        tag: Option<&Tag>,
        completion: &Completion,
    ) -> Result<(), Disconnect> {
        let line = completion.line(tag.map_or("*", Tag::as_str));
        self.context.frame.complete(line.as_bytes()).await?;
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
        Command::StartTls => command::starttls::starttls(context),
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
        Command::Select(select) => command::select::select(context, state, &select).await,
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
        Command::MultiSearch(search) => {
            stay(command::esearch::esearch(context, state, None, search).await)
        }
        Command::Namespace => stay(command::namespace::namespace(context, state).await),
        Command::Idle => stay(command::idle::idle(context, state, None).await),
        Command::Notify(set) => stay(command::notify::notify(context, state, None, set).await),
        Command::Unauthenticate => Ok(command::unauthenticate::unauthenticate(context)),
        Command::Compress => stay(command::compress::compress(context)),
        _ => Err(wrong_state().into()),
    }
}

/// Commands of the selected state (RFC 3501 §6.4), and those of the authenticated one.
async fn selected<S: Stream>(
    context: &mut Context<S>,
    state: &mut Selected,
    command: Command,
    tag: Option<&Tag>,
) -> Done {
    let Selected { authenticated: account, mailbox } = state;
    match command {
        Command::Noop | Command::Check => stay(command::noop::noop(mailbox).await),
        Command::Close => command::close::close(mailbox).await,
        Command::Unselect => Ok((Completion::ok("UNSELECT"), Transition::Deselect)),
        Command::Expunge { uids } => {
            stay(command::expunge::expunge(context, mailbox, uids.as_ref()).await)
        }
        Command::Search(search) => stay(command::search::search(context, mailbox, search).await),
        Command::Sort(sort) => stay(command::sort::sort(context, mailbox, sort).await),
        Command::Thread(thread) => stay(command::thread::thread(context, mailbox, thread).await),
        Command::MultiSearch(search) => {
            stay(command::esearch::esearch(context, account, Some(mailbox), search).await)
        }
        Command::CancelUpdate { tags } => {
            stay(command::cancel_update::cancel_update(mailbox, &tags))
        }
        Command::Fetch(fetch) => stay(command::fetch::fetch(context, mailbox, fetch).await),
        Command::Store(store) => stay(command::store::store(context, mailbox, &store).await),
        Command::Copy { set, mailbox: to, uid } => {
            stay(command::copy::copy(context, account, mailbox, &set, &to, uid).await)
        }
        Command::Move { set, mailbox: to, uid } => {
            stay(command::r#move::r#move(context, account, mailbox, &set, &to, uid).await)
        }
        Command::UidBatches(batches) => {
            let tag = tag.map_or("", Tag::as_str);
            stay(command::uid_batches::uid_batches(context, mailbox, batches, tag).await)
        }
        Command::Idle => stay(command::idle::idle(context, account, Some(mailbox)).await),
        Command::Notify(set) => {
            stay(command::notify::notify(context, account, Some(&*mailbox), set).await)
        }
        Command::Enable { .. } => Err(wrong_state().into()),
        other => authenticated(context, account, other).await,
    }
}
