//! A row of the queue whose recipients' fates are being written down.
//!
//! The row may have changed since it was read: an operator has held it, or let it go. So every batch
//! takes the recipients it speaks of out of the row as it stands now, and nothing else of it is
//! overwritten.
//!
//! Not here: what the sender is told (`tell`).

use std::sync::Arc;

use bytes::Bytes;
use protocols::smtp::grammar::Notify;
use storage::{catalog::engine::Batch, error::StoreError, held::HeldMessage};

use crate::pec::{
    acceptance,
    distribution::CONFLICTS_MAX,
    encoded_word,
    engine::{PecEngine, PecError},
    journal::JournalEvent,
    notices::move_recipient,
    queue::{Claim, pause_millis},
    receipt::DeliveryFault,
    records::{
        Due, JournalRecord, OUTGOING_QUEUE, QueueId, QueueKind, QueueRecipient, QueueRecord,
        RecipientState, TransmissionId, encode, write_queued,
    },
};

/// What an attempt made of one recipient, as far as it is known.
#[derive(Clone, Debug)]
pub(super) enum Fate {
    /// The server has taken the message for him, with this reply.
    Taken(String),
    /// He cannot be reached, for good.
    Refused(Refusal),
    /// He is tried again.
    PutOff {
        reason: String,
        /// In a transaction of his own, as soon as the others are gone.
        at_once: bool,
    },
}

impl Fate {
    /// Why he is tried again.
    pub(super) fn put_off_reason(&self) -> Option<String> {
        match self {
            Self::PutOff { reason, .. } => Some(reason.clone()),
            _ => None,
        }
    }
}

/// Why a recipient cannot be reached, and who says so.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) fault: DeliveryFault,
    /// The server and its words; `None` when this program has decided.
    pub(super) answer: Option<(String, String)>,
    /// It is the age of the message that decided.
    over: bool,
}

impl Refusal {
    /// This program's own word.
    pub(super) fn ours(fault: DeliveryFault) -> Self {
        Self::new(fault, None)
    }

    /// With the server that says so and its words.
    pub(super) fn new(fault: DeliveryFault, answer: Option<(String, String)>) -> Self {
        Self { fault, answer, over: false }
    }

    /// Whether the time is over that the rules give certified mail; the queue may give up before.
    pub(super) fn in_time(&self, engine: &PecEngine, record: &QueueRecord) -> bool {
        let age_millis = engine.now().0.saturating_sub(record.queued_millis);
        self.over && age_millis >= engine.settings().last_notice_millis
    }

    /// The queue's time is over; what was heard last says why.
    pub(super) fn unreachable(entry: &Entry) -> Self {
        let QueueRecord { last_server, last_error, .. } = entry.record();
        let answer = (!last_server.is_empty()).then(|| (last_server.clone(), last_error.clone()));
        Self { fault: DeliveryFault::unreachable(), answer, over: true }
    }
}

/// A row with the octets it was read as, and the fates that are still to be written down.
#[derive(Debug)]
pub(super) struct Entry {
    id: QueueId,
    record: QueueRecord,
    value: Bytes,
    /// `None` when it is gone or damaged: the row can still end, and its sender be told.
    held: Option<HeldMessage>,
    fates: Vec<(QueueRecipient, Fate)>,
    server: String,
    tls: String,
    /// The server has taken over to report what becomes of the message (RFC 3461).
    reports: bool,
}

/// A batch that was refused because something it builds on had changed.
enum Overtaken {
    /// What stands there now was read: compute it again.
    Again,
    /// The row is gone.
    Gone,
}

impl Entry {
    /// The row `id`, which reads as `value`, with its message.
    ///
    /// # Errors
    ///
    /// Those that another try can mend.
    pub(super) async fn open(
        engine: &PecEngine,
        id: QueueId,
        record: QueueRecord,
        value: Bytes,
    ) -> Result<Self, PecError> {
        let held = engine.held(&record.message, &format!("queue record {id}")).await;
        let held = acceptance::unless_damaged(&id, held)?;
        let (server, tls) = (record.last_server.clone(), record.tls.clone());
        Ok(Self { id, record, value, held, fates: Vec::new(), server, tls, reports: false })
    }

    pub(super) fn id(&self) -> QueueId {
        self.id
    }

    pub(super) fn record(&self) -> &QueueRecord {
        &self.record
    }

    /// The message; `None` when it is gone or damaged.
    pub(super) fn held(&self) -> Option<&HeldMessage> {
        self.held.as_ref()
    }

    /// The server of the last answer.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    pub(super) fn server_reports(&self) -> bool {
        self.reports
    }

    /// What becomes of all recipients without an attempt: the queue's time is over (RFC 6109
    /// §2.2.2), or an operator has given the message up.
    pub(super) fn end(&self, engine: &PecEngine) -> Option<Fate> {
        if self.record.is_dropped() {
            return Some(Fate::Refused(Refusal::ours(DeliveryFault::dropped())));
        }
        let mut since_millis = self.record.queued_millis;
        if self.record.kind() == QueueKind::Notification && self.record.attempts == 0 {
            // Nobody is told that an answer was lost: while this server stood still no time was over for it. It
            // is so once: what was tried ends, however often the server is started.
            since_millis = since_millis.max(engine.queue().began().0);
        }
        let age_millis = engine.now().0.saturating_sub(since_millis);
        let settings = engine.settings();
        let mut lifetime_millis = settings.queue_lifetime_millis;
        if self.record.kind() == QueueKind::TransportEnvelope && !self.record.ordinary {
            // What the sender was told has failed is not sent any more.
            lifetime_millis = lifetime_millis.min(settings.last_notice_millis);
        }
        let over = age_millis >= lifetime_millis;
        over.then(|| Fate::Refused(Refusal::unreachable(self)))
    }

    /// Every recipient has the same fate.
    pub(super) fn all(&mut self, fate: &Fate) {
        let recipients = self.record.recipients.iter();
        self.fates = recipients.map(|recipient| (recipient.clone(), fate.clone())).collect();
    }

    /// `server` has answered over `tls`, and makes `reports` itself or not; one fate for each
    /// recipient, in their order.
    pub(super) fn answered(
        &mut self,
        server: String,
        tls: String,
        reports: bool,
        fates: Vec<Fate>,
    ) {
        (self.server, self.tls, self.reports) = (server, tls, reports);
        self.fates = self.record.recipients.iter().cloned().zip(fates).collect();
    }

    /// Writes down what became of each recipient; returns when the row is due again, if it stays.
    ///
    /// After an error it may be called again: what is written down is not written twice.
    pub(super) async fn settle(
        &mut self,
        engine: &Arc<PecEngine>,
    ) -> Result<Option<Due>, PecError> {
        let taken = self.those(|fate| match fate {
            Fate::Taken(reply) => Some(reply.clone()),
            _ => None,
        });
        let some_taken = !taken.is_empty();
        if some_taken {
            self.relayed(engine, &taken).await?;
            self.fates.retain(|(_, fate)| !matches!(fate, Fate::Taken(_)));
        }
        let refused = self.those(|fate| match fate {
            Fate::Refused(refusal) => Some(refusal.clone()),
            _ => None,
        });
        // Certified recipients get a notice each (RFC 6109 §3.3.3), others one report together.
        let together = if self.record.ordinary { refused.len() } else { 1 };
        for refused in refused.chunks(together.max(1)) {
            self.refused(engine, refused).await?;
            let settled =
                |waits: &QueueRecipient| refused.iter().any(|(leaves, _)| is_same(leaves, waits));
            self.fates.retain(|(recipient, _)| !settled(recipient));
        }
        let Some((reason, at_once)) = self.fates.iter().find_map(|(_, fate)| match fate {
            Fate::PutOff { reason, at_once } => Some((reason.clone(), *at_once && some_taken)),
            _ => None,
        }) else {
            return Ok(None);
        };
        let again = self.put_off(engine, &reason, at_once).await?;
        self.fates.clear();
        Ok(again)
    }

    /// Whether a server has taken the message for recipients of whom it is not written down.
    pub(super) fn has_taken(&self) -> bool {
        self.fates.iter().any(|(_, fate)| matches!(fate, Fate::Taken(_)))
    }

    /// The recipients of a kind of fate.
    fn those<T>(&self, kind: impl Fn(&Fate) -> Option<T>) -> Vec<(QueueRecipient, T)> {
        let of_kind = |(recipient, fate): &(QueueRecipient, Fate)| {
            kind(fate).map(|found| (recipient.clone(), found))
        };
        self.fates.iter().filter_map(of_kind).collect()
    }

    /// The batch in which `leaving` leave the queue, and the record as it is then.
    fn without(&self, leaving: &[&QueueRecipient]) -> (Batch, QueueRecord) {
        let mut record = self.record.clone();
        record.recipients.retain(|waits| !leaving.iter().any(|leaves| is_same(leaves, waits)));
        let mut batch = Batch::default();
        let after = (!record.recipients.is_empty()).then_some(&record);
        write_queued(&mut batch, self.id, Some((&self.record, self.value.clone())), after);
        (batch, record)
    }

    /// Takes note that the row stands as `record` now.
    fn is_now(&mut self, record: QueueRecord) {
        self.value = encode(&record);
        self.record = record;
    }

    /// Reads the row as it stands now, after a batch was refused.
    async fn overtaken(&mut self, engine: &PecEngine) -> Result<Overtaken, PecError> {
        let standing = engine.record::<QueueRecord>(OUTGOING_QUEUE, &self.id.0).await?;
        if let Some((record, value)) = standing {
            (self.record, self.value) = (record, value);
            return Ok(Overtaken::Again);
        }
        tracing::warn!(id = %self.id, "a row left the queue while it was attempted");
        Ok(Overtaken::Gone)
    }

    pub(super) fn journal_record(&self, recipients: Vec<String>, detail: String) -> JournalRecord {
        let envelope = self.held.as_ref().map(|held| &held.summary().envelope);
        let text = |value: Option<&Vec<u8>>| {
            value.map(|octets| encoded_word::decode(octets)).unwrap_or_default()
        };
        JournalRecord {
            message_id: text(envelope.and_then(|envelope| envelope.message_id.as_ref())),
            subject: text(envelope.and_then(|envelope| envelope.subject.as_ref())),
            sender: self.record.reverse_path.clone(),
            recipients,
            detail,
            ..JournalRecord::default()
        }
    }

    /// The transmission that the row belongs to.
    pub(super) fn transmission(&self) -> Result<Option<TransmissionId>, StoreError> {
        match self.record.transmission.as_slice() {
            [] => Ok(None),
            octets => TransmissionId::from_octets(OUTGOING_QUEUE, octets).map(Some),
        }
    }

    /// The server has taken the message for these recipients.
    async fn relayed(
        &mut self,
        engine: &Arc<PecEngine>,
        taken: &[(QueueRecipient, String)],
    ) -> Result<(), PecError> {
        let leaving: Vec<&QueueRecipient> = taken.iter().map(|(recipient, _)| recipient).collect();
        let now = engine.now();
        for _ in 0..CONFLICTS_MAX {
            let (mut batch, record) = self.without(&leaving);
            if let Some(transmission) = self.transmission()? {
                for recipient in &leaving {
                    let (index, state) = (recipient.index, RecipientState::Relayed);
                    let moved =
                        move_recipient(engine, &mut batch, transmission, index, state, now.0).await;
                    unless_for_good(moved)?;
                }
            }
            let recipients = leaving.iter().map(|recipient| recipient.address.clone()).collect();
            let reply = taken.first().map(|(_, reply)| reply.as_str()).unwrap_or_default();
            let detail = format!("{} {} {reply}", self.server, self.tls);
            engine.journal(
                &mut batch,
                now,
                JournalEvent::Relayed,
                self.journal_record(recipients, detail),
            );
            match self.tell_of_relay(engine, taken, batch).await {
                Ok(()) => {
                    self.is_now(record);
                    return Ok(());
                }
                // A receipt was quicker, or an operator.
                Err(PecError::Store(StoreError::Conflict)) => {
                    if let Overtaken::Gone = self.overtaken(engine).await? {
                        return Ok(());
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Conflict.into())
    }

    /// The message cannot reach these recipients, for good.
    async fn refused(
        &mut self,
        engine: &Arc<PecEngine>,
        refused: &[(QueueRecipient, Refusal)],
    ) -> Result<(), PecError> {
        let leaving: Vec<&QueueRecipient> = refused.iter().map(|(one, _)| one).collect();
        let now = engine.now();
        for _ in 0..CONFLICTS_MAX {
            let (mut batch, record) = self.without(&leaving);
            for (recipient, refusal) in refused {
                let detail = format!("{} {}", refusal.fault.code, refusal.fault.italian);
                let journal = self.journal_record(vec![recipient.address.clone()], detail);
                engine.journal(&mut batch, now, JournalEvent::RelayFailed, journal);
            }
            match self.tell_of_failure(engine, refused, batch).await {
                Ok(()) => {
                    self.is_now(record);
                    return Ok(());
                }
                Err(PecError::Store(StoreError::Conflict)) => {
                    if let Overtaken::Gone = self.overtaken(engine).await? {
                        return Ok(());
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Conflict.into())
    }

    /// Some recipients wait for the next attempt.
    async fn put_off(
        &mut self,
        engine: &PecEngine,
        reason: &str,
        at_once: bool,
    ) -> Result<Option<Due>, PecError> {
        for _ in 0..CONFLICTS_MAX {
            let mut record = self.record.clone();
            let mut pause = 0;
            if !at_once {
                record.attempts = record.attempts.saturating_add(1);
                pause = pause_millis(engine.settings(), engine.random(), record.attempts);
            }
            record.next_attempt_millis = engine.now().plus_millis(pause).0;
            reason.clone_into(&mut record.last_error);
            record.last_server.clone_from(&self.server);
            record.tls.clone_from(&self.tls);
            let (attempts, domain) = (record.attempts, &record.domain);
            tracing::info!(id = %self.id, domain, attempts, reason, "put off");
            let mut batch = Batch::default();
            let before = Some((&self.record, self.value.clone()));
            write_queued(&mut batch, self.id, before, Some(&record));
            match engine.store().commit(batch).await {
                Ok(_) => {
                    self.is_now(record);
                    return Ok(self.record.due(self.id));
                }
                Err(StoreError::Conflict) => {
                    if let Overtaken::Gone = self.overtaken(engine).await? {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Conflict.into())
    }
}

/// Lets an error pass that no later try can mend, where something must be written down all the same:
/// what a server has taken must not be sent again.
pub(super) fn unless_for_good(done: Result<(), PecError>) -> Result<(), PecError> {
    match done {
        Err(error) if error.is_temporary() => Err(error),
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "a relayed message is not noted with its transmission"
            );
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// Whether two records speak of one recipient of a message.
fn is_same(one: &QueueRecipient, other: &QueueRecipient) -> bool {
    one.index == other.index && one.address == other.address
}

/// Reads a row with its message; `None` when it is gone.
async fn read(engine: &PecEngine, id: QueueId) -> Result<Option<Entry>, PecError> {
    let Some((record, value)) = engine.record::<QueueRecord>(OUTGOING_QUEUE, &id.0).await? else {
        return Ok(None);
    };
    Entry::open(engine, id, record, value).await.map(Some)
}

/// Ends a row whose time is over: every recipient counts as refused.
///
/// # Errors
///
/// Whatever the store or the signer says; the recipients that are left stay in the queue.
pub(in crate::pec) async fn expire(
    engine: &Arc<PecEngine>,
    id: QueueId,
    _claim: &Claim,
) -> Result<(), PecError> {
    let Some(mut entry) = read(engine, id).await? else { return Ok(()) };
    if let Some(fate) = entry.end(engine) {
        entry.all(&fate);
        entry.settle(engine).await?;
    }
    Ok(())
}

/// Tells the sender of an ordinary recipient that his message is late, once; nothing when he does
/// not want to hear of it.
///
/// # Errors
///
/// Whatever the store or the signer says; it is told later then.
pub(in crate::pec) async fn tell_of_delay(
    engine: &Arc<PecEngine>,
    id: QueueId,
    _claim: &Claim,
) -> Result<(), PecError> {
    let Some(entry) = read(engine, id).await? else { return Ok(()) };
    let late: Vec<QueueRecipient> =
        entry.record.recipients.iter().filter(|one| hears_of_delay(one)).cloned().collect();
    if late.is_empty() || !entry.record.ordinary || entry.record.is_dropped() {
        return Ok(());
    }
    let mut after = entry.record.clone();
    after.recipients.iter_mut().for_each(|one| one.delay_told = true);
    let mut batch = Batch::default();
    write_queued(&mut batch, id, Some((&entry.record, entry.value.clone())), Some(&after));
    entry.report_delay(engine, &late, batch).await
}

/// Whether the sender is to be told that the message for this recipient is late.
pub(in crate::pec) fn hears_of_delay(recipient: &QueueRecipient) -> bool {
    !recipient.delay_told && Notify::from_number(recipient.notify).wants_delay()
}

/// Puts a row off whose attempt failed on our side; when even that fails it is due in a while.
pub(super) async fn put_off(engine: &PecEngine, id: QueueId, reason: &str) -> Option<Due> {
    let put_off = async {
        match engine.record::<QueueRecord>(OUTGOING_QUEUE, &id.0).await? {
            None => Ok(None),
            Some((record, value)) => {
                let mut after = record.clone();
                after.attempts = after.attempts.saturating_add(1);
                let pause = pause_millis(engine.settings(), engine.random(), after.attempts);
                after.next_attempt_millis = engine.now().plus_millis(pause).0;
                reason.clone_into(&mut after.last_error);
                let mut batch = Batch::default();
                write_queued(&mut batch, id, Some((&record, value)), Some(&after));
                engine.store().commit(batch).await?;
                Ok::<_, StoreError>(after.due(id))
            }
        }
    };
    match put_off.await {
        Ok(again) => again,
        Err(error) => {
            tracing::error!(
                %id,
                error = &error as &dyn std::error::Error,
                "the queue cannot be written: the message is tried again at the next look"
            );
            None
        }
    }
}
