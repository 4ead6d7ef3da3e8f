//! Reading and writing layouts: big-endian numbers, counted octets, numbers of variable length; never
//! past the end.

/// What is left to read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a>(pub(crate) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }

    pub(crate) fn digest(&mut self) -> Option<trust::digest::Sha256Digest> {
        self.array().map(trust::digest::Sha256Digest)
    }

    /// A number written by [`put_varint`]. Longer forms than the shortest are refused.
    pub(crate) fn varint(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for at in 0..10 {
            let octet = self.u8()?;
            let bits = u64::from(octet & 0x7f);
            if at == 9 && bits > 1 {
                return None;
            }
            number |= bits << (7 * at);
            if octet & 0x80 == 0 {
                return (bits != 0 || at == 0).then_some(number);
            }
        }
        None
    }

    /// A number written by [`put_signed`].
    pub(crate) fn signed(&mut self) -> Option<i64> {
        let folded = self.varint()?;
        Some((folded >> 1).cast_signed() ^ -(folded & 1).cast_signed())
    }

    /// Octets that stand behind their count in 16 bits.
    pub(crate) fn counted(&mut self) -> Option<&'a [u8]> {
        let count = self.u16()?;
        self.take(usize::from(count))
    }

    /// `Some` when everything was read.
    pub(crate) fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

/// The octets of `fields` behind each other: a layout of `N` octets, which the fields fill.
pub(crate) fn joined<const N: usize>(fields: &[&[u8]]) -> [u8; N] {
    let mut octets = [0; N];
    let mut rest = octets.as_mut_slice();
    for field in fields {
        let (front, behind) = rest.split_at_mut(field.len());
        front.copy_from_slice(field);
        rest = behind;
    }
    debug_assert!(rest.is_empty(), "the fields are those of the layout");
    octets
}

/// Writes a number in as few octets as it needs: seven bits in each, the lowest first; all octets but
/// the last have their highest bit set.
pub(crate) fn put_varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push((number & 0x7f) as u8);
}

/// Writes a signed number as the varint 0, 1, 2, 3 … for 0, −1, 1, −2 …
pub(crate) fn put_signed(number: i64, out: &mut Vec<u8>) {
    put_varint(((number << 1) ^ (number >> 63)).cast_unsigned(), out);
}

/// Writes octets behind their count in 16 bits; `None` when they are too many.
pub(crate) fn put_counted(octets: &[u8], out: &mut Vec<u8>) -> Option<()> {
    out.extend_from_slice(&u16::try_from(octets.len()).ok()?.to_be_bytes());
    out.extend_from_slice(octets);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_reads_back_and_has_one_form() {
        let numbers = (0..64).flat_map(|bit| [(1_u64 << bit) - 1, 1 << bit]).chain([u64::MAX]);
        for number in numbers {
            let mut octets = Vec::new();
            put_varint(number, &mut octets);
            put_signed(number.cast_signed(), &mut octets);
            let mut cursor = Cursor(&octets);
            let read = (cursor.varint(), cursor.signed());
            assert_eq!(read, (Some(number), Some(number.cast_signed())));
            assert_eq!(cursor.end(), Some(()));
        }
        for octets in [&[][..], &[0x80], &[0x80, 0], &[0xff; 10], &[0xff, 0x00]] {
            assert_eq!(Cursor(octets).varint(), None, "{octets:?}");
        }
        let largest = [&[0xff; 9][..], &[1]].concat();
        assert_eq!(Cursor(&largest).varint(), Some(u64::MAX));
        assert_eq!(Cursor(&[&[0xff; 9][..], &[2]].concat()).varint(), None);
    }
}
