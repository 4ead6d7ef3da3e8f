//! `ceralacca transmission`: what was submitted and all that came of it; duties that a restore held for an
//! operator.

mod export;
mod view;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use trust::clock::UnixMillis;

use super::{
    dates,
    failure::Failure,
    operation,
    output::{Output, Shown, instant},
    say,
};
use crate::{
    control::operations::{
        backup::{HeldView, ListHeld, ReleaseHeld, ReleasedView},
        transmission::{PAGE_MAX, TransmissionList, TransmissionPage, TransmissionShow},
    },
    texts::{Language, Text},
};

#[derive(Debug, Subcommand)]
pub(super) enum TransmissionCommand {
    #[command(
        about = say("Elenca le trasmissioni, dalla più recente", "Lists transmissions, the newest first"),
        after_help = say(
            "Esempi:\n  ceralacca transmission list --sender maria.rossi@pec.example --since 2026-11-01\n  ceralacca transmission list --state failed --json\n\nStati di un destinatario: submitted inviato, accepted accettato, relayed inoltrato, taken-in-charge preso in carico,\ndelivered consegnato, failed non consegnato, rejected non accettato, expired nessuna notizia entro 24 ore,\ninfected fermato per un virus.",
            "Examples:\n  ceralacca transmission list --sender maria.rossi@pec.example --since 2026-11-01\n  ceralacca transmission list --state failed --json\n\nStates of a recipient: submitted, accepted, relayed, taken-in-charge, delivered, failed, rejected (not accepted),\nexpired (nothing heard within 24 hours), infected (stopped for a virus).",
        ),
    )]
    List(ListArguments),
    #[command(
        about = say(
            "Tutto su una trasmissione: stato per destinatario, ogni messaggio con impronta e istante",
            "Everything about one transmission: state per recipient, every message with digest and instant",
        ),
        after_help = say(
            "Esempio:\n  ceralacca transmission show \"<1@client.example>\"\n\nVa bene l'identificativo PEC, il nome in `transmission list`, o il Message-ID che il programma di posta ha scritto.",
            "Example:\n  ceralacca transmission show \"<1@client.example>\"\n\nThe PEC identifier will do, the name in `transmission list`, or the Message-ID that the mail client wrote.",
        ),
    )]
    Show {
        #[arg(value_name = "ID", help = say("Quale", "Which"))]
        id: String,
    },
    #[command(
        about = say(
            "Scrive uno zip con messaggio, busta, ricevute e come verificarli",
            "Writes a zip with message, envelope, receipts and how to verify them",
        ),
        after_help = say(
            "Esempio:\n  ceralacca transmission export 0193617f2a4088e1d2c3b4a596877869 --output trasmissione.zip\n\nVERIFICA.txt nello zip dice i comandi, con strumenti pubblici.",
            "Example:\n  ceralacca transmission export 0193617f2a4088e1d2c3b4a596877869 --output transmission.zip\n\nVERIFICA.txt in the zip says the commands, with public tools.",
        ),
    )]
    Export {
        #[arg(value_name = "ID", help = say("Quale, come per `transmission show`", "Which, as for `transmission show`"))]
        id: String,
        #[arg(long, value_name = "FILE", help = say("Il file zip", "The zip file"))]
        output: PathBuf,
    },
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

/// Which transmissions.
#[derive(Debug, clap::Args)]
pub(super) struct ListArguments {
    #[arg(long, value_name = say("INDIRIZZO", "ADDRESS"), help = say("Di questo mittente", "From this sender"))]
    sender: Option<String>,
    #[arg(long, value_name = say("INDIRIZZO", "ADDRESS"), help = say("Verso questo destinatario", "To this recipient"))]
    recipient: Option<String>,
    #[arg(long, value_name = say("STATO", "STATE"), help = say("Con un destinatario in questo stato", "With a recipient in this state"))]
    state: Option<String>,
    #[arg(long, value_name = say("DATA", "DATE"), value_parser = dates::since, help = say("Da questa data", "From this date on"))]
    since: Option<i64>,
    #[arg(long, value_name = say("DATA", "DATE"), value_parser = dates::until, help = say("Fino a questa data compresa", "Up to this date, with it"))]
    until: Option<i64>,
    #[arg(long, value_name = "N", default_value_t = 100, help = say("Quante al più", "How many at most"))]
    limit: usize,
    #[arg(long, value_name = "ID", help = say("Solo quelle prima di questa", "Only those before this one"))]
    before: Option<String>,
}

fn list(file: Option<&Path>, output: &Output, arguments: ListArguments) -> Result<(), Failure> {
    let ListArguments { sender, recipient, state, since, until, limit, before } = arguments;
    let list = TransmissionList {
        sender,
        recipient,
        state,
        since_millis: since,
        until_millis: until,
        ..TransmissionList::default()
    };
    let (mut found, mut rest) = (Vec::new(), before);
    operation::several(file, output, async |asker, run| {
        loop {
            let page_limit = (limit - found.len()).min(PAGE_MAX);
            let list = TransmissionList { before: rest.take(), limit: page_limit, ..list.clone() };
            let page: TransmissionPage = asker.ask(&list, run).await?;
            found.extend(page.transmissions);
            rest = page.cursor;
            if rest.is_none() || found.len() >= limit {
                return Ok(());
            }
        }
    })?;
    output.list(&found);
    if let Some(before) = rest {
        output.note(&Text::filled(
            format!("forse ve ne sono altre: --before {before}"),
            format!("there may be more: --before {before}"),
        ));
    }
    Ok(())
}

impl TransmissionCommand {
    pub(super) fn run(self, file: Option<&Path>, output: &Output) -> Result<(), Failure> {
        match self {
            Self::List(arguments) => list(file, output, arguments),
            Self::Show { id } => {
                output.one(&operation::run(file, output, &TransmissionShow { id })?);
                Ok(())
            }
            Self::Export { id, output: to } => export::run(file, output, &id, &to),
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
        "time-limit" => Text::fixed("avviso per decorrenza dei termini", "time limit"),
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
}

impl Shown for ReleasedView {
    fn details(&self) -> Vec<(Text, String)> {
        vec![(Text::fixed("obblighi restituiti", "duties released"), self.released.to_string())]
    }
}
