//! The grammar of SELECT and EXAMINE (RFC 9051 §9 `select`), with the parameters of CONDSTORE and
//! QRESYNC (RFC 7162 §7 `select-param`).

use std::ops::RangeInclusive;

use storage::ids::ModSeq;

use super::{
    ParseError,
    reader::{Reader, SYNTAX},
    sequence::SequenceSet,
};

/// SELECT, or EXAMINE.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Select {
    pub(crate) mailbox: String,
    /// EXAMINE
    pub(crate) read_only: bool,
    pub(crate) condstore: bool,
    pub(crate) qresync: Option<Resync>,
}

impl Select {
    /// The ranges of all its sets.
    pub(super) fn ranges(&self) -> usize {
        let Some(resync) = &self.qresync else { return 0 };
        let known = resync.known_uids.as_ref().map_or(0, SequenceSet::ranges);
        known + resync.matched.as_ref().map_or(0, MatchData::ranges)
    }
}

/// What a client knows of a mailbox from earlier (RFC 7162 §3.2.5).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Resync {
    pub(crate) uid_validity: u32,
    pub(crate) mod_seq: ModSeq,
    /// The UIDs it knows, without `*`; all where absent.
    pub(crate) known_uids: Option<SequenceSet>,
    pub(crate) matched: Option<MatchData>,
}

/// Message numbers and their UIDs, as the client knew them (RFC 7162 §3.2.5.2): as many of the one
/// as of the other, ascending.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct MatchData {
    numbers: Places,
    uids: Places,
}

impl MatchData {
    fn new(numbers: &SequenceSet, uids: &SequenceSet) -> Option<Self> {
        let (numbers, uids) = (Places::new(numbers)?, Places::new(uids)?);
        (numbers.count == uids.count).then_some(Self { numbers, uids })
    }

    /// Whether the client knew that message number `number` has `uid`.
    pub(crate) fn pairs(&self, number: u32, uid: u32) -> bool {
        let place = self.numbers.of(number);
        place.is_some() && place == self.uids.of(uid)
    }

    fn ranges(&self) -> usize {
        self.numbers.ranges.len() + self.uids.ranges.len()
    }

    #[cfg(any(test, fuzzing))]
    pub(crate) fn encode(&self) -> String {
        let set = |places: &Places| {
            let ranges = places.ranges.iter().map(|(range, _)| range);
            let written: Vec<String> =
                ranges.map(|range| format!("{}:{}", range.start(), range.end())).collect();
            written.join(",")
        };
        format!("({} {})", set(&self.numbers), set(&self.uids))
    }
}

/// Ascending numbers, each with its place among them.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Places {
    /// Ranges, and how many numbers stand before each.
    ranges: Vec<(RangeInclusive<u32>, u64)>,
    count: u64,
}

impl Places {
    fn new(set: &SequenceSet) -> Option<Self> {
        let mut count = 0;
        let mut ranges = Vec::new();
        for range in set.ascending()? {
            let before = count;
            count += u64::from(range.end() - range.start()) + 1;
            ranges.push((range, before));
        }
        Some(Self { ranges, count })
    }

    fn of(&self, number: u32) -> Option<u64> {
        let at = self.ranges.partition_point(|(range, _)| *range.end() < number);
        let (range, before) = self.ranges.get(at)?;
        range.contains(&number).then(|| before + u64::from(number - range.start()))
    }
}

/// Parses what follows the word SELECT or EXAMINE.
pub(super) fn parse(mut reader: Reader<'_>, read_only: bool) -> Result<Select, ParseError> {
    reader.expect_space()?;
    let mailbox = reader.mailbox()?;
    let mut select = Select { mailbox, read_only, condstore: false, qresync: None };
    if reader.space() {
        // Two parameters are known, and none may stand twice (RFC 4466 §2.1).
        reader.list(2, false, |reader| parameter(reader, &mut select))?;
    }
    reader.end()?;
    Ok(select)
}

fn parameter(reader: &mut Reader<'_>, select: &mut Select) -> Result<(), ParseError> {
    match reader.keyword()?.as_slice() {
        b"CONDSTORE" if !select.condstore => select.condstore = true,
        b"QRESYNC" if select.qresync.is_none() => {
            reader.expect_space()?;
            select.qresync = Some(resync(reader)?);
        }
        _ => return Err(SYNTAX),
    }
    Ok(())
}

fn resync(reader: &mut Reader<'_>) -> Result<Resync, ParseError> {
    reader.expect(b'(')?;
    let uid_validity = reader.nonzero()?.get();
    reader.expect_space()?;
    let mod_seq = reader.mod_seq()?;
    let mut resync = Resync { uid_validity, mod_seq, known_uids: None, matched: None };
    let mut more = reader.space();
    if more && reader.peek() != Some(b'(') {
        let set = reader.sequence_set()?;
        if set == SequenceSet::Saved || set.names_largest() {
            return Err(SYNTAX);
        }
        resync.known_uids = Some(set);
        more = reader.space();
    }
    if more {
        reader.expect(b'(')?;
        let numbers = reader.sequence_set()?;
        reader.expect_space()?;
        let uids = reader.sequence_set()?;
        reader.expect(b')')?;
        resync.matched = Some(MatchData::new(&numbers, &uids).ok_or(SYNTAX)?);
    }
    reader.expect(b')')?;
    Ok(resync)
}

#[cfg(test)]
mod tests {
    use super::{super::mailbox_name::NameForm, *};

    fn read(text: &str) -> Result<Select, ParseError> {
        parse(Reader::new(text.as_bytes(), NameForm::ModifiedUtf7), false)
    }

    #[test]
    fn the_examples_of_rfc_7162_section_3_2_5() {
        let plain = read(" INBOX\r\n").unwrap();
        assert_eq!((plain.condstore, plain.qresync), (false, None));
        assert!(read(" INBOX (CONDSTORE)\r\n").unwrap().condstore);
        let select = read(" INBOX (QRESYNC (67890007 90060115194045000 41:211,214:541))\r\n");
        let resync = select.unwrap().qresync.unwrap();
        assert_eq!((resync.uid_validity, resync.mod_seq.0), (67_890_007, 90_060_115_194_045_000));
        assert_eq!(resync.known_uids, SequenceSet::parse(b"41:211,214:541"));
        let matched = " INBOX (QRESYNC (67890007 90060115194045000 1:29997 \
                       (5000,7500,9000,9990:9993 15000,22500,27000,29970,29973,29976,29979)))\r\n";
        let matched = read(matched).unwrap().qresync.unwrap().matched.unwrap();
        assert!(matched.pairs(5_000, 15_000) && matched.pairs(9_991, 29_973));
        assert!(!matched.pairs(5_000, 22_500) && !matched.pairs(1, 1));
        let without_uids = read(" a (QRESYNC (1 2 (3:4 5:6)) CONDSTORE)\r\n").unwrap();
        assert!(without_uids.condstore && without_uids.qresync.unwrap().known_uids.is_none());
        assert_eq!(without_uids.mailbox, "a");
    }

    #[test]
    fn what_is_not_in_the_grammar_is_refused() {
        for wrong in [
            "\r\n",
            " INBOX ()\r\n",
            " INBOX (X)\r\n",
            " INBOX (CONDSTORE CONDSTORE)\r\n",
            " INBOX (QRESYNC)\r\n",
            " INBOX (QRESYNC (1))\r\n",
            " INBOX (QRESYNC (0 1))\r\n",
            " INBOX (QRESYNC (1 9223372036854775808))\r\n",
            " INBOX (QRESYNC (1 2 1:*))\r\n",
            " INBOX (QRESYNC (1 2 $))\r\n",
            " INBOX (QRESYNC (1 2 1 (1 1,2)))\r\n",
            " INBOX (QRESYNC (1 2 1 (2,1 1,2)))\r\n",
            " INBOX (QRESYNC (1 2 1 (1:4294967295 1:4294967294)))\r\n",
            " INBOX (QRESYNC (1 2 1 (1 *)))\r\n",
        ] {
            assert_eq!(read(wrong), Err(SYNTAX), "{wrong}");
        }
    }
}
