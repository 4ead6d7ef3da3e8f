//! What came of a transmission: every message that was made for it or received about it, and what a
//! transmission is found by.
//!
//! | family | key | value |
//! |---|---|---|
//! | `transmission_artefacts` | TransmissionId, kind (u8), instant (i64), first 8 octets of the SHA-256 | [`ArtefactRecord`] |
//! | `transmission_index` | term (16 octets), TransmissionId | [`SENDER`], [`RECIPIENT`], both, or 0 for a Message-ID (u8) |
//!
//! * A row is written in the batch that makes the artefact, or takes it in.
//! * Octets are held as long as the transmission holds its original (`disposal`), whatever the holder
//!   does with his own copy, and are charged to nobody: they share their chunks with it. What comes
//!   later is noted without octets.
//! * The rows themselves go with the transmission's record, when the journal's time is over.
//!
//! Not here: what is shown of them ([`super::transmissions`]).

use bytes::Bytes;
use prost::Message;
use storage::{
    catalog::engine::{Batch, Expected, Family, Reader, Scan},
    catalog::pages::Pages,
    error::StoreError,
    held::{HeldId, HeldMessage},
    octets::StagedMessage,
};
use trust::{clock::UnixMillis, digest::Sha256Digest};

use super::{
    daticert::{CertificationData, Event},
    journal::index::{TERM_OCTETS, TermKind, term},
    records::{TRANSMISSIONS, TransmissionId, TransmissionRecord, decode, encode},
};

/// What was made for a transmission, or received about it.
pub const TRANSMISSION_ARTEFACTS: Family = Family("transmission_artefacts");
/// Transmissions by address and by the client's Message-ID.
pub const TRANSMISSION_INDEX: Family = Family("transmission_index");

/// The address is the sender's.
pub const SENDER: u8 = 1;
/// The address is a recipient's.
pub const RECIPIENT: u8 = 2;

/// Messages of one kind that are noted for each recipient, though they moved none on.
pub const RECEIVED_MAX: usize = 8;

/// Octets that a received message may have beyond those of the original, for its octets to be held; all of one
/// kind that moved none on have as much for each recipient.
pub const RECEIVED_BESIDE_OCTETS: u64 = 256 * 1024;

/// Rows read at a time.
const PAGE: usize = 500;

/// What kind of message it is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, prost::Enumeration)]
#[repr(i32)]
pub enum ArtefactKind {
    /// The message as its sender submitted it, its Message-ID replaced.
    Original = 0,
    /// Busta di trasporto.
    TransportEnvelope = 1,
    /// Ricevuta di accettazione.
    AcceptanceReceipt = 2,
    /// Avviso di non accettazione.
    NonAcceptanceNotice = 3,
    /// Ricevuta di presa in carico.
    TakeChargeReceipt = 4,
    /// Ricevuta di avvenuta consegna.
    DeliveryReceipt = 5,
    /// Avviso di mancata consegna.
    NonDeliveryNotice = 6,
    /// Avviso after 12 or 24 hours without an answer.
    TimeLimitNotice = 7,
    /// Report about ordinary mail.
    StatusNotification = 8,
    /// Avviso di rilevazione virus.
    VirusNotice = 9,
}

impl ArtefactKind {
    /// The word for programs: that of the journal's event where there is one.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Original => "original",
            Self::TransportEnvelope => "transport-envelope",
            Self::AcceptanceReceipt => "acceptance-receipt",
            Self::NonAcceptanceNotice => "non-acceptance-notice",
            Self::TakeChargeReceipt => "take-charge-receipt",
            Self::DeliveryReceipt => "delivery-receipt",
            Self::NonDeliveryNotice => "non-delivery-notice",
            Self::TimeLimitNotice => "time-limit-notice",
            Self::StatusNotification => "status-notification",
            Self::VirusNotice => "virus-notice",
        }
    }

    /// The kind of a receipt or notice from its certification data.
    #[must_use]
    pub fn of_event(event: &Event) -> Self {
        match event {
            Event::Acceptance => Self::AcceptanceReceipt,
            Event::NonAcceptance { .. } => Self::NonAcceptanceNotice,
            Event::TransportEnvelope { .. } => Self::TransportEnvelope,
            Event::TakeCharge { .. } => Self::TakeChargeReceipt,
            Event::Delivery { .. } => Self::DeliveryReceipt,
            Event::DeliveryError { .. } => Self::NonDeliveryNotice,
            Event::TimeLimit { .. } => Self::TimeLimitNotice,
            Event::VirusDetection { .. } => Self::VirusNotice,
        }
    }
}

/// One artefact.
#[derive(Clone, Eq, PartialEq, Message)]
pub struct ArtefactRecord {
    /// What it is.
    #[prost(enumeration = "ArtefactKind", tag = "1")]
    pub kind: i32,
    /// Its instant, or when it came in, in milliseconds since the epoch.
    #[prost(int64, tag = "2")]
    pub instant_millis: i64,
    /// Its Message-ID, with brackets.
    #[prost(string, tag = "3")]
    pub message_id: String,
    /// SHA-256 of its octets.
    #[prost(bytes = "vec", tag = "4")]
    pub digest: Vec<u8>,
    /// How many there are.
    #[prost(uint64, tag = "5")]
    pub size: u64,
    /// The octets as a held message; empty once they are let go of.
    #[prost(bytes = "vec", tag = "6")]
    pub held: Vec<u8>,
    /// The recipients of the transmission that it is about; empty = all.
    #[prost(string, repeated, tag = "7")]
    pub recipients: Vec<String>,
    /// Who issued it; empty for the original.
    #[prost(string, tag = "8")]
    pub issuer: String,
    /// The mailbox into which it was put, or for which it came.
    #[prost(string, tag = "9")]
    pub mailbox: String,
}

/// What an artefact is, while its octets are at hand.
#[derive(Clone, Debug)]
pub struct Artefact {
    /// Of which transmission.
    pub transmission: TransmissionId,
    /// What it is.
    pub kind: ArtefactKind,
    /// When it was made, or came in.
    pub instant: UnixMillis,
    /// The recipients that it is about; empty = all.
    pub recipients: Vec<String>,
    /// Who issued it.
    pub issuer: String,
    /// The mailbox into which it is put.
    pub mailbox: String,
    /// Whether its octets are held: the transmission still holds its original.
    pub keeps: bool,
}

/// Whether what is made for the transmission of `record` is held with it. An original with a virus is in
/// quarantine, and never was the transmission's: what comes of it is held until disposal finds it
/// ([`holds_any`]), and again in the next round when it comes after that.
fn keeps(record: &TransmissionRecord) -> bool {
    !record.original.is_empty() || record.threat.is_some()
}

impl Artefact {
    /// What is made for the transmission `id` and put into its sender's mailbox.
    #[must_use]
    pub fn to_sender(
        (id, record): (TransmissionId, &TransmissionRecord),
        kind: ArtefactKind,
        instant: UnixMillis,
        recipients: Vec<String>,
        issuer: &str,
    ) -> Self {
        Self {
            transmission: id,
            kind,
            instant,
            recipients,
            issuer: issuer.to_owned(),
            mailbox: record.sender.clone(),
            keeps: keeps(record),
        }
    }

    /// Asks, before its row is made, whether the transmission still holds its original; `batch` then holds only as
    /// long as it does. What is noted while it lets go would be held until the records go.
    ///
    /// # Errors
    ///
    /// As [`of_transmission`].
    pub async fn while_held(
        &mut self,
        reader: &(impl Reader + ?Sized),
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        if !self.keeps {
            return Ok(());
        }
        let key = self.transmission.key();
        let Some(value) = reader.get(TRANSMISSIONS, &key).await? else {
            self.keeps = false;
            return Ok(());
        };
        let record: TransmissionRecord = decode(TRANSMISSIONS, &key, &value)?;
        self.keeps = keeps(&record);
        if self.keeps {
            batch.expect(TRANSMISSIONS, key, Expected::Value(value));
        }
        Ok(())
    }

    /// Adds its row to `batch`; `held` is the name under which its octets are.
    pub fn note(
        self,
        batch: &mut Batch,
        message_id: &str,
        (digest, size): (Sha256Digest, u64),
        held: &[u8],
    ) {
        let kind = self.kind;
        let record = ArtefactRecord {
            kind: kind.into(),
            instant_millis: self.instant.0,
            message_id: message_id.to_owned(),
            digest: digest.0.to_vec(),
            size,
            held: if self.keeps { held.to_vec() } else { Vec::new() },
            recipients: self.recipients,
            issuer: self.issuer,
            mailbox: self.mailbox,
        };
        let kind = u8::try_from(i32::from(kind)).unwrap_or(u8::MAX);
        let instant = self.instant.0.to_be_bytes();
        let key = [&self.transmission.0[..], &[kind], &instant, &digest.0[..8]].concat();
        batch.put(TRANSMISSION_ARTEFACTS, key, encode(&record));
    }
}

/// Adds to `batch` what a submitted message is found by, and its original when that is kept.
pub fn begin<'r>(
    batch: &mut Batch,
    id: TransmissionId,
    record: &TransmissionRecord,
    original: Option<&StagedMessage>,
    recipients: impl Iterator<Item = &'r str>,
) {
    for (key, role) in index_of(id, record, recipients) {
        batch.put(TRANSMISSION_INDEX, key, vec![role]);
    }
    // One with a virus is in quarantine alone.
    let Some(original) = original else { return };
    let stored = original.stored();
    let artefact = Artefact {
        mailbox: String::new(),
        ..Artefact::to_sender(
            (id, record),
            ArtefactKind::Original,
            UnixMillis(record.instant_millis),
            Vec::new(),
            "",
        )
    };
    let message_id = record.client_message_id.as_deref().unwrap_or_default();
    artefact.note(batch, message_id, (stored.digest(), stored.size()), &record.original);
}

/// The rows of the index that a transmission has.
pub fn index_of<'r>(
    id: TransmissionId,
    record: &TransmissionRecord,
    recipients: impl Iterator<Item = &'r str>,
) -> Vec<(Bytes, u8)> {
    let mut roles: std::collections::BTreeMap<[u8; TERM_OCTETS], u8> =
        std::collections::BTreeMap::new();
    *roles.entry(term(TermKind::Address, &record.sender)).or_default() |= SENDER;
    for recipient in recipients {
        *roles.entry(term(TermKind::Address, recipient)).or_default() |= RECIPIENT;
    }
    if let Some(message_id) = &record.client_message_id {
        roles.entry(term(TermKind::Identifier, message_id)).or_default();
    }
    roles.into_iter().map(|(term, role)| (index_key(&term, &id.0), role)).collect()
}

/// The key of a row of the index.
#[must_use]
pub fn index_key(term: &[u8; TERM_OCTETS], id: &[u8]) -> Bytes {
    [&term[..], id].concat().into()
}

/// A receipt or notice that came in about a transmission of this provider.
#[must_use]
pub fn received(
    transmission: (TransmissionId, &TransmissionRecord),
    data: &CertificationData,
    instant: UnixMillis,
    issuer: &str,
    mailboxes: &[String],
) -> Artefact {
    let recipients = match &data.event {
        Event::TakeCharge { recipients } => recipients.clone(),
        event => event.recipient().map(str::to_owned).into_iter().collect(),
    };
    Artefact {
        mailbox: mailboxes.join(" "),
        ..Artefact::to_sender(
            transmission,
            ArtefactKind::of_event(&data.event),
            instant,
            recipients,
            issuer,
        )
    }
}

/// The row of the message as its sender submitted it; transmissions that older versions took have none.
///
/// # Errors
///
/// As [`of_transmission`].
pub async fn original(
    reader: &(impl Reader + ?Sized),
    id: TransmissionId,
) -> Result<Option<ArtefactRecord>, StoreError> {
    let prefix = kind_prefix(id, ArtefactKind::Original);
    let rows = reader.scan(&Scan::prefix(TRANSMISSION_ARTEFACTS, &prefix, 1)).await?;
    let read = |(key, value): (Bytes, Bytes)| decode(TRANSMISSION_ARTEFACTS, &key, &value);
    rows.into_iter().next().map(read).transpose()
}

/// What the keys of the artefacts of one kind begin with.
fn kind_prefix(id: TransmissionId, kind: ArtefactKind) -> Vec<u8> {
    let kind = u8::try_from(i32::from(kind)).unwrap_or(u8::MAX);
    [&id.0[..], &[kind]].concat()
}

/// Octets that a received message may have for its octets to be held with the transmission `id`.
///
/// # Errors
///
/// As [`of_transmission`].
pub async fn received_octets_max(
    reader: &(impl Reader + ?Sized),
    id: TransmissionId,
) -> Result<u64, StoreError> {
    let original = original(reader, id).await?;
    Ok(original.map_or(0, |row| row.size).saturating_add(RECEIVED_BESIDE_OCTETS))
}

/// What is noted of one kind.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Noted {
    /// Artefacts.
    pub count: usize,
    /// Octets of those that are held.
    pub held_octets: u64,
}

/// How many artefacts of `kind` are noted with a transmission, counted until there are `most`.
///
/// # Errors
///
/// As [`of_transmission`].
pub async fn noted(
    reader: &(impl Reader + ?Sized),
    id: TransmissionId,
    kind: ArtefactKind,
    most: usize,
) -> Result<Noted, StoreError> {
    let mut pages = Pages::prefix(TRANSMISSION_ARTEFACTS, &kind_prefix(id, kind), PAGE);
    let mut noted = Noted::default();
    while noted.count < most
        && let Some(page) = pages.next(reader).await?
    {
        for (key, value) in page {
            let record: ArtefactRecord = decode(TRANSMISSION_ARTEFACTS, &key, &value)?;
            noted.count += 1;
            if !record.held.is_empty() {
                noted.held_octets = noted.held_octets.saturating_add(record.size);
            }
        }
    }
    Ok(noted)
}

/// Digest and size of a message that is held.
#[must_use]
pub fn of_held(held: &HeldMessage) -> (Sha256Digest, u64) {
    (held.digest(), held.size())
}

/// Adds to `batch` that `held` owns an issued message, and its row.
pub fn hold(
    artefact: Artefact,
    store: &storage::store::Store,
    held: HeldId,
    message_id: &str,
    staged: &StagedMessage,
    batch: &mut Batch,
) {
    if artefact.keeps {
        store.hold(held, staged, batch);
    }
    let stored = staged.stored();
    artefact.note(batch, message_id, (stored.digest(), stored.size()), &held.0);
}

/// The artefacts of a transmission with their keys, in the order of their kinds and instants.
///
/// # Errors
///
/// [`StoreError::Damaged`], [`StoreError::TooNew`], and what the engine says.
pub async fn of_transmission(
    reader: &(impl Reader + ?Sized),
    id: &[u8],
) -> Result<Vec<(Bytes, ArtefactRecord)>, StoreError> {
    let mut artefacts = Vec::new();
    let mut pages = Pages::prefix(TRANSMISSION_ARTEFACTS, id, PAGE);
    while let Some(page) = pages.next(reader).await? {
        for (key, value) in page {
            let record = decode(TRANSMISSION_ARTEFACTS, &key, &value)?;
            artefacts.push((key, record));
        }
    }
    Ok(artefacts)
}

/// Adds to `batch` that the octets of a transmission's artefacts are held no longer.
///
/// # Errors
///
/// As [`of_transmission`].
pub async fn let_go(
    reader: &(impl Reader + ?Sized),
    id: &[u8],
    batch: &mut Batch,
) -> Result<(), StoreError> {
    for (key, mut record) in of_transmission(reader, id).await? {
        if !record.held.is_empty() {
            record.held.clear();
            batch.put(TRANSMISSION_ARTEFACTS, key, encode(&record));
        }
    }
    Ok(())
}

/// Whether octets of an artefact of the transmission `id` are held.
///
/// # Errors
///
/// When the catalog cannot be read.
pub async fn holds_any(reader: &(impl Reader + ?Sized), id: &[u8]) -> Result<bool, StoreError> {
    let rows = of_transmission(reader, id).await?;
    Ok(rows.iter().any(|(_, record)| !record.held.is_empty()))
}
