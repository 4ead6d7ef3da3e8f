//! Letters without regard to case and composition.

use unicode_normalization::UnicodeNormalization as _;

/// Returns `text` decomposed (NFKD), its letters in one case: two texts fold to the same when
/// `i;unicode-casemap` (RFC 5051 §2) takes them for equal.
///
/// A letter is the lower case of its capital, where that is one letter: so `ς` is `σ`, and `ß`, whose
/// capital is two, stays what it is.
#[must_use]
pub fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    text.nfkd().map(capital).flat_map(char::to_lowercase).collect()
}

/// The simple capital of a letter; itself where it has none.
fn capital(letter: char) -> char {
    let mut capitals = letter.to_uppercase();
    match (capitals.next(), capitals.next()) {
        // The iota below a letter is a mark here, not a letter of its own.
        (Some(capital), None) if letter != '\u{345}' => capital,
        _ => letter,
    }
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

    #[test]
    fn letters_are_alike_that_have_one_capital() {
        assert_eq!(fold("ΟΔΟΣ"), fold("οδος"));
        assert_eq!(fold("οδος"), fold("οδοσ"));
        assert_eq!(fold("ǆ"), fold("ǅ"));
        assert_eq!(fold("ſtraße"), fold("STRAßE"));
        assert_ne!(fold("straße"), fold("strasse"), "its capital is two letters");
        assert_eq!(fold("ᾳ"), fold("ᾼ"));
        assert_ne!(fold("ᾳ"), fold("αι"));
    }
}
