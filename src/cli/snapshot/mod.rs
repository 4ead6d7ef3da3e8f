//! `ceralacca snapshot`: one file for each command.
//!
//! Commands ask the running server over the control socket, and open the store themselves when no
//! server runs.
//!
//! Not here: what the commands do (`control::operations`, `snapshots`).

use std::path::Path;

use clap::Subcommand;

use super::{failure::Failure, output::Output, say};

mod browse;
mod compare;
mod export;
mod restore;

#[derive(Debug, Subcommand)]
pub(super) enum SnapshotCommand {
    #[command(
        about = say("Elenca le istantanee di una casella", "Lists the snapshots of an account"),
        after_help = say(
            "Esempio:\n  ceralacca snapshot list maria.rossi@pec.example",
            "Example:\n  ceralacca snapshot list maria.rossi@pec.example",
        ),
    )]
    List(browse::ListArguments),
    #[command(
        about = say("Mostra cartelle e messaggi di un'istantanea", "Shows mailboxes and messages of a snapshot"),
        after_help = say(
            "Esempi:\n  ceralacca snapshot browse maria.rossi@pec.example latest\n  ceralacca snapshot browse maria.rossi@pec.example 2026-11-21T06 INBOX\n\nUn istante è il nome di un'istantanea, il suo inizio, `latest`, oppure un giorno o un'ora: vale l'istantanea di allora.",
            "Examples:\n  ceralacca snapshot browse maria.rossi@pec.example latest\n  ceralacca snapshot browse maria.rossi@pec.example 2026-11-21T06 INBOX\n\nAn instant is the name of a snapshot, the beginning of it, `latest`, or a day or a time: the snapshot that stood then.",
        ),
    )]
    Browse(browse::BrowseArguments),
    #[command(
        about = say("Che cosa è cambiato fra due istanti", "What changed between two instants"),
        after_help = say(
            "Esempio:\n  ceralacca snapshot diff maria.rossi@pec.example 2026-11-21 now",
            "Example:\n  ceralacca snapshot diff maria.rossi@pec.example 2026-11-21 now",
        ),
    )]
    Diff(compare::DiffArguments),
    #[command(
        about = say("Dove si trovava un messaggio, e fino a quando", "Where a message stood, and until when"),
        after_help = say(
            "Esempi:\n  ceralacca snapshot search maria.rossi@pec.example --message-id \"<1@pec.example>\"\n  ceralacca snapshot search maria.rossi@pec.example --text contratto",
            "Examples:\n  ceralacca snapshot search maria.rossi@pec.example --message-id \"<1@pec.example>\"\n  ceralacca snapshot search maria.rossi@pec.example --text contract",
        ),
    )]
    Search(compare::SearchArguments),
    #[command(
        about = say("Riporta messaggi da un'istantanea", "Brings messages back from a snapshot"),
        after_help = say(
            "Esempi:\n  ceralacca snapshot restore maria.rossi@pec.example 2026-11-21 --mailbox Clienti\n  ceralacca snapshot restore maria.rossi@pec.example latest --in-place\n\nNulla è sovrascritto. Senza --in-place tutto va sotto \"Ripristino …\". Lavora il server, anche dopo un riavvio: `snapshot restore-status` dice a che punto è.",
            "Examples:\n  ceralacca snapshot restore maria.rossi@pec.example 2026-11-21 --mailbox Clients\n  ceralacca snapshot restore maria.rossi@pec.example latest --in-place\n\nNothing is overwritten. Without --in-place all goes below \"Ripristino …\". The server does the work, also after a restart: `snapshot restore-status` says how far it is.",
        ),
    )]
    Restore(restore::RestoreArguments),
    #[command(
        name = "restore-status",
        about = say("A che punto sono i ripristini di una casella", "How far the restores of an account are"),
    )]
    RestoreStatus(restore::StatusArguments),
    #[command(
        name = "restore-cancel",
        about = say("Ferma un ripristino; ciò che ha riportato resta", "Ends a restore; what it brought back stays"),
    )]
    RestoreCancel(restore::JobArguments),
    #[command(
        name = "restore-resume",
        about = say("Fa proseguire un ripristino che si è fermato", "Lets a restore that stopped go on"),
    )]
    RestoreResume(restore::JobArguments),
    #[command(
        about = say("Esporta i messaggi di un'istantanea", "Exports the messages of a snapshot"),
        after_help = say(
            "Esempi:\n  ceralacca snapshot export maria.rossi@pec.example latest --format zip --out casella.zip\n  ceralacca snapshot export maria.rossi@pec.example latest --format maildir --out - | tar x -C Maildir\n\nCon index.csv e SHA256SUMS (sha256sum -c). Esce con 1 se un messaggio non si legge: l'indice dice perché.",
            "Examples:\n  ceralacca snapshot export maria.rossi@pec.example latest --format zip --out account.zip\n  ceralacca snapshot export maria.rossi@pec.example latest --format maildir --out - | tar x -C Maildir\n\nWith index.csv and SHA256SUMS (sha256sum -c). Ends with 1 when a message cannot be read: the index says why.",
        ),
    )]
    Export(export::ExportArguments),
}

impl SnapshotCommand {
    pub(super) fn run(self, file: Option<&Path>, output: &Output) -> Result<(), Failure> {
        match self {
            Self::List(arguments) => arguments.run(file, output),
            Self::Browse(arguments) => arguments.run(file, output),
            Self::Diff(arguments) => arguments.run(file, output),
            Self::Search(arguments) => arguments.run(file, output),
            Self::Restore(arguments) => arguments.run(file, output),
            Self::RestoreStatus(arguments) => arguments.run(file, output),
            Self::RestoreCancel(arguments) => arguments.run(file, output, false),
            Self::RestoreResume(arguments) => arguments.run(file, output, true),
            Self::Export(arguments) => arguments.run(file, output),
        }
    }
}
