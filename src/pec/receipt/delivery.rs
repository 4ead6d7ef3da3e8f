//! What the delivery point tells the sender: delivery and its failure, one for each recipient.

use super::{Notice, NoticeKind};
use crate::pec::{
    address::Address,
    brief::{Attachments, BriefHash},
    daticert::{DeliveryFailure, Event},
    facts::{ReceiptType, TransmissionFacts},
    instant::CertifiedInstant,
    issuer::{Issuer, Unsealed},
    texts::{Text, identifier, opening, subject},
};

/// A message that lies in a mailbox, and the receipt that is due for it.
#[derive(Clone, Copy, Debug)]
pub struct Delivered<'a> {
    /// In whose mailbox.
    pub recipient: &'a Address,
    /// What the sender asked for; stands in the certification data (RFC 6109 §4.4).
    pub requested: ReceiptType,
    /// The form of the receipt ([`crate::pec::facts::receipt_due`]).
    pub due: ReceiptType,
    /// The message inside the transport envelope; a concise receipt does not look at it.
    pub original: &'a [u8],
    /// What a brief receipt hashes.
    pub hash: BriefHash,
}

/// Why a certified message could not be delivered, as certification data and text tell it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DeliveryFault {
    /// The attribute `errore`.
    pub cause: DeliveryFailure,
    /// The enhanced status code (RFC 3463).
    pub code: String,
    /// The reason in Italian, a sentence part without final stop.
    pub italian: String,
    /// The same in English, for reports outside certified mail.
    pub english: String,
}

impl DeliveryFault {
    fn new(cause: DeliveryFailure, code: &str, italian: &str, english: &str) -> Self {
        let [code, italian, english] = [code, italian, english].map(str::to_owned);
        Self { cause, code, italian, english }
    }

    /// There is no such mailbox, or it is blocked, which is nobody else's affair.
    pub fn unknown_mailbox() -> Self {
        Self::new(DeliveryFailure::NoRecipient, "5.1.1", "indirizzo non valido", "no such mailbox")
    }

    /// The domain is not served here, or cannot be found.
    pub fn unknown_domain() -> Self {
        Self::new(DeliveryFailure::NoDomain, "5.1.2", "dominio non valido", "no such domain")
    }

    /// The domain says that it takes no mail (RFC 7505 §4.2).
    pub fn takes_no_mail() -> Self {
        Self::new(
            DeliveryFailure::NoDomain,
            "5.1.10",
            "il dominio non riceve posta",
            "the domain takes no mail",
        )
    }

    /// The domain's mail would come back to this server, which does not serve it.
    pub fn routing_loop() -> Self {
        Self::new(
            DeliveryFailure::NoDomain,
            "5.4.6",
            "il dominio indica come destinazione questo stesso server",
            "the domain names this very server as its destination",
        )
    }

    /// The mailbox is full.
    pub fn mailbox_full() -> Self {
        Self::new(DeliveryFailure::Other, "5.2.2", "casella piena", "the mailbox is full")
    }

    /// The mailbox takes no ordinary mail.
    pub fn certified_mail_only() -> Self {
        Self::new(
            DeliveryFailure::Other,
            "5.7.1",
            "la casella accetta solo posta certificata",
            "the mailbox takes certified mail only",
        )
    }

    /// The message is larger than the recipient or its provider takes.
    pub fn message_too_large() -> Self {
        Self::new(
            DeliveryFailure::Other,
            "5.2.3",
            "messaggio troppo grande per la casella",
            "the message is too large for the mailbox",
        )
    }

    /// The recipient's provider could not be reached within 24 hours (RFC 6109 §2.2.2).
    pub fn unreachable() -> Self {
        Self::new(
            DeliveryFailure::Other,
            "5.4.7",
            "gestore destinatario non raggiungibile",
            "the recipient's server could not be reached in time",
        )
    }

    /// The provider has given the sending up.
    pub fn dropped() -> Self {
        Self::new(
            DeliveryFailure::Other,
            "5.7.1",
            "invio annullato dal gestore",
            "the provider has given the sending up",
        )
    }

    /// The recipient's server refused with `code` and `text`, which is quoted.
    pub fn refused(cause: DeliveryFailure, code: &str, text: &str) -> Self {
        let text: String = text.chars().filter(|character| !character.is_control()).collect();
        Self::new(
            cause,
            code,
            &format!("rifiutato dal server destinatario: {text}"),
            &format!("refused by the recipient's server: {text}"),
        )
    }
}

impl Issuer {
    /// Ricevuta di avvenuta consegna (RFC 6109 §3.3.2), to the sender, in the form that is due.
    pub fn delivery_receipt(
        &self,
        facts: &TransmissionFacts,
        at: &CertifiedInstant,
        delivered: &Delivered<'_>,
    ) -> Unsealed {
        let Delivered { due, original, hash, .. } = *delivered;
        let attachments = (due == ReceiptType::Brief).then(|| Attachments::find(original, hash));
        self.delivery_receipt_with(facts, at, delivered, attachments.as_ref())
    }

    /// The same, when the attachments of the original are known: a brief receipt has their hashes.
    pub(in crate::pec) fn delivery_receipt_with(
        &self,
        facts: &TransmissionFacts,
        at: &CertifiedInstant,
        delivered: &Delivered<'_>,
        attachments: Option<&Attachments>,
    ) -> Unsealed {
        let heading = match delivered.due {
            ReceiptType::Complete => "Ricevuta di avvenuta consegna",
            ReceiptType::Brief => "Ricevuta di avvenuta consegna breve",
            ReceiptType::Concise => "Ricevuta sintetica di avvenuta consegna",
        };
        let recipient = delivered.recipient;
        let text = Text {
            heading,
            paragraphs: vec![
                vec![
                    format!("{} il messaggio", opening(at)),
                    format!("{} proveniente da \"{}\"", subject(facts), facts.sender),
                    format!("ed indirizzato a \"{recipient}\""),
                    "è stato consegnato nella casella di destinazione.".to_owned(),
                ],
                identifier(facts),
            ],
        };
        let original = delivered.original;
        let pieces = attachments.map_or_else(|| vec![original], |known| known.replaced(original));
        let included = (delivered.due != ReceiptType::Concise).then_some(pieces.as_slice());
        let event =
            Event::Delivery { receipt: delivered.requested, recipient: recipient.to_string() };
        let (kind, to) = (NoticeKind::Delivery, facts.sender.as_str());
        self.notice(Notice { kind, facts, at, to, event, text, included })
    }

    /// Avviso di mancata consegna (RFC 6109 §3.3.3), to the sender, about one recipient. Issued by
    /// the recipient's provider, and by the sender's when the other cannot be reached or refuses.
    pub fn non_delivery_notice(
        &self,
        facts: &TransmissionFacts,
        at: &CertifiedInstant,
        recipient: &Address,
        fault: &DeliveryFault,
    ) -> Unsealed {
        let detail = format!("{} - {} - {}", fault.code, self.name, fault.italian);
        let text = Text {
            heading: "Avviso di mancata consegna",
            paragraphs: vec![
                vec![
                    format!("{} nel messaggio", opening(at)),
                    format!("{} proveniente da \"{}\"", subject(facts), facts.sender),
                    format!("e destinato all'utente \"{recipient}\""),
                    "è stato rilevato un errore:".to_owned(),
                    detail.clone(),
                ],
                vec!["Il messaggio è stato rifiutato dal sistema.".to_owned()],
                identifier(facts),
            ],
        };
        let event = Event::DeliveryError {
            cause: fault.cause,
            recipient: recipient.to_string(),
            detail: Some(detail),
        };
        let (kind, to) = (NoticeKind::NonDelivery, facts.sender.as_str());
        self.notice(Notice { kind, facts, at, to, event, text, included: None })
    }
}
