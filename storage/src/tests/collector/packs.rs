//! Packs: order, merging, damage, checkpoints, what no row names.

use std::time::Duration;

use object_store::{ObjectStoreExt as _, path::Path};

use super::yard::{Yard, at_once, letter};
use crate::{
    account::erase::EraseRequest,
    catalog::engine::{Batch, Engine as _, Family, Reader as _, Scan},
    collector::{CollectOptions, CollectReport, state::COLLECTOR_STATE},
    error::StoreError,
    ids::Uid,
    octets::{ChunkPlace, ErasureReason},
    pack::index::{BACKUP_CHECKPOINTS, DAMAGED_CHUNKS, DOOMED_PACKS, ERASED_CHUNKS, PACKS},
    summary::Envelope,
};

async fn places(yard: &Yard, uid: Uid) -> Vec<ChunkPlace> {
    let inbox = yard.anna.mailbox(super::yard::INBOX).await.expect("INBOX");
    let row = inbox.row(uid).await.expect("row").expect("there");
    let stored = yard.anna.stored(row.email_number).await.expect("stored");
    let uses = yard.store.octets().physical(&stored).await.expect("physical");
    uses.into_iter().map(|chunk| chunk.place).collect()
}

async fn packs(yard: &Yard) -> usize {
    yard.engine.scan(&Scan::prefix(PACKS, b"", 10_000)).await.expect("scan").len()
}

/// Messages in packs, of which every third is expunged twice over: two of three.
async fn thinned(messages: u64, octets: usize) -> (Yard, Vec<Uid>) {
    let yard = Yard::new().await;
    let mut uids = Vec::new();
    for seed in 0..messages {
        uids.push(yard.add(&letter(seed, octets)).await);
    }
    yard.pack().await;
    let (stay, go): (Vec<_>, Vec<_>) =
        uids.into_iter().enumerate().partition(|(at, _)| at % 3 == 0);
    yard.expunge(&go.into_iter().map(|(_, uid)| uid).collect::<Vec<_>>()).await;
    (yard, stay.into_iter().map(|(_, uid)| uid).collect())
}

#[tokio::test]
async fn rewritten_packs_hold_chunks_in_the_order_of_the_messages() {
    let (yard, uids) = thinned(200, 2_000).await;
    let report = yard.collect(&at_once()).await;
    assert!(report.packs_rewritten > 3 && report.packs_written < report.packs_rewritten);
    let mut offsets = Vec::new();
    for uid in uids {
        for place in places(&yard, uid).await {
            let ChunkPlace::Pack { path, offset } = place else { panic!("{place:?}") };
            offsets.push((path, offset));
        }
    }
    let neighbours = offsets.windows(2).filter(|pair| pair[0].0 == pair[1].0);
    assert!(neighbours.clone().count() + packs(&yard).await >= offsets.len() - 1);
    assert!(neighbours.clone().all(|pair| pair[0].1 < pair[1].1));
    yard.is_sound().await;
}

#[tokio::test]
async fn the_small_packs_of_single_messages_are_merged() {
    let yard = Yard::new().await;
    for seed in 0..20 {
        yard.add(&letter(seed, 6_000)).await;
    }
    yard.pack().await;
    let before = packs(&yard).await;
    assert!(before >= 20, "each large message made a pack: {before}");
    let report = yard.collect(&at_once()).await;
    assert_eq!(report.chunks_swept, 0);
    assert!(report.packs_merged >= 18 && packs(&yard).await <= 8, "{report:?}");
    yard.is_sound().await;
    let again = yard.collect(&at_once()).await;
    assert!(again.packs_merged <= 4, "what was merged is not merged again: {again:?}");
}

#[tokio::test]
async fn a_damaged_chunk_stays_with_its_pack_until_the_same_octets_come_again() {
    let (yard, uids) = thinned(30, 2_000).await;
    let ChunkPlace::Pack { path, offset } = places(&yard, uids[2]).await[0].clone() else {
        panic!()
    };
    let whole = yard.objects.get(&Path::from(path.as_str())).await.expect("get");
    let mut changed = whole.bytes().await.expect("octets").to_vec();
    changed[usize::try_from(offset).expect("small") + 100] ^= 1;
    yard.objects.put(&Path::from(path.as_str()), changed.into()).await.expect("put");
    for run in 0..2 {
        let report = yard.collect(&at_once()).await;
        assert_eq!(report.damages, 1, "{report:?}");
        assert!(report.damaged[0].contains(&path), "{:?}", report.damaged);
        assert_eq!(
            places(&yard, uids[2]).await[0],
            ChunkPlace::Pack { path: path.clone(), offset }
        );
        assert!(yard.listed().await.iter().any(|(listed, _)| *listed == path), "run {run}");
    }
    // Only the damaged message is wrong; all others were moved.
    assert!(yard.fault().await.is_some());
    assert!(yard.listed().await.len() >= 2);
    assert_eq!(yard.engine.scan(&Scan::prefix(DAMAGED_CHUNKS, b"", 9)).await.unwrap().len(), 1);
    yard.add(&letter(6, 2_000)).await;
    yard.is_sound().await;
    yard.pack().await;
    yard.collect(&at_once()).await;
    assert!(yard.listed().await.iter().all(|(listed, _)| *listed != path), "the pack went");
    yard.is_sound().await;
}

/// The pack that has a chunk of a message, and where.
async fn pack_of(yard: &Yard, uid: Uid) -> (Path, usize) {
    let packed = places(yard, uid).await.into_iter().find_map(|place| match place {
        ChunkPlace::Pack { path, offset } => {
            Some((Path::from(path), usize::try_from(offset).expect("small")))
        }
        ChunkPlace::Staged => None,
    });
    packed.expect("a chunk in a pack")
}

async fn change(yard: &Yard, path: &Path, at: impl FnOnce(usize) -> usize) {
    let whole = yard.objects.get(path).await.expect("get").bytes().await.expect("octets");
    let (at, mut changed) = (at(whole.len()), whole.to_vec());
    changed[at] ^= 1;
    yard.objects.put(path, changed.into()).await.expect("put");
}

#[tokio::test]
async fn a_dry_run_finds_the_damage_that_a_run_finds_and_notes_none() {
    let (yard, uids) = thinned(200, 2_000).await;
    let dead = yard.add(&letter(900, 6_000)).await;
    let (chunk, offset) = pack_of(&yard, uids[2]).await;
    let (footer, _) = pack_of(&yard, uids[20]).await;
    let (gone, _) = pack_of(&yard, uids[35]).await;
    let (unused, _) = pack_of(&yard, dead).await;
    let all = std::collections::BTreeSet::from([&chunk, &footer, &gone, &unused]);
    assert_eq!(all.len(), 4, "each in a pack of its own");
    yard.expunge(&[dead]).await;
    change(&yard, &chunk, |_| offset + 100).await;
    change(&yard, &footer, |octets| octets - 1).await;
    change(&yard, &unused, |octets| octets - 1).await;
    yard.objects.delete(&gone).await.expect("delete");
    let dry = CollectOptions { dry_run: true, ..at_once() };
    // The second time one of the chunks is known to be damaged.
    for noted in [0, 1] {
        let foretold = yard.collect(&dry).await;
        assert_eq!(foretold.damages, 4, "{:?}", foretold.damaged);
        let rows = yard.engine.scan(&Scan::prefix(DAMAGED_CHUNKS, b"", 9)).await.unwrap();
        assert_eq!(rows.len(), noted, "only a run notes it");
        let done = yard.collect(&at_once()).await;
        let (passes, chunks) = (done.passes, done.chunks);
        assert_eq!(CollectReport { dry_run: false, passes, chunks, ..foretold }, done);
    }
}

async fn erase(yard: &Yard, uid: Uid) {
    let inbox = yard.anna.mailbox(super::yard::INBOX).await.expect("INBOX");
    let row = inbox.row(uid).await.expect("row").expect("there");
    let request = EraseRequest {
        email_number: row.email_number,
        reason: ErasureReason::DataSubject,
        envelope: Envelope::default(),
        also: Batch::default(),
    };
    yard.anna.erase(request).await.expect("erase");
    yard.messages.lock().unwrap().remove(&uid);
}

async fn count(yard: &Yard, family: Family) -> usize {
    yard.engine.scan(&Scan::prefix(family, b"", 99)).await.expect("scan").len()
}

#[tokio::test]
async fn a_pack_with_octets_of_an_erased_message_is_rewritten_however_full_it_is() {
    let yard = Yard::new().await;
    let mut uids = Vec::new();
    for seed in 0..20 {
        uids.push(yard.add(&letter(seed, 2_000)).await);
    }
    let shared = yard.add(&letter(3, 2_000)).await;
    yard.pack().await;
    let (path, _) = pack_of(&yard, uids[0]).await;
    let stays = async |yard: &Yard| {
        yard.listed().await.iter().any(|(listed, _)| *listed == path.to_string())
    };
    yard.expunge(&uids[1..2]).await;
    let report = yard.collect(&at_once()).await;
    assert_eq!((report.chunks_swept, report.packs_rewritten), (1, 0), "nobody asked for it");

    erase(&yard, uids[3]).await;
    let report = yard.collect(&at_once()).await;
    assert_eq!((report.chunks_swept, report.packs_rewritten), (0, 0), "another has the same");
    assert!(stays(&yard).await && count(&yard, ERASED_CHUNKS).await == 1);

    erase(&yard, uids[5]).await;
    let foretold = yard.collect(&CollectOptions { dry_run: true, ..at_once() }).await;
    let report = yard.collect(&at_once()).await;
    assert_eq!((report.chunks_swept, report.packs_rewritten), (1, 1));
    let (passes, chunks) = (report.passes, report.chunks);
    assert_eq!(CollectReport { dry_run: false, passes, chunks, ..foretold }, report);
    assert!(!stays(&yard).await);
    assert_eq!(count(&yard, COLLECTOR_STATE).await, 0, "no mark is left");
    yard.is_sound().await;

    let (path, _) = pack_of(&yard, shared).await;
    yard.expunge(&[shared]).await;
    assert_eq!(yard.collect(&at_once()).await.packs_rewritten, 1, "its time has come");
    assert!(yard.listed().await.iter().all(|(listed, _)| *listed != path.to_string()));
    assert_eq!(count(&yard, ERASED_CHUNKS).await, 0);
    yard.is_sound().await;
}

#[tokio::test]
async fn the_mark_of_a_pack_outlives_a_run_that_is_cut_off() {
    let mut rewritten = 0;
    for commits in 0..20 {
        let yard = Yard::new().await;
        let mut uids = Vec::new();
        for seed in 0..20 {
            uids.push(yard.add(&letter(seed, 2_000)).await);
        }
        yard.pack().await;
        let (path, _) = pack_of(&yard, uids[0]).await;
        erase(&yard, uids[5]).await;
        let (stage, store) = yard.staged().await;
        stage.stop_after(commits);
        let cut = store.collect(&at_once(), &|_| {}).await.is_err();
        let report = yard.collect(&at_once()).await;
        rewritten += u64::from(cut && report.packs_rewritten > 0);
        assert!(yard.listed().await.iter().all(|(listed, _)| *listed != path.to_string()));
        yard.is_sound().await;
    }
    assert!(rewritten > 3, "{rewritten}");
}

#[tokio::test]
async fn a_damaged_staged_chunk_is_not_packed_and_healed_when_it_comes_again() {
    let yard = Yard::new().await;
    yard.add(&letter(1, 1_000)).await;
    yard.add(&letter(2, 1_000)).await;
    let staged = Scan::prefix(crate::pack::index::STAGED_CHUNKS, b"", 1);
    let (key, octets) = yard.engine.scan(&staged).await.expect("scan").remove(0);
    let mut changed = octets.to_vec();
    changed[100] ^= 1;
    let mut batch = Batch::default();
    batch.put(crate::pack::index::STAGED_CHUNKS, key, changed);
    yard.engine.commit(batch).await.expect("commit");
    let report = yard.store.octets().pack_once().await.expect("pack");
    assert_eq!((report.chunks, report.damaged), (1, 1));
    assert!(yard.fault().await.is_some());
    yard.add(&letter(1, 1_000)).await;
    yard.pack().await;
    yard.is_sound().await;
}

#[tokio::test]
async fn a_doomed_pack_outlives_every_checkpoint_taken_before() {
    let (yard, _) = thinned(60, 2_000).await;
    let checkpoint = |instant: i64| {
        bytes::Bytes::copy_from_slice(&u64::try_from(instant).expect("positive").to_be_bytes())
    };
    // One of before, one with a clock that goes ahead.
    let early = checkpoint(super::super::house::MORNING.0 - 1_000);
    let ahead = checkpoint(super::super::house::MORNING.0 + 900_000);
    let mut batch = Batch::default();
    batch.put(BACKUP_CHECKPOINTS, early.clone(), "").put(BACKUP_CHECKPOINTS, ahead.clone(), "");
    yard.engine.commit(batch).await.expect("commit");
    let first = yard.collect(&at_once()).await;
    assert!(first.packs_held > 0 && first.packs_deleted == 0, "{first:?}");
    for held in [early, ahead] {
        yard.clock.advance(3_600_000);
        assert_eq!(yard.collect(&at_once()).await.packs_held, first.packs_held);
        let mut batch = Batch::default();
        batch.delete(BACKUP_CHECKPOINTS, held);
        yard.engine.commit(batch).await.expect("commit");
    }
    let last = yard.collect(&at_once()).await;
    assert_eq!((last.packs_held, last.packs_deleted), (0, first.packs_held));
    yard.is_sound().await;
}

#[tokio::test]
async fn an_unnamed_pack_goes_and_a_stranger_stays() {
    let yard = Yard::new().await;
    yard.add(&letter(1, 6_000)).await;
    drop(yard.stage(&letter(2, 6_000)).await);
    let stranger = Path::from("packs/00/readme.txt");
    yard.objects.put(&stranger, "not a pack".into()).await.expect("put");
    let grace = CollectOptions { grace: Duration::from_hours(1), ..at_once() };
    let first = yard.collect(&grace).await;
    assert_eq!((first.packs_unnamed, first.packs_deleted, first.packs_waiting), (1, 0, 1));
    assert_eq!(first.strangers, ["packs/00/readme.txt"]);
    yard.clock.advance(3_600_000);
    let second = yard.collect(&grace).await;
    assert_eq!((second.packs_unnamed, second.packs_deleted), (0, 1));
    assert_eq!(yard.listed().await.len(), 2, "the pack that is used, and the stranger");
    yard.is_sound().await;
}

#[tokio::test]
async fn a_batch_that_brings_an_unnamed_pack_into_use_takes_it_off_the_list() {
    let yard = Yard::new().await;
    let octets = letter(2, 6_000);
    let late = yard.stage(&octets).await;
    let grace = CollectOptions { grace: Duration::from_hours(1), ..at_once() };
    assert_eq!(yard.collect(&grace).await.packs_waiting, 1);
    yard.append(&late, &octets).await.expect("append");
    yard.clock.advance(7_200_000);
    assert_eq!(yard.collect(&grace).await.packs_deleted, 0);
    yard.is_sound().await;
    assert!(yard.engine.scan(&Scan::prefix(DOOMED_PACKS, b"", 9)).await.unwrap().is_empty());
    // The generation is retired now: the same batch would come too late.
    let refused = yard.append(&late, &octets).await;
    assert!(matches!(refused, Err(StoreError::Conflict)));
}
