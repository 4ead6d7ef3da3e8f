//! The grammar of STATUS (RFC 9051 §9 `status`), with DELETED-STORAGE (RFC 9208 §4.1.4) and
//! HIGHESTMODSEQ (RFC 7162 §7 `status-att`).

use super::{
    ParseError, StatusItem,
    reader::{Reader, SYNTAX},
};

/// Items of one command: more than there are kinds.
const ITEMS_MAX: usize = 32;

/// Parses what follows the word STATUS.
pub(super) fn parse(mut reader: Reader<'_>) -> Result<(String, Vec<StatusItem>), ParseError> {
    reader.expect_space()?;
    let mailbox = reader.mailbox()?;
    reader.expect_space()?;
    let items = reader.list(ITEMS_MAX, false, item)?;
    reader.end()?;
    Ok((mailbox, items))
}

fn item(reader: &mut Reader<'_>) -> Result<StatusItem, ParseError> {
    Ok(match reader.keyword()?.as_slice() {
        b"MESSAGES" => StatusItem::Messages,
        b"RECENT" => StatusItem::Recent,
        b"UIDNEXT" => StatusItem::UidNext,
        b"UIDVALIDITY" => StatusItem::UidValidity,
        b"UNSEEN" => StatusItem::Unseen,
        b"DELETED" => StatusItem::Deleted,
        b"DELETED-STORAGE" => StatusItem::DeletedStorage,
        b"HIGHESTMODSEQ" => StatusItem::HighestModSeq,
        _ => return Err(SYNTAX),
    })
}

#[cfg(test)]
mod tests {
    use super::{super::mailbox_name::NameForm, *};

    #[test]
    fn items_are_read_in_any_case() {
        let read = |text: &str| parse(Reader::new(text.as_bytes(), NameForm::ModifiedUtf7));
        let expected = vec![StatusItem::UidNext, StatusItem::HighestModSeq];
        assert_eq!(read(" inbox (UIDNEXT HighestModSeq)\r\n"), Ok(("INBOX".to_owned(), expected)));
        for wrong in [" a\r\n", " a ()\r\n", " a (X)\r\n", " a MESSAGES\r\n", " (MESSAGES)\r\n"] {
            assert_eq!(read(wrong), Err(SYNTAX), "{wrong}");
        }
    }
}
