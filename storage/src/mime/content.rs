//! What a part's header says about its body: media type and encoding (RFC 2045 §5, §6).

use super::{
    header::{FieldName, PartHeader},
    parameter,
};
use crate::summary::Parameter;

/// A media type with its parameters; the default when the header has none or a broken one.
#[derive(Debug)]
pub(crate) struct ContentType {
    pub(crate) media_type: Vec<u8>,
    pub(crate) media_subtype: Vec<u8>,
    pub(crate) parameters: Vec<Parameter>,
}

impl ContentType {
    /// RFC 2045 §5.2: text/plain unless said otherwise.
    pub(crate) fn of(header: &PartHeader, default_is_message: bool) -> Self {
        let value = header.get(FieldName::ContentType).unwrap_or_default();
        let (head, parameters) = parameter::parse(value);
        if let Some((media_type, media_subtype)) = parameter::media_type(&head) {
            return Self { media_type, media_subtype, parameters };
        }
        let (kind, subtype) =
            if default_is_message { ("message", "rfc822") } else { ("text", "plain") };
        Self { media_type: kind.into(), media_subtype: subtype.into(), parameters: Vec::new() }
    }

    pub(crate) fn is(&self, media_type: &str, subtype: Option<&str>) -> bool {
        let same = |name: &[u8], wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
        same(&self.media_type, media_type)
            && subtype.is_none_or(|subtype| same(&self.media_subtype, subtype))
    }

    /// A whole message (RFC 2046 §5.2.1, RFC 6532 §3.7).
    pub(crate) fn is_message(&self) -> bool {
        self.is("message", Some("rfc822")) || self.is("message", Some("global"))
    }
}

/// The encoding of a part as its header names it, comments left out (RFC 2045 §6.1).
pub(crate) fn encoding(header: &PartHeader) -> Option<Vec<u8>> {
    let value = header.get(FieldName::ContentTransferEncoding)?;
    Some(parameter::parse(value).0).filter(|encoding| !encoding.is_empty())
}

/// Says whether an encoding leaves the octets as they are (RFC 2045 §6.2).
pub(crate) fn is_identity(header: &PartHeader) -> bool {
    let Some(encoding) = encoding(header) else { return true };
    ["7bit", "8bit", "binary", ""]
        .iter()
        .any(|known| encoding.eq_ignore_ascii_case(known.as_bytes()))
}

/// Says whether a part is encoded as base64.
pub(crate) fn is_base64(header: &PartHeader) -> bool {
    encoding(header).is_some_and(|encoding| encoding.eq_ignore_ascii_case(b"base64"))
}
