//! The grammar of STATUS (RFC 3501 §9 `status`, RFC 9051 §9).

use super::{
    ParseError,
    reader::{Reader, SYNTAX},
};

/// What STATUS tells (RFC 3501 §6.3.10, RFC 9051 §6.3.11).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum StatusItem {
    Messages,
    Recent,
    UidNext,
    UidValidity,
    Unseen,
    Deleted,
    /// RFC 9208 §4.1.4
    DeletedStorage,
    /// RFC 8438 §2
    Size,
    /// RFC 7162 §3.1.7
    HighestModSeq,
    /// RFC 8474 §4.3
    MailboxId,
    /// RFC 7889 §3.1
    AppendLimit,
}

impl StatusItem {
    /// Every item.
    pub(crate) const ALL: [Self; 11] = [
        Self::Messages,
        Self::Recent,
        Self::UidNext,
        Self::UidValidity,
        Self::Unseen,
        Self::Deleted,
        Self::DeletedStorage,
        Self::Size,
        Self::HighestModSeq,
        Self::MailboxId,
        Self::AppendLimit,
    ];

    /// Its name in commands and responses.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Messages => "MESSAGES",
            Self::Recent => "RECENT",
            Self::UidNext => "UIDNEXT",
            Self::UidValidity => "UIDVALIDITY",
            Self::Unseen => "UNSEEN",
            Self::Deleted => "DELETED",
            Self::DeletedStorage => "DELETED-STORAGE",
            Self::Size => "SIZE",
            Self::HighestModSeq => "HIGHESTMODSEQ",
            Self::MailboxId => "MAILBOXID",
            Self::AppendLimit => "APPENDLIMIT",
        }
    }
}

/// Items that one command may ask for, repeats counted.
const ITEMS_MAX: usize = 64;

/// Parses what follows the word STATUS.
pub(super) fn parse(mut reader: Reader<'_>) -> Result<(String, Vec<StatusItem>), ParseError> {
    reader.expect_space()?;
    let mailbox = reader.mailbox()?;
    reader.expect_space()?;
    let items = items(&mut reader)?;
    reader.end()?;
    Ok((mailbox, items))
}

/// `"(" status-att *(SP status-att) ")"`, each item once however often it is named.
pub(super) fn items(reader: &mut Reader<'_>) -> Result<Vec<StatusItem>, ParseError> {
    let mut items = Vec::new();
    reader.list(ITEMS_MAX, false, |reader| {
        let word = reader.keyword()?;
        let named = |item: &StatusItem| item.name().as_bytes() == word;
        let item = StatusItem::ALL.into_iter().find(named).ok_or(SYNTAX)?;
        if !items.contains(&item) {
            items.push(item);
        }
        Ok(())
    })?;
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::{super::mailbox_name::NameForm, *};

    fn parse(text: &str) -> Result<(String, Vec<StatusItem>), ParseError> {
        super::parse(Reader::new(text.as_bytes(), NameForm::ModifiedUtf7))
    }

    #[test]
    fn items_are_read_in_any_case_and_order() {
        assert_eq!(
            parse(" blurdybloop (uidnext MESSAGES)\r\n"),
            Ok(("blurdybloop".to_owned(), vec![StatusItem::UidNext, StatusItem::Messages]))
        );
        assert_eq!(parse(" x (SIZE RECENT SIZE)\r\n").unwrap().1.len(), 2);
        for item in StatusItem::ALL {
            assert_eq!(parse(&format!(" x ({})\r\n", item.name())).unwrap().1, [item]);
        }
        let many = format!(" x ({})\r\n", ["SIZE"; 65].join(" "));
        for wrong in
            [" x ()\r\n", " x SIZE\r\n", " x (SIZES)\r\n", " x (SIZE) \r\n", " (SIZE)\r\n", &many]
        {
            assert_eq!(parse(wrong), Err(SYNTAX), "{wrong}");
        }
    }
}
