//! STATUS (RFC 3501 §6.3.10, RFC 9051 §6.3.11), with the items of RFC 9208 §4.1.4, RFC 8438 §2,
//! RFC 7162 §3.1.7, RFC 8474 §4.3 and RFC 7889 §3.1.

use storage::{
    ids::Uid,
    mailbox::view::{Access, MailboxState, MailboxView},
};

use crate::{
    imap::{
        completion::{CommandResult, Completion, Failure},
        grammar::{StatusItem, mailbox_name::NameForm, write},
        object_id,
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
    let line = line(context, state, name, items).await?;
    context.frame.put(&line).await?;
    Ok(Completion::ok("STATUS"))
}

/// The STATUS response for the mailbox `name`.
pub(crate) async fn line<S: Stream>(
    context: &mut Context<S>,
    state: &Authenticated,
    name: &str,
    items: &[StatusItem],
) -> Result<Vec<u8>, Failure> {
    let view = state.account.open(name).await?;
    let counters = view.state().await?;
    let append_octets_max = context.server.settings.limits.append_octets_max;
    let mut values = Vec::with_capacity(items.len());
    for item in items {
        let value = match item {
            StatusItem::Recent => Some(recent(&*view, &counters).await?.to_string()),
            StatusItem::DeletedStorage => {
                Some(deleted_octets(&*view, &counters).await?.to_string())
            }
            StatusItem::MailboxId => {
                Some(format!("({})", object_id::mailbox_id(&*view, counters.mailbox_id)))
            }
            StatusItem::AppendLimit => Some(match view.access() {
                Access::ReadWrite => append_octets_max.to_string(),
                Access::ReadOnly => "0".to_owned(),
            }),
            item => counted(*item, &counters),
        };
        values.extend(value.map(|value| (*item, value)));
    }
    Ok(response(name, context.enabled.names(), &values))
}

/// What the counters of a mailbox alone tell; `None` of what takes more.
pub(crate) fn counted(item: StatusItem, counters: &MailboxState) -> Option<String> {
    Some(match item {
        StatusItem::Messages => counters.exists.to_string(),
        // A mailbox without a next UID can be written to no more; 2³² − 1 is the last.
        StatusItem::UidNext => counters.uid_next.map_or(u32::MAX, Uid::get).to_string(),
        StatusItem::UidValidity => counters.uid_validity.to_string(),
        StatusItem::Unseen => counters.unseen.to_string(),
        StatusItem::Deleted => counters.deleted.to_string(),
        StatusItem::Size => counters.octets.to_string(),
        StatusItem::HighestModSeq => counters.highest_mod_seq.to_string(),
        StatusItem::Recent
        | StatusItem::DeletedStorage
        | StatusItem::MailboxId
        | StatusItem::AppendLimit => return None,
    })
}

/// The STATUS response of `values`.
pub(crate) fn response(name: &str, names: NameForm, values: &[(StatusItem, String)]) -> Vec<u8> {
    let values = values.iter().map(|(item, value)| format!("{} {value}", item.name()));
    let mut line = b"* STATUS ".to_vec();
    write::mailbox(&mut line, name, names);
    line.extend_from_slice(format!(" ({})\r\n", values.collect::<Vec<_>>().join(" ")).as_bytes());
    line
}

/// The octets that EXPUNGE would give back (RFC 9208 §4.1.4).
async fn deleted_octets(view: &dyn MailboxView, counters: &MailboxState) -> Result<u64, Failure> {
    if counters.deleted == 0 {
        return Ok(0);
    }
    let (_, rows) = view.rows().await?;
    let deleted = rows.iter().filter(|row| row.flags.deleted);
    Ok(deleted.map(|row| row.charged_octets).sum())
}

/// Counts the messages that no session has been told of.
async fn recent(view: &dyn MailboxView, counters: &MailboxState) -> Result<usize, Failure> {
    let Some(from) = counters.recent_from else { return Ok(0) };
    if counters.exists == 0 || counters.uid_next.is_some_and(|next| from >= next) {
        return Ok(0);
    }
    let (_, rows) = view.list().await?;
    Ok(rows.len() - rows.partition_point(|row| row.uid < from))
}
