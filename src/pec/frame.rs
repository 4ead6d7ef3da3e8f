//! The MIME tree that all fourteen kinds of generated message share (RFC 6109 §4.3).
//!
//! ```text
//! multipart/mixed
//! ├─ multipart/alternative (text/plain, text/html; ISO-8859-1, quoted-printable)
//! ├─ application/xml; daticert.xml (base64), except in anomaly envelopes
//! └─ message/rfc822; postacert.eml, when the kind includes a message
//! ```
//!
//! Invariants: line ends are CR LF; the included message stands octet for octet as it was given,
//! under the transfer encoding that its octets need (it is never re-encoded, RFC 2046 §5.2.1);
//! everything else is 7-bit.

use super::{
    daticert::CertificationData,
    header::LINE_OCTETS_MAX,
    identifier::IdentifierSource,
    mime::{encode_base64, encode_quoted_printable},
    texts::Text,
};

/// The name of the certification data in every message (RFC 6109 §4.3.3).
pub const DATICERT_NAME: &str = "daticert.xml";
/// The name of the included message (RFC 6109 §4.3.2).
pub const POSTACERT_NAME: &str = "postacert.eml";

/// Octets that stand around the included message at most, for the first allocation.
const FRAME_OCTETS: usize = 8 * 1024;

/// A message to include, in pieces that follow one another: nothing is joined before it is
/// written into the entity.
pub type Included<'a> = &'a [&'a [u8]];

/// Which transfer encoding octets need without being changed (RFC 2045 §6.2).
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Plain {
    SevenBit,
    EightBit,
    Binary,
}

impl Plain {
    fn of(pieces: Included<'_>) -> Self {
        let mut found = Self::SevenBit;
        let mut line = 0;
        let mut before = 0;
        for &octet in pieces.iter().copied().flatten() {
            line = if octet == b'\n' { 0 } else { line + 1 };
            let bare = (octet == b'\n') != (before == b'\r');
            // Room for the CR that ends the line.
            if octet == 0 || line > LINE_OCTETS_MAX + 1 || bare {
                return Self::Binary;
            }
            if octet >= 0x80 {
                found = Self::EightBit;
            }
            before = octet;
        }
        found
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::SevenBit => "7bit",
            Self::EightBit => "8bit",
            Self::Binary => "binary",
        }
    }
}

/// The transfer encoding that the octets of a part need without being changed.
pub(super) fn transfer_encoding(pieces: Included<'_>) -> &'static str {
    Plain::of(pieces).as_str()
}

/// Writes the entity to sign.
pub(super) fn entity(
    identifiers: &IdentifierSource,
    text: &Text,
    data: Option<&CertificationData>,
    included: Option<Included<'_>>,
) -> Vec<u8> {
    let boundary = identifiers.boundary();
    let xml = data.map(CertificationData::to_xml);
    let included_octets: usize = included.into_iter().flatten().map(|piece| piece.len()).sum();
    let xml_octets = xml.as_ref().map_or(0, |xml| xml.len() * 3 / 2);
    let mut octets = Vec::with_capacity(included_octets + xml_octets + FRAME_OCTETS);
    let needed = included.map_or(Plain::SevenBit, Plain::of);

    put(&mut octets, &format!("Content-Type: multipart/mixed; boundary=\"{boundary}\"\r\n"));
    put(&mut octets, &format!("Content-Transfer-Encoding: {}\r\n\r\n", needed.as_str()));
    put(&mut octets, &format!("--{boundary}\r\n"));
    put_texts(&mut octets, &identifiers.boundary(), text);
    if let Some(xml) = xml {
        put(&mut octets, &format!("\r\n--{boundary}\r\n"));
        put(&mut octets, &format!("Content-Type: application/xml; name=\"{DATICERT_NAME}\"\r\n"));
        put(&mut octets, "Content-Transfer-Encoding: base64\r\n");
        put(
            &mut octets,
            &format!("Content-Disposition: inline; filename=\"{DATICERT_NAME}\"\r\n\r\n"),
        );
        octets.extend_from_slice(&encode_base64(&xml));
    }
    if let Some(pieces) = included {
        put(&mut octets, &format!("\r\n--{boundary}\r\n"));
        put(&mut octets, &format!("Content-Type: message/rfc822; name=\"{POSTACERT_NAME}\"\r\n"));
        put(&mut octets, &format!("Content-Transfer-Encoding: {}\r\n", needed.as_str()));
        put(
            &mut octets,
            &format!("Content-Disposition: inline; filename=\"{POSTACERT_NAME}\"\r\n\r\n"),
        );
        for piece in pieces {
            octets.extend_from_slice(piece);
        }
    }
    put(&mut octets, &format!("\r\n--{boundary}--\r\n"));
    octets
}

fn put_texts(octets: &mut Vec<u8>, boundary: &str, text: &Text) {
    put(octets, &format!("Content-Type: multipart/alternative; boundary=\"{boundary}\"\r\n\r\n"));
    for (kind, content) in [("plain", text.plain()), ("html", text.html())] {
        put(
            octets,
            &format!("--{boundary}\r\nContent-Type: text/{kind}; charset=\"iso-8859-1\"\r\n"),
        );
        put(octets, "Content-Transfer-Encoding: quoted-printable\r\n");
        put(octets, "Content-Disposition: inline\r\n\r\n");
        octets.extend_from_slice(&encode_quoted_printable(&content));
        put(octets, "\r\n");
    }
    put(octets, &format!("--{boundary}--\r\n"));
}

fn put(octets: &mut Vec<u8>, text: &str) {
    octets.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transfer_encoding_is_the_least_that_the_octets_need() {
        for (pieces, needed) in [
            (&[&b"A: b\r\n"[..], b"\r\nc"][..], Plain::SevenBit),
            (&[b"a\r", b"\nb"], Plain::SevenBit),
            (&[b"A: \xc3\xa9\r\n"], Plain::EightBit),
            (&[b"a\0b"], Plain::Binary),
            (&[b"a\nb"], Plain::Binary),
            (&[b"a\rb"], Plain::Binary),
            (&[&[b'a'; 998], b"\r\n"], Plain::SevenBit),
            (&[&[b'a'; 1000], b"\r\n"], Plain::Binary),
        ] {
            assert_eq!(Plain::of(pieces), needed, "{pieces:?}");
        }
    }
}
