//! Bodies without their transfer encoding (RFC 2045 §6.7, §6.8), piece by piece.
//!
//! Lenient: what is not in the encoding's alphabet is passed over, as mail programs do that show
//! or look through a body.

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};

/// A decoder that takes pieces of any size.
#[derive(Debug)]
pub(crate) enum TransferDecoder {
    /// 7bit, 8bit, binary and what nobody knows.
    Identity,
    /// Base64, with up to three characters waiting for the fourth.
    Base64(Vec<u8>),
    /// Quoted-printable, with an unfinished `=XX` or trailing `=`.
    QuotedPrintable(Vec<u8>),
}

impl TransferDecoder {
    /// The decoder for a Content-Transfer-Encoding.
    pub(crate) fn new(encoding: Option<&[u8]>) -> Self {
        match encoding.map(<[u8]>::to_ascii_lowercase).as_deref() {
            Some(b"base64") => Self::Base64(Vec::new()),
            Some(b"quoted-printable") => Self::QuotedPrintable(Vec::new()),
            _ => Self::Identity,
        }
    }

    /// Decodes the next piece, as far as it can be.
    pub(crate) fn decode(&mut self, piece: &[u8]) -> Vec<u8> {
        match self {
            Self::Identity => piece.to_vec(),
            Self::Base64(waiting) => {
                let is_digit = |o: &u8| o.is_ascii_alphanumeric() || matches!(o, b'+' | b'/');
                waiting.extend(piece.iter().copied().filter(is_digit));
                let whole = waiting.len() / 4 * 4;
                let digits: Vec<u8> = waiting.drain(..whole).collect();
                STANDARD_NO_PAD.decode(digits).unwrap_or_default()
            }
            Self::QuotedPrintable(waiting) => {
                let mut octets = std::mem::take(waiting);
                octets.extend_from_slice(piece);
                decode_quoted_printable(&octets, waiting)
            }
        }
    }

    /// Decodes what is still waiting.
    pub(crate) fn finish(self) -> Vec<u8> {
        match self {
            Self::Base64(waiting) => {
                // Two or three digits hold one or two octets and some bits of nothing.
                let mut padded = waiting.clone();
                padded.resize(waiting.len().next_multiple_of(4), b'A');
                let mut octets = STANDARD_NO_PAD.decode(padded).unwrap_or_default();
                octets.truncate(waiting.len() * 3 / 4);
                octets
            }
            Self::Identity => Vec::new(),
            Self::QuotedPrintable(waiting) => waiting,
        }
    }
}

fn decode_quoted_printable(octets: &[u8], waiting: &mut Vec<u8>) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(octets.len());
    let mut rest = octets;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'=' {
            decoded.push(first);
            continue;
        }
        match after {
            [b'\n', later @ ..] | [b'\r', b'\n', later @ ..] => rest = later,
            [] | [_] => {
                waiting.push(b'=');
                waiting.extend_from_slice(after);
                return decoded;
            }
            [high, low, later @ ..] => {
                let value = std::str::from_utf8(&[*high, *low])
                    .ok()
                    .and_then(|digits| u8::from_str_radix(digits, 16).ok());
                match value {
                    Some(octet) => {
                        decoded.push(octet);
                        rest = later;
                    }
                    None => decoded.push(b'='),
                }
            }
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    use super::*;

    fn decode(encoding: &str, pieces: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
        let mut decoder = TransferDecoder::new(Some(encoding.as_bytes()));
        let mut octets: Vec<u8> = pieces.flat_map(|piece| decoder.decode(&piece)).collect();
        octets.extend(decoder.finish());
        octets
    }

    #[test]
    fn quoted_printable_of_rfc_2045_section_6_7() {
        let encoded = b"Now's the time =\r\nfor all folk=20to come=\n =3D=e0=zz";
        for size in 1..encoded.len() {
            let pieces = encoded.chunks(size).map(<[u8]>::to_vec);
            assert_eq!(
                decode("Quoted-Printable", pieces),
                b"Now's the time for all folk to come =\xe0=zz"
            );
        }
    }

    proptest! {
        #[test]
        fn base64_is_undone_however_it_is_cut(
            octets in proptest::collection::vec(any::<u8>(), 0..200),
            size in 1_usize..70,
        ) {
            let encoded = STANDARD.encode(&octets);
            let lines: Vec<u8> = encoded.as_bytes().chunks(76).collect::<Vec<_>>().join(&b"\r\n"[..]);
            prop_assert_eq!(decode("base64", lines.chunks(size).map(<[u8]>::to_vec)), octets);
        }
    }
}
