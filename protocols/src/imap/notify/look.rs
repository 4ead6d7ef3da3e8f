//! One look at the mailboxes that a client watches, and how often there is one.
//!
//! Invariants: what changes while the mailboxes are listed is found by the next look, never lost;
//! between two looks there is a pause, so that many changes cost one look; a look gives way to the other
//! sessions, to the client's next command and to the end of the server.
//!
//! Not here: what is compared and told (`messages`, `names`, `metadata`).

use tokio::time::{Instant, sleep_until};

use super::{Watching, When, own::Owns};
use crate::{
    imap::session::Context,
    lines::{Disconnect, Stream},
};

/// Mailboxes that are compared at one go.
const MAILBOXES_AT_ONCE: usize = 256;

/// What one look goes by.
pub(super) struct Look<'o, 'e> {
    pub(super) when: When,
    pub(super) own: &'o Owns,
    pub(super) watching: Vec<Watching<'e>>,
}

impl Look<'_, '_> {
    /// Lets others have their turn before mailbox `index`. Says whether the look goes on: not while
    /// the server stops, nor once the client has begun a command; what is left is told after that.
    pub(super) async fn goes_on<S: Stream>(
        &self,
        context: &mut Context<S>,
        index: usize,
    ) -> Result<bool, Disconnect> {
        if index == 0 || !index.is_multiple_of(MAILBOXES_AT_ONCE) {
            return Ok(true);
        }
        context.frame.take_turns().await?;
        let waits = self.when == When::Between && context.frame.has_input();
        Ok(!waits && !context.stopping.is_cancelled())
    }
}

/// Waits until there may be a look again. Says whether there may: the client's next command comes first,
/// and the end of it tells.
pub(super) async fn has_rested<S: Stream>(
    context: &mut Context<S>,
    until: Option<Instant>,
    when: When,
) -> Result<bool, Disconnect> {
    let Some(until) = until.filter(|until| Instant::now() < *until) else { return Ok(true) };
    if let When::Command { .. } = when {
        // Whoever sends many commands at once is told at the end of them, or after the pause.
        return Ok(!context.frame.has_input());
    }
    // Of the selected mailbox nothing waits.
    context.frame.flush().await?;
    tokio::select! {
        biased;
        () = context.stopping.cancelled() => Ok(false),
        begun = context.frame.begun(), if when == When::Between => begun.map(|()| false),
        () = sleep_until(until) => Ok(true),
    }
}
