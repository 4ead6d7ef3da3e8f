//! The form of values that repeat what other values say: blocks and their lists.
//!
//! ```text
//! octet 0        version
//! octets 1..33   BLAKE3-256 over the octets of the key, octet 0 and everything from octet 33
//! octets 33..37  octets of the plain value, u32
//! octets 37..    one zstd frame (RFC 8878) of the plain value
//! ```
//!
//! A value *in parts* has, from octet 33, the number of its parts (u8), then of each part the octets of its
//! plain value and of its frame (u32 each), then the frames one after the other: who needs one
//! part decompresses no other.
//!
//! * Nobody needs such a value: what cannot be read is passed over and built again, so there is no
//!   error here, only [`Unreadable`].
//! * A value that stands under another key than it was made for is damaged too.
//! * The digest is verified before anything is decompressed, and decompressing yields no more than
//!   the reader's bound.
//! * In the plain value a *number* is a base-128 varint, lowest group first, as in Protocol Buffers;
//!   a *difference* is a number that holds a signed value by zigzag.
//!
//! Not here: what the plain values say (`mailbox::blocks`, `account::headers`).

use bytes::Bytes;

use crate::error::StoreError;

const DIGEST_OCTETS: usize = 32;
const COMPRESSION_LEVEL: i32 = 3;

/// Why a value is passed over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unreadable {
    /// Some octet is not what was written.
    Damaged,
    /// A newer program wrote it.
    TooNew,
}

/// The first octets of a sealed value's digest: enough to tell one value from another.
pub(crate) type Mark = [u8; 8];

fn digest(key: &[u8], version: u8, rest: &[u8]) -> [u8; DIGEST_OCTETS] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(key).update(&[version]).update(rest);
    *hasher.finalize().as_bytes()
}

fn not_compressed(source: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Engine { operation: "compress a block", source: Box::new(source) }
}

/// The octets of a plain value, as they are written, and its frame.
fn compressed(plain: &[u8]) -> Result<([u8; 4], Vec<u8>), StoreError> {
    let frame = zstd::bulk::compress(plain, COMPRESSION_LEVEL).map_err(not_compressed)?;
    Ok((u32::try_from(plain.len()).map_err(not_compressed)?.to_be_bytes(), frame))
}

/// What stands under `key` when `rest` is what its digest is over.
fn sealed(version: u8, key: &[u8], rest: &[&[u8]]) -> Bytes {
    let octets: usize = rest.iter().map(|some| some.len()).sum();
    let mut value = Vec::with_capacity(1 + DIGEST_OCTETS + octets);
    value.push(version);
    value.extend_from_slice(&[0; DIGEST_OCTETS]);
    for some in rest {
        value.extend_from_slice(some);
    }
    let digest = digest(key, version, &value[1 + DIGEST_OCTETS..]);
    value[1..=DIGEST_OCTETS].copy_from_slice(&digest);
    value.into()
}

/// Seals `plain`, which is to stand under `key`. Fails only when memory does.
pub(crate) fn seal(version: u8, key: &[u8], plain: &[u8]) -> Result<Bytes, StoreError> {
    let (length, frame) = compressed(plain)?;
    Ok(sealed(version, key, &[&length, &frame]))
}

/// Seals `parts`, at most 255, which are to stand under `key` together. Fails only when memory does.
pub(crate) fn seal_parts(version: u8, key: &[u8], parts: &[Vec<u8>]) -> Result<Bytes, StoreError> {
    let mut table = vec![u8::try_from(parts.len()).map_err(not_compressed)?];
    let mut frames = Vec::new();
    for part in parts {
        let (length, frame) = compressed(part)?;
        table.extend_from_slice(&length);
        let octets = u32::try_from(frame.len()).map_err(not_compressed)?;
        table.extend_from_slice(&octets.to_be_bytes());
        frames.extend_from_slice(&frame);
    }
    Ok(sealed(version, key, &[&table, &frames]))
}

/// The mark of a sealed value; zeros for what is too short to be one.
pub(crate) fn mark(value: &[u8]) -> Mark {
    value.get(1..).and_then(|rest| rest.first_chunk()).copied().unwrap_or_default()
}

/// Opens sealed values, one after the other.
pub(crate) struct Opener(zstd::bulk::Decompressor<'static>);

impl Opener {
    /// Fails only when memory does.
    pub(crate) fn new() -> Result<Self, StoreError> {
        let decompressor = zstd::bulk::Decompressor::new();
        let failed =
            |error| StoreError::Engine { operation: "decompress a block", source: Box::new(error) };
        decompressor.map(Self).map_err(failed)
    }

    /// The plain value of what stands under `key`: at most version `known`, at most
    /// `plain_octets_max` long.
    pub(crate) fn open(
        &mut self,
        known: u8,
        key: &[u8],
        value: &[u8],
        plain_octets_max: usize,
    ) -> Result<Vec<u8>, Unreadable> {
        let (_, rest) = verified(known, key, value)?;
        let (length, frame) = length(rest).ok_or(Unreadable::Damaged)?;
        if length > plain_octets_max {
            return Err(Unreadable::Damaged);
        }
        self.decompress(frame, length).ok_or(Unreadable::Damaged)
    }

    /// The plain values of those parts of what stands under `key` that are `wanted` by their place;
    /// the others stay as they are, `None`. Of version `known`, with `count` parts that together
    /// are at most `plain_octets_max` long.
    pub(crate) fn open_parts(
        &mut self,
        known: u8,
        key: &[u8],
        value: &[u8],
        count: usize,
        plain_octets_max: usize,
        wanted: impl Fn(usize) -> bool,
    ) -> Result<Vec<Option<Vec<u8>>>, Unreadable> {
        let (version, rest) = verified(known, key, value)?;
        if version != known {
            return Err(Unreadable::Damaged);
        }
        self.parts(rest, count, plain_octets_max, wanted).ok_or(Unreadable::Damaged)
    }

    fn parts(
        &mut self,
        rest: &[u8],
        count: usize,
        plain_octets_max: usize,
        wanted: impl Fn(usize) -> bool,
    ) -> Option<Vec<Option<Vec<u8>>>> {
        let (&written, mut table) = rest.split_first()?;
        let mut frames = table.get(count.checked_mul(8)?..)?;
        let (mut parts, mut plain) = (Vec::with_capacity(count), 0_usize);
        for part in 0..count.min(usize::from(written)) {
            let (octets, after) = length(table)?;
            let (in_frame, after) = length(after)?;
            let (frame, more) = frames.split_at_checked(in_frame)?;
            (table, frames) = (after, more);
            plain = plain.checked_add(octets).filter(|octets| *octets <= plain_octets_max)?;
            parts.push(if wanted(part) { Some(self.decompress(frame, octets)?) } else { None });
        }
        (usize::from(written) == count && frames.is_empty()).then_some(parts)
    }

    fn decompress(&mut self, frame: &[u8], octets: usize) -> Option<Vec<u8>> {
        self.0.decompress(frame, octets).ok().filter(|plain| plain.len() == octets)
    }
}

/// The version of a value and what stands behind its digest, when that is right and the version is
/// at most `known`.
fn verified<'v>(known: u8, key: &[u8], value: &'v [u8]) -> Result<(u8, &'v [u8]), Unreadable> {
    let (&version, rest) = value.split_first().ok_or(Unreadable::Damaged)?;
    let (found, rest) = rest.split_first_chunk::<DIGEST_OCTETS>().ok_or(Unreadable::Damaged)?;
    match version {
        _ if *found != digest(key, version, rest) => Err(Unreadable::Damaged),
        0 => Err(Unreadable::Damaged),
        _ if version > known => Err(Unreadable::TooNew),
        _ => Ok((version, rest)),
    }
}

/// A length, and what follows it.
fn length(octets: &[u8]) -> Option<(usize, &[u8])> {
    let (length, rest) = octets.split_first_chunk()?;
    Some((usize::try_from(u32::from_be_bytes(*length)).ok()?, rest))
}

/// Appends a number.
pub(crate) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

/// Appends by how much `number` is above `before`, modulo 2⁶⁴.
pub(crate) fn put_difference(out: &mut Vec<u8>, number: u64, before: u64) {
    let difference = number.wrapping_sub(before).cast_signed();
    put_number(out, ((difference << 1) ^ (difference >> 63)).cast_unsigned());
}

/// Reads a plain value from its front. `None` = the value is damaged.
pub(crate) struct Plain<'v>(&'v [u8]);

impl<'v> Plain<'v> {
    pub(crate) fn new(plain: &'v [u8]) -> Self {
        Self(plain)
    }

    /// The next octet.
    pub(crate) fn octet(&mut self) -> Option<u8> {
        let (&octet, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(octet)
    }

    /// The next number, in its shortest form.
    pub(crate) fn number(&mut self) -> Option<u64> {
        let first = self.octet()?;
        if first < 0x80 {
            return Some(u64::from(first));
        }
        let mut number = u64::from(first & 0x7f);
        for shift in (7..64).step_by(7) {
            let octet = self.octet()?;
            let group = u64::from(octet & 0x7f);
            if octet == 0 || shift == 63 && group > 1 {
                return None;
            }
            number |= group << shift;
            if octet < 0x80 {
                return Some(number);
            }
        }
        None
    }

    /// The next number, as a count of things that take an octet or more each: no more than are
    /// left.
    pub(crate) fn count(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok().filter(|count| *count <= self.0.len())
    }

    /// The number that is the next difference above `before`.
    pub(crate) fn difference(&mut self, before: u64) -> Option<u64> {
        let zigzag = self.number()?;
        let difference = (zigzag >> 1) ^ (zigzag & 1).wrapping_neg();
        Some(before.wrapping_add(difference))
    }

    /// The next `length` octets.
    pub(crate) fn octets(&mut self, length: usize) -> Option<&'v [u8]> {
        let (octets, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(octets)
    }

    /// Whether everything was read.
    pub(crate) fn finish(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn open(key: &[u8], value: &[u8]) -> Result<Vec<u8>, Unreadable> {
        Opener::new().expect("memory").open(1, key, value, 1 << 20)
    }

    #[test]
    fn a_value_survives_and_every_changed_octet_is_noticed() {
        let plain = b"numeri numeri numeri numeri".repeat(9);
        let value = seal(1, b"key", &plain).expect("seal");
        assert_eq!(open(b"key", &value), Ok(plain));
        for position in 0..value.len() {
            for bit in 0..8 {
                let mut changed = value.to_vec();
                changed[position] ^= 1 << bit;
                assert_eq!(open(b"key", &changed), Err(Unreadable::Damaged), "octet {position}");
            }
        }
        for length in 0..value.len() {
            assert_eq!(open(b"key", &value[..length]), Err(Unreadable::Damaged));
        }
        assert_eq!(open(b"kez", &value), Err(Unreadable::Damaged), "another key's value");
    }

    #[test]
    fn a_newer_value_and_one_above_the_bound_are_passed_over() {
        let newer = seal(2, b"key", b"something").expect("seal");
        assert_eq!(open(b"key", &newer), Err(Unreadable::TooNew));
        let long = seal(1, b"key", &vec![0; (1 << 20) + 1]).expect("seal");
        assert_eq!(open(b"key", &long), Err(Unreadable::Damaged));
    }

    #[test]
    fn of_a_value_in_parts_only_what_is_wanted_is_opened() {
        let parts = [b"uno uno uno".to_vec(), Vec::new(), b"tre".to_vec()];
        let value = seal_parts(2, b"key", &parts).expect("seal");
        let mut opener = Opener::new().expect("memory");
        let mut open = |value: &[u8], count, octets_max, wanted: &[usize]| {
            opener.open_parts(2, b"key", value, count, octets_max, |part| wanted.contains(&part))
        };
        let [one, two, three] = parts.map(Some);
        assert_eq!(open(&value, 3, 14, &[0, 1, 2]), Ok(vec![one.clone(), two, three]));
        assert_eq!(open(&value, 3, 14, &[0]), Ok(vec![one, None, None]));
        assert_eq!(open(&value, 3, 13, &[0]), Err(Unreadable::Damaged), "above the bound");
        for count in [0, 1, 2, 4, 300] {
            assert_eq!(open(&value, count, 14, &[]), Err(Unreadable::Damaged), "{count} parts");
        }
        for octet in 0..value.len() {
            let mut changed = value.to_vec();
            changed[octet] ^= 1;
            assert_eq!(open(&changed, 3, 14, &[]), Err(Unreadable::Damaged), "octet {octet}");
            assert!(open(&value[..octet], 3, 14, &[]).is_err());
        }
        let whole = seal(1, b"key", b"in one piece").expect("seal");
        assert_eq!(open(&whole, 3, 14, &[]), Err(Unreadable::Damaged), "an older version");
        let newer = seal_parts(3, b"key", &[]).expect("seal");
        assert_eq!(open(&newer, 0, 14, &[]), Err(Unreadable::TooNew));
        let more = sealed(2, b"key", &[&value[33..], b"more"]);
        assert_eq!(
            open(&more, 3, 14, &[]),
            Err(Unreadable::Damaged),
            "octets after the last frame"
        );
    }

    #[test]
    fn a_number_has_one_form() {
        for octets in [&[0x80, 0][..], &[0x80], &[0xff; 10], &[0xff; 11], &[]] {
            assert_eq!(Plain::new(octets).number(), None, "{octets:?}");
        }
    }

    proptest! {
        #[test]
        fn numbers_and_differences_give_back_what_went_in(
            numbers in prop::collection::vec(prop_oneof![any::<u64>(), 0..300_u64], 0..50),
        ) {
            let mut out = Vec::new();
            let mut before = 7;
            for number in &numbers {
                put_number(&mut out, *number);
                put_difference(&mut out, *number, before);
                before = *number;
            }
            let mut plain = Plain::new(&out);
            let mut before = 7;
            for number in numbers {
                prop_assert_eq!(plain.number(), Some(number));
                prop_assert_eq!(plain.difference(before), Some(number));
                before = number;
            }
            prop_assert_eq!(plain.finish(), Some(()));
        }
    }
}
