//! CREATE (RFC 3501 §6.3.3), with special uses (RFC 6154 §3) and MAILBOXID (RFC 8474 §4.1).

use storage::account::name::normalised;

use super::{acl::own, list};
use crate::{
    imap::{
        completion::{CommandResult, Completion, Failure},
        grammar::create::UseAttributes,
        object_id,
        session::{Authenticated, Context},
    },
    lines::Stream,
};

pub(crate) async fn create<S: Stream>(
    context: &mut Context<S>,
    state: &mut Authenticated,
    asked: &str,
    special_use: UseAttributes,
) -> CommandResult {
    let special_use = match special_use {
        UseAttributes::None => None,
        UseAttributes::One(special_use) => Some(special_use),
        UseAttributes::Impossible => {
            let text = "Uso non disponibile per una cartella / No mailbox can have that use";
            return Err(Completion::no("USEATTR", text).into());
        }
    };
    // A trailing delimiter announces children and is not part of the name.
    let asked = asked.strip_suffix('/').unwrap_or(asked);
    let name = normalised(checked(asked)?);
    let id = state.account.create(own(&name)?, special_use).await?;
    tell_normalised(context, asked, &name).await?;
    let code = format!("MAILBOXID ({})", object_id::own_mailbox_id(id));
    Ok(Completion::ok_with(code, "CREATE"))
}

/// Tells a client of IMAP4rev2 under which name a mailbox stands, when that is not the one that it
/// asked for (RFC 9051 §6.3.4).
pub(super) async fn tell_normalised<S: Stream>(
    context: &mut Context<S>,
    asked: &str,
    name: &str,
) -> Result<(), Failure> {
    if context.enabled.rev2 && asked != name {
        let line = list::old_name_line(name, asked, context.enabled.names(), &[]);
        context.frame.put(&line).await?;
    }
    Ok(())
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
