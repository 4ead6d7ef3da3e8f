//! Texts in header fields: encoded words (RFC 2047) read and written.
//!
//! Reading takes what is met in practice: any charset of the WHATWG list, a multi-octet
//! character split over two adjacent words, raw UTF-8 or Latin-1 octets. Nothing that comes from
//! outside fails: what cannot be decoded stays as it was written.
//!
//! Not here: parameters of MIME fields (RFC 2231, [`super::mime`]).

use base64::{Engine as _, engine::general_purpose};
use encoding_rs::{Encoding, WINDOWS_1252};

/// Octets an encoded word may have (RFC 2047 §2).
const ENCODED_WORD_OCTETS_MAX: usize = 75;
/// Octets of UTF-8 in one encoded word in base64: 45 make 60 characters beside `=?utf-8?B??=`.
const ENCODED_WORD_TEXT_OCTETS_MAX: usize = 45;
/// Octets a written line should have at most (RFC 5322 §2.1.1).
const LINE_OCTETS: usize = 76;

/// Decodes an unfolded value to text. Control characters become spaces.
pub fn decode(value: &[u8]) -> String {
    let mut text = String::with_capacity(value.len());
    let mut pending: Option<(&'static Encoding, Vec<u8>)> = None;
    let mut rest = value;
    while !rest.is_empty() {
        let white = rest.iter().take_while(|octet| octet.is_ascii_whitespace()).count();
        let (space, after_space) = rest.split_at(white);
        let word_octets =
            after_space.iter().take_while(|octet| !octet.is_ascii_whitespace()).count();
        let (word, after) = after_space.split_at(word_octets);
        rest = after;
        let Some((encoding, octets)) = decode_word(word) else {
            flush(&mut pending, &mut text);
            text.push_str(&decode_raw(space));
            text.push_str(&decode_raw(word));
            continue;
        };
        // White space between adjacent encoded words is not shown (RFC 2047 §6.2).
        if let Some((_, content)) = pending.as_mut().filter(|(before, _)| *before == encoding) {
            content.extend(octets);
        } else {
            if pending.is_none() {
                text.push_str(&String::from_utf8_lossy(space));
            }
            flush(&mut pending, &mut text);
            pending = Some((encoding, octets));
        }
    }
    flush(&mut pending, &mut text);
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

fn flush(pending: &mut Option<(&'static Encoding, Vec<u8>)>, text: &mut String) {
    if let Some((encoding, octets)) = pending.take() {
        text.push_str(&encoding.decode_without_bom_handling(&octets).0);
    }
}

/// Octets outside encoded words: UTF-8 when they are, else the charset of old western programs.
fn decode_raw(octets: &[u8]) -> String {
    match str::from_utf8(octets) {
        Ok(text) => text.to_owned(),
        Err(_) => WINDOWS_1252.decode_without_bom_handling(octets).0.into_owned(),
    }
}

/// Decodes `=?charset*language?encoding?text?=`; `None` when `word` is not one.
fn decode_word(word: &[u8]) -> Option<(&'static Encoding, Vec<u8>)> {
    let inside = word.strip_prefix(b"=?")?.strip_suffix(b"?=")?;
    let mut pieces = inside.splitn(3, |octet| *octet == b'?');
    let (charset, encoding, content) = (pieces.next()?, pieces.next()?, pieces.next()?);
    let charset = charset.split(|octet| *octet == b'*').next()?;
    let charset = Encoding::for_label(charset)?;
    let octets = match encoding {
        b"B" | b"b" => {
            let content: Vec<u8> = content.iter().copied().filter(|octet| *octet != b'=').collect();
            general_purpose::STANDARD_NO_PAD.decode(content).ok()?
        }
        b"Q" | b"q" => decode_q(content),
        _ => return None,
    };
    Some((charset, octets))
}

fn decode_q(content: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(content.len());
    let mut rest = content;
    while let Some((&octet, after)) = rest.split_first() {
        rest = after;
        match octet {
            b'_' => octets.push(b' '),
            b'=' => match after.split_at_checked(2).and_then(|(pair, _)| hex_pair(pair)) {
                Some(value) => {
                    octets.push(value);
                    rest = after.get(2..).unwrap_or_default();
                }
                None => octets.push(octet),
            },
            _ => octets.push(octet),
        }
    }
    octets
}

/// The octet that two hexadecimal digits stand for.
pub(super) fn hex_pair(pair: &[u8]) -> Option<u8> {
    let pair = pair.iter().all(u8::is_ascii_hexdigit).then(|| str::from_utf8(pair).ok())??;
    u8::from_str_radix(pair, 16).ok()
}

/// Writes `text` as the value of an unstructured field whose name takes `name_octets`, folded,
/// in ASCII. Text that needs no encoding is folded at its spaces.
pub fn encode(text: &str, name_octets: usize) -> String {
    let clean: String = text
        .chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .collect();
    let words_fit = clean.split(' ').all(|word| word.len() < LINE_OCTETS - 2);
    // Two spaces running or a space at an end would not survive folding and unfolding; a text
    // that looks like an encoded word must not be read as one.
    let plain = clean.is_ascii()
        && words_fit
        && !clean.contains("=?")
        && !clean.contains("  ")
        && clean.trim() == clean;
    if plain { fold(&clean, name_octets) } else { encode_words(&clean, name_octets) }
}

/// Folds ASCII `text` at single spaces, without changing what unfolds from it.
pub(super) fn fold(text: &str, name_octets: usize) -> String {
    let mut value = String::with_capacity(text.len() + 8);
    let mut line = name_octets + 2;
    for (index, word) in text.split(' ').enumerate() {
        if index > 0 {
            // A break before an empty word would leave a line of white space only.
            if line + 1 + word.len() > LINE_OCTETS && !word.is_empty() {
                value.push_str("\r\n");
                line = 0;
            }
            value.push(' ');
            line += 1;
        }
        value.push_str(word);
        line += word.len();
    }
    value
}

/// Writes `text` as encoded words in UTF-8 and base64; no character is split (RFC 2047 §5).
fn encode_words(text: &str, name_octets: usize) -> String {
    let mut value = String::with_capacity(text.len() * 2);
    let mut chunk = String::new();
    let mut room = ENCODED_WORD_TEXT_OCTETS_MAX.saturating_sub(name_octets * 3 / 4).max(6);
    let mut flush_chunk = |chunk: &mut String| {
        if !value.is_empty() {
            value.push_str("\r\n ");
        }
        value.push_str("=?utf-8?B?");
        value.push_str(&general_purpose::STANDARD.encode(chunk.as_bytes()));
        value.push_str("?=");
        chunk.clear();
    };
    for character in text.chars() {
        if chunk.len() + character.len_utf8() > room {
            flush_chunk(&mut chunk);
            room = ENCODED_WORD_TEXT_OCTETS_MAX;
        }
        chunk.push(character);
    }
    if !chunk.is_empty() {
        flush_chunk(&mut chunk);
    }
    debug_assert!(value.split("\r\n").all(|line| line.len() <= ENCODED_WORD_OCTETS_MAX + 1));
    value
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The table of RFC 2047 §8 and words seen in Italian mail.
    #[test]
    fn encoded_words_decode_as_the_standard_shows() {
        for (value, text) in [
            ("=?ISO-8859-1?Q?a?=", "a"),
            ("=?ISO-8859-1?Q?a?= b", "a b"),
            ("=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=", "ab"),
            ("=?ISO-8859-1?Q?a?=  =?ISO-8859-1?Q?b?=", "ab"),
            ("=?ISO-8859-1?Q?a_b?=", "a b"),
            ("=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=", "a b"),
            ("=?US-ASCII?Q?Keith_Moore?= <moore>", "Keith Moore <moore>"),
            ("=?ISO-8859-1*it?Q?Perch=E9?=", "Perché"),
            ("=?utf-8?b?UGVyY2jDqQ==?=", "Perché"),
            ("=?utf-8?B?w?= =?utf-8?B?w6k=?=", "=?utf-8?B?w?= é"),
            ("=?utf-8?Q?=C3?= =?utf-8?Q?=A9?=", "é"),
            ("=?nessuno?Q?a?=", "=?nessuno?Q?a?="),
            ("100 =? sconto ?=", "100 =? sconto ?="),
            ("=?utf-8?Q?=ZZ=4?=", "=ZZ=4"),
        ] {
            assert_eq!(decode(value.as_bytes()), text, "{value}");
        }
        assert_eq!(decode("Perché".as_bytes()), "Perché");
        assert_eq!(decode(b"Perch\xe9"), "Perché");
        assert_eq!(decode(b"a\0b\tc"), "a b c");
    }

    #[test]
    fn only_what_needs_it_is_encoded() {
        assert_eq!(encode("POSTA CERTIFICATA: Offerta", 7), "POSTA CERTIFICATA: Offerta");
        assert_eq!(encode("CONSEGNA: città", 7), "=?utf-8?B?Q09OU0VHTkE6IGNpdHTDoA==?=");
        assert_eq!(encode("", 7), "");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(text in "[ -~àèéìòù€日𝄞=?]{0,200}") {
            let value = encode(&text, 7);
            prop_assert!(value.is_ascii());
            for (index, line) in value.split("\r\n").enumerate() {
                prop_assert!(line.len() <= LINE_OCTETS, "{line}");
                prop_assert!(index == 0 || line.starts_with(' '));
            }
            let unfolded = value.replace("\r\n", "");
            prop_assert_eq!(decode(unfolded.as_bytes()), text);
        }

        #[test]
        fn no_octets_make_decoding_fail(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&octets);
        }
    }
}
