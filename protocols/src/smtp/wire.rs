//! Lines and octets of one connection, in buffers of fixed size.
//!
//! Invariants:
//!
//! * A line ends in CR LF and in nothing else: a bare CR or LF is part of the line it stands in.
//! * At most [`INPUT_OCTETS_MAX`] octets wait to be read, and replies are written before more is
//!   read, so that a peer that does not read its replies is not listened to either.
//! * Every wait has an end.
//!
//! Not here: what a line means.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, timeout, timeout_at},
};

use crate::net::stream::ConnectionStream;

/// Octets that may wait to be read, and the piece in which message octets are handed on.
pub(crate) const INPUT_OCTETS_MAX: usize = 64 * 1024;

/// Octets of the input buffer as long as only lines are read; more than the longest line.
const LINES_OCTETS: usize = 16 * 1024;

/// Octets of replies that may wait to be written.
const OUTPUT_OCTETS_MAX: usize = 16 * 1024;

/// Octets of an over-long line that are read to find its end before the connection is given up.
const DISCARD_OCTETS_MAX: usize = 1024 * 1024;

/// How long the rest of the peer's octets is read after the last reply. Closing with octets
/// unread resets the connection, and the peer might lose the reply (RFC 1122 §4.2.2.13).
const LINGER_TIME: Duration = Duration::from_secs(2);

/// Octets kept of the first word of a line that is too long; the longest command has eight.
const WORD_OCTETS_MAX: usize = 16;

/// Why no more can be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    #[error("the peer closed the connection")]
    Closed,
    #[error("the peer took too long")]
    TimeOut,
    #[error("a line without end")]
    EndlessLine,
    #[error("the connection broke")]
    Broken(#[source] io::Error),
}

/// One line.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Line {
    /// Its octets without CR LF.
    Whole(Vec<u8>),
    /// It was longer than allowed, and was read to its end and forgotten but for its first word, of
    /// which at most [`WORD_OCTETS_MAX`] octets are kept.
    TooLong(Vec<u8>),
}

impl Line {
    fn too_long(start: &[u8]) -> Self {
        let word = start.split(|octet| *octet == b' ').next().unwrap_or_default();
        Self::TooLong(word.iter().copied().take(WORD_OCTETS_MAX).collect())
    }
}

/// A connection with its buffers.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: ConnectionStream,
    input: Vec<u8>,
    start: usize,
    end: usize,
    output: Vec<u8>,
    write_time_max: Duration,
}

impl Wire {
    pub(crate) fn new(stream: ConnectionStream, write_time_max: Duration) -> Self {
        Self {
            stream,
            input: vec![0; LINES_OCTETS],
            start: 0,
            end: 0,
            output: Vec::new(),
            write_time_max,
        }
    }

    pub(crate) fn stream(&self) -> &ConnectionStream {
        &self.stream
    }

    /// Gives the connection back, for TLS to start on it, and whether octets had been read ahead.
    pub(crate) fn into_stream(self) -> (ConnectionStream, bool) {
        (self.stream, self.start < self.end)
    }

    /// What has been read and not been taken.
    pub(crate) fn buffered(&self) -> &[u8] {
        self.input.get(self.start..self.end).unwrap_or_default()
    }

    /// Whether the peer has sent something that was not taken, or has gone. Nothing is waited for.
    pub(crate) async fn has_more(&mut self) -> bool {
        if !self.buffered().is_empty() {
            return true;
        }
        // A timer only where something has come: the shortest takes longer than a message does. It may
        // be no more than a record of TLS.
        self.stream.has_arrived()
            && !matches!(self.fill(Instant::now()).await, Err(WireError::TimeOut))
    }

    /// Takes `octets` away from the front of [`Self::buffered`].
    pub(crate) fn consume(&mut self, octets: usize) {
        self.start = (self.start + octets).min(self.end);
    }

    /// Makes room for message octets, or gives it back when `lines_only`.
    pub(crate) fn make_room(&mut self, lines_only: bool) {
        self.input.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        let octets = if lines_only { LINES_OCTETS.max(self.end) } else { INPUT_OCTETS_MAX };
        self.input.resize(octets, 0);
        self.input.shrink_to_fit();
    }

    /// Reads more octets, having written what waits.
    ///
    /// Cancelling it loses nothing.
    pub(crate) async fn fill(&mut self, deadline: Instant) -> Result<(), WireError> {
        self.flush().await?;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.input.len() {
            self.input.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let room = self.input.get_mut(self.end..).unwrap_or_default();
        let read = timeout_at(deadline, self.stream.read(room))
            .await
            .map_err(|_| WireError::TimeOut)?
            .map_err(WireError::Broken)?;
        if read == 0 {
            return Err(WireError::Closed);
        }
        self.end += read;
        Ok(())
    }

    /// Reads the next line of at most `octets_max` octets with its CR LF, which must be less than
    /// the buffer for lines.
    ///
    /// Cancelling it loses no octets of a line that fits.
    pub(crate) async fn line(
        &mut self,
        octets_max: usize,
        deadline: Instant,
    ) -> Result<Line, WireError> {
        let octets_max = octets_max.min(LINES_OCTETS - 1);
        let mut searched = 0;
        loop {
            if let Some(end) = find_line_end(self.buffered(), searched) {
                let line = self.buffered().get(..end).unwrap_or_default();
                let fits = end + 2 <= octets_max;
                let line = if fits { Line::Whole(line.to_vec()) } else { Line::too_long(line) };
                self.consume(end + 2);
                return Ok(line);
            }
            if self.buffered().len() >= octets_max {
                let line = Line::too_long(self.buffered());
                self.discard_line(deadline).await?;
                return Ok(line);
            }
            // The last octet may be the CR of a CR LF that has not come whole.
            searched = self.buffered().len().saturating_sub(1);
            self.fill(deadline).await?;
        }
    }

    async fn discard_line(&mut self, deadline: Instant) -> Result<(), WireError> {
        let mut discarded = 0;
        loop {
            if let Some(end) = find_line_end(self.buffered(), 0) {
                self.consume(end + 2);
                return Ok(());
            }
            let octets = self.buffered().len();
            let kept = usize::from(self.buffered().ends_with(b"\r"));
            self.consume(octets - kept);
            discarded += octets - kept;
            if discarded > DISCARD_OCTETS_MAX {
                return Err(WireError::EndlessLine);
            }
            self.fill(deadline).await?;
        }
    }

    /// Lets `octets` wait to be written; they go out before the next read.
    pub(crate) async fn write(&mut self, octets: &[u8]) -> Result<(), WireError> {
        if self.output.len() + octets.len() > OUTPUT_OCTETS_MAX {
            self.flush().await?;
        }
        if octets.len() > OUTPUT_OCTETS_MAX {
            return self.write_through(octets).await;
        }
        self.output.extend_from_slice(octets);
        Ok(())
    }

    /// Writes what waits. A peer that does not read is given up after the write time-out.
    ///
    /// Cancelling it loses nothing and repeats nothing.
    pub(crate) async fn flush(&mut self) -> Result<(), WireError> {
        if self.output.is_empty() {
            return Ok(());
        }
        let deadline = Instant::now() + self.write_time_max;
        while !self.output.is_empty() {
            let written = timeout_at(deadline, self.stream.write(&self.output))
                .await
                .map_err(|_| WireError::TimeOut)?
                .map_err(WireError::Broken)?;
            if written == 0 {
                return Err(WireError::Closed);
            }
            self.output.drain(..written);
        }
        self.flush_stream().await
    }

    async fn write_through(&mut self, octets: &[u8]) -> Result<(), WireError> {
        timeout(self.write_time_max, self.stream.write_all(octets))
            .await
            .map_err(|_| WireError::TimeOut)?
            .map_err(WireError::Broken)?;
        self.flush_stream().await
    }

    async fn flush_stream(&mut self) -> Result<(), WireError> {
        timeout(self.write_time_max, self.stream.flush())
            .await
            .map_err(|_| WireError::TimeOut)?
            .map_err(WireError::Broken)
    }

    /// Closes without waiting for the peer.
    pub(crate) async fn shut(mut self) {
        let _ = timeout(LINGER_TIME, self.stream.shutdown()).await;
    }

    /// Writes what waits and closes, so that the peer can read the last reply.
    pub(crate) async fn close(mut self) {
        if self.flush().await.is_err() {
            return;
        }
        let linger = async {
            let _ = self.stream.shutdown().await;
            let mut discarded = 0;
            while discarded < DISCARD_OCTETS_MAX {
                match self.stream.read(&mut self.input).await {
                    Ok(read) if read > 0 => discarded += read,
                    _ => return,
                }
            }
        };
        // A peer that does not close in time is not waited for.
        let _ = timeout(LINGER_TIME, linger).await;
    }
}

/// Finds the first CR LF that ends after `searched` octets; returns where its CR is.
fn find_line_end(octets: &[u8], searched: usize) -> Option<usize> {
    let mut from = searched;
    loop {
        let found = from + memchr::memchr(b'\n', octets.get(from..)?)?;
        match found.checked_sub(1) {
            Some(before) if octets.get(before) == Some(&b'\r') => return Some(before),
            _ => from = found + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_cr_lf_ends_a_line() {
        let table: [(&[u8], usize, Option<usize>); 8] = [
            (b"", 0, None),
            (b"\r\n", 0, Some(0)),
            (b"NOOP\r\nX", 0, Some(4)),
            (b"NOOP\nRSET\r\n", 0, Some(9)),
            (b"NOOP\rRSET\n", 0, None),
            (b"\n\r\n", 0, Some(1)),
            (b"NOOP\r\n", 4, Some(4)),
            (b"NOOP\r\n", 5, Some(4)),
        ];
        for (octets, searched, expected) in table {
            assert_eq!(find_line_end(octets, searched), expected, "{octets:?}");
        }
    }
}
