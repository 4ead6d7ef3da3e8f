//! `snapshot/prove`: makes a proof file.

use std::sync::Arc;

use ::snapshots::{
    error::SnapshotError,
    keep::open::{OpenSnapshot, SnapshotMailbox},
    proof::{Asked, Proof, Source},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use storage::{account::name::MailboxName, ids::Uid, mailbox::view::MailboxView as _};
use trust::{certificate::Certificate, digest::Sha256Digest};

use super::{
    account, noted,
    standing::{refusal, snapshot},
};
use crate::{
    config::Config,
    control::{Kind, Operation, OperationError, Progress, Run, Site},
    pec::journal::JournalEvent,
    serve,
    snapshots::proof_file::{Parts, check::check_own},
    texts::{self, Text},
};

/// Which message is asked about.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AskedMessage {
    /// By its UID.
    Uid(u32),
    /// By its SHA-256, hexadecimal.
    Sha256(String),
    /// By its Message-ID: it must be there, for a Message-ID is no part of what is hashed.
    MessageId(String),
}

/// Asks for proof that a message was, or was not, in a mailbox.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct SnapshotProve {
    /// The account's address.
    pub account: String,
    /// Which snapshot.
    pub instant: String,
    /// The mailbox's name.
    pub mailbox: String,
    /// The message.
    pub message: AskedMessage,
}

/// A proof file.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ProofView {
    /// Its octets, in base64.
    pub file: String,
    /// What it shows, and on whose word.
    pub words: Vec<Text>,
    /// The name of the snapshot.
    pub snapshot: String,
    /// The run.
    pub run: u64,
    /// Whether the run is time-stamped.
    pub stamped: bool,
    /// What else to know of the instant that was asked for.
    #[serde(default)]
    pub note: Option<Text>,
}

#[async_trait::async_trait]
impl Operation for SnapshotProve {
    const NAME: &'static str = "snapshot/prove";

    type Outcome = ProofView;

    async fn run(&self, site: &Site, run: &Run) -> Result<ProofView, OperationError> {
        run.tell(Progress::new(Text::fixed("prova in corso", "making the proof"), 0, None));
        run.reading(self.prove(site)).await?
    }
}

impl SnapshotProve {
    async fn prove(&self, site: &Site) -> Result<ProofView, OperationError> {
        // INBOX in any case, and no name that a mailbox cannot have.
        let mailbox = MailboxName::new(&self.mailbox)
            .map_err(|error| OperationError::new(Kind::Invalid, texts::store::error(&error)))?;
        let (id, settings) = account(site, &self.account).await?;
        let standing = snapshot(site, id, &self.instant).await?;
        let note = standing.note();
        let snapshot = standing.proves()?;
        let (run, attested) = match site.runs.attested(&snapshot).await {
            Err(SnapshotError::NotPresent) => {
                return Err(not_attested(&snapshot.name(), site.config.snapshots.enabled));
            }
            attested => attested.map_err(|error| refusal(&error))?,
        };
        let open = site.runs.snapshots().open(id, snapshot.number).await;
        let open = open.map_err(|error| refusal(&error))?;
        let asked = self.asked(&open, &mailbox).await?;
        let (pages, state, secret) = (open.pages(), open.state(), open.secret());
        let source = Source { pages, state, secret };
        let proof = Proof::make(source, mailbox.as_str(), asked, attested).await;
        let proof = proof.map_err(|error| refusal(&error))?;
        let parts = Parts {
            proof: proof.encode().map_err(|error| refusal(&error))?,
            run: run.record.encode().to_vec(),
            signature: run.signature.clone().unwrap_or_default(),
            stamp: run.stamp.clone(),
            certificates: certificates(&site.config)?,
        };
        let file = parts.write().map_err(|refused| OperationError::new(Kind::Failed, refused.0))?;
        // What is handed out holds: checked as whoever gets it does. Authorities may have changed since
        // the run was signed: then it holds for those who know the one of that time.
        let own = Certificate::all_from_pem(&parts.certificates);
        let own = own.map_err(|error| OperationError::of_machine(&error))?;
        let words = check_own(&file, own);
        let words = words.map_err(|refused| OperationError::new(Kind::Failed, refused.0))?;
        let which = match &self.message {
            AskedMessage::Uid(uid) => format!("UID {uid}"),
            AskedMessage::Sha256(digits) => format!("SHA-256 {digits}"),
            AskedMessage::MessageId(message_id) => format!("Message-ID {message_id}"),
        };
        let detail = format!("{}: {which} of {}", snapshot.name(), mailbox.as_str());
        let act = noted(JournalEvent::SnapshotProved, &settings.address, &detail);
        site.store.commit(act).await?;
        Ok(ProofView {
            file: STANDARD.encode(&file),
            words,
            snapshot: snapshot.name(),
            run: run.number(),
            stamped: run.stamp.is_some(),
            note,
        })
    }

    async fn asked(
        &self,
        open: &Arc<OpenSnapshot>,
        mailbox: &MailboxName,
    ) -> Result<Asked, OperationError> {
        let invalid = |text| OperationError::new(Kind::Invalid, text);
        match &self.message {
            AskedMessage::Uid(uid) => Uid::new(*uid)
                .map(Asked::Uid)
                .ok_or_else(|| invalid(Text::fixed("un UID parte da 1", "a UID is 1 or more"))),
            AskedMessage::Sha256(text) => {
                let octets = hex::decode(text).ok().and_then(|octets| octets.try_into().ok());
                octets.map(|octets| Asked::Digest(Sha256Digest(octets))).ok_or_else(|| {
                    invalid(Text::fixed(
                        "uno SHA-256 ha 64 cifre esadecimali",
                        "a SHA-256 has 64 hexadecimal digits",
                    ))
                })
            }
            AskedMessage::MessageId(wanted) => {
                let mailbox = open.mailbox_by_name(mailbox.as_str());
                let mailbox = mailbox.map_err(|error| refusal(&error))?;
                find(&mailbox, wanted).await?.map(Asked::Uid).ok_or_else(|| {
                    OperationError::new(
                        Kind::NotFound,
                        Text::fixed(
                            "nessun messaggio con quel Message-ID: per provare che un messaggio non c'era, indicarlo con --sha256 o --uid",
                            "no message with that Message-ID: to prove that a message was not there, name it by --sha256 or --uid",
                        ),
                    )
                })
            }
        }
    }
}

/// The UID of the first message with a Message-ID, given with its brackets or without.
async fn find(mailbox: &SnapshotMailbox, wanted: &str) -> Result<Option<Uid>, OperationError> {
    let bare = |id: &str| id.trim().trim_matches(['<', '>']).to_owned();
    let (_, rows) = mailbox.rows().await?;
    for row in rows {
        let summary = mailbox.summary(row.email_number).await?;
        let found = summary.envelope.message_id.as_deref().map(String::from_utf8_lossy);
        if found.is_some_and(|found| bare(&found) == bare(wanted)) {
            return Ok(Some(row.uid));
        }
    }
    Ok(None)
}

/// Authorities that signatures and time stamps lead to, each once.
fn certificates(config: &Config) -> Result<Vec<u8>, OperationError> {
    let failed = |error: anyhow::Error| {
        OperationError::of_machine(&*Box::<dyn std::error::Error + Send + Sync>::from(error))
    };
    let signing = serve::journal::authorities_pem(config).map_err(failed)?;
    let machine = |error: trust::certificate::CertificateError| OperationError::of_machine(&error);
    let mut all = Certificate::all_from_pem(signing.as_bytes()).map_err(machine)?;
    let stamps = serve::journal::trusted_stamps(config).map_err(failed)?;
    all.extend(stamps.certificates().iter().cloned());
    let (mut pem, mut seen) = (Vec::new(), std::collections::HashSet::new());
    for certificate in all {
        if seen.insert(Sha256Digest::of(certificate.to_der())) {
            pem.extend(certificate.to_pem().map_err(machine)?);
        }
    }
    Ok(pem)
}

/// No run has the snapshot: one will, as long as runs take place.
fn not_attested(name: &str, runs: bool) -> OperationError {
    if runs {
        let text = Text::filled(
            format!(
                "nessun giro firmato attesta ancora l'istantanea {name}: attendere il prossimo giro"
            ),
            format!("no signed run attests the snapshot {name} yet: wait for the next run"),
        );
        return OperationError::new(Kind::Temporary, text);
    }
    let text = Text::filled(
        format!(
            "nessun giro firmato attesta l'istantanea {name}, e con snapshots.enabled = false non ne passano: accenderli e attendere un giro"
        ),
        format!(
            "no signed run attests the snapshot {name}, and with snapshots.enabled = false none takes place: switch runs on and wait for one"
        ),
    );
    OperationError::new(Kind::Conflict, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::texts::Language;

    #[test]
    fn who_cannot_be_given_a_proof_waits_only_where_a_run_will_come() {
        let name = "2026-11-21T06:00:17Z";
        let (on, off) = (not_attested(name, true), not_attested(name, false));
        assert_eq!((on.kind, off.kind), (Kind::Temporary, Kind::Conflict));
        for language in [Language::Italian, Language::English] {
            assert!(on.text.get(language).contains(name), "{on:?}");
            assert!(!on.text.get(language).contains("snapshots.enabled"), "{on:?}");
            assert!(off.text.get(language).contains("snapshots.enabled = false"), "{off:?}");
        }
    }
}
