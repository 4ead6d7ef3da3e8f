//! Rebuilds ranges of a message from its recipe.
//!
//! Two steps: [`chunks_needed`] says which chunks a range touches, the caller gets them, and
//! [`rebuild`] puts the octets together. Both follow the recipe only as far as the range needs.
//!
//! Not here: where chunks come from (`octets::store`, `octets::writer`).

use std::{collections::BTreeMap, ops::Range};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;

use super::recipe::{Base64Form, Recipe, Segment};

/// Octets that are rebuilt at a time, at most.
pub const WINDOW_OCTETS: u64 = 64 << 10;

/// The chunks, by position in the table, that `range` touches.
#[must_use]
pub fn chunks_needed(recipe: &Recipe, range: &Range<u64>) -> Vec<u32> {
    let mut needed = Vec::new();
    collect(&recipe.segments, range, &mut needed);
    needed.sort_unstable();
    needed.dedup();
    needed
}

fn collect(segments: &[Segment], range: &Range<u64>, needed: &mut Vec<u32>) {
    for (segment, part) in touched(segments, range) {
        match segment {
            Segment::Raw(piece) => needed.push(piece.chunk),
            Segment::Base64 { form, plain_octets, plain } => {
                collect(plain, &groups(*form, *plain_octets, &part).plain, needed);
            }
        }
    }
}

/// Appends the octets of `range` to `into`. `None` when a chunk is missing or too short: the
/// caller gave other chunks than [`chunks_needed`] asked for.
pub fn rebuild(
    segments: &[Segment],
    range: &Range<u64>,
    chunks: &BTreeMap<u32, Bytes>,
    into: &mut Vec<u8>,
) -> Option<()> {
    for (segment, part) in touched(segments, range) {
        match segment {
            Segment::Raw(piece) => {
                let start = u64::from(piece.offset) + part.start;
                let end = u64::from(piece.offset) + part.end;
                let range = usize::try_from(start).ok()?..usize::try_from(end).ok()?;
                into.extend_from_slice(chunks.get(&piece.chunk)?.get(range)?);
            }
            Segment::Base64 { form, plain_octets, plain } => {
                let groups = groups(*form, *plain_octets, &part);
                let mut octets = Vec::new();
                rebuild(plain, &groups.plain, chunks, &mut octets)?;
                let text = encode(*form, groups.first_character, &octets);
                let start = part.start.checked_sub(form.position(groups.first_character))?;
                let start = usize::try_from(start).ok()?;
                let length = usize::try_from(part.end - part.start).ok()?;
                into.extend_from_slice(text.get(start..start.checked_add(length)?)?);
            }
        }
    }
    Some(())
}

/// The segments that `range` touches, each with the touched range counted from its own start.
fn touched<'a>(
    segments: &'a [Segment],
    range: &Range<u64>,
) -> impl Iterator<Item = (&'a Segment, Range<u64>)> {
    let range = range.clone();
    let mut next = 0;
    segments.iter().filter_map(move |segment| {
        let start = next;
        next += segment.octets();
        let part = range.start.max(start)..range.end.min(next);
        (part.start < part.end).then(|| (segment, part.start - start..part.end - start))
    })
}

/// Whole groups of four characters around a range of a base64 text.
struct Groups {
    /// The octets they encode.
    plain: Range<u64>,
    /// The first of their characters.
    first_character: u64,
}

fn groups(form: Base64Form, plain_octets: u64, text: &Range<u64>) -> Groups {
    let first = form.character_at(text.start) / 4;
    let last = form.character_at(text.end.saturating_sub(1)) / 4;
    let plain = first * 3..((last + 1) * 3).min(plain_octets);
    Groups { plain, first_character: first * 4 }
}

/// Encodes octets, broken into lines as they stand when the first character is number
/// `first_character` of the text. The line ending before that character is not written; the one
/// after the last is, when that line is full: a range may end in it.
fn encode(form: Base64Form, first_character: u64, octets: &[u8]) -> Vec<u8> {
    let mut characters = STANDARD.encode(octets).into_bytes();
    if !form.padded {
        while characters.last() == Some(&b'=') {
            characters.pop();
        }
    }
    let Some(length) = usize::try_from(form.line_length).ok().filter(|&length| length > 0) else {
        return characters;
    };
    let column = usize::try_from(first_character % length as u64).unwrap_or(0);
    let ending = form.line_ending.octets();
    let lines = characters.len() / length + 2;
    let mut text = Vec::with_capacity(characters.len() + lines * ending.len());
    let (head, rest) = characters.split_at((length - column).min(characters.len()));
    for (line, full) in std::iter::once((head, length - column))
        .chain(rest.chunks(length).map(|line| (line, length)))
    {
        text.extend_from_slice(line);
        if line.len() == full {
            text.extend_from_slice(ending);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::octets::recipe::{LineEnding, Piece};

    fn reference(form: Base64Form, octets: &[u8]) -> Vec<u8> {
        let mut text = Vec::new();
        let characters = STANDARD.encode(octets);
        let characters =
            if form.padded { characters.as_str() } else { characters.trim_end_matches('=') };
        for (number, character) in characters.bytes().enumerate() {
            let length = form.line_length as usize;
            if length > 0 && number > 0 && number % length == 0 {
                text.extend_from_slice(form.line_ending.octets());
            }
            text.push(character);
        }
        text
    }

    proptest! {
        #[test]
        fn every_range_of_a_base64_segment_is_rebuilt(
            octets in prop::collection::vec(any::<u8>(), 1..200),
            line_length in 0_u32..90,
            lf_only: bool,
            padded: bool,
            cut in any::<prop::sample::Index>(),
            from in any::<prop::sample::Index>(),
            to in any::<prop::sample::Index>(),
        ) {
            let line_ending = if lf_only { LineEnding::Lf } else { LineEnding::CrLf };
            let form = Base64Form { line_length, line_ending, padded };
            let text = reference(form, &octets);
            prop_assert_eq!(form.encoded_octets(octets.len() as u64), text.len() as u64);
            let cut = u32::try_from(cut.index(octets.len())).unwrap();
            let length = u32::try_from(octets.len()).unwrap();
            let segments = vec![Segment::Base64 {
                form,
                plain_octets: octets.len() as u64,
                plain: vec![
                    Segment::Raw(Piece { chunk: 0, offset: 0, octets: cut }),
                    Segment::Raw(Piece { chunk: 0, offset: cut, octets: length - cut }),
                ],
            }];
            let (from, to) = (from.index(text.len()), to.index(text.len()) + 1);
            let range = from.min(to) as u64..to as u64;
            let chunks = BTreeMap::from([(0, Bytes::from(octets))]);
            let mut rebuilt = Vec::new();
            rebuild(&segments, &range, &chunks, &mut rebuilt).unwrap();
            prop_assert_eq!(rebuilt, &text[from.min(to)..to]);
        }
    }
}
