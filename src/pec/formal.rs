//! The formal checks of the access point (RFC 6109 §3.1.1).
//!
//! [`check`] judges the header and the paths of one submission, in the order of the rules, and
//! names the first fault. The minima that the law sets for every provider, 50 recipients and a
//! product of recipients and size of 30 MB (DM 2 November 2005 art. 12), are floors of the
//! configured limits, not of this module.
//!
//! Not here: who may submit under which address, viruses, and the octets of the body, whose line
//! ends the SMTP session has already judged.

use std::collections::BTreeSet;

use super::{
    address::Address,
    encoded_word::decode,
    facts::{
        MESSAGE_ID_OCTETS_MAX, ReceiptType, Recipient, SUBJECT_CHARACTERS_MAX, TransmissionFacts,
        quotable,
    },
    header::{Header, HeaderFault, LINE_OCTETS_MAX},
    header_addresses::{AddressListFault, parse_addresses},
    identifier::PecIdentifier,
};

/// Fields that a message may have once at most (RFC 5322 §3.6).
const SINGLE_FIELDS: [&str; 11] = [
    "Date",
    "From",
    "Sender",
    "Reply-To",
    "To",
    "Cc",
    "Bcc",
    "Message-ID",
    "In-Reply-To",
    "References",
    "Subject",
];

/// What a submission may be at most.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FormalLimits {
    /// Octets of the message.
    pub message_octets_max: u64,
    /// Octets of the message times its recipients; the law wants 30 MB at least.
    pub product_octets_max: u64,
    /// Recipients; the law wants 50 at least.
    pub recipients_max: usize,
}

/// What the header of a submission that passed says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OriginalFacts {
    /// The one author.
    pub from: Address,
    /// The primary recipients, at least one.
    pub to: Vec<Address>,
    /// The carbon-copy recipients.
    pub cc: Vec<Address>,
    /// The Subject, `None` without the field.
    pub subject: Option<Subject>,
    /// The Message-ID with its brackets, `None` when the sender's program set none.
    pub message_id: Option<String>,
    /// The first Reply-To address, the author when there is none.
    pub reply_to: String,
    /// The X-TipoRicevuta asked for; `None` when absent or no word of the rules.
    pub receipt_type: Option<ReceiptType>,
}

/// A subject as it was written and as it reads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Subject {
    /// The unfolded value, encoded words as they stand.
    pub raw: Vec<u8>,
    /// The decoded text.
    pub text: String,
}

impl OriginalFacts {
    /// The facts of the transmission that this original begins.
    pub fn transmission(
        &self,
        identifier: PecIdentifier,
        reverse_path: &Address,
        recipients: Vec<Recipient>,
    ) -> TransmissionFacts {
        TransmissionFacts {
            identifier,
            sender: reverse_path.as_str().to_owned(),
            recipients,
            reply_to: self.reply_to.clone(),
            subject: self.subject.as_ref().map(|subject| subject.text.clone()),
            message_id: self.message_id.clone(),
        }
    }
}

/// What a non-acceptance notice can say of a message that failed: subject and Message-ID as far
/// as `header` can be read, sender and recipients of the transaction.
pub fn refused_transmission(
    identifier: PecIdentifier,
    reverse_path: &Address,
    recipients: Vec<Recipient>,
    header: Option<&Header>,
) -> TransmissionFacts {
    TransmissionFacts {
        identifier,
        sender: reverse_path.as_str().to_owned(),
        recipients,
        reply_to: reverse_path.as_str().to_owned(),
        subject: header.and_then(subject).map(|subject| quotable(subject.text)),
        message_id: header.and_then(message_id),
    }
}

/// Which check failed, in the order in which they are made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FormalCheck {
    /// The header follows RFC 5322.
    Header,
    /// From holds one valid address.
    From,
    /// To holds at least one valid address.
    To,
    /// The reverse path is the author.
    ReversePath,
    /// The forward paths are the addresses of To and Cc.
    ForwardPaths,
    /// Bcc has no value.
    Bcc,
    /// The subject is short enough to be quoted ([`SUBJECT_CHARACTERS_MAX`]).
    Subject,
    /// Size, and size times recipients, are within the limits.
    Size,
    /// The number of recipients is within the limit.
    RecipientCount,
}

/// The first formal fault of a submission, told in both languages.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{english}")]
pub struct FormalFault {
    /// The check that failed.
    pub check: FormalCheck,
    /// The reason for the notice, a sentence part without final stop.
    pub italian: String,
    /// The same in English.
    pub english: String,
}

impl FormalFault {
    fn new(check: FormalCheck, italian: impl Into<String>, english: impl Into<String>) -> Self {
        Self { check, italian: italian.into(), english: english.into() }
    }
}

impl From<HeaderFault> for FormalFault {
    fn from(fault: HeaderFault) -> Self {
        let italian = match fault {
            HeaderFault::NotAField => "l'intestazione contiene una riga che non è un campo",
            HeaderFault::TooLong => "l'intestazione è troppo lunga",
            HeaderFault::TooManyFields => "l'intestazione contiene troppi campi",
        };
        Self::new(FormalCheck::Header, italian, fault.to_string())
    }
}

/// Judges a submission of `size` octets with this header and these paths.
///
/// Returns what the header says, or the first fault in the order of [`FormalCheck`].
pub fn check(
    header: &Header,
    reverse_path: &Address,
    forward_paths: &[Address],
    size: u64,
    limits: &FormalLimits,
) -> Result<OriginalFacts, FormalFault> {
    check_header(header)?;
    let from = author(header)?;
    let to = addresses(header, "To", FormalCheck::To)?;
    if to.is_empty() {
        return Err(FormalFault::new(
            FormalCheck::To,
            "il campo A (To) non contiene alcun indirizzo",
            "the To field holds no address",
        ));
    }
    if from != *reverse_path {
        return Err(FormalFault::new(
            FormalCheck::ReversePath,
            format!(
                "il mittente della busta SMTP ({reverse_path}) è diverso dal campo Da (From: {from})"
            ),
            format!("the reverse path ({reverse_path}) differs from the From address ({from})"),
        ));
    }
    let cc = addresses(header, "Cc", FormalCheck::ForwardPaths)?;
    check_forward_paths(forward_paths, &to, &cc)?;
    if header.all("Bcc").any(|field| !field.value().is_empty()) {
        return Err(FormalFault::new(
            FormalCheck::Bcc,
            "il messaggio contiene destinatari in copia nascosta (Bcc)",
            "the message has blind carbon-copy recipients (Bcc)",
        ));
    }
    let subject = subject(header);
    check_subject(subject.as_ref())?;
    check_limits(forward_paths.len(), size, limits)?;
    Ok(OriginalFacts {
        reply_to: reply_to(header, &from),
        from,
        to,
        cc,
        subject,
        message_id: message_id(header),
        receipt_type: header.text("X-TipoRicevuta").and_then(|text| ReceiptType::from_text(&text)),
    })
}

fn check_header(header: &Header) -> Result<(), FormalFault> {
    for name in SINGLE_FIELDS {
        if header.count(name) > 1 {
            return Err(FormalFault::new(
                FormalCheck::Header,
                format!("il campo {name} compare più di una volta"),
                format!("the field {name} stands more than once"),
            ));
        }
    }
    for field in header.fields() {
        let name = field.name();
        for line in field.octets().split_inclusive(|octet| *octet == b'\n') {
            let content = line.strip_suffix(b"\r\n").unwrap_or(line);
            // Also refuses CR and LF alone, which no transport may carry (RFC 5321 §2.3.8).
            if content.iter().any(|octet| !matches!(octet, b'\t' | b' '..=b'~')) {
                return Err(FormalFault::new(
                    FormalCheck::Header,
                    format!("il campo {name} contiene caratteri non ammessi"),
                    format!("the field {name} holds octets that a header must not hold"),
                ));
            }
            if content.len() > LINE_OCTETS_MAX {
                return Err(FormalFault::new(
                    FormalCheck::Header,
                    format!(
                        "il campo {name} contiene una riga di oltre {LINE_OCTETS_MAX} caratteri"
                    ),
                    format!("the field {name} has a line of more than {LINE_OCTETS_MAX} octets"),
                ));
            }
        }
    }
    Ok(())
}

fn author(header: &Header) -> Result<Address, FormalFault> {
    let authors = addresses(header, "From", FormalCheck::From)?;
    match <[Address; 1]>::try_from(authors) {
        Ok([author]) => Ok(author),
        Err(authors) => Err(FormalFault::new(
            FormalCheck::From,
            format!("il campo Da (From) contiene {} indirizzi invece di uno", authors.len()),
            format!("the From field holds {} addresses instead of one", authors.len()),
        )),
    }
}

fn addresses(header: &Header, name: &str, check: FormalCheck) -> Result<Vec<Address>, FormalFault> {
    let Some(value) = header.value(name) else { return Ok(Vec::new()) };
    parse_addresses(&value).map_err(|fault| {
        let italian = match &fault {
            AddressListFault::Address { text, .. } => {
                format!("il campo {name} contiene l'indirizzo non valido \"{text}\"")
            }
            AddressListFault::Syntax => format!("il campo {name} non è scritto correttamente"),
            AddressListFault::TooMany => format!("il campo {name} contiene troppi indirizzi"),
        };
        FormalFault::new(check, italian, format!("{name}: {fault}"))
    })
}

/// RFC 6109 §3.1.1: the forward paths coincide with To and Cc. Sets are compared: an address
/// written twice is one recipient.
fn check_forward_paths(
    forward_paths: &[Address],
    to: &[Address],
    cc: &[Address],
) -> Result<(), FormalFault> {
    let written: BTreeSet<&Address> = to.iter().chain(cc).collect();
    let asked: BTreeSet<&Address> = forward_paths.iter().collect();
    if let Some(blind) = asked.difference(&written).next() {
        return Err(FormalFault::new(
            FormalCheck::ForwardPaths,
            format!("il destinatario {blind} non compare nei campi A (To) e Cc"),
            format!("the recipient {blind} is not in To or Cc"),
        ));
    }
    if let Some(missing) = written.difference(&asked).next() {
        return Err(FormalFault::new(
            FormalCheck::ForwardPaths,
            format!(
                "l'indirizzo {missing} dei campi A (To) e Cc non è tra i destinatari dell'invio"
            ),
            format!("the address {missing} of To or Cc is not a recipient of the transaction"),
        ));
    }
    Ok(())
}

fn check_subject(subject: Option<&Subject>) -> Result<(), FormalFault> {
    let characters = subject.map_or(0, |subject| subject.text.chars().count());
    if characters <= SUBJECT_CHARACTERS_MAX {
        return Ok(());
    }
    Err(FormalFault::new(
        FormalCheck::Subject,
        format!(
            "l'oggetto del messaggio ({characters} caratteri) supera il limite di \
             {SUBJECT_CHARACTERS_MAX} caratteri"
        ),
        format!(
            "the subject has {characters} characters, more than the limit of {SUBJECT_CHARACTERS_MAX}"
        ),
    ))
}

fn check_limits(recipients: usize, size: u64, limits: &FormalLimits) -> Result<(), FormalFault> {
    if size > limits.message_octets_max {
        let max = limits.message_octets_max;
        return Err(FormalFault::new(
            FormalCheck::Size,
            format!("la dimensione del messaggio ({size} byte) supera il limite di {max} byte"),
            format!("the message has {size} octets, more than the limit of {max}"),
        ));
    }
    let product = size.saturating_mul(u64::try_from(recipients).unwrap_or(u64::MAX));
    if product > limits.product_octets_max {
        let max = limits.product_octets_max;
        return Err(FormalFault::new(
            FormalCheck::Size,
            format!(
                "la dimensione del messaggio per il numero dei destinatari ({product} byte) \
                 supera il limite di {max} byte"
            ),
            format!("size times recipients is {product} octets, more than the limit of {max}"),
        ));
    }
    if recipients > limits.recipients_max {
        let max = limits.recipients_max;
        return Err(FormalFault::new(
            FormalCheck::RecipientCount,
            format!("i destinatari sono {recipients}, oltre il limite di {max}"),
            format!("{recipients} recipients are more than the limit of {max}"),
        ));
    }
    Ok(())
}

fn subject(header: &Header) -> Option<Subject> {
    let raw = header.value("Subject")?;
    Some(Subject { text: decode(&raw), raw })
}

/// The Message-ID as text fit for a header field and for XML; `None` when empty, or too long to be quoted.
fn message_id(header: &Header) -> Option<String> {
    let value = header.value("Message-ID")?;
    let text: String =
        value.iter().filter(|o| o.is_ascii_graphic()).map(|o| char::from(*o)).collect();
    (1..=MESSAGE_ID_OCTETS_MAX).contains(&text.len()).then_some(text)
}

/// Reply-To when it can be read, else the author: it is only quoted, never answered to (RFC 6109
/// §2.1).
fn reply_to(header: &Header, from: &Address) -> String {
    header
        .value("Reply-To")
        .and_then(|value| parse_addresses(&value).ok())
        .and_then(|addresses| addresses.first().map(ToString::to_string))
        .unwrap_or_else(|| from.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: FormalLimits =
        FormalLimits { message_octets_max: 1000, product_octets_max: 2500, recipients_max: 3 };
    const GOOD: &str = "From: Anna <anna@alfa.example>\r\nTo: b@beta.example\r\nCc: c@beta.example\r\n\
        Subject: =?utf-8?Q?Citt=C3=A0?=\r\nMessage-ID: <1@alfa>\r\nX-TIPORICEVUTA: Breve\r\n";

    fn judge(
        text: &str,
        reverse: &str,
        forward: &[&str],
        size: u64,
    ) -> Result<OriginalFacts, FormalFault> {
        let (header, _) = Header::parse(text.as_bytes())?;
        let forward: Vec<Address> = forward.iter().map(|text| text.parse().unwrap()).collect();
        check(&header, &reverse.parse().unwrap(), &forward, size, &LIMITS)
    }

    #[test]
    fn a_sound_submission_yields_what_its_header_says() {
        let facts =
            judge(GOOD, "ANNA@alfa.example", &["c@BETA.example", "b@beta.example"], 1000).unwrap();
        assert_eq!(facts.from.as_str(), "anna@alfa.example");
        assert_eq!(facts.subject.as_ref().map(|s| s.text.as_str()), Some("Città"));
        assert_eq!(facts.message_id.as_deref(), Some("<1@alfa>"));
        assert_eq!(facts.reply_to, "anna@alfa.example");
        assert_eq!(facts.receipt_type, Some(ReceiptType::Brief));
    }

    #[expect(clippy::too_many_lines, reason = "one table of all faults")]
    #[test]
    fn every_check_fails_on_its_own_fault_and_in_order() {
        let both = &["b@beta.example", "c@beta.example"][..];
        let from = "From: anna@alfa.example\r\n";
        for (text, reverse, forward, size, expected) in [
            (
                "Subject: a\r\nSubject: b\r\n".to_owned(),
                "x@y.example",
                both,
                10,
                FormalCheck::Header,
            ),
            (format!("{GOOD}X: \u{e9}\r\n"), "anna@alfa.example", both, 10, FormalCheck::Header),
            (format!("{GOOD}X: a\rb\r\n"), "anna@alfa.example", both, 10, FormalCheck::Header),
            (
                format!("{GOOD}X: {}\r\n", "a".repeat(999)),
                "anna@alfa.example",
                both,
                10,
                FormalCheck::Header,
            ),
            ("no field\r\n".to_owned(), "anna@alfa.example", both, 10, FormalCheck::Header),
            ("To: b@beta.example\r\n".to_owned(), "anna@alfa.example", both, 10, FormalCheck::From),
            (
                "From: anna\r\nTo: b@beta.example\r\n".to_owned(),
                "anna@alfa.example",
                both,
                10,
                FormalCheck::From,
            ),
            (
                "From: a@alfa.example, b@alfa.example\r\nTo: b@beta.example\r\n".to_owned(),
                "a@alfa.example",
                both,
                10,
                FormalCheck::From,
            ),
            (format!("{from}Cc: b@beta.example\r\n"), "x@alfa.example", both, 10, FormalCheck::To),
            (
                format!("{from}To: Undisclosed:;\r\n"),
                "anna@alfa.example",
                both,
                10,
                FormalCheck::To,
            ),
            (format!("{from}To: b@\r\n"), "anna@alfa.example", both, 10, FormalCheck::To),
            (GOOD.to_owned(), "altra@alfa.example", &["d@x.example"], 10, FormalCheck::ReversePath),
            (
                GOOD.to_owned(),
                "anna@alfa.example",
                &["b@beta.example"],
                10,
                FormalCheck::ForwardPaths,
            ),
            (
                GOOD.to_owned(),
                "anna@alfa.example",
                &["b@beta.example", "c@beta.example", "blind@beta.example"],
                10,
                FormalCheck::ForwardPaths,
            ),
            (
                format!("{GOOD}Bcc: d@x.example\r\n"),
                "anna@alfa.example",
                both,
                9999,
                FormalCheck::Bcc,
            ),
            (
                GOOD.replace(
                    "=?utf-8?Q?Citt=C3=A0?=",
                    &format!("{}fine", "citta\r\n ".repeat(200)),
                ),
                "anna@alfa.example",
                both,
                9999,
                FormalCheck::Subject,
            ),
            (GOOD.to_owned(), "anna@alfa.example", both, 1001, FormalCheck::Size),
            (
                format!("{from}To: a@x.example, b@x.example, c@x.example\r\n"),
                "anna@alfa.example",
                &["a@x.example", "b@x.example", "c@x.example"],
                900,
                FormalCheck::Size,
            ),
            (
                format!("{from}To: a@x.example, b@x.example, c@x.example, d@x.example\r\n"),
                "anna@alfa.example",
                &["a@x.example", "b@x.example", "c@x.example", "d@x.example"],
                10,
                FormalCheck::RecipientCount,
            ),
        ] {
            let fault = judge(&text, reverse, forward, size).unwrap_err();
            assert_eq!(fault.check, expected, "{text:?}: {fault}");
            assert!(!fault.italian.is_empty() && !fault.english.is_empty());
        }
        assert!(judge(&format!("{GOOD}Bcc: \r\n"), "anna@alfa.example", both, 10).is_ok());
    }

    #[test]
    fn a_notice_about_a_broken_message_quotes_what_can_be_read() {
        let (header, _) = Header::parse(b"Subject: Prova\r\n").unwrap();
        let identifier = PecIdentifier::from_text("1@x").unwrap();
        let sender = "anna@alfa.example".parse().unwrap();
        let facts = refused_transmission(identifier, &sender, Vec::new(), Some(&header));
        assert_eq!(facts.subject.as_deref(), Some("Prova"));
        assert_eq!(facts.message_id, None);
    }
}
