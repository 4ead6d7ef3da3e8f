//! APPEND (RFC 9051 §6.3.12), of several messages (RFC 3502), put together from parts (RFC 4469,
//! RFC 5550 §3.11), in UTF-8 (RFC 6855 §4), and REPLACE (RFC 8508), with APPENDUID (RFC 4315 §3).
//!
//! Messages go from the socket to the store piece by piece, and come in together or not at all. What
//! is known to fail fails before a synchronising client sends anything.

use storage::{error::StoreError, ids::Uid, mailbox::append::Replaced};

use super::{copy::try_create, expunge::check_writable};
use crate::{
    access::{AppendAttributes, AppendSink},
    imap::{
        command::append_url::{Destination, Sources, copy_url},
        completion::{CommandResult, Completion, Failure, expunged, refusal},
        frame::{Literal, ReadAppend},
        grammar::{
            append::{Replace, Script, Step},
            sequence::write_set,
        },
        message_limit, progress,
        selected::SelectedMailbox,
        session::{Authenticated, Context},
        snapshots,
    },
    lines::{Disconnect, Stream},
};
/// Octets of the line that ends the command behind the last message.
const LINE_END_OCTETS_MAX: usize = 1_024;

/// The grammar sees a literal only where the frame has seen one.
fn announced_nothing() -> Completion {
    Completion::bad("Manca il messaggio / The message is missing")
}

/// Messages on their way, or why they are refused.
type Coming = Result<Messages, Completion>;

/// What has come so far.
struct Messages {
    sink: Box<dyn AppendSink>,
    replaced: Option<Replaced>,
    /// How many messages were begun.
    count: usize,
    /// Octets of the one that is coming.
    octets: u64,
    /// Whether the store knows its size.
    announced: bool,
}

pub(crate) async fn append<S: Stream>(
    context: &mut Context<S>,
    state: &Authenticated,
    mut selected: Option<&mut SelectedMailbox>,
    begun: ReadAppend,
    mut literal: Option<Literal>,
) -> CommandResult {
    let (mut script, mut steps) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            let octets_max = context.server.settings.limits.append_octets_max;
            return refuse(context, literal, octets_max, error.into()).await;
        }
    };
    let mut coming = open(state, selected.as_deref(), &script).await;
    let mut opened = None;
    let mut forgotten = false;
    loop {
        for step in steps {
            match step {
                Step::Begin { flags, internal_date, whole } => {
                    next_message(context, &coming, &mut forgotten)?;
                    let size = literal.filter(|_| whole).map(|literal| literal.octets);
                    let attributes = AppendAttributes { flags, internal_date };
                    coming = begin(context, coming, size, attributes).await;
                }
                Step::Url(url) => {
                    if let Ok(messages) = &mut coming {
                        context.frame.take_turns().await?;
                        if context.stopping.is_cancelled() {
                            return Err(Disconnect::Stopping.into());
                        }
                        let from = Sources { state, selected: selected.as_deref() };
                        let limit = context.server.settings.limits.append_octets_max;
                        let (left, counted) =
                            (limit - messages.octets, messages.replaced.is_none());
                        let sink = Destination { sink: &mut *messages.sink, left, counted };
                        match copy_url(context, &from, &mut opened, &url, sink).await {
                            Ok(octets) => {
                                messages.octets += octets;
                                context.frame.count(octets);
                            }
                            Err(completion) => coming = Err(completion),
                        }
                    }
                }
                Step::Literal { eight_bit } => {
                    let announced = literal.ok_or_else(announced_nothing)?;
                    coming = take_literal(context, coming, announced, eight_bit).await?;
                }
                Step::End => return finish(context, selected.take(), coming?).await,
            }
        }
        let (more, next) = context.frame.after_message(script).await?;
        literal = next;
        (script, steps) = match more {
            Ok(read) => read,
            Err(error) => {
                let octets_max = context.server.settings.limits.append_octets_max;
                return refuse(context, literal, octets_max, error.into()).await;
            }
        };
    }
}

/// Checks all that can be checked before a message is there.
async fn open(
    state: &Authenticated,
    selected: Option<&SelectedMailbox>,
    script: &Script,
) -> Coming {
    let target = script.target();
    let replaced = match &target.replace {
        Some(replace) => Some(find_replaced(selected, replace).await?),
        None => None,
    };
    snapshots::unchanged(&target.mailbox)?;
    let sink = state.account.append(&target.mailbox).await.map_err(|error| failed(&error))?;
    Ok(Messages { sink, replaced, count: 0, octets: 0, announced: false })
}

/// The one message that REPLACE names (RFC 8508 §3.2).
async fn find_replaced(
    selected: Option<&SelectedMailbox>,
    replace: &Replace,
) -> Result<Replaced, Completion> {
    let mailbox = selected.ok_or_else(crate::imap::session::wrong_state)?;
    check_writable(mailbox)?;
    let named = mailbox.uids(&mailbox.resolve(&replace.set, replace.uid)?);
    let [uid] = named[..] else {
        return Err(if named.is_empty() {
            expunged()
        } else {
            Completion::bad("REPLACE riguarda un solo messaggio / REPLACE takes one message")
        });
    };
    if mailbox.is_expunged(uid) {
        return Err(expunged());
    }
    let state = mailbox.view.state().await.map_err(|error| refusal(&error))?;
    Ok(Replaced { mailbox: state.mailbox_id, uid })
}

/// Begins the time of a message. All that comes once the command is refused has the time of one
/// message: `forgotten` says whether that has begun.
fn next_message<S: Stream>(
    context: &mut Context<S>,
    coming: &Coming,
    forgotten: &mut bool,
) -> Result<(), Disconnect> {
    if context.stopping.is_cancelled() {
        return Err(Disconnect::Stopping);
    }
    if !std::mem::replace(forgotten, coming.is_err()) {
        context.frame.begin_message();
    }
    Ok(())
}

async fn begin<S: Stream>(
    context: &Context<S>,
    coming: Coming,
    size: Option<u64>,
    attributes: AppendAttributes,
) -> Coming {
    let mut messages = coming?;
    let limits = &context.server.settings.limits;
    messages.count += 1;
    // RFC 9738 §3, §3.1.
    let announced = limits.message_limit.unwrap_or(limits.save_limit);
    if messages.count as u64 > u64::from(announced.get()) {
        return Err(message_limit::too_many(announced));
    }
    if messages.count > limits.append_messages_max {
        return Err(Completion::no(
            "LIMIT",
            "Troppi messaggi in un comando / Too many messages in one command",
        ));
    }
    let before_is_empty = messages.count > 1 && messages.octets == 0;
    if size == Some(0) || before_is_empty {
        return Err(empty());
    }
    if size.is_some_and(|size| size > limits.append_octets_max) {
        return Err(literal_too_large());
    }
    // What is replaced gives its space back in the same step.
    let counted = if messages.replaced.is_some() { None } else { size };
    messages.sink.begin(counted, attributes).await.map_err(|error| failed(&error))?;
    (messages.octets, messages.announced) = (0, counted.is_some());
    Ok(messages)
}

pub(super) fn failed(error: &StoreError) -> Completion {
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

/// Takes a literal in. When it cannot be stored a synchronising client is told before it sends it;
/// what comes unasked is read and forgotten, so that the rest of the command is found.
async fn take_literal<S: Stream>(
    context: &mut Context<S>,
    mut coming: Coming,
    literal: Literal,
    eight_bit: bool,
) -> Result<Coming, Failure> {
    let limit = context.server.settings.limits.append_octets_max;
    if let Ok(messages) = &mut coming {
        let counted = messages.announced || messages.replaced.is_some();
        messages.octets = messages.octets.saturating_add(literal.octets);
        if messages.octets > limit {
            coming = Err(literal_too_large());
        } else if !counted && let Err(error) = messages.sink.expect(literal.octets).await {
            coming = Err(failed(&error));
        }
    }
    if literal.synchronising {
        if let Err(completion) = coming {
            return Err(completion.into());
        }
        context.frame.ask_for_literal().await?;
    }
    // A literal larger than any message is not read to its end (RFC 7888 §4).
    if literal.octets > limit {
        return Err(Disconnect::LiteralTooLarge(literal.octets).into());
    }
    let mut missing = literal.octets;
    while missing > 0 {
        let ask = usize::try_from(missing).unwrap_or(usize::MAX);
        let piece = context.frame.literal_piece(ask).await?;
        missing = missing.saturating_sub(piece.len() as u64);
        coming = match coming {
            Ok(_) if piece.contains(&0) => Err(holds_nul(eight_bit)),
            Ok(mut messages) => match messages.sink.write(&piece).await {
                Ok(()) => Ok(messages),
                Err(error) => Err(failed(&error)),
            },
            refused => refused,
        };
    }
    Ok(coming)
}

/// A message with NUL could never be fetched as it is (RFC 9051 §9 CHAR8); a mailbox need not store
/// binary parts (RFC 3516 §4.4).
fn holds_nul(eight_bit: bool) -> Completion {
    let code = if eight_bit { "UNKNOWN-CTE" } else { "CANNOT" };
    Completion::no(
        code,
        "Il messaggio contiene ottetti NUL: codificarli in base64 / The message contains NUL octets: encode them in base64",
    )
}

fn empty() -> Completion {
    Completion::no("CANNOT", "Messaggio vuoto / The message is empty")
}

async fn finish<S: Stream>(
    context: &mut Context<S>,
    selected: Option<&mut SelectedMailbox>,
    messages: Messages,
) -> CommandResult {
    let Messages { sink, replaced, octets, .. } = messages;
    if octets == 0 {
        return Err(empty().into());
    }
    let (uid_validity, uids) = match progress::during(context, sink.finish(replaced)).await? {
        Ok(appended) => appended,
        Err(StoreError::NoSuchUid { .. }) => return Err(expunged().into()),
        Err(error) => return Err(failed(&error).into()),
    };
    context.notify.arrived(uid_validity, uids.iter().copied());
    let code = format!("APPENDUID {uid_validity} {}", write_set(uids.into_iter().map(Uid::get)));
    match (replaced, selected) {
        (Some(Replaced { uid, .. }), Some(mailbox)) => {
            // The client learns where the new message is before the old one goes (RFC 8508 §3.4).
            let line = format!("* OK [{code}] Sostituito / Replaced\r\n");
            context.frame.put(line.as_bytes()).await?;
            mailbox.forget(uid);
            Ok(Completion::ok("REPLACE"))
        }
        _ => Ok(Completion::ok_with(code, "APPEND")),
    }
}

/// Refuses the command. A client that waits does not send its literal; what comes unasked is read and
/// forgotten, up to the end of the command or a literal of more than `octets_max` (RFC 7888 §4).
pub(crate) async fn refuse<S: Stream>(
    context: &mut Context<S>,
    mut literal: Option<Literal>,
    octets_max: u64,
    completion: Completion,
) -> CommandResult {
    let messages_max = context.server.settings.limits.append_messages_max;
    context.frame.begin_message();
    for _ in 0..messages_max {
        let Some(coming) = literal.filter(|literal| !literal.synchronising) else {
            return Err(completion.into());
        };
        if coming.octets > octets_max {
            break;
        }
        let mut missing = usize::try_from(coming.octets).unwrap_or(usize::MAX);
        while missing > 0 {
            missing -= context.frame.literal_piece(missing).await?.len();
        }
        literal = context.frame.rest_of_line(LINE_END_OCTETS_MAX).await?;
    }
    Err(Disconnect::LiteralTooLarge(literal.map_or(0, |literal| literal.octets)).into())
}
