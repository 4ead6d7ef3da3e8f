//! LSUB (RFC 3501 §6.3.9).

use std::collections::BTreeSet;

use super::list::{Pattern, line};
use crate::{
    imap::{
        completion::{CommandResult, Completion},
        session::{Authenticated, Context},
    },
    lines::Stream,
};

pub(crate) async fn lsub<S: Stream>(
    context: &mut Context<S>,
    state: &mut Authenticated,
    reference: &str,
    pattern: &str,
) -> CommandResult {
    let names = context.enabled.names();
    let pattern = Pattern::new(reference, pattern);
    let entries = state.account.list().await?;
    let subscribed: BTreeSet<&str> =
        entries.iter().filter(|entry| entry.subscribed).map(|entry| entry.name.as_str()).collect();
    // With `%`, a parent stands, as \Noselect, for subscribed children that do not match.
    let mut parents = BTreeSet::new();
    for name in &subscribed {
        if pattern.matches(name) {
            context.frame.put(&line("LSUB", name, names, &[])).await?;
            continue;
        }
        for (end, _) in name.match_indices('/') {
            let parent = &name[..end];
            if pattern.matches(parent) && !subscribed.contains(parent) && parents.insert(parent) {
                context.frame.put(&line("LSUB", parent, names, &["\\Noselect"])).await?;
            }
        }
    }
    Ok(Completion::ok("LSUB"))
}
