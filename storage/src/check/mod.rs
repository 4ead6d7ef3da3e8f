//! `ceralacca store check`: says whether a store keeps its invariants, object by object.
//!
//! | invariant | what is compared |
//! |---|---|
//! | 1 | every row has its message record and summary, every message its chunks, every chunk its place in the index and on disk; nothing is left without an owner; a message without rows has departed, once |
//! | 3 | UIDs, MODSEQs and the other numbers are below their counters; indexes, log and rows agree |
//! | 4 | usage and counters equal the sum over the rows |
//! | 5 | every message, rebuilt from its chunks, has its SHA-256 |
//!
//! * It reads only, beside a running store: each account from one snapshot.
//! * Memory is bounded: rows and messages are streamed; per account it holds the records of the
//!   mailboxes and, for one range of EmailNumbers at a time, one entry for each message.
//! * What is wrong becomes a [`Violation`] and the check goes on; only an engine or object store
//!   that does not answer ends it.
//!
//! Not here: repair. Whether a snapshot that lists a departed message exists, other invariants of
//! snapshots and conservation (their floors).

mod account;
mod blocks;
mod departed;
mod fault;
mod messages;
mod notes;
mod orphans;

use std::sync::Arc;

pub use self::fault::{Counter, Fault};

use crate::{
    catalog::{
        keys::{self, KeyReader},
        pages::Pages,
        records::{self, HeadRecord, HeldRecord},
    },
    error::StoreError,
    held::{self, HeldId},
    ids::AccountId,
    pack::{
        index::{PACKS, PackRow},
        store::PackId,
    },
    store::StoreCore,
};

/// Entries read at once.
const PAGE: usize = 1_000;

/// Violations kept in the report; the others are only counted.
const VIOLATIONS_MAX: usize = 1_000;

/// An invariant of the store that the check can decide.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Invariant {
    /// 1: a row never refers to octets that are not durable.
    Durable,
    /// 3: UIDs ascend and are never reused, MODSEQ ascends; indexes agree with rows.
    Ascending,
    /// 4: usage and counters equal the sum over the rows.
    Exact,
    /// 5: rebuilt octets equal received octets.
    Rebuilt,
}

impl Invariant {
    /// All that are checked.
    pub const ALL: [Self; 4] = [Self::Durable, Self::Ascending, Self::Exact, Self::Rebuilt];

    /// Its number in the list of invariants.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Durable => 1,
            Self::Ascending => 3,
            Self::Exact => 4,
            Self::Rebuilt => 5,
        }
    }

    /// What it says.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Durable => "a row never refers to octets that are not durable",
            Self::Ascending => "UIDs and MODSEQs ascend and are never reused",
            Self::Exact => "usage and counters equal the sum over the rows",
            Self::Rebuilt => "rebuilt octets equal received octets",
        }
    }
}

/// Something that is not as it must be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Violation {
    /// The invariant that does not hold.
    pub invariant: Invariant,
    /// Account, mailbox, message or key.
    pub object: String,
    /// What was found.
    pub fault: Fault,
}

impl Violation {
    /// What was found, in English.
    #[must_use]
    pub fn detail(&self) -> String {
        self.fault.to_string()
    }
}

/// How far a check is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct CheckProgress {
    /// Accounts finished.
    pub accounts: u64,
    /// Mailboxes seen.
    pub mailboxes: u64,
    /// Rows seen.
    pub rows: u64,
    /// Messages rebuilt, held ones included.
    pub messages: u64,
    /// Octets rebuilt.
    pub octets: u64,
    /// Chunks verified.
    pub chunks: u64,
    /// Rows of all accounts when the check began: about as many messages are rebuilt.
    pub rows_total: u64,
    /// Chunks of all packs when the check began, removed ones included.
    pub chunks_total: u64,
    /// Violations found.
    pub violations: u64,
}

/// What a check found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CheckReport {
    /// How much was looked at, and how many violations there are.
    pub seen: CheckProgress,
    /// The first violations, at most 1,000.
    pub violations: Vec<Violation>,
    /// Objects that the catalog does not name: packs of batches that a crash cut short, or files of
    /// somebody else. No violation; the collector removes old packs.
    pub unnamed_objects: Vec<String>,
}

impl CheckReport {
    /// Says whether every invariant that was checked holds.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.seen.violations == 0
    }
}

/// Called from time to time while a check runs.
pub type Progress<'p> = &'p (dyn Fn(&CheckProgress) + Send + Sync);

/// The report as it grows.
struct Reporter<'p> {
    report: CheckReport,
    progress: Progress<'p>,
}

impl Reporter<'_> {
    fn violation(&mut self, invariant: Invariant, object: String, fault: Fault) {
        self.report.seen.violations += 1;
        if self.report.violations.len() < VIOLATIONS_MAX {
            self.report.violations.push(Violation { invariant, object, fault });
        }
    }

    /// Turns damage into a violation; other errors end the check.
    fn take<T>(
        &mut self,
        invariant: Invariant,
        outcome: Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        match outcome {
            Ok(value) => Ok(Some(value)),
            Err(StoreError::Damaged { object, detail }) => {
                self.violation(invariant, object, Fault::Damaged { detail });
                Ok(None)
            }
            // A store of a newer program is not opened: an octet is another.
            Err(StoreError::TooNew { object, found, known }) => {
                let detail = format!("its format {found} is above {known}");
                self.violation(invariant, object, Fault::Damaged { detail });
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn tell(&self) {
        (self.progress)(&self.report.seen);
    }
}

/// Passes over damage that is reported with the object it was found in.
fn pass_over<T>(outcome: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(StoreError::Damaged { .. } | StoreError::TooNew { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Checks the whole store.
pub(crate) async fn run(
    core: &Arc<StoreCore>,
    progress: Progress<'_>,
) -> Result<CheckReport, StoreError> {
    let mut reporter = Reporter { report: CheckReport::default(), progress };
    totals(core, &mut reporter.report.seen).await?;
    let mut pages = Pages::prefix(keys::ACCOUNT_HEADS, &[], PAGE);
    while let Some(page) = pages.next(&*core.engine).await? {
        for (key, _) in &page {
            let Some(id) = reporter.take(Invariant::Ascending, account_id(key))? else { continue };
            account::check(core, id, &mut reporter).await?;
            reporter.report.seen.accounts += 1;
            reporter.tell();
        }
    }
    orphans::check(core, &mut reporter).await?;
    check_held(core, &mut reporter).await?;
    check_chunks(core, &mut reporter).await?;
    reporter.tell();
    Ok(reporter.report)
}

/// Counts, from the few records that know, how much there is to look at.
async fn totals(core: &Arc<StoreCore>, seen: &mut CheckProgress) -> Result<(), StoreError> {
    for family in [keys::ACCOUNT_HEADS, PACKS] {
        let mut pages = Pages::prefix(family, &[], PAGE);
        while let Some(page) = pages.next(&*core.engine).await? {
            for (key, value) in &page {
                // Damaged records are reported where they are checked.
                if family == PACKS {
                    let pack = PackId::from_octets(key).map(|pack| PackRow::decode(value, pack));
                    seen.chunks_total +=
                        pack.map_or(0, |row| row.map_or(0, |row| row.chunks.into()));
                } else {
                    let head = records::decode::<HeadRecord>(family, key, value);
                    seen.rows_total =
                        seen.rows_total.saturating_add(head.map_or(0, |head| head.usage_messages));
                }
            }
        }
    }
    Ok(())
}

fn account_id(key: &[u8]) -> Result<AccountId, StoreError> {
    let mut reader = KeyReader::new(keys::ACCOUNT_HEADS, key);
    let id = AccountId(reader.take_u64()?);
    reader.finish()?;
    Ok(id)
}

/// Verifies chunks, packs and the index between them, used by a message or not.
async fn check_chunks(
    core: &Arc<StoreCore>,
    reporter: &mut Reporter<'_>,
) -> Result<(), StoreError> {
    let (seen, progress) = (reporter.report.seen, reporter.progress);
    let tell = |chunks| progress(&CheckProgress { chunks, ..seen });
    let check = core.octets.check_octets(&tell).await?;
    reporter.report.seen.chunks = check.chunks;
    for damage in check.damages {
        match damage {
            StoreError::Damaged { object, detail } => {
                reporter.violation(Invariant::Durable, object, Fault::Damaged { detail });
            }
            other => {
                let object = "a chunk or pack".to_owned();
                let fault = Fault::Damaged { detail: other.to_string() };
                reporter.violation(Invariant::Durable, object, fault);
            }
        }
    }
    reporter.report.seen.violations += check.damages_left_out;
    reporter.report.unnamed_objects = check.unnamed;
    Ok(())
}

/// Rebuilds every held message.
async fn check_held(core: &Arc<StoreCore>, reporter: &mut Reporter<'_>) -> Result<(), StoreError> {
    let mut pages = Pages::prefix(keys::HELD_MESSAGES, &[], PAGE);
    while let Some(page) = pages.next(&*core.engine).await? {
        for (key, value) in &page {
            let Ok(id) = <[u8; 16]>::try_from(key.as_ref()) else {
                let object = keys::object(keys::HELD_MESSAGES, key);
                reporter.violation(Invariant::Durable, object, Fault::HeldKey);
                continue;
            };
            let id = HeldId(id);
            let held = records::decode::<HeldRecord>(keys::HELD_MESSAGES, key, value)
                .and_then(|record| held::decode(id, &record));
            if matches!(held, Err(StoreError::Erased { .. })) {
                continue;
            }
            let Some(held) = reporter.take(Invariant::Durable, held)? else { continue };
            messages::rebuild(core, &format!("held message {id}"), held.stored(), reporter).await?;
        }
    }
    Ok(())
}
