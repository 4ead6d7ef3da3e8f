//! Scans of more than one page.
//!
//! A page ends at its number of entries, at its octets, or where the scan ends: a record of a
//! message may have a mebibyte, and five hundred of them are no page. Who counts entries to see
//! whether a page was the last one would take one that was cut by its octets for the end, and miss
//! the rest. So nobody counts: [`Pages`] ends when the engine says that nothing comes behind.

use super::engine::{Entries, Family, Page, Reader, Scan};
use crate::error::StoreError;

/// Octets of one page, keys and values, unless a single entry has more.
pub const PAGE_OCTETS_MAX: usize = 4 << 20;

/// The pages of a scan, one after the other.
///
/// It holds no state of the catalog: each page is read from whatever reader it is asked of.
#[derive(Clone, Debug)]
pub struct Pages {
    rest: Option<Scan>,
}

impl Pages {
    /// The pages of `scan`, each of at most `scan.limit` entries.
    #[must_use]
    pub fn new(scan: Scan) -> Self {
        Self { rest: Some(Scan { limit: scan.limit.max(1), ..scan }) }
    }

    /// The pages of every key that begins with `prefix`, each of at most `entries_max` entries.
    #[must_use]
    pub fn prefix(family: Family, prefix: &[u8], entries_max: usize) -> Self {
        Self::new(Scan::prefix(family, prefix, entries_max))
    }

    /// The next page, which has an entry at least; `None` at the end. After an error the same page
    /// may be asked for again.
    pub async fn next(
        &mut self,
        reader: &(impl Reader + ?Sized),
    ) -> Result<Option<Entries>, StoreError> {
        let Some(scan) = &self.rest else { return Ok(None) };
        let Page { entries, rest } = reader.page(scan, PAGE_OCTETS_MAX).await?;
        self.rest = rest;
        Ok((!entries.is_empty()).then_some(entries))
    }

    /// Whether the last page was the last one.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.rest.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{engine::Batch, engine::Engine as _, simulated::SimulatedEngine};

    const ROWS: Family = Family("rows");

    #[tokio::test]
    async fn a_page_cut_by_its_octets_is_not_taken_for_the_last() {
        let engine = SimulatedEngine::new(&[ROWS]);
        let mut batch = Batch::default();
        for number in 0..10_u8 {
            batch.put(ROWS, vec![number], vec![number; 1 << 20]);
        }
        batch.put(ROWS, vec![10], vec![10; 2 * PAGE_OCTETS_MAX]).put(ROWS, vec![11], "small");
        engine.commit(batch).await.expect("commit");
        let (mut pages, mut lengths, mut keys) = (Pages::prefix(ROWS, b"", 500), vec![], vec![]);
        while let Some(page) = pages.next(&*engine).await.expect("page") {
            lengths.push(page.len());
            keys.extend(page.iter().map(|(key, _)| key[0]));
        }
        assert_eq!(keys, (0..12).collect::<Vec<u8>>());
        assert_eq!(
            lengths,
            [3, 3, 3, 1, 1, 1],
            "three of a mebibyte and their keys, then what is left"
        );
        assert!(pages.is_at_end());
        assert_eq!(pages.next(&*engine).await.expect("page"), None);
    }
}
