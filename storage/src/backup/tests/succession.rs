//! More than one node grows from one back-up: each gets numbers of its own, and only the last one may
//! change anything.

use super::*;
use crate::collector::CollectOptions;

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
async fn collect(store: &Store, clock: &ManualClock) -> Result<(), StoreError> {
    let options = CollectOptions { grace: std::time::Duration::ZERO, ..Default::default() };
    for _ in 0..4 {
        clock.advance(15 * 60_000);
        store.collect(&options, &|_| {}).await?;
    }
    Ok(())
}

async fn erase_first(store: &Store) {
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
    let before = uid().await;
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
