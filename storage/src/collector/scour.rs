//! Packs that have octets of erased messages: they are rewritten, however much of them is live.
//!
//! A chunk of an erased message is swept like any other, once nothing refers to it. Its octets then
//! lie in a pack, where nothing leads to them, and a pack of which more than half is live would keep
//! them for years. So the erasure notes the chunks of the message; the batch that sweeps one of them
//! marks its pack, and the next phase rewrites what is marked. The mark goes with the row of the pack.
//!
//! A chunk that another message shares stays, and so does its note: whenever the chunk is swept, its
//! pack is rewritten.
//!
//! | family | key | value |
//! |---|---|---|
//! | `erased_chunks` | StoredId (32) | nothing |
//! | `collector_state` | `scour/`, PackId (16) | nothing |
//!
//! Not here: who notes (`account::erase`, `held`), who rewrites (`packs`, `rewrite`).

use std::collections::HashSet;

use bytes::Bytes;

use super::{Run, chunks::Indexed, state::COLLECTOR_STATE};
use crate::{
    catalog::{
        engine::{Batch, Durability},
        pages::Pages,
    },
    error::StoreError,
    pack::{
        index::{ERASED_CHUNKS, PACKS, Place, stored_id_key},
        store::PackId,
    },
};

const PREFIX: &[u8] = b"scour/";

/// Marks read at a time.
const PAGE: usize = 512;

fn key(pack: PackId) -> Bytes {
    [PREFIX, pack.0.as_slice()].concat().into()
}

/// Adds to the batch that removes the row of a pack that the mark goes too.
pub(super) fn unmark(pack: PackId, batch: &mut Batch) {
    batch.delete(COLLECTOR_STATE, key(pack));
}

impl Run<'_> {
    /// Adds to the batch that sweeps `chunks` the marks of packs that have octets of erased messages
    /// then.
    pub(super) async fn mark_packs(
        &mut self,
        chunks: &[(Indexed, Bytes)],
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        let keys = chunks.iter().map(|(chunk, _)| (ERASED_CHUNKS, stored_id_key(chunk.stored)));
        let notes = self.octets.engine.multi_get(&keys.collect::<Vec<_>>()).await?;
        for ((chunk, _), _) in chunks.iter().zip(notes).filter(|(_, note)| note.is_some()) {
            batch.delete(ERASED_CHUNKS, stored_id_key(chunk.stored));
            if let Place::Packed { pack, .. } = chunk.row.place {
                batch.put(COLLECTOR_STATE, key(pack), Bytes::new());
                if self.options.dry_run {
                    self.dry_marked.insert(pack);
                }
            }
        }
        Ok(())
    }

    /// The packs that are marked: as many as had chunks of erased messages and were not rewritten
    /// yet. Marks of packs that have no row any more go.
    pub(super) async fn marked_packs(&mut self) -> Result<HashSet<PackId>, StoreError> {
        let mut marked = std::mem::take(&mut self.dry_marked);
        let mut pages = Pages::prefix(COLLECTOR_STATE, PREFIX, PAGE);
        while let Some(page) = pages.next(&*self.octets.engine).await? {
            let name = |key: &Bytes| key.slice(PREFIX.len()..);
            let rows = page.iter().map(|(key, _)| (PACKS, name(key))).collect::<Vec<_>>();
            let rows = self.octets.engine.multi_get(&rows).await?;
            let mut stale = Batch { durability: Durability::Buffered, ..Batch::default() };
            for ((key, _), row) in page.into_iter().zip(rows) {
                match PackId::from_octets(&name(&key)).filter(|_| row.is_some()) {
                    Some(pack) => drop(marked.insert(pack)),
                    None => drop(stale.delete(COLLECTOR_STATE, key)),
                }
            }
            self.commit_unless_dry(stale).await?;
        }
        Ok(marked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::Golden;

    #[test]
    fn marks_of_packs_stay_as_they_are() {
        Golden::of("collector_state").variant("scour").key(key(PackId([4; 16]))).is([]);
    }
}
