//! Headers of many messages, in columns; a block is such a page made small, part by part.
//!
//! ```text
//! part 0
//! number: messages, at least 1
//! column: EmailNumber, a number: by how much above the one before; the first, above the last
//!         number before the window
//! column: 1 when the message has a date that can be read, else 0: one octet
//! column, of those with a date: seconds since 1970, a difference from the one before; the first,
//!         from 0
//! column, of those with a date: seconds that the sender's clock was ahead of UTC, a difference
//!         from 0
//! parts 1 to 8: From, To, Cc, Bcc, Subject, Message-ID, In-Reply-To, References
//!     column: octets of the text and 1, a number; 0 = the message has no such field
//!     octets: the texts one after the other, UTF-8
//! ```
//!
//! Addresses are written `name <mailbox@host>`, one after the other with an octet 0 between them.
//! From, To, Cc, Bcc and Subject are decoded and folded; the identifiers are decoded only.

use std::sync::Arc;

use trust::clock::UnixMillis;

use super::{BLOCK_TEXT_OCTETS_MAX, TEXT_OCTETS_MAX, sent_date::SentDate};
use crate::{
    ids::EmailNumber,
    sealed::{Plain, put_difference, put_number},
    summary::{Address, Summary},
    text::{encoded_word, fold},
};

/// A field of which a page has the text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HeaderField {
    /// `From`
    From,
    /// `To`
    To,
    /// `Cc`
    Cc,
    /// `Bcc`
    Bcc,
    /// `Subject`
    Subject,
    /// `Message-ID`
    MessageId,
    /// `In-Reply-To`
    InReplyTo,
    /// `References`
    References,
}

const FIELDS: usize = 8;

/// Parts of a block: numbers and dates, and each field.
pub(crate) const PARTS: usize = 1 + FIELDS;

/// Fields whose texts are asked for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct HeaderFields(u8);

impl HeaderFields {
    /// No text: dates alone.
    pub const NONE: Self = Self(0);
    /// All there are.
    pub const ALL: Self = Self(u8::MAX);

    /// These and `field`.
    #[must_use]
    pub const fn with(self, field: HeaderField) -> Self {
        Self(self.0 | 1 << field as u8)
    }

    fn has(self, field: usize) -> bool {
        self.0 >> field & 1 == 1
    }

    /// Whether the part of a block is needed for these.
    pub(crate) fn need(self, part: usize) -> bool {
        part.checked_sub(1).is_none_or(|field| self.has(field))
    }
}

impl FromIterator<HeaderField> for HeaderFields {
    fn from_iter<I: IntoIterator<Item = HeaderField>>(fields: I) -> Self {
        fields.into_iter().fold(Self::NONE, Self::with)
    }
}

/// Between two addresses. It is taken out of the texts themselves.
const BETWEEN: char = '\0';

/// What is searched for in one message. Its texts are of the fields that were asked for.
#[derive(Clone, Debug)]
pub struct MessageHeaders {
    page: Arc<HeaderPage>,
    index: usize,
}

impl MessageHeaders {
    /// The headers that `summary` has.
    #[must_use]
    pub fn of(email_number: EmailNumber, summary: &Summary) -> Self {
        Self::of_fields(email_number, summary, HeaderFields::ALL)
    }

    /// Those of `fields` alone.
    #[must_use]
    pub fn of_fields(email_number: EmailNumber, summary: &Summary, fields: HeaderFields) -> Self {
        let mut page = HeaderPage::new(fields);
        page.push(email_number, summary);
        Self { page: Arc::new(page), index: 0 }
    }

    /// The text of a field that was asked for, addresses with U+0000 between them; `None` when it
    /// is absent.
    #[must_use]
    pub fn text(&self, field: HeaderField) -> Option<&str> {
        debug_assert!(self.page.fields.has(field as usize), "{field:?} was not asked for");
        self.page.columns[field as usize].text(self.index)
    }

    /// Says whether the field is there and some value of it contains `folded`.
    #[must_use]
    pub fn contains(&self, field: HeaderField, folded: &str) -> bool {
        let Some(text) = self.text(field) else { return false };
        match field {
            HeaderField::MessageId | HeaderField::InReplyTo | HeaderField::References => {
                fold(text).contains(folded)
            }
            _ => text.contains(folded),
        }
    }

    /// When the message was sent.
    #[must_use]
    pub fn sent(&self) -> Option<SentDate> {
        self.page.sent.get(self.index).copied().flatten()
    }
}

impl PartialEq for MessageHeaders {
    fn eq(&self, other: &Self) -> bool {
        let texts = |this: &Self| {
            this.page
                .columns
                .iter()
                .map(|column| column.text(this.index).map(str::to_owned))
                .collect::<Vec<_>>()
        };
        self.sent() == other.sent() && texts(self) == texts(other)
    }
}

/// The headers of some messages, ascending by EmailNumber.
#[derive(Debug)]
pub(crate) struct HeaderPage {
    /// Whose texts it has.
    fields: HeaderFields,
    numbers: Vec<EmailNumber>,
    sent: Vec<Option<SentDate>>,
    columns: [Column; FIELDS],
    octets: usize,
}

/// One field of all messages.
#[derive(Debug, Default)]
struct Column {
    text: String,
    /// Where each message's text ends, and whether it has one.
    ends: Vec<(usize, bool)>,
}

impl Column {
    fn push(&mut self, text: Option<&str>) {
        self.text.push_str(text.unwrap_or_default());
        self.ends.push((self.text.len(), text.is_some()));
    }

    fn text(&self, index: usize) -> Option<&str> {
        let start = index.checked_sub(1).and_then(|before| self.ends.get(before));
        let (end, present) = *self.ends.get(index)?;
        self.text.get(start.map_or(0, |(end, _)| *end)..end).filter(|_| present)
    }
}

impl Column {
    fn encode(&self, count: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.text.len() + 2 * count);
        for index in 0..count {
            put_number(&mut out, self.text(index).map_or(0, |text| text.len() as u64 + 1));
        }
        out.extend_from_slice(self.text.as_bytes());
        out
    }

    fn decode(count: usize, plain: &[u8]) -> Option<Self> {
        let mut plain = Plain::new(plain);
        let mut ends = Vec::with_capacity(count);
        let mut end = 0_usize;
        for _ in 0..count {
            let length = usize::try_from(plain.number()?).ok()?;
            end = end.checked_add(length.saturating_sub(1))?;
            ends.push((end, length > 0));
        }
        let text = std::str::from_utf8(plain.octets(end)?).ok()?.to_owned();
        plain.finish()?;
        ends.iter().all(|(end, _)| text.is_char_boundary(*end)).then_some(Self { text, ends })
    }
}

fn texts_of(summary: &Summary) -> [Option<String>; FIELDS] {
    let envelope = &summary.envelope;
    let plain =
        |text: String| if text.contains(BETWEEN) { text.replace(BETWEEN, "") } else { text };
    let addresses = |list: &[Address]| {
        let texts: Vec<String> =
            list.iter().map(|address| plain(fold(&address_text(address)))).collect();
        (!list.is_empty()).then(|| texts.join("\0"))
    };
    let decoded = |value: &Option<Vec<u8>>| value.as_deref().map(encoded_word::decode).map(plain);
    [
        addresses(&envelope.from),
        addresses(&envelope.to),
        addresses(&envelope.cc),
        addresses(&envelope.bcc),
        decoded(&envelope.subject).map(|subject| fold(&subject)),
        decoded(&envelope.message_id),
        decoded(&envelope.in_reply_to),
        decoded(&summary.references),
    ]
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

impl HeaderPage {
    /// A page of no messages, of which `fields` may be asked for.
    pub(crate) fn new(fields: HeaderFields) -> Self {
        let (numbers, sent) = (Vec::new(), Vec::new());
        Self { fields, numbers, sent, columns: Default::default(), octets: 0 }
    }

    /// Adds a message, whatever its length. Numbers must ascend for [`HeaderPage::find`].
    pub(crate) fn push(&mut self, email_number: EmailNumber, summary: &Summary) {
        self.add(email_number, summary.envelope.date.as_deref(), &texts_of(summary));
    }

    /// Adds a message unless it, or the page, would become too long for a block.
    pub(crate) fn push_bounded(&mut self, email_number: EmailNumber, summary: &Summary) {
        let texts = texts_of(summary);
        let octets: usize = texts.iter().flatten().map(String::len).sum();
        if octets <= TEXT_OCTETS_MAX && self.octets + octets <= BLOCK_TEXT_OCTETS_MAX {
            self.add(email_number, summary.envelope.date.as_deref(), &texts);
        }
    }

    fn add(
        &mut self,
        email_number: EmailNumber,
        date: Option<&[u8]>,
        texts: &[Option<String>; FIELDS],
    ) {
        self.numbers.push(email_number);
        self.sent.push(date.and_then(SentDate::parse));
        for (column, text) in self.columns.iter_mut().zip(texts) {
            column.push(text.as_deref());
            self.octets += text.as_ref().map_or(0, String::len);
        }
    }

    /// How many messages it has.
    pub(crate) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// The headers of a message that it has.
    pub(crate) fn find(self: &Arc<Self>, email_number: EmailNumber) -> Option<MessageHeaders> {
        let index = self.numbers.binary_search(&email_number).ok()?;
        Some(self.at(index))
    }

    /// Hands the headers of those of `asked`, which ascend, that it has to `take`, with their place
    /// in `asked`.
    pub(crate) fn find_each(
        self: &Arc<Self>,
        asked: &[EmailNumber],
        mut take: impl FnMut(usize, MessageHeaders),
    ) {
        let mut index = 0;
        for (place, number) in asked.iter().enumerate() {
            while self.numbers.get(index).is_some_and(|here| here < number) {
                index += 1;
            }
            if self.numbers.get(index) == Some(number) {
                take(place, self.at(index));
            }
        }
    }

    fn at(self: &Arc<Self>, index: usize) -> MessageHeaders {
        MessageHeaders { page: Arc::clone(self), index }
    }

    /// The numbers of its messages.
    pub(crate) fn numbers(&self) -> &[EmailNumber] {
        &self.numbers
    }

    /// The parts of the block of the window after the number `before`.
    pub(crate) fn encode(&self, before: u64) -> Vec<Vec<u8>> {
        let mut out = Vec::with_capacity(16 * self.len());
        put_number(&mut out, self.len() as u64);
        let mut last = before;
        for number in &self.numbers {
            put_number(&mut out, number.0.wrapping_sub(last));
            last = number.0;
        }
        out.extend(self.sent.iter().map(|sent| u8::from(sent.is_some())));
        let mut before = 0;
        for sent in self.sent.iter().flatten() {
            let second = sent.instant.seconds().cast_unsigned();
            put_difference(&mut out, second, before);
            before = second;
        }
        for sent in self.sent.iter().flatten() {
            put_difference(&mut out, i64::from(sent.offset_seconds).cast_unsigned(), 0);
        }
        let mut parts = vec![out];
        parts.extend(self.columns.iter().map(|column| column.encode(self.len())));
        parts
    }

    /// The page of the parts of a block of the window of `span` numbers after `before`: the first
    /// and those that `fields` need. `None` = it is damaged.
    pub(crate) fn decode(
        before: u64,
        span: u32,
        fields: HeaderFields,
        parts: &[Option<Vec<u8>>],
    ) -> Option<Self> {
        let (first, texts) = parts.split_first()?;
        let mut plain = Plain::new(first.as_deref()?);
        let count =
            plain.count().filter(|count| *count >= 1 && *count as u64 <= u64::from(span))?;
        let mut page = Self::new(fields);
        page.numbers.reserve(count);
        let (last_of_window, mut last) = (before.checked_add(u64::from(span))?, before);
        for _ in 0..count {
            let above = plain.number().filter(|above| *above > 0)?;
            last = last.checked_add(above).filter(|number| *number <= last_of_window)?;
            page.numbers.push(EmailNumber(last));
        }
        page.sent = dates(&mut plain, count)?;
        plain.finish()?;
        for (field, column) in page.columns.iter_mut().enumerate() {
            if fields.has(field) {
                *column = Column::decode(count, texts.get(field)?.as_deref()?)?;
                page.octets += column.text.len();
            }
        }
        Some(page)
    }
}

fn dates(plain: &mut Plain<'_>, count: usize) -> Option<Vec<Option<SentDate>>> {
    let mut sent = Vec::with_capacity(count);
    for flag in plain.octets(count)? {
        sent.push(match flag {
            0 => None,
            1 => Some(SentDate { instant: UnixMillis(0), offset_seconds: 0 }),
            _ => return None,
        });
    }
    let mut second = 0;
    for sent in sent.iter_mut().flatten() {
        second = plain.difference(second)?;
        sent.instant = UnixMillis(second.cast_signed().checked_mul(1_000)?);
    }
    for sent in sent.iter_mut().flatten() {
        sent.offset_seconds = i32::try_from(plain.difference(0)?.cast_signed()).ok()?;
    }
    Some(sent)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        account::headers::BLOCK_VERSION,
        catalog::keys,
        golden::Golden,
        ids::AccountId,
        sealed::{Opener, seal_parts},
        summary::Envelope,
    };

    fn address(name: Option<&str>, mailbox: &str, host: Option<&str>) -> Address {
        let octets = |text: &str| text.as_bytes().to_vec();
        Address {
            name: name.map(octets),
            route: None,
            mailbox: Some(octets(mailbox)),
            host: host.map(octets),
        }
    }

    fn summary() -> Summary {
        Summary {
            envelope: Envelope {
                date: Some(b"Wed, 17 Jul 1996 23:23:25 -0700 (PDT)".to_vec()),
                subject: Some(b"=?utf-8?Q?PERCH=C3=89?=".to_vec()),
                from: vec![address(Some("Anna Rossi"), "Anna", Some("pec.example"))],
                to: vec![
                    address(None, "ufficio", None),
                    address(None, "b", Some("beta.example")),
                    Address::default(),
                ],
                message_id: Some(b"<Uno@pec.example>".to_vec()),
                ..Envelope::default()
            },
            references: Some(b"<A@x> <B@x>".to_vec()),
            ..Summary::default()
        }
    }

    #[test]
    fn headers_are_decoded_and_folded_and_the_date_is_read() {
        let headers = MessageHeaders::of(EmailNumber(1), &summary());
        assert_eq!(headers.text(HeaderField::From), Some("anna rossi <anna@pec.example>"));
        assert_eq!(headers.text(HeaderField::To), Some("ufficio\0 <b@beta.example>\0"));
        assert!(headers.contains(HeaderField::Subject, &fold("perché")));
        assert!(headers.contains(HeaderField::MessageId, "<uno@"));
        assert_eq!(headers.text(HeaderField::MessageId), Some("<Uno@pec.example>"));
        assert_eq!(headers.text(HeaderField::References), Some("<A@x> <B@x>"));
        assert_eq!(headers.text(HeaderField::Cc), None);
        assert!(!headers.contains(HeaderField::Cc, ""), "what is absent contains nothing");
        assert!(headers.contains(HeaderField::To, ""));
        let sent = headers.sent().expect("a date");
        assert_eq!((sent.instant.seconds(), sent.offset_seconds), (837_671_005, -7 * 3_600));
        assert_eq!(SentDate::parse(b"yesterday"), None);
    }

    #[test]
    fn a_message_with_very_long_headers_is_left_to_its_summary() {
        let mut long = summary();
        long.envelope.subject = Some(vec![b'a'; TEXT_OCTETS_MAX + 1]);
        let mut page = HeaderPage::new(HeaderFields::ALL);
        page.push_bounded(EmailNumber(1), &long);
        page.push_bounded(EmailNumber(2), &summary());
        assert_eq!(page.numbers(), [EmailNumber(2)]);
    }

    #[test]
    fn blocks_stay_readable() {
        let mut page = HeaderPage::new(HeaderFields::ALL);
        page.push_bounded(EmailNumber(12), &summary());
        let mut undated = summary();
        undated.envelope.date = None;
        undated.envelope.in_reply_to = Some(b"<Zero@pec.example>".to_vec());
        page.push_bounded(EmailNumber(15), &undated);
        let key = keys::message(AccountId(7), EmailNumber(11));
        let value = seal_parts(BLOCK_VERSION, &key, &page.encode(10)).expect("sealed");
        // Another compressor may write another frame: what counts is that this one is read.
        let then = Golden::of("header_blocks").key(&key).written(value);
        let mut opener = Opener::new().expect("memory");
        let parts = opener.open_parts(BLOCK_VERSION, &key, &then, 1 + FIELDS, 4 << 20, |_| true);
        let parts = parts.expect("opened");
        let found =
            Arc::new(HeaderPage::decode(10, 30, HeaderFields::ALL, &parts).expect("a page"));
        assert_eq!(found.numbers(), page.numbers());
        let page = Arc::new(page);
        assert!((0..2).all(|index| found.at(index) == page.at(index)));
        let plain: Vec<Vec<u8>> = parts.into_iter().flatten().collect();
        assert_eq!(plain, page.encode(10), "written as it was");
    }

    fn texts() -> impl Strategy<Value = Vec<Option<String>>> {
        prop::collection::vec(prop::option::of("[ -~è\u{0}€]{0,12}"), 4)
    }

    proptest! {
        #[test]
        fn a_block_gives_back_its_page(
            messages in prop::collection::btree_map(11_u64..=40, (texts(), any::<bool>()), 1..20),
        ) {
            let mut page = HeaderPage::new(HeaderFields::ALL);
            for (number, (texts, dated)) in messages {
                let mut summary = summary();
                let octets = |text: &Option<String>| text.clone().map(String::into_bytes);
                summary.envelope.subject = octets(&texts[0]);
                summary.envelope.in_reply_to = octets(&texts[1]);
                summary.references = octets(&texts[2]);
                summary.envelope.from[0].name = octets(&texts[3]);
                if !dated {
                    summary.envelope.date = None;
                }
                page.push_bounded(EmailNumber(number), &summary);
            }
            let parts: Vec<_> = page.encode(10).into_iter().map(Some).collect();
            let page = Arc::new(page);
            let decode = |fields, parts: &[_]| HeaderPage::decode(10, 30, fields, parts);
            let decoded = Arc::new(decode(HeaderFields::ALL, &parts).expect("a page"));
            prop_assert_eq!(decoded.numbers(), page.numbers());
            let mut found = Vec::new();
            decoded.find_each(&(1..=50).map(EmailNumber).collect::<Vec<_>>(), |place, headers| {
                found.push((EmailNumber(place as u64 + 1), headers));
            });
            prop_assert_eq!(found.len(), page.len());
            for (number, headers) in found {
                prop_assert_eq!(Some(headers), page.find(number));
            }
            for part in 0..PARTS {
                let whole = parts[part].clone().expect("every part");
                let mut changed = parts.clone();
                changed[part] = Some([&whole[..], &[0]].concat());
                prop_assert!(decode(HeaderFields::ALL, &changed).is_none());
                changed[part] = whole.split_last().map(|(_, shorter)| shorter.to_vec());
                prop_assert!(decode(HeaderFields::ALL, &changed).is_none());
            }
            let subjects = HeaderFields::NONE.with(HeaderField::Subject);
            let parts: Vec<_> = parts
                .into_iter()
                .enumerate()
                .map(|(part, octets)| octets.filter(|_| subjects.need(part)))
                .collect();
            let some = Arc::new(decode(subjects, &parts).expect("a page"));
            for number in page.numbers() {
                let subject = some.find(*number);
                let subject = subject.as_ref().map(|headers| headers.text(HeaderField::Subject));
                let whole = page.find(*number);
                prop_assert_eq!(
                    subject,
                    whole.as_ref().map(|headers| headers.text(HeaderField::Subject))
                );
            }
        }

        #[test]
        fn octets_that_are_no_page_are_none_and_never_a_panic(
            parts in prop::collection::vec(
                prop::option::weighted(0.9, prop::collection::vec(prop_oneof![0..4_u8, any::<u8>()], 0..40)),
                0..10,
            ),
        ) {
            if let Some(page) = HeaderPage::decode(0, 8, HeaderFields::ALL, &parts) {
                prop_assert!(page.len() <= 8);
                let page = Arc::new(page);
                for number in page.numbers() {
                    let _ = page.find(*number).map(|headers| headers.text(HeaderField::To).map(str::len));
                }
            }
        }
    }
}
