//! How many messages a holder may send: the plan's limits per minute and per day.
//!
//! A message counts when the access point takes it (reply 250), whatever the formal checks then say
//! of it; its recipients do not matter. Invariants:
//!
//! * The count stands in the catalog and is raised in the batch that makes the transmission durable:
//!   neither exists without the other, and a restart forgets nothing.
//! * Never more than the limit, however many sessions send at once: each batch expects the count
//!   that it was computed from.
//! * Sessions of one account do not wait for each other's sync: their batches are handed to the
//!   engine in a chain, each expecting what the one before it writes, and share a group commit.
//!
//! The minute slides: the present second and the 59 before it. The day is the calendar day of
//! Europe/Rome. A limit of zero is none.
//!
//! Not here: limits of recipients and octets (`access_point`), where limits come from (`registry`).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
};

use bytes::Bytes;
use jiff::{Timestamp, civil::Date};
use prost::Message;
use storage::{
    account::settings::AccountSettings,
    catalog::engine::{Batch, Expected, Family},
    error::StoreError,
    ids::AccountId,
    store::Store,
};
use tokio::sync::Mutex as AsyncMutex;
use trust::clock::UnixMillis;

use super::{
    instant::ROME,
    records::{decode, encode},
};

/// How many messages each account has sent lately: AccountId → [`SendingRecord`].
pub const SENDINGS: Family = Family("sendings");

/// Seconds of the sliding minute.
const WINDOW_SECONDS: i64 = 60;
/// One count for each of them.
const COUNTS_MAX: usize = 60;

/// A clock that went back by no more than this counts on from where it was; after a longer jump
/// counting begins anew, so that a clock which was wrong for a while locks nobody out.
const CLOCK_BACK_SECONDS_MAX: i64 = 3_600;

/// Times a batch is computed anew because the count has changed meanwhile.
const ATTEMPTS_MAX: usize = 64;

/// What an account has sent lately.
#[derive(Clone, Eq, PartialEq, Message)]
pub struct SendingRecord {
    /// The second of the newest message since 1970-01-01T00:00:00Z.
    #[prost(int64, tag = "1")]
    pub second: i64,
    /// Messages in that second and in each one before it, newest first; at most 60.
    #[prost(uint32, repeated, tag = "2")]
    pub by_second: Vec<u32>,
    /// The day of the newest message in Europe/Rome, as the number `yyyymmdd`.
    #[prost(uint32, tag = "3")]
    pub day: u32,
    /// Messages on that day.
    #[prost(uint32, tag = "4")]
    pub of_day: u32,
}

/// Messages that an account may send; 0 = any number.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SendingLimits {
    /// In any minute.
    pub per_minute: u32,
    /// In a calendar day.
    pub per_day: u32,
}

impl SendingLimits {
    /// The limits of an account.
    pub fn of(settings: &AccountSettings) -> Self {
        Self {
            per_minute: settings.messages_per_minute_max,
            per_day: settings.messages_per_day_max,
        }
    }

    fn none(self) -> bool {
        self == Self::default()
    }
}

/// A limit is used up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Full {
    /// The minute's; one message may go after `seconds`.
    Minute {
        /// The limit.
        limit: u32,
        /// Whole seconds to wait, at least one.
        seconds: u32,
    },
    /// The day's; the next one begins with `next_day`.
    Day {
        /// The limit.
        limit: u32,
        /// The next day in Europe/Rome.
        next_day: Date,
    },
}

impl Full {
    /// The name used in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Minute { .. } => "minute",
            Self::Day { .. } => "day",
        }
    }
}

/// Why a message was not counted; nothing was written.
#[derive(Debug)]
pub enum NotSent {
    /// A limit is used up.
    Full(Full),
    /// The store refused.
    Store(StoreError),
}

impl From<StoreError> for NotSent {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl SendingRecord {
    /// Counts one more message at `now`, or says which limit forbids it.
    fn with_one_more(&self, limits: SendingLimits, now: UnixMillis) -> Result<Self, Full> {
        let mut next = self.brought_to(now.seconds());
        let today = rome_day(next.second);
        if limits.per_day > 0 && next.of_day >= limits.per_day {
            let next_day = today.tomorrow().unwrap_or(today);
            return Err(Full::Day { limit: limits.per_day, next_day });
        }
        if let Some(seconds) = next.seconds_to_wait(limits.per_minute) {
            return Err(Full::Minute { limit: limits.per_minute, seconds });
        }
        if let Some(present) = next.by_second.first_mut() {
            *present = present.saturating_add(1);
        }
        next.of_day = next.of_day.saturating_add(1);
        Ok(next)
    }

    /// The same messages as seen from `second`: what the windows have passed is left out.
    fn brought_to(&self, second: i64) -> Self {
        let forgotten = Self::default();
        let back = self.second.saturating_sub(second);
        let (seen, second) = if back > CLOCK_BACK_SECONDS_MAX {
            (&forgotten, second)
        } else {
            (self, second.max(self.second))
        };
        let passed = second.saturating_sub(seen.second).min(WINDOW_SECONDS);
        let mut by_second = vec![0; usize::try_from(passed).unwrap_or(0)];
        by_second.extend_from_slice(&seen.by_second);
        by_second.resize(by_second.len().clamp(1, COUNTS_MAX), 0);
        let day = day_number(rome_day(second));
        let of_day = if day == seen.day { seen.of_day } else { 0 };
        Self { second, by_second, day, of_day }
    }

    /// Seconds until fewer than `limit` messages are in the window; `None` when it is so now.
    fn seconds_to_wait(&self, limit: u32) -> Option<u32> {
        let mut inside: u64 = self.by_second.iter().copied().map(u64::from).sum();
        if limit == 0 || inside < u64::from(limit) {
            return None;
        }
        // The oldest second leaves the window first.
        for (age, count) in self.by_second.iter().enumerate().rev() {
            inside -= u64::from(*count);
            if inside < u64::from(limit) {
                let age = i64::try_from(age).unwrap_or(0);
                return Some(u32::try_from(WINDOW_SECONDS - age).unwrap_or(1).max(1));
            }
        }
        Some(60)
    }
}

fn rome_day(second: i64) -> Date {
    let end = if second < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_second(second).unwrap_or(end).to_zoned(ROME.clone()).date()
}

fn day_number(day: Date) -> u32 {
    let year = u32::try_from(day.year()).unwrap_or(0);
    year * 10_000
        + u32::from(day.month().unsigned_abs()) * 100
        + u32::from(day.day().unsigned_abs())
}

/// What stands in the catalog for an account: `None` when it has never sent.
type Value = Option<Bytes>;

/// The chain of batches of one account that are on their way.
#[derive(Debug, Default)]
struct Chain {
    /// What the last batch of the chain writes; `None` = to be read from the catalog.
    last: Option<Value>,
    /// Raised when the chain broke: a batch that belonged to the broken one does not break the
    /// next.
    generation: u64,
}

/// Counts messages of all accounts. Memory: one entry per account that is sending at this moment.
#[derive(Debug, Default)]
pub struct Sendings {
    chains: Mutex<HashMap<AccountId, Arc<AsyncMutex<Chain>>>>,
}

/// What became of one attempt.
enum Attempt {
    Committed,
    /// The count has changed: compute anew.
    Changed,
}

impl Sendings {
    /// Says whether `account` may send a message at `now`, without counting one.
    ///
    /// # Errors
    ///
    /// [`NotSent`], as [`Sendings::commit`].
    pub async fn look(
        &self,
        store: &Store,
        account: AccountId,
        limits: SendingLimits,
        now: UnixMillis,
    ) -> Result<(), NotSent> {
        if limits.none() {
            return Ok(());
        }
        let found = store.engine().get(SENDINGS, &key(account)).await?;
        read(account, found.as_ref())?.with_one_more(limits, now).map_err(NotSent::Full).map(drop)
    }

    /// Commits `batch` as one message that `account` sends at `now`.
    ///
    /// # Errors
    ///
    /// [`NotSent`]; the batch was not applied.
    pub async fn commit(
        &self,
        store: &Store,
        account: AccountId,
        limits: SendingLimits,
        now: UnixMillis,
        batch: Batch,
    ) -> Result<(), NotSent> {
        if limits.none() {
            return Ok(store.commit(batch).await.map(drop)?);
        }
        let open = OpenChain { sendings: self, account, chain: self.chain(account) };
        for _ in 0..ATTEMPTS_MAX {
            match open.attempt(store, limits, now, &batch).await? {
                Attempt::Committed => return Ok(()),
                Attempt::Changed => {}
            }
        }
        Err(StoreError::Conflict.into())
    }

    fn chain(&self, account: AccountId) -> Arc<AsyncMutex<Chain>> {
        let mut chains = self.chains.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(chains.entry(account).or_default())
    }
}

/// A use of an account's chain; the last one takes it out of the table.
struct OpenChain<'a> {
    sendings: &'a Sendings,
    account: AccountId,
    chain: Arc<AsyncMutex<Chain>>,
}

impl Drop for OpenChain<'_> {
    fn drop(&mut self) {
        let mut chains = self.sendings.chains.lock().unwrap_or_else(PoisonError::into_inner);
        // The table's and this one: nobody else has it, and nobody gets it without the table.
        if Arc::strong_count(&self.chain) <= 2 {
            chains.remove(&self.account);
        }
    }
}

impl OpenChain<'_> {
    async fn attempt(
        &self,
        store: &Store,
        limits: SendingLimits,
        now: UnixMillis,
        batch: &Batch,
    ) -> Result<Attempt, NotSent> {
        let key = key(self.account);
        let (mut commit, polled, expected, generation) = {
            let mut chain = self.chain.lock().await;
            let found = match &chain.last {
                Some(value) => value.clone(),
                None => store.engine().get(SENDINGS, &key).await?,
            };
            let record = read(self.account, found.as_ref())?;
            let next = encode(&record.with_one_more(limits, now).map_err(NotSent::Full)?);
            let mut batch = batch.clone();
            let expected = found.clone().map_or(Expected::Absent, Expected::Value);
            batch.expect(SENDINGS, key.clone(), expected);
            batch.put(SENDINGS, key.clone(), next.clone());
            chain.last = Some(Some(next));
            // The first poll hands the batch to the engine: in the order of the chain, because the
            // lock is held, and without waiting for the disk.
            let mut commit = Box::pin(store.commit(batch));
            let polled = futures::poll!(commit.as_mut());
            (commit, polled, found, chain.generation)
        };
        let outcome = match polled {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => commit.as_mut().await,
        };
        match outcome {
            Ok(_) => Ok(Attempt::Committed),
            Err(StoreError::Conflict) => {
                self.broken(generation).await;
                // The count is what it was expected to be: another condition of the batch failed.
                let found = store.engine().get(SENDINGS, &key).await?;
                if found == expected {
                    Err(StoreError::Conflict.into())
                } else {
                    Ok(Attempt::Changed)
                }
            }
            Err(error) => {
                self.broken(generation).await;
                Err(error.into())
            }
        }
    }

    async fn broken(&self, generation: u64) {
        let mut chain = self.chain.lock().await;
        if chain.generation == generation {
            *chain = Chain { last: None, generation: generation.wrapping_add(1) };
        }
    }
}

fn key(account: AccountId) -> Bytes {
    Bytes::copy_from_slice(&account.0.to_be_bytes())
}

fn read(account: AccountId, value: Option<&Bytes>) -> Result<SendingRecord, StoreError> {
    value.map_or_else(
        || Ok(SendingRecord::default()),
        |octets| decode(SENDINGS, &key(account), octets),
    )
}

#[cfg(test)]
mod tests;
