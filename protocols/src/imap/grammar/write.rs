//! Octets of responses: strings, flags, dates.
//!
//! Invariant: whatever octets go in, what comes out is one token of RFC 3501 §9. What cannot
//! stand between quotes becomes a literal.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use storage::mailbox::flags::Flags;
use trust::clock::UnixMillis;

use super::mailbox_name::{self, NameForm};

/// Octets beyond which a string is written as a literal, because clients bound their lines.
const QUOTED_OCTETS_MAX: usize = 1_000;

/// Octets that one encoded word is made of: with them it has 72 characters, where 75 are allowed.
const WORD_OCTETS_MAX: usize = 45;

/// Which octets may stand between quotes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Strings {
    /// ASCII (RFC 3501 §9 `TEXT-CHAR`).
    Ascii,
    /// UTF-8 (RFC 6855 §3, RFC 9051 §9 `QUOTED-CHAR`).
    Utf8,
}

/// Writes `string`: text that may hold more than ASCII.
pub(crate) fn text(out: &mut Vec<u8>, octets: &[u8], strings: Strings) {
    let quotable = strings == Strings::Utf8
        && octets.len() <= QUOTED_OCTETS_MAX
        && !octets.iter().any(|octet| matches!(octet, b'\r' | b'\n' | 0))
        && std::str::from_utf8(octets).is_ok();
    if quotable { quoted(out, octets) } else { string(out, octets) }
}

/// Writes `nstring` of text.
pub(crate) fn ntext(out: &mut Vec<u8>, octets: Option<&[u8]>, strings: Strings) {
    match octets {
        Some(octets) => text(out, octets, strings),
        None => out.extend_from_slice(b"NIL"),
    }
}

/// Writes `nstring` of a subject or a display name: for a client that reads no UTF-8, what is UTF-8
/// becomes encoded words (RFC 2047 §2), which it reads in headers too (RFC 6855 §7). Other octets,
/// and text that has encoded words already, stay as they are.
pub(crate) fn nphrase(out: &mut Vec<u8>, octets: Option<&[u8]>, strings: Strings) {
    match octets.filter(|_| strings == Strings::Ascii).and_then(encoded_words) {
        Some(words) => string(out, words.as_bytes()),
        None => ntext(out, octets, strings),
    }
}

/// Encodes text of more than ASCII.
fn encoded_words(octets: &[u8]) -> Option<String> {
    let is_text = |text: &&str| !text.is_ascii() && !text.contains("=?");
    let text = std::str::from_utf8(octets).ok().filter(is_text)?;
    let mut words: Vec<String> = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (word, more) = rest.split_at(rest.floor_char_boundary(WORD_OCTETS_MAX));
        words.push(format!("=?UTF-8?B?{}?=", BASE64.encode(word)));
        rest = more;
    }
    Some(words.join(" "))
}

/// Writes `string`.
pub(crate) fn string(out: &mut Vec<u8>, octets: &[u8]) {
    let quotable = octets.len() <= QUOTED_OCTETS_MAX
        && octets.iter().all(|octet| octet.is_ascii() && !matches!(octet, b'\r' | b'\n' | 0));
    if !quotable {
        // NUL has no place even in a literal (RFC 3501 §9 CHAR8); 0x80 stands for it, as in
        // other servers.
        literal_announcement(out, octets.len() as u64);
        out.extend(octets.iter().map(|&octet| if octet == 0 { 0x80 } else { octet }));
        return;
    }
    quoted(out, octets);
}

/// Writes `quoted` of octets that can stand between quotes.
fn quoted(out: &mut Vec<u8>, octets: &[u8]) {
    out.push(b'"');
    for &octet in octets {
        if matches!(octet, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(octet);
    }
    out.push(b'"');
}

/// Writes the name of a mailbox in the form that the session uses.
pub(crate) fn mailbox(out: &mut Vec<u8>, name: &str, names: NameForm) {
    match names {
        NameForm::ModifiedUtf7 => astring(out, mailbox_name::encode(name).as_bytes()),
        // UTF-8 may stand between quotes (RFC 9051 §9 QUOTED-CHAR), not in an atom.
        NameForm::Utf8 if !name.is_ascii() && !name.contains(['\r', '\n', '\0']) => {
            quoted(out, name.as_bytes());
        }
        NameForm::Utf8 => astring(out, name.as_bytes()),
    }
}

/// Writes `nstring`.
pub(crate) fn nstring(out: &mut Vec<u8>, octets: Option<&[u8]>) {
    match octets {
        Some(octets) => string(out, octets),
        None => out.extend_from_slice(b"NIL"),
    }
}

/// Writes `astring`: an atom where possible, because some clients compare section names as text.
pub(crate) fn astring(out: &mut Vec<u8>, octets: &[u8]) {
    let is_atom_octet = |octet: &u8| {
        octet.is_ascii_graphic()
            && !matches!(octet, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\' | b']')
    };
    if !octets.is_empty() && octets.iter().all(is_atom_octet) {
        out.extend_from_slice(octets);
    } else {
        string(out, octets);
    }
}

/// Announces a literal of `length` octets, which the caller writes next.
pub(crate) fn literal_announcement(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(format!("{{{length}}}\r\n").as_bytes());
}

/// Writes a parenthesised flag list.
pub(crate) fn flags(out: &mut Vec<u8>, flags: &Flags, recent: bool) {
    let system: [(bool, &str); 6] = [
        (flags.answered, "\\Answered"),
        (flags.flagged, "\\Flagged"),
        (flags.deleted, "\\Deleted"),
        (flags.seen, "\\Seen"),
        (flags.draft, "\\Draft"),
        (recent, "\\Recent"),
    ];
    let set = system.iter().filter(|(set, _)| *set).map(|(_, name)| *name);
    let all: Vec<&str> =
        set.chain(flags.keywords.iter().map(storage::mailbox::flags::Keyword::as_str)).collect();
    out.push(b'(');
    out.extend_from_slice(all.join(" ").as_bytes());
    out.push(b')');
}

/// Writes `date-time` in the given zone: `"17-Jul-1996 02:44:25 -0700"`.
pub(crate) fn date_time(out: &mut Vec<u8>, instant: UnixMillis, zone: &jiff::tz::TimeZone) {
    // An instant that jiff cannot hold (beyond the year 9999) is written as the epoch.
    let timestamp = jiff::Timestamp::from_second(instant.seconds()).unwrap_or_default();
    let zoned = timestamp.to_zoned(zone.clone());
    out.extend_from_slice(zoned.strftime("\"%d-%b-%Y %H:%M:%S %z\"").to_string().as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn strings_are_quoted_or_literals() {
        assert_eq!(written(|out| string(out, b"a \"b\" \\")), "\"a \\\"b\\\" \\\\\"");
        assert_eq!(written(|out| string(out, "è".as_bytes())), "{2}\r\nè");
        assert_eq!(written(|out| string(out, b"a\r\nb")), "{4}\r\na\r\nb");
        assert_eq!(written(|out| string(out, b"")), "\"\"");
        assert!(written(|out| string(out, &[b'x'; 2_000])).starts_with("{2000}\r\n"));
        assert_eq!(written(|out| nstring(out, None)), "NIL");
        assert_eq!(written(|out| astring(out, b"X-Riferimento")), "X-Riferimento");
        assert_eq!(written(|out| astring(out, b"a b")), "\"a b\"");
    }

    #[test]
    fn utf_8_stands_between_quotes_only_where_the_client_asked_for_it() {
        let written = |octets: &[u8], strings| {
            let mut out = Vec::new();
            text(&mut out, octets, strings);
            out
        };
        assert_eq!(written("è \"".as_bytes(), Strings::Utf8), "\"è \\\"\"".as_bytes());
        assert_eq!(written("è".as_bytes(), Strings::Ascii), "{2}\r\nè".as_bytes());
        assert_eq!(written(b"\xe8", Strings::Utf8), b"{1}\r\n\xe8");
        assert_eq!(written("è\r\n".as_bytes(), Strings::Utf8), "{4}\r\nè\r\n".as_bytes());
        assert_eq!(written("è".repeat(501).as_bytes(), Strings::Utf8)[..8], *b"{1002}\r\n");
    }

    #[test]
    fn a_nul_never_goes_out() {
        let mut out = Vec::new();
        string(&mut out, b"a\0b");
        assert_eq!(out, b"{3}\r\na\x80b");
    }

    #[test]
    fn internal_dates_look_like_the_example_of_rfc_3501() {
        let instant = UnixMillis(837_596_665_999);
        let zone = jiff::tz::TimeZone::fixed(jiff::tz::offset(-7));
        assert_eq!(written(|out| date_time(out, instant, &zone)), "\"17-Jul-1996 02:44:25 -0700\"");
    }

    #[test]
    fn subjects_in_utf_8_become_encoded_words_for_who_reads_no_other() {
        let written = |octets: &[u8], strings| {
            let mut out = Vec::new();
            nphrase(&mut out, Some(octets), strings);
            String::from_utf8_lossy(&out).into_owned()
        };
        assert_eq!(written("perché".as_bytes(), Strings::Ascii), "\"=?UTF-8?B?cGVyY2jDqQ==?=\"");
        assert_eq!(written("perché".as_bytes(), Strings::Utf8), "\"perché\"");
        assert_eq!(written(b"perche", Strings::Ascii), "\"perche\"");
        assert_eq!(written(b"\xe8", Strings::Ascii), "{1}\r\n\u{fffd}");
        let mixed = "=?UTF-8?Q?=C3=A8?= è";
        assert_eq!(written(mixed.as_bytes(), Strings::Ascii), format!("{{21}}\r\n{mixed}"));
        // No letter is cut in two, and white space between words says nothing (RFC 2047 §6.2).
        let long = "è".repeat(50);
        let line = written(long.as_bytes(), Strings::Ascii);
        assert!(line.trim_matches('"').split(' ').all(|word| word.len() <= 75), "{line}");
        let decoded = storage::text::encoded_word::decode(line.trim_matches('"').as_bytes());
        assert_eq!(decoded, long);
    }
}
