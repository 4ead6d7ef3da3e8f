//! `ceralacca snapshot verify`: needs neither store nor server.

use std::path::{Path, PathBuf};

use ::snapshots::proof::{Asked, Fact};
use serde::Serialize;
use trust::{certificate::Certificate, digest::Sha256Digest};

use crate::{
    cli::{failure::Failure, output::Output, say},
    snapshots::proof_file::check::{Checked, check},
    texts::{Language, Text},
};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct VerifyArguments {
    #[arg(value_name = "FILE", help = say("Il file di prova", "The proof file"))]
    proof: PathBuf,
    #[arg(long, value_name = "FILE", help = say("Il messaggio di cui si tratta, ottetto per ottetto", "The message that it is about, octet for octet"))]
    message: Option<PathBuf>,
    #[arg(long, value_name = "FILE", help = say("Le autorità in cui si ha fiducia (PEM)", "The authorities that are trusted (PEM)"))]
    ca: Option<PathBuf>,
    #[arg(long, value_name = say("IMPRONTA", "FINGERPRINT"), value_parser = fingerprint, help = say("Chi deve aver firmato: SHA-256 del suo certificato", "Who must have signed: SHA-256 of the certificate"))]
    signer: Option<Sha256Digest>,
    #[arg(long, help = say("Rifiuta una prova senza marca temporale", "Refuse a proof without a time stamp"))]
    require_stamp: bool,
}

/// A fingerprint as programs print it: 64 hexadecimal digits, with or without colons.
fn fingerprint(text: &str) -> Result<Sha256Digest, String> {
    let octets = hex::decode(text.replace(':', "")).ok().and_then(|octets| octets.try_into().ok());
    octets.map(Sha256Digest).ok_or_else(|| {
        say("un'impronta ha 64 cifre esadecimali", "a fingerprint has 64 hexadecimal digits").into()
    })
}

/// What was verified, for programs.
#[derive(Serialize)]
struct Verified {
    holds: bool,
    statement: Vec<String>,
    signer: String,
    signer_sha256: String,
    stamped_millis: Option<i64>,
    stamp_signer: Option<String>,
    stamp_signer_sha256: Option<String>,
    trusted: bool,
}

impl VerifyArguments {
    pub(super) fn run(self, output: &Output) -> Result<(), Failure> {
        let authorities = match &self.ca {
            None => None,
            Some(file) => {
                let read = Certificate::read_all(file);
                Some(read.map_err(|error| Failure::of_machine(&error))?)
            }
        };
        let checked = check(&read(&self.proof)?, authorities)
            .map_err(|refused| Failure::failed(refused.0))?;
        let demanded = checked.demand(self.signer, self.require_stamp);
        demanded.map_err(|refused| Failure::failed(refused.0))?;
        if let Some(file) = &self.message {
            fits(&checked, Sha256Digest::of(&read(file)?))?;
        }
        print(output, &checked);
        Ok(())
    }
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(file).map_err(|error| {
        let name = file.display();
        Failure::failed(Text::filled(
            format!("{name} non si legge: {error}"),
            format!("{name} cannot be read: {error}"),
        ))
    })
}

/// Says whether the proof is about the message with `digest`.
fn fits(checked: &Checked, digest: Sha256Digest) -> Result<(), Failure> {
    let about = match &checked.shown.proven.fact {
        Fact::Present { digest, .. } => Some(*digest),
        Fact::Absent { asked, .. } | Fact::NoMailbox { asked, .. } => match asked {
            Asked::Digest(digest) => Some(*digest),
            Asked::Uid(_) => None,
        },
    };
    if about == Some(digest) {
        return Ok(());
    }
    let about = about.map_or_else(|| "UID".to_owned(), |about| about.to_string());
    Err(Failure::failed(Text::filled(
        format!(
            "la prova riguarda un altro messaggio ({about}): questo file ha SHA-256 {digest}; conta ogni ottetto, anche i fine riga CR LF"
        ),
        format!(
            "the proof is about another message ({about}): this file has SHA-256 {digest}; every octet counts, the line ends CR LF too"
        ),
    )))
}

/// Prints what holds.
pub(super) fn print(output: &Output, checked: &Checked) {
    let (words, stamp) = (checked.words(), checked.stamp.as_ref());
    if output.wants_json() {
        return Output::json(&Verified {
            holds: true,
            statement: words.iter().map(|text| text.get(Language::English).to_owned()).collect(),
            signer: checked.signer.name.clone(),
            signer_sha256: checked.signer.fingerprint.to_string(),
            stamped_millis: stamp.map(|stamp| stamp.instant.0),
            stamp_signer: stamp.map(|stamp| stamp.signer.name.clone()),
            stamp_signer_sha256: stamp.map(|stamp| stamp.signer.fingerprint.to_string()),
            trusted: checked.trusted,
        });
    }
    let mut text = String::new();
    for line in &words {
        text.extend([line.get(output.language()), "\n"]);
    }
    Output::raw(text.as_bytes());
}
