//! GETQUOTA and GETQUOTAROOT (RFC 9208 §4.1.1, §4.1.2): one quota root for live mail, and one for the
//! archive.
//!
//! An operator may ask for the roots of any account, by its address.

use storage::account::tier::{ARCHIVE, Tier};

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

/// The name of the quota root of live mail; mail programs show it beside the figures. That of the
/// archive is called as its mailbox is.
const ROOT: &str = "Casella";

/// Octets of a unit of STORAGE (RFC 9208 §5.1).
pub(super) const STORAGE_UNIT: u64 = 1_024;

/// A quota root: whose, and of which tier.
pub(super) struct Root<'r> {
    /// The account; `None` is the one that is logged in.
    pub(super) address: Option<&'r str>,
    /// What of it.
    pub(super) tier: Tier,
}

pub(crate) async fn get_quota<S: Stream>(
    context: &mut Context<S>,
    state: &Authenticated,
    name: &[u8],
) -> CommandResult {
    let root = root_called(name)?;
    let usage = match root.address {
        None => state.account.quota().await?,
        Some(address) if state.account.is_operator() => {
            state.account.quota_of(address).await.map_err(|error| refused(&error))?
        }
        Some(_) => return Err(no_such_root().into()),
    };
    write_quota(context, name, root.tier, &usage).await?;
    Ok(Completion::ok("GETQUOTA"))
}

/// What a name of a root says: `Casella`, `Archivio`, an address, or `Archivio/` and an address.
pub(super) fn root_called(name: &[u8]) -> Result<Root<'_>, Completion> {
    let name = std::str::from_utf8(name).map_err(|_| no_such_root())?;
    let of_archive = name.strip_prefix(ARCHIVE);
    let (tier, rest) = match of_archive.and_then(|rest| rest.strip_prefix('/')) {
        Some(address) => (Tier::Archive, address),
        None => (Tier::Live, name),
    };
    match rest {
        address if address.contains('@') => Ok(Root { address: Some(address), tier }),
        ROOT => Ok(Root { address: None, tier: Tier::Live }),
        ARCHIVE => Ok(Root { address: None, tier: Tier::Archive }),
        _ => Err(no_such_root()),
    }
}

fn no_such_root() -> Completion {
    let text =
        "Le quote sono \"Casella\" e \"Archivio\" / Quota roots are \"Casella\" and \"Archivio\"";
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
    let tier = Tier::of_name(mailbox);
    let root = match tier {
        Tier::Live => ROOT,
        Tier::Archive => ARCHIVE,
    };
    let mut line = b"* QUOTAROOT ".to_vec();
    write::mailbox(&mut line, mailbox, context.enabled.names());
    if own {
        line.push(b' ');
        line.extend_from_slice(root.as_bytes());
    }
    line.extend_from_slice(b"\r\n");
    context.frame.put(&line).await?;
    if own {
        let usage = state.account.quota().await?;
        write_quota(context, root.as_bytes(), tier, &usage).await?;
    }
    Ok(Completion::ok("GETQUOTAROOT"))
}

/// The QUOTA response, with every resource that has a limit (RFC 9208 §4.2.1). Mailboxes of both
/// tiers are counted together, under the root of the account.
pub(super) async fn write_quota<S: Stream>(
    context: &mut Context<S>,
    root: &[u8],
    tier: Tier,
    usage: &AccountUse,
) -> Result<(), Failure> {
    let resources = match tier {
        Tier::Live => [
            ("STORAGE", units(usage.octets)),
            ("MESSAGE", usage.messages),
            ("MAILBOX", usage.mailboxes),
        ]
        .to_vec(),
        Tier::Archive => {
            vec![("STORAGE", units(usage.archive_octets)), ("MESSAGE", usage.archive_messages)]
        }
    };
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
