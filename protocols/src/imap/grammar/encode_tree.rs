//! Commands of grammars of ours written again, so that tests and the fuzzer can read what they
//! wrote: what is read back must be the same.
//!
//! Only for those, and for the commands about the tree of mailboxes.

use super::{
    Command,
    acl::{AclCommand, RightsChangeKind},
    create::UseAttributes,
    list::{ListCommand, Return, Selection},
    mailbox_name::NameForm,
    metadata::{Depth, Entries, Entry, GetMetadata, SetMetadata},
    parse,
    status::StatusItem,
    write,
};
use crate::imap::ImapLimits;

/// Writes `command` with the tag `a`, names in UTF-8; `None` for commands that have no encoder.
pub(crate) fn encode(command: &Command) -> Option<Vec<u8>> {
    let mut out = b"a ".to_vec();
    match command {
        Command::List(list) => write_list(&mut out, list),
        Command::Status { mailbox, items } => {
            out.extend_from_slice(b"STATUS ");
            name(&mut out, mailbox);
            out.push(b' ');
            write_items(&mut out, items);
        }
        Command::Create { mailbox, special_use } => {
            out.extend_from_slice(b"CREATE ");
            name(&mut out, mailbox);
            match special_use {
                UseAttributes::None => {}
                UseAttributes::One(special_use) => {
                    let text = format!(" (USE ({}))", special_use.attribute());
                    out.extend_from_slice(text.as_bytes());
                }
                UseAttributes::Impossible => out.extend_from_slice(b" (USE (\\All))"),
            }
        }
        Command::SetQuota(set) => {
            out.extend_from_slice(b"SETQUOTA ");
            write::astring(&mut out, &set.root);
            out.extend_from_slice(b" (");
            for (index, (resource, limit)) in set.limits.iter().enumerate() {
                let space = if index == 0 { "" } else { " " };
                out.extend_from_slice(space.as_bytes());
                out.extend_from_slice(resource);
                out.extend_from_slice(format!(" {limit}").as_bytes());
            }
            out.push(b')');
        }
        Command::Acl(acl) => write_acl(&mut out, acl),
        Command::GetMetadata(GetMetadata { mailbox, wanted }) => {
            out.extend_from_slice(b"GETMETADATA ");
            name(&mut out, mailbox);
            out.push(b' ');
            write_entries(&mut out, wanted);
        }
        Command::SetMetadata(set) => write_values(&mut out, set),
        _ => return None,
    }
    out.extend_from_slice(b"\r\n");
    Some(out)
}

/// A command of any octets is refused, or, when it is one about the tree of mailboxes, writes as
/// octets that read as the same command.
///
/// # Panics
///
/// When that is not so.
pub fn round_trip(octets: &[u8]) {
    let limits = ImapLimits::default();
    let Ok(command) = parse(octets, NameForm::Utf8, &limits) else { return };
    let Some(written) = encode(&command) else { return };
    assert_eq!(parse(&written, NameForm::Utf8, &limits), Ok(command), "{}", written.escape_ascii());
}

fn name(out: &mut Vec<u8>, name: &str) {
    write::mailbox(out, name, NameForm::Utf8);
}

/// A pattern goes between quotes, where wildcards stand for themselves, or into a literal.
fn pattern(out: &mut Vec<u8>, pattern: &str) {
    write::string(out, pattern.as_bytes());
}

fn write_list(out: &mut Vec<u8>, list: &ListCommand) {
    let ListCommand { reference, patterns, selection, returns, extended } = list;
    out.extend_from_slice(b"LIST ");
    if *extended {
        let names: Vec<_> = selection.iter().copied().map(Selection::name).collect();
        out.extend_from_slice(format!("({}) ", names.join(" ")).as_bytes());
    }
    pattern(out, reference);
    out.extend_from_slice(if *extended { b" (" } else { b" " });
    for (index, one) in patterns.iter().enumerate() {
        if index > 0 {
            out.push(b' ');
        }
        pattern(out, one);
    }
    if !extended {
        return;
    }
    out.extend_from_slice(b") RETURN (");
    for (index, option) in returns.iter().enumerate() {
        if index > 0 {
            out.push(b' ');
        }
        match option {
            Return::Subscribed => out.extend_from_slice(b"SUBSCRIBED"),
            Return::Children => out.extend_from_slice(b"CHILDREN"),
            Return::SpecialUse => out.extend_from_slice(b"SPECIAL-USE"),
            Return::MyRights => out.extend_from_slice(b"MYRIGHTS"),
            Return::Status(items) => {
                out.extend_from_slice(b"STATUS ");
                write_items(out, items);
            }
            Return::Metadata(entries) => {
                out.extend_from_slice(b"METADATA ");
                write_entries(out, entries);
            }
        }
    }
    out.push(b')');
}

fn write_items(out: &mut Vec<u8>, items: &[StatusItem]) {
    let names: Vec<_> = items.iter().copied().map(StatusItem::name).collect();
    out.extend_from_slice(format!("({})", names.join(" ")).as_bytes());
}

fn write_acl(out: &mut Vec<u8>, acl: &AclCommand) {
    let (word, mailbox, identifier) = match acl {
        AclCommand::Get { mailbox } => ("GETACL", mailbox, None),
        AclCommand::My { mailbox } => ("MYRIGHTS", mailbox, None),
        AclCommand::List { mailbox, identifier } => ("LISTRIGHTS", mailbox, Some(identifier)),
        AclCommand::Set { mailbox, identifier, .. } => ("SETACL", mailbox, Some(identifier)),
        AclCommand::Delete { mailbox, identifier } => ("DELETEACL", mailbox, Some(identifier)),
    };
    out.extend_from_slice(format!("{word} ").as_bytes());
    name(out, mailbox);
    if let Some(identifier) = identifier {
        out.push(b' ');
        write::astring(out, identifier.as_bytes());
    }
    if let AclCommand::Set { change, .. } = acl {
        let sign = match change.kind {
            RightsChangeKind::Replace => "",
            RightsChangeKind::Add => "+",
            RightsChangeKind::Remove => "-",
        };
        out.extend_from_slice(format!(" \"{sign}{}\"", change.rights).as_bytes());
    }
}

fn write_entry(out: &mut Vec<u8>, entry: &Entry) {
    write::astring(out, entry.as_str().as_bytes());
}

fn write_entries(out: &mut Vec<u8>, wanted: &Entries) {
    let depth = match wanted.depth {
        Depth::Zero => "0",
        Depth::One => "1",
        Depth::Infinity => "infinity",
    };
    let size_max = wanted.size_max.map(|octets| format!(" MAXSIZE {octets}")).unwrap_or_default();
    out.extend_from_slice(format!("(DEPTH {depth}{size_max}) (").as_bytes());
    for (index, entry) in wanted.names.iter().enumerate() {
        if index > 0 {
            out.push(b' ');
        }
        write_entry(out, entry);
    }
    out.push(b')');
}

fn write_values(out: &mut Vec<u8>, set: &SetMetadata) {
    out.extend_from_slice(b"SETMETADATA ");
    name(out, &set.mailbox);
    for (index, (entry, value)) in set.values.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b" (" } else { b" " });
        write_entry(out, entry);
        out.push(b' ');
        match value {
            None => out.extend_from_slice(b"NIL"),
            Some(octets) => {
                out.push(b'~');
                write::literal_announcement(out, octets.len() as u64);
                out.extend_from_slice(octets);
            }
        }
    }
    out.push(b')');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_as_the_same() {
        for line in [
            "a LIST \"\" %",
            "a LIST \"\" \"\"",
            "a list (subscribed RECURSIVEMATCH special-use remote) \"a b/\" (% \"x \\\"\" {3}\r\nà*) return (children Subscribed special-use MYRIGHTS STATUS (SIZE appendlimit) metadata (maxsize 3 depth 1) (/shared/a \"/private/b c\"))",
            "a LIST () \"\" *",
            "a STATUS \"Attività\" (MESSAGES HIGHESTMODSEQ MAILBOXID)",
            "a CREATE x",
            "a CREATE {3}\r\na\rb (USE (\\Junk))",
            "a CREATE x (USE (\\All \\Sent))",
            "a SETQUOTA \"\" (STORAGE 512 X-OTHER 0)",
            "a SETQUOTA anna@pec.example ()",
            "a GETACL inbox/a",
            "a MYRIGHTS \"a b\"",
            "a LISTRIGHTS x \"perché\"",
            "a SETACL x anyone +lrs",
            "a SETACL x -fred \"\"",
            "a DELETEACL x {0}\r\n",
            "a GETMETADATA \"\" /private/a",
            "a GETMETADATA (DEPTH infinity) INBOX (/private/a /shared/b)",
            "a SETMETADATA INBOX (/private/a NIL /shared/b ~{3}\r\n\0\r\n /private/c \"x\")",
        ] {
            let limits = ImapLimits::default();
            let read = |octets: &[u8]| parse(octets, NameForm::Utf8, &limits);
            let command = read(format!("{line}\r\n").as_bytes()).expect(line);
            let written = encode(&command).expect(line);
            assert_eq!(read(&written), Ok(command), "{line}: {}", written.escape_ascii());
        }
    }
}
