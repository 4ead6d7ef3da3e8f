//! Sequence sets (RFC 3501 §9 `sequence-set`).

use std::{num::NonZeroU32, ops::RangeInclusive};

/// One end of a range.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum SequenceNumber {
    /// A number.
    Value(NonZeroU32),
    /// `*`: the largest number in use.
    Largest,
}

/// A set of message sequence numbers or of UIDs, as the client wrote it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum SequenceSet {
    /// Numbers and ranges.
    Ranges(Vec<(SequenceNumber, SequenceNumber)>),
    /// `$`: what the last SEARCH with RETURN (SAVE) found (RFC 5182 §2.1).
    Saved,
}

impl SequenceSet {
    /// Parses the whole of `text`.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        if text == b"$" {
            return Some(Self::Saved);
        }
        let number = |text: &[u8]| match text {
            b"*" => Some(SequenceNumber::Largest),
            [b'1'..=b'9', ..] => std::str::from_utf8(text)
                .ok()
                .and_then(|digits| digits.parse().ok())
                .map(SequenceNumber::Value),
            _ => None,
        };
        text.split(|&octet| octet == b',')
            .map(|range| match range.iter().position(|&octet| octet == b':') {
                Some(colon) => Some((number(&range[..colon])?, number(&range[colon + 1..])?)),
                None => number(range).map(|single| (single, single)),
            })
            .collect::<Option<_>>()
            .map(Self::Ranges)
    }

    /// Returns how many ranges were written.
    pub(crate) fn ranges(&self) -> usize {
        self.written().len()
    }

    fn written(&self) -> &[(SequenceNumber, SequenceNumber)] {
        match self {
            Self::Ranges(ranges) => ranges,
            Self::Saved => &[],
        }
    }

    /// Returns whether `*` occurs.
    pub(crate) fn names_largest(&self) -> bool {
        self.written().iter().any(|(from, to)| {
            matches!(from, SequenceNumber::Largest) || matches!(to, SequenceNumber::Largest)
        })
    }

    /// Returns the ranges as they were written; `None` where they do not ascend, name a number
    /// twice, or name `*` or `$`.
    pub(crate) fn ascending(&self) -> Option<Vec<RangeInclusive<u32>>> {
        let Self::Ranges(written) = self else { return None };
        let mut last = 0;
        let mut ranges = Vec::with_capacity(written.len());
        for range in written {
            let (SequenceNumber::Value(from), SequenceNumber::Value(to)) = range else {
                return None;
            };
            if from.get() <= last || to < from {
                return None;
            }
            last = to.get();
            ranges.push(from.get()..=to.get());
        }
        Some(ranges)
    }

    /// Returns the set as ascending ranges that do not touch, `*` standing for `largest`. Empty
    /// where `*` is all that is named and nothing is in use (`largest` = 0).
    pub(crate) fn resolve(&self, largest: u32) -> Vec<RangeInclusive<u32>> {
        let value = |number: SequenceNumber| match number {
            SequenceNumber::Value(value) => value.get(),
            SequenceNumber::Largest => largest,
        };
        // The ends of a range may stand in either order (RFC 3501 §9 seq-range).
        let mut ranges: Vec<(u32, u32)> = self
            .written()
            .iter()
            .map(|&(from, to)| (value(from).min(value(to)), value(from).max(value(to))))
            .filter(|&(_, to)| to > 0)
            .collect();
        ranges.sort_unstable();
        let mut merged: Vec<RangeInclusive<u32>> = Vec::new();
        for (from, to) in ranges {
            match merged.last_mut() {
                Some(last) if from <= last.end().saturating_add(1) => {
                    *last = *last.start()..=to.max(*last.end());
                }
                _ => merged.push(from..=to),
            }
        }
        merged
    }
}

/// Writes ascending numbers as a set, runs joined: `1:3,5`. An order other than ascending is kept.
pub(crate) fn write_set(numbers: impl IntoIterator<Item = u32>) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    let mut run: Option<(u32, u32)> = None;
    let close = |text: &mut String, (from, to): (u32, u32)| {
        let comma = if text.is_empty() { "" } else { "," };
        // Writing to a String cannot fail.
        let _ = if from == to {
            write!(text, "{comma}{from}")
        } else {
            write!(text, "{comma}{from}:{to}")
        };
    };
    for number in numbers {
        run = match run {
            Some((from, to)) if to.checked_add(1) == Some(number) => Some((from, number)),
            Some(ended) => {
                close(&mut text, ended);
                Some((number, number))
            }
            None => Some((number, number)),
        };
    }
    if let Some(last) = run {
        close(&mut text, last);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str, largest: u32) -> Vec<RangeInclusive<u32>> {
        SequenceSet::parse(text.as_bytes()).unwrap().resolve(largest)
    }

    #[test]
    fn the_examples_of_rfc_3501_section_9() {
        // "2,4:7,9,12:* for a mailbox with 15 messages", "*:4,5:7 with 10".
        assert_eq!(resolve("2,4:7,9,12:*", 15), vec![2..=2, 4..=7, 9..=9, 12..=15]);
        assert_eq!(resolve("*:4,5:7", 10), vec![4..=10]);
        assert_eq!(resolve("4:2", 10), vec![2..=4]);
        // §6.4.8: 559:* always includes the last message.
        assert_eq!(resolve("559:*", 495), vec![495..=559]);
        assert_eq!(resolve("*", 0), vec![]);
    }

    #[test]
    fn what_is_no_set_is_refused() {
        for wrong in
            ["", "0", "01", "1,", ",1", "1:", ":1", "1:2:3", "a", "4294967296", "+1", "$1", "1,$"]
        {
            assert_eq!(SequenceSet::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn numbers_are_written_as_runs() {
        assert_eq!(write_set([1, 2, 3, 5, 9, 10]), "1:3,5,9:10");
        assert_eq!(write_set([7]), "7");
        assert_eq!(write_set([]), "");
    }
}
