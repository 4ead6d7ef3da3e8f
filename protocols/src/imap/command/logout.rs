//! LOGOUT (RFC 3501 §6.1.3).

use crate::{
    imap::{
        completion::Completion,
        session::{Context, Done, Transition},
    },
    lines::Stream,
};

pub(crate) async fn logout<S: Stream>(context: &mut Context<S>) -> Done {
    context.frame.put(b"* BYE Arrivederci / Goodbye\r\n").await?;
    Ok((Completion::ok("LOGOUT"), Transition::LogOut))
}
