//! SUBSCRIBE and UNSUBSCRIBE (RFC 3501 §6.3.6, §6.3.7).

use super::create::checked;
use crate::imap::{
    completion::{CommandResult, Completion},
    session::Authenticated,
};

pub(crate) async fn subscribe(
    state: &mut Authenticated,
    name: &str,
    subscribed: bool,
) -> CommandResult {
    let name = if subscribed { checked(name)? } else { name };
    state.account.subscribe(name, subscribed).await?;
    Ok(Completion::ok(if subscribed { "SUBSCRIBE" } else { "UNSUBSCRIBE" }))
}
