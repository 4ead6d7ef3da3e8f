//! Runs over all accounts, one at a time, at their pace.
//!
//! When an account is due follows from the end of its last run, which stands in the catalog: runs that
//! were missed while the server was down are due when it is back. So is one whose last run lies ahead,
//! after a clock that was wrong. A run that fails, of an account that cannot be read above all, is logged,
//! counted, and due again at the next round; it keeps no other from its own.

use std::{sync::Arc, time::Duration};

use storage::{
    account::settings::{AccountSettings, AccountState},
    error::StoreError,
    ids::AccountId,
    store::Store,
};
use tokio_util::sync::CancellationToken;
use trust::clock::{Clock, UnixMillis};

use super::run::{self, Ended, RunRecord, RunReport};
use crate::{config::Config, metrics_names};

/// Accounts read at a time.
const PAGE: usize = 200;

/// What clocks may differ by, in milliseconds: a run that is further ahead was made by a wrong clock.
const CLOCK_DIFFERENCE_MAX: i64 = 600_000;

/// The longest pause between two rounds: a round that finds nothing due costs four reads an account.
const ROUND_PAUSE_MAX: Duration = Duration::from_hours(1);

/// What the schedule works with.
pub struct Schedule {
    /// The store.
    pub store: Arc<Store>,
    /// How often, how fast, by which rules.
    pub config: Arc<Config>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Schedule {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Schedule").finish_non_exhaustive()
    }
}

/// What one round did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Round {
    /// Accounts that were due.
    pub due: u64,
    /// Messages moved.
    pub messages: u64,
    /// What they are charged.
    pub octets: u64,
    /// How late the latest of them was, in milliseconds.
    pub late_millis: u64,
}

impl Schedule {
    /// Makes round after round until `stopping` is cancelled.
    pub async fn keep(self, stopping: CancellationToken) {
        let pause = self.config.archive.interval.duration().min(ROUND_PAUSE_MAX);
        while !stopping.is_cancelled() {
            match self.round(&stopping).await {
                Ok(round) if round.messages > 0 => {
                    tracing::info!(?round, "old messages moved into the archive");
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "archiving is put off"
                    );
                }
            }
            stopping.run_until_cancelled(tokio::time::sleep(pause)).await;
        }
    }

    /// Runs over every account that is due.
    ///
    /// # Errors
    ///
    /// When the list of accounts cannot be read.
    pub async fn round(&self, stopping: &CancellationToken) -> Result<Round, StoreError> {
        let mut round = Round::default();
        let mut after = None;
        loop {
            let accounts = self.store.account_ids(after, PAGE).await?;
            let Some(last) = accounts.last() else { break };
            after = Some(*last);
            for id in accounts {
                let Some(late) = self.late(id).await else { continue };
                round.due += 1;
                round.late_millis = round.late_millis.max(late);
                self.run_one(id, &mut round, stopping).await;
                let accounts = self.config.archive.accounts_per_hour_max.max(1);
                let pause = Duration::from_hours(1) / accounts;
                if stopping.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                    return Ok(round);
                }
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "a gauge of seconds")]
        metrics::gauge!(metrics_names::ARCHIVE_LATE).set(round.late_millis as f64 / 1_000.0);
        Ok(round)
    }

    /// How late the run of an account is, in milliseconds; `None` when it is not due.
    async fn late(&self, id: AccountId) -> Option<u64> {
        let (settings, last) = match self.account(id).await {
            Ok(account) => account,
            // It is gone.
            Err(StoreError::NoSuchAccount(_)) => return None,
            Err(error) => {
                failed(id, &error);
                return None;
            }
        };
        if settings.service || settings.state == AccountState::Closed {
            return None;
        }
        // Without a record nobody knows since when.
        let Some(record) = last else { return Some(0) };
        let interval = i64::try_from(self.config.archive.interval.0).unwrap_or(i64::MAX);
        let now = self.now();
        let ahead = record.due_at(0).saturating_sub(now.0);
        if ahead > CLOCK_DIFFERENCE_MAX {
            tracing::error!(
                account = id.0,
                seconds = ahead / 1_000,
                "the last archive run lies ahead of the clock, which was set back: the next is due"
            );
            return Some(0);
        }
        u64::try_from(now.0.saturating_sub(record.due_at(interval))).ok()
    }

    /// The settings of an account, and its last run.
    async fn account(
        &self,
        id: AccountId,
    ) -> Result<(AccountSettings, Option<RunRecord>), StoreError> {
        let settings = self.store.account(id).await?.settings().await?;
        let (last, _) = RunRecord::read(&self.store, id).await?;
        Ok((settings, last))
    }

    async fn run_one(&self, id: AccountId, round: &mut Round, stopping: &CancellationToken) {
        match run::run(&self.store, &self.config, id, self.now(), stopping).await {
            Ok(report) => {
                note(&report);
                let (messages, octets) = report.total();
                round.messages += messages;
                round.octets = round.octets.saturating_add(octets);
            }
            Err(StoreError::NoSuchAccount(_)) => {}
            Err(error) => failed(id, &error),
        }
    }

    fn now(&self) -> UnixMillis {
        self.clock.now()
    }
}

fn failed(id: AccountId, error: &StoreError) {
    metrics::counter!(metrics_names::ARCHIVE_RUNS, "outcome" => "failed").increment(1);
    let error = error as &dyn std::error::Error;
    tracing::warn!(account = id.0, error, "the archive run of an account is put off");
}

/// Counts what a run did.
pub fn note(report: &RunReport) {
    let outcome = match (report.ended, report.full) {
        (Ended::Stopped, _) => "stopped",
        (Ended::Overtaken, _) => "overtaken",
        (Ended::Finished, _) if !report.unreadable.is_empty() => "failed",
        (Ended::Finished, Some(_)) => "full",
        (Ended::Finished, None) => "finished",
    };
    let (messages, octets) = report.total();
    metrics::counter!(metrics_names::ARCHIVE_RUNS, "outcome" => outcome).increment(1);
    metrics::counter!(metrics_names::ARCHIVE_MESSAGES).increment(messages);
    metrics::counter!(metrics_names::ARCHIVE_OCTETS).increment(octets);
}
