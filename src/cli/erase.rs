//! `ceralacca message erase`.

use std::path::Path;

use super::{failure::Failure, operation, output::Output, say};
use crate::{
    control::operations::erase::{
        Category, EraseOutcome, FateView, HoldView, MessageErase, PlaceView,
    },
    registry::address::AccountAddress,
    texts::{Language, Text},
};

#[derive(Debug, clap::Args)]
pub(super) struct EraseArguments {
    #[arg(value_name = "ACCOUNT", help = say("L'indirizzo della casella", "The account's address"))]
    account: AccountAddress,
    #[arg(value_name = "ID", help = say("Il numero del messaggio nella casella, da 1", "The message's number in the account, from 1"))]
    id: u64,
    #[arg(long, help = say("Il motivo, che resta nel giornale", "The reason, which stays in the journal"))]
    reason: String,
    #[arg(long, value_enum, help = say("Il genere del motivo: ordine dell'autorità, diritto dell'interessato, altro", "The kind of reason: order of an authority, right of the person concerned, other"))]
    category: Category,
    #[arg(long, value_name = "NAME", help = say("Chi lo dispone, per il giornale", "Who orders it, for the journal"))]
    by: String,
    #[arg(long, help = say("Anche lo stesso messaggio in altre caselle e tra i messaggi trattenuti", "Also the same message in other accounts and among held messages"))]
    everywhere: bool,
    #[arg(long, help = say("Dice solo che cosa farebbe", "Only says what it would do"))]
    dry_run: bool,
    #[arg(long, conflicts_with = "dry_run", help = say("Conferma la cancellazione", "Confirms the erasure"))]
    yes: bool,
}

pub(super) fn run(
    file: Option<&Path>,
    output: &Output,
    arguments: EraseArguments,
) -> Result<(), Failure> {
    let EraseArguments { account, id, reason, category, by, everywhere, dry_run, yes } = arguments;
    let request = MessageErase {
        account: account.to_string(),
        id,
        category,
        reason,
        actor: by,
        everywhere,
        dry_run: !yes,
    };
    let outcome = operation::run(file, output, &request)?;
    if output.wants_json() {
        Output::json(&outcome);
    } else {
        Output::raw(text(&outcome, output.language()).as_bytes());
    }
    if !outcome.holds.is_empty() {
        return Err(Failure::conflict(Text::fixed(
            "qualcosa resta perché è sotto vincolo: togliere il vincolo e ripetere",
            "something stays because it is under a hold: end the hold and repeat",
        )));
    }
    if yes || dry_run {
        return Ok(());
    }
    Err(Failure::invalid(Text::fixed(
        "non è stato cancellato nulla: la cancellazione è per sempre, ripetere con --yes",
        "nothing was erased: an erasure is for ever, repeat with --yes",
    )))
}

fn text(outcome: &EraseOutcome, language: Language) -> String {
    let EraseOutcome { dry_run, sha256, octets, places, holds } = outcome;
    let mut text = match language {
        Language::Italian => format!("SHA-256 {sha256}, {octets} ottetti\n"),
        Language::English => format!("SHA-256 {sha256}, {octets} octets\n"),
    };
    for PlaceView { account, id, fate } in places {
        let fate = fate_text(*fate, *dry_run);
        let holder = account.as_deref().unwrap_or(match language {
            Language::Italian => "messaggio trattenuto",
            Language::English => "held message",
        });
        text.extend([format!("  {holder} {id}: {}\n", fate.get(language))]);
    }
    let head = Text::fixed("Vincoli", "Holds");
    if !holds.is_empty() {
        text.extend([head.get(language), ":\n"]);
    }
    for HoldView { account, snapshot, reason } in holds {
        let snapshot = snapshot.as_deref().unwrap_or_default();
        text.extend([format!("  {account} {snapshot} ({reason})\n")]);
    }
    text
}

fn fate_text(fate: FateView, dry_run: bool) -> Text {
    match (fate, dry_run) {
        (FateView::Erased, true) => Text::fixed("da cancellare", "to be erased"),
        (FateView::Erased, false) => Text::fixed("cancellato", "erased"),
        (FateView::Same, _) => Text::fixed(
            "lo stesso messaggio, resta (--everywhere)",
            "the same message, stays (--everywhere)",
        ),
        (FateView::Related, _) => Text::fixed(
            "un altro messaggio con ottetti in comune, resta",
            "another message with octets in common, stays",
        ),
        (FateView::Busy, _) => Text::fixed(
            "lo stesso messaggio, ancora in transito: ripetere più tardi",
            "the same message, still on its way: repeat later",
        ),
        (FateView::UnderHold, _) => Text::fixed(
            "lo stesso messaggio, sotto vincolo: resta",
            "the same message, under a hold: stays",
        ),
    }
}
