//! One bit for each minute in which the service was there.
//!
//! Key of `service_minutes`: day in UTC since 1970 (u32), node (u64). Value: [`MinutesRecord`]. A
//! minute counts when one node was there.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;
use serde::{Deserialize, Serialize};
use storage::{
    catalog::{
        engine::{Batch, Expected, Scan},
        pages::Pages,
    },
    error::StoreError,
    store::Store,
};
use trust::clock::UnixMillis;

use super::{DAY_MINUTES, MINUTE_MILLIS, SERVICE_MINUTES, day_of, readable};
use crate::pec::records::encode;

/// Octets of a day: a bit a minute.
const DAY_OCTETS: usize = 180;
/// The longest pause between two looks over which the service counts as watched.
const UNSEEN_MILLIS_MAX: i64 = 30_000;
/// Minutes that may still be written down: a report ends before them.
const PENDING_MINUTES: i64 = 2;
/// Attempts at a row that another node changes too.
const ATTEMPTS_MAX: usize = 8;
/// Rows of one page.
const PAGE_ROWS: usize = 400;
/// Outages that a report lists, the longest of them.
const OUTAGES_MAX: usize = 20;

/// The minutes of one day at one node.
#[derive(Clone, Eq, PartialEq, Message)]
pub struct MinutesRecord {
    /// 180 octets; the minute's bit is the one of value `128 >> (minute % 8)` in the octet of number
    /// `minute / 8`.
    #[prost(bytes = "vec", tag = "1")]
    pub minutes: Vec<u8>,
}

/// Turns looks at the service into minutes in which it was there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attention {
    /// Since when every look has found the service there.
    since: Option<UnixMillis>,
    last: UnixMillis,
    /// The first minute that was not told of yet.
    next_minute: i64,
}

impl Attention {
    /// A look at `now`. Returns the whole minutes in which, as is known since then, the service was
    /// there.
    pub fn look(&mut self, now: UnixMillis, ready: bool) -> Vec<i64> {
        let unseen = now.0.saturating_sub(self.last.0);
        self.last = now;
        if !ready {
            self.since = None;
            return Vec::new();
        }
        // A machine that slept, or a clock that was set, has seen nothing in between.
        let since = match self.since {
            Some(since) if (0..=UNSEEN_MILLIS_MAX).contains(&unseen) => since,
            _ => {
                // What was told of a time that a wrong clock made up says nothing of this one; a
                // minute that is told twice is marked twice, which changes nothing.
                self.next_minute = i64::MIN;
                *self.since.insert(now)
            }
        };
        let first = since.0.saturating_add(MINUTE_MILLIS - 1).div_euclid(MINUTE_MILLIS);
        let first = first.max(self.next_minute);
        let end = now.0.div_euclid(MINUTE_MILLIS);
        self.next_minute = self.next_minute.max(end);
        (first..end).collect()
    }
}

fn key(day: u32, node: u64) -> Bytes {
    [day.to_be_bytes().as_slice(), &node.to_be_bytes()].concat().into()
}

/// Writes down that the service was there in `minutes`, at `node`.
///
/// # Errors
///
/// When the store fails; those of whole days before may be written.
pub async fn mark(store: &Store, node: u64, minutes: &[i64]) -> Result<(), StoreError> {
    let mut days: BTreeMap<u32, Vec<i64>> = BTreeMap::new();
    for minute in minutes {
        days.entry(day_of(*minute)).or_default().push(minute.rem_euclid(DAY_MINUTES));
    }
    for (day, minutes) in days {
        mark_day(store, &key(day, node), &minutes).await?;
    }
    Ok(())
}

async fn mark_day(store: &Store, key: &Bytes, minutes: &[i64]) -> Result<(), StoreError> {
    for _ in 0..ATTEMPTS_MAX {
        let found = store.engine().get(SERVICE_MINUTES, key).await?;
        let mut record: MinutesRecord = readable(SERVICE_MINUTES, key, found.as_ref())?;
        record.minutes.resize(DAY_OCTETS, 0);
        for minute in minutes {
            let octet = usize::try_from(minute / 8).ok().and_then(|at| record.minutes.get_mut(at));
            if let Some(octet) = octet {
                *octet |= 128 >> (minute % 8);
            }
        }
        let mut batch = Batch::default();
        batch.expect(SERVICE_MINUTES, key.clone(), found.map_or(Expected::Absent, Expected::Value));
        batch.put(SERVICE_MINUTES, key.clone(), encode(&record));
        match store.commit(batch).await {
            Err(StoreError::Conflict) => {}
            committed => return committed.map(drop),
        }
    }
    Err(StoreError::Conflict)
}

/// Whether the service was there, at some node, on the day before `day`.
///
/// # Errors
///
/// When the store fails.
pub async fn was_there_about(store: &Store, day: u32) -> Result<bool, StoreError> {
    let before = day.saturating_sub(1);
    let scan = Scan {
        start: Bytes::copy_from_slice(&before.to_be_bytes()),
        end: Some(Bytes::copy_from_slice(&day.to_be_bytes())),
        ..Scan::prefix(SERVICE_MINUTES, &[], 1)
    };
    Ok(!store.engine().scan(&scan).await?.is_empty())
}

/// Removes days before `oldest`, a page of them.
///
/// # Errors
///
/// When the store fails.
pub async fn dispose(store: &Store, oldest: u32) -> Result<(), StoreError> {
    super::delays::remove_below(store, SERVICE_MINUTES, &[], oldest).await
}

/// A time in which the service was not there.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Outage {
    /// Its first minute, in ms since 1970.
    pub from_millis: i64,
    /// How many minutes.
    pub minutes: u64,
}

/// How long the service was there.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Availability {
    /// The first minute that counts, in ms since 1970: that of the period, or the first in which the
    /// service was ever there.
    pub from_millis: i64,
    /// The minute behind the last, in ms since 1970: the period's end, or now.
    pub until_millis: i64,
    /// Minutes in between.
    pub minutes: u64,
    /// Of them, those in which it was not there.
    pub lost_minutes: u64,
    /// The longest outages, the longest first.
    pub outages: Vec<Outage>,
    /// How many there were.
    pub outages_count: u64,
}

impl Availability {
    /// Reads the minutes from `from` to before `until`, as far as `now` knows them. `None` when the
    /// service has not been there yet.
    ///
    /// # Errors
    ///
    /// When the store fails or a row is damaged.
    pub async fn read(
        store: &Store,
        from: i64,
        until: i64,
        now: UnixMillis,
    ) -> Result<Option<Self>, StoreError> {
        let known = now.0.div_euclid(MINUTE_MILLIS).saturating_sub(PENDING_MINUTES);
        let until = until.min(known);
        let Some(first) = first_minute(store).await? else { return Ok(None) };
        let from = from.max(first);
        if until <= from {
            return Ok(None);
        }
        let days = read_days(store, day_of(from), day_of(until)).await?;
        Ok(Some(Self::judge(&days, from, until)))
    }

    fn judge(days: &BTreeMap<u32, Vec<u8>>, from: i64, until: i64) -> Self {
        let mut judged = Self {
            from_millis: from.saturating_mul(MINUTE_MILLIS),
            until_millis: until.saturating_mul(MINUTE_MILLIS),
            ..Self::default()
        };
        let mut outage: Option<Outage> = None;
        for minute in from..until {
            judged.minutes += 1;
            if is_marked(days, minute) {
                judged.end(outage.take());
                continue;
            }
            judged.lost_minutes += 1;
            let begun = Outage { from_millis: minute.saturating_mul(MINUTE_MILLIS), minutes: 0 };
            outage.get_or_insert(begun).minutes += 1;
        }
        judged.end(outage);
        judged
    }

    fn end(&mut self, outage: Option<Outage>) {
        let Some(outage) = outage else { return };
        self.outages_count += 1;
        let place = self.outages.partition_point(|longer| longer.minutes >= outage.minutes);
        self.outages.insert(place, outage);
        self.outages.truncate(OUTAGES_MAX);
    }

    /// Minutes of the longest outage.
    #[must_use]
    pub fn longest_minutes(&self) -> u64 {
        self.outages.first().map_or(0, |outage| outage.minutes)
    }
}

fn is_marked(days: &BTreeMap<u32, Vec<u8>>, minute: i64) -> bool {
    let Some(minutes) = days.get(&day_of(minute)) else { return false };
    let minute = minute.rem_euclid(DAY_MINUTES);
    let octet = usize::try_from(minute / 8).ok().and_then(|at| minutes.get(at));
    octet.is_some_and(|octet| octet & (128 >> (minute % 8)) != 0)
}

/// The days from `from` to `until`, both included, all nodes together.
async fn read_days(
    store: &Store,
    from: u32,
    until: u32,
) -> Result<BTreeMap<u32, Vec<u8>>, StoreError> {
    let scan = Scan {
        start: Bytes::copy_from_slice(&from.to_be_bytes()),
        end: Some(Bytes::copy_from_slice(&until.saturating_add(1).to_be_bytes())),
        ..Scan::prefix(SERVICE_MINUTES, &[], PAGE_ROWS)
    };
    let mut days: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    let mut pages = Pages::new(scan);
    while let Some(page) = pages.next(&**store.engine()).await? {
        for (key, value) in page {
            let record: MinutesRecord = readable(SERVICE_MINUTES, &key, Some(&value))?;
            let Some(day) = key.first_chunk::<4>().map(|day| u32::from_be_bytes(*day)) else {
                continue;
            };
            let all = days.entry(day).or_insert_with(|| vec![0; DAY_OCTETS]);
            for (all, one) in all.iter_mut().zip(&record.minutes) {
                *all |= one;
            }
        }
    }
    Ok(days)
}

/// The first minute in which the service was ever there.
async fn first_minute(store: &Store) -> Result<Option<i64>, StoreError> {
    let scan = Scan::prefix(SERVICE_MINUTES, &[], 1);
    let rows = store.engine().scan(&scan).await?;
    let day = rows.first().and_then(|(key, _)| key.first_chunk::<4>());
    let Some(day) = day.map(|day| u32::from_be_bytes(*day)) else { return Ok(None) };
    let days = read_days(store, day, day).await?;
    let begin = i64::from(day) * DAY_MINUTES;
    Ok((begin..begin + DAY_MINUTES).find(|minute| is_marked(&days, *minute)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        golden::Golden,
        pec::records::{decode, encode},
    };

    #[test]
    fn records_of_minutes_stay_as_they_are() {
        let (key, record) = (key(20_785, 1), MinutesRecord { minutes: vec![0xa5; 180] });
        let golden = Golden::of("service_minutes").key(&key);
        golden.fields("availability::MinutesRecord", 1).holds(&record, encode, |octets| {
            decode(SERVICE_MINUTES, &key, octets).expect("a record")
        });
    }

    const MINUTE: i64 = 29_900_000;
    const NONE: [i64; 0] = [];

    fn at(minute: i64, seconds: i64) -> UnixMillis {
        UnixMillis(minute * MINUTE_MILLIS + seconds * 1_000)
    }

    #[test]
    fn a_minute_counts_when_the_service_was_there_from_its_first_to_its_last_moment() {
        let mut attention = Attention::default();
        // Started within a minute: that one is lost.
        for seconds in [20, 40] {
            assert_eq!(attention.look(at(MINUTE, seconds), true), NONE);
        }
        assert_eq!(attention.look(at(MINUTE + 1, 5), true), NONE);
        assert_eq!(attention.look(at(MINUTE + 1, 35), true), NONE);
        assert_eq!(attention.look(at(MINUTE + 2, 0), true), [MINUTE + 1]);
        // Told once.
        assert_eq!(attention.look(at(MINUTE + 2, 10), true), NONE);
        // Not there for a moment: this minute and no other is lost.
        assert_eq!(attention.look(at(MINUTE + 2, 20), false), NONE);
        for seconds in [30, 60, 90] {
            assert_eq!(attention.look(at(MINUTE + 2, seconds), true), NONE);
        }
        assert_eq!(attention.look(at(MINUTE + 4, 0), true), [MINUTE + 3]);
    }

    #[test]
    fn what_nobody_saw_counts_as_lost() {
        let mut attention = Attention::default();
        attention.look(at(MINUTE, 0), true);
        // The machine slept for an hour.
        assert_eq!(attention.look(at(MINUTE + 60, 10), true), NONE);
        attention.look(at(MINUTE + 60, 40), true);
        attention.look(at(MINUTE + 61, 10), true);
        attention.look(at(MINUTE + 61, 40), true);
        assert_eq!(attention.look(at(MINUTE + 62, 0), true), [MINUTE + 61]);
    }

    #[test]
    fn a_clock_that_was_wrong_for_a_moment_loses_that_moment_alone() {
        let mut attention = Attention::default();
        attention.look(at(MINUTE, 0), true);
        assert_eq!(attention.look(at(MINUTE + 1_440, 0), true), NONE);
        assert_eq!(attention.look(at(MINUTE, 40), true), NONE);
        assert_eq!(attention.look(at(MINUTE + 1, 0), true), NONE);
        assert_eq!(attention.look(at(MINUTE + 1, 30), true), NONE);
        assert_eq!(attention.look(at(MINUTE + 2, 0), true), [MINUTE + 1]);
    }

    #[test]
    fn outages_are_counted_and_the_longest_come_first() {
        let mut days = BTreeMap::from([(20_000, vec![0xff; DAY_OCTETS])]);
        let minutes = days.get_mut(&20_000).expect("the day");
        // Minutes 8 to 15, 18 and 19.
        minutes[1] = 0;
        minutes[2] = 0b1100_1111;
        let begin = 20_000 * DAY_MINUTES;
        let judged = Availability::judge(&days, begin, begin + DAY_MINUTES + 3);
        assert_eq!((judged.minutes, judged.lost_minutes), (1_443, 13));
        let outages: Vec<_> = judged
            .outages
            .iter()
            .map(|outage| (outage.from_millis / MINUTE_MILLIS - begin, outage.minutes))
            .collect();
        // The next day has no row: nobody was there.
        assert_eq!(outages, [(8, 8), (1_440, 3), (18, 2)]);
        assert_eq!((judged.longest_minutes(), judged.outages_count), (8, 3));
    }
}
