//! Decides which octets of a message go into which chunk, while it is walked.
//!
//! * *Inline* (headers, delimiters, preambles, bodies below 4 KiB): one chunk per message.
//! * A body of 4 KiB or more: chunks of its own, of the octets it decodes to when it is base64
//!   that encodes again exactly. From the first irregularity on, the rest of such a body is a
//!   body of its own, kept raw.
//! * A message that is itself base64 is walked and split like the outer one, [`NESTING_MAX`]
//!   levels at most; an unencoded one is part of the outer walk anyway.
//!
//! So an attachment has the same chunks in the message, in the envelope around it and in the
//! receipt around that, whatever the length of its lines.
//!
//! Not here: how octets become chunks (`octets::assembler`).

use super::{
    assembler::{Assembler, ClosedChunk, PART_OCTETS_MIN, Run},
    base64_run::Base64Reader,
    recipe::{NESTING_MAX, Segment, push_raw},
};
use crate::mime::{
    content::{self, ContentType},
    visitor::{BodyKind, HeaderEnd, PartEnd, Visitor},
    walker::{WalkLimits, Walker},
};

/// Octets of headers kept in the walk over a message inside base64: only types and encodings
/// matter there.
const INNER_HEADER_OCTETS_MAX: usize = 64 << 10;

/// Splits one message; a [`Visitor`] of its walk.
#[derive(Debug)]
pub struct Splitter {
    limits: WalkLimits,
    assembler: Assembler,
    segments: Vec<Segment>,
    body: Body,
    /// Base64 around this message.
    nesting: usize,
}

#[derive(Debug)]
enum Body {
    /// Too short yet to be told apart.
    Short {
        octets: Vec<u8>,
        encoded: Encoded,
    },
    Raw(Run),
    Base64(Box<Base64Body>),
}

/// What the header says about the octets of a leaf.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Encoded {
    No,
    Octets,
    Message,
}

/// A body that has been regular base64 so far.
#[derive(Debug)]
struct Base64Body {
    reader: Base64Reader,
    plain: Plain,
}

#[derive(Debug)]
enum Plain {
    Run(Run),
    Message(Box<Walker<Splitter>>),
}

impl Default for Body {
    fn default() -> Self {
        Self::Short { octets: Vec::new(), encoded: Encoded::No }
    }
}

impl Splitter {
    /// Splits a message that is walked within `limits`.
    #[must_use]
    pub fn new(limits: WalkLimits) -> Self {
        Self::nested(limits, 0)
    }

    fn nested(limits: WalkLimits, nesting: usize) -> Self {
        Self {
            limits,
            assembler: Assembler::default(),
            segments: Vec::new(),
            body: Body::default(),
            nesting,
        }
    }

    /// Hands over the chunks closed since the last call.
    pub fn take_closed(&mut self) -> Vec<ClosedChunk> {
        self.assembler.take_closed()
    }

    /// The last chunks, and the segments, once the walk has ended.
    #[must_use]
    pub fn finish(mut self) -> (Vec<ClosedChunk>, Vec<Segment>) {
        self.assembler.finish();
        (self.assembler.take_closed(), self.segments)
    }

    fn inline(&mut self, octets: &[u8]) {
        self.assembler.inline(octets, &mut self.segments);
    }

    fn append(&mut self, segments: Vec<Segment>) {
        for segment in segments {
            match segment {
                Segment::Raw(piece) => push_raw(&mut self.segments, piece),
                base64 @ Segment::Base64 { .. } => self.segments.push(base64),
            }
        }
    }

    /// A body is long enough for chunks of its own.
    fn begin_long(&mut self, octets: &[u8], encoded: Encoded) {
        if encoded == Encoded::No || self.nesting >= NESTING_MAX {
            self.body = Body::Raw(Run::default());
            return self.body_octets(octets);
        }
        // Some senders put blank lines before the text.
        let blank = octets.iter().take_while(|&&octet| matches!(octet, b'\r' | b'\n')).count();
        self.inline(&octets[..blank]);
        let plain = if encoded == Encoded::Message && self.nesting + 1 < NESTING_MAX {
            let limits = WalkLimits { header_octets_max: INNER_HEADER_OCTETS_MAX, ..self.limits };
            let splitter = Self::nested(limits, self.nesting + 1);
            Plain::Message(Box::new(Walker::new(splitter, limits)))
        } else {
            Plain::Run(Run::default())
        };
        self.body = Body::Base64(Box::new(Base64Body { reader: Base64Reader::default(), plain }));
        self.body_octets(&octets[blank..]);
    }

    fn body_octets(&mut self, octets: &[u8]) {
        match &mut self.body {
            Body::Short { octets: short, encoded } => {
                short.extend_from_slice(octets);
                if short.len() >= PART_OCTETS_MIN {
                    let (octets, encoded) = (std::mem::take(short), *encoded);
                    self.begin_long(&octets, encoded);
                }
            }
            Body::Raw(run) => run.push(octets, &mut self.assembler),
            Body::Base64(body) => {
                let mut plain = Vec::with_capacity(octets.len());
                let taken = body.reader.push(octets, &mut plain);
                body.plain.push(&plain, &mut self.assembler);
                if let Some(rest) = octets.get(taken..).filter(|rest| !rest.is_empty()) {
                    self.end_base64();
                    self.body_octets(rest);
                }
            }
        }
    }

    /// Ends what was regular of a base64 body; what follows is another body, kept raw.
    fn end_base64(&mut self) {
        let rest = Body::Raw(Run::default());
        let Body::Base64(body) = std::mem::replace(&mut self.body, rest) else { return };
        let Base64Body { reader, plain: mut decoded } = *body;
        let mut plain = Vec::new();
        let (form, plain_octets, uncovered) = reader.finish(&mut plain);
        decoded.push(&plain, &mut self.assembler);
        let segments = decoded.finish(&mut self.assembler);
        if plain_octets > 0 {
            self.segments.push(Segment::Base64 { form, plain_octets, plain: segments });
        }
        self.body_octets(&uncovered);
    }

    fn end_body(&mut self) {
        if matches!(self.body, Body::Base64(_)) {
            self.end_base64();
        }
        match std::mem::take(&mut self.body) {
            Body::Short { octets, .. } => self.inline(&octets),
            Body::Raw(run) => {
                let segments = run.finish(&mut self.assembler);
                self.append(segments);
            }
            Body::Base64(_) => {}
        }
    }
}

impl Plain {
    fn push(&mut self, octets: &[u8], assembler: &mut Assembler) {
        match self {
            Self::Run(run) => run.push(octets, assembler),
            Self::Message(walker) => {
                // One assembler serves all levels: it goes in and comes back.
                walker.visitor().assembler = std::mem::take(assembler);
                walker.push(octets);
                *assembler = std::mem::take(&mut walker.visitor().assembler);
            }
        }
    }

    fn finish(self, assembler: &mut Assembler) -> Vec<Segment> {
        match self {
            Self::Run(run) => run.finish(assembler),
            Self::Message(mut walker) => {
                walker.visitor().assembler = std::mem::take(assembler);
                let mut splitter = walker.finish();
                *assembler = std::mem::take(&mut splitter.assembler);
                splitter.segments
            }
        }
    }
}

impl Visitor for Splitter {
    fn part(&mut self, _header_offset: u64) {}

    fn header(&mut self, end: &HeaderEnd<'_>) {
        if end.kind != BodyKind::Leaf {
            return;
        }
        let encoded = if !content::is_base64(end.header) {
            Encoded::No
        } else if ContentType::of(end.header, end.default_is_message).is_message() {
            Encoded::Message
        } else {
            Encoded::Octets
        };
        self.body = Body::Short { octets: Vec::new(), encoded };
    }

    fn leaf(&mut self, octets: &[u8]) {
        self.body_octets(octets);
    }

    fn structure(&mut self, octets: &[u8]) {
        self.inline(octets);
    }

    fn end(&mut self, _end: PartEnd) {
        self.end_body();
    }
}
