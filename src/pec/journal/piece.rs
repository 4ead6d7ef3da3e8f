//! A piece: the seals and records of one day, with a statement that is signed and time-stamped
//! (DM 2 November 2005 art. 10: the log is saved without gaps, in intervals of at most 24 hours,
//! each with a time stamp).
//!
//! ```text
//! journal/<node>/<day>-<number>-e<epoch>/
//!     records-000001.zst …   records, at most SEGMENT_OCTETS each before compression
//!     seals.bin              the seals, one after the other
//!     statement.p7s          CMS SignedData, detached, over statement.txt
//!     statement.tst          RFC 3161 token over statement.p7s
//!     statement.txt          what the piece is; written last: with it the piece is whole
//! ```
//!
//! * A *period* begins where the one before ended, and ends at the next midnight of Italian legal
//!   time, after 24 hours at the latest: the day of 25 hours has two pieces. A day without
//!   records has a piece too.
//! * A piece has the seals that were made in its period. Its number has no gaps, and its statement
//!   names the statement before by its SHA-256.
//! * All but signature and stamp follow from the catalog, octet for octet; the files are named by
//!   the SHA-256 of their octets before compression, so that another compressor changes nothing.
//!
//! The layouts stand in `docs/formats.md`.
//!
//! Not here: when a piece is made ([`super::keeper`]).

use std::num::ParseIntError;

use bytes::Bytes;
use jiff::{Timestamp, Zoned};
use prost::Message;
use storage::{
    catalog::{
        engine::{Reader, Scan},
        pages::Pages,
    },
    error::StoreError,
};
use trust::{clock::UnixMillis, digest::Sha256Digest};

use super::{
    head::{JOURNAL_SEALS, number_of, numbered},
    seal::{NOTHING, Seal},
};
use crate::pec::{instant::ROME, records::JOURNAL};

/// What the names of pieces begin with in the object store.
pub const FOLDER: &str = "journal";
/// The file of seals.
pub const SEALS: &str = "seals.bin";
/// The statement, its signature, its stamp.
pub const STATEMENT: &str = "statement.txt";
/// The detached signature over the statement.
pub const SIGNATURE: &str = "statement.p7s";
/// The time stamp over the signature.
pub const STAMP: &str = "statement.tst";

/// Octets of one file of records before compression; one record alone may have more.
pub const SEGMENT_OCTETS: usize = 4 << 20;

/// The longest period: 24 hours.
const PERIOD_MAX: i64 = 86_400_000;

/// Records read at a time.
const PAGE: usize = 500;

fn legal(at: UnixMillis) -> Zoned {
    let end = if at.0 < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_millisecond(at.0).unwrap_or(end).to_zoned(ROME.clone())
}

/// The beginning of the legal day of `at`.
#[must_use]
pub fn day_of(at: UnixMillis) -> UnixMillis {
    legal(at).start_of_day().map_or(at, |day| UnixMillis(day.timestamp().as_millisecond()))
}

/// The end of the period that begins at `start`.
#[must_use]
pub fn period_end(start: UnixMillis) -> UnixMillis {
    let longest = start.plus_millis(PERIOD_MAX);
    let midnight = legal(start).tomorrow().and_then(|next| next.start_of_day());
    midnight.map_or(longest, |next| {
        UnixMillis(next.timestamp().as_millisecond().clamp(start.0 + 1, longest.0))
    })
}

/// The instant so many months before `at`, in legal time.
#[must_use]
pub fn months_before(at: UnixMillis, months: u32) -> UnixMillis {
    let back = legal(at).checked_sub(jiff::Span::new().months(i64::from(months)));
    back.map_or(UnixMillis(i64::MIN), |then| UnixMillis(then.timestamp().as_millisecond()))
}

/// What the catalog keeps of a piece.
#[derive(Clone, Eq, PartialEq, Message)]
pub struct PieceRecord {
    /// The statement: [`Statement`].
    #[prost(bytes = "vec", tag = "1")]
    pub statement: Vec<u8>,
    /// Its signature: CMS SignedData in DER, detached.
    #[prost(bytes = "vec", tag = "2")]
    pub signature: Vec<u8>,
    /// The time stamp over the signature: RFC 3161 token in DER.
    #[prost(bytes = "vec", tag = "3")]
    pub stamp: Vec<u8>,
    /// When all three were there, in milliseconds since the epoch.
    #[prost(int64, tag = "4")]
    pub made_millis: i64,
}

/// A file of a piece, before compression.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PieceFile {
    /// SHA-256 of its octets.
    pub digest: Sha256Digest,
    /// Its name, without `.zst`.
    pub name: String,
}

/// What a piece is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Statement {
    /// The provider's name.
    pub provider: String,
    /// The node.
    pub node: u64,
    /// The store's epoch when the piece was made.
    pub epoch: u32,
    /// Its number.
    pub number: u64,
    /// The beginning of its period.
    pub from: UnixMillis,
    /// The end of its period.
    pub until: UnixMillis,
    /// First and last seal; `None` when nothing was sealed.
    pub seals: Option<(u64, u64)>,
    /// First and last record.
    pub records: Option<(u64, u64)>,
    /// The hash of the last seal at the end of the period, in this piece or before.
    pub chain: Sha256Digest,
    /// SHA-256 of the statement before; [`NOTHING`] for the first.
    pub previous: Sha256Digest,
    /// The files, in the order in which they are read.
    pub files: Vec<PieceFile>,
}

const TITLE: &str = "ceralacca journal piece 1";

fn instant(at: UnixMillis) -> String {
    Timestamp::from_millisecond(at.0).map_or_else(|_| at.0.to_string(), |at| at.to_string())
}

fn range(numbers: Option<(u64, u64)>) -> String {
    numbers.map_or_else(|| "none".to_owned(), |(first, last)| format!("{first} {last}"))
}

impl Statement {
    /// The octets that are signed: lines of ASCII but for the provider's name, each ended by LF.
    #[must_use]
    pub fn text(&self) -> String {
        let provider: String = self.provider.chars().filter(|c| !c.is_control()).collect();
        let mut text = format!(
            "{TITLE}\nprovider {provider}\nnode {}\nepoch {}\npiece {}\nfrom {}\nuntil {}\nseals {}\nrecords {}\n\
             chain {}\nprevious {}\n",
            self.node,
            self.epoch,
            self.number,
            instant(self.from),
            instant(self.until),
            range(self.seals),
            range(self.records),
            hex::encode(self.chain.0),
            hex::encode(self.previous.0),
        );
        for file in &self.files {
            // As `sha256sum -c` reads it.
            text.extend([&hex::encode(file.digest.0), "  ", &file.name, "\n"]);
        }
        text
    }

    /// Reads a statement; `None` for octets that no statement has.
    #[must_use]
    pub fn read(octets: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(octets).ok()?;
        let mut lines = text.lines();
        (lines.next()? == TITLE).then_some(())?;
        let mut value = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let statement = Self {
            provider: value("provider")?.to_owned(),
            node: value("node")?.parse().ok()?,
            epoch: value("epoch")?.parse().ok()?,
            number: value("piece")?.parse().ok()?,
            from: read_instant(value("from")?)?,
            until: read_instant(value("until")?)?,
            seals: read_range(value("seals")?).ok()?,
            records: read_range(value("records")?).ok()?,
            chain: read_digest(value("chain")?)?,
            previous: read_digest(value("previous")?)?,
            files: lines.map(read_file).collect::<Option<_>>()?,
        };
        // One form only.
        (statement.text().as_bytes() == octets).then_some(statement)
    }

    /// The folder of its objects.
    #[must_use]
    pub fn folder(&self) -> String {
        let day = legal(self.from).strftime("%Y-%m-%d").to_string();
        format!("{FOLDER}/{}/{day}-{:08}-e{}", self.node, self.number, self.epoch)
    }

    /// The object of one of its files.
    #[must_use]
    pub fn object(&self, file: &str) -> String {
        format!("{}/{file}", self.folder())
    }
}

fn read_instant(text: &str) -> Option<UnixMillis> {
    text.parse::<Timestamp>().ok().map(|at| UnixMillis(at.as_millisecond()))
}

/// `none`, or two numbers.
fn read_range(text: &str) -> Result<Option<(u64, u64)>, ParseIntError> {
    if text == "none" {
        return Ok(None);
    }
    let (first, last) = text.split_once(' ').unwrap_or((text, ""));
    Ok(Some((first.parse()?, last.parse()?)))
}

fn read_digest(text: &str) -> Option<Sha256Digest> {
    let mut digest = NOTHING;
    hex::decode_to_slice(text, &mut digest.0).ok()?;
    Some(digest)
}

fn read_file(line: &str) -> Option<PieceFile> {
    let (digest, name) = line.split_once("  ")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    name.chars().all(plain).then_some(())?;
    Some(PieceFile { digest: read_digest(digest)?, name: name.to_owned() })
}

/// What a folder in the object store is called: node, day, number, epoch. `None` for other names.
#[must_use]
pub fn read_folder(name: &str) -> Option<(u64, String, u64, u32)> {
    let (node, rest) = name.strip_prefix(FOLDER)?.strip_prefix('/')?.split_once('/')?;
    let (day, rest) = (rest.get(..10)?, rest.get(10..)?.strip_prefix('-')?);
    let (number, epoch) = rest.split_once("-e")?;
    Some((node.parse().ok()?, day.to_owned(), number.parse().ok()?, epoch.parse().ok()?))
}

/// The seals of a piece as they stand in the catalog: their octets, one after the other, and what
/// they span.
#[derive(Debug, Default)]
pub struct PieceSeals {
    /// Octets of `seals.bin`.
    pub octets: Vec<u8>,
    /// First and last seal.
    pub seals: Option<(u64, u64)>,
    /// First and last record.
    pub records: Option<(u64, u64)>,
    /// The hash of the last one.
    pub chain: Option<Sha256Digest>,
}

/// How far the seals of a piece go.
#[derive(Clone, Copy, Debug)]
pub enum Extent {
    /// While the piece is made: all before the first that was made at `until` or later. One from behind
    /// `now` was made while the clock was ahead: it waits for no day to come.
    Made {
        /// The end of the period.
        until: UnixMillis,
        /// When the piece is made.
        now: UnixMillis,
    },
    /// Once it is signed: to the last one that its statement names.
    Last(u64),
}

impl Extent {
    fn has(self, seal: &Seal) -> bool {
        match self {
            Self::Made { until, now } => seal.instant < until || seal.instant > now,
            Self::Last(last) => seal.number <= last,
        }
    }
}

impl PieceSeals {
    /// Reads the seals of `node` from number `first` to the last that `extent` takes in.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`] when one of them is no seal, and what the engine says.
    pub async fn read(
        reader: &(impl Reader + ?Sized),
        node: u64,
        first: u64,
        extent: Extent,
    ) -> Result<Self, StoreError> {
        let mut these = Self::default();
        let prefix = Scan::prefix(JOURNAL_SEALS, &node.to_be_bytes(), PAGE);
        let mut pages = Pages::new(Scan { start: numbered(node, first), ..prefix });
        while let Some(page) = pages.next(reader).await? {
            for (key, octets) in page {
                let object = || storage::catalog::keys::object(JOURNAL_SEALS, &key);
                let seal = Seal::read(&octets, object)?;
                if !extent.has(&seal) {
                    return Ok(these);
                }
                let seals = these.seals.map_or(seal.number, |(first, _)| first);
                let records = these.records.map_or(seal.first, |(first, _)| first);
                these.seals = Some((seals, seal.number));
                these.records = Some((records, seal.last));
                these.chain = Some(seal.hash());
                these.octets.extend_from_slice(&octets);
            }
        }
        Ok(these)
    }
}

/// The files of records of a piece, one after the other.
#[derive(Debug)]
pub struct Segments {
    pages: Pages,
    waiting: std::vec::IntoIter<(Bytes, Bytes)>,
    /// A record that found no room in the file before.
    carried: Option<(Bytes, Bytes)>,
    number: u32,
}

impl Segments {
    /// The files with the records `first` to `last` of `node`.
    #[must_use]
    pub fn new(node: u64, (first, last): (u64, u64)) -> Self {
        let end = last.checked_add(1).map(|end| numbered(node, end));
        let prefix = Scan::prefix(JOURNAL, &node.to_be_bytes(), PAGE);
        let scan = Scan { start: numbered(node, first), end: end.or(prefix.end.clone()), ..prefix };
        Self { pages: Pages::new(scan), waiting: Vec::new().into_iter(), carried: None, number: 0 }
    }

    /// The next file: its name and octets. `None` at the end.
    ///
    /// # Errors
    ///
    /// What the engine says.
    pub async fn next(
        &mut self,
        reader: &(impl Reader + ?Sized),
    ) -> Result<Option<(String, Vec<u8>)>, StoreError> {
        let mut octets = Vec::new();
        while let Some((key, value)) = self.record(reader).await? {
            if !octets.is_empty() && octets.len() + value.len() + 12 > SEGMENT_OCTETS {
                self.carried = Some((key, value));
                break;
            }
            octets.extend_from_slice(&number_of(JOURNAL, &key)?.to_be_bytes());
            // A record is far below 4 GiB: a batch of that size is refused.
            octets.extend_from_slice(&u32::try_from(value.len()).unwrap_or(u32::MAX).to_be_bytes());
            octets.extend_from_slice(&value);
        }
        if octets.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        Ok(Some((format!("records-{:06}", self.number), octets)))
    }

    async fn record(
        &mut self,
        reader: &(impl Reader + ?Sized),
    ) -> Result<Option<(Bytes, Bytes)>, StoreError> {
        if let Some(carried) = self.carried.take() {
            return Ok(Some(carried));
        }
        loop {
            if let Some(record) = self.waiting.next() {
                return Ok(Some(record));
            }
            match self.pages.next(reader).await? {
                None => return Ok(None),
                Some(page) => self.waiting = page.into_iter(),
            }
        }
    }
}

/// Takes the records of a file of a piece apart: sequence and value of each. `None` when the octets
/// end in the middle of one.
#[must_use]
pub fn read_segment(mut octets: &[u8]) -> Option<Vec<(u64, &[u8])>> {
    let mut records = Vec::new();
    while !octets.is_empty() {
        let (sequence, rest) = octets.split_first_chunk::<8>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (value, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        records.push((u64::from_be_bytes(*sequence), value));
        octets = rest;
    }
    Some(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> UnixMillis {
        read_instant(text).expect("an instant")
    }

    #[test]
    fn a_period_ends_at_the_legal_midnight_and_after_24_hours_at_the_latest() {
        for (start, end) in [
            ("2026-11-27T23:00:00Z", "2026-11-28T23:00:00Z"),
            ("2026-11-28T10:30:00Z", "2026-11-28T23:00:00Z"),
            // 23 hours.
            ("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),
            // 25 hours: a piece of 24 and one of the last.
            ("2026-10-24T22:00:00Z", "2026-10-25T22:00:00Z"),
            ("2026-10-25T22:00:00Z", "2026-10-25T23:00:00Z"),
        ] {
            assert_eq!(period_end(at(start)), at(end), "{start}");
        }
        assert_eq!(day_of(at("2026-11-28T10:30:00Z")), at("2026-11-27T23:00:00Z"));
        assert!(period_end(UnixMillis(i64::MAX)) >= UnixMillis(i64::MAX - PERIOD_MAX));
    }

    #[test]
    fn thirty_months_are_months_of_the_calendar() {
        let back = months_before(at("2026-11-28T10:30:00Z"), 30);
        assert_eq!(back, at("2024-05-28T09:30:00Z"), "summer time then");
    }

    #[test]
    fn a_statement_comes_back_from_its_text_and_no_other_text_is_one() {
        let statement = Statement {
            provider: "Gestore Alfa".to_owned(),
            node: 1,
            epoch: 2,
            number: 3,
            from: at("2026-11-27T23:00:00Z"),
            until: at("2026-11-28T23:00:00Z"),
            seals: Some((4, 9)),
            records: None,
            chain: Sha256Digest([7; 32]),
            previous: NOTHING,
            files: vec![PieceFile { digest: Sha256Digest([8; 32]), name: SEALS.to_owned() }],
        };
        let text = statement.text();
        assert_eq!(Statement::read(text.as_bytes()), Some(statement.clone()));
        assert_eq!(statement.folder(), "journal/1/2026-11-28-00000003-e2");
        let folder = read_folder(&statement.folder());
        assert_eq!(folder, Some((1, "2026-11-28".to_owned(), 3, 2)));
        for wrong in [
            text.replace("piece 3", "piece 03"),
            text.replace("seals.bin", "../seals.bin"),
            text.trim_end().to_owned(),
            text.replace("none", ""),
            String::new(),
        ] {
            assert_eq!(Statement::read(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn a_file_of_records_that_was_cut_is_none() {
        let octets = [&7_u64.to_be_bytes()[..], &3_u32.to_be_bytes(), b"abc"].concat();
        assert_eq!(read_segment(&octets), Some(vec![(7, &b"abc"[..])]));
        for length in 1..octets.len() {
            assert_eq!(read_segment(&octets[..length]), None, "{length}");
        }
    }
}
