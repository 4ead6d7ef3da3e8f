//! FETCH and UID FETCH (RFC 3501 §6.4.5, §6.4.8, §7.4.2).
//!
//! Envelopes and structures come from summaries; sections are streamed and touch only the chunks
//! that hold them.

use std::num::NonZeroU32;

use storage::{
    error::StoreError,
    ids::Uid,
    mailbox::{
        flags::{FlagChange, Flags},
        view::ListedMessage,
    },
    summary::Summary,
};

use crate::{
    imap::{
        completion::{CommandResult, Completion, Failure, refusal},
        grammar::{FetchItem, Section, SectionText, sequence::SequenceSet, write},
        message::{
            body_structure::{Form, write_body},
            content::send_literal,
            envelope::write_envelope,
            erased,
            section::{self, Octets},
        },
        selected::SelectedMailbox,
        server::ServerSettings,
        session::Context,
    },
    lines::{Disconnect, Stream},
};

/// Messages whose `\Seen` is set in one commit, before their octets are sent.
const SEEN_BATCH: usize = 256;

pub(crate) async fn fetch<S: Stream>(
    context: &mut Context<S>,
    mailbox: &mut SelectedMailbox,
    set: &SequenceSet,
    mut items: Vec<FetchItem>,
    uid: bool,
) -> CommandResult {
    let named = mailbox.resolve(set, uid)?;
    if uid && !items.contains(&FetchItem::Uid) {
        items.insert(0, FetchItem::Uid);
    }
    let marks_seen = mailbox.writable && items.iter().any(FetchItem::marks_seen);
    let mut failed = None;
    let mut erased = None;
    let mut readable = false;
    for batch in named.chunks(SEEN_BATCH) {
        let newly_seen = if marks_seen { mark_seen(mailbox, batch).await? } else { Vec::new() };
        for &index in batch {
            let Some(row) = mailbox.rows().get(index) else { continue };
            let with_flags = newly_seen.binary_search(&row.uid).is_ok();
            match fetch_message(context, mailbox, index, row, &items, with_flags).await? {
                Ok(()) => readable = true,
                Err(error @ StoreError::Erased { .. }) => erased = Some(error),
                // A UID that is gone is no error (§6.4.8), a number is (RFC 2180 §4.1).
                Err(StoreError::NoSuchMessage { .. }) if uid => {}
                Err(error) => failed = Some(refusal(&error)),
            }
        }
    }
    match (failed, erased) {
        (Some(completion), _) => Err(completion.into()),
        (None, Some(error)) if !readable => Err(error.into()),
        // One erased message among others must not spoil a client's synchronisation: it reads NIL.
        (None, Some(_)) => Ok(Completion::ok(
            "FETCH: alcuni messaggi sono stati cancellati / some of the messages were erased",
        )),
        (None, None) => Ok(Completion::ok("FETCH")),
    }
}

/// Sets `\Seen` where it is missing; returns the messages that got it, ascending.
async fn mark_seen(mailbox: &mut SelectedMailbox, batch: &[usize]) -> Result<Vec<Uid>, Failure> {
    let unseen: Vec<Uid> = batch
        .iter()
        .filter_map(|&index| mailbox.rows().get(index))
        .filter(|row| !row.flags.seen && !mailbox.is_expunged(row.uid))
        .map(|row| row.uid)
        .collect();
    if unseen.is_empty() {
        return Ok(unseen);
    }
    let seen = Flags { seen: true, ..Flags::default() };
    let (rows, _) = mailbox.view.store_flags(&unseen, FlagChange::Add, &seen, None).await?;
    let changed = rows.iter().map(|row| row.uid).collect();
    mailbox.learn_quietly(rows);
    Ok(changed)
}

/// One item, ready to be sent.
enum Answer {
    Octets(Vec<u8>),
    /// A label and the literal behind it; `None` where there is no such part.
    Literal(Vec<u8>, Option<Octets>),
    /// The label of octets that were erased.
    Erased(Vec<u8>),
}

fn erased_message(row: &ListedMessage) -> StoreError {
    let object = format!("message {}", row.email_number);
    StoreError::Erased { object, at: trust::clock::UnixMillis(0) }
}

/// Answers for one message. Nothing of it is sent when its summary or header cannot be read.
async fn fetch_message<S: Stream>(
    context: &mut Context<S>,
    mailbox: &SelectedMailbox,
    index: usize,
    row: &ListedMessage,
    items: &[FetchItem],
    with_flags: bool,
) -> Result<Result<(), StoreError>, Disconnect> {
    let answers = match answers(&context.server.settings, mailbox, row, items, with_flags).await {
        Ok(answers) => answers,
        Err(error) => return Ok(Err(error)),
    };
    let frame = &mut context.frame;
    frame.put(format!("* {} FETCH (", index + 1).as_bytes()).await?;
    let mut outcome = Ok(());
    for (position, answer) in answers.into_iter().enumerate() {
        if position > 0 {
            frame.put(b" ").await?;
        }
        match answer {
            Answer::Octets(octets) => frame.put(&octets).await?,
            Answer::Literal(label, None) => {
                frame.put(&label).await?;
                frame.put(b" NIL").await?;
            }
            Answer::Literal(label, Some(octets)) => {
                frame.put(&label).await?;
                frame.put(b" ").await?;
                let view = mailbox.view.as_ref();
                let sent = send_literal(frame, view, row.email_number, &octets).await?;
                outcome = outcome.and(sent);
            }
            Answer::Erased(label) => {
                frame.put(&label).await?;
                frame.put(b" NIL").await?;
                outcome = outcome.and_then(|()| Err(erased_message(row)));
            }
        }
    }
    frame.put(b")\r\n").await?;
    Ok(outcome)
}

async fn answers(
    settings: &ServerSettings,
    mailbox: &SelectedMailbox,
    row: &ListedMessage,
    items: &[FetchItem],
    with_flags: bool,
) -> Result<Vec<Answer>, StoreError> {
    let summary = if items.iter().any(needs_summary) {
        mailbox.view.summary(row.email_number).await?
    } else {
        std::sync::Arc::default()
    };
    let mut answers = Vec::with_capacity(items.len() + 1);
    for item in items {
        let answer = match wanted_section(item) {
            Some((label, section, partial)) if summary.erased => {
                match erased::section(&summary.envelope, &section) {
                    Some(octets) => Answer::Octets(literal(label, &octets, partial)),
                    None => Answer::Erased(label),
                }
            }
            Some((label, section, partial)) => {
                let found = if is_whole_message(&section) {
                    Some(Octets::range(0..row.size))
                } else {
                    let header_max = settings.limits.header_octets_max;
                    let view = mailbox.view.as_ref();
                    section::octets(view, row.email_number, &summary, &section, header_max).await?
                };
                let cut = |octets: Octets| match partial {
                    Some((origin, count)) => octets.part(origin.into(), count.get().into()),
                    None => octets,
                };
                Answer::Literal(label, found.map(cut))
            }
            None => Answer::Octets(attribute(settings, mailbox, row, item, &summary)),
        };
        answers.push(answer);
    }
    if with_flags && !items.contains(&FetchItem::Flags) {
        let flags = attribute(settings, mailbox, row, &FetchItem::Flags, &summary);
        answers.push(Answer::Octets(flags));
    }
    Ok(answers)
}

/// `label` and as much of `octets` as `partial` asks for, as a literal.
fn literal(mut label: Vec<u8>, octets: &[u8], partial: Option<(u32, NonZeroU32)>) -> Vec<u8> {
    let place = |number: u32| usize::try_from(number).unwrap_or(usize::MAX).min(octets.len());
    let (from, to) = partial.map_or((0, octets.len()), |(origin, count)| {
        (place(origin), place(origin.saturating_add(count.get())))
    });
    let octets = octets.get(from..to).unwrap_or_default();
    label.push(b' ');
    write::literal_announcement(&mut label, octets.len() as u64);
    label.extend_from_slice(octets);
    label
}

fn needs_summary(item: &FetchItem) -> bool {
    match item {
        FetchItem::Envelope
        | FetchItem::Body
        | FetchItem::BodyStructure
        | FetchItem::Rfc822Header
        | FetchItem::Rfc822Text => true,
        FetchItem::Section { section, .. } => !is_whole_message(section),
        _ => false,
    }
}

fn is_whole_message(section: &Section) -> bool {
    section.part.is_empty() && section.text == SectionText::Whole
}

/// An item that is answered without reading the message.
fn attribute(
    settings: &ServerSettings,
    mailbox: &SelectedMailbox,
    row: &ListedMessage,
    item: &FetchItem,
    summary: &Summary,
) -> Vec<u8> {
    let mut out = Vec::new();
    match item {
        FetchItem::Uid => out.extend_from_slice(format!("UID {}", row.uid).as_bytes()),
        FetchItem::Flags => {
            out.extend_from_slice(b"FLAGS ");
            write::flags(&mut out, &row.flags, mailbox.is_recent(row.uid));
        }
        FetchItem::InternalDate => {
            out.extend_from_slice(b"INTERNALDATE ");
            write::date_time(&mut out, row.internal_date, &settings.time_zone);
        }
        FetchItem::Rfc822Size => {
            out.extend_from_slice(format!("RFC822.SIZE {}", row.size).as_bytes());
        }
        FetchItem::Envelope => {
            out.extend_from_slice(b"ENVELOPE ");
            write_envelope(&mut out, &summary.envelope);
        }
        FetchItem::Body => {
            out.extend_from_slice(b"BODY ");
            write_body(&mut out, &summary.body, Form::Basic);
        }
        FetchItem::BodyStructure => {
            out.extend_from_slice(b"BODYSTRUCTURE ");
            write_body(&mut out, &summary.body, Form::Extended);
        }
        FetchItem::Rfc822
        | FetchItem::Rfc822Header
        | FetchItem::Rfc822Text
        | FetchItem::Section { .. } => {}
    }
    out
}

type WantedSection = (Vec<u8>, Section, Option<(u32, NonZeroU32)>);

/// The label and section of an item that is answered with octets of the message.
fn wanted_section(item: &FetchItem) -> Option<WantedSection> {
    let whole = |label: &[u8], text| (label.to_vec(), Section { part: Vec::new(), text }, None);
    Some(match item {
        FetchItem::Rfc822 => whole(b"RFC822", SectionText::Whole),
        FetchItem::Rfc822Header => whole(b"RFC822.HEADER", SectionText::Header),
        FetchItem::Rfc822Text => whole(b"RFC822.TEXT", SectionText::Text),
        FetchItem::Section { section, partial, .. } => {
            (label(section, *partial), section.clone(), *partial)
        }
        _ => return None,
    })
}

/// `BODY[section]<origin>`, the section as the client wrote it.
fn label(section: &Section, partial: Option<(u32, NonZeroU32)>) -> Vec<u8> {
    let mut words: Vec<String> = section.part.iter().map(ToString::to_string).collect();
    let mut fields: &[Vec<u8>] = &[];
    match &section.text {
        SectionText::Whole => {}
        SectionText::Header => words.push("HEADER".to_owned()),
        SectionText::Text => words.push("TEXT".to_owned()),
        SectionText::Mime => words.push("MIME".to_owned()),
        SectionText::HeaderFields(names) => {
            words.push("HEADER.FIELDS".to_owned());
            fields = names;
        }
        SectionText::HeaderFieldsNot(names) => {
            words.push("HEADER.FIELDS.NOT".to_owned());
            fields = names;
        }
    }
    let mut label = format!("BODY[{}", words.join(".")).into_bytes();
    for (position, name) in fields.iter().enumerate() {
        label.extend_from_slice(if position == 0 { b" (" } else { b" " });
        write::astring(&mut label, name);
    }
    label.extend_from_slice(if fields.is_empty() { b"]" } else { b")]" });
    if let Some((origin, _)) = partial {
        label.extend_from_slice(format!("<{origin}>").as_bytes());
    }
    label
}
