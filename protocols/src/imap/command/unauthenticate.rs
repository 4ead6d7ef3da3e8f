//! UNAUTHENTICATE (RFC 8437): back to where the connection was before its login.
//!
//! What the session knew of the account, the selected mailbox and everything enabled ends with it;
//! no message is expunged. TLS goes on.

use crate::{
    imap::{
        command::capability,
        completion::Completion,
        session::{Completed, Context, Transition},
    },
    lines::Stream,
};

pub(crate) fn unauthenticate<S: Stream>(context: &Context<S>) -> Completed {
    tracing::info!(peer = %context.peer, address = context.address, "IMAP login given up");
    let code = format!("CAPABILITY {}", capability::list(context, false));
    (Completion::ok_with(code, "Uscito / Logged out of the account"), Transition::Unauthenticate)
}
