//! What is told of a virus: to the sender by his own provider, and by one provider to another.
//!
//! None of these ever holds the message (RFC 6109 §3.1.3, §3.2.3, §3.2.4). All name what was found as the
//! scanner calls it.

use super::{Notice, NoticeKind, with_recipients};
use crate::pec::{
    address::Address,
    daticert::{DeliveryFailure, Event, RefusalCause},
    facts::TransmissionFacts,
    instant::CertifiedInstant,
    issuer::{Issuer, Unsealed},
    texts::{Text, identifier, opening, recipients, subject},
};

/// The enhanced status code: refused for what it contains (RFC 3463 §3.8).
const CODE: &str = "5.7.1";

impl Issuer {
    fn virus_detail(&self, threat: &str) -> String {
        format!("{CODE} - {} - presenza di un virus nel messaggio: {threat}", self.name)
    }

    /// Avviso di non accettazione per virus informatico (RFC 6109 §3.1.3), to the sender. `threat` is the
    /// name of what was found.
    pub fn virus_non_acceptance_notice(
        &self,
        facts: &TransmissionFacts,
        at: &CertifiedInstant,
        threat: &str,
    ) -> Unsealed {
        let before = [
            format!("{} nel messaggio", opening(at)),
            format!("{} proveniente da \"{}\"", subject(facts), facts.sender),
            "ed indirizzato a:".to_owned(),
        ];
        let after = ["è stato rilevato un problema di sicurezza:"];
        let mut told = with_recipients(&before, recipients(&facts.recipients), &after);
        told.push(threat.to_owned());
        let text = Text {
            heading: "Errore nell'accettazione del messaggio per virus",
            paragraphs: vec![
                told,
                vec!["Il messaggio non è stato accettato.".to_owned()],
                identifier(facts),
            ],
        };
        let event = Event::NonAcceptance {
            cause: RefusalCause::Virus,
            detail: Some(self.virus_detail(threat)),
        };
        let (kind, to) = (NoticeKind::VirusNonAcceptance, facts.sender.as_str());
        self.notice(Notice { kind, facts, at, to, event, text, included: None })
    }

    /// Avviso di rilevazione di virus informatico (RFC 6109 §3.2.3), to the sender's provider at
    /// `service_mailbox`, its `mailReceipt`, about one recipient of this provider.
    pub fn virus_detection_notice(
        &self,
        facts: &TransmissionFacts,
        at: &CertifiedInstant,
        recipient: &Address,
        threat: &str,
        service_mailbox: &Address,
    ) -> Unsealed {
        let text = Text {
            heading: "Avviso di rilevazione virus",
            paragraphs: vec![
                vec![
                    format!("{} nel messaggio", opening(at)),
                    format!("{} proveniente da \"{}\"", subject(facts), facts.sender),
                    format!("e destinato all'utente \"{recipient}\""),
                    "è stato rilevato un problema di sicurezza:".to_owned(),
                    threat.to_owned(),
                ],
                identifier(facts),
            ],
        };
        let event = Event::VirusDetection {
            recipient: Some(recipient.to_string()),
            detail: Some(self.virus_detail(threat)),
        };
        let (kind, to) = (NoticeKind::VirusDetection, service_mailbox.as_str());
        self.notice(Notice { kind, facts, at, to, event, text, included: None })
    }

    /// Avviso di mancata consegna per virus informatico (RFC 6109 §3.2.4), to the sender, about one
    /// recipient, whose provider has found it and says so in `reason`.
    pub fn virus_non_delivery_notice(
        &self,
        facts: &TransmissionFacts,
        at: &CertifiedInstant,
        recipient: &Address,
        reason: &str,
    ) -> Unsealed {
        let text = Text {
            heading: "Avviso di mancata consegna per virus",
            paragraphs: vec![
                vec![
                    format!("{} nel messaggio", opening(at)),
                    format!("{} destinato all'utente \"{recipient}\"", subject(facts)),
                    "è stato rilevato un problema di sicurezza:".to_owned(),
                    reason.to_owned(),
                ],
                vec!["Il messaggio non è stato consegnato.".to_owned()],
                identifier(facts),
            ],
        };
        let event = Event::DeliveryError {
            cause: DeliveryFailure::Virus,
            recipient: recipient.to_string(),
            detail: Some(format!("{CODE} - {} - {reason}", self.name)),
        };
        let (kind, to) = (NoticeKind::VirusNonDelivery, facts.sender.as_str());
        self.notice(Notice { kind, facts, at, to, event, text, included: None })
    }
}
