//! What an account was at the instant of each of its snapshots: the catalog as the batch left it that
//! made the snapshot, read by way of live mailboxes.
//!
//! Nothing of the account changes between the state that a snapshot is made of and its batch, so that
//! this is the copy that a patient person would have made. It says nothing of octets: packs go.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use object_store::memory::InMemory;
use storage::{
    catalog::{
        engine::{Batch, Engine, Expected, Family, Page, Reader, Scan},
        simulated::SimulatedEngine,
    },
    error::StoreError,
    ids::AccountId,
    octets::OctetStoreConfig,
    store::{Store, StoreLimits},
};
use trust::random::SeededRandom;

use super::{SEED, ledger::Ledger, number_in, world::World};
use crate::keep::{
    keys::SNAPSHOTS,
    tests::copy::{self, Copy, Octets},
};

/// Account and number of a snapshot.
type Name = (AccountId, u64);

/// A catalog as some commit left it, and what was known then.
pub(super) struct Audit {
    pub(super) engine: Arc<SimulatedEngine>,
    pub(super) ledgers: Vec<Ledger>,
}

/// Catalogs that commits left.
pub(super) struct Moments {
    world: Arc<World>,
    ledgers: Vec<Arc<Mutex<Ledger>>>,
    catalogs: Mutex<BTreeMap<Name, Arc<SimulatedEngine>>>,
    copies: Mutex<BTreeMap<Name, Arc<Copy>>>,
    audits: Mutex<Vec<Audit>>,
}

impl Moments {
    pub(super) fn new(world: &Arc<World>, ledgers: &[Arc<Mutex<Ledger>>]) -> Arc<Self> {
        Arc::new(Self {
            world: Arc::clone(world),
            ledgers: ledgers.to_vec(),
            catalogs: Mutex::default(),
            copies: Mutex::default(),
            audits: Mutex::default(),
        })
    }

    /// `engine`, whose commits are noted.
    pub(super) fn watch(self: &Arc<Self>, engine: &Arc<SimulatedEngine>) -> Arc<dyn Engine> {
        Arc::new(Watched { moments: Arc::clone(self), engine: Arc::clone(engine) })
    }

    /// The account when the snapshot was taken; `None` when nobody took it.
    pub(super) async fn copy(&self, name: Name) -> Option<Arc<Copy>> {
        if let Some(copy) = self.copies.lock().expect("no panic").get(&name) {
            return Some(Arc::clone(copy));
        }
        let catalog = self.catalogs.lock().expect("no panic").get(&name).cloned()?;
        let store = self.open(catalog).await.expect("the catalog of a commit opens");
        let account = store.account(name.0).await.expect("the account");
        let copy = Arc::new(copy::live(&account, Octets::Without).await);
        self.copies.lock().expect("no panic").insert(name, Arc::clone(&copy));
        Some(copy)
    }

    /// Lets go of copies of snapshots that are gone.
    pub(super) fn retain(&self, account: AccountId, numbers: &[u64]) {
        let stays = |(of, number): &Name| *of != account || numbers.contains(number);
        self.catalogs.lock().expect("no panic").retain(|name, _| stays(name));
        self.copies.lock().expect("no panic").retain(|name, _| stays(name));
    }

    pub(super) fn audits(&self) -> Vec<Audit> {
        std::mem::take(&mut *self.audits.lock().expect("no panic"))
    }

    /// A store without packs: enough for rows, counters and snapshots.
    pub(super) async fn open(
        &self,
        catalog: Arc<SimulatedEngine>,
    ) -> Result<Arc<Store>, StoreError> {
        let (clock, random) = (self.world.clock.clone(), Arc::new(SeededRandom::new(1)));
        let (octets, limits) = (OctetStoreConfig::default(), StoreLimits::default());
        let objects = Arc::new(InMemory::new());
        Store::open_with_engine(catalog, objects, clock, random, octets, limits).await
    }

    fn note(&self, engine: &SimulatedEngine, taken: Vec<Name>) {
        for name in taken {
            self.catalogs.lock().expect("no panic").insert(name, engine.checkpoint());
            self.copies.lock().expect("no panic").remove(&name);
        }
        // Whoever replays one seed wants to know which commit it was.
        let often = if number_in(SEED).is_some() { 1_000 } else { 6 };
        if self.world.chance(often) {
            let ledger = |ledger: &Arc<Mutex<Ledger>>| ledger.lock().expect("no panic").clone();
            let ledgers = self.ledgers.iter().map(ledger).collect();
            let audit = Audit { engine: engine.checkpoint(), ledgers };
            self.audits.lock().expect("no panic").push(audit);
        }
    }
}

/// The snapshots that a batch makes.
fn taken(batch: &Batch) -> Vec<Name> {
    let new = batch.expect.iter().filter(|(family, _, expected)| {
        *family == SNAPSHOTS && matches!(expected, Expected::Absent)
    });
    let puts =
        |key: &Bytes| batch.put.iter().any(|(family, put, _)| *family == SNAPSHOTS && put == key);
    let name = |key: &Bytes| {
        let number =
            |at: usize| u64::from_be_bytes(key[at..at + 8].try_into().expect("eight octets"));
        (AccountId(number(0)), number(8))
    };
    new.filter(|(_, key, _)| puts(key)).map(|(_, key, _)| name(key)).collect()
}

struct Watched {
    moments: Arc<Moments>,
    engine: Arc<SimulatedEngine>,
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
        let taken = taken(&batch);
        let outcome = self.engine.commit(batch).await;
        // One whose sync failed may survive the next crash.
        if matches!(outcome, Ok(_) | Err(StoreError::Engine { .. })) {
            self.moments.note(&self.engine, taken);
        }
        outcome
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.engine.close().await
    }
}
