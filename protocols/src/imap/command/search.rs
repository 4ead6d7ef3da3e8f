//! SEARCH and UID SEARCH (RFC 3501 §6.4.4, RFC 4731 §3.1, RFC 5182 §2.1, RFC 7162 §3.1.5).

use crate::{
    imap::{
        completion::{CommandResult, Completion},
        contexts::{self, Asked},
        found::{Searched, Telling, settle_saved},
        grammar::{results::Results, search::SearchCommand},
        message_limit::Exceeded,
        selected::SelectedMailbox,
        session::Context,
    },
    lines::Stream,
};

pub(crate) async fn search<S: Stream>(
    context: &mut Context<S>,
    mailbox: &mut SelectedMailbox,
    search: SearchCommand,
) -> CommandResult {
    let all = Results { all: true, ..Results::default() };
    // IMAP4rev2 knows no other answer (RFC 9051 §6.4.4).
    let results = search.results.clone().or(context.enabled.rev2.then_some(all));
    let done = carry_out(context, mailbox, search, results.as_ref()).await;
    settle_saved(mailbox, results.as_ref(), done)
}

async fn carry_out<S: Stream>(
    context: &mut Context<S>,
    mailbox: &mut SelectedMailbox,
    search: SearchCommand,
    results: Option<&Results>,
) -> CommandResult {
    contexts::check_tag(context, mailbox, results)?;
    let SearchCommand { program, uid, .. } = search;
    let mod_seq = program.asks_mod_seq();
    let searched = Searched::selected(mailbox);
    let (found, exceeded) = searched.find_newest(context, &program).await?;
    let telling = Telling { response: "SEARCH", uid, mod_seq, mailbox: None };
    telling.answer(context, mailbox, results, &found).await?;
    let updates = results.is_some_and(|results| results.update);
    if updates && exceeded.is_some() {
        // What is told of a part cannot be kept true of the whole.
        let tag = context.tag.clone();
        contexts::refuse(context, &tag).await?;
    } else if updates {
        let items = results.map(|results| results.update_items.clone()).unwrap_or_default();
        let asked = Asked { uid, program, criteria: None, items };
        contexts::add(context, mailbox, asked, found.into_iter().map(|index| (None, index)))
            .await?;
    }
    Ok(exceeded.map_or(Completion::ok("SEARCH"), Exceeded::completion))
}
