//! What an operation is, and what it works with.

use std::{error::Error, sync::Arc};

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use snapshots::run::Runs;
use storage::{error::StoreError, store::Store};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    backup::service::BackupService,
    config::Config,
    directory::keeper::DirectoryKeeper,
    pec::engine::PecEngine,
    registry::Registry,
    texts::{Language, Text, store},
};

/// One thing that can be asked of a store. The value is the request; it travels as JSON.
///
/// Fields are added with `#[serde(default)]` and never change their meaning, so that a command
/// and a server of two versions understand each other.
#[async_trait::async_trait]
pub trait Operation: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Its name on the socket: `store/check`.
    const NAME: &'static str;

    /// What it ends with.
    type Outcome: Serialize + DeserializeOwned + Send + 'static;

    /// Does it. Tells `run` how far it is, and ends with [`OperationError::cancelled`] between
    /// two steps soon after `run` is cancelled; what is done by then stays done.
    async fn run(&self, site: &Site, run: &Run) -> Result<Self::Outcome, OperationError>;
}

/// What an operation works with.
#[derive(Debug)]
pub struct Site {
    /// The configuration.
    pub config: Arc<Config>,
    /// The store, open in this process.
    pub store: Arc<Store>,
    /// Owners, accounts, plans.
    pub registry: Arc<Registry>,
    /// The engine, when a server runs it in this process.
    pub engine: Option<Arc<PecEngine>>,
    /// The back-up of the running server, when it has one.
    pub backup: Option<Arc<BackupService>>,
    /// Snapshots, and runs over all accounts.
    pub runs: Arc<Runs>,
    /// The directory of the running server.
    pub directory: Option<Arc<DirectoryKeeper>>,
}

/// How far an operation is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Progress {
    /// What `done` counts: `messages rebuilt`.
    pub what: Text,
    /// How many are done.
    pub done: u64,
    /// How many there are, when it is known.
    pub total: Option<u64>,
    /// What was found wrong so far.
    #[serde(default)]
    pub troubles: u64,
}

impl Progress {
    /// `done` of `total`.
    #[must_use]
    pub fn new(what: Text, done: u64, total: Option<u64>) -> Self {
        Self { what, done, total, troubles: 0 }
    }

    /// The same, with what was found wrong.
    #[must_use]
    pub fn with_troubles(self, troubles: u64) -> Self {
        Self { troubles, ..self }
    }
}

/// One run of an operation: whom it tells, and whether it shall end.
#[derive(Debug)]
pub struct Run {
    progress: watch::Sender<Progress>,
    cancelled: CancellationToken,
    octets: Option<mpsc::Sender<Bytes>>,
}

/// Pieces that an operation puts out before it waits for whoever reads them.
const PIECES_WAITING_MAX: usize = 4;

impl Run {
    /// A run that ends when `cancelled` is; the receiver has its latest progress.
    #[must_use]
    pub fn new(cancelled: CancellationToken) -> (Self, watch::Receiver<Progress>) {
        let start = Progress::new(Text::fixed("inizio", "starting"), 0, None);
        let (progress, receiver) = watch::channel(start);
        (Self { progress, cancelled, octets: None }, receiver)
    }

    /// Says how far it is. Cheap: only the latest is kept.
    pub fn tell(&self, progress: Progress) {
        self.progress.send_replace(progress);
    }

    /// The same run, of which somebody wants the octets that it puts out; the receiver has them in
    /// order and ends with it.
    #[must_use]
    pub fn with_octets(mut self) -> (Self, mpsc::Receiver<Bytes>) {
        let (octets, receiver) = mpsc::channel(PIECES_WAITING_MAX);
        self.octets = Some(octets);
        (self, receiver)
    }

    /// Puts octets out, and waits while whoever reads them is slower.
    ///
    /// # Errors
    ///
    /// [`OperationError::cancelled`] when nobody reads them, or not any more.
    pub async fn put_out(&self, octets: Bytes) -> Result<(), OperationError> {
        let Some(reader) = &self.octets else { return Err(OperationError::cancelled()) };
        self.reading(reader.send(octets)).await?.map_err(|_| OperationError::cancelled())
    }

    /// Whether to end at the next step.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.is_cancelled()
    }

    /// Fails when the run shall end: for the place between two steps.
    ///
    /// # Errors
    ///
    /// [`OperationError::cancelled`].
    pub fn go_on(&self) -> Result<(), OperationError> {
        if self.is_cancelled() { Err(OperationError::cancelled()) } else { Ok(()) }
    }

    /// The token behind [`Run::is_cancelled`].
    #[must_use]
    pub fn token(&self) -> &CancellationToken {
        &self.cancelled
    }

    /// Waits for `reading`, which changes nothing and may be given up at any point.
    ///
    /// # Errors
    ///
    /// [`OperationError::cancelled`] when the run was cancelled first.
    pub async fn reading<T>(&self, reading: impl Future<Output = T>) -> Result<T, OperationError> {
        tokio::select! {
            biased;
            () = self.cancelled.cancelled() => Err(OperationError::cancelled()),
            read = reading => Ok(read),
        }
    }
}

/// What whoever asked must do about a failure.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Read the text.
    Failed,
    /// Correct the request.
    Invalid,
    /// Name something that exists.
    NotFound,
    /// The present state does not allow it.
    Conflict,
    /// Try again later.
    Temporary,
    /// Nothing: it was asked to end.
    Cancelled,
}

impl Kind {
    /// What an error of the store means for who asked.
    #[must_use]
    pub fn of_store(error: &StoreError) -> Self {
        match error {
            StoreError::NoSuchAccount(_)
            | StoreError::NoSuchMailbox { .. }
            | StoreError::NoSuchMailboxName(_)
            | StoreError::NoSuchMessage { .. }
            | StoreError::NoSuchUid { .. }
            | StoreError::SnapshotExpired { .. } => Self::NotFound,
            StoreError::InvalidMailboxName { .. } => Self::Invalid,
            StoreError::Conflict
            | StoreError::OverQuota { .. }
            | StoreError::MailboxExists(_)
            | StoreError::ReadOnly => Self::Conflict,
            StoreError::Closed => Self::Temporary,
            _ => Self::Failed,
        }
    }
}

/// Why an operation was not done.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct OperationError {
    /// What to do about it.
    pub kind: Kind,
    /// What happened.
    pub text: Text,
}

impl OperationError {
    /// A failure with a text of its own.
    #[must_use]
    pub fn new(kind: Kind, text: Text) -> Self {
        Self { kind, text }
    }

    /// It ended because it was asked to.
    #[must_use]
    pub fn cancelled() -> Self {
        Self::new(Kind::Cancelled, Text::fixed("interrotto", "cancelled"))
    }

    /// The machine refused something; the message is the cause's: of the store in both languages, else in
    /// English.
    #[must_use]
    pub fn of_machine(error: &(dyn Error + 'static)) -> Self {
        Self::new(Kind::Failed, store::of_machine(error))
    }
}

impl From<StoreError> for OperationError {
    fn from(error: StoreError) -> Self {
        Self::new(Kind::of_store(&error), store::error(&error))
    }
}

impl std::fmt::Display for OperationError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.text.get(Language::English))
    }
}

impl Error for OperationError {}
