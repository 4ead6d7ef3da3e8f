//! What a walk reports: the trait its listeners implement, and the values it hands them.

use super::header::PartHeader;

/// What a part holds, as far as the walk is concerned.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BodyKind {
    /// Octets.
    Leaf,
    /// Parts.
    Multipart,
    /// One message.
    Message,
}

/// The header of one part, at its end.
#[derive(Debug)]
pub struct HeaderEnd<'a> {
    /// The kept fields.
    pub header: &'a PartHeader,
    /// First octet of the body.
    pub body_offset: u64,
    /// How the body is walked.
    pub kind: BodyKind,
    /// What the part is when its header does not say (RFC 2046 §5.1.5: message/rfc822 in a digest).
    pub default_is_message: bool,
}

/// The end of one part.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PartEnd {
    /// Octets of the body.
    pub body_octets: u64,
    /// Line ends in the body.
    pub body_lines: u64,
}

/// Listens to a walk.
pub trait Visitor {
    /// A part begins; its header begins at this offset.
    fn part(&mut self, header_offset: u64);
    /// The header of the innermost open part has ended.
    fn header(&mut self, header: &HeaderEnd<'_>);
    /// Octets of the innermost open part, which is a leaf.
    fn leaf(&mut self, octets: &[u8]);
    /// Octets of headers, delimiters, preambles and epilogues.
    fn structure(&mut self, octets: &[u8]);
    /// The innermost open part has ended.
    fn end(&mut self, end: PartEnd);
}

impl<A: Visitor, B: Visitor> Visitor for (A, B) {
    fn part(&mut self, header_offset: u64) {
        self.0.part(header_offset);
        self.1.part(header_offset);
    }

    fn header(&mut self, header: &HeaderEnd<'_>) {
        self.0.header(header);
        self.1.header(header);
    }

    fn leaf(&mut self, octets: &[u8]) {
        self.0.leaf(octets);
        self.1.leaf(octets);
    }

    fn structure(&mut self, octets: &[u8]) {
        self.0.structure(octets);
        self.1.structure(octets);
    }

    fn end(&mut self, end: PartEnd) {
        self.0.end(end);
        self.1.end(end);
    }
}
