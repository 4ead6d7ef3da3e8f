//! `ceralacca store`: one file for each command.
//!
//! The store is open in one process at a time. A command asks the running server over the control
//! socket, and opens the store itself when no server runs.
//!
//! Not here: what the commands do (`control::operations`, `storage`).

use std::path::Path;

use clap::Subcommand;

use super::{failure::Failure, output::Output, say};
use crate::texts::{Language, below};

mod check;
mod collect;
mod rebuild_index;
mod repair;
mod scrub;
mod stats;
mod take_over;

#[derive(Debug, Subcommand)]
pub(super) enum StoreCommand {
    #[command(
        about = say(
            "Verifica gli invarianti di tutto l'archivio, oggetto per oggetto",
            "Verifies the invariants of the whole store, object by object",
        ),
        after_help = say(
            "Esempio:\n  ceralacca store check --json\n\nEsce con 0 se tutto torna, con 1 se trova violazioni: ciascuna nomina l'oggetto.",
            "Example:\n  ceralacca store check --json\n\nExits with 0 when all is well, with 1 when there are violations: each names its object.",
        ),
    )]
    Check,
    #[command(
        about = say(
            "Libera lo spazio dei chunk che nessuno usa più",
            "Gives back the space of chunks that nobody uses any more",
        ),
        after_help = say(
            "Esempi:\n  ceralacca store collect --dry-run\n  ceralacca store collect --grace \"0 s\"\n\nUn chunk viene prima condannato, tolto quando collector.grace è trascorso; il suo pack va dopo altrettanto tempo.\nEsce con 1 se trova chunk o pack danneggiati, che lascia dove sono.",
            "Examples:\n  ceralacca store collect --dry-run\n  ceralacca store collect --grace \"0 s\"\n\nA chunk is condemned first, and removed when collector.grace has passed; its pack goes after as much time again.\nExits with 1 when there are damaged chunks or packs, which stay where they are.",
        ),
    )]
    Collect(collect::CollectArguments),
    #[command(
        about = say(
            "Legge ogni pack e lo confronta con i suoi digest",
            "Reads every pack and compares it with its digests",
        ),
        after_help = say(
            "Esempio:\n  ceralacca store scrub --octets-per-second 20000000\n\nRiprende da dove un giro si è fermato. Esce con 1 se qualcosa è danneggiato: nomina pack, messaggi e caselle.",
            "Example:\n  ceralacca store scrub --octets-per-second 20000000\n\nGoes on where a run was cut short. Exits with 1 when something is damaged: names packs, messages and accounts.",
        ),
    )]
    Scrub {
        #[arg(long, value_name = "N", help = say("Ottetti da leggere al secondo, al più", "Octets to read in a second, at most"))]
        octets_per_second: Option<u64>,
    },
    #[command(
        about = say(
            "Ottetti logici, addebitati, fisici e risparmiati, in tutto o di una casella",
            "Logical, charged, physical and saved octets, in total or of one account",
        ),
        after_help = say(
            "Esempi:\n  ceralacca store stats\n  ceralacca store stats --account maria.rossi@pec.example --json",
            "Examples:\n  ceralacca store stats\n  ceralacca store stats --account maria.rossi@pec.example --json",
        ),
    )]
    Stats {
        #[arg(long, value_name = "ADDRESS", help = say("Solo questa casella", "This account only"))]
        account: Option<String>,
    },
    #[command(
        about = say(
            "Ricostruisce l'indice dei chunk dai soli pack (a server fermo)",
            "Rebuilds the index of chunks from packs alone (server stopped)",
        ),
        after_help = say(
            "Esempio:\n  ceralacca store rebuild-index\n\nNon butta via nulla: i pack che non si leggono sono nominati e lasciati dove sono.",
            "Example:\n  ceralacca store rebuild-index\n\nThrows nothing away: packs that cannot be read are named and left where they are.",
        ),
    )]
    RebuildIndex,
    #[command(
        about = say(
            "Rimette d'accordo righe, contatori e indici (a server fermo)",
            "Makes rows, counters and indexes agree again (server stopped)",
        ),
        after_help = say(
            "Esempi:\n  ceralacca store repair\n  ceralacca store repair --apply\n\nSenza --apply dice soltanto che cosa farebbe. Non butta via nulla: i messaggi senza posto vanno nella cartella Recovered, ogni riga sostituita resta nel registro delle riparazioni.",
            "Examples:\n  ceralacca store repair\n  ceralacca store repair --apply\n\nWithout --apply it only says what it would do. Throws nothing away: messages without a place go to the mailbox Recovered, every record replaced is kept in the repair log.",
        ),
    )]
    Repair {
        #[arg(long, help = say("Scrive le modifiche", "Writes the changes"))]
        apply: bool,
    },
    #[command(
        about = say(
            "Riprende l'archivio per questo nodo dopo un ripristino fatto per errore (a server fermo)",
            "Takes the store back for this node after a restore that was a mistake (server stopped)",
        ),
        after_help = say(
            "Esempio:\n  ceralacca store take-over --yes\n\nSpegnere prima il nodo ripristinato: da questo momento non può più servire. UID, MODSEQ e numeri del registro avanzano, perché anche l'altro nodo può averne dati.",
            "Example:\n  ceralacca store take-over --yes\n\nTurn the restored node off first: from then on it cannot serve any more. UIDs, MODSEQs and journal numbers are raised, because the other node may have given out some too.",
        ),
    )]
    TakeOver {
        #[arg(long, help = say("Conferma: l'altro nodo è spento", "Confirms: the other node is off"))]
        yes: bool,
    },
}

impl StoreCommand {
    pub(super) fn run(self, file: Option<&Path>, output: &Output) -> Result<(), Failure> {
        match self {
            Self::Check => check::run(file, output),
            Self::Collect(arguments) => collect::run(file, output, arguments),
            Self::Scrub { octets_per_second } => scrub::run(file, output, octets_per_second),
            Self::Stats { account } => stats::run(file, output, account),
            Self::RebuildIndex => rebuild_index::run(file, output),
            Self::Repair { apply } => repair::run(file, output, apply),
            Self::TakeOver { yes } => take_over::run(file, output, yes),
        }
    }
}

/// A line of a list: an object, and what was found of it.
fn found((object, detail): &(String, String), language: Language) -> String {
    let (object, detail) = (below::object(object), below::detail(detail));
    format!("  {}: {}\n", object.get(language), detail.get(language))
}
