//! NAMESPACE (RFC 2342 §5): one personal name space with `/` between levels.

use crate::{
    imap::{
        completion::{CommandResult, Completion},
        session::Context,
    },
    lines::Stream,
};

pub(crate) async fn namespace<S: Stream>(context: &mut Context<S>) -> CommandResult {
    context.frame.put(b"* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n").await?;
    Ok(Completion::ok("NAMESPACE"))
}
