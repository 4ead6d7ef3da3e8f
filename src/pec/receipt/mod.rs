//! Receipts and notices (RFC 6109 §2.1.1.1): what a provider tells a sender, or another provider.
//!
//! [`NoticeKind`] holds what the rules print for each kind: marker fields and subject. The
//! builders are methods of [`Issuer`], one for each kind, and share one frame. All of them are
//! written from the facts of the transmission and one certified instant.
//!
//! Not here: when a receipt is due, where it goes (the reverse path of the original, or the
//! service mailbox of a provider), signing.

mod access;
mod delivery;
mod provider;
mod time_limit;
mod virus;

pub use delivery::{Delivered, DeliveryFault};
pub use time_limit::TimeLimit;

use super::{
    daticert::{CertificationData, Event, Stamp},
    facts::TransmissionFacts,
    frame::{Included, entity},
    instant::CertifiedInstant,
    issuer::{Issuer, Unsealed, prefixed_subject},
    texts::Text,
};

/// The receipts and notices of the rules.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum NoticeKind {
    /// Ricevuta di accettazione.
    Acceptance,
    /// Avviso di non accettazione per eccezioni formali.
    FormalNonAcceptance,
    /// Avviso di non accettazione per virus.
    VirusNonAcceptance,
    /// Avviso di mancata consegna per superamento dei tempi massimi, after 12 or 24 hours.
    TimeLimit,
    /// Ricevuta di presa in carico.
    TakeCharge,
    /// Avviso di rilevazione virus.
    VirusDetection,
    /// Avviso di mancata consegna per virus.
    VirusNonDelivery,
    /// Ricevuta di avvenuta consegna, in its three types.
    Delivery,
    /// Avviso di mancata consegna.
    NonDelivery,
}

impl NoticeKind {
    /// The value of X-Ricevuta (RFC 6109 §8.1.2).
    pub fn marker(self) -> &'static str {
        match self {
            Self::Acceptance => "accettazione",
            Self::FormalNonAcceptance | Self::VirusNonAcceptance => "non-accettazione",
            Self::TimeLimit => "preavviso-errore-consegna",
            Self::TakeCharge => "presa-in-carico",
            Self::VirusDetection => "rilevazione-virus",
            Self::VirusNonDelivery | Self::NonDelivery => "errore-consegna",
            Self::Delivery => "avvenuta-consegna",
        }
    }

    /// Whether X-VerificaSicurezza stands beside the marker (RFC 6109 §8.1.3).
    pub fn is_security_refusal(self) -> bool {
        matches!(self, Self::VirusNonAcceptance | Self::VirusNonDelivery)
    }

    /// What stands before the original's subject, the space included.
    pub fn subject_prefix(self) -> &'static str {
        match self {
            Self::Acceptance => "ACCETTAZIONE: ",
            Self::FormalNonAcceptance => "AVVISO DI NON ACCETTAZIONE: ",
            Self::VirusNonAcceptance => "AVVISO DI NON ACCETTAZIONE PER VIRUS: ",
            Self::TimeLimit => "AVVISO DI MANCATA CONSEGNA PER SUP. TEMPO MASSIMO: ",
            Self::TakeCharge => "PRESA IN CARICO: ",
            Self::VirusDetection => "PROBLEMA DI SICUREZZA: ",
            Self::VirusNonDelivery => "AVVISO DI MANCATA CONSEGNA PER VIRUS: ",
            Self::Delivery => "CONSEGNA: ",
            Self::NonDelivery => "AVVISO DI MANCATA CONSEGNA: ",
        }
    }
}

/// What one builder hands to the shared frame.
struct Notice<'a> {
    kind: NoticeKind,
    facts: &'a TransmissionFacts,
    at: &'a CertifiedInstant,
    to: &'a str,
    event: Event,
    text: Text,
    included: Option<Included<'a>>,
}

impl Issuer {
    /// Puts a notice together: header, certification data, entity.
    fn notice(&self, notice: Notice<'_>) -> Unsealed {
        let Notice { kind, facts, at, to, event, text, included } = notice;
        let mut markers = vec![("X-Ricevuta", kind.marker())];
        if kind.is_security_refusal() {
            markers.push(("X-VerificaSicurezza", "errore"));
        }
        if kind == NoticeKind::VirusDetection {
            markers.push(("X-Mittente", &facts.sender));
        }
        let subject = prefixed_subject(kind.subject_prefix(), facts.subject.as_deref());
        let (header, message_id) =
            self.notice_header(&markers, at, subject, to, facts.reference_field());
        let data = self.certification_data(facts, at, event);
        let entity = entity(&self.identifiers, &text, Some(&data), included);
        Unsealed { header: header.to_octets(), entity, message_id, data: Some(data) }
    }

    /// The certification data of an event that this provider certifies.
    pub(super) fn certification_data(
        &self,
        facts: &TransmissionFacts,
        at: &CertifiedInstant,
        event: Event,
    ) -> CertificationData {
        let stamp = Stamp::from(at);
        CertificationData { facts: facts.clone(), issuer: self.name.clone(), stamp, event }
    }
}

/// A paragraph that names all recipients: the lines before, one line each, the lines after.
fn with_recipients(before: &[String], recipients: Vec<String>, after: &[&str]) -> Vec<String> {
    let after = after.iter().map(|line| (*line).to_owned());
    before.iter().cloned().chain(recipients).chain(after).collect()
}

#[cfg(test)]
mod tests;
