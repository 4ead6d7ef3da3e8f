//! Walks a message while it arrives.
//!
//! ```text
//! message   = header [blank line] body
//! body      = leaf / multipart / embedded message
//! multipart = preamble 1*(delimiter part) close-delimiter epilogue       RFC 2046 §5.1.1
//! delimiter = line end, "--", boundary, rest of the line
//! ```
//!
//! What is always true:
//!
//! * Every octet goes to the [`Visitor`] once, in order, as [`Visitor::leaf`] or
//!   [`Visitor::structure`]; how the input is cut into pieces changes nothing.
//! * [`Visitor::part`], [`Visitor::header`] and [`Visitor::end`] come once for each part, nested
//!   like brackets. Offsets count from the first octet of the message.
//! * At most one line end and one line prefix as long as the longest open boundary are held back.
//!
//! How broken MIME is read:
//!
//! * Lines end in CRLF or bare LF; a bare CR and NUL are octets like others.
//! * A delimiter is a line that begins with `--` and an open boundary, whatever follows
//!   (RFC 2046 §5.1.1); with several, the longest, then the innermost. It closes everything
//!   inside that was left open. Text behind a close delimiter never opens the same multipart again.
//! * A delimiter inside a header ends header and part.
//! * A multipart without a usable boundary, and any container deeper than the limit, is a leaf.
//!
//! Not here: what fields mean (`mime::header`), who listens (`mime::summary`, `octets::splitter`).

use super::{
    content::{self, ContentType},
    header::{HeaderReader, PartHeader},
    parameter,
    visitor::{BodyKind, HeaderEnd, PartEnd, Visitor},
};

/// Octets of a boundary at most. RFC 2046 §5.1.1 allows 70; some senders do not count.
pub const BOUNDARY_OCTETS_MAX: usize = 256;

/// The bounds of one walk.
#[derive(Clone, Copy, Debug)]
pub struct WalkLimits {
    /// Octets of header values kept, over all parts.
    pub header_octets_max: usize,
    /// Containers inside each other.
    pub depth_max: usize,
    /// Parts told apart.
    pub parts_max: usize,
}

#[derive(Debug)]
struct Frame {
    kind: FrameKind,
    body_offset: u64,
    lines_before: u64,
}

#[derive(Debug)]
enum FrameKind {
    /// Its header is being read.
    Header {
        default_is_message: bool,
    },
    Leaf,
    Message,
    Multipart {
        /// `--` and the boundary.
        delimiter: Vec<u8>,
        digest: bool,
        closed: bool,
    },
}

/// Where the walk stands in the present line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Line {
    /// At its start, or in a prefix that may be a delimiter (`Walker::held`).
    Start,
    /// Inside; it is no delimiter.
    Inside,
    /// Behind a delimiter that opens a part.
    AfterDelimiter,
}

/// The line end that is held back, because it belongs to a delimiter that may follow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum LineEnd {
    None,
    /// A CR that an LF may follow.
    Cr,
    Lf,
    CrLf,
}

impl LineEnd {
    fn octets(self) -> &'static [u8] {
        match self {
            Self::None => b"",
            Self::Cr => b"\r",
            Self::Lf => b"\n",
            Self::CrLf => b"\r\n",
        }
    }
}

enum Verdict {
    Undecided,
    Text,
    Delimiter { frame: usize, length: usize },
}

/// One walk over one message.
#[derive(Debug)]
pub struct Walker<V> {
    visitor: V,
    limits: WalkLimits,
    frames: Vec<Frame>,
    headers: HeaderReader,
    line: Line,
    held: Vec<u8>,
    line_end: LineEnd,
    /// Octets given to the visitor.
    offset: u64,
    /// LF among them.
    lines: u64,
    parts: usize,
    /// The present header line has octets other than its line end.
    header_line_filled: bool,
}

impl<V: Visitor> Walker<V> {
    /// Begins a message at offset 0.
    pub fn new(visitor: V, limits: WalkLimits) -> Self {
        let mut walker = Self {
            visitor,
            limits,
            frames: Vec::new(),
            headers: HeaderReader::new(limits.header_octets_max),
            line: Line::Start,
            held: Vec::new(),
            line_end: LineEnd::None,
            offset: 0,
            lines: 0,
            parts: 0,
            header_line_filled: false,
        };
        walker.begin_part(false);
        walker
    }

    /// The listener.
    pub fn visitor(&mut self) -> &mut V {
        &mut self.visitor
    }

    /// Takes in the next octets.
    pub fn push(&mut self, mut octets: &[u8]) {
        while !octets.is_empty() {
            let used = match self.line {
                Line::Start => self.line_start(octets),
                Line::Inside if self.in_header() => self.header_line(octets),
                Line::Inside => self.body_line(octets),
                Line::AfterDelimiter => self.after_delimiter(octets),
            };
            octets = octets.get(used..).unwrap_or_default();
        }
    }

    /// Ends the message and returns the listener.
    pub fn finish(mut self) -> V {
        if !self.held.is_empty() {
            match self.verdict(true) {
                Verdict::Delimiter { frame, length } => self.delimiter(frame, length),
                Verdict::Undecided | Verdict::Text => self.release_held(),
            }
            self.replay();
        }
        self.release_line_end();
        while self.in_header() {
            self.end_header();
        }
        while !self.frames.is_empty() {
            self.end_part();
        }
        self.visitor
    }

    fn in_header(&self) -> bool {
        matches!(self.frames.last(), Some(Frame { kind: FrameKind::Header { .. }, .. }))
    }

    fn emit(&mut self, octets: &[u8]) {
        if octets.is_empty() {
            return;
        }
        self.offset += octets.len() as u64;
        self.lines += memchr::memchr_iter(b'\n', octets).count() as u64;
        match self.frames.last().map(|frame| &frame.kind) {
            Some(FrameKind::Leaf) => self.visitor.leaf(octets),
            _ => self.visitor.structure(octets),
        }
    }

    fn release_line_end(&mut self) {
        let line_end = std::mem::replace(&mut self.line_end, LineEnd::None);
        self.emit(line_end.octets());
    }

    /// At the start of a line: holds octets back for as long as they may become a delimiter.
    fn line_start(&mut self, octets: &[u8]) -> usize {
        let Some(&first) = octets.first() else { return 0 };
        if self.held.is_empty() && (first != b'-' || !self.any_open()) {
            self.line = Line::Inside;
            if !self.in_header() {
                self.release_line_end();
            }
            return 0;
        }
        // Judged once, when all that can matter is here: a line that begins like many boundaries
        // must not be compared with each of them octet by octet.
        let longest = self.open_delimiters().map(|(_, delimiter)| delimiter.len()).max();
        let enough = longest.unwrap_or(0) + 2;
        let room = enough.saturating_sub(self.held.len()).clamp(1, octets.len());
        let line_end = memchr::memchr(b'\n', &octets[..room]);
        let used = line_end.map_or(room, |end| end + 1);
        self.held.extend_from_slice(&octets[..used]);
        if line_end.is_none() && self.held.len() < enough {
            return used;
        }
        match self.verdict(line_end.is_some()) {
            Verdict::Undecided => {}
            Verdict::Text => {
                self.release_held();
                self.replay();
            }
            Verdict::Delimiter { frame, length } => {
                self.delimiter(frame, length);
                self.replay();
            }
        }
        used
    }

    /// Walks what was held back, now that it is known what it is.
    fn replay(&mut self) {
        let held = std::mem::take(&mut self.held);
        self.push(&held);
    }

    /// What is held back is text: the line end before it, too.
    fn release_held(&mut self) {
        self.line = Line::Inside;
        if !self.in_header() {
            self.release_line_end();
        }
    }

    fn any_open(&self) -> bool {
        self.parts < self.limits.parts_max && self.open_delimiters().next().is_some()
    }

    fn open_delimiters(&self) -> impl Iterator<Item = (usize, &[u8])> {
        self.frames.iter().enumerate().filter_map(|(position, frame)| match &frame.kind {
            FrameKind::Multipart { delimiter, closed: false, .. } => {
                Some((position, delimiter.as_slice()))
            }
            _ => None,
        })
    }

    /// Says what the held octets are; `whole` when the line does not go on.
    fn verdict(&self, whole: bool) -> Verdict {
        let held = self.held.as_slice();
        let mut best: Option<(usize, usize)> = None;
        for (frame, delimiter) in self.open_delimiters() {
            let common = held.len().min(delimiter.len());
            if held[..common] != delimiter[..common] {
                continue;
            }
            // Two octets more say whether it is a close delimiter.
            if !whole && held.len() < delimiter.len() + 2 {
                return Verdict::Undecided;
            }
            if held.len() >= delimiter.len()
                && best.is_none_or(|(_, length)| delimiter.len() >= length)
            {
                best = Some((frame, delimiter.len()));
            }
        }
        match best {
            Some((frame, length)) => Verdict::Delimiter { frame, length },
            None => Verdict::Text,
        }
    }

    /// The held octets begin with the delimiter of a frame: ends what is open inside it.
    /// Afterwards `held` has what follows the delimiter.
    fn delimiter(&mut self, frame: usize, length: usize) {
        while self.in_header() {
            self.end_header();
        }
        while self.frames.len() > frame + 1 {
            self.end_part();
        }
        self.release_line_end();
        let rest = self.held.split_off(length);
        let closes = rest.starts_with(b"--");
        let delimiter = std::mem::replace(&mut self.held, rest);
        self.emit(&delimiter);
        if closes {
            if let Some(Frame { kind: FrameKind::Multipart { closed, .. }, .. }) =
                self.frames.last_mut()
            {
                *closed = true;
            }
            self.line = Line::Inside;
        } else {
            self.line = Line::AfterDelimiter;
        }
    }

    /// Behind a delimiter: the rest of the line counts for nothing, then a part begins.
    fn after_delimiter(&mut self, octets: &[u8]) -> usize {
        let Some(end) = memchr::memchr(b'\n', octets) else {
            self.emit(octets);
            return octets.len();
        };
        self.emit(&octets[..=end]);
        let default_is_message = matches!(
            self.frames.last(),
            Some(Frame { kind: FrameKind::Multipart { digest: true, .. }, .. })
        );
        self.begin_part(default_is_message);
        end + 1
    }

    fn begin_part(&mut self, default_is_message: bool) {
        self.parts += 1;
        self.visitor.part(self.offset);
        self.frames.push(Frame {
            kind: FrameKind::Header { default_is_message },
            body_offset: self.offset,
            lines_before: self.lines,
        });
        self.line = Line::Start;
        self.header_line_filled = false;
    }

    /// Settles a CR that ended the last input. Says whether it and the first octet are a line end.
    fn line_end_completed(&mut self, octets: &[u8]) -> bool {
        if self.line_end != LineEnd::Cr {
            return false;
        }
        if octets.first() == Some(&b'\n') {
            self.line_end = LineEnd::CrLf;
            return true;
        }
        self.line_end = LineEnd::None;
        if self.in_header() {
            self.header_octets(b"\r");
        } else {
            self.emit(b"\r");
        }
        false
    }

    /// Inside a header line. Its octets go to the visitor at once: a line end in a header never
    /// belongs to a delimiter.
    fn header_line(&mut self, octets: &[u8]) -> usize {
        if self.line_end_completed(octets) {
            self.end_header_line();
            return 1;
        }
        let end = memchr::memchr(b'\n', octets);
        let line = &octets[..end.unwrap_or(octets.len())];
        let (line, cr) = match line.strip_suffix(b"\r") {
            Some(line) => (line, true),
            None => (line, false),
        };
        self.header_octets(line);
        let Some(end) = end else {
            self.line_end = if cr { LineEnd::Cr } else { LineEnd::None };
            return octets.len();
        };
        self.line_end = if cr { LineEnd::CrLf } else { LineEnd::Lf };
        self.end_header_line();
        end + 1
    }

    fn header_octets(&mut self, octets: &[u8]) {
        if !octets.is_empty() {
            self.header_line_filled = true;
            self.headers.line(octets);
            self.emit(octets);
        }
    }

    fn end_header_line(&mut self) {
        self.headers.line_end();
        self.release_line_end();
        self.line = Line::Start;
        if !std::mem::take(&mut self.header_line_filled) {
            self.end_header();
        }
    }

    fn end_header(&mut self) {
        let Some(Frame { kind: FrameKind::Header { default_is_message }, .. }) = self.frames.last()
        else {
            return;
        };
        let default_is_message = *default_is_message;
        let header = self.headers.take();
        let frame_kind = self.frame_kind(&header, default_is_message);
        let kind = match frame_kind {
            FrameKind::Multipart { .. } => BodyKind::Multipart,
            FrameKind::Message => BodyKind::Message,
            FrameKind::Header { .. } | FrameKind::Leaf => BodyKind::Leaf,
        };
        let body_offset = self.offset;
        if let Some(frame) = self.frames.last_mut() {
            *frame = Frame { kind: frame_kind, body_offset, lines_before: self.lines };
        }
        self.visitor.header(&HeaderEnd { header: &header, body_offset, kind, default_is_message });
        self.line = Line::Start;
        if kind == BodyKind::Message {
            self.begin_part(false);
        }
    }

    fn frame_kind(&self, header: &PartHeader, default_is_message: bool) -> FrameKind {
        if self.frames.len() > self.limits.depth_max || self.parts >= self.limits.parts_max {
            return FrameKind::Leaf;
        }
        let media = ContentType::of(header, default_is_message);
        if media.is("multipart", None) {
            let boundary = parameter::value_of(&media.parameters, "boundary");
            let boundary = boundary.as_deref().map(<[u8]>::trim_ascii_end).unwrap_or_default();
            if boundary.is_empty() || boundary.len() > BOUNDARY_OCTETS_MAX {
                return FrameKind::Leaf;
            }
            let delimiter = [b"--", boundary].concat();
            let digest = media.is("multipart", Some("digest"));
            return FrameKind::Multipart { delimiter, digest, closed: false };
        }
        if media.is_message() && content::is_identity(header) {
            return FrameKind::Message;
        }
        FrameKind::Leaf
    }

    /// Inside a line of a body. The line end is held back where a delimiter may follow it.
    fn body_line(&mut self, octets: &[u8]) -> usize {
        if self.line_end_completed(octets) {
            self.line = Line::Start;
            return 1;
        }
        if !self.any_open() {
            self.emit(octets);
            return octets.len();
        }
        let mut from = 0;
        while let Some(found) = memchr::memchr(b'\n', &octets[from..]) {
            let end = from + found;
            if octets.get(end + 1).is_some_and(|&next| next != b'-') {
                from = end + 1;
                continue;
            }
            let line = &octets[..end];
            let text = line.strip_suffix(b"\r").unwrap_or(line);
            self.emit(text);
            self.line_end = if text.len() < line.len() { LineEnd::CrLf } else { LineEnd::Lf };
            self.line = Line::Start;
            return end + 1;
        }
        let text = octets.strip_suffix(b"\r").unwrap_or(octets);
        self.emit(text);
        if text.len() < octets.len() {
            self.line_end = LineEnd::Cr;
        }
        octets.len()
    }

    fn end_part(&mut self) {
        let Some(frame) = self.frames.pop() else { return };
        self.visitor.end(PartEnd {
            body_octets: self.offset - frame.body_offset,
            body_lines: self.lines - frame.lines_before,
        });
    }
}

#[cfg(test)]
pub(crate) mod tests;
