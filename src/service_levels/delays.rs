//! How long receipts took, by domain and day.
//!
//! Counted in memory, added to the rows of `service_delays` every minute. Key: kind (u8), day of
//! legal time since 1970 (u32), domain in lower case. Value: [`DelaysRecord`].

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use prost::Message;
use serde::{Deserialize, Serialize};
use storage::{
    catalog::{
        engine::{Batch, Expected, Family, Scan},
        pages::Pages,
    },
    error::StoreError,
    store::Store,
};
use trust::clock::UnixMillis;

use super::{SERVICE_DELAYS, period::Period, readable};
use crate::pec::records::encode;

/// Domains that are counted apart between two flushes; those beyond are counted together.
const DOMAINS_MAX: usize = 10_000;
/// The name under which they are counted.
const OTHERS: &str = "*";
/// Attempts at a row that another node changes too.
const ATTEMPTS_MAX: usize = 8;
/// Rows of one page.
const PAGE_ROWS: usize = 1_000;

/// What was waited for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum DelayKind {
    /// From the end of a submission to the acceptance receipt in the sender's mailbox, by the
    /// sender's domain.
    Acceptance = 1,
    /// From the end of a submission to the delivery receipt in the sender's mailbox, by the
    /// recipient's domain.
    Delivery = 2,
}

/// The delays of one domain on one day.
#[derive(Clone, Eq, PartialEq, Message)]
pub struct DelaysRecord {
    /// Classes that have any, ascending; see [`class`].
    #[prost(uint32, repeated, tag = "1")]
    pub classes: Vec<u32>,
    /// How many each has.
    #[prost(uint64, repeated, tag = "2")]
    pub counts: Vec<u64>,
    /// The longest, in milliseconds.
    #[prost(uint64, tag = "3")]
    pub longest_millis: u64,
}

/// Delays counted in classes.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Histogram {
    counts: BTreeMap<u32, u64>,
    longest_millis: u64,
}

/// The class of a delay: below 8 ms each its own, then eight to each power of two, so that a class is
/// at most an eighth wide.
fn class(millis: u64) -> u32 {
    if millis < 8 {
        return u32::try_from(millis).unwrap_or_default();
    }
    let power = millis.ilog2();
    let eighth = (millis >> (power - 3)) & 7;
    (power - 2) * 8 + u32::try_from(eighth).unwrap_or_default()
}

/// The longest delay of a class, in milliseconds.
fn longest_of(class: u32) -> u64 {
    if class < 8 {
        return class.into();
    }
    let power = (class / 8 + 2).min(63);
    let eighth = u128::from(class % 8) + 9;
    u64::try_from((eighth << (power - 3)) - 1).unwrap_or(u64::MAX)
}

impl Histogram {
    fn add(&mut self, millis: u64) {
        *self.counts.entry(class(millis)).or_default() += 1;
        self.longest_millis = self.longest_millis.max(millis);
    }

    fn merge(&mut self, other: &Self) {
        for (class, count) in &other.counts {
            let all = self.counts.entry(*class).or_default();
            *all = all.saturating_add(*count);
        }
        self.longest_millis = self.longest_millis.max(other.longest_millis);
    }

    fn of(record: &DelaysRecord) -> Self {
        let pairs = record.classes.iter().copied().zip(record.counts.iter().copied());
        Self { counts: pairs.collect(), longest_millis: record.longest_millis }
    }

    fn record(&self) -> DelaysRecord {
        let (classes, counts) = self.counts.iter().unzip();
        DelaysRecord { classes, counts, longest_millis: self.longest_millis }
    }

    /// How many delays there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.values().fold(0, |all, count| all.saturating_add(*count))
    }

    /// What `per_mille` of a thousand delays did not exceed, at most an eighth more than it was, in
    /// milliseconds.
    #[must_use]
    pub fn percentile(&self, per_mille: u64) -> u64 {
        let wanted = u128::from(self.count()) * u128::from(per_mille);
        let mut below = 0_u128;
        for (class, count) in &self.counts {
            below += u128::from(*count) * 1_000;
            if below >= wanted {
                return longest_of(*class).min(self.longest_millis);
            }
        }
        self.longest_millis
    }

    /// The longest, in milliseconds.
    #[must_use]
    pub fn longest_millis(&self) -> u64 {
        self.longest_millis
    }
}

/// Kind, day, domain.
type Place = (DelayKind, u32, String);

/// Counts delays until they are written down.
#[derive(Debug, Default)]
pub struct Delays {
    counted: Mutex<BTreeMap<Place, Histogram>>,
}

impl Delays {
    /// Counts that something about `domain` took `millis` and has ended at `now`.
    pub fn count(&self, kind: DelayKind, domain: &str, millis: u64, now: UnixMillis) {
        let day = Period::day(now);
        let mut counted = self.lock();
        let mut place = (kind, day, domain.to_ascii_lowercase());
        if counted.len() >= DOMAINS_MAX && !counted.contains_key(&place) {
            OTHERS.clone_into(&mut place.2);
        }
        counted.entry(place).or_default().add(millis);
    }

    /// Adds what was counted to the rows, many in one batch.
    ///
    /// # Errors
    ///
    /// When the store fails: what is not written stays counted.
    pub async fn flush(&self, store: &Store) -> Result<(), StoreError> {
        let mut counted = std::mem::take(&mut *self.lock());
        let mut outcome = Ok(());
        while !counted.is_empty() {
            let mut part = BTreeMap::new();
            while part.len() < PAGE_ROWS
                && let Some((place, histogram)) = counted.pop_first()
            {
                part.insert(place, histogram);
            }
            outcome = add(store, &part).await;
            if outcome.is_err() {
                counted.append(&mut part);
                break;
            }
        }
        let mut now = self.lock();
        for (place, histogram) in counted {
            now.entry(place).or_default().merge(&histogram);
        }
        outcome
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Place, Histogram>> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(kind: DelayKind, day: u32, domain: &str) -> Bytes {
    [&[kind as u8], day.to_be_bytes().as_slice(), domain.as_bytes()].concat().into()
}

async fn add(store: &Store, part: &BTreeMap<Place, Histogram>) -> Result<(), StoreError> {
    let keys: Vec<(Family, Bytes)> =
        part.keys().map(|(kind, day, domain)| (SERVICE_DELAYS, key(*kind, *day, domain))).collect();
    for _ in 0..ATTEMPTS_MAX {
        let found = store.engine().multi_get(&keys).await?;
        let mut batch = Batch::default();
        for (((_, key), found), histogram) in keys.iter().zip(found).zip(part.values()) {
            let mut all = Histogram::of(&readable(SERVICE_DELAYS, key, found.as_ref())?);
            all.merge(histogram);
            let expected = found.map_or(Expected::Absent, Expected::Value);
            batch.expect(SERVICE_DELAYS, key.clone(), expected);
            batch.put(SERVICE_DELAYS, key.clone(), encode(&all.record()));
        }
        match store.commit(batch).await {
            Err(StoreError::Conflict) => {}
            committed => return committed.map(drop),
        }
    }
    Err(StoreError::Conflict)
}

/// The delays of a kind on the days from `from` to `until`, both included, by domain.
///
/// # Errors
///
/// When the store fails or a row is damaged.
pub async fn read(
    store: &Store,
    kind: DelayKind,
    from: u32,
    until: u32,
) -> Result<BTreeMap<String, Histogram>, StoreError> {
    let scan = Scan {
        start: key(kind, from, ""),
        end: Some(key(kind, until.saturating_add(1), "")),
        ..Scan::prefix(SERVICE_DELAYS, &[], PAGE_ROWS)
    };
    let mut domains: BTreeMap<String, Histogram> = BTreeMap::new();
    let mut pages = Pages::new(scan);
    while let Some(page) = pages.next(&**store.engine()).await? {
        for (key, value) in page {
            let record = readable(SERVICE_DELAYS, &key, Some(&value))?;
            let domain = key.get(5..).map(String::from_utf8_lossy).unwrap_or_default();
            domains.entry(domain.into_owned()).or_default().merge(&Histogram::of(&record));
        }
    }
    Ok(domains)
}

/// Removes days before `oldest`, a page of each kind.
///
/// # Errors
///
/// When the store fails.
pub async fn dispose(store: &Store, oldest: u32) -> Result<(), StoreError> {
    for kind in [DelayKind::Acceptance, DelayKind::Delivery] {
        remove_below(store, SERVICE_DELAYS, &[kind as u8], oldest).await?;
    }
    Ok(())
}

/// Removes the first rows behind `prefix` whose day is before `oldest`.
pub(super) async fn remove_below(
    store: &Store,
    family: Family,
    prefix: &[u8],
    oldest: u32,
) -> Result<(), StoreError> {
    let end = [prefix, &oldest.to_be_bytes()].concat();
    let scan = Scan { end: Some(end.into()), ..Scan::prefix(family, prefix, PAGE_ROWS) };
    let rows = store.engine().scan(&scan).await?;
    if rows.is_empty() {
        return Ok(());
    }
    let mut batch = Batch::default();
    for (key, _) in rows {
        batch.delete(family, key);
    }
    store.commit(batch).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        golden::Golden,
        pec::records::{decode, encode},
    };

    #[test]
    fn records_of_delays_stay_as_they_are() {
        let mut histogram = Histogram::default();
        for millis in [3, 17, 17, 70_000] {
            histogram.add(millis);
        }
        for kind in [DelayKind::Acceptance, DelayKind::Delivery] {
            let key = key(kind, 20_785, "pec.alfa.example");
            let golden = Golden::of("service_delays").variant(kind).key(&key);
            golden.fields("delays::DelaysRecord", 1).holds(
                &histogram,
                |histogram| encode(&histogram.record()),
                |octets| Histogram::of(&decode(SERVICE_DELAYS, &key, octets).expect("a record")),
            );
        }
    }

    #[test]
    fn a_class_is_at_most_an_eighth_wide_and_none_is_left_out() {
        let mut before = None;
        for millis in (0..5_000).chain([86_400_000, 1 << 40, u64::MAX - 1, u64::MAX]) {
            let class = class(millis);
            let longest = longest_of(class);
            assert!(longest >= millis, "{millis}: {longest}");
            assert!(longest - millis <= millis / 8, "{millis}: {longest}");
            assert!(before.is_none_or(|before| class >= before), "{millis}");
            before = Some(class);
        }
        assert_eq!((class(8), class(15), class(16)), (8, 15, 16));
    }

    #[test]
    fn percentiles_are_what_that_many_did_not_exceed() {
        let mut histogram = Histogram::default();
        for millis in 1..=100 {
            histogram.add(millis);
        }
        assert_eq!(histogram.count(), 100);
        for (per_mille, least) in [(500, 50), (950, 95), (990, 99), (1_000, 100)] {
            let found = histogram.percentile(per_mille);
            assert!((least..=least + least / 8).contains(&found), "{per_mille}: {found}");
        }
        assert_eq!(histogram.longest_millis(), 100);
        assert_eq!(Histogram::default().percentile(990), 0);
    }

    #[test]
    fn a_record_keeps_everything() {
        let mut histogram = Histogram::default();
        for millis in [3, 3, 70, 90_000] {
            histogram.add(millis);
        }
        assert_eq!(Histogram::of(&histogram.record()), histogram);
        let mut twice = histogram.clone();
        twice.merge(&histogram);
        assert_eq!((twice.count(), twice.longest_millis()), (8, 90_000));
    }

    #[test]
    fn domains_beyond_the_bound_are_counted_together() {
        let delays = Delays::default();
        for number in 0..DOMAINS_MAX + 5 {
            delays.count(DelayKind::Delivery, &format!("d{number}.example"), 7, UnixMillis(0));
        }
        let counted = delays.lock();
        assert_eq!(counted.len(), DOMAINS_MAX + 1);
        let others = counted.get(&(DelayKind::Delivery, 0, OTHERS.to_owned()));
        assert_eq!(others.map(Histogram::count), Some(5));
    }
}
