//! What an account's snapshots are kept by: retention, holds, overrides.

use trust::clock::UnixMillis;

/// How long snapshots are kept. See `keep::thin` for what is counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Retention {
    /// Hours of which every full hour stays. 48.
    pub hourly_hours: u32,
    /// Days of which every midnight (UTC) stays. 35.
    pub daily_days: u32,
    /// Months of which every first day, 00:00 UTC, stays. 24.
    pub monthly_months: u32,
    /// Days that a snapshot asked for stays. 35.
    pub on_demand_days: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self { hourly_hours: 48, daily_days: 35, monthly_months: 24, on_demand_days: 35 }
    }
}

impl Retention {
    /// Whatever is longer in one of the two.
    #[must_use]
    pub fn or_longer(&self, other: &Self) -> Self {
        Self {
            hourly_hours: self.hourly_hours.max(other.hourly_hours),
            daily_days: self.daily_days.max(other.daily_days),
            monthly_months: self.monthly_months.max(other.monthly_months),
            on_demand_days: self.on_demand_days.max(other.on_demand_days),
        }
    }
}

/// Why something must stay although its time is over.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hold {
    /// Why, in the words of who holds it.
    pub reason: String,
    /// Since when.
    pub since: UnixMillis,
}

/// What an account has otherwise than the rest.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Overrides {
    /// Minutes between two scheduled snapshots.
    pub every_minutes: Option<u32>,
    /// As in [`Retention`].
    pub hourly_hours: Option<u32>,
    /// As in [`Retention`].
    pub daily_days: Option<u32>,
    /// As in [`Retention`].
    pub monthly_months: Option<u32>,
    /// As in [`Retention`].
    pub on_demand_days: Option<u32>,
}

impl Overrides {
    /// `general` with what the account has otherwise.
    #[must_use]
    pub fn retention(&self, general: &Retention) -> Retention {
        Retention {
            hourly_hours: self.hourly_hours.unwrap_or(general.hourly_hours),
            daily_days: self.daily_days.unwrap_or(general.daily_days),
            monthly_months: self.monthly_months.unwrap_or(general.monthly_months),
            on_demand_days: self.on_demand_days.unwrap_or(general.on_demand_days),
        }
    }
}

/// An account's settings of snapshots.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SnapshotSettings {
    /// What it has otherwise than the rest.
    pub overrides: Overrides,
    /// All its snapshots stay.
    pub hold: Option<Hold>,
}
