//! Runs as a whole, over a store on the simulated engine.

mod check;
mod clock;
mod damage;
mod faults;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use object_store::{ObjectStore, memory::InMemory};
use storage::{
    account::{quota::QuotaRule, settings::AccountSettings},
    catalog::{
        engine::{Batch, Engine, Family, Page as EntryPage, Reader, Scan},
        simulated::SimulatedEngine,
    },
    ids::{AccountId, MailboxId},
    mailbox::{append::AppendRequest, flags::Flags},
    octets::OctetStoreConfig,
    store::{Store, StoreLimits},
};
use trust::{
    clock::{Clock as _, ManualClock, UnixMillis},
    random::{RandomSource as _, SeededRandom},
};

use super::{
    keys::{SNAPSHOT_RUN_DUE, SNAPSHOT_RUN_PAGES},
    walk::{Schedule, Step, StepLimits},
    *,
};
use crate::{
    keep::{
        self, SnapshotLimits,
        settings::{Hold, Retention},
        snapshot::{Snapshot, SnapshotKind},
        take::Taken,
        thin::instants,
    },
    proof::{Asked, Fact, Proof, Source},
    tree::{page::Page, read::Reader as TreeReader, read::rows as tree_rows, row::AccountRow},
};

const HOUR: i64 = 3_600_000;
/// 2026-11-01T00:00:00Z.
const START: UnixMillis = UnixMillis(1_793_491_200_000);
const LIMITS: StepLimits = StepLimits { accounts_max: 3, concurrency: 2 };

struct Hourly;

impl Schedule for Hourly {
    fn interval_millis(&self, _: &AccountSettings) -> Option<i64> {
        Some(HOUR)
    }
}

/// An engine whose power is cut after some commits.
struct Cut {
    engine: Arc<SimulatedEngine>,
    left: AtomicUsize,
}

#[async_trait::async_trait]
impl Reader for Cut {
    async fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.engine.get(family, key).await
    }

    async fn multi_get(&self, keys: &[(Family, Bytes)]) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.engine.multi_get(keys).await
    }

    async fn page(&self, scan: &Scan, octets_max: usize) -> Result<EntryPage, StoreError> {
        self.engine.page(scan, octets_max).await
    }
}

#[async_trait::async_trait]
impl Engine for Cut {
    async fn snapshot(&self) -> Result<Arc<dyn Reader>, StoreError> {
        self.engine.snapshot().await
    }

    async fn commit(&self, batch: Batch) -> Result<Vec<u64>, StoreError> {
        let less = |left: usize| left.checked_sub(1);
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
        left.map_err(|_| StoreError::Closed)?;
        self.engine.commit(batch).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.engine.close().await
    }
}

struct World {
    cut: Arc<Cut>,
    engine: Arc<SimulatedEngine>,
    objects: Arc<dyn ObjectStore>,
    clock: Arc<ManualClock>,
    store: Arc<Store>,
    snapshots: Arc<Snapshots>,
    runs: Arc<Runs>,
}

impl World {
    async fn new(accounts: u64) -> Self {
        let restores = [crate::restore::job::SNAPSHOT_RESTORES];
        let above = [&keep::keys::FAMILIES[..], &keys::FAMILIES, &restores].concat();
        let engine = SimulatedEngine::new(&Store::families(&above));
        let clock = Arc::new(ManualClock::new(START));
        let world = Self::open(engine, Arc::new(InMemory::new()), clock).await;
        for number in 1..=accounts {
            let settings = AccountSettings {
                address: address(number),
                plan: "base".to_owned(),
                message_octets_max: 50 << 20,
                recipients_max: 50,
                messages_per_minute_max: 10,
                messages_per_day_max: 200,
                ..AccountSettings::default()
            };
            world.store.apply_account(AccountId(number), 1, settings).await.expect("an account");
        }
        world
    }

    async fn open(
        engine: Arc<SimulatedEngine>,
        objects: Arc<dyn ObjectStore>,
        clock: Arc<ManualClock>,
    ) -> Self {
        let left = AtomicUsize::new(usize::MAX);
        let cut = Arc::new(Cut { engine: engine.clone(), left });
        let store = Store::open_with_engine(
            cut.clone(),
            objects.clone(),
            clock.clone(),
            Arc::new(SeededRandom::new(3)),
            OctetStoreConfig::default(),
            StoreLimits::default(),
        );
        let store = store.await.expect("open the store");
        let random = Arc::new(SeededRandom::new(4));
        let snapshots = Snapshots::new(store.clone(), random, SnapshotLimits::default());
        let runs = Runs::new(store.clone(), snapshots.clone());
        Self { cut, engine, objects, clock, store, snapshots, runs }
    }

    /// The power is cut and the store opened again.
    async fn crash(self) -> Self {
        Self::open(self.engine.crash(), self.objects, self.clock).await
    }

    async fn append(&self, account: u64, number: u64) {
        let mut writer = self.store.message_writer();
        let text = format!("From: bruno@pec.example\r\nSubject: {number}\r\n\r\nTesto.\r\n");
        writer.write(text.as_bytes()).await.expect("write");
        let staged = writer.finish().await.expect("finish");
        let request = AppendRequest {
            mailbox: MailboxId(1),
            message: &staged,
            flags: Flags::default(),
            internal_date: None,
            charged_octets: None,
            quota: QuotaRule::Enforce,
            also: Batch::default(),
        };
        let handle = self.store.account(AccountId(account)).await.expect("the account");
        handle.append(request).await.expect("append");
    }

    async fn step(&self) -> Step {
        self.clock.advance(10);
        self.runs.step(LIMITS, &Hourly, &*self.clock).await.expect("a step")
    }

    /// A whole run, signed.
    async fn run(&self) -> ClosedRun {
        self.runs.begin(self.clock.now(), self.clock.now()).await.expect("begun");
        while !self.step().await.done {}
        self.close().await
    }

    /// A whole run, or as much of it as there is power for.
    async fn try_run(&self, commits: usize) -> Result<(), SnapshotError> {
        self.cut.left.store(commits, Ordering::SeqCst);
        self.runs.begin(self.clock.now(), self.clock.now()).await?;
        loop {
            self.clock.advance(10);
            if self.runs.step(LIMITS, &Hourly, &*self.clock).await?.done {
                break;
            }
        }
        self.runs.close(self.clock.now()).await.map(|_| ())
    }

    /// Replaces a row, and returns what stood there.
    async fn replace(&self, family: Family, key: Bytes, value: Bytes) -> Bytes {
        let before = self.engine.get(family, &key).await.expect("read").expect("a row");
        let mut batch = Batch::default();
        batch.put(family, key, value);
        self.store.commit(batch).await.expect("replaced");
        before
    }

    async fn close(&self) -> ClosedRun {
        let run = self.runs.close(self.clock.now()).await.expect("closed").expect("a run");
        let signature = Some(b"signature".to_vec());
        self.runs.seal(run.number(), signature, None).await.expect("sealed");
        run
    }

    async fn on_demand(&self, account: u64) -> Snapshot {
        self.clock.advance(1_000);
        let kind = SnapshotKind::OnDemand;
        match self.snapshots.take(AccountId(account), kind, self.clock.now()).await {
            Ok(Taken::New(snapshot)) => snapshot,
            other => panic!("{other:?}"),
        }
    }

    async fn latest(&self, account: u64) -> Snapshot {
        let found = self.snapshots.latest(AccountId(account)).await.expect("read");
        found.expect("a snapshot")
    }

    async fn entered(&self, run: &ClosedRun) -> BTreeMap<u64, AccountRow> {
        let (pages, salts) = (self.runs.pages(), AccountRow::salts());
        let rows = tree_rows::<AccountRow>(&pages, run.root, &salts, 0, 10_000).await;
        rows.expect("rows").into_iter().map(|row| (row.account.0, row)).collect()
    }

    /// Every account's row is that of its latest snapshot.
    async fn assert_complete(&self, run: &ClosedRun, accounts: u64) {
        let rows = self.entered(run).await;
        assert_eq!(rows.keys().copied().collect::<Vec<_>>(), (1..=accounts).collect::<Vec<_>>());
        assert_eq!(run.record.accounts, accounts);
        for (number, row) in rows {
            assert_eq!(row.record, self.latest(number).await.record.hash(), "account {number}");
            assert_eq!(row.address, address(number));
        }
    }

    /// What the check finds.
    async fn faults(&self) -> Vec<crate::check::SnapshotFault> {
        let report = crate::check::run(&self.store, &|_| {}).await.expect("check");
        report.violations.into_iter().map(|violation| violation.fault).collect()
    }

    async fn put(&self, family: Family, key: Bytes, value: Option<Bytes>) {
        let mut batch = Batch::default();
        match value {
            Some(value) => batch.put(family, key, value),
            None => batch.delete(family, key),
        };
        self.engine.commit(batch).await.expect("commit");
    }

    async fn rows(&self, family: Family) -> Vec<(Bytes, Bytes)> {
        self.engine.scan(&Scan::prefix(family, &[], usize::MAX)).await.expect("scan")
    }

    async fn count(&self, family: Family) -> usize {
        self.engine.scan(&Scan::prefix(family, &[], usize::MAX)).await.expect("scan").len()
    }

    /// Pages that kept runs refer to.
    async fn referred(&self) -> usize {
        let (pages, salts) = (self.runs.pages(), AccountRow::salts());
        let mut referred = HashSet::new();
        for run in self.runs.list().await.expect("runs") {
            let mut reader = TreeReader::<AccountRow>::new(&pages, run.root, &salts);
            for account in self.entered(&run).await.into_keys() {
                let path = reader.find(0, account).await.expect("read").expect("a path");
                for found in path {
                    assert!(!matches!(found.page.as_ref(), Page::Leaf(rows) if rows.is_empty()));
                    referred.insert(found.page_ref);
                }
            }
        }
        referred.len()
    }

    /// Proves that the first message of the account was in the snapshot.
    async fn prove(&self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        let (run, attested) = self.runs.attested(snapshot).await?;
        let account = snapshot.record.account;
        let open = self.snapshots.open(account, snapshot.number).await?;
        let (pages, state, secret) = (open.pages(), open.state(), open.secret());
        let source = Source { pages, state, secret };
        let asked = Asked::Uid(storage::ids::Uid::new(1).expect("not zero"));
        let proof = Proof::make(source, "INBOX", asked, attested).await?;
        let proven = proof.verify(&run.record).expect("it holds");
        assert_eq!((proven.account, proven.instant), (account, snapshot.record.instant));
        assert!(matches!(proven.fact, Fact::Present { uid: 1, .. } | Fact::Absent { .. }));
        Ok(())
    }
}

fn address(number: u64) -> String {
    format!("casella{number}@pec.example")
}

#[tokio::test]
async fn a_run_enters_every_account_and_one_without_changes_writes_no_page() {
    let world = World::new(70).await;
    let first = world.run().await;
    world.assert_complete(&first, 70).await;
    assert_eq!((first.record.number, first.record.previous), (1, None));
    let pages = world.count(SNAPSHOT_RUN_PAGES).await;
    world.clock.advance(HOUR);
    let second = world.run().await;
    assert_eq!(second.record.root, first.record.root);
    assert_eq!(second.record.previous, Some(first.record.hash()));
    assert_eq!(world.count(SNAPSHOT_RUN_PAGES).await, pages);
    world.append(9, 1).await;
    world.clock.advance(HOUR);
    let third = world.run().await;
    assert_ne!(third.record.root, second.record.root);
    world.assert_complete(&third, 70).await;
    assert_eq!(world.runs.latest().await.expect("read").map(|run| run.number()), Some(3));
}

#[tokio::test]
async fn a_run_that_is_cut_off_after_any_step_goes_on_where_it_was() {
    let mut world = World::new(20).await;
    let mut steps = 0;
    let begun = world.runs.begin(START, world.clock.now()).await.expect("begun");
    loop {
        let step = world.step().await;
        steps += 1;
        world = world.crash().await;
        let progress = world.runs.progress().await.expect("read").expect("a run");
        assert_eq!((progress, progress.begun), (step.progress, begun.begun));
        assert_eq!(world.runs.close(START).await.expect("no").is_some(), step.done);
        if step.done {
            break;
        }
    }
    assert!(steps >= 7, "{steps}");
    let run = world.runs.latest().await.expect("read").expect("a run");
    world.assert_complete(&run, 20).await;
    assert_eq!(world.referred().await, world.count(SNAPSHOT_RUN_PAGES).await);
    assert!(world.runs.progress().await.expect("read").is_none());
    for number in 1..=20 {
        let all = world.snapshots.list(AccountId(number)).await.expect("list");
        assert_eq!(all.len(), 1, "account {number} has one snapshot, however often it was asked");
    }
}

#[tokio::test]
async fn an_account_that_fails_stops_nobody_and_is_tried_again() {
    let world = World::new(8).await;
    let key = storage::catalog::keys::account(AccountId(4));
    let heads = storage::catalog::keys::ACCOUNT_HEADS;
    let head = world.engine.get(heads, &key).await.expect("read").expect("a head");
    let mut batch = Batch::default();
    batch.put(heads, key.clone(), b"\x01\xff\xff".to_vec());
    world.store.commit(batch).await.expect("damaged");
    world.runs.begin(START, world.clock.now()).await.expect("begun");
    let (mut failed, mut progress) = (Vec::new(), RunProgress::default());
    while world.runs.progress().await.expect("read").is_none_or(|_| failed.len() != 2) {
        let step = world.step().await;
        failed.extend(step.failures.into_iter().map(|(account, _)| account.0));
        progress = step.progress;
        if step.done {
            break;
        }
    }
    while !world.step().await.done {}
    assert_eq!(failed, [4, 4], "once more at the end of the run");
    assert_eq!((progress.failed, progress.taken), (1, 7));
    let run = world.close().await;
    assert_eq!(world.entered(&run).await.len(), 7);
    let mut batch = Batch::default();
    batch.put(heads, key, head);
    world.store.commit(batch).await.expect("mended");
    world.clock.advance(HOUR);
    let run = world.run().await;
    world.assert_complete(&run, 8).await;
}

#[tokio::test]
async fn an_account_whose_snapshot_failed_does_not_count_as_unchanged() {
    let world = World::new(3).await;
    world.run().await;
    // Without its secret nothing of it can be hashed.
    let (family, key) = (keep::keys::SNAPSHOT_ACCOUNTS, keep::keys::account(AccountId(2)));
    let row = world.replace(family, key.clone(), Bytes::from_static(b"\x09\xff")).await;
    world.append(2, 1).await;
    world.clock.advance(HOUR);
    for _ in 0..2 {
        let run = world.run().await;
        assert_eq!(world.entered(&run).await.len(), 3);
        let changed = world.store.accounts_to_capture(None, 10).await.expect("read").accounts;
        assert_eq!(changed, [AccountId(2)]);
    }
    world.replace(family, key, row).await;
    let run = world.run().await;
    world.assert_complete(&run, 3).await;
}

#[tokio::test]
async fn a_snapshot_between_two_runs_enters_the_next_one_and_stays_provable() {
    let world = World::new(5).await;
    world.append(2, 1).await;
    world.run().await;
    world.append(2, 2).await;
    let one = world.on_demand(2).await;
    world.append(2, 3).await;
    let two = world.on_demand(2).await;
    assert!(world.prove(&two).await.is_err(), "no run took place since");
    assert_eq!(world.count(SNAPSHOT_RUN_DUE).await, 1);
    world.clock.advance(HOUR);
    let run = world.run().await;
    world.assert_complete(&run, 5).await;
    assert_eq!(world.latest(2).await, two, "the account has not changed since");
    assert_eq!(world.count(SNAPSHOT_RUN_DUE).await, 0);
    for snapshot in [&one, &two] {
        world.prove(snapshot).await.expect("a proof");
    }
    // Long after, the runs around are gone; these two need theirs.
    for at in 0..80 {
        world.append(3, at).await;
        world.clock.advance(24 * HOUR);
        world.run().await;
    }
    let short = Retention { hourly_hours: 2, daily_days: 1, monthly_months: 0, on_demand_days: 90 };
    let thinned = world.runs.thin(&short, world.clock.now()).await.expect("thinned");
    assert!(thinned.removed > 70, "{thinned:?}");
    for snapshot in [&one, &two] {
        world.prove(snapshot).await.expect("a proof");
    }
    assert_eq!(world.referred().await, world.count(SNAPSHOT_RUN_PAGES).await);
}

#[tokio::test]
async fn a_held_snapshot_keeps_its_run() {
    let world = World::new(3).await;
    world.append(1, 1).await;
    world.run().await;
    let held = world.latest(1).await;
    hold(&world, &held).await;
    for at in 0..60 {
        world.append(1, 2 + at).await;
        world.clock.advance(24 * HOUR);
        world.run().await;
    }
    let other = world.snapshots.list(AccountId(1)).await.expect("list").swap_remove(5);
    // With the records behind it, it would be attested by any later run.
    world.snapshots.forget(AccountId(1), other.number + 1).await.expect("forgotten");
    let none = Retention { hourly_hours: 0, daily_days: 0, monthly_months: 0, on_demand_days: 0 };
    world.runs.thin(&none, world.clock.now()).await.expect("thinned");
    world.prove(&held).await.expect("a proof");
    let refused = world.prove(&other).await;
    assert!(matches!(refused, Err(SnapshotError::NotPresent)), "{refused:?}");
}

async fn hold(world: &World, snapshot: &Snapshot) {
    let order = Hold { reason: "causa 12/2026".to_owned(), since: world.clock.now() };
    let (account, number) = (snapshot.record.account, snapshot.number);
    world.runs.hold(account, Some(number), Some(order), Batch::default()).await.expect("held");
}

/// The snapshots that the covering rule keeps.
fn covering<'a>(
    all: &'a [Snapshot],
    retention: &Retention,
    now: UnixMillis,
) -> BTreeMap<u64, &'a Snapshot> {
    let covers = |instant: &UnixMillis| all.iter().rfind(|one| one.record.instant <= *instant);
    instants(retention, now)
        .filter_map(|instant| covers(&instant))
        .chain(all.last())
        .map(|one| (one.number, one))
        .collect()
}

#[tokio::test]
async fn whatever_the_covering_rule_keeps_stays_provable_and_nothing_else_is_stored() {
    let world = World::new(6).await;
    let random = SeededRandom::new(11);
    let draw = |below: u64| {
        let mut octets = [0; 8];
        random.fill(&mut octets);
        u64::from_be_bytes(octets) % below
    };
    let retention =
        Retention { hourly_hours: 6, daily_days: 3, monthly_months: 2, on_demand_days: 2 };
    let (mut gone, mut number, mut day) = (BTreeSet::new(), 0, 0);
    for hour in 0..24 * 40 {
        for account in 1..=6 {
            if draw(7) == 0 {
                number += 1;
                world.append(account, number).await;
            }
        }
        // A run now and then is missed, and some begin late or are slow.
        if draw(9) > 0 {
            world.clock.advance(i64::try_from(draw(1_800_000)).expect("fits"));
            world.run().await;
        }
        let next = START.plus_millis((hour + 1) * HOUR);
        let now = world.clock.now();
        world.clock.advance((next.0 - now.0).max(0));
        if hour / 24 > day {
            day = hour / 24;
            let thinned = world.runs.thin(&retention, world.clock.now()).await.expect("thinned");
            gone.insert(thinned.removed);
            for account in 1..=6 {
                let Ok(all) = world.snapshots.list(AccountId(account)).await else { continue };
                for snapshot in covering(&all, &retention, world.clock.now()).into_values() {
                    world.prove(snapshot).await.unwrap_or_else(|error| {
                        panic!("hour {hour}, account {account}, {}: {error}", snapshot.name())
                    });
                }
            }
        }
    }
    assert!(gone.iter().sum::<u64>() > 40, "{gone:?}");
    assert_eq!(world.referred().await, world.count(SNAPSHOT_RUN_PAGES).await);
}
