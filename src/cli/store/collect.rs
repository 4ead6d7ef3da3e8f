//! `ceralacca store collect`.

use std::path::Path;

use crate::{
    cli::{failure::Failure, operation, output::Output, say},
    config::units::Millis,
    control::operations::collect::{CollectOutcome, StoreCollect},
    texts::{Language, Text, below},
};

#[derive(Clone, Copy, Debug, clap::Args)]
pub(in crate::cli) struct CollectArguments {
    #[arg(long, help = say("Dice soltanto che cosa farebbe", "Only says what it would do"))]
    dry_run: bool,
    #[arg(
        long,
        value_name = say("TEMPO", "TIME"),
        value_parser = time,
        help = say(
            "Quanto restano condannati i chunk e i pack, al posto di collector.grace; \"0 s\" libera subito lo spazio: usarlo a server fermo",
            "How long chunks stay condemned and packs doomed, instead of collector.grace; \"0 s\" gives the space back at once: use it while the server is stopped",
        ),
    )]
    grace: Option<Millis>,
}

fn time(text: &str) -> Result<Millis, &'static str> {
    let expected =
        say("un tempo con unità, come \"24 h\"", "a time with its unit, such as \"24 h\"");
    text.parse().map_err(|_| expected)
}

pub(super) fn run(
    file: Option<&Path>,
    output: &Output,
    arguments: CollectArguments,
) -> Result<(), Failure> {
    let CollectArguments { dry_run, grace } = arguments;
    let request = StoreCollect { dry_run, grace_millis: grace.map(|grace| grace.0) };
    let outcome = operation::run(file, output, &request)?;
    if output.wants_json() {
        Output::json(&outcome);
    } else {
        Output::raw(text(&outcome, output.language()).as_bytes());
    }
    if outcome.damages == 0 {
        return Ok(());
    }
    let damages = outcome.damages;
    Err(Failure::failed(Text::filled(
        format!("{damages} chunk o pack danneggiati, lasciati dove sono: `ceralacca store check`"),
        format!("{damages} damaged chunks or packs, left where they are: `ceralacca store check`"),
    )))
}

fn text(outcome: &CollectOutcome, language: Language) -> String {
    let mut text = match language {
        Language::Italian => italian(outcome),
        Language::English => english(outcome),
    };
    for damaged in &outcome.damaged {
        text.extend([format!("  {}\n", below::line(damaged).get(language))]);
    }
    for stranger in &outcome.strangers {
        text.extend([format!("  ? {stranger}\n")]);
    }
    text
}

fn italian(outcome: &CollectOutcome) -> String {
    let CollectOutcome {
        chunks,
        chunks_kept,
        chunks_condemned,
        chunks_swept,
        swept_octets,
        packs_removed,
        packs_rewritten,
        packs_merged,
        packs_deleted,
        deleted_octets,
        packs_waiting,
        packs_held,
        octets_before,
        octets_after,
        ..
    } = outcome;
    let head = if outcome.dry_run { "Prova, nulla è cambiato.\n" } else { "" };
    format!(
        "{head}Chunk {chunks}: restano {chunks_kept}, condannati {chunks_condemned}, tolti \
         {chunks_swept} ({swept_octets} ottetti)\nPack: vuoti {packs_removed}, riscritti \
         {packs_rewritten}, uniti {packs_merged}; oggetti eliminati {packs_deleted} \
         ({deleted_octets} ottetti), in attesa {packs_waiting}, trattenuti dai back-up \
         {packs_held}\nOggetti: {octets_before} ottetti prima, {octets_after} dopo\n"
    )
}

fn english(outcome: &CollectOutcome) -> String {
    let CollectOutcome {
        chunks,
        chunks_kept,
        chunks_condemned,
        chunks_swept,
        swept_octets,
        packs_removed,
        packs_rewritten,
        packs_merged,
        packs_deleted,
        deleted_octets,
        packs_waiting,
        packs_held,
        octets_before,
        octets_after,
        ..
    } = outcome;
    let head = if outcome.dry_run { "Dry run, nothing was changed.\n" } else { "" };
    format!(
        "{head}Chunks {chunks}: kept {chunks_kept}, condemned {chunks_condemned}, swept \
         {chunks_swept} ({swept_octets} octets)\nPacks: empty {packs_removed}, rewritten \
         {packs_rewritten}, merged {packs_merged}; objects deleted {packs_deleted} \
         ({deleted_octets} octets), waiting {packs_waiting}, held for back-ups \
         {packs_held}\nObjects: {octets_before} octets before, {octets_after} after\n"
    )
}
