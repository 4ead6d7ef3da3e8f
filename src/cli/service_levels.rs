//! `ceralacca service-levels`.

use std::path::Path;

use trust::clock::UnixMillis;

use super::{
    failure::Failure,
    operation,
    output::{Output, Shown, instant},
    say,
};
use crate::{
    control::operations::service_levels::{
        AvailabilityView, DelaysView, ServiceLevels, ServiceLevelsOutcome,
    },
    service_levels::delays::DelayKind,
    texts::{Language, Text},
};

#[derive(Debug, clap::Args)]
pub(super) struct ServiceLevelsArguments {
    #[arg(
        long,
        value_name = say("QUADRIMESTRE", "PERIOD"),
        help = say(
            "Anno e quadrimestre, come 2026-3; se manca, quello in corso",
            "Year and third of the year, such as 2026-3; when absent, the present one",
        ),
    )]
    period: Option<String>,
}

impl ServiceLevelsArguments {
    pub(super) fn run(self, file: Option<&Path>, output: &Output) -> Result<(), Failure> {
        let outcome = operation::run(file, output, &ServiceLevels { period: self.period })?;
        if output.wants_json() {
            Output::json(&outcome);
            return Ok(());
        }
        Output::raw(availability(&outcome, output.language()).as_bytes());
        output.list(&outcome.delays);
        Ok(())
    }
}

fn availability(outcome: &ServiceLevelsOutcome, language: Language) -> String {
    let head = Text::filled(
        format!("Quadrimestre {}", outcome.period),
        format!("Period {} (four months)", outcome.period),
    );
    let mut text = format!("{}\n", head.get(language));
    if let Some(view) = &outcome.availability {
        text.extend(lines(view).iter().map(|line| format!("{}\n", line.get(language))));
    } else {
        let unknown = Text::fixed(
            "Nessuna osservazione in questo quadrimestre.",
            "Nothing was watched in this period.",
        );
        text.push_str(unknown.get(language));
        text.push('\n');
    }
    text.push('\n');
    text
}

fn lines(view: &AvailabilityView) -> Vec<Text> {
    let seen = &view.seen;
    let (from, until) =
        (instant(UnixMillis(seen.from_millis)), instant(UnixMillis(seen.until_millis)));
    let percent =
        format!("{}.{:03}", view.available_ppm / 10_000, view.available_ppm % 10_000 / 10);
    let (lost, lost_max) = (seen.lost_minutes, view.lost_minutes_max);
    let (longest, longest_max) = (seen.longest_minutes(), view.outage_minutes_max);
    let mut lines = vec![
        Text::filled(
            format!("Osservato dal {from} al {until}: {} minuti", seen.minutes),
            format!("Watched from {from} to {until}: {} minutes", seen.minutes),
        ),
        Text::filled(
            format!(
                "Disponibilità {percent} %: {lost} minuti persi, ammessi {lost_max} nel quadrimestre"
            ),
            format!(
                "Availability {percent} %: {lost} minutes lost, {lost_max} allowed in the period"
            ),
        ),
        Text::filled(
            format!("Fermo più lungo {longest} minuti, ammessi {longest_max}"),
            format!("Longest outage {longest} minutes, {longest_max} allowed"),
        ),
        if view.kept {
            Text::fixed(
                "Livelli rispettati (decreto 2 novembre 2005, art. 12).",
                "The bounds are kept (DM 2 November 2005, art. 12).",
            )
        } else {
            Text::fixed(
                "LIVELLI NON RISPETTATI (decreto 2 novembre 2005, art. 12).",
                "THE BOUNDS ARE NOT KEPT (DM 2 November 2005, art. 12).",
            )
        },
    ];
    for outage in &seen.outages {
        let from = instant(UnixMillis(outage.from_millis));
        lines.push(Text::filled(
            format!("  fermo dal {from}: {} minuti", outage.minutes),
            format!("  outage from {from}: {} minutes", outage.minutes),
        ));
    }
    lines
}

impl Shown for DelaysView {
    fn columns() -> Vec<Text> {
        vec![
            Text::fixed("ricevuta", "receipt"),
            Text::fixed("dominio", "domain"),
            Text::fixed("quante", "count"),
            Text::fixed("metà entro", "half within"),
            Text::fixed("95 % entro", "95 % within"),
            Text::fixed("99 % entro", "99 % within"),
            Text::fixed("la più lenta", "slowest"),
        ]
    }

    fn row(&self) -> Vec<String> {
        let kind = match self.kind {
            DelayKind::Acceptance => Text::fixed("accettazione", "acceptance"),
            DelayKind::Delivery => Text::fixed("consegna", "delivery"),
        };
        let times = [self.half_millis, self.p95_millis, self.p99_millis, self.longest_millis];
        [kind.get(Language::of_process()).to_owned(), self.domain.clone(), self.count.to_string()]
            .into_iter()
            .chain(times.map(time))
            .collect()
    }
}

/// A delay: milliseconds below ten seconds, then seconds, minutes, hours.
fn time(millis: u64) -> String {
    match millis {
        0..10_000 => format!("{millis} ms"),
        10_000..600_000 => format!("{} s", millis / 1_000),
        600_000..36_000_000 => format!("{} min", millis / 60_000),
        _ => format!("{} h", millis / 3_600_000),
    }
}
