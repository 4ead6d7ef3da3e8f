//! MIME structure as ranges over octets: enough to find parts, never re-serialised.
//!
//! An [`Entity`] is a header and the range of its body in the octets that it was read from.
//! Invariants: ranges lie inside the octets and on parts' exact limits (the line end before a
//! boundary belongs to the boundary, RFC 2046 §5.1.1); the number of parts is bounded.
//!
//! Not here: transfer encodings of message bodies at rest (`storage`), the header itself
//! ([`super::header`]).

use std::{collections::BTreeMap, ops::Range};

use base64::{Engine as _, engine::general_purpose};

use super::{
    encoded_word::{decode, hex_pair},
    header::{Header, HeaderFault, next_line},
};

/// Parts one multipart may have.
pub const PARTS_MAX: usize = 1000;

/// Parameters one field may have; one with more counts as one without any.
const PARAMETERS_MAX: usize = 256;

/// A structured MIME field: its value and its parameters (RFC 2045 §5.1).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Structured {
    /// The value before the first `;`, in lower case.
    pub value: String,
    /// Names in lower case with values unquoted, in order.
    parameters: Vec<(String, String)>,
}

impl Structured {
    /// Reads an unfolded value. Never fails: what is not a parameter is left out.
    pub fn parse(value: &[u8]) -> Self {
        let mut pieces = split_outside_quotes(value);
        let value = without_comment(&pieces.next().unwrap_or_default()).to_ascii_lowercase();
        let mut parameters = Vec::new();
        for (count, piece) in pieces.enumerate() {
            if count == PARAMETERS_MAX {
                parameters.clear();
                break;
            }
            parameters.extend(
                piece.split_once('=').map(|(name, value)| {
                    (name.trim().to_ascii_lowercase(), unquoted(value.trim()))
                }),
            );
        }
        Self { value, parameters }
    }

    /// The value of the parameter `name` (lower case), its RFC 2231 forms put together and
    /// decoded, encoded words (which no rule allows here and many programs write) decoded too.
    pub fn parameter(&self, name: &str) -> Option<String> {
        let (mut plain, mut whole) = (None, None);
        // Sections by number, each with the star of an encoded one.
        let mut sections: BTreeMap<usize, (&str, bool)> = BTreeMap::new();
        let mut encoded = false;
        for (known, value) in &self.parameters {
            let Some(form) = known.strip_prefix(name) else { continue };
            match form {
                "" => plain = plain.or(Some(value)),
                "*" => whole = whole.or(Some(value)),
                _ => {
                    let Some((number, is_encoded)) = section(form) else { continue };
                    encoded |= number == 0 && is_encoded;
                    let kept = sections.entry(number).or_insert((value, is_encoded));
                    if kept.1 && !is_encoded {
                        *kept = (value, false);
                    }
                }
            }
        }
        if let Some(value) = plain {
            return Some(decode(value.as_bytes()));
        }
        if let Some(value) = whole {
            return Some(extended(value));
        }
        let in_order = sections.into_iter().zip(0..).take_while(|((number, _), at)| number == at);
        let joined: String = in_order.map(|((_, (value, _)), _)| value).collect();
        match joined.is_empty() {
            true => None,
            false if encoded => Some(extended(&joined)),
            false => Some(joined),
        }
    }

    /// Whether the field has the parameter `name` in any form, decodable or not.
    pub fn has_parameter(&self, name: &str) -> bool {
        self.parameters
            .iter()
            .any(|(other, _)| other.split('*').next().is_some_and(|other| other == name))
    }
}

/// `charset'language'percent-encoded` (RFC 2231 §4).
fn extended(value: &str) -> String {
    let mut pieces = value.splitn(3, '\'');
    let (Some(charset), Some(_), Some(text)) = (pieces.next(), pieces.next(), pieces.next()) else {
        return value.to_owned();
    };
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&octet, after)) = rest.split_first() {
        rest = after;
        let pair = after.split_at_checked(2).and_then(|(pair, _)| hex_pair(pair));
        match pair {
            Some(decoded) if octet == b'%' => {
                octets.push(decoded);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => octets.push(octet),
        }
    }
    let encoding =
        encoding_rs::Encoding::for_label(charset.as_bytes()).unwrap_or(encoding_rs::UTF_8);
    encoding.decode_without_bom_handling(&octets).0.into_owned()
}

/// The number of a section of a parameter (`*0`, `*1*`), and whether it is encoded (RFC 2231 §3, §4.1).
fn section(form: &str) -> Option<(usize, bool)> {
    let number = form.strip_prefix('*')?;
    let (digits, encoded) = number.strip_suffix('*').map_or((number, false), |rest| (rest, true));
    let canonical = digits == "0" || !digits.starts_with(['0', '+']);
    let number = digits.parse().ok().filter(|_| canonical)?;
    Some((number, encoded))
}

/// The pieces between semicolons, found as they are asked for.
fn split_outside_quotes(value: &[u8]) -> impl Iterator<Item = String> {
    let mut rest = Some(value);
    std::iter::from_fn(move || {
        let octets = rest?;
        let (mut quoted, mut escaped) = (false, false);
        let end = octets.iter().position(|&octet| {
            match octet {
                b';' if !quoted => return true,
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                _ => {}
            }
            false
        });
        rest = end.and_then(|end| octets.get(end + 1..));
        let piece = octets.get(..end.unwrap_or(octets.len())).unwrap_or_default();
        Some(String::from_utf8_lossy(piece).into_owned())
    })
}

fn without_comment(text: &str) -> &str {
    text.split('(').next().unwrap_or_default().trim()
}

fn unquoted(value: &str) -> String {
    let Some(inside) = value.strip_prefix('"') else {
        return without_comment(value).to_owned();
    };
    let mut text = String::with_capacity(inside.len());
    let mut characters = inside.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => break,
            '\\' => text.extend(characters.next()),
            _ => text.push(character),
        }
    }
    text
}

/// A message or a part: its header and where it stands.
#[derive(Clone, Debug)]
pub struct Entity {
    /// The fields.
    pub header: Header,
    /// The whole entity, header and body.
    pub range: Range<usize>,
    /// The body, as encoded.
    pub body: Range<usize>,
}

impl Entity {
    /// Reads the entity that `range` of `octets` is.
    pub fn parse(octets: &[u8], range: Range<usize>) -> Result<Self, HeaderFault> {
        let (header, body) = Header::parse(octets.get(range.clone()).unwrap_or_default())?;
        let body = (range.start + body)..range.end;
        Ok(Self { header, range, body })
    }

    /// Content-Type, `text/plain` when absent (RFC 2045 §5.2).
    pub fn content_type(&self) -> Structured {
        content_type(&self.header)
    }

    /// Content-Disposition; empty when absent (RFC 2183).
    pub fn disposition(&self) -> Structured {
        Structured::parse(&self.header.value("Content-Disposition").unwrap_or_default())
    }

    /// The name that the part gives itself: `filename`, else `name`.
    pub fn file_name(&self) -> Option<String> {
        self.disposition().parameter("filename").or_else(|| self.content_type().parameter("name"))
    }

    /// Content-Transfer-Encoding in lower case, `7bit` when absent (RFC 2045 §6.1).
    pub fn transfer_encoding(&self) -> String {
        self.header
            .value("Content-Transfer-Encoding")
            .map_or_else(|| "7bit".to_owned(), |value| Structured::parse(&value).value)
    }

    /// The body with its transfer encoding undone; `None` for an unknown encoding or broken
    /// base64.
    pub fn decoded_body(&self, octets: &[u8]) -> Option<Vec<u8>> {
        let body = octets.get(self.body.clone())?;
        match self.transfer_encoding().as_str() {
            "7bit" | "8bit" | "binary" => Some(body.to_vec()),
            "base64" => decode_base64(body),
            "quoted-printable" => Some(decode_quoted_printable(body)),
            _ => None,
        }
    }

    /// The parts of a multipart, `None` when it is not one, has no closing boundary or too many
    /// parts.
    pub fn parts(&self, octets: &[u8]) -> Option<Vec<Range<usize>>> {
        let content_type = self.content_type();
        if !content_type.value.starts_with("multipart/") {
            return None;
        }
        split_parts(octets, self.body.clone(), &content_type.parameter("boundary")?)
    }
}

/// Content-Type of `header`, `text/plain` when absent (RFC 2045 §5.2).
pub fn content_type(header: &Header) -> Structured {
    Structured::parse(&header.value("Content-Type").unwrap_or_else(|| b"text/plain".to_vec()))
}

/// Splits `body` at the lines of `boundary`; `None` without closing line or with too many parts.
pub fn split_parts(octets: &[u8], body: Range<usize>, boundary: &str) -> Option<Vec<Range<usize>>> {
    let within = octets.get(..body.end)?;
    let delimiter = format!("--{boundary}").into_bytes();
    let mut parts = Vec::new();
    let mut start: Option<usize> = None;
    let mut at = body.start;
    while let Some(line) = next_line(within, at) {
        let after = line.strip_prefix(delimiter.as_slice()).map(<[u8]>::trim_ascii_end);
        if let Some(rest @ (b"" | b"--")) = after {
            if let Some(start) = start {
                parts.push(start..end_before_delimiter(within, start, at));
            }
            if rest == b"--" {
                return Some(parts);
            }
            if parts.len() >= PARTS_MAX {
                return None;
            }
            start = Some(at + line.len());
        }
        at += line.len();
    }
    None
}

/// The end of the part whose delimiter line begins at `at`.
fn end_before_delimiter(octets: &[u8], start: usize, at: usize) -> usize {
    let part = octets.get(start..at).unwrap_or_default();
    let content = part.strip_suffix(b"\r\n").or_else(|| part.strip_suffix(b"\n")).unwrap_or(part);
    start + content.len()
}

/// Decodes base64 with line ends (RFC 2045 §6.8).
pub fn decode_base64(body: &[u8]) -> Option<Vec<u8>> {
    let content: Vec<u8> =
        body.iter().copied().filter(|octet| !octet.is_ascii_whitespace()).collect();
    let end = content.iter().rposition(|octet| *octet != b'=').map_or(0, |last| last + 1);
    general_purpose::STANDARD_NO_PAD.decode(content.get(..end)?).ok()
}

pub(super) fn decode_quoted_printable(body: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some((&octet, after)) = rest.split_first() {
        rest = after;
        if octet != b'=' {
            octets.push(octet);
            continue;
        }
        if let Some(value) = after.split_at_checked(2).and_then(|(pair, _)| hex_pair(pair)) {
            octets.push(value);
            rest = after.get(2..).unwrap_or_default();
        } else if let Some(next) = after.strip_prefix(b"\r\n").or(after.strip_prefix(b"\n")) {
            rest = next;
        } else {
            octets.push(octet);
        }
    }
    octets
}

/// Encodes `octets` in base64, lines of 76 with CR LF, the last one included (RFC 2045 §6.8).
pub fn encode_base64(octets: &[u8]) -> Vec<u8> {
    let text = general_purpose::STANDARD.encode(octets).into_bytes();
    let mut lines = Vec::with_capacity(text.len() + text.len() / 38 + 2);
    for line in text.chunks(76) {
        lines.extend_from_slice(line);
        lines.extend_from_slice(b"\r\n");
    }
    lines
}

/// Encodes text octets with CR LF line ends as quoted-printable (RFC 2045 §6.7).
pub fn encode_quoted_printable(octets: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(octets.len() * 5 / 4);
    let mut rest = octets;
    let mut column = 0;
    while let Some((&octet, after)) = rest.split_first() {
        if let Some(next) = rest.strip_prefix(b"\r\n") {
            encoded.extend_from_slice(b"\r\n");
            column = 0;
            rest = next;
            continue;
        }
        let line_ends = after.is_empty() || after.starts_with(b"\r\n");
        let literal = matches!(octet, 33..=60 | 62..=126) || (octet == b' ' && !line_ends);
        let width = if literal { 1 } else { 3 };
        // A line keeps room for the soft line end: 76 with it (RFC 2045 §6.7 rule 5).
        if column + width > 75 {
            encoded.extend_from_slice(b"=\r\n");
            column = 0;
        }
        // A dot or `From ` at the start of a line is what old transports damage.
        if literal && !(column == 0 && matches!(octet, b'.' | b'F')) {
            encoded.push(octet);
            column += 1;
        } else {
            encoded.extend_from_slice(format!("={octet:02X}").as_bytes());
            column += 3;
        }
        rest = after;
    }
    encoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parameters_are_read_in_every_form() {
        for (value, name, expected) in [
            ("text/plain; charset=us-ascii (Plain text)", "charset", Some("us-ascii")),
            ("a/b; name=\"a;b\\\"c\"; x=y", "name", Some("a;b\"c")),
            ("a/b; filename*=utf-8'it'citt%C3%A0.pdf", "filename", Some("città.pdf")),
            ("a/b; name*0*=iso-8859-1''Perch%E9; name*1=\".pdf\"", "name", Some("Perché.pdf")),
            ("a/b; name*0=uno; name*1=due", "name", Some("unodue")),
            ("a/b; name=\"=?utf-8?Q?citt=C3=A0.pdf?=\"", "name", Some("città.pdf")),
            ("a/b; name*1*=due%21; name*0*=utf-8''uno; name*3=no", "name", Some("unodue!")),
            ("a/b; name*0*=a; name*0=b; name*01=c", "name", Some("b")),
            ("a/b", "name", None),
        ] {
            let field = Structured::parse(value.as_bytes());
            assert_eq!(field.parameter(name).as_deref(), expected, "{value}");
            assert_eq!(field.has_parameter(name), expected.is_some(), "{value}");
        }
        assert_eq!(Structured::parse(b"Multipart/Signed ; a=b").value, "multipart/signed");
    }

    /// A field of a megabyte would be searched for a long time otherwise, for each of a thousand sections.
    #[test]
    fn a_field_with_too_many_parameters_counts_as_one_without() {
        let field = |count: usize| {
            let more = ";a=b".repeat(count - 1);
            Structured::parse(format!("a/b{more};name=x").as_bytes())
        };
        assert_eq!(field(PARAMETERS_MAX).parameter("name").as_deref(), Some("x"));
        let beyond = field(PARAMETERS_MAX + 1);
        assert_eq!((beyond.value.as_str(), beyond.parameters.len()), ("a/b", 0));
        assert!(!beyond.has_parameter("name"));
    }

    #[test]
    fn parts_end_before_the_line_end_of_their_boundary() {
        let octets = b"Content-Type: multipart/mixed; boundary=\"x\"\r\n\r\npreamble\r\n--x\r\n\r\none\r\n\r\n--x \r\nA: b\r\n\r\ntwo\r\n--xy\r\n--x--\r\nepilogue";
        let entity = Entity::parse(octets, 0..octets.len()).unwrap();
        let parts = entity.parts(octets).unwrap();
        let texts: Vec<&[u8]> = parts.into_iter().map(|part| &octets[part]).collect();
        assert_eq!(texts, [&b"\r\none\r\n"[..], b"A: b\r\n\r\ntwo\r\n--xy"]);
        let open = b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\none\r\n";
        assert!(Entity::parse(open, 0..open.len()).unwrap().parts(open).is_none());
    }

    proptest! {
        #[test]
        fn encodings_give_back_what_they_took(octets in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert_eq!(decode_base64(&encode_base64(&octets)), Some(octets));
        }

        #[test]
        fn quoted_printable_keeps_text_and_line_limits(text in "([ -~à.F=]|\r\n){0,300}") {
            let encoded = encode_quoted_printable(text.as_bytes());
            prop_assert!(encoded.is_ascii());
            for line in encoded.split(|octet| *octet == b'\n') {
                prop_assert!(line.len() <= 77);
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                prop_assert!(!line.ends_with(b" "));
            }
            prop_assert_eq!(decode_quoted_printable(&encoded), text.as_bytes());
        }
    }
}
