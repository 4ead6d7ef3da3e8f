//! Which held messages the engine's records name, and which of them a duty needs.
//!
//! A held message belongs to the records that name it. A transmission names its own for whoever
//! asks later; a duty names those without which it cannot be fulfilled, or is about a record that
//! does. Disposal and check ask for the former, erasure and check for the latter, and all ask here.
//!
//! [`ROLES`] says of every family of the engine which it is. A test compares it with the list of
//! families, so that a new one is forgotten by none of them.
//!
//! Not here: what becomes of a message that nothing names, or needs (`pec::disposal`,
//! `pec::erasure`).

use storage::{
    catalog::engine::{Family, Reader},
    error::StoreError,
};

use super::{
    artefacts::{ArtefactRecord, TRANSMISSION_ARTEFACTS, TRANSMISSION_INDEX},
    journal::head::{JOURNAL_HEADS, JOURNAL_INDEX, JOURNAL_LEAVES, JOURNAL_PIECES, JOURNAL_SEALS},
    quarantine::{QUARANTINE, QuarantineRecord},
    records::{
        DELIVERY_WORK, DeliveryRecord, FAMILIES, HELD_FOR_OPERATOR, INCOMING_MESSAGES,
        INCOMING_SEEN, INCOMING_WORK, IncomingRecord, JOURNAL, OUTGOING_DESTINATIONS,
        OUTGOING_ORDER, OUTGOING_QUEUE, QueueRecord, RECEIVING_POLICIES, TIME_LIMITS,
        TRANSMISSION_IDENTIFIERS, TRANSMISSION_RECIPIENTS, TRANSMISSION_WORK, TRANSMISSIONS,
        TransmissionRecord, decode,
    },
    sending::SENDINGS,
};
use crate::backup::held::held_row;

/// What the rows of a family have to do with held messages.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Role {
    /// Nothing.
    Other,
    /// They name them, whether something is owed or not.
    Record,
    /// Each row is a duty: it needs those that it names, or those of the record that it is about.
    Duty,
}

const ROLES: [(Family, Role); FAMILIES.len()] = [
    (TRANSMISSIONS, Role::Record),
    (TRANSMISSION_IDENTIFIERS, Role::Other),
    (TRANSMISSION_RECIPIENTS, Role::Other),
    (TRANSMISSION_WORK, Role::Duty),
    (INCOMING_MESSAGES, Role::Record),
    (INCOMING_WORK, Role::Duty),
    (INCOMING_SEEN, Role::Other),
    (DELIVERY_WORK, Role::Duty),
    (TIME_LIMITS, Role::Duty),
    (OUTGOING_QUEUE, Role::Duty),
    (OUTGOING_ORDER, Role::Other),
    (OUTGOING_DESTINATIONS, Role::Other),
    (RECEIVING_POLICIES, Role::Other),
    (JOURNAL, Role::Other),
    (HELD_FOR_OPERATOR, Role::Duty),
    (SENDINGS, Role::Other),
    (JOURNAL_HEADS, Role::Other),
    (JOURNAL_SEALS, Role::Other),
    (JOURNAL_LEAVES, Role::Other),
    (JOURNAL_PIECES, Role::Other),
    (JOURNAL_INDEX, Role::Other),
    (TRANSMISSION_ARTEFACTS, Role::Record),
    (TRANSMISSION_INDEX, Role::Other),
    (QUARANTINE, Role::Record),
];

/// The families whose rows name held messages.
pub(super) fn naming() -> impl Iterator<Item = Family> {
    ROLES.into_iter().filter(|(_, role)| *role != Role::Other).map(|(family, _)| family)
}

/// The families whose rows are duties.
pub(super) fn duties() -> impl Iterator<Item = Family> {
    ROLES.into_iter().filter(|(_, role)| *role == Role::Duty).map(|(family, _)| family)
}

/// The held messages that a row names itself.
///
/// # Errors
///
/// [`StoreError::Damaged`], [`StoreError::TooNew`].
pub(super) fn named_by(
    family: Family,
    key: &[u8],
    value: &[u8],
) -> Result<Vec<Vec<u8>>, StoreError> {
    Ok(match family {
        TRANSMISSIONS => {
            let row: TransmissionRecord = decode(family, key, value)?;
            // There is no envelope before the acceptance, nor for a message that was refused, and no
            // original of one that is in quarantine.
            [row.original, row.envelope].into_iter().filter(|name| !name.is_empty()).collect()
        }
        INCOMING_MESSAGES => vec![decode::<IncomingRecord>(family, key, value)?.message],
        DELIVERY_WORK => vec![decode::<DeliveryRecord>(family, key, value)?.message],
        OUTGOING_QUEUE => vec![decode::<QueueRecord>(family, key, value)?.message],
        TRANSMISSION_ARTEFACTS => {
            let held = decode::<ArtefactRecord>(family, key, value)?.held;
            Some(held).filter(|held| !held.is_empty()).into_iter().collect()
        }
        QUARANTINE => vec![decode::<QuarantineRecord>(family, key, value)?.message],
        HELD_FOR_OPERATOR => {
            let (family, key, value) = held_row(key, value)?;
            named_by(family, &key, &value)?
        }
        _ => Vec::new(),
    })
}

/// The held messages without which a duty cannot be fulfilled; none for a row that is no duty.
///
/// # Errors
///
/// As [`named_by`], also for the record that the duty is about, and when that cannot be read.
pub(super) async fn needed_by(
    reader: &dyn Reader,
    family: Family,
    key: &[u8],
    value: &[u8],
) -> Result<Vec<Vec<u8>>, StoreError> {
    if family == HELD_FOR_OPERATOR {
        let (family, key, value) = held_row(key, value)?;
        return needed_by_duty(reader, family, &key, &value).await;
    }
    needed_by_duty(reader, family, key, value).await
}

async fn needed_by_duty(
    reader: &dyn Reader,
    family: Family,
    key: &[u8],
    value: &[u8],
) -> Result<Vec<Vec<u8>>, StoreError> {
    let about = match family {
        TRANSMISSION_WORK => TRANSMISSIONS,
        INCOMING_WORK => INCOMING_MESSAGES,
        DELIVERY_WORK | OUTGOING_QUEUE => return named_by(family, key, value),
        _ => return Ok(Vec::new()),
    };
    let record = reader.get(about, key).await?;
    record.map_or_else(|| Ok(Vec::new()), |record| named_by(about, key, &record))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use storage::{
        backup::manifest::CheckpointName,
        catalog::{
            engine::{Batch, Engine as _, Reader as _, Scan},
            simulated::SimulatedEngine,
        },
    };
    use trust::clock::UnixMillis;

    use super::{super::records::encode, *};
    use crate::backup::held::hold_all;

    #[test]
    fn every_family_of_the_engine_has_a_role() {
        let known: BTreeSet<Family> = ROLES.into_iter().map(|(family, _)| family).collect();
        assert_eq!(known, FAMILIES.into_iter().collect());
    }

    fn name(number: u8) -> Vec<u8> {
        vec![number; 16]
    }

    /// One duty of each kind, and a transmission and an incoming message that owe nothing.
    async fn with_duties() -> std::sync::Arc<SimulatedEngine> {
        let engine = SimulatedEngine::new(&FAMILIES);
        let mut batch = Batch::default();
        let transmission = |original, envelope| {
            encode(&TransmissionRecord { original, envelope, ..TransmissionRecord::default() })
        };
        let incoming = |message| encode(&IncomingRecord { message, ..IncomingRecord::default() });
        batch.put(TRANSMISSIONS, vec![1; 16], transmission(name(1), Vec::new()));
        batch.put(TRANSMISSION_WORK, vec![1; 16], Vec::new());
        batch.put(TRANSMISSIONS, vec![2; 16], transmission(name(2), name(3)));
        batch.put(INCOMING_MESSAGES, vec![4; 16], incoming(name(4)));
        batch.put(INCOMING_WORK, vec![4; 16], Vec::new());
        batch.put(INCOMING_MESSAGES, vec![5; 16], incoming(name(5)));
        let delivery = DeliveryRecord { message: name(6), ..DeliveryRecord::default() };
        batch.put(DELIVERY_WORK, vec![6; 21], encode(&delivery));
        let queued = QueueRecord { message: name(7), ..QueueRecord::default() };
        batch.put(OUTGOING_QUEUE, vec![7; 16], encode(&queued));
        // One that cannot be decided is held like the others; one of nobody is not.
        let deadline = |number| [&[0; 8][..], &[number; 16], &[0; 4]].concat();
        batch.put(TIME_LIMITS, deadline(8), Vec::new());
        batch.put(
            TRANSMISSION_RECIPIENTS,
            vec![8; 16].into_iter().chain([0; 4]).collect::<Vec<u8>>(),
            vec![0],
        );
        batch.put(TIME_LIMITS, deadline(9), Vec::new());
        let caught = QuarantineRecord { message: name(10), ..QuarantineRecord::default() };
        batch.put(QUARANTINE, vec![10; 16], encode(&caught));
        engine.commit(batch).await.expect("committed");
        engine
    }

    async fn all_needed(engine: &SimulatedEngine) -> BTreeSet<Vec<u8>> {
        let mut needed = BTreeSet::new();
        for family in duties() {
            for (key, value) in engine.scan(&Scan::prefix(family, b"", 99)).await.expect("rows") {
                needed.extend(needed_by(engine, family, &key, &value).await.expect("names"));
            }
        }
        needed
    }

    #[tokio::test]
    async fn a_duty_needs_the_same_messages_while_it_waits_for_an_operator() {
        let engine = with_duties().await;
        let expected = BTreeSet::from([name(1), name(4), name(6), name(7)]);
        assert_eq!(all_needed(&engine).await, expected);
        let now = UnixMillis(1);
        let checkpoint = CheckpointName { epoch: 1, instant: now };
        assert_eq!(hold_all(&*engine, checkpoint, now).await.expect("held"), 5);
        assert_eq!(all_needed(&engine).await, expected);
    }

    async fn all_named(engine: &SimulatedEngine) -> BTreeSet<Vec<u8>> {
        let mut named = BTreeSet::new();
        for family in naming() {
            for (key, value) in engine.scan(&Scan::prefix(family, b"", 99)).await.expect("rows") {
                named.extend(named_by(family, &key, &value).expect("names"));
            }
        }
        named
    }

    #[tokio::test]
    async fn every_name_in_a_row_is_found_by_its_family_and_while_it_waits_for_an_operator() {
        let engine = with_duties().await;
        let expected = (1..=7).chain([10]).map(name).collect();
        assert_eq!(all_named(&engine).await, expected);
        let now = UnixMillis(1);
        let checkpoint = CheckpointName { epoch: 1, instant: now };
        hold_all(&*engine, checkpoint, now).await.expect("held");
        assert_eq!(all_named(&engine).await, expected);
    }
}
