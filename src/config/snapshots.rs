//! `[snapshots]`: when snapshots of accounts are taken, and how long they stay.

use std::collections::BTreeMap;

use ::snapshots::keep::{SnapshotLimits, settings::Retention};

use super::{
    reader::{Reader, Section},
    restore::{self, RestoreSettings},
    units::Millis,
    value::Setting,
};
use crate::{registry::plan::Plan, texts::Text};

/// `[snapshots]`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SnapshotSettings {
    /// Whether runs take place.
    pub enabled: bool,
    /// Time between two runs.
    pub interval: Millis,
    /// Time over which a run spreads its accounts.
    pub spread: Millis,
    /// Accounts of which snapshots are taken in a second, at most.
    pub rate: u32,
    /// Accounts of which snapshots are taken at the same time.
    pub concurrency: u32,
    /// What holds for accounts of no plan that is named.
    pub general: SnapshotTimes,
    /// `[snapshots.<plan>]`
    pub plans: BTreeMap<&'static str, SnapshotTimes>,
    /// `[snapshots.limits]`
    pub limits: SnapshotLimits,
    /// `[snapshots.restore]`
    pub restore: RestoreSettings,
}

/// Schedule and retention of one plan.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SnapshotTimes {
    /// Time between two scheduled snapshots.
    pub every: Millis,
    /// How long they stay.
    pub retention: Retention,
    /// Snapshots that a holder may ask for in a day (UTC).
    pub on_demand_per_day: u32,
}

const DAY: Millis = Millis::hours(24);

impl SnapshotSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut section = reader.section(
            "snapshots",
            Text::fixed(
                "Istantanee delle caselle: quando si scattano, per quanto restano. Ogni giro su tutte le caselle ha una firma e una marca temporale, dal servizio di [journal].",
                "Snapshots of accounts: when they are taken, how long they stay. Each run over all accounts has one signature and one time stamp, by the service of [journal].",
            ),
        );
        let enabled = section.key(
            "enabled",
            true,
            Text::fixed(
                "Se fare giri regolari. Con false non si toglie nemmeno ciò che è scaduto, e i titolari non possono chiedere istantanee.",
                "Whether regular runs take place. With false nothing past its time is removed either, and holders can ask for no snapshots.",
            ),
        );
        let interval = section.within(
            "interval",
            Millis::hours(1),
            (Millis::seconds(1), DAY),
            Text::fixed(
                "Tempo da un giro al successivo, contato dalla mezzanotte UTC. Un giro saltato si recupera.",
                "Time from one run to the next, counted from midnight UTC. A missed run is caught up.",
            ),
        );
        let spread = section.within(
            "spread",
            Millis::minutes(30),
            (Millis(0), DAY),
            Text::fixed(
                "Tempo in cui distribuire le caselle di un giro; un giro in ritardo non si distribuisce.",
                "Time over which the accounts of a run are spread; a late run is not spread.",
            ),
        );
        let rate = section.within(
            "rate",
            200_u32,
            (1, 100_000),
            Text::fixed("Caselle al secondo, al massimo.", "Accounts in a second, at most."),
        );
        let concurrency = section.within(
            "concurrency",
            4_u32,
            (1, 256),
            Text::fixed(
                "Caselle di cui si scatta l'istantanea nello stesso momento.",
                "Accounts of which snapshots are taken at the same time.",
            ),
        );
        let standard = SnapshotTimes {
            every: Millis::hours(1).max(interval),
            retention: Retention::default(),
            on_demand_per_day: 24,
        };
        let general = SnapshotTimes::read(&mut section, Of::All, standard, interval);
        let mut plans = BTreeMap::new();
        for plan in Plan::ALL.into_iter().filter(|plan| *plan != Plan::Service) {
            let explanation = Text::filled(
                format!("Caselle di tipo {plan}: ciò che hanno di diverso da [snapshots]."),
                format!("Accounts of type {plan}: what they have otherwise than [snapshots]."),
            );
            let mut section = reader.section(&format!("snapshots.{plan}"), explanation);
            let times = SnapshotTimes::read(&mut section, Of::Plan, general, interval);
            plans.insert(plan.name(), times);
        }
        let limits = restore::limits(reader);
        let restore = RestoreSettings::read(reader);
        Self { enabled, interval, spread, rate, concurrency, general, plans, limits, restore }
    }

    /// What holds for accounts of a plan.
    #[must_use]
    pub fn times(&self, plan: &str) -> SnapshotTimes {
        self.plans.get(plan).copied().unwrap_or(self.general)
    }

    /// The longest retention of any plan.
    #[must_use]
    pub fn longest(&self) -> Retention {
        self.plans
            .values()
            .fold(self.general.retention, |longest, times| longest.or_longer(&times.retention))
    }
}

/// Hours of which every full hour can stay: a year.
pub const HOURLY_HOURS_MAX: u32 = 8_784;

/// Days of which every midnight can stay, and for which one asked for can: ten years.
pub const DAILY_DAYS_MAX: u32 = 3_660;

/// Months of which the first day can stay: a hundred years.
pub const MONTHLY_MONTHS_MAX: u32 = 1_200;

/// The settings of retention: key, most, explanation.
const KEPT: [(&str, u32, Text); 4] = [
    (
        "hourly_hours",
        HOURLY_HOURS_MAX,
        Text::fixed("Ore di cui resta ogni ora piena.", "Hours of which every full hour stays."),
    ),
    (
        "daily_days",
        DAILY_DAYS_MAX,
        Text::fixed(
            "Giorni di cui resta ogni mezzanotte (UTC).",
            "Days of which every midnight (UTC) stays.",
        ),
    ),
    (
        "monthly_months",
        MONTHLY_MONTHS_MAX,
        Text::fixed(
            "Mesi di cui resta il primo giorno, ore 00:00 UTC.",
            "Months of which the first day, 00:00 UTC, stays.",
        ),
    ),
    (
        "on_demand_days",
        DAILY_DAYS_MAX,
        Text::fixed(
            "Giorni per cui resta un'istantanea richiesta.",
            "Days that a snapshot asked for stays.",
        ),
    ),
];

const EVERY: Text = Text::fixed(
    "Tempo tra due istantanee regolari di una casella, se nel frattempo è cambiata.",
    "Time between two regular snapshots of an account, when it has changed since.",
);

const PER_DAY: Text = Text::fixed(
    "Istantanee che un titolare può chiedere in un giorno.",
    "Snapshots that a holder may ask for in a day.",
);

/// Snapshots on demand in a day, at most.
const PER_DAY_MAX: u32 = 1_000;

/// Whether a section has every setting, or only what is otherwise than in [`SnapshotSettings::general`].
#[derive(Clone, Copy, Eq, PartialEq)]
enum Of {
    All,
    Plan,
}

impl Of {
    fn setting<T: Setting + PartialOrd>(
        self,
        section: &mut Section<'_, '_>,
        key: &str,
        default: T,
        range: (T, T),
        explanation: Text,
    ) -> T {
        match self {
            Self::All => section.within(key, default, range, explanation),
            Self::Plan => section.optional_within(key, default, range, explanation),
        }
    }
}

impl SnapshotTimes {
    /// Reads a section; what it does not set is as in `default`. Runs come by every `interval`.
    fn read(section: &mut Section<'_, '_>, of: Of, default: Self, interval: Millis) -> Self {
        let range = (Millis::seconds(1), Millis::hours(744));
        let every = of.setting(section, "every", default.every, range, EVERY);
        if every < interval && every != default.every {
            let text = Text::filled(
                format!(
                    "\"every\" ({every}) è meno di snapshots.interval ({interval}): tra un giro e l'altro non si scattano istantanee"
                ),
                format!(
                    "\"every\" ({every}) is less than snapshots.interval ({interval}): no snapshots are taken between runs"
                ),
            );
            section.refuse("every", text);
        }
        let kept = default.kept();
        let mut read = |at: usize| {
            let (key, most, explanation) = &KEPT[at];
            of.setting(section, key, kept[at], (0, *most), explanation.clone())
        };
        let retention = Retention {
            hourly_hours: read(0),
            daily_days: read(1),
            monthly_months: read(2),
            on_demand_days: read(3),
        };
        let (key, most) = ("on_demand_per_day", (0, PER_DAY_MAX));
        let on_demand_per_day = of.setting(section, key, default.on_demand_per_day, most, PER_DAY);
        Self { every, retention, on_demand_per_day }
    }

    fn kept(&self) -> [u32; 4] {
        let Retention { hourly_hours, daily_days, monthly_months, on_demand_days } = self.retention;
        [hourly_hours, daily_days, monthly_months, on_demand_days]
    }
}
