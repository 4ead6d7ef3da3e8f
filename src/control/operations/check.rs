//! `store check`: every invariant that the program can decide.

use serde::{Deserialize, Serialize};
use storage::check::{CheckProgress, CheckReport, Invariant};

use crate::{
    control::{Operation, OperationError, Progress, Run, Site},
    texts::Text,
};

/// Asks for a check of the whole store.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct StoreCheck {}

#[async_trait::async_trait]
impl Operation for StoreCheck {
    const NAME: &'static str = "store/check";

    type Outcome = CheckOutcome;

    async fn run(&self, site: &Site, run: &Run) -> Result<CheckOutcome, OperationError> {
        let tell = |progress: &CheckProgress| run.tell(progress_of(progress));
        let report = run.reading(site.store.check(&tell)).await??;
        Ok(CheckOutcome::of(&report))
    }
}

fn progress_of(progress: &CheckProgress) -> Progress {
    let (what, done) = if progress.chunks > 0 {
        (Text::fixed("chunk verificati", "chunks verified"), progress.chunks)
    } else {
        (Text::fixed("messaggi ricostruiti", "messages rebuilt"), progress.messages)
    };
    Progress::new(what, done, None).with_troubles(progress.violations)
}

/// What a check found.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct CheckOutcome {
    /// Whether all that was checked holds.
    pub clean: bool,
    /// What was checked.
    pub invariants: Vec<InvariantView>,
    /// Accounts seen.
    pub accounts: u64,
    /// Mailboxes seen.
    pub mailboxes: u64,
    /// Rows seen.
    pub rows: u64,
    /// Messages rebuilt.
    pub messages: u64,
    /// Octets rebuilt.
    pub octets: u64,
    /// Chunks verified.
    pub chunks: u64,
    /// Violations, all of them.
    pub violations: u64,
    /// The first of them.
    pub first_violations: Vec<ViolationView>,
    /// Objects that the catalog does not name.
    pub unnamed_objects: Vec<String>,
}

/// An invariant that was checked.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct InvariantView {
    /// Its number.
    pub number: u8,
    /// What it says.
    pub text: String,
}

/// Something that is not as it must be.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ViolationView {
    /// The invariant's number.
    pub invariant: u8,
    /// What it is about.
    pub object: String,
    /// What was found.
    pub detail: String,
}

impl CheckOutcome {
    fn of(report: &CheckReport) -> Self {
        let seen = &report.seen;
        let invariant = |invariant: Invariant| InvariantView {
            number: invariant.number(),
            text: invariant.text().to_owned(),
        };
        let violation = |violation: &storage::check::Violation| ViolationView {
            invariant: violation.invariant.number(),
            object: violation.object.clone(),
            detail: violation.detail.clone(),
        };
        Self {
            clean: report.is_clean(),
            invariants: Invariant::ALL.into_iter().map(invariant).collect(),
            accounts: seen.accounts,
            mailboxes: seen.mailboxes,
            rows: seen.rows,
            messages: seen.messages,
            octets: seen.octets,
            chunks: seen.chunks,
            violations: seen.violations,
            first_violations: report.violations.iter().map(violation).collect(),
            unnamed_objects: report.unnamed_objects.clone(),
        }
    }
}
