//! Quarantine: messages in which a virus was found, for 30 months (RFC 6109 §2.2.4).
//!
//! * A row and the sealed octets come into being in the batch that decides about the message.
//! * Octets are sealed under a key of their own, with the row's name as context: nothing that reads
//!   messages comes upon them by accident, and they share no chunk with clean ones.
//! * They are for operators: each look at one is in the journal, with who and why.
//! * After 30 months a row goes, with a record in the journal; its octets go with what no record names.
//!
//! Not here: what senders and providers are told (`infected`), who looks ([`crate::control`]).

use std::sync::Arc;

use bytes::Bytes;
use jiff::{Span, Timestamp};
use prost::Message;
use storage::{
    catalog::{
        engine::{Batch, Expected, Family},
        pages::Pages,
    },
    error::StoreError,
    held::HeldId,
    store::Store,
};
use trust::{
    clock::UnixMillis,
    digest::Sha256Digest,
    random::RandomSource,
    seal::{DataKey, SealError},
};

use super::{
    engine::{PecEngine, PecError},
    instant::ROME,
    journal::{self, JournalEvent},
    records::{self, JournalRecord, decode, encode, time_ordered_id},
};

/// Messages in which a virus was found.
pub const QUARANTINE: Family = Family("quarantine");

/// How long they are kept (RFC 6109 §2.2.4).
const MONTHS: i32 = 30;

/// Rows read at a time.
const PAGE: usize = 200;

time_ordered_id! {
    /// A message in quarantine.
    QuarantineId
}

/// Where a virus was found.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, prost::Enumeration)]
#[repr(i32)]
pub enum FoundAt {
    /// In what a holder submitted.
    AccessPoint = 0,
    /// In a transport envelope of another provider.
    IncomingPoint = 1,
    /// In what a provider has signed and that is no message of the rules.
    Malformed = 2,
    /// In a receipt or notice that does not bring a holder back what he sent.
    Receipt = 3,
}

impl FoundAt {
    /// The word in commands.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::AccessPoint => "access-point",
            Self::IncomingPoint => "incoming-point",
            Self::Malformed => "malformed",
            Self::Receipt => "receipt",
        }
    }
}

/// A message in quarantine.
#[derive(Clone, Eq, PartialEq, Message)]
pub struct QuarantineRecord {
    /// When the virus was found, in milliseconds since the epoch.
    #[prost(int64, tag = "1")]
    pub instant_millis: i64,
    /// The sealed octets, as a held message.
    #[prost(bytes = "vec", tag = "2")]
    pub message: Vec<u8>,
    /// The name of what was found.
    #[prost(string, tag = "3")]
    pub threat: String,
    /// Where it was found.
    #[prost(enumeration = "FoundAt", tag = "4")]
    pub found_at: i32,
    /// Octets of the message.
    #[prost(uint64, tag = "5")]
    pub octets: u64,
    /// SHA-256 of the message.
    #[prost(bytes = "vec", tag = "6")]
    pub digest: Vec<u8>,
    /// The name of the key that it is sealed under.
    #[prost(bytes = "vec", tag = "7")]
    pub key: Vec<u8>,
    /// The PEC msgid, when there is one.
    #[prost(string, tag = "8")]
    pub identifier: String,
    /// The Message-ID.
    #[prost(string, tag = "9")]
    pub message_id: String,
    /// The reverse path.
    #[prost(string, tag = "10")]
    pub sender: String,
    /// The forward paths.
    #[prost(string, repeated, tag = "11")]
    pub recipients: Vec<String>,
    /// The subject.
    #[prost(string, tag = "12")]
    pub subject: String,
    /// The provider that sent it.
    #[prost(string, tag = "13")]
    pub provider: String,
}

/// A message to be put into quarantine.
#[derive(Debug)]
pub(super) struct Infected {
    /// As it came.
    pub(super) octets: Bytes,
    /// What was found.
    pub(super) threat: String,
    /// Where.
    pub(super) found_at: FoundAt,
    /// When.
    pub(super) instant: UnixMillis,
    /// Who sent what to whom: also what the journal says.
    pub(super) about: JournalRecord,
}

/// What sealing authenticates besides the octets.
fn context(id: QuarantineId) -> Vec<u8> {
    [&b"ceralacca quarantine "[..], &id.0].concat()
}

fn seal(
    key: &DataKey,
    random: &dyn RandomSource,
    id: QuarantineId,
    octets: &[u8],
) -> Result<Vec<u8>, SealError> {
    key.encrypt(random, &context(id), octets)
}

/// Opens what was sealed for row `id`.
///
/// # Errors
///
/// [`SealError::NotGenuine`]: another key, another row, or damage.
pub fn unseal(key: &DataKey, id: QuarantineId, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
    key.decrypt(&context(id), sealed)
}

/// Adds `infected` to `batch`: its row, its sealed octets and its line in the journal.
///
/// # Errors
///
/// When the octets cannot be sealed or staged.
pub(super) async fn keep(
    engine: &Arc<PecEngine>,
    batch: &mut Batch,
    infected: Infected,
) -> Result<(QuarantineId, HeldId), PecError> {
    let Infected { octets, threat, found_at, instant, about } = infected;
    let id = QuarantineId::draw(instant, engine.random());
    let sealing = {
        let (engine, octets) = (Arc::clone(engine), octets.clone());
        move || {
            let sealed = seal(engine.quarantine_key(), engine.random(), id, &octets);
            (Sha256Digest::of(&octets), sealed)
        }
    };
    let (digest, sealed) = engine.compute(sealing).await?;
    let sealed = sealed.map_err(PecError::Seal)?;
    let (held, _) = engine.hold(&sealed, batch).await?;
    let record = QuarantineRecord {
        instant_millis: instant.0,
        message: held.0.to_vec(),
        threat: threat.clone(),
        found_at: found_at.into(),
        octets: octets.len() as u64,
        digest: digest.0.to_vec(),
        key: engine.quarantine_key().id().0.to_vec(),
        identifier: about.identifier.clone(),
        message_id: about.message_id.clone(),
        sender: about.sender.clone(),
        recipients: about.recipients.clone(),
        subject: about.subject.clone(),
        provider: about.provider.clone(),
    };
    batch.put(QUARANTINE, id.key(), encode(&record));
    let journal = JournalRecord { detail: format!("{threat}, quarantine {id}"), ..about };
    engine.journal(batch, instant, JournalEvent::Quarantined, journal);
    Ok((id, held))
}

/// Reads a row; `None` when there is none.
///
/// # Errors
///
/// When the catalog cannot be read, or the row.
pub async fn find(store: &Store, id: QuarantineId) -> Result<Option<QuarantineRecord>, StoreError> {
    let row = store.engine().get(QUARANTINE, &id.0).await?;
    row.map(|row| decode(QUARANTINE, &id.0, &row)).transpose()
}

/// The message of a row and its octets, opened: for the engine alone.
///
/// # Errors
///
/// When either is not there, or does not open.
pub(super) async fn open(
    engine: &Arc<PecEngine>,
    id: QuarantineId,
) -> Result<(QuarantineRecord, Bytes), PecError> {
    let inconsistent = |detail: &str| PecError::Inconsistent {
        object: format!("quarantined message {id}"),
        detail: detail.to_owned(),
    };
    let record =
        find(engine.store(), id).await?.ok_or_else(|| inconsistent("the record is gone"))?;
    let held = engine.held(&record.message, &format!("quarantined message {id}")).await?;
    let sealed = engine.read_held(&held).await?;
    let opening = Arc::clone(engine);
    let opened = engine.compute(move || unseal(opening.quarantine_key(), id, &sealed)).await?;
    let octets = opened.map_err(|_| inconsistent("it does not open with quarantine.key"))?;
    Ok((record, octets.into()))
}

/// The rows that `wanted` picks, the oldest first, `limit` at most; how many more there are.
///
/// # Errors
///
/// When the catalog cannot be read, or a row.
pub async fn list(
    store: &Store,
    wanted: impl Fn(&QuarantineRecord) -> bool,
    limit: usize,
) -> Result<(Vec<(QuarantineId, QuarantineRecord)>, u64), StoreError> {
    let (mut found, mut more) = (Vec::new(), 0);
    let mut pages = Pages::prefix(QUARANTINE, b"", PAGE);
    while let Some(page) = pages.next(&**store.engine()).await? {
        for (key, value) in page {
            let record: QuarantineRecord = decode(QUARANTINE, &key, &value)?;
            if !wanted(&record) {
                continue;
            }
            if found.len() < limit {
                found.push((QuarantineId::from_octets(QUARANTINE, &key)?, record));
            } else {
                more += 1;
            }
        }
    }
    Ok((found, more))
}

/// When what came into quarantine at `instant` is disposed of.
#[must_use]
pub fn ends(instant: UnixMillis) -> UnixMillis {
    let ended = Timestamp::from_millisecond(instant.0)
        .ok()
        .and_then(|at| at.to_zoned(ROME.clone()).checked_add(Span::new().months(MONTHS)).ok());
    // What no calendar has is kept.
    ended.map_or(UnixMillis(i64::MAX), |at| UnixMillis(at.timestamp().as_millisecond()))
}

/// Disposes of what has been there for its time; returns how many.
///
/// # Errors
///
/// When the catalog cannot be read or written, or a row cannot be read.
pub async fn dispose(store: &Store, now: UnixMillis, node: u64) -> Result<u64, StoreError> {
    let mut disposed = 0;
    let mut pages = Pages::prefix(QUARANTINE, b"", PAGE);
    while let Some(page) = pages.next(&**store.engine()).await? {
        for (key, value) in page {
            let id = QuarantineId::from_octets(QUARANTINE, &key)?;
            let record: QuarantineRecord = decode(QUARANTINE, &key, &value)?;
            if ends(UnixMillis(record.instant_millis)) > now {
                // The others came later.
                return Ok(disposed);
            }
            let mut batch = Batch::default();
            batch.expect(QUARANTINE, key.clone(), Expected::Value(value));
            batch.delete(QUARANTINE, key);
            let detail = format!("{}, quarantine {id}, 30 months are over", record.threat);
            let journal = JournalRecord { detail, ..about(&record) };
            journal::write(&mut batch, node, now, JournalEvent::QuarantineDisposed, journal);
            match store.commit(batch).await {
                Ok(_) => disposed += 1,
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(disposed)
}

/// What the journal says of a row.
#[must_use]
pub fn about(record: &QuarantineRecord) -> JournalRecord {
    JournalRecord {
        identifier: record.identifier.clone(),
        message_id: record.message_id.clone(),
        sender: record.sender.clone(),
        recipients: record.recipients.clone(),
        subject: record.subject.clone(),
        provider: record.provider.clone(),
        ..JournalRecord::default()
    }
}

/// The name of the held message with a row's sealed octets.
#[must_use]
pub fn held_id(record: &QuarantineRecord) -> Option<HeldId> {
    records::held_id(&record.message)
}

#[cfg(test)]
mod tests {
    use storage::catalog::{engine::Engine as _, simulated::SimulatedEngine};
    use trust::random::SeededRandom;

    use super::*;
    use crate::golden::Golden;

    #[test]
    fn sealed_octets_stay_readable() {
        let key = DataKey::from_octets(&[7; 32]).expect("32 octets");
        let id = QuarantineId([0xd4; 16]);
        let now = seal(&key, &SeededRandom::new(1), id, b"virus").expect("sealed");
        // Another nonce each time: what counts is that this one is opened.
        for sealed in [Golden::of("quarantine.sealed").key(id.0).written(&now), now] {
            assert_eq!(unseal(&key, id, &sealed).expect("opened"), b"virus");
        }
    }

    #[test]
    fn octets_open_under_their_key_and_in_their_row_alone() {
        let random = SeededRandom::new(1);
        let (key, other) = (DataKey::draw(&random), DataKey::draw(&random));
        let (one, two) = (QuarantineId([1; 16]), QuarantineId([2; 16]));
        let sealed = seal(&key, &random, one, b"virus").expect("sealed");
        assert!(!sealed.windows(5).any(|octets| octets == b"virus"));
        assert_eq!(unseal(&key, one, &sealed).expect("opened"), b"virus");
        assert!(unseal(&key, two, &sealed).is_err());
        assert!(unseal(&other, one, &sealed).is_err());
        let again = seal(&key, &random, one, b"virus").expect("sealed");
        assert_ne!(again, sealed, "the same octets share nothing");
    }

    #[test]
    fn thirty_months_are_those_of_the_calendar() {
        let at = |text: &str| {
            UnixMillis(text.parse::<Timestamp>().expect("an instant").as_millisecond())
        };
        assert_eq!(ends(at("2026-11-28T11:00:00Z")), at("2029-05-28T10:00:00Z"), "noon in Rome");
        assert_eq!(ends(at("2026-08-31T10:00:00Z")), at("2029-02-28T11:00:00Z"));
        assert_eq!(ends(UnixMillis(i64::MAX)), UnixMillis(i64::MAX));
    }

    #[tokio::test]
    async fn names_of_rows_ascend_with_the_time_that_they_came() {
        let engine = SimulatedEngine::new(&[QUARANTINE]);
        let random = SeededRandom::new(1);
        let mut batch = Batch::default();
        for at in [300, 100, 200] {
            let record = QuarantineRecord { instant_millis: at, ..QuarantineRecord::default() };
            let id = QuarantineId::draw(UnixMillis(at), &random);
            batch.put(QUARANTINE, id.key(), encode(&record));
        }
        engine.commit(batch).await.expect("committed");
        let mut pages = Pages::prefix(QUARANTINE, b"", 10);
        let page = pages.next(&*engine).await.expect("a page").expect("rows");
        let read = |(key, value): &(Bytes, Bytes)| {
            decode::<QuarantineRecord>(QUARANTINE, key, value).expect("a row").instant_millis
        };
        assert_eq!(page.iter().map(read).collect::<Vec<_>>(), [100, 200, 300]);
    }
}
