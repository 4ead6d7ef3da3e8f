//! The archive: old messages move out of live mail by themselves, by rules, on a schedule.
//!
//! * [`rules`]: what is moved where; of each account, or by default of its plan.
//! * [`run`]: one run over one account, and what it would do.
//! * [`schedule`]: runs over all accounts, at their pace.
//! * [`back`]: takes messages back to where they came from.
//! * [`notice`]: what a holder has to be told.
//! * [`check`]: whether what is kept reads.
//!
//! Invariants:
//!
//! * Every batch of a run moves messages, and notes how far the run has come, together: a message is
//!   in live mail or in the archive, never in both or in neither, and a run that was killed goes on
//!   after its last batch.
//! * A batch expects the note that the run knows: of two runs over one account one stops.
//! * Nothing is removed, altered or refused. What has no room stays where it is.
//!
//! Not here: tiers, quota and the move itself (`storage::account::tier`,
//! `storage::mailbox::archive`), how a mail program reaches the archive (`mail_access`).

pub mod back;
pub mod check;
pub mod notice;
pub mod rules;
pub mod run;
pub mod schedule;

use storage::catalog::engine::Family;

/// Rules of accounts that have their own. Key: AccountId (8).
pub const ARCHIVE_RULES: Family = Family("archive_rules");
/// The latest run of each account. Key: AccountId (8).
pub const ARCHIVE_RUNS: Family = Family("archive_runs");
/// Holders who are still to be told that their archive is full. Key: AccountId (8).
pub const ARCHIVE_NOTICES: Family = Family("archive_notices");
/// What the catalog must have for this module.
pub const FAMILIES: [Family; 3] = [ARCHIVE_RULES, ARCHIVE_RUNS, ARCHIVE_NOTICES];
