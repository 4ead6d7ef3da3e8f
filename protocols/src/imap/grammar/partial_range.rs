//! A page of a list: `PARTIAL 1:500`, `PARTIAL -1:-100` (RFC 9394 §4 `partial-range`).

use std::{num::NonZeroU32, ops::Range};

use super::{
    ParseError,
    reader::{Reader, SYNTAX},
};

/// Places in a list, counted from one of its ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct PartialRange {
    /// Whether the last of the list is number 1.
    pub(crate) from_end: bool,
    first: NonZeroU32,
    last: NonZeroU32,
}

impl PartialRange {
    /// How many places there are.
    pub(crate) fn span(self) -> u64 {
        u64::from(self.last.get()) - u64::from(self.first.get()) + 1
    }

    /// The places in a list of `length`, from its beginning; empty beyond its end.
    pub(crate) fn places(self, length: usize) -> Range<usize> {
        let place = |number: u32| usize::try_from(number).unwrap_or(usize::MAX).min(length);
        let (from, to) = (place(self.first.get() - 1), place(self.last.get()));
        if self.from_end { length - to..length - from } else { from..to }
    }

    /// Writes it as it is read.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn encode(self) -> String {
        let sign = if self.from_end { "-" } else { "" };
        format!("{sign}{}:{sign}{}", self.first, self.last)
    }
}

/// Takes `partial-range`. Its ends may stand in either order, as those of a sequence set
/// (RFC 9051 §9 `seq-range`).
pub(super) fn partial_range(reader: &mut Reader<'_>) -> Result<PartialRange, ParseError> {
    let word = reader.word()?;
    let colon = word.iter().position(|octet| *octet == b':').ok_or(SYNTAX)?;
    let (one, other) = (number(&word[..colon])?, number(&word[colon + 1..])?);
    if one.0 != other.0 {
        return Err(SYNTAX);
    }
    Ok(PartialRange { from_end: one.0, first: one.1.min(other.1), last: one.1.max(other.1) })
}

fn number(text: &[u8]) -> Result<(bool, NonZeroU32), ParseError> {
    let (negative, digits) = match text.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    if !matches!(digits.first(), Some(b'1'..=b'9')) {
        return Err(SYNTAX);
    }
    let digits = std::str::from_utf8(digits).map_err(|_| SYNTAX)?;
    Ok((negative, digits.parse().map_err(|_| SYNTAX)?))
}

#[cfg(test)]
mod tests {
    use super::{super::mailbox_name::NameForm, *};

    fn read(text: &str) -> Result<PartialRange, ParseError> {
        partial_range(&mut Reader::new(text.as_bytes(), NameForm::ModifiedUtf7))
    }

    #[test]
    fn pages_are_counted_from_either_end() {
        for (text, length, places) in [
            ("1:5", 10, 0..5),
            ("-1:-3", 10, 7..10),
            ("-3:-1", 10, 7..10),
            ("8:12", 10, 7..10),
            ("-8:-12", 10, 0..3),
            ("11:12", 10, 10..10),
            ("-11:-12", 10, 0..0),
            ("1:4294967295", 0, 0..0),
        ] {
            assert_eq!(read(text).unwrap().places(length), places, "{text}");
        }
        assert_eq!(read("1:4294967295").unwrap().span(), 4_294_967_295);
    }

    #[test]
    fn what_is_no_page_is_refused() {
        for wrong in
            ["", "1", "0:1", "1:-1", "-1:1", "1:*", "1:2:3", "1:4294967296", "01:2", "+1:2"]
        {
            assert_eq!(read(wrong), Err(SYNTAX), "{wrong}");
        }
    }
}
