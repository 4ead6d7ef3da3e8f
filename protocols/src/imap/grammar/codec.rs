//! `imap-codec` and its types, turned into ours. Nothing else in the program names that crate.
//!
//! Strings may hold UTF-8 in quotes, which RFC 3501 §9 does not allow: curl and PHP's client send
//! passwords so.

use std::num::NonZeroU32;

use imap_codec::{CommandCodec, decode::Decoder as _};
use imap_types::{
    command::{Command as CodecCommand, CommandBody},
    core::AString,
    extensions::binary::LiteralOrLiteral8,
    fetch::{MacroOrMessageDataItemNames, MessageDataItemName, Part, Section as CodecSection},
    flag::{Flag, StoreResponse, StoreType},
    mailbox::{ListMailbox, Mailbox},
    sequence::{SeqOrUid, Sequence, SequenceSet as CodecSet},
};
use storage::mailbox::flags::{FlagChange, Flags, Keyword};
use trust::clock::UnixMillis;

use super::{
    AppendHead, Command, FetchItem, ParseError, Section, SectionText, Store,
    mailbox_name::NameForm,
    reader::{self, SYNTAX},
    sequence::{SequenceNumber, SequenceSet},
};

fn decode(octets: &[u8]) -> Option<CommandBody<'_>> {
    match CommandCodec::default().decode(octets) {
        Ok(([], CodecCommand { body, .. })) => Some(body),
        _ => None,
    }
}

/// Parses any command but SEARCH and APPEND.
pub(super) fn command(octets: &[u8], names: NameForm) -> Result<Command, ParseError> {
    let body = decode(octets).ok_or(SYNTAX)?;
    Ok(match body {
        CommandBody::Capability => Command::Capability,
        CommandBody::Noop => Command::Noop,
        CommandBody::Logout => Command::Logout,
        CommandBody::Id { .. } => Command::Id,
        CommandBody::Namespace => Command::Namespace,
        CommandBody::Idle => Command::Idle,
        CommandBody::Check => Command::Check,
        CommandBody::Close => Command::Close,
        CommandBody::Unselect => Command::Unselect,
        CommandBody::Login { username, password } => Command::Login {
            login: text(username.as_ref())?,
            password: text(password.declassify().as_ref())?,
        },
        CommandBody::Authenticate { mechanism, initial_response } => Command::Authenticate {
            mechanism: mechanism.to_string().to_ascii_uppercase(),
            initial_response: initial_response.map(|octets| octets.declassify().to_vec()),
        },
        other => with_names(other, names)?,
    })
}

/// Parses the commands that name mailboxes or messages.
fn with_names(body: CommandBody<'_>, names: NameForm) -> Result<Command, ParseError> {
    Ok(match body {
        CommandBody::Lsub { reference, mailbox_wildcard } => Command::Lsub {
            reference: name(&reference, names)?,
            pattern: pattern(&mailbox_wildcard, names)?,
        },
        CommandBody::GetQuota { root } => Command::GetQuota { root: root.as_ref().to_vec() },
        CommandBody::GetQuotaRoot { mailbox } => {
            Command::GetQuotaRoot { mailbox: name(&mailbox, names)? }
        }
        CommandBody::Select { mailbox } => {
            Command::Select { mailbox: name(&mailbox, names)?, read_only: false }
        }
        CommandBody::Examine { mailbox } => {
            Command::Select { mailbox: name(&mailbox, names)?, read_only: true }
        }
        CommandBody::Delete { mailbox } => Command::Delete { mailbox: name(&mailbox, names)? },
        CommandBody::Rename { from, to } => {
            Command::Rename { from: name(&from, names)?, to: name(&to, names)? }
        }
        CommandBody::Subscribe { mailbox } => {
            Command::Subscribe { mailbox: name(&mailbox, names)?, subscribed: true }
        }
        CommandBody::Unsubscribe { mailbox } => {
            Command::Subscribe { mailbox: name(&mailbox, names)?, subscribed: false }
        }
        CommandBody::Expunge => Command::Expunge { uids: None },
        CommandBody::ExpungeUid { sequence_set } => {
            Command::Expunge { uids: Some(set(&sequence_set)) }
        }
        CommandBody::Fetch { sequence_set, macro_or_item_names, uid } => Command::Fetch {
            set: set(&sequence_set),
            items: fetch_items(&macro_or_item_names)?,
            uid,
        },
        CommandBody::Store { sequence_set, kind, response, flags: listed, uid } => {
            Command::Store(Store {
                set: set(&sequence_set),
                change: change(kind),
                flags: flags(&listed)?,
                silent: response == StoreResponse::Silent,
                uid,
            })
        }
        CommandBody::Copy { sequence_set, mailbox, uid } => {
            Command::Copy { set: set(&sequence_set), mailbox: name(&mailbox, names)?, uid }
        }
        CommandBody::Move { sequence_set, mailbox, uid } => {
            Command::Move { set: set(&sequence_set), mailbox: name(&mailbox, names)?, uid }
        }
        _ => return Err(SYNTAX),
    })
}

/// Parses an APPEND whose message is empty; `None` when `octets` are no such command.
pub(super) fn append_head(
    octets: &[u8],
    names: NameForm,
) -> Option<Result<AppendHead, ParseError>> {
    let CommandBody::Append { mailbox, flags: listed, date, message } = decode(octets)? else {
        return None;
    };
    // Literals of RFC 3516 are read by the codec, but BINARY is not offered.
    if matches!(message, LiteralOrLiteral8::Literal8(_)) {
        return Some(Err(SYNTAX));
    }
    Some(name(&mailbox, names).and_then(|mailbox| {
        Ok(AppendHead {
            mailbox,
            flags: flags(&listed)?,
            internal_date: date.map(|date| UnixMillis(date.as_ref().timestamp_millis())),
        })
    }))
}

fn text(octets: &[u8]) -> Result<String, ParseError> {
    String::from_utf8(octets.to_vec()).map_err(|_| SYNTAX)
}

fn name(mailbox: &Mailbox<'_>, names: NameForm) -> Result<String, ParseError> {
    match mailbox {
        Mailbox::Inbox => Ok("INBOX".to_owned()),
        Mailbox::Other(other) => reader::mailbox(other.as_ref(), names),
    }
}

fn pattern(pattern: &ListMailbox<'_>, names: NameForm) -> Result<String, ParseError> {
    let encoded = match pattern {
        ListMailbox::Token(token) => token.as_ref(),
        ListMailbox::String(string) => string.as_ref(),
    };
    reader::pattern(encoded, names)
}

fn set(set: &CodecSet) -> SequenceSet {
    let number = |number: &SeqOrUid| match number {
        SeqOrUid::Value(value) => SequenceNumber::Value(*value),
        SeqOrUid::Asterisk => SequenceNumber::Largest,
    };
    let range = |sequence: &Sequence| match sequence {
        Sequence::Single(single) => (number(single), number(single)),
        Sequence::Range(from, to) => (number(from), number(to)),
    };
    SequenceSet::Ranges(set.0.as_ref().iter().map(range).collect())
}

fn change(kind: StoreType) -> FlagChange {
    match kind {
        StoreType::Replace => FlagChange::Replace,
        StoreType::Add => FlagChange::Add,
        StoreType::Remove => FlagChange::Remove,
    }
}

/// `\Recent` and unknown system flags cannot be stored (RFC 3501 §2.3.2).
fn flags(listed: &[Flag<'_>]) -> Result<Flags, ParseError> {
    let mut flags = Flags::default();
    for flag in listed {
        match flag {
            Flag::Answered => flags.answered = true,
            Flag::Deleted => flags.deleted = true,
            Flag::Draft => flags.draft = true,
            Flag::Flagged => flags.flagged = true,
            Flag::Seen => flags.seen = true,
            Flag::Extension(_) => {
                return Err(ParseError::Syntax(
                    "Flag di sistema non modificabile / This system flag cannot be changed",
                ));
            }
            Flag::Keyword(word) => {
                let keyword = Keyword::new(word.as_ref()).map_err(|_| ParseError::Impossible {
                    code: "LIMIT",
                    text: "Parola chiave oltre 64 caratteri / Keyword longer than 64 characters",
                })?;
                flags.keywords.insert(keyword);
            }
        }
    }
    Ok(flags)
}

/// The macros stand for lists (RFC 3501 §6.4.5).
fn fetch_items(items: &MacroOrMessageDataItemNames<'_>) -> Result<Vec<FetchItem>, ParseError> {
    match items {
        MacroOrMessageDataItemNames::Macro(name) => name.expand().iter().map(fetch_item).collect(),
        MacroOrMessageDataItemNames::MessageDataItemNames(names) => {
            names.iter().map(fetch_item).collect()
        }
    }
}

fn fetch_item(item: &MessageDataItemName<'_>) -> Result<FetchItem, ParseError> {
    Ok(match item {
        MessageDataItemName::Uid => FetchItem::Uid,
        MessageDataItemName::Flags => FetchItem::Flags,
        MessageDataItemName::InternalDate => FetchItem::InternalDate,
        MessageDataItemName::Rfc822 => FetchItem::Rfc822,
        MessageDataItemName::Rfc822Header => FetchItem::Rfc822Header,
        MessageDataItemName::Rfc822Size => FetchItem::Rfc822Size,
        MessageDataItemName::Rfc822Text => FetchItem::Rfc822Text,
        MessageDataItemName::Envelope => FetchItem::Envelope,
        MessageDataItemName::Body => FetchItem::Body,
        MessageDataItemName::BodyStructure => FetchItem::BodyStructure,
        MessageDataItemName::BodyExt { section, partial, peek } => FetchItem::Section {
            section: section
                .as_ref()
                .map_or(Section { part: Vec::new(), text: SectionText::Whole }, fetch_section),
            partial: *partial,
            peek: *peek,
        },
        MessageDataItemName::Binary { .. } | MessageDataItemName::BinarySize { .. } => {
            return Err(SYNTAX);
        }
    })
}

fn fetch_section(section: &CodecSection<'_>) -> Section {
    let numbers = |part: &Part| part.0.as_ref().iter().map(|n: &NonZeroU32| n.get()).collect();
    let of = |part: &Option<Part>| part.as_ref().map(numbers).unwrap_or_default();
    let names = |names: &[AString<'_>]| names.iter().map(|n| n.as_ref().to_vec()).collect();
    match section {
        CodecSection::Part(part) => Section { part: numbers(part), text: SectionText::Whole },
        CodecSection::Header(part) => Section { part: of(part), text: SectionText::Header },
        CodecSection::Text(part) => Section { part: of(part), text: SectionText::Text },
        CodecSection::Mime(part) => Section { part: numbers(part), text: SectionText::Mime },
        CodecSection::HeaderFields(part, fields) => {
            Section { part: of(part), text: SectionText::HeaderFields(names(fields.as_ref())) }
        }
        CodecSection::HeaderFieldsNot(part, fields) => {
            Section { part: of(part), text: SectionText::HeaderFieldsNot(names(fields.as_ref())) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_of_rfc_3501_are_read() {
        let parsed = |line: &str| command(line.as_bytes(), NameForm::ModifiedUtf7).unwrap();
        assert_eq!(
            parsed("a LOGIN SMITH \"SES\\\"AME\"\r\n"),
            Command::Login { login: "SMITH".to_owned(), password: "SES\"AME".to_owned() }
        );
        assert_eq!(
            parsed("a LOGIN {3+}\r\nabc \"perché\"\r\n"),
            Command::Login { login: "abc".to_owned(), password: "perché".to_owned() }
        );
        assert_eq!(
            parsed("a select iNBoX/Attivit&AOA-\n"),
            Command::Select { mailbox: "INBOX/Attività".to_owned(), read_only: false }
        );
        assert_eq!(
            parsed("a FETCH 2:4 (FLAGS BODY.PEEK[1.2.HEADER.FIELDS (DATE FROM)]<5.10>)\r\n"),
            Command::Fetch {
                set: SequenceSet::parse(b"2:4").unwrap(),
                items: vec![
                    FetchItem::Flags,
                    FetchItem::Section {
                        section: Section {
                            part: vec![1, 2],
                            text: SectionText::HeaderFields(vec![
                                b"DATE".to_vec(),
                                b"FROM".to_vec()
                            ]),
                        },
                        partial: NonZeroU32::new(10).map(|count| (5, count)),
                        peek: true,
                    },
                ],
                uid: false,
            }
        );
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for wrong in [
            "a STORE 1 FLAGS (\\Recent)\r\n",
            "a FETCH 1 BINARY[1]\r\n",
            "a FETCH 0 FLAGS\r\n",
            "a LOGIN x\r\n",
            "a NOOP now\r\n",
            "a SELECT &Jjo!\r\n",
            "a LOGIN {3}\r\na\0b c\r\n",
        ] {
            assert!(command(wrong.as_bytes(), NameForm::ModifiedUtf7).is_err(), "{wrong}");
        }
    }
}
