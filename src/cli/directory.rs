//! `ceralacca directory`: the providers, and where the copy of them stands.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use trust::clock::{Clock as _, SystemClock, UnixMillis};

use super::{
    failure::Failure,
    operation,
    output::{Output, Shown, instant},
    say,
};
use crate::{
    config::Config,
    control::operations::directory::{
        DirectoryAccept, DirectoryFetch, DirectoryList, DirectoryShow, RecordView,
    },
    directory::{
        changes::Changes,
        signed::{Own, SignedDirectory, SignerRule},
        status::{Outcome, Status},
    },
    pec::address::Domain,
    serve::trusted,
    texts::{Language, Text},
};

/// Domains of a record that are shown to people, unless they ask for all.
const DOMAINS_SHOWN: usize = 5;

#[derive(Debug, Subcommand)]
pub(super) enum DirectoryCommand {
    #[command(
        about = say(
            "Da dove viene l'indice in uso, quanto è vecchio, che cosa attende una decisione",
            "Where the directory in use comes from, how old it is, what waits for a decision",
        ),
        after_help = say("Esempio:\n  ceralacca directory show", "Example:\n  ceralacca directory show"),
    )]
    Show,
    #[command(
        about = say(
            "Elenca i gestori con domini e certificati",
            "Lists the providers with domains and certificates",
        ),
        after_help = say(
            "Esempi:\n  ceralacca directory list --domain pec.beta.example\n  ceralacca directory list --hash A9993E364706816ABA3E25717850C26C9CD0D89D --json",
            "Examples:\n  ceralacca directory list --domain pec.beta.example\n  ceralacca directory list --hash A9993E364706816ABA3E25717850C26C9CD0D89D --json",
        ),
    )]
    List {
        #[arg(long, help = say("Chi gestisce questo dominio", "Who manages this domain"))]
        domain: Option<String>,
        #[arg(long, value_name = "SHA1", help = say("Di chi è questo certificato", "Whose certificate this is"))]
        hash: Option<String>,
        #[arg(long, help = say("Il nome contiene", "The name contains"))]
        name: Option<String>,
        #[arg(long, help = say("Tutti i domini", "All domains"))]
        all_domains: bool,
    },
    #[command(
        about = say("Legge l'indice adesso", "Fetches the directory now"),
        after_help = say("Esempio:\n  ceralacca directory fetch", "Example:\n  ceralacca directory fetch"),
    )]
    Fetch,
    #[command(
        about = say(
            "Mette in uso la copia che attende una decisione",
            "Takes the copy that waits for a decision into use",
        ),
        after_help = say(
            "Esempio:\n  ceralacca directory accept 9f86d081884c7d65\n\nPrima guardare con `directory show` che cosa cambia.",
            "Example:\n  ceralacca directory accept 9f86d081884c7d65\n\nLook with `directory show` at what it changes first.",
        ),
    )]
    Accept {
        #[arg(value_name = "SHA256", help = say("Quale, come in `directory show`; bastano le prime otto cifre", "Which, as in `directory show`; the first eight digits are enough"))]
        digest: String,
    },
    #[command(
        about = say(
            "Verifica un file: firma, chi ha firmato, contenuto. Non cambia nulla",
            "Verifies a file: signature, who signed, contents. Changes nothing",
        ),
        after_help = say(
            "Esempio:\n  ceralacca directory verify igpec.ldif.p7m",
            "Example:\n  ceralacca directory verify igpec.ldif.p7m",
        ),
    )]
    Verify {
        #[arg(value_name = "FILE", help = say("Il file .p7m", "The .p7m file"))]
        file: PathBuf,
    },
}

impl DirectoryCommand {
    pub(super) fn run(self, file: Option<&Path>, output: &Output) -> Result<(), Failure> {
        match self {
            Self::Show => {
                output.one(&operation::run(file, output, &DirectoryShow {})?);
                Ok(())
            }
            Self::List { domain, hash, name, all_domains } => {
                let all = all_domains || output.wants_json();
                let domains_max = if all { usize::MAX } else { DOMAINS_SHOWN };
                let asked = DirectoryList { domain, hash, name, domains_max };
                let records = operation::run(file, output, &asked)?;
                output.list(&records);
                if records.is_empty() {
                    return Err(Failure::not_found(Text::fixed(
                        "nessuna voce corrisponde",
                        "no entry matches",
                    )));
                }
                Ok(())
            }
            Self::Fetch => fetched(output, operation::run(file, output, &DirectoryFetch {})?),
            Self::Accept { digest } => {
                output.one(&operation::run(file, output, &DirectoryAccept { digest })?);
                Ok(())
            }
            Self::Verify { file: signed } => verify(file, output, &signed),
        }
    }
}

fn fetched(output: &Output, outcome: Outcome) -> Result<(), Failure> {
    if output.wants_json() {
        Output::json(&outcome);
    }
    match outcome {
        Outcome::Unchanged => {
            output.note(&Text::fixed(
                "la copia in uso è la più recente",
                "the copy in use is the newest",
            ));
            Ok(())
        }
        Outcome::Changed(changes) => {
            if !output.wants_json() {
                output.one(&changes);
            }
            Ok(())
        }
        Outcome::Held { why, changes } => {
            if !output.wants_json() {
                output.one(&changes);
            }
            Err(Failure::conflict(Text::filled(
                format!("la nuova copia attende `ceralacca directory accept <SHA256>`: {why}"),
                format!("the new copy waits for `ceralacca directory accept <SHA256>`: {why}"),
            )))
        }
    }
}

/// Judges a file by the configuration, with or without a running server.
fn verify(config: Option<&Path>, output: &Output, signed: &Path) -> Result<(), Failure> {
    let config = Config::load(config, std::env::vars()).map_err(Failure::from)?;
    let machine = |error: &(dyn std::error::Error + 'static)| Failure::of_machine(error);
    let octets = std::fs::read(signed).map_err(|error| machine(&error))?;
    let verifier = trusted::verifier_of_files(&config).map_err(|error| {
        Failure::of_machine(&*Box::<dyn std::error::Error + Send + Sync>::from(error))
    })?;
    let rule = SignerRule::of(&config.directory.fetch, verifier.into())
        .map_err(|error| machine(&error))?
        .ok_or_else(|| {
            Failure::invalid(Text::fixed(
                "la configurazione non dice chi firma l'indice: directory.signer_certificate_file o signer_subject",
                "the configuration does not say who signs the directory: directory.signer_certificate_file or signer_subject",
            ))
        })?;
    let judged =
        rule.verify(&octets, &own(&config), SystemClock.now()).map_err(|error| machine(&error))?;
    output.one(&Verified::of(&judged));
    Ok(())
}

/// This provider, as far as the configuration knows it.
fn own(config: &Config) -> Own {
    let provider = &config.provider;
    let domains = Domain::parse(provider.mail_domain.as_str()).into_iter().collect();
    Own { name: provider.name.clone(), domains }
}

/// What a good file says of the others.
#[derive(Debug, serde::Serialize)]
struct Verified {
    signer: String,
    signed_millis: Option<i64>,
    digest: String,
    providers: usize,
    domains: usize,
}

impl Verified {
    fn of(verified: &SignedDirectory) -> Self {
        Self {
            signer: format!("{:?}", verified.signer),
            signed_millis: verified.signed.map(|signed| signed.0),
            digest: verified.digest.clone(),
            providers: verified.directory.provider_count(),
            domains: verified.directory.domain_count(),
        }
    }
}

fn at(millis: Option<i64>) -> String {
    millis.map(|millis| instant(UnixMillis(millis))).unwrap_or_default()
}

/// Rows of name and value, as they are added.
#[derive(Default)]
struct Details(Vec<(Text, String)>);

impl Details {
    fn add(&mut self, italian: &'static str, english: &'static str, value: impl Into<String>) {
        self.0.push((Text::fixed(italian, english), value.into()));
    }
}

impl Shown for Verified {
    fn details(&self) -> Vec<(Text, String)> {
        let mut details = Details::default();
        details.add("firmato da", "signed by", &self.signer);
        details.add("firmato il", "signed", at(self.signed_millis));
        details.add("SHA-256", "SHA-256", &self.digest);
        details.add("gestori", "providers", self.providers.to_string());
        details.add("domini", "domains", self.domains.to_string());
        details.0
    }
}

impl Shown for Status {
    fn details(&self) -> Vec<(Text, String)> {
        let mut details = Details::default();
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        details.add("gestori in uso", "providers in use", self.providers.to_string());
        details.add("domini", "domains", self.domains.to_string());
        details.add("indice", "directory", text(&self.url));
        details.add("copia in uso, SHA-256", "copy in use, SHA-256", text(&self.digest));
        details.add("firmata da", "signed by", text(&self.signer));
        details.add("firmata il", "signed", at(self.signed_millis));
        details.add("letta il", "fetched", at(self.fetched_millis));
        details.add("confermata il", "confirmed", at(self.confirmed_millis));
        details.add("ultimo errore", "last failure", text(&self.failure));
        details.add("del", "at", at(self.failed_millis));
        if let Some(held) = &self.held {
            details.add("ATTENDE una copia", "a copy WAITS", &held.why);
            details.add("SHA-256", "SHA-256", &held.digest);
            details.add("letta il", "fetched", at(Some(held.fetched_millis)));
            details.0.extend(held.changes.details());
        }
        details.add("voce pubblicata", "published entry", text(&self.published_url));
        details.add("firmata il", "signed", at(self.published_millis));
        details.0
    }
}

impl Shown for Changes {
    fn details(&self) -> Vec<(Text, String)> {
        let mut details = Details::default();
        details.add("gestori nuovi", "new providers", self.gained.join(", "));
        details.add("gestori che mancano", "missing providers", self.lost.join(", "));
        details.add("certificati tutti nuovi", "all certificates new", self.replaced.join(", "));
        details.add(
            "con altri certificati",
            "further certificates",
            self.certified_more.join(", "),
        );
        details.add(
            "con un'altra casella di servizio",
            "another service mailbox",
            self.mailboxes_changed.join(", "),
        );
        details.add("domini nuovi", "new domains", self.domains_gained.to_string());
        details.add("domini che mancano", "missing domains", self.domains_lost.to_string());
        details.add(
            "domini passati di gestore",
            "domains with another provider",
            self.moved.len().to_string(),
        );
        for moved in self.moved.iter().take(20) {
            details.add("", "", format!("{}: {} → {}", moved.domain, moved.from, moved.to));
        }
        details.0
    }
}

impl Shown for RecordView {
    fn columns() -> Vec<Text> {
        vec![
            Text::fixed("gestore", "provider"),
            Text::fixed("casella di servizio", "service mailbox"),
            Text::fixed("domini", "domains"),
            Text::fixed("certificati (SHA-1, fino al)", "certificates (SHA-1, until)"),
        ]
    }

    fn row(&self) -> Vec<String> {
        let name = match &self.unit {
            None => self.name.clone(),
            Some(unit) => format!("{} / {unit}", self.name),
        };
        let mut domains = self.domains.join(",");
        if self.domains_left_out > 0 {
            let more = Text::filled(
                format!(" e altri {}", self.domains_left_out),
                format!(" and {} more", self.domains_left_out),
            );
            domains.push_str(more.get(Language::of_process()));
        }
        let certificates: Vec<String> = self
            .certificates
            .iter()
            .map(|one| {
                let mark = if one.listed { "" } else { "?" };
                format!("{}{mark} {}", one.sha1, at(one.not_after_millis))
            })
            .collect();
        vec![name, self.service_mailbox.clone(), domains, certificates.join(", ")]
    }
}
