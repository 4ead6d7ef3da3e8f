//! The envelopes around messages: busta di trasporto and busta di anomalia.
//!
//! RFC 6109 §3.1.5 and §3.2.2. Both inherit Received, To, Cc and Return-Path unmodified, keep
//! the SMTP paths, and come from the provider's service address on behalf of the sender. The
//! transport envelope certifies; the anomaly envelope says that its content is not certified.
//!
//! Invariant: the message inside stands octet for octet as it was given.

use super::{
    address::quoted,
    daticert::Event,
    encoded_word::fold,
    facts::{ReceiptType, SUBJECT_CHARACTERS_MAX, TransmissionFacts, quotable},
    frame::{Included, entity},
    header::{Field, Header},
    instant::CertifiedInstant,
    issuer::{Issuer, Unsealed, prefixed_subject},
    texts::{Text, identifier, opening, recipients, subject},
};

/// The subject prefix of the transport envelope.
pub const TRANSPORT_PREFIX: &str = "POSTA CERTIFICATA: ";
/// The subject prefix of the anomaly envelope.
pub const ANOMALY_PREFIX: &str = "ANOMALIA MESSAGGIO: ";
/// Octets that a subject may have to be repeated as it is written: encoded words take more than characters.
const RAW_SUBJECT_MAX: usize = 8 * SUBJECT_CHARACTERS_MAX;
/// Octets that a word of an unfolded subject may have for that.
const RAW_SUBJECT_WORD_MAX: usize = 900;

/// Why a received message is not certified, told in the anomaly envelope.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AnomalyReason {
    /// The message is ordinary mail: no signature of a provider.
    OrdinaryMail,
    /// It claims a signature that is not valid, or whose signer is in no directory.
    InvalidSignature,
    /// A provider signed it, but it is no well-formed envelope, receipt or notice.
    Malformed,
}

impl AnomalyReason {
    /// The reason in Italian, a sentence part without final stop.
    pub fn italian(self) -> &'static str {
        match self {
            Self::OrdinaryMail => "il messaggio è pervenuto da un sistema di posta non certificata",
            Self::InvalidSignature => "la firma del messaggio non è valida",
            Self::Malformed => "il messaggio di posta certificata non è formalmente corretto",
        }
    }
}

impl Issuer {
    /// Busta di trasporto (RFC 6109 §3.1.5) around an original.
    ///
    /// `submitted` is the header as submitted, from which fields are inherited; `original` are
    /// the octets of the original ([`super::original`]); `requested` is the X-TipoRicevuta that
    /// the sender set, `None` when none: the field is then left out.
    pub fn transport_envelope(
        &self,
        facts: &TransmissionFacts,
        at: &CertifiedInstant,
        submitted: &Header,
        requested: Option<ReceiptType>,
        original: Included<'_>,
    ) -> Unsealed {
        let message_id = facts.identifier.bracketed();
        let mut header = self.envelope_header("posta-certificata", submitted, &facts.sender, at);
        header.push(inherited_subject(TRANSPORT_PREFIX, submitted, facts.subject.as_deref()));
        header.push(Field::new("Message-ID", message_id.as_bytes()));
        if let Some(reference) = facts.reference_field() {
            header.push(reference);
        }
        if let Some(requested) = requested {
            header.push(Field::new("X-TipoRicevuta", requested.as_str().as_bytes()));
        }
        let mut lines = vec![
            format!("{} il messaggio", opening(at)),
            format!("{} è stato inviato da \"{}\"", subject(facts), facts.sender),
            "indirizzato a:".to_owned(),
        ];
        lines.extend(recipients(&facts.recipients));
        let text = Text {
            heading: "Messaggio di posta certificata",
            paragraphs: vec![
                lines,
                vec!["Il messaggio originale è incluso in allegato.".to_owned()],
                identifier(facts),
            ],
        };
        let event = Event::TransportEnvelope { receipt: requested.unwrap_or_default() };
        let data = self.certification_data(facts, at, event);
        let entity = entity(&self.identifiers, &text, Some(&data), Some(original));
        Unsealed { header: header.to_octets(), entity, message_id, data: Some(data) }
    }

    /// Busta di anomalia (RFC 6109 §3.2.2) around a message as received.
    ///
    /// `received` is the header of that message, `sender` its reverse path (for a null reverse
    /// path, what the From field says), `forward_paths` its recipients here.
    pub fn anomaly_envelope(
        &self,
        at: &CertifiedInstant,
        received: &Header,
        sender: &str,
        forward_paths: &[String],
        reason: AnomalyReason,
        message: Included<'_>,
    ) -> Unsealed {
        let decoded = received.value("Subject");
        let decoded = decoded.map(|raw| quotable(super::encoded_word::decode(&raw)));
        let mut header = self.envelope_header("errore", received, sender, at);
        header.push(inherited_subject(ANOMALY_PREFIX, received, decoded.as_deref()));
        let message_id = if let Some(field) = received.first("Message-ID") {
            header.push(clean(field));
            String::from_utf8_lossy(&field.value()).into_owned()
        } else {
            let message_id = self.identifiers.message_id(at);
            header.push(Field::new("Message-ID", message_id.as_bytes()));
            message_id
        };
        let mut lines = vec![
            format!("{} è stato ricevuto il messaggio", opening(at)),
            format!("\"{}\" proveniente da \"{sender}\"", decoded.unwrap_or_default()),
            "ed indirizzato a:".to_owned(),
        ];
        lines.extend(forward_paths.iter().cloned());
        let text = Text {
            heading: "Anomalia nel messaggio",
            paragraphs: vec![
                lines,
                vec![
                    "Tali dati non sono stati certificati per il seguente errore:".to_owned(),
                    format!("{}.", reason.italian()),
                ],
                vec!["Il messaggio originale è incluso in allegato.".to_owned()],
            ],
        };
        let entity = entity(&self.identifiers, &text, None, Some(message));
        Unsealed { header: header.to_octets(), entity, message_id, data: None }
    }

    /// The fields that both envelopes share (RFC 6109 §2.1.1.2).
    fn envelope_header(
        &self,
        marker: &str,
        inner: &Header,
        sender: &str,
        at: &CertifiedInstant,
    ) -> Header {
        let mut header = Header::default();
        for name in ["Return-Path", "Received"] {
            inner.all(name).for_each(|field| header.push(clean(field)));
        }
        header.push(Field::new("X-Trasporto", marker.as_bytes()));
        header.push(Field::new("Date", at.header_date().as_bytes()));
        let name = format!("Per conto di: {sender}");
        // The reverse path of ordinary mail may be outside ASCII (RFC 6531); what we write is not.
        let name = if name.is_ascii() {
            quoted(&name)
        } else {
            super::encoded_word::encode(&name, "From".len())
        };
        let from = format!("{name}\r\n <{}>", self.service_address);
        header.push(Field::new("From", from.as_bytes()));
        match (inner.first("Reply-To"), inner.first("From")) {
            (Some(field), _) => header.push(clean(field)),
            (None, Some(from)) => {
                header.push(Field::new("Reply-To", from.raw_value().trim_ascii()));
            }
            (None, None) => {}
        }
        for name in ["To", "Cc"] {
            inner.all(name).for_each(|field| header.push(clean(field)));
        }
        header
    }
}

/// A field to inherit: unmodified, unless it holds line ends or NUL that would break the
/// envelope's header, which only a message that did not come by SMTP can.
fn clean(field: &Field) -> Field {
    let content = field.octets().strip_suffix(b"\r\n");
    if content.is_some_and(is_folded_text) {
        field.clone()
    } else {
        Field::new(field.name(), field.raw_value().trim_ascii())
    }
}

/// Whether CR and LF stand only together and before white space (RFC 5322 §2.2.3).
fn is_folded_text(content: &[u8]) -> bool {
    let mut rest = content;
    while let Some((&octet, after)) = rest.split_first() {
        rest = match octet {
            0 | b'\n' => return false,
            b'\r' => match after.strip_prefix(b"\n") {
                Some(behind) if behind.starts_with(b" ") || behind.starts_with(b"\t") => behind,
                _ => return false,
            },
            _ => after,
        };
    }
    true
}

/// The original's subject behind `prefix`: as written when that is ASCII of sound line lengths,
/// else decoded and encoded anew.
fn inherited_subject(prefix: &str, inner: &Header, decoded: Option<&str>) -> Field {
    let raw = inner.value("Subject").and_then(|raw| String::from_utf8(raw).ok());
    let sound = |raw: &String| {
        !raw.is_empty()
            && raw.len() <= RAW_SUBJECT_MAX
            && raw.bytes().all(|octet| matches!(octet, b'\t' | b' '..=b'~'))
            && raw.split(' ').all(|word| word.len() <= RAW_SUBJECT_WORD_MAX)
    };
    match raw.filter(sound) {
        Some(raw) => {
            let value = fold(&format!("{prefix}{raw}"), "Subject".len());
            Field::new("Subject", value.as_bytes())
        }
        None => prefixed_subject(prefix, decoded),
    }
}

#[cfg(test)]
mod tests;
