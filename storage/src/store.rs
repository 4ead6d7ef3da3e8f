//! The store: what floors above open, and the one place that knows all rooms of this floor.
//!
//! [`Store`] opens the catalog and the octet store, hands out [`Account`]s, and keeps held messages:
//! octets owned by a record of a floor above (a transmission, a queue entry) and by no mailbox.
//! Invariants:
//!
//! * A catalog of a newer format is never opened, let alone written.
//! * A held message's octets are durable with the batch that holds it, and are not collected until
//!   a batch releases it.
//!
//! Not here: which records of floors above refer to a held message (theirs).

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use bytes::Bytes;
use object_store::ObjectStore;
use tokio_util::task::TaskTracker;
use trust::{clock::Clock, random::RandomSource};

use crate::{
    account::{
        Account, after, headers,
        queue::AccountQueue,
        quota::{self, QuotaWarning},
        read, scan_all,
        settings::{AccountSettings, Applied, ApplySettings},
        tree::Doomed,
    },
    backup::epoch,
    catalog::{
        engine::{Batch, Engine, Family, Scan},
        format,
        keys::{self, KeyReader},
        records::{self, AccountRecord, IndexRecord},
        rocksdb::{RocksConfig, RocksEngine},
    },
    check::{self, CheckReport, Progress},
    collector::references::{self, References},
    concerned::{self, Concerned},
    error::StoreError,
    figures::{self, AccountFigures, Caches, Shares, TotalFigures},
    find::{self, Found},
    held::{self, HeldId, HeldMessage},
    ids::{AccountId, MailboxId, StoredId},
    mailbox::blocks::{
        build::{self, BlockReport, Pace, enough_changes, passed_over},
        due::DueMailboxes,
    },
    octets::{
        ErasureReason, MessageWriter, OctetStore, OctetStoreConfig, StagedMessage, StoredMessage,
    },
    pack::index::STAGED_CHUNKS,
    repair::{self, RepairReport, SettingsSource},
    summary::Envelope,
};

/// The most that [`StoreLimits::block_rows`] can be.
const BLOCK_ROWS_LIMIT: u32 = 1 << 16;

/// Mailboxes that one run of the builder of blocks looks at although nothing is known of them.
const SWEEP_MAILBOXES: usize = 256;

/// Everything a store is opened with.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// The folder of the catalog's engine; created when absent.
    pub catalog_folder: PathBuf,
    /// Families of floors above.
    pub families: Vec<Family>,
    /// Those of them whose records refer to chunks. A held message keeps its chunks itself.
    pub references: Vec<References>,
    /// The catalog's engine.
    pub catalog: RocksConfig,
    /// The octet store.
    pub octets: OctetStoreConfig,
    /// Bounds of accounts and mailboxes.
    pub limits: StoreLimits,
}

/// Bounds of accounts and mailboxes. None of them is part of a format.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StoreLimits {
    /// Mailboxes, and subscriptions, of one account. 10,000.
    pub mailboxes_per_account_max: u64,
    /// Annotations of one account, of all its mailboxes together. 1,000.
    pub annotations_per_account_max: u64,
    /// Octets of the names and values of all annotations of one account. 256 KiB.
    pub annotation_octets_per_account_max: u64,
    /// Octets of the value of one annotation. 16 KiB.
    pub annotation_octets_max: u64,
    /// Rows that one COPY or MOVE may name; it is one batch. 100,000, at most 2²².
    pub rows_per_batch_max: usize,
    /// Rows of one step of a change that may be done in steps. 1,000.
    pub rows_per_step_max: usize,
    /// Changes of one account that wait; more callers wait for a place. 1,024.
    pub queued_changes_max: usize,
    /// Changes of one account that are merged into one batch. 128.
    pub merged_changes_max: usize,
    /// Octets of changes that are merged into one batch; a larger change goes alone. 4 MiB.
    pub merged_octets_max: usize,
    /// Successive UIDs, or EmailNumbers, that one block stands for. 1,024, at most 65,536. Blocks
    /// made with another number are built anew.
    pub block_rows: u32,
    /// Mailboxes of which it is remembered that they changed since blocks were built; others are
    /// found by the sweep. 10,000.
    pub changed_mailboxes_max: usize,
}

impl Default for StoreLimits {
    fn default() -> Self {
        Self {
            mailboxes_per_account_max: 10_000,
            annotations_per_account_max: 1_000,
            annotation_octets_per_account_max: 256 << 10,
            annotation_octets_max: 16 << 10,
            rows_per_batch_max: 100_000,
            rows_per_step_max: 1_000,
            queued_changes_max: 1_024,
            merged_changes_max: 128,
            merged_octets_max: 4 << 20,
            block_rows: 1_024,
            changed_mailboxes_max: 10_000,
        }
    }
}

/// What the handles of a store share.
pub(crate) struct StoreCore {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) octets: Arc<OctetStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) limits: StoreLimits,
    /// Runs of account queues.
    pub(crate) tasks: TaskTracker,
    pub(crate) references: Vec<References>,
    accounts: Mutex<Accounts>,
    /// What the builder of blocks is to look at.
    pub(crate) due: DueMailboxes,
    /// Where the builder's sweep over all mailboxes goes on.
    sweep: Mutex<Bytes>,
}

impl StoreCore {
    /// Remembers what changed, for the builder of blocks.
    pub(crate) fn note_changes(
        &self,
        account: AccountId,
        touched: BTreeMap<Option<MailboxId>, u64>,
    ) {
        let enough = enough_changes(self.limits.block_rows);
        for (mailbox, changes) in touched {
            self.due.note((account, mailbox), changes, enough, self.limits.changed_mailboxes_max);
        }
    }

    /// Remembers that a block of a mailbox, or with `None` of an account's headers, could not be used.
    pub(crate) fn note_unusable(&self, account: AccountId, mailbox: Option<MailboxId>) {
        self.note_changes(account, BTreeMap::from([(mailbox, u64::MAX)]));
    }
}

impl std::fmt::Debug for StoreCore {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("StoreCore").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// The queues of accounts in use. It holds as many entries as there are accounts with a handle,
/// and at most as many again that are out of use.
#[derive(Default)]
struct Accounts {
    queues: HashMap<AccountId, Weak<AccountQueue>>,
    swept_at: usize,
}

/// Entries below which dead ones are not worth looking for.
const SWEEP_ENTRIES_MIN: usize = 64;

impl Accounts {
    fn queue(&mut self, id: AccountId, limits: &StoreLimits) -> Arc<AccountQueue> {
        if let Some(queue) = self.queues.get(&id).and_then(Weak::upgrade) {
            return queue;
        }
        if self.queues.len() >= SWEEP_ENTRIES_MIN.max(2 * self.swept_at) {
            self.queues.retain(|_, queue| queue.strong_count() > 0);
            self.swept_at = self.queues.len();
        }
        let queue = Arc::new(AccountQueue::new(id, limits.queued_changes_max));
        self.queues.insert(id, Arc::downgrade(&queue));
        queue
    }
}

/// The mailbox store.
#[derive(Debug)]
pub struct Store {
    pub(crate) core: Arc<StoreCore>,
}

impl Store {
    /// Opens the store on RocksDB, and creates it when the folder is empty.
    ///
    /// [`StoreError::TooNew`] when a newer program wrote it, [`StoreError::Engine`] when another
    /// process has it open.
    pub async fn open(
        config: StoreConfig,
        objects: Arc<dyn ObjectStore>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn RandomSource>,
    ) -> Result<Arc<Self>, StoreError> {
        let families = Self::families(&config.families);
        let engine = RocksEngine::open(&config.catalog_folder, &families, &config.catalog).await?;
        let StoreConfig { octets, limits, references, .. } = config;
        Self::open_with_references(engine, objects, clock, random, octets, limits, references).await
    }

    /// Opens the store on any engine that was opened with [`Store::families`].
    pub async fn open_with_engine(
        engine: Arc<dyn Engine>,
        objects: Arc<dyn ObjectStore>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn RandomSource>,
        octets: OctetStoreConfig,
        limits: StoreLimits,
    ) -> Result<Arc<Self>, StoreError> {
        let none = Vec::new();
        Self::open_with_references(engine, objects, clock, random, octets, limits, none).await
    }

    /// As [`Store::open_with_engine`], for floors above whose records refer to chunks.
    pub async fn open_with_references(
        engine: Arc<dyn Engine>,
        objects: Arc<dyn ObjectStore>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn RandomSource>,
        octets: OctetStoreConfig,
        mut limits: StoreLimits,
        references: Vec<References>,
    ) -> Result<Arc<Self>, StoreError> {
        limits.rows_per_batch_max = limits.rows_per_batch_max.min(records::ROWS_PER_BATCH_LIMIT);
        limits.rows_per_step_max = limits.rows_per_step_max.clamp(1, records::ROWS_PER_BATCH_LIMIT);
        limits.block_rows = limits.block_rows.clamp(1, BLOCK_ROWS_LIMIT);
        format::pass_gate(&*engine).await?;
        let octets = OctetStore::open(Arc::clone(&engine), objects, random, octets).await?;
        octets.format.open().await?;
        let core = StoreCore {
            engine,
            octets,
            clock,
            limits,
            tasks: TaskTracker::new(),
            references: references::OWN.into_iter().chain(references).collect(),
            accounts: Mutex::default(),
            due: DueMailboxes::default(),
            sweep: Mutex::default(),
        };
        let store = Arc::new(Self { core: Arc::new(core) });
        store.finish_deletions().await?;
        Ok(store)
    }

    /// Every family of this floor, and those of the floors `above`.
    #[must_use]
    pub fn families(above: &[Family]) -> Vec<Family> {
        let mut families: Vec<Family> = keys::families().collect();
        families.extend_from_slice(OctetStore::families());
        families.extend_from_slice(above);
        families
    }

    /// The catalog's engine, for the families of floors above.
    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.core.engine
    }

    /// The octet store.
    pub fn octets(&self) -> &Arc<OctetStore> {
        &self.core.octets
    }

    /// How often this store was restored, and one: part of every identifier that must not come
    /// back from a lost time.
    pub async fn epoch(&self) -> Result<u32, StoreError> {
        epoch::read(&*self.core.engine).await
    }

    /// Starts to take in a message.
    pub fn message_writer(&self) -> MessageWriter {
        self.core.octets.writer()
    }

    /// Applies version `version` of an account's settings; creates the account, with its default
    /// mailboxes, when there is none. An equal or older version changes nothing.
    ///
    /// [`StoreError::AddressTaken`] when the address belongs to another account.
    pub async fn apply_account(
        &self,
        id: AccountId,
        version: u64,
        settings: AccountSettings,
    ) -> Result<Applied, StoreError> {
        let queue = self.queue(id);
        queue.submit(&self.core, ApplySettings { version, settings }).await
    }

    /// Returns a handle on an account. [`StoreError::NoSuchAccount`].
    pub async fn account(&self, id: AccountId) -> Result<Account, StoreError> {
        let key = keys::account(id);
        if self.core.engine.get(keys::ACCOUNTS, &key).await?.is_none() {
            return Err(StoreError::NoSuchAccount(id));
        }
        Ok(self.handle(id))
    }

    /// Returns version and settings of at most `limit` accounts above `after`, ascending: what the
    /// registry compares with its own.
    pub async fn accounts(
        &self,
        after: Option<AccountId>,
        limit: usize,
    ) -> Result<Vec<(AccountId, u64, AccountSettings)>, StoreError> {
        let start = match after.map(|id| id.0.checked_add(1)) {
            None => keys::account(AccountId(0)),
            Some(Some(next)) => keys::account(AccountId(next)),
            Some(None) => return Ok(Vec::new()),
        };
        let scan = Scan { start, ..Scan::prefix(keys::ACCOUNTS, &[], limit) };
        let mut accounts = Vec::new();
        for (key, value) in self.core.engine.scan(&scan).await? {
            let mut reader = KeyReader::new(keys::ACCOUNTS, &key);
            let id = AccountId(reader.take_u64()?);
            reader.finish()?;
            let record: AccountRecord = records::decode(keys::ACCOUNTS, &key, &value)?;
            accounts.push((id, record.version, AccountSettings::of_record(id, record)?));
        }
        Ok(accounts)
    }

    /// Returns at most `limit` accounts above `after`, ascending, also those whose settings cannot be
    /// read.
    pub async fn account_ids(
        &self,
        after: Option<AccountId>,
        limit: usize,
    ) -> Result<Vec<AccountId>, StoreError> {
        let start = match after.map(|id| id.0.checked_add(1)) {
            None => keys::account(AccountId(0)),
            Some(Some(next)) => keys::account(AccountId(next)),
            Some(None) => return Ok(Vec::new()),
        };
        let scan = Scan { start, ..Scan::prefix(keys::ACCOUNTS, &[], limit) };
        let id = |(key, _): &(Bytes, Bytes)| {
            let mut reader = KeyReader::new(keys::ACCOUNTS, key);
            let id = AccountId(reader.take_u64()?);
            reader.finish().map(|()| id)
        };
        self.core.engine.scan(&scan).await?.iter().map(id).collect()
    }

    /// Returns at most `limit` quota warnings that wait to be passed on, after `after` in the order
    /// of accounts. Those that cannot be read are passed over, and `unreadable` is told of them.
    pub async fn quota_warnings(
        &self,
        after: Option<&QuotaWarning>,
        limit: usize,
        unreadable: &mut (dyn FnMut(StoreError) + Send),
    ) -> Result<Vec<QuotaWarning>, StoreError> {
        quota::warnings(&*self.core.engine, after, limit, unreadable).await
    }

    /// Finds an account by its address, compared without case.
    pub async fn account_by_address(
        &self,
        address: &str,
    ) -> Result<Option<(AccountId, AccountSettings)>, StoreError> {
        let engine = &*self.core.engine;
        let key = keys::address(address);
        let index = read::<IndexRecord>(engine, keys::ACCOUNT_ADDRESSES, &key).await?;
        let Some(index) = index else { return Ok(None) };
        let id = AccountId(index.id);
        let record = read::<AccountRecord>(engine, keys::ACCOUNTS, &keys::account(id)).await?;
        record.map(|record| Ok((id, AccountSettings::of_record(id, record)?))).transpose()
    }

    /// Adds to `batch` that `id` owns `message`: its octets are durable with the batch. The batch
    /// expects `id` to be free.
    pub fn hold(&self, id: HeldId, message: &StagedMessage, batch: &mut Batch) {
        held::hold(id, message, batch);
    }

    /// Adds to `batch` that `id` owns nothing any more.
    pub fn release(&self, id: HeldId, batch: &mut Batch) {
        held::release(id, batch);
    }

    /// Returns the message that `id` owns.
    pub async fn held(&self, id: HeldId) -> Result<Option<HeldMessage>, StoreError> {
        held::get(&*self.core.engine, id).await
    }

    /// Commits a batch of a floor above. Changes of accounts go through [`Account`] only.
    pub async fn commit(&self, batch: Batch) -> Result<Vec<u64>, StoreError> {
        self.core.engine.commit(batch).await
    }

    /// Checks every invariant that this floor can decide, beside a running store, and tells
    /// `progress` from time to time. Damage is reported; an error means that engine or object
    /// store did not answer.
    pub async fn check(&self, progress: Progress<'_>) -> Result<CheckReport, StoreError> {
        check::run(&self.core, progress).await
    }

    /// Adds to `batch` that the message which `id` owns is erased; false when there is nothing to
    /// erase. The owner must not need the octets any more.
    pub async fn erase_held(
        &self,
        id: HeldId,
        reason: ErasureReason,
        envelope: &Envelope,
        batch: &mut Batch,
    ) -> Result<bool, StoreError> {
        let at = self.core.clock.now();
        held::erase(&*self.core.engine, id, at, reason, envelope, batch).await
    }

    /// Returns where the octets of `message` are, in whole or in part: every message and held
    /// message that is the same, or that refers to one of its chunks. Reads all message records.
    pub async fn find_octets(&self, message: &StoredMessage) -> Result<Vec<Found>, StoreError> {
        find::find_octets(&self.core, message).await
    }

    /// Makes what was erased or removed before the call be gone from the catalog's files: message
    /// records and blocks of headers of `accounts`, held messages, staged chunks. What is removed
    /// later, chunks above all, is the collector's.
    pub async fn purge(&self, accounts: &[AccountId]) -> Result<(), StoreError> {
        let of = |family, prefix: &[u8]| {
            let Scan { family, start, end, .. } = Scan::prefix(family, prefix, 0);
            (family, start, end)
        };
        let mut ranges = vec![of(keys::HELD_MESSAGES, &[]), of(STAGED_CHUNKS, &[])];
        for account in accounts {
            let prefix = keys::account(*account);
            let families = [keys::MESSAGES, keys::SUMMARIES, keys::HEADER_BLOCKS];
            ranges.extend(families.map(|family| of(family, &prefix)));
        }
        self.core.engine.purge(&ranges).await.map(drop)
    }

    /// Makes the records of all accounts agree again, without throwing anything away; with
    /// `apply` false it only says what it would do. Nobody else may use the store meanwhile:
    /// handles on accounts that were taken before must not be used afterwards.
    pub async fn repair(
        &self,
        source: &dyn SettingsSource,
        apply: bool,
        progress: repair::Progress<'_>,
    ) -> Result<RepairReport, StoreError> {
        repair::run(&self.core, source, apply, progress).await
    }

    /// Removes entries of the repair log that are older than their retention; returns how many.
    pub async fn trim_repair_log(&self) -> Result<u64, StoreError> {
        let before = self.core.clock.now().plus_millis(-repair::log::RETENTION_MILLIS);
        repair::log::trim(&*self.core.engine, before).await
    }

    /// Finds the messages that need one of `chunks`, and lists at most `limit` of each kind.
    pub async fn concerned(
        &self,
        chunks: &std::collections::HashSet<StoredId>,
        limit: usize,
    ) -> Result<Concerned, StoreError> {
        concerned::find(&self.core, chunks, limit).await
    }

    /// Returns what one account keeps, logical and physical. [`StoreError::NoSuchAccount`].
    pub async fn figures(&self, id: AccountId) -> Result<AccountFigures, StoreError> {
        figures::of_account(&self.core, id).await
    }

    /// Returns what an account has for itself of the chunks that it refers to. Reads the message
    /// records of all accounts: minutes on a large store.
    pub async fn shares(&self, id: AccountId) -> Result<Shares, StoreError> {
        figures::shares(&self.core, id).await
    }

    /// Returns what the whole store keeps, logical and physical.
    pub async fn figures_total(&self) -> Result<TotalFigures, StoreError> {
        figures::of_store(&self.core).await
    }

    /// Returns what the caches of chunks have done since the store was opened here.
    pub fn caches(&self) -> Caches {
        Caches::of(&self.core.octets)
    }

    /// Builds blocks where enough changed, and looks at some more mailboxes. `pace` is told after
    /// every step how many rows it read, and says whether to go on. What fails is left for another
    /// run: nobody needs blocks.
    pub async fn build_blocks(&self, pace: Pace<'_>) -> Result<BlockReport, StoreError> {
        let mut report = BlockReport::default();
        while let Some(((account, mailbox), verify)) = self.core.due.take() {
            let account = self.handle(account);
            let built = match mailbox {
                Some(mailbox) => build::build(&account, mailbox, verify, pace, &mut report).await,
                None => headers::build::build(&account, verify, pace, &mut report).await,
            };
            passed_over(built)?;
            if report.stopped {
                return Ok(report);
            }
        }
        self.sweep_mailboxes(pace, &mut report).await?;
        Ok(report)
    }

    /// Goes on through all mailboxes, from the last back to the first.
    async fn sweep_mailboxes(
        &self,
        pace: Pace<'_>,
        report: &mut BlockReport,
    ) -> Result<(), StoreError> {
        let lock = || self.core.sweep.lock().unwrap_or_else(PoisonError::into_inner);
        let scan = Scan::prefix(keys::MAILBOXES, &[], SWEEP_MAILBOXES);
        let start = lock().clone();
        let found = self.core.engine.scan(&Scan { start, ..scan }).await?;
        let mut last = None;
        for (key, _) in &found {
            *lock() = after(key);
            let mut reader = KeyReader::new(keys::MAILBOXES, key);
            let (account, mailbox) = (reader.take_u64()?, reader.take_u64()?);
            let account = self.handle(AccountId(account));
            if last.replace(account.id()) != Some(account.id()) {
                passed_over(headers::build::build(&account, false, pace, report).await)?;
            }
            if !report.stopped {
                let built = build::build(&account, MailboxId(mailbox), false, pace, report).await;
                passed_over(built)?;
            }
            if report.stopped {
                return Ok(());
            }
        }
        if found.len() < SWEEP_MAILBOXES {
            *lock() = Bytes::new();
        }
        Ok(())
    }

    /// Waits for what the accounts' queues hold, makes everything durable and closes. Later calls
    /// fail with [`StoreError::Closed`].
    pub async fn close(&self) -> Result<(), StoreError> {
        self.core.tasks.close();
        self.core.tasks.wait().await;
        self.core.engine.close().await
    }

    fn queue(&self, id: AccountId) -> Arc<AccountQueue> {
        let mut accounts = self.core.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        accounts.queue(id, &self.core.limits)
    }

    fn handle(&self, id: AccountId) -> Account {
        Account::new(Arc::clone(&self.core), self.queue(id), id)
    }

    /// Finishes deletions of mailboxes that a crash cut short.
    async fn finish_deletions(&self) -> Result<(), StoreError> {
        let scan = Scan::prefix(keys::MAILBOX_DELETIONS, &[], 1_000);
        for (key, _) in scan_all(&*self.core.engine, scan).await? {
            let mut reader = KeyReader::new(keys::MAILBOX_DELETIONS, &key);
            let account = AccountId(reader.take_u64()?);
            let mailbox = MailboxId(reader.take_u64()?);
            reader.finish()?;
            self.handle(account).delete(Doomed::Unnamed(mailbox)).await?;
        }
        Ok(())
    }
}
