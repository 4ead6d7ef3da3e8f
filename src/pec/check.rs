//! What `store check` looks at in the engine's own families.
//!
//! * A duty (a row of a work family, of the queue or of the deliveries) names records that exist
//!   and a held message that is there: else the duty could never be fulfilled.
//! * A row of the queue has its row in the order, and the other way round: else its turn would never
//!   come. (An older version's queue gets its order at the next start.)
//! * A held message that no record names is reported: nobody will ever send or deliver it. It is
//!   kept; only the collector's own rules release held messages.
//!
//! Each page of duties is looked at in one snapshot, beside a running engine. Memory is bounded by
//! [`HELD_MAX`].
//!
//! Not here: the octets of held messages (`storage::check`).

use std::collections::BTreeSet;

use bytes::Bytes;
use storage::{
    catalog::{
        engine::{Engine, Family, Reader},
        keys::{self, HELD_MESSAGES},
        pages::Pages,
    },
    error::StoreError,
};

use super::{
    artefacts::{ArtefactRecord, TRANSMISSION_ARTEFACTS, TRANSMISSION_INDEX},
    needs::{self, naming, needed_by},
    quarantine::{QUARANTINE, QuarantineRecord},
    records::{
        DELIVERY_WORK, DeliveryRecord, Due, HELD_FOR_OPERATOR, INCOMING_MESSAGES, INCOMING_WORK,
        OUTGOING_ORDER, OUTGOING_QUEUE, QueueId, QueueRecord, TIME_LIMITS,
        TRANSMISSION_IDENTIFIERS, TRANSMISSION_RECIPIENTS, TRANSMISSION_WORK, TRANSMISSIONS,
        decode, indexed_key,
    },
    sending::{SENDINGS, SendingRecord},
    time_limits::{self, Deadline},
    work::Source,
};
use crate::backup::held::held_row;

/// Rows read at a time.
const PAGE: usize = 500;

/// Held messages looked for in one walk over the records; an entry takes some 50 octets.
const HELD_MAX: usize = 1 << 18;

/// What the check found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Duties {
    /// Rows looked at.
    pub rows: u64,
    /// Object and fault of each thing that is wrong.
    pub faults: Vec<(String, DutyFault)>,
    /// Faults beyond those listed.
    pub faults_left_out: u64,
    /// Held messages that no record names, by key.
    pub orphans: Vec<String>,
    /// Orphans beyond those listed.
    pub orphans_left_out: u64,
}

/// What is wrong with a record of the engine.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum DutyFault {
    /// It needs a record or a held message that is missing, named here.
    Needs(String),
    /// It cannot be read.
    Damaged(String),
}

/// Entries of a list in [`Duties`].
const LISTED_MAX: usize = 1_000;

/// Families with duties or with names of records.
const LOOKED_AT: [Family; 13] = [
    HELD_FOR_OPERATOR,
    TRANSMISSION_WORK,
    INCOMING_WORK,
    DELIVERY_WORK,
    TIME_LIMITS,
    OUTGOING_QUEUE,
    OUTGOING_ORDER,
    TRANSMISSION_RECIPIENTS,
    TRANSMISSION_IDENTIFIERS,
    TRANSMISSION_ARTEFACTS,
    TRANSMISSION_INDEX,
    SENDINGS,
    QUARANTINE,
];

/// Checks the engine's families; `tell` hears the number of rows now and then.
///
/// # Errors
///
/// When the catalog does not answer. What is wrong in it is reported instead.
pub async fn check(
    engine: &dyn Engine,
    tell: &(dyn Fn(u64) + Send + Sync),
) -> Result<Duties, StoreError> {
    let mut duties = Duties::default();
    for family in LOOKED_AT {
        let mut pages = Pages::prefix(family, b"", PAGE);
        while !pages.is_at_end() {
            let snapshot = engine.snapshot().await?;
            let page = pages.next(&*snapshot).await?.unwrap_or_default();
            for (key, value) in &page {
                let found = named_by(family, key, value);
                duties.look(&*snapshot, family, (key, value), found).await?;
            }
            duties.rows += page.len() as u64;
            tell(duties.rows);
        }
    }
    find_orphans(engine, &mut duties, tell).await?;
    Ok(duties)
}

type Names = Vec<(Family, Bytes)>;

/// The records, but for held messages, that a row names.
fn named_by(family: Family, key: &Bytes, value: &[u8]) -> Result<Names, StoreError> {
    let record = |family, octets: &[u8]| (family, Bytes::copy_from_slice(octets));
    let some = |family, octets: &[u8]| {
        (!octets.is_empty()).then(|| (family, Bytes::copy_from_slice(octets)))
    };
    Ok(match family {
        HELD_FOR_OPERATOR => {
            let (family, key, value) = held_row(key, value)?;
            named_by(family, &key, &value)?
        }
        TRANSMISSION_WORK => vec![record(TRANSMISSIONS, key)],
        INCOMING_WORK => vec![record(INCOMING_MESSAGES, key)],
        DELIVERY_WORK => {
            let row: DeliveryRecord = decode(family, key, value)?;
            let source = match Source::from_key(key)? {
                Source::Transmission(id) => record(TRANSMISSIONS, &id.0),
                Source::Incoming(id) => record(INCOMING_MESSAGES, &id.0),
            };
            [source].into_iter().chain(some(TRANSMISSIONS, &row.transmission)).collect()
        }
        TIME_LIMITS => {
            let deadline = Deadline::from_key(key)?;
            time_limits::read(key, value)?;
            let recipient = indexed_key(&deadline.transmission.0, deadline.index);
            vec![record(TRANSMISSION_RECIPIENTS, &recipient)]
        }
        OUTGOING_QUEUE => {
            let row: QueueRecord = decode(family, key, value)?;
            some(TRANSMISSIONS, &row.transmission).into_iter().collect()
        }
        OUTGOING_ORDER => vec![record(OUTGOING_QUEUE, &Due::read(key)?.id.0)],
        TRANSMISSION_RECIPIENTS => vec![record(TRANSMISSIONS, key.get(..16).unwrap_or(key))],
        TRANSMISSION_IDENTIFIERS => vec![record(TRANSMISSIONS, value)],
        TRANSMISSION_ARTEFACTS => {
            decode::<ArtefactRecord>(family, key, value)?;
            vec![record(TRANSMISSIONS, key.get(..16).unwrap_or(key))]
        }
        TRANSMISSION_INDEX => vec![record(TRANSMISSIONS, key.get(16..).unwrap_or(key))],
        QUARANTINE => {
            let row: QuarantineRecord = decode(family, key, value)?;
            vec![record(HELD_MESSAGES, &row.message)]
        }
        SENDINGS => {
            decode::<SendingRecord>(family, key, value)?;
            vec![record(keys::ACCOUNTS, key)]
        }
        _ => Vec::new(),
    })
}

impl Duties {
    /// Looks whether what a row names is there.
    async fn look(
        &mut self,
        snapshot: &dyn Reader,
        family: Family,
        (key, value): (&[u8], &[u8]),
        names: Result<Names, StoreError>,
    ) -> Result<(), StoreError> {
        let mut names = match names {
            Err(error) => return self.damaged(error),
            Ok(names) => names,
        };
        match needed_by(snapshot, family, key, value).await {
            Ok(held) => names.extend(held.into_iter().map(|held| (HELD_MESSAGES, held.into()))),
            Err(error) => self.damaged(error)?,
        }
        names.extend(turn_of(family, (key, value))?);
        for ((named, name), found) in names.iter().zip(snapshot.multi_get(&names).await?) {
            if found.is_none() {
                let missing = keys::object(*named, name);
                self.fault(keys::object(family, key), DutyFault::Needs(missing));
            }
        }
        Ok(())
    }

    /// Reports a record that cannot be read; other errors end the check.
    fn damaged(&mut self, error: StoreError) -> Result<(), StoreError> {
        match error {
            StoreError::Damaged { object, detail } => {
                self.fault(object, DutyFault::Damaged(detail));
            }
            // A store of a newer program is not opened: an octet is another.
            StoreError::TooNew { object, found, known } => {
                let detail = format!("its format {found} is above {known}");
                self.fault(object, DutyFault::Damaged(detail));
            }
            error => return Err(error),
        }
        Ok(())
    }

    fn fault(&mut self, object: String, fault: DutyFault) {
        if self.faults.len() < LISTED_MAX {
            self.faults.push((object, fault));
        } else {
            self.faults_left_out += 1;
        }
    }
}

/// The row in the order that a row of the queue has, unless an operator holds it. A row that cannot be
/// read was reported by the look at what it needs.
fn turn_of(
    family: Family,
    (key, value): (&[u8], &[u8]),
) -> Result<Option<(Family, Bytes)>, StoreError> {
    if family != OUTGOING_QUEUE {
        return Ok(None);
    }
    let row: QueueRecord = match decode(family, key, value) {
        Err(StoreError::Damaged { .. } | StoreError::TooNew { .. }) => return Ok(None),
        row => row?,
    };
    let order = row.due(QueueId::from_octets(family, key)?);
    Ok(order.map(|order| (OUTGOING_ORDER, order.octets())))
}

/// Finds held messages that no record names: a part of them at a time, each with one walk.
async fn find_orphans(
    engine: &dyn Engine,
    duties: &mut Duties,
    tell: &(dyn Fn(u64) + Send + Sync),
) -> Result<(), StoreError> {
    let mut pages = Pages::prefix(HELD_MESSAGES, b"", PAGE);
    while !pages.is_at_end() {
        let snapshot = engine.snapshot().await?;
        let mut held = BTreeSet::new();
        while held.len() < HELD_MAX
            && let Some(page) = pages.next(&*snapshot).await?
        {
            held.extend(page.into_iter().map(|(key, _)| key));
        }
        if !held.is_empty() {
            for family in naming() {
                strike_named(&*snapshot, family, &mut held, duties, tell).await?;
            }
        }
        for key in held {
            if duties.orphans.len() < LISTED_MAX {
                duties.orphans.push(keys::object(HELD_MESSAGES, &key));
            } else {
                duties.orphans_left_out += 1;
            }
        }
    }
    Ok(())
}

/// Takes those that a record of `family` names out of `held`.
async fn strike_named(
    snapshot: &dyn Reader,
    family: Family,
    held: &mut BTreeSet<Bytes>,
    duties: &mut Duties,
    tell: &(dyn Fn(u64) + Send + Sync),
) -> Result<(), StoreError> {
    let mut pages = Pages::prefix(family, b"", PAGE);
    while let Some(page) = pages.next(snapshot).await? {
        for (key, value) in &page {
            match needs::named_by(family, key, value) {
                Ok(names) => names.iter().for_each(|name| {
                    held.remove(name.as_slice());
                }),
                Err(StoreError::Damaged { object, detail }) => {
                    if matches!(family, TRANSMISSIONS | INCOMING_MESSAGES) {
                        duties.fault(object, DutyFault::Damaged(detail));
                    }
                }
                Err(error) => return Err(error),
            }
        }
        duties.rows += page.len() as u64;
        tell(duties.rows);
    }
    Ok(())
}
