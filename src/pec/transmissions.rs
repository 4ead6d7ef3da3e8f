//! Reading transmissions: which there are, and everything about one; and their end after the
//! journal's time.
//!
//! * A list goes from the newest to the oldest, by the index when an address is given, and looks at
//!   [`EXAMINED_MAX`] records in one call: whoever wants more goes on from the cursor.
//! * A transmission is found by its PEC identifier, by its own name, or by the client's Message-ID.
//! * The record of a finished transmission goes with all its rows when the journal's time is over, one
//!   batch each.
//!
//! Not here: writing the rows ([`super::artefacts`]), commands (`control::operations::transmission`).

use bytes::Bytes;
use storage::{
    catalog::{
        engine::{Batch, Engine, Expected, Reader, Scan},
        pages::{PAGE_OCTETS_MAX, Pages},
    },
    error::StoreError,
};
use trust::clock::UnixMillis;

use super::{
    artefacts::{
        RECIPIENT, SENDER, TRANSMISSION_ARTEFACTS, TRANSMISSION_INDEX, index_of, of_transmission,
    },
    journal::{
        index::{TERM_OCTETS, TermKind, folded, term},
        piece::months_before,
    },
    records::{
        RecipientRecord, RecipientState, TRANSMISSION_IDENTIFIERS, TRANSMISSION_RECIPIENTS,
        TRANSMISSION_WORK, TRANSMISSIONS, TransmissionId, TransmissionRecord, decode, indexed_key,
    },
};

/// Records of one call.
pub const EXAMINED_MAX: usize = 5_000;
/// Entries read at a time.
const PAGE: usize = 200;

/// Which transmissions are meant: all that is given must hold.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// The sender's address.
    pub sender: Option<String>,
    /// A recipient's address.
    pub recipient: Option<String>,
    /// The state of a recipient.
    pub state: Option<RecipientState>,
    /// Not before.
    pub since: Option<UnixMillis>,
    /// Not after.
    pub until: Option<UnixMillis>,
    /// Only those before this one.
    pub before: Option<TransmissionId>,
    /// How many at most.
    pub limit: usize,
}

/// A transmission with its recipients.
#[derive(Clone, Debug)]
pub struct Transmission {
    /// Its name.
    pub id: TransmissionId,
    /// Its record.
    pub record: TransmissionRecord,
    /// Its recipients, in their order.
    pub recipients: Vec<RecipientRecord>,
}

/// A part of a list.
#[derive(Clone, Debug, Default)]
pub struct Listed {
    /// The newest first.
    pub transmissions: Vec<Transmission>,
    /// Where to go on; `None` at the end.
    pub cursor: Option<TransmissionId>,
}

fn same(one: &str, other: &str) -> bool {
    folded(TermKind::Address, one) == folded(TermKind::Address, other)
}

impl Selection {
    /// The term and the role that lead to the fewest.
    fn term(&self) -> Option<([u8; TERM_OCTETS], u8)> {
        let recipient = self.recipient.as_deref().map(|address| (address, RECIPIENT));
        let sender = self.sender.as_deref().map(|address| (address, SENDER));
        sender.or(recipient).map(|(address, role)| (term(TermKind::Address, address), role))
    }

    fn is_met_by(&self, one: &Transmission) -> bool {
        let sender = self.sender.as_deref().is_none_or(|sender| same(sender, &one.record.sender));
        let mut recipients = one.recipients.iter();
        let recipient = self
            .recipient
            .as_deref()
            .is_none_or(|wanted| recipients.any(|row| same(wanted, &row.address)));
        let state =
            self.state.is_none_or(|state| one.recipients.iter().any(|row| row.state() == state));
        let at = one.record.instant_millis;
        sender
            && recipient
            && state
            && self.since.is_none_or(|since| at >= since.0)
            && self.until.is_none_or(|until| at <= until.0)
    }

    /// The names of the range: the first, and the one to stop before.
    fn range(&self) -> (Vec<u8>, Option<Vec<u8>>) {
        let name = |at: UnixMillis| at.0.max(0).to_be_bytes()[2..].to_vec();
        let after = self.until.map(|until| name(until.plus_millis(1)));
        let before = self.before.map(|before| before.0.to_vec());
        let end = match (after, before) {
            (Some(after), Some(before)) => Some(after.min(before)),
            (after, before) => after.or(before),
        };
        (self.since.map(name).unwrap_or_default(), end)
    }
}

/// Lists transmissions.
///
/// # Errors
///
/// [`StoreError::Damaged`], [`StoreError::TooNew`], and what the engine says.
pub async fn list(engine: &dyn Engine, selection: &Selection) -> Result<Listed, StoreError> {
    let snapshot = engine.snapshot().await?;
    let (start, end) = selection.range();
    let (family, prefix, role) = match selection.term() {
        Some((term, role)) => (TRANSMISSION_INDEX, term.to_vec(), role),
        None => (TRANSMISSIONS, Vec::new(), 0),
    };
    let all = Scan::prefix(family, &prefix, PAGE);
    let end = end.map(|end| Bytes::from([prefix.as_slice(), &end].concat()));
    let scan = Scan {
        start: [prefix.as_slice(), &start].concat().into(),
        end: end.or(all.end.clone()),
        reverse: true,
        ..all
    };
    let (mut listed, mut examined) = (Listed::default(), 0);
    let mut pages = Pages::new(scan);
    while let Some(page) = pages.next(&*snapshot).await? {
        for (key, value) in page {
            // Rows of the other role are looked at as well: they count.
            examined += 1;
            let other =
                family == TRANSMISSION_INDEX && value.first().is_none_or(|found| found & role == 0);
            let name = key.get(prefix.len()..).unwrap_or_default();
            let id = TransmissionId::from_octets(family, name)?;
            let one = if other { None } else { read(&*snapshot, id).await? };
            listed.transmissions.extend(one.filter(|one| selection.is_met_by(one)));
            if listed.transmissions.len() >= selection.limit.max(1) || examined >= EXAMINED_MAX {
                listed.cursor = Some(id);
                return Ok(listed);
            }
        }
    }
    Ok(listed)
}

/// Reads one transmission.
///
/// # Errors
///
/// As [`list`].
pub async fn read(
    reader: &(impl Reader + ?Sized),
    id: TransmissionId,
) -> Result<Option<Transmission>, StoreError> {
    let Some(octets) = reader.get(TRANSMISSIONS, &id.0).await? else { return Ok(None) };
    let record: TransmissionRecord = decode(TRANSMISSIONS, &id.0, &octets)?;
    let keys: Vec<_> = (0..record.recipients)
        .map(|index| (TRANSMISSION_RECIPIENTS, indexed_key(&id.0, index)))
        .collect();
    let values = reader.multi_get(&keys).await?;
    let rows = keys.iter().zip(values).filter_map(|((family, key), value)| {
        value.map(|value| decode::<RecipientRecord>(*family, key, &value))
    });
    let recipients = rows.collect::<Result<_, _>>()?;
    Ok(Some(Transmission { id, record, recipients }))
}

/// Finds transmissions by a PEC identifier, by their name in 32 digits, or by the client's Message-ID;
/// the newest first. Only a Message-ID can lead to more than one, and at most 16 are named.
///
/// # Errors
///
/// As [`list`].
pub async fn find(engine: &dyn Engine, text: &str) -> Result<Vec<TransmissionId>, StoreError> {
    let snapshot = engine.snapshot().await?;
    let mut name = [0; 16];
    if hex::decode_to_slice(text, &mut name).is_ok()
        && snapshot.get(TRANSMISSIONS, &name).await?.is_some()
    {
        return Ok(vec![TransmissionId(name)]);
    }
    let inner = folded(TermKind::Identifier, text);
    if let Some(id) = snapshot.get(TRANSMISSION_IDENTIFIERS, inner.as_bytes()).await? {
        return Ok(vec![TransmissionId::from_octets(TRANSMISSION_IDENTIFIERS, &id)?]);
    }
    let term = term(TermKind::Identifier, text);
    let scan = Scan { reverse: true, ..Scan::prefix(TRANSMISSION_INDEX, &term, 16) };
    let mut found = Vec::new();
    for (key, _) in snapshot.scan(&scan).await? {
        let id = TransmissionId::from_octets(TRANSMISSION_INDEX, &key[TERM_OCTETS..])?;
        let one = read(&*snapshot, id).await?;
        let names = |one: &Transmission| {
            let message_id = one.record.client_message_id.as_deref();
            message_id.is_some_and(|found| folded(TermKind::Identifier, found) == inner)
        };
        if one.as_ref().is_some_and(names) {
            found.push(id);
        }
    }
    Ok(found)
}

/// Removes the records of transmissions that were submitted `months` ago and have let go of their
/// messages. Returns how many.
///
/// # Errors
///
/// As [`list`]; what is gone by then is gone.
pub async fn dispose(engine: &dyn Engine, now: UnixMillis, months: u32) -> Result<u64, StoreError> {
    let before = months_before(now, months);
    let mut removed = 0;
    let end = before.0.max(0).to_be_bytes()[2..].to_vec();
    let all = Scan::prefix(TRANSMISSIONS, b"", PAGE);
    let mut pages = Pages::new(Scan { end: Some(end.into()), ..all });
    while let Some(page) = pages.next(engine).await? {
        for (key, value) in page {
            let record: TransmissionRecord = decode(TRANSMISSIONS, &key, &value)?;
            // What still holds its messages is not finished.
            if !record.original.is_empty() || !record.envelope.is_empty() {
                continue;
            }
            let id = TransmissionId::from_octets(TRANSMISSIONS, &key)?;
            removed += u64::from(remove(engine, id, &record, value).await?);
        }
    }
    Ok(removed)
}

async fn remove(
    engine: &dyn Engine,
    id: TransmissionId,
    record: &TransmissionRecord,
    value: Bytes,
) -> Result<bool, StoreError> {
    let mut batch = Batch::default();
    batch.expect(TRANSMISSIONS, id.key(), Expected::Value(value));
    batch.expect(TRANSMISSION_WORK, id.key(), Expected::Absent);
    batch.delete(TRANSMISSIONS, id.key());
    batch.delete(TRANSMISSION_IDENTIFIERS, record.identifier.clone());
    let mut addresses = Vec::new();
    let rows = Scan::prefix(TRANSMISSION_RECIPIENTS, &id.0, usize::MAX);
    for (key, value) in engine.page(&rows, PAGE_OCTETS_MAX).await?.entries {
        let row: RecipientRecord = decode(TRANSMISSION_RECIPIENTS, &key, &value)?;
        addresses.push(row.address);
        batch.delete(TRANSMISSION_RECIPIENTS, key);
    }
    for (key, _) in index_of(id, record, addresses.iter().map(String::as_str)) {
        batch.delete(TRANSMISSION_INDEX, key);
    }
    for (key, _) in of_transmission(engine, &id.0).await? {
        batch.delete(TRANSMISSION_ARTEFACTS, key);
    }
    match engine.commit(batch).await {
        Ok(_) => Ok(true),
        Err(StoreError::Conflict) => Ok(false),
        Err(error) => Err(error),
    }
}
