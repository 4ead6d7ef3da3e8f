//! What a validly signed message of a provider is: the formal test of the incoming point.
//!
//! RFC 6109 §2.2.2: a message whose signature has passed is a transport envelope, a receipt or
//! notice, or malformed; a malformed one is still propagated, inside an anomaly envelope.
//! [`classify`] looks at the marker fields, the MIME tree and the certification data, and asks
//! that they agree. It takes either order of the two attachments, any case of names and either
//! form of the text, because providers differ in them.
//!
//! Invariant: ranges are relative to the signed entity, which is not changed. The top-level header
//! is not signed: what the engine acts on comes from the certification data.
//!
//! Not here: the signature itself (`trust::smime`), whether the signer may speak for the domain of
//! From ([`super::directory`]).

use std::{
    ops::Range,
    sync::{Arc, OnceLock},
};

use super::{
    address::{ADDRESS_OCTETS_MAX, Address},
    brief::{Attachments, BriefHash},
    daticert::{CertificationData, DeliveryFailure, Event, RefusalCause},
    facts::{MESSAGE_ID_OCTETS_MAX, ReceiptType, quotable},
    frame::{DATICERT_NAME, POSTACERT_NAME},
    header::Header,
    header_addresses::parse_addresses,
    identifier::PecIdentifier,
    mime::Entity,
    receipt::NoticeKind,
};

/// What a signed message of a provider is.
#[derive(Clone, Debug)]
pub enum PecMessage {
    /// Busta di trasporto.
    TransportEnvelope(Box<ReceivedEnvelope>),
    /// Any receipt or notice.
    Receipt(Box<ReceivedNotice>),
    /// Neither; the reason is for the journal.
    Malformed(MalformedReason),
}

/// A well-formed transport envelope.
#[derive(Clone, Debug)]
pub struct ReceivedEnvelope {
    /// The one address in From: the service address of the provider that sent it.
    pub from: Address,
    /// The certification data; its event is [`Event::TransportEnvelope`].
    pub data: CertificationData,
    /// Where the original stands in the signed entity.
    pub original: Range<usize>,
    /// The delivery receipt asked for in X-TipoRicevuta; completa when absent or unknown.
    pub receipt: ReceiptType,
    /// The readable addresses of To, to tell primary recipients.
    pub to: Vec<Address>,
    /// The readable addresses of Cc.
    pub cc: Vec<Address>,
    /// The attachments of the original, once somebody has asked for them.
    attachments: Arc<OnceLock<Attachments>>,
}

impl ReceivedEnvelope {
    /// The attachments of the envelope's `original`: hashed once, however many recipients get a brief receipt.
    pub fn attachments(&self, original: &[u8], hash: BriefHash) -> &Attachments {
        self.attachments.get_or_init(|| Attachments::find(original, hash))
    }
}

/// A well-formed receipt or notice.
#[derive(Clone, Debug)]
pub struct ReceivedNotice {
    /// The one address in From.
    pub from: Address,
    /// Which it is.
    pub kind: NoticeKind,
    /// The certification data.
    pub data: CertificationData,
    /// Where the included message stands in the signed entity, when there is one.
    pub included: Option<Range<usize>>,
}

/// Why a signed message is no message of the rules.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MalformedReason {
    /// Not exactly one of X-Trasporto and X-Ricevuta, once, with a value of the rules.
    #[error("the marker fields X-Trasporto and X-Ricevuta do not name one kind of message")]
    Marker,
    /// From is not exactly one valid address.
    #[error("From does not hold one valid address")]
    From,
    /// The entity is no multipart with a text first.
    #[error("the signed entity is not multipart/mixed with a text as its first part")]
    Tree,
    /// `daticert.xml` is missing, doubled or cannot be decoded.
    #[error("there is not exactly one readable daticert.xml")]
    Daticert,
    /// The certification data are not of the grammar.
    #[error("the certification data are not valid: {0}")]
    CertificationData(String),
    /// `postacert.eml` is missing, doubled or re-encoded.
    #[error("there is not exactly one unencoded postacert.eml")]
    Postacert,
    /// A sender, or where to reply, that is longer than the rules of mail let it be.
    #[error("the certification data have a sender or an address for replies that is too long")]
    TooLong,
    /// Marker fields and certification data name different kinds.
    #[error("the marker fields and the certification data disagree")]
    Disagreement,
    /// The envelope's Message-ID is not the PEC identifier (RFC 6109 §2.2.1).
    #[error("the Message-ID of the envelope is not the PEC identifier")]
    Identifier,
}

/// Octets of `risposte`: some providers write the whole Reply-To, of which a line has no more (RFC 5322 §2.1.1).
const REPLY_TO_OCTETS_MAX: usize = 998;

/// Judges a message by its top-level `header` and its signed `entity`.
pub fn classify(header: &Header, entity: &[u8]) -> PecMessage {
    read(header, entity).unwrap_or_else(PecMessage::Malformed)
}

fn read(header: &Header, entity: &[u8]) -> Result<PecMessage, MalformedReason> {
    let marker = marker(header)?;
    let from = header.value("From").and_then(|value| parse_addresses(&value).ok());
    let [from] =
        <[Address; 1]>::try_from(from.unwrap_or_default()).map_err(|_| MalformedReason::From)?;
    let parts = Parts::find(entity)?;
    let data = CertificationData::from_xml(&parts.daticert)
        .map_err(|fault| MalformedReason::CertificationData(fault.to_string()))?;
    match marker {
        Marker::Envelope => {
            let Event::TransportEnvelope { .. } = data.event else {
                return Err(MalformedReason::Disagreement);
            };
            let identifier = header.text("Message-ID").and_then(|id| PecIdentifier::from_text(&id));
            if identifier.as_ref() != Some(&data.facts.identifier) {
                return Err(MalformedReason::Identifier);
            }
            let receipt = header.text("X-TipoRicevuta");
            let receipt =
                receipt.and_then(|text| ReceiptType::from_text(&text)).unwrap_or_default();
            let original = parts.postacert.ok_or(MalformedReason::Postacert)?;
            let readable = |name: &str| {
                let value = header.value(name).unwrap_or_default();
                parse_addresses(&value).unwrap_or_default()
            };
            let (to, cc) = (readable("To"), readable("Cc"));
            let attachments = Arc::default();
            // What is issued about it quotes these, for each recipient.
            let mut data = data;
            if data.facts.sender.len() > ADDRESS_OCTETS_MAX
                || data.facts.reply_to.len() > REPLY_TO_OCTETS_MAX
            {
                return Err(MalformedReason::TooLong);
            }
            data.facts.subject = data.facts.subject.map(quotable);
            data.facts.message_id.take_if(|id| id.len() > MESSAGE_ID_OCTETS_MAX);
            let envelope = ReceivedEnvelope { from, data, original, receipt, to, cc, attachments };
            Ok(PecMessage::TransportEnvelope(Box::new(envelope)))
        }
        Marker::Notice(name) => {
            let kind = notice_kind(header, &data.event).filter(|kind| kind.marker() == name);
            let kind = kind.ok_or(MalformedReason::Disagreement)?;
            let included = parts.postacert;
            Ok(PecMessage::Receipt(Box::new(ReceivedNotice { from, kind, data, included })))
        }
    }
}

enum Marker {
    Envelope,
    Notice(String),
}

/// RFC 6109 §2.1.1: X-Trasporto and X-Ricevuta exclude each other.
fn marker(header: &Header) -> Result<Marker, MalformedReason> {
    let value = |name: &str| header.text(name).unwrap_or_default().to_ascii_lowercase();
    match (header.count("X-Trasporto"), header.count("X-Ricevuta")) {
        (1, 0) if value("X-Trasporto") == "posta-certificata" => Ok(Marker::Envelope),
        (0, 1) => Ok(Marker::Notice(value("X-Ricevuta"))),
        _ => Err(MalformedReason::Marker),
    }
}

/// The kind that the certification data name; `None` for an envelope's. Notices about viruses are
/// told from the others by the data, or by X-VerificaSicurezza of providers that write `altro`.
fn notice_kind(header: &Header, event: &Event) -> Option<NoticeKind> {
    let security = header.count("X-VerificaSicurezza") > 0;
    Some(match event {
        Event::TransportEnvelope { .. } => return None,
        Event::Acceptance => NoticeKind::Acceptance,
        Event::NonAcceptance { cause, .. } => match cause {
            RefusalCause::Formal if !security => NoticeKind::FormalNonAcceptance,
            RefusalCause::Formal | RefusalCause::Virus => NoticeKind::VirusNonAcceptance,
        },
        Event::TakeCharge { .. } => NoticeKind::TakeCharge,
        Event::Delivery { .. } => NoticeKind::Delivery,
        Event::DeliveryError { cause: DeliveryFailure::Virus, .. } => NoticeKind::VirusNonDelivery,
        Event::DeliveryError { .. } if security => NoticeKind::VirusNonDelivery,
        Event::DeliveryError { .. } => NoticeKind::NonDelivery,
        Event::TimeLimit { .. } => NoticeKind::TimeLimit,
        Event::VirusDetection { .. } => NoticeKind::VirusDetection,
    })
}

struct Parts {
    daticert: Vec<u8>,
    postacert: Option<Range<usize>>,
}

impl Parts {
    /// Finds the attachments by their names (RFC 6109 §4.3). Parts that a provider adds are
    /// passed over.
    fn find(octets: &[u8]) -> Result<Self, MalformedReason> {
        let tree = |_| MalformedReason::Tree;
        let entity = Entity::parse(octets, 0..octets.len()).map_err(tree)?;
        if entity.content_type().value != "multipart/mixed" {
            return Err(MalformedReason::Tree);
        }
        let parts = entity.parts(octets).ok_or(MalformedReason::Tree)?;
        let (mut daticert, mut postacert) = (None, None);
        for (index, part) in parts.into_iter().enumerate() {
            let part = Entity::parse(octets, part).map_err(tree)?;
            let kind = part.content_type().value;
            if index == 0 {
                if !matches!(kind.as_str(), "text/plain" | "multipart/alternative") {
                    return Err(MalformedReason::Tree);
                }
                continue;
            }
            let name = part.file_name().unwrap_or_default().to_ascii_lowercase();
            if name == DATICERT_NAME {
                let content = part.decoded_body(octets).ok_or(MalformedReason::Daticert)?;
                if daticert.replace(content).is_some() {
                    return Err(MalformedReason::Daticert);
                }
            } else if name == POSTACERT_NAME {
                let plain = matches!(part.transfer_encoding().as_str(), "7bit" | "8bit" | "binary");
                let sound = plain && kind == "message/rfc822";
                if !sound || postacert.replace(part.body).is_some() {
                    return Err(MalformedReason::Postacert);
                }
            }
        }
        Ok(Self { daticert: daticert.ok_or(MalformedReason::Daticert)?, postacert })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pec::{
        facts::TransmissionFacts,
        fixture::{facts, issuer, noon},
        issuer::Unsealed,
        receipt::{Delivered, DeliveryFault},
    };

    const SUBMITTED: &[u8] = b"From: anna@alfa.example\r\nTo: bruno@beta.example\r\n\r\nciao\r\n";

    fn judged(unsealed: &Unsealed) -> PecMessage {
        let (header, _) = Header::parse(&unsealed.header).unwrap();
        classify(&header, &unsealed.entity)
    }

    fn envelope() -> Unsealed {
        let (submitted, _) = Header::parse(SUBMITTED).unwrap();
        let requested = Some(ReceiptType::Brief);
        issuer().transport_envelope(&facts(), &noon(), &submitted, requested, &[SUBMITTED])
    }

    fn reason(header: &[u8], entity: &[u8]) -> Option<MalformedReason> {
        let (header, _) = Header::parse(header).unwrap();
        match classify(&header, entity) {
            PecMessage::Malformed(reason) => Some(reason),
            _ => None,
        }
    }

    fn exchanged(octets: &[u8], from: &str, to: &str) -> Vec<u8> {
        let text = String::from_utf8(octets.to_vec()).unwrap();
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1).into_bytes()
    }

    #[test]
    fn an_envelope_yields_its_data_its_original_and_the_receipt_asked_for() {
        let unsealed = envelope();
        let PecMessage::TransportEnvelope(envelope) = judged(&unsealed) else { panic!() };
        assert_eq!(&unsealed.entity[envelope.original], SUBMITTED);
        assert_eq!(Some(envelope.data), unsealed.data);
        assert_eq!(envelope.receipt, ReceiptType::Brief);
        assert_eq!(envelope.to, ["bruno@beta.example".parse().unwrap()]);
        assert_eq!(envelope.from.as_str(), "posta-certificata@pec.alfa.example");
    }

    #[test]
    fn attachments_are_looked_for_once_for_all_who_share_an_envelope() {
        let unsealed = envelope();
        let PecMessage::TransportEnvelope(one) = judged(&unsealed) else { panic!() };
        let other = one.clone();
        let original = &unsealed.entity[one.original.clone()];
        let found = one.attachments(original, BriefHash::Encoded);
        assert!(std::ptr::eq(found, other.attachments(original, BriefHash::Encoded)));
    }

    #[test]
    fn every_receipt_and_notice_is_known_again() {
        let (issuer, facts, at) = (issuer(), facts(), noon());
        let bruno: Address = "bruno@beta.example".parse().unwrap();
        let delivered = Delivered {
            recipient: &bruno,
            requested: ReceiptType::Complete,
            due: ReceiptType::Complete,
            original: SUBMITTED,
            hash: BriefHash::Encoded,
        };
        for (unsealed, kind) in [
            (issuer.acceptance_receipt(&facts, &at), NoticeKind::Acceptance),
            (
                issuer.take_charge_receipt(&facts, &at, std::slice::from_ref(&bruno), &bruno),
                NoticeKind::TakeCharge,
            ),
            (issuer.delivery_receipt(&facts, &at, &delivered), NoticeKind::Delivery),
            (
                issuer.non_delivery_notice(&facts, &at, &bruno, &DeliveryFault::mailbox_full()),
                NoticeKind::NonDelivery,
            ),
        ] {
            let PecMessage::Receipt(notice) = judged(&unsealed) else { panic!("{kind:?}") };
            assert_eq!(notice.kind, kind);
            assert_eq!(notice.included.is_some(), kind == NoticeKind::Delivery);
            assert_eq!(Some(notice.data), unsealed.data);
        }
    }

    /// Each receipt repeats them, and the journal the sender.
    #[test]
    fn an_envelope_with_a_sender_or_an_address_for_replies_of_any_length_is_malformed() {
        let long = format!("{}@alfa.example", "a".repeat(4_000_000));
        let (submitted, _) = Header::parse(SUBMITTED).unwrap();
        let judged = |facts: &TransmissionFacts| {
            let made = issuer().transport_envelope(facts, &noon(), &submitted, None, &[SUBMITTED]);
            // What stands above the signed entity has its own bound.
            reason(&envelope().header, &made.entity)
        };
        assert_eq!(judged(&facts()), None);
        let too_long = Some(MalformedReason::TooLong);
        assert_eq!(judged(&TransmissionFacts { sender: long.clone(), ..facts() }), too_long);
        assert_eq!(judged(&TransmissionFacts { reply_to: long, ..facts() }), too_long);
    }

    #[test]
    fn whatever_disagrees_is_malformed() {
        let Unsealed { header, entity, .. } = envelope();
        let no_marker = exchanged(&header, "X-Trasporto", "X-Altro");
        assert_eq!(reason(&no_marker, &entity), Some(MalformedReason::Marker));
        let anomaly = exchanged(&header, "posta-certificata\r\n", "errore\r\n");
        assert_eq!(reason(&anomaly, &entity), Some(MalformedReason::Marker));
        let both = [&b"X-Ricevuta: accettazione\r\n"[..], &header].concat();
        assert_eq!(reason(&both, &entity), Some(MalformedReason::Marker));
        let receipt =
            exchanged(&header, "X-Trasporto: posta-certificata", "X-Ricevuta: accettazione");
        assert_eq!(reason(&receipt, &entity), Some(MalformedReason::Disagreement));
        let two = exchanged(&header, "From: ", "From: x@y.example, ");
        assert_eq!(reason(&two, &entity), Some(MalformedReason::From));
        let other = exchanged(&header, "ceralacca1.", "ceralacca2.");
        assert_eq!(reason(&other, &entity), Some(MalformedReason::Identifier));
        let plain = exchanged(&entity, "multipart/mixed", "multipart/other");
        assert_eq!(reason(&header, &plain), Some(MalformedReason::Tree));
        let nameless = String::from_utf8(entity.clone()).unwrap().replace("daticert.xml", "x.xml");
        assert_eq!(reason(&header, nameless.as_bytes()), Some(MalformedReason::Daticert));
        let nameless = String::from_utf8(entity.clone()).unwrap().replace("postacert.eml", "x.eml");
        assert_eq!(reason(&header, nameless.as_bytes()), Some(MalformedReason::Postacert));
        let end = entity.len() - 4;
        assert_eq!(reason(&header, &entity[..end]), Some(MalformedReason::Tree));
    }

    proptest! {
        #[test]
        fn a_damaged_envelope_never_fails_hard(at in 0usize..2000, octet: u8) {
            let Unsealed { header, mut entity, .. } = envelope();
            let at = at % entity.len();
            entity[at] = octet;
            let (header, _) = Header::parse(&header).unwrap();
            let _ = classify(&header, &entity);
        }
    }
}
