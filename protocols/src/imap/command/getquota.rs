//! GETQUOTA and GETQUOTAROOT (RFC 9208 §4.1.1, §4.1.2): one quota root for the whole account.
//!
//! An operator may ask for the root of any account, by its address.

use super::setquota::refused;
use crate::{
    access::{AccountUse, ResourceUse, is_of_others, is_of_snapshots},
    imap::{
        completion::{CommandResult, Completion, Failure},
        grammar::write,
        session::{Authenticated, Context},
    },
    lines::Stream,
};

/// The name of the one quota root; mail programs show it beside the figures.
const ROOT: &[u8] = b"Casella";

/// Octets of a unit of STORAGE (RFC 9208 §5.1).
pub(super) const STORAGE_UNIT: u64 = 1_024;

pub(crate) async fn get_quota<S: Stream>(
    context: &mut Context<S>,
    state: &Authenticated,
    root: &[u8],
) -> CommandResult {
    let usage = match address_of(root)? {
        None => state.account.quota().await?,
        Some(address) if state.account.is_operator() => {
            state.account.quota_of(address).await.map_err(|error| refused(&error))?
        }
        Some(_) => return Err(no_such_root().into()),
    };
    write_quota(context, root, &usage).await?;
    Ok(Completion::ok("GETQUOTA"))
}

/// The address that a root names; `None` for the root of whoever is logged in.
pub(super) fn address_of(root: &[u8]) -> Result<Option<&str>, Completion> {
    if root == ROOT {
        return Ok(None);
    }
    match std::str::from_utf8(root) {
        Ok(address) if address.contains('@') => Ok(Some(address)),
        _ => Err(no_such_root()),
    }
}

fn no_such_root() -> Completion {
    let text = "Esiste solo la quota \"Casella\" / The only quota root is \"Casella\"";
    Completion::no("NONEXISTENT", text)
}

/// A mailbox that does not exist has the root that it would be created under. What another account
/// shares takes no space of this one, and its space is not told; snapshots take none of anybody.
pub(crate) async fn get_quota_root<S: Stream>(
    context: &mut Context<S>,
    state: &Authenticated,
    mailbox: &str,
) -> CommandResult {
    let own = !is_of_others(mailbox) && !is_of_snapshots(mailbox);
    let mut line = b"* QUOTAROOT ".to_vec();
    write::mailbox(&mut line, mailbox, context.enabled.names());
    if own {
        line.push(b' ');
        line.extend_from_slice(ROOT);
    }
    line.extend_from_slice(b"\r\n");
    context.frame.put(&line).await?;
    if own {
        let usage = state.account.quota().await?;
        write_quota(context, ROOT, &usage).await?;
    }
    Ok(Completion::ok("GETQUOTAROOT"))
}

/// The QUOTA response, with every resource that has a limit (RFC 9208 §4.2.1).
pub(super) async fn write_quota<S: Stream>(
    context: &mut Context<S>,
    root: &[u8],
    usage: &AccountUse,
) -> Result<(), Failure> {
    let resources = [
        ("STORAGE", units(usage.octets)),
        ("MESSAGE", usage.messages),
        ("MAILBOX", usage.mailboxes),
    ];
    let limited: Vec<String> = resources
        .into_iter()
        .filter_map(|(name, ResourceUse { used, limit })| {
            limit.map(|limit| format!("{name} {used} {limit}"))
        })
        .collect();
    let mut line = b"* QUOTA ".to_vec();
    write::astring(&mut line, root);
    line.extend_from_slice(format!(" ({})\r\n", limited.join(" ")).as_bytes());
    Ok(context.frame.put(&line).await?)
}

/// Octets in units of STORAGE, both rounded up, so that what is full reads as full.
fn units(octets: ResourceUse) -> ResourceUse {
    ResourceUse {
        used: octets.used.div_ceil(STORAGE_UNIT),
        limit: octets.limit.map(|limit| limit.div_ceil(STORAGE_UNIT)),
    }
}
