//! The grammar of LIST, extended (RFC 5258 §6, RFC 9051 §9 `list`), with the options of
//! RFC 6154 §6, RFC 5819 §4, RFC 8440 §4 and RFC 9590 §4.

use super::{
    ParseError,
    metadata::{self, Entries},
    reader::{Reader, SYNTAX},
    status::{self, StatusItem},
};

/// Options that one list of them may have.
const OPTIONS_MAX: usize = 32;

/// LIST.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ListCommand {
    pub(crate) reference: String,
    /// At least one.
    pub(crate) patterns: Vec<String>,
    pub(crate) selection: Vec<Selection>,
    pub(crate) returns: Vec<Return>,
    /// Whether anything of the extension is used, be it an empty list of options.
    pub(crate) extended: bool,
}

/// Which mailboxes are wanted (RFC 5258 §3.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Selection {
    Subscribed,
    Remote,
    RecursiveMatch,
    /// RFC 6154 §5.2
    SpecialUse,
}

impl Selection {
    /// Every option.
    pub(crate) const ALL: [Self; 4] =
        [Self::Subscribed, Self::Remote, Self::RecursiveMatch, Self::SpecialUse];

    /// Its name in commands and in CHILDINFO.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Subscribed => "SUBSCRIBED",
            Self::Remote => "REMOTE",
            Self::RecursiveMatch => "RECURSIVEMATCH",
            Self::SpecialUse => "SPECIAL-USE",
        }
    }
}

/// What is told of each (RFC 5258 §3.2).
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Return {
    Subscribed,
    Children,
    /// RFC 6154 §5.1
    SpecialUse,
    /// RFC 8440 §3
    MyRights,
    /// RFC 5819 §2
    Status(Vec<StatusItem>),
    /// RFC 9590 §3
    Metadata(Entries),
}

/// Parses what follows the word LIST; it has at most `patterns_max` patterns.
pub(super) fn parse(
    mut reader: Reader<'_>,
    patterns_max: usize,
) -> Result<ListCommand, ParseError> {
    reader.expect_space()?;
    let mut extended = reader.peek() == Some(b'(');
    let mut selection = Vec::new();
    if extended {
        selection = reader.list(OPTIONS_MAX, true, selection_option)?;
        reader.expect_space()?;
    }
    // Nothing is left to match a parent by (RFC 5258 §3.1).
    let base = |option: &Selection| matches!(option, Selection::Subscribed | Selection::SpecialUse);
    if selection.contains(&Selection::RecursiveMatch) && !selection.iter().any(base) {
        return Err(SYNTAX);
    }
    let reference = reader.list_mailbox()?;
    reader.expect_space()?;
    let patterns = if reader.peek() == Some(b'(') {
        extended = true;
        reader.list(patterns_max, false, Reader::list_mailbox)?
    } else {
        vec![reader.list_mailbox()?]
    };
    let mut returns = Vec::new();
    if reader.space() {
        extended = true;
        if !reader.take_keyword(b"RETURN") || !reader.space() {
            return Err(SYNTAX);
        }
        returns = reader.list(OPTIONS_MAX, true, return_option)?;
        let times =
            |kind: fn(&Return) -> bool| returns.iter().filter(|option| kind(option)).count();
        // Each of them is work for every mailbox.
        if times(|option| matches!(option, Return::Status(_))) > 1
            || times(|option| matches!(option, Return::Metadata(_))) > 1
        {
            return Err(SYNTAX);
        }
    }
    reader.end()?;
    Ok(ListCommand { reference, patterns, selection, returns, extended })
}

/// What is not known is BAD (RFC 5258 §3).
fn selection_option(reader: &mut Reader<'_>) -> Result<Selection, ParseError> {
    let word = reader.keyword()?;
    Selection::ALL.into_iter().find(|option| option.name().as_bytes() == word).ok_or(SYNTAX)
}

fn return_option(reader: &mut Reader<'_>) -> Result<Return, ParseError> {
    Ok(match reader.keyword()?.as_slice() {
        b"SUBSCRIBED" => Return::Subscribed,
        b"CHILDREN" => Return::Children,
        b"SPECIAL-USE" => Return::SpecialUse,
        b"MYRIGHTS" => Return::MyRights,
        b"STATUS" => {
            reader.expect_space()?;
            Return::Status(status::items(reader)?)
        }
        b"METADATA" => {
            reader.expect_space()?;
            Return::Metadata(metadata::entries_with_options(reader)?)
        }
        _ => return Err(SYNTAX),
    })
}

#[cfg(test)]
mod tests {
    use super::{super::mailbox_name::NameForm, *};

    fn parse(text: &str) -> Result<ListCommand, ParseError> {
        super::parse(Reader::new(text.as_bytes(), NameForm::ModifiedUtf7), 3)
    }

    #[test]
    fn the_forms_of_rfc_5258_are_read() {
        let plain = parse(" \"\" %\r\n").unwrap();
        assert_eq!((plain.extended, plain.patterns), (false, vec!["%".to_owned()]));
        let whole = parse(
            " (SUBSCRIBED recursivematch) ref/ (\"INBOX\" Attivit&AOA-/%) RETURN (CHILDREN status (SIZE) METADATA (DEPTH 1) (/shared/a) MYRIGHTS)\r\n",
        )
        .unwrap();
        assert_eq!(whole.selection, [Selection::Subscribed, Selection::RecursiveMatch]);
        assert_eq!(whole.patterns, ["INBOX", "Attività/%"]);
        assert_eq!(whole.returns.len(), 4);
        for extended in [" () \"\" *\r\n", " \"\" (*)\r\n", " \"\" * RETURN ()\r\n"] {
            assert!(parse(extended).unwrap().extended, "{extended}");
        }
    }

    #[test]
    fn what_is_not_known_or_has_no_sense_is_refused() {
        for wrong in [
            " (RECURSIVEMATCH) \"\" *\r\n",
            " (REMOTE RECURSIVEMATCH) \"\" *\r\n",
            " (X-NEW) \"\" *\r\n",
            " \"\" () RETURN ()\r\n",
            " \"\" (a b c d)\r\n",
            " \"\" * RETURN (STATUS)\r\n",
            " \"\" * RETURN (STATUS ())\r\n",
            " \"\" * RETURN (STATUS (SIZE) STATUS (RECENT))\r\n",
            " \"\" * RETURN (X)\r\n",
            " \"\" * RETURN\r\n",
            " \"\" * CHILDREN\r\n",
            " \"\"\r\n",
        ] {
            assert_eq!(parse(wrong), Err(SYNTAX), "{wrong}");
        }
    }
}
