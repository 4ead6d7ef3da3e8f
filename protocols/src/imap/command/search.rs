//! SEARCH and UID SEARCH (RFC 3501 §6.4.4, §7.2.5).

use crate::{
    imap::{
        completion::{CommandResult, Completion},
        grammar::search::SearchProgram,
        message::search::{Candidate, Search},
        selected::SelectedMailbox,
        session::Context,
    },
    lines::Stream,
};

/// Messages that are judged together: that many headers are held, about half a kilobyte each.
const MESSAGES_AT_ONCE: usize = 8_192;

pub(crate) async fn search<S: Stream>(
    context: &mut Context<S>,
    mailbox: &mut SelectedMailbox,
    mut program: SearchProgram,
    uid: bool,
) -> CommandResult {
    let rows = mailbox.rows();
    let largest_number = u32::try_from(rows.len()).unwrap_or(u32::MAX);
    program.resolve(largest_number, rows.last().map_or(0, |row| row.uid.get()));
    let settings = &context.server.settings;
    let search = Search { program: &program, zone: &settings.time_zone, limits: &settings.limits };
    let mut found = Vec::new();
    let mut next = 1;
    for some in rows.chunks(MESSAGES_AT_ONCE) {
        let numbered = (next..).zip(some).filter(|(_, row)| !mailbox.is_expunged(row.uid));
        let candidates: Vec<Candidate<'_>> = numbered
            .map(|(number, row)| Candidate {
                view: mailbox.view.as_ref(),
                row,
                number,
                recent: mailbox.is_recent(row.uid),
            })
            .collect();
        found.extend(search.find(&candidates).await?);
        next = next.saturating_add(u32::try_from(some.len()).unwrap_or(u32::MAX));
    }
    if uid {
        let uid = |number: &u32| rows.get(*number as usize - 1).map(|row| row.uid.get());
        found = found.iter().filter_map(uid).collect();
    }
    context.frame.put(b"* SEARCH").await?;
    for number in found {
        context.frame.put(format!(" {number}").as_bytes()).await?;
    }
    context.frame.put(b"\r\n").await?;
    Ok(Completion::ok("SEARCH"))
}
