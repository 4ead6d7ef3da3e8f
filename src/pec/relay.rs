//! The relay: one attempt at a queued message, and what follows from its outcome.
//!
//! Invariants:
//!
//! * A recipient leaves the queue only in a batch that also records what became of it: relayed,
//!   or refused for good with the sender's notice.
//! * When the connection is lost before the final answer, the message stays in the queue: the
//!   receiver recognises a repeat (its `incoming_seen`), a loss nobody could mend.
//! * A message that is older than the queue's lifetime counts as refused (RFC 6109 §2.2.2).
//! * A refused receipt or notice is journalled and ends there: nothing answers an answer.
//!
//! Not here: which message is due (`queue`), SMTP itself (`protocols::smtp::client`).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use protocols::smtp::{
    client::{
        ClientSettings, ConnectError, Host, MessageSource, Outcome, OutgoingMessage, SmtpConnection,
    },
    grammar::{ForwardPath, ReversePath, ServerReply},
};
use storage::{
    catalog::engine::{Batch, Durability, Expected},
    error::StoreError,
    held::HeldMessage,
    ids::AccountId,
    store::Store,
};
use tokio::sync::watch;
use trust::clock::UnixMillis;

use super::{
    address::Address,
    classify::PecMessage,
    daticert::DeliveryFailure,
    destination::{Destinations, NoDestination, Target},
    distribution::classify_again,
    engine::{PecEngine, PecError},
    issue,
    journal::JournalEvent,
    notices::move_recipient,
    queue::Due,
    receipt::DeliveryFault,
    records::{
        JournalRecord, OUTGOING_QUEUE, QueueId, QueueKind, QueueRecipient, QueueRecord,
        RecipientRecord, RecipientState, TRANSMISSION_RECIPIENTS, TRANSMISSIONS, TransmissionId,
        TransmissionRecord, encode, indexed_key,
    },
};

/// How messages leave: destinations and the SMTP client's names and times.
#[derive(Debug)]
pub struct Relay {
    /// Where mail of a domain goes.
    pub destinations: Destinations,
    /// What the client calls itself, and how long it waits.
    pub client: Arc<ClientSettings>,
}

/// Attempts every record of `group`, all to `domain`, over one connection where that is possible.
/// Returns what stays in the queue.
pub async fn send_group(
    engine: &Arc<PecEngine>,
    relay: &Relay,
    domain: &str,
    group: &[QueueId],
    shutdown: &watch::Receiver<bool>,
) -> Vec<Due> {
    let mut again = Vec::new();
    let mut connection = None;
    let mut unreachable = false;
    for id in group {
        // The rest stays in the catalog and is attempted at the next start.
        if *shutdown.borrow() {
            break;
        }
        // The next message would wait for the same dead server again, and hold the place of
        // messages that can be sent.
        if unreachable {
            let at = engine.now().plus_millis(engine.settings().retry_first_millis);
            again.push(Due { id: *id, domain: domain.to_owned(), at });
            continue;
        }
        match attempt(engine, relay, domain, *id, &mut connection).await {
            Ok(due) => {
                unreachable = due.is_some() && connection.is_none();
                again.extend(due);
            }
            Err(error) => {
                tracing::warn!(%id, domain, error = &error as &dyn std::error::Error, "attempt put off");
                let at = next_attempt(engine, *id).await;
                again.push(Due { id: *id, domain: domain.to_owned(), at });
            }
        }
    }
    if let Some(connection) = connection {
        connection.quit().await;
    }
    again
}

/// How long it may take to find a server that answers, all addresses together.
const CONNECT_TIME_MAX: Duration = Duration::from_mins(2);

/// When a record whose attempt failed on our side is due: as counted before the attempt.
async fn next_attempt(engine: &PecEngine, id: QueueId) -> UnixMillis {
    let settings = engine.settings();
    let earliest = engine.now().plus_millis(settings.retry_first_millis);
    match engine.record::<QueueRecord>(OUTGOING_QUEUE, &id.0).await {
        Ok(Some((record, _))) => earliest.max(UnixMillis(record.next_attempt_millis)),
        Ok(None) => earliest,
        Err(_) => engine.now().plus_millis(settings.retry_longest_millis),
    }
}

/// What an attempt made of one recipient: its fate, as far as it is known.
#[derive(Clone, Debug)]
enum Fate {
    Taken(String),
    Refused(DeliveryFault),
    PutOff(String),
}

async fn attempt(
    engine: &Arc<PecEngine>,
    relay: &Relay,
    domain: &str,
    id: QueueId,
    connection: &mut Option<SmtpConnection>,
) -> Result<Option<Due>, PecError> {
    let Some((mut record, mut value)) = engine.record::<QueueRecord>(OUTGOING_QUEUE, &id.0).await?
    else {
        return Ok(None);
    };
    let held = engine.held(&record.message, &format!("queue record {id}")).await?;
    let age_millis = engine.now().0.saturating_sub(record.queued_millis);
    let results = if age_millis >= engine.settings().queue_lifetime_millis {
        vec![Fate::Refused(DeliveryFault::unreachable()); record.recipients.len()]
    } else {
        // The attempt is counted before it is made: whatever fails after the message has left, it
        // is not sent again before its time.
        (record, value) = count_attempt(engine, id, record, value).await?;
        transmit(engine, relay, domain, &record, &held, connection).await?
    };
    let entry = Entry { id, record, value, held };
    entry.settle(engine, results).await
}

/// Writes down that an attempt begins, and when the next one would be due.
async fn count_attempt(
    engine: &PecEngine,
    id: QueueId,
    mut record: QueueRecord,
    value: Bytes,
) -> Result<(QueueRecord, Bytes), PecError> {
    let settings = engine.settings();
    record.attempts = record.attempts.saturating_add(1);
    let pause =
        backoff_millis(settings.retry_first_millis, settings.retry_longest_millis, record.attempts);
    // Up to a quarter more, so that messages put off together do not come back together.
    let jitter = pause / 4;
    let extra = match jitter {
        0 => 0,
        _ => (engine.random().next_u64() % jitter.unsigned_abs()).cast_signed(),
    };
    record.next_attempt_millis = engine.now().plus_millis(pause + extra).0;
    let next = encode(&record);
    let mut batch = Batch { durability: Durability::Buffered, ..Batch::default() };
    batch.expect(OUTGOING_QUEUE, id.key(), Expected::Value(value));
    batch.put(OUTGOING_QUEUE, id.key(), next.clone());
    engine.store().commit(batch).await?;
    Ok((record, next))
}

/// Sends over the connection at hand, or a new one; returns one result for each recipient.
async fn transmit(
    engine: &Arc<PecEngine>,
    relay: &Relay,
    domain: &str,
    record: &QueueRecord,
    held: &HeldMessage,
    connection: &mut Option<SmtpConnection>,
) -> Result<Vec<Fate>, PecError> {
    let all = |result: Fate| Ok(vec![result; record.recipients.len()]);
    if !connection.as_ref().is_some_and(SmtpConnection::is_usable) {
        *connection = None;
        *connection = match connect(relay, domain).await {
            Ok(connected) => Some(connected),
            Err(result) => return all(result),
        };
    }
    let Some(open) = connection.as_mut() else {
        return all(Fate::PutOff("no connection".to_owned()));
    };
    let paths: Option<Vec<ForwardPath>> =
        record.recipients.iter().map(|recipient| ForwardPath::parse(&recipient.address)).collect();
    let (Some(forward_paths), Some(reverse_path)) =
        (paths, ReversePath::parse(&record.reverse_path))
    else {
        return all(Fate::Refused(DeliveryFault::unknown_mailbox()));
    };
    let mut source =
        HeldSource { store: Arc::clone(engine.store()), message: held.clone(), position: 0 };
    let eight_bit = has_eight_bit(&mut source).await?;
    source.position = 0;
    let message = OutgoingMessage { reverse_path, forward_paths, octets: held.size(), eight_bit };
    let outcomes = open.send(&message, &mut source).await;
    Ok(outcomes.into_iter().map(result_of).collect())
}

async fn connect(relay: &Relay, domain: &str) -> Result<SmtpConnection, Fate> {
    let targets = match relay.destinations.find(domain).await {
        Ok(targets) => targets,
        Err(NoDestination::Never(_)) => return Err(Fate::Refused(DeliveryFault::unknown_domain())),
        Err(error @ NoDestination::NotNow { .. }) => return Err(Fate::PutOff(error.to_string())),
    };
    let hosts: Vec<Host> =
        targets.into_iter().map(|Target { host, port }| Host { name: host, port }).collect();
    let connecting = SmtpConnection::connect(&relay.client, &hosts);
    let Ok(connected) = tokio::time::timeout(CONNECT_TIME_MAX, connecting).await else {
        return Err(Fate::PutOff(format!("no server of {domain} has answered in time")));
    };
    connected.map_err(|error| match error {
        ConnectError::Refused { ref reply, .. } if error.is_permanent() => {
            Fate::Refused(fault_of(reply))
        }
        error => Fate::PutOff(error.to_string()),
    })
}

fn result_of(outcome: Outcome) -> Fate {
    match outcome {
        Outcome::Taken(reply) => Fate::Taken(reply.to_string()),
        Outcome::Refused(reply) => Fate::Refused(fault_of(&reply)),
        Outcome::PutOff(reply) => Fate::PutOff(reply.to_string()),
        Outcome::NotSent(interrupted) | Outcome::Unknown(interrupted) => {
            Fate::PutOff(interrupted.to_string())
        }
    }
}

/// The fault that a server's refusal stands for (RFC 3463 §3.2, RFC 6109 §4.4).
fn fault_of(reply: &ServerReply) -> DeliveryFault {
    let code = reply.enhanced.clone().unwrap_or_else(|| "5.0.0".to_owned());
    let cause = match code.as_str() {
        "5.1.1" | "5.1.3" | "5.1.6" | "5.1.10" => DeliveryFailure::NoRecipient,
        "5.1.2" => DeliveryFailure::NoDomain,
        _ => DeliveryFailure::Other,
    };
    DeliveryFault::refused(cause, &code, &reply.to_string())
}

/// The octets of a held message, read as they are sent.
#[derive(Debug)]
struct HeldSource {
    store: Arc<Store>,
    message: HeldMessage,
    position: u64,
}

impl HeldSource {
    async fn read(&mut self) -> Result<Bytes, StoreError> {
        let octets = self
            .store
            .octets()
            .read(self.message.stored(), self.position..self.message.size())
            .await?;
        self.position += octets.len() as u64;
        Ok(octets)
    }
}

#[async_trait::async_trait]
impl MessageSource for HeldSource {
    async fn next(&mut self) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.read().await?)
    }
}

/// Whether octets above 127 are in the message: the server must then offer 8BITMIME (RFC 6152).
async fn has_eight_bit(source: &mut HeldSource) -> Result<bool, StoreError> {
    loop {
        let octets = source.read().await?;
        if octets.is_empty() {
            return Ok(false);
        }
        if !octets.is_ascii() {
            return Ok(true);
        }
    }
}

/// A queue record with the octets it was read as.
#[derive(Debug)]
struct Entry {
    id: QueueId,
    record: QueueRecord,
    value: Bytes,
    held: HeldMessage,
}

impl Entry {
    /// Writes down what became of each recipient; returns the entry's next instant, if it stays.
    async fn settle(
        mut self,
        engine: &Arc<PecEngine>,
        results: Vec<Fate>,
    ) -> Result<Option<Due>, PecError> {
        let pairs: Vec<(QueueRecipient, Fate)> =
            self.record.recipients.iter().cloned().zip(results).collect();
        let taken: Vec<(QueueRecipient, String)> = pairs
            .iter()
            .filter_map(|(recipient, result)| match result {
                Fate::Taken(reply) => Some((recipient.clone(), reply.clone())),
                _ => None,
            })
            .collect();
        if !taken.is_empty() {
            self.relayed(engine, &taken).await?;
        }
        for (recipient, result) in &pairs {
            if let Fate::Refused(fault) = result {
                self.refused(engine, recipient, fault).await?;
            }
        }
        let last_error = pairs.into_iter().find_map(|(_, result)| match result {
            Fate::PutOff(error) => Some(error),
            _ => None,
        });
        match last_error {
            Some(error) => self.put_off(engine, error).await.map(Some),
            None => Ok(None),
        }
    }

    /// The batch in which `leaving` leave the queue, and the record as it is then.
    fn without(&self, leaving: &[&QueueRecipient]) -> (Batch, QueueRecord, Bytes) {
        let mut record = self.record.clone();
        record.recipients.retain(|recipient| !leaving.contains(&recipient));
        let value = encode(&record);
        let mut batch = Batch::default();
        batch.expect(OUTGOING_QUEUE, self.id.key(), Expected::Value(self.value.clone()));
        if record.recipients.is_empty() {
            batch.delete(OUTGOING_QUEUE, self.id.key());
        } else {
            batch.put(OUTGOING_QUEUE, self.id.key(), value.clone());
        }
        (batch, record, value)
    }

    fn journal_record(&self, recipients: Vec<String>, detail: String) -> JournalRecord {
        let envelope = &self.held.summary().envelope;
        let text = |value: &Option<Vec<u8>>| {
            value.as_deref().map(super::encoded_word::decode).unwrap_or_default()
        };
        JournalRecord {
            message_id: text(&envelope.message_id),
            subject: text(&envelope.subject),
            sender: self.record.reverse_path.clone(),
            recipients,
            detail,
            ..JournalRecord::default()
        }
    }

    /// The server has taken the message for these recipients.
    async fn relayed(
        &mut self,
        engine: &PecEngine,
        taken: &[(QueueRecipient, String)],
    ) -> Result<(), PecError> {
        let leaving: Vec<&QueueRecipient> = taken.iter().map(|(recipient, _)| recipient).collect();
        let now = engine.now();
        loop {
            let (mut batch, record, value) = self.without(&leaving);
            if let Some(transmission) = self.transmission()? {
                for recipient in &leaving {
                    let state = RecipientState::Relayed;
                    move_recipient(engine, &mut batch, transmission, recipient.index, state, now.0)
                        .await?;
                }
            }
            let recipients = leaving.iter().map(|recipient| recipient.address.clone()).collect();
            let reply = taken.first().map(|(_, reply)| reply.clone()).unwrap_or_default();
            engine.journal(
                &mut batch,
                now,
                JournalEvent::Relayed,
                self.journal_record(recipients, reply),
            );
            match engine.store().commit(batch).await {
                // A receipt was quicker than this: read the recipients' states again.
                Err(StoreError::Conflict) if self.is_unchanged(engine).await? => {}
                Err(error) => return Err(error.into()),
                Ok(_) => {
                    (self.record, self.value) = (record, value);
                    return Ok(());
                }
            }
        }
    }

    async fn is_unchanged(&self, engine: &PecEngine) -> Result<bool, StoreError> {
        let now = engine.record::<QueueRecord>(OUTGOING_QUEUE, &self.id.0).await?;
        Ok(now.is_some_and(|(_, value)| value == self.value))
    }

    fn transmission(&self) -> Result<Option<TransmissionId>, StoreError> {
        match self.record.transmission.as_slice() {
            [] => Ok(None),
            octets => TransmissionId::from_octets(OUTGOING_QUEUE, octets).map(Some),
        }
    }

    /// The message cannot reach this recipient, for good.
    async fn refused(
        &mut self,
        engine: &Arc<PecEngine>,
        recipient: &QueueRecipient,
        fault: &DeliveryFault,
    ) -> Result<(), PecError> {
        let now = engine.now();
        loop {
            let (mut batch, record, value) = self.without(&[recipient]);
            let detail = format!("{} {}", fault.code, fault.italian);
            let journal = self.journal_record(vec![recipient.address.clone()], detail);
            engine.journal(&mut batch, now, JournalEvent::RelayFailed, journal);
            let done = match (self.record.kind(), self.transmission()?) {
                // His provider has spoken for him already: a reply was lost, not the message.
                (QueueKind::TransportEnvelope, Some(transmission))
                    if !is_answered(engine, transmission, recipient.index).await? =>
                {
                    self.tell_sender(engine, transmission, recipient, fault, batch).await
                }
                _ => engine.store().commit(batch).await.map(drop).map_err(PecError::from),
            };
            match done {
                Err(PecError::Store(StoreError::Conflict)) if self.is_unchanged(engine).await? => {}
                Err(error) => return Err(error),
                Ok(()) => {
                    (self.record, self.value) = (record, value);
                    return Ok(());
                }
            }
        }
    }

    /// The non-delivery notice to the sender (RFC 6109 §3.3.3), with everything else in one batch.
    async fn tell_sender(
        &self,
        engine: &Arc<PecEngine>,
        id: TransmissionId,
        recipient: &QueueRecipient,
        fault: &DeliveryFault,
        mut batch: Batch,
    ) -> Result<(), PecError> {
        let inconsistent = |detail: &str| PecError::Inconsistent {
            object: format!("transmission {id}"),
            detail: detail.to_owned(),
        };
        let (transmission, _) = engine
            .record::<TransmissionRecord>(TRANSMISSIONS, &id.0)
            .await?
            .ok_or_else(|| inconsistent("it is gone"))?;
        let address = Address::parse(&recipient.address)
            .map_err(|_| inconsistent("a recipient is no address"))?;
        let _memory = engine.reserve(self.held.size()).await?;
        let octets = engine.read_held(&self.held).await?;
        let (PecMessage::TransportEnvelope(envelope), _) = classify_again(engine, octets).await?
        else {
            return Err(inconsistent("its envelope is none"));
        };
        let instant = engine.certified_now();
        let facts = &envelope.data.facts;
        let notice = issue::non_delivery(engine, &instant, facts, &address, fault.clone()).await?;
        let now = instant.unix();
        move_recipient(engine, &mut batch, id, recipient.index, RecipientState::Failed, now.0)
            .await?;
        let journal = JournalRecord {
            identifier: transmission.identifier.clone(),
            recipients: vec![recipient.address.clone()],
            related: vec![notice.message_id.clone()],
            ..super::acceptance::journal_record(engine, &transmission)
        };
        engine.journal(&mut batch, now, JournalEvent::NonDelivery, journal);
        issue::put_into_senders_mailbox(engine, AccountId(transmission.account_id), &notice, batch)
            .await
    }

    /// Some recipients wait for the next attempt.
    async fn put_off(self, engine: &PecEngine, last_error: String) -> Result<Due, PecError> {
        let mut record = self.record.clone();
        let at = UnixMillis(record.next_attempt_millis);
        tracing::info!(id = %self.id, domain = record.domain, attempts = record.attempts, %last_error, "put off");
        record.last_error = last_error;
        let domain = record.domain.clone();
        let mut batch = Batch::default();
        batch.expect(OUTGOING_QUEUE, self.id.key(), Expected::Value(self.value.clone()));
        batch.put(OUTGOING_QUEUE, self.id.key(), encode(&record));
        engine.store().commit(batch).await?;
        Ok(Due { id: self.id, domain, at })
    }
}

/// Whether the recipient's provider has taken charge of the message, or more.
async fn is_answered(
    engine: &PecEngine,
    transmission: TransmissionId,
    index: u32,
) -> Result<bool, StoreError> {
    let key = indexed_key(&transmission.0, index);
    let row = engine.record::<RecipientRecord>(TRANSMISSION_RECIPIENTS, &key).await?;
    Ok(row.is_some_and(|(row, _)| row.state >= i32::from(RecipientState::TakenInCharge)))
}

/// The pause after `attempts` attempts: the first one, doubled each time, up to the longest.
fn backoff_millis(first: i64, longest: i64, attempts: u32) -> i64 {
    let doublings = attempts.saturating_sub(1).min(32);
    first.saturating_mul(1_i64 << doublings).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let pauses: Vec<i64> =
            (1..=6).map(|attempts| backoff_millis(5_000, 60_000, attempts)).collect();
        assert_eq!(pauses, [5_000, 10_000, 20_000, 40_000, 60_000, 60_000]);
        assert_eq!(backoff_millis(5_000, 60_000, u32::MAX), 60_000);
    }

    /// RFC 3463 §3.2 against the words of RFC 6109 §4.4.
    #[test]
    fn the_server_says_whether_mailbox_or_domain_is_wrong() {
        let reply = |enhanced: Option<&str>| ServerReply {
            code: 550,
            enhanced: enhanced.map(str::to_owned),
            lines: vec!["no".to_owned()],
        };
        assert_eq!(fault_of(&reply(Some("5.1.1"))).cause, DeliveryFailure::NoRecipient);
        assert_eq!(fault_of(&reply(Some("5.1.2"))).cause, DeliveryFailure::NoDomain);
        assert_eq!(fault_of(&reply(Some("5.2.2"))).cause, DeliveryFailure::Other);
        assert_eq!(fault_of(&reply(None)).code, "5.0.0");
    }
}
