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
//! * A message of APPEND, and what stands in the command behind it, must come at a pace
//!   ([`Frame::begin_message`]): a peer that sends an octet now and then holds no session for ever.
//!
//! Not here: the grammar of commands (`grammar`), what they do (`command`).

use std::{fmt, time::Duration};

use bytes::BytesMut;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, timeout, timeout_at},
};

use super::{
    enabled::Enabled,
    grammar::{
        ParseError, Tag,
        append::{self, Form, Progress, Reading, Script, Step},
        mailbox_name::NameForm,
        reader::SYNTAX,
    },
    limits::ImapLimits,
};
use crate::{
    lines::{Disconnect, Lines, Stream},
    pace::Pace,
};

/// A literal that was announced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Literal {
    /// Its octets; a number too large for the type counts as the largest.
    pub(crate) octets: u64,
    /// Whether the client waits to be asked for it.
    pub(crate) synchronising: bool,
}

/// APPEND or REPLACE as far as it was read, and what comes next of it.
pub(crate) type ReadAppend = Result<(Script, Vec<Step>), ParseError>;

/// What the peer sent.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// A whole command, literals inside.
    Command(Vec<u8>),
    /// APPEND or REPLACE up to its first message.
    Append { tag: Tag, begun: ReadAppend, literal: Literal },
    /// A command whose literal is too large; the client has not sent it.
    LiteralRefused { tag: Option<Tag> },
}

/// The IMAP side of a connection.
pub(crate) struct Frame<S> {
    lines: Lines<S>,
    line_octets_max: usize,
    literal_octets_max: usize,
    literal_time_max: Duration,
    append_form: Form,
    enabled: Enabled,
    /// Whether messages may be appended.
    appends: bool,
    /// The tag of the command that is being read, for the answer to one that cannot be.
    unfinished_tag: Option<Tag>,
    message_pace: Pace,
    /// The message of APPEND that is coming: for how long it was waited for, and how many of its octets
    /// are here.
    message: Option<(Duration, u64)>,
    /// What happens to compression once the command is answered.
    compression: Option<Compression>,
    /// Held while the session is compressed.
    compressed: Option<OwnedSemaphorePermit>,
}

/// Where compression begins or ends (RFC 4978 §3, RFC 8437 §4.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Compression {
    Begins,
    Ends,
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
            append_form: Form::new(NameForm::ModifiedUtf7, false, limits),
            enabled: Enabled::default(),
            appends: false,
            unfinished_tag: None,
            message_pace: Pace {
                grace: limits.append_grace,
                time_max: limits.append_time_max,
                octets_per_second_min: limits.append_octets_per_second_min,
            },
            message: None,
            compression: None,
            compressed: None,
        }
    }

    /// Reads commands as a client writes them that has enabled `enabled`.
    pub(crate) fn set_enabled(&mut self, enabled: Enabled) {
        self.enabled = enabled;
        self.append_form.names = enabled.names();
        self.append_form.utf8_accept = enabled.utf8_accept;
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
        let mut reading: Option<Reading> = None;
        (self.unfinished_tag, self.message) = (None, None);
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
            // Nobody appends before a login: the first literal tells whether it is tried.
            let looked_at = self.appends || literals == 0;
            literals += 1;
            let progress = match reading.take() {
                _ if !looked_at => None,
                Some(reading) => Some(reading.go_on(before)),
                None => append::begin(before, self.append_form),
            };
            let begun = match progress {
                None => None,
                Some(Ok(Progress::Argument(more))) => {
                    reading = Some(more);
                    None
                }
                Some(Ok(Progress::Steps(script, steps))) => Some(Ok((script, steps))),
                Some(Err(error)) => Some(Err(error)),
            };
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
        script: Script,
    ) -> Result<(ReadAppend, Option<Literal>), Disconnect> {
        let mut reading = Reading::behind(script);
        let mut octets = Vec::new();
        let (mut line_octets, mut literal_octets) = (0, 0_usize);
        loop {
            let line = self.line(self.line_octets_max - line_octets).await?;
            line_octets += line.len();
            octets.extend_from_slice(&line);
            let announced = announced_literal(&line);
            let before = octets.len() - announced.map_or(0, |(announcement, _)| announcement);
            let literal = announced.map(|(_, literal)| literal);
            match (reading.go_on(&octets[..before]), literal) {
                (Ok(Progress::Steps(script, steps)), _) => {
                    return Ok((Ok((script, steps)), literal));
                }
                (Err(error), _) => return Ok((Err(error), literal)),
                (Ok(Progress::Argument(_)), None) => return Ok((Err(SYNTAX), None)),
                (Ok(Progress::Argument(more)), Some(literal)) => {
                    reading = more;
                    let length = usize::try_from(literal.octets).unwrap_or(usize::MAX);
                    literal_octets = literal_octets.saturating_add(length);
                    if literal_octets > self.literal_octets_max {
                        return Err(Disconnect::LiteralTooLarge(literal.octets));
                    }
                    self.take_literal(&mut octets, literal).await?;
                }
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
        let (begun, late) = (Instant::now(), self.message_deadline());
        let line = self.lines.line(octets_max);
        let line = match late {
            None => return line.await,
            Some(late) => timeout_at(late, line).await.map_err(|_| Disconnect::TooSlow)?,
        };
        self.waited_since(begun);
        line
    }

    /// Says that a message of APPEND begins: from here to the next command or message the peer must
    /// send at a pace. Only waiting for it counts, not what we do with what came.
    pub(crate) fn begin_message(&mut self) {
        self.message = Some((Duration::ZERO, 0));
    }

    fn waited_since(&mut self, begun: Instant) {
        if let Some((waited, _)) = &mut self.message {
            *waited = waited.saturating_add(begun.elapsed());
        }
    }

    /// Counts octets of the message that are here without having been sent.
    pub(crate) fn count(&mut self, octets: u64) {
        if let Some((_, here)) = &mut self.message {
            *here = here.saturating_add(octets);
        }
    }

    /// When more of the message must have come.
    fn message_deadline(&self) -> Option<Instant> {
        let (waited, octets) = self.message?;
        let now = Instant::now();
        // As if it had begun to come without a break.
        Some(self.message_pace.deadline(now.checked_sub(waited).unwrap_or(now), octets))
    }

    /// Tells the client to send the literal it announced.
    pub(crate) async fn ask_for_literal(&mut self) -> Result<(), Disconnect> {
        self.put(b"+ OK\r\n").await
    }

    /// Waits for the next octets of a literal that has `missing` octets still to come.
    pub(crate) async fn literal_piece(&mut self, missing: usize) -> Result<BytesMut, Disconnect> {
        let (begun, late) = (Instant::now(), self.message_deadline());
        let piece = self.lines.octets(missing);
        let piece = timeout(self.literal_time_max, piece);
        let piece = match late {
            None => piece.await,
            Some(late) => timeout_at(late, piece).await.map_err(|_| Disconnect::TooSlow)?,
        };
        let piece = piece.map_err(|_| Disconnect::IdleTimedOut)??;
        self.waited_since(begun);
        self.count(piece.len() as u64);
        Ok(piece)
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

    /// Adds the tagged response of a command to the output. Right behind it compression begins or
    /// ends where the command asked for that.
    pub(crate) async fn complete(&mut self, line: &[u8]) -> Result<(), Disconnect> {
        self.put(line).await?;
        match self.compression.take() {
            None => Ok(()),
            Some(Compression::Begins) => self.lines.begin_deflate().await,
            Some(Compression::Ends) => {
                self.lines.end_deflate().await?;
                self.compressed = None;
                Ok(())
            }
        }
    }

    /// Whether octets are compressed.
    pub(crate) fn is_compressed(&self) -> bool {
        self.lines.is_deflated()
    }

    /// Compresses behind the tagged response of the command that is carried out, by `permit`.
    pub(crate) fn begin_compression(&mut self, permit: OwnedSemaphorePermit) {
        (self.compression, self.compressed) = (Some(Compression::Begins), Some(permit));
    }

    /// Compresses no more behind the tagged response of the command that is carried out.
    pub(crate) fn end_compression(&mut self) {
        self.compression = Some(Compression::Ends);
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
