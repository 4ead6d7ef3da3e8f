//! What the access point owes for a submitted message: acceptance receipt and transport envelope,
//! or the notice of non-acceptance, by form or for a virus (RFC 6109 §3.1.2 to §3.1.5).
//!
//! Invariants:
//!
//! * The receipt in the sender's mailbox, the envelope, the duties of the queue and of the
//!   delivery point, and the end of this duty are one batch.
//! * One envelope serves all recipients (RFC 6109 §3.1.5); it keeps the transmission's instant.
//! * Receipts are stored whatever space the sender has left.
//! * What was taken is answered: when it cannot be read any more, by a notice from the records.
//!
//! Not here: taking the message (`access_point`), sending and delivering (`queue`,
//! `delivery_point`).

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use storage::{
    catalog::engine::{Batch, Expected},
    error::StoreError,
    held::HeldId,
    ids::AccountId,
};
use tokio::sync::OwnedSemaphorePermit;
use trust::clock::UnixMillis;

use super::{
    address::Address,
    artefacts::{Artefact, ArtefactKind},
    classify::PecMessage,
    distribution::{classify_again, due_now, recipient_rows},
    engine::{PecEngine, PecError},
    facts::{Recipient, RecipientKind, TransmissionFacts},
    header::Header,
    identifier::PecIdentifier,
    instant::CertifiedInstant,
    issue::{self, Issued},
    journal::JournalEvent,
    records::{
        DELIVERY_WORK, DeliveryRecord, DeliveryStage, Due, IncomingKind, JournalRecord, KnownBy,
        QueueKind, QueueRecipient, QueueRecord, RecipientRecord, RecipientState, ReturnedPart,
        Seen, TRANSMISSION_RECIPIENTS, TRANSMISSION_WORK, TRANSMISSIONS, TransmissionId,
        TransmissionRecord, TransmissionState, encode, indexed_key, seen_key,
    },
    time_limits,
    work::Source,
};
use crate::service_levels::delays::DelayKind;

/// Brings a submitted message past the access point.
///
/// # Errors
///
/// Whatever the store or the signer says; the duty then stands as before.
pub async fn accept(engine: &Arc<PecEngine>, id: TransmissionId) -> Result<(), PecError> {
    if engine.store().engine().get(TRANSMISSION_WORK, &id.0).await?.is_none() {
        return Ok(());
    }
    let gone = || PecError::Inconsistent {
        object: format!("transmission {id}"),
        detail: "it is gone".to_owned(),
    };
    let (record, value) =
        engine.record::<TransmissionRecord>(TRANSMISSIONS, &id.0).await?.ok_or_else(gone)?;
    let case = Case::read(engine, id, record, value).await?;
    let done = match case.record.state() {
        TransmissionState::Submitted => match case.original(engine).await? {
            Some(original) => case.accept(engine, original).await,
            None => case.with_nothing_left().refuse(engine).await,
        },
        TransmissionState::Refused => case.refuse(engine).await,
        TransmissionState::Accepted | TransmissionState::Rejected => Ok(()),
    };
    match done {
        // Another worker was quicker, or the account changed: the next scan decides.
        Err(PecError::Store(StoreError::Conflict))
            if engine.store().engine().get(TRANSMISSION_WORK, &id.0).await?.is_none() =>
        {
            Ok(())
        }
        Err(error) => Err(error),
        Ok(()) => super::delivery_point::deliver_all(engine, Source::Transmission(id)).await,
    }
}

/// The fields that every journal record of a transmission has.
pub(super) fn journal_record(engine: &PecEngine, record: &TransmissionRecord) -> JournalRecord {
    JournalRecord {
        identifier: record.identifier.clone(),
        message_id: record.client_message_id.clone().unwrap_or_default(),
        sender: record.sender.clone(),
        subject: record.subject.clone(),
        provider: engine.issuer().name.clone(),
        ..JournalRecord::default()
    }
}

/// The recipients of one domain that is not ours.
struct Lane {
    address: Address,
    /// The domain is outside certified mail.
    ordinary: bool,
    recipients: Vec<QueueRecipient>,
}

/// A recipient as the queue keeps him. Certified recipients have receipts in place of what NOTIFY
/// asks for.
fn queue_recipient(row: &RecipientRecord, index: u32) -> QueueRecipient {
    let address = row.address.clone();
    if row.certified {
        return QueueRecipient { address, index, ..QueueRecipient::default() };
    }
    QueueRecipient {
        address,
        index,
        notify: row.notify,
        original_recipient: row.original_recipient.clone(),
        delay_told: false,
    }
}

fn recipients(rows: &[(Bytes, Bytes, RecipientRecord)]) -> Vec<Recipient> {
    let kind = |row: &RecipientRecord| {
        if row.certified { RecipientKind::Certified } else { RecipientKind::External }
    };
    rows.iter()
        .map(|(_, _, row)| Recipient { address: row.address.clone(), kind: kind(row) })
        .collect()
}

/// The facts of a transmission as far as its records have them; its Reply-To stands in the message.
fn recorded_facts(
    identifier: &PecIdentifier,
    record: &TransmissionRecord,
    recipients: Vec<Recipient>,
) -> TransmissionFacts {
    TransmissionFacts {
        identifier: identifier.clone(),
        sender: record.sender.clone(),
        recipients,
        reply_to: record.sender.clone(),
        subject: Some(record.subject.clone()),
        message_id: record.client_message_id.clone(),
    }
}

/// The same, read from the catalog: for a transmission whose message cannot be read.
///
/// # Errors
///
/// When the store fails or the records are damaged, too.
async fn facts_of_records(
    engine: &PecEngine,
    id: TransmissionId,
    record: &TransmissionRecord,
) -> Result<TransmissionFacts, PecError> {
    let identifier =
        PecIdentifier::from_text(&record.identifier).ok_or_else(|| PecError::Inconsistent {
            object: format!("transmission {id}"),
            detail: "its identifier is not one".to_owned(),
        })?;
    let rows = recipient_rows(engine, id, record.recipients).await?;
    Ok(recorded_facts(&identifier, record, recipients(&rows)))
}

/// Lets pass that something cannot be read now or ever: what is said of it then comes from the
/// records alone, since a sender who hears nothing is worse off.
///
/// # Errors
///
/// Those that another try can mend.
pub(super) fn unless_damaged<T>(
    id: &dyn std::fmt::Display,
    read: Result<T, PecError>,
) -> Result<Option<T>, PecError> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if error.is_temporary() => Err(error),
        Err(error) => {
            tracing::error!(
                %id,
                error = &error as &dyn std::error::Error,
                "a message cannot be read: run `ceralacca store check`; its sender is told from the records"
            );
            Ok(None)
        }
    }
}

/// What a notice of this provider certifies of a transmission: from its envelope, or from the records
/// when that cannot be read.
///
/// # Errors
///
/// When the store fails or the records are damaged, too.
pub(super) async fn certified_facts(
    engine: &Arc<PecEngine>,
    id: TransmissionId,
    record: &TransmissionRecord,
) -> Result<TransmissionFacts, PecError> {
    let read = facts_of_envelope(engine, id, record).await;
    match unless_damaged(&id, read)? {
        Some(facts) => Ok(facts),
        None => facts_of_records(engine, id, record).await,
    }
}

async fn facts_of_envelope(
    engine: &Arc<PecEngine>,
    id: TransmissionId,
    record: &TransmissionRecord,
) -> Result<TransmissionFacts, PecError> {
    let held = engine.held(&record.envelope, &format!("transmission {id}")).await?;
    let _memory = engine.reserve(held.size()).await?;
    let octets = engine.read_held(&held).await?;
    match classify_again(engine, octets).await? {
        (PecMessage::TransportEnvelope(envelope), _) => Ok(envelope.data.facts),
        _ => Err(PecError::Inconsistent {
            object: format!("transmission {id}"),
            detail: "its envelope is none".to_owned(),
        }),
    }
}

/// What the sender reads of a message that was taken and cannot be read any more.
const LOST: &str =
    "per un guasto del gestore il messaggio non può più essere letto: va inviato di nuovo";

/// A message as it was submitted.
struct Original {
    header: Header,
    octets: Bytes,
    /// For what is made of it.
    _memory: OwnedSemaphorePermit,
}

/// One transmission being brought past the access point.
struct Case {
    id: TransmissionId,
    record: TransmissionRecord,
    /// The record's octets, which the closing batch expects.
    value: Bytes,
    rows: Vec<(Bytes, Bytes, RecipientRecord)>,
    identifier: PecIdentifier,
    sender: Address,
    instant: CertifiedInstant,
}

impl Case {
    async fn read(
        engine: &PecEngine,
        id: TransmissionId,
        record: TransmissionRecord,
        value: Bytes,
    ) -> Result<Self, PecError> {
        let damaged = |detail: &str| PecError::Inconsistent {
            object: format!("transmission {id}"),
            detail: detail.to_owned(),
        };
        Ok(Self {
            rows: recipient_rows(engine, id, record.recipients).await?,
            identifier: PecIdentifier::from_text(&record.identifier)
                .ok_or_else(|| damaged("its identifier is not one"))?,
            sender: Address::parse(&record.sender)
                .map_err(|_| damaged("its sender is no address"))?,
            instant: CertifiedInstant::new(UnixMillis(record.instant_millis)),
            id,
            record,
            value,
        })
    }

    fn recipients(&self) -> Vec<Recipient> {
        recipients(&self.rows)
    }

    /// The batch that ends this duty with the transmission in `state`.
    fn closing(
        &self,
        state: TransmissionState,
        recipients: RecipientState,
        envelope: Option<HeldId>,
    ) -> Batch {
        let mut batch = Batch::default();
        let mut record = self.record.clone();
        record.set_state(state);
        record.envelope = envelope.map(|held| held.0.to_vec()).unwrap_or_default();
        batch.expect(TRANSMISSIONS, self.id.key(), Expected::Value(self.value.clone()));
        batch.put(TRANSMISSIONS, self.id.key(), encode(&record));
        batch.delete(TRANSMISSION_WORK, self.id.key());
        for (key, _, row) in &self.rows {
            let mut row = row.clone();
            row.set_state(recipients);
            batch.put(TRANSMISSION_RECIPIENTS, key.clone(), encode(&row));
        }
        batch
    }

    /// The notice that the message was not accepted.
    async fn refuse(&self, engine: &Arc<PecEngine>) -> Result<(), PecError> {
        let _memory = engine.reserve(issue::notice_octets(self.rows.len())).await?;
        let facts = recorded_facts(&self.identifier, &self.record, self.recipients());
        let (notice, event, fault) = match (&self.record.fault, &self.record.threat) {
            // The formal checks come first (RFC 6109 §3.1.1).
            (None, Some(threat)) => {
                let notice =
                    issue::virus_non_acceptance(engine, &self.instant, &facts, threat).await?;
                (notice, JournalEvent::VirusNonAcceptance, threat.clone())
            }
            (fault, _) => {
                let fault = fault.clone().unwrap_or_default();
                let notice = issue::non_acceptance(engine, &self.instant, &facts, &fault).await?;
                (notice, JournalEvent::NonAcceptance, fault)
            }
        };
        let mut batch = self.closing(TransmissionState::Rejected, RecipientState::Rejected, None);
        let journal = JournalRecord {
            recipients: facts.recipients.into_iter().map(|recipient| recipient.address).collect(),
            related: vec![notice.message_id.clone()],
            detail: fault,
            ..journal_record(engine, &self.record)
        };
        engine.journal(&mut batch, self.instant.unix(), event, journal);
        let artefact = self.artefact(engine, ArtefactKind::NonAcceptanceNotice);
        let account = AccountId(self.record.account_id);
        issue::put_into_senders_mailbox(engine, account, &notice, artefact, batch).await
    }

    /// The message as it was submitted; `None` when it cannot be read now or ever.
    async fn original(&self, engine: &PecEngine) -> Result<Option<Original>, PecError> {
        let whose = format!("transmission {}", self.id);
        let read = async {
            let held = engine.held(&self.record.original, &whose).await?;
            // The original, the envelope around it, and the envelope signed; the receipt beside them.
            let beside = issue::notice_octets(self.rows.len());
            let memory = engine.reserve(held.size().saturating_add(beside)).await?;
            let octets = engine.read_held(&held).await?;
            let (header, _) = Header::parse(&octets).map_err(|fault| PecError::Inconsistent {
                object: format!("transmission {}", self.id),
                detail: fault.to_string(),
            })?;
            Ok(Original { header, octets, _memory: memory })
        }
        .await;
        unless_damaged(&self.id, read)
    }

    /// The same transmission, not accepted because its message was lost after it was taken: its sender hears so,
    /// and can send it again.
    fn with_nothing_left(mut self) -> Self {
        self.record.fault = Some(LOST.to_owned());
        self
    }

    /// The acceptance receipt and the envelope.
    async fn accept(&self, engine: &Arc<PecEngine>, original: Original) -> Result<(), PecError> {
        let Original { header, octets: original, _memory } = original;
        let (facts, receipt_type) = issue::facts_of_original(
            &header,
            &self.sender,
            self.recipients(),
            &self.identifier,
            self.record.client_message_id.clone(),
        );
        let receipt = issue::acceptance(engine, &self.instant, &facts).await?;
        let envelope = issue::transport_envelope(
            engine,
            &self.instant,
            &facts,
            receipt_type,
            header,
            original,
        )
        .await?;
        let mut held_envelope = Batch::default();
        let (held, staged) = engine.hold(&envelope.octets, &mut held_envelope).await?;
        let stored = staged.stored();
        let of_envelope = (stored.digest(), stored.size());
        let mut batch =
            self.closing(TransmissionState::Accepted, RecipientState::Accepted, Some(held));
        batch.merge(held_envelope);
        let due = self.dispatch(engine, &mut batch, held);
        self.journal_acceptance(engine, &mut batch, &receipt, &envelope);
        let artefact = self.artefact(engine, ArtefactKind::TransportEnvelope);
        let artefact = Artefact { mailbox: String::new(), ..artefact };
        artefact.note(&mut batch, &envelope.message_id, of_envelope, &held.0);
        let artefact = self.artefact(engine, ArtefactKind::AcceptanceReceipt);
        let account = AccountId(self.record.account_id);
        issue::put_into_senders_mailbox(engine, account, &receipt, artefact, batch).await?;
        for due in due {
            engine.queue().announce(due, engine.now());
        }
        engine.count_delay(DelayKind::Acceptance, self.sender.domain(), self.instant.unix());
        Ok(())
    }

    fn artefact(&self, engine: &PecEngine, kind: ArtefactKind) -> Artefact {
        let (of, instant) = ((self.id, &self.record), self.instant.unix());
        Artefact::to_sender(of, kind, instant, Vec::new(), &engine.issuer().name)
    }

    fn journal_acceptance(
        &self,
        engine: &PecEngine,
        batch: &mut Batch,
        receipt: &Issued,
        envelope: &Issued,
    ) {
        for (event, issued) in
            [(JournalEvent::Acceptance, receipt), (JournalEvent::TransportEnvelope, envelope)]
        {
            let journal = JournalRecord {
                recipients: self.rows.iter().map(|(_, _, row)| row.address.clone()).collect(),
                related: vec![issued.message_id.clone()],
                ..journal_record(engine, &self.record)
            };
            engine.journal(batch, self.instant.unix(), event, journal);
        }
    }

    /// Adds the duties of the delivery point (our own domains) and of the queue (one record per
    /// destination domain). Returns what the schedule of the queue has to know.
    fn dispatch(&self, engine: &PecEngine, batch: &mut Batch, envelope: HeldId) -> Vec<Due> {
        let mut remote: BTreeMap<String, Lane> = BTreeMap::new();
        for (index, (_, _, row)) in (0_u32..).zip(&self.rows) {
            // Checked at the access point; a row that says otherwise names nobody to send to.
            let Ok(address) = Address::parse(&row.address) else { continue };
            if row.certified {
                time_limits::begin(engine, batch, self.id, index, engine.now());
            }
            if engine.serves(address.domain()) {
                let delivery = self.delivery(envelope, &address, index);
                batch.put(
                    DELIVERY_WORK,
                    indexed_key(&Source::Transmission(self.id).key(), index),
                    encode(&delivery),
                );
            } else {
                let domain = address.domain().as_str().to_owned();
                let recipient = queue_recipient(row, index);
                let lane = || Lane { address, ordinary: !row.certified, recipients: Vec::new() };
                remote.entry(domain).or_insert_with(lane).recipients.push(recipient);
            }
        }
        let mut due = Vec::with_capacity(remote.len());
        for Lane { address, ordinary, recipients } in remote.into_values() {
            // What the sender asks to be told matters outside certified mail alone.
            let (envelope_id, returned) = if ordinary {
                (self.record.envelope_id.clone(), self.record.returned)
            } else {
                (None, ReturnedPart::Unspecified.into())
            };
            let record = QueueRecord {
                recipients,
                ordinary,
                envelope_id,
                returned,
                message: envelope.0.to_vec(),
                transmission: self.id.0.to_vec(),
                // The reverse path stays the sender's own (RFC 6109 §3.1.5).
                ..due_now(engine.now(), QueueKind::TransportEnvelope, &address, &self.record.sender)
            };
            due.push(engine.enqueue(batch, &record));
        }
        due
    }

    fn delivery(&self, envelope: HeldId, recipient: &Address, index: u32) -> DeliveryRecord {
        DeliveryRecord {
            kind: IncomingKind::TransportEnvelope.into(),
            stage: DeliveryStage::Pending.into(),
            message: envelope.0.to_vec(),
            recipient: recipient.as_str().to_owned(),
            seen_key: seen_key(
                b"",
                KnownBy::Name(self.record.identifier.as_bytes()),
                b"",
                Seen::Delivered(recipient.folded()),
            )
            .to_vec(),
            transmission: self.id.0.to_vec(),
            transmission_index: index,
            ..DeliveryRecord::default()
        }
    }
}
