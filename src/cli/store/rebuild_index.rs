//! `ceralacca store rebuild-index`.

use std::path::Path;

use super::found;
use crate::{
    cli::{failure::Failure, operation, output::Output},
    control::operations::rebuild_index::{RebuildIndex, RebuildOutcome},
    texts::{Language, Text},
};

pub(super) fn run(file: Option<&Path>, output: &Output) -> Result<(), Failure> {
    let outcome = operation::run_alone(file, output, &RebuildIndex {})?;
    if output.wants_json() {
        Output::json(&outcome);
    } else {
        Output::raw(text(&outcome, output.language()).as_bytes());
    }
    if outcome.damaged.is_empty() {
        return Ok(());
    }
    Err(Failure::failed(Text::fixed(
        "qualcosa non si legge: non è stato toccato; ripristinarlo da un back-up, poi ripetere",
        "something cannot be read: it was left alone; restore it from a back-up, then repeat",
    )))
}

fn text(outcome: &RebuildOutcome, language: Language) -> String {
    let RebuildOutcome { packs, chunks, added, mended, lost, damaged, .. } = outcome;
    let mut text = match language {
        Language::Italian => format!(
            "Pack letti {packs}, chunk trovati {chunks}\n\
             Righe aggiunte {added}, corrette {mended}, senza chunk {lost}\n"
        ),
        Language::English => format!(
            "Packs read {packs}, chunks found {chunks}\n\
             Rows added {added}, mended {mended}, without a chunk {lost}\n"
        ),
    };
    text.extend(damaged.iter().map(|damage| found(damage, language)));
    text
}
