//! NAMESPACE (RFC 2342 §5): one personal name space with `/` between levels, and that of other
//! accounts for whom any of them shares its mailboxes.

use crate::{
    access::{OTHER_USERS, is_of_others},
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
    let line = format!("* NAMESPACE ((\"\" \"/\")) {others} NIL\r\n");
    context.frame.put(line.as_bytes()).await?;
    Ok(Completion::ok("NAMESPACE"))
}
