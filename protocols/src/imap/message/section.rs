//! Which octets of a message a section names (RFC 3501 §6.4.5).
//!
//! A section is a list of ranges of the message and, for chosen header fields, the empty line
//! that ends them: nothing is copied before it is sent.

use std::ops::Range;

use storage::{
    error::StoreError,
    ids::EmailNumber,
    mailbox::view::MailboxView,
    summary::{BodyPart, Summary},
};

use super::body_structure::{embedded, is_multipart};
use crate::imap::grammar::{Section, SectionText};

/// Ranges that chosen header fields may fall into. A header that needs more is cut there.
const FIELD_RANGES_MAX: usize = 65_536;

/// Octets of a message, in order, and what follows them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Octets {
    pub(crate) ranges: Vec<Range<u64>>,
    pub(crate) tail: &'static [u8],
}

impl Octets {
    /// One range.
    pub(crate) fn range(range: Range<u64>) -> Self {
        Self { ranges: vec![range], tail: b"" }
    }

    /// How many octets there are.
    pub(crate) fn length(&self) -> u64 {
        let ranges: u64 = self.ranges.iter().map(|r| r.end.saturating_sub(r.start)).sum();
        ranges + self.tail.len() as u64
    }

    /// The part from `origin` on, at most `count` octets: empty when there are none
    /// (RFC 3501 §6.4.5 `<partial>`).
    pub(crate) fn part(&self, origin: u64, count: u64) -> Self {
        let (mut skip, mut left) = (origin, count);
        let mut ranges = Vec::new();
        for range in &self.ranges {
            let length = range.end.saturating_sub(range.start);
            let skipped = skip.min(length);
            skip -= skipped;
            let taken = (length - skipped).min(left);
            left -= taken;
            if taken > 0 {
                let start = range.start + skipped;
                ranges.push(start..start + taken);
            }
        }
        let clamp =
            |octets: u64| usize::try_from(octets).unwrap_or(usize::MAX).min(self.tail.len());
        let from = clamp(skip);
        let to = clamp(skip.saturating_add(left)).max(from);
        Self { ranges, tail: self.tail.get(from..to).unwrap_or_default() }
    }
}

/// What a part path leads to.
enum Place<'a> {
    /// A message: the outermost, or one that a part embeds.
    Message(&'a BodyPart, Range<u64>),
    /// A part of a message.
    Part(&'a BodyPart),
}

/// Finds the octets that `section` names; `None` (NIL to the client) when there is no such part.
pub(crate) async fn octets(
    view: &dyn MailboxView,
    email_number: EmailNumber,
    summary: &Summary,
    section: &Section,
    header_octets_max: u64,
) -> Result<Option<Octets>, StoreError> {
    let Some(place) = find(summary, &section.part) else { return Ok(None) };
    let message = match &place {
        Place::Message(message, whole) => Some((*message, whole.clone())),
        Place::Part(part) => embedded(part).map(|inner| (inner, body(part))),
    };
    let found = match (&section.text, place, message) {
        (SectionText::Whole, Place::Message(_, whole), _) => Some(Octets::range(whole)),
        (SectionText::Whole, Place::Part(part), _) => Some(Octets::range(body(part))),
        (SectionText::Mime, Place::Part(part), _) => Some(Octets::range(header(part))),
        (SectionText::Header, _, Some((inner, _))) => Some(Octets::range(header(inner))),
        (SectionText::Text, _, Some((inner, whole))) => {
            Some(Octets::range(inner.body_offset..whole.end.max(inner.body_offset)))
        }
        (SectionText::HeaderFields(names), _, Some((inner, _))) => {
            let wanted = Wanted { names, inverted: false };
            Some(fields(view, email_number, header(inner), wanted, header_octets_max).await?)
        }
        (SectionText::HeaderFieldsNot(names), _, Some((inner, _))) => {
            let wanted = Wanted { names, inverted: true };
            Some(fields(view, email_number, header(inner), wanted, header_octets_max).await?)
        }
        _ => None,
    };
    Ok(found)
}

/// The octets of a part and how they are encoded; those of the message itself, as they stand, for
/// an empty path.
pub(crate) fn whole_part<'a>(
    summary: &'a Summary,
    path: &[u32],
) -> Option<(Range<u64>, Option<&'a [u8]>)> {
    Some(match find(summary, path)? {
        Place::Message(_, whole) => (whole, None),
        Place::Part(part) => (body(part), part.encoding.as_deref()),
    })
}

fn header(part: &BodyPart) -> Range<u64> {
    part.header_offset..part.body_offset.max(part.header_offset)
}

fn body(part: &BodyPart) -> Range<u64> {
    part.body_offset..part.body_offset.saturating_add(part.body_octets)
}

/// Follows part numbers from the outside in. Part 1 of a message that is no multipart is its own
/// body; numbers below a message/rfc822 count the parts of the message inside it.
fn find<'a>(summary: &'a Summary, path: &[u32]) -> Option<Place<'a>> {
    let mut place = Place::Message(&summary.body, 0..summary.size);
    for &number in path {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        let of_message = |message: &'a BodyPart| {
            if is_multipart(message) {
                message.parts.get(index)
            } else {
                Some(message).filter(|_| index == 0)
            }
        };
        let part = match place {
            Place::Message(message, _) => of_message(message),
            Place::Part(part) if is_multipart(part) => part.parts.get(index),
            Place::Part(part) => embedded(part).and_then(of_message),
        };
        place = Place::Part(part?);
    }
    Some(place)
}

/// Which header fields are wanted.
struct Wanted<'a> {
    names: &'a [Vec<u8>],
    inverted: bool,
}

impl Wanted<'_> {
    fn wants(&self, name: &[u8]) -> bool {
        self.names.iter().any(|wanted| wanted.eq_ignore_ascii_case(name)) != self.inverted
    }
}

/// Finds the ranges of the wanted fields of a header, line ends and folded lines included; an
/// empty line follows them (RFC 3501 §6.4.5).
async fn fields(
    view: &dyn MailboxView,
    email_number: EmailNumber,
    header: Range<u64>,
    wanted: Wanted<'_>,
    header_octets_max: u64,
) -> Result<Octets, StoreError> {
    let end = header.end.min(header.start.saturating_add(header_octets_max));
    let mut scan = FieldScan::new(header.start, wanted);
    let mut position = header.start;
    while position < end {
        let piece = view.read(email_number, position..end).await?;
        if piece.is_empty() {
            break;
        }
        position += piece.len() as u64;
        scan.take(&piece);
    }
    Ok(Octets { ranges: scan.finish(), tail: b"\r\n" })
}

/// Walks a header line by line, in pieces of any size.
struct FieldScan<'a> {
    wanted: Wanted<'a>,
    /// Where the current line begins.
    line_start: u64,
    position: u64,
    /// The beginning of the current line, as far as a field name can go.
    line_head: Vec<u8>,
    /// Whether the field that the previous line belongs to is wanted.
    in_wanted_field: bool,
    ranges: Vec<Range<u64>>,
}

impl<'a> FieldScan<'a> {
    /// Octets of a line that are looked at for the field's name.
    const NAME_OCTETS_MAX: usize = 1_000;

    fn new(start: u64, wanted: Wanted<'a>) -> Self {
        Self {
            wanted,
            line_start: start,
            position: start,
            line_head: Vec::new(),
            in_wanted_field: false,
            ranges: Vec::new(),
        }
    }

    fn take(&mut self, piece: &[u8]) {
        for line in piece.split_inclusive(|&octet| octet == b'\n') {
            let room = Self::NAME_OCTETS_MAX.saturating_sub(self.line_head.len());
            self.line_head.extend_from_slice(&line[..room.min(line.len())]);
            self.position += line.len() as u64;
            if line.ends_with(b"\n") {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        let head = std::mem::take(&mut self.line_head);
        let range = self.line_start..self.position;
        self.line_start = self.position;
        if matches!(head.as_slice(), b"\r\n" | b"\n") {
            self.in_wanted_field = false;
            return;
        }
        if !matches!(head.first(), Some(b' ' | b'\t')) {
            let name = head.split(|&octet| octet == b':').next().unwrap_or_default();
            self.in_wanted_field =
                name.len() < head.len() && self.wanted.wants(name.trim_ascii_end());
        }
        if !self.in_wanted_field {
            return;
        }
        let has_room = self.ranges.len() < FIELD_RANGES_MAX;
        match self.ranges.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ if has_room => self.ranges.push(range),
            _ => {}
        }
    }

    fn finish(mut self) -> Vec<Range<u64>> {
        if !self.line_head.is_empty() {
            self.end_line();
        }
        self.ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partials_cut_ranges_and_tail() {
        let octets = Octets { ranges: vec![10..20, 30..35], tail: b"\r\n" };
        assert_eq!(octets.length(), 17);
        assert_eq!(octets.part(0, 100), octets);
        assert_eq!(octets.part(8, 4), Octets { ranges: vec![18..20, 30..32], tail: b"" });
        assert_eq!(octets.part(15, 1), Octets { ranges: vec![], tail: b"\r" });
        assert_eq!(octets.part(16, 9), Octets { ranges: vec![], tail: b"\n" });
        assert_eq!(octets.part(17, 9).length(), 0);
        assert_eq!(octets.part(u64::MAX, u64::MAX).length(), 0);
    }

    #[test]
    fn wanted_fields_are_found_however_the_header_is_cut() {
        let header = b"From: a\r\nTo: b,\r\n c\r\nSubject : x\r\nnonsense\r\nto: d\r\n\r\n";
        let names = [b"TO".to_vec(), b"Subject".to_vec()];
        for size in 1..header.len() {
            let mut scan = FieldScan::new(100, Wanted { names: &names, inverted: false });
            header.chunks(size).for_each(|piece| scan.take(piece));
            assert_eq!(scan.finish(), vec![109..134, 144..151]);
            let mut scan = FieldScan::new(0, Wanted { names: &names, inverted: true });
            header.chunks(size).for_each(|piece| scan.take(piece));
            assert_eq!(scan.finish(), vec![0..9]);
        }
    }
}
