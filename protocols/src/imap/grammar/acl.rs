//! The grammar of the commands about rights (RFC 4314 §7).

use super::{
    ParseError,
    reader::{Reader, SYNTAX},
};

/// The letters that have a meaning here, with the two that RFC 4314 §2.1.1 keeps for older
/// clients.
const LETTERS: &[u8] = b"lrswipkxteacd";

/// A command about rights on a mailbox. Identifiers are UTF-8.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum AclCommand {
    Get { mailbox: String },
    My { mailbox: String },
    List { mailbox: String, identifier: String },
    Set { mailbox: String, identifier: String, change: RightsChange },
    Delete { mailbox: String, identifier: String },
}

/// How rights are changed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct RightsChange {
    pub(crate) kind: RightsChangeKind,
    /// Letters of [`LETTERS`], each once, in that order.
    pub(crate) rights: String,
}

/// Whether rights are replaced, added or taken away (RFC 4314 §3.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum RightsChangeKind {
    Replace,
    Add,
    Remove,
}

/// Parses what follows `word`, one of the commands about rights; `None` when it is none.
pub(super) fn parse(word: &[u8], mut reader: Reader<'_>) -> Result<Option<AclCommand>, ParseError> {
    if !matches!(word, b"GETACL" | b"MYRIGHTS" | b"LISTRIGHTS" | b"SETACL" | b"DELETEACL") {
        return Ok(None);
    }
    reader.expect_space()?;
    let mailbox = reader.mailbox()?;
    let command = match word {
        b"GETACL" => AclCommand::Get { mailbox },
        b"MYRIGHTS" => AclCommand::My { mailbox },
        _ => {
            reader.expect_space()?;
            let identifier =
                String::from_utf8(reader.astring()?.into_owned()).map_err(|_| SYNTAX)?;
            match word {
                b"LISTRIGHTS" => AclCommand::List { mailbox, identifier },
                b"DELETEACL" => AclCommand::Delete { mailbox, identifier },
                _ => {
                    reader.expect_space()?;
                    let change = change(&reader.astring()?)?;
                    AclCommand::Set { mailbox, identifier, change }
                }
            }
        }
    };
    reader.end()?;
    Ok(Some(command))
}

/// `mod-rights`. A letter without meaning is BAD (RFC 4314 §3.1).
fn change(text: &[u8]) -> Result<RightsChange, ParseError> {
    let (kind, letters) = match text.split_first() {
        Some((b'+', letters)) => (RightsChangeKind::Add, letters),
        Some((b'-', letters)) => (RightsChangeKind::Remove, letters),
        _ => (RightsChangeKind::Replace, text),
    };
    if letters.iter().any(|letter| !LETTERS.contains(letter)) {
        return Err(ParseError::Syntax("Diritto sconosciuto / Unknown right"));
    }
    let given = LETTERS.iter().filter(|letter| letters.contains(letter));
    Ok(RightsChange { kind, rights: given.map(|&letter| char::from(letter)).collect() })
}

#[cfg(test)]
mod tests {
    use super::{super::mailbox_name::NameForm, *};

    #[test]
    fn changes_of_rights_are_read() {
        let parsed =
            |text: &str| parse(b"SETACL", Reader::new(text.as_bytes(), NameForm::ModifiedUtf7));
        let change = |kind, rights: &str| RightsChange { kind, rights: rights.to_owned() };
        for (text, expected) in [
            ("rl", change(RightsChangeKind::Replace, "lr")),
            ("+cda", change(RightsChangeKind::Add, "acd")),
            ("-x", change(RightsChangeKind::Remove, "x")),
            ("\"\"", change(RightsChangeKind::Replace, "")),
        ] {
            let Ok(Some(AclCommand::Set { mailbox, identifier, change })) =
                parsed(&format!(" inbox \"Fred\" {text}\r\n"))
            else {
                panic!("{text}");
            };
            assert_eq!(
                (mailbox.as_str(), identifier.as_str(), change),
                ("INBOX", "Fred", expected)
            );
        }
        for wrong in
            [" INBOX Fred R\r\n", " INBOX Fred lq\r\n", " INBOX Fred\r\n", " INBOX\r\n", "\r\n"]
        {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }
}
