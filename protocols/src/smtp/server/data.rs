//! The octets after DATA: transparency undone, and everything refused that another server could
//! read differently (RFC 5321 §4.5.2, §2.3.8).
//!
//! Invariants:
//!
//! * The data ends at `CR LF . CR LF` and nowhere else. After a bare CR, a bare LF or a NUL the
//!   whole message is refused, so that no server behind us finds a second message in it.
//! * What is handed on has CR LF line ends only, lines within the limit, and ends in CR LF.
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

/// Undoes dot-stuffing over octets that arrive in pieces of any size.
#[derive(Debug)]
pub(super) struct DataDecoder {
    limits: DataLimits,
    at: At,
    line_octets: usize,
    in_header: bool,
    octets: u64,
    violation: Option<Violation>,
}

impl DataDecoder {
    pub(super) fn new(limits: DataLimits) -> Self {
        Self {
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
            (At::LineStart, b'.') => self.at = At::Dot,
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
        self.line_octets = self.line_octets.saturating_add(text.len());
        if self.line_octets.saturating_add(2) > self.limits.line {
            self.violate(Violation::LineTooLong);
        }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: DataLimits = DataLimits { message: 2_000, header: 500, line: 100 };

    /// Decodes `input` in pieces of `piece` octets: message, octets taken, violation.
    fn decoded(input: &[u8], piece: usize) -> (Vec<u8>, Option<usize>, Option<Violation>) {
        let mut decoder = DataDecoder::new(LIMITS);
        let mut message = Vec::new();
        let mut taken = 0;
        for piece in input.chunks(piece) {
            taken += decoder.decode(piece, &mut message);
        }
        (message, decoder.ended().then_some(taken), decoder.violation())
    }

    #[test]
    fn transparency_is_undone() {
        // RFC 5321 §4.5.2.
        let table: [(&[u8], &[u8]); 7] = [
            (b".\r\n", b""),
            (b"a\r\n.\r\n", b"a\r\n"),
            (b"..\r\n.\r\n", b".\r\n"),
            (b"...a\r\n.\r\n", b"..a\r\n"),
            (b".a\r\n.\r\n", b"a\r\n"),
            (b"a.\r\n.\r\n", b"a.\r\n"),
            (b"\r\n\r\n.\r\n", b"\r\n\r\n"),
        ];
        for (input, expected) in table {
            for piece in [1, 2, 1000] {
                let (message, taken, violation) = decoded(input, piece);
                assert_eq!((message.as_slice(), violation), (expected, None), "{input:?}");
                assert_eq!(taken, Some(input.len()), "{input:?}");
            }
        }
    }

    #[test]
    fn only_the_strict_end_ends_the_data_and_every_variant_is_refused() {
        let variants: [&[u8]; 14] = [
            b"a\n.\n",
            b"a\n.\r\n",
            b"a\r\n.\n",
            b"a\r.\r",
            b"a\r\n.\r",
            b"a\r.\r\n",
            b"a\r\n.\rb\r\n",
            b"a\r\r\n.\r\r\n",
            b"a\n\r.\r\n",
            b"a\0\r\n",
            b"a\r\n.\0\r\n",
            b"a\r\n\0.\r\n",
            b"a\n\n.\r\n\r\n",
            b"a\r\n.\r\0\n",
        ];
        for variant in variants {
            for piece in [1, 3, 1000] {
                // A CR at the very end shows what it is only by what follows.
                let smuggled = [variant, b"MAIL FROM:<x@y.example>\r\n".as_slice()].concat();
                let (_, taken, violation) = decoded(&smuggled, piece);
                assert_eq!(taken, None, "{variant:?} ended the data");
                assert!(
                    matches!(violation, Some(Violation::BareLineEnd | Violation::Nul)),
                    "{variant:?} was taken"
                );
                let (_, taken, _) = decoded(&[&smuggled, b".\r\n".as_slice()].concat(), piece);
                assert_eq!(taken, Some(smuggled.len() + 3), "{variant:?}");
            }
        }
    }

    #[test]
    fn limits_are_exact() {
        let header = |octets: usize| {
            let lines = octets / 50;
            [format!("{}\r\n", "h".repeat(48)).repeat(lines).into_bytes(), b"\r\n".to_vec()]
                .concat()
        };
        let line =
            |octets: usize| [b"\r\n".to_vec(), vec![b'x'; octets - 2], b"\r\n".to_vec()].concat();
        let body = |octets: usize| {
            [b"\r\n".to_vec(), format!("{}\r\n", "b".repeat(48)).repeat(octets / 50).into_bytes()]
                .concat()
        };
        let table = [
            (line(100), None),
            (line(101), Some(Violation::LineTooLong)),
            (header(500), None),
            (header(550), Some(Violation::HeaderTooLarge)),
            (body(1_950), None),
            (body(2_000), Some(Violation::MessageTooLarge)),
        ];
        for (text, expected) in table {
            let (_, taken, violation) = decoded(&[text.as_slice(), b".\r\n"].concat(), 7);
            assert_eq!(violation, expected);
            assert_eq!(taken, Some(text.len() + 3), "the data is read to its end");
        }
    }

    #[test]
    fn octets_without_end_are_counted_whatever_they_are() {
        for input in [b"\n", b"\r", b"\0", b"x"] {
            let (mut decoder, mut message) = (DataDecoder::new(LIMITS), Vec::new());
            decoder.decode(&input.repeat(10_000), &mut message);
            // A CR at the very end is held back.
            assert!(decoder.octets() >= 9_999, "{input:?}: {}", decoder.octets());
        }
    }

    proptest! {
        #[test]
        fn a_stuffed_message_comes_out_as_it_went_in(
            lines in prop::collection::vec("[.a-c ]{0,6}", 0..20),
            piece in 1..40_usize,
        ) {
            let (mut message, mut stuffed) = (String::new(), String::new());
            for line in &lines {
                let dot = if line.starts_with('.') { "." } else { "" };
                message.extend([line, "\r\n"]);
                stuffed.extend([dot, line, "\r\n"]);
            }
            let (read, taken, violation) = decoded(format!("{stuffed}.\r\nX").as_bytes(), piece);
            prop_assert_eq!(read, message.into_bytes());
            prop_assert_eq!((taken, violation), (Some(stuffed.len() + 3), None));
        }

        #[test]
        fn whatever_is_handed_on_has_only_true_line_ends(
            input in prop::collection::vec(prop::sample::select(b"\r\n.\0a".as_slice()), 0..60),
            piece in 1..10_usize,
        ) {
            let (message, taken, violation) = decoded(&input, piece);
            if violation.is_none() && taken.is_some() {
                let text = String::from_utf8(message).unwrap().replace("\r\n", "");
                prop_assert!(!text.contains(['\r', '\n', '\0']));
            }
        }
    }
}
