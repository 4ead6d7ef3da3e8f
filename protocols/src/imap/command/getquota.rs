//! GETQUOTA and GETQUOTAROOT (RFC 9208 §4.1.1, §4.1.2): one quota root for the whole account.
//!
//! SETQUOTA is not offered: space is bought, not set.

use crate::{
    access::ResourceUse,
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
const STORAGE_UNIT: u64 = 1_024;

pub(crate) async fn get_quota<S: Stream>(
    context: &mut Context<S>,
    state: &Authenticated,
    root: &[u8],
) -> CommandResult {
    if root != ROOT {
        let text = "Esiste solo la quota \"Casella\" / The only quota root is \"Casella\"";
        return Err(Completion::no("NONEXISTENT", text).into());
    }
    write_quota(context, state).await?;
    Ok(Completion::ok("GETQUOTA"))
}

/// A mailbox that does not exist has the root that it would be created under.
pub(crate) async fn get_quota_root<S: Stream>(
    context: &mut Context<S>,
    state: &Authenticated,
    mailbox: &str,
) -> CommandResult {
    let mut line = b"* QUOTAROOT ".to_vec();
    write::mailbox(&mut line, mailbox, context.enabled.names());
    line.push(b' ');
    line.extend_from_slice(ROOT);
    line.extend_from_slice(b"\r\n");
    context.frame.put(&line).await?;
    write_quota(context, state).await?;
    Ok(Completion::ok("GETQUOTAROOT"))
}

/// The QUOTA response, with every resource that has a limit (RFC 9208 §4.2.1).
async fn write_quota<S: Stream>(
    context: &mut Context<S>,
    state: &Authenticated,
) -> Result<(), Failure> {
    let usage = state.account.quota().await?;
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
    let root = String::from_utf8_lossy(ROOT);
    let line = format!("* QUOTA {root} ({})\r\n", limited.join(" "));
    Ok(context.frame.put(line.as_bytes()).await?)
}

/// Octets in units of STORAGE, both rounded up, so that what is full reads as full.
fn units(octets: ResourceUse) -> ResourceUse {
    ResourceUse {
        used: octets.used.div_ceil(STORAGE_UNIT),
        limit: octets.limit.map(|limit| limit.div_ceil(STORAGE_UNIT)),
    }
}
