//! Messages as multi-line responses (RFC 1939 §3): octets as they are, a point doubled at the
//! beginning of a line, and a line with one point at the end.

/// Turns a message, piece by piece, into the lines of a response.
#[derive(Debug)]
pub(super) struct Stuffing {
    at_line_start: bool,
}

impl Default for Stuffing {
    fn default() -> Self {
        Self { at_line_start: true }
    }
}

impl Stuffing {
    /// Returns the next piece with points doubled.
    pub(super) fn piece(&mut self, octets: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(octets.len() + 16);
        for line in octets.split_inclusive(|&octet| octet == b'\n') {
            if self.at_line_start && line.first() == Some(&b'.') {
                out.push(b'.');
            }
            out.extend_from_slice(line);
            self.at_line_start = line.ends_with(b"\n");
        }
        out
    }

    /// Returns the end of the response. A message that does not end with a line end gets one.
    pub(super) fn end(self) -> &'static [u8] {
        if self.at_line_start { b".\r\n" } else { b"\r\n.\r\n" }
    }
}

/// Finds where TOP stops: after the header, its empty line and some lines of the body.
#[derive(Debug)]
pub(super) struct Top {
    in_header: bool,
    line_is_empty: bool,
    body_lines: u64,
}

impl Top {
    /// Stops after `body_lines` lines of the body.
    pub(super) fn new(body_lines: u64) -> Self {
        Self { in_header: true, line_is_empty: true, body_lines }
    }

    /// Returns how many octets of the next piece are still part of the answer: fewer than there
    /// are when it ends within the piece.
    pub(super) fn take(&mut self, piece: &[u8]) -> usize {
        for (position, &octet) in piece.iter().enumerate() {
            if !self.in_header && self.body_lines == 0 {
                return position;
            }
            if octet != b'\n' {
                self.line_is_empty &= octet == b'\r';
                continue;
            }
            if self.in_header {
                self.in_header = !self.line_is_empty;
            } else {
                self.body_lines -= 1;
            }
            self.line_is_empty = true;
        }
        piece.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_doubled_however_the_message_is_cut() {
        let message = b".\r\n..a\r\nb.\r\n.";
        for size in 1..=message.len() {
            let mut stuffing = Stuffing::default();
            let mut out: Vec<u8> = message.chunks(size).flat_map(|p| stuffing.piece(p)).collect();
            out.extend_from_slice(stuffing.end());
            assert_eq!(out, b"..\r\n...a\r\nb.\r\n..\r\n.\r\n");
        }
        assert_eq!(Stuffing::default().end(), b".\r\n");
    }

    #[test]
    fn top_stops_after_its_lines_however_the_message_is_cut() {
        let message = b"A: b\r\n\r\none\r\ntwo\r\n\r\nthree";
        for (lines, length) in [(0, 8), (1, 13), (2, 18), (3, 20), (9, 25)] {
            for size in 1..=message.len() {
                let mut top = Top::new(lines);
                let taken: usize = message.chunks(size).map(|piece| top.take(piece)).sum();
                assert_eq!(taken, length, "{lines} lines, pieces of {size}");
            }
        }
    }
}
