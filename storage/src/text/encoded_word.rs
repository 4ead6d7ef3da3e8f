//! Header values as text (RFC 2047 §4, §6.2).

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

/// Base64 as found in headers: the padding is often missing.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Decodes an unstructured value: encoded words, and bare 8-bit octets as UTF-8 or, where they
/// are not, as Windows-1252. What is no encoded word stays as it is.
#[must_use]
pub fn decode(value: &[u8]) -> String {
    let mut text = String::with_capacity(value.len());
    let mut rest = value;
    let mut after_word = false;
    while let Some(start) = find(rest, b"=?") {
        let (before, from) = rest.split_at(start);
        let Some((decoded, length)) = encoded_word(from) else {
            push_bare(&mut text, &rest[..start + 2]);
            rest = &rest[start + 2..];
            after_word = false;
            continue;
        };
        // White space between two encoded words is not shown (RFC 2047 §6.2).
        if !(after_word && before.iter().all(u8::is_ascii_whitespace)) {
            push_bare(&mut text, before);
        }
        text.push_str(&decoded);
        rest = &from[length..];
        after_word = true;
    }
    push_bare(&mut text, rest);
    text
}

fn push_bare(text: &mut String, octets: &[u8]) {
    match std::str::from_utf8(octets) {
        Ok(utf8) => text.push_str(utf8),
        Err(_) => text.push_str(&encoding_rs::WINDOWS_1252.decode(octets).0),
    }
}

/// Reads the encoded word that `octets` begin with; returns its text and how long it is.
fn encoded_word(octets: &[u8]) -> Option<(String, usize)> {
    let inside = octets.strip_prefix(b"=?")?;
    let charset_end = find(inside, b"?")?;
    let (charset, rest) = (&inside[..charset_end], &inside[charset_end + 1..]);
    let (encoding, rest) = (rest.first()?, rest.get(1..)?.strip_prefix(b"?")?);
    let end = find(rest, b"?=")?;
    let encoded = &rest[..end];
    let decoded = match encoding {
        b'B' | b'b' => BASE64.decode(encoded).ok()?,
        b'Q' | b'q' => decode_q(encoded),
        _ => return None,
    };
    // RFC 2231 §5: a language may follow the charset.
    let label = charset.split(|&octet| octet == b'*').next();
    let text = super::charset(label).decode(&decoded).0.into_owned();
    Some((text, octets.len() - rest.len() + end + 2))
}

fn decode_q(encoded: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let Some((&first, after)) = rest.split_first() {
        let hexadecimal = after
            .get(..2)
            .filter(|_| first == b'=')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (first, hexadecimal) {
            (_, Some(octet)) => {
                decoded.push(octet);
                rest = &after[2..];
            }
            (b'_', None) => {
                decoded.push(b' ');
                rest = after;
            }
            (other, None) => {
                decoded.push(other);
                rest = after;
            }
        }
    }
    decoded
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_rfc_2047_section_8() {
        for (value, text) in [
            ("=?ISO-8859-1?Q?a?=", "a"),
            ("=?ISO-8859-1?Q?a?= b", "a b"),
            ("=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=", "ab"),
            ("=?ISO-8859-1?Q?a?=  =?ISO-8859-1?Q?b?=", "ab"),
            ("=?ISO-8859-1?Q?a_b?=", "a b"),
            ("=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=", "a b"),
            (
                "=?US-ASCII?Q?Keith_Moore?= <moore@cs.utk.example>",
                "Keith Moore <moore@cs.utk.example>",
            ),
            ("=?ISO-8859-1?B?SWYgeW91IGNhbiByZWFkIHRoaXMgeW8=?=", "If you can read this yo"),
        ] {
            assert_eq!(decode(value.as_bytes()), text);
        }
    }

    #[test]
    fn what_is_broken_stays_as_it_is() {
        for value in ["=?", "=?utf-8?X?a?=", "=?utf-8?B?!?=", "=?utf-8?Q?a", "a =?= b"] {
            assert_eq!(decode(value.as_bytes()), value);
        }
        assert_eq!(decode(b"perch\xe9"), "perché");
        assert_eq!(decode("perché".as_bytes()), "perché");
    }
}
