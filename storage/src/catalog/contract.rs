//! The contract suite: what every engine must pass.
//!
//! [`hold`] runs all of it. A new engine adds one test that calls it with a function that opens a
//! fresh, empty engine on the families it is given.

use std::{future::Future, sync::Arc};

use bytes::Bytes;

use super::engine::{Batch, Durability, Engine, Expected, Family, Page, Reader, Scan};
use crate::error::StoreError;

const ROWS: Family = Family("rows");
const OTHER: Family = Family("other_rows");
const JOURNAL: Family = Family("journal");

/// Runs every check on a fresh engine each.
pub(crate) async fn hold<E, F, Fut>(open: F)
where
    E: Engine,
    F: Fn(Vec<Family>) -> Fut,
    Fut: Future<Output = Arc<E>>,
{
    let fresh = || open(vec![ROWS, OTHER, JOURNAL]);
    what_is_put_is_read_and_families_are_apart(&*fresh().await).await;
    a_failed_condition_changes_nothing(&*fresh().await).await;
    of_racing_compare_and_sets_one_wins(fresh().await).await;
    deletes_come_after_puts_and_later_puts_win(&*fresh().await).await;
    scans_are_ordered_bounded_and_resumable(&*fresh().await).await;
    pages_end_at_their_octets_too_and_say_what_is_left(&*fresh().await).await;
    a_snapshot_stays_as_it_was(&*fresh().await).await;
    numbers_have_no_gaps_and_never_repeat(fresh().await).await;
    a_large_batch_is_applied_whole(&*fresh().await).await;
    bounds_are_kept_octet_by_octet(&*fresh().await).await;
    a_snapshot_outlives_the_rewriting_of_everything(&*fresh().await).await;
    let many = MANY.map(Family).to_vec();
    many_families_share_a_batch_and_nothing_else(&*open(many.clone()).await, &many).await;
    an_undeclared_family_is_refused(&*fresh().await).await;
    a_closed_engine_answers_closed(&*fresh().await).await;
}

/// As many as the program has, and more.
const MANY: [&str; 48] = [
    "f00", "f01", "f02", "f03", "f04", "f05", "f06", "f07", "f08", "f09", "f10", "f11", "f12",
    "f13", "f14", "f15", "f16", "f17", "f18", "f19", "f20", "f21", "f22", "f23", "f24", "f25",
    "f26", "f27", "f28", "f29", "f30", "f31", "f32", "f33", "f34", "f35", "f36", "f37", "f38",
    "f39", "f40", "f41", "f42", "f43", "f44", "f45", "f46", "f47",
];

fn put(family: Family, key: &'static str, value: &'static str) -> Batch {
    let mut batch = Batch::default();
    batch.put(family, key, value);
    batch
}

async fn value(engine: &impl Engine, family: Family, key: &str) -> Option<Bytes> {
    engine.get(family, key.as_bytes()).await.expect("read")
}

async fn what_is_put_is_read_and_families_are_apart(engine: &impl Engine) {
    assert_eq!(value(engine, ROWS, "a").await, None);
    engine.commit(put(ROWS, "a", "one")).await.expect("commit");
    engine.commit(put(OTHER, "a", "")).await.expect("commit");
    assert_eq!(value(engine, ROWS, "a").await.as_deref(), Some(b"one".as_slice()));
    assert_eq!(value(engine, OTHER, "a").await.as_deref(), Some(b"".as_slice()));
    let keys = [(OTHER, "b".into()), (ROWS, Bytes::from("a")), (OTHER, "a".into())];
    let values = engine.multi_get(&keys).await.expect("read");
    assert_eq!(values, [None, Some(Bytes::from("one")), Some(Bytes::new())]);
    let buffered = Batch { durability: Durability::Buffered, ..put(ROWS, "b", "two") };
    engine.commit(buffered).await.expect("commit");
    assert_eq!(value(engine, ROWS, "b").await.as_deref(), Some(b"two".as_slice()));
}

async fn a_failed_condition_changes_nothing(engine: &impl Engine) {
    engine.commit(put(ROWS, "a", "one")).await.expect("commit");
    let cases = [
        ("a", Expected::Absent),
        ("missing", Expected::Present),
        ("missing", Expected::Value("one".into())),
        ("a", Expected::Value("other".into())),
    ];
    for (key, expected) in cases {
        let mut batch = put(ROWS, "b", "two");
        batch.expect(ROWS, "a", Expected::Present).expect(ROWS, key, expected.clone());
        batch.delete(ROWS, "a").append_numbered(JOURNAL, "j", "record");
        let outcome = engine.commit(batch).await;
        assert!(matches!(outcome, Err(StoreError::Conflict)), "{key} {expected:?}: {outcome:?}");
    }
    assert_eq!(value(engine, ROWS, "a").await.as_deref(), Some(b"one".as_slice()));
    assert_eq!(value(engine, ROWS, "b").await, None);
    let mut holds = put(ROWS, "b", "two");
    holds.expect(ROWS, "a", Expected::Value("one".into())).expect(ROWS, "b", Expected::Absent);
    holds.append_numbered(JOURNAL, "j", "record");
    assert_eq!(engine.commit(holds).await.expect("commit"), [1], "no number was lost");
}

async fn of_racing_compare_and_sets_one_wins<E: Engine>(engine: Arc<E>) {
    const TASKS: u64 = 16;
    const ROUNDS: u64 = 8;
    engine.commit(counter_batch(None, 0)).await.expect("commit");
    let mut tasks = Vec::new();
    for _ in 0..TASKS {
        let engine = Arc::clone(&engine);
        tasks.push(tokio::spawn(async move {
            let mut done = 0;
            while done < ROUNDS {
                let old = engine.get(ROWS, b"counter").await.expect("read").expect("a counter");
                let count = u64::from_be_bytes(old.as_ref().try_into().expect("eight octets"));
                match engine.commit(counter_batch(Some(old), count + 1)).await {
                    Ok(_) => done += 1,
                    Err(StoreError::Conflict) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }));
    }
    for task in tasks {
        task.await.expect("a task");
    }
    let count = engine.get(ROWS, b"counter").await.expect("read").expect("a counter");
    assert_eq!(count.as_ref(), (TASKS * ROUNDS).to_be_bytes());
}

fn counter_batch(old: Option<Bytes>, count: u64) -> Batch {
    let mut batch = Batch::default();
    batch.expect(ROWS, "counter", old.map_or(Expected::Absent, Expected::Value));
    batch.put(ROWS, "counter", Bytes::copy_from_slice(&count.to_be_bytes()));
    batch
}

async fn deletes_come_after_puts_and_later_puts_win(engine: &impl Engine) {
    let mut batch = put(ROWS, "a", "first");
    batch.put(ROWS, "a", "second").delete(ROWS, "b").put(ROWS, "b", "gone").delete(ROWS, "none");
    engine.commit(batch).await.expect("commit");
    assert_eq!(value(engine, ROWS, "a").await.as_deref(), Some(b"second".as_slice()));
    assert_eq!(value(engine, ROWS, "b").await, None);
}

async fn scans_are_ordered_bounded_and_resumable(engine: &impl Engine) {
    let mut batch = Batch::default();
    for number in [3_u8, 0xff, 0, 200, 1] {
        batch.put(ROWS, vec![b'k', number], vec![number]);
    }
    batch.put(ROWS, "j", "before").put(ROWS, "l", "after").put(OTHER, "k!", "other family");
    engine.commit(batch).await.expect("commit");
    let keys = |scan: Scan| async move {
        let entries = engine.scan(&scan).await.expect("scan");
        entries.into_iter().map(|(key, _)| key.last().copied().unwrap_or(0)).collect::<Vec<_>>()
    };
    assert_eq!(keys(Scan::prefix(ROWS, b"k", 10)).await, [0, 1, 3, 200, 0xff]);
    assert_eq!(keys(Scan::prefix(ROWS, b"k", 2)).await, [0, 1]);
    assert_eq!(keys(Scan::prefix(ROWS, b"k", 0)).await, [0_u8; 0]);
    let reverse = Scan { reverse: true, ..Scan::prefix(ROWS, b"k", 2) };
    assert_eq!(keys(reverse).await, [0xff, 200]);
    let middle = Scan {
        start: Bytes::from_static(b"k\x01"),
        end: Some(Bytes::from_static(b"k\xc8")),
        ..Scan::prefix(ROWS, b"k", 10)
    };
    assert_eq!(keys(middle.clone()).await, [1, 3]);
    assert_eq!(keys(Scan { reverse: true, ..middle }).await, [3, 1]);
    let to_the_end = Scan { end: None, ..Scan::prefix(ROWS, b"k\xff", 10) };
    assert_eq!(keys(to_the_end.clone()).await, [0xff, b'l']);
    assert_eq!(keys(Scan { reverse: true, ..to_the_end }).await, [b'l', 0xff]);
    let backwards = Scan { end: Some("a".into()), ..Scan::prefix(ROWS, b"k", 10) };
    assert_eq!(keys(backwards).await, [0_u8; 0]);
}

async fn pages_end_at_their_octets_too_and_say_what_is_left(engine: &impl Engine) {
    const OCTETS: [usize; 8] = [10, 3_000, 10, 10, 2_000, 900, 0, 5];
    let mut batch = Batch::default();
    for (number, octets) in (0_u8..).zip(OCTETS) {
        batch.put(ROWS, vec![number], vec![number; octets]);
    }
    engine.commit(batch).await.expect("commit");
    let snapshot = engine.snapshot().await.expect("snapshot");
    for reverse in [false, true] {
        for limit in [1, 3, 8, 100] {
            for octets_max in [0, 1, 12, 921, 2_912, 3_001, 3_012, 10_000, usize::MAX] {
                let scan = Scan { reverse, ..Scan::prefix(ROWS, b"", limit) };
                walk(engine, &scan, octets_max, &OCTETS).await;
                walk(&*snapshot, &scan, octets_max, &OCTETS).await;
            }
        }
    }
    let page = engine.page(&Scan::prefix(OTHER, b"", 9), 9).await.expect("page");
    assert!(page.entries.is_empty() && page.rest.is_none());
    let page = engine.page(&Scan::prefix(ROWS, b"", 0), 9).await.expect("page");
    assert!(page.entries.is_empty() && page.rest.is_none());
    // Not even a small one behind what did not fit is taken.
    let page = engine.page(&Scan::prefix(ROWS, b"", 9), 100).await.expect("page");
    assert_eq!(page.entries.len(), 1);
    assert_eq!(engine.scan(&Scan::prefix(ROWS, b"", 9)).await.expect("scan").len(), OCTETS.len());
}

/// Goes over the pages of `scan`, over rows of one key octet and `octets` each.
async fn walk<R: Reader + ?Sized>(reader: &R, scan: &Scan, octets_max: usize, octets: &[usize]) {
    let mut seen: Vec<(u8, usize)> = Vec::new();
    let mut rest = Some(scan.clone());
    while let Some(asked) = rest {
        let page: Page = reader.page(&asked, octets_max).await.expect("page");
        let weight = |(key, value): &(Bytes, Bytes)| key.len() + value.len();
        let whole: usize = page.entries.iter().map(weight).sum();
        let count = page.entries.len();
        assert!(count > 0 && count <= scan.limit && (count == 1 || whole <= octets_max));
        seen.extend(page.entries.iter().map(|(key, value)| (key[0], value.len())));
        let position = |at: usize| if scan.reverse { octets.len() - 1 - at } else { at };
        let next = (seen.len() < octets.len()).then(|| octets[position(seen.len())] + 1);
        // It says that there is more when there is, and it was cut no sooner than it had to be.
        assert_eq!(page.rest.is_some(), next.is_some());
        let cut = |next: usize| count == scan.limit || whole.saturating_add(next) > octets_max;
        assert!(next.is_none_or(cut));
        rest = page.rest;
    }
    let mut expected: Vec<(u8, usize)> = (0_u8..).zip(octets.iter().copied()).collect();
    if scan.reverse {
        expected.reverse();
    }
    assert_eq!(seen, expected);
}

async fn a_snapshot_stays_as_it_was(engine: &impl Engine) {
    engine.commit(put(ROWS, "a", "old")).await.expect("commit");
    let snapshot = engine.snapshot().await.expect("snapshot");
    let mut batch = put(ROWS, "a", "new");
    batch.put(ROWS, "b", "new").append_numbered(JOURNAL, "j", "record");
    engine.commit(batch).await.expect("commit");
    engine.commit(Batch::default()).await.expect("an empty batch");
    let old = Some(Bytes::from("old"));
    assert_eq!(snapshot.get(ROWS, b"a").await.expect("read"), old);
    let keys = [(ROWS, "b".into()), (ROWS, Bytes::from("a"))];
    assert_eq!(snapshot.multi_get(&keys).await.expect("read"), [None, old]);
    assert_eq!(snapshot.scan(&Scan::prefix(ROWS, b"", 9)).await.expect("scan").len(), 1);
    assert_eq!(value(engine, ROWS, "a").await.as_deref(), Some(b"new".as_slice()));
}

async fn numbers_have_no_gaps_and_never_repeat<E: Engine>(engine: Arc<E>) {
    let mut tasks = Vec::new();
    for task in 0..8_u8 {
        let engine = Arc::clone(&engine);
        tasks.push(tokio::spawn(async move {
            let mut numbers = Vec::new();
            for round in 0..8_u8 {
                let mut batch = Batch::default();
                batch.append_numbered(JOURNAL, "node", vec![task, round]);
                batch.append_numbered(JOURNAL, "node", vec![task, round, 1]);
                if round % 3 == 0 {
                    batch.expect(ROWS, "never there", Expected::Present);
                }
                match engine.commit(batch).await {
                    Ok(given) => numbers.extend(given),
                    Err(StoreError::Conflict) => assert_eq!(round % 3, 0),
                    Err(error) => panic!("{error}"),
                }
            }
            numbers
        }));
    }
    let mut given = Vec::new();
    for task in tasks {
        given.extend(task.await.expect("a task"));
    }
    given.sort_unstable();
    assert_eq!(given, (1..=80).collect::<Vec<u64>>());
    let entries = engine.scan(&Scan::prefix(JOURNAL, b"node", 100)).await.expect("scan");
    let keys: Vec<_> = entries.iter().map(|(key, _)| key.slice(4..)).collect();
    let wanted: Vec<_> =
        (1..=80_u64).map(|number| Bytes::copy_from_slice(&number.to_be_bytes())).collect();
    assert_eq!(keys, wanted);
    let mut batch = Batch::default();
    for (key, _) in entries {
        batch.delete(JOURNAL, key);
    }
    batch.append_numbered(JOURNAL, "other node", "record");
    assert_eq!(engine.commit(batch).await.expect("commit"), [1]);
    let mut batch = Batch::default();
    batch.append_numbered(JOURNAL, "node", "record");
    assert_eq!(engine.commit(batch).await.expect("commit"), [81], "also when all were deleted");
}

async fn a_large_batch_is_applied_whole(engine: &impl Engine) {
    const ENTRIES: u32 = 20_000;
    let mut batch = put(ROWS, "gone", "soon");
    batch.put(OTHER, "large", vec![7; 6 << 20]).delete(ROWS, "gone");
    for number in 0..ENTRIES {
        batch.put(ROWS, number.to_be_bytes().to_vec(), number.to_le_bytes().to_vec());
    }
    let mut refused = batch.clone();
    refused.expect(ROWS, "never there", Expected::Present);
    assert!(matches!(engine.commit(refused).await, Err(StoreError::Conflict)));
    assert!(engine.scan(&Scan::prefix(ROWS, b"", 1)).await.expect("scan").is_empty());
    engine.commit(batch).await.expect("commit");
    let entries = engine.scan(&Scan::prefix(ROWS, b"", 100_000)).await.expect("scan");
    assert_eq!(entries.len(), ENTRIES as usize);
    assert!(entries.iter().zip(0_u32..).all(|((key, value), number)| {
        key.as_ref() == number.to_be_bytes() && value.as_ref() == number.to_le_bytes()
    }));
    let large = value(engine, OTHER, "large").await.expect("the large value");
    assert!(large.len() == 6 << 20 && large.iter().all(|&octet| octet == 7));
    let keys: Vec<_> =
        (0..ENTRIES).map(|number| (ROWS, Bytes::copy_from_slice(&number.to_be_bytes()))).collect();
    let values = engine.multi_get(&keys).await.expect("read");
    assert!(values.iter().all(Option::is_some));
}

async fn bounds_are_kept_octet_by_octet(engine: &impl Engine) {
    let keys: [&[u8]; 7] = [b"", b"\0", b"\0\0", b"a", b"a\0", b"a\xff\xff", b"b"];
    let mut batch = Batch::default();
    for key in keys {
        batch.put(ROWS, key.to_vec(), "value");
    }
    engine.commit(batch).await.expect("commit");
    for start in 0..keys.len() {
        for end in (start..=keys.len()).rev() {
            for reverse in [false, true] {
                let scan = Scan {
                    family: ROWS,
                    start: Bytes::from_static(keys[start]),
                    end: keys.get(end).map(|key| Bytes::from_static(key)),
                    reverse,
                    limit: 100,
                };
                let mut expected: Vec<&[u8]> = keys[start..end].to_vec();
                if reverse {
                    expected.reverse();
                }
                let entries = engine.scan(&scan).await.expect("scan");
                let found: Vec<&[u8]> = entries.iter().map(|(key, _)| key.as_ref()).collect();
                assert_eq!(found, expected, "{scan:?}");
            }
        }
    }
    // A bound need not be a key that is there.
    let between = Scan {
        start: Bytes::from_static(b"\0\0\0"),
        end: Some(Bytes::from_static(b"a\xff")),
        ..Scan::prefix(ROWS, b"", 100)
    };
    let found = engine.scan(&between).await.expect("scan");
    assert_eq!(found.iter().map(|(key, _)| key.as_ref()).collect::<Vec<_>>(), [&b"a"[..], b"a\0"]);
}

async fn a_snapshot_outlives_the_rewriting_of_everything(engine: &impl Engine) {
    const ENTRIES: u16 = 500;
    let key = |number: u16| number.to_be_bytes().to_vec();
    let mut batch = Batch::default();
    for number in 0..ENTRIES {
        batch.put(ROWS, key(number), vec![1; 200]);
    }
    engine.commit(batch).await.expect("commit");
    let snapshot = engine.snapshot().await.expect("snapshot");
    for round in 2..12_u8 {
        let mut batch = Batch { durability: Durability::Buffered, ..Batch::default() };
        for number in 0..ENTRIES {
            if number % 3 == u16::from(round % 3) {
                batch.delete(ROWS, key(number));
            } else {
                batch.put(ROWS, key(number), vec![round; 200]);
            }
        }
        engine.commit(batch).await.expect("commit");
    }
    let entries = snapshot.scan(&Scan::prefix(ROWS, b"", 10_000)).await.expect("scan");
    assert_eq!(entries.len(), usize::from(ENTRIES));
    assert!(entries.iter().all(|(_, value)| value.as_ref() == [1; 200]));
    let now = engine.scan(&Scan::prefix(ROWS, b"", 10_000)).await.expect("scan");
    assert!(now.len() < entries.len());
}

async fn many_families_share_a_batch_and_nothing_else(engine: &impl Engine, families: &[Family]) {
    let mut batch = Batch::default();
    for family in families {
        batch.put(*family, "name", family.0);
        batch.append_numbered(*family, "n", "record");
    }
    let numbers = engine.commit(batch).await.expect("commit");
    assert_eq!(numbers, vec![1; families.len()]);
    let mut batch = Batch::default();
    for family in families.iter().step_by(2) {
        batch.expect(*family, "name", Expected::Value(family.0.into())).delete(*family, "name");
    }
    engine.commit(batch).await.expect("commit");
    for (position, family) in families.iter().enumerate() {
        let expected = (position % 2 == 1).then(|| Bytes::from(family.0));
        assert_eq!(value(engine, *family, "name").await, expected, "{family:?}");
    }
}

async fn an_undeclared_family_is_refused(engine: &impl Engine) {
    let stranger = Family("nobody_declared_it");
    let refused = |outcome: Result<(), StoreError>| {
        assert!(matches!(outcome, Err(StoreError::Engine { .. })), "{outcome:?}");
    };
    refused(engine.get(stranger, b"a").await.map(drop));
    refused(engine.scan(&Scan::prefix(stranger, b"", 1)).await.map(drop));
    let mut batch = put(ROWS, "a", "one");
    batch.put(stranger, "a", "one");
    refused(engine.commit(batch).await.map(drop));
    assert_eq!(value(engine, ROWS, "a").await, None, "nothing of the batch was applied");
}

async fn a_closed_engine_answers_closed(engine: &impl Engine) {
    engine.commit(put(ROWS, "a", "one")).await.expect("commit");
    engine.close().await.expect("close");
    engine.close().await.expect("closing twice is allowed");
    assert!(matches!(engine.get(ROWS, b"a").await, Err(StoreError::Closed)));
    assert!(matches!(engine.commit(put(ROWS, "b", "two")).await, Err(StoreError::Closed)));
    assert!(matches!(engine.snapshot().await.map(|_| ()), Err(StoreError::Closed)));
}
