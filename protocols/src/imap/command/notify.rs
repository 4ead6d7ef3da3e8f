//! NOTIFY (RFC 5465 §3.1): what is told from now on, whether or not a command is in progress.

use storage::account::name::normalised;

use crate::{
    imap::{
        completion::{CommandResult, Completion, Condition},
        grammar::notify::{Mailboxes, Notify, Wanted},
        news,
        notify::Looked,
        selected::SelectedMailbox,
        session::{Authenticated, Context},
    },
    lines::Stream,
};

/// Sets what is told. At the end of the command the session tells whatever has gathered.
pub(crate) async fn notify<S: Stream>(
    context: &mut Context<S>,
    state: &Authenticated,
    mailbox: Option<&SelectedMailbox>,
    command: Notify,
) -> CommandResult {
    let Notify::Set(mut wanted) = command else {
        context.notify.stop();
        return Ok(Completion::ok("NOTIFY"));
    };
    name_as_in_the_tree(&mut wanted);
    // What is set when it fails stays as it was.
    let mut before = std::mem::take(&mut context.notify);
    let looked = before.set(context, state, mailbox, wanted).await;
    context.notify = before;
    if looked? == Looked::Overflow {
        return Err(Completion { condition: Condition::No, ..news::overflow() }.into());
    }
    context.notify.gather(mailbox.is_some());
    Ok(Completion::ok("NOTIFY"))
}

fn name_as_in_the_tree(wanted: &mut Wanted) {
    for group in &mut wanted.groups {
        if let Mailboxes::Named(names) | Mailboxes::Subtree(names) = &mut group.mailboxes {
            let written = std::mem::take(names);
            names.extend(written.iter().map(|name| normalised(name).into_owned()));
        }
    }
}
