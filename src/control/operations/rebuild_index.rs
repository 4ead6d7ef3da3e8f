//! `store rebuild-index`: the index of chunks from packs alone. The store must be free.

use serde::{Deserialize, Serialize};
use storage::octets::IndexRebuilt;

use crate::{
    control::{Operation, OperationError, Progress, Run, Site},
    texts::Text,
};

/// Asks for the index to be rebuilt.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct RebuildIndex {}

/// What was rebuilt.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct RebuildOutcome {
    /// Packs read.
    pub packs: u64,
    /// Chunks found in packs and in the catalog.
    pub chunks: u64,
    /// Rows that were missing.
    pub added: u64,
    /// Rows that led nowhere and now lead to their chunk.
    pub mended: u64,
    /// Rows whose chunk is nowhere; they stay.
    pub lost: u64,
    /// Packs and chunks that cannot be read, with the reason; they stay.
    pub damaged: Vec<(String, String)>,
    /// Those beyond the ones listed.
    pub damaged_left_out: u64,
}

#[async_trait::async_trait]
impl Operation for RebuildIndex {
    const NAME: &'static str = "store/rebuild-index";

    type Outcome = RebuildOutcome;

    async fn run(&self, site: &Site, run: &Run) -> Result<RebuildOutcome, OperationError> {
        let tell = |rebuilt: &IndexRebuilt| {
            let what = Text::fixed("pack letti", "packs read");
            let progress = Progress::new(what, rebuilt.packs, Some(rebuilt.packs_total));
            run.tell(progress.with_troubles(rebuilt.damaged.len() as u64));
        };
        // Every batch is whole: what is cut short is taken up by the next run.
        let rebuilt = run.reading(site.store.octets().rebuild_index(&tell)).await??;
        Ok(RebuildOutcome {
            packs: rebuilt.packs,
            chunks: rebuilt.chunks,
            added: rebuilt.added,
            mended: rebuilt.mended,
            lost: rebuilt.lost,
            damaged: rebuilt.damaged,
            damaged_left_out: rebuilt.damaged_left_out,
        })
    }
}
