//! The grammar of CREATE with its parameters (RFC 4466 §2.1, RFC 6154 §6).

use super::{
    ParseError,
    reader::{Reader, SYNTAX},
};
use crate::access::SpecialUse;

/// What a new mailbox shall be for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum UseAttributes {
    None,
    One(SpecialUse),
    /// Several at once, or one that no mailbox has here, such as `\All`.
    Impossible,
}

/// Uses that one command may name.
const USES_MAX: usize = 16;

/// Parses what follows the word CREATE: name and use.
pub(super) fn parse(mut reader: Reader<'_>) -> Result<(String, UseAttributes), ParseError> {
    reader.expect_space()?;
    let mailbox = reader.mailbox()?;
    let mut uses = UseAttributes::None;
    if reader.space() {
        reader.expect(b'(')?;
        if !reader.take_keyword(b"USE") {
            return Err(SYNTAX);
        }
        reader.expect_space()?;
        let listed = reader.list(USES_MAX, true, use_attribute)?;
        uses = match listed.as_slice() {
            [] => UseAttributes::None,
            [Some(first), rest @ ..] if rest.iter().all(|other| *other == Some(*first)) => {
                UseAttributes::One(*first)
            }
            _ => UseAttributes::Impossible,
        };
        reader.expect(b')')?;
    }
    reader.end()?;
    Ok((mailbox, uses))
}

/// `use-attr`; `None` for one that is not kept here.
fn use_attribute(reader: &mut Reader<'_>) -> Result<Option<SpecialUse>, ParseError> {
    let word = reader.word()?;
    if word.len() < 2 || word[0] != b'\\' {
        return Err(SYNTAX);
    }
    let named = |usage: &SpecialUse| word.eq_ignore_ascii_case(usage.attribute().as_bytes());
    Ok(SpecialUse::ALL.into_iter().find(named))
}

#[cfg(test)]
mod tests {
    use super::{super::mailbox_name::NameForm, *};

    #[test]
    fn uses_are_read() {
        let parsed = |text: &str| parse(Reader::new(text.as_bytes(), NameForm::ModifiedUtf7));
        for (text, expected) in [
            (" x\r\n", UseAttributes::None),
            (" x (USE ())\r\n", UseAttributes::None),
            (" x (use (\\sent))\r\n", UseAttributes::One(SpecialUse::Sent)),
            (" x (USE (\\Drafts \\Sent))\r\n", UseAttributes::Impossible),
            (" x (USE (\\All))\r\n", UseAttributes::Impossible),
        ] {
            assert_eq!(parsed(text), Ok(("x".to_owned(), expected)), "{text}");
        }
        for wrong in [
            " x (USE)\r\n",
            " x (USE (Sent))\r\n",
            " x (USE (\\))\r\n",
            " x (MAX 3)\r\n",
            " x ()\r\n",
        ] {
            assert_eq!(parsed(wrong), Err(SYNTAX), "{wrong}");
        }
    }
}
