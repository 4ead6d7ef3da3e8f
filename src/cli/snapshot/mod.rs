//! `ceralacca snapshot`: one file for each command.
//!
//! Commands ask the running server over the control socket, and open the store themselves when no
//! server runs. `verify` needs neither.
//!
//! Not here: what the commands do (`control::operations`, `snapshots`).

use std::path::Path;

use clap::Subcommand;

use super::{failure::Failure, output::Output, say};

mod hold;
mod prove;
mod take;
mod verify;

#[derive(Debug, Subcommand)]
pub(super) enum SnapshotCommand {
    #[command(
        about = say("Scatta un'istantanea di una casella, adesso", "Takes a snapshot of an account, now"),
        after_help = say(
            "Esempio:\n  ceralacca snapshot take maria.rossi@pec.example\n\nUna casella che non è cambiata non ne riceve un'altra.",
            "Example:\n  ceralacca snapshot take maria.rossi@pec.example\n\nAn account that has not changed gets no other one.",
        ),
    )]
    Take(take::TakeArguments),
    #[command(
        about = say(
            "Scrive un file che prova che un messaggio c'era, o non c'era",
            "Writes a file that proves that a message was, or was not, there",
        ),
        after_help = say(
            "Esempi:\n  ceralacca snapshot prove maria.rossi@pec.example 2026-11-21T06:00:00Z INBOX --uid 12 --out prova.tar\n  ceralacca snapshot prove maria.rossi@pec.example 2026-11-21 INBOX --sha256 9f86…0f00a08 --out prova.tar\n\nVale l'istantanea che c'era allora. Il file si verifica senza questo programma: docs/verify_proof.py, docs/formats.md.",
            "Examples:\n  ceralacca snapshot prove maria.rossi@pec.example 2026-11-21T06:00:00Z INBOX --uid 12 --out proof.tar\n  ceralacca snapshot prove maria.rossi@pec.example 2026-11-21 INBOX --sha256 9f86…0f00a08 --out proof.tar\n\nThe snapshot that stood then counts. The file is verified without this program: docs/verify_proof.py, docs/formats.md.",
        ),
    )]
    Prove(prove::ProveArguments),
    #[command(
        about = say(
            "Trattiene le istantanee di una casella oltre il loro tempo",
            "Holds snapshots of an account beyond their time",
        ),
        after_help = say(
            "Esempi:\n  ceralacca snapshot hold maria.rossi@pec.example --reason \"causa 12/2026\"\n  ceralacca snapshot hold maria.rossi@pec.example --release",
            "Examples:\n  ceralacca snapshot hold maria.rossi@pec.example --reason \"case 12/2026\"\n  ceralacca snapshot hold maria.rossi@pec.example --release",
        ),
    )]
    Hold(hold::HoldArguments),
    #[command(
        about = say(
            "Quando si scattano le istantanee di una casella, e per quanto restano",
            "When snapshots of an account are taken, and how long they stay",
        ),
        after_help = say(
            "Esempi:\n  ceralacca snapshot settings maria.rossi@pec.example\n  ceralacca snapshot settings maria.rossi@pec.example --monthly-months 60",
            "Examples:\n  ceralacca snapshot settings maria.rossi@pec.example\n  ceralacca snapshot settings maria.rossi@pec.example --monthly-months 60",
        ),
    )]
    Settings(hold::SettingsArguments),
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
    pub(super) fn run(self, file: Option<&Path>, output: &Output) -> Result<(), Failure> {
        match self {
            Self::Take(arguments) => arguments.run(file, output),
            Self::Prove(arguments) => arguments.run(file, output),
            Self::Hold(arguments) => arguments.run(file, output),
            Self::Settings(arguments) => arguments.run(file, output),
            Self::Verify(arguments) => arguments.run(output),
        }
    }
}
