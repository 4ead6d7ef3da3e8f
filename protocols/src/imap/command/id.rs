//! ID (RFC 2971 §3.1): the product's name and nothing that helps an attacker.

use crate::{
    imap::{
        completion::Completion,
        session::{Context, Done, Transition},
    },
    lines::Stream,
};

pub(crate) async fn id<S: Stream>(context: &mut Context<S>) -> Done {
    context.frame.put(b"* ID (\"name\" \"Ceralacca\")\r\n").await?;
    Ok((Completion::ok("ID"), Transition::Stay))
}
