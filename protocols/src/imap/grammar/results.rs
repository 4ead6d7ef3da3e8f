//! The grammar of result options, `RETURN (…)` (RFC 4731 §3.1, RFC 5182 §2.4, RFC 5267 §4,
//! RFC 9394 §3.1): what SEARCH, SORT and ESEARCH tell of what they find.

use std::num::NonZeroU32;

use super::{
    FetchItem, ParseError,
    fetch::take_attributes,
    reader::{Reader, SYNTAX},
};

/// Options in one list: there are not more of them.
const OPTIONS_MAX: usize = 16;

/// What is told of what is found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Results {
    pub(crate) min: bool,
    pub(crate) max: bool,
    pub(crate) all: bool,
    pub(crate) count: bool,
    /// `$` stands for it from now on.
    pub(crate) save: bool,
    /// Whether the client will ask the same again: a hint.
    pub(crate) context: bool,
    /// Whether changes of it are told as they happen.
    pub(crate) update: bool,
    /// What is told of a new message that joins then, each once (RFC 5465 §7).
    pub(crate) update_items: Vec<FetchItem>,
    pub(crate) partial: Option<Partial>,
}

/// Positions in what is found, both ends included, in the order written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Partial {
    pub(crate) from: NonZeroU32,
    pub(crate) to: NonZeroU32,
    /// Whether positions are counted from the end (RFC 9394 §3.1).
    pub(crate) from_end: bool,
}

impl Results {
    /// Takes `SP "RETURN" SP "(" [option *(SP option)] ")"` if it comes next.
    pub(super) fn take(
        reader: &mut Reader<'_>,
        items_max: usize,
    ) -> Result<Option<Self>, ParseError> {
        let before = reader.clone();
        if !(reader.space() && reader.take_keyword(b"RETURN") && reader.space()) {
            *reader = before;
            return Ok(None);
        }
        let mut results = Self::default();
        reader.list(OPTIONS_MAX, true, |reader| results.take_option(reader, items_max))?;
        // ALL and a part of it cannot both be asked for (RFC 9394 §3.1).
        if results.all && results.partial.is_some() {
            return Err(ParseError::Syntax(
                "ALL e PARTIAL non stanno insieme / ALL and PARTIAL exclude each other",
            ));
        }
        // Without any that tells something, ALL is meant (RFC 4731 §3.1), but for SAVE and UPDATE,
        // which do something alone (RFC 5182 §2.1, RFC 5267 §4.3).
        let Self { min, max, count, save, update, partial, .. } = results;
        results.all |= !(min || max || count || save || update || partial.is_some());
        Ok(Some(results))
    }

    fn take_option(&mut self, reader: &mut Reader<'_>, items_max: usize) -> Result<(), ParseError> {
        match reader.keyword()?.as_slice() {
            b"MIN" => self.min = true,
            b"MAX" => self.max = true,
            b"ALL" => self.all = true,
            b"COUNT" => self.count = true,
            b"SAVE" => self.save = true,
            b"CONTEXT" => self.context = true,
            b"UPDATE" => {
                self.update = true;
                take_attributes(reader, items_max, &mut self.update_items)?;
            }
            b"PARTIAL" if self.partial.is_none() => {
                reader.expect_space()?;
                self.partial = Some(Partial::parse(reader.word()?).ok_or(SYNTAX)?);
            }
            _ => return Err(SYNTAX),
        }
        Ok(())
    }

    /// Says whether anything is told of it at once.
    pub(crate) fn tell(&self) -> bool {
        self.min || self.max || self.all || self.count || self.partial.is_some()
    }
}

impl Partial {
    fn parse(word: &[u8]) -> Option<Self> {
        let (from, to) = std::str::from_utf8(word).ok()?.split_once(':')?;
        let number = |text: &str| {
            let digits = text.starts_with(|first: char| first.is_ascii_digit());
            text.parse().ok().filter(|_| digits)
        };
        Some(match (from.strip_prefix('-'), to.strip_prefix('-')) {
            (None, None) => Self { from: number(from)?, to: number(to)?, from_end: false },
            (Some(from), Some(to)) => Self { from: number(from)?, to: number(to)?, from_end: true },
            _ => return None,
        })
    }

    /// The part as indexes into `found` messages: none where there are not as many.
    pub(crate) fn within(self, found: usize) -> std::ops::Range<usize> {
        let (first, last) = (self.from.min(self.to).get(), self.from.max(self.to).get());
        // A number that does not fit counts as the largest.
        let end = usize::try_from(last).unwrap_or(usize::MAX).min(found);
        let start = usize::try_from(first - 1).unwrap_or(usize::MAX).min(end);
        if self.from_end { found - end..found - start } else { start..end }
    }

    /// As the client wrote it.
    pub(crate) fn written(self) -> String {
        let sign = if self.from_end { "-" } else { "" };
        format!("{sign}{}:{sign}{}", self.from, self.to)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::mailbox_name::NameForm, *};

    fn take(text: &str) -> Result<Option<Results>, ParseError> {
        Results::take(&mut Reader::new(text.as_bytes(), NameForm::Utf8), 3)
    }

    fn partial(text: &str) -> Partial {
        Partial::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn options_are_read() {
        let all = Results { all: true, ..Results::default() };
        assert_eq!(take(" ALL"), Ok(None));
        assert_eq!(take(" return () x"), Ok(Some(all.clone())));
        assert_eq!(take(" RETURN (CONTEXT) x"), Ok(Some(Results { context: true, ..all })));
        let some = Results { min: true, count: true, save: true, ..Results::default() };
        assert_eq!(take(" RETURN (min COUNT save) x"), Ok(Some(some)));
        let alone = Results { save: true, ..Results::default() };
        assert_eq!(take(" RETURN (SAVE) x"), Ok(Some(alone)));
        let items = vec![FetchItem::Uid, FetchItem::Envelope];
        let told = Results { count: true, update: true, update_items: items, ..Results::default() };
        assert_eq!(take(" RETURN (COUNT UPDATE (UID envelope uid)) x"), Ok(Some(told.clone())));
        assert_eq!(take(" RETURN (UPDATE(UID ENVELOPE) COUNT) x"), Ok(Some(told)));
        let part = Results { partial: Some(partial("-1:-100")), ..Results::default() };
        assert_eq!(take(" RETURN (PARTIAL -1:-100) x"), Ok(Some(part)));
        for wrong in [
            "(ALL PARTIAL 1:2)",
            "(PARTIAL 1:2 PARTIAL 3:4)",
            "(PARTIAL 0:2)",
            "(PARTIAL 1:-2)",
            "(PARTIAL +1:2)",
            "(PARTIAL 1)",
            "(X)",
            "(UPDATE ())",
            "(UPDATE (FAST))",
            "(UPDATE (UID UID UID UID))",
            "(MIN (UID))",
            "(MIN",
            "MIN",
        ] {
            assert!(take(&format!(" RETURN {wrong} x")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn parts_lie_within_what_is_found() {
        for (written, found, part) in [
            ("1:3", 10, 0..3),
            ("3:1", 10, 0..3),
            ("9:12", 10, 8..10),
            ("11:12", 10, 10..10),
            ("-1:-3", 10, 7..10),
            ("-9:-12", 10, 0..2),
            ("-11:-12", 10, 0..0),
            ("1:4294967295", 0, 0..0),
        ] {
            assert_eq!(partial(written).within(found), part, "{written}");
            assert_eq!(partial(written).written(), written);
        }
    }
}
