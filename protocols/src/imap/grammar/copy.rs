//! The grammar of COPY, MOVE (RFC 3501 §9, RFC 6851 §5) and UID EXPUNGE (RFC 4315 §4), whose sets may
//! be `$` (RFC 5182 §3).

use super::{ParseError, reader::Reader, sequence::SequenceSet};

/// Parses `SP sequence-set SP mailbox`.
pub(super) fn parse(mut reader: Reader<'_>) -> Result<(SequenceSet, String), ParseError> {
    reader.expect_space()?;
    let set = reader.sequence_set()?;
    reader.expect_space()?;
    let mailbox = reader.mailbox()?;
    reader.end()?;
    Ok((set, mailbox))
}

/// Parses `SP sequence-set`.
pub(super) fn parse_set(mut reader: Reader<'_>) -> Result<SequenceSet, ParseError> {
    reader.expect_space()?;
    let set = reader.sequence_set()?;
    reader.end()?;
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::{super::mailbox_name::NameForm, *};

    #[test]
    fn sets_and_names_are_read() {
        let parse = |text: &str| parse(Reader::new(text.as_bytes(), NameForm::ModifiedUtf7));
        let set = SequenceSet::parse(b"2:4,*").unwrap();
        assert_eq!(parse(" 2:4,* inbox\r\n"), Ok((set, "INBOX".to_owned())));
        let saved = (SequenceSet::Saved, "Attività".to_owned());
        assert_eq!(parse(" $ \"Attivit&AOA-\"\r\n"), Ok(saved));
        for wrong in [" 1\r\n", " 0 a\r\n", " 1 a b\r\n", " a\r\n", " 1  a\r\n", "\r\n"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
