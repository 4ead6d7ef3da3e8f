//! RENAME (RFC 3501 §6.3.5).

use storage::account::name::normalised;

use super::{
    acl::own,
    create::{checked, tell_normalised},
};
use crate::{
    imap::{
        completion::{CommandResult, Completion},
        session::{Authenticated, Context},
    },
    lines::Stream,
};

pub(crate) async fn rename<S: Stream>(
    context: &mut Context<S>,
    state: &mut Authenticated,
    from: &str,
    to: &str,
) -> CommandResult {
    let name = normalised(checked(to)?);
    state.account.rename(own(from)?, own(&name)?).await?;
    tell_normalised(context, to, &name).await?;
    Ok(Completion::ok("RENAME"))
}
