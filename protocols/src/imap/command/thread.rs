//! THREAD and UID THREAD (RFC 5256 §3).

use storage::account::headers::page::{HeaderField, HeaderFields, MessageHeaders};

use crate::{
    imap::{
        completion::{CommandResult, Completion},
        found::{Searched, in_background, number, too_many},
        grammar::sort::{ThreadCommand, Threading},
        message::{
            base_subject::BaseSubject,
            message_id::message_ids,
            sort::{collated, sent},
            thread::{Forest, Identifiers, Message},
        },
        progress,
        selected::SelectedMailbox,
        session::Context,
    },
    lines::Stream,
};

/// References of one message that are looked at: the last ones.
const REFERENCES_MAX: usize = 1_000;

pub(crate) async fn thread<S: Stream>(
    context: &mut Context<S>,
    mailbox: &mut SelectedMailbox,
    command: ThreadCommand,
) -> CommandResult {
    let ThreadCommand { threading, program, uid, .. } = command;
    let octets_max = context.server.settings.limits.sort_octets_max;
    let searched = Searched::selected(mailbox);
    searched.admit(context, &program, &mut 0).await?;
    let found = searched.find(context, &program).await?;
    let mut identifiers = Identifiers::default();
    let mut octets = 0;
    let mut messages = Vec::with_capacity(found.len());
    searched
        .with_headers(context, &found, fields(threading), |index, row, headers| {
            let headers = headers.as_ref();
            let mut message = Message {
                number: number(searched.rows, index, uid),
                sent: sent(row, headers),
                arrived: row.internal_date.seconds(),
                ..Message::default()
            };
            if let Some(headers) = headers {
                relate(&mut message, headers, threading, &mut identifiers);
            }
            octets += size_of::<Message>()
                + message.subject.text.len()
                + size_of_val(message.references.as_slice());
            messages.push(message);
            let held = octets + identifiers.octets();
            if held > octets_max { Err(too_many().into()) } else { Ok(()) }
        })
        .await?;
    let count = identifiers.len();
    drop(identifiers);
    let threads = in_background(move || Forest::of(&messages, threading, count).written());
    let threads = progress::during(context, threads).await??;
    context.frame.put(b"* THREAD").await?;
    if !threads.is_empty() {
        context.frame.put(b" ").await?;
        context.frame.put(threads.as_bytes()).await?;
    }
    context.frame.put(b"\r\n").await?;
    Ok(Completion::ok("THREAD"))
}

/// The fields that [`relate`] reads.
fn fields(threading: Threading) -> HeaderFields {
    let subject = (threading != Threading::Refs).then_some(HeaderField::Subject);
    let identifiers = [HeaderField::MessageId, HeaderField::InReplyTo, HeaderField::References];
    let identifiers = identifiers.into_iter().filter(|_| threading != Threading::OrderedSubject);
    subject.into_iter().chain(identifiers).collect()
}

/// Fills in what the headers say of other messages. `In-Reply-To` counts where there are no
/// references, and its first identifier only (RFC 5256 §3).
fn relate(
    message: &mut Message,
    headers: &MessageHeaders,
    threading: Threading,
    identifiers: &mut Identifiers,
) {
    if threading != Threading::Refs {
        let subject = headers.text(HeaderField::Subject).unwrap_or_default();
        let BaseSubject { text, is_reply } = BaseSubject::of(subject);
        message.subject = BaseSubject { text: collated(&text).into(), is_reply };
    }
    if threading == Threading::OrderedSubject {
        return;
    }
    let ids = |field| message_ids(headers.text(field).unwrap_or_default());
    message.id = ids(HeaderField::MessageId).next().map(|id| identifiers.number(&id));
    let mut references: Vec<String> = ids(HeaderField::References).collect();
    if references.is_empty() {
        references.extend(ids(HeaderField::InReplyTo).next());
    }
    let some = references.len().saturating_sub(REFERENCES_MAX);
    message.references = references[some..].iter().map(|id| identifiers.number(id)).collect();
}
