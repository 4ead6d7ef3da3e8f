//! `ceralacca store`: one file for each command.
//!
//! The store is open in one process at a time. A command asks the running server over the control
//! socket, and opens the store itself when no server runs.
//!
//! Not here: what the commands do (`control::operations`, `storage`).

use std::path::Path;

use clap::Subcommand;

use super::{failure::Failure, output::Output, say};

mod check;
mod collect;

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
}

impl StoreCommand {
    pub(super) fn run(self, file: Option<&Path>, output: &Output) -> Result<(), Failure> {
        match self {
            Self::Check => check::run(file, output),
            Self::Collect(arguments) => collect::run(file, output, arguments),
        }
    }
}
