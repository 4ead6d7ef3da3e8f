//! `transmission export`: one zip with every message of a transmission, and how to verify them.
//!
//! * The octets of a message go from the store to the file piece by piece; each is compared with its
//!   SHA-256 on the way.
//! * The same transmission in the same state gives the same file, octet for octet: names, order and times
//!   follow from the transmission.
//! * The file gets its name when it is whole.
//!
//! Not here: what the server finds in a message (`control::operations::transmission`).

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::File,
    io::{self, BufWriter, Write as _},
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use serde::Serialize;
use trust::{clock::UnixMillis, digest::Sha256Hasher};
use zip::{CompressionMethod, DateTime, ZipWriter, write::SimpleFileOptions};

use super::view::kind_text;
use crate::{
    cli::{
        failure::Failure,
        operation::{self, Asker},
        output::{Output, instant},
    },
    control::{
        OperationError, Progress, Run,
        operations::transmission::{
            ArtefactRead, ArtefactReport, ArtefactVerify, ArtefactView, TransmissionDetails,
            TransmissionShow, TransmissionView, TrustedCertificates,
        },
    },
    pec::{artefacts::ArtefactKind, daticert::DATICERT_DTD, instant::ROME},
    texts::{Language, Text},
};

/// What the report says of one message.
#[derive(Serialize)]
struct Described {
    /// Its name in the zip; `None` when its octets are not kept any more.
    file: Option<String>,
    #[serde(flatten)]
    artefact: ArtefactView,
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<ArtefactReport>,
}

/// `verifica.json`.
#[derive(Serialize)]
struct Report<'r> {
    transmission: &'r TransmissionView,
    plan: &'r str,
    messages: &'r [Described],
}

/// What an export did.
#[derive(Serialize)]
struct Exported {
    file: PathBuf,
    identifier: String,
    messages: u64,
    /// Messages of which the provider has no octets any more.
    left_out: u64,
}

/// Writes the zip.
pub(super) fn run(
    file: Option<&Path>,
    output: &Output,
    id: &str,
    to: &Path,
) -> Result<(), Failure> {
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
    let made = tempfile::NamedTempFile::new_in(folder.unwrap_or_else(|| Path::new(".")));
    let new = made.map_err(|error| unwritable(to, &error))?;
    let opened = new.reopen().map_err(|error| unwritable(to, &error))?;
    let exported = operation::several(file, output, async |asker, run| {
        let details = asker.ask(&TransmissionShow { id: id.to_owned() }, run).await?;
        Box::pin(Export::begin(opened, &details).finish(asker, run, &details)).await
    })?;
    new.as_file().sync_all().map_err(|error| unwritable(to, &error))?;
    new.persist(to).map_err(|error| unwritable(to, &error.error))?;
    let exported = Exported { file: to.to_owned(), ..exported };
    if output.wants_json() {
        Output::json(&exported);
        return Ok(());
    }
    let (count, name) = (exported.messages, to.display());
    output.note(&Text::filled(
        format!("{count} messaggi in {name}: VERIFICA.txt dice come verificarli"),
        format!("{count} messages in {name}: VERIFICA.txt says how to verify them"),
    ));
    if exported.left_out > 0 {
        let left_out = exported.left_out;
        output.note(&Text::filled(
            format!("{left_out} non sono più conservati: verifica.json ne ha le impronte"),
            format!("{left_out} are not kept any more: verifica.json has their digests"),
        ));
    }
    Ok(())
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::invalid(Text::filled(
        format!("{} non si scrive ({error}): indicare un altro file", path.display()),
        format!("{} cannot be written ({error}): name another file", path.display()),
    ))
}

fn failed(error: &(dyn std::error::Error + 'static)) -> OperationError {
    OperationError::of_machine(error)
}

/// The name of a kind in the zip.
fn file_stem(kind: &str) -> &'static str {
    match kind {
        "original" => "originale",
        "transport-envelope" => "busta-di-trasporto",
        "acceptance-receipt" => "ricevuta-di-accettazione",
        "non-acceptance-notice" => "avviso-di-non-accettazione",
        "take-charge-receipt" => "presa-in-carico",
        "delivery-receipt" => "avvenuta-consegna",
        "non-delivery-notice" => "mancata-consegna",
        "time-limit-notice" => "superamento-tempi",
        "virus-notice" => "rilevazione-virus",
        _ => "rapporto-di-stato",
    }
}

/// A zip while it is written.
struct Export {
    zip: ZipWriter<BufWriter<File>>,
    options: SimpleFileOptions,
    /// SHA-256 of each file, as `sha256sum -c` reads it.
    sums: String,
    counts: BTreeMap<&'static str, u32>,
    described: Vec<Described>,
}

impl Export {
    fn begin(file: File, details: &TransmissionDetails) -> Self {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .last_modified_time(legal_time(details.transmission.instant_millis))
            .unix_permissions(0o644);
        Self {
            zip: ZipWriter::new(BufWriter::new(file)),
            options,
            sums: String::new(),
            counts: BTreeMap::new(),
            described: Vec::new(),
        }
    }

    async fn finish(
        mut self,
        asker: &Asker,
        run: &Run,
        details: &TransmissionDetails,
    ) -> Result<Exported, OperationError> {
        let total = details.artefacts.len() as u64;
        for (done, artefact) in (0_u64..).zip(&details.artefacts) {
            run.go_on()?;
            let what = Text::fixed("messaggi", "messages");
            run.tell(Progress::new(what, done, Some(total)));
            self.artefact(asker, run, artefact).await?;
        }
        let authorities = asker.ask(&TrustedCertificates {}, run).await?;
        self.add("autorita.pem", authorities.pem.as_bytes())?;
        self.add("daticert.dtd", DATICERT_DTD.as_bytes())?;
        let report = Report {
            transmission: &details.transmission,
            plan: &details.plan,
            messages: &self.described,
        };
        let report = serde_json::to_vec_pretty(&report).map_err(|error| failed(&error))?;
        self.add("verifica.json", &report)?;
        let guide = guide(&details.transmission, &self.described);
        self.add("VERIFICA.txt", guide.as_bytes())?;
        let sums = std::mem::take(&mut self.sums);
        self.add("SHA256SUMS", sums.as_bytes())?;
        let mut written = self.zip.finish().map_err(|error| failed(&error))?;
        written.flush().map_err(|error| failed(&error))?;
        let left_out = self.described.iter().filter(|one| one.file.is_none()).count() as u64;
        Ok(Exported {
            file: PathBuf::new(),
            identifier: details.transmission.identifier.clone(),
            messages: self.described.len() as u64 - left_out,
            left_out,
        })
    }

    fn add(&mut self, name: &str, octets: &[u8]) -> Result<(), OperationError> {
        self.zip.start_file(name, self.options).map_err(|error| failed(&error))?;
        self.zip.write_all(octets).map_err(|error| failed(&error))?;
        let mut hasher = Sha256Hasher::default();
        hasher.update(octets);
        self.sum(&hex::encode(hasher.finish().0), name);
        Ok(())
    }

    fn sum(&mut self, digest: &str, name: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.sums, "{digest}  {name}");
    }

    /// Adds one message with what it is; one that is not kept any more is only described.
    async fn artefact(
        &mut self,
        asker: &Asker,
        run: &Run,
        artefact: &ArtefactView,
    ) -> Result<(), OperationError> {
        if artefact.octets_are != "held" {
            self.described.push(Described { file: None, artefact: artefact.clone(), found: None });
            return Ok(());
        }
        let stem = file_stem(&artefact.kind);
        let count = self.counts.entry(stem).or_default();
        *count += 1;
        let name = match *count {
            1 => stem.to_owned(),
            count => format!("{stem}-{count}"),
        };
        let file = format!("{name}.eml");
        self.zip.start_file(file.as_str(), self.options).map_err(|error| failed(&error))?;
        let (mut hasher, mut offset) = (Sha256Hasher::default(), 0);
        while offset < artefact.octets {
            let key = artefact.key.clone();
            let piece = asker.ask(&ArtefactRead { key, offset }, run).await?;
            let octets = STANDARD.decode(piece.octets).map_err(|error| failed(&error))?;
            if octets.is_empty() {
                break;
            }
            hasher.update(&octets);
            offset += octets.len() as u64;
            self.zip.write_all(&octets).map_err(|error| failed(&error))?;
        }
        let digest = hex::encode(hasher.finish().0);
        if digest != artefact.digest {
            return Err(OperationError::new(
                crate::control::Kind::Failed,
                Text::filled(
                    format!("{file} non è il messaggio annotato: eseguire `ceralacca store check`"),
                    format!(
                        "{file} is not the message that was noted: run `ceralacca store check`"
                    ),
                ),
            ));
        }
        self.sum(&digest, &file);
        let key = artefact.key.clone();
        let mut found = asker.ask(&ArtefactVerify { key }, run).await?;
        if let Some(xml) = found.daticert_xml.take() {
            let xml = STANDARD.decode(xml).map_err(|error| failed(&error))?;
            self.add(&format!("daticert/{name}.xml"), &xml)?;
        }
        let artefact = artefact.clone();
        self.described.push(Described { file: Some(file), artefact, found: Some(found) });
        Ok(())
    }
}

/// The time of every entry: the transmission's instant in legal time.
fn legal_time(millis: i64) -> DateTime {
    let at = Timestamp::from_millisecond(millis).unwrap_or_default().to_zoned(ROME.clone());
    let number = |value: i8| u8::try_from(value).unwrap_or_default();
    DateTime::from_date_and_time(
        u16::try_from(at.year()).unwrap_or_default(),
        number(at.month()),
        number(at.day()),
        number(at.hour()),
        number(at.minute()),
        number(at.second()),
    )
    // Outside of the years that a zip can say: its first instant.
    .unwrap_or_default()
}

/// The text of `VERIFICA.txt`. Lines that begin with four blanks are commands, to be given in the
/// folder into which the zip was unpacked.
fn guide(transmission: &TransmissionView, described: &[Described]) -> String {
    let parts = [Language::Italian, Language::English];
    parts.map(|language| guide_in(language, transmission, described)).join("\n\n")
}

/// The commands for the signatures of providers, and those that do not hold.
fn guide_to_signatures(language: Language, described: &[Described]) -> String {
    let mut text = String::new();
    // What the holder signed is under no provider's signature.
    let signed: Vec<_> = described
        .iter()
        .filter(|one| one.artefact.kind != ArtefactKind::Original.word())
        .filter_map(|one| Some((one.file.as_deref()?, one, one.found.as_ref()?)))
        .filter(|(.., found)| found.signed)
        .collect();
    for (file, one, _) in signed.iter().filter(|(.., found)| found.signature_valid) {
        let at = UnixMillis(one.artefact.instant_millis).seconds();
        let _ = writeln!(
            text,
            "    openssl cms -verify -in {file} -CAfile autorita.pem -purpose any -attime {at} -out /dev/null"
        );
    }
    let wrong: Vec<_> = signed.iter().filter(|(.., found)| !found.signature_valid).collect();
    if !wrong.is_empty() {
        let heading = Text::fixed(
            "\nFirme che il gestore che ha esportato non ha trovato valide:\n",
            "\nSignatures that the exporting provider did not find valid:\n",
        );
        text.push_str(heading.get(language));
    }
    for (file, _, found) in wrong {
        let _ = writeln!(text, "- {file}: {}", found.reason);
    }
    text
}

fn guide_in(
    language: Language,
    transmission: &TransmissionView,
    described: &[Described],
) -> String {
    let say = |italian, english| match language {
        Language::Italian => italian,
        Language::English => english,
    };
    let mut text = format!(
        "{} {}\n{} {}, {}\n\n{}\n\n    sha256sum -c SHA256SUMS\n\n{}\n\n",
        say("VERIFICA DELLA TRASMISSIONE", "VERIFYING THE TRANSMISSION"),
        transmission.identifier,
        transmission.sender,
        instant(UnixMillis(transmission.instant_millis)),
        transmission.subject,
        say(
            "I comandi si danno nella cartella in cui lo zip è stato estratto. Servono sha256sum, openssl, xmllint.\n\n\
             1. Nessun file è cambiato da quando fu esportato:",
            "The commands are given in the folder into which the zip was unpacked. They need sha256sum, openssl, xmllint.\n\n\
             1. No file has changed since it was exported:",
        ),
        say(
            "2. Le firme del gestore su busta, ricevute e avvisi (RFC 6109 §2.1), all'istante di ciascuno. autorita.pem contiene\n\
             le autorità di cui si fida il gestore che ha esportato: chi vuole decidere da sé usi i certificati pubblicati\n\
             dall'agenzia. La riga \"CMS Verification successful\" dice che la firma è valida:",
            "2. The signatures of the providers on envelope, receipts and notices (RFC 6109 §2.1), as of the instant of each.\n\
             autorita.pem has the authorities that the exporting provider believes: who wants to decide alone uses the\n\
             certificates that the agency publishes. The line \"CMS Verification successful\" says that the signature is valid:",
        ),
    );
    text.push_str(&guide_to_signatures(language, described));
    text.push_str(say(
        "\n3. I dati di certificazione, tratti dai messaggi, hanno la forma delle regole (RFC 6109 §4.4):\n\n",
        "\n3. The certification data, taken from the messages, have the form of the rules (RFC 6109 §4.4):\n\n",
    ));
    let data = described
        .iter()
        .filter(|one| one.found.as_ref().is_some_and(|found| found.daticert.is_some()));
    for file in data.filter_map(|one| one.file.as_deref()?.strip_suffix(".eml")) {
        let _ = writeln!(
            text,
            "    xmllint --noout --nonet --dtdvalid daticert.dtd daticert/{file}.xml"
        );
    }
    text.push_str(say("\nMessaggi:\n", "\nMessages:\n"));
    for one in described {
        let ArtefactView { kind, instant_millis, message_id, digest, recipients, .. } =
            &one.artefact;
        let kept = say("non più conservato", "not kept any more");
        let _ = writeln!(
            text,
            "- {}: {} ({}) {message_id} {} SHA-256 {digest}",
            one.file.as_deref().unwrap_or(kept),
            kind_text(kind).get(language),
            instant(UnixMillis(*instant_millis)),
            recipients.join(" "),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(kind: ArtefactKind, file: &str, valid: bool) -> Described {
        let reason = if valid { "" } else { "the certificate was revoked" };
        let found = ArtefactReport {
            signed: true,
            signature_valid: valid,
            reason: reason.to_owned(),
            ..ArtefactReport::default()
        };
        let artefact = ArtefactView { kind: kind.word().to_owned(), ..ArtefactView::default() };
        Described { file: Some(file.to_owned()), artefact, found: Some(found) }
    }

    #[test]
    fn commands_are_given_for_the_signatures_of_providers_that_hold() {
        let described = [
            // The holder signs with a certificate of his own, of an authority that may well be trusted.
            described(ArtefactKind::Original, "originale.eml", true),
            described(ArtefactKind::TransportEnvelope, "busta-di-trasporto.eml", true),
            described(ArtefactKind::DeliveryReceipt, "avvenuta-consegna.eml", false),
        ];
        let text = guide_in(Language::English, &TransmissionView::default(), &described);
        let commands: Vec<&str> =
            text.lines().filter(|line| line.contains("openssl cms -verify")).collect();
        assert_eq!(commands.len(), 1, "{commands:?}");
        assert!(commands[0].contains("-in busta-di-trasporto.eml "), "{commands:?}");
        assert!(text.contains("- avvenuta-consegna.eml: the certificate was revoked\n"), "{text}");
    }
}
