//! The daily pieces: statement, signature, time stamp, and their objects.

use std::collections::{BTreeMap, BTreeSet};

use storage::{
    catalog::{
        engine::{Engine, Reader, Scan},
        pages::Pages,
    },
    error::StoreError,
    objects::{ObjectStore, named},
};
use trust::{
    clock::UnixMillis,
    digest::Sha256Digest,
    timestamp::{self, TimestampToken},
};

use super::{JournalFault, Scope, Trust, Verified};
use crate::pec::{
    journal::{
        head::{Head, JOURNAL_PIECES, digest, number_of, numbered},
        keeper::{OBJECT_OCTETS_MAX, decompressed},
        piece::{
            Extent, FOLDER, PieceRecord, PieceSeals, SEALS, SIGNATURE, STAMP, STATEMENT, Statement,
            period_end, read_folder,
        },
    },
    records::decode,
};

/// Pieces read at a time.
const PAGE: usize = 50;

/// How long after its end a day is stamped when nothing is in the way, in milliseconds.
const STAMPED_WITHIN: i64 = 2 * 86_400_000;

/// Late pieces that are listed.
const LATE_MAX: usize = 1_000;

/// Where the chain of pieces was followed to.
struct Before {
    number: u64,
    /// SHA-256 of its statement; `None` when it is not known.
    statement: Option<Sha256Digest>,
    until: Option<UnixMillis>,
    seals: Option<u64>,
    /// The highest instant of a time stamp so far.
    stamped: Option<UnixMillis>,
}

/// Verifies every piece.
pub(super) async fn verify(
    (engine, reader): (&dyn Engine, &dyn Reader),
    head: &Head,
    scope: &Scope<'_>,
    trust: Trust<'_>,
    verified: &mut Verified,
) -> Result<(), StoreError> {
    let mut objects = match scope.objects.filter(|_| scope.epoch == head.record.epoch) {
        None => None,
        Some(objects) => Some(Objects::list(objects, head).await?),
    };
    let mut before = Before {
        number: head.record.disposed_pieces,
        statement: Some(digest(&head.record.disposed_statement)),
        until: None,
        seals: Some(head.record.disposed_seals),
        stamped: None,
    };
    let prefix = Scan::prefix(JOURNAL_PIECES, &head.node.to_be_bytes(), PAGE);
    let start = numbered(head.node, before.number.saturating_add(1));
    let mut pages = Pages::new(Scan { start, ..prefix });
    'pages: while let Some(page) = pages.next(engine).await? {
        for (key, value) in page {
            let number = number_of(JOURNAL_PIECES, &key)?;
            if number > head.record.pieces {
                let last = super::last_of(reader, JOURNAL_PIECES, head.node).await?;
                verified.fault(JournalFault::PiecesBehindHead { first: number, last });
                break 'pages;
            }
            if number > before.number.saturating_add(1) {
                let (first, last) = (before.number.saturating_add(1), number - 1);
                verified.fault(JournalFault::PiecesMissing { first, last });
                before.lose(last);
            }
            let record: Option<PieceRecord> = decode(JOURNAL_PIECES, &key, &value).ok();
            let statement = record.as_ref().and_then(|record| Statement::read(&record.statement));
            let (Some(record), Some(statement)) = (record, statement) else {
                verified.fault(JournalFault::PieceChanged { piece: number });
                before.lose(number);
                continue;
            };
            before.follow(head, number, &record, &statement, verified);
            verified.disposals.first_from.get_or_insert(statement.from.0);
            catalog_agrees(reader, head, &statement, verified).await?;
            before.stamped = proofs(&record, &statement, trust, before.stamped, verified);
            match objects.as_mut() {
                Some(objects) if number <= head.record.stored => {
                    objects.look(&record, &statement, scope.files, verified).await?;
                }
                _ => verified.objects_unseen += 1,
            }
            verified.pieces += 1;
        }
    }
    if before.number < head.record.pieces {
        let (first, last) = (before.number.saturating_add(1), head.record.pieces);
        verified.fault(JournalFault::PiecesMissing { first, last });
    } else if head.record.pieces > 0
        && before.statement.is_some_and(|statement| statement != digest(&head.record.statement))
    {
        verified.fault(JournalFault::PieceChanged { piece: before.number });
    }
    if let Some(objects) = objects {
        objects.finish(engine, head.node, verified).await?;
    }
    Ok(())
}

impl Before {
    /// Nothing is known of the pieces up to `number`.
    fn lose(&mut self, number: u64) {
        *self = Self { number, statement: None, until: None, seals: None, ..*self };
    }

    /// The piece must be that of its place: its number, its period, its seals, the piece it follows.
    fn follow(
        &mut self,
        head: &Head,
        number: u64,
        record: &PieceRecord,
        statement: &Statement,
        verified: &mut Verified,
    ) {
        let first = statement.seals.map(|(first, _)| first);
        let in_place = statement.number == number
            && statement.node == head.node
            && self.until.is_none_or(|until| until == statement.from)
            && statement.until == period_end(statement.from)
            && (self.seals.zip(first)).is_none_or(|(last, first)| first == last.saturating_add(1));
        if !in_place {
            verified.fault(JournalFault::PieceChanged { piece: number });
        }
        if self.statement.is_some_and(|before| before != statement.previous) {
            verified.fault(JournalFault::PieceChainBroken { piece: number });
        }
        *self = Self {
            number,
            statement: Some(Sha256Digest::of(&record.statement)),
            until: Some(statement.until),
            seals: statement.seals.map(|(_, last)| last).or(self.seals),
            stamped: self.stamped,
        };
    }
}

/// The seals in the catalog must be those of the statement.
async fn catalog_agrees(
    reader: &dyn Reader,
    head: &Head,
    statement: &Statement,
    verified: &mut Verified,
) -> Result<(), StoreError> {
    let Some((first, last)) = statement.seals else { return Ok(()) };
    let fault = JournalFault::SealsOfPiece { piece: statement.number };
    let seals = match PieceSeals::read(reader, head.node, first, Extent::Last(last)).await {
        // Which one it is was told with the seals.
        Err(StoreError::Damaged { .. }) => {
            verified.fault(fault);
            return Ok(());
        }
        seals => seals?,
    };
    let signed = statement.files.iter().find(|file| file.name == SEALS);
    let agrees = signed.is_some_and(|file| file.digest == Sha256Digest::of(&seals.octets))
        && seals.seals == statement.seals
        && seals.records == statement.records
        && seals.chain == Some(statement.chain);
    if !agrees {
        verified.fault(fault);
    }
    Ok(())
}

/// Time stamp, then the signature as of its instant. Returns the highest instant of a stamp so far.
///
/// A day was not over before its end, and pieces are stamped one after the other: who makes them anew later
/// cannot have stamps of then.
fn proofs(
    record: &PieceRecord,
    statement: &Statement,
    trust: Trust<'_>,
    before: Option<UnixMillis>,
    verified: &mut Verified,
) -> Option<UnixMillis> {
    let piece = statement.number;
    let stamped = Sha256Digest::of(&record.signature);
    let stamp = TimestampToken::from_der(&record.stamp)
        .and_then(|token| timestamp::verify::verify(&token, stamped, trust.stamps));
    let mut fault = |reason| verified.fault(JournalFault::Stamp { piece, reason });
    let at = match stamp {
        Ok(stamp) => {
            let at = stamp.instant;
            if at < statement.until {
                fault("it was made before the day was over".to_owned());
            }
            if before.is_some_and(|before| at < before) {
                fault("it was made before that of an earlier day".to_owned());
            }
            Some(at)
        }
        Err(error) => {
            fault(causes(&error));
            None
        }
    };
    if at.is_some_and(|at| at > statement.until.plus_millis(STAMPED_WITHIN))
        && verified.stamped_late.len() < LATE_MAX
    {
        verified.stamped_late.push(piece);
    }
    let as_of = at.unwrap_or(UnixMillis(record.made_millis));
    match trust.signatures.verify(&record.statement, &record.signature, as_of) {
        Ok(verdict) => {
            let addresses = verdict.signer.email_addresses();
            if !addresses.iter().any(|one| one.eq_ignore_ascii_case(trust.service_address)) {
                verified.fault(JournalFault::SignedByOther { piece });
            }
        }
        Err(error) => {
            let reason = causes(&error);
            verified.fault(JournalFault::Signature { piece, reason });
        }
    }
    before.max(at)
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// What lies in the object store.
struct Objects<'o> {
    store: &'o dyn ObjectStore,
    /// Names that no piece has claimed yet.
    left: BTreeSet<String>,
    /// The epoch of each piece.
    epochs: BTreeMap<u64, u32>,
}

impl<'o> Objects<'o> {
    async fn list(objects: &'o dyn ObjectStore, head: &Head) -> Result<Self, StoreError> {
        let names = named::list(objects, &format!("{FOLDER}/{}", head.node)).await?;
        Ok(Self { store: objects, left: names.into_iter().collect(), epochs: BTreeMap::new() })
    }

    /// Compares the objects of one piece with the catalog.
    async fn look(
        &mut self,
        record: &PieceRecord,
        statement: &Statement,
        files: bool,
        verified: &mut Verified,
    ) -> Result<(), StoreError> {
        self.epochs.insert(statement.number, statement.epoch);
        let proofs = [
            (STATEMENT, &record.statement),
            (SIGNATURE, &record.signature),
            (STAMP, &record.stamp),
        ];
        for (name, octets) in proofs {
            let found = self.take(statement.object(name), true, verified).await?;
            if found.is_some_and(|found| found != *octets) {
                let object = statement.object(name);
                verified.fault(JournalFault::ObjectChanged { object });
            }
        }
        for file in &statement.files {
            let compressed = file.name != SEALS;
            let ending = if compressed { ".zst" } else { "" };
            let object = statement.object(&format!("{}{ending}", file.name));
            let Some(found) = self.take(object.clone(), files, verified).await? else { continue };
            let inside = if compressed { decompressed(&found) } else { Some(found) };
            if inside.is_none_or(|inside| Sha256Digest::of(&inside) != file.digest) {
                verified.fault(JournalFault::ObjectChanged { object });
            }
        }
        Ok(())
    }

    /// Looks for an object, and reads it when asked to.
    async fn take(
        &mut self,
        object: String,
        read: bool,
        verified: &mut Verified,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        if !self.left.remove(&object) {
            verified.fault(JournalFault::ObjectMissing { object });
            return Ok(None);
        }
        if !read {
            return Ok(None);
        }
        let found = match named::read(self.store, &object, OBJECT_OCTETS_MAX).await {
            Err(StoreError::Damaged { .. }) => {
                verified.fault(JournalFault::ObjectChanged { object });
                return Ok(None);
            }
            found => found?,
        };
        verified.objects += 1;
        if found.is_none() {
            verified.fault(JournalFault::ObjectMissing { object });
        }
        Ok(found.map(|octets| octets.to_vec()))
    }

    /// Judges what no piece has.
    async fn finish(
        self,
        engine: &dyn Engine,
        node: u64,
        verified: &mut Verified,
    ) -> Result<(), StoreError> {
        // Pieces that were made, and disposed of, meanwhile.
        let head = Head::read(engine, node).await?.record;
        let mut lost = BTreeSet::new();
        for object in self.left {
            let folder = object.rsplit_once('/').map_or("", |(folder, _)| folder);
            match read_folder(folder) {
                Some((_, _, number, epoch)) => {
                    let own = self.epochs.get(&number).copied().unwrap_or(head.epoch);
                    if epoch < own {
                        lost.insert(folder.to_owned());
                        continue;
                    }
                    let busy = epoch == own
                        && (number > head.stored && number <= head.pieces
                            || number == head.disposing);
                    let made = epoch == own
                        && number <= head.pieces
                        && !self.epochs.contains_key(&number)
                        && number > head.disposed_pieces;
                    if !busy && !made {
                        verified.fault(JournalFault::ObjectUnknown { object });
                    }
                }
                None => verified.fault(JournalFault::ObjectUnknown { object }),
            }
        }
        verified.lost_pieces = lost.len() as u64;
        Ok(())
    }
}
