//! Letters without regard to case and composition.

use unicode_normalization::UnicodeNormalization as _;

/// Returns `text` decomposed (NFKD) and in lower case: two texts that a reader takes for the same
/// letters, in whatever case, fold to the same. Close to `i;unicode-casemap` (RFC 5051 §2).
#[must_use]
pub fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    text.nfkd().flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_composition_do_not_matter() {
        assert_eq!(fold("PERCHÉ"), fold("perche\u{301}"));
        assert_eq!(fold("ﬁrma"), "firma");
        assert_ne!(fold("perché"), fold("perche"));
    }
}
