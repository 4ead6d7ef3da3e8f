//! One attempt at one message: find the servers, connect, send.
//!
//! Not here: what follows from the outcome (`entry`).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use protocols::smtp::{
    client::{
        ConnectError, Interrupted, MessageSource, Outcome, OutgoingDsn, OutgoingMessage,
        SmtpConnection,
    },
    grammar::{ForwardPath, ReversePath, ServerReply},
};
use storage::{error::StoreError, held::HeldMessage, store::Store};
use tokio::sync::watch;

use super::{
    Line, Relay,
    entry::{Entry, Fate, Refusal},
};
use crate::{
    metrics_names,
    pec::{
        daticert::DeliveryFailure,
        destination::{Never, NoDestination},
        dsn,
        engine::{PecEngine, PecError},
        queue::{Failure, Place},
        receipt::DeliveryFault,
        records::{Due, OUTGOING_QUEUE, QueueId, QueueKind, QueueRecord},
        tls_policy::PolicySource,
    },
};

/// What an attempt came to.
#[derive(Debug)]
pub(super) enum Attempted {
    /// Every recipient's fate is written down; the rest is due again.
    Settled(Option<Due>),
    /// The destination does not answer: the message itself was not tried.
    Unreachable { domain: String, failure: Failure },
    /// The destination stopped answering at the first message: it, too, is due later.
    Lost { domain: String, failure: Failure, again: Option<Due> },
}

/// The pause between two tries to write down what a server has answered.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// Attempts the row `id` over the connection of `line`, or a new one.
pub(super) async fn attempt(
    engine: &Arc<PecEngine>,
    relay: &Relay,
    place: &Place,
    id: QueueId,
    line: &mut Line,
    shutdown: &watch::Receiver<bool>,
) -> Result<Attempted, PecError> {
    let Some((record, value)) = engine.record::<QueueRecord>(OUTGOING_QUEUE, &id.0).await? else {
        return Ok(Attempted::Settled(None));
    };
    // It may have been held, or put off, since it got its turn.
    let Some(due) = record.due(id) else { return Ok(Attempted::Settled(None)) };
    if due.at > engine.now() || due.lane != place.lane() {
        return Ok(Attempted::Settled(Some(due)));
    }
    let mut entry = Entry::open(engine, id, record, value).await?;
    if let Some(fate) = entry.end(engine) {
        entry.all(&fate);
        return settled(engine, entry, shutdown).await.map(Attempted::Settled);
    }
    if entry.held().is_none() {
        let object = format!("the message of queue record {id}");
        return Err(PecError::Inconsistent { object, detail: "it cannot be read".to_owned() });
    }
    let domain = entry.record().domain.clone();
    let sent = loop {
        if !line.connection.as_ref().is_some_and(SmtpConnection::is_usable) {
            line.hang_up().await;
            match connect(engine, relay, &domain).await {
                Ok(connected) => line.connection = Some(connected),
                Err(NotConnected::Never(fate)) => {
                    entry.all(&fate);
                    return settled(engine, entry, shutdown).await.map(Attempted::Settled);
                }
                Err(NotConnected::Failure(failure)) => {
                    return Ok(Attempted::Unreachable { domain, failure });
                }
            }
        }
        let sent = transmit(engine, line, &entry).await?;
        // The server has closed a connection that had waited: that says nothing.
        if !(line.used && sent.lost) {
            break sent;
        }
        line.hang_up().await;
    };
    let first = line.carried == 0;
    line.used = true;
    line.carried += 1;
    if sent.answered {
        place.succeeded(engine).await;
    }
    let lost = (sent.lost && first).then(|| sent.reason());
    entry.answered(sent.server, sent.tls, sent.reports, sent.fates);
    let again = settled(engine, entry, shutdown).await?;
    Ok(match lost {
        Some(reason) => {
            let failure = Failure { reason, policy: false };
            Attempted::Lost { domain, failure, again }
        }
        None => Attempted::Settled(again),
    })
}

/// Writes down what became of the recipients. What a server has taken must not be forgotten: it
/// would be sent again. So a store that fails is waited for, until the program stops.
async fn settled(
    engine: &Arc<PecEngine>,
    mut entry: Entry,
    shutdown: &watch::Receiver<bool>,
) -> Result<Option<Due>, PecError> {
    loop {
        match entry.settle(engine).await {
            Err(error) if error.is_temporary() && entry.has_taken() && !*shutdown.borrow() => {
                tracing::warn!(
                    id = %entry.id(),
                    error = &error as &dyn std::error::Error,
                    "an answer cannot be written down: it is tried again"
                );
                tokio::time::sleep(STORE_PAUSE).await;
            }
            settled => return settled,
        }
    }
}

/// What a server made of a message.
#[derive(Debug)]
struct Sent {
    fates: Vec<Fate>,
    server: String,
    tls: String,
    /// The connection broke before the message was whole, or the server wanted to end it.
    lost: bool,
    /// The server has said something about the message.
    answered: bool,
    /// The server makes reports of its own (RFC 3461).
    reports: bool,
}

impl Sent {
    fn reason(&self) -> String {
        self.fates.iter().find_map(Fate::put_off_reason).unwrap_or_default()
    }
}

/// Sends over the connection at hand.
async fn transmit(
    engine: &Arc<PecEngine>,
    line: &mut Line,
    entry: &Entry,
) -> Result<Sent, PecError> {
    let record = entry.record();
    let Some(open) = line.connection.as_mut() else {
        return Err(PecError::Stopping);
    };
    let server = open.host().name.clone();
    let tls = match (open.tls_description(), open.assurance()) {
        (Some(tls), Some(assurance)) => format!("{tls} ({assurance})"),
        _ => "clear".to_owned(),
    };
    let paths: Option<Vec<ForwardPath>> =
        record.recipients.iter().map(|recipient| ForwardPath::parse(&recipient.address)).collect();
    let (Some(forward_paths), Some(reverse_path)) =
        (paths, ReversePath::parse(&record.reverse_path))
    else {
        let fate = Fate::Refused(Refusal::ours(DeliveryFault::unknown_mailbox()));
        let fates = vec![fate; record.recipients.len()];
        return Ok(Sent { fates, server, tls, lost: false, answered: false, reports: false });
    };
    let Some(held) = entry.held() else { return Err(PecError::Stopping) };
    let mut source = HeldSource::new(Arc::clone(engine.store()), held.clone());
    let eight_bit = source.has_eight_bit().await?;
    let octets = held.size();
    let reports = open.extensions().dsn;
    let dsn = asked_of_server(record);
    let message = OutgoingMessage { reverse_path, forward_paths, octets, eight_bit, dsn };
    let outcomes = open.send(&message, &mut source).await;
    let lost = outcomes.iter().all(is_loss);
    let answered = outcomes.iter().any(|outcome| match outcome {
        Outcome::NotSent(_) | Outcome::Unknown(_) => false,
        _ => !is_loss(outcome),
    });
    for outcome in &outcomes {
        metrics::counter!(metrics_names::OUTGOING_ATTEMPTS, "outcome" => outcome_word(outcome))
            .increment(1);
    }
    let fates = outcomes.into_iter().map(|outcome| fate_of(outcome, &server)).collect();
    Ok(Sent { fates, server, tls, lost, answered, reports })
}

/// What the sender asks to be told, for the server of ordinary recipients; providers of certified
/// mail are asked for nothing, since they give receipts.
fn asked_of_server(record: &QueueRecord) -> Option<OutgoingDsn> {
    let asked = record.ordinary && record.kind() == QueueKind::TransportEnvelope;
    asked.then(|| {
        let (ret, envelope_id) = dsn::passed_on(record.returned(), record.envelope_id.as_deref());
        let recipients = record.recipients.iter();
        let recipients = recipients
            .map(|one| dsn::asked(one.notify, one.original_recipient.as_deref()))
            .collect();
        OutgoingDsn { ret, envelope_id, recipients }
    })
}

/// Whether the outcome says something about the connection and nothing about the message.
fn is_loss(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::NotSent(Interrupted::Source { .. } | Interrupted::TooSlow { .. }) => false,
        Outcome::NotSent(_) => true,
        Outcome::PutOff(reply) => reply.code == 421,
        _ => false,
    }
}

fn outcome_word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Taken(_) => "taken",
        Outcome::Refused(_) => "refused",
        Outcome::PutOff(_) => "put_off",
        Outcome::NotSent(_) => "interrupted",
        Outcome::Unknown(_) => "unknown",
    }
}

fn fate_of(outcome: Outcome, server: &str) -> Fate {
    match outcome {
        Outcome::Taken(reply) => Fate::Taken(reply.to_string()),
        Outcome::Refused(reply) => Fate::Refused(Refusal::by_server(server, &reply)),
        Outcome::PutOff(reply) => {
            Fate::PutOff { at_once: is_too_many(&reply), reason: reply.to_string() }
        }
        Outcome::NotSent(interrupted) | Outcome::Unknown(interrupted) => {
            Fate::PutOff { reason: interrupted.to_string(), at_once: false }
        }
    }
}

/// Whether the server wants the rest of the recipients in a transaction of their own
/// (RFC 5321 §4.5.3.1.10).
fn is_too_many(reply: &ServerReply) -> bool {
    matches!(reply.code, 452 | 552)
        && reply.enhanced.as_deref().is_none_or(|status| status.ends_with(".5.3"))
}

/// Why there is no connection.
enum NotConnected {
    /// And there never will be.
    Never(Fate),
    /// At present.
    Failure(Failure),
}

async fn connect(
    engine: &PecEngine,
    relay: &Relay,
    domain: &str,
) -> Result<SmtpConnection, NotConnected> {
    let connected = connect_to(engine, relay, domain).await;
    let outcome = match &connected {
        Ok(_) => "connected",
        Err(NotConnected::Never(_)) => "refused",
        Err(NotConnected::Failure(Failure { policy: true, .. })) => "policy",
        Err(NotConnected::Failure(_)) => "unreachable",
    };
    metrics::counter!(metrics_names::OUTGOING_CONNECTIONS, "outcome" => outcome).increment(1);
    tracing::debug!(domain, outcome, at = engine.now().0, "connecting");
    connected
}

async fn connect_to(
    engine: &PecEngine,
    relay: &Relay,
    domain: &str,
) -> Result<SmtpConnection, NotConnected> {
    let failure = |reason: String| NotConnected::Failure(Failure { reason, policy: false });
    let lookups = relay.destinations.lookups();
    let destination = match relay.destinations.find(&*lookups, domain).await {
        Ok(destination) => destination,
        Err(NoDestination::Never { why, .. }) => {
            let fault = match why {
                Never::Unknown => DeliveryFault::unknown_domain(),
                Never::NullMx => DeliveryFault::takes_no_mail(),
                Never::Loop => DeliveryFault::routing_loop(),
            };
            return Err(NotConnected::Never(Fate::Refused(Refusal::ours(fault))));
        }
        Err(NoDestination::NotNow { source, .. }) => return Err(failure(source.to_string())),
    };
    let decided = relay.tls.decide(engine, &lookups, domain, destination).await;
    let decided = decided.inspect_err(|failure| {
        if failure.policy {
            count_tls(None, "forbidden");
        }
    });
    let decided = decided.map_err(NotConnected::Failure)?;
    let connected = SmtpConnection::connect(&relay.client, &decided.servers).await;
    match &connected {
        Ok(connection) => {
            count_tls(
                decided.source_of(connection.host()),
                connection.assurance().unwrap_or("clear"),
            );
        }
        Err(error) if error.is_policy() => count_tls(decided.sources.first().copied(), "failed"),
        Err(_) => {}
    }
    connected.map_err(|error| match &error {
        ConnectError::Refused { host, reply } if error.is_permanent() && decided.complete => {
            NotConnected::Never(Fate::Refused(Refusal::by_server(&host.name, reply)))
        }
        _ => {
            let policy = error.is_policy();
            NotConnected::Failure(Failure { reason: with_cause(&error), policy })
        }
    })
}

/// What TLS came to, by what had asked for it.
fn count_tls(source: Option<PolicySource>, outcome: &'static str) {
    let policy = source.map_or("dns", PolicySource::word);
    metrics::counter!(metrics_names::OUTGOING_TLS, "policy" => policy, "outcome" => outcome)
        .increment(1);
}

fn with_cause(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

impl Refusal {
    /// The fault that a server's refusal stands for (RFC 3463 §3.2, RFC 6109 §4.4).
    fn by_server(server: &str, reply: &ServerReply) -> Self {
        let code = reply.enhanced.clone().unwrap_or_else(|| "5.0.0".to_owned());
        let cause = match code.as_str() {
            "5.1.1" | "5.1.3" | "5.1.6" | "5.1.10" => DeliveryFailure::NoRecipient,
            "5.1.2" => DeliveryFailure::NoDomain,
            _ => DeliveryFailure::Other,
        };
        let text = reply.to_string();
        let fault = DeliveryFault::refused(cause, &code, &text);
        Self::new(fault, Some((server.to_owned(), text)))
    }
}

/// The octets of a held message, read as they are sent.
#[derive(Debug)]
struct HeldSource {
    store: Arc<Store>,
    message: HeldMessage,
    position: u64,
    /// The whole message, when one reading brought it.
    whole: Option<Bytes>,
}

impl HeldSource {
    fn new(store: Arc<Store>, message: HeldMessage) -> Self {
        Self { store, message, position: 0, whole: None }
    }

    async fn read(&mut self) -> Result<Bytes, StoreError> {
        let octets = self
            .store
            .octets()
            .read(self.message.stored(), self.position..self.message.size())
            .await?;
        self.position += octets.len() as u64;
        Ok(octets)
    }

    /// Whether octets above 127 are in the message: the server must then offer 8BITMIME (RFC 6152).
    async fn has_eight_bit(&mut self) -> Result<bool, StoreError> {
        let first = self.read().await?;
        if self.position >= self.message.size() {
            let eight_bit = !first.is_ascii();
            self.whole = Some(first);
            return Ok(eight_bit);
        }
        let mut octets = first;
        let eight_bit = loop {
            if !octets.is_ascii() {
                break true;
            }
            octets = self.read().await?;
            if octets.is_empty() {
                break false;
            }
        };
        self.position = 0;
        Ok(eight_bit)
    }
}

#[async_trait::async_trait]
impl MessageSource for HeldSource {
    async fn next(&mut self) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
        if self.position >= self.message.size() {
            return Ok(self.whole.take().unwrap_or_default());
        }
        Ok(self.read().await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(code: u16, enhanced: Option<&str>) -> ServerReply {
        ServerReply { code, enhanced: enhanced.map(str::to_owned), lines: vec!["no".to_owned()] }
    }

    /// RFC 3463 §3.2 against the words of RFC 6109 §4.4.
    #[test]
    fn the_server_says_whether_mailbox_or_domain_is_wrong() {
        let fault = |enhanced| Refusal::by_server("mx.one.example", &reply(550, enhanced)).fault;
        assert_eq!(fault(Some("5.1.1")).cause, DeliveryFailure::NoRecipient);
        assert_eq!(fault(Some("5.1.2")).cause, DeliveryFailure::NoDomain);
        assert_eq!(fault(Some("5.2.2")).cause, DeliveryFailure::Other);
        assert_eq!(fault(None).code, "5.0.0");
    }

    #[test]
    fn only_too_many_recipients_are_tried_again_at_once() {
        assert!(is_too_many(&reply(452, Some("4.5.3"))));
        assert!(is_too_many(&reply(452, None)));
        assert!(is_too_many(&reply(552, None)));
        assert!(!is_too_many(&reply(452, Some("4.2.2"))));
        assert!(!is_too_many(&reply(451, Some("4.5.3"))));
    }
}
