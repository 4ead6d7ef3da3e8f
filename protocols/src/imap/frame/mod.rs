//! Commands as they arrive: lines, and literals between them (RFC 3501 §4.3, RFC 7888).
//!
//! Invariants:
//!
//! * A command is handed on whole, within the bounds of [`ImapLimits`], or not at all.
//! * The message of APPEND is never held: [`Incoming::Append`] is returned when its literal has
//!   been announced and not yet asked for; [`Frame::literal_piece`] then hands out its octets.
//! * A literal that is too large is refused before a synchronising client sends it. One that
//!   comes unasked (LITERAL+) cannot be told from the next command without reading it all, so
//!   the connection ends instead.
//!
//! Not here: the grammar of commands (`grammar`), what they do (`command`).

use std::{fmt, time::Duration};

use bytes::BytesMut;
use tokio::time::timeout;

use super::{
    grammar::{self, AppendHead, ParseError, Tag},
    limits::ImapLimits,
};
use crate::lines::{Disconnect, Lines, Stream};

/// A literal that was announced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Literal {
    /// Its octets; a number too large for the type counts as the largest.
    pub(crate) octets: u64,
    /// Whether the client waits to be asked for it.
    pub(crate) synchronising: bool,
}

/// What the peer sent.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// A whole command, literals inside.
    Command(Vec<u8>),
    /// APPEND up to its message.
    Append { tag: Tag, head: Result<AppendHead, ParseError>, literal: Literal },
    /// A command whose literal is too large; the client has not sent it.
    LiteralRefused { tag: Option<Tag> },
}

/// The IMAP side of a connection.
pub(crate) struct Frame<S> {
    lines: Lines<S>,
    line_octets_max: usize,
    literal_octets_max: usize,
    literal_time_max: Duration,
    /// The tag of the command that is being read, for the answer to one that cannot be.
    unfinished_tag: Option<Tag>,
}

impl<S> fmt::Debug for Frame<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Frame").finish_non_exhaustive()
    }
}

impl<S: Stream> Frame<S> {
    /// Frames `stream`.
    pub(crate) fn new(stream: S, limits: &ImapLimits) -> Self {
        Self {
            lines: Lines::new(stream, limits.write_time_max),
            line_octets_max: limits.line_octets_max,
            literal_octets_max: limits.literal_octets_max,
            literal_time_max: limits.literal_time_max,
            unfinished_tag: None,
        }
    }

    /// Waits for a command. Not to be cancelled once its first line has come, unless the
    /// connection ends.
    pub(crate) async fn command(&mut self) -> Result<Incoming, Disconnect> {
        let mut command = Vec::new();
        let mut line_octets = 0;
        let mut literal_octets: usize = 0;
        self.unfinished_tag = None;
        loop {
            let line = self.line(self.line_octets_max - line_octets).await?;
            line_octets += line.len();
            command.extend_from_slice(&line);
            if self.unfinished_tag.is_none() {
                self.unfinished_tag = Tag::of(&command);
            }
            let Some((announcement, literal)) = announced_literal(&line) else {
                return Ok(Incoming::Command(command));
            };
            let before = &command[..command.len() - announcement];
            if let (Some(tag), Some(head)) =
                (&self.unfinished_tag, grammar::parse_append_head(before))
            {
                return Ok(Incoming::Append { tag: tag.clone(), head, literal });
            }
            let octets = usize::try_from(literal.octets).unwrap_or(usize::MAX);
            literal_octets = literal_octets.saturating_add(octets);
            if literal_octets > self.literal_octets_max {
                if literal.synchronising {
                    return Ok(Incoming::LiteralRefused { tag: self.unfinished_tag.take() });
                }
                return Err(Disconnect::LiteralTooLarge(literal.octets));
            }
            if literal.synchronising {
                self.ask_for_literal().await?;
            }
            let mut missing = octets;
            while missing > 0 {
                let piece = self.literal_piece(missing).await?;
                missing -= piece.len();
                command.extend_from_slice(&piece);
            }
        }
    }

    /// The tag of the command that [`Frame::command`] could not read to its end.
    pub(crate) fn unfinished_tag(&self) -> Option<&Tag> {
        self.unfinished_tag.as_ref()
    }

    /// Waits for a line that is no command: the rest of one, SASL data, DONE.
    pub(crate) async fn line(&mut self, octets_max: usize) -> Result<BytesMut, Disconnect> {
        self.lines.line(octets_max).await
    }

    /// Tells the client to send the literal it announced.
    pub(crate) async fn ask_for_literal(&mut self) -> Result<(), Disconnect> {
        self.put(b"+ OK\r\n").await
    }

    /// Waits for the next octets of a literal that has `missing` octets still to come.
    pub(crate) async fn literal_piece(&mut self, missing: usize) -> Result<BytesMut, Disconnect> {
        let piece = self.lines.octets(missing);
        timeout(self.literal_time_max, piece).await.map_err(|_| Disconnect::IdleTimedOut)?
    }

    /// Adds `octets` to the output.
    pub(crate) async fn put(&mut self, octets: &[u8]) -> Result<(), Disconnect> {
        self.lines.put(octets).await
    }

    /// Sends all output.
    pub(crate) async fn flush(&mut self) -> Result<(), Disconnect> {
        self.lines.flush().await
    }

    /// Whether octets of the peer have come that no command took.
    pub(crate) fn has_input(&self) -> bool {
        self.lines.has_input()
    }

    /// Sends all output and gives the stream back, so that TLS can begin on it;
    /// [`Disconnect::OctetsBeforeTls`] when the peer has sent more than was taken.
    pub(crate) async fn into_stream(self) -> Result<S, Disconnect> {
        self.lines.into_stream().await
    }

    /// Sends all output and ends the stream.
    pub(crate) async fn close(self) {
        self.lines.close().await;
    }
}

/// Returns the literal that `line` ends with, and how many octets its announcement takes to the
/// end of the line.
///
/// `literal = "{" number ["+"] "}" CRLF`. A number that does not fit counts as the largest, so
/// that it is refused rather than taken for text.
fn announced_literal(line: &[u8]) -> Option<(usize, Literal)> {
    let text = line.strip_suffix(b"\n")?;
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    let open = text.iter().rposition(|&octet| octet == b'{')?;
    let inside = text[open + 1..].strip_suffix(b"}")?;
    let (digits, synchronising) = match inside.strip_suffix(b"+") {
        Some(digits) => (digits, false),
        None => (inside, true),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let octets = digits.iter().fold(0_u64, |number, digit| {
        number.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
    });
    Some((line.len() - open, Literal { octets, synchronising }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_seen_at_the_end_of_a_line_only() {
        let literal = |line: &str| announced_literal(line.as_bytes());
        let found = |octets, synchronising| Some(Literal { octets, synchronising });
        assert_eq!(literal("a LOGIN {5}\r\n").map(|found| found.1), found(5, true));
        assert_eq!(literal("a LOGIN {5+}\n").map(|found| found.1), found(5, false));
        assert_eq!(literal("{4294967296}\r\n").map(|found| found.1), found(1 << 32, true));
        assert_eq!(
            literal("{99999999999999999999999}\r\n").map(|found| found.1),
            found(u64::MAX, true)
        );
        assert_eq!(literal("a {5}\r\n").map(|found| found.0), Some(5));
        for none in ["a \"{5}\"\r\n", "a {}\r\n", "a {x}\r\n", "a {5} \r\n", "a {-1}\r\n", "}\r\n"]
        {
            assert!(literal(none).is_none(), "{none}");
        }
    }
}
