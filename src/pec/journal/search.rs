//! Searching the journal: by holder, by identifier, by event, by time.
//!
//! * By holder or identifier the index leads to the records; what the sealer has not indexed yet is
//!   read from the journal itself. By time alone the seals say which records need not be read.
//! * One call looks at [`EXAMINED_MAX`] records and returns [`Query::limit`] at most, with where to go
//!   on: whoever wants all asks again.
//! * Records come in the order of their numbers. Damage ends no search: what cannot be read is found, as
//!   [`UNREADABLE`], by every search that comes by.
//!
//! Not here: what a record proves ([`super::verify`]).

use bytes::Bytes;
use storage::{
    catalog::{
        engine::{Engine, Family, Reader, Scan},
        pages::Pages,
    },
    error::StoreError,
};
use trust::clock::UnixMillis;

use super::{
    head::{self, Head, JOURNAL_INDEX, JOURNAL_SEALS, number_of, numbered},
    index::{self, TERM_OCTETS, TermKind},
    seal::Seal,
};
use crate::pec::records::{JOURNAL, JournalRecord, decode};

/// Records, or seals that are passed over, of one call.
pub const EXAMINED_MAX: usize = 20_000;

/// The event of a record that cannot be read; its detail says why.
pub const UNREADABLE: &str = "unreadable";

/// Entries read at a time.
const PAGE: usize = 500;

/// What is searched for: all that is given must hold.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// The address of a sender or recipient.
    pub holder: Option<String>,
    /// A PEC identifier, or a Message-ID of an original or of a generated message.
    pub identifier: Option<String>,
    /// The event's word.
    pub event: Option<String>,
    /// Not before this instant.
    pub since: Option<UnixMillis>,
    /// Not after this instant.
    pub until: Option<UnixMillis>,
    /// Only records behind this one.
    pub after: u64,
    /// Records at most.
    pub limit: usize,
}

/// A record that was found.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its number.
    pub sequence: u64,
    /// Its value as it stands in the catalog.
    pub value: Bytes,
    /// What it says.
    pub record: JournalRecord,
}

/// What one call found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// In the order of their numbers.
    pub entries: Vec<Entry>,
    /// Where to go on; `None` at the end.
    pub cursor: Option<u64>,
}

impl Query {
    fn term(&self) -> Option<[u8; TERM_OCTETS]> {
        // An identifier leads to fewer records than an address.
        let identifier = self.identifier.as_deref().map(|text| (TermKind::Identifier, text));
        let holder = self.holder.as_deref().map(|text| (TermKind::Address, text));
        identifier.or(holder).map(|(kind, text)| index::term(kind, text))
    }

    fn is_met_by(&self, record: &JournalRecord) -> bool {
        let named = |kind, text: &Option<String>| {
            text.as_deref().is_none_or(|text| index::names(record, kind, text))
        };
        named(TermKind::Identifier, &self.identifier)
            && named(TermKind::Address, &self.holder)
            && self.event.as_ref().is_none_or(|event| *event == record.event)
            && self.since.is_none_or(|since| record.instant_millis >= since.0)
            && self.until.is_none_or(|until| record.instant_millis <= until.0)
    }
}

/// Searches the journal of `node`.
///
/// # Errors
///
/// What the engine says.
pub async fn search(engine: &dyn Engine, node: u64, query: &Query) -> Result<Found, StoreError> {
    let snapshot = engine.snapshot().await?;
    let head = Head::read(&*snapshot, node).await?;
    let mut start =
        query.after.saturating_add(1).max(head.record.disposed_sequence.saturating_add(1));
    if let Some(since) = query.since {
        // What is of that time was sealed then or later.
        let place = first_seal(&*snapshot, &head, |seal| seal.instant >= since).await?;
        start = start.max(place.before.map_or(0, |seal| seal.last.saturating_add(1)));
    }
    let mut run = Run { reader: &*snapshot, node, query, examined: 0, found: Found::default() };
    let sealed = head.record.sequence;
    let complete = match query.term() {
        Some(term) => run.by_term(&term, start, sealed).await?,
        None if query.since.is_some() || query.until.is_some() => {
            run.by_seals(&head, start).await?
        }
        None => run.records(start, sealed).await?,
    };
    if complete {
        run.records(start.max(sealed.saturating_add(1)), u64::MAX).await?;
    }
    Ok(run.found)
}

/// Where something begins among the seals.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// The last seal of which it does not hold; `None` when it holds of all.
    pub before: Option<Seal>,
    /// The first one of which it holds. Seals between the two are missing or cannot be read.
    pub first: Option<Seal>,
}

/// Where `is` begins to hold; it holds of all seals behind the first of which it does.
///
/// # Errors
///
/// What the engine says.
pub async fn first_seal(
    reader: &dyn Reader,
    head: &Head,
    is: impl Fn(&Seal) -> bool,
) -> Result<Place, StoreError> {
    let (mut low, mut high) =
        (head.record.disposed_seals.saturating_add(1), head.record.seals.saturating_add(1));
    let mut place = Place::default();
    while low < high {
        let middle = low + (high - low) / 2;
        // One that is missing or cannot be read tells nothing: the next one does.
        let (mut next, mut found) = (middle, None);
        while next < high && found.is_none() {
            found = match head::seal(reader, head.node, next).await {
                Err(StoreError::Damaged { .. } | StoreError::TooNew { .. }) => None,
                read => read?,
            };
            next = next.saturating_add(1);
        }
        match found {
            Some(seal) if !is(&seal) => {
                low = next;
                place.before = Some(seal);
            }
            found => {
                high = middle;
                place.first = found.or(place.first);
            }
        }
    }
    Ok(place)
}

fn scan(family: Family, start: Bytes, end: Option<Bytes>, prefix: &[u8]) -> Pages {
    let all = Scan::prefix(family, prefix, PAGE);
    Pages::new(Scan { start, end: end.or(all.end.clone()), ..all })
}

struct Run<'r> {
    reader: &'r dyn Reader,
    node: u64,
    query: &'r Query,
    examined: usize,
    found: Found,
}

impl Run<'_> {
    /// Whether to go on behind `sequence`; else the cursor stands there.
    fn goes_on(&mut self, sequence: u64) -> bool {
        let full = self.found.entries.len() >= self.query.limit.max(1);
        if full || self.examined >= EXAMINED_MAX {
            self.found.cursor = Some(sequence);
            return false;
        }
        true
    }

    /// A record that cannot be read may be one that is looked for: it is found as it stands, and what can be
    /// read behind it as well.
    fn look(&mut self, sequence: u64, key: &[u8], value: &Bytes) {
        self.examined += 1;
        let (record, readable) = match decode::<JournalRecord>(JOURNAL, key, value) {
            Ok(record) => (record, true),
            Err(error) => {
                let (event, detail) = (UNREADABLE.to_owned(), error.to_string());
                (JournalRecord { event, detail, ..JournalRecord::default() }, false)
            }
        };
        if !readable || self.query.is_met_by(&record) {
            self.found.entries.push(Entry { sequence, value: value.clone(), record });
        }
    }

    /// Looks at the records from `first` to `last`; false when it has to be gone on with.
    async fn records(&mut self, first: u64, last: u64) -> Result<bool, StoreError> {
        let end = last.checked_add(1).map(|end| numbered(self.node, end));
        let mut pages = scan(JOURNAL, numbered(self.node, first), end, &self.node.to_be_bytes());
        while let Some(page) = pages.next(self.reader).await? {
            for (key, value) in page {
                let sequence = number_of(JOURNAL, &key)?;
                if !self.goes_on(sequence.saturating_sub(1)) {
                    return Ok(false);
                }
                self.look(sequence, &key, &value);
            }
        }
        Ok(true)
    }

    /// The same, of the sealed records with `term`.
    async fn by_term(
        &mut self,
        term: &[u8; TERM_OCTETS],
        first: u64,
        sealed: u64,
    ) -> Result<bool, StoreError> {
        let prefix = [&self.node.to_be_bytes()[..], term].concat();
        let start = index::key(self.node, term, first);
        let end = sealed.checked_add(1).map(|end| index::key(self.node, term, end));
        let mut pages = scan(JOURNAL_INDEX, start, end, &prefix);
        while let Some(page) = pages.next(self.reader).await? {
            for (key, _) in page {
                let sequence = number_of(JOURNAL_INDEX, &key[16..])?;
                if !self.goes_on(sequence.saturating_sub(1)) {
                    return Ok(false);
                }
                let key = numbered(self.node, sequence);
                // One that is missing is damage, which `verify` names.
                if let Some(value) = self.reader.get(JOURNAL, &key).await? {
                    self.look(sequence, &key, &value);
                }
            }
        }
        Ok(true)
    }

    /// The same, without those records of which their seal says that they are of another time.
    async fn by_seals(&mut self, head: &Head, first: u64) -> Result<bool, StoreError> {
        let place = first_seal(self.reader, head, |seal| seal.last >= first).await?;
        let mut at = first;
        let before = place.before.map_or(head.record.disposed_seals, |seal| seal.number);
        let start = numbered(self.node, before.saturating_add(1));
        let mut pages = scan(JOURNAL_SEALS, start, None, &self.node.to_be_bytes());
        while let Some(page) = pages.next(self.reader).await? {
            for (key, octets) in page {
                let object = || storage::catalog::keys::object(JOURNAL_SEALS, &key);
                let Ok(seal) = Seal::read(&octets, object) else { continue };
                // What stands between two seals belongs to one that is missing.
                if at < seal.first && !self.records(at, seal.first - 1).await? {
                    return Ok(false);
                }
                at = at.max(seal.first);
                let early = self.query.since.is_some_and(|since| seal.latest < since);
                let late = self.query.until.is_some_and(|until| seal.earliest > until);
                if early || late {
                    self.examined += 1;
                    if !self.goes_on(seal.last) {
                        return Ok(false);
                    }
                } else if !self.records(at, seal.last).await? {
                    return Ok(false);
                }
                at = seal.last.saturating_add(1);
            }
        }
        if at > head.record.sequence {
            return Ok(true);
        }
        self.records(at, head.record.sequence).await
    }
}
