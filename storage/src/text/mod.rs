//! Texts of messages made comparable: what a search looks through.
//!
//! * [`fold`]: letters without regard to case and composition.
//! * [`encoded_word`]: header values (RFC 2047).
//!
//! Not here: which texts are kept for searching (`account::headers`), transfer encodings
//! (`protocols`).

pub mod encoded_word;
mod fold;

pub use self::fold::fold;

/// Returns the encoding that a message calls `label`; Windows-1252, which holds US-ASCII and what
/// is mostly meant by wrong labels, when nobody knows it.
#[must_use]
pub fn charset(label: Option<&[u8]>) -> &'static encoding_rs::Encoding {
    match label {
        None => encoding_rs::UTF_8,
        Some(label) => encoding_rs::Encoding::for_label(label).unwrap_or(encoding_rs::WINDOWS_1252),
    }
}
