//! Issuing: a receipt, notice or envelope is built, signed, and handed over.
//!
//! Building and signing happen on the blocking pool, within the engine's bound; what comes out is
//! a whole message. Invariants: nothing leaves unsigned (RFC 6109 §2.1); a receipt goes to the
//! reverse path and nowhere else.
//!
//! Not here: the form of messages (`receipt`, `envelope`), when one is due (the points).

use std::sync::Arc;

use bytes::Bytes;
use storage::{
    account::quota::QuotaRule,
    catalog::engine::Batch,
    error::StoreError,
    held::HeldId,
    ids::AccountId,
    mailbox::{append::AppendRequest, flags::Flags},
};

use super::{
    address::Address,
    artefacts::{self, Artefact},
    distribution::due_now,
    encoded_word::decode,
    engine::{PecEngine, PecError},
    envelope::AnomalyReason,
    facts::{ReceiptType, Recipient, RecipientPlace, TransmissionFacts, quotable, receipt_due},
    filing,
    header::{Field, Header},
    header_addresses::parse_addresses,
    identifier::PecIdentifier,
    instant::CertifiedInstant,
    issuer::{Issuer, Unsealed},
    receipt::{Delivered, DeliveryFault},
    records::{
        AnomalyKind, Due, IncomingRecord, QueueKind, QueueRecipient, QueueRecord, TRANSMISSIONS,
        TransmissionRecord, draw_held_id, sender_class,
    },
    shared_message::ParsedEnvelope,
};

/// A signed message of this provider.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The whole message.
    pub octets: Bytes,
    /// Its Message-ID, with brackets.
    pub message_id: String,
    /// Octets of the original inside, which are not charged to its sender.
    pub embedded_octets: u64,
}

/// Octets of a receipt or notice beside the message that it includes.
const NOTICE_OCTETS: u64 = 16 * 1024;
/// Octets that one recipient takes in it, in text, HTML and certification data.
const RECIPIENT_OCTETS: u64 = 1024;

/// Octets of a receipt or notice that names so many recipients, for which memory is reserved; the message that it
/// includes is not among them.
pub(super) fn notice_octets(recipients: usize) -> u64 {
    let recipients = u64::try_from(recipients).unwrap_or(u64::MAX);
    recipients.saturating_mul(RECIPIENT_OCTETS).saturating_add(NOTICE_OCTETS)
}

/// Builds and signs on the blocking pool.
pub(super) async fn issue(
    engine: &Arc<PecEngine>,
    embedded_octets: u64,
    build: impl FnOnce(&Issuer) -> Unsealed + Send + 'static,
) -> Result<Issued, PecError> {
    let (issuer, signer) = (Arc::clone(engine.issuer()), engine.signer());
    let (sealed, message_id) = engine
        .compute(move || {
            let unsealed = build(&issuer);
            (unsealed.seal(&*signer, &issuer), unsealed.message_id)
        })
        .await?;
    let octets = sealed.map_err(|error| PecError::Sign(Box::new(error)))?;
    Ok(Issued { octets: octets.into(), message_id, embedded_octets })
}

/// Ricevuta di accettazione.
pub async fn acceptance(
    engine: &Arc<PecEngine>,
    instant: &CertifiedInstant,
    facts: &TransmissionFacts,
) -> Result<Issued, PecError> {
    let (facts, instant) = (facts.clone(), instant.clone());
    issue(engine, 0, move |issuer| issuer.acceptance_receipt(&facts, &instant)).await
}

/// Avviso di non accettazione per eccezioni formali; `reason` is the sentence in Italian.
pub async fn non_acceptance(
    engine: &Arc<PecEngine>,
    instant: &CertifiedInstant,
    facts: &TransmissionFacts,
    reason: &str,
) -> Result<Issued, PecError> {
    let (facts, instant, reason) = (facts.clone(), instant.clone(), reason.to_owned());
    issue(engine, 0, move |issuer| issuer.formal_non_acceptance_notice(&facts, &instant, &reason))
        .await
}

/// Avviso di non accettazione per virus; `threat` is the name of what was found.
pub async fn virus_non_acceptance(
    engine: &Arc<PecEngine>,
    instant: &CertifiedInstant,
    facts: &TransmissionFacts,
    threat: &str,
) -> Result<Issued, PecError> {
    let (facts, instant, threat) = (facts.clone(), instant.clone(), threat.to_owned());
    issue(engine, 0, move |issuer| issuer.virus_non_acceptance_notice(&facts, &instant, &threat))
        .await
}

/// Busta di trasporto around `original`, whose header is `header`.
pub async fn transport_envelope(
    engine: &Arc<PecEngine>,
    instant: &CertifiedInstant,
    facts: &TransmissionFacts,
    requested: Option<ReceiptType>,
    header: Header,
    original: Bytes,
) -> Result<Issued, PecError> {
    let (facts, instant) = (facts.clone(), instant.clone());
    issue(engine, original.len() as u64, move |issuer| {
        issuer.transport_envelope(&facts, &instant, &header, requested, &[&original])
    })
    .await
}

/// Busta di anomalia around a message as received.
pub async fn anomaly_envelope(
    engine: &Arc<PecEngine>,
    instant: &CertifiedInstant,
    record: &IncomingRecord,
    octets: Bytes,
) -> Result<Issued, PecError> {
    let (instant, record) = (instant.clone(), record.clone());
    issue(engine, octets.len() as u64, move |issuer| {
        let header = Header::readable(&octets);
        let sender = match record.reverse_path.as_str() {
            "" => addresses(&header, "From")
                .into_iter()
                .next()
                .map(|from| from.to_string())
                .unwrap_or_default(),
            path => path.to_owned(),
        };
        let reason = match record.anomaly() {
            AnomalyKind::OrdinaryMail => AnomalyReason::OrdinaryMail,
            AnomalyKind::InvalidSignature => AnomalyReason::InvalidSignature,
            AnomalyKind::Malformed => AnomalyReason::Malformed,
        };
        let forward_paths = &record.recipients;
        let mut envelope =
            issuer.anomaly_envelope(&instant, &header, &sender, forward_paths, reason, &[&octets]);
        if !record.spam_status.is_empty() {
            let field = Field::new("X-Spam-Status", record.spam_status.as_bytes());
            envelope.header.splice(..0, field.octets().iter().copied());
        }
        if !record.authentication_results.is_empty() {
            // On top, where no field of the sender can stand (RFC 8601 §4.1).
            let value = record.authentication_results.as_bytes();
            let field = Field::new("Authentication-Results", value);
            envelope.header.splice(..0, field.octets().iter().copied());
        }
        envelope
    })
    .await
}

/// Ricevuta di presa in carico for `recipients`, to the provider's `mail_receipt`.
pub async fn take_charge(
    engine: &Arc<PecEngine>,
    instant: &CertifiedInstant,
    mail_receipt: &Address,
    facts: &TransmissionFacts,
    recipients: &[String],
) -> Result<Issued, PecError> {
    let taken: Vec<Address> =
        recipients.iter().filter_map(|text| Address::parse(text).ok()).collect();
    let (facts, instant, mail_receipt) = (facts.clone(), instant.clone(), mail_receipt.clone());
    issue(engine, 0, move |issuer| {
        issuer.take_charge_receipt(&facts, &instant, &taken, &mail_receipt)
    })
    .await
}

/// Ricevuta di avvenuta consegna, in the form that is due to the recipient's place in the header
/// of the envelope (RFC 6109 §3.3.2).
pub(super) async fn delivery(
    engine: &Arc<PecEngine>,
    instant: &CertifiedInstant,
    parsed: &Arc<ParsedEnvelope>,
    recipient: &Address,
) -> Result<Issued, PecError> {
    let (instant, recipient, parsed) = (instant.clone(), recipient.clone(), Arc::clone(parsed));
    let envelope = &parsed.envelope;
    let hash = engine.settings().brief_hash;
    let embedded = envelope.original.len() as u64;
    let place = RecipientPlace::find(&recipient, &envelope.to, &envelope.cc);
    let requested = envelope.receipt;
    let due = receipt_due(requested, place);
    let embedded = if due == ReceiptType::Complete { embedded } else { 0 };
    issue(engine, embedded, move |issuer| {
        let ParsedEnvelope { envelope, entity } = &*parsed;
        let original = entity.get(envelope.original.clone()).unwrap_or_default();
        let delivered = Delivered { recipient: &recipient, requested, due, original, hash };
        let brief = (due == ReceiptType::Brief).then(|| envelope.attachments(original, hash));
        issuer.delivery_receipt_with(&envelope.data.facts, &instant, &delivered, brief)
    })
    .await
}

/// Avviso di mancata consegna about one recipient.
pub async fn non_delivery(
    engine: &Arc<PecEngine>,
    instant: &CertifiedInstant,
    facts: &TransmissionFacts,
    recipient: &Address,
    fault: DeliveryFault,
) -> Result<Issued, PecError> {
    let (facts, instant, recipient) = (facts.clone(), instant.clone(), recipient.clone());
    issue(engine, 0, move |issuer| issuer.non_delivery_notice(&facts, &instant, &recipient, &fault))
        .await
}

/// Appends an issued message where the sender's account files receipts (`filing`) together with `also`, and notes it
/// with its transmission. When the account is gone, the rest is applied all the same: journal and
/// transmission keep what was certified.
pub async fn put_into_senders_mailbox(
    engine: &Arc<PecEngine>,
    account_id: AccountId,
    issued: &Issued,
    mut artefact: Artefact,
    mut also: Batch,
) -> Result<(), PecError> {
    artefact.while_held(&**engine.store().engine(), &mut also).await?;
    let staged = engine.stage(&issued.octets).await?;
    let key = artefact.transmission.0;
    let transmission = engine.record::<TransmissionRecord>(TRANSMISSIONS, &key).await?;
    let held = draw_held_id(engine.now(), engine.random());
    artefacts::hold(artefact, engine.store(), held, &issued.message_id, &staged, &mut also);
    let account = match engine.store().account(account_id).await {
        Ok(account) => account,
        Err(StoreError::NoSuchAccount(_)) => {
            tracing::warn!(%account_id, "the sender's account is gone: his receipt is only journalled");
            engine.store().commit(also).await?;
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    let inbox = account.mailbox_by_name(INBOX).await?.id();
    let request = AppendRequest {
        mailbox: inbox,
        message: &staged,
        flags: Flags::default(),
        internal_date: Some(engine.now()),
        charged_octets: Some(staged.size().saturating_sub(issued.embedded_octets)),
        quota: QuotaRule::Exempt,
        also,
    };
    let transmission = transmission.as_ref().map(|(record, _)| record);
    filing::append(&account, transmission, request).await?;
    Ok(())
}

/// The mailbox that every account has and all mail comes into.
pub const INBOX: &str = "INBOX";

/// Queues a held receipt or notice to one address, from the service address.
pub fn enqueue_notification(
    engine: &PecEngine,
    batch: &mut Batch,
    message: HeldId,
    to: &Address,
) -> Due {
    let service_address = engine.issuer().service_address.as_str();
    let recipient = QueueRecipient { address: to.as_str().to_owned(), ..QueueRecipient::default() };
    let record = QueueRecord {
        recipients: vec![recipient],
        message: message.0.to_vec(),
        // The service address sends for all: whom it writes to takes turns.
        sender_class: sender_class(to.folded()),
        ..due_now(engine.now(), QueueKind::Notification, to, service_address)
    };
    engine.enqueue(batch, &record)
}

/// The facts of a transmission whose original has passed the formal checks, read back from the
/// original's header, and the receipt type that the sender asked for.
pub fn facts_of_original(
    header: &Header,
    sender: &Address,
    recipients: Vec<Recipient>,
    identifier: &PecIdentifier,
    message_id: Option<String>,
) -> (TransmissionFacts, Option<ReceiptType>) {
    let reply_to = addresses(header, "Reply-To").into_iter().next();
    let facts = TransmissionFacts {
        identifier: identifier.clone(),
        sender: sender.as_str().to_owned(),
        recipients,
        reply_to: reply_to
            .map_or_else(|| sender.as_str().to_owned(), |address| address.as_str().to_owned()),
        subject: header.value("Subject").map(|raw| quotable(decode(&raw))),
        message_id,
    };
    (facts, header.text("X-TipoRicevuta").and_then(|text| ReceiptType::from_text(&text)))
}

/// The addresses of every field `name`; what cannot be read as an address list counts as empty.
pub fn addresses(header: &Header, name: &str) -> Vec<Address> {
    header.all(name).filter_map(|field| parse_addresses(&field.value()).ok()).flatten().collect()
}
