//! Disposal of the journal after its time: by whole pieces, the oldest first.
//!
//! A piece goes when its period ended so many months ago ([`Keeper::new`](super::keeper::Keeper::new)),
//! as the time stamp of the newest piece tells the time.
//! Its steps are these, each one batch that expects the head, so that an interruption is gone on from:
//!
//! 1. The journal says so: a record `disposed` with numbers, range, digests. The head says which.
//! 2. Records with their index entries, then seals with their leaves: [`PAGE`] in a batch, which
//!    moves the head's mark. Reading begins behind the mark and never crawls through what is gone.
//! 3. Objects: those of the piece, and of the lost time of a restore that are as old.
//! 4. The piece itself; the head keeps the hashes that what is left begins with.
//!
//! Not here: what the rest of the engine lets go of (`pec::disposal`).

use bytes::Bytes;
use storage::{
    catalog::{
        engine::{Batch, Engine, Scan},
        keys,
        pages::PAGE_OCTETS_MAX,
    },
    error::StoreError,
    objects::{ObjectStore, named},
};
use trust::{clock::UnixMillis, digest::Sha256Digest};

use super::{
    JournalEvent,
    head::{
        Head, JOURNAL_INDEX, JOURNAL_LEAVES, JOURNAL_PIECES, JOURNAL_SEALS, JournalHead, number_of,
        numbered,
    },
    index,
    piece::{FOLDER, PieceRecord, STATEMENT, Statement, months_before, read_folder},
    seal::Seal,
    write,
};
use crate::pec::records::{JOURNAL, JournalRecord, decode};

/// Records, or seals, of one batch.
const PAGE: usize = 200;

/// Pieces of one round: what is more waits for the next.
const PIECES_MAX: u64 = 8;

/// What a round disposed of.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Disposed {
    /// Pieces.
    pub pieces: u64,
    /// Records.
    pub records: u64,
    /// Objects.
    pub objects: u64,
}

/// Disposes of pieces whose period ended `months` ago.
///
/// # Errors
///
/// What catalog or object store say; what is gone by then is gone.
pub async fn dispose(
    engine: &dyn Engine,
    objects: &dyn ObjectStore,
    node: u64,
    now: UnixMillis,
    months: u32,
) -> Result<Disposed, StoreError> {
    let mut disposed = Disposed::default();
    let before = months_before(now, months);
    while disposed.pieces < PIECES_MAX {
        let head = Head::read(engine, node).await?;
        let number = head.record.disposed_pieces.saturating_add(1);
        // One that goes already is looked for in no object store, not even after a restore.
        if number > head.record.stored && number != head.record.disposing {
            break;
        }
        let (record, statement) = piece(engine, node, number).await?;
        if statement.until > before {
            break;
        }
        if head.record.disposing != number {
            announce(engine, &head, (&record, &statement), now, months).await?;
        }
        disposed.records += remove_records(engine, node, &statement).await?;
        remove_seals(engine, node, &statement).await?;
        disposed.objects += remove_objects(objects, &statement).await?;
        finish(engine, node, &record, number).await?;
        disposed.pieces += 1;
    }
    Ok(disposed)
}

/// What stands before the months at the end of the record of a disposal.
const KEPT: &str = ", months ";

/// For how many months the journal was kept, as the record of a disposal tells.
pub(super) fn months_of(detail: &str) -> Option<u32> {
    detail.rsplit_once(KEPT).and_then(|(_, months)| months.parse().ok())
}

/// The piece of that number, and its statement.
pub(super) async fn piece(
    engine: &dyn Engine,
    node: u64,
    number: u64,
) -> Result<(PieceRecord, Statement), StoreError> {
    let key = numbered(node, number);
    let damaged = |detail: &str| StoreError::Damaged {
        object: keys::object(JOURNAL_PIECES, &key),
        detail: detail.to_owned(),
    };
    let octets = engine.get(JOURNAL_PIECES, &key).await?;
    let octets = octets.ok_or_else(|| damaged("the piece is gone"))?;
    let record: PieceRecord = decode(JOURNAL_PIECES, &key, &octets)?;
    let statement = Statement::read(&record.statement)
        .ok_or_else(|| damaged("its statement cannot be read"))?;
    Ok((record, statement))
}

/// Step 1.
async fn announce(
    engine: &dyn Engine,
    head: &Head,
    (record, statement): (&PieceRecord, &Statement),
    now: UnixMillis,
    months: u32,
) -> Result<(), StoreError> {
    let range = |numbers: Option<(u64, u64)>| {
        numbers.map_or_else(|| "none".to_owned(), |(first, last)| format!("{first} to {last}"))
    };
    let detail = format!(
        "piece {}, from {} until {} (ms since 1970), records {}, seals {}, chain {}, statement {}{KEPT}{months}",
        statement.number,
        statement.from.0,
        statement.until.0,
        range(statement.records),
        range(statement.seals),
        hex::encode(statement.chain.0),
        hex::encode(Sha256Digest::of(&record.statement).0),
    );
    let mut batch = Batch::default();
    head.advance(&mut batch, &JournalHead { disposing: statement.number, ..head.record.clone() });
    let entry =
        JournalRecord { provider: statement.provider.clone(), detail, ..JournalRecord::default() };
    write(&mut batch, head.node, now, JournalEvent::Disposed, entry);
    engine.commit(batch).await.map(drop)
}

/// Step 2, records. Returns how many.
async fn remove_records(
    engine: &dyn Engine,
    node: u64,
    statement: &Statement,
) -> Result<u64, StoreError> {
    let Some((first, last)) = statement.records else { return Ok(0) };
    let mut removed = 0;
    loop {
        let head = Head::read(engine, node).await?;
        let start = first.max(head.record.disposed_sequence.saturating_add(1));
        if start > last {
            return Ok(removed);
        }
        let scan = range_of(JOURNAL, node, (start, last));
        let page = engine.page(&scan, PAGE_OCTETS_MAX).await?;
        let mut batch = Batch::default();
        let mut mark = last;
        for (key, value) in &page.entries {
            let sequence = number_of(JOURNAL, key)?;
            if let Ok(record) = decode::<JournalRecord>(JOURNAL, key, value) {
                for key in index::keys_of(node, sequence, &record) {
                    batch.delete(JOURNAL_INDEX, key);
                }
            }
            batch.delete(JOURNAL, key.clone());
            if page.rest.is_some() {
                mark = sequence;
            }
            removed += 1;
        }
        if page.rest.is_none() {
            mark = last;
        }
        head.advance(&mut batch, &JournalHead { disposed_sequence: mark, ..head.record.clone() });
        engine.commit(batch).await?;
    }
}

fn range_of(
    family: storage::catalog::engine::Family,
    node: u64,
    (first, last): (u64, u64),
) -> Scan {
    let prefix = Scan::prefix(family, &node.to_be_bytes(), PAGE);
    let end: Option<Bytes> = last.checked_add(1).map(|end| numbered(node, end));
    Scan { start: numbered(node, first), end: end.or(prefix.end.clone()), ..prefix }
}

/// Step 2, seals.
async fn remove_seals(
    engine: &dyn Engine,
    node: u64,
    statement: &Statement,
) -> Result<(), StoreError> {
    let Some((first, last)) = statement.seals else { return Ok(()) };
    loop {
        let head = Head::read(engine, node).await?;
        let start = first.max(head.record.disposed_seals.saturating_add(1));
        if start > last {
            return Ok(());
        }
        let page =
            engine.page(&range_of(JOURNAL_SEALS, node, (start, last)), PAGE_OCTETS_MAX).await?;
        let mut batch = Batch::default();
        let mut next = head.record.clone();
        for (key, octets) in &page.entries {
            let seal = Seal::read(octets, || keys::object(JOURNAL_SEALS, key))?;
            batch.delete(JOURNAL_SEALS, key.clone()).delete(JOURNAL_LEAVES, key.clone());
            next.disposed_seals = seal.number;
            next.disposed_seal = seal.hash().0.to_vec();
        }
        if page.rest.is_none() {
            next.disposed_seals = last;
            next.disposed_seal = statement.chain.0.to_vec();
        }
        head.advance(&mut batch, &next);
        engine.commit(batch).await?;
    }
}

/// Step 3. Returns how many.
async fn remove_objects(
    objects: &dyn ObjectStore,
    statement: &Statement,
) -> Result<u64, StoreError> {
    let folder = statement.folder();
    let day = read_folder(&folder).map(|(_, day, ..)| day).unwrap_or_default();
    let mut names = named::list(objects, &format!("{FOLDER}/{}", statement.node)).await?;
    names.retain(|name| {
        let (of, _) = name.rsplit_once('/').unwrap_or((name, ""));
        // Of the lost time of a restore nobody keeps a record: its objects go by their day.
        of == folder
            || read_folder(of)
                .is_some_and(|(_, old, _, epoch)| epoch < statement.epoch && old <= day)
    });
    // The statement last: a piece without one is known to be no whole one.
    names.sort_by_key(|name| name.ends_with(STATEMENT));
    for name in &names {
        named::delete(objects, name).await?;
    }
    Ok(names.len() as u64)
}

/// Step 4.
async fn finish(
    engine: &dyn Engine,
    node: u64,
    record: &PieceRecord,
    number: u64,
) -> Result<(), StoreError> {
    let head = Head::read(engine, node).await?;
    let mut batch = Batch::default();
    batch.delete(JOURNAL_PIECES, numbered(node, number));
    let next = JournalHead {
        disposed_pieces: number,
        disposed_statement: Sha256Digest::of(&record.statement).0.to_vec(),
        disposing: 0,
        ..head.record.clone()
    };
    head.advance(&mut batch, &next);
    engine.commit(batch).await.map(drop)
}
