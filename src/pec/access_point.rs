//! The access point: takes messages from our holders (RFC 6109 §2.2.1, §3.1).
//!
//! Invariants:
//!
//! * 250 goes out only after the transmission, its recipients, its original, the duty to answer
//!   and the journal record are durable, in one batch.
//! * Nothing is taken that was not checked for viruses; what has one goes into quarantine, whatever its
//!   form, and to nobody (RFC 6109 §3.1.3).
//! * The identifier and the instant are fixed before the checks, so that a notice can quote them.
//! * What the sender could mend at once (a wrong reverse path, too many recipients, a message too
//!   large, too many messages) is refused by SMTP; what only the whole message shows is refused by
//!   a notice (RFC 6109 §3.1.2).
//!
//! Not here: receipts and the envelope (`acceptance`), the checks themselves (`formal`).

use std::sync::Arc;

use bytes::Bytes;
use protocols::smtp::transport::{
    Announced, Envelope, EnvelopeDsn, MessageSink, Peer, Refusal, Taken, Transport,
};
use storage::{
    account::settings::{AccountSettings, AccountState},
    catalog::engine::{Batch, Expected},
    error::StoreError,
    ids::AccountId,
};

use super::{
    address::Address,
    arriving::{Arrived, Arriving},
    artefacts, content, dsn,
    engine::PecEngine,
    facts::{CertifiedDomains as _, RecipientKind},
    formal::{self, FormalLimits},
    header::{HEADER_FIELDS_MAX, Header},
    identifier::PecIdentifier,
    instant::CertifiedInstant,
    journal::JournalEvent,
    original::original_header,
    quarantine::{self, FoundAt, Infected},
    records::{
        JournalRecord, RecipientRecord, RecipientState, TRANSMISSION_IDENTIFIERS,
        TRANSMISSION_RECIPIENTS, TRANSMISSION_WORK, TRANSMISSIONS, TransmissionId,
        TransmissionRecord, TransmissionState, encode, indexed_key, sender_class,
    },
    refusals,
    sending::{NotSent, SendingLimits, Sendings},
    work::{Work, work_value},
};
use crate::{content::Passage, sources::Source};

/// The [`Transport`] behind the submission ports.
#[derive(Debug)]
pub struct AccessPoint {
    engine: Arc<PecEngine>,
    sendings: Arc<Sendings>,
}

impl AccessPoint {
    /// An access point of `engine`.
    pub fn new(engine: Arc<PecEngine>) -> Self {
        Self { engine, sendings: Arc::default() }
    }

    /// The settings of the account behind the session.
    async fn account(&self, peer: &Peer) -> Result<(AccountId, Address, AccountSettings), Refusal> {
        let identity = peer.identity.as_ref().ok_or_else(refusals::login_first)?;
        let account =
            self.engine.store().account(identity.account_id).await.map_err(
                |error| match error {
                    StoreError::NoSuchAccount(_) => refusals::account_blocked(),
                    other => refusals::store(&other),
                },
            )?;
        let settings = account.settings().await.map_err(|error| refusals::store(&error))?;
        if settings.state != AccountState::Active {
            return Err(refusals::account_blocked());
        }
        let address = Address::parse(&settings.address).map_err(|_| refusals::account_blocked())?;
        Ok((identity.account_id, address, settings))
    }

    /// Octets of a message of an account: the plan's, within the provider's. A plan's 0 is no limit.
    fn octets_max(&self, settings: &AccountSettings) -> u64 {
        let provider = self.engine.settings().message_octets_max;
        match settings.message_octets_max {
            0 => provider,
            plan => plan.min(provider),
        }
    }

    /// Recipients of a message of an account, likewise.
    fn plan_recipients_max(&self, settings: &AccountSettings) -> usize {
        let provider = self.engine.settings().recipients_max;
        match settings.recipients_max {
            0 => provider,
            plan => provider.min(plan as usize),
        }
    }
}

/// Counts a refusal for one of the plan's limits.
fn limited(limit: &'static str, refusal: Refusal) -> Refusal {
    metrics::counter!(crate::metrics_names::SUBMISSIONS_LIMITED, "limit" => limit).increment(1);
    refusal
}

fn not_sent(refused: NotSent) -> Refusal {
    match refused {
        NotSent::Full(full) => limited(full.name(), refusals::sending_limit_reached(full)),
        NotSent::Store(error) => refusals::store(&error),
    }
}

#[async_trait::async_trait]
impl Transport for AccessPoint {
    fn message_octets_max(&self, _peer: &Peer) -> u64 {
        self.engine.settings().message_octets_max
    }

    fn recipients_max(&self, _peer: &Peer) -> usize {
        self.engine.settings().recipients_max
    }

    /// What an account may send is known when somebody has logged in (RFC 9422 §3).
    async fn announced(&self, peer: &Peer) -> Announced {
        match self.account(peer).await {
            Ok((_, _, settings)) => Announced {
                octets_max: self.octets_max(&settings),
                recipients_max: Some(self.plan_recipients_max(&settings)),
            },
            Err(_) => Announced { octets_max: self.message_octets_max(peer), recipients_max: None },
        }
    }

    async fn mail(&self, peer: &Peer, envelope: &Envelope) -> Result<(), Refusal> {
        let (account_id, address, settings) = self.account(peer).await?;
        // The sender must be the one who logged in (RFC 6109 §5.2).
        if Address::parse(&envelope.reverse_path).ok().as_ref() != Some(&address) {
            return Err(refusals::sender_is_not_login(address.as_str()));
        }
        let octets_max = self.octets_max(&settings);
        if envelope.declared_size.is_some_and(|size| size > octets_max) {
            return Err(limited("size", refusals::message_too_large(octets_max)));
        }
        self.engine.admit(Source::of(peer), envelope.declared_size.unwrap_or_default())?;
        // Asked here too, so that nobody sends a message in vain; what counts is asked at its end.
        let (store, limits) = (self.engine.store(), SendingLimits::of(&settings));
        self.sendings.look(store, account_id, limits, self.engine.now()).await.map_err(not_sent)
    }

    async fn recipient(
        &self,
        peer: &Peer,
        envelope: &Envelope,
        forward_path: &str,
    ) -> Result<(), Refusal> {
        Address::parse(forward_path).map_err(|_| refusals::invalid_recipient())?;
        let (_, _, settings) = self.account(peer).await?;
        self.engine.admit(Source::of(peer), 0)?;
        let recipients_max = self.plan_recipients_max(&settings);
        if envelope.forward_paths.len() >= recipients_max {
            let refusal = refusals::too_many_recipients(recipients_max as u64);
            return Err(limited("recipients", refusal));
        }
        Ok(())
    }

    async fn data(
        &self,
        peer: &Peer,
        envelope: &Envelope,
    ) -> Result<Box<dyn MessageSink>, Refusal> {
        let (account_id, sender, settings) = self.account(peer).await?;
        let room = self.engine.promise_room(Source::of(peer), envelope.declared_size)?;
        let mut forward_paths: Vec<Address> = Vec::new();
        let mut dsn = EnvelopeDsn { recipients: Vec::new(), ..envelope.dsn.clone() };
        for (index, path) in envelope.forward_paths.iter().enumerate() {
            let address = Address::parse(path).map_err(|_| refusals::invalid_recipient())?;
            // A recipient named twice gets the message once (RFC 5321 §4.1.1.3 leaves it open).
            if !forward_paths.contains(&address) {
                forward_paths.push(address);
                dsn.recipients
                    .push(envelope.dsn.recipients.get(index).cloned().unwrap_or_default());
            }
        }
        let octets_max = self.octets_max(&settings);
        let limits = FormalLimits {
            message_octets_max: octets_max,
            product_octets_max: u64::MAX,
            recipients_max: self.plan_recipients_max(&settings),
        };
        let octets = Arriving::new(Arc::clone(&self.engine), octets_max, room);
        let named = envelope.forward_paths.clone();
        Ok(Box::new(Submission {
            passage: content::passage(peer, sender.as_str(), named),
            engine: Arc::clone(&self.engine),
            envelope: SubmittedEnvelope {
                holder: Holder {
                    account_id,
                    sendings: Arc::clone(&self.sendings),
                    limits: SendingLimits::of(&settings),
                },
                sender,
                forward_paths,
                dsn,
            },
            limits,
            source: Source::of(peer),
            octets,
        }))
    }
}

/// Whose message it is, and how many he may send.
#[derive(Debug)]
struct Holder {
    account_id: AccountId,
    sendings: Arc<Sendings>,
    limits: SendingLimits,
}

/// Who sends to whom, and what he asks to be told.
#[derive(Debug)]
struct SubmittedEnvelope {
    holder: Holder,
    sender: Address,
    forward_paths: Vec<Address>,
    dsn: EnvelopeDsn,
}

/// One message being submitted.
#[derive(Debug)]
struct Submission {
    engine: Arc<PecEngine>,
    envelope: SubmittedEnvelope,
    limits: FormalLimits,
    source: Source,
    passage: Passage,
    octets: Arriving,
}

#[async_trait::async_trait]
impl MessageSink for Submission {
    async fn write(&mut self, octets: &[u8]) -> Result<(), Refusal> {
        self.octets.write(octets).await.map_err(|refusal| match refusal.code {
            552 => limited("size", refusal),
            _ => refusal,
        })
    }

    async fn finish(self: Box<Self>) -> Result<Taken, Refusal> {
        let Self { engine, envelope, limits, source, passage, mut octets } = *self;
        let threat = octets.scan(source, &passage).await?;
        let Arrived { octets, memory: _memory, room } = octets.finish(source).await?;
        let threat = threat.map(|threat| (threat, octets.clone()));
        let instant = engine.certified_now();
        let identifier = engine.identifiers().pec_identifier(&instant);
        let for_checks = identifier.clone();
        let (paths, from) = (envelope.forward_paths.clone(), envelope.sender.clone());
        let header_octets_max = engine.settings().header_octets_max;
        let judged = engine
            .compute(move || judge(&octets, &for_checks, &from, &paths, &limits, header_octets_max))
            .await
            .map_err(|error| refusals::engine(&error))?;
        let octets = judged.original.len() as u64;
        let judged = match threat {
            None => judged,
            threat => Judged { original: Vec::new(), threat, ..judged },
        };
        store_transmission(&engine, &envelope, identifier.clone(), &instant, judged).await?;
        room.used(octets);
        metrics::counter!(crate::metrics_names::SUBMISSIONS).increment(1);
        Ok(Taken { identifier: identifier.as_str().to_owned() })
    }
}

/// Fields that original and envelope may have besides those submitted.
const OWN_FIELDS: usize = 32;

/// What the checks made of a submission.
#[derive(Debug)]
struct Judged {
    /// The original that the envelope will hold; the submitted octets when the checks failed.
    original: Vec<u8>,
    client_message_id: Option<String>,
    subject: String,
    /// The sentence of the notice.
    fault: Option<String>,
    /// The virus that was found in it, and the submitted octets.
    threat: Option<(String, Bytes)>,
}

/// Makes the formal checks and exchanges the identifier (RFC 6109 §3.1.1, §2.2.1).
fn judge(
    octets: &[u8],
    identifier: &PecIdentifier,
    sender: &Address,
    forward_paths: &[Address],
    limits: &FormalLimits,
    header_octets_max: usize,
) -> Judged {
    let refused = |fault: String, header: Option<&Header>| {
        let facts = formal::refused_transmission(identifier.clone(), sender, Vec::new(), header);
        Judged {
            original: octets.to_vec(),
            client_message_id: facts.message_id,
            subject: facts.subject.unwrap_or_default(),
            fault: Some(fault),
            threat: None,
        }
    };
    let (header, body_offset) = match Header::parse(octets) {
        // The original and the envelope add fields of their own, and must still be readable.
        Ok((header, _)) if header.fields().len() > HEADER_FIELDS_MAX - OWN_FIELDS => {
            return refused("l'intestazione contiene troppi campi".to_owned(), Some(&header));
        }
        Ok(parsed) if parsed.1 <= header_octets_max => parsed,
        Ok(_) => return refused("l'intestazione è troppo lunga".to_owned(), None),
        Err(fault) => return refused(formal::FormalFault::from(fault).italian, None),
    };
    match formal::check(&header, sender, forward_paths, octets.len() as u64, limits) {
        Err(fault) => refused(fault.italian, Some(&header)),
        Ok(facts) => {
            let mut original = original_header(&header, identifier, facts.message_id.as_deref());
            original.extend_from_slice(octets.get(body_offset..).unwrap_or_default());
            Judged {
                original,
                client_message_id: facts.message_id,
                subject: facts.subject.map(|subject| subject.text).unwrap_or_default(),
                fault: None,
                threat: None,
            }
        }
    }
}

/// Makes the transmission durable and announces it.
async fn store_transmission(
    engine: &Arc<PecEngine>,
    envelope: &SubmittedEnvelope,
    identifier: PecIdentifier,
    instant: &CertifiedInstant,
    judged: Judged,
) -> Result<(), Refusal> {
    let SubmittedEnvelope { holder, sender, forward_paths, dsn } = envelope;
    let mut batch = Batch::default();
    let id = TransmissionId::draw(instant.unix(), engine.random());
    let state = if judged.fault.is_some() || judged.threat.is_some() {
        TransmissionState::Refused
    } else {
        TransmissionState::Submitted
    };
    let mut record = TransmissionRecord {
        identifier: identifier.as_str().to_owned(),
        instant_millis: instant.unix().0,
        state: state.into(),
        account_id: holder.account_id.0,
        sender: sender.as_str().to_owned(),
        original: Vec::new(),
        envelope: Vec::new(),
        client_message_id: judged.client_message_id,
        subject: judged.subject,
        fault: judged.fault,
        recipients: u32::try_from(forward_paths.len()).unwrap_or(u32::MAX),
        envelope_id: dsn.envelope_id.as_ref().map(|id| id.as_str().to_owned()),
        returned: dsn::kept_ret(dsn.ret).into(),
        threat: judged.threat.as_ref().map(|(threat, _)| threat.clone()),
    };
    let journal = JournalRecord {
        recipients: forward_paths.iter().map(|path| path.as_str().to_owned()).collect(),
        detail: record.fault.clone().unwrap_or_default(),
        ..super::acceptance::journal_record(engine, &record)
    };
    engine.journal(&mut batch, instant.unix(), JournalEvent::Submission, journal.clone());
    let octets = judged.original.len() as u64;
    let mut staged = None;
    if let Some((threat, octets)) = judged.threat {
        let (found_at, instant) = (FoundAt::AccessPoint, instant.unix());
        let infected = Infected { octets, threat, found_at, instant, about: journal };
        let kept = quarantine::keep(engine, &mut batch, infected).await;
        kept.map_err(|error| refusals::engine(&error))?;
    } else {
        let held = engine.hold(&judged.original, &mut batch).await;
        let (held, stored) = held.map_err(|error| refusals::store(&error))?;
        record.original = held.0.to_vec();
        staged = Some(stored);
    }
    batch.put(TRANSMISSIONS, id.key(), encode(&record));
    let recipients = forward_paths.iter().map(Address::as_str);
    artefacts::begin(&mut batch, id, &record, staged.as_ref(), recipients);
    // An identifier that exists already would be a fault of the random source: refuse, not mix.
    batch.expect(TRANSMISSION_IDENTIFIERS, record.identifier.clone(), Expected::Absent);
    batch.put(TRANSMISSION_IDENTIFIERS, record.identifier.clone(), id.key());
    let class = sender_class(&record.sender);
    batch.put(TRANSMISSION_WORK, id.key(), work_value(class, octets));
    put_recipients(engine, &mut batch, id, envelope, instant);
    let Holder { account_id, sendings, limits } = holder;
    sendings
        .commit(engine.store(), *account_id, *limits, instant.unix(), batch)
        .await
        .map_err(not_sent)?;
    engine.work().announce(Work::Accept(id), class);
    Ok(())
}

/// Adds a row for each recipient, with what its sender asks about him.
fn put_recipients(
    engine: &PecEngine,
    batch: &mut Batch,
    id: TransmissionId,
    envelope: &SubmittedEnvelope,
    instant: &CertifiedInstant,
) {
    let recipients = engine.directory().classify(&envelope.forward_paths);
    for (index, recipient) in (0_u32..).zip(recipients) {
        let asked = envelope.dsn.recipients.get(index as usize);
        let (notify, original_recipient) = dsn::kept(asked);
        let row = RecipientRecord {
            address: recipient.address,
            certified: recipient.kind == RecipientKind::Certified,
            state: RecipientState::Submitted.into(),
            changed_millis: instant.unix().0,
            warned_millis: 0,
            notify,
            original_recipient,
        };
        batch.put(TRANSMISSION_RECIPIENTS, indexed_key(&id.0, index), encode(&row));
    }
}
