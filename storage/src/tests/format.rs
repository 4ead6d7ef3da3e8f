//! The catalog's format: what raises it, in which order, and who opens it then.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use trust::{clock::ManualClock, random::SeededRandom};

use super::{
    capture::take,
    house::{ANNA, House, MORNING, limits, message, request, settings},
    objects::fresh,
};
use crate::{
    account::Account,
    backup::rules::{self, Succession},
    catalog::{
        engine::{Batch, Engine, Family, Page, Reader, Scan},
        format::CATALOG_FORMATS,
        keys,
        records::{self, FormatRecord},
        simulated::SimulatedEngine,
    },
    collector::CollectOptions,
    error::StoreError,
    ids::{MailboxId, Uid},
    mailbox::view::MailboxView as _,
    octets::OctetStoreConfig,
    pack::{
        index::{CHUNK_INDEX, PACKS},
        store::PackId,
    },
    store::Store,
};

const INBOX: MailboxId = MailboxId(1);
const TAKEN: Family = Family("taken");
/// What a catalog begins with, and what this program raises it to.
const FIRST: u32 = 1;
const RAISED: u32 = 2;

async fn format(reader: &(impl Reader + ?Sized)) -> Option<u32> {
    let octets = reader.get(keys::CATALOG_FORMAT, keys::FORMAT_KEY).await.expect("read")?;
    let record: FormatRecord =
        records::decode(keys::CATALOG_FORMAT, keys::FORMAT_KEY, &octets).expect("a record");
    Some(record.format)
}

async fn set_format(engine: &dyn Engine, format: u32) {
    let mut batch = Batch::default();
    let record = records::encode(&FormatRecord { format });
    batch.put(keys::CATALOG_FORMAT, keys::FORMAT_KEY, record);
    engine.commit(batch).await.expect("commit");
}

/// An engine that notes what each batch writes, and can break down behind the batch that
/// raises the format.
struct Watched {
    engine: Arc<SimulatedEngine>,
    batches: Mutex<Vec<Vec<(Family, Bytes)>>>,
    breaks: AtomicBool,
}

impl Watched {
    fn new(engine: Arc<SimulatedEngine>) -> Arc<Self> {
        Arc::new(Self { engine, batches: Mutex::default(), breaks: AtomicBool::new(false) })
    }

    /// Where the first batch is that writes something which is `wanted`.
    fn first(&self, wanted: impl Fn(Family, &[u8]) -> bool) -> Option<usize> {
        let batches = self.batches.lock().expect("no panic");
        batches.iter().position(|batch| batch.iter().any(|(family, key)| wanted(*family, key)))
    }

    /// Where the first batch is that writes the format.
    fn raise(&self) -> Option<usize> {
        self.first(|family, _| family == keys::CATALOG_FORMAT)
    }

    async fn open(self: &Arc<Self>, objects: Arc<dyn object_store::ObjectStore>) -> Arc<Store> {
        let (clock, random) = (Arc::new(ManualClock::new(MORNING)), Arc::new(SeededRandom::new(5)));
        let config = OctetStoreConfig { pack_patience_calls: 0, ..OctetStoreConfig::default() };
        let engine = Arc::clone(self);
        let store = Store::open_with_engine(engine, objects, clock, random, config, limits());
        store.await.expect("open")
    }
}

#[async_trait::async_trait]
impl Reader for Watched {
    async fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.engine.get(family, key).await
    }

    async fn multi_get(&self, keys: &[(Family, Bytes)]) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.engine.multi_get(keys).await
    }

    async fn page(&self, scan: &Scan, octets_max: usize) -> Result<Page, StoreError> {
        self.engine.page(scan, octets_max).await
    }
}

#[async_trait::async_trait]
impl Engine for Watched {
    async fn snapshot(&self) -> Result<Arc<dyn Reader>, StoreError> {
        self.engine.snapshot().await
    }

    async fn commit(&self, batch: Batch) -> Result<Vec<u64>, StoreError> {
        let written = batch.put.iter().map(|(family, key, _)| (*family, key.clone())).collect();
        let raised = format(&*self.engine).await == Some(RAISED);
        if self.breaks.load(Ordering::Acquire) && raised {
            return Err(StoreError::Engine {
                operation: "commit",
                source: "the power is cut".into(),
            });
        }
        self.batches.lock().expect("no panic").push(written);
        self.engine.commit(batch).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.engine.close().await
    }
}

/// A store with Anna's account on an engine that is watched from here on.
async fn watched() -> (Arc<Watched>, Arc<Store>, Account) {
    let watched = Watched::new(SimulatedEngine::new(&Store::families(&[TAKEN])));
    let store = watched.open(fresh()).await;
    store.apply_account(ANNA, 1, settings("anna@pec.example", None)).await.expect("account");
    let anna = store.account(ANNA).await.expect("the account");
    (watched, store, anna)
}

async fn append(store: &Store, anna: &Account, mailbox: MailboxId, number: usize) -> Uid {
    let mut writer = store.message_writer();
    writer.write(&message(number)).await.expect("write");
    let staged = writer.finish().await.expect("finish");
    anna.append(request(mailbox, &staged)).await.expect("append").uid
}

/// The three things that raise the format.
#[derive(Clone, Copy, Debug)]
enum Act {
    Snapshot,
    Archive,
    ColdPack,
}

impl Act {
    const ALL: [Self; 3] = [Self::Snapshot, Self::Archive, Self::ColdPack];

    /// Whether an older program would harm what stands there.
    fn needs(self, family: Family, key: &[u8]) -> bool {
        match self {
            Self::Snapshot => family == TAKEN,
            Self::Archive => family == keys::EXPUNGE_LOG,
            Self::ColdPack => {
                family == PACKS && PackId::from_octets(key).is_some_and(PackId::is_cold)
            }
        }
    }

    /// What comes before, and raises nothing.
    async fn prepare(self, store: &Store, anna: &Account) {
        append(store, anna, INBOX, 1).await;
        if let Self::ColdPack = self {
            let archive = anna.mailbox_by_name("Archivio").await.expect("Archivio").id();
            append(store, anna, archive, 2).await;
        }
    }

    async fn perform(self, store: &Store, anna: &Account) -> Result<(), StoreError> {
        match self {
            Self::Snapshot => anna.capture(super::capture::Note).await.map(drop),
            Self::Archive => {
                let archive = anna.mailbox_by_name("Archivio").await?.id();
                let inbox = anna.mailbox(INBOX).await?;
                inbox.move_to(&[super::house::uid(1)], archive).await.map(drop)
            }
            Self::ColdPack => {
                let options = CollectOptions {
                    grace: std::time::Duration::ZERO,
                    cold_after: Some(std::time::Duration::ZERO),
                    cold_octets_min: 1,
                    cold_percent_min: 1,
                    ..CollectOptions::default()
                };
                store.collect(&options, &|_| {}).await.map(drop)
            }
        }
    }
}

/// Packs what is staged, before what is watched: a pack of everything is no cold one.
async fn pack(store: &Store) {
    while store.octets().pack_once().await.expect("pack").did_something() {}
}

#[tokio::test]
async fn what_an_older_program_would_harm_raises_the_format_before_it_is_written() {
    for act in Act::ALL {
        let (watched, store, anna) = watched().await;
        act.prepare(&store, &anna).await;
        pack(&store).await;
        assert_eq!(format(&*watched).await, Some(FIRST), "mail alone raises nothing: {act:?}");
        watched.batches.lock().expect("no panic").clear();
        act.perform(&store, &anna).await.expect("it works");
        let raise = watched.raise().expect("raised");
        let harmed = watched.first(|family, key| act.needs(family, key)).expect("done");
        assert!(raise < harmed, "{act:?}: raised by batch {raise}, needed by batch {harmed}");
        assert_eq!(format(&*watched).await, Some(RAISED), "{act:?}");
        // A second time nothing is written for it.
        watched.batches.lock().expect("no panic").clear();
        append(&store, &anna, INBOX, 3).await;
        take(&anna).await;
        assert_eq!(watched.raise(), None, "{act:?}");
    }
}

#[tokio::test]
async fn a_crash_behind_the_raise_leaves_a_raised_store_that_goes_on() {
    for act in Act::ALL {
        let (watched, store, anna) = watched().await;
        act.prepare(&store, &anna).await;
        pack(&store).await;
        watched.breaks.store(true, Ordering::Release);
        act.perform(&store, &anna).await.expect_err("the power is cut");
        assert_eq!(watched.first(|family, key| act.needs(family, key)), None, "{act:?}");
        let survivor = watched.engine.crash();
        assert_eq!(format(&*survivor).await, Some(RAISED), "it was durable: {act:?}");
        let again = House::open(survivor, fresh()).await;
        let anna = again.store.account(ANNA).await.expect("the account");
        assert_eq!(anna.state().await.expect("a state").latest_snapshot(), None);
        assert_eq!(take(&anna).await.number, 1, "{act:?}");
    }
}

#[tokio::test]
async fn a_store_that_has_such_things_under_the_first_format_is_raised_when_it_is_opened() {
    for act in Act::ALL {
        let (watched, store, anna) = watched().await;
        act.prepare(&store, &anna).await;
        pack(&store).await;
        act.perform(&store, &anna).await.expect("it works");
        // A program wrote them that did not know.
        set_format(&*watched, FIRST).await;
        if let Act::ColdPack = act {
            // Its messages are gone meanwhile, the pack is not.
            forget_heads(&watched.engine).await;
        }
        let again = watched.engine.crash();
        House::open(again.clone(), fresh()).await;
        assert_eq!(format(&*again).await, Some(RAISED), "{act:?}");
    }
}

async fn forget_heads(engine: &SimulatedEngine) {
    let mut batch = Batch::default();
    batch.delete(keys::ACCOUNT_HEADS, keys::account(ANNA));
    engine.commit(batch).await.expect("commit");
}

#[tokio::test]
async fn an_index_that_is_rebuilt_with_cold_packs_raises_the_format() {
    let watched = Watched::new(SimulatedEngine::new(&Store::families(&[TAKEN])));
    let objects = fresh();
    let store = watched.open(Arc::clone(&objects)).await;
    store.apply_account(ANNA, 1, settings("anna@pec.example", None)).await.expect("account");
    let anna = store.account(ANNA).await.expect("the account");
    Act::ColdPack.prepare(&store, &anna).await;
    pack(&store).await;
    Act::ColdPack.perform(&store, &anna).await.expect("a cold pack");
    let mut batch = Batch::default();
    for family in [CHUNK_INDEX, PACKS] {
        let rows = watched.scan(&Scan::prefix(family, b"", 1_000)).await.expect("scan");
        for (key, _) in rows {
            batch.delete(family, key);
        }
    }
    watched.commit(batch).await.expect("commit");
    set_format(&*watched, FIRST).await;
    forget_heads(&watched.engine).await;
    let again = Watched::new(watched.engine.crash());
    let store = again.open(objects).await;
    assert_eq!(format(&*again).await, Some(FIRST), "nothing says that there are cold packs");
    store.octets().rebuild_index(&|_| {}).await.expect("rebuild");
    assert_eq!(format(&*again).await, Some(RAISED));
}

#[tokio::test]
async fn a_catalog_of_a_format_that_is_not_known_is_neither_opened_nor_restored() {
    let newer = *CATALOG_FORMATS.end() + 1;
    for (written, is_newer) in [(newer, true), (0, false)] {
        let engine = SimulatedEngine::new(&Store::families(&[]));
        set_format(&*engine, written).await;
        let before = engine.unsynced();
        let opened = House::try_open(Arc::clone(&engine), fresh()).await.err();
        let restored = rules::apply(&*engine, &Succession::Rehearsal).await.err();
        for error in [opened, restored].map(|error| error.expect("refused")) {
            let too_new = matches!(
                error,
                StoreError::TooNew { found, known: RAISED, .. } if found == newer
            );
            assert_eq!(too_new, is_newer, "{error}");
        }
        assert_eq!(engine.unsynced(), before, "nothing was written");
    }
}
