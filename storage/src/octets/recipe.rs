//! Recipes: how the octets of a message are rebuilt from chunks.
//!
//! A recipe is a table of chunks and a list of segments, whose octets follow each other:
//!
//! * [`Segment::Raw`]: a range of one chunk, as it is.
//! * [`Segment::Base64`]: the octets of inner segments, encoded (RFC 4648 §4) in lines of one
//!   length. An embedded message that is itself base64 is the same thing with the segments of
//!   that message inside.
//!
//! Invariants of a decoded recipe (what does not hold them is damage): every
//! range lies inside its chunk, the lengths add up to the size of the message, base64 stands
//! inside base64 at most [`NESTING_MAX`] times.
//!
//! Not here: the record around a recipe (`octets::message`), the octets (`octets::rebuild`).

use crate::ids::{ChunkId, StoredId};

/// Base64 inside base64 at most.
pub const NESTING_MAX: usize = 4;

/// One chunk that a recipe uses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ChunkRef {
    /// The digest of its plain octets.
    pub chunk: ChunkId,
    /// Its name in packs and indexes.
    pub stored: StoredId,
    /// Its plain octets.
    pub plain_octets: u32,
}

/// A range of one chunk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Piece {
    /// Position in the recipe's table of chunks.
    pub chunk: u32,
    /// First octet in the chunk.
    pub offset: u32,
    /// Octets.
    pub octets: u32,
}

/// What ends the lines of a base64 text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LineEnding {
    /// CR and LF.
    CrLf,
    /// A bare LF.
    Lf,
}

impl LineEnding {
    /// The line ending's octets.
    #[must_use]
    pub fn octets(self) -> &'static [u8] {
        match self {
            Self::CrLf => b"\r\n",
            Self::Lf => b"\n",
        }
    }
}

/// How some octets stand encoded in a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Base64Form {
    /// Characters in each line but the last; 0 = one line without end.
    pub line_length: u32,
    /// What ends each line but the last.
    pub line_ending: LineEnding,
    /// Whether the last group is padded with `=`.
    pub padded: bool,
}

impl Base64Form {
    /// Characters, line endings not counted, that `plain_octets` octets become.
    #[must_use]
    pub fn characters(&self, plain_octets: u64) -> u64 {
        let groups = plain_octets / 3 * 4;
        match (plain_octets % 3, self.padded) {
            (0, _) => groups,
            (_, true) => groups + 4,
            (rest, false) => groups + rest + 1,
        }
    }

    /// Octets, line endings counted, that `plain_octets` octets become.
    #[must_use]
    pub fn encoded_octets(&self, plain_octets: u64) -> u64 {
        let characters = self.characters(plain_octets);
        match characters {
            0 => 0,
            _ => self.position(characters - 1) + 1,
        }
    }

    /// Where a character stands in the text.
    #[must_use]
    pub fn position(&self, character: u64) -> u64 {
        let lines_before = match self.line_length {
            0 => 0,
            length => character / u64::from(length),
        };
        character + lines_before * self.line_ending.octets().len() as u64
    }

    /// The last character that stands at or before a position of the text.
    #[must_use]
    pub fn character_at(&self, position: u64) -> u64 {
        if self.line_length == 0 {
            return position;
        }
        let length = u64::from(self.line_length);
        let stride = length + self.line_ending.octets().len() as u64;
        position / stride * length + (position % stride).min(length - 1)
    }
}

/// Octets of a message that follow each other.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Segment {
    /// As they stand in a chunk.
    Raw(Piece),
    /// Encoded as base64.
    Base64 {
        /// How.
        form: Base64Form,
        /// What: the sum of the octets of `plain`.
        plain_octets: u64,
        /// The encoded octets, themselves as segments.
        plain: Vec<Segment>,
    },
}

impl Segment {
    /// Octets of the message that the segment stands for.
    #[must_use]
    pub fn octets(&self) -> u64 {
        match self {
            Self::Raw(piece) => u64::from(piece.octets),
            Self::Base64 { form, plain_octets, .. } => form.encoded_octets(*plain_octets),
        }
    }
}

/// Adds a raw range, joined to the segment before when the two are neighbours in one chunk.
pub fn push_raw(segments: &mut Vec<Segment>, piece: Piece) {
    if piece.octets == 0 {
        return;
    }
    if let Some(Segment::Raw(last)) = segments.last_mut()
        && last.chunk == piece.chunk
        && last.offset.checked_add(last.octets) == Some(piece.offset)
        && let Some(octets) = last.octets.checked_add(piece.octets)
    {
        last.octets = octets;
        return;
    }
    segments.push(Segment::Raw(piece));
}

/// How a message is rebuilt.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Recipe {
    /// Every chunk, in the order in which the recipe first names it.
    pub chunks: Vec<ChunkRef>,
    /// What follows what.
    pub segments: Vec<Segment>,
}

/// A recipe as fields of a record.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct RecipeFields {
    /// ChunkIds, 32 octets each, in table order.
    #[prost(bytes = "vec", tag = "1")]
    chunk_ids: Vec<u8>,
    #[prost(uint32, repeated, tag = "2")]
    plain_octets: Vec<u32>,
    #[prost(message, repeated, tag = "3")]
    segments: Vec<SegmentFields>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct SegmentFields {
    #[prost(uint32, tag = "1")]
    chunk: u32,
    #[prost(uint32, tag = "2")]
    offset: u32,
    #[prost(uint32, tag = "3")]
    octets: u32,
    /// Present for base64; the three fields above are then absent.
    #[prost(message, optional, tag = "4")]
    base64: Option<Base64Fields>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Base64Fields {
    #[prost(uint32, tag = "1")]
    line_length: u32,
    #[prost(bool, tag = "2")]
    lf_only: bool,
    #[prost(bool, tag = "3")]
    unpadded: bool,
    #[prost(message, repeated, tag = "4")]
    plain: Vec<SegmentFields>,
}

impl Recipe {
    pub(crate) fn to_fields(&self) -> RecipeFields {
        RecipeFields {
            chunk_ids: self.chunks.iter().flat_map(|chunk| chunk.chunk.0).collect(),
            plain_octets: self.chunks.iter().map(|chunk| chunk.plain_octets).collect(),
            segments: self.segments.iter().map(segment_fields).collect(),
        }
    }

    /// Rebuilds and verifies a recipe; `stored` are the names of its chunks, in table order.
    pub(crate) fn from_fields(
        fields: RecipeFields,
        stored: &[StoredId],
        size: u64,
    ) -> Result<Self, &'static str> {
        let (chunk_ids, rest) = fields.chunk_ids.as_chunks::<32>();
        if !rest.is_empty()
            || chunk_ids.len() != stored.len()
            || fields.plain_octets.len() != stored.len()
        {
            return Err("the table of chunks contradicts itself");
        }
        let chunks: Vec<ChunkRef> = chunk_ids
            .iter()
            .zip(stored)
            .zip(&fields.plain_octets)
            .map(|((chunk, &stored), &plain_octets)| ChunkRef {
                chunk: ChunkId(*chunk),
                stored,
                plain_octets,
            })
            .collect();
        let segments = segments_of(fields.segments, &chunks, NESTING_MAX)?;
        if octets_of(&segments) != Some(size) {
            return Err("the segments do not add up to the size of the message");
        }
        Ok(Self { chunks, segments })
    }
}

fn segment_fields(segment: &Segment) -> SegmentFields {
    match segment {
        Segment::Raw(Piece { chunk, offset, octets }) => {
            SegmentFields { chunk: *chunk, offset: *offset, octets: *octets, base64: None }
        }
        Segment::Base64 { form, plain, .. } => SegmentFields {
            base64: Some(Base64Fields {
                line_length: form.line_length,
                lf_only: form.line_ending == LineEnding::Lf,
                unpadded: !form.padded,
                plain: plain.iter().map(segment_fields).collect(),
            }),
            ..SegmentFields::default()
        },
    }
}

fn segments_of(
    fields: Vec<SegmentFields>,
    chunks: &[ChunkRef],
    nesting_left: usize,
) -> Result<Vec<Segment>, &'static str> {
    let mut segments = Vec::with_capacity(fields.len());
    for SegmentFields { chunk, offset, octets, base64 } in fields {
        let Some(base64) = base64 else {
            let end = offset.checked_add(octets);
            let known = chunks.get(chunk as usize).map(|chunk| chunk.plain_octets);
            if end.is_none() || end > known {
                return Err("a segment reaches beyond its chunk");
            }
            segments.push(Segment::Raw(Piece { chunk, offset, octets }));
            continue;
        };
        let nesting_left = nesting_left.checked_sub(1).ok_or("base64 is nested too deeply")?;
        let plain = segments_of(base64.plain, chunks, nesting_left)?;
        let plain_octets = octets_of(&plain).ok_or("the segments are too long")?;
        let form = Base64Form {
            line_length: base64.line_length,
            line_ending: if base64.lf_only { LineEnding::Lf } else { LineEnding::CrLf },
            padded: !base64.unpadded,
        };
        segments.push(Segment::Base64 { form, plain_octets, plain });
    }
    Ok(segments)
}

/// The sum of the segments' octets; `None` beyond 2⁵⁶, which no message has and which keeps every
/// later sum from overflowing.
fn octets_of(segments: &[Segment]) -> Option<u64> {
    segments.iter().try_fold(0_u64, |sum, segment| {
        sum.checked_add(segment.octets()).filter(|&sum| sum < 1 << 56)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(line_length: u32, padded: bool) -> Base64Form {
        Base64Form { line_length, line_ending: LineEnding::CrLf, padded }
    }

    #[test]
    fn lengths_of_base64_texts() {
        // Octets, form, length of the text: RFC 4648 §10 in lines of different lengths.
        let cases = [
            (0, form(76, true), 0),
            (1, form(76, true), 4),
            (1, form(76, false), 2),
            (2, form(0, false), 3),
            (6, form(4, true), 10),
            (6, form(3, true), 12),
            (57, form(76, true), 76),
            (58, form(76, true), 82),
        ];
        for (plain, form, text) in cases {
            assert_eq!(form.encoded_octets(plain), text, "{plain} octets as {form:?}");
        }
    }

    #[test]
    fn positions_and_characters_are_inverse() {
        let form = form(5, true);
        for character in 0..40 {
            assert_eq!(form.character_at(form.position(character)), character);
        }
        assert_eq!(form.character_at(5), 4, "a line ending belongs to the character before");
        assert_eq!(form.character_at(6), 4);
        assert_eq!(form.character_at(7), 5);
    }

    #[test]
    fn neighbours_in_one_chunk_are_one_segment() {
        let mut segments = Vec::new();
        push_raw(&mut segments, Piece { chunk: 0, offset: 0, octets: 4 });
        push_raw(&mut segments, Piece { chunk: 0, offset: 4, octets: 2 });
        push_raw(&mut segments, Piece { chunk: 1, offset: 6, octets: 0 });
        push_raw(&mut segments, Piece { chunk: 1, offset: 6, octets: 1 });
        assert_eq!(segments.len(), 2);
        assert_eq!(segments[0].octets(), 6);
    }
}
