//! The grammar of CANCELUPDATE (RFC 5267 §4.3.5).

use super::{
    ParseError,
    reader::{Reader, SYNTAX},
};

/// Tags in one command.
const TAGS_MAX: usize = 1_000;

/// Parses what follows the word CANCELUPDATE: the tags, each a string.
pub(super) fn parse(mut reader: Reader<'_>) -> Result<Vec<Vec<u8>>, ParseError> {
    let mut tags = Vec::new();
    while reader.space() {
        if tags.len() == TAGS_MAX {
            return Err(SYNTAX);
        }
        tags.push(reader.string()?.into_owned());
    }
    reader.end()?;
    if tags.is_empty() { Err(SYNTAX) } else { Ok(tags) }
}

#[cfg(test)]
mod tests {
    use super::{super::mailbox_name::NameForm, *};

    #[test]
    fn tags_are_strings() {
        let parse = |text: &str| parse(Reader::new(text.as_bytes(), NameForm::Utf8));
        let tags = vec![b"B01".to_vec(), b"a \"b".to_vec()];
        assert_eq!(parse(" \"B01\" \"a \\\"b\"\r\n"), Ok(tags));
        for wrong in ["\r\n", " B01\r\n", " \"B01\" \r\n", " (\"B01\")\r\n"] {
            assert_eq!(parse(wrong), Err(SYNTAX), "{wrong}");
        }
        assert!(parse(&format!("{}\r\n", " \"a\"".repeat(1_001))).is_err());
    }
}
