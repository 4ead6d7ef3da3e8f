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
pub(crate) mod codec;
pub(crate) mod create;
pub(crate) mod enable;
#[cfg(any(test, fuzzing))]
pub(crate) mod encode;
pub(crate) mod list;
pub(crate) mod mailbox_name;
pub(crate) mod metadata;
pub(crate) mod quota;
pub(crate) mod reader;
pub(crate) mod search;
pub(crate) mod sequence;
pub(crate) mod status;
pub(crate) mod write;

use std::num::NonZeroU32;

use storage::mailbox::flags::{FlagChange, Flags};
use trust::clock::UnixMillis;

pub(crate) use self::status::StatusItem;
use self::{
    acl::AclCommand,
    create::UseAttributes,
    enable::Extension,
    list::ListCommand,
    mailbox_name::NameForm,
    metadata::{GetMetadata, SetMetadata},
    quota::SetQuota,
    reader::Reader,
    search::SearchProgram,
    sequence::SequenceSet,
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
    Enable { extensions: Vec<Extension> },
    Login { login: String, password: String },
    Authenticate { mechanism: String, initial_response: Option<Vec<u8>> },
    List(ListCommand),
    Lsub { reference: String, pattern: String },
    Status { mailbox: String, items: Vec<StatusItem> },
    GetQuota { root: Vec<u8> },
    GetQuotaRoot { mailbox: String },
    SetQuota(SetQuota),
    Acl(AclCommand),
    GetMetadata(GetMetadata),
    SetMetadata(SetMetadata),
    Select { mailbox: String, read_only: bool },
    Create { mailbox: String, special_use: UseAttributes },
    Delete { mailbox: String },
    Rename { from: String, to: String },
    Subscribe { mailbox: String, subscribed: bool },
    Namespace,
    Idle,
    Check,
    Close,
    Unselect,
    Expunge { uids: Option<SequenceSet> },
    Search { program: SearchProgram, uid: bool },
    Fetch { set: SequenceSet, items: Vec<FetchItem>, uid: bool },
    Store(Store),
    Copy { set: SequenceSet, mailbox: String, uid: bool },
    Move { set: SequenceSet, mailbox: String, uid: bool },
}

impl Command {
    /// Says whether EXPUNGE responses may be sent while this command is answered: not for FETCH,
    /// STORE and SEARCH by sequence number, whose numbers must stay true (RFC 3501 §7.4.1).
    pub(crate) fn lets_numbers_change(&self) -> bool {
        !matches!(
            self,
            Self::Fetch { uid: false, .. }
                | Self::Store(Store { uid: false, .. })
                | Self::Search { uid: false, .. }
        )
    }

    /// The ranges of all sequence sets in the command.
    fn ranges(&self) -> usize {
        match self {
            Self::Fetch { set, .. }
            | Self::Copy { set, .. }
            | Self::Move { set, .. }
            | Self::Store(Store { set, .. })
            | Self::Expunge { uids: Some(set) } => set.ranges(),
            Self::Search { program, .. } => program.ranges(),
            _ => 0,
        }
    }
}

/// STORE and UID STORE (RFC 3501 §6.4.6).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Store {
    pub(crate) set: SequenceSet,
    pub(crate) change: FlagChange,
    pub(crate) flags: Flags,
    pub(crate) silent: bool,
    pub(crate) uid: bool,
}

/// APPEND up to its message.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AppendHead {
    pub(crate) mailbox: String,
    pub(crate) flags: Flags,
    pub(crate) internal_date: Option<UnixMillis>,
}

/// What FETCH tells of a message (RFC 3501 §6.4.5).
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum FetchItem {
    Uid,
    Flags,
    InternalDate,
    Rfc822,
    Rfc822Header,
    Rfc822Size,
    Rfc822Text,
    Envelope,
    Body,
    BodyStructure,
    Section { section: Section, partial: Option<(u32, NonZeroU32)>, peek: bool },
}

impl FetchItem {
    /// Says whether fetching it makes the message `\Seen`.
    pub(crate) fn marks_seen(&self) -> bool {
        matches!(self, Self::Rfc822 | Self::Rfc822Text | Self::Section { peek: false, .. })
    }
}

/// A part of a message (RFC 3501 §9 `section`).
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Section {
    /// Part numbers from the outside in; empty for the message itself.
    pub(crate) part: Vec<u32>,
    /// Which octets of it.
    pub(crate) text: SectionText,
}

/// Which octets of a part.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum SectionText {
    /// Everything: header and body of a message, the body of a part.
    Whole,
    Header,
    HeaderFields(Vec<Vec<u8>>),
    HeaderFieldsNot(Vec<Vec<u8>>),
    Text,
    Mime,
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
    let mut reader = Reader::new(octets, names);
    if reader.word().is_err() || !reader.space() {
        return Ok(None);
    }
    let uid = reader.take_keyword(b"UID") && reader.space();
    let Ok(word) = reader.keyword() else { return Ok(None) };
    Ok(Some(match (word.as_slice(), uid) {
        (b"ENABLE", false) => Command::Enable { extensions: enable::parse(reader)? },
        (b"LIST", false) => Command::List(list::parse(reader, limits.list_patterns_max)?),
        (b"STATUS", false) => {
            let (mailbox, items) = status::parse(reader)?;
            Command::Status { mailbox, items }
        }
        (b"CREATE", false) => {
            let (mailbox, special_use) = create::parse(reader)?;
            Command::Create { mailbox, special_use }
        }
        (b"SETQUOTA", false) => Command::SetQuota(quota::parse(reader)?),
        (b"GETMETADATA", false) => Command::GetMetadata(metadata::parse_get(reader)?),
        (b"SETMETADATA", false) => Command::SetMetadata(metadata::parse_set(reader)?),
        (b"SEARCH", _) => Command::Search { program: search::parse(reader, limits)?, uid },
        (word, false) => return Ok(acl::parse(word, reader)?.map(Command::Acl)),
        _ => return Ok(None),
    }))
}

/// Parses `octets`, which end where the announcement of a literal begins (after the space), as
/// the head of an APPEND command. `None` when the literal is not the message.
pub(crate) fn parse_append_head(
    octets: &[u8],
    names: NameForm,
) -> Option<Result<AppendHead, ParseError>> {
    let after_tag = octets.iter().position(|&octet| octet == b' ')? + 1;
    let word = octets.get(after_tag..after_tag + 7)?;
    if !word.eq_ignore_ascii_case(b"APPEND ") {
        return None;
    }
    let mut whole = octets.to_vec();
    whole.extend_from_slice(b"{0}\r\n\r\n");
    codec::append_head(&whole, names)
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
    fn the_message_of_append_is_told_from_a_name_that_is_a_literal() {
        let head = |octets: &[u8]| parse_append_head(octets, NameForm::ModifiedUtf7);
        assert!(head(b"a APPEND ").is_none());
        assert!(head(b"a LOGIN ").is_none());
        let named = head(b"a append {5}\r\nINBOX (\\Seen) ").unwrap().unwrap();
        assert_eq!(named.mailbox, "INBOX");
        assert!(named.flags.seen);
        let dated = head(b"a APPEND Bozze \"17-Jul-1996 02:44:25 -0700\" ").unwrap().unwrap();
        assert_eq!(dated.internal_date, Some(UnixMillis(837_596_665_000)));
    }
}
