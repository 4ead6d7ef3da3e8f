//! `ceralacca transmission`: duties that a restore held for an operator.

use std::path::Path;

use clap::Subcommand;
use trust::clock::UnixMillis;

use super::{
    failure::Failure,
    operation,
    output::{Output, Shown, instant},
    say,
};
use crate::{
    control::operations::backup::{HeldView, ListHeld, ReleaseHeld, ReleasedView},
    texts::{Language, Text},
};

#[derive(Debug, Subcommand)]
pub(super) enum TransmissionCommand {
    #[command(about = say(
        "Elenca gli obblighi che un ripristino ha trattenuto",
        "Lists the duties that a restore has held",
    ))]
    Held,
    #[command(
        about = say(
            "Restituisce al motore gli obblighi trattenuti: da qui proseguono",
            "Gives held duties back to the engine: they go on from there",
        ),
        after_help = say(
            "Esempio:\n  ceralacca transmission release --all\n\nPrima del guasto un obbligo può essere già stato adempiuto: chi riceve una busta una seconda volta la riconosce,\nuna ricevuta può arrivare due volte.",
            "Example:\n  ceralacca transmission release --all\n\nBefore the loss a duty may have been fulfilled already: who gets an envelope a second time recognises it,\na receipt may come twice.",
        ),
    )]
    Release {
        #[arg(long, conflicts_with = "ids", help = say("Tutti", "All of them"))]
        all: bool,
        #[arg(value_name = "ID", required_unless_present = "all", help = say("Quali, come in `transmission held`", "Which, as in `transmission held`"))]
        ids: Vec<String>,
    },
}

impl TransmissionCommand {
    pub(super) fn run(self, file: Option<&Path>, output: &Output) -> Result<(), Failure> {
        match self {
            Self::Held => {
                output.list(&operation::run(file, output, &ListHeld {})?);
                Ok(())
            }
            Self::Release { all, ids } => {
                let ids = if all { None } else { Some(ids) };
                let wanted = ids.as_ref().map(Vec::len);
                let released = operation::run(file, output, &ReleaseHeld { ids })?;
                output.one(&released);
                match wanted {
                    Some(wanted) if released.released < wanted as u64 => {
                        Err(Failure::not_found(Text::fixed(
                            "alcuni non erano trattenuti: `ceralacca transmission held` mostra quelli che restano",
                            "some were not held: `ceralacca transmission held` shows those that are left",
                        )))
                    }
                    _ => Ok(()),
                }
            }
        }
    }
}

fn duty_text(word: &str) -> Text {
    match word {
        "acceptance" => Text::fixed("accettazione", "acceptance"),
        "distribution" => Text::fixed("presa in carico", "distribution"),
        "delivery" => Text::fixed("consegna", "delivery"),
        _ => Text::fixed("invio", "sending"),
    }
}

impl Shown for HeldView {
    fn columns() -> Vec<Text> {
        vec![
            Text::fixed("id", "id"),
            Text::fixed("obbligo", "duty"),
            Text::fixed("dal", "since"),
            Text::fixed("mittente", "sender"),
            Text::fixed("destinatari", "recipients"),
            Text::fixed("identificativo", "identifier"),
        ]
    }

    fn row(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            duty_text(&self.duty).get(Language::of_process()).to_owned(),
            instant(UnixMillis(self.since_millis)),
            self.sender.clone(),
            self.recipients.join(","),
            self.identifier.clone(),
        ]
    }

    fn details(&self) -> Vec<(Text, String)> {
        Self::columns().into_iter().zip(self.row()).collect()
    }
}

impl Shown for ReleasedView {
    fn columns() -> Vec<Text> {
        Vec::new()
    }

    fn row(&self) -> Vec<String> {
        Vec::new()
    }

    fn details(&self) -> Vec<(Text, String)> {
        vec![(Text::fixed("obblighi restituiti", "duties released"), self.released.to_string())]
    }
}
