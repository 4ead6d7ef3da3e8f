//! What may be said in IMAP: commands as values in which only valid ones can be built.
//!
//! [`parse`] is the one entrance. What `imap-codec` does not know has a grammar of ours, a file
//! for each command, over one [`reader`]; the rest is read by `imap-codec`, whose types end in
//! [`codec`]: the program sees only the types of this module.
//!
//! * [`mailbox_name`]: modified UTF-7. * [`sequence`]: sequence sets. * [`write`]: responses.
//!
//! Not here: lines and literals (`frame`), what commands do (`command`).

pub(crate) mod acl;
pub(crate) mod append;
pub(crate) mod cancel_update;
pub(crate) mod codec;
pub(crate) mod create;
pub(crate) mod enable;
#[cfg(any(test, fuzzing))]
pub(crate) mod encode;
#[cfg(any(test, fuzzing))]
pub(crate) mod encode_tree;
pub(crate) mod fetch;
pub(crate) mod flag;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub(crate) mod list;
pub(crate) mod mailbox_name;
pub(crate) mod message_url;
pub(crate) mod metadata;
pub(crate) mod multisearch;
pub(crate) mod notify;
pub(crate) mod partial_range;
pub(crate) mod quota;
pub(crate) mod reader;
pub(crate) mod results;
pub(crate) mod search;
pub(crate) mod sections;
pub(crate) mod select;
pub(crate) mod sequence;
pub(crate) mod sort;
pub(crate) mod status;
pub(crate) mod store;
pub(crate) mod uid_batches;
pub(crate) mod write;

use self::{
    acl::AclCommand,
    append::{Form, Progress, Script, Step},
    create::UseAttributes,
    enable::Extension,
    list::{ListCommand, Return},
    mailbox_name::NameForm,
    metadata::{GetMetadata, SetMetadata},
    multisearch::MultiSearch,
    notify::Notify,
    quota::SetQuota,
    reader::Reader,
    search::SearchCommand,
    sequence::SequenceSet,
    sort::{SortCommand, ThreadCommand},
};
pub(crate) use self::{
    fetch::{Fetch, FetchItem, Section, SectionText},
    select::Select,
    status::StatusItem,
    store::Store,
    uid_batches::UidBatches,
};
use super::limits::ImapLimits;

/// The word before a command that its answer repeats.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Tag(String);

impl Tag {
    /// Reads the tag that a command begins with, if it is one (RFC 3501 §9 `tag`).
    pub(crate) fn of(command: &[u8]) -> Option<Self> {
        let end = command.iter().position(|octet| matches!(octet, b' ' | b'\r' | b'\n'))?;
        let is_tag_octet = |octet: &u8| {
            octet.is_ascii_graphic()
                && !matches!(octet, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\' | b'+')
        };
        let tag = command.get(..end).filter(|tag| !tag.is_empty() && tag.len() <= 256)?;
        if !tag.iter().all(is_tag_octet) {
            return None;
        }
        String::from_utf8(tag.to_vec()).ok().map(Self)
    }

    /// The tag's text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A command without its tag.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Command {
    Capability,
    Noop,
    Logout,
    Id,
    /// APPEND or REPLACE without a literal.
    Append {
        script: Script,
        steps: Vec<Step>,
    },
    StartTls,
    Enable {
        extensions: Vec<Extension>,
    },
    Login {
        login: String,
        password: String,
    },
    Authenticate {
        mechanism: String,
        initial_response: Option<Vec<u8>>,
    },
    List(ListCommand),
    Lsub {
        reference: String,
        pattern: String,
    },
    Status {
        mailbox: String,
        items: Vec<StatusItem>,
    },
    GetQuota {
        root: Vec<u8>,
    },
    GetQuotaRoot {
        mailbox: String,
    },
    SetQuota(SetQuota),
    Acl(AclCommand),
    GetMetadata(GetMetadata),
    SetMetadata(SetMetadata),
    Select(Select),
    Create {
        mailbox: String,
        special_use: UseAttributes,
    },
    Delete {
        mailbox: String,
    },
    Rename {
        from: String,
        to: String,
    },
    Subscribe {
        mailbox: String,
        subscribed: bool,
    },
    Namespace,
    Notify(Notify),
    Unauthenticate,
    /// COMPRESS DEFLATE
    Compress,
    Idle,
    Check,
    Close,
    Unselect,
    Expunge {
        uids: Option<SequenceSet>,
    },
    Search(SearchCommand),
    Sort(SortCommand),
    Thread(ThreadCommand),
    MultiSearch(MultiSearch),
    CancelUpdate {
        tags: Vec<Vec<u8>>,
    },
    Fetch(Fetch),
    Store(Store),
    Copy {
        set: SequenceSet,
        mailbox: String,
        uid: bool,
    },
    Move {
        set: SequenceSet,
        mailbox: String,
        uid: bool,
    },
    UidBatches(UidBatches),
}

impl Command {
    /// Says whether EXPUNGE and VANISHED responses may be sent while this command is answered: not
    /// for FETCH, STORE and SEARCH by sequence number, whose numbers must stay true
    /// (RFC 3501 §7.4.1, RFC 7162 §3.2.10.2).
    pub(crate) fn lets_numbers_change(&self) -> bool {
        matches!(self, Self::Copy { .. } | Self::Move { .. } | Self::Append { .. })
            || !self.names_numbers()
    }

    /// Says whether it names messages by sequence number, or is answered with such numbers.
    pub(crate) fn names_numbers(&self) -> bool {
        match self {
            Self::Fetch(Fetch { uid, .. })
            | Self::Store(Store { uid, .. })
            | Self::Copy { uid, .. }
            | Self::Move { uid, .. } => !uid,
            Self::Append { script, .. } => script.names_numbers(),
            Self::MultiSearch(MultiSearch { program, .. }) => program.names_numbers(),
            Self::Search(SearchCommand { program, uid, .. })
            | Self::Sort(SortCommand { program, uid, .. })
            | Self::Thread(ThreadCommand { program, uid, .. }) => !uid || program.names_numbers(),
            _ => false,
        }
    }

    /// Says whether it asks for modification sequences, which the session tells from then on
    /// (RFC 7162 §3.1 "CONDSTORE enabling command").
    pub(crate) fn enables_condstore(&self) -> bool {
        match self {
            Self::Select(select) => select.condstore || select.qresync.is_some(),
            Self::Fetch(fetch) => {
                fetch.changed_since.is_some() || fetch.items.contains(&FetchItem::ModSeq)
            }
            Self::Store(store) => store.unchanged_since.is_some(),
            // What is told of new messages is what FETCH would tell.
            Self::Notify(Notify::Set(wanted)) => {
                let selected = wanted.selected.as_ref();
                selected.is_some_and(|selected| selected.items.contains(&FetchItem::ModSeq))
            }
            Self::Status { items, .. } => items.contains(&StatusItem::HighestModSeq),
            Self::List(list) => list.returns.iter().any(|wanted| match wanted {
                Return::Status(items) => items.contains(&StatusItem::HighestModSeq),
                _ => false,
            }),
            Self::Search(SearchCommand { program, .. })
            | Self::Sort(SortCommand { program, .. })
            | Self::Thread(ThreadCommand { program, .. })
            | Self::MultiSearch(MultiSearch { program, .. }) => program.asks_mod_seq(),
            _ => false,
        }
    }

    /// Says whether it removes messages from the selected mailbox and tells so.
    pub(crate) fn expunges(&self) -> bool {
        match self {
            Self::Append { script, .. } => script.target().replace.is_some(),
            _ => matches!(self, Self::Expunge { .. } | Self::Move { .. }),
        }
    }

    /// The ranges of all sequence sets in the command.
    fn ranges(&self) -> usize {
        match self {
            Self::Fetch(Fetch { set, .. })
            | Self::Copy { set, .. }
            | Self::Move { set, .. }
            | Self::Store(Store { set, .. })
            | Self::Expunge { uids: Some(set) } => set.ranges(),
            Self::Search(SearchCommand { program, .. })
            | Self::Sort(SortCommand { program, .. })
            | Self::Thread(ThreadCommand { program, .. })
            | Self::MultiSearch(MultiSearch { program, .. }) => program.ranges(),
            Self::Select(select) => select.ranges(),
            _ => 0,
        }
    }
}

/// Why octets are no command. The text goes to the peer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum ParseError {
    /// Not in the grammar: BAD.
    Syntax(&'static str),
    /// In the grammar, but it names what cannot be: NO with a code.
    Impossible { code: &'static str, text: &'static str },
}

/// Parses a command with all its literals, tag and line end included. Mailboxes are named in the
/// form `names`.
pub(crate) fn parse(
    octets: &[u8],
    names: NameForm,
    limits: &ImapLimits,
) -> Result<Command, ParseError> {
    let command = match ours(octets, names, limits)? {
        Some(command) => command,
        None => codec::command(octets, names)?,
    };
    if command.ranges() > limits.sequence_ranges_max {
        return Err(ParseError::Syntax("troppi intervalli / too many ranges in a sequence set"));
    }
    Ok(command)
}

/// Parses the commands whose grammar is ours; `None` for the others.
fn ours(
    octets: &[u8],
    names: NameForm,
    limits: &ImapLimits,
) -> Result<Option<Command>, ParseError> {
    if let Some(begun) = append::begin(octets, Form::new(names, false, limits)) {
        return match begun? {
            Progress::Steps(script, steps) => Ok(Some(Command::Append { script, steps })),
            Progress::Argument(_) => Err(reader::SYNTAX),
        };
    }
    let mut reader = Reader::new(octets, names);
    if reader.word().is_err() || !reader.space() {
        return Ok(None);
    }
    let uid = reader.take_keyword(b"UID") && reader.space();
    let Ok(word) = reader.keyword() else { return Ok(None) };
    Ok(Some(match (word.as_slice(), uid) {
        (b"UNAUTHENTICATE", false) => {
            reader.end()?;
            Command::Unauthenticate
        }
        (b"COMPRESS", false) => compress(reader)?,
        (b"ENABLE", false) => Command::Enable { extensions: enable::parse(reader)? },
        (b"SELECT", false) => Command::Select(select::parse(reader, false)?),
        (b"EXAMINE", false) => Command::Select(select::parse(reader, true)?),
        (b"FETCH", _) => Command::Fetch(fetch::parse(reader, uid, limits)?),
        (b"STORE", _) => Command::Store(store::parse(reader, uid, limits)?),
        (b"COPY", _) => {
            let (set, mailbox) = transfer(reader)?;
            Command::Copy { set, mailbox, uid }
        }
        (b"MOVE", _) => {
            let (set, mailbox) = transfer(reader)?;
            Command::Move { set, mailbox, uid }
        }
        (b"EXPUNGE", _) => Command::Expunge { uids: expunged(reader, uid)? },
        (b"LIST", false) => Command::List(list::parse(reader, limits.list_patterns_max)?),
        (b"STATUS", false) => {
            let (mailbox, items) = status::parse(reader)?;
            Command::Status { mailbox, items }
        }
        (b"UIDBATCHES", false) => Command::UidBatches(uid_batches::parse(reader)?),
        (b"SEARCH", _) => Command::Search(search::parse(reader, uid, limits)?),
        (b"SORT", _) => Command::Sort(sort::parse(reader, uid, limits)?),
        (b"THREAD", _) => Command::Thread(sort::parse_thread(reader, uid, limits)?),
        (b"ESEARCH", false) => Command::MultiSearch(multisearch::parse(reader, limits)?),
        (b"CANCELUPDATE", false) => Command::CancelUpdate { tags: cancel_update::parse(reader)? },
        (b"NOTIFY", false) => Command::Notify(notify::parse(reader, limits)?),
        (b"CREATE", false) => {
            let (mailbox, special_use) = create::parse(reader)?;
            Command::Create { mailbox, special_use }
        }
        (b"SETQUOTA", false) => Command::SetQuota(quota::parse(reader)?),
        (b"GETMETADATA", false) => Command::GetMetadata(metadata::parse_get(reader)?),
        (b"SETMETADATA", false) => Command::SetMetadata(metadata::parse_set(reader)?),
        (word, false) => return Ok(acl::parse(word, reader)?.map(Command::Acl)),
        _ => return Ok(None),
    }))
}

/// Parses what follows the word COMPRESS (RFC 4978 §5).
fn compress(mut reader: Reader<'_>) -> Result<Command, ParseError> {
    reader.expect_space()?;
    if !reader.take_keyword(b"DEFLATE") {
        return Err(ParseError::Syntax("C'e' solo DEFLATE / There is only DEFLATE"));
    }
    reader.end()?;
    Ok(Command::Compress)
}

/// Parses what follows the word COPY or MOVE (RFC 9051 §9 `copy`, `move`).
fn transfer(mut reader: Reader<'_>) -> Result<(SequenceSet, String), ParseError> {
    reader.expect_space()?;
    let set = reader.sequence_set()?;
    reader.expect_space()?;
    let mailbox = reader.mailbox()?;
    reader.end()?;
    Ok((set, mailbox))
}

/// Parses what follows the word EXPUNGE (RFC 9051 §9 `uid-expunge`).
fn expunged(mut reader: Reader<'_>, uid: bool) -> Result<Option<SequenceSet>, ParseError> {
    let mut uids = None;
    if uid {
        reader.expect_space()?;
        uids = Some(reader.sequence_set()?);
    }
    reader.end()?;
    Ok(uids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_found_or_not() {
        assert_eq!(Tag::of(b"a001 NOOP\r\n").unwrap().as_str(), "a001");
        for wrong in [&b"* NOOP\r\n"[..], b" NOOP\r\n", b"a+ NOOP\r\n", b"\x16\x03\x01\r\n", b""] {
            assert_eq!(Tag::of(wrong), None);
        }
    }

    #[test]
    fn commands_of_ours_read_write_and_read_as_the_same() {
        for line in [
            "a SELECT INBOX",
            "a EXAMINE \"Posta &- altro\" (CONDSTORE QRESYNC (7 90060115194045000 41:211,214:541 (1:3 5,7,9)))",
            "a FETCH 2:4,* (UID FLAGS RFC822 RFC822.HEADER RFC822.TEXT RFC822.SIZE ENVELOPE BODY)",
            "a UID FETCH $ (BODYSTRUCTURE INTERNALDATE MODSEQ SAVEDATE EMAILID THREADID) (CHANGEDSINCE 5 VANISHED PARTIAL -1:-30)",
            "a FETCH 1 (BODY[] BODY.PEEK[1.2.MIME]<0.10> BODY[HEADER.FIELDS (DATE \"x y\")] BINARY[1]<5.6> BINARY.PEEK[] BINARY.SIZE[2] PREVIEW (LAZY) PREVIEW)",
            "a UID STORE 7,5,9 (UNCHANGEDSINCE 320162338) +FLAGS.SILENT (\\Deleted $Junk)",
            "a STORE *:4 -FLAGS \\Seen",
            "a UID COPY $ Archivio",
            "a MOVE 1:2 &AOA-",
            "a EXPUNGE",
            "a UID EXPUNGE 4:7,*",
            "a UIDBATCHES 2000 10:20",
            "a NOTIFY NONE",
            "a NOTIFY SET STATUS (SELECTED (MessageNew (UID BODY.PEEK[HEADER.FIELDS (DATE)]<0.9> UID) MessageExpunge FlagChange)) (SUBTREE (\"a b\" &AOA-) (MessageExpunge MessageNew)) (MAILBOXES inbox (MailboxName))",
            "a notify set (selected-delayed (messagenew messageexpunge)) (inboxes (subscriptionchange)) (personal none) (subscribed (mailboxmetadatachange servermetadatachange))",
        ] {
            let limits = ImapLimits::default();
            let read = |octets: &[u8]| parse(octets, NameForm::ModifiedUtf7, &limits).unwrap();
            let command = read(format!("{line}\r\n").as_bytes());
            let written = encode::encode(&command, NameForm::ModifiedUtf7).unwrap();
            assert_eq!(read(&written), command, "{line}");
        }
    }

    #[test]
    fn sets_of_all_these_commands_are_bounded() {
        let limits = ImapLimits { sequence_ranges_max: 4, ..ImapLimits::default() };
        for line in [
            "FETCH 1,3,5,7,9 UID",
            "STORE 1,3,5,7,9 FLAGS ()",
            "COPY 1,3,5,7,9 a",
            "UID MOVE 1,3,5,7,9 a",
            "UID EXPUNGE 1,3,5,7,9",
            "SELECT a (QRESYNC (1 1 1,3 (1,3 1,3)))",
        ] {
            let parsed = parse(format!("a {line}\r\n").as_bytes(), NameForm::Utf8, &limits);
            assert!(
                matches!(parsed, Err(ParseError::Syntax(text)) if text.contains("ranges")),
                "{line}"
            );
        }
    }
}
