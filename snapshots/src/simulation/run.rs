//! One run: several lives of one process, each ended by a power cut, and what is found after each.

use std::{
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::StreamExt as _;
use object_store::{ObjectStore, PutOptions, PutPayload, path::Path};
use storage::{
    account::settings::AccountSettings,
    catalog::{
        engine::{Batch, Engine, Family, Scan},
        keys::{DEPARTED_MESSAGES, MAILBOX_ROWS, MESSAGES},
        simulated::{Faults, SimulatedEngine},
    },
    collector::CollectOptions,
    error::StoreError,
    ids::AccountId,
    mailbox::{
        flags::{FlagChange, Flags},
        view::{MailboxView as _, MessageRow},
    },
    octets::OctetStoreConfig,
    pack::index::{CHUNK_INDEX, PACKS, STAGED_CHUNKS},
    repair::SettingsSource,
    store::{Store, StoreLimits},
};
use tokio::task::JoinSet;
use trust::{
    clock::{Clock as _, ManualClock, UnixMillis},
    random::SeededRandom,
};

use super::{
    MORNING,
    engine::PacedEngine,
    inspection::{audit, inspect},
    keeper::{Keeper, is_lost, is_put_off},
    ledger::Ledger,
    mail::{Hand, uids_of},
    moments::Moments,
    objects::{Bucket, ObjectFaults},
    post::Post,
    restorer::{Restorer, bring_all_back},
    world::World,
};
use crate::{
    error::SnapshotError,
    keep::{
        SnapshotLimits, Snapshots,
        keys::{DEPARTED_PAGES, SNAPSHOT_PAGES, SNAPSHOTS},
        settings::Retention,
        snapshot::SnapshotKind,
        tests::house::{settings, small},
    },
    restore::{RestoreLimits, Restores, job::RestoreState, job::SNAPSHOT_RESTORES},
    run::{
        Runs,
        walk::{Schedule, StepLimits},
    },
};

const ACCOUNTS: u64 = 2;
const HANDS: usize = 2;

/// A PUT on its way.
type Late = (Path, PutPayload, PutOptions);

/// What a run, or several, came to.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    pub(super) seed: u64,
    /// Promises that were not kept.
    pub(super) blamed: Vec<String>,
    /// What two runs of one seed have in common.
    pub(super) trace: u64,
    pub(super) steps: u64,
    /// Operations acknowledged.
    pub(super) acknowledged: u64,
    pub(super) lives: u64,
    /// Times that a snapshot was compared with what the account was.
    pub(super) compared: u64,
    /// Catalogs that were looked at as a commit left them.
    pub(super) audits: u64,
}

impl Outcome {
    /// Adds another run.
    pub(super) fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.acknowledged += other.acknowledged;
        self.lives += other.lives;
        self.compared += other.compared;
        self.audits += other.audits;
    }
}

/// What outlives the process.
pub(super) struct Stage {
    pub(super) world: Arc<World>,
    pub(super) post: Post,
    /// The clock of snapshots: its days pass faster.
    pub(super) calendar: Arc<ManualClock>,
    pub(super) moments: Arc<Moments>,
    pub(super) ledgers: Vec<Arc<Mutex<Ledger>>>,
    compared: AtomicU64,
}

impl Stage {
    fn new(seed: u64) -> Arc<Self> {
        let world = World::new(seed);
        let ledger = |number| Arc::new(Mutex::new(Ledger::new(AccountId(7 + number))));
        let ledgers: Vec<_> = (0..ACCOUNTS).map(ledger).collect();
        Arc::new(Self {
            moments: Moments::new(&world, &ledgers),
            world,
            post: Post::default(),
            calendar: Arc::new(ManualClock::new(MORNING)),
            ledgers,
            compared: AtomicU64::new(0),
        })
    }

    /// The message that a row is of.
    pub(super) fn message(&self, row: &MessageRow) -> u64 {
        let number = self.post.number_of(row.digest);
        number.unwrap_or_else(|| {
            self.world.blame(format!("nobody sent what {row:?} names"));
            u64::MAX
        })
    }

    /// A later second, often a later hour.
    pub(super) fn later(&self) -> UnixMillis {
        let seconds = 1 + self.world.below(if self.world.chance(300) { 9_000 } else { 3 });
        self.calendar.advance(1_000 * i64::try_from(seconds).expect("small"));
        self.calendar.now()
    }

    /// Counts a snapshot that was compared.
    pub(super) fn compared(&self) {
        self.compared.fetch_add(1, Ordering::Relaxed);
    }
}

/// One life of the process.
pub(super) struct Life {
    pub(super) store: Arc<Store>,
    pub(super) snapshots: Arc<Snapshots>,
    pub(super) runs: Arc<Runs>,
    pub(super) restores: Arc<Restores>,
}

struct Run {
    stage: Arc<Stage>,
    bucket: Arc<Bucket>,
    octets: OctetStoreConfig,
    limits: SnapshotLimits,
    faults: Faults,
    object_faults: ObjectFaults,
    collecting: CollectOptions,
    audits: Mutex<u64>,
}

/// Runs `seed` to its end.
pub(super) fn run(seed: u64) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(Run::new(seed).finish())
}

/// The families of a store whose accounts have snapshots.
fn families() -> Vec<Family> {
    let above =
        [&crate::keep::keys::FAMILIES[..], &crate::run::keys::FAMILIES, &[SNAPSHOT_RESTORES]];
    Store::families(&above.concat())
}

/// Small, so that packs are many and become cold.
fn octets(world: &World) -> OctetStoreConfig {
    OctetStoreConfig {
        cache_octets_max: if world.chance(700) { 0 } else { 20_000 },
        small_chunk_octets_max: if world.chance(500) { 3_000 } else { 6_000 },
        staged_octets_max: 8_000,
        writer_pack_octets_max: 12_000,
        pack_octets_max: 24_000,
        pack_octets_min: 3_000,
        pack_patience_calls: 2,
        ..OctetStoreConfig::default()
    }
}

fn collecting(world: &World) -> CollectOptions {
    let grace = [0, 0, 40, 2_000][world.index(4)];
    CollectOptions {
        grace: Duration::from_millis(grace),
        octets_per_second: 0,
        requests_per_second: 0,
        memory_octets_max: if world.chance(500) { 64 << 10 } else { 300 },
        small_pack_octets: 9_000,
        cold_after: Some(Duration::ZERO),
        cold_octets_min: 500,
        cold_level: 4,
        ..CollectOptions::default()
    }
}

impl Run {
    fn new(seed: u64) -> Self {
        let stage = Stage::new(seed);
        let world = &stage.world;
        let failing = u32::from(world.chance(400));
        let faults = Faults {
            failed_commits_per_thousand: 8 * failing,
            failed_syncs_per_thousand: 8 * failing,
            failed_reads_per_thousand: failing,
        };
        let unreachable = if world.chance(500) { 40 } else { 0 };
        Self {
            bucket: Bucket::new(world),
            octets: octets(world),
            // Mostly pages are written ahead.
            limits: if world.chance(700) { small() } else { SnapshotLimits::default() },
            faults,
            object_faults: ObjectFaults { refused: unreachable, reply_lost: unreachable },
            collecting: collecting(world),
            audits: Mutex::new(0),
            stage,
        }
    }

    async fn finish(self) -> Outcome {
        let world = Arc::clone(&self.stage.world);
        let mut engine = SimulatedEngine::with_faults(&families(), world.seed, Faults::default());
        self.found_accounts(&engine).await;
        let lives = 1 + world.below(3);
        let mut late = Vec::new();
        for _ in 0..lives {
            (engine, late) = self.live(&engine.restart_with(self.faults), late).await;
            engine = engine.restart_with(Faults::default());
            let audits = self.stage.moments.audits();
            *self.audits.lock().expect("no panic") += audits.len() as u64;
            audit(&self.stage, audits).await;
            if world.is_blamed() {
                break;
            }
            self.look(&engine).await;
            engine = engine.restart_with(Faults::default());
        }
        for put in late {
            self.bucket.arrive(put).await;
        }
        if !world.is_blamed()
            && let Err(error) = self.give_back(&engine).await
        {
            world.blame(format!("the end: {error:?}"));
        }
        let ledgers = self.stage.ledgers.iter();
        Outcome {
            seed: world.seed,
            blamed: world.blamed(),
            trace: world.trace(),
            steps: world.steps(),
            acknowledged: ledgers.map(|ledger| ledger.lock().expect("no panic").acknowledged).sum(),
            lives,
            compared: self.stage.compared.load(Ordering::Relaxed),
            audits: *self.audits.lock().expect("no panic"),
        }
    }

    async fn open(
        &self,
        engine: Arc<dyn Engine>,
        objects: Arc<dyn ObjectStore>,
    ) -> Result<Arc<Life>, StoreError> {
        let random = |seed| Arc::new(SeededRandom::new(seed));
        let seed = self.stage.world.below(u64::MAX);
        let (clock, octets) = (self.stage.world.clock.clone(), self.octets.clone());
        let limits = StoreLimits::default();
        let store =
            Store::open_with_engine(engine, objects, clock, random(seed), octets, limits).await?;
        let snapshots = Snapshots::new(store.clone(), random(!seed), self.limits);
        let runs = Runs::new(store.clone(), snapshots.clone());
        let steps = RestoreLimits { rows_per_step_max: 4, ..RestoreLimits::default() };
        let restores = Restores::new(snapshots.clone(), steps);
        Ok(Arc::new(Life { store, snapshots, runs, restores }))
    }

    async fn found_accounts(&self, engine: &Arc<SimulatedEngine>) {
        let life = self.open(engine.clone(), self.bucket.calm()).await.expect("open");
        for ledger in &self.stage.ledgers {
            let id = ledger.lock().expect("no panic").account;
            life.store.apply_account(id, 1, settings(id)).await.expect("create");
        }
        life.store.close().await.expect("everything durable, also when a sync is missing");
    }

    /// One life of the process, until the power is cut. Returns what the disk keeps, and PUTs
    /// that are still on their way.
    async fn live(
        &self,
        engine: &Arc<SimulatedEngine>,
        late: Vec<Late>,
    ) -> (Arc<SimulatedEngine>, Vec<Late>) {
        let world = &self.stage.world;
        let connection = self.bucket.connect(self.object_faults);
        let mut actors = JoinSet::new();
        for put in late {
            let (world, bucket) = (Arc::clone(world), Arc::clone(&self.bucket));
            actors.spawn(async move {
                world.sleep("a late PUT", world.below(3_000)).await;
                bucket.arrive(put).await;
            });
        }
        let paced = PacedEngine::new(world, self.stage.moments.watch(engine));
        let opened = self.drive(self.open(paced, connection.clone())).await;
        if let Some(Ok(life)) = opened {
            self.start(&mut actors, &life);
            let end = world.steps() + 200 + world.below(9_000);
            while world.steps() < end && !world.is_broken() && !world.is_blamed() {
                if !world.step().await {
                    world.blame("everybody waits for ever".to_owned());
                }
            }
        }
        let crashed = engine.crash();
        let late = connection.sever().await;
        actors.abort_all();
        while actors.join_next().await.is_some() {}
        // Whoever is left finds the engine closed.
        for _ in 0..100 {
            world.forget_turns();
            tokio::task::yield_now().await;
        }
        let _ = world.is_broken();
        (crashed, late)
    }

    /// Steps until `future` is done; `None` when it waits for ever.
    async fn drive<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let mut future = std::pin::pin!(future);
        let mut idle = 0;
        loop {
            if let std::task::Poll::Ready(done) = futures::poll!(&mut future) {
                return Some(done);
            }
            idle = if self.stage.world.step().await { 0 } else { idle + 1 };
            if idle > 100 {
                self.stage.world.blame("the store does not open".to_owned());
                return None;
            }
        }
    }

    fn start(&self, actors: &mut JoinSet<()>, life: &Arc<Life>) {
        for ledger in &self.stage.ledgers {
            let of = || (Arc::clone(&self.stage), Arc::clone(life), Arc::clone(ledger));
            for number in 0..HANDS {
                let (stage, life, ledger) = of();
                actors.spawn(Hand { number, stage, life, ledger }.work());
            }
            let (stage, life, ledger) = of();
            actors.spawn(Keeper { stage, life, ledger }.keep());
            let (stage, life, ledger) = of();
            actors.spawn(Restorer { stage, life, ledger }.restore());
        }
        actors.spawn(go_over_all(Arc::clone(&self.stage), Arc::clone(life)));
        actors.spawn(pack(Arc::clone(&self.stage), Arc::clone(life)));
        let options = self.collecting.clone();
        actors.spawn(collect(Arc::clone(&self.stage), Arc::clone(life), options));
    }

    /// Opens what a restart finds, without pauses, and compares it with what is known; often repairs
    /// it, and looks again.
    async fn look(&self, engine: &Arc<SimulatedEngine>) {
        let world = &self.stage.world;
        let life = match self.open(engine.clone(), self.bucket.calm()).await {
            Ok(life) => life,
            Err(error) => return world.blame(format!("after the restart: {error:?}")),
        };
        inspect(&self.stage, &life, "after the restart").await;
        if world.chance(300) && !world.is_blamed() {
            match life.store.repair(&Registry, true, &|_| {}).await {
                Ok(report) if report.first_left.is_empty() => {}
                report => world.blame(format!("a repair left {report:?}")),
            }
            inspect(&self.stage, &life, "after a repair").await;
        }
    }

    /// With nobody else there: restores are finished, then everything goes, and nothing is left.
    async fn give_back(&self, engine: &Arc<SimulatedEngine>) -> Result<(), SnapshotError> {
        let life = self.open(engine.clone(), self.bucket.calm()).await?;
        for job in life.restores.running().await?.jobs {
            while let Some(now) = life.restores.step(job.account, job.number).await?
                && now.state == RestoreState::Running
            {}
        }
        inspect(&self.stage, &life, "after the last restore").await;
        for ledger in &self.stage.ledgers {
            bring_all_back(&self.stage, &life, ledger).await?;
        }
        inspect(&self.stage, &life, "after all was brought back").await;
        for ledger in &self.stage.ledgers {
            let account = ledger.lock().expect("no panic").account;
            self.empty(&life, account).await?;
        }
        let options = CollectOptions { grace: Duration::ZERO, ..self.collecting.clone() };
        for _ in 0..6 {
            life.store.octets().pack_once().await?;
            life.store.collect(&options, &|_| {}).await?;
        }
        let gone = [
            SNAPSHOTS,
            SNAPSHOT_PAGES,
            DEPARTED_PAGES,
            DEPARTED_MESSAGES,
            MESSAGES,
            MAILBOX_ROWS,
            CHUNK_INDEX,
            STAGED_CHUNKS,
            PACKS,
        ];
        for family in gone {
            let left = engine_scan(&life, family).await?;
            if left > 0 {
                self.stage.world.blame(format!("{left} rows of {family:?} are left"));
            }
        }
        let packs: Vec<_> = self.bucket.calm().list(Some(&Path::from("packs"))).collect().await;
        if !packs.is_empty() {
            self.stage.world.blame(format!("{packs:?} are left"));
        }
        Ok(())
    }

    /// Removes every row and every snapshot of an account.
    async fn empty(&self, life: &Life, id: AccountId) -> Result<(), SnapshotError> {
        let account = life.store.account(id).await?;
        for listing in account.mailboxes().await? {
            let Some(mailbox) = listing.mailbox_id else { continue };
            let mailbox = account.mailbox(mailbox).await?;
            let uids = uids_of(&mailbox.rows().await?.1);
            let deleted = Flags { deleted: true, ..Flags::default() };
            mailbox.store_flags(&uids, FlagChange::Add, &deleted, None).await?;
            mailbox.expunge(&uids).await?;
        }
        // What takes that were cut off wrote ahead goes with the next one, behind whatever was waited for.
        self.stage.calendar.advance(24 * 3_600_000);
        life.snapshots.take(id, SnapshotKind::Scheduled, self.stage.later()).await?;
        for snapshot in life.snapshots.list(id).await? {
            if snapshot.hold.is_some() {
                life.runs.hold(id, Some(snapshot.number), None, Batch::default()).await?;
            }
            life.snapshots.forget(id, snapshot.number).await?;
        }
        Ok(())
    }
}

async fn engine_scan(life: &Life, family: Family) -> Result<usize, StoreError> {
    let scan = Scan::prefix(family, b"", usize::MAX);
    Ok(life.store.engine().scan(&scan).await?.len())
}

/// Knows every account, and where its snapshots are.
struct Registry;

#[async_trait::async_trait]
impl SettingsSource for Registry {
    async fn settings(&self, id: AccountId) -> Result<Option<(u64, AccountSettings)>, StoreError> {
        Ok(Some((1, settings(id))))
    }

    fn snapshots(&self) -> Option<Family> {
        Some(SNAPSHOTS)
    }
}

/// The packer's loop, as the program runs it.
async fn pack(stage: Arc<Stage>, life: Arc<Life>) {
    loop {
        stage.world.sleep("packer", stage.world.below(150)).await;
        match life.store.octets().pack_once().await {
            Ok(_) | Err(StoreError::Objects { .. }) => {}
            Err(StoreError::Engine { .. } | StoreError::Closed) => return,
            Err(error) => return stage.world.blame(format!("the packer: {error:?}")),
        }
    }
}

/// The collector's loop, as the program runs it.
async fn collect(stage: Arc<Stage>, life: Arc<Life>, options: CollectOptions) {
    loop {
        stage.world.sleep("collector", stage.world.below(200)).await;
        match life.store.collect(&options, &|_| {}).await {
            Ok(_) | Err(StoreError::Objects { .. }) => {}
            Err(StoreError::Engine { .. } | StoreError::Closed) => return,
            Err(error) => return stage.world.blame(format!("the collector: {error:?}")),
        }
    }
}

/// A snapshot of every account at each run.
struct Always;

impl Schedule for Always {
    fn interval_millis(&self, _: &AccountSettings) -> Option<i64> {
        Some(1)
    }
}

/// Runs over all accounts, one after the other.
async fn go_over_all(stage: Arc<Stage>, life: Arc<Life>) {
    loop {
        stage.world.sleep("runs", stage.world.below(400)).await;
        match one_run(&stage, &life).await {
            Ok(()) => {}
            Err(error) if is_put_off(&error) => {}
            Err(error) if is_lost(&error) => return stage.world.break_down(),
            Err(error) => return stage.world.blame(format!("a run: {error:?}")),
        }
    }
}

async fn one_run(stage: &Stage, life: &Life) -> Result<(), SnapshotError> {
    let limits = StepLimits { accounts_max: 1, concurrency: 1 };
    let now = stage.later();
    life.runs.begin(now, now).await?;
    loop {
        stage.later();
        let step = life.runs.step(limits, &Always, &*stage.calendar).await?;
        for (account, error) in step.failures {
            if is_lost(&error) {
                return Err(error);
            }
            if !is_put_off(&error) {
                stage.world.blame(format!("the run over {account}: {error:?}"));
            }
        }
        if step.done {
            break;
        }
    }
    let Some(run) = life.runs.close(stage.calendar.now()).await? else { return Ok(()) };
    life.runs.seal(run.number(), Some(b"signature".to_vec()), None).await?;
    if stage.world.chance(300) {
        let none =
            Retention { hourly_hours: 1, daily_days: 0, monthly_months: 0, on_demand_days: 0 };
        life.runs.thin(&none, stage.calendar.now()).await?;
    }
    Ok(())
}
