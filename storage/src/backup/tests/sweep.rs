//! What a sweep must leave: all that a checkpoint names which stays, and packs that are the store's own.

use super::*;

const KEEP_ALL: RetentionRules = RetentionRules {
    keep_all_millis: i64::MAX,
    keep_hourly_millis: 0,
    keep_daily_millis: 0,
    unnamed_millis: 0,
};

/// Long after every object was put.
fn later(node: &Node) -> UnixMillis {
    UnixMillis(trust::clock::SystemClock.now().0.max(node.clock.now().0) + 60_000)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_an_older_checkpoint_names_stays_as_long_as_the_checkpoint() {
    let node = Node::new().await;
    let mut shipper = node.shipper();
    node.append(1).await;
    let older = node.take(&mut shipper).await.name;
    succession::erase_first(&node.store).await;
    succession::collect(&node.store, &node.clock).await.expect("collected");
    node.append(2).await;
    let newest = node.take(&mut shipper).await.name;
    let repository = node.repository();
    let (old, new) =
        (repository.manifest(older).await.unwrap(), repository.manifest(newest).await.unwrap());
    assert!(old.packs.iter().any(|copy| !new.packs.contains(copy)), "a pack of its own");
    let swept = sweep(&node.store, &repository, false, later(&node), &KEEP_ALL).await;
    let swept = swept.expect("swept");
    assert_eq!((swept.kept, swept.pieces, swept.packs), (2, 0, 0), "{swept:?}");
    let verified = fetch::verify(&repository, &old, &|_| {}).await.expect("verified");
    assert_eq!(verified.faults, Vec::<String>::new());
    let folder = restore_folder(&repository, older).await;
    let store = open(folder.path(), &node.clock).await;
    assert_eq!(all_messages(&store, ANNA).await, [letter(1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn packs_in_place_that_no_checkpoint_names_are_the_stores_and_stay() {
    let node = Node::new().await;
    let objects = Arc::clone(node.store.octets().packs.objects());
    let (random, key) = (Arc::new(SeededRandom::new(1)), DataKey::draw(&SeededRandom::new(7)));
    let repository = Arc::new(Repository::new(objects, key, random, Pace::new(None)));
    let work = node.folder.path().join("backup.work");
    let (shared, clock) = (Arc::clone(&repository), node.clock.clone());
    let mut shipper = Shipper::new(shared, clock, work, true, "test".to_owned());
    node.take(&mut shipper).await;
    let sent = node.append(1).await;
    let swept = sweep(&node.store, &repository, true, later(&node), &KEEP_ALL).await;
    assert_eq!(swept.expect("swept").packs, 0);
    assert_eq!(all_messages(&node.store, ANNA).await, [sent]);
    is_sound(&node.store).await;
}
