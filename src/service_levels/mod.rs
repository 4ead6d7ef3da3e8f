//! Service levels: how long the service was there, and how long holders waited for their receipts.
//!
//! DM 2 November 2005 art. 12: the service is available for 99.8 % of each period of four months at
//! least, no single outage is longer than half of what that leaves, and acceptance receipts come
//! within a time that provider and holder agree on.
//!
//! * [`availability`]: one bit for each minute, written while the service is there. A minute in
//!   which it was not there at some moment, or in which nobody could say, counts as lost.
//! * [`delays`]: how long receipts took, by domain and day, counted in classes of an eighth.
//! * [`period`]: the periods of the rule.
//!
//! Invariant: nothing here is part of a mail transaction. What is counted in memory and not yet
//! written is lost by a crash: a minute's delays at most, while the minute itself counts as lost.
//!
//! Not here: how a report looks (`cli::service_levels`), what ready means ([`crate::http`]).

pub mod availability;
pub mod delays;
pub mod period;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use storage::{catalog::engine::Family, error::StoreError, store::Store};
use tokio_util::sync::CancellationToken;
use trust::clock::{Clock, UnixMillis};

use self::{
    availability::{Attention, Availability},
    delays::Delays,
    period::Period,
};
use crate::{
    http::Readiness,
    metrics_names,
    pec::{engine::PecEngine, records::decode},
};

/// Minutes in which the service was there.
pub const SERVICE_MINUTES: Family = Family("service_minutes");
/// How long receipts took.
pub const SERVICE_DELAYS: Family = Family("service_delays");
/// What the catalog must have for this module.
pub const FAMILIES: [Family; 2] = [SERVICE_MINUTES, SERVICE_DELAYS];

/// Milliseconds of a minute.
const MINUTE_MILLIS: i64 = 60_000;
/// Minutes of a day.
const DAY_MINUTES: i64 = 24 * 60;

/// Between two looks at the service.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// How long a look waits for an answer: a service that takes longer is not there.
const LOOK_TIME_MAX: Duration = Duration::from_secs(5);
/// Minutes that wait for a store that takes none; of more, the latest are lost.
const PENDING_MINUTES_MAX: usize = 1_000;
/// Between two times at which delays are written down.
const WRITE_INTERVAL: Duration = Duration::from_mins(1);
/// Of them, between two renewals of the figures that `/metrics` shows.
const ROUNDS_PER_REPORT: u32 = 10;

/// What is watched, and where it is written down.
#[derive(Debug)]
pub struct Watch {
    /// The engine: its store, its clock's delays, and whether it takes messages.
    pub engine: Arc<PecEngine>,
    /// What `/readyz` says.
    pub readiness: Arc<Readiness>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Watch {
    /// Looks at the service until `stopping` is cancelled, and writes down what it sees. Delays are
    /// written beside, so that many of them keep nobody from looking.
    pub async fn run(self, stopping: CancellationToken) {
        tokio::join!(self.look(&stopping), self.write(&stopping));
    }

    async fn look(&self, stopping: &CancellationToken) {
        let mut attention = Attention::default();
        let mut minutes = Vec::new();
        loop {
            let ready = tokio::time::timeout(LOOK_TIME_MAX, self.is_there()).await;
            minutes.extend(attention.look(self.clock.now(), ready == Ok(true)));
            if !minutes.is_empty() {
                let (store, node) = (self.engine.store(), self.engine.settings().node);
                match availability::mark(store, node, &minutes).await {
                    Ok(()) => minutes.clear(),
                    Err(error) => tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "minutes in which the service was there are written down later"
                    ),
                }
                minutes.truncate(PENDING_MINUTES_MAX);
            }
            if !rest(LOOK_INTERVAL, stopping).await {
                return;
            }
        }
    }

    /// Whether a message could be taken.
    async fn is_there(&self) -> bool {
        self.engine.has_room_and_store() && self.readiness.is_ready().await
    }

    async fn write(&self, stopping: &CancellationToken) {
        let mut rounds = 0_u32;
        loop {
            let (store, now) = (self.engine.store(), self.clock.now());
            let written = async {
                self.engine.delays().flush(store).await?;
                dispose(store, now).await
            };
            if let Err(error) = written.await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "delays of receipts are written down later"
                );
            }
            if rounds.is_multiple_of(ROUNDS_PER_REPORT) {
                show(store, now).await;
            }
            rounds = rounds.wrapping_add(1);
            if !rest(WRITE_INTERVAL, stopping).await {
                return;
            }
        }
    }
}

/// Writes down what was counted until the engine stopped.
pub async fn write_last(delays: &Delays, store: &Store) {
    if let Err(error) = delays.flush(store).await {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "the last delays of receipts were not written down"
        );
    }
}

/// Waits for `pause` or the stop; says whether to go on.
async fn rest(pause: Duration, stopping: &CancellationToken) -> bool {
    stopping.run_until_cancelled(tokio::time::sleep(pause)).await.is_some()
}

/// Removes what is too old, unless the clock alone says so: a clock that ran ahead finds no yesterday.
async fn dispose(store: &Store, now: UnixMillis) -> Result<(), StoreError> {
    let today = day_of(now.0.div_euclid(MINUTE_MILLIS));
    if !availability::was_there_about(store, today).await? {
        return Ok(());
    }
    let oldest = today.saturating_sub(KEPT_DAYS);
    availability::dispose(store, oldest).await?;
    delays::dispose(store, oldest).await
}

/// The record under `key`; one that cannot be read is told and counts as none, so that it keeps
/// nothing else from being counted.
fn readable<R: prost::Message + Default>(
    family: Family,
    key: &[u8],
    value: Option<&Bytes>,
) -> Result<R, StoreError> {
    let Some(value) = value else { return Ok(R::default()) };
    match decode(family, key, value) {
        Err(error @ StoreError::Damaged { .. }) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "a row of the service levels cannot be read: what it counted is lost"
            );
            Ok(R::default())
        }
        read => read,
    }
}

/// Renews the gauges of the present period.
async fn show(store: &Store, now: UnixMillis) {
    let read = async {
        let period = Period::of(now);
        Availability::read(store, period.from_minute(), period.until_minute(), now).await
    };
    match read.await {
        Ok(Some(availability)) => {
            metrics::gauge!(metrics_names::SERVICE_LOST).set(seconds(availability.lost_minutes));
            metrics::gauge!(metrics_names::SERVICE_OUTAGE_LONGEST)
                .set(seconds(availability.longest_minutes()));
        }
        Ok(None) => {}
        Err(error) => tracing::warn!(
            error = &error as &dyn std::error::Error,
            "the availability of this period could not be read"
        ),
    }
}

fn seconds(minutes: u64) -> f64 {
    f64::from(u32::try_from(minutes).unwrap_or(u32::MAX)) * 60.0
}

/// Days for which the figures are kept: two years and a half, as long as the log of operations.
const KEPT_DAYS: u32 = 31 * 30;

/// The day, in UTC since 1970, of a minute.
fn day_of(minute: i64) -> u32 {
    u32::try_from(minute.div_euclid(DAY_MINUTES)).unwrap_or_default()
}
