//! STATUS (RFC 3501 §6.3.10, RFC 9208 §4.1.4, RFC 7162 §3.1.7).

use storage::mailbox::view::MailboxState;

use crate::{
    imap::{
        completion::{CommandResult, Completion, Failure},
        grammar::{StatusItem, write},
        session::{Authenticated, Context},
    },
    lines::Stream,
};

pub(crate) async fn status<S: Stream>(
    context: &mut Context<S>,
    state: &mut Authenticated,
    name: &str,
    items: &[StatusItem],
) -> CommandResult {
    let counters = state.account.status(name).await?;
    let mut values = Vec::with_capacity(items.len());
    for item in items {
        values.push(match item {
            StatusItem::Messages => format!("MESSAGES {}", counters.exists),
            StatusItem::Recent => format!("RECENT {}", recent(state, name, &counters).await?),
            // A mailbox without a next UID can be written to no more; 2³² − 1 is the last.
            StatusItem::UidNext => {
                format!("UIDNEXT {}", counters.uid_next.map_or(u32::MAX, storage::ids::Uid::get))
            }
            StatusItem::UidValidity => format!("UIDVALIDITY {}", counters.uid_validity),
            StatusItem::Unseen => format!("UNSEEN {}", counters.unseen),
            StatusItem::HighestModSeq => format!("HIGHESTMODSEQ {}", counters.highest_mod_seq),
            StatusItem::Deleted => format!("DELETED {}", counters.deleted),
            StatusItem::DeletedStorage => {
                format!("DELETED-STORAGE {}", deleted_octets(state, name, &counters).await?)
            }
        });
    }
    let mut line = b"* STATUS ".to_vec();
    write::mailbox(&mut line, name, context.enabled.names());
    line.extend_from_slice(format!(" ({})\r\n", values.join(" ")).as_bytes());
    context.frame.put(&line).await?;
    Ok(Completion::ok("STATUS"))
}

/// The octets that EXPUNGE would give back (RFC 9208 §4.1.4).
async fn deleted_octets(
    state: &Authenticated,
    name: &str,
    counters: &MailboxState,
) -> Result<u64, Failure> {
    if counters.deleted == 0 {
        return Ok(0);
    }
    let (_, rows) = state.account.open(name).await?.rows().await?;
    let deleted = rows.iter().filter(|row| row.flags.deleted);
    Ok(deleted.map(|row| row.charged_octets).sum())
}

/// Counts the messages that no session has been told of.
async fn recent(
    state: &Authenticated,
    name: &str,
    counters: &MailboxState,
) -> Result<usize, Failure> {
    let Some(from) = counters.recent_from else { return Ok(0) };
    if counters.exists == 0 || counters.uid_next.is_some_and(|next| from >= next) {
        return Ok(0);
    }
    let (_, rows) = state.account.open(name).await?.list().await?;
    Ok(rows.len() - rows.partition_point(|row| row.uid < from))
}
