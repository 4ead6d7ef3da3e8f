//! Mailbox names between UTF-8 and modified UTF-7 (RFC 3501 §5.1.3).
//!
//! Invariant: a name has exactly one encoding. [`decode`] refuses every other spelling, so that
//! two spellings never name one mailbox.

use base64::{
    Engine as _, alphabet,
    engine::{GeneralPurpose, general_purpose::NO_PAD},
};

/// How the octets of a command or response spell names.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum NameForm {
    /// Modified UTF-7 (RFC 3501 §5.1.3).
    #[default]
    ModifiedUtf7,
    /// UTF-8, once the client has enabled UTF8=ACCEPT (RFC 6855 §3) or IMAP4rev2
    /// (RFC 9051 §5.1).
    Utf8,
}

/// Reads a name spelt in `form`; `None` when `octets` spell none.
pub(crate) fn read(octets: &[u8], form: NameForm) -> Option<String> {
    match form {
        NameForm::ModifiedUtf7 => decode(octets),
        NameForm::Utf8 => std::str::from_utf8(octets).ok().map(str::to_owned),
    }
}

const MODIFIED_BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::IMAP_MUTF7, NO_PAD);

/// Encodes a name.
pub(crate) fn encode(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    let mut rest = name;
    while !rest.is_empty() {
        let plain = rest.find(|c| !stands_for_itself(c)).unwrap_or(rest.len());
        encoded.push_str(&rest[..plain]);
        rest = &rest[plain..];
        if let Some(after) = rest.strip_prefix('&') {
            encoded.push_str("&-");
            rest = after;
            continue;
        }
        let shifted = rest.find(|c| stands_for_itself(c) || c == '&').unwrap_or(rest.len());
        if shifted > 0 {
            let utf16: Vec<u8> =
                rest[..shifted].encode_utf16().flat_map(u16::to_be_bytes).collect();
            encoded.push('&');
            encoded.push_str(&MODIFIED_BASE64.encode(utf16));
            encoded.push('-');
            rest = &rest[shifted..];
        }
    }
    encoded
}

/// Decodes a name; `None` when `encoded` is not the one encoding of a name.
pub(crate) fn decode(encoded: &[u8]) -> Option<String> {
    let encoded = std::str::from_utf8(encoded).ok()?;
    let mut name = String::with_capacity(encoded.len());
    let mut rest = encoded;
    while let Some(shift) = rest.find('&') {
        name.push_str(&rest[..shift]);
        let (shifted, after) = rest[shift + 1..].split_once('-')?;
        rest = after;
        if shifted.is_empty() {
            name.push('&');
            continue;
        }
        let octets = MODIFIED_BASE64.decode(shifted).ok()?;
        let units: Vec<u16> = octets
            .chunks(2)
            .map(|pair| Some(u16::from_be_bytes(pair.try_into().ok()?)))
            .collect::<Option<_>>()?;
        name.push_str(&String::from_utf16(&units).ok()?);
    }
    name.push_str(rest);
    (encode(&name) == encoded).then_some(name)
}

fn stands_for_itself(character: char) -> bool {
    matches!(character, ' '..='~') && character != '&'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_examples_of_rfc_3501_and_some_italian_names() {
        for (name, encoded) in [
            ("~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
            ("Inviati & ricevuti", "Inviati &- ricevuti"),
            ("Attività", "Attivit&AOA-"),
            ("", ""),
            ("&&", "&-&-"),
            ("😀", "&2D3eAA-"),
        ] {
            assert_eq!(encode(name), encoded);
            assert_eq!(decode(encoded.as_bytes()).as_deref(), Some(name));
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        for wrong in [
            &b"&Jjo!"[..],
            b"&U,BTFw-&ZeVnLIqe-",
            b"&AGE-",
            b"&",
            b"a&b",
            b"Attivit\xc3\xa0",
            b"Attivit\xe0",
            b"&2D0-",
            b"&AOB-",
        ] {
            assert_eq!(decode(wrong), None, "{}", wrong.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(name in any::<String>()) {
            prop_assert_eq!(decode(encode(&name).as_bytes()), Some(name));
        }

        #[test]
        fn any_octets_decode_to_a_name_that_encodes_to_them_or_not_at_all(
            octets in proptest::collection::vec(any::<u8>(), 0..40)
        ) {
            if let Some(name) = decode(&octets) {
                let encoded = encode(&name);
                prop_assert_eq!(encoded.as_bytes(), &octets[..]);
            }
        }
    }
}
