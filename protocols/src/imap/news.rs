//! The moments at which a client is told what it did not ask for: after its commands, in IDLE, and
//! after NOTIFY at any time while no command is in progress (RFC 3501 §5.2, RFC 5465 §3.1, §6.1).
//!
//! Not here: what is told of the selected mailbox (`selected`, `contexts`), of others (`notify`).

use tokio::time::{Instant, timeout_at};

use super::{
    completion::{Completion, Failure},
    contexts,
    notify::{Looked, When},
    selected::SelectedMailbox,
    session::{Authenticated, Context},
};
use crate::lines::{Disconnect, Stream};

/// Tells what has changed. With `look` the mailboxes are looked at even if nobody has announced that
/// they changed.
pub(crate) async fn tell<S: Stream>(
    context: &mut Context<S>,
    state: &mut Authenticated,
    mut mailbox: Option<&mut SelectedMailbox>,
    when: When,
    look: bool,
) -> Result<(), Disconnect> {
    let look = look || context.notify.is_due() || state.changes.has_changed().unwrap_or(false);
    if look {
        state.changes.mark_unchanged();
    }
    if let Some(mailbox) = mailbox.as_deref_mut() {
        let refreshed = if look { mailbox.refresh().await } else { Ok(()) };
        match refreshed {
            Ok(()) => {}
            // What cannot be read now is told after the next command.
            Err(Failure::Refused(_)) => context.notify.try_again(),
            Err(Failure::Disconnected(disconnect)) => return Err(disconnect),
        }
        let moment = context.notify.moment(when);
        if when != When::Between || moment.arrived {
            contexts::report(context, mailbox, moment).await?;
        }
    }
    if look { others(context, state, mailbox.as_deref(), when).await } else { Ok(()) }
}

/// Tells what has changed elsewhere.
async fn others<S: Stream>(
    context: &mut Context<S>,
    state: &Authenticated,
    mailbox: Option<&SelectedMailbox>,
    when: When,
) -> Result<(), Disconnect> {
    let mut notify = std::mem::take(&mut context.notify);
    let looked = notify.look(context, state, mailbox, when).await;
    context.notify = notify;
    match looked {
        Ok(Looked::All) | Err(Failure::Refused(_)) => Ok(()),
        Err(Failure::Disconnected(disconnect)) => Err(disconnect),
        Ok(Looked::Overflow) => {
            context.notify.stop();
            let line = overflow().line("*");
            context.frame.put(line.as_bytes()).await
        }
    }
}

/// More is watched than may be (RFC 5465 §5.8).
pub(crate) fn overflow() -> Completion {
    Completion::ok_with(
        "NOTIFICATIONOVERFLOW",
        "Troppe cartelle: nessuna notifica / Too many mailboxes: no notifications",
    )
}

/// Waits until the client begins a command, and tells it meanwhile what NOTIFY asked for.
pub(crate) async fn until_command<S: Stream>(
    context: &mut Context<S>,
    state: &mut Authenticated,
    mut mailbox: Option<&mut SelectedMailbox>,
    deadline: Instant,
) -> Result<(), Disconnect> {
    let mut announced = true;
    while announced && context.notify.is_on() {
        tokio::select! {
            biased;
            begun = timeout_at(deadline, context.frame.begun()) => {
                return begun.map_err(|_| Disconnect::IdleTimedOut)?;
            }
            () = context.stopping.cancelled() => return Err(Disconnect::Stopping),
            // Without anybody to announce changes the account is being closed.
            changed = state.changes.changed() => announced = changed.is_ok(),
        }
        tell(context, state, mailbox.as_deref_mut(), When::Between, true).await?;
        context.frame.flush().await?;
    }
    Ok(())
}
