//! STARTTLS (RFC 9051 §6.2.1).
//!
//! Not here: the handshake, and the session that follows it ([`crate::net::start_tls`]).

use crate::{
    imap::{
        completion::Completion,
        session::{Context, Done, Transition},
    },
    lines::{Disconnect, Stream},
};

/// Nothing may follow the command before TLS: what does could have been put there by somebody
/// between, and would seem to come from the client under TLS.
pub(crate) fn starttls<S: Stream>(context: &Context<S>) -> Done {
    if !context.start_tls {
        let text = if context.encrypted {
            "TLS e' gia' attivo / TLS runs already"
        } else {
            "STARTTLS non disponibile qui / STARTTLS is not offered here"
        };
        return Err(Completion::bad(text).into());
    }
    if context.frame.has_input() {
        return Err(Disconnect::OctetsBeforeTls.into());
    }
    Ok((Completion::ok("Iniziare TLS / Begin TLS"), Transition::StartTls))
}
