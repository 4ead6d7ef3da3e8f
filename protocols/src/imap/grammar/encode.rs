//! Commands of our grammars as octets again: what tests and the fuzzer compare.
//!
//! Not here: commands that `imap-codec` reads.

use storage::mailbox::flags::{FlagChange, Flags};

use super::{
    Command, Fetch, FetchItem, Select, Store,
    fetch::Partial,
    mailbox_name::NameForm,
    notify::{Events, Mailboxes, Messages, Notify, Wanted},
    sequence::{SequenceNumber, SequenceSet},
    write,
};

/// Writes `command` under the tag `a`; `None` for a command of another grammar.
pub(crate) fn encode(command: &Command, names: NameForm) -> Option<Vec<u8>> {
    let mut out = b"a ".to_vec();
    match command {
        Command::Select(select) => put_select(&mut out, select, names),
        Command::Fetch(fetch) => put_fetch(&mut out, fetch),
        Command::Store(store) => put_store(&mut out, store),
        Command::Copy { set, mailbox, uid } => {
            put_transfer(&mut out, "COPY", set, *uid);
            write::mailbox(&mut out, mailbox, names);
        }
        Command::Move { set, mailbox, uid } => {
            put_transfer(&mut out, "MOVE", set, *uid);
            write::mailbox(&mut out, mailbox, names);
        }
        Command::Expunge { uids: None } => put(&mut out, "EXPUNGE"),
        Command::Expunge { uids: Some(set) } => {
            put(&mut out, &format!("UID EXPUNGE {}", set_text(set)));
        }
        Command::UidBatches(batches) => {
            put(&mut out, &format!("UIDBATCHES {}", batches.size));
            if let Some((from, to)) = batches.range {
                put(&mut out, &format!(" {from}:{to}"));
            }
        }
        Command::Notify(Notify::None) => put(&mut out, "NOTIFY NONE"),
        Command::Notify(Notify::Set(wanted)) => put_notify(&mut out, wanted, names),
        _ => return None,
    }
    out.extend_from_slice(b"\r\n");
    Some(out)
}

fn put(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

fn set_text(set: &SequenceSet) -> String {
    let number = |number: &SequenceNumber| match number {
        SequenceNumber::Value(value) => value.to_string(),
        SequenceNumber::Largest => "*".to_owned(),
    };
    match set {
        SequenceSet::Saved => "$".to_owned(),
        SequenceSet::Ranges(ranges) => {
            let written: Vec<String> = ranges
                .iter()
                .map(|(from, to)| format!("{}:{}", number(from), number(to)))
                .collect();
            written.join(",")
        }
    }
}

fn put_transfer(out: &mut Vec<u8>, word: &str, set: &SequenceSet, uid: bool) {
    let uid = if uid { "UID " } else { "" };
    put(out, &format!("{uid}{word} {} ", set_text(set)));
}

fn put_select(out: &mut Vec<u8>, select: &Select, names: NameForm) {
    put(out, if select.read_only { "EXAMINE " } else { "SELECT " });
    write::mailbox(out, &select.mailbox, names);
    let mut parameters = Vec::new();
    if select.condstore {
        parameters.push("CONDSTORE".to_owned());
    }
    if let Some(resync) = &select.qresync {
        let mut text = format!("QRESYNC ({} {}", resync.uid_validity, resync.mod_seq);
        if let Some(known) = &resync.known_uids {
            text.extend([" ", &set_text(known)]);
        }
        if let Some(matched) = &resync.matched {
            text.extend([" ", &matched.encode()]);
        }
        parameters.push(format!("{text})"));
    }
    if !parameters.is_empty() {
        put(out, &format!(" ({})", parameters.join(" ")));
    }
}

fn put_store(out: &mut Vec<u8>, store: &Store) {
    put_transfer(out, "STORE", &store.set, store.uid);
    if let Some(mod_seq) = store.unchanged_since {
        put(out, &format!("(UNCHANGEDSINCE {mod_seq}) "));
    }
    put(
        out,
        match store.change {
            FlagChange::Replace => "FLAGS",
            FlagChange::Add => "+FLAGS",
            FlagChange::Remove => "-FLAGS",
        },
    );
    put(out, if store.silent { ".SILENT " } else { " " });
    put_flags(out, &store.flags);
}

fn put_flags(out: &mut Vec<u8>, flags: &Flags) {
    write::flags(out, flags, false);
}

fn put_fetch(out: &mut Vec<u8>, fetch: &Fetch) {
    put_transfer(out, "FETCH", &fetch.set, fetch.uid);
    for (position, item) in fetch.items.iter().enumerate() {
        put(out, if position == 0 { "(" } else { " " });
        put_item(out, item);
    }
    put(out, ")");
    let mut modifiers = Vec::new();
    modifiers.extend(fetch.changed_since.map(|mod_seq| format!("CHANGEDSINCE {mod_seq}")));
    modifiers.extend(fetch.vanished.then(|| "VANISHED".to_owned()));
    modifiers.extend(fetch.partial.map(|range| format!("PARTIAL {}", range.encode())));
    if !modifiers.is_empty() {
        put(out, &format!(" ({})", modifiers.join(" ")));
    }
}

fn put_notify(out: &mut Vec<u8>, wanted: &Wanted, names: NameForm) {
    put(out, if wanted.status { "NOTIFY SET STATUS" } else { "NOTIFY SET" });
    // A command without any group cannot be said.
    if let (None, []) = (&wanted.selected, wanted.groups.as_slice()) {
        put(out, " (SELECTED NONE)");
    }
    if let Some(selected) = &wanted.selected {
        put(out, if selected.delayed { " (SELECTED-DELAYED (" } else { " (SELECTED (" });
        put(out, "MessageNew");
        put_items(out, &selected.items);
        put(out, if selected.flags { " MessageExpunge FlagChange))" } else { " MessageExpunge))" });
    }
    for group in &wanted.groups {
        put(out, " (");
        put_mailboxes(out, &group.mailboxes, names);
        put(out, &format!(" {})", events_text(group.events)));
    }
}

fn put_mailboxes(out: &mut Vec<u8>, mailboxes: &Mailboxes, names: NameForm) {
    let (word, list) = match mailboxes {
        Mailboxes::Inboxes => return put(out, "INBOXES"),
        Mailboxes::Personal => return put(out, "PERSONAL"),
        Mailboxes::Subscribed => return put(out, "SUBSCRIBED"),
        Mailboxes::Subtree(list) => ("SUBTREE (", list),
        Mailboxes::Named(list) => ("MAILBOXES (", list),
    };
    put(out, word);
    for (position, name) in list.iter().enumerate() {
        put(out, if position == 0 { "" } else { " " });
        write::mailbox(out, name, names);
    }
    put(out, ")");
}

fn events_text(events: Events) -> String {
    let words = [
        (events.messages >= Messages::ComeAndGo, "MessageNew MessageExpunge"),
        (events.messages >= Messages::AndFlags, "FlagChange"),
        (events.names, "MailboxName"),
        (events.subscriptions, "SubscriptionChange"),
        (events.mailbox_metadata, "MailboxMetadataChange"),
        (events.server_metadata, "ServerMetadataChange"),
    ];
    let told: Vec<&str> = words.iter().filter(|(told, _)| *told).map(|(_, word)| *word).collect();
    if told.is_empty() { "NONE".to_owned() } else { format!("({})", told.join(" ")) }
}

/// Writes ` (item item)`; nothing where there are none.
pub(crate) fn put_items(out: &mut Vec<u8>, items: &[FetchItem]) {
    for (position, item) in items.iter().enumerate() {
        put(out, if position == 0 { " (" } else { " " });
        put_item(out, item);
    }
    put(out, if items.is_empty() { "" } else { ")" });
}

fn put_item(out: &mut Vec<u8>, item: &FetchItem) {
    let part_text =
        |part: &[u32]| part.iter().map(ToString::to_string).collect::<Vec<String>>().join(".");
    match item {
        FetchItem::Uid => put(out, "UID"),
        FetchItem::Flags => put(out, "FLAGS"),
        FetchItem::InternalDate => put(out, "INTERNALDATE"),
        FetchItem::Rfc822 => put(out, "RFC822"),
        FetchItem::Rfc822Header => put(out, "RFC822.HEADER"),
        FetchItem::Rfc822Size => put(out, "RFC822.SIZE"),
        FetchItem::Rfc822Text => put(out, "RFC822.TEXT"),
        FetchItem::Envelope => put(out, "ENVELOPE"),
        FetchItem::Body => put(out, "BODY"),
        FetchItem::BodyStructure => put(out, "BODYSTRUCTURE"),
        FetchItem::ModSeq => put(out, "MODSEQ"),
        FetchItem::SaveDate => put(out, "SAVEDATE"),
        FetchItem::EmailId => put(out, "EMAILID"),
        FetchItem::ThreadId => put(out, "THREADID"),
        FetchItem::Preview { lazy } => put(out, if *lazy { "PREVIEW (LAZY)" } else { "PREVIEW" }),
        FetchItem::BinarySize { part } => put(out, &format!("BINARY.SIZE[{}]", part_text(part))),
        FetchItem::Binary { part, partial, peek } => {
            let peek = if *peek { ".PEEK" } else { "" };
            put(out, &format!("BINARY{peek}[{}]", part_text(part)));
            put_partial(out, *partial);
        }
        FetchItem::Section { section, partial, peek } => {
            put(out, if *peek { "BODY.PEEK" } else { "BODY" });
            section.write(out);
            put_partial(out, *partial);
        }
    }
}

fn put_partial(out: &mut Vec<u8>, partial: Partial) {
    if let Some((origin, count)) = partial {
        put(out, &format!("<{origin}.{count}>"));
    }
}
