//! What `store check` looks at in the engine's own families.
//!
//! * A duty (a row of a work family, of the queue or of the deliveries) names records that exist
//!   and a held message that is there: else the duty could never be fulfilled.
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
        engine::{Engine, Entries, Family, Reader, Scan},
        keys::{self, HELD_MESSAGES},
    },
    error::StoreError,
};

use super::{
    records::{
        DELIVERY_WORK, DeliveryRecord, HELD_FOR_OPERATOR, INCOMING_MESSAGES, INCOMING_WORK,
        IncomingRecord, OUTGOING_QUEUE, QueueRecord, TRANSMISSION_IDENTIFIERS,
        TRANSMISSION_RECIPIENTS, TRANSMISSION_WORK, TRANSMISSIONS, TransmissionRecord, decode,
    },
    sending::{SENDINGS, SendingRecord},
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
    /// Object and detail of each thing that is wrong.
    pub faults: Vec<(String, String)>,
    /// Faults beyond those listed.
    pub faults_left_out: u64,
    /// Held messages that no record names, by key.
    pub orphans: Vec<String>,
    /// Orphans beyond those listed.
    pub orphans_left_out: u64,
}

/// Entries of a list in [`Duties`].
const LISTED_MAX: usize = 1_000;

/// Families with duties or with names of records.
const LOOKED_AT: [Family; 8] = [
    HELD_FOR_OPERATOR,
    TRANSMISSION_WORK,
    INCOMING_WORK,
    DELIVERY_WORK,
    OUTGOING_QUEUE,
    TRANSMISSION_RECIPIENTS,
    TRANSMISSION_IDENTIFIERS,
    SENDINGS,
];

/// Families whose records name held messages.
pub(super) const NAMING_HELD: [Family; 5] =
    [TRANSMISSIONS, INCOMING_MESSAGES, DELIVERY_WORK, OUTGOING_QUEUE, HELD_FOR_OPERATOR];

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
        let mut start = Bytes::new();
        loop {
            let snapshot = engine.snapshot().await?;
            let page = page(&*snapshot, family, &start).await?;
            for (key, value) in &page {
                let found = named_by(family, key, value);
                duties.look(&*snapshot, family, key, found).await?;
            }
            duties.rows += page.len() as u64;
            tell(duties.rows);
            match page.last() {
                Some((last, _)) if page.len() == PAGE => start = next(last),
                _ => break,
            }
        }
    }
    find_orphans(engine, &mut duties, tell).await?;
    Ok(duties)
}

async fn page(reader: &dyn Reader, family: Family, start: &Bytes) -> Result<Entries, StoreError> {
    let scan = Scan { family, start: start.clone(), end: None, reverse: false, limit: PAGE };
    reader.scan(&scan).await
}

fn next(key: &[u8]) -> Bytes {
    [key, &[0]].concat().into()
}

type Names = Vec<(Family, Bytes)>;

/// The records that a row names.
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
            let mut names = vec![source, record(HELD_MESSAGES, &row.message)];
            names.extend(some(TRANSMISSIONS, &row.transmission));
            names
        }
        OUTGOING_QUEUE => {
            let row: QueueRecord = decode(family, key, value)?;
            let mut names = vec![record(HELD_MESSAGES, &row.message)];
            names.extend(some(TRANSMISSIONS, &row.transmission));
            names
        }
        TRANSMISSION_RECIPIENTS => vec![record(TRANSMISSIONS, key.get(..16).unwrap_or(key))],
        TRANSMISSION_IDENTIFIERS => vec![record(TRANSMISSIONS, value)],
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
        key: &[u8],
        names: Result<Names, StoreError>,
    ) -> Result<(), StoreError> {
        let mut names = match names {
            Err(StoreError::Damaged { object, detail }) => {
                self.fault(object, detail);
                return Ok(());
            }
            names => names?,
        };
        names.extend(self.original_of(snapshot, family, key).await?);
        for ((named, name), found) in names.iter().zip(snapshot.multi_get(&names).await?) {
            if found.is_none() {
                let missing = keys::object(*named, name);
                self.fault(
                    keys::object(family, key),
                    format!("it needs {missing}, which is missing"),
                );
            }
        }
        Ok(())
    }

    /// The held message that an open transmission or incoming message still needs.
    async fn original_of(
        &mut self,
        snapshot: &dyn Reader,
        family: Family,
        key: &[u8],
    ) -> Result<Option<(Family, Bytes)>, StoreError> {
        let held = match family {
            TRANSMISSION_WORK => snapshot.get(TRANSMISSIONS, key).await?.map(|value| {
                decode::<TransmissionRecord>(TRANSMISSIONS, key, &value).map(|row| row.original)
            }),
            INCOMING_WORK => snapshot.get(INCOMING_MESSAGES, key).await?.map(|value| {
                decode::<IncomingRecord>(INCOMING_MESSAGES, key, &value).map(|row| row.message)
            }),
            _ => None,
        };
        match held {
            None => Ok(None),
            Some(Ok(held)) => Ok(Some((HELD_MESSAGES, held.into()))),
            Some(Err(StoreError::Damaged { object, detail })) => {
                self.fault(object, detail);
                Ok(None)
            }
            Some(Err(error)) => Err(error),
        }
    }

    fn fault(&mut self, object: String, detail: String) {
        if self.faults.len() < LISTED_MAX {
            self.faults.push((object, detail));
        } else {
            self.faults_left_out += 1;
        }
    }
}

/// Finds held messages that no record names: a part of them at a time, each with one walk.
async fn find_orphans(
    engine: &dyn Engine,
    duties: &mut Duties,
    tell: &(dyn Fn(u64) + Send + Sync),
) -> Result<(), StoreError> {
    let mut start = Bytes::new();
    loop {
        let snapshot = engine.snapshot().await?;
        let mut held = BTreeSet::new();
        let mut last_page = false;
        while held.len() < HELD_MAX && !last_page {
            let page = page(&*snapshot, HELD_MESSAGES, &start).await?;
            last_page = page.len() < PAGE;
            if let Some((last, _)) = page.last() {
                start = next(last);
            }
            held.extend(page.into_iter().map(|(key, _)| key));
        }
        if !held.is_empty() {
            for family in NAMING_HELD {
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
        if last_page {
            return Ok(());
        }
    }
}

/// Takes those that a record of `family` names out of `held`.
async fn strike_named(
    snapshot: &dyn Reader,
    family: Family,
    held: &mut BTreeSet<Bytes>,
    duties: &mut Duties,
    tell: &(dyn Fn(u64) + Send + Sync),
) -> Result<(), StoreError> {
    let mut start = Bytes::new();
    loop {
        let page = page(snapshot, family, &start).await?;
        for (key, value) in &page {
            match held_by(family, key, value) {
                Ok(names) => names.iter().for_each(|name| {
                    held.remove(name.as_slice());
                }),
                Err(StoreError::Damaged { object, detail }) => {
                    if matches!(family, TRANSMISSIONS | INCOMING_MESSAGES) {
                        duties.fault(object, detail);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        duties.rows += page.len() as u64;
        tell(duties.rows);
        match page.last() {
            Some((last, _)) if page.len() == PAGE => start = next(last),
            _ => return Ok(()),
        }
    }
}

/// The held messages that a record names.
pub(super) fn held_by(
    family: Family,
    key: &[u8],
    value: &[u8],
) -> Result<Vec<Vec<u8>>, StoreError> {
    Ok(match family {
        TRANSMISSIONS => {
            let row: TransmissionRecord = decode(family, key, value)?;
            vec![row.original, row.envelope]
        }
        INCOMING_MESSAGES => vec![decode::<IncomingRecord>(family, key, value)?.message],
        DELIVERY_WORK => vec![decode::<DeliveryRecord>(family, key, value)?.message],
        OUTGOING_QUEUE => vec![decode::<QueueRecord>(family, key, value)?.message],
        HELD_FOR_OPERATOR => {
            let (family, key, value) = held_row(key, value)?;
            held_by(family, &key, &value)?
        }
        _ => Vec::new(),
    })
}
