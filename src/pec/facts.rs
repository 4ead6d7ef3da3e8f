//! What every artefact of one transmission says alike: the facts that a provider certifies.
//!
//! At the access point they come from the submitted message ([`super::formal`]); afterwards from
//! the certification data of the transport envelope ([`super::daticert`]). Receipts and notices
//! of every kind are written from [`TransmissionFacts`] and nothing else of the message.
//!
//! Not here: what happened and when (`daticert::Event`, [`super::instant`]).

use super::{
    address::{Address, Domain},
    header::Field,
    identifier::PecIdentifier,
};

/// Whether a recipient has a certified mailbox (RFC 6109 §2.2.1).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum RecipientKind {
    /// Certificato: the domain is in the managed domains of some provider.
    Certified,
    /// Esterno: an ordinary mailbox; no receipts will come.
    External,
}

/// One recipient as certification data names it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Recipient {
    /// The address as written. Other providers' data may hold what [`Address`] would refuse.
    pub address: String,
    /// Its kind.
    pub kind: RecipientKind,
}

impl Recipient {
    /// A recipient at `address`.
    pub fn new(address: &Address, kind: RecipientKind) -> Self {
        Self { address: address.as_str().to_owned(), kind }
    }

    /// Whether this recipient is `address`, without case.
    pub fn is(&self, address: &Address) -> bool {
        Address::parse(&self.address).is_ok_and(|own| own == *address)
    }
}

/// The delivery receipt that a sender wants (RFC 6109 §3.3.2).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum ReceiptType {
    /// Completa: holds the whole message.
    #[default]
    Complete,
    /// Breve: holds the message with its attachments replaced by hashes.
    Brief,
    /// Sintetica: holds no message.
    Concise,
}

impl ReceiptType {
    /// The word of the rules.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "completa",
            Self::Brief => "breve",
            Self::Concise => "sintetica",
        }
    }

    /// Reads the word of the rules without case; `None` for any other word.
    pub fn from_text(text: &str) -> Option<Self> {
        let text = text.trim();
        [Self::Complete, Self::Brief, Self::Concise]
            .into_iter()
            .find(|kind| kind.as_str().eq_ignore_ascii_case(text))
    }
}

/// Where the header of a message names a recipient.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum RecipientPlace {
    /// To.
    Primary,
    /// Cc only.
    CarbonCopy,
    /// Neither, or both: cannot be told.
    Unclear,
}

impl RecipientPlace {
    /// Looks `recipient` up in the addresses of To and Cc. A recipient in both counts as primary:
    /// the sender named it as such.
    pub fn find(recipient: &Address, to: &[Address], cc: &[Address]) -> Self {
        if to.contains(recipient) {
            Self::Primary
        } else if cc.contains(recipient) {
            Self::CarbonCopy
        } else {
            Self::Unclear
        }
    }
}

/// Which delivery receipt `place` gets when the sender asked for `requested` (RFC 6109
/// §3.3.2.1, §3.3.2.2, §3.3.2.3): carbon copies always get the concise one, and a recipient
/// whose place cannot be told is treated as primary.
pub fn receipt_due(requested: ReceiptType, place: RecipientPlace) -> ReceiptType {
    match place {
        RecipientPlace::CarbonCopy => ReceiptType::Concise,
        RecipientPlace::Primary | RecipientPlace::Unclear => requested,
    }
}

/// Characters of a subject that receipts, envelopes and the journal quote. More is refused at the access point,
/// and left out of what other providers and senders of ordinary mail write: what is quoted for each recipient,
/// and kept for thirty months, must have an end.
pub const SUBJECT_CHARACTERS_MAX: usize = 1_000;

/// Octets of a Message-ID that is quoted, with its brackets: a line (RFC 5322 §2.1.1). A longer one is left out.
pub const MESSAGE_ID_OCTETS_MAX: usize = 998;

/// The last character of a text that was cut.
const CUT: char = '…';

/// `text` with [`SUBJECT_CHARACTERS_MAX`] characters at most; the last one tells that there were more.
#[must_use]
pub fn quotable(text: String) -> String {
    shortened(text, SUBJECT_CHARACTERS_MAX)
}

/// `text` with so many characters at most; the last one tells that there were more.
#[must_use]
pub fn shortened(mut text: String, characters_max: usize) -> String {
    if text.char_indices().nth(characters_max).is_some() {
        let last = characters_max.saturating_sub(1);
        let end = text.char_indices().nth(last).map_or(0, |(at, _)| at);
        text.truncate(end);
        text.push(CUT);
    }
    text
}

/// The facts of one transmission, the same in all its artefacts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TransmissionFacts {
    /// The PEC identifier.
    pub identifier: PecIdentifier,
    /// The sender: the reverse path.
    pub sender: String,
    /// The recipients: the forward paths, in order.
    pub recipients: Vec<Recipient>,
    /// The Reply-To of the original, the sender when it has none.
    pub reply_to: String,
    /// The decoded subject; `None` when the original has no Subject field.
    pub subject: Option<String>,
    /// The Message-ID that the sender's program set, with its brackets.
    pub message_id: Option<String>,
}

impl TransmissionFacts {
    /// The X-Riferimento-Message-ID field (RFC 6109 §2.2.1), when the original had a Message-ID.
    pub fn reference_field(&self) -> Option<Field> {
        let message_id = self.message_id.as_ref()?;
        Some(Field::new("X-Riferimento-Message-ID", message_id.as_bytes()))
    }
}

/// Tells certified recipients from external ones.
pub trait CertifiedDomains {
    /// Whether some provider manages `domain`.
    fn is_certified(&self, domain: &Domain) -> bool;

    /// The forward paths with their kinds, in order.
    fn classify(&self, forward_paths: &[Address]) -> Vec<Recipient> {
        let kind = |address: &Address| {
            if self.is_certified(address.domain()) {
                RecipientKind::Certified
            } else {
                RecipientKind::External
            }
        };
        forward_paths.iter().map(|address| Recipient::new(address, kind(address))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of RFC 6109 §3.3.2.1, §3.3.2.2 and §3.3.2.3.
    #[test]
    fn carbon_copies_get_the_concise_receipt_and_the_others_what_was_asked() {
        use ReceiptType::{Brief, Complete, Concise};
        use RecipientPlace::{CarbonCopy, Primary, Unclear};
        for (requested, place, due) in [
            (Complete, Primary, Complete),
            (Complete, CarbonCopy, Concise),
            (Complete, Unclear, Complete),
            (Brief, Primary, Brief),
            (Brief, CarbonCopy, Concise),
            (Brief, Unclear, Brief),
            (Concise, Primary, Concise),
            (Concise, CarbonCopy, Concise),
            (Concise, Unclear, Concise),
        ] {
            assert_eq!(receipt_due(requested, place), due, "{requested:?} {place:?}");
        }
    }

    #[test]
    fn a_recipient_is_found_without_case_and_primary_wins() {
        let address = |text| Address::parse(text).unwrap();
        let (to, cc) = ([address("A@x.example")], [address("a@X.example"), address("b@x.example")]);
        let place = |text| RecipientPlace::find(&address(text), &to, &cc);
        assert_eq!(place("a@x.example"), RecipientPlace::Primary);
        assert_eq!(place("B@x.example"), RecipientPlace::CarbonCopy);
        assert_eq!(place("c@x.example"), RecipientPlace::Unclear);
    }
}
