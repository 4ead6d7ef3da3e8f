//! The engine of the tests: in memory, with crashes and faults by seed.
//!
//! It keeps the contract of [`Engine`] and nothing more: after [`SimulatedEngine::crash`] every
//! synced commit is there, and of the buffered ones after the last synced commit a prefix whose
//! length the seed decides, as a write-ahead log would leave it. One seed gives one run, as long as
//! the tasks that use the engine run in one order (a current-thread runtime).
//!
//! Not here: anything durable. The program never opens a store on this engine.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use trust::random::{RandomSource, SeededRandom};

use super::{
    commit::{self, NUMBERED_SEQUENCES, Resolved},
    engine::{Batch, Durability, Engine, Family, Page, PageFiller, Reader, Scan},
};
use crate::error::StoreError;

/// How often the engine fails on purpose, in one call of a thousand.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Commits that fail and leave nothing.
    pub failed_commits_per_thousand: u32,
    /// Commits whose sync fails: whether they survive is decided at the next crash, and every
    /// later commit is refused.
    pub failed_syncs_per_thousand: u32,
    /// Reads that fail.
    pub failed_reads_per_thousand: u32,
}

/// An engine in memory.
#[derive(Debug)]
pub struct SimulatedEngine {
    families: BTreeSet<Family>,
    faults: Faults,
    random: Arc<SeededRandom>,
    state: Mutex<State>,
}

/// Keys and values of every family. A snapshot shares the maps; the next write copies.
type Tables = BTreeMap<Family, Arc<BTreeMap<Bytes, Bytes>>>;

/// One batch's writes; `None` = delete.
type Writes = Vec<(Family, Bytes, Option<Bytes>)>;

#[derive(Debug, Default)]
struct State {
    visible: Tables,
    durable: Tables,
    /// Batches that are visible and not yet durable, oldest first.
    unsynced: Vec<Writes>,
    standing: Standing,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Standing {
    #[default]
    Open,
    SyncFailed,
    Closed,
}

impl SimulatedEngine {
    /// An empty engine without faults that knows `families`.
    #[must_use]
    pub fn new(families: &[Family]) -> Arc<Self> {
        Self::with_faults(families, 0, Faults::default())
    }

    /// An empty engine that fails as `faults` says, in places that `seed` decides.
    #[must_use]
    pub fn with_faults(families: &[Family], seed: u64, faults: Faults) -> Arc<Self> {
        let mut families: BTreeSet<Family> = families.iter().copied().collect();
        families.insert(NUMBERED_SEQUENCES);
        Arc::new(Self {
            families,
            faults,
            random: Arc::new(SeededRandom::new(seed)),
            state: Mutex::default(),
        })
    }

    /// Cuts the power and returns the engine that is found after the restart, with the same
    /// faults. This one answers [`StoreError::Closed`] from now on.
    #[must_use]
    pub fn crash(&self) -> Arc<Self> {
        let mut state = self.lock();
        let mut durable = state.durable.clone();
        let survivors = below(&self.random, state.unsynced.len() as u64 + 1);
        for writes in state.unsynced.iter().take(usize::try_from(survivors).unwrap_or(usize::MAX)) {
            apply(&mut durable, writes);
        }
        state.standing = Standing::Closed;
        let restarted = State { visible: durable.clone(), durable, ..State::default() };
        Arc::new(Self {
            families: self.families.clone(),
            faults: self.faults,
            random: Arc::clone(&self.random),
            state: Mutex::new(restarted),
        })
    }

    /// Batches that are visible and that a power cut may still take.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.lock().unsynced.len()
    }

    /// The same state under an engine with other faults; this one is closed.
    #[must_use]
    pub fn restart_with(&self, faults: Faults) -> Arc<Self> {
        let restarted = self.crash();
        let state = std::mem::take(&mut *restarted.lock());
        Arc::new(Self {
            families: self.families.clone(),
            faults,
            random: Arc::clone(&self.random),
            state: Mutex::new(state),
        })
    }

    /// A consistent copy of what is visible now, without faults: what a back-up takes.
    #[must_use]
    pub fn checkpoint(&self) -> Arc<Self> {
        let visible = self.lock().visible.clone();
        let state = State { visible: visible.clone(), durable: visible, ..State::default() };
        Arc::new(Self {
            families: self.families.clone(),
            faults: Faults::default(),
            random: Arc::new(SeededRandom::new(0)),
            state: Mutex::new(state),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fails(&self, per_thousand: u32) -> bool {
        per_thousand > 0 && below(&self.random, 1000) < u64::from(per_thousand)
    }

    /// The tables as they stand, for one read.
    fn tables(&self, operation: &'static str) -> Result<TablesReader<'_>, StoreError> {
        if self.fails(self.faults.failed_reads_per_thousand) {
            return Err(fault(operation, "injected read fault"));
        }
        let state = self.lock();
        if state.standing == Standing::Closed {
            return Err(StoreError::Closed);
        }
        Ok(TablesReader { families: &self.families, state })
    }

    fn commit_now(&self, batch: Batch) -> Result<Vec<u64>, StoreError> {
        let mut state = self.lock();
        match state.standing {
            Standing::Open => {}
            Standing::SyncFailed => return Err(fault("commit", "an earlier sync failed: reopen")),
            Standing::Closed => return Err(StoreError::Closed),
        }
        if self.fails(self.faults.failed_commits_per_thousand) {
            return Err(fault("commit", "injected commit fault"));
        }
        let durability = batch.durability;
        let visible = &state.visible;
        let Resolved { writes, numbers } =
            commit::resolve(batch, &self.families, |family, key| {
                Ok(visible.get(&family).and_then(|table| table.get(key)).cloned())
            })?;
        apply(&mut state.visible, &writes);
        state.unsynced.push(writes);
        if durability == Durability::Synced {
            if self.fails(self.faults.failed_syncs_per_thousand) {
                state.standing = Standing::SyncFailed;
                return Err(fault("commit", "injected sync fault"));
            }
            let unsynced = std::mem::take(&mut state.unsynced);
            for writes in &unsynced {
                apply(&mut state.durable, writes);
            }
        }
        Ok(numbers)
    }
}

/// A number below `end`, which is small beside 2⁶⁴.
fn below(random: &SeededRandom, end: u64) -> u64 {
    random.next_u64() % end.max(1)
}

fn fault(operation: &'static str, text: &'static str) -> StoreError {
    StoreError::Engine { operation, source: text.into() }
}

fn apply(tables: &mut Tables, writes: &Writes) {
    for (family, key, value) in writes {
        let table = Arc::make_mut(tables.entry(*family).or_default());
        match value {
            Some(value) => table.insert(key.clone(), value.clone()),
            None => table.remove(key),
        };
    }
}

struct TablesReader<'a> {
    families: &'a BTreeSet<Family>,
    state: MutexGuard<'a, State>,
}

impl TablesReader<'_> {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        get(self.families, &self.state.visible, family, key)
    }
}

fn get(
    families: &BTreeSet<Family>,
    tables: &Tables,
    family: Family,
    key: &[u8],
) -> Result<Option<Bytes>, StoreError> {
    commit::declared(families, family, "read")?;
    Ok(tables.get(&family).and_then(|table| table.get(key)).cloned())
}

fn page(
    families: &BTreeSet<Family>,
    tables: &Tables,
    scan: &Scan,
    octets_max: usize,
) -> Result<Page, StoreError> {
    commit::declared(families, scan.family, "scan")?;
    let Some(table) = tables.get(&scan.family) else { return Ok(Page::default()) };
    if scan.end.as_ref().is_some_and(|end| *end <= scan.start) {
        return Ok(Page::default());
    }
    let end = scan.end.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
    let mut entries = table.range::<Bytes, _>((Bound::Included(&scan.start), end));
    let mut page = PageFiller::new(scan, octets_max);
    while let Some((key, value)) = if scan.reverse { entries.next_back() } else { entries.next() } {
        if !page.has_room(key.len() + value.len()) {
            return Ok(page.finish(true));
        }
        page.push(key.clone(), value.clone());
    }
    Ok(page.finish(false))
}

#[async_trait::async_trait]
impl Reader for SimulatedEngine {
    async fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.tables("read")?.get(family, key)
    }

    async fn multi_get(&self, keys: &[(Family, Bytes)]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let tables = self.tables("read")?;
        keys.iter().map(|(family, key)| tables.get(*family, key)).collect()
    }

    async fn page(&self, scan: &Scan, octets_max: usize) -> Result<Page, StoreError> {
        let tables = self.tables("scan")?;
        page(tables.families, &tables.state.visible, scan, octets_max)
    }
}

#[async_trait::async_trait]
impl Engine for SimulatedEngine {
    async fn snapshot(&self) -> Result<Arc<dyn Reader>, StoreError> {
        let tables = self.tables("read")?;
        let snapshot =
            Snapshot { families: self.families.clone(), tables: tables.state.visible.clone() };
        Ok(Arc::new(snapshot))
    }

    async fn commit(&self, batch: Batch) -> Result<Vec<u64>, StoreError> {
        // Other tasks run before and after the batch is applied, as they do while a disk syncs:
        // a crash may so fall between the commit and its answer.
        tokio::task::yield_now().await;
        let outcome = self.commit_now(batch);
        tokio::task::yield_now().await;
        outcome
    }

    async fn close(&self) -> Result<(), StoreError> {
        let mut state = self.lock();
        let unsynced = std::mem::take(&mut state.unsynced);
        for writes in &unsynced {
            apply(&mut state.durable, writes);
        }
        state.standing = Standing::Closed;
        Ok(())
    }
}

struct Snapshot {
    families: BTreeSet<Family>,
    tables: Tables,
}

#[async_trait::async_trait]
impl Reader for Snapshot {
    async fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        get(&self.families, &self.tables, family, key)
    }

    async fn multi_get(&self, keys: &[(Family, Bytes)]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let one = |(family, key): &(Family, Bytes)| get(&self.families, &self.tables, *family, key);
        keys.iter().map(one).collect()
    }

    async fn page(&self, scan: &Scan, octets_max: usize) -> Result<Page, StoreError> {
        page(&self.families, &self.tables, scan, octets_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{contract, engine::Expected};

    const ROWS: Family = Family("rows");

    fn row(key: &'static str, durability: Durability) -> Batch {
        let mut batch = Batch { durability, ..Batch::default() };
        batch.put(ROWS, key, "value");
        batch
    }

    #[tokio::test]
    async fn keeps_the_contract_of_an_engine() {
        contract::hold(|families| async move { SimulatedEngine::new(&families) }).await;
    }

    #[tokio::test]
    async fn a_crash_keeps_what_was_synced_and_a_prefix_of_the_rest() {
        let mut survivors = BTreeSet::new();
        for seed in 0..32 {
            let engine = SimulatedEngine::with_faults(&[ROWS], seed, Faults::default());
            for (key, durability) in [
                ("a", Durability::Buffered),
                ("b", Durability::Synced),
                ("c", Durability::Buffered),
                ("d", Durability::Buffered),
            ] {
                engine.commit(row(key, durability)).await.expect("commit");
            }
            let restarted = engine.crash();
            assert!(matches!(engine.get(ROWS, b"a").await, Err(StoreError::Closed)));
            let keys: Vec<_> = restarted
                .scan(&Scan::prefix(ROWS, b"", 10))
                .await
                .expect("scan")
                .into_iter()
                .map(|(key, _)| String::from_utf8_lossy(&key).into_owned())
                .collect();
            survivors.insert(keys.concat());
        }
        let expected = ["ab", "abc", "abcd"].map(String::from);
        assert_eq!(survivors, expected.into_iter().collect());
    }

    #[tokio::test]
    async fn after_a_failed_sync_every_commit_is_refused_until_the_engine_is_reopened() {
        let faults = Faults { failed_syncs_per_thousand: 1000, ..Faults::default() };
        let engine = SimulatedEngine::with_faults(&[ROWS], 1, faults);
        let failed = engine.commit(row("a", Durability::Synced)).await;
        assert!(matches!(failed, Err(StoreError::Engine { operation: "commit", .. })));
        assert!(engine.commit(row("b", Durability::Buffered)).await.is_err());
        let reopened = engine.restart_with(Faults::default());
        reopened.commit(row("c", Durability::Synced)).await.expect("a working engine");
        assert_eq!(reopened.get(ROWS, b"b").await.expect("read"), None);
    }

    #[tokio::test]
    async fn a_batch_naming_an_undeclared_family_changes_nothing() {
        let engine = SimulatedEngine::new(&[ROWS]);
        let mut batch = row("a", Durability::Synced);
        batch.put(Family("other"), "a", "b").expect(ROWS, "a", Expected::Absent);
        assert!(engine.commit(batch).await.is_err());
        assert_eq!(engine.get(ROWS, b"a").await.expect("read"), None);
    }
}
