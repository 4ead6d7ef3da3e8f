//! A store on RocksDB is backed up, lost and restored; back-ups are torn, damaged and swept.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use bytes::Bytes;
use object_store::{ObjectStore, ObjectStoreExt as _, PutPayload, memory::InMemory};
use trust::{
    clock::{Clock as _, ManualClock, UnixMillis},
    random::{RandomSource, SeededRandom},
    seal::DataKey,
};

mod damage;
mod succession;
mod sweep;

use super::{
    fetch::{self, FetchProgress},
    manifest::{CheckpointName, Manifest, PackFault},
    repository::{Pace, Repository},
    retention::{RetentionRules, sweep},
    rules::{self, NUMBERS_RAISED_BY, SEQUENCES_RAISED_BY, Succession},
    run::{Companion, Companions, Shipper, Taken},
    *,
};
use crate::{
    account::Account,
    catalog::{
        engine::{Batch, Engine, Family, Scan},
        keys,
        rocksdb::{RocksConfig, RocksEngine},
    },
    claim::{ClaimToken, Claimant, Lineage, claim_next},
    ids::AccountId,
    mailbox::view::MailboxView as _,
    octets::OctetStoreConfig,
    pack::store::{PackId, local_objects},
    store::{Store, StoreConfig, StoreLimits},
    tests::house::{ANNA, MORNING, message, request, settings},
};

const JOURNAL: Family = Family("journal");

/// A node in a folder, and the back-up's object store.
struct Node {
    folder: tempfile::TempDir,
    clock: Arc<ManualClock>,
    store: Arc<Store>,
    elsewhere: Arc<dyn ObjectStore>,
    companions: Files,
}

/// Companions that are files of the test.
#[derive(Default)]
struct Files(BTreeMap<String, String>);

#[async_trait::async_trait]
impl Companions for Files {
    async fn prepare(
        &self,
        folder: &Path,
    ) -> Result<Vec<Companion>, Box<dyn std::error::Error + Send + Sync>> {
        let mut companions = Vec::new();
        for (name, text) in &self.0 {
            let path = folder.join(name.replace('/', "-"));
            std::fs::write(&path, text)?;
            companions.push(Companion { name: name.clone(), path, unchanged: false });
        }
        Ok(companions)
    }
}

/// Companions that cannot be prepared.
struct Fails;
#[async_trait::async_trait]
impl Companions for Fails {
    async fn prepare(
        &self,
        _: &Path,
    ) -> Result<Vec<Companion>, Box<dyn std::error::Error + Send + Sync>> {
        Err("the power is cut".into())
    }
}

async fn open(folder: &Path, clock: &Arc<ManualClock>) -> Arc<Store> {
    let objects = local_objects(&folder.join("objects")).expect("objects");
    open_on(folder, objects, clock).await
}

async fn open_on(
    folder: &Path,
    objects: Arc<dyn ObjectStore>,
    clock: &Arc<ManualClock>,
) -> Arc<Store> {
    let config = StoreConfig {
        catalog_folder: folder.join("catalog"),
        families: vec![JOURNAL],
        references: Vec::new(),
        catalog: RocksConfig::default(),
        octets: OctetStoreConfig { small_chunk_octets_max: 4_096, ..OctetStoreConfig::default() },
        limits: StoreLimits::default(),
    };
    let random = Arc::new(trust::random::SystemRandom);
    Store::open(config, objects, clock.clone(), random).await.expect("open the store")
}

impl Node {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = Arc::new(ManualClock::new(MORNING));
        let store = open(folder.path(), &clock).await;
        store.apply_account(ANNA, 1, settings("anna@pec.example", None)).await.expect("account");
        let elsewhere = Arc::new(InMemory::new());
        let companions = Files(BTreeMap::from([("registry.sqlite".into(), "titolari".into())]));
        Self { folder, clock, store, elsewhere, companions }
    }

    fn repository(&self) -> Arc<Repository> {
        let random: Arc<dyn RandomSource> = Arc::new(trust::random::SystemRandom);
        let key = DataKey::draw(&SeededRandom::new(7));
        Arc::new(Repository::new(Arc::clone(&self.elsewhere), key, random, Pace::new(None)))
    }

    fn shipper(&self) -> Shipper {
        let work = self.folder.path().join("backup.work");
        Shipper::new(self.repository(), self.clock.clone(), work, false, "test".to_owned())
    }

    async fn take(&self, shipper: &mut Shipper) -> Taken {
        shipper.take(&self.store, &self.companions).await.expect("a checkpoint")
    }

    async fn account(&self) -> Account {
        self.store.account(ANNA).await.expect("the account")
    }

    /// Appends a message with a large part, so that there are packs and staged chunks.
    async fn append(&self, number: usize) -> Bytes {
        let octets = letter(number);
        append(&self.store, &octets).await;
        octets
    }

    async fn journal(&self, text: &str) -> u64 {
        journal(&self.store, text).await
    }
}

async fn journal(store: &Store, text: &str) -> u64 {
    let mut batch = Batch::default();
    batch.append_numbered(JOURNAL, "node", text.to_owned());
    store.commit(batch).await.expect("commit")[0]
}

fn letter(number: usize) -> Bytes {
    let mut octets = message(number);
    let mut part = vec![0; 300_000];
    SeededRandom::new(number as u64).fill(&mut part);
    for line in part.chunks(500) {
        octets.extend(line.iter().flat_map(|octet| [b'a' + (octet & 15), b'a' + (octet >> 4)]));
        octets.extend_from_slice(b"\r\n");
    }
    octets.into()
}

async fn append(store: &Store, octets: &[u8]) -> u32 {
    let mut writer = store.message_writer();
    writer.write(octets).await.expect("write");
    let staged = writer.finish().await.expect("finish");
    let account = store.account(ANNA).await.expect("the account");
    let inbox = account.mailbox_by_name("INBOX").await.expect("INBOX").id();
    account.append(request(inbox, &staged)).await.expect("append").uid.get()
}

/// Restores the newest checkpoint into a new folder.
async fn restore(
    repository: &Repository,
    clock: &Arc<ManualClock>,
) -> (tempfile::TempDir, Arc<Store>) {
    let name = *repository.checkpoints().await.expect("list").last().expect("a checkpoint");
    let folder = restore_folder(repository, name).await;
    let store = open(folder.path(), clock).await;
    (folder, store)
}

/// Restores a checkpoint into a new folder, which nobody has opened yet.
async fn restore_folder(repository: &Repository, name: CheckpointName) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let manifest = repository.manifest(name).await.expect("a manifest");
    fetch_into(repository, &manifest, folder.path()).await.expect("fetched");
    let (catalog, families) = (folder.path().join("catalog"), Store::families(&[JOURNAL]));
    let engine = RocksEngine::open(&catalog, &families, &RocksConfig::default()).await;
    let engine = engine.expect("the restored catalog opens");
    let token = ClaimToken::draw(&trust::random::SystemRandom);
    let claimant = Claimant { token, lineage: manifest.lineage };
    let claimed = claim_next(&[&*repository.objects], claimant, name.epoch + 1).await;
    let epoch = claimed.expect("a claim");
    let pinned = repository.checkpoints().await.expect("list");
    let pinned = if manifest.packs_in_place { pinned } else { Vec::new() };
    let succession = Succession::Node { epoch, token, pinned };
    rules::apply(&*engine, &succession).await.expect("the rules");
    engine.close().await.expect("close");
    folder
}

async fn fetch_into(
    repository: &Repository,
    manifest: &Manifest,
    folder: &Path,
) -> Result<fetch::FetchedPacks, BackupError> {
    let mut progress = fetch::beginning(manifest);
    let place = |name: &str| Some(name.into());
    fetch::fetch_files(repository, manifest, folder, place, &mut progress, &|_| {}).await?;
    let objects = local_objects(&folder.join("objects")).expect("objects");
    fetch::fetch_packs(repository, manifest, &*objects, &mut progress, &|_| {}).await
}

async fn all_messages(store: &Store, account: AccountId) -> Vec<Bytes> {
    let account = store.account(account).await.expect("the account");
    let key = keys::account(account.id());
    let entries = store.engine().scan(&Scan::prefix(keys::MESSAGES, &key, 10_000)).await;
    let mut messages = Vec::new();
    for (key, _) in entries.expect("scan") {
        let number = u64::from_be_bytes(key[8..].try_into().expect("eight octets"));
        let stored = account.stored(crate::ids::EmailNumber(number)).await.expect("a message");
        let mut octets = Vec::new();
        while (octets.len() as u64) < stored.size() {
            let range = octets.len() as u64..stored.size();
            octets.extend(store.octets().read(&stored, range).await.expect("octets"));
        }
        messages.push(octets.into());
    }
    messages
}

fn superseded(error: &BackupError, by_ours: u32, by_found: u32) -> bool {
    let BackupError::Store(StoreError::Superseded { ours, found }) = error else { return false };
    (*ours, *found) == (by_ours, by_found)
}

async fn is_sound(store: &Store) {
    let report = store.check(&|_| {}).await.expect("check");
    assert_eq!(report.violations, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_before_the_checkpoint_comes_back_from_the_object_store_alone() {
    let node = Node::new().await;
    let mut shipper = node.shipper();
    let mut sent = vec![node.append(1).await, node.append(2).await];
    assert_eq!((node.journal("a").await, node.journal("b").await), (1, 2));
    node.take(&mut shipper).await;
    sent.push(node.append(3).await);
    let before = {
        let account = node.account().await;
        let inbox = account.mailbox_by_name("INBOX").await.expect("INBOX");
        inbox.state().await.expect("state")
    };
    let taken = node.take(&mut shipper).await;
    assert!(taken.packs >= 3 && taken.copied.packs >= 1 && taken.copied.lost == 0, "{taken:?}");
    node.append(4).await;
    assert_eq!(node.store.epoch().await.expect("epoch"), 1);
    node.store.close().await.expect("close");
    drop(node.folder);

    let random: Arc<dyn RandomSource> = Arc::new(trust::random::SystemRandom);
    let key = DataKey::draw(&SeededRandom::new(7));
    let repository = Repository::new(node.elsewhere, key, random, Pace::new(None));
    let (folder, store) = restore(&repository, &node.clock).await;
    assert_eq!(all_messages(&store, ANNA).await, sent);
    is_sound(&store).await;
    let registry = std::fs::read_to_string(folder.path().join("registry.sqlite"));
    assert_eq!(registry.expect("the registry"), "titolari");

    assert_eq!(store.epoch().await.expect("epoch"), 2);
    let account = store.account(ANNA).await.expect("the account");
    let inbox = account.mailbox_by_name("INBOX").await.expect("INBOX");
    let after = inbox.state().await.expect("state");
    assert_eq!(after.uid_validity, before.uid_validity);
    let (old, new) = (before.uid_next.expect("a UID"), after.uid_next.expect("a UID"));
    assert_eq!(u64::from(new.get()), u64::from(old.get()) + NUMBERS_RAISED_BY);
    assert_eq!(after.highest_mod_seq.0, before.highest_mod_seq.0 + SEQUENCES_RAISED_BY);
    assert_eq!(append(&store, &letter(5)).await, new.get(), "the first UID after the restore");
    assert_eq!(journal(&store, "c").await, 3 + SEQUENCES_RAISED_BY, "no number comes again");
    is_sound(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_increment_ships_what_is_new_and_no_more() {
    let node = Node::new().await;
    let mut shipper = node.shipper();
    for number in 0..20 {
        node.append(number).await;
    }
    let first = node.take(&mut shipper).await;
    let idle = node.take(&mut shipper).await;
    assert!(first.copied.octets > 4 << 20, "{first:?}");
    assert_eq!(idle.copied.packs, 0);
    assert!(idle.sent_octets < 200_000, "an increment of nothing: {idle:?}");
    node.append(21).await;
    // Another process begins where the last one ended.
    let mut shipper = node.shipper();
    let next = node.take(&mut shipper).await;
    assert!(next.copied.packs <= 2 && next.sent_octets < 2 << 20, "{next:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_back_up_is_not_seen_and_the_one_before_stays_usable() {
    let node = Node::new().await;
    let mut shipper = node.shipper();
    let sent = vec![node.append(1).await];
    node.take(&mut shipper).await;
    node.append(2).await;
    // The process ends where the companions are prepared: pieces and packs are there, the pin is
    // committed, no manifest.
    let torn = shipper.take(&node.store, &Fails).await;
    assert!(matches!(torn, Err(BackupError::Prepare(_))));
    let pins = node.store.engine().scan(&Scan::prefix(BACKUP_CHECKPOINTS, b"", 9)).await;
    assert_eq!(
        pins.expect("scan").len(),
        1,
        "the packs of the torn checkpoint stay until the next"
    );
    let names = node.repository().checkpoints().await.expect("list");
    node.take(&mut node.shipper()).await;
    let pins = node.store.engine().scan(&Scan::prefix(BACKUP_CHECKPOINTS, b"", 9)).await;
    assert_eq!(pins.expect("scan").len(), 0, "packs were copied: nothing needs to stay for them");

    let folder = restore_folder(&node.repository(), names[0]).await;
    let store = open(folder.path(), &node.clock).await;
    assert_eq!(all_messages(&store, ANNA).await, sent);
    is_sound(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_changed_octet_is_found_named_and_never_restored() {
    let node = Node::new().await;
    let mut shipper = node.shipper();
    node.append(1).await;
    let name = node.take(&mut shipper).await.name;
    let repository = node.repository();
    let manifest = repository.manifest(name).await.expect("a manifest");
    let whole = fetch::verify(&repository, &manifest, &|_| {}).await.expect("verified");
    assert_eq!(whole.faults, Vec::<String>::new());
    let listed = repository::list(&*node.elsewhere, "").await.expect("list");
    let mut damaged = 0;
    for meta in listed {
        let path = meta.location.to_string();
        // Whose the back-up is has tests of its own.
        if path.starts_with("claims/") {
            continue;
        }
        let whole =
            node.elsewhere.get(&meta.location).await.expect("get").bytes().await.expect("get");
        let mut changed = whole.to_vec();
        let middle = changed.len() / 2;
        changed[middle] ^= 1;
        let put =
            |octets: Bytes| node.elsewhere.put(&meta.location, PutPayload::from_bytes(octets));
        put(changed.into()).await.expect("put");
        if path.starts_with("backup/checkpoints") {
            let read = repository.manifest(name).await;
            assert!(matches!(read, Err(BackupError::Damaged { .. })), "{path}");
        } else {
            let verified = fetch::verify(&repository, &manifest, &|_| {}).await.expect("verified");
            assert_eq!(verified.faults.len(), 1, "{path}: {:?}", verified.faults);
            assert!(verified.faults[0].contains(&path), "{:?}", verified.faults);
            let folder = tempfile::tempdir().expect("a folder");
            match fetch_into(&repository, &manifest, folder.path()).await {
                // Everything but the pack comes back, and the pack is named.
                Ok(packs) => assert!(path.starts_with("packs/") && packs.faults[0].contains(&path)),
                Err(error) => assert!(error.to_string().contains(&path), "{error}"),
            }
        }
        put(whole).await.expect("put");
        damaged += 1;
    }
    assert!(damaged > 5, "pieces, packs and the manifest were damaged: {damaged}");
}

#[tokio::test(flavor = "multi_thread")]
async fn shipping_anew_mends_a_damaged_piece() {
    let node = Node::new().await;
    let mut shipper = node.shipper();
    node.append(1).await;
    let name = node.take(&mut shipper).await.name;
    let repository = node.repository();
    let (id, meta) = repository.list_pieces().await.expect("list").swap_remove(0);
    node.elsewhere.put(&meta.location, PutPayload::from_static(b"x")).await.expect("put");
    let repository = node.repository();
    repository.ship_anew();
    let work = node.folder.path().join("backup.work");
    let mut shipper = Shipper::new(repository, node.clock.clone(), work, false, "test".to_owned());
    let anew = node.take(&mut shipper).await.name;
    let repository = node.repository();
    let manifest = repository.manifest(anew).await.expect("a manifest");
    let verified = fetch::verify(&repository, &manifest, &|_| {}).await.expect("verified");
    assert_eq!(verified.faults, Vec::<String>::new(), "{id} of {name}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_restore_goes_on_and_mends_what_is_half_there() {
    let node = Node::new().await;
    let mut shipper = node.shipper();
    let sent = vec![node.append(1).await];
    let name = node.take(&mut shipper).await.name;
    let repository = node.repository();
    let manifest = repository.manifest(name).await.expect("a manifest");
    let folder = tempfile::tempdir().expect("a folder");
    let first = fetch_into(&repository, &manifest, folder.path()).await.expect("fetched");
    assert!(first.fetched > 0 && first.faults.is_empty(), "{first:?}");
    let file = folder.path().join("registry.sqlite");
    std::fs::write(&file, "titolarI").expect("written");
    let current = folder.path().join("catalog/CURRENT");
    std::fs::remove_file(&current).expect("removed");
    let again = fetch_into(&repository, &manifest, folder.path()).await.expect("fetched");
    assert_eq!(again.fetched, 0, "packs that are there are not fetched again");
    assert_eq!(std::fs::read_to_string(&file).expect("read"), "titolari");
    assert!(current.exists());
    let store = open(folder.path(), &node.clock).await;
    assert_eq!(all_messages(&store, ANNA).await, sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_removes_what_no_checkpoint_names_once_it_is_old() {
    let node = Node::new().await;
    let mut shipper = node.shipper();
    node.append(1).await;
    node.take(&mut shipper).await;
    node.clock.advance(5 * 60_000);
    let sent = vec![letter(1), node.append(2).await];
    let last = node.take(&mut shipper).await.name;
    let repository = node.repository();
    let nobodys = PackId([0x11; 16]);
    let octets = Bytes::from_static(b"nobody's");
    packs::replace(&*node.elsewhere, nobodys, &octets).await.expect("put");
    let rules = RetentionRules {
        keep_all_millis: 60_000,
        keep_hourly_millis: 0,
        keep_daily_millis: 0,
        unnamed_millis: 3_600_000,
    };
    // The objects are as young as the machine's clock says.
    let newest = repository::list(&*node.elsewhere, "").await.expect("list");
    let newest = newest.iter().map(repository::modified).max().expect("objects");
    let pieces = repository.list_pieces().await.expect("list").len();
    let young = sweep(&node.store, &repository, false, newest, &rules).await.expect("swept");
    assert_eq!((young.pieces, young.packs), (0, 0), "what is young stays: {young:?}");
    assert_eq!(repository.checkpoints().await.expect("list"), [last]);
    let old = newest.plus_millis(3_600_001);
    let swept = sweep(&node.store, &repository, false, old, &rules).await.expect("swept");
    assert!(swept.pieces >= 1 && swept.packs == 1, "{swept:?}");
    assert_eq!(
        repository.list_pieces().await.expect("list").len() as u64,
        pieces as u64 - swept.pieces
    );
    let (_folder, store) = restore(&repository, &node.clock).await;
    assert_eq!(all_messages(&store, ANNA).await, sent);
    is_sound(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_restored_elsewhere_can_spoil_nothing() {
    let node = Node::new().await;
    let mut shipper = node.shipper();
    node.take(&mut shipper).await;
    let repository = node.repository();
    let name = CheckpointName { epoch: 2, instant: UnixMillis(MORNING.0 - 1) };
    let manifest = Manifest {
        name,
        files: Vec::new(),
        packs: Vec::new(),
        packs_in_place: false,
        program: "the restored node".to_owned(),
        lineage: Lineage::default(),
    };
    repository.put_manifest(&manifest).await.expect("put");
    let error = shipper.take(&node.store, &node.companions).await.expect_err("superseded");
    assert!(superseded(&error, 1, 2), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn packs_in_place_are_pinned_while_a_checkpoint_names_them() {
    let node = Node::new().await;
    let work = node.folder.path().join("backup.work");
    let clock = node.clock.clone();
    let mut shipper = Shipper::new(node.repository(), clock, work, true, "test".to_owned());
    node.append(1).await;
    let first = node.take(&mut shipper).await;
    assert_eq!(first.copied.packs, 0);
    node.clock.advance(60 * 60_000);
    let second = node.take(&mut shipper).await;
    let pins = |entries: Vec<(Bytes, Bytes)>| -> Vec<i64> {
        let instant = |(key, _): &(Bytes, Bytes)| {
            i64::from_be_bytes(key.as_ref().try_into().expect("eight octets"))
        };
        entries.iter().map(instant).collect()
    };
    let scan = Scan::prefix(BACKUP_CHECKPOINTS, b"", 9);
    let found = pins(node.store.engine().scan(&scan).await.expect("scan"));
    assert_eq!(found.len(), 2);
    assert!(found[0] < first.name.instant.0 && found[1] < second.name.instant.0, "{found:?}");
    // The first one's time is over.
    let rules = RetentionRules {
        keep_all_millis: 60_000,
        keep_hourly_millis: 0,
        keep_daily_millis: 0,
        unnamed_millis: 0,
    };
    let now = second.name.instant;
    sweep(&node.store, &node.repository(), true, now, &rules).await.expect("swept");
    node.clock.advance(60_000);
    node.take(&mut shipper).await;
    let later = pins(node.store.engine().scan(&scan).await.expect("scan"));
    assert_eq!((later.len(), later[0]), (2, found[1]));
}

#[tokio::test]
async fn the_pace_bounds_octets_a_second() {
    let begin = std::time::Instant::now();
    let pace = Pace::new(Some(1_000_000));
    for _ in 0..5 {
        pace.take(50_000).await;
    }
    assert!(begin.elapsed() >= std::time::Duration::from_millis(200), "{:?}", begin.elapsed());
    Pace::new(None).take(u64::MAX).await;
    let progress = FetchProgress::default();
    assert_eq!(progress.octets, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_outlives_every_checkpoint_that_names_it_and_not_the_last_of_them() {
    const QUARTER: i64 = 15 * 60_000;
    let node = Node::new().await;
    let objects = Arc::clone(node.store.octets().packs.objects());
    let random: Arc<dyn RandomSource> = Arc::new(trust::random::SystemRandom);
    let key = DataKey::draw(&SeededRandom::new(7));
    let repository = Arc::new(Repository::new(Arc::clone(&objects), key, random, Pace::new(None)));
    let work = node.folder.path().join("backup.work");
    let (shared, clock) = (Arc::clone(&repository), node.clock.clone());
    let mut shipper = Shipper::new(shared, clock, work, true, "test".to_owned());
    node.append(1).await;
    let first = node.take(&mut shipper).await;
    assert!(first.packs > 0);
    let manifest = repository.manifest(first.name).await.expect("a manifest");

    let account = node.account().await;
    let inbox = account.mailbox_by_name("INBOX").await.expect("INBOX");
    let uid = crate::ids::Uid::new(1).expect("not zero");
    let deleted = crate::mailbox::flags::Flags { deleted: true, ..Default::default() };
    let change = crate::mailbox::flags::FlagChange::Add;
    inbox.store_flags(&[uid], change, &deleted, None).await.expect("flags");
    assert_eq!(inbox.expunge(&[uid]).await.expect("expunge"), [uid]);
    let options =
        crate::collector::CollectOptions { grace: std::time::Duration::ZERO, ..Default::default() };
    let collect = async || {
        for _ in 0..4 {
            node.clock.advance(QUARTER);
            node.store.collect(&options, &|_| {}).await.expect("collect");
        }
    };
    collect().await;
    let named = packs::named(&**node.store.engine(), &*objects, UnixMillis(i64::MAX)).await;
    let named = named.expect("packs");
    assert!(manifest.packs.iter().all(|copy| !named.contains_key(&copy.pack)), "all are doomed");
    let verified = fetch::verify(&repository, &manifest, &|_| {}).await.expect("verified");
    assert_eq!(verified.faults, Vec::<String>::new(), "and still there for the checkpoint");

    let rules = RetentionRules {
        keep_all_millis: 60_000,
        keep_hourly_millis: 0,
        keep_daily_millis: 0,
        unnamed_millis: i64::MAX,
    };
    node.take(&mut shipper).await;
    let now = node.clock.now();
    sweep(&node.store, &repository, true, now, &rules).await.expect("swept");
    node.clock.advance(QUARTER);
    node.take(&mut shipper).await;
    collect().await;
    let there = packs::list_packs(&*objects).await.expect("list");
    assert!(there.is_empty(), "no checkpoint names them any more: {there:?}");
    is_sound(&node.store).await;
}
