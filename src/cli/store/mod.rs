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
}

impl StoreCommand {
    pub(super) fn run(self, file: Option<&Path>, output: &Output) -> Result<(), Failure> {
        match self {
            Self::Check => check::run(file, output),
        }
    }
}
