//! DELETE (RFC 3501 §6.3.4).

use super::acl::own;
use crate::imap::{
    completion::{CommandResult, Completion},
    session::Authenticated,
};

pub(crate) async fn delete(state: &mut Authenticated, name: &str) -> CommandResult {
    state.account.delete(own(name)?).await?;
    Ok(Completion::ok("DELETE"))
}
