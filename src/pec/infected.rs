//! What is told of a virus that was found on the way: by the recipient's provider to the sender's, and by
//! that one to the sender (RFC 6109 §3.2.3, §3.2.4).
//!
//! * The recipient's provider issues one notice for each of its recipients, after the take-charge receipt:
//!   the envelope was correct and undamaged when it came. Each notice is a row of `delivery_work` from the
//!   batch of that receipt, and ends in a batch of its own, so that one of 500 recipients takes no more memory
//!   than one of a single recipient, and none is told of twice.
//! * The sender's provider believes a notice about a recipient of the transmission from that recipient's own
//!   provider, and nobody else. It tells the sender once, in the batch that moves the recipient.
//!
//! Not here: where messages with viruses go (`quarantine`), the notice that one was not accepted
//! (`acceptance`).

use std::sync::Arc;

use bytes::Bytes;
use storage::{
    catalog::engine::{Batch, Expected},
    error::StoreError,
    ids::AccountId,
};
use trust::clock::UnixMillis;

use super::{
    acceptance,
    address::Address,
    artefacts::{Artefact, ArtefactKind},
    classify::PecMessage,
    distribution::{self, classify_again},
    engine::{PecEngine, PecError},
    facts::TransmissionFacts,
    instant::CertifiedInstant,
    issue::{self, Issued},
    journal::JournalEvent,
    quarantine::{self, QuarantineId},
    records::{
        DELIVERY_WORK, DeliveryRecord, DeliveryStage, INCOMING_MESSAGES, IncomingId,
        IncomingRecord, JournalRecord, TransmissionId, TransmissionRecord, decode,
    },
};

/// Whether a delivery row owes a notice about a virus. All rows of a source do, or none.
pub(super) fn owes_notice(key: &[u8], value: &[u8]) -> Result<bool, StoreError> {
    let row: DeliveryRecord = decode(DELIVERY_WORK, key, value)?;
    Ok(row.stage() == DeliveryStage::VirusNoticeOwed)
}

/// What every notice about one message has from it.
struct Detection {
    instant: CertifiedInstant,
    /// The facts of the envelope.
    facts: TransmissionFacts,
    /// The service mailbox of the sender's provider.
    mail_receipt: Address,
    /// What was found.
    threat: String,
    journal: JournalRecord,
}

/// Tells the sender's provider what `rows`, delivery rows of `id`, owe: one notice after the other, each in
/// the batch that ends its row. What is interrupted goes on with the rows that are left.
///
/// The message is opened once for all of them, and closed before the first notice is made; the memory stays
/// reserved meanwhile, for what came of it is in its sender's hands.
///
/// # Errors
///
/// The first error met; what was told by then stays told, and the other rows stay.
pub(super) async fn tell_provider(
    engine: &Arc<PecEngine>,
    id: IncomingId,
    rows: Vec<(Bytes, Bytes)>,
) -> Result<(), PecError> {
    let Some((key, value)) = rows.first() else { return Ok(()) };
    let first: DeliveryRecord = decode(DELIVERY_WORK, key, value)?;
    let sealed = engine.held(&first.message, &format!("incoming message {id}")).await?;
    let _memory = engine.reserve(sealed.size()).await?;
    let detection = detection(engine, id, &first.quarantine).await?;
    for (key, value) in rows {
        match tell_of(engine, &detection, key, value).await {
            // Another worker was quicker.
            Err(PecError::Store(StoreError::Conflict)) => {}
            told => told?,
        }
    }
    Ok(())
}

async fn detection(
    engine: &Arc<PecEngine>,
    id: IncomingId,
    quarantined: &[u8],
) -> Result<Detection, PecError> {
    let inconsistent = |detail: &str| PecError::Inconsistent {
        object: format!("incoming message {id}"),
        detail: detail.to_owned(),
    };
    let record = engine.record::<IncomingRecord>(INCOMING_MESSAGES, &id.0).await?;
    let (record, _) = record.ok_or_else(|| inconsistent("the record is gone"))?;
    let quarantined = QuarantineId::from_octets(DELIVERY_WORK, quarantined)?;
    let (row, octets) = quarantine::open(engine, quarantined).await?;
    let PecMessage::TransportEnvelope(envelope) = classify_again(engine, octets).await?.0 else {
        return Err(inconsistent("it is no transport envelope"));
    };
    Ok(Detection {
        instant: CertifiedInstant::new(UnixMillis(record.instant_millis)),
        mail_receipt: distribution::mail_receipt(id, &record)?,
        threat: row.threat,
        journal: distribution::journal_record(&record, Some(&envelope.data.facts)),
        facts: envelope.data.facts,
    })
}

/// One notice, with its line in the journal and the end of its row.
async fn tell_of(
    engine: &Arc<PecEngine>,
    detection: &Detection,
    key: Bytes,
    value: Bytes,
) -> Result<(), PecError> {
    let row: DeliveryRecord = decode(DELIVERY_WORK, &key, &value)?;
    let recipient = Address::parse(&row.recipient).map_err(|_| PecError::Inconsistent {
        object: format!("the notice about {}", row.recipient),
        detail: "the recipient is no address".to_owned(),
    })?;
    let mut batch = Batch::default();
    batch.expect(DELIVERY_WORK, key.clone(), Expected::Value(value));
    batch.delete(DELIVERY_WORK, key);
    let Detection { instant, facts, mail_receipt, threat, journal } = detection;
    let notice = {
        let (facts, instant) = (facts.clone(), instant.clone());
        let (mail_receipt, threat) = (mail_receipt.clone(), threat.clone());
        issue::issue(engine, 0, move |issuer| {
            issuer.virus_detection_notice(&facts, &instant, &recipient, &threat, &mail_receipt)
        })
        .await?
    };
    let (held, _) = engine.hold(&notice.octets, &mut batch).await?;
    let due = issue::enqueue_notification(engine, &mut batch, held, mail_receipt);
    let journal = JournalRecord {
        recipients: vec![row.recipient],
        related: vec![notice.message_id],
        detail: threat.clone(),
        ..journal.clone()
    };
    engine.journal(&mut batch, instant.unix(), JournalEvent::VirusDetection, journal);
    engine.store().commit(batch).await?;
    engine.queue().announce(due, engine.now());
    Ok(())
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
