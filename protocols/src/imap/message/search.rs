//! Whether a message matches a search program (RFC 3501 §6.4.4).
//!
//! A message is judged with as little of it as decides: its row first, then its summary, then its
//! header, then, in one pass over its octets for all texts together, its content. Memory per
//! message is bounded: the header by [`ImapLimits::header_octets_max`], the content by pieces of
//! 64 KiB.
//!
//! Looked through are headers with encoded words decoded (RFC 2047) and text parts without their
//! transfer encoding, in their charset; attachments of other types are not.

use std::collections::BTreeMap;

use jiff::{civil::Date, tz::TimeZone};
use storage::{
    error::StoreError,
    mailbox::view::{ListedMessage, MailboxView},
    summary::{Address, BodyPart, Summary},
};
use trust::clock::UnixMillis;

use super::{
    body_structure::{embedded, is_multipart},
    content::read,
};
use crate::imap::{
    grammar::search::{Area, DateComparison, EnvelopeField, SearchKey, SearchProgram, SystemFlag},
    limits::ImapLimits,
    text::{charset, encoded_word, fold::fold, transfer_encoding::TransferDecoder},
};

/// Levels of the MIME tree that are looked through.
const DEPTH_MAX: usize = 100;

/// One message to be judged.
pub(crate) struct Candidate<'a> {
    pub(crate) view: &'a dyn MailboxView,
    pub(crate) row: &'a ListedMessage,
    pub(crate) recent: bool,
}

/// A search program whose sets are resolved against one mailbox.
pub(crate) struct Search<'a> {
    pub(crate) program: &'a SearchProgram,
    /// The zone in which INTERNALDATE has a day.
    pub(crate) zone: &'a TimeZone,
    pub(crate) limits: &'a ImapLimits,
}

/// What is known of a message so far.
#[derive(Default)]
struct Known<'p> {
    summary: Option<std::sync::Arc<Summary>>,
    header: Option<Vec<(Vec<u8>, String)>>,
    content: Option<BTreeMap<(Area, &'p str), bool>>,
}

impl Search<'_> {
    /// Judges the message with the given sequence number. A message that is gone does not match.
    pub(crate) async fn matches(
        &self,
        candidate: &Candidate<'_>,
        number: u32,
    ) -> Result<bool, StoreError> {
        match self.judge(candidate, number).await {
            Err(StoreError::NoSuchMessage { .. }) => Ok(false),
            other => other,
        }
    }

    async fn judge(&self, candidate: &Candidate<'_>, number: u32) -> Result<bool, StoreError> {
        let mut known = Known::default();
        let Candidate { view, row, .. } = candidate;
        if let Some(verdict) = self.all(candidate, number, &known) {
            return Ok(verdict);
        }
        known.summary = Some(view.summary(row.email_number).await?);
        if let Some(verdict) = self.all(candidate, number, &known) {
            return Ok(verdict);
        }
        if let Some(summary) = known.summary.clone() {
            known.header = Some(self.read_header(candidate, &summary.body).await?);
            if let Some(verdict) = self.all(candidate, number, &known) {
                return Ok(verdict);
            }
            known.content = Some(self.scan(candidate, &summary, &known).await?);
        }
        Ok(self.all(candidate, number, &known).unwrap_or(false))
    }

    fn all(&self, candidate: &Candidate<'_>, number: u32, known: &Known<'_>) -> Option<bool> {
        let keys = self.program.keys.iter();
        every(keys.map(|key| self.holds(key, candidate, number, known)))
    }

    /// Whether `key` holds; `None` when more of the message has to be known.
    fn holds(
        &self,
        key: &SearchKey,
        candidate: &Candidate<'_>,
        number: u32,
        known: &Known<'_>,
    ) -> Option<bool> {
        let row = candidate.row;
        let inner = |key: &SearchKey| self.holds(key, candidate, number, known);
        match key {
            SearchKey::All => Some(true),
            SearchKey::And(keys) => every(keys.iter().map(inner)),
            SearchKey::Or(two) => {
                every([inner(&two.0), inner(&two.1)].map(|held| held.map(|held| !held)))
                    .map(|neither| !neither)
            }
            SearchKey::Not(key) => inner(key).map(|held| !held),
            SearchKey::Ranges { uid: false, ranges } => Some(contains(ranges, number)),
            SearchKey::Ranges { uid: true, ranges } => Some(contains(ranges, row.uid.get())),
            // Resolved before the first message is judged.
            SearchKey::Sequence(_) | SearchKey::Uid(_) => Some(false),
            SearchKey::New => Some(candidate.recent && !row.flags.seen),
            SearchKey::Flag { flag, set } => Some(has_flag(candidate, *flag) == *set),
            SearchKey::Keyword { keyword, set } => {
                Some(row.flags.keywords.contains(keyword) == *set)
            }
            SearchKey::InternalDate(comparison, date) => {
                Some(compare(*comparison, self.date_of(row.internal_date), *date))
            }
            SearchKey::Larger(octets) => Some(row.size > *octets),
            SearchKey::Smaller(octets) => Some(row.size < *octets),
            SearchKey::SentDate(comparison, date) => known.summary.as_ref().map(|summary| {
                sent_date(summary).is_some_and(|sent| compare(*comparison, sent, *date))
            }),
            SearchKey::Envelope { field, folded } => {
                known.summary.as_ref().map(|summary| envelope_contains(summary, *field, folded))
            }
            SearchKey::Header { name, folded } => known.header.as_ref().map(|fields| {
                fields.iter().any(|(field, value)| {
                    field.eq_ignore_ascii_case(name) && value.contains(folded.as_str())
                })
            }),
            SearchKey::Content { area, folded } => known
                .content
                .as_ref()
                .map(|found| found.get(&(*area, folded.as_str())).copied().unwrap_or(false)),
        }
    }

    fn date_of(&self, instant: UnixMillis) -> Date {
        let timestamp = jiff::Timestamp::from_second(instant.seconds()).unwrap_or_default();
        timestamp.to_zoned(self.zone.clone()).date()
    }

    /// Reads a header as fields: name, and value unfolded, decoded and folded in case.
    async fn read_header(
        &self,
        candidate: &Candidate<'_>,
        part: &BodyPart,
    ) -> Result<Vec<(Vec<u8>, String)>, StoreError> {
        let limit = part.header_offset.saturating_add(self.limits.header_octets_max);
        let end = part.body_offset.min(limit);
        let mut octets = Vec::new();
        let mut position = part.header_offset;
        while position < end {
            let piece = read(candidate.view, candidate.row.email_number, position..end).await?;
            position += piece.len() as u64;
            octets.extend_from_slice(&piece);
        }
        Ok(fields(&octets))
    }

    /// Looks for every text of the program in one pass over the message.
    async fn scan<'p>(
        &'p self,
        candidate: &Candidate<'_>,
        summary: &Summary,
        known: &Known<'_>,
    ) -> Result<BTreeMap<(Area, &'p str), bool>, StoreError> {
        let mut finder = Finder::default();
        self.program.visit(|key| {
            if let SearchKey::Content { area, folded } = key {
                // The empty text is in every message (RFC 3501 §6.4.4).
                finder.found.insert((*area, folded), folded.is_empty());
            }
        });
        for (name, value) in known.header.iter().flatten() {
            let line = format!("{}: {value}", fold(&String::from_utf8_lossy(name)));
            finder.look_at(&line, Some(Area::Text));
        }
        finder.break_text();
        let mut waiting: Vec<(&BodyPart, usize)> = vec![(&summary.body, 1)];
        while let Some((part, depth)) = waiting.pop() {
            if finder.has_all() || depth > DEPTH_MAX {
                continue;
            }
            if let Some(message) = embedded(part) {
                for (_, value) in self.read_header(candidate, message).await? {
                    finder.look_at(&value, None);
                    finder.break_text();
                }
                waiting.push((message, depth + 1));
            } else if is_multipart(part) {
                waiting.extend(part.parts.iter().rev().map(|inner| (inner, depth + 1)));
            } else if is_text(part) {
                scan_text(candidate, part, &mut finder).await?;
            }
        }
        Ok(finder.found)
    }
}

/// Conjunction of what is known: false as soon as one is false, else unknown if one is.
fn every(verdicts: impl IntoIterator<Item = Option<bool>>) -> Option<bool> {
    let mut all = Some(true);
    for verdict in verdicts {
        match verdict {
            Some(true) => {}
            Some(false) => return Some(false),
            None => all = None,
        }
    }
    all
}

fn contains(ranges: &[std::ops::RangeInclusive<u32>], number: u32) -> bool {
    let index = ranges.partition_point(|range| *range.end() < number);
    ranges.get(index).is_some_and(|range| range.contains(&number))
}

fn has_flag(candidate: &Candidate<'_>, flag: SystemFlag) -> bool {
    let flags = &candidate.row.flags;
    match flag {
        SystemFlag::Answered => flags.answered,
        SystemFlag::Deleted => flags.deleted,
        SystemFlag::Draft => flags.draft,
        SystemFlag::Flagged => flags.flagged,
        SystemFlag::Seen => flags.seen,
        SystemFlag::Recent => candidate.recent,
    }
}

/// Compares days, time and zone disregarded (RFC 3501 §6.4.4).
fn compare(comparison: DateComparison, day: Date, with: Date) -> bool {
    match comparison {
        DateComparison::Before => day < with,
        DateComparison::On => day == with,
        DateComparison::Since => day >= with,
    }
}

fn sent_date(summary: &Summary) -> Option<Date> {
    let text = String::from_utf8_lossy(summary.envelope.date.as_deref()?).into_owned();
    let parser = jiff::fmt::rfc2822::DateTimeParser::new().relaxed_weekday(true);
    parser.parse_zoned(text.trim()).ok().map(|zoned| zoned.date())
}

fn envelope_contains(summary: &Summary, field: EnvelopeField, folded: &str) -> bool {
    let envelope = &summary.envelope;
    let addresses = match field {
        EnvelopeField::Subject => {
            return envelope
                .subject
                .as_deref()
                .is_some_and(|subject| fold(&encoded_word::decode(subject)).contains(folded));
        }
        EnvelopeField::From => &envelope.from,
        EnvelopeField::To => &envelope.to,
        EnvelopeField::Cc => &envelope.cc,
        EnvelopeField::Bcc => &envelope.bcc,
    };
    addresses.iter().any(|address| fold(&address_text(address)).contains(folded))
}

/// An address as it reads in a header: `name <mailbox@host>`.
fn address_text(address: &Address) -> String {
    let text =
        |octets: &Option<Vec<u8>>| octets.as_deref().map(encoded_word::decode).unwrap_or_default();
    match &address.host {
        Some(_) => {
            format!("{} <{}@{}>", text(&address.name), text(&address.mailbox), text(&address.host))
        }
        None => text(&address.mailbox),
    }
}

fn fields(header: &[u8]) -> Vec<(Vec<u8>, String)> {
    let mut raw: Vec<Vec<u8>> = Vec::new();
    for line in header.split(|&octet| octet == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match (line.first(), raw.last_mut()) {
            (None, _) => {}
            (Some(b' ' | b'\t'), Some(field)) => field.extend_from_slice(line),
            _ => raw.push(line.to_vec()),
        }
    }
    raw.into_iter()
        .filter_map(|field| {
            let colon = field.iter().position(|&octet| octet == b':')?;
            let value = fold(&encoded_word::decode(field[colon + 1..].trim_ascii()));
            Some((field[..colon].trim_ascii_end().to_vec(), value))
        })
        .collect()
}

fn is_text(part: &BodyPart) -> bool {
    part.media_type.is_empty() || part.media_type.eq_ignore_ascii_case(b"text")
}

async fn scan_text(
    candidate: &Candidate<'_>,
    part: &BodyPart,
    finder: &mut Finder<'_>,
) -> Result<(), StoreError> {
    let label = part.parameters.iter().find(|(name, _)| name.eq_ignore_ascii_case(b"charset"));
    let mut letters = charset(label.map(|(_, value)| value.as_slice())).new_decoder();
    let mut encoding = TransferDecoder::new(part.encoding.as_deref());
    let mut look_at = |octets: &[u8], last: bool| {
        let mut text =
            String::with_capacity(letters.max_utf8_buffer_length(octets.len()).unwrap_or(0));
        let _ = letters.decode_to_string(octets, &mut text, last);
        finder.look_at(&fold(&text), None);
    };
    let end = part.body_offset.saturating_add(part.body_octets);
    let mut position = part.body_offset;
    while position < end {
        let piece = read(candidate.view, candidate.row.email_number, position..end).await?;
        position += piece.len() as u64;
        look_at(&encoding.decode(&piece), false);
    }
    look_at(&encoding.finish(), true);
    finder.break_text();
    Ok(())
}

/// Looks for several texts in one stream of folded text.
#[derive(Default)]
struct Finder<'p> {
    found: BTreeMap<(Area, &'p str), bool>,
    /// The end of the text seen so far, where a match may have begun.
    carried: String,
}

impl Finder<'_> {
    fn has_all(&self) -> bool {
        self.found.values().all(|found| *found)
    }

    /// Looks at the next piece of text; only for `area` when one is given.
    fn look_at(&mut self, piece: &str, area: Option<Area>) {
        self.carried.push_str(piece);
        let mut longest = 0;
        for ((of, text), found) in &mut self.found {
            longest = longest.max(text.len());
            if !*found && area.is_none_or(|area| area == *of) {
                *found = self.carried.contains(text);
            }
        }
        let mut keep_from = self.carried.len().saturating_sub(longest);
        while !self.carried.is_char_boundary(keep_from) {
            keep_from -= 1;
        }
        self.carried.drain(..keep_from);
    }

    /// Says that the next piece belongs to another text.
    fn break_text(&mut self) {
        self.carried.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_across_pieces_and_not_across_parts() {
        let mut finder = Finder::default();
        finder.found.insert((Area::Body, "ricevuta"), false);
        finder.found.insert((Area::Text, "da:"), false);
        finder.look_at("da: ricevuta", Some(Area::Text));
        assert!(finder.found[&(Area::Text, "da:")]);
        finder.break_text();
        finder.look_at("la ricev", None);
        finder.break_text();
        finder.look_at("uta; rice", None);
        assert!(!finder.has_all());
        finder.look_at("vuta", None);
        assert!(finder.has_all());
    }

    #[test]
    fn headers_are_unfolded_and_decoded() {
        let header =
            b"Subject: =?utf-8?Q?Perch=C3=A9?=\r\n =?utf-8?Q?_no?=\r\nX:\r\nbroken\r\n\r\n";
        assert_eq!(
            fields(header),
            vec![(b"Subject".to_vec(), fold("perché no")), (b"X".to_vec(), String::new())]
        );
    }

    #[test]
    fn the_sent_date_is_the_day_that_the_sender_wrote() {
        let mut summary = Summary::default();
        summary.envelope.date = Some(b"Wed, 17 Jul 1996 23:23:25 -0700 (PDT)".to_vec());
        assert_eq!(sent_date(&summary), Some(jiff::civil::date(1996, 7, 17)));
        summary.envelope.date = Some(b"yesterday".to_vec());
        assert_eq!(sent_date(&summary), None);
    }
}
