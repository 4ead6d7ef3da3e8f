//! GETACL, SETACL, DELETEACL, LISTRIGHTS and MYRIGHTS (RFC 4314 §3), which tell what cannot be
//! changed.
//!
//! An account has one owner, who may do everything in his mailboxes, and nobody else may do
//! anything. A part of the tree that is read-only lets him look and administer; what a snapshot shows, or
//! another account shares, lets him look. Rights come from the tree, so a change of them that would
//! change something is refused.

use storage::mailbox::view::Access;

use crate::{
    access::{is_of_others, is_of_snapshots},
    imap::{
        completion::{CommandResult, Completion},
        grammar::{
            acl::{AclCommand, RightsChange, RightsChangeKind},
            write,
        },
        session::{Authenticated, Context},
        snapshots,
    },
    lines::Stream,
};

/// Everything, with `c` and `d` for clients of before RFC 4314 (§2.1.1).
const ALL: &str = "lrswipkxteacd";
/// What is left of it where nothing can be changed.
const READ_ONLY: &str = "lra";
/// What a snapshot shows and another account grants.
const SHARED: &str = "lr";

/// The rights on the mailbox `name` of whoever is logged in.
pub(super) fn rights(name: &str, access: Access) -> &'static str {
    match access {
        _ if is_of_others(name) || is_of_snapshots(name) => SHARED,
        Access::ReadWrite => ALL,
        Access::ReadOnly => READ_ONLY,
    }
}

/// Refuses to change the tree of another account or of snapshots, or to put anything into its place.
pub(super) fn own(name: &str) -> Result<&str, Completion> {
    if is_of_others(name) { Err(no_permission()) } else { snapshots::unchanged(name) }
}

pub(super) fn no_permission() -> Completion {
    Completion::no(
        "NOPERM",
        "Cartella in sola lettura, di un'altra casella o di un'istantanea / Read-only mailbox, of another account or of a snapshot",
    )
}

/// The MYRIGHTS response (RFC 4314 §3.8).
pub(super) fn my_rights_line<S>(context: &Context<S>, name: &str, access: Access) -> Vec<u8> {
    let mut line = b"* MYRIGHTS ".to_vec();
    write::mailbox(&mut line, name, context.enabled.names());
    line.extend_from_slice(format!(" {}\r\n", rights(name, access)).as_bytes());
    line
}

pub(crate) async fn acl<S: Stream>(
    context: &mut Context<S>,
    state: &Authenticated,
    command: &AclCommand,
) -> CommandResult {
    let (AclCommand::Get { mailbox }
    | AclCommand::My { mailbox }
    | AclCommand::List { mailbox, .. }
    | AclCommand::Set { mailbox, .. }
    | AclCommand::Delete { mailbox, .. }) = command;
    let access = state.account.open(mailbox).await?.access();
    let rights = rights(mailbox, access);
    if matches!(command, AclCommand::Set { .. } | AclCommand::Delete { .. }) {
        snapshots::unchanged(mailbox)?;
    }
    if !matches!(command, AclCommand::My { .. }) && !rights.contains('a') {
        return Err(no_permission().into());
    }
    let owner = context.address.clone().unwrap_or_default();
    let is_owner = |identifier: &str| identifier.eq_ignore_ascii_case(&owner);
    let names = context.enabled.names();
    let mut line = Vec::new();
    let done = match command {
        AclCommand::My { mailbox } => {
            line = my_rights_line(context, mailbox, access);
            "MYRIGHTS"
        }
        AclCommand::Get { mailbox } => {
            line.extend_from_slice(b"* ACL ");
            write::mailbox(&mut line, mailbox, names);
            line.push(b' ');
            write::astring(&mut line, owner.as_bytes());
            line.extend_from_slice(format!(" {rights}\r\n").as_bytes());
            "GETACL"
        }
        AclCommand::List { mailbox, identifier } => {
            line.extend_from_slice(b"* LISTRIGHTS ");
            write::mailbox(&mut line, mailbox, names);
            line.push(b' ');
            write::astring(&mut line, identifier.as_bytes());
            // The owner always has his; nobody else can be given any.
            let always = if is_owner(identifier) { rights } else { "\"\"" };
            line.extend_from_slice(format!(" {always}\r\n").as_bytes());
            "LISTRIGHTS"
        }
        AclCommand::Set { identifier, change, .. } => {
            let has = if is_owner(identifier) { rights } else { "" };
            if changes(has, change) {
                return Err(one_owner().into());
            }
            "SETACL"
        }
        AclCommand::Delete { identifier, .. } => {
            if is_owner(identifier) {
                return Err(one_owner().into());
            }
            "DELETEACL"
        }
    };
    context.frame.put(&line).await?;
    Ok(Completion::ok(done))
}

fn one_owner() -> Completion {
    Completion::no(
        "CANNOT",
        "Una casella ha un solo titolare: i diritti non si cambiano / An account has one owner: rights cannot be changed",
    )
}

/// Says whether `change` would leave other rights than `has`.
fn changes(has: &str, change: &RightsChange) -> bool {
    // A client that knows only the older letters means all that they stand for.
    let has_letter = |letter: char| has.contains(letter);
    match change.kind {
        RightsChangeKind::Add => !change.rights.chars().all(has_letter),
        RightsChangeKind::Remove => change.rights.chars().any(has_letter),
        RightsChangeKind::Replace => {
            let given = |letter: char| {
                change.rights.contains(letter)
                    || (matches!(letter, 'k' | 'x') && change.rights.contains('c'))
                    || (matches!(letter, 't' | 'e' | 'x') && change.rights.contains('d'))
                    || (letter == 'c' && change.rights.contains(['k', 'x']))
                    || (letter == 'd' && change.rights.contains(['t', 'e', 'x']))
            };
            !change.rights.chars().all(has_letter) || !has.chars().all(given)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_change_that_changes_nothing_is_no_change() {
        let change = |kind, rights: &str| RightsChange { kind, rights: rights.to_owned() };
        for (has, kind, rights, expected) in [
            (ALL, RightsChangeKind::Replace, ALL, false),
            (ALL, RightsChangeKind::Replace, "lrswipkxtea", false),
            (ALL, RightsChangeKind::Replace, "lrswipacd", false),
            (ALL, RightsChangeKind::Replace, "lrs", true),
            (ALL, RightsChangeKind::Add, "lr", false),
            (ALL, RightsChangeKind::Remove, "x", true),
            (ALL, RightsChangeKind::Remove, "", false),
            ("", RightsChangeKind::Replace, "", false),
            ("", RightsChangeKind::Replace, "l", true),
            ("", RightsChangeKind::Remove, "lr", false),
            (READ_ONLY, RightsChangeKind::Add, "s", true),
        ] {
            assert_eq!(changes(has, &change(kind, rights)), expected, "{has} {kind:?} {rights}");
        }
    }
}
