//! The sealer: every minute it seals the records that came since the last seal.
//!
//! A seal covers records that follow each other without a gap. None of them can be filled later: the
//! engine of the catalog numbers a record in the very step that makes it visible
//! ([`Batch::append_numbered`]), so a snapshot that shows a number shows every lower one that was
//! ever given out; and the snapshot also says which number comes next ([`next_number`]), so records
//! that are missing behind the last one are noticed too. A gap is therefore one of two things:
//!
//! * the *lost time* of a restore, which raises the next number by a multiple of 2³² and writes the
//!   record `restored` first: the seal before it ends there, the next begins behind it;
//! * damage: records were removed. Sealing goes on behind it, so that what comes later is not
//!   exposed as well, and the gap stays in the chain for good, where `journal verify` names it.
//!
//! The index is written first, in batches of its own, and the seal with the head last: what is cut
//! off in between is written again, with the same octets.
//!
//! Not here: the daily pieces ([`super::keeper`]).
//!
//! [`next_number`]: storage::catalog::commit::next_number

use bytes::Bytes;
use storage::{
    backup::rules::SEQUENCES_RAISED_BY,
    catalog::{
        commit::next_number,
        engine::{Batch, Durability, Engine, Expected, Reader, Scan},
        keys,
        pages::Pages,
    },
    error::StoreError,
};
use trust::{clock::UnixMillis, digest::Sha256Digest};

use super::{
    JournalEvent,
    head::{
        Head, JOURNAL_INDEX, JOURNAL_LEAVES, JOURNAL_SEALS, JournalHead, digest, number_of,
        numbered,
    },
    index,
    piece::day_of,
    seal::{Seal, leaf, root},
};
use crate::pec::{
    distribution::CONFLICTS_MAX,
    records::{JOURNAL, JournalRecord, decode},
};

/// Records of one seal, at most: its leaves are held in memory, 32 octets each. What is more gets
/// further seals in the same run.
pub const SEAL_RECORDS_MAX: usize = 1 << 16;

/// Records read at a time.
const PAGE: usize = 500;

/// What one run did.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Sealed {
    /// Seals made.
    pub seals: u64,
    /// Records in them.
    pub records: u64,
    /// Records that are missing: first and last. The lost time of a restore is not among them.
    pub missing: Vec<(u64, u64)>,
}

/// Seals everything that was in the journal of `node` when the run began.
///
/// # Errors
///
/// What the engine says; [`StoreError::Conflict`] when the head moves on time and again meanwhile. What is
/// sealed by then stays sealed.
pub async fn seal(
    engine: &dyn Engine,
    node: u64,
    epoch: u32,
    now: UnixMillis,
) -> Result<Sealed, StoreError> {
    let snapshot = engine.snapshot().await?;
    let next = next_number(&*snapshot, JOURNAL, &node.to_be_bytes()).await?;
    let (mut sealed, mut conflicts) = (Sealed::default(), 0);
    loop {
        let head = Head::read(engine, node).await?;
        let begun = begin(&head, epoch, now);
        let run = Run::read(engine, &*snapshot, &head, next).await?;
        let mut batch = Batch::default();
        if run.leaves.is_empty() {
            sealed.missing.extend(run.missing);
            if begun != head.record {
                head.advance(&mut batch, &begun);
                engine.commit(batch).await?;
            }
            return Ok(sealed);
        }
        let seal = Seal {
            node,
            epoch,
            number: head.record.seals.saturating_add(1),
            first: run.first,
            last: run.last,
            instant: instant(&begun, &run, now),
            earliest: UnixMillis(run.earliest),
            latest: UnixMillis(run.latest),
            root: root(&run.leaves),
            previous: digest(&head.record.seal),
        };
        let key = numbered(node, seal.number);
        let leaves: Vec<u8> = run.leaves.iter().flat_map(|leaf| leaf.0).collect();
        not_there(engine, &key, &mut batch).await?;
        batch.put(JOURNAL_SEALS, key.clone(), seal.octets());
        batch.put(JOURNAL_LEAVES, key, leaves);
        let next_head = JournalHead {
            seals: seal.number,
            sequence: seal.last,
            seal: seal.hash().0.to_vec(),
            sealed_millis: seal.instant.0,
            ..begun
        };
        head.advance(&mut batch, &next_head);
        match engine.commit(batch).await {
            // A daily piece, or its disposal, moved the head on.
            Err(StoreError::Conflict) if conflicts < CONFLICTS_MAX => {
                conflicts += 1;
                continue;
            }
            committed => drop(committed?),
        }
        sealed.missing.extend(run.missing);
        sealed.seals += 1;
        sealed.records += run.leaves.len() as u64;
    }
}

/// The head as this run goes on from it: a new one gets its first period; after a restore the
/// objects of all pieces are looked for again, since the object store may be another one.
fn begin(head: &Head, epoch: u32, now: UnixMillis) -> JournalHead {
    let mut record = head.record.clone();
    if head.is_new() {
        record.period_millis = day_of(now).0;
    }
    if record.epoch != epoch {
        record.epoch = epoch;
        record.stored = record.disposed_pieces;
    }
    record
}

/// When a seal counts as made. However the clock is set back: never before the seal that it follows,
/// for seals are searched by time; never in a period that is closed; never before one of its records.
fn instant(head: &JournalHead, run: &Run, now: UnixMillis) -> UnixMillis {
    UnixMillis(now.0.max(head.sealed_millis).max(head.period_millis).max(run.latest))
}

/// A seal is never replaced: one that stands where the head says that none is, is evidence of a head
/// that was removed or set back.
async fn not_there(engine: &dyn Engine, key: &Bytes, batch: &mut Batch) -> Result<(), StoreError> {
    if engine.get(JOURNAL_SEALS, key).await?.is_some() {
        return Err(StoreError::Damaged {
            object: keys::object(JOURNAL_SEALS, key),
            detail:
                "a seal stands where the head of the journal says that none is: nothing is sealed \
                     over it, run `ceralacca journal verify`"
                    .to_owned(),
        });
    }
    batch.expect(JOURNAL_SEALS, key.clone(), Expected::Absent);
    Ok(())
}

/// Records that follow each other, on their way into one seal.
#[derive(Default)]
struct Run {
    first: u64,
    last: u64,
    earliest: i64,
    latest: i64,
    leaves: Vec<Sha256Digest>,
    missing: Option<(u64, u64)>,
}

impl Run {
    /// Reads the next run behind `head`, and writes its index. `next` is the number that no record
    /// of the snapshot has any more.
    async fn read(
        engine: &dyn Engine,
        snapshot: &dyn Reader,
        head: &Head,
        next: u64,
    ) -> Result<Self, StoreError> {
        let (node, wanted) = (head.node, head.record.sequence.saturating_add(1));
        let mut run = Self::default();
        let prefix = Scan::prefix(JOURNAL, &node.to_be_bytes(), PAGE);
        let mut pages = Pages::new(Scan { start: numbered(node, wanted), ..prefix });
        'pages: while let Some(page) = pages.next(snapshot).await? {
            let mut batch = Batch { durability: Durability::Buffered, ..Batch::default() };
            for (key, value) in page {
                let sequence = number_of(JOURNAL, &key)?;
                if run.leaves.is_empty() {
                    run.first = sequence;
                    if sequence > wanted && !is_lost_time(&key, &value, wanted, sequence) {
                        run.missing = Some((wanted, sequence - 1));
                    }
                } else if sequence != run.last.saturating_add(1)
                    || run.leaves.len() == SEAL_RECORDS_MAX
                {
                    write(engine, batch).await?;
                    break 'pages;
                }
                run.take(node, sequence, (&key, &value), &mut batch);
            }
            write(engine, batch).await?;
        }
        let behind = if run.leaves.is_empty() { wanted } else { run.last.saturating_add(1) };
        if pages.is_at_end() && behind < next && run.leaves.len() < SEAL_RECORDS_MAX {
            // Only when nothing comes behind it: else the next run begins there.
            let rest = Scan {
                start: numbered(node, behind),
                limit: 1,
                ..Scan::prefix(JOURNAL, &node.to_be_bytes(), 1)
            };
            if run.missing.is_none() && snapshot.scan(&rest).await?.is_empty() {
                run.missing = Some((behind, next - 1));
            }
        }
        Ok(run)
    }

    fn take(
        &mut self,
        node: u64,
        sequence: u64,
        (key, value): (&Bytes, &Bytes),
        batch: &mut Batch,
    ) {
        // One that cannot be read is sealed as it stands, and found by nothing.
        if let Ok(record) = decode::<JournalRecord>(JOURNAL, key, value) {
            let instant = record.instant_millis;
            let first = self.earliest == 0 && self.latest == 0;
            self.earliest = if first { instant } else { self.earliest.min(instant) };
            self.latest = if first { instant } else { self.latest.max(instant) };
            for key in index::keys_of(node, sequence, &record) {
                batch.put(JOURNAL_INDEX, key, Bytes::new());
            }
        }
        self.leaves.push(leaf(key, value));
        self.last = sequence;
    }
}

async fn write(engine: &dyn Engine, batch: Batch) -> Result<(), StoreError> {
    if batch.put.is_empty() { Ok(()) } else { engine.commit(batch).await.map(drop) }
}

/// Whether the records from `wanted` up to `found` were never in this journal: a restore raises the
/// next number by a multiple of 2³² and writes its own record first.
pub(super) fn is_lost_time(key: &[u8], value: &[u8], wanted: u64, found: u64) -> bool {
    (found - wanted).is_multiple_of(SEQUENCES_RAISED_BY)
        && decode::<JournalRecord>(JOURNAL, key, value)
            .is_ok_and(|record| record.event == JournalEvent::Restored.word())
}
