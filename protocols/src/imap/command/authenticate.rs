//! AUTHENTICATE (RFC 3501 §6.2.2) with an initial response (RFC 4959 §3).
//!
//! Not here: the mechanisms ([`crate::sasl`]).

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::login::{enter, privacy_required};
use crate::{
    access::Protocol,
    imap::{
        completion::{Completion, Failure},
        session::{Context, Done, NotAuthenticated},
    },
    lines::Stream,
    sasl::{Exchange, LINE_OCTETS_MAX, Mechanism, Step},
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
    let offered = context.mechanisms();
    let Some(mechanism) = Mechanism::among(&offered, mechanism) else {
        let names: Vec<_> = offered.into_iter().map(Mechanism::name).collect();
        let names = names.join(", ");
        let text =
            format!("Meccanismo non gestito, usare {names} / Unknown mechanism, use {names}");
        return Err(Completion::no("CANNOT", text).into());
    };
    let (server, bindings) = (Arc::clone(&context.server), context.bindings.clone());
    let who = (Protocol::Imap, context.peer);
    let mut exchange = Exchange::new(mechanism, &*server.authenticator, who, &bindings);
    let mut response = initial_response;
    loop {
        match exchange.step(response.as_deref()).await {
            Step::Challenge(challenge) => match ask(context, state, &challenge).await {
                Err(Failure::Refused(cancelled)) => {
                    let Some(error) = exchange.refused() else { return Err(cancelled.into()) };
                    return enter(context, state, Err(error)).await;
                }
                answer => response = Some(answer?),
            },
            Step::Done(outcome) => return enter(context, state, outcome).await,
        }
    }
}

async fn ask<S: Stream>(
    context: &mut Context<S>,
    state: &NotAuthenticated,
    challenge: &[u8],
) -> Result<Vec<u8>, Failure> {
    let line = format!("+ {}\r\n", STANDARD.encode(challenge));
    context.frame.put(line.as_bytes()).await?;
    context.frame.flush().await?;
    let line = state.in_time(context.frame.line(LINE_OCTETS_MAX)).await??;
    STANDARD.decode(line.trim_ascii()).map_err(|_| malformed().into())
}

/// Also the answer to `*`, by which the client gives up (RFC 3501 §6.2.2).
fn malformed() -> Completion {
    Completion::bad(
        "Autenticazione interrotta o malformata / Authentication cancelled or malformed",
    )
}
