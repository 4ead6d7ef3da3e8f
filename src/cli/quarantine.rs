//! `ceralacca quarantine`: messages in which a virus was found, for operators only.

use std::{
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Subcommand;
use trust::{clock::UnixMillis, digest::Sha256Digest, seal::DataKey};

use super::{
    failure::Failure,
    operation,
    output::{Output, Shown, instant},
    say,
};
use crate::{
    config::Config,
    control::operations::quarantine::{
        QuarantineList, QuarantineListed, QuarantineOpen, QuarantineRead, QuarantineShow,
        QuarantinedView, quarantine_id,
    },
    pec::quarantine::unseal,
    serve::content::quarantine_key,
    texts::Text,
};

#[derive(Debug, Subcommand)]
pub(super) enum QuarantineCommand {
    #[command(
        about = say("Elenca i messaggi in quarantena, dal più vecchio", "Lists the messages in quarantine, the oldest first"),
        after_help = say(
            "Esempio:\n  ceralacca quarantine list --sender maria.rossi@pec.example",
            "Example:\n  ceralacca quarantine list --sender maria.rossi@pec.example",
        ),
    )]
    List {
        #[arg(long, value_name = "ADDRESS", help = say("Di questo mittente", "From this sender"))]
        sender: Option<String>,
        #[arg(long, value_name = "ADDRESS", help = say("A questo destinatario", "To this recipient"))]
        recipient: Option<String>,
        #[arg(long, value_name = "N", default_value_t = 1_000, help = say("Quanti al più", "How many at most"))]
        limit: usize,
    },
    #[command(
        about = say("Tutto su un messaggio in quarantena, tranne i suoi ottetti", "Everything about a message in quarantine but its octets"),
        after_help = say(
            "Esempio:\n  ceralacca quarantine show 0193617f2a4088e1d2c3b4a596877869",
            "Example:\n  ceralacca quarantine show 0193617f2a4088e1d2c3b4a596877869",
        ),
    )]
    Show {
        #[arg(value_name = "ID", help = say("Quale, come in `quarantine list`", "Which, as in `quarantine list`"))]
        id: String,
    },
    #[command(
        about = say(
            "Apre un messaggio in quarantena e lo scrive in un file: contiene un virus",
            "Opens a message in quarantine and writes it to a file: it contains a virus",
        ),
        after_help = say(
            "Esempio:\n  ceralacca quarantine export 0193617f2a4088e1d2c3b4a596877869 --to messaggio.eml --by \"Mario Rossi\" --why \"richiesta dell'autorità 12/2026\"\n\nServe la chiave quarantine.key della cartella dei dati. Chi, quando e perché restano nel giornale. Un file che esiste non è sovrascritto.",
            "Example:\n  ceralacca quarantine export 0193617f2a4088e1d2c3b4a596877869 --to message.eml --by \"Mario Rossi\" --why \"request of the authority 12/2026\"\n\nNeeds the key quarantine.key of the data folder. Who, when and why stay in the journal. A file that exists is not overwritten.",
        ),
    )]
    Export {
        #[arg(value_name = "ID", help = say("Quale, come in `quarantine list`", "Which, as in `quarantine list`"))]
        id: String,
        #[arg(long, value_name = "FILE", help = say("In quale file", "Into which file"))]
        to: PathBuf,
        #[arg(long, value_name = "NAME", help = say("Chi lo apre, per il giornale", "Who opens it, for the journal"))]
        by: String,
        #[arg(long, help = say("Il motivo, che resta nel giornale", "The reason, which stays in the journal"))]
        why: String,
    },
}

impl QuarantineCommand {
    pub(super) fn run(self, file: Option<&Path>, output: &Output) -> Result<(), Failure> {
        match self {
            Self::List { sender, recipient, limit } => {
                let request = QuarantineList { sender, recipient, limit };
                let QuarantineListed { messages, left_out } =
                    operation::run(file, output, &request)?;
                output.list(&messages);
                if left_out > 0 {
                    output.note(&Text::filled(
                        format!("altri {left_out} non mostrati: --limit"),
                        format!("{left_out} more are not shown: --limit"),
                    ));
                }
                Ok(())
            }
            Self::Show { id } => {
                output.one(&operation::run(file, output, &QuarantineShow { id })?);
                Ok(())
            }
            Self::Export { by, why, .. } if by.trim().is_empty() || why.trim().is_empty() => {
                Err(Failure::invalid(Text::fixed(
                    "--by e --why non possono essere vuoti: restano nel giornale",
                    "--by and --why must not be empty: they stay in the journal",
                )))
            }
            Self::Export { id, to, by, why } => {
                let request = QuarantineOpen { id, actor: by, why };
                let opened = export(file, output, &request, &to)?;
                output.one(&opened);
                Ok(())
            }
        }
    }
}

fn export(
    file: Option<&Path>,
    output: &Output,
    request: &QuarantineOpen,
    to: &Path,
) -> Result<QuarantinedView, Failure> {
    let id = quarantine_id(&request.id)?;
    let config = Config::load(file, std::env::vars()).map_err(Failure::from)?;
    let key = key(&config)?;
    let mut target = std::fs::OpenOptions::new();
    let mut target = target
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)
        .map_err(|error| unwritable(to, &error))?;
    let mut write = || {
        let opened = operation::run(file, output, request)?;
        let sealed = sealed(file, output, &request.id)?;
        let octets = unseal(&key, id, &sealed).map_err(|_| not_opened(&config))?;
        if hex::encode(Sha256Digest::of(&octets).0) != opened.sha256 {
            return Err(not_opened(&config));
        }
        let written = target.write_all(&octets).and_then(|()| target.sync_all());
        written.map_err(|error| unwritable(to, &error))?;
        Ok(opened)
    };
    let outcome = write();
    if outcome.is_err() {
        // The file is ours, and nothing whole is in it; that it stays behind would only be untidy.
        let _ = std::fs::remove_file(to);
    }
    outcome
}

/// The sealed octets of a message.
fn sealed(file: Option<&Path>, output: &Output, id: &str) -> Result<Vec<u8>, Failure> {
    let mut sealed: Vec<u8> = Vec::new();
    loop {
        let request = QuarantineRead { id: id.to_owned(), start: sealed.len() as u64 };
        let piece = operation::run(file, output, &request)?;
        let octets = STANDARD.decode(&piece.octets).unwrap_or_default();
        if octets.is_empty() || sealed.len() as u64 >= piece.total {
            return Ok(sealed);
        }
        sealed.extend_from_slice(&octets);
    }
}

fn key(config: &Config) -> Result<DataKey, Failure> {
    let read = quarantine_key(config).map_err(|error| {
        Failure::failed(Text::filled(
            format!("la chiave della quarantena non si legge ({error:#})"),
            format!("the key of the quarantine cannot be read ({error:#})"),
        ))
    })?;
    read.ok_or_else(|| {
        let file = config.data.quarantine_key_file();
        Failure::not_found(Text::filled(
            format!("manca {}: rimettere quella della copia", file.display()),
            format!("{} is missing: put the one of the back-up there", file.display()),
        ))
    })
}

fn not_opened(config: &Config) -> Failure {
    let file = config.data.quarantine_key_file();
    Failure::failed(Text::filled(
        format!(
            "il messaggio non si apre con {}: è di un'altra chiave, o danneggiato",
            file.display()
        ),
        format!(
            "{} does not open the message: another key sealed it, or it is damaged",
            file.display()
        ),
    ))
}

fn unwritable(to: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(Text::filled(
        format!("{} non si scrive ({error})", to.display()),
        format!("{} cannot be written ({error})", to.display()),
    ))
}

fn found_at_text(word: &str) -> Text {
    match word {
        "access-point" => Text::fixed("all'accesso", "at the access point"),
        "incoming-point" => Text::fixed("alla ricezione", "at the incoming point"),
        _ => Text::fixed("alla ricezione, non a norma", "at the incoming point, malformed"),
    }
}

impl Shown for QuarantinedView {
    fn columns() -> Vec<Text> {
        vec![
            Text::fixed("id", "id"),
            Text::fixed("quando", "when"),
            Text::fixed("virus", "virus"),
            Text::fixed("mittente", "sender"),
            Text::fixed("destinatari", "recipients"),
            Text::fixed("oggetto", "subject"),
        ]
    }

    fn row(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            instant(UnixMillis(self.instant_millis)),
            self.threat.clone(),
            self.sender.clone(),
            self.recipients.join(","),
            self.subject.clone(),
        ]
    }

    fn details(&self) -> Vec<(Text, String)> {
        let mut details: Vec<(Text, String)> =
            Self::columns().into_iter().zip(self.row()).collect();
        let mut add = |italian, english, value: String| {
            details.push((Text::fixed(italian, english), value));
        };
        let found_at = found_at_text(&self.found_at);
        add("rilevato", "found", found_at.get(crate::texts::Language::of_process()).to_owned());
        add("identificativo", "identifier", self.identifier.clone());
        add("Message-ID", "Message-ID", self.message_id.clone());
        add("gestore mittente", "sending provider", self.provider.clone());
        add("ottetti", "octets", self.octets.to_string());
        add("SHA-256", "SHA-256", self.sha256.clone());
        add("chiave", "key", self.key.clone());
        add("conservato fino al", "kept until", instant(UnixMillis(self.ends_millis)));
        details
    }
}
