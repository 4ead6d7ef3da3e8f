//! What may be said in IMAP: commands as values in which only valid ones can be built.
//!
//! [`parse`] is the one entrance. SEARCH has a grammar of its own ([`search`]); everything else
//! is read by `imap-codec`, whose types end in [`codec`]: the rest of the program sees only the
//! types of this module, so that a grammar of ours can take over command by command.
//!
//! * [`mailbox_name`]: modified UTF-7. * [`sequence`]: sequence sets. * [`write`]: responses.
//!
//! Not here: lines and literals (`frame`), what commands do (`command`).

pub(crate) mod codec;
pub(crate) mod mailbox_name;
pub(crate) mod search;
pub(crate) mod sequence;
pub(crate) mod write;

use std::num::NonZeroU32;

use storage::mailbox::flags::{FlagChange, Flags};
use trust::clock::UnixMillis;

use self::{search::SearchProgram, sequence::SequenceSet};
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
    StartTls,
    Login { login: String, password: String },
    Authenticate { mechanism: String, initial_response: Option<Vec<u8>> },
    List { reference: String, pattern: String },
    Lsub { reference: String, pattern: String },
    Status { mailbox: String, items: Vec<StatusItem> },
    GetQuota { root: Vec<u8> },
    GetQuotaRoot { mailbox: String },
    Select { mailbox: String, read_only: bool },
    Create { mailbox: String },
    Delete { mailbox: String },
    Rename { from: String, to: String },
    Subscribe { mailbox: String, subscribed: bool },
    Namespace,
    Unauthenticate,
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

/// What STATUS tells (RFC 3501 §6.3.10, RFC 9051 §6.3.11 for DELETED,
/// RFC 9208 §4.1.4 for DELETED-STORAGE).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum StatusItem {
    Messages,
    Recent,
    UidNext,
    UidValidity,
    Unseen,
    Deleted,
    DeletedStorage,
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

/// Parses a command with all its literals, tag and line end included.
pub(crate) fn parse(octets: &[u8], limits: &ImapLimits) -> Result<Command, ParseError> {
    if is_unauthenticate(octets) {
        return Ok(Command::Unauthenticate);
    }
    let command = match search::parse_command(octets, limits)? {
        Some((program, uid)) => Command::Search { program, uid },
        None => codec::command(octets)?,
    };
    if command.ranges() > limits.sequence_ranges_max {
        return Err(ParseError::Syntax("troppi intervalli / too many ranges in a sequence set"));
    }
    Ok(command)
}

/// `tag SP "UNAUTHENTICATE" CRLF` (RFC 8437 §5)
fn is_unauthenticate(octets: &[u8]) -> bool {
    let line = octets.strip_suffix(b"\n").unwrap_or(octets);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let word = line.splitn(2, |&octet| octet == b' ').nth(1);
    word.is_some_and(|word| word.eq_ignore_ascii_case(b"UNAUTHENTICATE"))
}

/// Parses `octets`, which end where the announcement of a literal begins (after the space), as
/// the head of an APPEND command. `None` when the literal is not the message.
pub(crate) fn parse_append_head(octets: &[u8]) -> Option<Result<AppendHead, ParseError>> {
    let after_tag = octets.iter().position(|&octet| octet == b' ')? + 1;
    let word = octets.get(after_tag..after_tag + 7)?;
    if !word.eq_ignore_ascii_case(b"APPEND ") {
        return None;
    }
    let mut whole = octets.to_vec();
    whole.extend_from_slice(b"{0}\r\n\r\n");
    codec::append_head(&whole)
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
        assert!(parse_append_head(b"a APPEND ").is_none());
        assert!(parse_append_head(b"a LOGIN ").is_none());
        let head = parse_append_head(b"a append {5}\r\nINBOX (\\Seen) ").unwrap().unwrap();
        assert_eq!(head.mailbox, "INBOX");
        assert!(head.flags.seen);
        let head =
            parse_append_head(b"a APPEND Bozze \"17-Jul-1996 02:44:25 -0700\" ").unwrap().unwrap();
        assert_eq!(head.internal_date, Some(UnixMillis(837_596_665_000)));
    }
}
