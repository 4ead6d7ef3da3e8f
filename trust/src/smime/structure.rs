//! Finds the signed entity and its signature in a received message.
//!
//! Only offsets are computed; the entity is the octets between two boundary lines as they came
//! (RFC 1847 §2.1). A message counts as signed when
//!
//! * its header has exactly one Content-Type, `multipart/signed`, with a `boundary` and one of
//!   the two protocol names (`application/pkcs7-signature`, `application/x-pkcs7-signature`);
//!   `micalg` is not asked for, the CMS says it itself;
//! * its body has exactly two parts, the second of one of those types, in base64 or unencoded,
//!   and the boundary that closes it.
//!
//! Lines end in CRLF, as SMTP delivers them (RFC 5321 §2.3.8); a message with other line ends is
//! not found to be signed. Two Content-Type fields, or one parameter twice, are ambiguous between
//! readers: such a message is not found to be signed either.
//!
//! Not here: whether the signature is any good (`verify`), opaque `application/pkcs7-mime`
//! messages, which PEC does not use (RFC 6109 §4.3).

use std::ops::Range;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

/// The parts of a signed message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SignedMessage {
    /// The message's own header fields, without the empty line after them.
    pub header: Range<usize>,
    /// What stands before the first boundary line, which nobody has signed.
    pub preamble: Range<usize>,
    /// The signed entity.
    pub entity: Range<usize>,
    /// The CMS SignedData, decoded: DER or BER, if it is what it says.
    pub signature: Vec<u8>,
    /// What stands after the boundary line that closes, which nobody has signed either.
    pub epilogue: Range<usize>,
}

/// Octets that the encoded signature part may have. Real ones have some 5,000; the bound keeps a
/// hostile message from being copied.
pub const SIGNATURE_OCTETS_MAX: usize = 1 << 20;

/// Octets that a header block may have to be searched.
const HEADER_OCTETS_MAX: usize = 10 << 20;

/// Parameters that a Content-Type may have. Real ones have four; each is compared with all before.
const PARAMETERS_MAX: usize = 32;

const LENIENT_BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Finds the signature of `message`, `None` when it is not a signed message.
pub fn find_signed(message: &[u8]) -> Option<SignedMessage> {
    let (header_end, body_start) = header_block(message)?;
    let content_type = single_content_type(&message[..header_end])?;
    let content_type = ContentType::parse(&content_type)?;
    if content_type.media_type != "multipart/signed"
        || !is_signature_type(&content_type.parameter("protocol")?)
    {
        return None;
    }
    let boundary = content_type.parameter("boundary")?;
    if boundary.is_empty() || boundary.len() > 70 {
        return None;
    }
    let delimiter = format!("--{boundary}").into_bytes();
    let opening = next_delimiter(message, body_start, &delimiter)?;
    let middle = next_delimiter(message, opening.after, &delimiter)?;
    let closing = next_delimiter(message, middle.after, &delimiter)?;
    if opening.closes || middle.closes || !closing.closes {
        return None;
    }
    let entity = opening.after..middle.content_end(opening.after);
    let part = message.get(middle.after..closing.content_end(middle.after))?;
    let signature = signature_octets(part)?;
    let (preamble, epilogue) = (body_start..opening.start, closing.after..message.len());
    Some(SignedMessage { header: 0..header_end, preamble, entity, signature, epilogue })
}

/// Where the header ends (its last CRLF counted in) and the body starts.
fn header_block(message: &[u8]) -> Option<(usize, usize)> {
    if message.starts_with(b"\r\n") {
        return Some((0, 2));
    }
    let searched = &message[..message.len().min(HEADER_OCTETS_MAX)];
    let end = searched.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some((end + 2, end + 4))
}

/// The unfolded value of the one Content-Type field of `header`.
fn single_content_type(header: &[u8]) -> Option<String> {
    let mut values = field_values(header, b"content-type").into_iter();
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

/// The unfolded values (RFC 5322 §2.2.3) of the fields called `name` (lower case).
fn field_values(header: &[u8], name: &[u8]) -> Vec<String> {
    let mut values: Vec<String> = Vec::new();
    let mut in_field = false;
    for line in lines(header) {
        if line.first().is_some_and(|first| matches!(first, b' ' | b'\t')) {
            if let (true, Some(value)) = (in_field, values.last_mut()) {
                value.push_str(&String::from_utf8_lossy(line));
            }
            continue;
        }
        let colon = line.iter().position(|octet| *octet == b':');
        let (found, value) = colon.map_or((line, &[][..]), |at| (&line[..at], &line[at + 1..]));
        in_field = found.trim_ascii_end().eq_ignore_ascii_case(name);
        if in_field {
            values.push(String::from_utf8_lossy(value).into_owned());
        }
    }
    values
}

/// The lines of `octets`, without their CRLF.
fn lines(octets: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(octets);
    std::iter::from_fn(move || {
        let octets = rest?;
        let end = octets.windows(2).position(|pair| pair == b"\r\n");
        rest = end.map(|end| &octets[end + 2..]).filter(|after| !after.is_empty());
        Some(end.map_or(octets, |end| &octets[..end]))
    })
}

/// A boundary line.
struct Delimiter {
    /// Where the line begins.
    start: usize,
    /// Where the octets after the line begin.
    after: usize,
    /// The line ends the multipart.
    closes: bool,
}

impl Delimiter {
    /// Where the part before ends: the CRLF before the line belongs to the line. An empty part
    /// directly after the boundary before it has no such CRLF.
    fn content_end(&self, part_start: usize) -> usize {
        self.start.saturating_sub(2).max(part_start)
    }
}

/// Finds the next line from `from` (the start of a line) on that is a boundary
/// (RFC 2046 §5.1.1): the delimiter at the start of the line, `--` when it closes, blanks, CRLF.
fn next_delimiter(message: &[u8], from: usize, delimiter: &[u8]) -> Option<Delimiter> {
    let mut start = from;
    loop {
        let rest = message.get(start..)?;
        if let Some(found) = delimiter_at(rest, delimiter) {
            let (length, closes) = found;
            return Some(Delimiter { start, after: start + length, closes });
        }
        start += rest.windows(2).position(|pair| pair == b"\r\n")? + 2;
    }
}

/// Length of the boundary line that `rest` begins with, and whether it closes.
fn delimiter_at(rest: &[u8], delimiter: &[u8]) -> Option<(usize, bool)> {
    let after = rest.strip_prefix(delimiter)?;
    let (closes, after) = match after.strip_prefix(b"--") {
        Some(after) => (true, after),
        None => (false, after),
    };
    let blanks = after.iter().take_while(|octet| matches!(octet, b' ' | b'\t')).count();
    let after = &after[blanks..];
    // The closing line may be the last of the message, without a CRLF.
    if after.is_empty() && closes {
        return Some((rest.len(), closes));
    }
    let end = after.strip_prefix(b"\r\n")?;
    Some((rest.len() - end.len(), closes))
}

fn signature_octets(part: &[u8]) -> Option<Vec<u8>> {
    if part.len() > SIGNATURE_OCTETS_MAX {
        return None;
    }
    let (header_end, body_start) = header_block(part)?;
    let (header, body) = (&part[..header_end], &part[body_start..]);
    let content_type = ContentType::parse(&single_content_type(header)?)?;
    if !is_signature_type(&content_type.media_type) {
        return None;
    }
    let encodings = field_values(header, b"content-transfer-encoding");
    let encoding = encodings.first().map_or("7bit", |value| value.trim());
    if encoding.eq_ignore_ascii_case("base64") {
        let text: Vec<u8> =
            body.iter().copied().filter(|octet| !octet.is_ascii_whitespace()).collect();
        return LENIENT_BASE64.decode(text).ok();
    }
    let unencoded = ["7bit", "8bit", "binary"];
    unencoded.iter().any(|name| encoding.eq_ignore_ascii_case(name)).then(|| body.to_vec())
}

fn is_signature_type(name: &str) -> bool {
    ["application/pkcs7-signature", "application/x-pkcs7-signature"]
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known))
}

/// A Content-Type value (RFC 2045 §5.1), names in lower case.
struct ContentType {
    media_type: String,
    parameters: Vec<(String, String)>,
}

impl ContentType {
    /// Parses `value`; `None` when it does not follow the grammar, names a parameter twice,
    /// or has more than [`PARAMETERS_MAX`].
    fn parse(value: &str) -> Option<Self> {
        let mut scanner = Scanner(value);
        let main = scanner.token()?;
        scanner.expect('/')?;
        let sub = scanner.token()?;
        let mut parameters: Vec<(String, String)> = Vec::new();
        loop {
            scanner.skip_blanks();
            if scanner.0.is_empty() {
                break;
            }
            scanner.expect(';')?;
            scanner.skip_blanks();
            // A semicolon after the last parameter is wrong and frequent.
            if scanner.0.is_empty() {
                break;
            }
            let name = scanner.token()?.to_ascii_lowercase();
            scanner.expect('=')?;
            let value = scanner.value()?;
            let repeated = parameters.iter().any(|(known, _)| *known == name);
            if repeated || parameters.len() == PARAMETERS_MAX {
                return None;
            }
            parameters.push((name, value));
        }
        Some(Self { media_type: format!("{main}/{sub}").to_ascii_lowercase(), parameters })
    }

    fn parameter(&self, name: &str) -> Option<String> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }
}

/// Reads a structured field from left to right.
struct Scanner<'a>(&'a str);

impl Scanner<'_> {
    /// Skips blanks and comments, which nest (RFC 5322 §3.2.2).
    fn skip_blanks(&mut self) {
        loop {
            self.0 = self.0.trim_start_matches([' ', '\t']);
            if !self.0.starts_with('(') {
                return;
            }
            let mut depth = 0_usize;
            let mut escaped = false;
            let end = self.0.char_indices().find_map(|(at, character)| {
                match character {
                    _ if escaped => escaped = false,
                    '\\' => escaped = true,
                    '(' => depth += 1,
                    ')' => depth -= 1,
                    _ => {}
                }
                (depth == 0).then_some(at + character.len_utf8())
            });
            // A comment that never ends swallows the rest.
            self.0 = end.map_or("", |end| &self.0[end..]);
        }
    }

    fn expect(&mut self, character: char) -> Option<()> {
        self.skip_blanks();
        self.0 = self.0.strip_prefix(character)?;
        Some(())
    }

    fn token(&mut self) -> Option<String> {
        self.skip_blanks();
        let is_token_character = |character: char| {
            character.is_ascii_graphic() && !"()<>@,;:\\\"/[]?=".contains(character)
        };
        let end = self.0.find(|character| !is_token_character(character)).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        (!token.is_empty()).then(|| token.to_owned())
    }

    /// A token or a quoted string. Old senders leave characters such as `/` or `=` unquoted: up
    /// to the next semicolon or blank they are taken as part of the value.
    fn value(&mut self) -> Option<String> {
        self.skip_blanks();
        if let Some(quoted) = self.0.strip_prefix('"') {
            let mut value = String::new();
            let mut escaped = false;
            for (at, character) in quoted.char_indices() {
                match character {
                    _ if escaped => {
                        value.push(character);
                        escaped = false;
                    }
                    '\\' => escaped = true,
                    '"' => {
                        self.0 = &quoted[at + 1..];
                        return Some(value);
                    }
                    _ => value.push(character),
                }
            }
            return None;
        }
        let end = self.0.find([';', ' ', '\t', '"', '(']).unwrap_or(self.0.len());
        let (value, rest) = self.0.split_at(end);
        self.0 = rest;
        (!value.is_empty()).then(|| value.to_owned())
    }
}
