//! The records under one seal.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use storage::{
    catalog::{
        engine::{Family, Reader, Scan},
        pages::Pages,
    },
    error::StoreError,
};
use trust::digest::Sha256Digest;

use super::{JournalFault, Verified};
use crate::pec::{
    journal::{
        head::{Head, JOURNAL_INDEX, leaves, number_of, numbered},
        index,
        seal::{Seal, Tree, leaf, root},
    },
    records::{JOURNAL, JournalRecord, decode},
};

/// Records read at a time.
const PAGE: usize = 500;

/// Records of one seal that are compared each with each, to see what was moved.
const COMPARED_MAX: usize = 256;

fn pages(seal: &Seal) -> Pages {
    let prefix = Scan::prefix(JOURNAL, &seal.node.to_be_bytes(), PAGE);
    let end = seal.last.checked_add(1).map(|end| numbered(seal.node, end));
    let start = numbered(seal.node, seal.first);
    Pages::new(Scan { start, end: end.or(prefix.end.clone()), ..prefix })
}

/// Verifies the records of `seal`.
pub(super) async fn verify(
    reader: &dyn Reader,
    head: &Head,
    seal: &Seal,
    verified: &mut Verified,
) -> Result<(), StoreError> {
    let (mut tree, mut pages) = (Tree::default(), pages(seal));
    let mut unfound = BTreeSet::new();
    while let Some(page) = pages.next(reader).await? {
        let mut wanted = Vec::new();
        for (key, value) in page {
            tree.push(leaf(&key, &value));
            verified.records += 1;
            // One that cannot be read was sealed as it stands, and is found by nothing.
            let Ok(record) = decode::<JournalRecord>(JOURNAL, &key, &value) else { continue };
            verified.disposals.take(head, &record);
            let sequence = number_of(JOURNAL, &key)?;
            let keys = index::keys_of(seal.node, sequence, &record);
            wanted.extend(keys.into_iter().map(|key| (sequence, (JOURNAL_INDEX, key))));
        }
        unfound.extend(not_in_index(reader, wanted).await?);
    }
    let whole = tree.root() == seal.root;
    // The index of what was changed says what it was before.
    for sequence in unfound.into_iter().filter(|_| whole) {
        verified.fault(JournalFault::IndexMissing { sequence });
    }
    let leaves = leaves(reader, seal.node, seal.number).await?;
    let own = root(&leaves) == seal.root && Some(leaves.len() as u64) == count(seal);
    match (whole, own) {
        (true, true) => Ok(()),
        (true, false) => {
            verified.fault(JournalFault::LeavesChanged { seal: seal.number });
            Ok(())
        }
        (false, true) => name(reader, seal, &leaves, verified).await,
        (false, false) => missing_or_changed(reader, seal, verified).await,
    }
}

/// The records that one of their addresses or identifiers does not lead to.
async fn not_in_index(
    reader: &dyn Reader,
    wanted: Vec<(u64, (Family, Bytes))>,
) -> Result<BTreeSet<u64>, StoreError> {
    let (sequences, keys): (Vec<u64>, Vec<_>) = wanted.into_iter().unzip();
    let found = reader.multi_get(&keys).await?;
    let missing = sequences.into_iter().zip(found).filter(|(_, found)| found.is_none());
    Ok(missing.map(|(sequence, _)| sequence).collect())
}

/// How many records a seal has.
fn count(seal: &Seal) -> Option<u64> {
    seal.last.checked_sub(seal.first)?.checked_add(1)
}

/// Names the records that are not as their leaves say.
async fn name(
    reader: &dyn Reader,
    seal: &Seal,
    leaves: &[Sha256Digest],
    verified: &mut Verified,
) -> Result<(), StoreError> {
    let mut present = vec![false; leaves.len()];
    let mut strange: BTreeMap<u64, Bytes> = BTreeMap::new();
    let mut pages = pages(seal);
    while let Some(page) = pages.next(reader).await? {
        for (key, value) in page {
            let sequence = number_of(JOURNAL, &key)?;
            let Ok(index) = usize::try_from(sequence - seal.first) else { continue };
            present[index] = true;
            if leaves[index] != leaf(&key, &value) {
                strange.insert(
                    sequence,
                    if strange.len() < COMPARED_MAX { value } else { Bytes::new() },
                );
            }
        }
    }
    let wanted = (seal.first..).zip(leaves.iter().zip(&present));
    let wanted =
        wanted.filter(|(sequence, (_, present))| !**present || strange.contains_key(sequence));
    // What was sealed under each of these numbers: where it is now, if anywhere.
    let mut moved: BTreeMap<u64, u64> = BTreeMap::new();
    let mut taken: BTreeMap<u64, u64> = BTreeMap::new();
    let mut gone: Vec<(u64, bool)> = Vec::new();
    for (sequence, (sealed, present)) in wanted {
        let key = numbered(seal.node, sequence);
        let compared =
            strange.iter().take(COMPARED_MAX).filter(|(now, _)| !taken.contains_key(now));
        let found = compared.filter(|(now, _)| **now != sequence);
        let found = found.filter(|_| gone.len() + moved.len() < COMPARED_MAX);
        match { found }.find(|(_, value)| leaf(&key, value) == *sealed).map(|(now, _)| *now) {
            Some(now) => {
                moved.insert(sequence, now);
                taken.insert(now, sequence);
            }
            None => gone.push((sequence, *present)),
        }
    }
    for (sequence, now) in &moved {
        verified.fault(JournalFault::RecordMoved { sequence: *sequence, now: *now });
    }
    for (sequence, present) in &gone {
        verified.fault(if *present && !taken.contains_key(sequence) {
            JournalFault::RecordChanged { sequence: *sequence }
        } else {
            JournalFault::RecordsMissing { first: *sequence, last: *sequence }
        });
    }
    // Its own record is elsewhere, and what stands there was never sealed.
    for sequence in moved.keys().filter(|at| strange.contains_key(at) && !taken.contains_key(at)) {
        verified.fault(JournalFault::RecordInserted { sequence: *sequence });
    }
    Ok(())
}

/// Without leaves: names what is missing; else the whole seal.
async fn missing_or_changed(
    reader: &dyn Reader,
    seal: &Seal,
    verified: &mut Verified,
) -> Result<(), StoreError> {
    let mut wanted = seal.first;
    let (mut complete, mut pages) = (true, pages(seal));
    while let Some(page) = pages.next(reader).await? {
        for (key, _) in page {
            let sequence = number_of(JOURNAL, &key)?;
            if sequence > wanted {
                verified.fault(JournalFault::RecordsMissing { first: wanted, last: sequence - 1 });
                complete = false;
            }
            wanted = sequence.saturating_add(1);
        }
    }
    if wanted <= seal.last {
        verified.fault(JournalFault::RecordsMissing { first: wanted, last: seal.last });
        complete = false;
    }
    if complete {
        let Seal { number, first, last, .. } = *seal;
        verified.fault(JournalFault::RecordsChanged { seal: number, first, last });
    }
    Ok(())
}
