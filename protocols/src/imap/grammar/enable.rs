//! The grammar of ENABLE (RFC 5161 §4).

use super::{ParseError, reader::Reader};

/// What can be enabled.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Extension {
    /// RFC 7162
    CondStore,
    /// RFC 7162
    QResync,
    /// RFC 9586
    UidOnly,
    /// RFC 9051
    Imap4Rev2,
    /// RFC 6855
    Utf8Accept,
}

impl Extension {
    const ALL: [Self; 5] =
        [Self::CondStore, Self::QResync, Self::UidOnly, Self::Imap4Rev2, Self::Utf8Accept];

    /// Its name in ENABLE and ENABLED.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CondStore => "CONDSTORE",
            Self::QResync => "QRESYNC",
            Self::UidOnly => "UIDONLY",
            Self::Imap4Rev2 => "IMAP4rev2",
            Self::Utf8Accept => "UTF8=ACCEPT",
        }
    }
}

/// Parses what follows the word ENABLE. Words that name nothing known are left out
/// (RFC 5161 §3.1).
pub(super) fn parse(mut reader: Reader<'_>) -> Result<Vec<Extension>, ParseError> {
    let mut extensions = Vec::new();
    reader.expect_space()?;
    loop {
        let word = reader.word()?;
        let named = |extension: &Extension| word.eq_ignore_ascii_case(extension.name().as_bytes());
        extensions.extend(Extension::ALL.into_iter().find(named));
        if !reader.space() {
            reader.end()?;
            return Ok(extensions);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{mailbox_name::NameForm, reader::SYNTAX},
        *,
    };

    fn parse(text: &str) -> Result<Vec<Extension>, ParseError> {
        super::parse(Reader::new(text.as_bytes(), NameForm::ModifiedUtf7))
    }

    #[test]
    fn unknown_words_are_passed_over() {
        let both = vec![Extension::Utf8Accept, Extension::Imap4Rev2];
        assert_eq!(parse(" utf8=accept X-GOOD-IDEA IMAP4REV2\r\n"), Ok(both));
        assert_eq!(parse(" X\r\n"), Ok(vec![]));
        for wrong in ["\r\n", " \r\n", " A  B\r\n", " A \r\n", " (A)\r\n"] {
            assert_eq!(parse(wrong), Err(SYNTAX), "{wrong}");
        }
    }
}
