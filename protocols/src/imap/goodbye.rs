//! The last words of a connection.
//!
//! Not here: what ends it (`session`, `lines`).

use super::{completion::Completion, grammar::Tag, session::Context};
use crate::lines::{Disconnect, Stream};

/// Says why the connection ends, where there is somebody to read it (RFC 3501 §7.1.5).
pub(crate) async fn say<S: Stream>(
    context: &mut Context<S>,
    disconnect: &Disconnect,
) -> Result<(), Disconnect> {
    let text = match disconnect {
        Disconnect::Closed | Disconnect::Io(_) | Disconnect::WriteTimedOut => return Ok(()),
        // Nothing but silence can follow half a literal.
        Disconnect::MessageUnreadable(error) => {
            let address = &context.address;
            tracing::error!(address, %error, "a message could not be read to its end");
            return Ok(());
        }
        Disconnect::IdleTimedOut => "Sessione inattiva / Session idle for too long",
        Disconnect::TooSlow => "Messaggio troppo lento / The message comes too slowly",
        Disconnect::LoginTimedOut => "Accesso non effettuato in tempo / No login in time",
        Disconnect::LineTooLong(_) => "Riga troppo lunga / Line too long",
        Disconnect::LiteralTooLarge(_) => "Dati troppo grandi / Literal too large",
        Disconnect::TooManyErrors => "Troppi errori / Too many errors",
        Disconnect::OctetsBeforeTls => {
            "Nulla puo' seguire STARTTLS prima di TLS / Nothing may follow STARTTLS before TLS"
        }
        Disconnect::Corrupt => "Compressione non valida / What came is not DEFLATE",
        Disconnect::CompressionUnended => {
            "Fine della compressione non riconosciuta / Where compression ends cannot be told"
        }
        Disconnect::MailboxDeleted => "Cartella eliminata / The mailbox was deleted",
        Disconnect::Stopping => "Server in chiusura, riconnettersi / Server stops, reconnect",
    };
    let frame = &mut context.frame;
    if let Disconnect::LineTooLong(_) | Disconnect::LiteralTooLarge(_) = disconnect {
        let tag = frame.unfinished_tag().map_or("*", Tag::as_str);
        let refused = Completion {
            code: matches!(disconnect, Disconnect::LiteralTooLarge(_)).then(|| "TOOBIG".into()),
            ..Completion::bad(text)
        };
        let line = refused.line(tag);
        frame.put(line.as_bytes()).await?;
    }
    frame.put(format!("* BYE {text}\r\n").as_bytes()).await?;
    frame.flush().await
}
