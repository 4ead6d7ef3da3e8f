//! The PEC engine: what the points share.
//!
//! A [`PecEngine`] owns nothing durable of its own: what must survive stands in the catalog, step
//! by step, each step in one batch with its journal record. Invariants:
//!
//! * A duty (a receipt, an envelope, a delivery) is created and fulfilled by batches that expect
//!   the record they were computed from; whatever happens twice is applied once.
//! * Octets of messages in memory are bounded by [`EngineSettings::memory_octets_max`] and an eighth
//!   of it (`memory`).
//! * Time and randomness are handed in.
//!
//! Not here: the steps themselves (`access_point`, `acceptance`, `incoming_point`,
//! `distribution`, `delivery_point`, `queue`), the rules of messages (`envelope`, `receipt`, …).

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use storage::{
    catalog::engine::Batch,
    error::StoreError,
    held::{HeldId, HeldMessage},
    octets::StagedMessage,
    store::Store,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use trust::{
    clock::{Clock, UnixMillis},
    random::RandomSource,
    seal::{DataKey, SealError},
    smime::{sign::MessageSigner, verify::Verifier},
};

use super::{
    address::Domain,
    brief::BriefHash,
    directory::Directory,
    facts::TransmissionFacts,
    identifier::IdentifierSource,
    instant::CertifiedInstant,
    issuer::Issuer,
    journal::{self, JournalEvent},
    memory::MessageMemory,
    pressure::Pressure,
    queue::QueueHandle,
    records::{
        Due, JournalRecord, LaneId, QueueId, QueueRecord, TransmissionId, decode, draw_held_id,
        write_queued,
    },
    work::WorkQueue,
};
use crate::{
    content::Checker,
    metrics_names,
    service_levels::delays::{DelayKind, Delays},
};

/// What to do with mail that is not certified.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum OrdinaryMail {
    /// Deliver it inside an anomaly envelope (RFC 6109 §3.2.2).
    #[default]
    Wrap,
    /// Refuse it by SMTP.
    Refuse,
}

/// The bounds of the engine, and the switches of its rules. `[limits]` of the configuration sets
/// those that depend on the machine; the others keep their defaults.
#[derive(Clone, Debug)]
pub struct EngineSettings {
    /// Number of this node in journal keys.
    pub node: u64,
    /// Raised by every restore from a back-up; part of every identifier.
    pub epoch: u32,
    /// Items worked on at the same time.
    pub workers_max: usize,
    /// Items waiting in memory; what is more waits in the catalog.
    pub work_entries_max: usize,
    /// Milliseconds between two looks for unfinished work.
    pub rescan_millis: u64,
    /// Signatures and verifications at the same time.
    pub signatures_max: usize,
    /// Octets of all messages held in memory at the same time.
    pub memory_octets_max: usize,
    /// How long a message that has come whole waits for memory; then the peer comes again.
    pub memory_time_max: Duration,
    /// The folder in which messages wait that are on their way, in files without names.
    pub arriving_folder: PathBuf,
    /// Octets of a submitted message.
    pub message_octets_max: u64,
    /// Octets of a message from another server: a submitted one and its envelope.
    pub relay_octets_max: u64,
    /// Recipients of one transaction, whatever the plan says.
    pub recipients_max: usize,
    /// Octets of a message's header.
    pub header_octets_max: usize,
    /// What happens to ordinary mail.
    pub ordinary_mail: OrdinaryMail,
    /// Whether the domain of From must be among those of the provider that signed (RFC 6109 §7).
    pub from_must_be_managed: bool,
    /// What the hashes of a brief receipt are taken of (RFC 6109 §3.3.2.2).
    pub brief_hash: BriefHash,
    /// Deliveries of one message at the same time.
    pub deliveries_max: usize,
    /// Connections to one destination.
    pub destination_connections_max: usize,
    /// Connections to all destinations.
    pub connections_max: usize,
    /// Messages that one connection carries at most.
    pub messages_per_connection_max: usize,
    /// Milliseconds before the second attempt.
    pub retry_first_millis: i64,
    /// The longest pause between two attempts.
    pub retry_longest_millis: i64,
    /// How much longer each pause is than the one before, in per cent of it: 200 doubles.
    pub retry_factor_percent: u32,
    /// The share of a pause, in per cent, that chance adds at most.
    pub retry_jitter_percent: u32,
    /// How long a message stays in the queue: at most 24 hours (RFC 6109 §2.2.2).
    pub queue_lifetime_millis: i64,
    /// After how long without a word from a recipient's provider a sender is told: 12 hours
    /// (RFC 6109 §3.1.6).
    pub first_notice_millis: i64,
    /// After how long without a delivery receipt he is told for good: between 22 and 24 hours.
    pub last_notice_millis: i64,
    /// After how long a sender is told that a message to ordinary mail is late; 0 = never.
    pub delay_notice_millis: i64,
    /// Octets that stay free on the disk of the data folder: with fewer no message is taken.
    pub free_octets_min: u64,
}

/// The processors that this process may use; as many signatures run side by side.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            node: 1,
            epoch: 1,
            workers_max: 16,
            work_entries_max: 10_000,
            rescan_millis: 5_000,
            signatures_max: processors(),
            memory_octets_max: 512 << 20,
            memory_time_max: Duration::from_secs(30),
            arriving_folder: std::env::temp_dir(),
            message_octets_max: 50 << 20,
            relay_octets_max: 52 << 20,
            recipients_max: 500,
            header_octets_max: 1 << 20,
            ordinary_mail: OrdinaryMail::Wrap,
            from_must_be_managed: true,
            brief_hash: BriefHash::Encoded,
            deliveries_max: 8,
            destination_connections_max: 4,
            connections_max: 64,
            messages_per_connection_max: 100,
            retry_first_millis: 5_000,
            retry_longest_millis: 15 * 60_000,
            retry_factor_percent: 200,
            retry_jitter_percent: 25,
            queue_lifetime_millis: 24 * 3_600_000,
            first_notice_millis: 12 * 3_600_000,
            last_notice_millis: 23 * 3_600_000,
            delay_notice_millis: 4 * 3_600_000,
            free_octets_min: 0,
        }
    }
}

/// Why a step did not happen. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PecError {
    /// The store failed.
    #[error("the store refused a step of the PEC engine")]
    Store(#[from] StoreError),
    /// The signature could not be made: receipts wait until it can.
    #[error(
        "the provider's key cannot sign: check the file or token of [signing]; the step is tried again"
    )]
    Sign(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A message with a virus could not be sealed.
    #[error("a message with a virus could not be sealed for the quarantine")]
    Seal(#[source] SealError),
    /// A message that this program made or stored does not read back as what it was.
    #[error("{object} does not read as what it must be ({detail}): run `ceralacca store check`")]
    Inconsistent {
        /// Which record or message.
        object: String,
        /// What is wrong.
        detail: String,
    },
    /// The engine is stopping.
    #[error("the engine is stopping: the step is taken up at the next start")]
    Stopping,
}

impl PecError {
    /// Whether the same step can succeed later without a repair.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Store(error) => error.is_temporary(),
            Self::Sign(_) | Self::Seal(_) | Self::Stopping => true,
            Self::Inconsistent { .. } => false,
        }
    }
}

/// What is handed in when the engine is made.
#[derive(Debug)]
pub struct EngineParts {
    /// The store, opened with [`super::records::FAMILIES`].
    pub store: Arc<Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness for identifiers.
    pub random: Arc<dyn RandomSource>,
    /// Who this provider is: its name, service address and identifiers.
    pub issuer: Issuer,
    /// The name of this server in trace fields and towards other servers.
    pub host_name: String,
    /// The domains whose mailboxes are here, in lower case.
    pub domains: BTreeSet<String>,
    /// Signs everything the provider issues, until [`PecEngine::replace_signer`].
    pub signer: Arc<dyn MessageSigner>,
    /// Verifies what other providers issue.
    pub verifier: Arc<Verifier>,
    /// The providers and their domains, until [`PecEngine::replace_directory`].
    pub directory: Arc<Directory>,
    /// Looks for viruses in every message that is taken; `None` = nobody does.
    pub antivirus: Option<Arc<Checker>>,
    /// What messages with viruses are sealed under.
    pub quarantine_key: DataKey,
    /// The bounds.
    pub settings: EngineSettings,
    /// Tells the workers what to look at.
    pub work: WorkQueue,
    /// Tells the relay what is due.
    pub queue: QueueHandle,
}

/// Which providers there are, and which domains are ours: exchanged together, so that no domain is
/// certified and nobody's.
#[derive(Debug)]
struct Reach {
    directory: Arc<Directory>,
    domains: Arc<BTreeSet<String>>,
}

/// What the points of the engine share.
#[derive(Debug)]
pub struct PecEngine {
    parts: EngineParts,
    reach: RwLock<Reach>,
    signer: RwLock<Arc<dyn MessageSigner>>,
    issuer: Arc<Issuer>,
    signatures: Arc<Semaphore>,
    memory: MessageMemory,
    delays: Arc<Delays>,
    pressure: Pressure,
    last_facts: tokio::sync::Mutex<Option<(TransmissionId, TransmissionFacts)>>,
}

impl PecEngine {
    /// Makes the engine; `work::run` and `queue::run` set it in motion.
    pub fn new(parts: EngineParts) -> Arc<Self> {
        Arc::new(Self {
            reach: RwLock::new(Reach {
                directory: Arc::clone(&parts.directory),
                domains: Arc::new(parts.domains.clone()),
            }),
            signer: RwLock::new(Arc::clone(&parts.signer)),
            issuer: Arc::new(parts.issuer.clone()),
            signatures: Arc::new(Semaphore::new(parts.settings.signatures_max.max(1))),
            memory: MessageMemory::new(parts.settings.memory_octets_max),
            delays: Arc::default(),
            pressure: Pressure::default(),
            last_facts: tokio::sync::Mutex::default(),
            parts,
        })
    }

    /// The store.
    pub fn store(&self) -> &Arc<Store> {
        &self.parts.store
    }

    /// The bounds.
    pub fn settings(&self) -> &EngineSettings {
        &self.parts.settings
    }

    /// Who this provider is, as issuer of signed messages.
    pub fn issuer(&self) -> &Arc<Issuer> {
        &self.issuer
    }

    /// The name of this server.
    pub fn host_name(&self) -> &str {
        &self.parts.host_name
    }

    /// Whether mailboxes of `domain` are here.
    pub fn serves(&self, domain: &Domain) -> bool {
        self.reach().domains.contains(domain.as_str())
    }

    /// The domains whose mailboxes are here.
    pub fn domains(&self) -> BTreeSet<String> {
        BTreeSet::clone(&self.reach().domains)
    }

    fn reach(&self) -> RwLockReadGuard<'_, Reach> {
        self.reach.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The directory of providers as it is now.
    pub fn directory(&self) -> Arc<Directory> {
        Arc::clone(&self.reach().directory)
    }

    fn reach_mut(&self) -> RwLockWriteGuard<'_, Reach> {
        self.reach.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a new directory into use.
    pub fn replace_directory(&self, directory: Arc<Directory>) {
        self.reach_mut().directory = directory;
    }

    /// Takes a new set of own domains into use.
    pub fn replace_domains(&self, domains: BTreeSet<String>) {
        self.reach_mut().domains = Arc::new(domains);
    }

    /// Takes a new directory and the own domains that stand in it into use, at once.
    pub fn replace_reach(&self, directory: Arc<Directory>, domains: BTreeSet<String>) {
        *self.reach_mut() = Reach { directory, domains: Arc::new(domains) };
    }

    /// How long receipts take.
    pub fn delays(&self) -> &Arc<Delays> {
        &self.delays
    }

    /// Counts that a receipt about `domain` that was owed since `began` is in its mailbox.
    pub(super) fn count_delay(&self, kind: DelayKind, domain: &Domain, began: UnixMillis) {
        let now = self.now();
        // A clock that was set back in between has measured nothing.
        let Ok(millis) = u64::try_from(now.0.saturating_sub(began.0)) else { return };
        let ours = self.serves(domain);
        // Domains of others are many: they stand in the report, not in the metrics.
        let label = if ours { domain.as_str().to_owned() } else { "elsewhere".to_owned() };
        let name = match kind {
            DelayKind::Acceptance => metrics_names::ACCEPTANCE_SECONDS,
            DelayKind::Delivery => metrics_names::DELIVERY_SECONDS,
        };
        let time = Duration::from_millis(millis);
        metrics::histogram!(name, "domain" => label).record(time.as_secs_f64());
        self.delays.count(kind, domain.as_str(), millis, now);
    }

    /// The channel to the workers.
    pub fn work(&self) -> &WorkQueue {
        &self.parts.work
    }

    /// The channel to the relay.
    pub fn queue(&self) -> &QueueHandle {
        &self.parts.queue
    }

    /// Makes identifiers and boundaries.
    pub fn identifiers(&self) -> &IdentifierSource {
        &self.issuer.identifiers
    }

    /// The randomness that was handed in.
    pub fn random(&self) -> &dyn RandomSource {
        &*self.parts.random
    }

    /// The present instant.
    pub fn now(&self) -> UnixMillis {
        self.parts.clock.now()
    }

    /// The present instant in legal time.
    pub fn certified_now(&self) -> CertifiedInstant {
        CertifiedInstant::new(self.now())
    }

    /// The verifier of other providers' signatures.
    pub fn verifier(&self) -> &Arc<Verifier> {
        &self.parts.verifier
    }

    /// Who looks for viruses.
    pub fn antivirus(&self) -> Option<&Arc<Checker>> {
        self.parts.antivirus.as_ref()
    }

    /// What messages with viruses are sealed under.
    pub(super) fn quarantine_key(&self) -> &DataKey {
        &self.parts.quarantine_key
    }

    /// The signer of this provider as it is now. Whoever signs takes it once for each message.
    pub fn signer(&self) -> Arc<dyn MessageSigner> {
        Arc::clone(&self.signer.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes a new signer into use; what is being signed is finished by the old one.
    pub fn replace_signer(&self, signer: Arc<dyn MessageSigner>) {
        *self.signer.write().unwrap_or_else(PoisonError::into_inner) = signer;
    }

    /// Reserves memory for work on a message of `octets`, waiting until there is some.
    pub async fn reserve(&self, octets: u64) -> Result<OwnedSemaphorePermit, PecError> {
        self.memory.work(octets).await.ok_or(PecError::Stopping)
    }

    /// The memory for messages.
    pub fn memory(&self) -> &MessageMemory {
        &self.memory
    }

    /// The facts of the transmission that was spoken of last.
    pub(super) fn last_facts(
        &self,
    ) -> &tokio::sync::Mutex<Option<(TransmissionId, TransmissionFacts)>> {
        &self.last_facts
    }

    /// What stands in the way of further messages.
    pub fn pressure(&self) -> &Pressure {
        &self.pressure
    }

    /// Runs `task` (a signature, a verification, parsing of a whole message) on the blocking pool,
    /// at most [`EngineSettings::signatures_max`] at a time.
    pub async fn compute<T: Send + 'static>(
        &self,
        task: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PecError> {
        let _permit =
            Arc::clone(&self.signatures).acquire_owned().await.map_err(|_| PecError::Stopping)?;
        tokio::task::spawn_blocking(task).await.map_err(|_| PecError::Stopping)
    }

    /// Splits and stages a whole message.
    pub async fn stage(&self, octets: &[u8]) -> Result<StagedMessage, StoreError> {
        let mut writer = self.store().message_writer();
        for piece in octets.chunks(64 * 1024) {
            writer.write(piece).await?;
        }
        writer.finish().await
    }

    /// Stages `octets` and adds them to `batch` as a new held message.
    pub async fn hold(
        &self,
        octets: &[u8],
        batch: &mut Batch,
    ) -> Result<(HeldId, StagedMessage), StoreError> {
        let staged = self.stage(octets).await?;
        let id = draw_held_id(self.now(), self.random());
        self.store().hold(id, &staged, batch);
        Ok((id, staged))
    }

    /// Finds a held message that a record names.
    pub async fn held(&self, id: &[u8], whose: &str) -> Result<HeldMessage, PecError> {
        let missing = |detail: &str| PecError::Inconsistent {
            object: whose.to_owned(),
            detail: detail.to_owned(),
        };
        let id = super::records::held_id(id).ok_or_else(|| missing("it names no held message"))?;
        self.store().held(id).await?.ok_or_else(|| missing("the held message is gone"))
    }

    /// Reads a held message whole.
    pub async fn read_held(&self, message: &HeldMessage) -> Result<Bytes, PecError> {
        let size = message.size();
        let mut octets = BytesMut::with_capacity(usize::try_from(size).unwrap_or(0));
        while (octets.len() as u64) < size {
            let start = octets.len() as u64;
            let piece = self.store().octets().read(message.stored(), start..size).await?;
            if piece.is_empty() {
                break;
            }
            octets.extend_from_slice(&piece);
        }
        Ok(octets.freeze())
    }

    /// Reads a record. `None` when there is none.
    pub async fn record<R: prost::Message + Default>(
        &self,
        family: storage::catalog::engine::Family,
        key: &[u8],
    ) -> Result<Option<(R, Bytes)>, StoreError> {
        let Some(octets) = self.store().engine().get(family, key).await? else { return Ok(None) };
        Ok(Some((decode(family, key, &octets)?, octets)))
    }

    /// Adds a journal record to `batch`.
    pub fn journal(
        &self,
        batch: &mut Batch,
        instant: UnixMillis,
        event: JournalEvent,
        record: JournalRecord,
    ) {
        journal::write(batch, self.parts.settings.node, instant, event, record);
    }

    /// Adds `record` to the outgoing queue in `batch`; call [`QueueHandle::announce`] with what is
    /// returned once the batch is committed.
    pub fn enqueue(&self, batch: &mut Batch, record: &QueueRecord) -> Due {
        let id = QueueId::draw(self.now(), self.random());
        write_queued(batch, id, None, Some(record));
        let at = UnixMillis(record.next_attempt_millis);
        Due { id, lane: LaneId::of(&record.domain), class: record.sender_class, at }
    }
}
