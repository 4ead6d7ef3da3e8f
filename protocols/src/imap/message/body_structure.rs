//! BODY and BODYSTRUCTURE (RFC 3501 §7.4.2).
//!
//! Invariant: what is written is in the grammar, however broken the message is: a multipart
//! without parts gets an empty one, an embedded message that could not be read an empty header.

use storage::summary::{BodyPart, Envelope, Parameter};

use super::{continued, envelope::write_envelope};
use crate::imap::grammar::write::{self, Strings};

/// Levels written; what is deeper appears as octets. Clients recurse over what they read.
const DEPTH_MAX: usize = 100;

/// Which of the two forms.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Form {
    /// BODY
    Basic,
    /// BODYSTRUCTURE, with extension data
    Extended,
}

/// Writes the structure of `part`.
pub(crate) fn write_body(out: &mut Vec<u8>, part: &BodyPart, form: Form, strings: Strings) {
    Writer { form, strings }.part(out, part, 1);
}

/// Whether `part` is a multipart.
pub(crate) fn is_multipart(part: &BodyPart) -> bool {
    part.media_type.eq_ignore_ascii_case(b"multipart")
}

/// The message inside `part`, when it is an unencoded message/rfc822.
pub(crate) fn embedded(part: &BodyPart) -> Option<&BodyPart> {
    if is_message(part) { part.parts.first() } else { None }
}

fn is_message(part: &BodyPart) -> bool {
    part.media_type.eq_ignore_ascii_case(b"message")
        && part.media_subtype.eq_ignore_ascii_case(b"rfc822")
}

/// What stays the same over the whole tree.
#[derive(Clone, Copy)]
struct Writer {
    form: Form,
    strings: Strings,
}

impl Writer {
    fn part(self, out: &mut Vec<u8>, part: &BodyPart, depth: usize) {
        if depth > DEPTH_MAX {
            let octets = format!(
                "(\"application\" \"octet-stream\" NIL NIL NIL \"binary\" {})",
                part.body_octets
            );
            out.extend_from_slice(octets.as_bytes());
        } else if is_multipart(part) {
            self.multipart(out, part, depth);
        } else {
            self.single(out, part, depth);
        }
    }

    /// `body-type-mpart = 1*body SP media-subtype [SP body-ext-mpart]`
    fn multipart(self, out: &mut Vec<u8>, part: &BodyPart, depth: usize) {
        out.push(b'(');
        for inner in &part.parts {
            self.part(out, inner, depth + 1);
        }
        if part.parts.is_empty() {
            write_empty_text(out);
        }
        out.push(b' ');
        write::text(out, &part.media_subtype, self.strings);
        if self.form == Form::Extended {
            out.push(b' ');
            self.parameters(out, &part.parameters);
            self.disposition_onwards(out, part);
        }
        out.push(b')');
    }

    /// `body-type-basic / body-type-msg / body-type-text`, with extension data where asked for.
    fn single(self, out: &mut Vec<u8>, part: &BodyPart, depth: usize) {
        out.push(b'(');
        write::text(out, &part.media_type, self.strings);
        out.push(b' ');
        write::text(out, &part.media_subtype, self.strings);
        out.push(b' ');
        self.parameters(out, &part.parameters);
        out.push(b' ');
        write::ntext(out, part.content_id.as_deref(), self.strings);
        out.push(b' ');
        write::ntext(out, part.description.as_deref(), self.strings);
        out.push(b' ');
        write::text(out, part.encoding.as_deref().unwrap_or(b"7bit"), self.strings);
        out.extend_from_slice(format!(" {}", part.body_octets).as_bytes());
        if is_message(part) {
            out.push(b' ');
            match &part.embedded_envelope {
                Some(envelope) => write_envelope(out, envelope, self.strings),
                None => write_envelope(out, &Envelope::default(), self.strings),
            }
            out.push(b' ');
            match embedded(part) {
                Some(message) => self.part(out, message, depth + 1),
                None => write_empty_text(out),
            }
        }
        if is_message(part) || part.media_type.eq_ignore_ascii_case(b"text") {
            out.extend_from_slice(format!(" {}", part.body_lines).as_bytes());
        }
        if self.form == Form::Extended {
            out.push(b' ');
            write::nstring(out, part.md5.as_deref());
            self.disposition_onwards(out, part);
        }
        out.push(b')');
    }

    fn parameters(self, out: &mut Vec<u8>, parameters: &[Parameter]) {
        if parameters.is_empty() {
            out.extend_from_slice(b"NIL");
            return;
        }
        out.push(b'(');
        for (position, (name, value)) in continued::joined(parameters).iter().enumerate() {
            if position > 0 {
                out.push(b' ');
            }
            write::text(out, name, self.strings);
            out.push(b' ');
            write::text(out, value, self.strings);
        }
        out.push(b')');
    }

    /// Disposition, language, location: the end of both kinds of extension data.
    fn disposition_onwards(self, out: &mut Vec<u8>, part: &BodyPart) {
        out.push(b' ');
        match &part.disposition {
            Some(disposition) => {
                out.push(b'(');
                write::text(out, &disposition.kind, self.strings);
                out.push(b' ');
                self.parameters(out, &disposition.parameters);
                out.push(b')');
            }
            None => out.extend_from_slice(b"NIL"),
        }
        out.push(b' ');
        match part.languages.as_slice() {
            [] => out.extend_from_slice(b"NIL"),
            languages => {
                out.push(b'(');
                for (position, language) in languages.iter().enumerate() {
                    if position > 0 {
                        out.push(b' ');
                    }
                    write::text(out, language, self.strings);
                }
                out.push(b')');
            }
        }
        out.push(b' ');
        write::ntext(out, part.location.as_deref(), self.strings);
    }
}

fn write_empty_text(out: &mut Vec<u8>) {
    out.extend_from_slice(b"(\"text\" \"plain\" NIL NIL NIL \"7bit\" 0 0)");
}

#[cfg(test)]
mod tests {
    use storage::summary::Disposition;

    use super::*;

    fn text(octets: u64, lines: u64) -> BodyPart {
        BodyPart {
            media_type: b"TEXT".to_vec(),
            media_subtype: b"PLAIN".to_vec(),
            parameters: vec![(b"CHARSET".to_vec(), b"US-ASCII".to_vec())],
            encoding: Some(b"7BIT".to_vec()),
            body_octets: octets,
            body_lines: lines,
            ..BodyPart::default()
        }
    }

    fn written(part: &BodyPart, form: Form) -> String {
        let mut out = Vec::new();
        write_body(&mut out, part, form, Strings::Ascii);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_examples_of_rfc_3501_section_7_4_2() {
        assert_eq!(
            written(&text(2279, 48), Form::Basic),
            "(\"TEXT\" \"PLAIN\" (\"CHARSET\" \"US-ASCII\") NIL NIL \"7BIT\" 2279 48)"
        );
        let attachment = BodyPart {
            parameters: vec![
                (b"CHARSET".to_vec(), b"US-ASCII".to_vec()),
                (b"NAME".to_vec(), b"cc.diff".to_vec()),
            ],
            content_id: Some(b"<960723163407.20117h@cac.washington.example>".to_vec()),
            description: Some(b"Compiler diff".to_vec()),
            encoding: Some(b"BASE64".to_vec()),
            ..text(4554, 73)
        };
        let mixed = BodyPart {
            media_type: b"multipart".to_vec(),
            media_subtype: b"MIXED".to_vec(),
            parts: vec![text(1152, 23), attachment],
            ..BodyPart::default()
        };
        assert_eq!(
            written(&mixed, Form::Basic),
            "((\"TEXT\" \"PLAIN\" (\"CHARSET\" \"US-ASCII\") NIL NIL \"7BIT\" 1152 23)\
             (\"TEXT\" \"PLAIN\" (\"CHARSET\" \"US-ASCII\" \"NAME\" \"cc.diff\") \
             \"<960723163407.20117h@cac.washington.example>\" \"Compiler diff\" \"BASE64\" \
             4554 73) \"MIXED\")"
        );
    }

    #[test]
    fn a_continued_parameter_is_one() {
        let continued = |name: &str, value: &str| (name.as_bytes().to_vec(), value.into());
        let part = BodyPart {
            parameters: vec![
                continued("Access", "x"),
                continued("URL*0", "ftp://"),
                continued("URL*1", "a.example/b"),
            ],
            ..text(1, 1)
        };
        assert!(written(&part, Form::Basic).starts_with(
            "(\"TEXT\" \"PLAIN\" (\"Access\" \"x\" \"URL\" \"ftp://a.example/b\") NIL"
        ));
    }

    #[test]
    fn extension_data_stands_at_the_end() {
        let part = BodyPart {
            disposition: Some(Disposition {
                kind: b"attachment".to_vec(),
                parameters: vec![(b"filename".to_vec(), b"a \"b\"".to_vec())],
            }),
            languages: vec![b"it".to_vec(), b"en".to_vec()],
            ..text(1, 1)
        };
        assert!(written(&part, Form::Extended).ends_with(
            "\"7BIT\" 1 1 NIL (\"attachment\" (\"filename\" \"a \\\"b\\\"\")) (\"it\" \"en\") NIL)"
        ));
    }

    #[test]
    fn broken_and_bottomless_messages_stay_in_the_grammar() {
        let hollow = BodyPart {
            media_type: b"multipart".to_vec(),
            media_subtype: b"mixed".to_vec(),
            ..BodyPart::default()
        };
        assert_eq!(
            written(&hollow, Form::Basic),
            "((\"text\" \"plain\" NIL NIL NIL \"7bit\" 0 0) \"mixed\")"
        );
        let mut deep = hollow.clone();
        for _ in 0..1_000 {
            deep = BodyPart { parts: vec![deep], ..hollow.clone() };
        }
        let structure = written(&deep, Form::Extended);
        assert!(structure.contains("octet-stream"));
        assert_eq!(structure.matches('(').count(), structure.matches(')').count());
        let encoded = BodyPart {
            media_type: b"message".to_vec(),
            media_subtype: b"rfc822".to_vec(),
            ..BodyPart::default()
        };
        assert_eq!(
            written(&encoded, Form::Basic),
            "(\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 0 \
             (NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL) \
             (\"text\" \"plain\" NIL NIL NIL \"7bit\" 0 0) 0)"
        );
    }
}
