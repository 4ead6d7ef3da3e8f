//! UNAUTHENTICATE (RFC 8437): back to where the connection was before its login.
//!
//! What the session knew of the account, the selected mailbox and everything enabled ends with it;
//! no message is expunged. TLS goes on; compression ends right behind the answer, and that of the
//! client behind the flush of the command, so that what follows in the clear may come without waiting
//! for the answer (§3, §4.1).

use crate::{
    imap::{
        command::capability,
        completion::Completion,
        session::{Completed, Context, Transition},
    },
    lines::Stream,
};

pub(crate) fn unauthenticate<S: Stream>(context: &mut Context<S>) -> Completed {
    if context.frame.is_compressed() {
        context.frame.end_compression();
    }
    tracing::info!(peer = %context.peer, address = context.address, "IMAP login given up");
    let code = format!("CAPABILITY {}", capability::list(context, false));
    (Completion::ok_with(code, "Uscito / Logged out of the account"), Transition::Unauthenticate)
}
