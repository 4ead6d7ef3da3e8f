//! SORT and UID SORT (RFC 5256 §3, RFC 5267 §3).

use crate::{
    imap::{
        completion::{CommandResult, Completion, Failure},
        contexts::{self, Asked},
        found::{Searched, Telling, in_background, settle_saved, too_many},
        grammar::sort::{Criterion, SortCommand},
        message::sort::{self, SortKey},
        progress,
        selected::SelectedMailbox,
        session::Context,
    },
    lines::Stream,
};

pub(crate) async fn sort<S: Stream>(
    context: &mut Context<S>,
    mailbox: &mut SelectedMailbox,
    command: SortCommand,
) -> CommandResult {
    let results = command.results.clone();
    let done = carry_out(context, mailbox, command).await;
    settle_saved(mailbox, results.as_ref(), done)
}

async fn carry_out<S: Stream>(
    context: &mut Context<S>,
    mailbox: &mut SelectedMailbox,
    command: SortCommand,
) -> CommandResult {
    let SortCommand { criteria, results, program, uid, .. } = command;
    contexts::check_tag(context, mailbox, results.as_ref())?;
    let mod_seq = program.asks_mod_seq();
    let searched = Searched::selected(mailbox);
    searched.admit(context, &program, &mut 0).await?;
    let found = searched.find(context, &program).await?;
    let keyed = keyed(context, &searched, &criteria, &found).await?;
    let sorted = progress::during(context, in_order(keyed, criteria.clone())).await??;
    let found: Vec<usize> = sorted.iter().map(|(_, index)| *index).collect();
    let telling = Telling { response: "SORT", uid, mod_seq, mailbox: None };
    telling.answer(context, mailbox, results.as_ref(), &found).await?;
    if results.as_ref().is_some_and(|results| results.update) {
        let items = results.map(|results| results.update_items).unwrap_or_default();
        let asked = Asked { uid, program, criteria: Some(criteria), items };
        let found = sorted.into_iter().map(|(key, index)| (Some(key), index));
        contexts::add(context, mailbox, asked, found).await?;
    }
    Ok(Completion::ok("SORT"))
}

/// The sort keys of the rows at `indexes`: as many octets as may be held, or none.
pub(crate) async fn keyed<S: Stream>(
    context: &mut Context<S>,
    searched: &Searched<'_>,
    criteria: &[Criterion],
    indexes: &[usize],
) -> Result<Vec<(SortKey, usize)>, Failure> {
    let octets_max = context.server.settings.limits.sort_octets_max;
    let mut octets = 0;
    let mut keyed = Vec::with_capacity(indexes.len());
    let mut take = |key: SortKey, index| {
        octets += sort::octets(&key);
        keyed.push((key, index));
        if octets > octets_max { Err(Failure::from(too_many())) } else { Ok(()) }
    };
    if let Some(fields) = sort::fields(criteria) {
        searched
            .with_headers(context, indexes, fields, |index, row, headers| {
                take(sort::key(criteria, row, headers.as_ref()), index)
            })
            .await?;
    } else {
        for index in indexes {
            if let Some(row) = searched.rows.get(*index) {
                take(sort::key(criteria, row, None), *index)?;
            }
        }
    }
    Ok(keyed)
}

async fn in_order(
    mut keyed: Vec<(SortKey, usize)>,
    criteria: Vec<Criterion>,
) -> Result<Vec<(SortKey, usize)>, Failure> {
    in_background(move || {
        keyed.sort_unstable_by(|(one, index), (other, other_index)| {
            sort::compare(&criteria, one, other).then(index.cmp(other_index))
        });
        keyed
    })
    .await
}
