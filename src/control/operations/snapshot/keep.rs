//! `snapshot/hold` and `snapshot/settings`: what stays longer, what an account has otherwise.

use ::snapshots::keep::settings::{Hold, Overrides};
use serde::{Deserialize, Serialize};
use trust::clock::{Clock as _, SystemClock};

use super::{
    super::acts::{account, noted},
    standing::{refusal, snapshot},
};
use crate::{
    config::units::Millis,
    control::{Kind, Operation, OperationError, Run, Site},
    pec::journal::JournalEvent,
    texts::Text,
};

/// Holds snapshots of an account, or lets them go again.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct SnapshotHold {
    /// The account's address.
    pub account: String,
    /// Which snapshot; `None`: all, those to come too.
    #[serde(default)]
    pub instant: Option<String>,
    /// Why; `None` ends the hold.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What an account has otherwise than its plan.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct SnapshotChange {
    /// The account's address.
    pub account: String,
    /// Whether to change anything: else the settings are only shown.
    #[serde(default)]
    pub change: bool,
    /// Minutes between two scheduled snapshots.
    #[serde(default)]
    pub every_minutes: Option<u32>,
    /// Hours of which every full hour stays.
    #[serde(default)]
    pub hourly_hours: Option<u32>,
    /// Days of which every midnight stays.
    #[serde(default)]
    pub daily_days: Option<u32>,
    /// Months of which the first day stays.
    #[serde(default)]
    pub monthly_months: Option<u32>,
    /// Days that a snapshot asked for stays.
    #[serde(default)]
    pub on_demand_days: Option<u32>,
    /// Everything as the plan says; before what is set with it.
    #[serde(default)]
    pub reset: bool,
}

/// What holds for an account.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct SettingsView {
    /// The account's address.
    pub account: String,
    /// Minutes between two scheduled snapshots.
    pub every_minutes: u64,
    /// Hours of which every full hour stays.
    pub hourly_hours: u32,
    /// Days of which every midnight stays.
    pub daily_days: u32,
    /// Months of which the first day stays.
    pub monthly_months: u32,
    /// Days that a snapshot asked for stays.
    pub on_demand_days: u32,
    /// Why all snapshots of the account stay.
    pub held: Option<String>,
    /// Names of single snapshots that are held.
    pub held_snapshots: Vec<String>,
    /// When one was just held: why the account may have been otherwise at the instant that was named.
    #[serde(default)]
    pub note: Option<Text>,
}

#[async_trait::async_trait]
impl Operation for SnapshotHold {
    const NAME: &'static str = "snapshot/hold";

    type Outcome = SettingsView;

    async fn run(&self, site: &Site, _: &Run) -> Result<SettingsView, OperationError> {
        let (id, settings) = account(site, &self.account).await?;
        let standing = match &self.instant {
            None => None,
            Some(instant) => Some(snapshot(site, id, instant).await?),
        };
        let number = standing.as_ref().map(|standing| standing.snapshot.number);
        let which = standing.as_ref().map_or_else(
            || "all snapshots".to_owned(),
            |standing| format!("snapshot {}", standing.snapshot.name()),
        );
        let note = standing.and_then(|standing| standing.note());
        let also = match &self.reason {
            Some(reason) => {
                noted(JournalEvent::SnapshotsHeld, &settings.address, &format!("{which}: {reason}"))
            }
            None => noted(JournalEvent::SnapshotsReleased, &settings.address, &which),
        };
        let hold = self.reason.clone().map(|reason| Hold { reason, since: SystemClock.now() });
        // What is held stays provable: the runs that attest it stay, too.
        site.runs.hold(id, number, hold, also).await.map_err(|error| refusal(&error))?;
        Ok(SettingsView { note, ..view(site, &self.account).await? })
    }
}

#[async_trait::async_trait]
impl Operation for SnapshotChange {
    const NAME: &'static str = "snapshot/settings";

    type Outcome = SettingsView;

    async fn run(&self, site: &Site, _: &Run) -> Result<SettingsView, OperationError> {
        let (id, settings) = account(site, &self.account).await?;
        if self.change {
            self.often_enough(site)?;
            let snapshots = site.runs.snapshots();
            let before = snapshots.settings(id).await.map_err(|error| refusal(&error))?;
            let before = if self.reset { Overrides::default() } else { before.overrides };
            let overrides = Overrides {
                every_minutes: self.every_minutes.or(before.every_minutes),
                hourly_hours: self.hourly_hours.or(before.hourly_hours),
                daily_days: self.daily_days.or(before.daily_days),
                monthly_months: self.monthly_months.or(before.monthly_months),
                on_demand_days: self.on_demand_days.or(before.on_demand_days),
            };
            let detail = in_words(&overrides);
            let also = noted(JournalEvent::SnapshotSettings, &settings.address, &detail);
            let changed = snapshots.change_settings(id, overrides, also).await;
            changed.map_err(|error| refusal(&error))?;
        }
        view(site, &self.account).await
    }
}

/// What an account has otherwise than its plan, for the journal.
fn in_words(overrides: &Overrides) -> String {
    let set = [
        ("every_minutes", overrides.every_minutes),
        ("hourly_hours", overrides.hourly_hours),
        ("daily_days", overrides.daily_days),
        ("monthly_months", overrides.monthly_months),
        ("on_demand_days", overrides.on_demand_days),
    ];
    let set = set.iter().filter_map(|(name, value)| value.map(|value| format!("{name} {value}")));
    let words: Vec<String> = set.collect();
    if words.is_empty() { "as the plan".to_owned() } else { words.join(", ") }
}

impl SnapshotChange {
    /// Runs take no snapshot between each other: a shorter time would be a promise that nobody keeps.
    fn often_enough(&self, site: &Site) -> Result<(), OperationError> {
        let interval = site.config.snapshots.interval;
        let Some(minutes) = self.every_minutes.filter(|n| u64::from(*n) * 60_000 < interval.0)
        else {
            return Ok(());
        };
        Err(too_often(interval, minutes))
    }
}

fn too_often(interval: Millis, minutes: u32) -> OperationError {
    let least = interval.0.div_ceil(60_000);
    OperationError::new(
        Kind::Invalid,
        Text::filled(
            format!(
                "i giri passano ogni {interval}: {minutes} minuti sono meno, --every-minutes è almeno {least}"
            ),
            format!(
                "runs come by every {interval}: {minutes} minutes are less, --every-minutes is {least} at least"
            ),
        ),
    )
}

async fn view(site: &Site, address: &str) -> Result<SettingsView, OperationError> {
    let (id, settings) = account(site, address).await?;
    let snapshots = site.runs.snapshots();
    let own = snapshots.settings(id).await.map_err(|error| refusal(&error))?;
    let all = snapshots.list(id).await.map_err(|error| refusal(&error))?;
    let times = site.config.snapshots.times(&settings.plan);
    let kept = own.overrides.retention(&times.retention);
    let every = own.overrides.every_minutes.map_or(times.every.0 / 60_000, u64::from);
    let held = all.iter().filter(|one| one.hold.is_some());
    Ok(SettingsView {
        account: settings.address,
        every_minutes: every,
        hourly_hours: kept.hourly_hours,
        daily_days: kept.daily_days,
        monthly_months: kept.monthly_months,
        on_demand_days: kept.on_demand_days,
        held: own.hold.map(|hold| hold.reason),
        held_snapshots: held.map(::snapshots::keep::snapshot::Snapshot::name).collect(),
        note: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::texts::Language;

    #[test]
    fn whoever_asks_for_too_many_snapshots_is_told_the_least_time_between_two() {
        for (interval, least) in [(Millis::hours(1), 60), (Millis::seconds(90), 2)] {
            let refused = too_often(interval, 1);
            let italian = refused.text.get(Language::Italian);
            assert!(italian.ends_with(&format!("--every-minutes è almeno {least}")), "{italian}");
            let english = refused.text.get(Language::English);
            assert!(
                english.ends_with(&format!("--every-minutes is {least} at least")),
                "{english}"
            );
        }
    }
}
