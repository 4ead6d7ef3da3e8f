//! The octets of a message: after DATA transparency is undone, and whatever the framing everything
//! is refused that another server could read differently (RFC 5321 §4.5.2, §2.3.8).
//!
//! Invariants:
//!
//! * Data ends at `CR LF . CR LF` and nowhere else; chunks (RFC 3030) end where their sizes say, and
//!   a dot means nothing in them. After a bare CR, a bare LF or a NUL the whole message is refused,
//!   so that no server behind us finds a second message in it.
//! * What is handed on has CR LF line ends only, lines within the limit, and ends in CR LF: the last
//!   line of the last chunk is given one where it has none.
//! * No more is handed on after the first violation; the octets are then only read to their end.
//!
//! Not here: reading from the connection, and the reply.

/// The most octets that parts of one message may have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct DataLimits {
    /// The message.
    pub(super) message: u64,
    /// Its header, up to the empty line.
    pub(super) header: u64,
    /// A line with its CR LF (RFC 5321 §4.5.3.1.6).
    pub(super) line: usize,
}

/// Why a message is refused whatever it says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Violation {
    BareLineEnd,
    Nul,
    LineTooLong,
    HeaderTooLarge,
    MessageTooLarge,
}

/// How the message's end is found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Framing {
    /// By a line of one dot (DATA).
    Dots,
    /// By counting (BDAT).
    Chunks,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum At {
    /// Behind a CR LF, or at the very start: the CR LF of the DATA line counts.
    LineStart,
    /// Behind a dot at the start of a line; the dot is held back.
    Dot,
    /// Behind such a dot and a CR.
    DotCr,
    Middle,
    /// Behind a CR within a line; the CR is held back.
    Cr,
    End,
}

/// Judges octets that arrive in pieces of any size, and undoes dot-stuffing.
#[derive(Debug)]
pub(super) struct DataDecoder {
    framing: Framing,
    limits: DataLimits,
    at: At,
    line_octets: usize,
    in_header: bool,
    octets: u64,
    violation: Option<Violation>,
}

impl DataDecoder {
    pub(super) fn new(framing: Framing, limits: DataLimits) -> Self {
        Self {
            framing,
            limits,
            at: At::LineStart,
            line_octets: 0,
            in_header: true,
            octets: 0,
            violation: None,
        }
    }

    /// Takes `input` up to its end or the end of data, and appends the message's octets to
    /// `message`: never more than two beyond the length of `input`. Returns how many octets of
    /// `input` were taken.
    pub(super) fn decode(&mut self, input: &[u8], message: &mut Vec<u8>) -> usize {
        let mut rest = input;
        while self.at != At::End && !rest.is_empty() {
            rest = self.step(rest, message);
        }
        input.len() - rest.len()
    }

    /// Whether the end of data was seen.
    pub(super) fn ended(&self) -> bool {
        self.at == At::End
    }

    /// Ends a message in chunks behind the last of them, and appends what its last line lacks to
    /// `message`.
    pub(super) fn end_of_chunks(&mut self, message: &mut Vec<u8>) {
        match self.at {
            At::Cr => self.violate(Violation::BareLineEnd),
            // As whoever sends it by DATA has to (RFC 5321 §4.1.1.4).
            At::Middle => self.end_line(message),
            At::LineStart | At::Dot | At::DotCr | At::End => {}
        }
        self.at = At::End;
    }

    /// Notes that more octets are announced than the message may have.
    pub(super) fn announce(&mut self, octets: u64) {
        if self.octets.saturating_add(octets) > self.limits.message {
            self.violate(Violation::MessageTooLarge);
        }
    }

    /// What is wrong with the message so far: the first thing that was found.
    pub(super) fn violation(&self) -> Option<Violation> {
        self.violation
    }

    /// Octets of the message so far, those after a violation included: whatever a peer sends
    /// without end, line feeds and NULs too, is counted.
    pub(super) fn octets(&self) -> u64 {
        self.octets
    }

    fn step<'a>(&mut self, input: &'a [u8], message: &mut Vec<u8>) -> &'a [u8] {
        let Some((octet, next)) = input.split_first() else { return input };
        match (self.at, octet) {
            (At::LineStart, b'.') if self.framing == Framing::Dots => self.at = At::Dot,
            (At::Dot, b'\r') => self.at = At::DotCr,
            (At::DotCr, b'\n') => self.at = At::End,
            (At::Cr, b'\n') => self.end_line(message),
            (At::LineStart | At::Middle, b'\r') => self.at = At::Cr,
            (At::Cr | At::DotCr, _) => {
                // The octet is looked at again: it may be the CR of a true line end.
                self.violate(Violation::BareLineEnd);
                self.octets += 1;
                self.at = At::Middle;
                return input;
            }
            (At::LineStart | At::Dot | At::Middle, _) => return self.text(input, message),
            (At::End, _) => return input,
        }
        next
    }

    /// Takes text up to the next octet that needs a look.
    fn text<'a>(&mut self, input: &'a [u8], message: &mut Vec<u8>) -> &'a [u8] {
        self.at = At::Middle;
        // In a message that is refused already only its end is looked for.
        let found = match self.violation {
            None => memchr::memchr3(b'\r', b'\n', 0, input),
            Some(_) => memchr::memchr(b'\r', input),
        };
        let end = found.unwrap_or(input.len());
        let (text, rest) = input.split_at_checked(end).unwrap_or((input, &[]));
        if let Some(violation) = self.first_beyond(text.len()) {
            self.violate(violation);
        }
        self.line_octets = self.line_octets.saturating_add(text.len());
        self.hand_on(text, message);
        match rest.split_first() {
            Some((b'\n', next)) => {
                self.violate(Violation::BareLineEnd);
                self.octets += 1;
                next
            }
            Some((0, next)) => {
                self.violate(Violation::Nul);
                self.octets += 1;
                next
            }
            _ => rest,
        }
    }

    /// The limit that `octets` more of text pass first, so that what is said of a message does not
    /// depend on the pieces in which it came.
    fn first_beyond(&self, octets: usize) -> Option<Violation> {
        let of_line = self.limits.line.saturating_sub(2).saturating_sub(self.line_octets) as u64;
        let of_message = self.limits.message.saturating_sub(self.octets);
        let of_header =
            if self.in_header { self.limits.header.saturating_sub(self.octets) } else { u64::MAX };
        [
            (of_line, Violation::LineTooLong),
            (of_message, Violation::MessageTooLarge),
            (of_header, Violation::HeaderTooLarge),
        ]
        .into_iter()
        .filter(|(left, _)| *left < octets as u64)
        .min_by_key(|(left, _)| *left)
        .map(|(_, violation)| violation)
    }

    fn end_line(&mut self, message: &mut Vec<u8>) {
        if self.line_octets == 0 {
            self.in_header = false;
        }
        self.hand_on(b"\r\n", message);
        self.line_octets = 0;
        self.at = At::LineStart;
    }

    fn hand_on(&mut self, octets: &[u8], message: &mut Vec<u8>) {
        self.octets += octets.len() as u64;
        if self.octets > self.limits.message {
            self.violate(Violation::MessageTooLarge);
        } else if self.in_header && self.octets > self.limits.header {
            self.violate(Violation::HeaderTooLarge);
        }
        if self.violation.is_none() {
            message.extend_from_slice(octets);
        }
    }

    fn violate(&mut self, violation: Violation) {
        self.violation.get_or_insert(violation);
    }
}

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;
