//! mboxrd: messages one after the other, each behind a `From ` line and before an empty one.
//!
//! A line of a message that is `From ` after any number of `>` gets one `>` more; whoever takes one `>`
//! away from such lines has the message back. Lines end in LF, as mbox has it: CR LF becomes LF.

use trust::clock::UnixMillis;

const FROM: &[u8] = b"From ";

/// The line before a message. Who sent it is not known to a snapshot.
pub(super) fn separator(at: UnixMillis) -> Vec<u8> {
    let time = jiff::Timestamp::from_second(at.seconds()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!("From MAILER-DAEMON {}\n", time.strftime("%a %b %e %H:%M:%S %Y")).into_bytes()
}

/// Quotes one message, piece by piece.
#[derive(Debug)]
pub(super) struct MboxQuoter {
    /// Octets of `From ` that the line has so far; `None` when it cannot be such a line any more.
    matched: Option<usize>,
    /// A CR that may belong to a line end.
    has_cr: bool,
    /// The last octet written was a line end.
    is_at_start: bool,
}

impl Default for MboxQuoter {
    fn default() -> Self {
        Self { matched: Some(0), has_cr: false, is_at_start: true }
    }
}

impl MboxQuoter {
    pub(super) fn quote(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        for octet in octets {
            match octet {
                b'\r' => {
                    self.flush(out);
                    self.put_cr(out);
                    self.has_cr = true;
                }
                b'\n' => {
                    self.flush(out);
                    self.has_cr = false;
                    out.push(b'\n');
                    self.matched = Some(0);
                    self.is_at_start = true;
                }
                octet => self.plain(*octet, out),
            }
        }
    }

    fn plain(&mut self, octet: u8, out: &mut Vec<u8>) {
        self.put_cr(out);
        match self.matched {
            // One `>` more is the same wherever it stands among them.
            Some(0) if octet == b'>' => out.push(octet),
            Some(count) if FROM.get(count) == Some(&octet) => {
                if count + 1 == FROM.len() {
                    out.push(b'>');
                    out.extend_from_slice(FROM);
                    self.matched = None;
                } else {
                    self.matched = Some(count + 1);
                }
            }
            _ => {
                self.flush(out);
                out.push(octet);
            }
        }
        self.is_at_start = false;
    }

    /// A CR that no LF followed.
    fn put_cr(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.has_cr) {
            out.push(b'\r');
            self.matched = None;
            self.is_at_start = false;
        }
    }

    /// Writes what looked like the start of `From ` and is none.
    fn flush(&mut self, out: &mut Vec<u8>) {
        if let Some(count) = self.matched.take() {
            out.extend_from_slice(FROM.get(..count).unwrap_or_default());
        }
    }

    /// Ends the message.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        self.flush(out);
        self.put_cr(out);
        if !self.is_at_start {
            out.push(b'\n');
        }
        out.push(b'\n');
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_look_like_a_separator_are_quoted_wherever_the_pieces_end() {
        let message = b"From a\r\n>From b\r\nFroms\r\n>>Fro\r\nx From \r\n\r\nFrom\r\nlast\rone";
        let wanted = b">From a\n>>From b\nFroms\n>>Fro\nx From \n\nFrom\nlast\rone\n\n";
        for size in 1..message.len() {
            let (mut quoter, mut out) = (MboxQuoter::default(), Vec::new());
            message.chunks(size).for_each(|piece| quoter.quote(piece, &mut out));
            quoter.finish(&mut out);
            assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(wanted), "{size}");
        }
    }
}
