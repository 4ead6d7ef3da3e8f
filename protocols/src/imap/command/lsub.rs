//! LSUB (RFC 3501 §6.3.9).

use std::collections::BTreeSet;

use super::{list::line, pattern::patterns};
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
    let octets_max = context.server.settings.limits.list_pattern_octets_max;
    let patterns = patterns(reference, &[pattern.to_owned()], octets_max)?;
    let matches = |name: &str| patterns.iter().any(|pattern| pattern.matches(name));
    let entries = state.account.list().await?;
    let subscribed: BTreeSet<&str> =
        entries.iter().filter(|entry| entry.subscribed).map(|entry| entry.name.as_str()).collect();
    // With `%`, a parent stands, as \Noselect, for subscribed children that do not match.
    let mut parents = BTreeSet::new();
    for name in &subscribed {
        if matches(name) {
            context.frame.put(&line("LSUB", name, names, &[])).await?;
            continue;
        }
        for (end, _) in name.match_indices('/') {
            let parent = &name[..end];
            if matches(parent) && !subscribed.contains(parent) && parents.insert(parent) {
                context.frame.put(&line("LSUB", parent, names, &["\\Noselect"])).await?;
            }
        }
    }
    Ok(Completion::ok("LSUB"))
}
