//! What a client reads of a message that was erased.
//!
//! * Its header is the one that its summary stands for, so that a list made from header fields and
//!   one made from ENVELOPE show the same line.
//! * Its body, and every part of it, is NIL. No octets are ever served in place of others.
//!
//! Not here: when the command ends with NO (`command::fetch`).

use storage::summary::Envelope;

use crate::imap::grammar::{Section, SectionText};

/// The octets that `section` names of an erased message; `None` for those that are gone.
pub(crate) fn section(envelope: &Envelope, section: &Section) -> Option<Vec<u8>> {
    if !section.part.is_empty() {
        return None;
    }
    let wanted = |name: &str| {
        let is_in = |fields: &[Vec<u8>]| {
            fields.iter().any(|field| field.eq_ignore_ascii_case(name.as_bytes()))
        };
        match &section.text {
            SectionText::Header => Some(true),
            SectionText::HeaderFields(fields) => Some(is_in(fields)),
            SectionText::HeaderFieldsNot(fields) => Some(!is_in(fields)),
            SectionText::Whole | SectionText::Text | SectionText::Mime => None,
        }
    };
    let mut header = Vec::new();
    for (name, value) in [("Date", &envelope.date), ("Subject", &envelope.subject)] {
        if let (true, Some(value)) = (wanted(name)?, value) {
            header.extend_from_slice(name.as_bytes());
            header.extend_from_slice(b": ");
            header.extend_from_slice(value);
            header.extend_from_slice(b"\r\n");
        }
    }
    header.extend_from_slice(b"\r\n");
    Some(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_that_of_the_list_and_the_body_is_gone() {
        let envelope = Envelope { subject: Some(b"[erased]".to_vec()), ..Envelope::default() };
        let ask = |part: &[u32], text: SectionText| {
            section(&envelope, &Section { part: part.to_vec(), text })
        };
        let whole: &[u8] = b"Subject: [erased]\r\n\r\n";
        assert_eq!(ask(&[], SectionText::Header).as_deref(), Some(whole));
        let fields = vec![b"SUBJECT".to_vec(), b"From".to_vec()];
        assert_eq!(ask(&[], SectionText::HeaderFields(fields.clone())).as_deref(), Some(whole));
        let none: &[u8] = b"\r\n";
        assert_eq!(ask(&[], SectionText::HeaderFieldsNot(fields)).as_deref(), Some(none));
        for text in [SectionText::Whole, SectionText::Text] {
            assert_eq!(ask(&[], text), None);
        }
        assert_eq!(ask(&[1], SectionText::Header), None);
        assert_eq!(ask(&[1], SectionText::Whole), None);
    }
}
