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

use storage::{catalog::engine::Family, error::StoreError, store::Store};
use tokio_util::sync::CancellationToken;
use trust::clock::{Clock, UnixMillis};

use self::{
    availability::{Attention, Availability},
    delays::Delays,
    period::Period,
};
use crate::{http::Readiness, metrics_names};

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
/// Looks between two renewals of the figures that `/metrics` shows.
const LOOKS_PER_REPORT: u32 = 60;

/// Looks at the service until `stopping` is cancelled, and writes down what it sees.
pub async fn watch(
    store: Arc<Store>,
    readiness: Arc<Readiness>,
    delays: Arc<Delays>,
    node: u64,
    clock: Arc<dyn Clock>,
    stopping: CancellationToken,
) {
    let mut attention = Attention::default();
    let mut looks = 0_u32;
    loop {
        let ready = tokio::time::timeout(LOOK_TIME_MAX, readiness.is_ready()).await;
        let now = clock.now();
        let minutes = attention.look(now, ready == Ok(true));
        if let Err(error) = write_down(&store, node, &minutes, &delays, now).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the service levels of this minute could not be written down"
            );
        }
        if looks.is_multiple_of(LOOKS_PER_REPORT) {
            show(&store, now).await;
        }
        looks = looks.wrapping_add(1);
        tokio::select! {
            () = stopping.cancelled() => break,
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
        }
    }
    // What was counted since the last minute; the minute that is cut off stays lost.
    if let Err(error) = delays.flush(&store).await {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "the last delays were not written down"
        );
    }
}

async fn write_down(
    store: &Store,
    node: u64,
    minutes: &[i64],
    delays: &Delays,
    now: UnixMillis,
) -> Result<(), StoreError> {
    if minutes.is_empty() {
        return Ok(());
    }
    availability::mark(store, node, minutes).await?;
    delays.flush(store).await?;
    let oldest = day_of(now.0.div_euclid(MINUTE_MILLIS)).saturating_sub(KEPT_DAYS);
    availability::dispose(store, oldest).await?;
    delays::dispose(store, oldest).await
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
