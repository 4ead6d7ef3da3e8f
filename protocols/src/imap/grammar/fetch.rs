//! The grammar of FETCH and UID FETCH (RFC 9051 §9 `fetch`, RFC 3501 §9 for `RFC822`), with
//! BINARY (RFC 3516 §7), PREVIEW (RFC 8970 §6), SAVEDATE (RFC 8514 §5), EMAILID and THREADID
//! (RFC 8474 §7), MODSEQ, CHANGEDSINCE and VANISHED (RFC 7162 §7), PARTIAL (RFC 9394 §4).
//!
//! Not here: what the items are answered with (`command::fetch`).

use std::{borrow::Cow, num::NonZeroU64};

use storage::ids::ModSeq;

use super::{
    ParseError,
    partial_range::{PartialRange, partial_range},
    reader::{Reader, SYNTAX},
    sequence::SequenceSet,
    write,
};
use crate::imap::limits::ImapLimits;

/// Part numbers of one section. Messages are not parsed deeper either.
const PART_LEVELS_MAX: usize = 128;

/// FETCH and UID FETCH.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fetch {
    pub(crate) set: SequenceSet,
    pub(crate) items: Vec<FetchItem>,
    pub(crate) uid: bool,
    /// Only messages that were changed later (RFC 7162 §3.1.4.1).
    pub(crate) changed_since: Option<ModSeq>,
    /// Those that are gone since then too (RFC 7162 §3.2.6).
    pub(crate) vanished: bool,
    /// A page of the messages (RFC 9394 §3.3).
    pub(crate) partial: Option<PartialRange>,
}

/// Which octets of a section: from the first number on, at most the second
/// (RFC 9051 §6.4.5 `<partial>`).
pub(crate) type Partial = Option<(u64, NonZeroU64)>;

/// What FETCH tells of a message (RFC 9051 §6.4.5).
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum FetchItem {
    Uid,
    Flags,
    InternalDate,
    Rfc822,
    Rfc822Header,
    Rfc822Size,
    Rfc822Text,
    Envelope,
    Body,
    BodyStructure,
    Section {
        section: Section,
        partial: Partial,
        peek: bool,
    },
    /// `BINARY[…]`: the octets of a part without their transfer encoding.
    Binary {
        part: Vec<u32>,
        partial: Partial,
        peek: bool,
    },
    BinarySize {
        part: Vec<u32>,
    },
    ModSeq,
    SaveDate,
    EmailId,
    ThreadId,
    Preview {
        lazy: bool,
    },
}

impl FetchItem {
    /// Says whether fetching it makes the message `\Seen`.
    pub(crate) fn marks_seen(&self) -> bool {
        matches!(
            self,
            Self::Rfc822
                | Self::Rfc822Text
                | Self::Section { peek: false, .. }
                | Self::Binary { peek: false, .. }
        )
    }
}

/// A part of a message (RFC 9051 §9 `section`).
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Section {
    /// Part numbers from the outside in; empty for the message itself.
    pub(crate) part: Vec<u32>,
    /// Which octets of it.
    pub(crate) text: SectionText,
}

/// Which octets of a part.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum SectionText {
    /// Everything: header and body of a message, the body of a part.
    Whole,
    Header,
    HeaderFields(Vec<Vec<u8>>),
    HeaderFieldsNot(Vec<Vec<u8>>),
    Text,
    Mime,
}

impl Section {
    /// Writes it with its brackets, as a client does.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let mut words: Vec<String> = self.part.iter().map(ToString::to_string).collect();
        let mut fields: &[Vec<u8>] = &[];
        let word = match &self.text {
            SectionText::Whole => None,
            SectionText::Header => Some("HEADER"),
            SectionText::Text => Some("TEXT"),
            SectionText::Mime => Some("MIME"),
            SectionText::HeaderFields(names) => {
                fields = names;
                Some("HEADER.FIELDS")
            }
            SectionText::HeaderFieldsNot(names) => {
                fields = names;
                Some("HEADER.FIELDS.NOT")
            }
        };
        words.extend(word.map(str::to_owned));
        out.push(b'[');
        out.extend_from_slice(words.join(".").as_bytes());
        for (position, name) in fields.iter().enumerate() {
            out.extend_from_slice(if position == 0 { b" (" } else { b" " });
            write::astring(out, name);
        }
        out.extend_from_slice(if fields.is_empty() { b"]" } else { b")]" });
    }
}

/// Parses what follows the word FETCH.
pub(super) fn parse(
    mut reader: Reader<'_>,
    uid: bool,
    limits: &ImapLimits,
) -> Result<Fetch, ParseError> {
    reader.expect_space()?;
    let set = reader.sequence_set()?;
    reader.expect_space()?;
    let items = unique(items(&mut reader, limits.items_max)?);
    let mut fetch = Fetch { set, items, uid, changed_since: None, vanished: false, partial: None };
    if reader.space() {
        reader.list(3, false, |reader| modifier(reader, &mut fetch))?;
    }
    reader.end()?;
    // What is gone has no number, and is gone since some moment (RFC 7162 §3.2.6).
    let vanished_alone = fetch.vanished && (!uid || fetch.changed_since.is_none());
    if vanished_alone || (fetch.partial.is_some() && !uid) {
        return Err(SYNTAX);
    }
    Ok(fetch)
}

fn modifier(reader: &mut Reader<'_>, fetch: &mut Fetch) -> Result<(), ParseError> {
    match reader.keyword()?.as_slice() {
        b"CHANGEDSINCE" if fetch.changed_since.is_none() => {
            reader.expect_space()?;
            fetch.changed_since = Some(reader.mod_seq()?);
        }
        b"VANISHED" if !fetch.vanished => fetch.vanished = true,
        b"PARTIAL" if fetch.partial.is_none() => {
            reader.expect_space()?;
            fetch.partial = Some(partial_range(reader)?);
        }
        _ => return Err(SYNTAX),
    }
    Ok(())
}

/// An item that is asked for twice is told once, and costs no more than once.
fn unique(items: Vec<FetchItem>) -> Vec<FetchItem> {
    let mut unique: Vec<FetchItem> = Vec::with_capacity(items.len());
    for item in items {
        if !unique.contains(&item) {
            unique.push(item);
        }
    }
    unique
}

/// The macros stand for lists (RFC 9051 §6.4.5).
fn items(reader: &mut Reader<'_>, items_max: usize) -> Result<Vec<FetchItem>, ParseError> {
    use FetchItem::{Body, Envelope, Flags, InternalDate, Rfc822Size};
    if reader.peek() == Some(b'(') {
        return reader.list(items_max, false, |reader| item(reader, items_max));
    }
    let mut items = vec![Flags, InternalDate, Rfc822Size];
    if reader.take_keyword(b"FAST") {
        return Ok(items);
    }
    items.push(Envelope);
    if reader.take_keyword(b"ALL") {
        return Ok(items);
    }
    items.push(Body);
    if reader.take_keyword(b"FULL") {
        return Ok(items);
    }
    Ok(vec![item(reader, items_max)?])
}

/// Takes `[SP] "(" fetch-att *(SP fetch-att) ")"` if it comes next: items without the macros
/// (RFC 5465 §8), each once.
pub(super) fn take_attributes(
    reader: &mut Reader<'_>,
    items_max: usize,
    items: &mut Vec<FetchItem>,
) -> Result<(), ParseError> {
    let mut ahead = reader.clone();
    if !(ahead.peek() == Some(b'(') || (ahead.space() && ahead.peek() == Some(b'('))) {
        return Ok(());
    }
    *reader = ahead;
    items.extend(reader.list(items_max, false, |reader| item(reader, items_max))?);
    *items = unique(std::mem::take(items));
    Ok(())
}

fn item(reader: &mut Reader<'_>, items_max: usize) -> Result<FetchItem, ParseError> {
    let word = reader.word()?;
    let Some(open) = word.iter().position(|octet| *octet == b'[') else {
        return plain_item(reader, &word.to_ascii_uppercase());
    };
    let (name, rest) = (word[..open].to_ascii_uppercase(), &word[open + 1..]);
    let close = rest.iter().position(|octet| *octet == b']');
    let inside = &rest[..close.unwrap_or(rest.len())];
    let after = close.map(|close| &rest[close + 1..]);
    let peek = matches!(name.as_slice(), b"BODY.PEEK" | b"BINARY.PEEK");
    match (name.as_slice(), after) {
        (b"BODY" | b"BODY.PEEK", after) => {
            let (section, after) = section(reader, inside, after, items_max)?;
            Ok(FetchItem::Section { section, partial: partial(after)?, peek })
        }
        (b"BINARY" | b"BINARY.PEEK", Some(after)) => {
            Ok(FetchItem::Binary { part: whole_part(inside)?, partial: partial(after)?, peek })
        }
        (b"BINARY.SIZE", Some(b"")) => Ok(FetchItem::BinarySize { part: whole_part(inside)? }),
        _ => Err(SYNTAX),
    }
}

fn plain_item(reader: &mut Reader<'_>, word: &[u8]) -> Result<FetchItem, ParseError> {
    Ok(match word {
        b"UID" => FetchItem::Uid,
        b"FLAGS" => FetchItem::Flags,
        b"INTERNALDATE" => FetchItem::InternalDate,
        b"RFC822" => FetchItem::Rfc822,
        b"RFC822.HEADER" => FetchItem::Rfc822Header,
        b"RFC822.SIZE" => FetchItem::Rfc822Size,
        b"RFC822.TEXT" => FetchItem::Rfc822Text,
        b"ENVELOPE" => FetchItem::Envelope,
        b"BODY" => FetchItem::Body,
        b"BODYSTRUCTURE" => FetchItem::BodyStructure,
        b"MODSEQ" => FetchItem::ModSeq,
        b"SAVEDATE" => FetchItem::SaveDate,
        b"EMAILID" => FetchItem::EmailId,
        b"THREADID" => FetchItem::ThreadId,
        b"PREVIEW" => FetchItem::Preview { lazy: lazy(reader) },
        _ => return Err(SYNTAX),
    })
}

/// Takes ` (LAZY)`. Another parenthesis belongs to FETCH itself.
fn lazy(reader: &mut Reader<'_>) -> bool {
    let before = reader.clone();
    if reader.space() && reader.take(b'(') && reader.take_keyword(b"LAZY") && reader.take(b')') {
        return true;
    }
    *reader = before;
    false
}

/// Reads a section whose text up to `]` is `inside`, and what follows it: `after`, or in the
/// reader where the names of header fields stand between.
fn section<'a>(
    reader: &mut Reader<'a>,
    inside: &[u8],
    after: Option<&'a [u8]>,
    items_max: usize,
) -> Result<(Section, &'a [u8]), ParseError> {
    let (part, word) = part_and_word(inside)?;
    let fields = |reader: &mut Reader<'a>| -> Result<(Vec<Vec<u8>>, &'a [u8]), ParseError> {
        reader.expect_space()?;
        let name = |reader: &mut Reader<'a>| reader.astring().map(Cow::into_owned);
        let names = reader.list(items_max, false, name)?;
        reader.expect(b']')?;
        let after: &[u8] = if reader.peek() == Some(b'<') { reader.word()? } else { b"" };
        Ok((names, after))
    };
    let (text, after) = match (word.as_slice(), after) {
        (b"", Some(after)) => (SectionText::Whole, after),
        (b"HEADER", Some(after)) => (SectionText::Header, after),
        (b"TEXT", Some(after)) => (SectionText::Text, after),
        (b"MIME", Some(after)) if !part.is_empty() => (SectionText::Mime, after),
        (b"HEADER.FIELDS", None) => {
            let (names, after) = fields(reader)?;
            (SectionText::HeaderFields(names), after)
        }
        (b"HEADER.FIELDS.NOT", None) => {
            let (names, after) = fields(reader)?;
            (SectionText::HeaderFieldsNot(names), after)
        }
        _ => return Err(SYNTAX),
    };
    Ok((Section { part, text }, after))
}

/// Splits `1.2.HEADER` into its numbers and the word behind them, in capitals.
fn part_and_word(inside: &[u8]) -> Result<(Vec<u32>, Vec<u8>), ParseError> {
    let mut part = Vec::new();
    let mut rest = inside;
    while matches!(rest.first(), Some(b'1'..=b'9')) {
        let end = rest.iter().position(|octet| *octet == b'.').unwrap_or(rest.len());
        let number = std::str::from_utf8(&rest[..end]).map_err(|_| SYNTAX)?;
        part.push(number.parse().map_err(|_| SYNTAX)?);
        if part.len() > PART_LEVELS_MAX {
            return Err(SYNTAX);
        }
        match rest.get(end + 1..) {
            Some(b"") => return Err(SYNTAX),
            Some(behind) => rest = behind,
            None => rest = b"",
        }
    }
    Ok((part, rest.to_ascii_uppercase()))
}

/// `section-binary`: part numbers, or nothing.
fn whole_part(inside: &[u8]) -> Result<Vec<u32>, ParseError> {
    match part_and_word(inside)? {
        (part, word) if word.is_empty() => Ok(part),
        _ => Err(SYNTAX),
    }
}

/// `partial`: `<origin.count>`, or nothing.
fn partial(text: &[u8]) -> Result<Partial, ParseError> {
    if text.is_empty() {
        return Ok(None);
    }
    let inside = text.strip_prefix(b"<").and_then(|text| text.strip_suffix(b">")).ok_or(SYNTAX)?;
    if !inside.iter().all(|octet| octet.is_ascii_digit() || *octet == b'.') {
        return Err(SYNTAX);
    }
    let inside = std::str::from_utf8(inside).map_err(|_| SYNTAX)?;
    let (origin, count) = inside.split_once('.').ok_or(SYNTAX)?;
    let origin = origin.parse().map_err(|_| SYNTAX)?;
    Ok(Some((origin, count.parse().map_err(|_| SYNTAX)?)))
}

#[cfg(test)]
#[path = "fetch/tests.rs"]
mod tests;
