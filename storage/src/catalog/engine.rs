//! What keeps the catalog: the [`Engine`] trait.
//!
//! Keys are ordered octets within a [`Family`]; values are opaque here. Invariants every engine
//! holds, proven by one contract suite:
//!
//! * A [`Batch`] is applied whole or not at all, also across a crash.
//! * `expect` is checked and the batch applied without any other batch in between.
//! * After a commit with [`Durability::Synced`] returned, that batch and every batch whose effects
//!   could have been read before it was committed survive a crash.
//! * A snapshot sees exactly the batches committed before it was taken, however long it lives.
//! * [`Reader::page`] ends at a number of entries, at a number of octets, or where the scan ends, and
//!   says whether there is more. It has one entry at least, unless there is none.
//! * [`Batch::append_numbered`] numbers records without gaps and without repeats: the number is
//!   fixed in the same atomic step that applies the batch.
//!
//! Not here: what keys and values mean (`keys`, `records`), going over many pages (`pages`).

use std::{path::Path, sync::Arc};

use bytes::Bytes;

use crate::error::StoreError;

/// A named part of the key space. The name is a whole word and stands on disk.
///
/// Every family is declared once, in `catalog::keys` or by the floor above that owns it, and
/// handed to the engine when the store is opened.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Family(pub &'static str);

/// What must stand under a key for a batch to be applied.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Expected {
    /// Nothing.
    Absent,
    /// Something, whatever it is.
    Present,
    /// Exactly this value.
    Value(Bytes),
}

/// When a commit may return.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Durability {
    /// After the write-ahead log is on disk.
    #[default]
    Synced,
    /// After the batch is visible; it becomes durable with the next synced commit.
    Buffered,
}

/// Changes that are applied together.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Conditions, all of which must hold before any change is applied.
    pub expect: Vec<(Family, Bytes, Expected)>,
    /// Values to write. Later entries win over earlier ones with the same key.
    pub put: Vec<(Family, Bytes, Bytes)>,
    /// Keys to remove, applied after `put`.
    pub delete: Vec<(Family, Bytes)>,
    /// Records to append to numbered sequences: family, key prefix, value. The key is the prefix
    /// and the next number as eight big-endian octets.
    pub numbered: Vec<(Family, Bytes, Bytes)>,
    /// When the commit may return.
    pub durability: Durability,
}

impl Batch {
    /// Adds a condition.
    pub fn expect(
        &mut self,
        family: Family,
        key: impl Into<Bytes>,
        expected: Expected,
    ) -> &mut Self {
        self.expect.push((family, key.into(), expected));
        self
    }

    /// Adds a value to write.
    pub fn put(
        &mut self,
        family: Family,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
    ) -> &mut Self {
        self.put.push((family, key.into(), value.into()));
        self
    }

    /// Adds a key to remove.
    pub fn delete(&mut self, family: Family, key: impl Into<Bytes>) -> &mut Self {
        self.delete.push((family, key.into()));
        self
    }

    /// Adds a record that takes the next number under `prefix`.
    pub fn append_numbered(
        &mut self,
        family: Family,
        prefix: impl Into<Bytes>,
        value: impl Into<Bytes>,
    ) -> &mut Self {
        self.numbered.push((family, prefix.into(), value.into()));
        self
    }

    /// Appends everything of `other`. The result is synced when either was.
    pub fn merge(&mut self, other: Self) {
        self.expect.extend(other.expect);
        self.put.extend(other.put);
        self.delete.extend(other.delete);
        self.numbered.extend(other.numbered);
        if other.durability == Durability::Synced {
            self.durability = Durability::Synced;
        }
    }
}

/// Where a scan begins, ends, and how much it returns at most.
#[derive(Clone, Debug)]
pub struct Scan {
    /// The family.
    pub family: Family,
    /// First key (inclusive).
    pub start: Bytes,
    /// Key to stop before; `None` = the end of the family.
    pub end: Option<Bytes>,
    /// From the last key downwards.
    pub reverse: bool,
    /// Entries returned at most, by one page.
    pub limit: usize,
}

impl Scan {
    /// Scans every key that begins with `prefix`.
    #[must_use]
    pub fn prefix(family: Family, prefix: &[u8], limit: usize) -> Self {
        // The first key after all keys with the prefix: the prefix with its last octet below
        // 0xff raised by one, what follows that octet cut off.
        let mut end = prefix.to_vec();
        while end.last() == Some(&0xff) {
            end.pop();
        }
        let end = end.last_mut().map(|last| *last += 1).map(|()| Bytes::from(end));
        Self { family, start: Bytes::copy_from_slice(prefix), end, reverse: false, limit }
    }

    /// What is left of the scan behind `key`.
    fn behind(&self, key: &Bytes) -> Self {
        if self.reverse {
            return Self { end: Some(key.clone()), ..self.clone() };
        }
        Self { start: [key.as_ref(), &[0]].concat().into(), ..self.clone() }
    }
}

/// A range of keys of which no old values shall stay: family, first key, key to stop before.
pub type PurgeRange = (Family, Bytes, Option<Bytes>);

/// Keys and values of a scan, in order.
pub type Entries = Vec<(Bytes, Bytes)>;

/// A part of a scan.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Keys and values, in order.
    pub entries: Entries,
    /// The scan of what comes behind them; `None` = nothing does. How many entries a page has
    /// says nothing about that.
    pub rest: Option<Scan>,
}

/// A page that an engine fills.
#[derive(Debug)]
pub(crate) struct PageFiller<'s> {
    scan: &'s Scan,
    octets_max: usize,
    octets: usize,
    entries: Entries,
}

impl<'s> PageFiller<'s> {
    pub(crate) fn new(scan: &'s Scan, octets_max: usize) -> Self {
        Self { scan, octets_max, octets: 0, entries: Entries::new() }
    }

    /// Whether the next entry, of so many octets, belongs to the page.
    pub(crate) fn has_room(&self, octets: usize) -> bool {
        let fits = self.octets.saturating_add(octets) <= self.octets_max;
        self.entries.len() < self.scan.limit && (fits || self.entries.is_empty())
    }

    pub(crate) fn push(&mut self, key: Bytes, value: Bytes) {
        self.octets = self.octets.saturating_add(key.len() + value.len());
        self.entries.push((key, value));
    }

    /// The page; `more` says that an entry was left for the next.
    pub(crate) fn finish(self, more: bool) -> Page {
        let last = self.entries.last().filter(|_| more);
        let rest = last.map(|(last, _)| self.scan.behind(last));
        Page { entries: self.entries, rest }
    }
}

/// Reads, at the present state or at a snapshot.
#[async_trait::async_trait]
pub trait Reader: Send + Sync {
    /// Returns the value under `key`, `None` when there is none.
    async fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// As many [`Reader::get`]s, answered in the order asked, all from one state.
    async fn multi_get(&self, keys: &[(Family, Bytes)]) -> Result<Vec<Option<Bytes>>, StoreError>;

    /// Returns the first entries of `scan`, in key order (or reverse), all from one state: as many
    /// as `scan.limit` allows and as have no more than `octets_max` octets, keys and values, but one
    /// in any case, however large it is.
    ///
    /// Whoever wants more than one page uses [`Pages`](super::pages::Pages).
    async fn page(&self, scan: &Scan, octets_max: usize) -> Result<Page, StoreError>;

    /// Returns at most `scan.limit` entries, whatever they weigh: for few, or small ones. Fewer than
    /// the limit mean that there are no more.
    async fn scan(&self, scan: &Scan) -> Result<Entries, StoreError> {
        Ok(self.page(scan, usize::MAX).await?.entries)
    }
}

/// The keeper of the catalog.
#[async_trait::async_trait]
pub trait Engine: Reader + 'static {
    /// Takes a snapshot. It holds resources until dropped: drop it within minutes.
    async fn snapshot(&self) -> Result<Arc<dyn Reader>, StoreError>;

    /// Applies `batch`.
    ///
    /// Returns the numbers given to `batch.numbered`, in order. [`StoreError::Conflict`] when a
    /// condition does not hold; [`StoreError::Engine`] when nothing is known to be applied or,
    /// after a failed sync, when it is unknown: such an engine refuses every later commit until
    /// it is reopened, so that the caller never builds on a lost batch.
    async fn commit(&self, batch: Batch) -> Result<Vec<u64>, StoreError>;

    /// Makes values that were replaced or removed before the call, under keys of `ranges`, be gone
    /// from the engine's files: where `None` ends a range, it goes to the end of the family.
    /// Values that a snapshot still sees may stay. Slow; takes a place beside other work. Returns the
    /// octets of the files that it may have gone through, for who has to pace it. An engine that
    /// keeps no old values does nothing.
    async fn purge(&self, ranges: &[PurgeRange]) -> Result<u64, StoreError> {
        let _ = ranges;
        Ok(0)
    }

    /// Makes everything durable and closes; later calls fail with [`StoreError::Closed`].
    async fn close(&self) -> Result<(), StoreError>;

    /// What writes checkpoints of this engine; `None` when it keeps its data elsewhere.
    fn checkpoints(&self) -> Option<&dyn CheckpointSource> {
        None
    }
}

/// Writes checkpoints of an engine that keeps its data in files.
#[async_trait::async_trait]
pub trait CheckpointSource: Send + Sync {
    /// Writes files into `folder`, which does not exist yet, that open as the state of one instant
    /// during the call: every batch that was answered before the call is in it, no batch in part.
    /// Commits go on meanwhile.
    async fn checkpoint(&self, folder: &Path) -> Result<(), StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_scan_ends_before_the_next_prefix() {
        let family = Family("rows");
        assert_eq!(Scan::prefix(family, b"ab", 1).end.as_deref(), Some(b"ac".as_slice()));
        assert_eq!(Scan::prefix(family, b"a\xff", 1).end.as_deref(), Some(b"b".as_slice()));
        assert_eq!(Scan::prefix(family, b"\xff\xff", 1).end, None);
    }
}
