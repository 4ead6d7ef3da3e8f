//! NAMESPACE (RFC 2342 §5): one personal name space with `/` between levels, that of other accounts
//! for whom any of them shares its mailboxes, and that of snapshots once there is one.
//!
//! Snapshots are told of as a shared name space: nobody's own, so that no client makes mailboxes there,
//! files what it sends there or counts them among the holder's mailboxes, and no other user's, so that
//! none shows an instant as somebody's name.

use crate::{
    access::{OTHER_USERS, SNAPSHOTS, is_of_others},
    imap::{
        completion::{CommandResult, Completion},
        session::{Authenticated, Context},
    },
    lines::Stream,
};

pub(crate) async fn namespace<S: Stream>(
    context: &mut Context<S>,
    state: &Authenticated,
) -> CommandResult {
    let entries = state.account.list().await?;
    let others = if entries.iter().any(|entry| is_of_others(&entry.name)) {
        format!("((\"{OTHER_USERS}/\" \"/\"))")
    } else {
        "NIL".to_owned()
    };
    let snapshots = if state.account.snapshots().await?.is_empty() {
        "NIL".to_owned()
    } else {
        format!("((\"{SNAPSHOTS}/\" \"/\"))")
    };
    let line = format!("* NAMESPACE ((\"\" \"/\")) {others} {snapshots}\r\n");
    context.frame.put(line.as_bytes()).await?;
    Ok(Completion::ok("NAMESPACE"))
}
