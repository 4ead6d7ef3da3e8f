//! Texts of messages made comparable: what SEARCH looks through.
//!
//! * [`fold`]: letters without regard to case and composition.
//! * [`encoded_word`]: header values (RFC 2047).
//! * [`transfer_encoding`]: bodies (RFC 2045), streaming.
//!
//! Not here: which parts are looked through (`message::search`).

pub(crate) mod encoded_word;
pub(crate) mod fold;
pub(crate) mod transfer_encoding;

/// Returns the encoding that a message calls `label`; Windows-1252, which holds US-ASCII and what
/// is mostly meant by wrong labels, when nobody knows it.
pub(crate) fn charset(label: Option<&[u8]>) -> &'static encoding_rs::Encoding {
    match label {
        None => encoding_rs::UTF_8,
        Some(label) => encoding_rs::Encoding::for_label(label).unwrap_or(encoding_rs::WINDOWS_1252),
    }
}
