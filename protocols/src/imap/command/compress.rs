//! COMPRESS (RFC 4978 §3): from behind its OK on, both directions are compressed.
//!
//! It is a command of who is logged in (§5 `command-auth`), so that strangers cost no compressor and
//! no password is compressed. The client must not send more before it has read the answer; octets
//! that came all the same count as compressed, as all that follows the command does: what somebody
//! says in the clear behind it is no command.
//!
//! Not here: the layer (`deflate`).

use crate::{
    imap::{
        completion::{CommandResult, Completion},
        frame::Compression,
        session::Context,
    },
    lines::Stream,
};

pub(crate) fn compress<S: Stream>(context: &mut Context<S>) -> CommandResult {
    if context.frame.is_compressed() {
        let text = "DEFLATE e' gia' attivo / DEFLATE is active already";
        return Err(Completion::no("COMPRESSIONACTIVE", text).into());
    }
    if !context.server.settings.limits.compress {
        let text = "Compressione non disponibile qui / Compression is not offered here";
        return Err(Completion::bad(text).into());
    }
    context.frame.set_compression(Compression::Begins);
    Ok(Completion::ok("DEFLATE attivo / DEFLATE active"))
}
