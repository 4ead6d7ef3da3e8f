//! Cuts a message into header fields and parts, by offsets and for reading only.
//!
//! This is the demo's own reader on purpose: what checks the program's messages shares no code
//! with what makes them. It reads the messages of this demo; a message that it cannot cut is a
//! failed check, never a panic.
//!
//! Not here: signatures (`openssl` verifies them), certification data (`xmllint` validates them).

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// A MIME entity: header and body, as they stand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entity<'o> {
    header: &'o [u8],
    body: &'o [u8],
}

impl<'o> Entity<'o> {
    /// Divides `octets` at the first empty line; `None` without one.
    pub(super) fn cut(octets: &'o [u8]) -> Option<Self> {
        let end = find(octets, b"\r\n\r\n")?;
        Some(Self { header: &octets[..end + 2], body: &octets[end + 4..] })
    }

    /// Everything after the empty line.
    pub(super) fn body(&self) -> &'o [u8] {
        self.body
    }

    /// The header fields in order, each with its folding and final CRLF.
    pub(super) fn fields(&self) -> Vec<&'o [u8]> {
        let mut fields = Vec::new();
        let mut start = 0;
        for at in 0..self.header.len() {
            let ends = self.header[..=at].ends_with(b"\r\n")
                && !matches!(self.header.get(at + 1), Some(b' ' | b'\t'));
            if ends {
                fields.push(&self.header[start..=at]);
                start = at + 1;
            }
        }
        fields
    }

    /// The unfolded value of the first field called `name`.
    pub(super) fn value(&self, name: &str) -> Option<String> {
        let field =
            self.fields().into_iter().find(|field| field_name(field).eq_ignore_ascii_case(name))?;
        let text = String::from_utf8_lossy(field).replace("\r\n", "");
        Some(text.split_once(':')?.1.trim().to_owned())
    }

    /// A parameter of Content-Type or Content-Disposition.
    fn parameter(&self, field: &str, parameter: &str) -> Option<String> {
        let value = self.value(field)?;
        value.split(';').skip(1).find_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            let matches = name.trim().eq_ignore_ascii_case(parameter);
            matches.then(|| value.trim().trim_matches('"').to_owned())
        })
    }

    /// The parts of a multipart; empty for anything else.
    pub(super) fn parts(&self) -> Vec<Entity<'o>> {
        let Some(boundary) = self.parameter("Content-Type", "boundary") else { return Vec::new() };
        let delimiter = format!("--{boundary}");
        let mut starts = Vec::new();
        let mut at = 0;
        while let Some(found) = find(&self.body[at..], delimiter.as_bytes()) {
            let start = at + found;
            if start == 0 || self.body[..start].ends_with(b"\r\n") {
                starts.push(start);
            }
            at = start + delimiter.len();
        }
        starts
            .windows(2)
            .filter_map(|pair| {
                let line_end = find(&self.body[pair[0]..], b"\r\n")? + pair[0] + 2;
                // The CRLF in front of a delimiter belongs to the delimiter (RFC 2046 §5.1.1).
                Self::cut(self.body.get(line_end..pair[1].checked_sub(2)?)?)
            })
            .collect()
    }

    /// The leaf with this file name, anywhere below, but not inside other messages.
    pub(super) fn leaf_named(&self, name: &str) -> Option<Entity<'o>> {
        let named = ["Content-Disposition", "Content-Type"].iter().any(|field| {
            let parameter = if *field == "Content-Type" { "name" } else { "filename" };
            self.parameter(field, parameter).is_some_and(|found| found.eq_ignore_ascii_case(name))
        });
        if named {
            return Some(*self);
        }
        self.parts().iter().find_map(|part| part.leaf_named(name))
    }

    /// The body without its transfer encoding; `None` when the encoding is broken or
    /// quoted-printable, which no attachment of this demo uses.
    pub(super) fn decoded(&self) -> Option<Vec<u8>> {
        let encoding = self.value("Content-Transfer-Encoding").unwrap_or_default();
        match encoding.to_ascii_lowercase().as_str() {
            "base64" => {
                let characters: Vec<u8> = self
                    .body
                    .iter()
                    .copied()
                    .filter(|octet| !octet.is_ascii_whitespace())
                    .collect();
                STANDARD.decode(characters).ok()
            }
            "" | "7bit" | "8bit" | "binary" => Some(self.body.to_vec()),
            _ => None,
        }
    }
}

/// The name of a header field, without its colon.
pub(super) fn field_name(field: &[u8]) -> String {
    let end = field.iter().position(|octet| *octet == b':').unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).trim_end().to_owned()
}

fn find(octets: &[u8], wanted: &[u8]) -> Option<usize> {
    octets.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] = b"Subject: a\r\n b\r\nX-Ricevuta: accettazione\r\nContent-Type: multipart/mixed;\r\n boundary=\"x\"\r\n\r\npreamble\r\n--x\r\nContent-Type: text/plain\r\n\r\nhello --x\r\n\r\n--x\r\nContent-Type: application/xml; name=\"daticert.xml\"\r\nContent-Transfer-Encoding: base64\r\n\r\nPHBv\r\nc3Q+\r\n--x--\r\n";

    #[test]
    fn fields_keep_their_folding_and_values_lose_it() {
        let message = Entity::cut(MESSAGE).unwrap();
        assert_eq!(message.fields()[0], b"Subject: a\r\n b\r\n");
        assert_eq!(message.value("subject").unwrap(), "a b");
        assert_eq!(field_name(message.fields()[1]), "X-Ricevuta");
    }

    #[test]
    fn parts_end_before_the_delimiters_line_break_and_boundaries_only_count_at_line_starts() {
        let message = Entity::cut(MESSAGE).unwrap();
        let parts = message.parts();
        assert_eq!(parts.len(), 2);
        assert_eq!(parts[0].body(), b"hello --x\r\n");
    }

    #[test]
    fn a_leaf_is_found_by_name_and_decoded() {
        let message = Entity::cut(MESSAGE).unwrap();
        assert_eq!(message.leaf_named("daticert.xml").unwrap().decoded().unwrap(), b"<post>");
        assert!(message.leaf_named("postacert.eml").is_none());
    }

    #[test]
    fn broken_messages_are_none_not_panics() {
        assert!(Entity::cut(b"no empty line").is_none());
        let bare = Entity::cut(b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x--").unwrap();
        assert!(bare.parts().is_empty());
        let stray =
            Entity::cut(b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n--x").unwrap();
        assert!(stray.parts().is_empty());
    }
}
