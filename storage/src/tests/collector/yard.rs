//! A store with small packs, on an engine that lets something happen before any of its steps.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use object_store::{ObjectStore, memory::InMemory};
use trust::{
    clock::ManualClock,
    random::{RandomSource as _, SeededRandom},
};

use super::super::house::{ANNA, MORNING, limits, request, settings};
use crate::{
    account::Account,
    catalog::{
        engine::{Batch, Engine, Family, Page, Reader, Scan},
        simulated::SimulatedEngine,
    },
    collector::{CollectOptions, CollectReport},
    error::StoreError,
    ids::{MailboxId, Uid},
    mailbox::{
        flags::{FlagChange, Flags},
        view::MailboxView as _,
    },
    octets::{OctetStoreConfig, StagedMessage},
    store::Store,
};

pub(super) const INBOX: MailboxId = MailboxId(1);

/// What is to happen before a step.
type Event = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Counts the steps of whoever uses it, and makes something happen before one, or nothing any more
/// after some commits.
pub(super) struct Stage {
    inner: Arc<SimulatedEngine>,
    steps: AtomicU64,
    commits_left: AtomicU64,
    event: Mutex<Option<(u64, Event)>>,
}

impl Stage {
    pub(super) fn new(inner: &Arc<SimulatedEngine>) -> Arc<Self> {
        Arc::new(Self {
            inner: Arc::clone(inner),
            steps: AtomicU64::new(0),
            commits_left: AtomicU64::new(u64::MAX),
            event: Mutex::default(),
        })
    }

    /// Steps so far.
    pub(super) fn steps(&self) -> u64 {
        self.steps.load(Ordering::SeqCst)
    }

    /// Lets `event` happen before step `step`, counted from now.
    pub(super) fn before(&self, step: u64, event: Event) {
        *self.event.lock().unwrap() = Some((self.steps() + step, event));
    }

    /// Refuses every commit after `commits` more.
    pub(super) fn stop_after(&self, commits: u64) {
        self.commits_left.store(commits, Ordering::SeqCst);
    }

    async fn step(&self) {
        let step = self.steps.fetch_add(1, Ordering::SeqCst);
        let due = {
            let mut event = self.event.lock().unwrap();
            event.take_if(|(due, _)| *due == step)
        };
        if let Some((_, event)) = due {
            event.await;
        }
    }
}

#[async_trait]
impl Reader for Stage {
    async fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.step().await;
        self.inner.get(family, key).await
    }

    async fn multi_get(&self, keys: &[(Family, Bytes)]) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.step().await;
        self.inner.multi_get(keys).await
    }

    async fn page(&self, scan: &Scan, octets_max: usize) -> Result<Page, StoreError> {
        self.step().await;
        self.inner.page(scan, octets_max).await
    }
}

#[async_trait]
impl Engine for Stage {
    async fn snapshot(&self) -> Result<Arc<dyn Reader>, StoreError> {
        self.step().await;
        self.inner.snapshot().await
    }

    async fn commit(&self, batch: Batch) -> Result<Vec<u64>, StoreError> {
        self.step().await;
        let left = |left: u64| left.checked_sub(1);
        self.commits_left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, left)
            .map_err(|_| StoreError::Closed)?;
        self.inner.commit(batch).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.inner.close().await
    }
}

/// A store, what is in it, and who writes to it.
pub(super) struct Yard {
    pub(super) engine: Arc<SimulatedEngine>,
    pub(super) objects: Arc<dyn ObjectStore>,
    pub(super) clock: Arc<ManualClock>,
    pub(super) store: Arc<Store>,
    pub(super) anna: Account,
    /// What is in the INBOX.
    pub(super) messages: Arc<Mutex<BTreeMap<Uid, Vec<u8>>>>,
}

/// Small packs, small chunks, nothing cached, nothing waits.
pub(super) fn small() -> OctetStoreConfig {
    OctetStoreConfig {
        cache_octets_max: 0,
        pack_octets_max: 64 << 10,
        pack_patience_calls: 0,
        small_chunk_octets_max: 4 << 10,
        writer_pack_octets_max: 32 << 10,
        // Nothing is compressed again, so that sizes can be foreseen.
        pack_compression_level: 0,
        cold_compression_level: 0,
        ..OctetStoreConfig::default()
    }
}

/// Without grace and budget, with a small memory.
pub(super) fn at_once() -> CollectOptions {
    CollectOptions {
        grace: Duration::ZERO,
        octets_per_second: 0,
        requests_per_second: 0,
        ..CollectOptions::default()
    }
}

pub(super) async fn open(
    engine: Arc<dyn Engine>,
    objects: &Arc<dyn ObjectStore>,
    clock: &Arc<ManualClock>,
    seed: u64,
) -> Arc<Store> {
    let (objects, clock) = (Arc::clone(objects), Arc::clone(clock));
    let random = Arc::new(SeededRandom::new(seed));
    Store::open_with_engine(engine, objects, clock, random, small(), limits()).await.expect("open")
}

impl Yard {
    pub(super) async fn new() -> Self {
        let engine = SimulatedEngine::new(&Store::families(&[]));
        Self::at(engine, Arc::new(InMemory::new()), 3).await
    }

    async fn at(engine: Arc<SimulatedEngine>, objects: Arc<dyn ObjectStore>, seed: u64) -> Self {
        let clock = Arc::new(ManualClock::new(MORNING));
        let store = open(engine.clone(), &objects, &clock, seed).await;
        let applied = store.apply_account(ANNA, 1, settings("anna@pec.example", None)).await;
        applied.expect("create the account");
        let anna = store.account(ANNA).await.expect("the account");
        Self { engine, objects, clock, store, anna, messages: Arc::default() }
    }

    /// The same after a restart.
    pub(super) async fn restarted(&self, engine: Arc<SimulatedEngine>) -> Self {
        let mut again = Self::at(engine, Arc::clone(&self.objects), 4).await;
        again.messages = Arc::clone(&self.messages);
        again
    }

    /// Another process on the same engine, which a [`Stage`] watches.
    pub(super) async fn staged(&self) -> (Arc<Stage>, Arc<Store>) {
        let stage = Stage::new(&self.engine);
        let store = open(stage.clone(), &self.objects, &self.clock, 99).await;
        (stage, store)
    }

    pub(super) async fn stage(&self, octets: &[u8]) -> StagedMessage {
        stage(&self.store, octets).await.expect("stage")
    }

    /// Appends what was staged; remembers it when it is acknowledged.
    pub(super) async fn append(
        &self,
        staged: &StagedMessage,
        octets: &[u8],
    ) -> Result<Uid, StoreError> {
        let appended = self.anna.append(request(INBOX, staged)).await?;
        self.messages.lock().unwrap().insert(appended.uid, octets.to_vec());
        Ok(appended.uid)
    }

    pub(super) async fn add(&self, octets: &[u8]) -> Uid {
        let staged = self.stage(octets).await;
        self.append(&staged, octets).await.expect("append")
    }

    pub(super) async fn expunge(&self, uids: &[Uid]) {
        let inbox = self.anna.mailbox(INBOX).await.expect("INBOX");
        let deleted = Flags { deleted: true, ..Flags::default() };
        for uids in uids.chunks(20) {
            inbox.store_flags(uids, FlagChange::Add, &deleted, None).await.expect("flags");
            inbox.expunge(uids).await.expect("expunge");
            for uid in uids {
                self.messages.lock().unwrap().remove(uid);
            }
        }
    }

    pub(super) async fn pack(&self) {
        while self.store.octets().pack_once().await.expect("pack").did_something() {}
    }

    pub(super) async fn collect(&self, options: &CollectOptions) -> CollectReport {
        self.store.collect(options, &|_| {}).await.expect("collect")
    }

    /// Says what is wrong: a violation, or a message that does not read back.
    pub(super) async fn fault(&self) -> Option<String> {
        let report = self.store.check(&|_| {}).await.expect("check");
        if let Some(violation) = report.violations.first() {
            return Some(format!("{violation:?}"));
        }
        let messages = self.messages.lock().unwrap().clone();
        let inbox = self.anna.mailbox(INBOX).await.expect("INBOX");
        for (uid, expected) in messages {
            let row = inbox.row(uid).await.expect("row");
            let Some(row) = row else { return Some(format!("UID {uid} is gone")) };
            let mut read = Vec::new();
            while (read.len() as u64) < row.size {
                let start = read.len() as u64;
                match inbox.read(row.email_number, start..row.size).await {
                    Ok(octets) => read.extend_from_slice(&octets),
                    Err(error) => return Some(format!("UID {uid}: {error}")),
                }
            }
            if read != expected {
                return Some(format!("UID {uid} has other octets"));
            }
        }
        None
    }

    pub(super) async fn is_sound(&self) {
        assert_eq!(self.fault().await, None);
    }

    /// Octets of the live chunks, and of all objects.
    pub(super) async fn octets(&self) -> (u64, u64) {
        let check = self.store.octets().check_octets(&|_| {}).await.expect("check");
        let listed = self.listed().await;
        (check.stored_octets, listed.iter().map(|(_, octets)| octets).sum())
    }

    /// Every object under `packs/` with its octets.
    pub(super) async fn listed(&self) -> Vec<(String, u64)> {
        use futures::TryStreamExt as _;
        let packs = object_store::path::Path::from("packs");
        let listed =
            self.objects.list(Some(&packs)).map_ok(|meta| (meta.location.to_string(), meta.size));
        listed.try_collect().await.expect("list")
    }
}

pub(super) async fn stage(store: &Store, octets: &[u8]) -> Result<StagedMessage, StoreError> {
    let mut writer = store.message_writer();
    writer.write(octets).await?;
    writer.finish().await
}

/// A message of which only `seed` tells the octets from others.
pub(super) fn letter(seed: u64, octets: usize) -> Vec<u8> {
    let mut body = vec![0; octets];
    SeededRandom::new(seed).fill(&mut body);
    let mut message = format!("Subject: {seed}\r\nContent-Type: text/plain\r\n\r\n").into_bytes();
    message.extend(body);
    message
}

/// Prints also when the test passes: how much was tried is worth knowing.
pub(super) fn tell(text: std::fmt::Arguments<'_>) {
    use std::io::Write as _;
    writeln!(std::io::stdout().lock(), "collector: {text}").expect("standard output");
}
