//! AUTHENTICATE PLAIN (RFC 3501 §6.2.2, RFC 4616 §2) with an initial response (RFC 4959 §3).

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::login::{enter, privacy_required};
use crate::{
    imap::{
        completion::Completion,
        session::{Context, Done, NotAuthenticated},
    },
    lines::Stream,
    sasl::Credentials,
};

pub(crate) async fn authenticate<S: Stream>(
    context: &mut Context<S>,
    state: &mut NotAuthenticated,
    mechanism: &str,
    initial_response: Option<Vec<u8>>,
) -> Done {
    if !context.encrypted {
        return Err(privacy_required().into());
    }
    if mechanism != "PLAIN" {
        let text = "Meccanismo non gestito, usare PLAIN / Unknown mechanism, use PLAIN";
        return Err(Completion::no("CANNOT", text).into());
    }
    let response = if let Some(response) = initial_response {
        response
    } else {
        context.frame.put(b"+ \r\n").await?;
        context.frame.flush().await?;
        let octets_max = context.server.settings.limits.line_octets_max;
        let line = context.frame.line(octets_max);
        let line = state.in_time(line).await??;
        STANDARD.decode(line.trim_ascii()).map_err(|_| malformed())?
    };
    enter(context, state, Credentials::from_plain(&response)).await
}

/// Also the answer to `*`, by which the client gives up (RFC 3501 §6.2.2).
fn malformed() -> Completion {
    Completion::bad(
        "Autenticazione interrotta o malformata / Authentication cancelled or malformed",
    )
}
