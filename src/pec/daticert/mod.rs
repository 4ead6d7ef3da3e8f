//! Certification data: the file `daticert.xml` (RFC 6109 §4.4).
//!
//! [`CertificationData`] is what programs read of a receipt, notice or envelope; the text beside
//! it is for people. What an event needs stands in its [`Event`] variant, so that a combination
//! that the grammar does not know cannot be written. The grammar is `daticert.dtd` beside this
//! folder.
//!
//! Writing is [`CertificationData::to_xml`], reading [`CertificationData::from_xml`]; the second
//! takes what other providers write, and nothing that is not of the grammar.

mod read;
mod write;

pub use read::{DATICERT_OCTETS_MAX, DaticertFault};

use super::{
    facts::{ReceiptType, TransmissionFacts},
    instant::CertifiedInstant,
};

/// The grammar of `daticert.xml`, for tools that validate.
pub const DATICERT_DTD: &str = include_str!("../daticert.dtd");

/// Everything that one `daticert.xml` says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertificationData {
    /// The facts of the transmission.
    pub facts: TransmissionFacts,
    /// Gestore emittente: the name of the provider that certifies these data.
    pub issuer: String,
    /// When.
    pub stamp: Stamp,
    /// What happened.
    pub event: Event,
}

/// The instant as certification data show it: Italian legal time.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Stamp {
    /// `dd/mm/yyyy`.
    pub day: String,
    /// `hh:mm:ss`.
    pub time: String,
    /// `+0100` or `+0200`.
    pub zone: String,
}

impl From<&CertifiedInstant> for Stamp {
    fn from(at: &CertifiedInstant) -> Self {
        Self { day: at.day(), time: at.time(), zone: at.zone() }
    }
}

/// Why a message was not accepted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RefusalCause {
    /// A formal fault (`altro`).
    Formal,
    /// A virus (`virus`).
    Virus,
}

/// Why a message was not delivered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DeliveryFailure {
    /// The mailbox does not exist (`no-dest`).
    NoRecipient,
    /// The domain is not served (`no-dominio`).
    NoDomain,
    /// A virus was found (`virus`).
    Virus,
    /// Anything else, such as a full mailbox (`altro`).
    Other,
}

/// What certification data certify: attribute `tipo` with all that depends on it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// Accettazione.
    Acceptance,
    /// Non accettazione.
    NonAcceptance {
        /// Why.
        cause: RefusalCause,
        /// The reason in words (`errore-esteso`).
        detail: Option<String>,
    },
    /// Posta certificata: the transport envelope.
    TransportEnvelope {
        /// The delivery receipt that the sender asked for; completa when none.
        receipt: ReceiptType,
    },
    /// Presa in carico.
    TakeCharge {
        /// The recipients covered, one at least.
        recipients: Vec<String>,
    },
    /// Avvenuta consegna.
    Delivery {
        /// The delivery receipt that the sender asked for.
        receipt: ReceiptType,
        /// The one recipient.
        recipient: String,
    },
    /// Errore di consegna.
    DeliveryError {
        /// Why.
        cause: DeliveryFailure,
        /// The one recipient.
        recipient: String,
        /// The reason in words (`errore-esteso`).
        detail: Option<String>,
    },
    /// Preavviso di errore di consegna: a time limit has passed (`altro`).
    TimeLimit {
        /// The one recipient; some providers leave it out.
        recipient: Option<String>,
        /// The reason in words (`errore-esteso`).
        detail: Option<String>,
    },
    /// Rilevazione virus at the recipient's provider (`virus`).
    VirusDetection {
        /// The one recipient; some providers leave it out.
        recipient: Option<String>,
        /// The reason in words (`errore-esteso`).
        detail: Option<String>,
    },
}

impl Event {
    /// The attribute `tipo`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Acceptance => "accettazione",
            Self::NonAcceptance { .. } => "non-accettazione",
            Self::TransportEnvelope { .. } => "posta-certificata",
            Self::TakeCharge { .. } => "presa-in-carico",
            Self::Delivery { .. } => "avvenuta-consegna",
            Self::DeliveryError { .. } => "errore-consegna",
            Self::TimeLimit { .. } => "preavviso-errore-consegna",
            Self::VirusDetection { .. } => "rilevazione-virus",
        }
    }

    /// The attribute `errore`.
    pub fn error(&self) -> &'static str {
        match self {
            Self::Acceptance
            | Self::TransportEnvelope { .. }
            | Self::TakeCharge { .. }
            | Self::Delivery { .. } => "nessuno",
            Self::NonAcceptance { cause: RefusalCause::Virus, .. }
            | Self::DeliveryError { cause: DeliveryFailure::Virus, .. }
            | Self::VirusDetection { .. } => "virus",
            Self::DeliveryError { cause: DeliveryFailure::NoRecipient, .. } => "no-dest",
            Self::DeliveryError { cause: DeliveryFailure::NoDomain, .. } => "no-dominio",
            Self::NonAcceptance { cause: RefusalCause::Formal, .. }
            | Self::DeliveryError { cause: DeliveryFailure::Other, .. }
            | Self::TimeLimit { .. } => "altro",
        }
    }

    /// The delivery receipt asked for, where the event names one.
    pub fn receipt(&self) -> Option<ReceiptType> {
        match self {
            Self::TransportEnvelope { receipt } | Self::Delivery { receipt, .. } => Some(*receipt),
            _ => None,
        }
    }

    /// The one recipient, where the event is about one.
    pub fn recipient(&self) -> Option<&str> {
        match self {
            Self::Delivery { recipient, .. } | Self::DeliveryError { recipient, .. } => {
                Some(recipient)
            }
            Self::TimeLimit { recipient, .. } | Self::VirusDetection { recipient, .. } => {
                recipient.as_deref()
            }
            _ => None,
        }
    }

    /// The reason in words.
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::NonAcceptance { detail, .. }
            | Self::DeliveryError { detail, .. }
            | Self::TimeLimit { detail, .. }
            | Self::VirusDetection { detail, .. } => detail.as_deref(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
