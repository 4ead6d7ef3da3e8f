//! Whole runs: grace, dry run, resumption, a crash at every step, writers beside.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use super::yard::{Yard, at_once, letter, stage, tell};
use crate::{
    catalog::{
        engine::{Reader as _, Scan},
        keys,
        simulated::SimulatedEngine,
    },
    collector::{CollectOptions, CollectReport},
    error::StoreError,
    ids::Uid,
    pack::index::{CHUNK_INDEX, CONDEMNED, DOOMED_PACKS, STAGED_CHUNKS},
};

const HOUR: i64 = 3_600_000;

/// Fills the INBOX, in packs and staged, and expunges nine of ten.
async fn mostly_deleted(messages: u64) -> Yard {
    let yard = Yard::new().await;
    let mut uids = Vec::new();
    for seed in 0..messages {
        let octets = if seed % 5 == 0 { 9_000 } else { 1_000 };
        uids.push(yard.add(&letter(seed, octets)).await);
        if seed == messages * 4 / 5 {
            yard.pack().await;
        }
    }
    let gone: Vec<Uid> = uids
        .into_iter()
        .enumerate()
        .filter(|(at, _)| at % 10 != at / 10 % 10)
        .map(|(_, uid)| uid)
        .collect();
    yard.expunge(&gone).await;
    yard
}

async fn rows(yard: &Yard, family: crate::catalog::engine::Family) -> usize {
    yard.engine.scan(&Scan::prefix(family, b"", 100_000)).await.expect("scan").len()
}

#[tokio::test]
async fn deleting_nine_tenths_gives_the_disk_back_in_one_run() {
    let yard = mostly_deleted(400).await;
    let (_, before) = yard.octets().await;
    let report = yard.collect(&at_once()).await;
    yard.is_sound().await;
    let (live, after) = yard.octets().await;
    assert!(before > 4 * after, "{before} octets before, {after} after");
    assert!(after * 100 <= live * 125, "{after} octets for {live} live ones");
    assert_eq!((report.octets_before, report.octets_after), (before, after));
    assert_eq!(usize::try_from(report.chunks_kept), Ok(rows(&yard, CHUNK_INDEX).await));
    assert!(report.chunks_swept > 300 && report.packs_rewritten > 0 && report.packs_removed > 0);
    assert_eq!(rows(&yard, CONDEMNED).await + rows(&yard, DOOMED_PACKS).await, 0);
    let again = yard.collect(&at_once()).await;
    let nothing = CollectReport {
        passes: again.passes,
        chunks: report.chunks_kept,
        chunks_kept: report.chunks_kept,
        kept_octets: report.kept_octets,
        octets_before: after,
        octets_after: after,
        ..CollectReport::default()
    };
    assert_eq!(again, nothing, "a second run finds nothing to do");
}

#[tokio::test]
async fn a_dry_run_says_what_a_run_does_and_changes_nothing() {
    let yard = mostly_deleted(120).await;
    yard.store
        .octets()
        .packs
        .put(crate::pack::store::PackId([7; 16]), "unnamed".into())
        .await
        .expect("put");
    let dry = CollectOptions { dry_run: true, ..at_once() };
    let (objects, index) = (yard.listed().await, rows(&yard, CHUNK_INDEX).await);
    let foretold = yard.collect(&dry).await;
    assert_eq!((yard.listed().await, rows(&yard, CHUNK_INDEX).await), (objects, index));
    assert_eq!(rows(&yard, CONDEMNED).await, 0);
    let done = yard.collect(&at_once()).await;
    assert!(foretold.dry_run && !done.dry_run);
    assert_eq!(foretold.packs_unnamed, 1);
    // The second pass of the real run sees only what the first left.
    let foretold = CollectReport { dry_run: false, passes: 2, chunks: done.chunks, ..foretold };
    assert_eq!(foretold, done);
}

#[tokio::test]
async fn a_chunk_goes_after_its_grace_and_its_pack_after_another() {
    let yard = mostly_deleted(60).await;
    let options = CollectOptions { grace: Duration::from_hours(24), ..at_once() };
    let (index, (_, octets)) = (rows(&yard, CHUNK_INDEX).await, yard.octets().await);
    let first = yard.collect(&options).await;
    assert!(first.chunks_condemned > 0);
    assert_eq!((first.chunks_swept, rows(&yard, CHUNK_INDEX).await), (0, index));
    yard.clock.advance(23 * HOUR);
    assert_eq!(yard.collect(&options).await.chunks_swept, 0);
    yard.clock.advance(HOUR);
    let third = yard.collect(&options).await;
    assert_eq!(third.chunks_swept, first.chunks_condemned);
    // What the first run had merged goes now; what this one rewrote is still there.
    assert!(third.packs_waiting > 0 && third.packs_deleted == first.packs_waiting);
    assert!(yard.octets().await.1 * 2 > octets, "old packs are still there");
    yard.clock.advance(24 * HOUR);
    let fourth = yard.collect(&options).await;
    assert_eq!(fourth.packs_deleted, third.packs_waiting);
    let (live, after) = yard.octets().await;
    assert!(after * 100 <= live * 125, "{after} octets for {live} live ones");
    yard.is_sound().await;
}

#[tokio::test]
async fn what_is_used_again_within_the_grace_period_is_spared() {
    let yard = mostly_deleted(40).await;
    let options = CollectOptions { grace: Duration::from_hours(24), ..at_once() };
    yard.collect(&options).await;
    yard.add(&letter(0, 9_000)).await;
    yard.clock.advance(24 * HOUR);
    let report = yard.collect(&options).await;
    assert!(report.chunks_swept > 0);
    yard.is_sound().await;
}

#[tokio::test]
async fn a_run_in_small_memory_goes_through_many_partitions_and_comes_to_the_same() {
    let (large, little) = (mostly_deleted(300).await, mostly_deleted(300).await);
    // Rooms for 16 marks, and for a few chunks to be moved.
    let options = CollectOptions { memory_octets_max: 128, ..at_once() };
    let (whole, partitioned) = (large.collect(&at_once()).await, little.collect(&options).await);
    assert!(partitioned.passes >= 6, "{}", partitioned.passes);
    little.is_sound().await;
    assert_eq!(partitioned.chunks_swept, whole.chunks_swept);
    assert_eq!(rows(&little, CHUNK_INDEX).await, rows(&large, CHUNK_INDEX).await);
    assert_eq!(rows(&little, STAGED_CHUNKS).await, rows(&large, STAGED_CHUNKS).await);
}

#[tokio::test]
async fn a_run_that_is_cut_after_any_commit_loses_nothing_and_the_next_gives_all_back() {
    let options = CollectOptions { memory_octets_max: 256, ..at_once() };
    let mut cuts = 0;
    loop {
        let yard = mostly_deleted(60).await;
        let (stage, store) = yard.staged().await;
        stage.stop_after(cuts);
        let outcome = store.collect(&options, &|_| {}).await;
        let engine: std::sync::Arc<SimulatedEngine> = yard.engine.crash();
        let again = yard.restarted(engine).await;
        assert_eq!(again.fault().await, None, "after {cuts} commits");
        // What the cut run condemned, what it doomed, what a crash left unnamed: without grace one
        // run is enough.
        again.collect(&options).await;
        let (live, after) = again.octets().await;
        assert!(after * 100 <= live * 125, "{after} octets for {live} after {cuts} commits");
        assert_eq!(again.fault().await, None);
        let left = rows(&again, CONDEMNED).await + rows(&again, DOOMED_PACKS).await;
        assert_eq!(left, 0, "after {cuts} commits");
        match outcome {
            Ok(_) => break,
            Err(StoreError::Closed) => cuts += 1,
            Err(error) => panic!("{error}"),
        }
    }
    tell(format_args!("{cuts} cuts"));
    assert!(cuts > 15, "{cuts} cuts");
}

#[tokio::test]
async fn without_grace_a_run_gives_back_what_one_that_was_cut_off_has_condemned() {
    let mut condemned_by_both = 0;
    for cuts in 1..10 {
        let yard = mostly_deleted(160).await;
        // Rooms for 16 marks: there is more than one partition.
        let options = CollectOptions { memory_octets_max: 128, ..at_once() };
        let (stage, store) = yard.staged().await;
        stage.stop_after(cuts);
        assert!(store.collect(&options, &|_| {}).await.is_err(), "{cuts}");
        let condemned = rows(&yard, CONDEMNED).await;
        let report = yard.collect(&options).await;
        condemned_by_both += u64::from(condemned > 0 && report.chunks_condemned > 0);
        assert_eq!(rows(&yard, CONDEMNED).await, 0, "{condemned} of them after {cuts} commits");
        assert_eq!(usize::try_from(report.chunks_kept), Ok(rows(&yard, CHUNK_INDEX).await));
        yard.is_sound().await;
    }
    assert!(condemned_by_both > 0, "a run was cut off between two partitions");
}

#[tokio::test]
async fn a_run_with_grace_that_is_cut_goes_on_where_it_was_and_loses_nothing() {
    let grace = Duration::from_hours(24);
    let options = CollectOptions { memory_octets_max: 256, grace, ..at_once() };
    let (mut cuts, mut resumed) = (0, 0);
    loop {
        let yard = mostly_deleted(60).await;
        assert!(yard.collect(&options).await.chunks_condemned > 0);
        yard.clock.advance(24 * HOUR);
        let (stage, store) = yard.staged().await;
        stage.stop_after(cuts);
        let outcome = store.collect(&options, &|_| {}).await;
        let again = yard.restarted(yard.engine.crash()).await;
        assert_eq!(again.fault().await, None, "after {cuts} commits");
        again.clock.advance(24 * HOUR);
        resumed += u64::from(again.collect(&options).await.resumed);
        assert_eq!(again.fault().await, None, "resumed after {cuts} commits");
        assert_eq!(rows(&again, CONDEMNED).await, 0, "after {cuts} commits");
        match outcome {
            Ok(_) => break,
            Err(StoreError::Closed) => cuts += 1,
            Err(error) => panic!("{error}"),
        }
    }
    tell(format_args!("{cuts} cuts with grace, {resumed} resumed"));
    assert!(cuts > 10 && resumed > 5, "{cuts} cuts, {resumed} resumed");
}

#[tokio::test]
async fn a_record_that_cannot_be_read_keeps_everything() {
    let yard = mostly_deleted(40).await;
    let scan = Scan::prefix(keys::MESSAGES, &[], 1);
    let (key, value) = yard.engine.scan(&scan).await.expect("scan").remove(0);
    let mut changed = value.to_vec();
    changed[20] ^= 1;
    let mut batch = crate::catalog::engine::Batch::default();
    batch.put(keys::MESSAGES, key.clone(), changed);
    crate::catalog::engine::Engine::commit(&*yard.engine, batch).await.expect("commit");
    let index = rows(&yard, CHUNK_INDEX).await;
    let outcome = yard.store.collect(&at_once(), &|_| {}).await;
    assert!(matches!(outcome, Err(StoreError::Damaged { .. })), "{outcome:?}");
    assert_eq!(rows(&yard, CHUNK_INDEX).await, index);
}

/// Writers, a packer and a reader on several threads, while the collector runs without grace.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_beside_a_collector_without_grace_lose_nothing() {
    let yard = std::sync::Arc::new(Yard::new().await);
    let writing = std::sync::Arc::new(AtomicBool::new(true));
    let mut writers = Vec::new();
    for writer in 0..4_u64 {
        let yard = yard.clone();
        writers.push(tokio::spawn(async move {
            let (mut refused, mut mine) = (0, Vec::new());
            for round in 0..40 {
                // Few different messages, so that chunks are shared, go and come back.
                let seed = (writer * 17 + round * 3) % 41;
                let octets = letter(seed, if seed % 3 == 0 { 9_000 } else { 1_200 });
                let staged = loop {
                    match stage(&yard.store, &octets).await {
                        Ok(staged) => break staged,
                        Err(StoreError::Conflict) => refused += 1,
                        Err(error) => panic!("{error}"),
                    }
                };
                match yard.append(&staged, &octets).await {
                    Ok(uid) => mine.push(uid),
                    Err(StoreError::Conflict) => refused += 1,
                    Err(error) => panic!("{error}"),
                }
                if mine.len() > 1 {
                    let uid = mine.remove(0);
                    yard.expunge(&[uid]).await;
                }
            }
            refused
        }));
    }
    let collector = {
        let (yard, writing) = (yard.clone(), writing.clone());
        tokio::spawn(async move {
            let (mut runs, mut swept) = (0_u64, 0);
            while writing.load(Ordering::SeqCst) || runs < 3 {
                yard.pack().await;
                swept += yard.collect(&at_once()).await.chunks_swept;
                runs += 1;
            }
            (runs, swept)
        })
    };
    let mut refused = 0;
    for writer in writers {
        refused += writer.await.expect("a writer");
    }
    writing.store(false, Ordering::SeqCst);
    let (runs, swept) = collector.await.expect("the collector");
    tell(format_args!("{runs} runs, {swept} chunks swept, {refused} batches refused"));
    assert!(swept > 0);
    yard.is_sound().await;
    let (live, after) = yard.octets().await;
    assert!(after <= live * 2, "{after} octets for {live} live ones");
}
