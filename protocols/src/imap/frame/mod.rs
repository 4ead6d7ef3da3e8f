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
    enabled::Enabled,
    grammar::{
        ParseError, Tag,
        append::{self, Script, Step},
    },
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
    /// APPEND or REPLACE up to its first message.
    Append { tag: Tag, begun: Result<(Script, Vec<Step>), ParseError>, literal: Literal },
    /// A command whose literal is too large; the client has not sent it.
    LiteralRefused { tag: Option<Tag> },
}

/// The IMAP side of a connection.
pub(crate) struct Frame<S> {
    lines: Lines<S>,
    line_octets_max: usize,
    literal_octets_max: usize,
    literal_time_max: Duration,
    enabled: Enabled,
    /// Whether messages may be appended.
    appends: bool,
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
            enabled: Enabled::default(),
            appends: false,
            unfinished_tag: None,
        }
    }

    /// Reads commands as a client writes them that has enabled `enabled`.
    pub(crate) fn set_enabled(&mut self, enabled: Enabled) {
        self.enabled = enabled;
    }

    /// Says whether messages may be appended.
    pub(crate) fn set_appends(&mut self, appends: bool) {
        self.appends = appends;
    }

    /// Waits for a command. Not to be cancelled once its first line has come, unless the
    /// connection ends.
    pub(crate) async fn command(&mut self) -> Result<Incoming, Disconnect> {
        let mut command = Vec::new();
        let mut line_octets = 0;
        let (mut literals, mut literal_octets) = (0_usize, 0_usize);
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
            let (names, utf8) = (self.enabled.names(), self.enabled.utf8_accept);
            // Nobody appends before a login: the first literal tells whether it is tried.
            let looked_at = self.appends || literals == 0;
            literals += 1;
            let begun = if looked_at { append::begin(before, names, utf8) } else { None };
            if let (Some(tag), Some(begun)) = (&self.unfinished_tag, begun) {
                return Ok(Incoming::Append { tag: tag.clone(), begun, literal });
            }
            let octets = usize::try_from(literal.octets).unwrap_or(usize::MAX);
            literal_octets = literal_octets.saturating_add(octets);
            if literal_octets > self.literal_octets_max {
                if literal.synchronising {
                    return Ok(Incoming::LiteralRefused { tag: self.unfinished_tag.take() });
                }
                return Err(Disconnect::LiteralTooLarge(literal.octets));
            }
            self.take_literal(&mut command, literal).await?;
        }
    }

    /// Reads on behind a message of APPEND: `script` takes what comes up to the next message, or to the
    /// end of the command. The literal is that message's.
    pub(crate) async fn after_message(
        &mut self,
        script: &mut Script,
    ) -> Result<(Result<Vec<Step>, ParseError>, Option<Literal>), Disconnect> {
        let mut octets = Vec::new();
        let (mut line_octets, mut literal_octets) = (0, 0_usize);
        loop {
            let line = self.line(self.line_octets_max - line_octets).await?;
            line_octets += line.len();
            octets.extend_from_slice(&line);
            let Some((announcement, literal)) = announced_literal(&line) else {
                return Ok((script.feed(&octets), None));
            };
            match script.feed(&octets[..octets.len() - announcement]) {
                Err(append::ARGUMENT) => {
                    let length = usize::try_from(literal.octets).unwrap_or(usize::MAX);
                    literal_octets = literal_octets.saturating_add(length);
                    if literal_octets > self.literal_octets_max {
                        return Err(Disconnect::LiteralTooLarge(literal.octets));
                    }
                    self.take_literal(&mut octets, literal).await?;
                }
                steps => return Ok((steps, Some(literal))),
            }
        }
    }

    /// Reads the rest of a line and forgets it; returns the literal that it ends with.
    pub(crate) async fn rest_of_line(
        &mut self,
        octets_max: usize,
    ) -> Result<Option<Literal>, Disconnect> {
        let line = self.line(octets_max).await?;
        Ok(announced_literal(&line).map(|(_, literal)| literal))
    }

    /// Asks for a literal where that is due, and adds it to `octets`.
    async fn take_literal(
        &mut self,
        octets: &mut Vec<u8>,
        literal: Literal,
    ) -> Result<(), Disconnect> {
        if literal.synchronising {
            self.ask_for_literal().await?;
        }
        let mut missing = usize::try_from(literal.octets).unwrap_or(usize::MAX);
        while missing > 0 {
            let piece = self.literal_piece(missing).await?;
            missing -= piece.len();
            octets.extend_from_slice(&piece);
        }
        Ok(())
    }

    /// The tag of the command that [`Frame::command`] could not read to its end.
    pub(crate) fn unfinished_tag(&self) -> Option<&Tag> {
        self.unfinished_tag.as_ref()
    }

    /// Waits until the peer has begun to send something. May be cancelled.
    pub(crate) async fn begun(&mut self) -> Result<(), Disconnect> {
        self.lines.begun().await
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

    /// Lets other tasks have their turn in long work, which ends when the client has gone away.
    /// One that has only closed its own direction counts as gone.
    pub(crate) async fn take_turns(&mut self) -> Result<(), Disconnect> {
        tokio::select! {
            biased;
            disconnect = self.lines.ended() => Err(disconnect),
            () = tokio::task::yield_now() => Ok(()),
        }
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
