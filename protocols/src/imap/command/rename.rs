//! RENAME (RFC 3501 §6.3.5).

use super::create::checked;
use crate::imap::{
    completion::{CommandResult, Completion},
    session::Authenticated,
};

pub(crate) async fn rename(state: &mut Authenticated, from: &str, to: &str) -> CommandResult {
    state.account.rename(from, checked(to)?).await?;
    Ok(Completion::ok("RENAME"))
}
