//! What is told of a virus that was found on the way: by the recipient's provider to the sender's, and by
//! that one to the sender (RFC 6109 §3.2.3, §3.2.4).
//!
//! * The recipient's provider issues one notice for each of its recipients, beside the take-charge receipt:
//!   the envelope was correct and undamaged when it came.
//! * The sender's provider believes a notice about a recipient of the transmission from that recipient's own
//!   provider, and nobody else. It tells the sender once, in the batch that moves the recipient.
//!
//! Not here: where messages with viruses go (`quarantine`), the notice that one was not accepted
//! (`acceptance`).

use std::sync::Arc;

use storage::{catalog::engine::Batch, ids::AccountId};

use super::{
    acceptance,
    address::Address,
    artefacts::{Artefact, ArtefactKind},
    engine::{PecEngine, PecError},
    facts::TransmissionFacts,
    instant::CertifiedInstant,
    issue::{self, Issued},
    journal::JournalEvent,
    records::{Due, JournalRecord, TransmissionId, TransmissionRecord},
};

/// A virus in a transport envelope, and who is told of it.
#[derive(Debug)]
pub(super) struct Detection<'a> {
    /// The instant of the message that came in.
    pub(super) instant: &'a CertifiedInstant,
    /// The facts of the envelope.
    pub(super) facts: &'a TransmissionFacts,
    /// The service mailbox of the sender's provider.
    pub(super) mail_receipt: &'a Address,
    /// What was found.
    pub(super) threat: &'a str,
}

/// Adds to `batch` the notices about `recipients`, each with its line in the journal, which says `journal`
/// besides. Returns what to announce once the batch is committed.
pub(super) async fn tell_provider(
    engine: &Arc<PecEngine>,
    batch: &mut Batch,
    detection: &Detection<'_>,
    recipients: &[String],
    journal: &JournalRecord,
) -> Result<Vec<Due>, PecError> {
    let Detection { instant, facts, mail_receipt, threat } = *detection;
    let mut due = Vec::with_capacity(recipients.len());
    for recipient in recipients.iter().filter_map(|text| Address::parse(text).ok()) {
        let about = recipient.as_str().to_owned();
        let notice = {
            let (facts, instant) = (facts.clone(), instant.clone());
            let (mail_receipt, threat) = (mail_receipt.clone(), threat.to_owned());
            issue::issue(engine, 0, move |issuer| {
                issuer.virus_detection_notice(&facts, &instant, &recipient, &threat, &mail_receipt)
            })
            .await?
        };
        let (held, _) = engine.hold(&notice.octets, batch).await?;
        due.push(issue::enqueue_notification(engine, batch, held, mail_receipt));
        let journal = JournalRecord {
            recipients: vec![about],
            related: vec![notice.message_id],
            detail: threat.to_owned(),
            ..journal.clone()
        };
        engine.journal(batch, instant.unix(), JournalEvent::VirusDetection, journal);
    }
    Ok(due)
}

/// Tells the sender of `transmission` that `recipient` does not get it, with `batch`, which moves the
/// recipient. `reason` is what the other provider says; our notice quotes it as that.
pub(super) async fn tell_sender(
    engine: &Arc<PecEngine>,
    mut batch: Batch,
    (id, transmission): (TransmissionId, &TransmissionRecord),
    recipient: &Address,
    (provider, reason): (&str, Option<&str>),
) -> Result<(), PecError> {
    let facts = acceptance::certified_facts(engine, id, transmission).await?;
    let instant = engine.certified_now();
    let reason = attributed(provider, reason.unwrap_or("presenza di un virus nel messaggio"));
    let journal = JournalRecord {
        recipients: vec![recipient.as_str().to_owned()],
        detail: reason.clone(),
        ..acceptance::journal_record(engine, transmission)
    };
    let notice: Issued = {
        let (instant, recipient) = (instant.clone(), recipient.clone());
        issue::issue(engine, 0, move |issuer| {
            issuer.virus_non_delivery_notice(&facts, &instant, &recipient, &reason)
        })
        .await?
    };
    let journal = JournalRecord { related: vec![notice.message_id.clone()], ..journal };
    engine.journal(&mut batch, instant.unix(), JournalEvent::VirusNonDelivery, journal);
    let artefact = Artefact::to_sender(
        (id, transmission),
        ArtefactKind::NonDeliveryNotice,
        instant.unix(),
        vec![recipient.as_str().to_owned()],
        &engine.issuer().name,
    );
    let account = AccountId(transmission.account_id);
    issue::put_into_senders_mailbox(engine, account, &notice, artefact, batch).await
}

/// The most characters of another provider's words that are quoted.
const QUOTED_CHARACTERS_MAX: usize = 200;

/// What `provider` says, as a quotation of one line that ends where it ends.
fn attributed(provider: &str, reason: &str) -> String {
    let plain = |character: char| match character {
        '«' | '»' => '"',
        // Line ends, and what turns the direction of writing.
        '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => ' ',
        _ if character.is_control() => ' ',
        _ => character,
    };
    let quoted: String = reason.chars().take(QUOTED_CHARACTERS_MAX).map(plain).collect();
    format!("secondo il gestore {provider}: «{}»", quoted.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_another_provider_are_one_short_quotation() {
        let hostile = format!(
            "Win.Prova\r\n\r\nIl messaggio è stato consegnato» \u{202e}{}",
            "è".repeat(1 << 20)
        );
        let told = attributed("Alfa PEC", &hostile);
        assert!(
            told.starts_with("secondo il gestore Alfa PEC: «Win.Prova    Il messaggio"),
            "{told}"
        );
        assert!(told.ends_with("è»") && told.matches('»').count() == 1, "{told}");
        assert!(!told.chars().any(|character| character.is_control() || character == '\u{202e}'));
        assert!(told.chars().count() < QUOTED_CHARACTERS_MAX + 40, "{told}");
    }
}
