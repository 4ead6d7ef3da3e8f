//! The text of a section (RFC 9051 §9 `section-spec`) outside of FETCH: in URLs, without the names of
//! header fields.

use super::{Section, SectionText};

/// Levels of part numbers.
const LEVELS_MAX: usize = 100;

/// Parses `1.2.MIME`, `HEADER`, `TEXT`, `1.2`; `None` for anything else.
pub(crate) fn parse(text: &[u8]) -> Option<Section> {
    let text = std::str::from_utf8(text).ok()?;
    let mut part = Vec::new();
    let mut words = text.split('.').peekable();
    while let Some(word) = words.next_if(|word| word.starts_with(|c: char| c.is_ascii_digit())) {
        let number = word.parse().ok().filter(|number| *number > 0)?;
        part.push(number);
        if part.len() > LEVELS_MAX {
            return None;
        }
    }
    let text = match words.next().map(str::to_ascii_uppercase).as_deref() {
        None if !part.is_empty() => SectionText::Whole,
        Some("HEADER") => SectionText::Header,
        Some("TEXT") => SectionText::Text,
        Some("MIME") if !part.is_empty() => SectionText::Mime,
        _ => return None,
    };
    words.next().is_none().then_some(Section { part, text })
}
