//! `transmission list` and `show`, as people read them.

use trust::clock::UnixMillis;

use crate::{
    cli::output::{Shown, instant},
    control::operations::transmission::{
        ArtefactView, RecipientView, TransmissionDetails, TransmissionView,
    },
    texts::{Language, Text},
};

/// A recipient's state.
fn state_text(word: &str) -> Text {
    match word {
        "submitted" => Text::fixed("inviato", "submitted"),
        "accepted" => Text::fixed("accettato", "accepted"),
        "relayed" => Text::fixed("inoltrato", "relayed"),
        "taken-in-charge" => Text::fixed("preso in carico", "taken in charge"),
        "delivered" => Text::fixed("consegnato", "delivered"),
        "failed" => Text::fixed("non consegnato", "not delivered"),
        "rejected" => Text::fixed("non accettato", "not accepted"),
        "expired" => Text::fixed("nessuna notizia entro 24 ore", "nothing heard within 24 hours"),
        "infected" => Text::fixed("fermato per un virus", "stopped for a virus"),
        _ => Text::filled(word.to_owned(), word.to_owned()),
    }
}

/// What an artefact is.
pub(super) fn kind_text(word: &str) -> Text {
    match word {
        "original" => Text::fixed("messaggio originale", "original message"),
        "transport-envelope" => Text::fixed("busta di trasporto", "transport envelope"),
        "acceptance-receipt" => Text::fixed("ricevuta di accettazione", "acceptance receipt"),
        "non-acceptance-notice" => {
            Text::fixed("avviso di non accettazione", "non-acceptance notice")
        }
        "take-charge-receipt" => Text::fixed("ricevuta di presa in carico", "take-charge receipt"),
        "delivery-receipt" => Text::fixed("ricevuta di avvenuta consegna", "delivery receipt"),
        "non-delivery-notice" => Text::fixed("avviso di mancata consegna", "non-delivery notice"),
        "time-limit-notice" => {
            Text::fixed("avviso per superamento dei tempi", "notice of a passed time limit")
        }
        "virus-notice" => Text::fixed("avviso di rilevazione virus", "virus notice"),
        _ => Text::fixed("rapporto di stato", "status report"),
    }
}

fn in_language(text: &Text) -> String {
    text.get(Language::of_process()).to_owned()
}

fn at(millis: i64) -> String {
    instant(UnixMillis(millis))
}

/// How many recipients are in which state: all in one word when there is one only.
fn states(recipients: &[RecipientView]) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for recipient in recipients {
        match counts.iter_mut().find(|(word, _)| *word == recipient.state) {
            Some((_, count)) => *count += 1,
            None => counts.push((&recipient.state, 1)),
        }
    }
    let of = |(word, count): &(&str, usize)| {
        let text = in_language(&state_text(word));
        if recipients.len() == 1 { text } else { format!("{text} {count}") }
    };
    counts.iter().map(of).collect::<Vec<_>>().join(", ")
}

impl Shown for TransmissionView {
    fn columns() -> Vec<Text> {
        vec![
            Text::fixed("id", "id"),
            Text::fixed("istante", "instant"),
            Text::fixed("mittente", "sender"),
            Text::fixed("destinatari", "recipients"),
            Text::fixed("stato", "state"),
            Text::fixed("oggetto", "subject"),
        ]
    }

    fn row(&self) -> Vec<String> {
        let first = self.recipients.first().map(|one| one.address.clone()).unwrap_or_default();
        let recipients = match self.recipients.len() {
            0 | 1 => first,
            several => format!("{first} (+{})", several - 1),
        };
        vec![
            self.id.clone(),
            at(self.instant_millis),
            self.sender.clone(),
            recipients,
            states(&self.recipients),
            self.subject.clone(),
        ]
    }
}

impl Shown for TransmissionDetails {
    fn columns() -> Vec<Text> {
        TransmissionView::columns()
    }

    fn row(&self) -> Vec<String> {
        self.transmission.row()
    }

    fn details(&self) -> Vec<(Text, String)> {
        let one = &self.transmission;
        let mut details = vec![
            (Text::fixed("id", "id"), one.id.clone()),
            (Text::fixed("identificativo", "identifier"), one.identifier.clone()),
            (Text::fixed("Message-ID", "Message-ID"), one.message_id.clone()),
            (Text::fixed("istante", "instant"), at(one.instant_millis)),
            (Text::fixed("mittente", "sender"), one.sender.clone()),
            (Text::fixed("tipo di casella", "plan"), self.plan.clone()),
            (Text::fixed("oggetto", "subject"), one.subject.clone()),
            (
                Text::fixed("non accettato perché", "not accepted because"),
                self.fault.clone().unwrap_or_default(),
            ),
        ];
        for recipient in &one.recipients {
            details.push((Text::fixed("destinatario", "recipient"), recipient_line(recipient)));
        }
        for artefact in &self.artefacts {
            details.push((kind_text(&artefact.kind), artefact_line(artefact)));
        }
        details
    }
}

fn recipient_line(recipient: &RecipientView) -> String {
    let RecipientView { address, certified, state, since_millis, warned_millis } = recipient;
    let kind = if *certified {
        Text::fixed("certificato", "certified")
    } else {
        Text::fixed("esterno", "outside certified mail")
    };
    let warned = warned_millis.map(|millis| {
        let text = Text::fixed("avvisato dopo 12 ore", "told after 12 hours");
        format!("; {} {}", in_language(&text), at(millis))
    });
    format!(
        "{address} ({}): {} {}{}",
        in_language(&kind),
        in_language(&state_text(state)),
        at(*since_millis),
        warned.unwrap_or_default()
    )
}

fn artefact_line(artefact: &ArtefactView) -> String {
    let octets = match artefact.octets_are.as_str() {
        "held" => Text::fixed("conservato", "held"),
        "erased" => Text::fixed("cancellato", "erased"),
        _ => Text::fixed("non più conservato", "not kept any more"),
    };
    let about = artefact.recipients.join(",");
    let parts = [
        at(artefact.instant_millis),
        artefact.message_id.clone(),
        format!("SHA-256 {}", artefact.digest),
        about,
        artefact.mailbox.clone(),
        in_language(&octets),
    ];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_recipients_are_counted_by_their_states() {
        let of =
            |state: &str| RecipientView { state: state.to_owned(), ..RecipientView::default() };
        let several = [of("delivered"), of("failed"), of("delivered")];
        let text = states(&several);
        assert!(text.contains(" 2, ") && text.ends_with(" 1"), "{text}");
        assert!(!states(&several[..1]).contains('1'));
    }

    #[test]
    fn every_state_of_a_recipient_is_told_in_words() {
        use crate::{control::operations::transmission::word, pec::records::RecipientState};
        for state in (0..64).filter_map(|number| RecipientState::try_from(number).ok()) {
            let text = state_text(word(state));
            assert_ne!(text.get(Language::Italian), word(state), "{state:?}");
        }
    }
}
