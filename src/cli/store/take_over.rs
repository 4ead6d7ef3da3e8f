//! `ceralacca store take-over`.

use std::path::Path;

use crate::{
    cli::{failure::Failure, operation, output::Output},
    control::operations::take_over::{StoreTakeOver, TakenOver},
    texts::{Language, Text},
};

pub(super) fn run(file: Option<&Path>, output: &Output, yes: bool) -> Result<(), Failure> {
    if !yes {
        return Err(Failure::invalid(Text::fixed(
            "il nodo che ora ha l'archivio smetterà di servire, e ciò che ha preso in carico resterà là: \
             spegnerlo, poi ripetere con --yes",
            "the node that has the store now will stop serving, and what it has taken in will stay there: \
             turn it off, then repeat with --yes",
        )));
    }
    let taken = operation::run_alone(file, output, &StoreTakeOver {})?;
    if output.wants_json() {
        Output::json(&taken);
    } else {
        Output::raw(text(&taken, output.language()).as_bytes());
    }
    let lost = taken.lost_packs.len();
    if lost == 0 {
        return Ok(());
    }
    Err(Failure::failed(Text::filled(
        format!(
            "{lost} pack non ci sono più, nemmeno nella copia: `ceralacca store scrub` dice quali messaggi non si leggono"
        ),
        format!(
            "{lost} packs are gone, also from the back-up: `ceralacca store scrub` says which messages cannot be read"
        ),
    )))
}

fn text(taken: &TakenOver, language: Language) -> String {
    let TakenOver { epoch, accounts, held, mended_packs, lost_packs } = taken;
    let mut text = match language {
        Language::Italian => format!(
            "L'archivio è di questo nodo: epoca {epoch}, numeri di {accounts} caselle avanzati, {mended_packs} pack ripresi dalla copia.\n\
             {held} obblighi attendono: l'altro nodo può averli già assolti (`ceralacca transmission held`, `release`).\n\
             Ora si può avviare il server.\n"
        ),
        Language::English => format!(
            "The store is this node's: epoch {epoch}, numbers of {accounts} accounts raised, {mended_packs} packs brought back from the back-up.\n\
             {held} duties wait: the other node may have fulfilled them (`ceralacca transmission held`, `release`).\n\
             The server can be started now.\n"
        ),
    };
    text.extend(lost_packs.iter().map(|pack| format!("  {pack}\n")));
    text
}
