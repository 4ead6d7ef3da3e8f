//! `ceralacca snapshot`: one file for each command.
//!
//! Commands ask the running server over the control socket, and open the store themselves when no
//! server runs. `verify` needs neither.
//!
//! Not here: what the commands do (`control::operations`, `snapshots`).

use std::path::Path;

use clap::Subcommand;

use super::{failure::Failure, output::Output, say};

mod verify;

#[derive(Debug, Subcommand)]
pub(super) enum SnapshotCommand {
    #[command(
        about = say(
            "Verifica un file di prova, senza l'archivio",
            "Verifies a proof file, without the store",
        ),
        after_help = say(
            "Esempi:\n  ceralacca snapshot verify prova.tar --ca autorita.pem\n  ceralacca snapshot verify prova.tar --message messaggio.eml --ca autorita.pem\n\nEsce con 1 se la prova non regge. Senza --ca firma e marca si verificano, ma non si sa di chi sono.\nLo stesso fa docs/verify_proof.py, con Python e openssl soltanto.",
            "Examples:\n  ceralacca snapshot verify proof.tar --ca authorities.pem\n  ceralacca snapshot verify proof.tar --message message.eml --ca authorities.pem\n\nEnds with 1 when the proof does not hold. Without --ca signature and time stamp are verified, but not whose they are.\ndocs/verify_proof.py does the same, with Python and openssl alone.",
        ),
    )]
    Verify(verify::VerifyArguments),
}

impl SnapshotCommand {
    pub(super) fn run(self, _file: Option<&Path>, output: &Output) -> Result<(), Failure> {
        match self {
            Self::Verify(arguments) => arguments.run(output),
        }
    }
}
