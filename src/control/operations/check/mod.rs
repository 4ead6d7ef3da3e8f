//! `store check`: every invariant that the program can decide.
//!
//! | invariant | decided by |
//! |---|---|
//! | 1, 3, 4, 5 | `storage::check` |
//! | 1, for the engine's own records | `pec::check` |
//! | 6 | `snapshots::check`, and signatures and time stamps of runs |
//! | 9 | [`accounts`], and `archive::check` for what is kept of archives |
//! | 10, the journal is whole | `pec::journal::verify` |
//!
//! That of conservation (7) is named as not checked: this program conserves nothing yet.

mod accounts;
mod finding;

use ::snapshots::check::{SnapshotCheckProgress, SnapshotCheckReport};
use serde::{Deserialize, Serialize};
use storage::{
    check::{CheckProgress, CheckReport, Invariant},
    error::StoreError,
    ids::AccountId,
};

pub use self::finding::ViolationView;
use self::finding::{Above, Findings, forgettable, unreadable_snapshot};
use crate::{
    control::{Operation, OperationError, Progress, Run, Site},
    snapshots::proof_file::{Refused, check::check_seals},
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
        let mut outcome = CheckOutcome::of(&report);
        let violations = outcome.violations;
        let tell = |rows| {
            let what = Text::fixed("righe del motore", "rows of the engine");
            run.tell(Progress::new(what, rows, None).with_troubles(violations));
        };
        let duties = run.reading(crate::pec::check::check(&**site.store.engine(), &tell)).await??;
        let mut findings =
            Findings { count: violations, list: std::mem::take(&mut outcome.first_violations) };
        outcome.engine_rows = duties.rows;
        for (object, fault) in duties.faults {
            findings.add(Invariant::Durable.number(), object, &fault.into());
        }
        findings.count += duties.faults_left_out;
        outcome.orphan_held_messages = duties.orphans.len() as u64 + duties.orphans_left_out;
        outcome.first_orphan_held_messages = duties.orphans;
        outcome.take_in(snapshots(site, run, &mut findings).await?);
        let archive = crate::archive::check::check(&**site.store.engine(), |object, fault| {
            findings.add(accounts::INVARIANT, object, &fault.into());
        });
        run.reading(archive).await??;
        accounts::compare(site, run, &mut findings).await?;
        let journal = super::journal::verify_site(site, run, false, findings.count).await?;
        findings.count += journal.faults_left_out;
        for fault in journal.faults {
            findings.add(JOURNAL_INVARIANT, "the journal".to_owned(), &Above::Journal { fault });
        }
        outcome.first_violations = findings.list;
        outcome.violations = findings.count;
        outcome.clean = findings.count == 0;
        Ok(outcome)
    }
}

/// Invariant 6: what every kept snapshot holds.
async fn snapshots(
    site: &Site,
    run: &Run,
    findings: &mut Findings,
) -> Result<SnapshotCheckProgress, OperationError> {
    let before = findings.count;
    let tell = |seen: &SnapshotCheckProgress| {
        let what = Text::fixed("pagine di istantanee verificate", "pages of snapshots verified");
        let troubles = before + seen.violations;
        run.tell(Progress::new(what, seen.pages, None).with_troubles(troubles));
    };
    let report = run.reading(::snapshots::check::run(&site.store, &tell)).await??;
    let SnapshotCheckReport { seen, violations } = report;
    findings.count += seen.violations - violations.len() as u64;
    for violation in &violations {
        let unreadable = match unreadable_snapshot(violation) {
            Some((account, number)) => Some((address(site, account).await?, number)),
            None => None,
        };
        findings.add_snapshot(SNAPSHOT_INVARIANT, violation, |fault| match &unreadable {
            Some((address, number)) => forgettable(&fault, address, *number),
            None => fault,
        });
    }
    for closed in run.reading(site.runs.list()).await?? {
        if let Err(Refused(detail)) = check_seals(&closed) {
            let object = format!("run {} of snapshots", closed.number());
            findings.add(SNAPSHOT_INVARIANT, object, &Above::RunSeal { detail });
        }
        run.go_on()?;
    }
    Ok(seen)
}

/// The address of an account; its number when that cannot be read.
async fn address(site: &Site, account: AccountId) -> Result<String, OperationError> {
    match site.store.account(account).await?.settings().await {
        Ok(settings) => Ok(settings.address),
        Err(StoreError::Damaged { .. } | StoreError::TooNew { .. }) => Ok(account.to_string()),
        Err(error) => Err(error.into()),
    }
}

fn progress_of(progress: &CheckProgress) -> Progress {
    let CheckProgress { chunks, chunks_total, messages, rows_total, .. } = *progress;
    let progress_bar = if chunks > 0 {
        let what = Text::fixed("chunk verificati", "chunks verified");
        Progress::new(what, chunks, Some(chunks_total))
    } else if messages > rows_total {
        let what = Text::fixed("messaggi trattenuti ricostruiti", "held messages rebuilt");
        Progress::new(what, messages - rows_total, None)
    } else {
        let what = Text::fixed("messaggi ricostruiti", "messages rebuilt");
        Progress::new(what, messages, Some(rows_total))
    };
    progress_bar.with_troubles(progress.violations)
}

/// The number of the snapshots' invariant.
const SNAPSHOT_INVARIANT: u8 = 6;

/// The number of the journal's invariant.
const JOURNAL_INVARIANT: u8 = 10;

/// Invariants of parts that this program does not use.
const NOT_CHECKED: [(u8, &str); 1] =
    [(7, "a conserved copy stays until its term: nothing is conserved by this program yet")];

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
    /// What was not checked, and why.
    #[serde(default)]
    pub not_checked: Vec<InvariantView>,
    /// Rows of the engine that were looked at.
    #[serde(default)]
    pub engine_rows: u64,
    /// Snapshots seen.
    #[serde(default)]
    pub snapshots: u64,
    /// Pages of snapshots read.
    #[serde(default)]
    pub snapshot_pages: u64,
    /// Rows of snapshots whose message was looked up.
    #[serde(default)]
    pub snapshot_rows: u64,
    /// Snapshots that are half forgotten. No violation; thinning out finishes them.
    #[serde(default)]
    pub snapshots_going: u64,
    /// Held messages that no record names. No violation; they are kept.
    #[serde(default)]
    pub orphan_held_messages: u64,
    /// The first of them.
    #[serde(default)]
    pub first_orphan_held_messages: Vec<String>,
}

/// An invariant that was checked.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct InvariantView {
    /// Its number.
    pub number: u8,
    /// What it says.
    pub text: String,
}

impl CheckOutcome {
    fn of(report: &CheckReport) -> Self {
        let seen = &report.seen;
        let invariant = |invariant: Invariant| InvariantView {
            number: invariant.number(),
            text: invariant.text().to_owned(),
        };
        let known = |(number, text): (u8, &str)| InvariantView { number, text: text.to_owned() };
        let snapshots =
            (SNAPSHOT_INVARIANT, "a snapshot never changes, and stays until its time is over");
        let accounts = (accounts::INVARIANT, "registry and catalog say the same of every account");
        let journal = (JOURNAL_INVARIANT, "every record of the journal is as it was sealed");
        let above = [snapshots, accounts, journal].map(known);
        let invariants = Invariant::ALL.into_iter().map(invariant).chain(above);
        Self {
            clean: report.is_clean(),
            invariants: invariants.collect(),
            not_checked: NOT_CHECKED.into_iter().map(known).collect(),
            accounts: seen.accounts,
            mailboxes: seen.mailboxes,
            rows: seen.rows,
            messages: seen.messages,
            octets: seen.octets,
            chunks: seen.chunks,
            violations: seen.violations,
            first_violations: report.violations.iter().map(ViolationView::of).collect(),
            unnamed_objects: report.unnamed_objects.clone(),
            ..Self::default()
        }
    }

    fn take_in(&mut self, seen: SnapshotCheckProgress) {
        self.snapshots = seen.snapshots;
        self.snapshot_pages = seen.pages;
        self.snapshot_rows = seen.rows;
        self.snapshots_going = seen.going;
    }
}
