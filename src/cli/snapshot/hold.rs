//! `ceralacca snapshot hold` and `settings`.

use std::path::Path;

use crate::{
    cli::{
        failure::Failure,
        operation,
        output::{Output, Shown},
        say,
    },
    config::snapshots::{DAILY_DAYS_MAX, HOURLY_HOURS_MAX, MONTHLY_MONTHS_MAX},
    control::operations::snapshot::{SettingsView, SnapshotChange, SnapshotHold},
    texts::Text,
};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct HoldArguments {
    #[arg(value_name = "ADDRESS", help = say("L'indirizzo della casella", "The account's address"))]
    account: String,
    #[arg(long, value_name = "INSTANT", help = say("Solo questa istantanea; senza, tutte, anche le future", "Only this snapshot; without it all, those to come too"))]
    at: Option<String>,
    #[arg(long, value_name = say("TESTO", "TEXT"), required_unless_present = "release", help = say("Perché, come il numero di una causa", "Why, such as the number of a case"))]
    reason: Option<String>,
    #[arg(long, conflicts_with = "reason", help = say("Toglie il vincolo", "Ends the hold"))]
    release: bool,
}

impl HoldArguments {
    pub(super) fn run(self, file: Option<&Path>, output: &Output) -> Result<(), Failure> {
        let Self { account, at, reason, release: _ } = self;
        let request = SnapshotHold { account, instant: at, reason };
        let held = operation::run(file, output, &request)?;
        output.notes(&held.note);
        output.one(&held);
        Ok(())
    }
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct SettingsArguments {
    #[arg(value_name = "ADDRESS", help = say("L'indirizzo della casella", "The account's address"))]
    account: String,
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help = say("Minuti tra due istantanee regolari", "Minutes between two regular snapshots"))]
    every_minutes: Option<u32>,
    #[arg(long, value_name = "N", value_parser = up_to(HOURLY_HOURS_MAX), help = say("Ore di cui resta ogni ora piena", "Hours of which every full hour stays"))]
    hourly_hours: Option<u32>,
    #[arg(long, value_name = "N", value_parser = up_to(DAILY_DAYS_MAX), help = say("Giorni di cui resta ogni mezzanotte", "Days of which every midnight stays"))]
    daily_days: Option<u32>,
    #[arg(long, value_name = "N", value_parser = up_to(MONTHLY_MONTHS_MAX), help = say("Mesi di cui resta il primo giorno", "Months of which the first day stays"))]
    monthly_months: Option<u32>,
    #[arg(long, value_name = "N", value_parser = up_to(DAILY_DAYS_MAX), help = say("Giorni per cui resta un'istantanea richiesta", "Days that a snapshot asked for stays"))]
    on_demand_days: Option<u32>,
    #[arg(long, help = say("Tutto come dice il tipo di casella", "Everything as the plan says"))]
    reset: bool,
}

fn up_to(most: u32) -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(..=i64::from(most))
}

impl SettingsArguments {
    pub(super) fn run(self, file: Option<&Path>, output: &Output) -> Result<(), Failure> {
        let Self { account, every_minutes, hourly_hours, daily_days, monthly_months, .. } = self;
        let Self { on_demand_days, reset, .. } = self;
        let set = [every_minutes, hourly_hours, daily_days, monthly_months, on_demand_days];
        let change = reset || set.iter().any(Option::is_some);
        let request = SnapshotChange {
            account,
            change,
            every_minutes,
            hourly_hours,
            daily_days,
            monthly_months,
            on_demand_days,
            reset,
        };
        output.one(&operation::run(file, output, &request)?);
        Ok(())
    }
}

impl Shown for SettingsView {
    fn details(&self) -> Vec<(Text, String)> {
        vec![
            (Text::fixed("Casella", "Account"), self.account.clone()),
            (Text::fixed("Ogni (minuti)", "Every (minutes)"), self.every_minutes.to_string()),
            (Text::fixed("Ore piene", "Full hours"), self.hourly_hours.to_string()),
            (Text::fixed("Mezzanotti", "Midnights"), self.daily_days.to_string()),
            (Text::fixed("Primi del mese", "Firsts of month"), self.monthly_months.to_string()),
            (
                Text::fixed("A richiesta (giorni)", "On demand (days)"),
                self.on_demand_days.to_string(),
            ),
            (Text::fixed("Vincolo", "Hold"), self.held.clone().unwrap_or_default()),
            (Text::fixed("Trattenute", "Held"), self.held_snapshots.join(" ")),
        ]
    }
}
