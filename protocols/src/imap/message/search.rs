//! Whether a message matches a search program (RFC 3501 §6.4.4).
//!
//! A message is judged with as little of it as decides: its row first, then what is kept of its
//! headers, which is read of many messages at once, then its header, then, in one pass over its
//! octets for all texts together, its content. Memory per message is bounded: the header by
//! [`ImapLimits::header_octets_max`], the content by pieces of 64 KiB.
//!
//! Looked through are headers with encoded words decoded (RFC 2047) and text parts without their
//! transfer encoding, in their charset; attachments of other types are not.

use std::collections::BTreeMap;

use jiff::{civil::Date, tz::TimeZone};
use storage::{
    account::headers::{
        page::{HeaderField, HeaderFields, MessageHeaders},
        sent_date::SentDate,
    },
    error::StoreError,
    ids::EmailNumber,
    mailbox::view::{ListedMessage, MailboxView},
    summary::{BodyPart, Summary},
    text::{charset, encoded_word, fold},
};
use trust::clock::UnixMillis;

use super::{
    body_structure::{embedded, is_multipart},
    content::read,
};
use crate::imap::{
    grammar::search::{Area, DateComparison, EnvelopeField, SearchKey, SearchProgram, SystemFlag},
    limits::ImapLimits,
    selected::SelectedMailbox,
    text::transfer_encoding::TransferDecoder,
};

/// Levels of the MIME tree that are looked through.
const DEPTH_MAX: usize = 100;

/// One message to be judged.
pub(crate) struct Candidate<'a> {
    pub(crate) view: &'a dyn MailboxView,
    pub(crate) row: &'a ListedMessage,
    /// Its sequence number.
    pub(crate) number: u32,
    /// The session's mailbox, which knows what is `\Recent` in it.
    pub(crate) selected: Option<&'a SelectedMailbox>,
}

impl Candidate<'_> {
    fn is_recent(&self) -> bool {
        self.selected.is_some_and(|mailbox| mailbox.is_recent(self.row.uid))
    }
}

/// A search program whose sets are resolved against one mailbox.
pub(crate) struct Search<'a> {
    pub(crate) program: &'a SearchProgram,
    /// The zone in which INTERNALDATE has a day.
    pub(crate) zone: &'a TimeZone,
    /// When the search began.
    pub(crate) now: UnixMillis,
    pub(crate) limits: &'a ImapLimits,
}

/// What is known of a message so far.
#[derive(Default)]
struct Known<'p> {
    headers: Option<MessageHeaders>,
    header: Option<Vec<(Vec<u8>, String)>>,
    content: Option<BTreeMap<(Area, &'p str), bool>>,
}

/// What is kept of a message's headers.
enum Asked {
    /// The message is gone.
    Gone,
    Headers(MessageHeaders),
}

impl Search<'_> {
    /// Returns the sequence numbers of `candidates`, all of one view, that match. A message that is
    /// gone does not. The caller bounds how many there are: their headers are held together.
    pub(crate) async fn find(&self, candidates: &[Candidate<'_>]) -> Result<Vec<u32>, StoreError> {
        let unknown = Known::default();
        let verdicts: Vec<Option<bool>> =
            candidates.iter().map(|candidate| self.all(candidate, &unknown)).collect();
        let undecided = candidates.iter().zip(&verdicts).filter(|(_, verdict)| verdict.is_none());
        let numbers: Vec<EmailNumber> =
            undecided.map(|(candidate, _)| candidate.row.email_number).collect();
        let mut headers = self.headers(candidates, &numbers).await?.into_iter();
        let mut found = Vec::new();
        for (candidate, verdict) in candidates.iter().zip(verdicts) {
            let asked = if verdict.is_none() { headers.next() } else { None };
            let kept = match asked {
                Some(Asked::Gone) => continue,
                Some(Asked::Headers(headers)) => Some(headers),
                None => None,
            };
            let known = Known { headers: kept, ..Known::default() };
            let matches = match verdict.or_else(|| self.all(candidate, &known)) {
                Some(verdict) => verdict,
                None => self.judge(candidate, known).await?,
            };
            if matches {
                found.push(candidate.number);
            }
        }
        Ok(found)
    }

    /// The fields that keys ask for; `None` when nothing that is kept of headers is of use.
    fn fields(&self) -> Option<HeaderFields> {
        let mut fields = None;
        let mut ask = |field: Option<HeaderField>| {
            let others = fields.unwrap_or_default();
            fields = Some(field.map_or(others, |field| HeaderFields::with(others, field)));
        };
        self.program.visit(|key| match key {
            SearchKey::Envelope { field, .. } => ask(Some(kept(*field))),
            SearchKey::SentDate(..) => ask(None),
            SearchKey::Header { name, .. } => {
                if let Some(field) = kept_field(name) {
                    ask(Some(field));
                }
            }
            _ => {}
        });
        fields
    }

    /// What is kept of the headers of `numbers`, where a key asks for it.
    async fn headers(
        &self,
        candidates: &[Candidate<'_>],
        numbers: &[EmailNumber],
    ) -> Result<Vec<Asked>, StoreError> {
        match (candidates.first(), self.fields()) {
            (Some(candidate), Some(fields)) if !numbers.is_empty() => {
                let headers = candidate.view.headers(numbers, fields).await?;
                Ok(headers.into_iter().map(|one| one.map_or(Asked::Gone, Asked::Headers)).collect())
            }
            _ => Ok(Vec::new()),
        }
    }

    /// Judges a message by its header, and then by its content.
    async fn judge<'p>(
        &'p self,
        candidate: &Candidate<'_>,
        known: Known<'p>,
    ) -> Result<bool, StoreError> {
        match self.judge_whole(candidate, known).await {
            Err(StoreError::NoSuchMessage { .. }) => Ok(false),
            other => other,
        }
    }

    async fn judge_whole<'p>(
        &'p self,
        candidate: &Candidate<'_>,
        mut known: Known<'p>,
    ) -> Result<bool, StoreError> {
        // Reading a message is work: others get their turn.
        tokio::task::yield_now().await;
        let summary = candidate.view.summary(candidate.row.email_number).await?;
        known.header = Some(self.read_header(candidate, &summary.body).await?);
        if let Some(verdict) = self.all(candidate, &known) {
            return Ok(verdict);
        }
        known.content = Some(self.scan(candidate, &summary, &known).await?);
        Ok(self.all(candidate, &known).unwrap_or(false))
    }

    fn all(&self, candidate: &Candidate<'_>, known: &Known<'_>) -> Option<bool> {
        let keys = self.program.keys.iter();
        every(keys.map(|key| self.holds(key, candidate, known)))
    }

    /// Whether `key` holds; `None` when more of the message has to be known.
    fn holds(&self, key: &SearchKey, candidate: &Candidate<'_>, known: &Known<'_>) -> Option<bool> {
        let row = candidate.row;
        let inner = |key: &SearchKey| self.holds(key, candidate, known);
        match key {
            SearchKey::All | SearchKey::SaveDateSupported => Some(true),
            SearchKey::And(keys) => every(keys.iter().map(inner)),
            SearchKey::Or(two) => {
                every([inner(&two.0), inner(&two.1)].map(|held| held.map(|held| !held)))
                    .map(|neither| !neither)
            }
            SearchKey::Not(key) => inner(key).map(|held| !held),
            SearchKey::Ranges { uid: false, ranges } => Some(contains(ranges, candidate.number)),
            SearchKey::Ranges { uid: true, ranges } => Some(contains(ranges, row.uid.get())),
            // Sets are resolved before the first message is judged; no message has a thread's identifier.
            SearchKey::Sequence(_) | SearchKey::Uid(_) | SearchKey::ThreadId => Some(false),
            SearchKey::New => Some(!row.flags.seen && candidate.is_recent()),
            SearchKey::Flag { flag, set } => Some(has_flag(candidate, *flag) == *set),
            SearchKey::Keyword { keyword, set } => {
                Some(row.flags.keywords.contains(keyword) == *set)
            }
            SearchKey::InternalDate(comparison, date) => {
                Some(compare(*comparison, self.date_of(row.internal_date), *date))
            }
            SearchKey::SavedDate(comparison, date) => {
                Some(compare(*comparison, self.date_of(row.save_date), *date))
            }
            SearchKey::Younger(seconds) => Some(self.age(row) <= i64::from(*seconds)),
            SearchKey::Older(seconds) => Some(self.age(row) >= i64::from(*seconds)),
            SearchKey::ModSeq(mod_seq) => Some(row.mod_seq.0 >= *mod_seq),
            SearchKey::EmailId(id) => {
                Some(id.is_some_and(|(_, number)| number == row.email_number.0))
            }
            SearchKey::Larger(octets) => Some(row.size > *octets),
            SearchKey::Smaller(octets) => Some(row.size < *octets),
            SearchKey::SentDate(comparison, date) => known.headers.as_ref().map(|headers| {
                let day = headers.sent().and_then(day_of);
                day.is_some_and(|day| compare(*comparison, day, *date))
            }),
            SearchKey::Envelope { field, folded } => {
                known.headers.as_ref().map(|headers| headers.contains(kept(*field), folded))
            }
            SearchKey::Header { name, folded } => match &known.header {
                Some(fields) => Some(fields.iter().any(|(field, value)| {
                    field.eq_ignore_ascii_case(name) && value.contains(folded.as_str())
                })),
                None => known.headers.as_ref().and_then(|headers| by_kept(headers, name, folded)),
            },
            SearchKey::Content { area, folded } => known
                .content
                .as_ref()
                .map(|found| found.get(&(*area, folded.as_str())).copied().unwrap_or(false)),
        }
    }

    /// Seconds since the message was received (RFC 5032 §4).
    fn age(&self, row: &ListedMessage) -> i64 {
        self.now.seconds().saturating_sub(row.internal_date.seconds())
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
        SystemFlag::Recent => candidate.is_recent(),
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

/// The day that the sender wrote.
fn day_of(sent: SentDate) -> Option<Date> {
    let instant = jiff::Timestamp::from_second(sent.instant.seconds()).ok()?;
    let offset = jiff::tz::Offset::from_seconds(sent.offset_seconds).ok()?;
    Some(offset.to_datetime(instant).date())
}

/// The field that is kept for an envelope key.
fn kept(field: EnvelopeField) -> HeaderField {
    match field {
        EnvelopeField::Bcc => HeaderField::Bcc,
        EnvelopeField::Cc => HeaderField::Cc,
        EnvelopeField::From => HeaderField::From,
        EnvelopeField::Subject => HeaderField::Subject,
        EnvelopeField::To => HeaderField::To,
    }
}

/// The field called `name`, if it is kept.
fn kept_field(name: &[u8]) -> Option<HeaderField> {
    let fields: [(&[u8], HeaderField); 8] = [
        (b"From", HeaderField::From),
        (b"To", HeaderField::To),
        (b"Cc", HeaderField::Cc),
        (b"Bcc", HeaderField::Bcc),
        (b"Subject", HeaderField::Subject),
        (b"Message-ID", HeaderField::MessageId),
        (b"In-Reply-To", HeaderField::InReplyTo),
        (b"References", HeaderField::References),
    ];
    let called = fields.into_iter().find(|(field, _)| name.eq_ignore_ascii_case(field));
    called.map(|(_, field)| field)
}

/// Whether a field called `name` contains `folded`, judged by what is kept; `None` when only the
/// header itself can tell.
///
/// Addresses are kept in one form, `name <mailbox@host>`, so what is not found in it may still stand
/// in the header; and what is found must have no sign of that form in it. Of the others a
/// message has one at most (RFC 5322 §3.6).
fn by_kept(headers: &MessageHeaders, name: &[u8], folded: &str) -> Option<bool> {
    let field = kept_field(name)?;
    let found = headers.contains(field, folded);
    match field {
        HeaderField::From | HeaderField::To | HeaderField::Cc | HeaderField::Bcc => {
            let plain = |letter: char| letter.is_alphanumeric() || "@.-_+".contains(letter);
            (found && folded.chars().all(plain)).then_some(true)
        }
        _ => Some(found),
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

    fn headers_with(date: &[u8]) -> MessageHeaders {
        let mut summary = Summary::default();
        summary.envelope.date = Some(date.to_vec());
        summary.envelope.message_id = Some(b"<Uno@pec.example>".to_vec());
        summary.envelope.from = vec![storage::summary::Address {
            name: Some(b"Anna Rossi".to_vec()),
            mailbox: Some(b"anna".to_vec()),
            host: Some(b"pec.example".to_vec()),
            ..storage::summary::Address::default()
        }];
        MessageHeaders::of(EmailNumber(1), &summary)
    }

    #[test]
    fn the_sent_date_is_the_day_that_the_sender_wrote() {
        let sent = |date: &[u8]| headers_with(date).sent().and_then(day_of);
        let day = jiff::civil::date(1996, 7, 17);
        assert_eq!(sent(b"Wed, 17 Jul 1996 23:23:25 -0700 (PDT)"), Some(day));
        assert_eq!(sent(b"yesterday"), None);
    }

    #[test]
    fn what_is_kept_decides_about_a_header_only_where_it_can() {
        let headers = headers_with(b"");
        let by_kept = |name: &str, folded| by_kept(&headers, name.as_bytes(), folded);
        assert_eq!(by_kept("message-id", "<uno@"), Some(true));
        assert_eq!(by_kept("Message-ID", "<due@"), Some(false));
        assert_eq!(by_kept("References", ""), Some(false), "it has no such field");
        assert_eq!(by_kept("from", "anna@pec"), Some(true));
        assert_eq!(by_kept("from", "rossi <anna"), None, "the header may have quotes there");
        assert_eq!(by_kept("from", "(anna)"), None, "the header may have a comment");
        assert_eq!(by_kept("X-Ricevuta", "accettazione"), None);
    }
}
