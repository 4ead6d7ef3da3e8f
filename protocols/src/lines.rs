//! Lines in, octets out, over one stream: what IMAP and POP3 frame their commands with.
//!
//! Invariants:
//!
//! * The input buffer never holds more than one line of the caller's limit and one read of
//!   [`READ_OCTETS`]: a peer that sends commands faster than they are answered is held back by
//!   TCP, so pipelining needs no other bound.
//! * Output goes out in pieces of at most [`PIECE_OCTETS`], each within the write time-out: a
//!   peer that does not read costs one piece of memory and then its connection.
//! * Waiting for input first sends all output; answers to pipelined commands share their writes.
//! * A wait that is cancelled loses no octet.
//! * Where octets are compressed ([`Lines::begin_deflate`]) all bounds are those of the octets that
//!   are read and written here, not of what they are compressed to.
//!
//! Not here: literals (`imap::frame`), sockets, TLS and listeners (`net`).

use std::{future::poll_fn, io, time::Duration};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

use crate::deflate::{Corrupt, Layered};

/// Octets asked of the stream at a time.
const READ_OCTETS: usize = 4 * 1024;

/// Octets of output collected before they are sent.
pub(crate) const PIECE_OCTETS: usize = 64 * 1024;

/// Buffers that have grown beyond this are given back when they run empty, so that an idle
/// session holds little memory.
const KEPT_OCTETS: usize = 8 * 1024;

/// How long the rest of the peer's octets is read after the last answer, and how many of them.
/// Closing with octets unread resets the connection, and the peer might lose the answer that says
/// why (RFC 1122 §4.2.2.13).
const LINGER_TIME: Duration = Duration::from_secs(2);
const LINGER_OCTETS_MAX: usize = 1024 * 1024;

/// How long the end of a flush may come behind its octets where compression ends with it.
const END_TIME_MAX: Duration = Duration::from_secs(10);

/// What a session runs over.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Why a session ends without having been asked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Disconnect {
    /// The peer sent its last octet.
    #[error("the peer closed the connection")]
    Closed,
    /// The connection failed.
    #[error("the connection failed")]
    Io(#[source] io::Error),
    /// The peer does not read what it asked for.
    #[error("the peer did not read its answer in time")]
    WriteTimedOut,
    /// The peer sent nothing for too long.
    #[error("the peer was idle for too long")]
    IdleTimedOut,
    /// A message comes too slowly.
    #[error("a message came more slowly than it may")]
    TooSlow,
    /// The peer did not log in in time.
    #[error("the peer did not log in in time")]
    LoginTimedOut,
    /// A line is longer than allowed: where the next command begins is unknown.
    #[error("a line has more than {0} octets")]
    LineTooLong(usize),
    /// A literal that comes without being asked for is too large to be skipped.
    #[error("a non-synchronising literal of {0} octets was announced")]
    LiteralTooLarge(u64),
    /// Too many commands in a row were wrong, or too many logins failed.
    #[error("too many commands in a row were refused")]
    TooManyErrors,
    /// Octets that were announced cannot be read from the store: the rest of the dialogue would
    /// be misunderstood.
    #[error("a message could not be read to its end after its size had been announced")]
    MessageUnreadable(#[source] storage::error::StoreError),
    /// Octets came behind the command that starts TLS: somebody between could have put them there
    /// (RFC 9051 §6.2.1, RFC 2595 §4).
    #[error("octets came behind the command that starts TLS")]
    OctetsBeforeTls,
    /// What came under COMPRESS is not DEFLATE (RFC 4978 §3).
    #[error("compressed octets of the peer cannot be decompressed")]
    Corrupt,
    /// Compressed octets came behind the command that ends compression, or no flush ended them.
    #[error("where the peer's compression ends cannot be told")]
    CompressionUnended,
    /// The selected mailbox was deleted by somebody else (RFC 2180 §3).
    #[error("the selected mailbox was deleted")]
    MailboxDeleted,
    /// The program stops.
    #[error("the server stops")]
    Stopping,
}

impl From<io::Error> for Disconnect {
    fn from(error: io::Error) -> Self {
        match error.get_ref() {
            Some(inner) if inner.is::<Corrupt>() => Self::Corrupt,
            _ => Self::Io(error),
        }
    }
}

/// A stream with its input and output buffers.
#[derive(Debug)]
pub(crate) struct Lines<S> {
    stream: Layered<S>,
    input: BytesMut,
    /// How much of `input` is known to hold no line feed.
    scanned: usize,
    output: BytesMut,
    /// Whether octets were written to the stream that it may still hold.
    unflushed: bool,
    write_time_max: Duration,
}

impl<S: Stream> Lines<S> {
    /// Wraps `stream`; no piece of output may take longer than `write_time_max`.
    pub(crate) fn new(stream: S, write_time_max: Duration) -> Self {
        Self {
            stream: Layered::new(stream),
            input: BytesMut::new(),
            scanned: 0,
            output: BytesMut::new(),
            unflushed: false,
            write_time_max,
        }
    }

    /// Waits for a line and returns it with its line end (LF, mostly after CR).
    ///
    /// [`Disconnect::LineTooLong`] when no line end comes within `octets_max`.
    pub(crate) async fn line(&mut self, octets_max: usize) -> Result<BytesMut, Disconnect> {
        loop {
            if let Some(position) = self.input[self.scanned..].iter().position(|&o| o == b'\n') {
                let length = self.scanned + position + 1;
                self.scanned = 0;
                if length > octets_max {
                    return Err(Disconnect::LineTooLong(octets_max));
                }
                return Ok(self.input.split_to(length));
            }
            self.scanned = self.input.len();
            if self.scanned >= octets_max {
                return Err(Disconnect::LineTooLong(octets_max));
            }
            self.fill().await?;
        }
    }

    /// Waits until octets of the peer have come, and takes none of them.
    pub(crate) async fn begun(&mut self) -> Result<(), Disconnect> {
        if self.has_input() { Ok(()) } else { self.fill().await }
    }

    /// Returns up to `octets_max` octets, at least one, as soon as there are any.
    pub(crate) async fn octets(&mut self, octets_max: usize) -> Result<BytesMut, Disconnect> {
        if self.input.is_empty() {
            self.fill().await?;
        }
        self.scanned = 0;
        let length = octets_max.min(self.input.len());
        Ok(self.input.split_to(length))
    }

    /// Waits for the end of the stream, taking in what the peer sends meanwhile up to the bound of
    /// the input buffer; beyond it, for ever.
    pub(crate) async fn ended(&mut self) -> Disconnect {
        while self.is_deflated() {
            match poll_fn(|context| self.stream.poll_ahead(context)).await {
                Ok(0) => return Disconnect::Closed,
                Ok(_) => {}
                Err(error) => return error.into(),
            }
        }
        while self.input.len() < READ_OCTETS {
            self.input.reserve(READ_OCTETS);
            let mut limited = bytes::BufMut::limit(&mut self.input, READ_OCTETS);
            match self.stream.read_buf(&mut limited).await {
                Ok(0) => return Disconnect::Closed,
                Ok(_) => {}
                Err(error) => return error.into(),
            }
        }
        std::future::pending().await
    }

    async fn fill(&mut self) -> Result<(), Disconnect> {
        self.flush().await?;
        if self.input.is_empty() && self.input.capacity() > KEPT_OCTETS {
            self.input = BytesMut::new();
        }
        self.input.reserve(READ_OCTETS);
        let room = self.input.len() + READ_OCTETS;
        let mut limited = bytes::BufMut::limit(&mut self.input, READ_OCTETS);
        let read = self.stream.read_buf(&mut limited).await?;
        debug_assert!(self.input.len() <= room);
        if read == 0 { Err(Disconnect::Closed) } else { Ok(()) }
    }

    /// Adds `octets` to the output; sends when a piece is full.
    pub(crate) async fn put(&mut self, mut octets: &[u8]) -> Result<(), Disconnect> {
        while !octets.is_empty() {
            let room = PIECE_OCTETS.saturating_sub(self.output.len());
            let (now, later) = octets.split_at(room.min(octets.len()));
            self.output.extend_from_slice(now);
            octets = later;
            if self.output.len() >= PIECE_OCTETS {
                self.send().await?;
            }
        }
        Ok(())
    }

    /// Sends all output.
    pub(crate) async fn flush(&mut self) -> Result<(), Disconnect> {
        if self.output.is_empty() && !self.unflushed {
            return Ok(());
        }
        self.send().await?;
        timeout(self.write_time_max, self.stream.flush())
            .await
            .map_err(|_| Disconnect::WriteTimedOut)??;
        self.unflushed = false;
        if self.output.capacity() > KEPT_OCTETS {
            self.output = BytesMut::new();
        }
        Ok(())
    }

    /// Whether octets of the peer have come that nobody has taken yet.
    pub(crate) fn has_input(&self) -> bool {
        !self.input.is_empty()
    }

    /// Sends all output and gives the stream back, so that TLS can begin on it.
    ///
    /// [`Disconnect::OctetsBeforeTls`] when the peer has sent more than was taken: what comes in
    /// the clear must never be read as if it had come under TLS.
    pub(crate) async fn into_stream(mut self) -> Result<S, Disconnect> {
        self.flush().await?;
        if self.has_input() {
            Err(Disconnect::OctetsBeforeTls)
        } else {
            Ok(self.stream.into_below())
        }
    }

    /// Whether octets are compressed, both ways.
    pub(crate) fn is_deflated(&self) -> bool {
        self.stream.is_deflated()
    }

    /// Compresses behind what was put so far; what has come and nobody has taken is compressed
    /// already, so that nothing said in the clear is read as said behind that point.
    pub(crate) async fn begin_deflate(&mut self) -> Result<(), Disconnect> {
        self.flush().await?;
        self.scanned = 0;
        self.stream.begin(std::mem::take(&mut self.input));
        Ok(())
    }

    /// Compresses no more behind what was put so far, nor is compressed what the peer sends behind the
    /// flush of the line that was taken last (RFC 8437 §4.1).
    ///
    /// [`Disconnect::CompressionUnended`] where that cannot be told: more than the line is in its flush,
    /// or no flush comes within [`END_TIME_MAX`].
    pub(crate) async fn end_deflate(&mut self) -> Result<(), Disconnect> {
        self.flush().await?;
        if self.has_input() {
            return Err(Disconnect::CompressionUnended);
        }
        let end = poll_fn(|context| self.stream.poll_end(context));
        let rest =
            timeout(END_TIME_MAX, end).await.map_err(|_| Disconnect::CompressionUnended)??;
        self.input = rest.ok_or(Disconnect::CompressionUnended)?;
        self.scanned = 0;
        Ok(())
    }

    async fn send(&mut self) -> Result<(), Disconnect> {
        let sending = async {
            self.unflushed |= self.output.has_remaining();
            while self.output.has_remaining() {
                // Octet by octet accounted for: a wait cancelled here resumes where it stopped.
                let written = self.stream.write(&self.output).await?;
                if written == 0 {
                    return Err(Disconnect::Io(io::ErrorKind::WriteZero.into()));
                }
                self.output.advance(written);
            }
            Ok(())
        };
        timeout(self.write_time_max, sending).await.map_err(|_| Disconnect::WriteTimedOut)?
    }

    /// Ends the stream in both directions, so that the peer can read the last answer.
    pub(crate) async fn close(mut self) {
        // The peer may be gone already; nothing is left to be told then.
        if self.flush().await.is_err() {
            return;
        }
        let linger = async {
            let _ = self.stream.shutdown().await;
            let stream = self.stream.below();
            let mut discarded = 0;
            while discarded < LINGER_OCTETS_MAX {
                self.input.clear();
                self.input.reserve(READ_OCTETS);
                match stream.read_buf(&mut self.input).await {
                    Ok(read) if read > 0 => discarded += read,
                    _ => return,
                }
            }
        };
        // A peer that does not close in time is not waited for.
        let _ = timeout(LINGER_TIME, linger).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(capacity: usize) -> (Lines<tokio::io::DuplexStream>, tokio::io::DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(capacity);
        (Lines::new(ours, Duration::from_secs(5)), theirs)
    }

    #[tokio::test]
    async fn lines_come_out_however_the_octets_arrive() {
        let (mut lines, mut peer) = pair(1);
        tokio::spawn(async move { peer.write_all(b"one\r\ntwo\nthree").await });
        assert_eq!(lines.line(10).await.unwrap(), "one\r\n");
        assert_eq!(lines.line(10).await.unwrap(), "two\n");
        assert!(matches!(lines.line(10).await, Err(Disconnect::Closed)));
    }

    #[tokio::test]
    async fn an_endless_line_is_refused_within_its_bound() {
        let (mut lines, mut peer) = pair(1 << 20);
        peer.write_all(&vec![b'x'; 100_000]).await.unwrap();
        assert!(matches!(lines.line(1_000).await, Err(Disconnect::LineTooLong(1_000))));
        assert!(lines.input.len() <= 1_000 + READ_OCTETS);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_read_is_dropped() {
        let (mut lines, _peer) = pair(10);
        let outcome = lines.put(&vec![b'x'; PIECE_OCTETS]).await;
        assert!(matches!(outcome, Err(Disconnect::WriteTimedOut)));
    }

    #[tokio::test]
    async fn a_cancelled_wait_loses_nothing() {
        let (mut lines, mut peer) = pair(100);
        peer.write_all(b"DO").await.unwrap();
        let wait = timeout(Duration::from_millis(20), lines.line(10)).await;
        assert!(wait.is_err());
        peer.write_all(b"NE\r\n").await.unwrap();
        assert_eq!(lines.line(10).await.unwrap(), "DONE\r\n");
    }
}
