//! The moments at which a client is told what it did not ask for: after its commands, in IDLE, and
//! after NOTIFY at any time while no command is in progress (RFC 3501 §5.2, RFC 5465 §3.1, §6.1).
//!
//! Not here: what is told of the selected mailbox (`selected`, `contexts`), of others (`notify`).

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::{
    completion::{Completion, Failure},
    contexts,
    notify::{Looked, When},
    selected::SelectedMailbox,
    session::{Authenticated, Context},
};
use crate::lines::{Disconnect, Stream};

/// The first pause before something is read again that could not be read, and the longest.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// When something is read again that could not be read: each time it fails later.
pub(crate) struct Again(Duration);

impl Again {
    pub(crate) fn new() -> Self {
        Self(AGAIN.0)
    }

    /// Waits for the time.
    pub(crate) async fn wait(&self) {
        sleep(self.0).await;
    }

    /// It was tried again.
    pub(crate) fn tried(&mut self) {
        self.0 = (self.0 * 2).min(AGAIN.1);
    }
}

/// Tells what has changed. With `look` the mailboxes are looked at even if nobody has announced that
/// they changed. What cannot be read is told later.
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
    let mut all = true;
    if let Some(mailbox) = mailbox.as_deref_mut() {
        let refreshed = if look { mailbox.refresh().await } else { Ok(()) };
        match refreshed {
            Ok(()) => {}
            Err(Failure::Refused(_)) => all = false,
            Err(Failure::Disconnected(disconnect)) => return Err(disconnect),
        }
        let moment = context.notify.moment(when);
        if when != When::Between || moment.arrived {
            let told = contexts::report(context, mailbox, moment).await?;
            if all {
                context.notify.told(moment);
            }
            all &= told;
        }
    }
    if look {
        others(context, state, mailbox.as_deref(), when).await?;
    }
    if !all {
        context.notify.try_again();
    }
    Ok(())
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

/// Waits until the client begins a command, and tells it meanwhile what NOTIFY asked for: first what
/// the last command held back, because numbers must not have changed in it. Behind the first octet of
/// a command nothing is told before its end.
pub(crate) async fn until_command<S: Stream>(
    context: &mut Context<S>,
    state: &mut Authenticated,
    mut mailbox: Option<&mut SelectedMailbox>,
    deadline: Instant,
) -> Result<(), Disconnect> {
    let mut held_back = mailbox.as_ref().is_some_and(|mailbox| mailbox.has_expunged());
    let (mut announced, mut again) = (true, Again::new());
    while context.notify.is_on() {
        let look = tokio::select! {
            biased;
            begun = timeout_at(deadline, context.frame.begun()) => {
                return begun.map_err(|_| Disconnect::IdleTimedOut)?;
            }
            () = context.stopping.cancelled() => return Err(Disconnect::Stopping),
            () = std::future::ready(()), if held_back => false,
            changed = state.changes.changed(), if announced => {
                // Without anybody to announce changes the account is being closed.
                announced = changed.is_ok();
                true
            }
            () = again.wait(), if context.notify.is_due() => {
                again.tried();
                true
            }
        };
        held_back = false;
        tell(context, state, mailbox.as_deref_mut(), When::Between, look).await?;
        context.frame.flush().await?;
    }
    Ok(())
}
