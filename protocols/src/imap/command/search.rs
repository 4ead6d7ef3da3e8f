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
    for (number, row) in (1_u32..).zip(rows) {
        let candidate =
            Candidate { view: mailbox.view.as_ref(), row, recent: mailbox.is_recent(row.uid) };
        if !mailbox.is_expunged(row.uid) && search.matches(&candidate, number).await? {
            found.push(if uid { row.uid.get() } else { number });
        }
    }
    context.frame.put(b"* SEARCH").await?;
    for number in found {
        context.frame.put(format!(" {number}").as_bytes()).await?;
    }
    context.frame.put(b"\r\n").await?;
    Ok(Completion::ok("SEARCH"))
}
