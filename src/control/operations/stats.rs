//! `store stats`: what messages add up to, and what the disk holds of them.

use std::path::Path;

use serde::{Deserialize, Serialize};
use storage::{figures::Caches, ids::AccountId, pack::cache::CacheFigures};

use super::scrub::ScrubView;
use crate::{
    control::{Kind, Operation, OperationError, Progress, Run, Site},
    texts::Text,
};

/// Asks for the figures of the whole store, or of one account.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct StoreStats {
    /// The account's address.
    #[serde(default)]
    pub account: Option<String>,
}

/// The figures. Octets are octets; what does not apply is absent.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct StatsOutcome {
    /// The account's address, when one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Rows of mailboxes.
    pub rows: u64,
    /// Sum of RFC822.SIZE over the rows.
    pub logical_octets: u64,
    /// Octets charged to the holders.
    pub charged_octets: u64,
    /// Messages that no mailbox has any more and snapshots hold: charged to nobody.
    #[serde(default)]
    pub snapshot_messages: u64,
    /// Sum of their RFC822.SIZE, which is not among the logical octets.
    #[serde(default)]
    pub snapshot_octets: u64,
    /// Stored octets of the chunks, each once.
    pub physical_octets: u64,
    /// What storing each chunk once, compressed, saves.
    pub saved_octets: u64,
    /// The same in thousandths of the logical octets, messages held and in snapshots included.
    pub saved_per_mille: u64,
    /// Chunks.
    pub chunks: u64,
    /// What only the account needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shares: Option<SharesView>,
    /// What only a whole store has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreView>,
}

/// How an account shares its chunks.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SharesView {
    /// Stored octets that no other account needs.
    pub exclusive_octets: u64,
    /// Stored octets divided by the accounts that need them.
    pub proportional_octets: u64,
}

/// The part of the figures that has no account.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct StoreView {
    /// Accounts.
    pub accounts: u64,
    /// Messages that the engine holds for its duties.
    pub held_messages: u64,
    /// Sum of their sizes.
    pub held_octets: u64,
    /// Stored octets that wait in the catalog for the packer.
    pub staged_octets: u64,
    /// Stored octets under the colder prefix.
    #[serde(default)]
    pub cold_octets: u64,
    /// Packs.
    pub packs: u64,
    /// Octets of the packs.
    pub pack_octets: u64,
    /// Octets in them that the index leads to.
    pub live_octets: u64,
    /// Packs of which less than half is live.
    pub sparse_packs: u64,
    /// Chunks known to be damaged.
    pub damaged_chunks: u64,
    /// Octets of the catalog's files.
    pub catalog_octets: u64,
    /// The last whole scrub.
    #[serde(default)]
    pub last_scrub: Option<ScrubView>,
    /// The caches of chunks of the process that has the store open: beside a running server, the
    /// server's since it started.
    #[serde(default)]
    pub caches: CachesView,
}

/// The caches of chunks.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct CachesView {
    /// The one in memory.
    pub memory: CacheView,
    /// The one on disk, which stores whose packs are in a bucket have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<CacheView>,
}

/// One cache of chunks.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct CacheView {
    /// Chunks that were asked for and were there.
    pub hits: u64,
    /// Chunks that were asked for and had to come from further away.
    pub misses: u64,
    /// Chunks that are there now.
    pub entries: u64,
    /// Their octets.
    pub octets: u64,
    /// Octets that there may be.
    pub octets_max: u64,
}

impl CachesView {
    fn of(caches: &Caches) -> Self {
        let view = |figures: CacheFigures| {
            let CacheFigures { hits, misses, entries, octets, octets_max } = figures;
            CacheView { hits, misses, entries, octets, octets_max }
        };
        Self { memory: view(caches.memory), disk: caches.disk.map(view) }
    }
}

#[async_trait::async_trait]
impl Operation for StoreStats {
    const NAME: &'static str = "store/stats";

    type Outcome = StatsOutcome;

    async fn run(&self, site: &Site, run: &Run) -> Result<StatsOutcome, OperationError> {
        let what = Text::fixed("conteggio", "counting");
        run.tell(Progress::new(what, 0, None));
        match &self.account {
            None => run.reading(total(site)).await?,
            Some(address) => run.reading(of_account(site, address)).await?,
        }
    }
}

fn per_mille(saved: u64, of: u64) -> u64 {
    let thousandths = u128::from(saved) * 1_000 / u128::from(of.max(1));
    u64::try_from(thousandths).unwrap_or(u64::MAX)
}

async fn of_account(site: &Site, address: &str) -> Result<StatsOutcome, OperationError> {
    let found = site.store.account_by_address(address).await?;
    let Some((id, settings)) = found else { return Err(no_such_account(address)) };
    let figures = site.store.figures(id).await?;
    let kept = figures.logical_octets.saturating_add(figures.snapshot_octets);
    let shares = site.store.shares(AccountId(id.0)).await?;
    Ok(StatsOutcome {
        account: Some(settings.address),
        rows: figures.rows,
        logical_octets: figures.logical_octets,
        charged_octets: figures.charged_octets,
        snapshot_messages: figures.snapshot_messages,
        snapshot_octets: figures.snapshot_octets,
        physical_octets: figures.physical_octets,
        saved_octets: figures.saved_octets(),
        saved_per_mille: per_mille(figures.saved_octets(), kept),
        chunks: figures.chunks,
        shares: Some(SharesView {
            exclusive_octets: shares.exclusive_octets,
            proportional_octets: shares.proportional_octets,
        }),
        store: None,
    })
}

fn no_such_account(address: &str) -> OperationError {
    OperationError::new(
        Kind::NotFound,
        Text::filled(
            format!(
                "nessuna casella {address} nell'archivio: controllare l'indirizzo con `ceralacca account list`"
            ),
            format!(
                "no account {address} in the store: check the address with `ceralacca account list`"
            ),
        ),
    )
}

async fn total(site: &Site) -> Result<StatsOutcome, OperationError> {
    let figures = site.store.figures_total().await?;
    let packs = site.store.octets().pack_figures().await?;
    let folder = site.config.data.catalog_folder();
    let catalog_octets = tokio::task::spawn_blocking(move || octets_of_files(&folder)).await;
    let logical = figures.logical_octets.saturating_add(figures.snapshot_octets);
    let logical = logical.saturating_add(figures.held_octets);
    Ok(StatsOutcome {
        account: None,
        rows: figures.rows,
        logical_octets: figures.logical_octets,
        charged_octets: figures.charged_octets,
        snapshot_messages: figures.snapshot_messages,
        snapshot_octets: figures.snapshot_octets,
        physical_octets: figures.physical_octets,
        saved_octets: figures.saved_octets(),
        saved_per_mille: per_mille(figures.saved_octets(), logical),
        chunks: figures.chunks,
        shares: None,
        store: Some(StoreView {
            accounts: figures.accounts,
            held_messages: figures.held_messages,
            held_octets: figures.held_octets,
            staged_octets: figures.staged_octets,
            cold_octets: figures.cold_octets,
            packs: packs.packs,
            pack_octets: packs.pack_octets,
            live_octets: packs.live_octets,
            sparse_packs: packs.sparse_packs,
            damaged_chunks: packs.damaged_chunks,
            catalog_octets: catalog_octets.unwrap_or(0),
            last_scrub: site.store.octets().scrub_state().await?.last.as_ref().map(ScrubView::of),
            caches: CachesView::of(&site.store.caches()),
        }),
    })
}

/// Octets of the files in `folder`. Files come and go meanwhile.
fn octets_of_files(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let sizes = entries.flatten().filter_map(|entry| entry.metadata().ok());
    sizes.filter(std::fs::Metadata::is_file).map(|file| file.len()).sum()
}
