//! Whether what is gone was due to go: the marks of the head against the records that tell of disposal.

use std::collections::BTreeSet;

use storage::{catalog::engine::Engine, error::StoreError};
use trust::digest::Sha256Digest;

use super::{JournalFault, Scope, Verified};
use crate::pec::{
    journal::{
        JournalEvent,
        head::{Head, digest},
        keeper::KEPT_MONTHS_MIN,
        piece::{months_before, read_folder},
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
    if from > months_before(scope.now, KEPT_MONTHS_MIN).0 {
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
