//! The grammar of NOTIFY (RFC 5465 §8), with the errata to its examples: events always stand in
//! parentheses.
//!
//! Not here: what is told of an event (`notify`).

use std::collections::BTreeSet;

use super::{
    FetchItem, ParseError,
    fetch::take_attributes,
    reader::{Reader, SYNTAX},
};
use crate::imap::limits::ImapLimits;

/// Events in one group, repeats counted.
const EVENTS_MAX: usize = 32;

/// An event that no mailbox here can have. The code names those that are told (RFC 5465 §3.1).
const BAD_EVENT: ParseError = ParseError::Impossible {
    code: "BADEVENT (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange MailboxMetadataChange ServerMetadataChange)",
    text: "Eventi non previsti / There are no such events",
};

/// More names than may be watched (RFC 5465 §3.1, §5.8).
const TOO_MANY: ParseError = ParseError::Impossible {
    code: "NOTIFICATIONOVERFLOW",
    text: "Troppe cartelle / Too many mailboxes",
};

const INCOMPLETE: ParseError = ParseError::Syntax(
    "MessageNew e MessageExpunge vanno insieme, e prima di FlagChange / MessageNew and MessageExpunge go together, and FlagChange needs them",
);

/// NOTIFY.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Notify {
    /// `NONE`: nothing is told any more.
    None,
    /// `SET`: what is told from now on.
    Set(Wanted),
}

/// What a client wants to be told (RFC 5465 §3.1).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Wanted {
    /// Whether the watched mailboxes are described at once.
    pub(crate) status: bool,
    /// Of messages in the selected mailbox; `None` = nothing.
    pub(crate) selected: Option<Selected>,
    /// Of all mailboxes but for the messages of the selected one.
    pub(crate) groups: Vec<Group>,
}

/// What is told of the selected mailbox (RFC 5465 §6.1): new messages, expunged ones, and more.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Selected {
    /// Whether expunged messages wait for a command that lets numbers change.
    pub(crate) delayed: bool,
    /// Whether changed flags are told.
    pub(crate) flags: bool,
    /// What is told of a new message, each once.
    pub(crate) items: Vec<FetchItem>,
}

/// Some mailboxes, and what is told of them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Group {
    pub(crate) mailboxes: Mailboxes,
    pub(crate) events: Events,
}

/// Mailboxes that need not be selected (RFC 5465 §6.2 to §6.6).
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Mailboxes {
    /// Those that messages may be delivered to.
    Inboxes,
    /// Every one of the holder's own.
    Personal,
    /// Those that the holder subscribes to.
    Subscribed,
    /// These, and all below them.
    Subtree(BTreeSet<String>),
    /// These.
    Named(BTreeSet<String>),
}

impl Wanted {
    /// Adds a group, to another of the same events where there is one: clients that write a group for
    /// each mailbox have few.
    fn join(&mut self, mut group: Group) {
        for known in self.groups.iter_mut().filter(|known| known.events == group.events) {
            match (&mut known.mailboxes, &mut group.mailboxes) {
                (Mailboxes::Named(known), Mailboxes::Named(more))
                | (Mailboxes::Subtree(known), Mailboxes::Subtree(more)) => {
                    known.append(more);
                    return;
                }
                (known, same) if known == same => return,
                _ => {}
            }
        }
        self.groups.push(group);
    }
}

impl Mailboxes {
    /// How many names it is made of.
    fn names(&self) -> usize {
        match self {
            Self::Inboxes | Self::Personal | Self::Subscribed => 0,
            Self::Subtree(names) | Self::Named(names) => names.len(),
        }
    }
}

/// What is told of mailboxes that are not selected; nothing at all where `NONE` was said.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Events {
    pub(crate) messages: Messages,
    /// `MailboxName`
    pub(crate) names: bool,
    /// `SubscriptionChange`
    pub(crate) subscriptions: bool,
    /// `MailboxMetadataChange`
    pub(crate) mailbox_metadata: bool,
    /// `ServerMetadataChange`
    pub(crate) server_metadata: bool,
}

/// What is told of messages.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Messages {
    #[default]
    Nothing,
    /// `MessageNew` and `MessageExpunge`, which go together.
    ComeAndGo,
    /// `FlagChange`, too.
    AndFlags,
}

/// The events of one group, as they are read.
#[derive(Default)]
struct Read {
    new: bool,
    expunge: bool,
    flags: bool,
    annotations: bool,
    unknown: bool,
    items: Vec<FetchItem>,
    others: Events,
}

impl Read {
    /// What is told of messages, where that can be told.
    fn messages(&self) -> Result<Messages, ParseError> {
        if self.new != self.expunge || ((self.flags || self.annotations) && !self.new) {
            return Err(INCOMPLETE);
        }
        Ok(match (self.new, self.flags) {
            (false, _) => Messages::Nothing,
            (true, false) => Messages::ComeAndGo,
            (true, true) => Messages::AndFlags,
        })
    }

    fn is_of_messages_alone(&self) -> bool {
        self.others == Events::default()
    }
}

/// Parses what follows the word NOTIFY.
pub(super) fn parse(mut reader: Reader<'_>, limits: &ImapLimits) -> Result<Notify, ParseError> {
    reader.expect_space()?;
    let word = reader.keyword()?;
    if word == b"NONE" {
        reader.end()?;
        return Ok(Notify::None);
    }
    if word != b"SET" {
        return Err(SYNTAX);
    }
    reader.expect_space()?;
    let mut wanted = Wanted::default();
    if reader.take_keyword(b"STATUS") {
        wanted.status = true;
        reader.expect_space()?;
    }
    let (mut selected_said, mut unsupported) = (false, false);
    loop {
        unsupported |= take_group(&mut reader, &mut wanted, &mut selected_said, limits)?;
        if !reader.space() {
            break;
        }
    }
    reader.end()?;
    // A command that is wrong in another way is BAD all the same.
    if unsupported {
        return Err(BAD_EVENT);
    }
    let names: usize = wanted.groups.iter().map(|group| group.mailboxes.names()).sum();
    if names > limits.notify_mailboxes_max { Err(TOO_MANY) } else { Ok(Notify::Set(wanted)) }
}

/// `event-group`. Says whether it holds an event that cannot be told.
fn take_group(
    reader: &mut Reader<'_>,
    wanted: &mut Wanted,
    selected_said: &mut bool,
    limits: &ImapLimits,
) -> Result<bool, ParseError> {
    reader.expect(b'(')?;
    let word = reader.keyword()?;
    let delayed = match word.as_slice() {
        b"SELECTED" => Some(false),
        b"SELECTED-DELAYED" => Some(true),
        _ => None,
    };
    let mailboxes = match delayed {
        Some(_) => None,
        None => Some(other_mailboxes(reader, &word)?),
    };
    reader.expect_space()?;
    let read = events(reader, limits)?;
    reader.expect(b')')?;
    let messages = read.messages()?;
    let unsupported = read.annotations || read.unknown;
    match (delayed, mailboxes) {
        (Some(delayed), _) => {
            // Only one of the two, and only events of messages (RFC 5465 §6.1).
            if std::mem::replace(selected_said, true) || !read.is_of_messages_alone() {
                return Err(SYNTAX);
            }
            let flags = messages == Messages::AndFlags;
            wanted.selected = (messages != Messages::Nothing).then_some(Selected {
                delayed,
                flags,
                items: read.items,
            });
        }
        // What of a message is told is for the selected mailbox (RFC 5465 §8).
        (None, _) if !read.items.is_empty() => return Err(SYNTAX),
        (None, Some(mailboxes)) => {
            wanted.join(Group { mailboxes, events: Events { messages, ..read.others } });
        }
        (None, None) => {}
    }
    Ok(unsupported)
}

/// `filter-mailboxes-other`, whose first word was read. The length of the command bounds the names.
fn other_mailboxes(reader: &mut Reader<'_>, word: &[u8]) -> Result<Mailboxes, ParseError> {
    let names = |reader: &mut Reader<'_>| -> Result<BTreeSet<String>, ParseError> {
        reader.expect_space()?;
        let names = if reader.peek() == Some(b'(') {
            reader.list(usize::MAX, false, Reader::mailbox)?
        } else {
            vec![reader.mailbox()?]
        };
        Ok(names.into_iter().collect())
    };
    Ok(match word {
        b"INBOXES" => Mailboxes::Inboxes,
        b"PERSONAL" => Mailboxes::Personal,
        b"SUBSCRIBED" => Mailboxes::Subscribed,
        b"SUBTREE" => Mailboxes::Subtree(names(reader)?),
        b"MAILBOXES" => Mailboxes::Named(names(reader)?),
        _ => return Err(SYNTAX),
    })
}

/// `events`
fn events(reader: &mut Reader<'_>, limits: &ImapLimits) -> Result<Read, ParseError> {
    let mut read = Read::default();
    if reader.take_keyword(b"NONE") {
        return Ok(read);
    }
    reader.list(EVENTS_MAX, false, |reader| {
        match reader.keyword()?.as_slice() {
            b"MESSAGENEW" => {
                read.new = true;
                take_attributes(reader, limits.items_max, &mut read.items)?;
            }
            b"MESSAGEEXPUNGE" => read.expunge = true,
            b"FLAGCHANGE" => read.flags = true,
            b"ANNOTATIONCHANGE" => read.annotations = true,
            b"MAILBOXNAME" => read.others.names = true,
            b"SUBSCRIPTIONCHANGE" => read.others.subscriptions = true,
            b"MAILBOXMETADATACHANGE" => read.others.mailbox_metadata = true,
            b"SERVERMETADATACHANGE" => read.others.server_metadata = true,
            _ => read.unknown = true,
        }
        Ok(())
    })?;
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::{super::mailbox_name::NameForm, *};

    fn read(text: &str) -> Result<Notify, ParseError> {
        let limits = ImapLimits { notify_mailboxes_max: 4, ..ImapLimits::default() };
        let text = format!(" {text}\r\n");
        parse(Reader::new(text.as_bytes(), NameForm::ModifiedUtf7), &limits)
    }

    fn wanted(text: &str) -> Wanted {
        match read(text) {
            Ok(Notify::Set(wanted)) => wanted,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn the_examples_of_rfc_5465_are_read() {
        assert_eq!(read("none"), Ok(Notify::None));
        let first = wanted(
            "set status (selected (MessageNew (uid body.peek[header.fields (from to subject)]) MessageExpunge)) (subtree Lists (MessageNew MessageExpunge))",
        );
        assert!(first.status);
        let selected = first.selected.unwrap();
        assert_eq!((selected.delayed, selected.flags, selected.items.len()), (false, false, 2));
        let lists = Mailboxes::Subtree(BTreeSet::from(["Lists".to_owned()]));
        let events = Events { messages: Messages::ComeAndGo, ..Events::default() };
        assert_eq!(first.groups, [Group { mailboxes: lists, events }]);
        let second = wanted(
            "SET (selected-delayed (FlagChange MessageExpunge MessageNew)) (personal (MailboxName)) (mailboxes (a inbox) NONE) (inboxes (SubscriptionChange ServerMetadataChange)) (subscribed (MailboxMetadataChange))",
        );
        let selected = second.selected.unwrap();
        assert_eq!((selected.delayed, selected.flags), (true, true));
        assert_eq!(second.groups.len(), 4);
        let names = BTreeSet::from(["a".to_owned(), "INBOX".to_owned()]);
        assert_eq!(second.groups[1].mailboxes, Mailboxes::Named(names));
        assert_eq!(second.groups[1].events, Events::default());
        assert_eq!(wanted("SET (SELECTED NONE)").selected, None);
    }

    #[test]
    fn events_that_need_others_are_refused_without_them() {
        for alone in ["MessageNew", "MessageExpunge", "FlagChange", "AnnotationChange MailboxName"]
        {
            assert_eq!(read(&format!("SET (PERSONAL ({alone}))")), Err(INCOMPLETE), "{alone}");
        }
        assert_eq!(read("SET (SELECTED (MessageNew FlagChange))"), Err(INCOMPLETE));
    }

    #[test]
    fn what_no_mailbox_can_have_is_refused_with_what_it_can() {
        for events in ["MessageNew MessageExpunge AnnotationChange", "X-Event", "MailboxName x"] {
            assert_eq!(read(&format!("SET (PERSONAL ({events}))")), Err(BAD_EVENT), "{events}");
        }
        assert_eq!(read("SET (SELECTED (x)) (PERSONAL (MessageNew))"), Err(INCOMPLETE));
    }

    #[test]
    fn a_group_for_each_mailbox_is_one_group_of_all_of_them() {
        let one = "(mailboxes a (MailboxName)) (mailboxes b (MailboxName)) (inboxes NONE) ";
        let read = wanted(&format!("SET {}(mailboxes c NONE)", one.repeat(100)));
        let names: Vec<usize> = read.groups.iter().map(|group| group.mailboxes.names()).collect();
        assert_eq!(names, [2, 0, 1]);
    }

    #[test]
    fn more_names_than_may_be_watched_are_no_error_of_grammar() {
        for much in [
            "SET (MAILBOXES (a b c d e) (MailboxName))",
            "SET (MAILBOXES (a b) NONE) (SUBTREE (c d e) NONE)",
        ] {
            assert_eq!(read(much), Err(TOO_MANY), "{much}");
        }
        assert_eq!(read("SET (MAILBOXES (a b c d e) (X))"), Err(BAD_EVENT));
        assert_eq!(read("SET (MAILBOXES (a b c d e) NONE) x"), Err(SYNTAX));
    }

    #[test]
    fn wrong_groups_are_refused() {
        for wrong in [
            "",
            "SET",
            "SET STATUS",
            "SET STATUS NONE",
            "NONE (PERSONAL NONE)",
            "SET (PERSONAL)",
            "SET (PERSONAL ())",
            "SET PERSONAL (MailboxName)",
            "SET (SUBTREE (MailboxName))",
            "SET (SUBTREE-ONE x (MailboxName))",
            "SET (MAILBOXES () (MailboxName))",
            "SET (SELECTED (MailboxName))",
            "SET (SELECTED NONE) (SELECTED-DELAYED NONE)",
            "SET (PERSONAL (MessageNew (UID) MessageExpunge))",
            "SET (SELECTED (MessageNew () MessageExpunge))",
            "SET (SELECTED (MessageNew MessageExpunge (UID)))",
            "SET (SELECTED (MessageNew (FAST) MessageExpunge))",
            "SET (SELECTED NONE)(PERSONAL NONE)",
        ] {
            assert_eq!(read(wrong), Err(SYNTAX), "{wrong}");
        }
    }
}
