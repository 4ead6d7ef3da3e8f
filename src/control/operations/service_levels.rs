//! `service-levels`: availability and delays of a period.

use serde::{Deserialize, Serialize};
use trust::clock::{Clock as _, SystemClock};

use crate::{
    control::{Kind, Operation, OperationError, Run, Site},
    service_levels::{
        availability::Availability,
        delays::{self, DelayKind, Histogram},
        period::Period,
    },
    texts::Text,
};

/// Asks for the service levels of a period.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct ServiceLevels {
    /// Year and third, such as `2026-3`; `None` = the present one.
    #[serde(default)]
    pub period: Option<String>,
}

/// The service levels of a period.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ServiceLevelsOutcome {
    /// Year and third.
    pub period: String,
    /// How long the service was there; `None` when it was not watched in this period.
    pub availability: Option<AvailabilityView>,
    /// How long receipts took.
    pub delays: Vec<DelaysView>,
}

/// Availability beside what the rule allows (DM 2 November 2005 art. 12).
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct AvailabilityView {
    /// What was seen.
    #[serde(flatten)]
    pub seen: Availability,
    /// Lost minutes that the whole period allows: two in a thousand.
    pub lost_minutes_max: u64,
    /// Minutes that one outage may have: half of them.
    pub outage_minutes_max: u64,
    /// Minutes in which the service was there, in millionths of those that were watched.
    pub available_ppm: u64,
    /// Whether both bounds are kept so far.
    pub kept: bool,
}

/// The delays of one domain.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct DelaysView {
    /// What was waited for.
    pub kind: DelayKind,
    /// The domain: the sender's for acceptances, the recipient's for deliveries; `*` = others.
    pub domain: String,
    /// How many.
    pub count: u64,
    /// What half of them did not exceed, in milliseconds.
    pub half_millis: u64,
    /// What 95 of 100 did not exceed.
    pub p95_millis: u64,
    /// What 99 of 100 did not exceed.
    pub p99_millis: u64,
    /// The longest.
    pub longest_millis: u64,
}

impl AvailabilityView {
    fn of(seen: Availability, period_minutes: u64) -> Self {
        let lost_minutes_max = period_minutes * 2 / 1_000;
        let outage_minutes_max = lost_minutes_max / 2;
        let there = seen.minutes.saturating_sub(seen.lost_minutes);
        let kept =
            seen.lost_minutes <= lost_minutes_max && seen.longest_minutes() <= outage_minutes_max;
        let available_ppm = there.saturating_mul(1_000_000) / seen.minutes.max(1);
        Self { seen, lost_minutes_max, outage_minutes_max, available_ppm, kept }
    }
}

impl DelaysView {
    fn of(kind: DelayKind, domain: String, histogram: &Histogram) -> Self {
        Self {
            kind,
            domain,
            count: histogram.count(),
            half_millis: histogram.percentile(500),
            p95_millis: histogram.percentile(950),
            p99_millis: histogram.percentile(990),
            longest_millis: histogram.longest_millis(),
        }
    }
}

#[async_trait::async_trait]
impl Operation for ServiceLevels {
    const NAME: &'static str = "service-levels";

    type Outcome = ServiceLevelsOutcome;

    async fn run(&self, site: &Site, run: &Run) -> Result<ServiceLevelsOutcome, OperationError> {
        let now = SystemClock.now();
        let period = match &self.period {
            None => Period::of(now),
            Some(text) => text.parse().map_err(|_| {
                let text = Text::filled(
                    format!("{text} non è un quadrimestre: scriverlo come 2026-3"),
                    format!("{text} is no period: write it as 2026-3"),
                );
                OperationError::new(Kind::Invalid, text)
            })?,
        };
        let (from, until) = (period.from_minute(), period.until_minute());
        // Up to now, of course: what is counted in memory belongs to it.
        if let Some(engine) = &site.engine
            && let Err(error) = engine.delays().flush(&site.store).await
        {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the report lacks the last minute's delays"
            );
        }
        let seen = run.reading(Availability::read(&site.store, from, until, now)).await??;
        let minutes = u64::try_from(until.saturating_sub(from)).unwrap_or_default();
        let (first, last) = period.days();
        let mut views = Vec::new();
        for kind in [DelayKind::Acceptance, DelayKind::Delivery] {
            let read = delays::read(&site.store, kind, first, last);
            for (domain, histogram) in run.reading(read).await?? {
                views.push(DelaysView::of(kind, domain, &histogram));
            }
        }
        Ok(ServiceLevelsOutcome {
            period: period.to_string(),
            availability: seen.map(|seen| AvailabilityView::of(seen, minutes)),
            delays: views,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service_levels::availability::Outage;

    /// 120 days: 5.76 hours may be lost in all, 2.88 at once.
    #[test]
    fn the_bounds_are_those_of_the_rule() {
        let period = 120 * 1_440;
        let seen = |lost_minutes, longest| Availability {
            minutes: 100_000,
            lost_minutes,
            outages: vec![Outage { from_millis: 0, minutes: longest }],
            ..Availability::default()
        };
        let view = AvailabilityView::of(seen(345, 172), period);
        assert_eq!((view.lost_minutes_max, view.outage_minutes_max), (345, 172));
        assert_eq!((view.kept, view.available_ppm), (true, 996_550));
        assert!(!AvailabilityView::of(seen(346, 10), period).kept);
        assert!(!AvailabilityView::of(seen(173, 173), period).kept);
    }
}
