//! Packs that rot or vanish, in the store and in the back-up: a sound copy outlives both, and what is
//! lost costs no more than itself.

use super::*;

async fn first_pack(node: &Node) -> (PackId, Bytes) {
    let objects = node.store.octets().packs.objects();
    let (pack, _) = packs::list_packs(&**objects).await.expect("list").swap_remove(0);
    (pack, whole(&**objects, pack).await)
}

async fn whole(objects: &dyn ObjectStore, pack: PackId) -> Bytes {
    packs::read_whole(objects, pack).await.expect("read").expect("the pack")
}

/// The pack with one octet of a chunk changed: layout and index stay right.
fn rotten(octets: &Bytes) -> Bytes {
    let mut octets = octets.to_vec();
    let middle = octets.len() / 2;
    octets[middle] ^= 1;
    octets.into()
}

/// Takes a checkpoint for which every object is looked at anew.
async fn take_in_full(node: &Node) -> (Taken, Manifest) {
    let repository = node.repository();
    repository.ship_anew();
    let work = node.folder.path().join("backup.work");
    let mut shipper = Shipper::new(repository, node.clock.clone(), work, false, "test".to_owned());
    let taken = node.take(&mut shipper).await;
    let manifest = node.repository().manifest(taken.name).await.expect("a manifest");
    (taken, manifest)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_rotted_in_the_store_never_replaces_a_sound_copy() {
    let node = Node::new().await;
    node.append(1).await;
    node.take(&mut node.shipper()).await;
    let (pack, sound) = first_pack(&node).await;
    let objects = Arc::clone(node.store.octets().packs.objects());
    packs::replace(&*objects, pack, &rotten(&sound)).await.expect("rots");
    let (taken, manifest) = take_in_full(&node).await;
    assert_eq!(whole(&*node.elsewhere, pack).await, sound);
    assert_eq!((taken.copied.damaged, taken.copied.lost), (0, 0), "the copy is sound: {taken:?}");
    assert!(manifest.packs.iter().all(|copy| copy.fault.is_none()));

    objects.delete(&object_store::path::Path::from(pack.path())).await.expect("vanishes");
    let (taken, manifest) = take_in_full(&node).await;
    assert_eq!((taken.copied.damaged, taken.copied.lost), (0, 0), "the copy is there: {taken:?}");
    let copy = manifest.packs.iter().find(|copy| copy.pack == pack).expect("named");
    assert_eq!((copy.octets, copy.fault), (sound.len() as u64, None));
    let (_folder, store) = restore(&node.repository(), &node.clock).await;
    assert_eq!(all_messages(&store, ANNA).await, [letter(1)]);
    is_sound(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_has_rotted_is_made_again_from_the_sound_pack() {
    let node = Node::new().await;
    node.append(1).await;
    node.take(&mut node.shipper()).await;
    let (pack, sound) = first_pack(&node).await;
    packs::replace(&*node.elsewhere, pack, &rotten(&sound)).await.expect("rots");
    let (taken, _) = take_in_full(&node).await;
    assert_eq!(taken.copied.packs, 1, "{taken:?}");
    assert_eq!(whole(&*node.elsewhere, pack).await, sound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_and_a_lost_pack_stay_in_the_manifest_with_their_fault() {
    let node = Node::new().await;
    for number in 1..4 {
        node.append(number).await;
    }
    let objects = Arc::clone(node.store.octets().packs.objects());
    let mut listed = packs::list_packs(&*objects).await.expect("list");
    let (damaged, lost) = (listed.remove(0).0, listed.remove(0).0);
    let octets = whole(&*objects, damaged).await;
    packs::replace(&*objects, damaged, &rotten(&octets)).await.expect("rots");
    let lost_octets = whole(&*objects, lost).await;
    objects.delete(&object_store::path::Path::from(lost.path())).await.expect("vanishes");

    let mut shipper = node.shipper();
    for _ in 0..2 {
        let taken = node.take(&mut shipper).await;
        assert_eq!((taken.copied.damaged, taken.copied.lost), (1, 1), "{taken:?}");
        let manifest = node.repository().manifest(taken.name).await.expect("a manifest");
        let fault = |pack| manifest.packs.iter().find(|copy| copy.pack == pack).unwrap().fault;
        assert_eq!(fault(damaged), Some(PackFault::Damaged));
        assert_eq!(fault(lost), Some(PackFault::Lost));
        let verified = fetch::verify(&node.repository(), &manifest, &|_| {}).await.expect("read");
        assert_eq!(verified.faults.len(), 2, "{:?}", verified.faults);
    }
    // What comes back is copied with the next increment.
    packs::replace(&*objects, lost, &lost_octets).await.expect("found again");
    let taken = node.take(&mut shipper).await;
    assert_eq!((taken.copied.packs, taken.copied.damaged, taken.copied.lost), (1, 1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_brings_back_all_but_the_packs_that_are_gone_and_names_these() {
    let node = Node::new().await;
    for number in 1..4 {
        node.append(number).await;
    }
    let name = node.take(&mut node.shipper()).await.name;
    let listed = packs::list_packs(&*node.elsewhere).await.expect("list");
    let (gone, changed) = (listed[0].0, listed[1].0);
    let octets = whole(&*node.elsewhere, changed).await;
    packs::replace(&*node.elsewhere, changed, &rotten(&octets)).await.expect("rots");
    node.elsewhere.delete(&object_store::path::Path::from(gone.path())).await.expect("vanishes");

    let repository = node.repository();
    let manifest = repository.manifest(name).await.expect("a manifest");
    let folder = tempfile::tempdir().expect("a folder");
    let packs = fetch_into(&repository, &manifest, folder.path()).await.expect("fetched");
    assert_eq!(packs.faults.len(), 2, "{:?}", packs.faults);
    for pack in [gone, changed] {
        assert!(packs.faults.iter().any(|fault| fault.contains(&pack.path())), "{packs:?}");
    }
    let store = open(folder.path(), &node.clock).await;
    let account = store.account(ANNA).await.expect("the account");
    let mut readable = 0;
    for number in 1..4 {
        let stored = account.stored(crate::ids::EmailNumber(number)).await.expect("a row");
        match store.octets().verify_message(&stored).await {
            Ok(()) => readable += 1,
            Err(StoreError::Damaged { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert!(readable >= 1, "the others can be read");
    // The next try finds what is right and takes what was mended.
    packs::replace(&*node.elsewhere, changed, &octets).await.expect("mended");
    let packs = fetch_into(&repository, &manifest, folder.path()).await.expect("fetched");
    assert_eq!((packs.fetched, packs.faults.len()), (1, 1), "{packs:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_in_the_destination_is_believed_by_its_octets_and_not_by_its_length() {
    let node = Node::new().await;
    node.append(1).await;
    let name = node.take(&mut node.shipper()).await.name;
    let repository = node.repository();
    let manifest = repository.manifest(name).await.expect("a manifest");
    let folder = tempfile::tempdir().expect("a folder");
    fetch_into(&repository, &manifest, folder.path()).await.expect("fetched");
    let objects = local_objects(&folder.path().join("objects")).expect("objects");
    let (pack, sound) = first_pack(&node).await;
    packs::replace(&*objects, pack, &rotten(&sound)).await.expect("rots");
    let again = fetch_into(&repository, &manifest, folder.path()).await.expect("fetched");
    assert_eq!((again.fetched, again.faults.len()), (1, 0), "{again:?}");
    assert_eq!(whole(&*objects, pack).await, sound);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_larger_than_it_can_be_is_not_read_into_memory() {
    let node = Node::new().await;
    node.append(1).await;
    let name = node.take(&mut node.shipper()).await.name;
    let repository = node.repository();
    let manifest = repository.manifest(name).await.expect("a manifest");
    let file = &manifest.files.iter().find(|file| file.octets > 0).expect("a file");
    let (_, meta) = repository
        .list_pieces()
        .await
        .expect("list")
        .into_iter()
        .find(|(id, _)| *id == file.pieces[0].id)
        .expect("its piece");
    let large = vec![0; repository::PIECE_OCTETS_MAX + (1 << 20)];
    node.elsewhere.put(&meta.location, PutPayload::from(large)).await.expect("put");
    let verified = fetch::verify(&repository, &manifest, &|_| {}).await.expect("verified");
    assert!(verified.faults[0].contains("are the most"), "{:?}", verified.faults);
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_of_an_older_data_key_stay_their_time_and_hold_the_sweep_up_no_longer() {
    let node = Node::new().await;
    node.append(1).await;
    let random: Arc<dyn RandomSource> = Arc::new(trust::random::SystemRandom);
    let old_key = DataKey::draw(&SeededRandom::new(99));
    let old = Repository::new(Arc::clone(&node.elsewhere), old_key, random, Pace::new(None));
    let work = node.folder.path().join("backup.work");
    let mut shipper =
        Shipper::new(Arc::new(old), node.clock.clone(), work, false, "test".to_owned());
    let before = node.take(&mut shipper).await.name;
    node.clock.advance(5 * 60_000);
    let after = node.take(&mut node.shipper()).await.name;
    let rules = |keep_all_millis| RetentionRules {
        keep_all_millis,
        keep_hourly_millis: 0,
        keep_daily_millis: 0,
        unnamed_millis: 0,
    };
    let repository = node.repository();
    let later = UnixMillis(trust::clock::SystemClock.now().0.max(node.clock.now().0) + 60_000);
    let swept = sweep(&node.store, &repository, false, later, &rules(i64::MAX)).await.unwrap();
    assert_eq!((swept.kept, swept.unreadable, swept.pieces), (2, 1, 0), "{swept:?}");
    let swept = sweep(&node.store, &repository, false, later, &rules(0)).await.unwrap();
    assert_eq!((swept.kept, swept.unreadable, swept.checkpoints), (1, 0, 1), "{swept:?}");
    assert!(swept.pieces > 0, "the pieces of {before} go, those of {after} stay: {swept:?}");
    let manifest = repository.manifest(after).await.expect("a manifest");
    let verified = fetch::verify(&repository, &manifest, &|_| {}).await.expect("verified");
    assert_eq!(verified.faults, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_copy_is_not_written_again_when_everything_is_looked_at_anew() {
    let node = Node::new().await;
    node.append(1).await;
    node.take(&mut node.shipper()).await;
    let before = packs::list_packs(&*node.elsewhere).await.expect("list");
    let (taken, _) = take_in_full(&node).await;
    assert_eq!((taken.copied.packs, taken.copied.octets), (0, 0), "{taken:?}");
    assert_eq!(packs::list_packs(&*node.elsewhere).await.expect("list"), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_copy_stays_as_it_is_and_is_marked_when_the_pack_is_damaged_too() {
    let node = Node::new().await;
    node.append(1).await;
    node.take(&mut node.shipper()).await;
    let (pack, sound) = first_pack(&node).await;
    let objects = Arc::clone(node.store.octets().packs.objects());
    packs::replace(&*objects, pack, &rotten(&sound)).await.expect("rots");
    let mut copy = sound.to_vec();
    copy[sound.len() / 3] ^= 1;
    let copy = Bytes::from(copy);
    packs::replace(&*node.elsewhere, pack, &copy).await.expect("rots");
    let (taken, manifest) = take_in_full(&node).await;
    assert_eq!((taken.copied.packs, taken.copied.damaged), (0, 1), "{taken:?}");
    let named = manifest.packs.iter().find(|copy| copy.pack == pack).expect("named");
    assert_eq!(named.fault, Some(PackFault::Damaged));
    assert_eq!(whole(&*node.elsewhere, pack).await, copy);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_vanished_or_was_cut_off_is_made_again_by_the_next_process() {
    let node = Node::new().await;
    node.append(1).await;
    node.take(&mut node.shipper()).await;
    let (pack, sound) = first_pack(&node).await;
    let path = object_store::path::Path::from(pack.path());
    for left in [None, Some(sound.slice(..sound.len() / 2))] {
        node.elsewhere.delete(&path).await.expect("vanishes");
        if let Some(left) = left {
            packs::replace(&*node.elsewhere, pack, &left).await.expect("cut off");
        }
        let taken = node.take(&mut node.shipper()).await;
        assert_eq!((taken.copied.packs, taken.copied.lost), (1, 0), "{taken:?}");
        assert_eq!(whole(&*node.elsewhere, pack).await, sound);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_of_a_copy_comes_back_unless_more_of_the_pack_is_there() {
    let node = Node::new().await;
    node.append(1).await;
    let name = node.take(&mut node.shipper()).await.name;
    let (pack, sound) = first_pack(&node).await;
    let repository = node.repository();
    let manifest = repository.manifest(name).await.expect("a manifest");
    let folder = tempfile::tempdir().expect("a folder");
    let objects = local_objects(&folder.path().join("objects")).expect("objects");
    packs::replace(&*node.elsewhere, pack, &rotten(&sound)).await.expect("rots");
    let packs = fetch_into(&repository, &manifest, folder.path()).await.expect("fetched");
    assert_eq!((packs.fetched, packs.faults.len()), (manifest.packs.len() as u64 - 1, 1));
    assert_eq!(whole(&*objects, pack).await, rotten(&sound), "most of its chunks are whole");
    let cut = sound.slice(..sound.len() / 2);
    packs::replace(&*node.elsewhere, pack, &cut).await.expect("cut off");
    let packs = fetch_into(&repository, &manifest, folder.path()).await.expect("fetched");
    assert_eq!((packs.fetched, packs.faults.len()), (0, 1), "{packs:?}");
    assert_eq!(whole(&*objects, pack).await, rotten(&sound), "that was more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_that_was_cut_off_is_mended_from_its_copy_and_only_from_a_sound_one() {
    let node = Node::new().await;
    node.append(1).await;
    node.take(&mut node.shipper()).await;
    let (pack, sound) = first_pack(&node).await;
    let objects = Arc::clone(node.store.octets().packs.objects());
    let cut = sound.slice(..sound.len() / 2);
    packs::replace(&*objects, pack, &cut).await.expect("cut off");
    packs::replace(&*node.elsewhere, pack, &rotten(&sound)).await.expect("rots");
    let mended = node.store.mend_packs(Some(&*node.elsewhere)).await.expect("looked");
    assert_eq!((mended.mended, mended.lost), (0, vec![pack.path()]));
    assert_eq!(whole(&*objects, pack).await, cut);
    packs::replace(&*node.elsewhere, pack, &sound).await.expect("found again");
    let mended = node.store.mend_packs(Some(&*node.elsewhere)).await.expect("mended");
    assert_eq!((mended.mended, mended.lost), (1, Vec::new()));
    assert_eq!(whole(&*objects, pack).await, sound);
}

#[tokio::test(flavor = "multi_thread")]
async fn packs_in_place_are_verified_by_their_own_layout_and_looked_at_by_their_length() {
    let node = Node::new().await;
    node.append(1).await;
    let objects = Arc::clone(node.store.octets().packs.objects());
    let (random, key) = (Arc::new(SeededRandom::new(1)), DataKey::draw(&SeededRandom::new(7)));
    let repository = Arc::new(Repository::new(objects.clone(), key, random, Pace::new(None)));
    let work = node.folder.path().join("backup.work");
    let (shared, clock) = (Arc::clone(&repository), node.clock.clone());
    let mut shipper = Shipper::new(shared, clock, work, true, "test".to_owned());
    let name = node.take(&mut shipper).await.name;
    let manifest = repository.manifest(name).await.expect("a manifest");
    let faults = async || {
        let verified = fetch::verify(&repository, &manifest, &|_| {}).await.expect("verified");
        let looked = fetch::look_at_packs(&repository, &manifest).await.expect("looked");
        (verified.faults.len(), looked.faults.len())
    };
    assert_eq!(faults().await, (0, 0));
    let (pack, sound) = first_pack(&node).await;
    let mut changed = sound.to_vec();
    *changed.last_mut().expect("octets") ^= 1;
    packs::replace(&*objects, pack, &changed.into()).await.expect("rots");
    assert_eq!(faults().await, (1, 0), "the length is right");
    packs::replace(&*objects, pack, &sound.slice(1..)).await.expect("cut off");
    assert_eq!(faults().await, (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_doomed_since_the_pin_is_among_those_that_the_checkpoint_may_name() {
    const DAY: i64 = 86_400_000;
    let node = Node::new().await;
    node.append(1).await;
    let (pack, sound) = first_pack(&node).await;
    let pin = node.clock.now();
    succession::erase_first(&node.store).await;
    let options = crate::collector::CollectOptions::default();
    for _ in 0..2 {
        node.store.collect(&options, &|_| {}).await.expect("collected");
        node.clock.advance(DAY);
    }
    let (engine, objects) = (&**node.store.engine(), node.store.octets().packs.objects());
    let named = packs::named(engine, &**objects, pin).await.expect("packs");
    assert_eq!(named.get(&pack), Some(&(sound.len() as u64)));
    let named = packs::named(engine, &**objects, node.clock.now()).await.expect("packs");
    assert_eq!(named.get(&pack), None, "it was doomed before");
}
