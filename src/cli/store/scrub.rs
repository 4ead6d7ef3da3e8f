//! `ceralacca store scrub`.

use std::path::Path;

use super::{found, stats::octets};
use crate::{
    cli::{failure::Failure, operation, output::Output},
    control::operations::scrub::{ScrubOutcome, StoreScrub},
    texts::{Language, Text, below},
};

pub(super) fn run(
    file: Option<&Path>,
    output: &Output,
    octets_per_second: Option<u64>,
) -> Result<(), Failure> {
    let outcome = operation::run(file, output, &StoreScrub { octets_per_second })?;
    if output.wants_json() {
        Output::json(&outcome);
    } else {
        Output::raw(text(&outcome, output.language()).as_bytes());
    }
    if outcome.clean {
        return Ok(());
    }
    Err(Failure::failed(Text::fixed(
        "ci sono danni: ripristinare i pack nominati da un back-up, poi ripetere",
        "there is damage: restore the packs named from a back-up, then repeat",
    )))
}

fn text(outcome: &ScrubOutcome, language: Language) -> String {
    let run = &outcome.run;
    let (packs, chunks, read) = (run.packs, run.chunks, octets(run.octets));
    let (damaged_packs, damaged_chunks) = (run.damaged_packs, outcome.damaged_chunks);
    let mut text = match language {
        Language::Italian => format!(
            "Pack letti {packs} ({read}), chunk verificati {chunks}\n\
             Pack danneggiati {damaged_packs}, chunk danneggiati {damaged_chunks}\n"
        ),
        Language::English => format!(
            "Packs read {packs} ({read}), chunks verified {chunks}\n\
             Damaged packs {damaged_packs}, damaged chunks {damaged_chunks}\n"
        ),
    };
    for damage in &outcome.damages {
        text.push_str(&found(damage, language));
    }
    if !outcome.messages.is_empty() {
        let head = Text::fixed("Messaggi che ne hanno bisogno", "Messages that need them");
        text.extend([format!("{}:\n", head.get(language))]);
        let name = |message: &String| format!("  {}\n", below::object(message).get(language));
        text.extend(outcome.messages.iter().map(name));
    }
    if !outcome.accounts.is_empty() {
        let head = Text::fixed("Caselle", "Accounts");
        text.extend([format!("{}: {}\n", head.get(language), outcome.accounts.join(", "))]);
    }
    text
}
