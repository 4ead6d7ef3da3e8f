//! Whether what is gone was due to go: the marks of the head against the records that tell of disposal.

use std::collections::BTreeSet;

use storage::{
    catalog::{
        engine::{Engine, Reader, Scan},
        keys,
    },
    error::StoreError,
};
use trust::digest::Sha256Digest;

use super::{JournalFault, Scope, Verified};
use crate::pec::{
    journal::{
        JournalEvent,
        disposal::months_of,
        head::{Head, JOURNAL_SEALS, digest, numbered},
        keeper::KEPT_MONTHS_MIN,
        piece::{months_before, read_folder},
        seal::Seal,
    },
    records::JournalRecord,
};

/// What the records that were read tell of the last disposal.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Told {
    /// What the record of the last disposed piece says, if it was met.
    last: Option<String>,
    /// The beginning of the first piece that is left, in milliseconds since the epoch.
    pub(super) first_from: Option<i64>,
}

impl Told {
    /// For how many months the journal was kept when the last piece went: as its record tells, where that is
    /// less than `configured`, for the setting may have been raised since; never less than the law wants.
    fn months(&self, configured: u32) -> u32 {
        // Records of older versions do not tell: they knew the least alone.
        let told = self.last.as_deref().map(|detail| months_of(detail).unwrap_or(KEPT_MONTHS_MIN));
        told.map_or(configured, |told| told.min(configured)).max(KEPT_MONTHS_MIN)
    }

    /// Looks at a record: does it tell of the last disposal?
    pub(super) fn take(&mut self, head: &Head, record: &JournalRecord) {
        let number = head.record.disposed_pieces;
        if number > 0
            && record.event == JournalEvent::Disposed.word()
            && record.detail.starts_with(&format!("piece {number}, "))
        {
            self.last = Some(record.detail.clone());
        }
    }
}

/// Compares the marks of the head with the time, and with the record of the last disposal.
pub(super) fn verify(head: &Head, scope: &Scope<'_>, verified: &mut Verified) {
    let marks = &head.record;
    let piece = marks.disposed_pieces;
    if piece == 0 {
        // The first disposal, in the middle: its record was written first.
        let gone = marks.disposed_sequence > 0 || marks.disposed_seals > 0;
        if gone && marks.disposing == 0 {
            verified.fault(JournalFault::DisposalUntold { piece: 1 });
        }
        return;
    }
    let from = verified.disposals.first_from.unwrap_or(marks.period_millis);
    let months = verified.disposals.months(scope.kept_months);
    if from > months_before(scope.now, months).0 {
        verified.fault(JournalFault::DisposedEarly { piece: piece.saturating_add(1) });
    }
    let names = |detail: &str, what: &str, digest: Sha256Digest| {
        detail.contains(&format!("{what} {}", hex::encode(digest.0)))
    };
    let told = verified.disposals.last.as_deref().is_some_and(|detail| {
        names(detail, "statement", digest(&marks.disposed_statement))
            // While the next piece goes its seals move the mark.
            && (marks.disposing != 0 || names(detail, "chain", digest(&marks.disposed_seal)))
    });
    if !told {
        verified.fault(JournalFault::DisposalUntold { piece });
    }
}

/// Reports records that the first seal which is left covers, or that wait for one, and that the head calls
/// disposed of. While a day goes its records do so before its seals.
pub(super) async fn no_records_before_the_mark(
    reader: &dyn Reader,
    head: &Head,
    verified: &mut Verified,
) -> Result<(), StoreError> {
    let mark = head.record.disposed_sequence;
    let prefix = Scan::prefix(JOURNAL_SEALS, &head.node.to_be_bytes(), 1);
    let start = numbered(head.node, head.record.disposed_seals.saturating_add(1));
    let left = reader.scan(&Scan { start, ..prefix }).await?;
    let seal =
        left.first().map(|(key, octets)| Seal::read(octets, || keys::object(JOURNAL_SEALS, key)));
    let first = match seal {
        None => head.record.sequence.saturating_add(1),
        Some(Ok(seal)) => seal.first,
        // It is told of with the chain.
        Some(Err(_)) => return Ok(()),
    };
    if first > mark {
        Ok(())
    } else {
        super::no_records(reader, head.node, (first, mark), verified).await
    }
}

/// Takes out what was disposed of while this ran.
pub(super) async fn leave_out(
    engine: &dyn Engine,
    verified: &mut Verified,
    node: u64,
) -> Result<(), StoreError> {
    let record = Head::read(engine, node).await?.record;
    let (records, seals) = (record.disposed_sequence, record.disposed_seals);
    let pieces = record.disposed_pieces.max(record.disposing);
    verified.faults.retain(|fault| match fault {
        JournalFault::RecordsMissing { last, .. } => *last > records,
        JournalFault::IndexMissing { sequence } => *sequence > records,
        JournalFault::RecordsChanged { seal, .. }
        | JournalFault::LeavesChanged { seal }
        | JournalFault::SealChanged { seal } => *seal > seals,
        JournalFault::SealsMissing { last, .. } => *last > seals,
        JournalFault::PiecesMissing { last, .. } => *last > pieces,
        JournalFault::PieceChanged { piece } | JournalFault::SealsOfPiece { piece } => {
            *piece > pieces
        }
        JournalFault::ObjectMissing { object } => {
            read_folder(object.rsplit_once('/').map_or("", |(folder, _)| folder))
                .is_none_or(|(_, _, number, _)| number > pieces)
        }
        _ => true,
    });
    let mut seen = BTreeSet::new();
    verified.faults.retain(|fault| seen.insert(format!("{fault:?}")));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_was_raised_since_makes_no_disposal_early() {
        let of = |detail: Option<&str>, configured| {
            let last = detail.map(str::to_owned);
            Told { last, ..Told::default() }.months(configured)
        };
        let told = |months| format!("piece 7, from 1 until 2, statement ab, months {months}");
        assert_eq!(of(Some(&told(30)), 60), 30);
        assert_eq!(of(Some(&told(60)), 60), 60);
        assert_eq!(of(Some(&told(60)), 30), 30, "it was lowered");
        assert_eq!(of(Some(&told(1)), 60), KEPT_MONTHS_MIN, "never less than the law wants");
        assert_eq!(of(Some("piece 7, from 1 until 2, statement ab"), 60), KEPT_MONTHS_MIN);
        assert_eq!(of(None, 60), 60, "nobody tells of it");
    }
}
