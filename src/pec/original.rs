//! The original message: the submitted one with its identifier exchanged.
//!
//! RFC 6109 §2.2.1: the Message-ID becomes the PEC identifier, and what the sender's program had
//! set is kept as X-Riferimento-Message-ID. Invariants: every other field keeps its octets and its
//! place, and the body is not looked at.
//!
//! Not here: the checks that come before ([`super::formal`]), the envelope around the original
//! ([`super::envelope`]).

use super::{
    header::{Field, Header},
    identifier::PecIdentifier,
};

const REFERENCE: &str = "X-Riferimento-Message-ID";

/// Returns the octets of the original's header, the empty line at its end included, from the
/// header as submitted. `message_id` is the Message-ID that the sender's program set.
///
/// The original is these octets followed by the body as submitted. A reference field that the
/// sender's program wrote itself is removed: the provider answers for that field.
pub fn original_header(
    submitted: &Header,
    identifier: &PecIdentifier,
    message_id: Option<&str>,
) -> Vec<u8> {
    let mut header = submitted.clone();
    header.remove(REFERENCE);
    header.replace(Field::new("Message-ID", identifier.bracketed().as_bytes()));
    if let Some(message_id) = message_id {
        header.insert_after("Message-ID", Field::new(REFERENCE, message_id.as_bytes()));
    }
    let mut octets = header.to_octets();
    octets.extend_from_slice(b"\r\n");
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(submitted: &[u8], message_id: Option<&str>) -> String {
        let (header, _) = Header::parse(submitted).unwrap();
        let identifier = PecIdentifier::from_text("pec1@alfa.example").unwrap();
        String::from_utf8(original_header(&header, &identifier, message_id)).unwrap()
    }

    #[test]
    fn only_the_identifier_changes() {
        assert_eq!(
            rewritten(b"A:  b \r\nMessage-Id: <1@x>\r\nC: d\r\n\te\r\n\r\nbody", Some("<1@x>")),
            "A:  b \r\nMessage-ID: <pec1@alfa.example>\r\nX-Riferimento-Message-ID: <1@x>\r\n\
             C: d\r\n\te\r\n\r\n"
        );
    }

    #[test]
    fn without_an_identifier_of_the_sender_there_is_no_reference() {
        assert_eq!(
            rewritten(b"A: b\r\nX-Riferimento-Message-ID: <forged@x>\r\n\r\n", None),
            "A: b\r\nMessage-ID: <pec1@alfa.example>\r\n\r\n"
        );
    }
}
