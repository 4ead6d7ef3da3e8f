//! Raw DEFLATE (RFC 1951) over a stream, both ways, from some point of the connection on: the layer
//! of IMAP's COMPRESS (RFC 4978 §3). It lies above TLS: what goes out is compressed first.
//!
//! Invariants:
//!
//! * Reading decompresses no more than is asked for, so the bounds of the reader hold for what was
//!   decompressed, however small it came. Compressed octets that wait have at most
//!   [`READ_OCTETS`] (or what stood in the reader's buffer when compression began).
//! * Nothing stays in the compressor behind a flush; a wait that is cancelled loses no octet.
//! * One call decompresses up to the end of one flush at most, and [`Layered::poll_ahead`] nothing:
//!   whoever reads no further than a line knows that nothing behind the flush of that line was taken
//!   for compressed, so that compression can end there ([`Layered::poll_end`]).
//! * A stream that waits for its peer holds 51 KiB more than one without the layer: the
//!   decompressor with the window of 32 KiB that a peer may use (46.4 KiB), and [`HISTORY_OCTETS`]
//!   of what was sent. The compressor (259 KiB, whatever its level) lives from the first octet of
//!   an answer to its flush; the next one begins with that history as its dictionary, so that
//!   nothing is lost by it: the peer's window holds the same octets. As measured by the test
//!   `imap_compress_memory`.
//!
//! Not here: when compression begins and ends (`imap::command::compress`).

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Compressed octets asked of the stream at a time.
const READ_OCTETS: usize = 4 * 1024;

/// Octets that one call of the compressor may make.
const STEP_OCTETS: usize = 4 * 1024;

/// Compressed octets that may wait to be sent before no more are made.
const SENDING_OCTETS_MAX: usize = 16 * 1024;

/// The window of our compressor, as a power of two.
const WINDOW_BITS: u8 = 12;

/// Octets that were sent last and are kept between answers: our window.
const HISTORY_OCTETS: usize = 1 << WINDOW_BITS;

/// The largest window (RFC 1951 §2): a peer chooses his own.
const PEER_WINDOW_BITS: u8 = 15;

/// How a flush ends: an empty block that is stored, without its three bits (RFC 1951 §3.2.4).
const FLUSH_END: [u8; 4] = [0, 0, 0xff, 0xff];

/// Between speed and size (RFC 4978 §4 has 1 to 5).
const LEVEL: u32 = 3;

/// What came is not DEFLATE. Inside an [`io::Error`].
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("compressed octets of the peer cannot be decompressed")]
pub(crate) struct Corrupt;

/// A stream, and the layer above it once it has begun.
pub(crate) struct Layered<S> {
    stream: S,
    deflate: Option<Box<Deflate>>,
}

impl<S> fmt::Debug for Layered<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let deflated = self.is_deflated();
        formatter.debug_struct("Layered").field("deflated", &deflated).finish_non_exhaustive()
    }
}

impl<S> Layered<S> {
    /// `stream` as it is.
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, deflate: None }
    }

    /// Whether octets are compressed.
    pub(crate) fn is_deflated(&self) -> bool {
        self.deflate.is_some()
    }

    /// Compresses from here on; `received` has come already and is compressed.
    pub(crate) fn begin(&mut self, received: BytesMut) {
        self.deflate.get_or_insert_with(|| Box::new(Deflate::new(received)));
    }

    /// The stream below.
    pub(crate) fn below(&mut self) -> &mut S {
        &mut self.stream
    }

    /// The stream below, without the layer.
    pub(crate) fn into_below(self) -> S {
        self.stream
    }
}

/// Both directions.
struct Deflate {
    inflater: Decompress,
    /// What has come and was not decompressed yet.
    received: BytesMut,
    /// The last octets that were decompressed.
    last: [u8; FLUSH_END.len()],
    /// Whether the peer has ended his compressed stream.
    ended: bool,
    corrupt: bool,
    deflater: Option<Compress>,
    /// The last octets that were compressed.
    history: Vec<u8>,
    /// What is compressed and not yet sent.
    sending: BytesMut,
    /// Whether the compressor has taken octets that it may not have given out.
    unflushed: bool,
}

impl Deflate {
    fn new(received: BytesMut) -> Self {
        Self {
            inflater: Decompress::new_with_window_bits(false, PEER_WINDOW_BITS),
            received,
            last: [0xff; FLUSH_END.len()],
            ended: false,
            corrupt: false,
            deflater: None,
            history: Vec::new(),
            sending: BytesMut::new(),
            unflushed: false,
        }
    }

    /// Decompresses into `room`, up to the end of one flush; returns how many octets, 0 where more must
    /// come first or the flush had no more.
    fn inflate(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let (taken, made) = (self.inflater.total_in(), self.inflater.total_out());
        let some = &self.received[..self.end_of_flush()];
        let mut failed = false;
        if !self.corrupt && !self.ended {
            match self.inflater.decompress(some, room, FlushDecompress::None) {
                Ok(Status::StreamEnd) => self.ended = true,
                Ok(Status::Ok | Status::BufError) => {}
                Err(_) => failed = true,
            }
        }
        let taken = counted(taken, self.inflater.total_in()).min(some.len());
        let made = counted(made, self.inflater.total_out()).min(room.len());
        let stuck = taken == 0 && made == 0 && !some.is_empty() && !room.is_empty();
        self.corrupt |= failed || (stuck && !self.ended);
        self.take(taken);
        // What came before the fault is read first.
        if made == 0 && self.corrupt {
            return Err(io::Error::new(io::ErrorKind::InvalidData, Corrupt));
        }
        Ok(made)
    }

    /// Goes on to the end of the flush that was begun; returns how many octets there were before it.
    fn inflate_end(&mut self) -> io::Result<usize> {
        if self.last == FLUSH_END { Ok(0) } else { self.inflate(&mut [0]) }
    }

    /// How many of the octets that have come go on to the end of a flush, or all.
    fn end_of_flush(&self) -> usize {
        let mut last = self.last;
        let ends = self.received.iter().position(|octet| {
            push(&mut last, *octet);
            last == FLUSH_END
        });
        ends.map_or(self.received.len(), |place| place + 1)
    }

    /// Puts away what was decompressed.
    fn take(&mut self, octets: usize) {
        for octet in &self.received[octets.saturating_sub(FLUSH_END.len())..octets] {
            push(&mut self.last, *octet);
        }
        self.received.advance(octets);
        if self.received.is_empty() {
            self.received = BytesMut::new();
        }
    }

    /// Waits for more compressed octets; 0 = the stream has ended.
    fn poll_receive<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut octets = [0; READ_OCTETS];
        let mut came = ReadBuf::new(&mut octets);
        ready!(Pin::new(stream).poll_read(context, &mut came))?;
        self.received.extend_from_slice(came.filled());
        Poll::Ready(Ok(came.filled().len()))
    }

    /// Compresses what there is room for of `octets`, and returns how many that is.
    fn compress(&mut self, octets: &[u8]) -> io::Result<usize> {
        let mut taken = 0;
        while taken < octets.len() && self.sending.len() < SENDING_OCTETS_MAX {
            self.unflushed = true;
            taken += self.step(&octets[taken..], FlushCompress::None)?.0;
        }
        self.remember(&octets[..taken]);
        Ok(taken)
    }

    /// Lets the compressor give out what it has taken, as far as there is room, and then go.
    fn give_out(&mut self) -> io::Result<()> {
        while self.unflushed && self.sending.len() < SENDING_OCTETS_MAX {
            (_, self.unflushed) = self.step(&[], FlushCompress::Sync)?;
        }
        if !self.unflushed {
            self.deflater = None;
        }
        Ok(())
    }

    /// One call of the compressor: how many of `octets` it took, and whether it may have more to give.
    fn step(&mut self, octets: &[u8], flush: FlushCompress) -> io::Result<(usize, bool)> {
        let deflater = match &mut self.deflater {
            Some(deflater) => deflater,
            none => {
                let level = Compression::new(LEVEL);
                let mut new = Compress::new_with_window_bits(level, false, WINDOW_BITS);
                if !self.history.is_empty() {
                    new.set_dictionary(&self.history).map_err(io::Error::other)?;
                }
                none.insert(new)
            }
        };
        let mut made = [0; STEP_OCTETS];
        let (taken, given) = (deflater.total_in(), deflater.total_out());
        deflater.compress(octets, &mut made, flush).map_err(io::Error::other)?;
        let given = counted(given, deflater.total_out()).min(made.len());
        self.sending.extend_from_slice(&made[..given]);
        Ok((counted(taken, deflater.total_in()), given == made.len()))
    }

    /// Keeps the end of what was sent.
    fn remember(&mut self, sent: &[u8]) {
        let sent = &sent[sent.len().saturating_sub(HISTORY_OCTETS)..];
        let surplus = (self.history.len() + sent.len()).saturating_sub(HISTORY_OCTETS);
        self.history.drain(..surplus);
        self.history.reserve_exact(sent.len());
        self.history.extend_from_slice(sent);
    }

    fn poll_send<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.sending.has_remaining() {
            let written = ready!(Pin::new(&mut *stream).poll_write(context, &self.sending))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sending.advance(written);
        }
        self.sending = BytesMut::new();
        Poll::Ready(Ok(()))
    }
}

/// Puts `octet` behind the `last` ones.
fn push(last: &mut [u8; FLUSH_END.len()], octet: u8) {
    last.rotate_left(1);
    if let Some(newest) = last.last_mut() {
        *newest = octet;
    }
}

/// How far a counter went.
fn counted(before: u64, after: u64) -> usize {
    usize::try_from(after.saturating_sub(before)).unwrap_or(usize::MAX)
}

impl<S: AsyncRead + Unpin> Layered<S> {
    /// Takes in what the peer sends, without decompressing it; 0 = he has sent his last octet. Waits for
    /// ever once there is as much as may wait. Without the layer there is nothing to wait for here.
    pub(crate) fn poll_ahead(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match &mut self.deflate {
            Some(deflate) if deflate.received.len() < READ_OCTETS => {
                deflate.poll_receive(&mut self.stream, context)
            }
            _ => Poll::Pending,
        }
    }

    /// Reads on to where the peer's compression ends, with his flush or his compressed stream, and
    /// compresses no more, both ways: to be called behind a flush. Returns what has come behind that,
    /// which is not compressed; `None` where more than an end was compressed.
    pub(crate) fn poll_end(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Option<BytesMut>>> {
        let Some(deflate) = &mut self.deflate else {
            return Poll::Ready(Ok(Some(BytesMut::new())));
        };
        loop {
            // What is decompressed and not yet given out comes first.
            if deflate.inflate_end()? > 0 {
                return Poll::Ready(Ok(None));
            }
            if deflate.ended || deflate.last == FLUSH_END {
                let rest = std::mem::take(&mut deflate.received);
                self.deflate = None;
                return Poll::Ready(Ok(Some(rest)));
            }
            if deflate.received.is_empty()
                && ready!(deflate.poll_receive(&mut self.stream, context))? == 0
            {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Layered<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, deflate } = self.get_mut();
        let Some(deflate) = deflate else { return Pin::new(stream).poll_read(context, buffer) };
        loop {
            let made = deflate.inflate(buffer.initialize_unfilled())?;
            buffer.advance(made);
            if made > 0 || deflate.ended || buffer.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            if deflate.received.is_empty() && ready!(deflate.poll_receive(stream, context))? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Layered<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Self { stream, deflate } = self.get_mut();
        let Some(deflate) = deflate else { return Pin::new(stream).poll_write(context, octets) };
        loop {
            ready!(deflate.poll_send(stream, context))?;
            let taken = deflate.compress(octets)?;
            if taken > 0 || octets.is_empty() {
                return Poll::Ready(Ok(taken));
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, deflate } = self.get_mut();
        if let Some(deflate) = deflate {
            loop {
                ready!(deflate.poll_send(stream, context))?;
                if !deflate.unflushed {
                    break;
                }
                deflate.give_out()?;
            }
        }
        Pin::new(stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        time::timeout,
    };

    use super::*;

    fn layered(capacity: usize) -> (Layered<DuplexStream>, DuplexStream) {
        let (ours, theirs) = duplex(capacity);
        let mut layered = Layered::new(ours);
        layered.begin(BytesMut::new());
        (layered, theirs)
    }

    /// Octets that do not compress, always the same.
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        };
        (0..length).map(|_| next()).collect()
    }

    /// Text in which later lines are like earlier ones, near and far.
    fn text(length: usize) -> Vec<u8> {
        let lines = noise(length / 8 + 1);
        let mut text: Vec<u8> =
            lines.iter().flat_map(|number| format!("riga {number}\r\n").into_bytes()).collect();
        text.truncate(length);
        text
    }

    fn deflated(octets: &[u8], flush: FlushCompress) -> Vec<u8> {
        let mut out = Vec::with_capacity(octets.len() + 1_000);
        Compress::new(Compression::default(), false).compress_vec(octets, &mut out, flush).unwrap();
        out
    }

    /// What one inflater makes of the whole stream, as far as it was flushed.
    fn inflated(octets: &[u8]) -> Vec<u8> {
        let (mut inflater, mut out) = (Decompress::new(false), Vec::new());
        loop {
            out.reserve(65_536);
            let taken = usize::try_from(inflater.total_in()).unwrap();
            let before = out.len();
            inflater.decompress_vec(&octets[taken..], &mut out, FlushDecompress::None).unwrap();
            if out.len() == before {
                return out;
            }
        }
    }

    #[tokio::test]
    async fn octets_that_come_one_by_one_are_read() {
        let (mut layer, mut peer) = layered(1);
        let expected = text(10_000);
        let sent = deflated(&expected, FlushCompress::Sync);
        tokio::spawn(async move {
            peer.write_all(&sent).await.unwrap();
            std::future::pending::<()>().await;
        });
        let mut read = vec![0; expected.len()];
        layer.read_exact(&mut read).await.unwrap();
        assert_eq!(read, expected);
    }

    #[tokio::test]
    async fn flushes_of_any_size_are_one_stream() {
        let (mut layer, mut peer) = layered(1 << 20);
        let (all, sizes) = ([text(200_000), noise(50_000), text(100_000)].concat(), noise(1_000));
        let mut left = all.as_slice();
        for size in sizes.iter().cycle().take(1_000) {
            // From nothing to several windows.
            let length = (usize::from(*size) * usize::from(*size) / 4).min(left.len());
            let (now, behind) = left.split_at(length);
            layer.write_all(now).await.unwrap();
            layer.flush().await.unwrap();
            left = behind;
        }
        assert!(left.is_empty());
        drop(layer);
        let mut came = Vec::new();
        peer.read_to_end(&mut came).await.unwrap();
        assert!(inflated(&came) == all);
    }

    #[tokio::test]
    async fn a_flush_that_just_fills_a_step_of_the_compressor_has_its_end() {
        for length in STEP_OCTETS - 40..STEP_OCTETS + 10 {
            let (mut layer, mut peer) = layered(1 << 20);
            let octets = noise(length);
            layer.write_all(&octets).await.unwrap();
            layer.flush().await.unwrap();
            drop(layer);
            let mut came = Vec::new();
            peer.read_to_end(&mut came).await.unwrap();
            assert!(came.ends_with(&FLUSH_END), "{length}");
            assert!(inflated(&came) == octets, "{length}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flush_that_is_cancelled_goes_on_where_it_was() {
        let (mut layer, mut peer) = layered(100);
        let octets = noise(3 * SENDING_OCTETS_MAX);
        let reading = tokio::spawn(async move {
            let (mut came, mut some) = (Vec::new(), [0; 100]);
            while let Ok(read @ 1..) = peer.read(&mut some).await {
                came.extend_from_slice(&some[..read]);
                tokio::time::sleep(Duration::from_millis(7)).await;
            }
            came
        });
        let mut left = octets.as_slice();
        let mut cancelled = 0;
        while !left.is_empty() {
            match timeout(Duration::from_millis(3), layer.write(left)).await {
                Ok(taken) => left = &left[taken.unwrap()..],
                Err(_) => cancelled += 1,
            }
        }
        while timeout(Duration::from_millis(3), layer.flush()).await.is_err() {
            cancelled += 1;
        }
        assert!(cancelled > 100, "{cancelled}");
        drop(layer);
        assert!(inflated(&reading.await.unwrap()) == octets);
    }

    #[tokio::test]
    async fn a_stream_that_the_peer_ends_is_ended_whatever_follows() {
        let (mut layer, mut peer) = layered(1 << 20);
        let sent = [deflated(b"prova", FlushCompress::Finish), b"altro".to_vec()].concat();
        peer.write_all(&sent).await.unwrap();
        let mut read = Vec::new();
        layer.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"prova");
    }

    #[tokio::test]
    async fn nothing_behind_a_flush_is_decompressed_with_it() {
        let (mut layer, mut peer) = layered(1 << 20);
        let sent = [deflated(b"prova", FlushCompress::Sync), b"altro".to_vec()].concat();
        peer.write_all(&sent).await.unwrap();
        let mut read = [0; 100];
        assert_eq!(layer.read(&mut read).await.unwrap(), 5);
        let rest = poll_fn(|context| layer.poll_end(context)).await.unwrap();
        assert_eq!(rest.as_deref(), Some(&b"altro"[..]));
        assert!(!layer.is_deflated());
    }

    #[tokio::test]
    async fn what_is_no_deflate_fails_behind_what_came_before_it() {
        let (mut layer, mut peer) = layered(1 << 20);
        let sent = [deflated(b"prova", FlushCompress::Sync), vec![0xff; 10]].concat();
        peer.write_all(&sent).await.unwrap();
        let mut read = Vec::new();
        let error = layer.read_to_end(&mut read).await.unwrap_err();
        assert_eq!(read, b"prova");
        assert_eq!(error.to_string(), Corrupt.to_string());
    }
}
