//! APPEND (RFC 3501 §6.3.11), with APPENDUID (RFC 4315 §3).
//!
//! The message goes from the socket to the store piece by piece. What is known to fail fails
//! before a synchronising client sends anything.

use storage::error::StoreError;

use super::copy::try_create;
use crate::{
    access::{AppendAttributes, AppendSink},
    imap::{
        completion::{CommandResult, Completion, Failure, refusal},
        frame::Literal,
        grammar::{AppendHead, ParseError},
        session::{Authenticated, Context},
    },
    lines::{Disconnect, Stream},
};

/// Octets of the line that ends the command behind the message.
const LINE_END_OCTETS_MAX: usize = 1_024;

pub(crate) async fn append<S: Stream>(
    context: &mut Context<S>,
    state: &mut Authenticated,
    head: Result<AppendHead, ParseError>,
    literal: Literal,
) -> CommandResult {
    let sink = match open(context, state, head, literal).await {
        Ok(sink) => sink,
        Err(completion) => return refuse(context, literal, completion).await,
    };
    if literal.synchronising {
        context.frame.ask_for_literal().await?;
    }
    let sink = take_message(context, sink, literal.octets).await?;
    end_of_command(context).await?;
    let (uid_validity, uid) = sink?.finish().await.map_err(|error| failed(&error))?;
    Ok(Completion::ok_with(format!("APPENDUID {uid_validity} {uid}"), "APPEND"))
}

/// Checks all that can be checked before the message is there.
async fn open<S: Stream>(
    context: &Context<S>,
    state: &Authenticated,
    head: Result<AppendHead, ParseError>,
    literal: Literal,
) -> Result<Box<dyn AppendSink>, Completion> {
    let head = head?;
    if literal.octets == 0 {
        return Err(Completion::no("CANNOT", "Messaggio vuoto / The message is empty"));
    }
    if literal.octets > context.server.settings.limits.append_octets_max {
        return Err(literal_too_large());
    }
    let attributes = AppendAttributes { flags: head.flags, internal_date: head.internal_date };
    state
        .account
        .append(&head.mailbox, literal.octets, attributes)
        .await
        .map_err(|error| failed(&error))
}

fn failed(error: &StoreError) -> Completion {
    match error {
        StoreError::NoSuchMailboxName(_) | StoreError::NoSuchMailbox { .. } => try_create(),
        StoreError::LimitExceeded { .. } => literal_too_large(),
        other => refusal(other),
    }
}

/// The literal exceeds what is taken (RFC 7888 §4, RFC 4469 §4.2 for the code).
pub(crate) fn literal_too_large() -> Completion {
    Completion::no("TOOBIG", "Messaggio o dati troppo grandi / Message or literal too large")
}

/// Takes the message in. When it cannot be stored the rest is read all the same, so that the next
/// command is found, and the refusal returned.
async fn take_message<S: Stream>(
    context: &mut Context<S>,
    sink: Box<dyn AppendSink>,
    octets: u64,
) -> Result<Result<Box<dyn AppendSink>, Completion>, Disconnect> {
    let mut sink = Ok(sink);
    let mut missing = octets;
    while missing > 0 {
        let ask = usize::try_from(missing).unwrap_or(usize::MAX);
        let piece = context.frame.literal_piece(ask).await?;
        missing = missing.saturating_sub(piece.len() as u64);
        sink = match sink {
            // A message with NUL could never be fetched as it is (RFC 3501 §9 CHAR8).
            Ok(_) if piece.contains(&0) => Err(Completion::no(
                "CANNOT",
                "Il messaggio contiene ottetti NUL / The message contains NUL octets",
            )),
            Ok(mut open) => match open.write(&piece).await {
                Ok(()) => Ok(open),
                Err(error) => Err(failed(&error)),
            },
            refused => refused,
        };
    }
    Ok(sink)
}

async fn end_of_command<S: Stream>(context: &mut Context<S>) -> Result<(), Failure> {
    let rest = context.frame.line(LINE_END_OCTETS_MAX).await?;
    if rest.trim_ascii().is_empty() {
        return Ok(());
    }
    let text = "Un solo messaggio per APPEND / One message per APPEND";
    Err(Completion::bad(text).into())
}

/// Refuses the message. A client that waits does not send it; what comes unasked is read and
/// forgotten, when it is not larger than any message may be (RFC 7888 §4).
pub(crate) async fn refuse<S: Stream>(
    context: &mut Context<S>,
    literal: Literal,
    completion: Completion,
) -> CommandResult {
    if literal.synchronising {
        return Err(completion.into());
    }
    if literal.octets > context.server.settings.limits.append_octets_max {
        return Err(Disconnect::LiteralTooLarge(literal.octets).into());
    }
    let mut missing = usize::try_from(literal.octets).unwrap_or(usize::MAX);
    while missing > 0 {
        missing -= context.frame.literal_piece(missing).await?.len();
    }
    end_of_command(context).await?;
    Err(completion.into())
}
