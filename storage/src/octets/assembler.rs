//! Cuts octets into chunks.
//!
//! Inline octets (headers, boundaries, small parts) of one message go together into one chunk,
//! closed and followed by another at [`INLINE_OCTETS_MAX`]. A [`Run`] is a body, or what a body
//! decodes to: below [`PART_OCTETS_MIN`] it goes inline, up to [`CHUNK_OCTETS_MAX`] it is one chunk,
//! beyond that it is cut where its content says so, so that a change in a large file leaves most
//! of its chunks as they were.
//!
//! Memory: one open inline chunk and one open chunk per run, and what the caller has not taken
//! yet out of [`Assembler::take_closed`].
//!
//! Not here: what is inline and what is a run (`octets::splitter`).

use fastcdc::v2020::FastCDC;

use super::recipe::{Piece, Segment, push_raw};

/// Octets of an inline chunk.
pub const INLINE_OCTETS_MAX: usize = 1 << 20;
/// Bodies below this many octets are inline.
pub const PART_OCTETS_MIN: usize = 4 << 10;
/// Octets of any other chunk.
pub const CHUNK_OCTETS_MAX: usize = 1 << 20;

const CUT_OCTETS_MIN: usize = 256 << 10;
const CUT_OCTETS_AVERAGE: usize = 512 << 10;

/// A chunk that will not change any more.
#[derive(Debug, Eq, PartialEq)]
pub struct ClosedChunk {
    /// Its position in the recipe's table.
    pub position: u32,
    /// Its octets.
    pub plain: Vec<u8>,
}

/// The open inline chunk, and the chunks closed so far.
#[derive(Debug, Default)]
pub struct Assembler {
    chunks: u32,
    inline: Option<ClosedChunk>,
    closed: Vec<ClosedChunk>,
}

impl Assembler {
    /// Adds inline octets.
    pub fn inline(&mut self, mut octets: &[u8], segments: &mut Vec<Segment>) {
        while !octets.is_empty() {
            let inline = match &mut self.inline {
                Some(inline) => inline,
                closed => {
                    let position = self.chunks;
                    self.chunks += 1;
                    closed.insert(ClosedChunk { position, plain: Vec::new() })
                }
            };
            let room = INLINE_OCTETS_MAX - inline.plain.len();
            let (now, later) = octets.split_at(room.min(octets.len()));
            push_raw(segments, piece(inline.position, inline.plain.len(), now.len()));
            inline.plain.extend_from_slice(now);
            octets = later;
            if inline.plain.len() == INLINE_OCTETS_MAX {
                self.closed.extend(self.inline.take());
            }
        }
    }

    fn chunk(&mut self, plain: Vec<u8>, segments: &mut Vec<Segment>) {
        let position = self.chunks;
        self.chunks += 1;
        push_raw(segments, piece(position, 0, plain.len()));
        self.closed.push(ClosedChunk { position, plain });
    }

    /// Hands over the chunks closed since the last call.
    pub fn take_closed(&mut self) -> Vec<ClosedChunk> {
        std::mem::take(&mut self.closed)
    }

    /// Closes the inline chunk: the message is at its end.
    pub fn finish(&mut self) {
        self.closed.extend(self.inline.take());
    }
}

/// Both lengths are bounded by the chunk sizes above.
fn piece(chunk: u32, offset: usize, octets: usize) -> Piece {
    let number = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    Piece { chunk, offset: number(offset), octets: number(octets) }
}

/// Octets that belong together.
#[derive(Debug, Default)]
pub struct Run {
    open: Vec<u8>,
    cut: bool,
    segments: Vec<Segment>,
    octets: u64,
}

impl Run {
    /// Adds octets.
    pub fn push(&mut self, mut octets: &[u8], assembler: &mut Assembler) {
        self.octets += octets.len() as u64;
        while !octets.is_empty() {
            let room = CHUNK_OCTETS_MAX + 1 - self.open.len();
            let (now, later) = octets.split_at(room.min(octets.len()));
            if self.open.len() > CUT_OCTETS_MIN {
                // It will not get larger than this; doubling would.
                self.open.reserve_exact(room);
            }
            self.open.extend_from_slice(now);
            octets = later;
            if self.open.len() > CHUNK_OCTETS_MAX {
                self.cut_once(assembler);
            }
        }
    }

    /// Octets added so far.
    #[must_use]
    pub fn octets(&self) -> u64 {
        self.octets
    }

    fn cut_once(&mut self, assembler: &mut Assembler) {
        let cutter = FastCDC::new(&self.open, CUT_OCTETS_MIN, CUT_OCTETS_AVERAGE, CHUNK_OCTETS_MAX);
        let (_, end) = cutter.cut(0, self.open.len());
        let end = if end == 0 { self.open.len() } else { end.min(CHUNK_OCTETS_MAX) };
        let rest = self.open.split_off(end.min(self.open.len()));
        let plain = std::mem::replace(&mut self.open, rest);
        assembler.chunk(plain, &mut self.segments);
        self.cut = true;
    }

    /// Ends the run and returns the segments that stand for it.
    #[must_use]
    pub fn finish(mut self, assembler: &mut Assembler) -> Vec<Segment> {
        if self.cut {
            while !self.open.is_empty() {
                self.cut_once(assembler);
            }
        } else if self.open.len() < PART_OCTETS_MIN {
            assembler.inline(&self.open, &mut self.segments);
        } else {
            assembler.chunk(self.open, &mut self.segments);
        }
        self.segments
    }
}

#[cfg(test)]
mod tests {
    use trust::random::{RandomSource as _, SeededRandom};

    use super::*;

    fn random(octets: usize, seed: u64) -> Vec<u8> {
        let mut buffer = vec![0; octets];
        SeededRandom::new(seed).fill(&mut buffer);
        buffer
    }

    fn chunks_of(octets: &[u8], step: usize) -> Vec<Vec<u8>> {
        let mut assembler = Assembler::default();
        let mut run = Run::default();
        for part in octets.chunks(step) {
            run.push(part, &mut assembler);
        }
        let _ = run.finish(&mut assembler);
        assembler.finish();
        assembler.take_closed().into_iter().map(|chunk| chunk.plain).collect()
    }

    #[test]
    fn cuts_depend_on_the_octets_and_not_on_how_they_arrive() {
        let octets = random(5 << 20, 1);
        let chunks = chunks_of(&octets, 64 << 10);
        assert!(chunks.len() > 4);
        assert_eq!(chunks, chunks_of(&octets, 1_001));
        assert_eq!(chunks.concat(), octets);
        assert!(chunks.iter().all(|chunk| chunk.len() <= CHUNK_OCTETS_MAX));
    }

    #[test]
    fn octets_put_in_front_leave_most_chunks_as_they_were() {
        let octets = random(8 << 20, 2);
        let mut longer = random(777, 3);
        longer.extend_from_slice(&octets);
        let before = chunks_of(&octets, 64 << 10);
        let after = chunks_of(&longer, 64 << 10);
        let kept = after.iter().filter(|chunk| before.contains(chunk)).count();
        assert!(kept * 10 >= after.len() * 7, "{kept} of {}", after.len());
    }

    #[test]
    fn a_body_up_to_the_largest_chunk_is_one_chunk() {
        assert_eq!(chunks_of(&random(CHUNK_OCTETS_MAX, 4), 4_096).len(), 1);
        assert!(chunks_of(&random(CHUNK_OCTETS_MAX + 1, 4), 4_096).len() > 1);
    }

    #[test]
    fn an_inline_chunk_is_followed_by_another_when_it_is_full() {
        let mut assembler = Assembler::default();
        let mut segments = Vec::new();
        let octets = random(INLINE_OCTETS_MAX + 10, 5);
        assembler.inline(&octets, &mut segments);
        assembler.finish();
        let closed = assembler.take_closed();
        assert_eq!(closed.len(), 2);
        assert_eq!(segments.len(), 2);
        assert_eq!([closed[0].plain.as_slice(), &closed[1].plain].concat(), octets);
    }
}
