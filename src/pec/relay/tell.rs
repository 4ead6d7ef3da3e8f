//! What the sender is told of recipients whose fate is known: the notice of certified mail for
//! certified recipients, the report of RFC 3464 for others.
//!
//! Invariant: what is told, the recipients' new states and their leaving of the queue are one batch.
//!
//! Not here: what notices and reports look like (`receipt`, `dsn`).

use std::sync::Arc;

use protocols::smtp::grammar::Notify;
use storage::{
    catalog::engine::{Batch, Expected},
    error::StoreError,
    held::HeldMessage,
    ids::AccountId,
};
use trust::clock::UnixMillis;

use super::entry::{Entry, Refusal};
use crate::pec::{
    acceptance,
    address::Address,
    artefacts::{Artefact, ArtefactKind},
    dsn::{self, Action, RecipientReport, Report, Returned},
    encoded_word,
    engine::{PecEngine, PecError},
    header::Field,
    instant::CertifiedInstant,
    issue,
    journal::JournalEvent,
    notices::move_recipient,
    records::{
        JournalRecord, QueueKind, QueueRecipient, RecipientRecord, RecipientState,
        TRANSMISSION_RECIPIENTS, TRANSMISSIONS, TransmissionId, TransmissionRecord, encode,
        indexed_key,
    },
    time_limits,
};

impl Entry {
    /// Commits `batch`, in which the recipients leave the queue because a server has taken the
    /// message for them; with the report of that where one is due (RFC 3461 §5.2.2).
    pub(super) async fn tell_of_relay(
        &self,
        engine: &Arc<PecEngine>,
        taken: &[(QueueRecipient, String)],
        batch: Batch,
    ) -> Result<(), PecError> {
        let told: Vec<RecipientReport> = taken
            .iter()
            .filter(|(recipient, _)| Notify::from_number(recipient.notify).wants_success())
            .map(|(recipient, reply)| RecipientReport {
                status: "2.0.0".to_owned(),
                answer: Some((self.server().to_owned(), reply.clone())),
                ..about(recipient, engine.certified_now())
            })
            .collect();
        match self.transmission()? {
            Some(id) if self.record().ordinary && !self.server_reports() && !told.is_empty() => {
                match self.report(engine, id, Action::Relayed, told, batch.clone()).await {
                    Err(PecError::Store(error)) if error.is_temporary() => Err(error.into()),
                    // What a server has taken is not sent again, whatever becomes of the report.
                    Err(error) => {
                        tracing::error!(
                            error = &error as &dyn std::error::Error,
                            "a relayed message leaves the queue without the report of that"
                        );
                        commit(engine, batch).await
                    }
                    Ok(()) => Ok(()),
                }
            }
            _ => commit(engine, batch).await,
        }
    }

    /// Commits `batch`, in which the recipients leave the queue because they cannot be reached, and
    /// tells the sender.
    pub(super) async fn tell_of_failure(
        &self,
        engine: &Arc<PecEngine>,
        refused: &[(QueueRecipient, Refusal)],
        batch: Batch,
    ) -> Result<(), PecError> {
        let transmission = match self.record().kind() {
            QueueKind::TransportEnvelope => self.transmission()?,
            // Nothing answers an answer.
            QueueKind::Notification | QueueKind::StatusNotification => None,
        };
        match (transmission, refused) {
            (Some(id), _) if self.record().ordinary => {
                self.report_failure(engine, id, refused, batch).await
            }
            // Within the time that the rules give, its end is told in their words (RFC 6109 §3.1.6).
            (Some(id), [(recipient, refusal)]) if refusal.in_time(engine, self.record()) => {
                time_limits::give_up(engine, id, recipient.index, batch).await
            }
            (Some(id), [(recipient, refusal)]) if !is_answered(engine, id, recipient).await? => {
                self.notice(engine, id, recipient, refusal, batch).await
            }
            // His provider has spoken for him already: a reply was lost, not the message.
            _ => commit(engine, batch).await,
        }
    }

    /// The report that a message to ordinary mail is late.
    pub(super) async fn report_delay(
        &self,
        engine: &Arc<PecEngine>,
        late: &[QueueRecipient],
        batch: Batch,
    ) -> Result<(), PecError> {
        let Some(id) = self.transmission()? else { return commit(engine, batch).await };
        let record = self.record();
        let answer = (!record.last_server.is_empty())
            .then(|| (record.last_server.clone(), record.last_error.clone()));
        let reports = late
            .iter()
            .map(|recipient| RecipientReport {
                status: "4.4.7".to_owned(),
                answer: answer.clone(),
                reason: Some((
                    "il server non risponde".to_owned(),
                    "the server does not answer".to_owned(),
                )),
                ..about(recipient, engine.certified_now())
            })
            .collect();
        self.report(engine, id, Action::Delayed, reports, batch).await
    }

    async fn report_failure(
        &self,
        engine: &Arc<PecEngine>,
        id: TransmissionId,
        refused: &[(QueueRecipient, Refusal)],
        mut batch: Batch,
    ) -> Result<(), PecError> {
        let now = engine.certified_now();
        for (recipient, _) in refused {
            let (index, state) = (recipient.index, RecipientState::Failed);
            move_recipient(engine, &mut batch, id, index, state, now.unix().0).await?;
        }
        let told: Vec<RecipientReport> = refused
            .iter()
            .filter(|(recipient, _)| Notify::from_number(recipient.notify).wants_failure())
            .map(|(recipient, refusal)| RecipientReport {
                status: refusal.fault.code.clone(),
                answer: refusal.answer.clone(),
                reason: Some((refusal.fault.italian.clone(), refusal.fault.english.clone())),
                ..about(recipient, now.clone())
            })
            .collect();
        if told.is_empty() {
            return commit(engine, batch).await;
        }
        self.report(engine, id, Action::Failed, told, batch).await
    }

    /// Puts a report into the sender's mailbox, with everything else in one batch.
    async fn report(
        &self,
        engine: &Arc<PecEngine>,
        id: TransmissionId,
        action: Action,
        recipients: Vec<RecipientReport>,
        mut batch: Batch,
    ) -> Result<(), PecError> {
        let transmission = transmission(engine, id).await?;
        let held = self.original(engine, id, &transmission).await?;
        let _memory = engine.reserve(held.as_ref().map_or(0, HeldMessage::size)).await?;
        let returned = self.returned(engine, held.as_ref(), &transmission, action).await?;
        let lifetime = engine.settings().queue_lifetime_millis;
        let until = UnixMillis(self.record().queued_millis).plus_millis(lifetime);
        let names: Vec<String> = recipients.iter().map(|one| one.address.clone()).collect();
        let report = Report {
            to: self.record().reverse_path.clone(),
            arrived: UnixMillis(transmission.instant_millis),
            envelope_id: self.record().envelope_id.clone(),
            subject: Some(transmission.subject.clone()),
            message_id: transmission.client_message_id.clone(),
            action,
            recipients,
            retried_until: (action == Action::Delayed).then_some(until),
        };
        let instant = engine.certified_now();
        let issued = dsn::report(engine, &instant, report, returned).await?;
        let journal = JournalRecord {
            recipients: names.clone(),
            related: vec![issued.message_id.clone()],
            detail: action.word().to_owned(),
            ..acceptance::journal_record(engine, &transmission)
        };
        engine.journal(&mut batch, instant.unix(), JournalEvent::StatusNotification, journal);
        let artefact = Artefact::to_sender(
            (id, &transmission),
            ArtefactKind::StatusNotification,
            instant.unix(),
            names,
            &engine.issuer().name,
        );
        let account = AccountId(transmission.account_id);
        issue::put_into_senders_mailbox(engine, account, &issued, artefact, batch).await
    }

    /// The message as its sender has submitted it; the envelope where that was let go of.
    async fn original(
        &self,
        engine: &PecEngine,
        id: TransmissionId,
        transmission: &TransmissionRecord,
    ) -> Result<Option<HeldMessage>, PecError> {
        match engine.held(&transmission.original, &format!("transmission {id}")).await {
            Ok(held) => Ok(Some(held)),
            Err(error) if error.is_temporary() => Err(error),
            Err(_) => Ok(self.held().cloned()),
        }
    }

    /// What a report returns of the message; what the records say of it when it cannot be read.
    async fn returned(
        &self,
        engine: &PecEngine,
        held: Option<&HeldMessage>,
        transmission: &TransmissionRecord,
        action: Action,
    ) -> Result<Returned, PecError> {
        if let Some(held) = held {
            let read = dsn::returned(engine, held, self.record().returned(), action).await;
            if let Some(returned) = acceptance::unless_damaged(&self.id(), read)? {
                return Ok(returned);
            }
        }
        Ok(Returned::Header(header_of_records(transmission).into()))
    }

    /// The non-delivery notice to the sender (RFC 6109 §3.3.3), with everything else in one batch.
    async fn notice(
        &self,
        engine: &Arc<PecEngine>,
        id: TransmissionId,
        recipient: &QueueRecipient,
        refusal: &Refusal,
        mut batch: Batch,
    ) -> Result<(), PecError> {
        let transmission = transmission(engine, id).await?;
        let address = Address::parse(&recipient.address)
            .map_err(|_| inconsistent(id, "a recipient is no address"))?;
        let key = indexed_key(&id.0, recipient.index);
        let row = engine.record::<RecipientRecord>(TRANSMISSION_RECIPIENTS, &key).await?;
        let facts = acceptance::certified_facts(engine, id, &transmission).await?;
        let instant = engine.certified_now();
        let fault = refusal.fault.clone();
        let notice = issue::non_delivery(engine, &instant, &facts, &address, fault).await?;
        let now = instant.unix();
        if let Some((row, value)) = row {
            if row.state >= i32::from(RecipientState::TakenInCharge) {
                // Somebody has spoken of him meanwhile.
                return commit(engine, batch).await;
            }
            // A receipt, or the end of his time, that comes while this is signed counts.
            batch.expect(TRANSMISSION_RECIPIENTS, key.clone(), Expected::Value(value));
            let failed = RecipientState::Failed.into();
            let next = RecipientRecord { state: failed, changed_millis: now.0, ..row };
            batch.put(TRANSMISSION_RECIPIENTS, key, encode(&next));
        }
        let journal = JournalRecord {
            recipients: vec![recipient.address.clone()],
            related: vec![notice.message_id.clone()],
            ..acceptance::journal_record(engine, &transmission)
        };
        engine.journal(&mut batch, now, JournalEvent::NonDelivery, journal);
        let artefact = Artefact::to_sender(
            (id, &transmission),
            ArtefactKind::NonDeliveryNotice,
            now,
            vec![recipient.address.clone()],
            &engine.issuer().name,
        );
        let account = AccountId(transmission.account_id);
        issue::put_into_senders_mailbox(engine, account, &notice, artefact, batch).await
    }
}

/// What a report says of every recipient alike.
fn about(recipient: &QueueRecipient, last_attempt: CertifiedInstant) -> RecipientReport {
    RecipientReport {
        address: recipient.address.clone(),
        original: recipient.original_recipient.clone(),
        status: String::new(),
        answer: None,
        last_attempt: Some(last_attempt),
        reason: None,
    }
}

/// The fields by which a sender knows a message again, from its record.
fn header_of_records(transmission: &TransmissionRecord) -> Vec<u8> {
    const SUBJECT: &str = "Subject";
    let subject = encoded_word::encode(&transmission.subject, SUBJECT.len());
    let mut header = Field::new("From", transmission.sender.as_bytes()).octets().to_vec();
    header.extend_from_slice(Field::new(SUBJECT, subject.as_bytes()).octets());
    if let Some(message_id) = &transmission.client_message_id {
        header.extend_from_slice(Field::new("Message-ID", message_id.as_bytes()).octets());
    }
    header
}

async fn commit(engine: &PecEngine, batch: Batch) -> Result<(), PecError> {
    engine.store().commit(batch).await?;
    Ok(())
}

fn inconsistent(id: TransmissionId, detail: &str) -> PecError {
    PecError::Inconsistent { object: format!("transmission {id}"), detail: detail.to_owned() }
}

async fn transmission(
    engine: &PecEngine,
    id: TransmissionId,
) -> Result<TransmissionRecord, PecError> {
    let found = engine.record::<TransmissionRecord>(TRANSMISSIONS, &id.0).await?;
    found.map(|(record, _)| record).ok_or_else(|| inconsistent(id, "it is gone"))
}

/// Whether the recipient's provider has taken charge of the message, or more.
async fn is_answered(
    engine: &PecEngine,
    transmission: TransmissionId,
    recipient: &QueueRecipient,
) -> Result<bool, StoreError> {
    let key = indexed_key(&transmission.0, recipient.index);
    let row = engine.record::<RecipientRecord>(TRANSMISSION_RECIPIENTS, &key).await?;
    Ok(row.is_some_and(|(row, _)| row.state >= i32::from(RecipientState::TakenInCharge)))
}
