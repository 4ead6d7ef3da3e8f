//! What the access point tells its own user: acceptance and formal non-acceptance.

use super::{Notice, NoticeKind, with_recipients};
use crate::pec::{
    daticert::{Event, RefusalCause},
    facts::TransmissionFacts,
    instant::CertifiedInstant,
    issuer::{Issuer, Unsealed},
    texts::{Text, identifier, opening, recipients, recipients_with_kinds, subject},
};

impl Issuer {
    /// Ricevuta di accettazione (RFC 6109 §3.1.4), to the sender: the message was taken, with
    /// every recipient and its kind.
    pub fn acceptance_receipt(&self, facts: &TransmissionFacts, at: &CertifiedInstant) -> Unsealed {
        let before = [
            format!("{} il messaggio", opening(at)),
            format!("{} proveniente da \"{}\"", subject(facts), facts.sender),
            "ed indirizzato a:".to_owned(),
        ];
        let text = Text {
            heading: "Ricevuta di accettazione",
            paragraphs: vec![
                with_recipients(&before, recipients_with_kinds(&facts.recipients), &[]),
                vec!["Il messaggio è stato accettato dal sistema ed inoltrato.".to_owned()],
                identifier(facts),
            ],
        };
        let (kind, to) = (NoticeKind::Acceptance, facts.sender.as_str());
        self.notice(Notice { kind, facts, at, to, event: Event::Acceptance, text, included: None })
    }

    /// Avviso di non accettazione per eccezioni formali (RFC 6109 §3.1.2), to the sender. Never
    /// holds the message. `reason` is the [`FormalFault`](crate::pec::formal::FormalFault)'s
    /// Italian sentence part.
    pub fn formal_non_acceptance_notice(
        &self,
        facts: &TransmissionFacts,
        at: &CertifiedInstant,
        reason: &str,
    ) -> Unsealed {
        let before = [
            format!("{} nel messaggio", opening(at)),
            format!("{} proveniente da \"{}\"", subject(facts), facts.sender),
            "ed indirizzato a:".to_owned(),
        ];
        let after = ["è stato rilevato un problema che ne impedisce l'accettazione"];
        let text = Text {
            heading: "Errore nell'accettazione del messaggio",
            paragraphs: vec![
                with_recipients(&before, recipients(&facts.recipients), &after),
                vec![format!("a causa di: {}.", reason)],
                vec!["Il messaggio non è stato accettato.".to_owned()],
                identifier(facts),
            ],
        };
        let event = Event::NonAcceptance {
            cause: RefusalCause::Formal,
            detail: Some(format!("5.6.0 - {} - {}", self.name, reason)),
        };
        let (kind, to) = (NoticeKind::FormalNonAcceptance, facts.sender.as_str());
        self.notice(Notice { kind, facts, at, to, event, text, included: None })
    }
}
