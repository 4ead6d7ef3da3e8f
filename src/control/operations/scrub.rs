//! `store scrub`: reads every pack and compares it with its digests.

use std::{collections::HashSet, time::Duration};

use serde::{Deserialize, Serialize};
use storage::octets::ScrubCounts;
use trust::clock::{Clock as _, SystemClock};

use crate::{
    control::{Operation, OperationError, Progress, Run, Site},
    texts::Text,
};

/// Damaged chunks whose messages are looked for.
const CHUNKS_MAX: usize = 100_000;
/// Entries of a list.
const LISTED_MAX: usize = 1_000;

/// Asks for the rest of the present run, or for a whole one.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct StoreScrub {
    /// Octets to read in a second; absent = as fast as it goes.
    #[serde(default)]
    pub octets_per_second: Option<u64>,
}

/// What one run has seen.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct ScrubView {
    /// When it began, in milliseconds since 1970.
    pub began_millis: i64,
    /// When it ended.
    pub ended_millis: i64,
    /// Packs read.
    pub packs: u64,
    /// Chunks verified.
    pub chunks: u64,
    /// Octets read.
    pub octets: u64,
    /// Packs that are missing or whose index cannot be read.
    pub damaged_packs: u64,
    /// Damaged chunks that the index leads to.
    pub damaged_chunks: u64,
}

impl ScrubView {
    pub(super) fn of(counts: &ScrubCounts) -> Self {
        Self {
            began_millis: counts.began_millis,
            ended_millis: counts.ended_millis,
            packs: counts.packs,
            chunks: counts.chunks,
            octets: counts.octets,
            damaged_packs: counts.damaged_packs,
            damaged_chunks: counts.damaged_chunks,
        }
    }
}

/// What a scrub found.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct ScrubOutcome {
    /// Whether nothing is damaged, also from earlier runs.
    pub clean: bool,
    /// The run, from its beginning.
    pub run: ScrubView,
    /// What was found damaged since this command began, with the reason.
    pub damages: Vec<(String, String)>,
    /// Chunks that are damaged now, from whatever run.
    pub damaged_chunks: u64,
    /// Messages that need one of them.
    pub messages: Vec<String>,
    /// Addresses of their accounts.
    pub accounts: Vec<String>,
    /// Messages beyond those listed.
    pub messages_left_out: u64,
}

#[async_trait::async_trait]
impl Operation for StoreScrub {
    const NAME: &'static str = "store/scrub";

    type Outcome = ScrubOutcome;

    async fn run(&self, site: &Site, run: &Run) -> Result<ScrubOutcome, OperationError> {
        let octets = site.store.octets();
        let packs = run.reading(octets.pack_figures()).await??;
        let what = Text::fixed("ottetti di pack letti", "octets of packs read");
        let (mut done, mut damages) = (0, Vec::new());
        loop {
            run.go_on()?;
            let step = octets.scrub_step(SystemClock.now().0).await?;
            done += step.octets;
            damages.extend(step.damages);
            damages.truncate(LISTED_MAX);
            let troubles = damages.len() as u64;
            let progress = Progress::new(what.clone(), done, Some(packs.pack_octets));
            run.tell(progress.with_troubles(troubles));
            if step.ended {
                break;
            }
            if let Some(rate) = self.octets_per_second.filter(|rate| *rate > 0) {
                let millis = step.octets.saturating_mul(1_000) / rate;
                run.reading(tokio::time::sleep(Duration::from_millis(millis))).await?;
            }
        }
        let state = octets.scrub_state().await?;
        let mut outcome = ScrubOutcome {
            run: state.last.as_ref().map(ScrubView::of).unwrap_or_default(),
            damages,
            ..ScrubOutcome::default()
        };
        run.reading(concerned(site, &mut outcome)).await??;
        outcome.clean = outcome.run.damaged_packs == 0 && outcome.damaged_chunks == 0;
        Ok(outcome)
    }
}

/// Names messages and accounts that need damaged chunks.
async fn concerned(site: &Site, outcome: &mut ScrubOutcome) -> Result<(), OperationError> {
    let chunks: HashSet<_> =
        site.store.octets().damaged_chunks(CHUNKS_MAX).await?.into_iter().collect();
    outcome.damaged_chunks = chunks.len() as u64;
    let concerned = site.store.concerned(&chunks, LISTED_MAX).await?;
    outcome.messages = concerned.names();
    outcome.messages_left_out = concerned.left_out;
    let mut ids: Vec<_> = concerned.messages.iter().map(|(account, _)| *account).collect();
    ids.dedup();
    for id in ids {
        let before = id.0.checked_sub(1).map(storage::ids::AccountId);
        let found = site.store.accounts(before, 1).await?;
        let found = found.into_iter().find(|(found, ..)| *found == id);
        outcome.accounts.extend(found.map(|(_, _, settings)| settings.address));
    }
    Ok(())
}
