//! The grammar of ESEARCH, which searches several mailboxes (RFC 7377 §3).

use super::{
    ParseError,
    reader::{Reader, SYNTAX},
    results::Results,
    search::{self, SearchProgram},
};
use crate::imap::limits::ImapLimits;

/// Some of the account's mailboxes (RFC 7377 §2.2, RFC 5465 §6).
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Source {
    /// The selected mailbox, as the client knows it.
    Selected,
    /// The same: only that it may be told at another moment differs.
    SelectedDelayed,
    /// Those that messages are delivered to.
    Inboxes,
    /// Every one of the holder's own.
    Personal,
    /// Those that the holder subscribes to.
    Subscribed,
    /// These, and all below them.
    Subtree(Vec<String>),
    /// These, and those one level below them.
    SubtreeOne(Vec<String>),
    /// These.
    Mailboxes(Vec<String>),
}

/// ESEARCH.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MultiSearch {
    /// Never empty: without any, the selected mailbox is meant.
    pub(crate) sources: Vec<Source>,
    pub(crate) results: Results,
    pub(crate) program: SearchProgram,
    /// Whether the charset of its texts is named.
    pub(crate) charset: bool,
}

/// Parses what follows the word ESEARCH.
pub(super) fn parse(
    mut reader: Reader<'_>,
    limits: &ImapLimits,
) -> Result<MultiSearch, ParseError> {
    let before = reader.clone();
    let sources = if reader.space() && reader.take_keyword(b"IN") {
        reader.expect_space()?;
        let mut names_left = limits.search_mailboxes_max;
        reader.list(limits.search_mailboxes_max, false, |reader| source(reader, &mut names_left))?
    } else {
        reader = before;
        vec![Source::Selected]
    };
    let all = Results { all: true, ..Results::default() };
    let results = Results::take(&mut reader, limits.items_max)?.unwrap_or(all);
    let (program, charset) = search::program(reader, limits)?;
    Ok(MultiSearch { sources, results, program, charset })
}

fn source(reader: &mut Reader<'_>, names_left: &mut usize) -> Result<Source, ParseError> {
    Ok(match reader.keyword()?.as_slice() {
        b"SELECTED" => Source::Selected,
        b"SELECTED-DELAYED" => Source::SelectedDelayed,
        b"INBOXES" => Source::Inboxes,
        b"PERSONAL" => Source::Personal,
        b"SUBSCRIBED" => Source::Subscribed,
        b"SUBTREE" => Source::Subtree(names(reader, names_left)?),
        b"SUBTREE-ONE" => Source::SubtreeOne(names(reader, names_left)?),
        b"MAILBOXES" => Source::Mailboxes(names(reader, names_left)?),
        _ => return Err(SYNTAX),
    })
}

/// `SP mailbox`, or `SP "(" mailbox *(SP mailbox) ")"`.
fn names(reader: &mut Reader<'_>, left: &mut usize) -> Result<Vec<String>, ParseError> {
    reader.expect_space()?;
    let names = if reader.peek() == Some(b'(') {
        reader.list(*left, false, Reader::mailbox)?
    } else {
        vec![reader.mailbox()?]
    };
    *left = left.checked_sub(names.len()).ok_or(SYNTAX)?;
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::{super::mailbox_name::NameForm, *};

    fn parse(text: &str, limits: &ImapLimits) -> Result<MultiSearch, ParseError> {
        super::parse(Reader::new(text.as_bytes(), NameForm::ModifiedUtf7), limits)
    }

    #[test]
    fn the_examples_of_rfc_7377_are_read() {
        let limits = ImapLimits::default();
        let text = " IN (mailboxes \"folder1\" subtree (\"folder2\" x)) unseen\r\n";
        let sources = vec![
            Source::Mailboxes(vec!["folder1".to_owned()]),
            Source::Subtree(vec!["folder2".to_owned(), "x".to_owned()]),
        ];
        assert_eq!(parse(text, &limits).unwrap().sources, sources);
        let text = " IN (selected subtree-one inbox) RETURN (COUNT) CHARSET UTF-8 ALL\r\n";
        let read = parse(text, &limits).unwrap();
        let one = Source::SubtreeOne(vec!["INBOX".to_owned()]);
        assert_eq!(read.sources, vec![Source::Selected, one]);
        assert!(read.results.count && !read.results.all);
        assert_eq!(parse(" UNSEEN\r\n", &limits).unwrap().sources, vec![Source::Selected]);
    }

    #[test]
    fn wrong_sources_and_too_many_names_are_refused() {
        let limits = ImapLimits { search_mailboxes_max: 3, ..ImapLimits::default() };
        assert!(parse(" IN (mailboxes (a b c)) ALL\r\n", &limits).is_ok());
        for wrong in [
            "(mailboxes (a b c d))",
            "(mailboxes (a b) subtree (c d))",
            "(mailboxes)",
            "()",
            "selected",
            "(everything)",
            "(personal personal personal personal)",
            "(personal (x))",
        ] {
            assert!(parse(&format!(" IN {wrong} ALL\r\n"), &limits).is_err(), "{wrong}");
        }
    }
}
