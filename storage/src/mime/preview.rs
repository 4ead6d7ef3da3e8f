//! The readable start of a message (RFC 8970).
//!
//! Of the first text/plain body, else of the first text/html body, the first octets are kept,
//! decoded (base64, quoted-printable, charset), freed of tags where it is HTML, its white space
//! joined, and cut at [`CHARACTERS_MAX`] characters. Unknown charsets are read as UTF-8, wrong
//! octets become U+FFFD, control characters go.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

/// Characters of a preview.
pub const CHARACTERS_MAX: usize = 200;
/// Octets of a body that are looked at. HTML mail begins with long styles.
pub const SOURCE_OCTETS_MAX: usize = 16 << 10;

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// A text body whose start is kept.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) html: bool,
    pub(crate) encoding: Vec<u8>,
    pub(crate) charset: Vec<u8>,
    pub(crate) octets: Vec<u8>,
}

impl Source {
    /// Keeps the next octets of the body, up to the bound.
    pub(crate) fn keep(&mut self, octets: &[u8]) {
        let room = SOURCE_OCTETS_MAX.saturating_sub(self.octets.len());
        self.octets.extend_from_slice(&octets[..octets.len().min(room)]);
    }

    /// The preview.
    pub(crate) fn preview(&self) -> String {
        let octets = if self.encoding.eq_ignore_ascii_case(b"base64") {
            decode_base64(&self.octets)
        } else if self.encoding.eq_ignore_ascii_case(b"quoted-printable") {
            decode_quoted_printable(&self.octets)
        } else {
            self.octets.clone()
        };
        let charset = encoding_rs::Encoding::for_label(&self.charset).unwrap_or(encoding_rs::UTF_8);
        let (text, ..) = charset.decode(&octets);
        if self.html { shorten(&without_tags(&text)) } else { shorten(&text) }
    }
}

fn decode_base64(text: &[u8]) -> Vec<u8> {
    let characters: Vec<u8> = text
        .iter()
        .copied()
        .filter(|octet| octet.is_ascii_alphanumeric() || b"+/".contains(octet))
        .collect();
    // A single character at the cut stands for nothing.
    let whole = if characters.len() % 4 == 1 { characters.len() - 1 } else { characters.len() };
    LENIENT.decode(&characters[..whole]).unwrap_or_default()
}

fn decode_quoted_printable(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&octet, after)) = rest.split_first() {
        rest = after;
        if octet != b'=' {
            decoded.push(octet);
            continue;
        }
        if let Some(line) = after.strip_prefix(b"\r\n").or_else(|| after.strip_prefix(b"\n")) {
            rest = line;
        } else if let Some((digits, after)) = after.split_first_chunk::<2>()
            && let Some(octet) = std::str::from_utf8(digits)
                .ok()
                .and_then(|digits| u8::from_str_radix(digits, 16).ok())
        {
            decoded.push(octet);
            rest = after;
        } else if !after.is_empty() {
            decoded.push(octet);
        }
    }
    decoded
}

/// The text between tags. What stands in style, script and head is no text.
fn without_tags(html: &str) -> String {
    let mut text = String::new();
    let mut rest = html;
    while let Some(start) = rest.find('<') {
        text.push_str(&rest[..start]);
        let tag = &rest[start + 1..];
        let Some(end) = tag.find('>') else {
            rest = "";
            break;
        };
        let name: String =
            tag.chars().take_while(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
        rest = &tag[end + 1..];
        if ["style", "script", "head"].contains(&name.as_str()) {
            rest = after_end_tag(rest, &name);
        }
        text.push(' ');
    }
    text.push_str(rest);
    entities(&text)
}

fn after_end_tag<'a>(html: &'a str, name: &str) -> &'a str {
    let end_tag = format!("</{name}");
    let lower = html.to_ascii_lowercase();
    lower.find(&end_tag).and_then(|at| html.get(at..)).unwrap_or("")
}

fn entities(text: &str) -> String {
    const KNOWN: [(&str, char); 12] = [
        ("&nbsp;", ' '),
        ("&lt;", '<'),
        ("&gt;", '>'),
        ("&quot;", '"'),
        ("&#39;", '\''),
        ("&agrave;", 'à'),
        ("&egrave;", 'è'),
        ("&eacute;", 'é'),
        ("&igrave;", 'ì'),
        ("&ograve;", 'ò'),
        ("&ugrave;", 'ù'),
        ("&amp;", '&'),
    ];
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        let (length, character) = KNOWN
            .iter()
            .find(|(name, _)| rest.starts_with(name))
            .map_or((1, '&'), |&(name, character)| (name.len(), character));
        plain.push(character);
        rest = &rest[length..];
    }
    plain.push_str(rest);
    plain
}

fn shorten(text: &str) -> String {
    let mut preview = String::new();
    let mut characters = 0;
    for word in text.split(|character: char| character.is_whitespace() || character.is_control()) {
        if word.is_empty() {
            continue;
        }
        if characters > 0 {
            preview.push(' ');
            characters += 1;
        }
        for character in word.chars() {
            if characters == CHARACTERS_MAX {
                return preview.trim_end().to_owned();
            }
            preview.push(character);
            characters += 1;
        }
        if characters >= CHARACTERS_MAX {
            break;
        }
    }
    preview.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preview(html: bool, encoding: &str, charset: &str, octets: &[u8]) -> String {
        let mut source =
            Source { html, encoding: encoding.into(), charset: charset.into(), octets: Vec::new() };
        source.keep(octets);
        source.preview()
    }

    #[test]
    fn texts_are_decoded_and_their_white_space_joined() {
        let cases: [(bool, &str, &str, &[u8], &str); 9] = [
            (false, "7bit", "us-ascii", b"Gentile \r\n\r\n signora,\0", "Gentile signora,"),
            (false, "8bit", "utf-8", "è arrivata".as_bytes(), "è arrivata"),
            (false, "8bit", "iso-8859-1", b"\xe8 arrivata", "è arrivata"),
            (false, "quoted-printable", "windows-1252", b"=E8 arri=\r\nvata =zz =", "è arrivata =zz"),
            (false, "BASE64", "utf-8", b"w6ggYXJy\r\naXZhdGE", "è arrivata"),
            (false, "base64", "utf-8", b"w6ggYXJyaXZhdGE=!", "è arrivata"),
            (false, "x", "unknown", b"a\xffb", "a\u{fffd}b"),
            (
                true,
                "",
                "",
                b"<html><head><title>x</title></head><STYLE>p{}</STYLE><p>Perch&eacute; <b>no</b>?&nbsp;&amp;lt; <",
                "Perché no ? &lt;",
            ),
            (true, "", "", b"<style>never closed", ""),
        ];
        for (html, encoding, charset, octets, expected) in cases {
            assert_eq!(preview(html, encoding, charset, octets), expected);
        }
    }

    #[test]
    fn a_preview_has_at_most_its_number_of_characters() {
        let long = "però ".repeat(1_000);
        let preview = preview(false, "", "utf-8", long.as_bytes());
        assert!(preview.chars().count() <= CHARACTERS_MAX);
        assert!(preview.chars().count() > CHARACTERS_MAX - 6);
        let one_word = "x".repeat(1_000);
        let mut source =
            Source { html: false, encoding: vec![], charset: vec![], octets: Vec::new() };
        source.keep(one_word.as_bytes());
        assert_eq!(source.preview().len(), CHARACTERS_MAX);
    }
}
