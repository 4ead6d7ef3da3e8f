//! The two times after which a sender is told that nothing is heard of a recipient (RFC 6109 §3.1.6).
//!
//! | taken in charge | delivered | after 12 hours | after 24 hours |
//! |---|---|---|---|
//! | within 12 hours | never | nothing | notice |
//! | never | between 12 and 24 hours | notice | nothing |
//! | never | never | notice | notice |
//! | whenever | within 12 hours | nothing | nothing |
//!
//! * A row of `time_limits` is written in the batch that dispatches the envelope, for each certified
//!   recipient; ordinary ones are never heard of.
//! * A notice, the recipient's new state and the end of the row are one batch that expects the state
//!   that was read: a receipt that comes at the same moment is first or last, and never overlooked.
//! * The last notice is issued within hour 24 and not before hour 22: at hour 23, so that an hour is
//!   left when the program stood still. Whoever is later is told later, and of the last time only.
//! * What ends before its time leaves its row to be found without an effect.
//!
//! Not here: what a notice looks like (`receipt`), who is told when the queue gives up before
//! (`relay`).

use std::sync::Arc;

use bytes::Bytes;
use storage::{
    catalog::{
        engine::{Batch, Expected, Scan},
        pages::PAGE_OCTETS_MAX,
    },
    error::StoreError,
    ids::AccountId,
};
use trust::clock::UnixMillis;

use super::{
    acceptance,
    address::Address,
    artefacts::{Artefact, ArtefactKind},
    engine::{PecEngine, PecError},
    facts::TransmissionFacts,
    issue::{self, Issued},
    journal::JournalEvent,
    receipt::TimeLimit,
    records::{
        DELIVERY_WORK, DeliveryRecord, DeliveryStage, JournalRecord, RecipientRecord,
        RecipientState, TIME_LIMITS, TRANSMISSION_RECIPIENTS, TRANSMISSIONS, TransmissionId,
        TransmissionRecord, encode, indexed_key,
    },
    work::{Source, Work},
};
use crate::metrics_names::TIME_LIMIT_NOTICES;

/// A time that passes for one recipient: the key of a row.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Deadline {
    /// When.
    pub at: UnixMillis,
    /// Of which transmission.
    pub transmission: TransmissionId,
    /// Which of its recipients.
    pub index: u32,
}

impl Deadline {
    /// Instant, transmission, recipient: rows stand in the order in which they are due.
    #[must_use]
    pub fn key(&self) -> Bytes {
        let id = [&self.at.0.to_be_bytes()[..], &self.transmission.0].concat();
        indexed_key(&id, self.index)
    }

    /// Reads one from a key.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`].
    pub fn from_key(key: &[u8]) -> Result<Self, StoreError> {
        let parts = || {
            let (at, rest) = key.split_first_chunk::<8>()?;
            let (transmission, index) = rest.split_first_chunk::<16>()?;
            Some(Self {
                at: UnixMillis(i64::from_be_bytes(*at)),
                transmission: TransmissionId(*transmission),
                index: u32::from_be_bytes(index.try_into().ok()?),
            })
        };
        parts().ok_or_else(|| StoreError::Damaged {
            object: format!("{}/{}", TIME_LIMITS.0, hex::encode(key)),
            detail: "the key names no recipient".to_owned(),
        })
    }
}

/// What a row says: which time it is, and when the envelope was dispatched.
fn value(limit: TimeLimit, dispatched: UnixMillis) -> Bytes {
    let tag = match limit {
        TimeLimit::First => 1,
        TimeLimit::Last => 2,
    };
    [&[tag], &dispatched.0.to_be_bytes()[..]].concat().into()
}

fn read_value(value: &[u8]) -> Option<(TimeLimit, UnixMillis)> {
    let (tag, dispatched) = value.split_first()?;
    let limit = match tag {
        1 => TimeLimit::First,
        2 => TimeLimit::Last,
        _ => return None,
    };
    Some((limit, UnixMillis(i64::from_be_bytes(dispatched.try_into().ok()?))))
}

/// Reads a row.
///
/// # Errors
///
/// [`StoreError::Damaged`].
pub(super) fn read(key: &[u8], value: &[u8]) -> Result<(TimeLimit, UnixMillis), StoreError> {
    read_value(value).ok_or_else(|| StoreError::Damaged {
        object: format!("{}/{}", TIME_LIMITS.0, hex::encode(key)),
        detail: "it says neither which time it is nor since when".to_owned(),
    })
}

fn put(
    engine: &PecEngine,
    batch: &mut Batch,
    (transmission, index): (TransmissionId, u32),
    limit: TimeLimit,
    dispatched: UnixMillis,
) {
    let settings = engine.settings();
    let after = match limit {
        TimeLimit::First => settings.first_notice_millis,
        TimeLimit::Last => settings.last_notice_millis,
    };
    let deadline = Deadline { at: dispatched.plus_millis(after), transmission, index };
    batch.put(TIME_LIMITS, deadline.key(), value(limit, dispatched));
}

/// Adds to `batch`, which dispatches the envelope at `dispatched`, what has to be looked at later
/// for a certified recipient.
pub(super) fn begin(
    engine: &PecEngine,
    batch: &mut Batch,
    transmission: TransmissionId,
    index: u32,
    dispatched: UnixMillis,
) {
    put(engine, batch, (transmission, index), TimeLimit::First, dispatched);
}

/// Deadlines announced in one look; more are found by the next.
const ANNOUNCED_MAX: usize = 1_000;

/// Announces deadlines that have passed, as work of `class`, from the key `from` on, and moves that
/// behind them: what cannot be done keeps nothing behind it from being announced.
pub(super) async fn announce_due(
    engine: &PecEngine,
    class: u64,
    from: &mut Bytes,
) -> Result<(), StoreError> {
    let end = engine.now().plus_millis(1).0.to_be_bytes();
    let mut scan = Scan::prefix(TIME_LIMITS, b"", ANNOUNCED_MAX);
    (scan.start, scan.end) = (from.clone(), Some(Bytes::copy_from_slice(&end)));
    let page = engine.store().engine().page(&scan, PAGE_OCTETS_MAX).await?;
    *from = match page.entries.last() {
        Some((last, _)) if page.entries.len() == ANNOUNCED_MAX => [last, &[0][..]].concat().into(),
        _ => Bytes::new(),
    };
    for (key, _) in &page.entries {
        match Deadline::from_key(key) {
            Ok(deadline) => engine.work().announce(Work::TimeLimit(deadline), class),
            Err(error) => tracing::error!(
                error = &error as &dyn std::error::Error,
                "deadline passed over: run `ceralacca store check`"
            ),
        }
    }
    Ok(())
}

/// Does what is due at `deadline`.
///
/// # Errors
///
/// Whatever the store or the signer says; the row then stands as before.
pub async fn pass(engine: &Arc<PecEngine>, deadline: Deadline) -> Result<(), PecError> {
    for _ in 0..super::distribution::CONFLICTS_MAX {
        match try_pass(engine, deadline).await {
            // A receipt came meanwhile: what it says counts.
            Err(PecError::Store(StoreError::Conflict)) => {}
            done => return done,
        }
    }
    Err(StoreError::Conflict.into())
}

async fn try_pass(engine: &Arc<PecEngine>, deadline: Deadline) -> Result<(), PecError> {
    let (key, id, index) = (deadline.key(), deadline.transmission, deadline.index);
    let Some(row) = engine.store().engine().get(TIME_LIMITS, &key).await? else { return Ok(()) };
    let (mut limit, dispatched) = read(&key, &row)?;
    if engine.now() >= dispatched.plus_millis(engine.settings().last_notice_millis) {
        // The program stood still: that delivery is still possible is not true any more.
        limit = TimeLimit::Last;
    }
    let mut batch = Batch::default();
    batch.expect(TIME_LIMITS, key.clone(), Expected::Value(row));
    batch.delete(TIME_LIMITS, key);
    let Some(recipient) = Recipient::read(engine, id, index).await? else {
        engine.store().commit(batch).await?;
        return Ok(());
    };
    let state = recipient.row.state();
    if limit == TimeLimit::First && state <= RecipientState::TakenInCharge {
        put(engine, &mut batch, (id, index), TimeLimit::Last, dispatched);
    }
    let heard = match limit {
        TimeLimit::First => state >= RecipientState::TakenInCharge,
        TimeLimit::Last => state > RecipientState::TakenInCharge,
    };
    if !heard && is_in_mailbox(engine, id, index).await? {
        // Its receipt is being made: the next look finds it, or finds that none came.
        return Ok(());
    }
    if heard {
        // What was read is what the sender is not told for.
        batch.expect(
            TRANSMISSION_RECIPIENTS,
            indexed_key(&id.0, index),
            Expected::Value(recipient.value),
        );
        engine.store().commit(batch).await?;
        return Ok(());
    }
    recipient.tell(engine, limit, batch).await
}

/// Whether the message lies in the recipient's mailbox here, and only the receipt is missing.
async fn is_in_mailbox(
    engine: &PecEngine,
    id: TransmissionId,
    index: u32,
) -> Result<bool, StoreError> {
    let key = indexed_key(&Source::Transmission(id).key(), index);
    let delivery = engine.record::<DeliveryRecord>(DELIVERY_WORK, &key).await?;
    Ok(delivery.is_some_and(|(delivery, _)| delivery.stage() != DeliveryStage::Pending))
}

/// Tells the sender of a recipient whose time is over, with `batch`; nothing but `batch` when he was
/// told.
///
/// # Errors
///
/// Whatever the store or the signer says.
pub(super) async fn give_up(
    engine: &Arc<PecEngine>,
    id: TransmissionId,
    index: u32,
    batch: Batch,
) -> Result<(), PecError> {
    match Recipient::read(engine, id, index).await? {
        Some(recipient) if recipient.row.state() < RecipientState::TakenInCharge => {
            recipient.tell(engine, TimeLimit::Last, batch).await
        }
        _ => Ok(engine.store().commit(batch).await.map(drop)?),
    }
}

/// The facts of a transmission. Its recipients are told of one after the other: what was read for the
/// first is kept for the next, and who comes meanwhile waits for it.
async fn facts(
    engine: &Arc<PecEngine>,
    id: TransmissionId,
    transmission: &TransmissionRecord,
) -> Result<TransmissionFacts, PecError> {
    let mut last = engine.last_facts().lock().await;
    if let Some((of, facts)) = &*last
        && *of == id
    {
        return Ok(facts.clone());
    }
    let facts = acceptance::certified_facts(engine, id, transmission).await?;
    *last = Some((id, facts.clone()));
    Ok(facts)
}

/// A recipient whose state decides.
struct Recipient {
    id: TransmissionId,
    index: u32,
    row: RecipientRecord,
    /// The octets of the row, which the batch expects.
    value: Bytes,
}

impl Recipient {
    async fn read(
        engine: &PecEngine,
        id: TransmissionId,
        index: u32,
    ) -> Result<Option<Self>, StoreError> {
        let key = indexed_key(&id.0, index);
        let found = engine.record::<RecipientRecord>(TRANSMISSION_RECIPIENTS, &key).await?;
        Ok(found.map(|(row, value)| Self { id, index, row, value }))
    }

    /// Issues the notice, with `batch`.
    async fn tell(
        self,
        engine: &Arc<PecEngine>,
        limit: TimeLimit,
        mut batch: Batch,
    ) -> Result<(), PecError> {
        let Self { id, index, row, value } = self;
        let inconsistent = |detail: &str| PecError::Inconsistent {
            object: format!("transmission {id}"),
            detail: detail.to_owned(),
        };
        let found = engine.record::<TransmissionRecord>(TRANSMISSIONS, &id.0).await?;
        let (transmission, _) = found.ok_or_else(|| inconsistent("it is gone"))?;
        let address =
            Address::parse(&row.address).map_err(|_| inconsistent("a recipient is no address"))?;
        let facts = facts(engine, id, &transmission).await?;
        let instant = engine.certified_now();
        let notice: Issued = {
            let (facts, instant, address) = (facts, instant.clone(), address.clone());
            issue::issue(engine, 0, move |issuer| {
                issuer.time_limit_notice(&facts, &instant, &address, limit)
            })
            .await?
        };
        let key = indexed_key(&id.0, index);
        batch.expect(TRANSMISSION_RECIPIENTS, key.clone(), Expected::Value(value));
        let mut next = row;
        match limit {
            TimeLimit::First => next.warned_millis = instant.unix().0,
            TimeLimit::Last => {
                next.set_state(RecipientState::Expired);
                next.changed_millis = instant.unix().0;
            }
        }
        batch.put(TRANSMISSION_RECIPIENTS, key, encode(&next));
        let journal = JournalRecord {
            recipients: vec![address.as_str().to_owned()],
            related: vec![notice.message_id.clone()],
            detail: limit.word().to_owned(),
            ..acceptance::journal_record(engine, &transmission)
        };
        engine.journal(&mut batch, instant.unix(), JournalEvent::TimeLimit, journal);
        let account = AccountId(transmission.account_id);
        let artefact = Artefact::to_sender(
            (id, &transmission),
            ArtefactKind::TimeLimitNotice,
            instant.unix(),
            vec![address.as_str().to_owned()],
            &engine.issuer().name,
        );
        issue::put_into_senders_mailbox(engine, account, &notice, artefact, batch).await?;
        metrics::counter!(TIME_LIMIT_NOTICES, "limit" => limit.word()).increment(1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::Golden;

    #[test]
    fn rows_of_time_limits_stay_as_they_are() {
        let at = UnixMillis(1_795_867_200_123);
        let deadline = Deadline { at, transmission: TransmissionId([7; 16]), index: 258 };
        for limit in [TimeLimit::First, TimeLimit::Last] {
            let golden = Golden::of("time_limits").variant(limit).key(deadline.key());
            golden.holds(
                &(limit, at),
                |(limit, at)| value(*limit, *at),
                |octets| read_value(octets).expect("a row"),
            );
        }
    }

    #[test]
    fn deadlines_stand_in_the_order_of_their_time_and_come_back_from_their_keys() {
        let deadline =
            |at| Deadline { at: UnixMillis(at), transmission: TransmissionId([7; 16]), index: 3 };
        assert_eq!(Deadline::from_key(&deadline(5).key()).expect("a key"), deadline(5));
        assert!(deadline(255).key() < deadline(256).key());
        assert!(Deadline::from_key(&[0; 27]).is_err());
        assert!(Deadline::from_key(&[0; 29]).is_err());
    }

    #[test]
    fn what_a_row_says_comes_back_and_nothing_else_is_read() {
        for limit in [TimeLimit::First, TimeLimit::Last] {
            assert_eq!(read_value(&value(limit, UnixMillis(9))), Some((limit, UnixMillis(9))));
        }
        for bad in [&b""[..], b"\x01", b"\x03\0\0\0\0\0\0\0\0", b"\x01\0\0\0\0\0\0\0\0\0"] {
            assert_eq!(read_value(bad), None, "{bad:?}");
        }
    }
}
