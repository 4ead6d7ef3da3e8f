//! What every engine does with a batch before it writes: checks the conditions and numbers the
//! numbered records.
//!
//! The caller holds whatever keeps other batches away between [`resolve`] and the write. The next
//! number of a sequence stands in the family [`NUMBERED_SEQUENCES`], which the engine keeps for
//! itself and writes in the same batch, so that numbers neither repeat nor leave a gap, also when
//! the numbered records themselves have been deleted.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::engine::{Batch, Expected, Family, Reader};
use crate::error::StoreError;

/// The engine's own family: the next number of every sequence.
pub const NUMBERED_SEQUENCES: Family = Family("numbered_sequences");

/// A batch whose conditions hold, as plain writes.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    /// Values to write (`None` = delete), in the order in which they are to be applied.
    pub(super) writes: Vec<(Family, Bytes, Option<Bytes>)>,
    /// Numbers given to `Batch::numbered`, in order.
    pub(super) numbers: Vec<u64>,
}

/// Checks `batch` against the state that `read` returns and turns it into writes.
///
/// [`StoreError::Conflict`] when a condition does not hold; [`StoreError::Engine`] when the batch
/// names a family that was not declared.
pub(super) fn resolve(
    batch: Batch,
    families: &BTreeSet<Family>,
    mut read: impl FnMut(Family, &Bytes) -> Result<Option<Bytes>, StoreError>,
) -> Result<Resolved, StoreError> {
    let Batch { expect, put, delete, numbered, durability: _ } = batch;
    for (family, key, expected) in &expect {
        declared(families, *family, "commit")?;
        let found = read(*family, key)?;
        let holds = match expected {
            Expected::Absent => found.is_none(),
            Expected::Present => found.is_some(),
            Expected::Value(value) => found.as_ref() == Some(value),
        };
        if !holds {
            return Err(StoreError::Conflict);
        }
    }
    let mut resolved = Resolved::default();
    for (family, key, value) in put {
        declared(families, family, "commit")?;
        resolved.writes.push((family, key, Some(value)));
    }
    for (family, key) in delete {
        declared(families, family, "commit")?;
        resolved.writes.push((family, key, None));
    }
    let mut sequences: BTreeMap<Bytes, u64> = BTreeMap::new();
    for (family, prefix, value) in numbered {
        declared(families, family, "commit")?;
        let sequence = sequence_key(family, &prefix);
        let number = match sequences.get(&sequence) {
            Some(next) => *next,
            None => sequence_value(read(NUMBERED_SEQUENCES, &sequence)?, &sequence)?,
        };
        let next = number.checked_add(1).ok_or(StoreError::Exhausted("numbers of a sequence"))?;
        sequences.insert(sequence, next);
        resolved.writes.push((family, numbered_key(&prefix, number), Some(value)));
        resolved.numbers.push(number);
    }
    for (sequence, next) in sequences {
        let next = Bytes::copy_from_slice(&next.to_be_bytes());
        resolved.writes.push((NUMBERED_SEQUENCES, sequence, Some(next)));
    }
    Ok(resolved)
}

/// Refuses a family that the engine was not opened with: a mistake of the floor that uses it.
pub(super) fn declared(
    families: &BTreeSet<Family>,
    family: Family,
    operation: &'static str,
) -> Result<(), StoreError> {
    if families.contains(&family) {
        return Ok(());
    }
    Err(StoreError::Engine { operation, source: Box::new(UndeclaredFamily(family.0)) })
}

/// A family was used that the store was not opened with.
#[derive(Debug, thiserror::Error)]
#[error("family `{0}` was not declared when the store was opened: add it to the store's families")]
struct UndeclaredFamily(&'static str);

/// The key of a numbered record: the prefix and the number as eight big-endian octets.
fn numbered_key(prefix: &[u8], number: u64) -> Bytes {
    [prefix, &number.to_be_bytes()].concat().into()
}

/// The key of a sequence's next number: the family's name, a zero octet, the prefix.
fn sequence_key(family: Family, prefix: &[u8]) -> Bytes {
    [family.0.as_bytes(), &[0], prefix].concat().into()
}

/// Reads the number that the next record of `family` under `prefix` gets: from one snapshot, all
/// records with lower numbers that were ever appended are there, unless somebody removed them.
pub async fn next_number(
    reader: &(impl Reader + ?Sized),
    family: Family,
    prefix: &[u8],
) -> Result<u64, StoreError> {
    let key = sequence_key(family, prefix);
    sequence_value(reader.get(NUMBERED_SEQUENCES, &key).await?, &key)
}

/// The next number that `value` holds; sequences begin at 1.
fn sequence_value(value: Option<Bytes>, key: &[u8]) -> Result<u64, StoreError> {
    let Some(value) = value else { return Ok(1) };
    let octets: [u8; 8] = value.as_ref().try_into().map_err(|_| StoreError::Damaged {
        object: format!("numbered_sequences/{}", key.escape_ascii()),
        detail: format!("{} octets instead of 8", value.len()),
    })?;
    Ok(u64::from_be_bytes(octets))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::Golden;

    #[test]
    fn next_numbers_stay_as_they_are() {
        let key = sequence_key(Family("journal"), &1_u64.to_be_bytes());
        let golden = Golden::of("numbered_sequences").key(&key);
        golden.holds(
            &(1 << 40),
            |next: &u64| next.to_be_bytes(),
            |octets| sequence_value(Some(Bytes::copy_from_slice(octets)), &key).expect("a number"),
        );
        assert_eq!(numbered_key(&[7], 258).as_ref(), [7, 0, 0, 0, 0, 0, 0, 1, 2]);
    }

    #[test]
    fn a_sequence_that_is_no_number_gives_out_none_and_is_named() {
        const JOURNAL: Family = Family("journal");
        for octets in [&[][..], &[0; 7], &[0; 9]] {
            let mut batch = Batch::default();
            batch.append_numbered(JOURNAL, "node", "record");
            let found = |_, _: &Bytes| Ok(Some(Bytes::copy_from_slice(octets)));
            let refused = resolve(batch, &BTreeSet::from([JOURNAL]), found);
            let Err(StoreError::Damaged { object, .. }) = refused else { panic!("{refused:?}") };
            assert!(object.starts_with("numbered_sequences/journal"), "{object}");
        }
    }
}
