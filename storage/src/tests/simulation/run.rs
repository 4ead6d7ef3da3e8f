//! One run: several lives of one process, each ended by a power cut, and what is found after each.

use std::{
    collections::BTreeSet,
    future::Future,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use object_store::{ObjectStore, PutOptions, PutPayload, path::Path};
use tokio::task::JoinSet;
use trust::random::SeededRandom;

use super::{
    SNAPSHOTS,
    engine::PacedEngine,
    inspection::inspect,
    keeper::{Keeper, Rack},
    model::Scribe,
    objects::{Bucket, ObjectFaults},
    reader::Reader,
    world::World,
    writer::Writer,
};
use crate::{
    catalog::{
        engine::{Batch, Engine, Expected, Scan},
        simulated::{Faults, SimulatedEngine},
    },
    collector::{CollectOptions, references::References},
    error::StoreError,
    ids::{AccountId, StoredId},
    octets::{OctetStoreConfig, StoredMessage},
    pack::index::{BACKUP_CHECKPOINTS, CHUNK_INDEX, stored_id_of},
    store::{Store, StoreLimits},
    tests::{house::settings, states::STATES},
};

const ACCOUNTS: usize = 2;
const WRITERS: usize = 4;
const READERS: usize = 2;

/// A PUT on its way.
type Late = (Path, PutPayload, PutOptions);

/// What a run came to.
#[derive(Debug)]
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
    /// Back-ups restored and inspected.
    pub(super) restored: u64,
}

/// A back-up: the catalog at one instant, and what was acknowledged then. Its packs lie in the
/// bucket and must outlive it.
struct Backup {
    instant: Bytes,
    engine: Arc<SimulatedEngine>,
    scribes: Vec<Scribe>,
    racks: Vec<Rack>,
}

struct Run {
    world: Arc<World>,
    bucket: Arc<Bucket>,
    octets: OctetStoreConfig,
    faults: Faults,
    object_faults: ObjectFaults,
    collecting: CollectOptions,
    scribes: Vec<Arc<Mutex<Scribe>>>,
    racks: Vec<Arc<Mutex<Rack>>>,
    backups: Arc<Mutex<Vec<Backup>>>,
    restored: Arc<Mutex<u64>>,
}

/// Runs `seed` to its end.
pub(super) fn run(seed: u64) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(Run::new(seed).finish())
}

impl Run {
    fn new(seed: u64) -> Self {
        let world = World::new(seed);
        let failing = u32::from(world.chance(400));
        let faults = Faults {
            failed_commits_per_thousand: 8 * failing,
            failed_syncs_per_thousand: 8 * failing,
            failed_reads_per_thousand: failing,
        };
        let unreachable = world.chance(500);
        let object_faults = ObjectFaults {
            refused: if unreachable { 40 } else { 0 },
            reply_lost: if unreachable { 40 } else { 0 },
        };
        let octets = OctetStoreConfig {
            cache_octets_max: if world.chance(700) { 0 } else { 20_000 },
            small_chunk_octets_max: if world.chance(500) { 3_000 } else { 6_000 },
            staged_octets_max: 8_000,
            writer_pack_octets_max: 12_000,
            pack_octets_max: 24_000,
            pack_octets_min: 3_000,
            pack_patience_calls: 2,
            ..OctetStoreConfig::default()
        };
        let grace = [0, 0, 40, 2_000][world.index(4)];
        let collecting = CollectOptions {
            grace: std::time::Duration::from_millis(grace),
            octets_per_second: 0,
            requests_per_second: 0,
            memory_octets_max: if world.chance(500) { 64 << 10 } else { 300 },
            small_pack_octets: 9_000,
            cold_after: Some(std::time::Duration::ZERO),
            cold_octets_min: 500,
            cold_level: 4,
            ..CollectOptions::default()
        };
        let scribe = |number: usize| {
            let account = AccountId(7 + (number * ACCOUNTS / WRITERS) as u64);
            Arc::new(Mutex::new(Scribe::new(number, account)))
        };
        Self {
            bucket: Bucket::new(&world),
            world,
            collecting,
            octets,
            faults,
            object_faults,
            scribes: (0..WRITERS).map(scribe).collect(),
            racks: (0..ACCOUNTS as u64)
                .map(|number| Arc::new(Mutex::new(Rack::new(AccountId(7 + number)))))
                .collect(),
            backups: Arc::default(),
            restored: Arc::default(),
        }
    }

    async fn finish(self) -> Outcome {
        let families = Store::families(&[SNAPSHOTS, STATES]);
        let mut engine =
            SimulatedEngine::with_faults(&families, self.world.seed, Faults::default());
        self.found_accounts(&engine).await;
        let lives = 1 + self.world.below(3);
        let mut late = Vec::new();
        for _ in 0..lives {
            (engine, late) = self.live(&engine.restart_with(self.faults), late).await;
            engine = engine.restart_with(Faults::default());
            if self.world.is_blamed() {
                break;
            }
            self.look(&engine, "after the restart").await;
            engine = engine.restart_with(Faults::default());
        }
        for put in late {
            self.bucket.arrive(put).await;
        }
        self.restore_all().await;
        if !self.world.is_blamed() {
            self.give_back(&engine).await;
        }
        let acknowledged =
            self.scribes.iter().map(|scribe| scribe.lock().expect("no panic").acknowledged);
        Outcome {
            seed: self.world.seed,
            blamed: self.world.blamed(),
            trace: self.world.trace(),
            steps: self.world.steps(),
            acknowledged: acknowledged.sum(),
            lives,
            restored: *self.restored.lock().expect("no panic"),
        }
    }

    async fn open(
        &self,
        engine: Arc<dyn Engine>,
        objects: Arc<dyn ObjectStore>,
    ) -> Result<Arc<Store>, StoreError> {
        let limits = StoreLimits { rows_per_step_max: 8, ..StoreLimits::default() };
        let random = Arc::new(SeededRandom::new(self.world.below(u64::MAX)));
        let clock = self.world.clock.clone();
        let references = vec![References { family: SNAPSHOTS, stored_ids: kept_chunks }];
        let octets = self.octets.clone();
        Store::open_with_references(engine, objects, clock, random, octets, limits, references)
            .await
    }

    /// Makes accounts and mailboxes before anything goes wrong.
    async fn found_accounts(&self, engine: &Arc<SimulatedEngine>) {
        let store = self.open(engine.clone(), self.bucket.calm()).await.expect("open");
        for scribe in &self.scribes {
            let (id, names) = {
                let scribe = scribe.lock().expect("no panic");
                (scribe.account, [scribe.home(), scribe.tent()])
            };
            let settings = settings(&format!("casella{id}@pec.example"), None);
            store.apply_account(id, 1, settings).await.expect("create");
            let account = store.account(id).await.expect("the account");
            for name in names {
                account.create_mailbox(&name, None).await.expect("create");
                let mut scribe = scribe.lock().expect("no panic");
                scribe.state.mailboxes.insert(name, super::model::Rows::default());
            }
        }
        store.close().await.expect("everything durable, also when a sync is missing");
    }

    /// One life of the process, until the power is cut. Returns what the disk keeps, and PUTs
    /// that are still on their way.
    async fn live(
        &self,
        engine: &Arc<SimulatedEngine>,
        late: Vec<Late>,
    ) -> (Arc<SimulatedEngine>, Vec<Late>) {
        let connection = self.bucket.connect(self.object_faults);
        let mut actors = JoinSet::new();
        for put in late {
            let (world, bucket) = (Arc::clone(&self.world), Arc::clone(&self.bucket));
            actors.spawn(async move {
                world.sleep("a late PUT", world.below(3_000)).await;
                bucket.arrive(put).await;
            });
        }
        let paced = PacedEngine::new(&self.world, engine.clone());
        let opened = self.drive(self.open(paced, connection.clone())).await;
        if let Some(Ok(store)) = opened {
            self.start(&mut actors, &store, engine);
            let end = self.world.steps() + 50 + self.world.below(2_500);
            while self.world.steps() < end && !self.world.is_broken() && !self.world.is_blamed() {
                if !self.world.step().await {
                    self.world.blame("everybody waits for ever".to_owned());
                }
            }
        }
        let crashed = engine.crash();
        let late = connection.sever().await;
        actors.abort_all();
        while actors.join_next().await.is_some() {}
        // Whoever is left finds the engine closed.
        for _ in 0..100 {
            self.world.forget_turns();
            tokio::task::yield_now().await;
        }
        let _ = self.world.is_broken();
        (crashed, late)
    }

    /// Steps until `future` is done; `None` when it waits for ever.
    async fn drive<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let mut future = std::pin::pin!(future);
        let mut idle = 0;
        loop {
            let polled = futures::poll!(&mut future);
            if let std::task::Poll::Ready(done) = polled {
                return Some(done);
            }
            idle = if self.world.step().await { 0 } else { idle + 1 };
            if idle > 100 {
                self.world.blame("the store does not open".to_owned());
                return None;
            }
        }
    }

    fn start(&self, actors: &mut JoinSet<()>, store: &Arc<Store>, engine: &Arc<SimulatedEngine>) {
        let world = &self.world;
        for scribe in &self.scribes {
            let (world, store, scribe) = (Arc::clone(world), Arc::clone(store), Arc::clone(scribe));
            actors.spawn(Writer { world, store, scribe }.write());
        }
        for _ in 0..READERS {
            let (world, store) = (Arc::clone(world), Arc::clone(store));
            actors.spawn(Reader { world, store, scribes: self.scribes.clone() }.read());
        }
        for rack in &self.racks {
            let (world, store, rack) = (Arc::clone(world), Arc::clone(store), Arc::clone(rack));
            actors.spawn(Keeper { world, store, rack }.keep());
        }
        actors.spawn(pack(Arc::clone(world), Arc::clone(store)));
        let collecting = collect(Arc::clone(world), Arc::clone(store), self.collecting.clone());
        actors.spawn(collecting);
        let backups = Arc::clone(&self.backups);
        let (owners, engine) = ((self.scribes.clone(), self.racks.clone()), Arc::clone(engine));
        actors.spawn(back_up(Arc::clone(world), Arc::clone(store), engine, owners, backups));
    }

    /// Opens what a restart finds, without pauses, and compares it with what was acknowledged.
    async fn look(&self, engine: &Arc<SimulatedEngine>, occasion: &str) {
        match self.open(engine.clone(), self.bucket.calm()).await {
            Ok(store) => {
                inspect(&self.world, &store, &self.scribes, &self.racks, occasion).await;
            }
            Err(error) => self.world.blame(format!("{occasion}: {error:?}")),
        }
    }

    /// With nobody else there, the collector leaves exactly the chunks that something refers to.
    async fn give_back(&self, engine: &Arc<SimulatedEngine>) {
        let store = match self.open(engine.clone(), self.bucket.calm()).await {
            Ok(store) => store,
            Err(error) => return self.world.blame(format!("opening for the last time: {error:?}")),
        };
        let options =
            CollectOptions { grace: std::time::Duration::ZERO, ..self.collecting.clone() };
        for rack in &self.racks {
            let (world, store, rack) = (&self.world, &store, Arc::clone(rack));
            Keeper { world: Arc::clone(world), store: Arc::clone(store), rack }.clear().await;
        }
        for _ in 0..3 {
            if let Err(error) = store.collect(&options, &|_| {}).await {
                self.world.blame(format!("the last collector: {error:?}"));
            }
        }
        let occasion = "after the last collector";
        inspect(&self.world, &store, &self.scribes, &self.racks, occasion).await;
        match unused_chunks(&store).await {
            Ok(unused) if unused.is_empty() => {}
            unused => self.world.blame(format!("nothing refers to {unused:?}")),
        }
    }

    /// Restores every back-up that is retained.
    async fn restore_all(&self) {
        let backups = std::mem::take(&mut *self.backups.lock().expect("no panic"));
        for backup in backups {
            if self.world.is_blamed() {
                return;
            }
            match self.open(backup.engine, self.bucket.calm()).await {
                Ok(store) => {
                    let scribes: Vec<_> = backup
                        .scribes
                        .into_iter()
                        .map(|scribe| Arc::new(Mutex::new(scribe)))
                        .collect();
                    let racks: Vec<_> =
                        backup.racks.into_iter().map(|rack| Arc::new(Mutex::new(rack))).collect();
                    let occasion = "after restoring a back-up";
                    inspect(&self.world, &store, &scribes, &racks, occasion).await;
                    *self.restored.lock().expect("no panic") += 1;
                }
                Err(error) => self.world.blame(format!("restoring a back-up: {error:?}")),
            }
        }
    }
}

/// Chunks of the index that no record refers to.
async fn unused_chunks(store: &Store) -> Result<BTreeSet<StoredId>, StoreError> {
    let engine = store.engine();
    let mut used = BTreeSet::new();
    for References { family, stored_ids } in &store.core.references {
        for (key, value) in engine.scan(&Scan::prefix(*family, b"", usize::MAX)).await? {
            used.extend(stored_ids(&key, &value)?);
        }
    }
    let index = engine.scan(&Scan::prefix(CHUNK_INDEX, b"", usize::MAX)).await?;
    let chunks: BTreeSet<StoredId> =
        index.iter().filter_map(|(key, _)| stored_id_of(key)).collect();
    Ok(chunks.difference(&used).copied().collect())
}

/// The packer's loop, as the program runs it.
async fn pack(world: Arc<World>, store: Arc<Store>) {
    loop {
        world.sleep("packer", world.below(150)).await;
        match store.octets().pack_once().await {
            Ok(_) | Err(StoreError::Objects { .. }) => {}
            Err(StoreError::Engine { .. } | StoreError::Closed) => return,
            Err(error) => return world.blame(format!("the packer: {error:?}")),
        }
    }
}

/// The collector's loop, as the program runs it.
async fn collect(world: Arc<World>, store: Arc<Store>, options: CollectOptions) {
    loop {
        world.sleep("collector", world.below(200)).await;
        match store.collect(&options, &|_| {}).await {
            Ok(_) | Err(StoreError::Objects { .. }) => {}
            Err(StoreError::Engine { .. } | StoreError::Closed) => return,
            Err(error) => return world.blame(format!("the collector: {error:?}")),
        }
    }
}

/// The chunks of a message that a snapshot keeps.
fn kept_chunks(_: &[u8], value: &[u8]) -> Result<Vec<StoredId>, StoreError> {
    StoredMessage::decode_stored_ids(value, || "a kept message".to_owned())
}

/// What actors write into and others look at.
type Shared<T> = Vec<Arc<Mutex<T>>>;

/// Takes back-ups, and lets the oldest go.
async fn back_up(
    world: Arc<World>,
    store: Arc<Store>,
    engine: Arc<SimulatedEngine>,
    (scribes, racks): (Shared<Scribe>, Shared<Rack>),
    backups: Arc<Mutex<Vec<Backup>>>,
) {
    loop {
        world.sleep("back-up", 50 + world.below(2_000)).await;
        let instant = Bytes::copy_from_slice(&world.now().to_be_bytes());
        // The row stands before the state is fixed, and goes after the back-up is gone.
        let mut batch = Batch::default();
        batch.expect(BACKUP_CHECKPOINTS, instant.clone(), Expected::Absent);
        batch.put(BACKUP_CHECKPOINTS, instant.clone(), "a back-up");
        if store.commit(batch).await.is_err() {
            continue;
        }
        let oldest = {
            let scribes = scribes.iter().map(|scribe| scribe.lock().expect("no panic").clone());
            let racks = racks.iter().map(|rack| rack.lock().expect("no panic").clone());
            let (scribes, racks) = (scribes.collect(), racks.collect());
            let backup = Backup { instant, engine: engine.checkpoint(), scribes, racks };
            let mut backups = backups.lock().expect("no panic");
            backups.push(backup);
            if backups.len() > 2 { Some(backups.remove(0).instant) } else { None }
        };
        if let Some(instant) = oldest {
            let mut batch = Batch::default();
            batch.delete(BACKUP_CHECKPOINTS, instant);
            // A row that stays keeps packs longer than needed, and nothing else.
            let _ = store.commit(batch).await;
        }
    }
}
