//! The original inside a brief receipt: attachments replaced by their hashes (RFC 6109 §3.3.2.2).
//!
//! Everything but the attachments stays octet for octet. A part is an attachment when it names a
//! file (`name` in Content-Type or `filename` in Content-Disposition) or is a whole message; it is
//! replaced by a text part `<file>.hash` with 40 hexadecimal digits of SHA-1. Of a signed original
//! only the signed part is worked on, and an original that is one PKCS #7 object stays whole.
//!
//! The rule says that the hash is taken over the part as encoded; what other providers do is not
//! known for all of them, so that [`BriefHash`] is a setting.

use std::{fmt::Write as _, ops::Range};

use trust::digest::sha1_hex;

use super::{
    address::quoted,
    header::{Field, Header},
    mime::Entity,
};

/// How deep parts are looked into; deeper ones stay as they are.
const DEPTH_MAX: usize = 32;
/// Octets a file name may take in its encoded form, so that lines stay within RFC 5322 §2.1.1.
const ENCODED_NAME_OCTETS_MAX: usize = 900;
/// The name of a message that is attached without one.
const MESSAGE_NAME: &str = "message.eml";

/// Which octets of an attachment are hashed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum BriefHash {
    /// The body as it stands, in its transfer encoding: what the rule says.
    #[default]
    Encoded,
    /// The octets of the file, transfer encoding undone.
    Decoded,
}

/// The attachments of an original, and what stands in their places in a brief receipt.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Attachments(Vec<(Range<usize>, Vec<u8>)>);

impl Attachments {
    /// Finds those of `original`. What cannot be parsed has none: the receipt then holds more than it had to,
    /// never less.
    pub fn find(original: &[u8], hash: BriefHash) -> Self {
        let mut replacements = Vec::new();
        if let Ok(message) = Entity::parse(original, 0..original.len()) {
            match message.content_type().value.as_str() {
                "application/pkcs7-mime" | "application/x-pkcs7-mime" => {}
                "multipart/signed" => {
                    let signed = message.parts(original).and_then(|parts| parts.into_iter().next());
                    if let Some(signed) = signed {
                        find(original, signed, hash, 1, &mut replacements);
                    }
                }
                _ => find(original, message.range, hash, 0, &mut replacements),
            }
        }
        Self(replacements)
    }

    /// The pieces of `original`, in which they were found, with the attachments replaced.
    pub fn replaced<'a>(&'a self, original: &'a [u8]) -> Vec<&'a [u8]> {
        let mut pieces = Vec::with_capacity(self.0.len() * 2 + 1);
        let mut at = 0;
        for (range, replacement) in &self.0 {
            pieces.push(original.get(at..range.start).unwrap_or_default());
            pieces.push(replacement);
            at = range.end;
        }
        pieces.push(original.get(at..).unwrap_or_default());
        pieces
    }
}

/// Finds the attachments inside `range`, in order.
fn find(
    octets: &[u8],
    range: Range<usize>,
    hash: BriefHash,
    depth: usize,
    replacements: &mut Vec<(Range<usize>, Vec<u8>)>,
) {
    let Ok(entity) = Entity::parse(octets, range) else { return };
    if let Some(parts) = entity.parts(octets).filter(|_| depth < DEPTH_MAX) {
        for part in parts {
            find(octets, part, hash, depth + 1, replacements);
        }
        return;
    }
    let content_type = entity.content_type();
    let is_message = content_type.value == "message/rfc822";
    let is_named =
        content_type.has_parameter("name") || entity.disposition().has_parameter("filename");
    if !is_message && !is_named {
        return;
    }
    let body = octets.get(entity.body.clone()).unwrap_or_default();
    let decoded = match hash {
        BriefHash::Encoded => None,
        BriefHash::Decoded => entity.decoded_body(octets),
    };
    let digest = sha1_hex(decoded.as_deref().unwrap_or(body));
    let name = entity.file_name().unwrap_or_else(|| MESSAGE_NAME.to_owned());
    replacements.push((entity.range.clone(), replacement(&entity.header, &name, &digest)));
}

/// The text part in the place of an attachment. Fields that are not of MIME, which the top level
/// of a message has, stay.
fn replacement(header: &Header, name: &str, digest: &str) -> Vec<u8> {
    let mut fields = Header::default();
    for field in header.fields() {
        if !field.name().to_ascii_lowercase().starts_with("content-") {
            fields.push(field.clone());
        }
    }
    let content_type = format!("text/plain; charset=\"us-ascii\";\r\n {}", parameter("name", name));
    let disposition = format!("attachment;\r\n {}", parameter("filename", name));
    fields.push(Field::new("Content-Type", content_type.as_bytes()));
    fields.push(Field::new("Content-Transfer-Encoding", b"7bit"));
    fields.push(Field::new("Content-Disposition", disposition.as_bytes()));
    let mut octets = fields.to_octets();
    octets.extend_from_slice(b"\r\n");
    octets.extend_from_slice(digest.as_bytes());
    octets
}

/// `parameter="name.hash"`, in the form of RFC 2231 §4 when the name is not printable ASCII.
fn parameter(parameter: &str, name: &str) -> String {
    let mut kept = String::new();
    let mut encoded = String::new();
    for character in name.chars() {
        let before = encoded.len();
        for octet in character.to_string().bytes() {
            if octet.is_ascii_alphanumeric() || b"-._".contains(&octet) {
                encoded.push(char::from(octet));
            } else if write!(encoded, "%{octet:02X}").is_err() {
                break;
            }
        }
        if encoded.len() > ENCODED_NAME_OCTETS_MAX {
            encoded.truncate(before);
            break;
        }
        kept.push(character);
    }
    if kept.bytes().all(|octet| matches!(octet, b' '..=b'~')) {
        format!("{parameter}={}", quoted(&format!("{kept}.hash")))
    } else {
        format!("{parameter}*=utf-8''{encoded}.hash")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brief(original: &str, hash: BriefHash) -> String {
        let attachments = Attachments::find(original.as_bytes(), hash);
        String::from_utf8(attachments.replaced(original.as_bytes()).concat()).unwrap()
    }

    fn mixed(parts: &str) -> String {
        format!(
            "From: a@x.example\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\npre\r\n--b\r\n\
             Content-Type: text/plain\r\n\r\nciao\r\n{parts}\r\n--b--\r\npost"
        )
    }

    fn hashed(name: &str, octets: &[u8]) -> String {
        let digest = sha1_hex(octets);
        format!(
            "--b\r\nContent-Type: text/plain; charset=\"us-ascii\";\r\n name=\"{name}\"\r\n\
             Content-Transfer-Encoding: 7bit\r\nContent-Disposition: attachment;\r\n \
             filename=\"{name}\"\r\n\r\n{digest}"
        )
    }

    #[test]
    fn attachments_become_hashes_of_what_the_setting_says_and_the_rest_stays() {
        let original = mixed(
            "--b\r\nContent-Type: application/pdf; name=\"a b.pdf\"\r\n\
             Content-Transfer-Encoding: base64\r\n\r\nYWJj\r\n",
        );
        let encoded = mixed(&hashed("a b.pdf.hash", b"YWJj\r\n"));
        assert_eq!(brief(&original, BriefHash::Encoded), encoded);
        // FIPS 180-4, the example message "abc".
        let decoded = brief(&original, BriefHash::Decoded);
        assert!(decoded.contains("\r\n\r\na9993e364706816aba3e25717850c26c9cd0d89d\r\n--b--"));
    }

    #[test]
    fn an_attached_message_is_hashed_as_a_whole() {
        let inner = "Subject: x\r\nContent-Type: a/b; name=c\r\n\r\ntext";
        let original = mixed(&format!("--b\r\nContent-Type: message/rfc822\r\n\r\n{inner}"));
        let expected = mixed(&hashed("message.eml.hash", inner.as_bytes()));
        assert_eq!(brief(&original, BriefHash::Encoded), expected);
    }

    #[test]
    fn of_a_signed_original_only_the_signed_part_is_worked_on() {
        let signature = "--s\r\nContent-Type: application/pkcs7-signature; name=smime.p7s\r\n\r\nX";
        let signed = |parts: &str| {
            format!(
                "Content-Type: multipart/signed; boundary=s\r\n\r\n--s\r\n{}\r\n{signature}\r\n--s--\r\n",
                mixed(parts)
            )
        };
        let original = signed("--b\r\nContent-Type: a/b; name=\"c\"\r\n\r\ntext");
        assert_eq!(brief(&original, BriefHash::Encoded), signed(&hashed("c.hash", b"text")));
    }

    #[test]
    fn an_enveloped_original_and_a_broken_one_stay_whole() {
        for original in [
            "Content-Type: application/pkcs7-mime; name=smime.p7m\r\n\r\nX",
            "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: a/b; name=c\r\n\r\nx",
            "no header",
            "",
        ] {
            assert_eq!(brief(original, BriefHash::Encoded), original);
        }
    }

    #[test]
    fn a_message_that_is_one_file_keeps_its_own_fields() {
        let original = "From: a@x.example\r\nContent-Type: a/b\r\nContent-Disposition: attachment; \
             filename*=utf-8''citt%C3%A0.pdf\r\nSubject: s\r\n\r\nabc";
        assert_eq!(
            brief(original, BriefHash::Encoded),
            "From: a@x.example\r\nSubject: s\r\nContent-Type: text/plain; charset=\"us-ascii\";\r\n \
             name*=utf-8''citt%C3%A0.pdf.hash\r\nContent-Transfer-Encoding: 7bit\r\n\
             Content-Disposition: attachment;\r\n filename*=utf-8''citt%C3%A0.pdf.hash\r\n\r\n\
             a9993e364706816aba3e25717850c26c9cd0d89d"
        );
    }

    #[test]
    fn a_file_name_without_end_does_not_make_a_line_without_end() {
        let original = format!("Content-Type: a/b; name=\"{}\"\r\n\r\nx", "è".repeat(5000));
        let brief = brief(&original, BriefHash::Encoded);
        assert!(brief.lines().all(|line| line.len() <= 998));
    }
}
