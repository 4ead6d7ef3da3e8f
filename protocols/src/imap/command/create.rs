//! CREATE (RFC 3501 §6.3.3).

use crate::imap::{
    completion::{CommandResult, Completion},
    session::Authenticated,
};

pub(crate) async fn create(state: &mut Authenticated, name: &str) -> CommandResult {
    // A trailing delimiter announces children and is not part of the name.
    let name = name.strip_suffix('/').unwrap_or(name);
    state.account.create(checked(name)?).await?;
    Ok(Completion::ok("CREATE"))
}

/// Refuses names that no client could list again: control characters, wildcards, empty levels
/// (RFC 3501 §5.1).
pub(super) fn checked(name: &str) -> Result<&str, Completion> {
    let wrong = |character: char| character.is_control() || matches!(character, '*' | '%');
    if name.split('/').any(str::is_empty) || name.contains(wrong) {
        return Err(Completion::no(
            "CANNOT",
            "Nome di cartella non ammesso / A mailbox cannot have that name",
        ));
    }
    Ok(name)
}
