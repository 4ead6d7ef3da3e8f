//! RocksDB keeps the contract, and refuses what it must not open.

use super::*;
use crate::catalog::{contract, engine::Durability};

const ROWS: Family = Family("rows");

async fn open(folder: &Path, families: &[Family]) -> Result<Arc<RocksEngine>, StoreError> {
    RocksEngine::open(folder, families, &RocksConfig::default()).await
}

fn row(key: impl Into<Bytes>, durability: Durability) -> Batch {
    let mut batch = Batch { durability, ..Batch::default() };
    batch.put(ROWS, key, "value");
    batch
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract_of_an_engine() {
    let folder = tempfile::tempdir().expect("a folder");
    let number = std::sync::atomic::AtomicU32::new(0);
    contract::hold(|families| {
        let number = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let folder = folder.path().join(number.to_string());
        async move { open(&folder, &families).await.expect("open") }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_is_there_after_reopening() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a/catalog");
    let engine = open(&path, &[ROWS]).await.expect("open");
    engine.commit(row("synced", Durability::Synced)).await.expect("commit");
    let mut batch = row("buffered", Durability::Buffered);
    batch.append_numbered(ROWS, "journal", "record");
    assert_eq!(engine.commit(batch).await.expect("commit"), [1]);
    engine.close().await.expect("close");
    let engine = open(&path, &[ROWS]).await.expect("open again");
    assert!(engine.get(ROWS, b"synced").await.expect("read").is_some());
    assert!(engine.get(ROWS, b"buffered").await.expect("read").is_some());
    let mut batch = Batch::default();
    batch.append_numbered(ROWS, "journal", "record");
    assert_eq!(engine.commit(batch).await.expect("commit"), [2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_that_miss_the_cache_are_answered_from_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = RocksConfig { cache_octets_max: 0, ..RocksConfig::default() };
    let engine = RocksEngine::open(folder.path(), &[ROWS], &config).await.expect("open");
    let mut batch = Batch::default();
    for number in 0..5_000_u32 {
        batch.put(ROWS, number.to_be_bytes().to_vec(), vec![7; 100]);
    }
    engine.commit(batch).await.expect("commit");
    let db = engine.db().expect("open");
    db.flush_cf(db.cf_handle("rows").expect("a column")).expect("flush");
    drop(db);
    assert!(engine.get(ROWS, &4_000_u32.to_be_bytes()).await.expect("read").is_some());
    let keys = [(ROWS, Bytes::copy_from_slice(&3_u32.to_be_bytes())), (ROWS, "no".into())];
    let values = engine.multi_get(&keys).await.expect("read");
    assert!(values[0].is_some() && values[1].is_none());
    let snapshot = engine.snapshot().await.expect("snapshot");
    assert_eq!(snapshot.scan(&Scan::prefix(ROWS, b"", 900)).await.expect("scan").len(), 900);
    assert_eq!(snapshot.scan(&Scan::prefix(ROWS, b"", 9_000)).await.expect("scan").len(), 5_000);
}

/// Every row fills a block, so that the place of each absent key is behind the last row of one; of the
/// absent keys the filter lets one in a hundred through.
#[tokio::test(flavor = "multi_thread")]
async fn an_absent_key_between_two_blocks_is_absent_to_a_read_of_many() {
    const KEYS: u32 = 4_000;
    let folder = tempfile::tempdir().expect("a folder");
    let config = RocksConfig { cache_octets_max: 0, ..RocksConfig::default() };
    let engine = RocksEngine::open(folder.path(), &[ROWS], &config).await.expect("open");
    let key = |number: u32| Bytes::copy_from_slice(&number.to_be_bytes());
    let mut batch = Batch::default();
    for number in 0..KEYS {
        batch.put(ROWS, key(number * 2), vec![7; 4_200]);
    }
    engine.commit(batch).await.expect("commit");
    let db = engine.db().expect("open");
    db.flush_cf(db.cf_handle("rows").expect("a column")).expect("flush");
    drop(db);
    for number in 0..KEYS - 1 {
        let wanted = [(ROWS, key(number * 2)), (ROWS, key(number * 2 + 1))];
        let values = engine.multi_get(&wanted).await.expect("read");
        let lengths = values.iter().map(|value| value.as_ref().map(Bytes::len)).collect::<Vec<_>>();
        assert_eq!(lengths, [Some(4_200), None], "at key {number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_outlives_the_closing_of_its_engine() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = open(folder.path(), &[ROWS]).await.expect("open");
    engine.commit(row("a", Durability::Synced)).await.expect("commit");
    let snapshot = engine.snapshot().await.expect("snapshot");
    engine.close().await.expect("close");
    drop(engine);
    assert!(snapshot.get(ROWS, b"a").await.expect("read").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_family_that_nobody_declared_stops_the_opening_and_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let newer = open(folder.path(), &[ROWS, Family("folios")]).await.expect("open");
    newer.close().await.expect("close");
    let error = open(folder.path(), &[ROWS]).await.expect_err("an unknown family");
    let source = std::error::Error::source(&error).expect("a cause").to_string();
    assert!(source.contains("`folios`") && source.contains("upgrade"), "{source}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_opener_and_the_remains_of_a_database_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = open(folder.path(), &[ROWS]).await.expect("open");
    assert!(matches!(
        open(folder.path(), &[ROWS]).await,
        Err(StoreError::Engine { operation: "open", .. })
    ));
    engine.close().await.expect("close");
    std::fs::remove_file(folder.path().join(CURRENT)).expect("remove");
    assert!(matches!(open(folder.path(), &[ROWS]).await, Err(StoreError::Damaged { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_writers_share_syncs_and_all_are_answered() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = open(folder.path(), &[ROWS]).await.expect("open");
    let tasks: Vec<_> = (0..100_u32)
        .map(|number| {
            let engine = Arc::clone(&engine);
            tokio::spawn(async move {
                engine.commit(row(number.to_be_bytes().to_vec(), Durability::Synced)).await
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("a task").expect("commit");
    }
    assert_eq!(engine.scan(&Scan::prefix(ROWS, b"", 1_000)).await.expect("scan").len(), 100);
}

/// Says whether `needle` stands anywhere in the files of `folder`.
fn stands_in(folder: &Path, needle: &[u8]) -> bool {
    std::fs::read_dir(folder).expect("list").any(|entry| {
        let octets = std::fs::read(entry.expect("an entry").path()).expect("read");
        octets.windows(needle.len()).any(|window| window == needle)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_leaves_no_old_value_in_log_or_tables() {
    const SECRET: &[u8] = b"Zq7-secret-8Xw";
    let folder = tempfile::tempdir().expect("a folder");
    let engine = open(folder.path(), &[ROWS]).await.expect("open");
    for (key, old) in [("in the log", false), ("in a table", true)] {
        let mut batch = Batch::default();
        batch.put(ROWS, key, SECRET);
        engine.commit(batch).await.expect("commit");
        if old {
            let db = engine.db().expect("open");
            db.flush_cf(&db.cf_handle(ROWS.0).expect("a family")).expect("flush");
        }
    }
    let mut batch = Batch::default();
    batch.put(ROWS, "in the log", "erased").delete(ROWS, "in a table");
    engine.commit(batch).await.expect("commit");
    assert!(stands_in(folder.path(), SECRET), "otherwise the test shows nothing");
    let octets = engine.purge(&[(ROWS, Bytes::new(), None)]).await.expect("purge");
    assert!((1..1 << 20).contains(&octets), "{octets}");
    assert!(!stands_in(folder.path(), SECRET));
    let kept = engine.get(ROWS, b"in the log").await.expect("read");
    assert_eq!(kept.as_deref(), Some(b"erased".as_slice()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_reads_the_same_while_everything_under_it_is_merged() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = RocksConfig { write_buffer_octets_max: 1 << 18, ..RocksConfig::default() };
    let engine = RocksEngine::open(folder.path(), &[ROWS], &config).await.expect("open");
    let key = |number: u32| number.to_be_bytes().to_vec();
    let write = async |octet: u8, from: u32| {
        let mut batch = Batch::default();
        for number in 0..3_000 {
            if number >= from {
                batch.put(ROWS, key(number), vec![octet; 100]);
            } else {
                batch.delete(ROWS, key(number));
            }
        }
        engine.commit(batch).await.expect("commit");
    };
    write(1, 0).await;
    let snapshot = engine.snapshot().await.expect("snapshot");
    for round in 2..8 {
        write(round, 500 * u32::from(round)).await;
    }
    let db = engine.db().expect("open");
    let column = db.cf_handle("rows").expect("a column");
    db.flush_cf(column).expect("flush");
    db.compact_range_cf(column, None::<&[u8]>, None::<&[u8]>);
    let old = snapshot.scan(&Scan::prefix(ROWS, b"", 10_000)).await.expect("scan");
    assert_eq!(old.len(), 3_000);
    assert!(old.iter().all(|(_, value)| value.as_ref() == [1; 100]));
    assert!(engine.scan(&Scan::prefix(ROWS, b"", 10_000)).await.expect("scan").is_empty());
    drop(snapshot);
    db.compact_range_cf(column, None::<&[u8]>, None::<&[u8]>);
    drop(db);
    engine.close().await.expect("close");
    let engine = RocksEngine::open(folder.path(), &[ROWS], &config).await.expect("open again");
    assert!(engine.scan(&Scan::prefix(ROWS, b"", 10_000)).await.expect("scan").is_empty());
}

#[test]
fn the_numbers_of_a_stall_report_are_read() {
    let text = "Write Stall\n  total-delays: 3\n total-stops : 12\nother: x\n";
    assert_eq!((counted(text, "total-delays"), counted(text, "total-stops")), (3, 12));
    assert_eq!((counted(text, "other"), counted(text, "missing")), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_nobody_held_up_reports_no_stall_and_names_the_property_rightly() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = open(folder.path(), &[ROWS]).await.expect("open");
    engine.commit(row("a", Durability::Synced)).await.expect("commit");
    assert_eq!(engine.stalls().expect("stalls"), Stalls::default());
    assert!(!engine.is_busy().expect("properties"));
    let db = engine.db().expect("open");
    let column = db.cf_handle("rows").expect("a column");
    let text = db.property_value_cf(column, STALL_PROPERTY).expect("read").expect("a property");
    assert!(text.contains("total-stops") && text.contains("total-delays"), "{text}");
}
