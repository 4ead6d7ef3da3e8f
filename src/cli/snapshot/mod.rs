//! `ceralacca snapshot`: one file for each command.
//!
//! Commands ask the running server over the control socket, and open the store themselves when no
//! server runs. `verify` needs neither.
//!
//! Not here: what the commands do (`control::operations`, `snapshots`).

use std::path::Path;

use clap::Subcommand;

use super::{failure::Failure, output::Output, say};

mod browse;
mod compare;
mod export;
mod folder;
mod forget;
mod hold;
mod prove;
mod restore;
mod take;
mod verify;

/// What stands after the help of a command that takes an instant.
macro_rules! with_instants {
    ($italian:literal, $english:literal $(,)?) => {
        say(
            concat!(
                $italian,
                "\n\nUn istante (INSTANT) è uno di questi:\n",
                "  latest                     l'ultima istantanea\n",
                "  2026-11-21T06:00:17Z       il nome di un'istantanea, come in `snapshot list`\n",
                "  2026-11-21T06              l'inizio di un nome, se uno solo comincia così\n",
                "  2026-11-21T07:30:00+01:00  un'ora con il suo fuso: l'istantanea che c'era allora\n",
                "  2026-11-21                 un giorno di ora legale: l'istantanea che c'era alla sua fine\n",
                "Delle istantanee più vecchie ne restano poche (`snapshot settings`): se ce n'erano di più vicine\n",
                "all'istante, il comando dice quale vale."
            ),
            concat!(
                $english,
                "\n\nAn instant (INSTANT) is one of these:\n",
                "  latest                     the latest snapshot\n",
                "  2026-11-21T06:00:17Z       the name of a snapshot, as in `snapshot list`\n",
                "  2026-11-21T06              the beginning of a name, when one only begins so\n",
                "  2026-11-21T07:30:00+01:00  a time with its zone: the snapshot that stood then\n",
                "  2026-11-21                 a day of Italian legal time: the snapshot that stood at its end\n",
                "Of older snapshots few stay (`snapshot settings`): when there were some nearer to the instant,\n",
                "the command says which one counts."
            ),
        )
    };
}

/// The same for the command that proves: the beginning of a name, and an instant in doubt, prove nothing.
macro_rules! with_proven_instants {
    ($italian:literal, $english:literal $(,)?) => {
        say(
            concat!(
                $italian,
                "\n\nUn istante (INSTANT) è uno di questi:\n",
                "  latest                     l'ultima istantanea\n",
                "  2026-11-21T06:00:17Z       il nome di un'istantanea, come in `snapshot list`\n",
                "  2026-11-21T07:30:00+01:00  un'ora con il suo fuso: l'istantanea che c'era allora\n",
                "  2026-11-21                 un giorno di ora legale: l'istantanea che c'era alla sua fine\n",
                "Se ce n'erano di più vicine all'istante, o se deve ancora venire, il comando rifiuta: per provare\n",
                "com'era la casella a un'istantanea che c'è, scriverne il nome."
            ),
            concat!(
                $english,
                "\n\nAn instant (INSTANT) is one of these:\n",
                "  latest                     the latest snapshot\n",
                "  2026-11-21T06:00:17Z       the name of a snapshot, as in `snapshot list`\n",
                "  2026-11-21T07:30:00+01:00  a time with its zone: the snapshot that stood then\n",
                "  2026-11-21                 a day of Italian legal time: the snapshot that stood at its end\n",
                "When there were some nearer to the instant, or it is still to come, the command refuses: to prove\n",
                "how the account was at a snapshot that there is, give its name."
            ),
        )
    };
}

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
        after_help = with_instants!(
            "Esempi:\n  ceralacca snapshot browse maria.rossi@pec.example latest\n  ceralacca snapshot browse maria.rossi@pec.example 2026-11-21T06 INBOX",
            "Examples:\n  ceralacca snapshot browse maria.rossi@pec.example latest\n  ceralacca snapshot browse maria.rossi@pec.example 2026-11-21T06 INBOX",
        ),
    )]
    Browse(browse::BrowseArguments),
    #[command(
        about = say("Che cosa è cambiato fra due istanti", "What changed between two instants"),
        after_help = with_instants!(
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
        after_help = with_instants!(
            "Esempi:\n  ceralacca snapshot restore maria.rossi@pec.example 2026-11-21 --mailbox Clienti\n  ceralacca snapshot restore maria.rossi@pec.example latest --in-place\n\nNulla è sovrascritto. Senza --in-place tutto va sotto \"Ripristino …\". Lavora il server, anche dopo un riavvio: `snapshot restore-status` dice a che punto è.\nEsce con 3 se casella, istantanea, cartella o messaggio non ci sono, con 4 se un altro ripristino --in-place non è finito, con 75 se i ripristini aperti sono già quanti possono essere: riprovare più tardi.",
            "Examples:\n  ceralacca snapshot restore maria.rossi@pec.example 2026-11-21 --mailbox Clients\n  ceralacca snapshot restore maria.rossi@pec.example latest --in-place\n\nNothing is overwritten. Without --in-place all goes below \"Ripristino …\". The server does the work, also after a restart: `snapshot restore-status` says how far it is.\nEnds with 3 when there is no such account, snapshot, mailbox or message, with 4 when another restore in place has not ended, with 75 when there are as many open restores as there may be: try again later.",
        ),
    )]
    Restore(restore::RestoreArguments),
    #[command(
        name = "restore-status",
        about = say("A che punto sono i ripristini di una casella", "How far the restores of an account are"),
        after_help = say(
            "Esempi:\n  ceralacca snapshot restore-status maria.rossi@pec.example\n  ceralacca snapshot restore-status maria.rossi@pec.example 3",
            "Examples:\n  ceralacca snapshot restore-status maria.rossi@pec.example\n  ceralacca snapshot restore-status maria.rossi@pec.example 3",
        ),
    )]
    RestoreStatus(restore::StatusArguments),
    #[command(
        name = "restore-cancel",
        about = say("Ferma un ripristino; ciò che ha riportato resta", "Ends a restore; what it brought back stays"),
        after_help = say(
            "Esempio:\n  ceralacca snapshot restore-cancel maria.rossi@pec.example 3\n\nIl numero è quello di `snapshot restore-status`. Un ripristino annullato non si riprende.",
            "Example:\n  ceralacca snapshot restore-cancel maria.rossi@pec.example 3\n\nThe number is that of `snapshot restore-status`. A restore that was cancelled cannot be resumed.",
        ),
    )]
    RestoreCancel(restore::JobArguments),
    #[command(
        name = "restore-resume",
        about = say("Fa proseguire un ripristino che si è fermato", "Lets a restore that stopped go on"),
        after_help = say(
            "Esempio:\n  ceralacca snapshot restore-resume maria.rossi@pec.example 3\n\nIl numero, e il motivo a cui rimediare prima, sono quelli di `snapshot restore-status`.",
            "Example:\n  ceralacca snapshot restore-resume maria.rossi@pec.example 3\n\nThe number, and the reason to mend first, are those of `snapshot restore-status`.",
        ),
    )]
    RestoreResume(restore::JobArguments),
    #[command(
        about = say("Esporta i messaggi di un'istantanea", "Exports the messages of a snapshot"),
        after_help = with_instants!(
            "Esempi:\n  ceralacca snapshot export maria.rossi@pec.example latest --format zip --out casella.zip\n  ceralacca snapshot export maria.rossi@pec.example latest --format maildir --to Maildir\n  ceralacca snapshot export maria.rossi@pec.example latest --mailbox Clienti --only --format mbox --out Clienti.mbox\n\nCon LEGGIMI.txt, index.csv e SHA256SUMS (sha256sum -c), salvo un solo .mbox. Ciò che è interrotto non resta.\nEsce con 1 se un messaggio non si legge: l'indice dice perché; con 3 se casella, istantanea, cartella o messaggio non ci sono, con 4 se il file o la cartella c'è già, con 75 se il server ha troppi comandi: riprovare più tardi.",
            "Examples:\n  ceralacca snapshot export maria.rossi@pec.example latest --format zip --out account.zip\n  ceralacca snapshot export maria.rossi@pec.example latest --format maildir --to Maildir\n  ceralacca snapshot export maria.rossi@pec.example latest --mailbox Clients --only --format mbox --out Clients.mbox\n\nWith LEGGIMI.txt, index.csv and SHA256SUMS (sha256sum -c), one .mbox excepted. What is cut short does not stay.\nEnds with 1 when a message cannot be read: the index says why; with 3 when there is no such account, snapshot, mailbox or message, with 4 when the file or folder is there already, with 75 when the server has too many commands: try again later.",
        ),
    )]
    Export(export::ExportArguments),
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
        after_help = with_proven_instants!(
            "Esempi:\n  ceralacca snapshot prove maria.rossi@pec.example 2026-11-21T06:00:00Z INBOX --uid 12 --out prova.tar\n  ceralacca snapshot prove maria.rossi@pec.example 2026-11-21 INBOX --sha256 9f86…0f00a08 --out prova.tar\n\nIl file prova com'era la casella nell'istante in cui fu presa l'istantanea, e si verifica senza questo programma: docs/verify_proof.py, docs/formats.md.\nEsce con 3 se casella, istantanea o Message-ID non ci sono, con 4 se l'istante è in dubbio, il file c'è già o i giri sono spenti, con 75 se nessun giro attesta ancora l'istantanea: riprovare dopo il prossimo.",
            "Examples:\n  ceralacca snapshot prove maria.rossi@pec.example 2026-11-21T06:00:00Z INBOX --uid 12 --out proof.tar\n  ceralacca snapshot prove maria.rossi@pec.example 2026-11-21 INBOX --sha256 9f86…0f00a08 --out proof.tar\n\nThe file proves how the account was at the instant at which the snapshot was taken, and is verified without this program: docs/verify_proof.py, docs/formats.md.\nEnds with 3 when there is no such account, snapshot or Message-ID, with 4 when the instant is in doubt, the file is there already or runs are switched off, with 75 when no run attests the snapshot yet: try again after the next one.",
        ),
    )]
    Prove(prove::ProveArguments),
    #[command(
        about = say(
            "Trattiene le istantanee di una casella oltre il loro tempo",
            "Holds snapshots of an account beyond their time",
        ),
        after_help = with_instants!(
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
            "Toglie un'istantanea che non si legge",
            "Takes out a snapshot that cannot be read",
        ),
        after_help = say(
            "Esempio:\n  ceralacca snapshot forget maria.rossi@pec.example --number 12\n\nSolo un'istantanea la cui riga è danneggiata: `store check` ne dice il numero. Non ha termine, e finché c'è restano tutti i messaggi eliminati dopo. Prima conviene ripristinarla da un back-up. Le altre finiscono con il loro termine.\nEsce con 3 se casella o istantanea non ci sono, con 4 se si legge o la casella è sotto vincolo. Se era trattenuta da sola lo sa soltanto il giornale: `journal search --event snapshots-held`.",
            "Example:\n  ceralacca snapshot forget maria.rossi@pec.example --number 12\n\nOnly a snapshot whose row is damaged: `store check` says its number. It has no term, and while it is there all messages stay that were deleted since. A restore from a back-up is better, where there is one. All others end with their term.\nEnds with 3 when there is no such account or snapshot, with 4 when it can be read or the account is under a hold. Whether it alone was held only the journal knows: `journal search --event snapshots-held`.",
        ),
    )]
    Forget(forget::ForgetArguments),
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
            Self::List(arguments) => arguments.run(file, output),
            Self::Browse(arguments) => arguments.run(file, output),
            Self::Diff(arguments) => arguments.run(file, output),
            Self::Search(arguments) => arguments.run(file, output),
            Self::Restore(arguments) => arguments.run(file, output),
            Self::RestoreStatus(arguments) => arguments.run(file, output),
            Self::RestoreCancel(arguments) => arguments.run(file, output, false),
            Self::RestoreResume(arguments) => arguments.run(file, output, true),
            Self::Export(arguments) => arguments.run(file, output),
            Self::Take(arguments) => arguments.run(file, output),
            Self::Prove(arguments) => arguments.run(file, output),
            Self::Hold(arguments) => arguments.run(file, output),
            Self::Settings(arguments) => arguments.run(file, output),
            Self::Forget(arguments) => arguments.run(file, output),
            Self::Verify(arguments) => arguments.run(output),
        }
    }
}
