//! What a sender is told by his own provider when nothing is heard of a recipient in time.

use super::{Notice, NoticeKind};
use crate::pec::{
    address::Address,
    daticert::Event,
    facts::TransmissionFacts,
    instant::CertifiedInstant,
    issuer::{Issuer, Unsealed},
    texts::{Text, identifier, opening, subject},
};

/// Which of the two times has passed (RFC 6109 §3.1.6).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum TimeLimit {
    /// Twelve hours without a word from the recipient's provider: delivery is still possible.
    First,
    /// Twenty-four hours without a delivery receipt: the transmission is closed.
    Last,
}

impl TimeLimit {
    /// The word in metrics and in the journal.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Last => "last",
        }
    }

    /// The enhanced status code (RFC 3463 §3.5: delivery time expired) and the reason.
    fn detail(self) -> (&'static str, &'static str) {
        match self {
            Self::First => ("4.4.7", "messaggio non consegnato nelle prime dodici ore"),
            Self::Last => ("5.4.7", "messaggio non consegnato entro ventiquattro ore"),
        }
    }

    fn paragraph(self) -> Vec<String> {
        let lines: &[&str] = match self {
            Self::First => &[
                "non è stato consegnato nelle prime dodici ore dal suo invio.",
                "La consegna è ancora possibile, ma potrebbe non avvenire.",
                "Se nelle prossime dodici ore non arriverà la conferma della consegna,",
                "il sistema invierà un altro avviso.",
            ],
            Self::Last => &[
                "non è stato consegnato nelle ventiquattro ore successive al suo invio.",
                "La trasmissione è chiusa con esito negativo.",
            ],
        };
        lines.iter().map(|&line| line.to_owned()).collect()
    }
}

impl Issuer {
    /// Avviso di mancata consegna per superamento dei tempi massimi (RFC 6109 §3.1.6), to the
    /// sender, about one recipient. The RFC prints the recipient as addressee; a notice about him
    /// is for the sender (RFC 6109 §2.1).
    pub fn time_limit_notice(
        &self,
        facts: &TransmissionFacts,
        at: &CertifiedInstant,
        recipient: &Address,
        limit: TimeLimit,
    ) -> Unsealed {
        let (code, reason) = limit.detail();
        let mut told = vec![
            format!("{} il messaggio", opening(at)),
            format!("{} proveniente da \"{}\"", subject(facts), facts.sender),
            format!("e destinato all'utente \"{recipient}\""),
        ];
        told.extend(limit.paragraph());
        let text = Text {
            heading: "Avviso di mancata consegna",
            paragraphs: vec![told, identifier(facts)],
        };
        let event = Event::TimeLimit {
            recipient: Some(recipient.to_string()),
            detail: Some(format!("{code} - {} - {reason}", self.name)),
        };
        let (kind, to) = (NoticeKind::TimeLimit, facts.sender.as_str());
        self.notice(Notice { kind, facts, at, to, event, text, included: None })
    }
}
