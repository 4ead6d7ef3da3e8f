//! What one provider tells another: presa in carico.

use super::{Notice, NoticeKind, with_recipients};
use crate::pec::{
    address::Address,
    daticert::Event,
    facts::TransmissionFacts,
    instant::CertifiedInstant,
    issuer::{Issuer, Unsealed},
    texts::{Text, identifier, opening, subject},
};

impl Issuer {
    /// Ricevuta di presa in carico (RFC 6109 §3.2.1), to the sender's provider at
    /// `service_mailbox`, its `mailReceipt`: responsibility for `taken` has passed to this
    /// provider. `taken` holds the recipients of one SMTP transaction, one at least.
    pub fn take_charge_receipt(
        &self,
        facts: &TransmissionFacts,
        at: &CertifiedInstant,
        taken: &[Address],
        service_mailbox: &Address,
    ) -> Unsealed {
        let recipients: Vec<String> = taken.iter().map(ToString::to_string).collect();
        let before = [
            format!("{} il messaggio", opening(at)),
            format!("{} proveniente da \"{}\"", subject(facts), facts.sender),
            "ed indirizzato a:".to_owned(),
        ];
        let after = ["è stato accettato dal sistema."];
        let text = Text {
            heading: "Ricevuta di presa in carico",
            paragraphs: vec![
                with_recipients(&before, recipients.clone(), &after),
                identifier(facts),
            ],
        };
        let (kind, to) = (NoticeKind::TakeCharge, service_mailbox.as_str());
        let event = Event::TakeCharge { recipients };
        self.notice(Notice { kind, facts, at, to, event, text, included: None })
    }
}
