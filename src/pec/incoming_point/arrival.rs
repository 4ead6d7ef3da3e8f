//! A message that has been judged, on its way into the catalog.
//!
//! * What a repeat is recognised by, the message or its place in quarantine, its record and the duty to
//!   distribute it are one batch.
//! * What is refused for a virus goes into quarantine once, however often it comes, and not at all when the same
//!   signed entity is there already from an envelope that was taken.
//!
//! Not here: the judgement (`incoming_point`).

use std::sync::Arc;

use bytes::Bytes;
use protocols::smtp::{
    grammar::EnvelopeId,
    transport::{Peer, Refusal},
};
use storage::{
    catalog::engine::{Batch, Expected},
    error::StoreError,
    held::HeldId,
};
use trust::clock::UnixMillis;

use super::Judged;
use crate::pec::{
    distribution::CONFLICTS_MAX,
    engine::{PecEngine, PecError},
    facts::quotable,
    journal::JournalEvent,
    pressure::RoomPromise,
    quarantine::{self, FoundAt, Infected, QuarantineId},
    records::{
        INCOMING_MESSAGES, INCOMING_SEEN, INCOMING_WORK, IncomingId, IncomingKind, IncomingRecord,
        JournalRecord, KnownBy, RecipientAsked, ReturnedPart, Seen, encode, recognised_by,
        seen_key, sender_class,
    },
    refusals,
    work::{Work, work_value},
};

/// A message that has been judged, on its way into the catalog.
pub(super) struct Arrival<'a> {
    pub(super) id: IncomingId,
    pub(super) peer: &'a Peer,
    pub(super) reverse_path: String,
    pub(super) recipients: Vec<(String, RecipientAsked)>,
    pub(super) returned: ReturnedPart,
    pub(super) envelope_id: Option<EnvelopeId>,
    pub(super) octets: &'a Bytes,
    /// The recipients whose mailboxes take no ordinary mail, which this is.
    pub(super) refusing: Vec<String>,
    /// The recipients to whom it is not owed, since it comes because of nothing that they sent.
    pub(super) not_owed: Vec<String>,
    /// The virus in it.
    pub(super) threat: Option<String>,
    /// Octets of our own trace field, which the peer did not send.
    pub(super) trace_octets: usize,
    pub(super) judged: Judged,
}

/// Makes the message durable for the recipients for whom it was not taken before, and announces
/// it; for the others the repeat is only journalled. Returns whether there was anything to store.
pub(super) async fn store_incoming(
    engine: &Arc<PecEngine>,
    arrival: Arrival<'_>,
) -> Result<bool, PecError> {
    for _ in 0..CONFLICTS_MAX {
        let (fresh, again) = arrival.split(engine).await?;
        if fresh.is_empty() {
            journal_repeat(engine, arrival.journal_record(again)).await?;
            return Ok(false);
        }
        match arrival.take(engine, fresh).await {
            // The same message was taken on another connection meanwhile.
            Err(PecError::Store(StoreError::Conflict)) => {}
            Err(error) => return Err(error),
            Ok(()) if again.is_empty() => return Ok(true),
            Ok(()) => {
                journal_repeat(engine, arrival.journal_record(again)).await?;
                return Ok(true);
            }
        }
    }
    Err(StoreError::Conflict.into())
}

impl Arrival<'_> {
    fn key(&self, recipient: &str) -> Bytes {
        let Judged { kind, signer, message_id, entity_digest, .. } = &self.judged;
        let name = recognised_by(*kind, signer, message_id, &self.id);
        seen_key(signer, name, &entity_digest.0, Seen::Taken(recipient))
    }

    /// By what it is known that its signed entity is in quarantine: the header stands outside of that, and who
    /// changes it would have the same kept again.
    fn quarantined_key(&self) -> Bytes {
        let Judged { signer, entity_digest, .. } = &self.judged;
        seen_key(signer, KnownBy::Name(b""), &entity_digest.0, Seen::Quarantined)
    }

    /// The key that all mail had in versions that looked at the Message-ID of certified mail, too. This one
    /// writes it for nothing that has a signer.
    fn former_key(&self, recipient: &str) -> Bytes {
        let Judged { signer, message_id, entity_digest, .. } = &self.judged;
        seen_key(signer, KnownBy::Name(message_id), &entity_digest.0, Seen::Taken(recipient))
    }

    /// The recipients for whom this message is new, and those for whom it was taken before: a
    /// sender that saw no reply sends again, perhaps with others besides.
    pub(super) async fn split(
        &self,
        engine: &PecEngine,
    ) -> Result<(Vec<(String, RecipientAsked)>, Vec<String>), StoreError> {
        let keys = |recipient: &str| [self.key(recipient), self.former_key(recipient)];
        let recipients = self.recipients.iter();
        let keys: Vec<_> = recipients
            .flat_map(|(recipient, _)| keys(recipient).map(|key| (INCOMING_SEEN, key)))
            .collect();
        let seen = engine.store().engine().multi_get(&keys).await?;
        let (mut fresh, mut again) = (Vec::new(), Vec::new());
        for (recipient, seen) in self.recipients.iter().zip(seen.chunks(2)) {
            if seen.iter().all(Option::is_none) {
                fresh.push(recipient.clone());
            } else {
                again.push(recipient.0.clone());
            }
        }
        Ok((fresh, again))
    }

    fn journal_record(&self, recipients: Vec<String>) -> JournalRecord {
        let Judged { message_id, subject, provider, reason, .. } = &self.judged;
        JournalRecord {
            message_id: quotable(String::from_utf8_lossy(message_id).into_owned()),
            sender: self.reverse_path.clone(),
            recipients,
            subject: subject.clone(),
            provider: provider.clone(),
            detail: format!("from {} ({}) {reason}", self.peer.address, self.peer.helo),
            ..JournalRecord::default()
        }
    }

    /// Adds the message to `batch` as one in quarantine.
    async fn keep(
        &self,
        engine: &Arc<PecEngine>,
        batch: &mut Batch,
        instant: UnixMillis,
        about: JournalRecord,
    ) -> Result<(QuarantineId, HeldId), PecError> {
        let found_at = match self.judged.kind {
            IncomingKind::TransportEnvelope => FoundAt::IncomingPoint,
            IncomingKind::Notification => FoundAt::Receipt,
            IncomingKind::Anomaly => FoundAt::Malformed,
        };
        let octets = self.octets.slice(self.trace_octets..);
        let threat = self.threat.clone().unwrap_or_default();
        let infected = Infected { octets, threat, found_at, instant, about };
        quarantine::keep(engine, batch, infected).await
    }

    /// Whether the message is answered by a refusal for the virus in it: all but transport envelopes, which
    /// are answered by notices, and what was taken before anybody knew.
    pub(super) async fn is_refused_for_a_virus(&self, engine: &PecEngine) -> Result<bool, Refusal> {
        if self.threat.is_none() || self.judged.kind == IncomingKind::TransportEnvelope {
            return Ok(false);
        }
        let split = self.split(engine).await.map_err(|error| refusals::store(&error))?;
        Ok(!split.0.is_empty())
    }

    /// The refusal for a virus. Of what a provider has signed the evidence stays, and its sender is told by his
    /// own provider: no notice could name a message without certification data that can be believed.
    pub(super) async fn refuse_for_a_virus(
        &self,
        engine: &Arc<PecEngine>,
        room: RoomPromise,
    ) -> Refusal {
        if self.judged.is_ordinary() {
            return refusals::infected();
        }
        match self.only_keep(engine).await {
            Err(error) => refusals::engine(&error),
            Ok(kept) => {
                if kept {
                    room.used(self.octets.len() as u64);
                }
                refusals::infected()
            }
        }
    }

    /// Puts the message into quarantine and nowhere else; one whose signed entity is there already is only
    /// journalled. Returns whether it was put there.
    async fn only_keep(&self, engine: &Arc<PecEngine>) -> Result<bool, PecError> {
        let recipients = self.recipients.iter().map(|(recipient, _)| recipient.clone()).collect();
        let (journal, instant) = (self.journal_record(recipients), engine.now());
        let key = self.quarantined_key();
        if engine.store().engine().get(INCOMING_SEEN, &key).await?.is_none() {
            let mut batch = Batch::default();
            batch.expect(INCOMING_SEEN, key.clone(), Expected::Absent);
            batch.put(INCOMING_SEEN, key, instant.0.to_be_bytes().to_vec());
            self.keep(engine, &mut batch, instant, journal.clone()).await?;
            match engine.store().commit(batch).await {
                // The same came on another connection meanwhile.
                Err(StoreError::Conflict) => {}
                kept => return kept.map(|_| true).map_err(PecError::from),
            }
        }
        journal_repeat(engine, journal).await?;
        Ok(false)
    }

    /// Takes the message for `recipients`: [`StoreError::Conflict`] when it was taken for one of
    /// them meanwhile.
    async fn take(
        &self,
        engine: &Arc<PecEngine>,
        fresh: Vec<(String, RecipientAsked)>,
    ) -> Result<(), PecError> {
        let (recipients, asked): (Vec<String>, Vec<RecipientAsked>) = fresh.into_iter().unzip();
        let instant = engine.now();
        let mut batch = Batch::default();
        for recipient in &recipients {
            let key = self.key(recipient);
            batch.expect(INCOMING_SEEN, key.clone(), Expected::Absent);
            batch.put(INCOMING_SEEN, key, instant.0.to_be_bytes().to_vec());
        }
        let journal = self.journal_record(recipients.clone());
        engine.journal(&mut batch, instant, JournalEvent::Incoming, journal.clone());
        let (message, quarantine) = if self.threat.is_some() {
            batch.put(INCOMING_SEEN, self.quarantined_key(), instant.0.to_be_bytes().to_vec());
            let (id, held) = self.keep(engine, &mut batch, instant, journal).await?;
            (held, id.0.to_vec())
        } else {
            (engine.hold(self.octets, &mut batch).await?.0, Vec::new())
        };
        let judged = &self.judged;
        let record = IncomingRecord {
            kind: judged.kind.into(),
            instant_millis: instant.0,
            reverse_path: self.reverse_path.clone(),
            recipients,
            message: message.0.to_vec(),
            signer: judged.signer.clone(),
            entity_digest: judged.entity_digest.0.to_vec(),
            message_id: judged.message_id.clone(),
            mail_receipt: judged.mail_receipt.clone(),
            reason: judged.reason.clone(),
            provider: judged.provider.clone(),
            anomaly: judged.anomaly.into(),
            authentication_results: judged.authentication_results.clone(),
            envelope_id: self.envelope_id.as_ref().map(|id| id.as_str().to_owned()),
            returned: self.returned.into(),
            asked,
            quarantine,
            spam_status: judged.spam_status.clone(),
            refusing: self.refusing.clone(),
            not_owed: self.not_owed.clone(),
        };
        batch.put(INCOMING_MESSAGES, self.id.key(), encode(&record));
        let class = sender_class(&self.reverse_path);
        batch.put(INCOMING_WORK, self.id.key(), work_value(class, self.octets.len() as u64));
        engine.store().commit(batch).await?;
        engine.work().announce(Work::Distribute(self.id), class);
        Ok(())
    }
}

async fn journal_repeat(engine: &PecEngine, journal: JournalRecord) -> Result<(), PecError> {
    let mut batch = Batch::default();
    engine.journal(&mut batch, engine.now(), JournalEvent::Repeat, journal);
    engine.store().commit(batch).await?;
    metrics::counter!(crate::metrics_names::INCOMING_REPEATS).increment(1);
    Ok(())
}
