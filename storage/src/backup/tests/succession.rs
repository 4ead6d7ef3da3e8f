//! More than one node grows from one back-up: each gets numbers of its own, and only the last one may
//! change anything.

use super::*;
use crate::{
    catalog::{
        commit::NUMBERED_SEQUENCES,
        engine::Reader as _,
        records::{self, HeadRecord},
        simulated::SimulatedEngine,
    },
    collector::CollectOptions,
    pack::index::DOOMED_PACKS,
    tests::meanwhile::Meanwhile,
};

/// A node whose packs and back-up lie in one object store, as in a bucket.
struct InPlace {
    node: Node,
    objects: Arc<dyn ObjectStore>,
}

impl InPlace {
    async fn new() -> Self {
        let mut node = Node::new().await;
        node.store.close().await.expect("close");
        let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        node.elsewhere = Arc::clone(&objects);
        node.folder = tempfile::tempdir().expect("a folder");
        node.store = open_on(node.folder.path(), Arc::clone(&objects), &node.clock).await;
        let settings = settings("anna@pec.example", None);
        node.store.apply_account(ANNA, 1, settings).await.expect("account");
        Self { node, objects }
    }

    fn shipper(&self) -> Shipper {
        let work = self.node.folder.path().join("backup.work");
        let (repository, clock) = (self.node.repository(), self.node.clock.clone());
        Shipper::new(repository, clock, work, true, "test".to_owned())
    }

    async fn restored(&self, name: CheckpointName) -> (tempfile::TempDir, Arc<Store>) {
        let folder = restore_folder(&self.node.repository(), name).await;
        let store = open_on(folder.path(), Arc::clone(&self.objects), &self.node.clock).await;
        (folder, store)
    }
}

/// One run that deletes what it may.
pub(super) async fn collect(store: &Store, clock: &ManualClock) -> Result<(), StoreError> {
    let options = CollectOptions { grace: std::time::Duration::ZERO, ..Default::default() };
    for _ in 0..4 {
        clock.advance(15 * 60_000);
        store.collect(&options, &|_| {}).await?;
    }
    Ok(())
}

pub(super) async fn erase_first(store: &Store) {
    let account = store.account(ANNA).await.expect("the account");
    let inbox = account.mailbox_by_name("INBOX").await.expect("INBOX");
    let uid = crate::ids::Uid::new(1).expect("not zero");
    let deleted = crate::mailbox::flags::Flags { deleted: true, ..Default::default() };
    let change = crate::mailbox::flags::FlagChange::Add;
    inbox.store_flags(&[uid], change, &deleted, None).await.expect("flags");
    assert_eq!(inbox.expunge(&[uid]).await.expect("expunge"), [uid]);
}

async fn packs_of(objects: &Arc<dyn ObjectStore>) -> Vec<PackId> {
    let listed = packs::list_packs(&**objects).await.expect("list");
    let mut packs: Vec<PackId> = listed.into_iter().map(|(pack, _)| pack).collect();
    packs.sort();
    packs
}

#[tokio::test(flavor = "multi_thread")]
async fn two_restores_of_one_checkpoint_never_give_out_the_same_number() {
    let node = Node::new().await;
    node.append(1).await;
    node.journal("a").await;
    let mut shipper = node.shipper();
    node.take(&mut shipper).await;
    let repository = node.repository();
    let (_one, first) = restore(&repository, &node.clock).await;
    let (_other, second) = restore(&repository, &node.clock).await;
    assert_eq!((first.epoch().await.unwrap(), second.epoch().await.unwrap()), (2, 3));
    let uids = (append(&first, &letter(2)).await, append(&second, &letter(2)).await);
    assert_eq!(u64::from(uids.1 - uids.0), NUMBERS_RAISED_BY, "{uids:?}");
    let journals = (journal(&first, "b").await, journal(&second, "b").await);
    assert_eq!(journals.1 - journals.0, SEQUENCES_RAISED_BY, "{journals:?}");
    let state = async |store: &Store| {
        let account = store.account(ANNA).await.expect("the account");
        let inbox = account.mailbox_by_name("INBOX").await.expect("INBOX");
        inbox.state().await.expect("state").highest_mod_seq.0
    };
    assert!(state(&second).await >= state(&first).await + SEQUENCES_RAISED_BY - 2);

    // A restore of what a restored node ships raises by what lies between their epochs.
    let work = node.folder.path().join("backup.work");
    let clock = node.clock.clone();
    let mut shipper = Shipper::new(node.repository(), clock, work, false, "test".to_owned());
    shipper.take(&second, &node.companions).await.expect("the last one ships");
    let (_third, third) = restore(&repository, &node.clock).await;
    assert_eq!(third.epoch().await.unwrap(), 4);
    let uid = append(&third, &letter(3)).await;
    assert_eq!(u64::from(uid - uids.1), NUMBERS_RAISED_BY + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_restored_nodes_only_the_last_one_ships_and_removes() {
    let node = Node::new().await;
    node.append(1).await;
    let mut shipper = node.shipper();
    node.take(&mut shipper).await;
    let repository = node.repository();
    let (folder, first) = restore(&repository, &node.clock).await;
    let (_other, second) = restore(&repository, &node.clock).await;
    let error = shipper.take(&node.store, &node.companions).await.expect_err("the lost node");
    assert!(superseded(&error, 1, 3), "{error}");
    let work = folder.path().join("backup.work");
    let mut shipper =
        Shipper::new(node.repository(), node.clock.clone(), work, false, "test".to_owned());
    let error = shipper.take(&first, &node.companions).await.expect_err("the first restore");
    assert!(superseded(&error, 2, 3), "{error}");
    let keep_nothing = RetentionRules {
        keep_all_millis: 0,
        keep_hourly_millis: 0,
        keep_daily_millis: 0,
        unnamed_millis: 0,
    };
    let before = repository::list(&*node.elsewhere, "").await.expect("list");
    let later = node.clock.now().plus_millis(1 << 40);
    for store in [&node.store, &first] {
        let error =
            sweep(store, &repository, false, later, &keep_nothing).await.expect_err("superseded");
        assert!(matches!(error, BackupError::Store(StoreError::Superseded { .. })), "{error}");
    }
    assert_eq!(repository::list(&*node.elsewhere, "").await.expect("list").len(), before.len());
    sweep(&second, &repository, false, later, &keep_nothing).await.expect("the node of the store");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_on_one_bucket_delete_nothing_of_each_other() {
    let bucket = InPlace::new().await;
    let old = &bucket.node;
    let mut shipper = bucket.shipper();
    old.append(1).await;
    let name = old.take(&mut shipper).await.name;
    let (_folder, new) = bucket.restored(name).await;
    append(&new, &letter(2)).await;
    let before = packs_of(&bucket.objects).await;
    // For the old node the packs of the new one belong to nobody, its own are dead, and nothing
    // pins them.
    erase_first(&old.store).await;
    let mut batch = Batch::default();
    batch.delete(BACKUP_CHECKPOINTS, run::pin_key(name));
    old.store.engine().commit(batch).await.expect("commit");
    let outcome = collect(&old.store, &old.clock).await;
    assert!(matches!(outcome, Err(StoreError::Superseded { ours: 1, found: 2 })), "{outcome:?}");
    assert_eq!(packs_of(&bucket.objects).await, before);
    assert_eq!(all_messages(&new, ANNA).await, [letter(1), letter(2)]);
    is_sound(&new).await;
    collect(&new, &old.clock).await.expect("the new node collects");
    assert_eq!(all_messages(&new, ANNA).await, [letter(1), letter(2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn packs_that_only_another_checkpoint_names_outlive_a_restore() {
    let bucket = InPlace::new().await;
    let old = &bucket.node;
    let mut shipper = bucket.shipper();
    old.append(1).await;
    let early = old.take(&mut shipper).await.name;
    old.clock.advance(60 * 60_000);
    old.append(2).await;
    let late = old.take(&mut shipper).await.name;
    old.store.close().await.expect("close");
    // The earlier state comes back, and knows nothing of the pack that came later.
    let (_folder, store) = bucket.restored(early).await;
    assert_eq!(all_messages(&store, ANNA).await, [letter(1)]);
    collect(&store, &old.clock).await.expect("collected");
    let repository = old.repository();
    let manifest = repository.manifest(late).await.expect("a manifest");
    let verified = fetch::verify(&repository, &manifest, &|_| {}).await.expect("verified");
    assert_eq!(verified.faults, Vec::<String>::new(), "the later checkpoint can still be restored");
    let (_folder, store) = bucket.restored(late).await;
    assert_eq!(all_messages(&store, ANNA).await, [letter(1), letter(2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_takes_nothing_over_and_changes_nothing_outside() {
    let bucket = InPlace::new().await;
    let node = &bucket.node;
    let mut shipper = bucket.shipper();
    node.append(1).await;
    let name = node.take(&mut shipper).await.name;
    let repository = node.repository();
    let manifest = repository.manifest(name).await.expect("a manifest");
    let folder = tempfile::tempdir().expect("a folder");
    let mut progress = fetch::beginning(&manifest);
    let place = |name: &str| Some(name.into());
    fetch::fetch_files(&repository, &manifest, folder.path(), place, &mut progress, &|_| {})
        .await
        .expect("fetched");
    let packs = fetch::look_at_packs(&repository, &manifest).await.expect("looked");
    assert_eq!(packs.faults, Vec::<String>::new());
    let (catalog, families) = (folder.path().join("catalog"), Store::families(&[JOURNAL]));
    let engine = RocksEngine::open(&catalog, &families, &RocksConfig::default()).await;
    let engine = engine.expect("the restored catalog opens");
    let applied = rules::apply(&*engine, &Succession::Rehearsal).await.expect("the rules");
    assert_eq!(applied.epoch, 2);
    engine.close().await.expect("close");
    drop(engine);
    let objects = repository::list(&*bucket.objects, "").await.expect("list").len();
    let store = open_on(folder.path(), Arc::clone(&bucket.objects), &node.clock).await;
    assert_eq!(all_messages(&store, ANNA).await, [letter(1)]);
    is_sound(&store).await;
    let outcome = collect(&store, &node.clock).await;
    assert!(matches!(outcome, Err(StoreError::Rehearsal)), "{outcome:?}");
    let refused = store.confirm_own_objects().await;
    assert!(matches!(refused, Err(StoreError::Rehearsal)), "{refused:?}");
    let listed = repository::list(&*bucket.objects, "").await.expect("list").len();
    assert_eq!(listed, objects, "nothing was written or removed");
    node.take(&mut shipper).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_replaced_by_mistake_takes_the_store_back_and_repeats_no_number() {
    let node = Node::new().await;
    node.append(1).await;
    let mut shipper = node.shipper();
    node.take(&mut shipper).await;
    let (_folder, restored) = restore(&node.repository(), &node.clock).await;
    let given = append(&restored, &letter(2)).await;
    node.append(3).await;
    let error = shipper.take(&node.store, &node.companions).await.expect_err("superseded");
    assert!(superseded(&error, 1, 2), "{error}");

    let claimed = node.store.claim_again(&[&*node.elsewhere], 1).await.expect("claimed");
    let unfinished = node.store.confirm_claim(&*node.elsewhere).await;
    assert!(unfinished.is_err(), "the numbers are not raised yet");
    let applied = node.store.take_over(claimed, Vec::new()).await.expect("taken over");
    assert_eq!(applied.epoch, 3);
    assert_eq!(all_messages(&node.store, ANNA).await, [letter(1), letter(3)]);
    assert!(append(&node.store, &letter(4)).await > given + 1);
    is_sound(&node.store).await;
    let taken = node.take(&mut shipper).await;
    assert_eq!(taken.name.epoch, 3);
    let refused = restored.confirm_claim(&*node.elsewhere).await;
    assert!(matches!(refused, Err(StoreError::Superseded { ours: 2, found: 3 })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_take_over_that_was_cut_short_raises_no_number_twice() {
    let node = Node::new().await;
    let mut engine = CutShort { engine: Arc::clone(node.store.engine()), commits: 1 };
    let uid = async || {
        let account = node.account().await;
        let inbox = account.mailbox_by_name("INBOX").await.expect("INBOX");
        u64::from(inbox.state().await.expect("state").uid_next.expect("a UID").get())
    };
    let next_numbers = async || {
        let key = keys::account(ANNA);
        let head = node.store.engine().get(keys::ACCOUNT_HEADS, &key).await.expect("read");
        let head = head.expect("a head");
        let head: HeadRecord = records::decode(keys::ACCOUNT_HEADS, &key, &head).expect("a head");
        (head.next_mailbox_id, head.next_snapshot)
    };
    let (before, (mailbox_before, snapshot_before)) = (uid().await, next_numbers().await);
    let succession =
        |epoch| Succession::Node { epoch, token: ClaimToken([7; 16]), pinned: Vec::new() };
    // Heads are raised, mailboxes are, the journal's numbers are not.
    node.journal("a").await;
    for commits in 1..4 {
        engine.commits = commits;
        let outcome = rules::apply(&engine, &succession(2)).await;
        assert!(matches!(outcome, Err(StoreError::Closed)), "{outcome:?}");
    }
    // Meanwhile another epoch was claimed.
    let applied = rules::apply(&**node.store.engine(), &succession(4)).await.expect("applied");
    assert_eq!(applied.epoch, 4);
    assert_eq!(uid().await, before + 3 * NUMBERS_RAISED_BY);
    let raised = 3 * NUMBERS_RAISED_BY;
    assert_eq!(next_numbers().await, (mailbox_before + raised, snapshot_before + raised));
    assert_eq!(node.journal("b").await, 2 + 3 * SEQUENCES_RAISED_BY);
    let again = rules::apply(&**node.store.engine(), &succession(4)).await.expect("nothing to do");
    assert_eq!((again.epoch, again.accounts), (4, 0));
    assert_eq!(uid().await, before + 3 * NUMBERS_RAISED_BY);
}

/// An engine that ends after some commits, as a process does that is killed.
struct CutShort {
    engine: Arc<dyn Engine>,
    commits: usize,
}

#[async_trait::async_trait]
impl crate::catalog::engine::Reader for CutShort {
    async fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.engine.get(family, key).await
    }

    async fn multi_get(&self, keys: &[(Family, Bytes)]) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.engine.multi_get(keys).await
    }

    async fn page(
        &self,
        scan: &Scan,
        octets_max: usize,
    ) -> Result<crate::catalog::engine::Page, StoreError> {
        self.engine.page(scan, octets_max).await
    }
}

#[async_trait::async_trait]
impl Engine for CutShort {
    async fn snapshot(&self) -> Result<Arc<dyn crate::catalog::engine::Reader>, StoreError> {
        self.engine.snapshot().await
    }

    async fn commit(&self, batch: Batch) -> Result<Vec<u64>, StoreError> {
        let epoch = epoch::read(&*self.engine).await?;
        let done = self.engine.get(epoch::STORE_IDENTITY, b"commits").await?;
        let done = done.map_or(0, |octets| octets.len());
        if done >= self.commits {
            return Err(StoreError::Closed);
        }
        let mut batch = batch;
        batch.put(epoch::STORE_IDENTITY, b"commits".as_slice(), vec![0; done + 1]);
        assert_eq!(epoch, 1, "it ends before the identity is written");
        self.engine.commit(batch).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.engine.close().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn packs_that_the_other_node_took_come_back_from_their_copies() {
    let node = Node::new().await;
    for number in 1..3 {
        node.append(number).await;
    }
    node.take(&mut node.shipper()).await;
    let objects = Arc::clone(node.store.octets().packs.objects());
    let packs = packs_of(&objects).await;
    for pack in &packs {
        objects.delete(&object_store::path::Path::from(pack.path())).await.expect("taken");
    }
    let looked = node.store.mend_packs(None).await.expect("looked");
    assert_eq!((looked.mended, looked.lost.len()), (0, packs.len()));
    let mended = node.store.mend_packs(Some(&*node.elsewhere)).await.expect("mended");
    assert_eq!((mended.mended, mended.lost), (packs.len() as u64, Vec::new()));
    assert_eq!(packs_of(&objects).await, packs);
    is_sound(&node.store).await;
}

/// What another node needs for its claim.
async fn another_of(store: &Store) -> Claimant {
    let lineage = Lineage::of(&**store.engine()).await.expect("a lineage");
    Claimant { token: ClaimToken([7; 16]), lineage }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_superseded_node_sends_nothing_to_the_back_up() {
    let node = Node::new().await;
    node.append(1).await;
    let mut shipper = node.shipper();
    node.take(&mut shipper).await;
    claim_next(&[&*node.elsewhere], another_of(&node.store).await, 2).await.expect("claimed");
    node.append(2).await;
    let before = repository::list(&*node.elsewhere, "").await.expect("list");
    let error = shipper.take(&node.store, &node.companions).await.expect_err("superseded");
    assert!(superseded(&error, 1, 2), "{error}");
    assert_eq!(repository::list(&*node.elsewhere, "").await.expect("list"), before);
}

/// Companions that take so long to prepare that another node claims the back-up meanwhile.
struct Restored(Arc<dyn ObjectStore>, Claimant);

#[async_trait::async_trait]
impl Companions for Restored {
    async fn prepare(
        &self,
        _: &Path,
    ) -> Result<Vec<Companion>, Box<dyn std::error::Error + Send + Sync>> {
        claim_next(&[&*self.0], self.1, 2).await?;
        Ok(Vec::new())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_superseded_while_it_ships_completes_no_checkpoint() {
    let node = Node::new().await;
    let mut shipper = node.shipper();
    let name = node.take(&mut shipper).await.name;
    let restored = Restored(Arc::clone(&node.elsewhere), another_of(&node.store).await);
    let error = shipper.take(&node.store, &restored).await.expect_err("superseded");
    assert!(superseded(&error, 1, 2), "{error}");
    assert_eq!(node.repository().checkpoints().await.expect("list"), [name]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_superseded_while_it_collects_deletes_no_pack() {
    let mut bucket = InPlace::new().await;
    let node = &mut bucket.node;
    node.store.close().await.expect("close");
    let objects = Arc::new(Meanwhile::new(Arc::clone(&bucket.objects)));
    node.store = open_on(node.folder.path(), objects.clone(), &node.clock).await;
    node.append(1).await;
    erase_first(&node.store).await;
    let before = packs_of(&bucket.objects).await;
    assert!(!before.is_empty());
    let (another, there) = (another_of(&node.store).await, Arc::clone(&bucket.objects));
    // The run has confirmed its claim, and lists the packs.
    objects.before("list", "packs", async move {
        claim_next(&[&*there], another, 2).await.expect("claimed");
    });
    let outcome = collect(&node.store, &node.clock).await;
    assert!(matches!(outcome, Err(StoreError::Superseded { ours: 1, found: 2 })), "{outcome:?}");
    let after = packs_of(&bucket.objects).await;
    assert!(before.iter().all(|pack| after.contains(pack)), "{before:?}, then {after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_that_is_superseded_on_its_way_stops_within_fifty_objects() {
    const NOBODYS: u8 = 120;
    let mut node = Node::new().await;
    let (memory, octets) = (Arc::clone(&node.elsewhere), Bytes::from_static(b"nobody's"));
    let objects = Arc::new(Meanwhile::new(Arc::clone(&memory)));
    node.elsewhere = objects.clone();
    node.take(&mut node.shipper()).await;
    for number in 0..NOBODYS {
        packs::replace(&*memory, PackId([number; 16]), &octets).await.expect("put");
    }
    let (another, there) = (another_of(&node.store).await, Arc::clone(&memory));
    objects.before("delete", "packs", async move {
        claim_next(&[&*there], another, 2).await.expect("claimed");
    });
    let rules = RetentionRules {
        keep_all_millis: i64::MAX,
        keep_hourly_millis: 0,
        keep_daily_millis: 0,
        unnamed_millis: 0,
    };
    let later = UnixMillis(trust::clock::SystemClock.now().0.max(node.clock.now().0) + 60_000);
    let swept = sweep(&node.store, &node.repository(), false, later, &rules).await;
    let error = swept.expect_err("superseded");
    assert!(superseded(&error, 1, 2), "{error}");
    assert_eq!(packs_of(&memory).await.len(), usize::from(NOBODYS) - 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_of_the_collector_claims_nothing() {
    let bucket = InPlace::new().await;
    bucket.node.append(1).await;
    let before = repository::list(&*bucket.objects, "claims").await.expect("list");
    let options = CollectOptions { dry_run: true, ..Default::default() };
    bucket.node.store.collect(&options, &|_| {}).await.expect("collected");
    assert_eq!(repository::list(&*bucket.objects, "claims").await.expect("list"), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_takes_the_store_back_above_the_newest_checkpoint_too() {
    let node = Node::new().await;
    let (epoch, _) = node.store.claim_again(&[&*node.elsewhere], 6).await.expect("claimed");
    assert_eq!(epoch, 7);
}

#[tokio::test]
async fn a_sequence_that_is_no_number_ends_the_raising_and_is_named() {
    let engine = SimulatedEngine::new(&Store::families(&[JOURNAL]));
    for octets in [vec![1; 7], vec![1; 9], Vec::new()] {
        let mut batch = Batch::default();
        batch.put(NUMBERED_SEQUENCES, "journal", octets);
        engine.commit(batch).await.expect("commit");
        let succession =
            Succession::Node { epoch: 2, token: ClaimToken([7; 16]), pinned: Vec::new() };
        let outcome = rules::apply(&*engine, &succession).await;
        let Err(StoreError::Damaged { object, .. }) = outcome else { panic!("{outcome:?}") };
        assert!(object.starts_with("numbered_sequences/"), "{object}");
    }
}

#[tokio::test]
async fn a_restored_catalog_has_the_pins_it_is_given_alone_and_its_doomed_packs_have_no_instant() {
    let engine = SimulatedEngine::new(&Store::families(&[JOURNAL]));
    let name = |epoch, instant| CheckpointName { epoch, instant: UnixMillis(instant) };
    let (own, early, late) = (name(1, MORNING.0), name(1, MORNING.0 - 9), name(1, MORNING.0 + 9));
    let (pack, instant) = (PackId([5; 16]), MORNING.0.to_be_bytes());
    let mut batch = Batch::default();
    batch.put(BACKUP_CHECKPOINTS, run::pin_key(own), run::pin_value(own));
    batch.put(DOOMED_PACKS, [instant.as_slice(), &pack.0].concat(), "row");
    engine.commit(batch).await.expect("commit");
    let (token, pinned) = (ClaimToken([7; 16]), vec![early, late]);
    rules::apply(&*engine, &Succession::Node { epoch: 2, token, pinned }).await.expect("applied");
    let pins = engine.scan(&Scan::prefix(BACKUP_CHECKPOINTS, b"", 9)).await.expect("scan");
    let expected = [early, late].map(|name| (run::pin_key(name), run::pin_value(name)));
    assert_eq!(pins, expected);
    let doomed = engine.scan(&Scan::prefix(DOOMED_PACKS, b"", 9)).await.expect("scan");
    let undated = [&[0xff; 8], pack.0.as_slice()].concat();
    assert_eq!(doomed, [(undated.into(), Bytes::from_static(b"row"))]);
}
