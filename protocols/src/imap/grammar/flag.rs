//! Flags as STORE and APPEND name them (RFC 9051 §9 `flag`, `flag-list`).

use storage::mailbox::flags::{Flags, Keyword};

use super::{
    ParseError,
    reader::{Reader, SYNTAX},
};

const UNCHANGEABLE: ParseError =
    ParseError::Syntax("Flag di sistema non modificabile / This system flag cannot be changed");
const TOO_LONG: ParseError = ParseError::Impossible {
    code: "LIMIT",
    text: "Parola chiave oltre 64 caratteri / Keyword longer than 64 characters",
};

/// Takes `flag-list`, or flags without parentheses, at most `flags_max` of them.
pub(super) fn flags(reader: &mut Reader<'_>, flags_max: usize) -> Result<Flags, ParseError> {
    let mut flags = Flags::default();
    if reader.peek() == Some(b'(') {
        reader.list(flags_max, true, |reader| flag(reader, &mut flags))?;
        return Ok(flags);
    }
    flag(reader, &mut flags)?;
    let mut taken = 1;
    while reader.space() {
        taken += 1;
        if taken > flags_max {
            return Err(SYNTAX);
        }
        flag(reader, &mut flags)?;
    }
    Ok(flags)
}

/// Takes one flag into `flags`. `\Recent` and unknown system flags cannot be stored
/// (RFC 3501 §2.3.2).
fn flag(reader: &mut Reader<'_>, flags: &mut Flags) -> Result<(), ParseError> {
    let word = reader.word()?;
    if word.first() != Some(&b'\\') {
        let text = std::str::from_utf8(word).map_err(|_| SYNTAX)?;
        let too_long = text.len() > Keyword::OCTETS_MAX;
        let keyword = Keyword::new(text).map_err(|_| if too_long { TOO_LONG } else { SYNTAX })?;
        flags.keywords.insert(keyword);
        return Ok(());
    }
    let switch = match word.to_ascii_uppercase().as_slice() {
        b"\\ANSWERED" => &mut flags.answered,
        b"\\DELETED" => &mut flags.deleted,
        b"\\DRAFT" => &mut flags.draft,
        b"\\FLAGGED" => &mut flags.flagged,
        b"\\SEEN" => &mut flags.seen,
        _ => return Err(UNCHANGEABLE),
    };
    *switch = true;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{super::mailbox_name::NameForm, *};

    fn read(text: &str) -> Result<Flags, ParseError> {
        flags(&mut Reader::new(text.as_bytes(), NameForm::ModifiedUtf7), 3)
    }

    #[test]
    fn flags_are_read_in_any_case_with_and_without_parentheses() {
        let keywords = std::iter::once(Keyword::new("$Junk").unwrap()).collect();
        let expected = Flags { seen: true, draft: true, keywords, ..Flags::default() };
        for text in ["(\\Seen $Junk \\DRAFT)", "\\seen $junk \\Draft\r\n"] {
            assert_eq!(read(text), Ok(expected.clone()), "{text}");
        }
        assert_eq!(read("()"), Ok(Flags::default()));
    }

    #[test]
    fn what_cannot_be_stored_is_refused() {
        assert_eq!(read("(\\Recent)"), Err(UNCHANGEABLE));
        assert_eq!(read("\\*"), Err(UNCHANGEABLE));
        assert_eq!(read(&"x".repeat(65)), Err(TOO_LONG));
        for wrong in ["", "(", "(\\Seen", "a b c d", "(a b c d)", "a]", "\"a\""] {
            assert_eq!(read(wrong), Err(SYNTAX), "{wrong}");
        }
    }
}
