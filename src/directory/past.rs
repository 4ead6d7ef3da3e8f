//! What the directory was on days before: what a slow drain is measured against.
//!
//! A copy that takes a little away each day raises no doubt beside the one of the day before. So the first
//! copy of each day stays, as its records in LDIF, until a later one is old enough to compare with. In the folder
//! `directory/past` of the data folder: `<days since 1970>.ldif`.
//!
//! Nobody has signed these files, and they add nothing to what is in use: they only raise doubts. One that
//! does not read is passed over, with a warning.
//!
//! Not here: what is compared ([`super::changes`]).

use std::{
    io,
    path::{Path, PathBuf},
};

use trust::clock::UnixMillis;

use crate::{
    durable::{self, Readers},
    pec::directory::Directory,
};

const DAY_MILLIS: i64 = 86_400_000;

/// The folder of past days.
#[derive(Clone, Debug)]
pub struct Past {
    folder: PathBuf,
    /// How many days a copy is compared over; 0 = not at all.
    days: u32,
}

/// The directory of a day before.
#[derive(Debug)]
pub struct PastDay {
    /// How many days ago.
    pub ago: i64,
    /// What it was.
    pub directory: Directory,
}

fn day_of(instant: UnixMillis) -> i64 {
    instant.0.div_euclid(DAY_MILLIS)
}

impl Past {
    /// The folder below `folder`, with what is compared over so many `days`.
    #[must_use]
    pub fn new(folder: &Path, days: u32) -> Self {
        Self { folder: folder.join("past"), days }
    }

    fn path(&self, day: i64) -> PathBuf {
        self.folder.join(format!("{day}.ldif"))
    }

    /// The days that are there, in order.
    fn there(&self) -> io::Result<Vec<i64>> {
        let entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut days = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let day: Option<i64> =
                name.to_str().and_then(|name| name.strip_suffix(".ldif")?.parse().ok());
            days.extend(day);
        }
        days.sort_unstable();
        Ok(days)
    }

    /// Those of `there` that are still compared with on the day of `now`: the last one that is old enough, or
    /// else the oldest, is the first.
    fn compared<'d>(&self, there: &'d [i64], now: UnixMillis) -> &'d [i64] {
        let old = day_of(now).saturating_sub(self.days.into());
        let first = there.partition_point(|day| *day <= old).saturating_sub(1);
        there.get(first..).unwrap_or_default()
    }

    /// What a new copy is compared with at `now`: the directory of so many days ago, or the oldest that is known.
    ///
    /// # Errors
    ///
    /// Those of the operating system, as from all methods.
    pub fn base(&self, now: UnixMillis) -> io::Result<Option<PastDay>> {
        if self.days == 0 {
            return Ok(None);
        }
        let there = self.there()?;
        for day in self.compared(&there, now) {
            let path = self.path(*day);
            let Some(octets) = durable::read(&path)? else { continue };
            match Directory::from_ldif(&octets) {
                Ok(directory) => {
                    let ago = day_of(now).saturating_sub(*day);
                    return Ok(Some(PastDay { ago, directory }));
                }
                Err(error) => {
                    tracing::warn!(%error, path = %path.display(), "a past copy of the directory does not read: it is passed over");
                }
            }
        }
        Ok(None)
    }

    /// Whether nothing is there yet.
    pub fn is_empty(&self) -> io::Result<bool> {
        Ok(self.there()?.is_empty())
    }

    /// Keeps `directory` as that of the day of `now`, unless there is one; what is compared with no more goes.
    pub fn keep(&self, directory: &Directory, now: UnixMillis) -> io::Result<()> {
        if self.days == 0 {
            return self.forget();
        }
        std::fs::create_dir_all(&self.folder)?;
        let (mut there, day) = (self.there()?, day_of(now));
        if !there.contains(&day) {
            durable::replace(&self.path(day), &directory.to_ldif(), Readers::Usual)?;
            there.push(day);
            there.sort_unstable();
        }
        let gone = there.len().saturating_sub(self.compared(&there, now).len());
        for day in there.iter().take(gone) {
            durable::remove(&self.path(*day))?;
        }
        Ok(())
    }

    /// Forgets all days: an operator has seen where they led to.
    pub fn forget(&self) -> io::Result<()> {
        for day in self.there()? {
            durable::remove(&self.path(day))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pec::directory::ProviderRecord;

    fn of(count: usize) -> Directory {
        let record = |number: usize| {
            let domain = format!("d{number}.example").parse().expect("a domain");
            let service = "ricevute@pec.example".parse().expect("an address");
            let certificate = format!("certificate {number}").into_bytes();
            ProviderRecord::new(
                format!("Gestore {number}"),
                service,
                vec![domain],
                vec![certificate],
            )
        };
        Directory::new((0..count).map(record).collect()).expect("a directory")
    }

    fn at(day: i64) -> UnixMillis {
        UnixMillis(day * DAY_MILLIS + 5)
    }

    fn base(past: &Past, day: i64) -> Option<(i64, usize)> {
        let base = past.base(at(day)).expect("read");
        base.map(|base| (base.ago, base.directory.provider_count()))
    }

    #[test]
    fn a_copy_is_compared_with_the_one_that_was_in_use_so_many_days_ago() {
        let folder = tempfile::tempdir().expect("a folder");
        let past = Past::new(folder.path(), 7);
        assert_eq!(base(&past, 100), None);
        past.keep(&of(20), at(100)).expect("kept");
        past.keep(&of(9), at(100)).expect("the first of a day stays");
        for day in 1..=10 {
            assert_eq!(base(&past, 100 + day).expect("one").0, day.min(7));
            let count = usize::try_from(20 - day).expect("few");
            past.keep(&of(count), at(100 + day)).expect("kept");
        }
        assert_eq!(base(&past, 110), Some((7, 17)));
        assert_eq!(past.there().expect("listed"), (103..=110).collect::<Vec<_>>(), "a bound");
        // While no copy came the last one stays in use.
        assert_eq!(base(&past, 150), Some((40, 10)));
        past.keep(&of(10), at(150)).expect("kept");
        assert_eq!(past.there().expect("listed"), [110, 150]);
    }

    #[test]
    fn what_does_not_read_is_passed_over_and_what_was_seen_is_forgotten() {
        let folder = tempfile::tempdir().expect("a folder");
        let past = Past::new(folder.path(), 7);
        past.keep(&of(3), at(1)).expect("kept");
        past.keep(&of(2), at(2)).expect("kept");
        std::fs::write(folder.path().join("past/1.ldif"), "hello").expect("damaged");
        std::fs::write(folder.path().join("past/other.txt"), "hello").expect("written");
        assert_eq!(base(&past, 3), Some((1, 2)));
        past.forget().expect("forgotten");
        assert_eq!((base(&past, 3), past.is_empty().expect("listed")), (None, true));
        let never = Past::new(folder.path(), 0);
        never.keep(&of(3), at(3)).expect("nothing is kept");
        assert_eq!(base(&never, 3), None);
    }
}
