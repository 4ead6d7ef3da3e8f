//! `ceralacca snapshot prove`.

use std::path::{Path, PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::export::{into_new_file, taken};
use crate::{
    cli::{failure::Failure, operation, output::Output, say},
    control::operations::snapshot::{AskedMessage, SnapshotProve},
    texts::Text,
};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ProveArguments {
    #[arg(value_name = "ADDRESS", help = say("L'indirizzo della casella", "The account's address"))]
    account: String,
    #[arg(value_name = "INSTANT", help = say("Quale istantanea: nome, giorno, ora (vedi sotto)", "Which snapshot: name, day, time (see below)"))]
    instant: String,
    #[arg(value_name = "MAILBOX", help = say("La cartella, come INBOX", "The mailbox, such as INBOX"))]
    mailbox: String,
    #[command(flatten)]
    message: MessageArguments,
    #[arg(long, value_name = "FILE", help = say("Il file di prova da scrivere, che non deve esistere", "The proof file to write, which must not exist"))]
    out: PathBuf,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct MessageArguments {
    #[arg(long, value_name = "N", help = say("Il messaggio con questo UID", "The message with this UID"))]
    uid: Option<u32>,
    #[arg(long, value_name = "HEX", help = say("Un messaggio con questo SHA-256", "A message with this SHA-256"))]
    sha256: Option<String>,
    #[arg(long, value_name = "ID", help = say("Il messaggio con questo Message-ID; solo se c'era", "The message with this Message-ID; only when it was there"))]
    message_id: Option<String>,
}

impl MessageArguments {
    fn asked(self) -> Option<AskedMessage> {
        let uid = self.uid.map(AskedMessage::Uid);
        let digest = self.sha256.map(AskedMessage::Sha256);
        uid.or(digest).or(self.message_id.map(AskedMessage::MessageId))
    }
}

impl ProveArguments {
    pub(super) fn run(self, file: Option<&Path>, output: &Output) -> Result<(), Failure> {
        let Self { account, instant, mailbox, message, out } = self;
        let message = message
            .asked()
            .ok_or_else(|| Failure::invalid(Text::fixed("quale messaggio?", "which message?")))?;
        if out.symlink_metadata().is_ok() {
            return Err(taken(&out));
        }
        let request = SnapshotProve { account, instant, mailbox, message };
        let proof = operation::run(file, output, &request)?;
        let octets = STANDARD.decode(&proof.file).map_err(|error| Failure::of_machine(&error))?;
        into_new_file(&out, &octets)?;
        output.notes(&proof.note);
        if output.wants_json() {
            let words: Vec<&str> =
                proof.words.iter().map(|words| words.get(output.language())).collect();
            Output::json(&serde_json::json!({
                "file": out, "words": words, "snapshot": proof.snapshot, "run": proof.run,
                "stamped": proof.stamped,
                "note": proof.note.as_ref().map(|note| note.get(output.language())),
            }));
            return Ok(());
        }
        let mut text = String::new();
        for words in &proof.words {
            text.extend([words.get(output.language()), "\n"]);
        }
        Output::raw(text.as_bytes());
        Ok(())
    }
}
