//! The incoming point: takes messages from other servers (RFC 6109 §2.2.2).
//!
//! Invariants:
//!
//! * 250 goes out only after the message, its kind, its recipients and the duty to distribute it
//!   are durable, in one batch.
//! * What counts as a transport envelope or a receipt is decided by signature, directory and form,
//!   never by headers alone; everything else is an anomaly.
//! * Nothing is taken that was not checked for viruses. What has one reaches no mailbox (RFC 6109 §2.2.2,
//!   §3.2.3), but for a receipt that brings a holder what he sent himself ([`answers`]).
//! * Receipts and notices reach whoever they are owed to, whatever room he has; everybody else is asked for
//!   room before they are taken.
//! * A message that comes again for a recipient (same signer and signed entity, for what is not certified
//!   the same Message-ID too) is answered 250 and changes nothing for him, whatever a mailbox or a policy
//!   says by then.
//!
//! Not here: take-charge receipts and anomaly envelopes (`distribution`), mailboxes
//! (`delivery_point`), signatures (`trust::smime`), the form of messages (`classify`), who sent ordinary
//! mail ([`crate::ordinary_mail`]), what a message contains ([`crate::content`]).

mod answers;
mod arrival;
mod origin;

use std::sync::Arc;

use bytes::Bytes;
use protocols::smtp::{
    grammar::{EnvelopeId, Ret},
    server::received::received_field,
    transport::{Envelope, MessageSink, Peer, Refusal, Taken, Transport},
};
use storage::{
    account::settings::{AccountSettings, AccountState},
    error::StoreError,
    ids::AccountId,
};
use trust::{
    digest::Sha256Digest,
    smime::{structure::find_signed, verify::VerifyError},
};

use self::{
    answers::Receipt,
    arrival::{Arrival, store_incoming},
    origin::{chain_of_causes, from_is_managed},
};
use super::{
    address::{Address, ReportAddress},
    arriving::{Arrived, Arriving},
    classify::{self, PecMessage},
    content::{self, SpamFilter},
    dsn,
    encoded_word::decode,
    engine::{OrdinaryMail, PecEngine},
    facts::quotable,
    header::Header,
    memory::SMALL_OCTETS_MAX,
    records::{AnomalyKind, IncomingId, IncomingKind, RecipientAsked},
    refusals,
};
use crate::{
    content::Passage,
    ordinary_mail::{Examined, OrdinaryMailChecks, Sender, verdict::Verdict},
    sources::Source,
};

/// The [`Transport`] behind the relay port.
#[derive(Debug)]
pub struct IncomingPoint {
    engine: Arc<PecEngine>,
    checks: Option<Arc<OrdinaryMailChecks>>,
    filter: Option<SpamFilter>,
}

impl IncomingPoint {
    /// An incoming point of `engine`.
    pub fn new(engine: Arc<PecEngine>) -> Self {
        Self { engine, checks: None, filter: None }
    }

    /// The same, with a filter of ordinary mail.
    #[must_use]
    pub fn with_filter(self, filter: SpamFilter) -> Self {
        Self { filter: Some(filter), ..self }
    }

    /// The same, with `checks` of ordinary mail.
    #[must_use]
    pub fn with_checks(self, checks: Arc<OrdinaryMailChecks>) -> Self {
        Self { checks: Some(checks), ..self }
    }

    /// Whom a forward path means. `Postmaster` without a domain is the provider itself
    /// (RFC 5321 §4.5.1), and its mail goes to the service mailbox.
    fn address(&self, forward_path: &str) -> Option<Address> {
        if forward_path.eq_ignore_ascii_case("postmaster") {
            return Some(self.engine.issuer().service_address.clone());
        }
        Address::parse(forward_path).ok()
    }

    /// The forward paths as written, each mailbox once, in a fixed order, so that the same
    /// transaction reads the same; each with what the sender asks about it.
    fn recipients(&self, envelope: &Envelope) -> Vec<(String, RecipientAsked)> {
        let asked = |index: usize| {
            let (notify, original_recipient) = dsn::kept(envelope.dsn.recipients.get(index));
            RecipientAsked { notify, original_recipient }
        };
        let paths = envelope.forward_paths.iter().enumerate();
        let mut recipients: Vec<(Address, RecipientAsked)> = paths
            .filter_map(|(index, path)| self.address(path).map(|address| (address, asked(index))))
            .collect();
        recipients.sort_by(|(one, _), (other, _)| one.cmp(other));
        recipients.dedup_by(|(one, _), (other, _)| one == other);
        recipients
            .into_iter()
            .map(|(address, asked)| (address.as_str().to_owned(), asked))
            .collect()
    }
}

impl IncomingPoint {
    /// Whether a mailbox may be a recipient beside those of `envelope`. One without room, or blocked,
    /// has the message alone: whether that is certified mail, which is always taken, or mail that is
    /// refused then, is known at its end, and the refusal would be everybody's. So has one that takes
    /// certified mail only, where nobody could be told that it refuses.
    async fn may_be_among(
        &self,
        envelope: &Envelope,
        account_id: AccountId,
        settings: &AccountSettings,
    ) -> Result<(), Refusal> {
        let Some(first) = envelope.forward_paths.first() else { return Ok(()) };
        let octets = envelope.declared_size.unwrap_or(SMALL_OCTETS_MAX);
        let is_told = dsn::is_told(&self.engine, &envelope.reverse_path);
        let alone = async |account_id, settings: &AccountSettings| {
            if settings.certified_mail_only && !is_told {
                return Ok::<_, Refusal>(true);
            }
            let room = has_room(&self.engine, account_id, octets).await;
            let room = room.map_err(|error| refusals::store(&error))?;
            Ok(!room || settings.state != AccountState::Active)
        };
        let first = match self.address(first) {
            Some(address) => self.engine.store().account_by_address(address.folded()).await,
            None => Ok(None),
        };
        let first = first.map_err(|error| refusals::store(&error))?;
        let first_is_alone = match first {
            Some((first, settings)) => alone(first, &settings).await?,
            None => false,
        };
        if first_is_alone || alone(account_id, settings).await? {
            return Err(refusals::one_at_a_time());
        }
        Ok(())
    }
}

/// Whether the mailbox has room for `octets`.
async fn has_room(
    engine: &PecEngine,
    account_id: AccountId,
    octets: u64,
) -> Result<bool, StoreError> {
    let quota = engine.store().account(account_id).await?.quota().await?;
    let needed = quota.used_octets.saturating_add(octets);
    Ok(quota.limit_octets.is_none_or(|limit| needed <= limit))
}

#[async_trait::async_trait]
impl Transport for IncomingPoint {
    fn message_octets_max(&self, _peer: &Peer) -> u64 {
        self.engine.settings().relay_octets_max
    }

    fn recipients_max(&self, _peer: &Peer) -> usize {
        self.engine.settings().recipients_max
    }

    async fn mail(&self, peer: &Peer, envelope: &Envelope) -> Result<(), Refusal> {
        // What is taken and then fails must be told to its sender (RFC 5321 §6.1).
        let path = envelope.reverse_path.as_str();
        if !path.is_empty() && ReportAddress::parse(path).is_none() {
            return Err(refusals::unreachable_sender());
        }
        let octets_max = self.engine.settings().relay_octets_max;
        match envelope.declared_size {
            Some(size) if size > octets_max => Err(refusals::message_too_large(octets_max)),
            size => self.engine.admit(Source::of(peer), size.unwrap_or_default()),
        }
    }

    async fn recipient(
        &self,
        peer: &Peer,
        envelope: &Envelope,
        forward_path: &str,
    ) -> Result<(), Refusal> {
        let address = self.address(forward_path).ok_or_else(refusals::invalid_recipient)?;
        if !self.engine.serves(address.domain()) {
            return Err(refusals::relaying_denied());
        }
        self.engine.admit(Source::of(peer), 0)?;
        let found = self
            .engine
            .store()
            .account_by_address(address.folded())
            .await
            .map_err(|error| refusals::store(&error))?;
        match found {
            Some((account_id, settings)) if settings.state != AccountState::Closed => {
                self.may_be_among(envelope, account_id, &settings).await
            }
            _ => Err(refusals::unknown_recipient()),
        }
    }

    async fn data(
        &self,
        peer: &Peer,
        envelope: &Envelope,
    ) -> Result<Box<dyn MessageSink>, Refusal> {
        let now = self.engine.now();
        let id = IncomingId::draw(now, self.engine.random());
        // The trace field of this hop (RFC 5321 §4.4). It stands above the signed entity.
        let trace =
            received_field(peer, envelope.smtp_utf8, self.engine.host_name(), &id.to_string(), now);
        let beyond = trace.len() as u64;
        let declared = envelope.declared_size.map(|octets| octets.saturating_add(beyond));
        let room = self.engine.promise_room(Source::of(peer), declared)?;
        let octets_max = self.engine.settings().relay_octets_max + beyond;
        let mut octets = Arriving::new(Arc::clone(&self.engine), octets_max, room);
        octets.write(&trace).await?;
        let named = envelope.forward_paths.clone();
        Ok(Box::new(Incoming {
            engine: Arc::clone(&self.engine),
            checks: self.checks.clone(),
            filter: self.filter.clone(),
            passage: content::passage(peer, &envelope.reverse_path, named),
            id,
            trace_octets: trace.len(),
            reverse_path: envelope.reverse_path.clone(),
            recipients: self.recipients(envelope),
            ret: envelope.dsn.ret,
            envelope_id: envelope.dsn.envelope_id.clone(),
            peer: peer.clone(),
            octets,
        }))
    }
}

/// One message coming in.
#[derive(Debug)]
struct Incoming {
    engine: Arc<PecEngine>,
    checks: Option<Arc<OrdinaryMailChecks>>,
    filter: Option<SpamFilter>,
    passage: Passage,
    id: IncomingId,
    /// Octets of our own trace field, which the peer did not send.
    trace_octets: usize,
    reverse_path: String,
    recipients: Vec<(String, RecipientAsked)>,
    ret: Option<Ret>,
    envelope_id: Option<EnvelopeId>,
    peer: Peer,
    octets: Arriving,
}

#[async_trait::async_trait]
impl MessageSink for Incoming {
    async fn write(&mut self, octets: &[u8]) -> Result<(), Refusal> {
        self.octets.write(octets).await
    }

    async fn finish(self: Box<Self>) -> Result<Taken, Refusal> {
        let Self {
            engine,
            checks,
            filter,
            passage,
            id,
            trace_octets,
            reverse_path,
            recipients,
            ret,
            envelope_id,
            peer,
            mut octets,
        } = *self;
        let source = Source::of(&peer);
        let mut threat = octets.scan(source, &passage).await?;
        let Arrived { octets, mut memory, room } = octets.finish(source).await?;
        let judged = judged(&engine, &octets, trace_octets).await?;
        let not_owed = answers::not_owed(&engine, &judged, &recipients).await?;
        if threat.is_some() && not_owed.is_empty() {
            threat =
                answers::threat_of_its_own(&engine, &judged, &octets, &passage, threat).await?;
        }
        let ordinary = judged.is_ordinary();
        if ordinary && engine.settings().ordinary_mail == OrdinaryMail::Refuse {
            return Err(refusals::certified_mail_only());
        }
        let mut arrival = Arrival {
            id,
            peer: &peer,
            reverse_path,
            recipients,
            returned: dsn::kept_ret(ret),
            envelope_id,
            octets: &octets,
            refusing: Vec::new(),
            not_owed,
            threat,
            trace_octets,
            judged,
        };
        if arrival.is_refused_for_a_virus(&engine).await? {
            return Err(arrival.refuse_for_a_virus(&engine, room).await);
        }
        if !arrival.not_owed.is_empty() {
            refuse_without_room(&engine, &arrival).await?;
        }
        if arrival.judged.kind == IncomingKind::Anomaly {
            let fresh = refuse_anomaly(&engine, &mut arrival).await?;
            if ordinary && fresh && (checks.is_some() || filter.is_some()) {
                memory = memory.set_aside(engine.memory()).ok_or_else(refusals::busy)?;
                examine(checks.as_ref(), filter.as_ref(), &passage, &mut arrival).await?;
            }
        }
        let stored = store_incoming(&engine, arrival).await;
        drop(memory);
        if stored.map_err(|error| refusals::engine(&error))? {
            room.used(octets.len() as u64);
        }
        metrics::counter!(crate::metrics_names::INCOMING_MESSAGES).increment(1);
        Ok(Taken { identifier: id.to_string() })
    }
}

async fn judged(
    engine: &Arc<PecEngine>,
    octets: &Bytes,
    trace_octets: usize,
) -> Result<Judged, Refusal> {
    let judge = {
        let (engine, octets) = (Arc::clone(engine), octets.clone());
        move || judge(&engine, &octets, trace_octets)
    };
    engine
        .compute(judge)
        .await
        .map_err(|error| refusals::engine(&error))?
        .map_err(|error| refusals::cannot_verify(&error))
}

/// Refuses a message that is not certified for whom it is for; notes which of its recipients do not want it.
/// Returns whether it is new for any of them.
async fn refuse_anomaly(
    engine: &Arc<PecEngine>,
    arrival: &mut Arrival<'_>,
) -> Result<bool, Refusal> {
    let split = arrival.split(engine).await;
    let (fresh, _) = split.map_err(|error| refusals::store(&error))?;
    if fresh.is_empty() {
        return Ok(false);
    }
    let ordinary = arrival.judged.is_ordinary();
    let octets = (arrival.octets.len() - arrival.trace_octets) as u64;
    let awaiting = if ordinary { answers::reported_on(engine, arrival).await? } else { Vec::new() };
    arrival.refusing = refuse_undeliverable(engine, &fresh, octets, ordinary, &awaiting).await?;
    // One was set to refuse since his RCPT: the peer comes again, and hears of it there.
    if !arrival.refusing.is_empty() && !dsn::is_told(engine, &arrival.reverse_path) {
        return Err(refusals::one_at_a_time());
    }
    Ok(true)
}

/// Refuses a receipt or notice, while SMTP still can, that one of its recipients has neither a claim to nor room for.
async fn refuse_without_room(
    engine: &Arc<PecEngine>,
    arrival: &Arrival<'_>,
) -> Result<(), Refusal> {
    let split = arrival.split(engine).await;
    let (mut fresh, _) = split.map_err(|error| refusals::store(&error))?;
    fresh.retain(|(recipient, _)| arrival.not_owed.contains(recipient));
    if fresh.is_empty() {
        return Ok(());
    }
    let octets = (arrival.octets.len() - arrival.trace_octets) as u64;
    refuse_undeliverable(engine, &fresh, octets, false, &[]).await.map(drop)
}

/// Finds out who an ordinary message is from, as far as it can be known, and what the filter makes of it;
/// refuses it when the domain of its sender wants that, or the filter.
async fn examine(
    checks: Option<&Arc<OrdinaryMailChecks>>,
    filter: Option<&SpamFilter>,
    passage: &Passage,
    arrival: &mut Arrival<'_>,
) -> Result<(), Refusal> {
    let message = arrival.octets.slice(arrival.trace_octets..);
    if let Some(checks) = checks {
        let found = examine_sender(checks, message.clone(), arrival.peer, &arrival.reverse_path);
        arrival.judged.authentication_results = found.await?;
    }
    if let Some(filter) = filter {
        arrival.judged.spam_status = filter.examine(message, passage).await?;
    }
    Ok(())
}

/// Who an ordinary message is from, as far as it can be known; refuses it when the domain of its
/// sender wants that.
async fn examine_sender(
    checks: &Arc<OrdinaryMailChecks>,
    message: Bytes,
    peer: &Peer,
    reverse_path: &str,
) -> Result<String, Refusal> {
    let sender = Sender {
        address: peer.address,
        helo: peer.helo.clone(),
        reverse_path: reverse_path.to_owned(),
    };
    let Examined { results, verdict } = checks.examine(message, sender).await;
    match verdict {
        Verdict::Take => Ok(results),
        Verdict::RefuseByDmarc { domain } => Err(refusals::dmarc(&domain)),
        Verdict::RefuseAuthors => Err(refusals::authors()),
        Verdict::RefuseBySpf { domain } => Err(refusals::spf(&domain)),
        Verdict::Later => Err(refusals::sender_unknown_now()),
    }
}

/// Refuses, while SMTP still can, a message that no notice would answer (RFC 6109 §2.2.3): taken
/// and then undeliverable it would vanish. One mailbox that cannot take it refuses it for all, and
/// the sender's server tells him; one that was full already has no others beside it.
///
/// A mailbox that takes no ordinary mail refuses for itself alone: it is returned, and the sender gets a
/// report about it (who cannot get one has one recipient at a time). Where there are no others, the message is
/// refused. Whose message this is a report about, one of those `awaiting`, takes it.
async fn refuse_undeliverable(
    engine: &PecEngine,
    recipients: &[(String, RecipientAsked)],
    octets: u64,
    ordinary: bool,
    awaiting: &[AccountId],
) -> Result<Vec<String>, Refusal> {
    let mut refusing = Vec::new();
    for (recipient, _) in recipients {
        let found = engine.store().account_by_address(recipient).await;
        let Some((account_id, settings)) = found.map_err(|error| refusals::store(&error))? else {
            return Err(refusals::unknown_recipient());
        };
        // That an account is blocked is nobody else's affair.
        if settings.state != AccountState::Active {
            return Err(refusals::unknown_recipient());
        }
        if ordinary && settings.certified_mail_only && !awaiting.contains(&account_id) {
            refusing.push(recipient.clone());
            continue;
        }
        let room = has_room(engine, account_id, octets).await;
        if !room.map_err(|error| refusals::store(&error))? {
            return Err(refusals::mailbox_full());
        }
    }
    if refusing.len() == recipients.len() {
        return Err(refusals::certified_mail_only());
    }
    Ok(refusing)
}

/// What the tests of RFC 6109 §2.2.2 made of a message.
#[derive(Debug)]
pub(super) struct Judged {
    kind: IncomingKind,
    /// The signature is a provider's, whatever the form.
    from_provider: bool,
    signer: Vec<u8>,
    provider: String,
    mail_receipt: String,
    entity_digest: Sha256Digest,
    /// What a valid receipt or notice says.
    receipt: Option<Box<Receipt>>,
    message_id: Vec<u8>,
    subject: String,
    /// Why it is an anomaly.
    anomaly: AnomalyKind,
    /// The same in words, for the journal.
    reason: String,
    /// What the checks of ordinary mail found.
    authentication_results: String,
    /// What the filter of ordinary mail said.
    spam_status: String,
}

impl Judged {
    /// What a provider has signed is known by its signature, whatever its form.
    fn is_ordinary(&self) -> bool {
        self.kind == IncomingKind::Anomaly && !self.from_provider
    }
}

/// What a message is before anything speaks for it: ordinary mail that nobody has signed.
fn unsigned(header: Option<&Header>, octets: &[u8], trace_octets: usize) -> Judged {
    Judged {
        kind: IncomingKind::Anomaly,
        from_provider: false,
        signer: Vec::new(),
        provider: String::new(),
        mail_receipt: String::new(),
        entity_digest: Sha256Digest::of(octets.get(trace_octets..).unwrap_or_default()),
        receipt: None,
        message_id: header.and_then(|header| header.value("Message-ID")).unwrap_or_default(),
        subject: header
            .and_then(|header| header.value("Subject"))
            .map(|raw| quotable(decode(&raw)))
            .unwrap_or_default(),
        anomaly: AnomalyKind::OrdinaryMail,
        reason: "not signed".to_owned(),
        authentication_results: String::new(),
        spam_status: String::new(),
    }
}

/// Makes the tests in order: signature existence, origin, validity, formal correctness, domain.
fn judge(engine: &PecEngine, octets: &[u8], trace_octets: usize) -> Result<Judged, VerifyError> {
    let header = Header::parse(octets).ok().map(|(header, _)| header);
    let mut judged = unsigned(header.as_ref(), octets, trace_octets);
    let Some(signed) = find_signed(octets) else {
        return Ok(judged);
    };
    let entity = octets.get(signed.entity.clone()).unwrap_or_default();
    let verified = match engine.verifier().verify(entity, &signed.signature, engine.now()) {
        Ok(verified) => verified,
        // A revocation list that is not there now may be there later: the message waits.
        Err(error) if error.is_temporary() => return Err(error),
        Err(error) => {
            judged.anomaly = AnomalyKind::InvalidSignature;
            judged.reason = chain_of_causes(&error);
            return Ok(judged);
        }
    };
    let directory = engine.directory();
    let Some(provider) = directory.provider_of_certificate(verified.signer.to_der()) else {
        // Signed by somebody, but by no provider: ordinary mail, as the network sees it.
        "the signer is in no provider's directory entry".clone_into(&mut judged.reason);
        return Ok(judged);
    };
    judged.from_provider = true;
    judged.signer = Sha256Digest::of(verified.signer.to_der()).0.to_vec();
    judged.provider.clone_from(&provider.name);
    provider.service_mailbox.as_str().clone_into(&mut judged.mail_receipt);
    judged.entity_digest = Sha256Digest::of(entity);
    judged.anomaly = AnomalyKind::Malformed;
    let Some(header) = header else { return Ok(judged) };
    match classify::classify(&header, entity) {
        PecMessage::Malformed(reason) => judged.reason = reason.to_string(),
        _ if engine.settings().from_must_be_managed
            && !from_is_managed(&header, provider, &directory) =>
        {
            "the domain of From is not the signer's".clone_into(&mut judged.reason);
        }
        PecMessage::TransportEnvelope(envelope) => {
            judged.kind = IncomingKind::TransportEnvelope;
            // What is signed says which one it is. The field outside of that has the same identifier, and who
            // writes it in another way does not make another message of it.
            judged.message_id = envelope.data.facts.identifier.bracketed().into_bytes();
        }
        PecMessage::Receipt(receipt) => {
            judged.kind = IncomingKind::Notification;
            judged.receipt = Some(Box::new(Receipt::read(octets, &signed, *receipt)));
        }
    }
    Ok(judged)
}
