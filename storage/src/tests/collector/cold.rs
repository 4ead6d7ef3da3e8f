//! Chunks that no live row marks move under the colder prefix, and nothing else does.

use std::time::Duration;

use bytes::Bytes;

use super::{
    super::house::ANNA,
    yard::{INBOX, Yard, at_once, letter},
};
use crate::{
    account::capture::{AccountState, Capture},
    catalog::{
        engine::{Batch, Engine as _, Reader as _},
        keys,
    },
    collector::CollectOptions,
    error::StoreError,
    ids::{MailboxId, Uid},
    mailbox::view::{MailboxView as _, MessageRow},
    octets::ChunkPlace,
};

/// Whatever is cold moves.
fn cooling() -> CollectOptions {
    CollectOptions { cold_after: Some(Duration::ZERO), cold_octets_min: 1, ..at_once() }
}

/// A text that shrinks, and the more the harder it is tried.
fn text(seed: u64) -> Vec<u8> {
    let mut message = letter(seed, 500);
    for number in 0..600 {
        let line = format!("riga {number} di {seed}: {}\r\n", number * number % 977 * seed);
        message.extend_from_slice(line.as_bytes());
    }
    message
}

async fn filled(messages: u64) -> (Yard, Vec<Uid>, MailboxId) {
    let yard = Yard::new().await;
    let mut uids = Vec::new();
    for seed in 1..=messages {
        uids.push(yard.add(&text(seed)).await);
    }
    yard.pack().await;
    let archive = yard.anna.create_mailbox("Archivio/Deposito", None).await.expect("create");
    (yard, uids, archive)
}

/// Moves messages and returns their rows at the destination.
async fn archive(yard: &Yard, uids: &[Uid], from: MailboxId, to: MailboxId) -> Vec<MessageRow> {
    let mailbox = yard.anna.mailbox(from).await.expect("a mailbox");
    for some in uids.chunks(20) {
        mailbox.move_to(some, to).await.expect("move");
    }
    if from == INBOX {
        for uid in uids {
            yard.messages.lock().unwrap().remove(uid);
        }
    }
    yard.anna.mailbox(to).await.expect("a mailbox").rows().await.expect("rows").1
}

/// How many chunks of a message lie in cold packs, and how many there are.
async fn cold_of(yard: &Yard, row: &MessageRow) -> (usize, usize) {
    let stored = yard.anna.stored(row.email_number).await.expect("stored");
    let chunks = yard.store.octets().physical(&stored).await.expect("physical");
    let is_cold = |place: &ChunkPlace| matches!(place, ChunkPlace::Pack { path, .. } if path.starts_with("packs/cold/"));
    (chunks.iter().filter(|chunk| is_cold(&chunk.place)).count(), chunks.len())
}

async fn reads(yard: &Yard, mailbox: MailboxId, row: &MessageRow) {
    let mailbox = yard.anna.mailbox(mailbox).await.expect("a mailbox");
    let octets = mailbox.read(row.email_number, 0..row.size).await.expect("read");
    assert!(!octets.is_empty());
}

#[tokio::test]
async fn what_only_archived_messages_refer_to_moves_and_what_a_live_one_shares_stays() {
    let (yard, uids, to) = filled(40).await;
    let inbox = yard.anna.mailbox(INBOX).await.expect("INBOX");
    // The first is archived, and copied back: it has a live row again.
    archive(&yard, &uids[..30], INBOX, to).await;
    let archived = yard.anna.mailbox(to).await.expect("the archive");
    let rows = archived.rows().await.expect("rows").1;
    archived.copy(&[rows[0].uid], INBOX).await.expect("copy");
    // Two rows in the archive are no live one.
    archived.copy(&[rows[1].uid], to).await.expect("copy");
    let foretold = yard.collect(&CollectOptions { dry_run: true, ..cooling() }).await;
    let report = yard.collect(&cooling()).await;
    assert!(report.packs_cooled > 0 && report.chunks_cooled > 0, "{report:?}");
    assert_eq!(foretold.chunks_cooled, report.chunks_cooled);
    for (at, row) in rows.iter().enumerate() {
        let (cold, all) = cold_of(&yard, row).await;
        assert_eq!(cold, if at == 0 { 0 } else { all }, "message {at}");
        reads(&yard, to, row).await;
    }
    for row in inbox.rows().await.expect("rows").1 {
        assert_eq!(cold_of(&yard, &row).await.0, 0);
    }
    let figures = yard.store.figures_total().await.expect("figures");
    assert!(figures.cold_octets > 0 && figures.cold_octets < figures.physical_octets);
    yard.is_sound().await;
    let again = yard.collect(&cooling()).await;
    assert_eq!((again.chunks_moved, again.packs_cooled), (0, 0), "{again:?}");
}

#[tokio::test]
async fn a_chunk_that_is_in_use_again_moves_back_only_with_its_pack() {
    let (yard, uids, to) = filled(30).await;
    let rows = archive(&yard, &uids, INBOX, to).await;
    yard.collect(&cooling()).await;
    let back: Vec<Uid> = rows[..4].iter().map(|row| row.uid).collect();
    archive(&yard, &back, to, INBOX).await;
    let report = yard.collect(&cooling()).await;
    assert_eq!(report.chunks_moved, 0, "{report:?}");
    assert_eq!(cold_of(&yard, &rows[0]).await.0, cold_of(&yard, &rows[0]).await.1);
    // Most of the archive goes: the cold packs are half-dead, and are rewritten.
    let archived = yard.anna.mailbox(to).await.expect("the archive");
    let gone: Vec<Uid> = rows[4..26].iter().map(|row| row.uid).collect();
    let deleted = crate::mailbox::flags::Flags { deleted: true, ..Default::default() };
    let add = crate::mailbox::flags::FlagChange::Add;
    archived.store_flags(&gone, add, &deleted, None).await.expect("flags");
    archived.expunge(&gone).await.expect("expunge");
    let report = yard.collect(&cooling()).await;
    assert!(report.packs_rewritten > 0, "{report:?}");
    for row in &rows[..4] {
        assert_eq!(cold_of(&yard, row).await.0, 0);
    }
    for row in &rows[26..] {
        let (cold, all) = cold_of(&yard, row).await;
        assert_eq!(cold, all);
        reads(&yard, to, row).await;
    }
    yard.is_sound().await;
}

#[tokio::test]
async fn young_packs_and_a_few_octets_wait() {
    let (yard, uids, to) = filled(20).await;
    archive(&yard, &uids, INBOX, to).await;
    // The objects have the date of the real clock.
    let now = trust::clock::Clock::now(&trust::clock::SystemClock);
    yard.clock.advance((now.0 - trust::clock::Clock::now(&*yard.clock).0).max(0));
    let month = Some(Duration::from_hours(24 * 30));
    let patient = CollectOptions { cold_after: month, ..cooling() };
    assert_eq!(yard.collect(&patient).await.chunks_cooled, 0, "too young");
    let wanting = CollectOptions { cold_octets_min: 64 << 20, ..cooling() };
    assert_eq!(yard.collect(&wanting).await.chunks_cooled, 0, "too few");
    let never = CollectOptions { cold_after: None, ..cooling() };
    assert_eq!(yard.collect(&never).await.chunks_cooled, 0, "never");
    yard.clock.advance(31 * 24 * 3_600 * 1_000);
    let report = yard.collect(&patient).await;
    assert!(report.chunks_cooled > 0, "{report:?}");
    yard.is_sound().await;
}

#[tokio::test]
async fn what_moves_is_compressed_harder_and_found_again_from_packs_alone() {
    let (yard, uids, to) = filled(30).await;
    let rows = archive(&yard, &uids, INBOX, to).await;
    let (before, _) = yard.octets().await;
    yard.collect(&cooling()).await;
    let (after, _) = yard.octets().await;
    assert!(after < before, "{before} octets became {after}");
    let paths = yard.listed().await;
    assert!(paths.iter().any(|(path, _)| path.starts_with("packs/cold/")));
    let (engine, clock) = (yard.engine.clone(), &yard.clock);
    for family in [crate::pack::index::CHUNK_INDEX, crate::pack::index::PACKS] {
        use crate::catalog::engine::Scan;
        let mut batch = Batch::default();
        for (key, _) in engine.scan(&Scan::prefix(family, b"", 100_000)).await.expect("scan") {
            batch.delete(family, key);
        }
        engine.commit(batch).await.expect("commit");
    }
    let store = super::yard::open(engine, &yard.objects, clock, 77).await;
    store.octets().rebuild_index(&|_| {}).await.expect("rebuild");
    for row in &rows {
        let (cold, all) = cold_of(&yard, row).await;
        assert_eq!(cold, all);
        reads(&yard, to, row).await;
    }
}

/// Keeps nothing: the note in the head is enough.
struct Note;

#[async_trait::async_trait]
impl Capture for Note {
    type Outcome = ();

    async fn capture(&self, _: &AccountState) -> Result<((), Option<Batch>), StoreError> {
        Ok(((), Some(Batch::default())))
    }
}

#[tokio::test]
async fn what_only_a_snapshot_holds_moves() {
    let (yard, uids, _) = filled(30).await;
    let inbox = yard.anna.mailbox(INBOX).await.expect("INBOX");
    let rows = inbox.rows().await.expect("rows").1;
    yard.anna.capture(Note).await.expect("capture");
    yard.expunge(&uids[..25]).await;
    let report = yard.collect(&cooling()).await;
    assert!(report.chunks_cooled > 0, "{report:?}");
    for (at, row) in rows.iter().enumerate() {
        let (cold, all) = cold_of(&yard, row).await;
        assert_eq!(cold, if at < 25 { all } else { 0 }, "message {at}");
    }
    yard.is_sound().await;
}

#[tokio::test]
async fn what_cannot_be_told_is_warm_and_stops_nobody() {
    let (yard, uids, to) = filled(30).await;
    let rows = archive(&yard, &uids, INBOX, to).await;
    let key = keys::row(ANNA, to, rows[0].uid);
    let row = yard.engine.get(keys::MAILBOX_ROWS, &key).await.expect("read").expect("a row");
    let put = async |value: Bytes| {
        let mut batch = Batch::default();
        batch.put(keys::MAILBOX_ROWS, key.clone(), value);
        yard.engine.commit(batch).await.expect("commit");
    };
    for version in [0, 9] {
        let mut octets = row.to_vec();
        octets[0] = version;
        put(octets.into()).await;
        assert_eq!(yard.collect(&cooling()).await.chunks_cooled, 0, "version {version}");
    }
    put(row).await;
    assert!(yard.collect(&cooling()).await.chunks_cooled > 0);
    yard.is_sound().await;
}
