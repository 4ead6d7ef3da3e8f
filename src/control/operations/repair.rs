//! `store repair`: makes records agree again. The store must be free.

use ::snapshots::{error::SnapshotError, keep::keys::SNAPSHOTS};
use serde::{Deserialize, Serialize};
use storage::{
    account::settings::AccountSettings,
    catalog::engine::Family,
    error::StoreError,
    ids::AccountId,
    repair::{Finding, RepairReport, SettingsSource},
};

use super::check::{CheckOutcome, StoreCheck};
use crate::{
    control::{Operation, OperationError, Progress, Run, Site},
    registry::Registry,
    texts::Text,
};

/// Accounts asked for at once.
const ACCOUNTS: usize = 1_000;

/// Asks for a repair, or for what one would do.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct StoreRepair {
    /// Write; otherwise only say what would be done.
    #[serde(default)]
    pub apply: bool,
}

/// What a repair did, or would do.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct RepairOutcome {
    /// Whether anything was written.
    pub applied: bool,
    /// Accounts looked at.
    pub accounts: u64,
    /// Messages looked at.
    pub messages: u64,
    /// Messages that got a place in the mailbox `Recovered`.
    pub recovered: u64,
    /// Changes, all of them.
    pub changes: u64,
    /// Object and detail of the first of them.
    pub first_changes: Vec<(String, String)>,
    /// What cannot be repaired from what is here.
    pub left: u64,
    /// Object and detail of the first of it.
    pub first_left: Vec<(String, String)>,
    /// The check afterwards, when something was written.
    pub check: Option<CheckOutcome>,
}

#[async_trait::async_trait]
impl Operation for StoreRepair {
    const NAME: &'static str = "store/repair";

    type Outcome = RepairOutcome;

    async fn run(&self, site: &Site, run: &Run) -> Result<RepairOutcome, OperationError> {
        let tell = |report: &RepairReport| {
            let what = Text::fixed("messaggi guardati", "messages looked at");
            run.tell(Progress::new(what, report.messages, None).with_troubles(report.changes));
        };
        let source = OfRegistry(&site.registry);
        // Every batch is whole: what is cut short is taken up by the next run.
        let repair = Box::pin(site.store.repair(&source, self.apply, &tell));
        let mut report = run.reading(repair).await??;
        run.reading(self.mend_snapshots(site, &mut report)).await??;
        let check = if self.apply { Some(StoreCheck {}.run(site, run).await?) } else { None };
        let findings = |findings: Vec<Finding>| -> Vec<(String, String)> {
            findings.into_iter().map(|finding| (finding.object, finding.detail)).collect()
        };
        Ok(RepairOutcome {
            applied: report.applied,
            accounts: report.accounts,
            messages: report.messages,
            recovered: report.recovered,
            changes: report.changes,
            first_changes: findings(report.first_changes),
            left: report.left,
            first_left: findings(report.first_left),
            check,
        })
    }
}

impl StoreRepair {
    /// Lists of pages that departed from snapshots say again what the snapshots say.
    async fn mend_snapshots(
        &self,
        site: &Site,
        report: &mut RepairReport,
    ) -> Result<(), SnapshotError> {
        let mut after = None;
        loop {
            let accounts = site.store.account_ids(after, ACCOUNTS).await?;
            let Some(last) = accounts.last() else { return Ok(()) };
            after = Some(*last);
            for account in accounts {
                let mended = match site.runs.snapshots().mend_pages(account, self.apply).await {
                    Ok(mended) => mended,
                    Err(SnapshotError::Store(StoreError::NoSuchAccount(_))) => continue,
                    Err(error) => return Err(error),
                };
                if mended.unreadable {
                    report.leave(format!("account {account}"), "its snapshots cannot be read");
                }
                if let Some(detail) = mended.detail() {
                    report.change(format!("account {account}"), detail);
                }
            }
        }
    }
}

/// The registry as the source of settings, and where snapshots are.
struct OfRegistry<'r>(&'r Registry);

#[async_trait::async_trait]
impl SettingsSource for OfRegistry<'_> {
    async fn settings(&self, id: AccountId) -> Result<Option<(u64, AccountSettings)>, StoreError> {
        let told = self.0.told(id.0.checked_sub(1).map(AccountId), 1).await;
        let told = told.map_err(|error| StoreError::Engine {
            operation: "ask the registry for an account",
            source: Box::new(error),
        })?;
        let told = told.into_iter().find(|told| told.id == id);
        Ok(told.map(|told| (told.version, told.settings)))
    }

    fn snapshots(&self) -> Option<Family> {
        Some(SNAPSHOTS)
    }
}
