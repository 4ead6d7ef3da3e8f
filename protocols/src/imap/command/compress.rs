//! COMPRESS (RFC 4978 §3): from behind its OK on, both directions are compressed.
//!
//! It is a command of who is logged in (§5 `command-auth`), so that strangers cost no compressor and
//! no password is compressed. The client must not send more before it has read the answer; octets
//! that came all the same count as compressed, as all that follows the command does: what somebody
//! says in the clear behind it is no command.
//!
//! Memory bounds how many sessions of a server are compressed; the others go on as they are.
//!
//! RFC 4978 §3 has BAD for a second COMPRESS and NO where another layer compresses already; here both
//! are NO with its code, as clients know it.
//!
//! Not here: the layer (`deflate`).

use std::sync::Arc;

use crate::{
    imap::{
        completion::{CommandResult, Completion},
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
    let Ok(permit) = Arc::clone(&context.server.compressed).try_acquire_owned() else {
        let text = "Troppe sessioni compresse: continuare senza / Too many compressed sessions: go on without";
        return Err(Completion::no("LIMIT", text).into());
    };
    context.frame.begin_compression(permit);
    Ok(Completion::ok("DEFLATE attivo / DEFLATE active"))
}
