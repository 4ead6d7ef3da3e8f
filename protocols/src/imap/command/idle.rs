//! IDLE (RFC 2177 §3): changes are told as they happen, those that NOTIFY asked for among them
//! (RFC 5465 §4).

use tokio::time::{Instant, timeout_at};

use crate::{
    imap::{
        completion::{CommandResult, Completion},
        news::{self, Again},
        notify::When,
        progress::Progress,
        selected::SelectedMailbox,
        session::{Authenticated, Context},
    },
    lines::{Disconnect, Stream},
};

/// Octets of the line that ends IDLE: `DONE`, and nothing else.
const DONE_OCTETS_MAX: usize = 64;

pub(crate) async fn idle<S: Stream>(
    context: &mut Context<S>,
    state: &mut Authenticated,
    mut mailbox: Option<&mut SelectedMailbox>,
) -> CommandResult {
    // It has no goal, and what others do is no part of it (RFC 9585 §4).
    context.progress = Progress::default();
    context.frame.put(b"+ In attesa / Idling\r\n").await?;
    let deadline = Instant::now() + context.server.settings.limits.idle_time_max;
    state.changes.mark_changed();
    let (mut announced, mut again) = (true, Again::new());
    loop {
        tokio::select! {
            biased;
            () = context.stopping.cancelled() => return Err(Disconnect::Stopping.into()),
            changed = state.changes.changed(), if announced => {
                // Nobody may report changes any more: the account is being closed.
                announced = changed.is_ok();
                news::tell(context, state, mailbox.as_deref_mut(), When::Idle, true).await?;
                context.frame.flush().await?;
            }
            () = again.wait(), if context.notify.is_due() => {
                again.tried();
                news::tell(context, state, mailbox.as_deref_mut(), When::Idle, true).await?;
                context.frame.flush().await?;
            }
            line = timeout_at(deadline, context.frame.line(DONE_OCTETS_MAX)) => {
                let line = line.map_err(|_| Disconnect::IdleTimedOut)??;
                if line.trim_ascii().eq_ignore_ascii_case(b"DONE") {
                    return Ok(Completion::ok("IDLE"));
                }
                return Err(Completion::bad("IDLE si chiude con DONE / IDLE ends with DONE").into());
            }
        }
    }
}
