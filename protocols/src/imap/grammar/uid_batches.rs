//! The grammar of UIDBATCHES (RFC 10022 §4).

use std::num::NonZeroU32;

use super::{
    ParseError,
    reader::{Reader, SYNTAX},
};

/// UIDBATCHES: how many messages a batch has, and which batches are wanted.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct UidBatches {
    pub(crate) size: NonZeroU32,
    /// From the newest messages on, as the client wrote them; all where absent.
    pub(crate) range: Option<(NonZeroU32, NonZeroU32)>,
}

/// Parses what follows the word UIDBATCHES.
pub(super) fn parse(mut reader: Reader<'_>) -> Result<UidBatches, ParseError> {
    reader.expect_space()?;
    let size = reader.nonzero()?;
    let range = if reader.space() { Some(range(reader.word()?)?) } else { None };
    reader.end()?;
    Ok(UidBatches { size, range })
}

fn range(word: &[u8]) -> Result<(NonZeroU32, NonZeroU32), ParseError> {
    let text = std::str::from_utf8(word).map_err(|_| SYNTAX)?;
    let (from, to) = text.split_once(':').ok_or(SYNTAX)?;
    let number = |digits: &str| {
        let is_number = digits.bytes().all(|octet| octet.is_ascii_digit());
        if is_number { digits.parse().map_err(|_| SYNTAX) } else { Err(SYNTAX) }
    };
    Ok((number(from)?, number(to)?))
}

#[cfg(test)]
mod tests {
    use super::{super::mailbox_name::NameForm, *};

    fn read(text: &str) -> Result<(u32, Option<(u32, u32)>), ParseError> {
        let batches = parse(Reader::new(text.as_bytes(), NameForm::ModifiedUtf7))?;
        let range = batches.range.map(|(from, to)| (from.get(), to.get()));
        Ok((batches.size.get(), range))
    }

    #[test]
    fn sizes_and_ranges_are_read() {
        assert_eq!(read(" 2000\r\n"), Ok((2_000, None)));
        assert_eq!(read(" 2000 10:20\r\n"), Ok((2_000, Some((10, 20)))));
        assert_eq!(read(" 2000 4:1\r\n"), Ok((2_000, Some((4, 1)))));
        for wrong in ["\r\n", " 0\r\n", " x\r\n", " 500 1\r\n", " 500 0:1\r\n", " 500 1:*\r\n"] {
            assert_eq!(read(wrong), Err(SYNTAX), "{wrong}");
        }
    }
}
