//! `ceralacca store repair`.

use std::path::Path;

use super::found;
use crate::{
    cli::{failure::Failure, operation, output::Output},
    control::operations::repair::{RepairOutcome, StoreRepair},
    texts::{Language, Text},
};

pub(super) fn run(file: Option<&Path>, output: &Output, apply: bool) -> Result<(), Failure> {
    let outcome = operation::run_alone(file, output, &StoreRepair { apply })?;
    if output.wants_json() {
        Output::json(&outcome);
    } else {
        Output::raw(text(&outcome, output.language()).as_bytes());
    }
    if outcome.left == 0 && outcome.check.as_ref().is_none_or(|check| check.clean) {
        return Ok(());
    }
    Err(Failure::failed(Text::fixed(
        "non tutto si può riparare da ciò che c'è: il resto si ripristina da un back-up",
        "not everything can be repaired from what is here: the rest comes from a back-up",
    )))
}

fn text(outcome: &RepairOutcome, language: Language) -> String {
    let RepairOutcome { accounts, messages, recovered, changes, left, .. } = outcome;
    let mut text = match language {
        Language::Italian => format!(
            "Caselle {accounts}, messaggi {messages}\n\
             Modifiche {changes}, messaggi in Recovered {recovered}, non riparabili {left}\n"
        ),
        Language::English => format!(
            "Accounts {accounts}, messages {messages}\n\
             Changes {changes}, messages in Recovered {recovered}, beyond repair {left}\n"
        ),
    };
    let lists = [
        (Text::fixed("Modifiche", "Changes"), &outcome.first_changes),
        (Text::fixed("Non riparabili", "Beyond repair"), &outcome.first_left),
    ];
    for (head, list) in lists.iter().filter(|(_, list)| !list.is_empty()) {
        text.extend([format!("{}:\n", head.get(language))]);
        text.extend(list.iter().map(|change| found(change, language)));
    }
    let end = match &outcome.check {
        None => Text::fixed(
            "Nulla è stato scritto: ripetere con --apply.",
            "Nothing was written: repeat with --apply.",
        ),
        Some(check) if check.clean => {
            Text::fixed("Verifica: nessuna violazione.", "Check: no violation.")
        }
        Some(check) => Text::filled(
            format!("Verifica: {} violazioni.", check.violations),
            format!("Check: {} violations.", check.violations),
        ),
    };
    text.extend([end.get(language), "\n"]);
    text
}
