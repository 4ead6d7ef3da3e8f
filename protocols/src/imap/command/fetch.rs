//! FETCH and UID FETCH (RFC 3501 §6.4.5, §6.4.8, §7.4.2), what changed since another visit
//! (RFC 7162 §3.1.4, §3.2.6), and pages of a mailbox (RFC 9394 §3.3).
//!
//! Envelopes and structures come from summaries; sections are streamed and touch only the chunks
//! that hold them.

use std::{ops::RangeInclusive, sync::Arc};

use storage::{
    error::StoreError,
    ids::{ModSeq, Uid},
    mailbox::{
        flags::{FlagChange, Flags},
        view::ListedMessage,
    },
    summary::Summary,
};

use crate::{
    imap::{
        completion::{CommandResult, Completion, Failure, refusal},
        enabled::Enabled,
        grammar::{
            Fetch, FetchItem, Section, SectionText,
            fetch::Partial,
            sequence::{SequenceNumber, SequenceSet},
            write,
        },
        message::{
            attribute::Attributes,
            binary::{Binary, UnknownEncoding},
            content::send_literal,
            erased,
            section::{self, Octets},
        },
        message_limit::{self, Exceeded},
        resync,
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
    mut fetch: Fetch,
) -> CommandResult {
    let asks_mod_seq = fetch.changed_since.is_some() || fetch.items.contains(&FetchItem::ModSeq);
    if asks_mod_seq && !mailbox.keeps_mod_seq() {
        return Err(no_mod_seq().into());
    }
    let (named, exceeded) = named(context, mailbox, &fetch)?;
    if let (true, Some(since)) = (fetch.vanished, fetch.changed_since) {
        tell_vanished(context, mailbox, &fetch.set, since).await?;
    }
    if fetch.uid && !context.enabled.uid_only && !fetch.items.contains(&FetchItem::Uid) {
        fetch.items.insert(0, FetchItem::Uid);
    }
    if fetch.changed_since.is_some() && !fetch.items.contains(&FetchItem::ModSeq) {
        fetch.items.push(FetchItem::ModSeq);
    }
    let marks_seen = mailbox.writable && fetch.items.iter().any(FetchItem::marks_seen);
    let mut outcome = Outcome::default();
    for batch in named.chunks(SEEN_BATCH) {
        let newly_seen = if marks_seen {
            mark_seen(context, mailbox, batch, &fetch.items).await?
        } else {
            Vec::new()
        };
        for &index in batch {
            let Some(row) = mailbox.rows().get(index) else { continue };
            let with_flags = newly_seen.binary_search(&row.uid).is_ok();
            let uid = row.uid;
            let answered =
                fetch_message(context, mailbox, index, row, &fetch.items, with_flags).await?;
            if with_flags && answered.is_err() {
                mailbox.tell_again(uid);
            }
            outcome.take(answered, fetch.uid);
        }
    }
    let completion = outcome.completion();
    match exceeded {
        None => completion,
        Some(exceeded) => match completion {
            Ok(_) if !outcome.some_erased => Ok(exceeded.completion()),
            other => {
                context.frame.put(exceeded.notice().as_bytes()).await?;
                other
            }
        },
    }
}

/// The mailbox keeps no modification sequences (RFC 7162 §3.1.2.2).
pub(crate) fn no_mod_seq() -> Completion {
    Completion::bad("Cartella senza MODSEQ / This mailbox keeps no MODSEQ")
}

/// The messages that are asked for, as indexes: ascending, or from the newest on where there are
/// more than one command works on (RFC 9738 §3.1).
fn named<S>(
    context: &Context<S>,
    mailbox: &SelectedMailbox,
    fetch: &Fetch,
) -> Result<(Vec<usize>, Option<Exceeded>), Completion> {
    let limit = context.server.settings.limits.message_limit;
    let mut named = mailbox.resolve(&fetch.set, fetch.uid)?;
    if let Some(page) = fetch.partial {
        if let Some(limit) = limit.filter(|limit| page.span() > u64::from(limit.get())) {
            return Err(message_limit::too_many(limit));
        }
        let places = page.places(named.len());
        named = named.get(places).unwrap_or_default().to_vec();
    }
    let exceeded = message_limit::cut(mailbox.rows(), &mut named, limit);
    // The page is taken first (RFC 9394 §3.4).
    if let Some(since) = fetch.changed_since {
        named.retain(|&index| mailbox.rows().get(index).is_some_and(|row| row.mod_seq > since));
    }
    if exceeded.is_some() {
        named.reverse();
    }
    Ok((named, exceeded))
}

/// Tells which of `set` are gone since `since`, before any message is told of
/// (RFC 7162 §3.2.6).
async fn tell_vanished<S: Stream>(
    context: &mut Context<S>,
    mailbox: &SelectedMailbox,
    set: &SequenceSet,
    since: ModSeq,
) -> Result<(), Failure> {
    // What is gone may have had a higher UID than every message that is left.
    let largest = match set {
        SequenceSet::Ranges(_) if set.names_largest() => {
            let next = mailbox.view.state().await?.uid_next.map_or(u32::MAX, Uid::get);
            next.saturating_sub(1)
        }
        _ => 0,
    };
    let asked: Vec<RangeInclusive<u32>> = match set {
        SequenceSet::Saved => return Ok(()),
        SequenceSet::Ranges(ranges) => {
            let only_largest = |range: &(SequenceNumber, SequenceNumber)| {
                *range == (SequenceNumber::Largest, SequenceNumber::Largest)
            };
            if ranges.iter().all(only_largest) { Vec::new() } else { set.resolve(largest) }
        }
    };
    let gone = resync::vanished(mailbox, &asked, since, 0).await?;
    if !gone.is_empty() {
        let line = format!("* VANISHED (EARLIER) {}\r\n", resync::set_of(&gone));
        context.frame.put(line.as_bytes()).await?;
    }
    Ok(())
}

/// Why a message was not told of as asked.
enum Unanswered {
    Store(StoreError),
    /// NO with UNKNOWN-CTE (RFC 3516 §4.3).
    UnknownEncoding,
}

impl From<StoreError> for Unanswered {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<UnknownEncoding> for Unanswered {
    fn from(_: UnknownEncoding) -> Self {
        Self::UnknownEncoding
    }
}

/// How the messages so far went.
#[derive(Default)]
struct Outcome {
    failed: Option<Completion>,
    erased: Option<StoreError>,
    some_erased: bool,
    readable: bool,
}

impl Outcome {
    fn take(&mut self, answered: Result<(), Unanswered>, uid: bool) {
        match answered {
            Ok(()) => self.readable = true,
            Err(Unanswered::UnknownEncoding) => {
                self.failed = Some(Completion::no(
                    "UNKNOWN-CTE",
                    "Codifica della parte non nota: usare BODY / Unknown transfer encoding: use BODY",
                ));
            }
            Err(Unanswered::Store(error @ StoreError::Erased { .. })) => {
                self.erased = Some(error);
                self.some_erased = true;
            }
            // A UID that is gone is no error (§6.4.8), a number is (RFC 2180 §4.1).
            Err(Unanswered::Store(StoreError::NoSuchMessage { .. })) if uid => {}
            Err(Unanswered::Store(error)) => self.failed = Some(refusal(&error)),
        }
    }

    fn completion(&mut self) -> CommandResult {
        match (self.failed.take(), self.erased.take()) {
            (Some(completion), _) => Err(completion.into()),
            (None, Some(error)) if !self.readable => Err(error.into()),
            // One erased message among others must not spoil a client's synchronisation: it reads
            // NIL.
            (None, Some(_)) => Ok(Completion::ok(
                "FETCH: alcuni messaggi sono stati cancellati / some of the messages were erased",
            )),
            (None, None) => Ok(Completion::ok("FETCH")),
        }
    }
}

/// Sets `\Seen` where it is missing and `items` can be answered; returns the messages that got it,
/// ascending. A message of which nothing will be sent has not been read.
async fn mark_seen<S: Stream>(
    context: &Context<S>,
    mailbox: &mut SelectedMailbox,
    batch: &[usize],
    items: &[FetchItem],
) -> Result<Vec<Uid>, Failure> {
    let (settings, enabled) = (&context.server.settings, context.enabled);
    // Whole messages are answered whatever is in them.
    let may_fail = items.iter().any(needs_summary);
    let mut unseen = Vec::new();
    for row in batch.iter().filter_map(|&index| mailbox.rows().get(index)) {
        if row.flags.seen || mailbox.is_expunged(row.uid) {
            continue;
        }
        let answerer = Answerer { settings, enabled, mailbox, row };
        if !may_fail || answerer.answers(items, false).await.is_ok() {
            unseen.push(row.uid);
        }
    }
    unseen.sort_unstable();
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
    /// A label and the decoded part behind it.
    Binary(Vec<u8>, Binary),
    /// The label of octets that were erased.
    Erased(Vec<u8>),
}

impl Answer {
    /// A label whose octets do not exist.
    fn nil(mut label: Vec<u8>) -> Self {
        label.extend_from_slice(b" NIL");
        Self::Octets(label)
    }
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
) -> Result<Result<(), Unanswered>, Disconnect> {
    let (settings, enabled) = (&context.server.settings, context.enabled);
    let answerer = Answerer { settings, enabled, mailbox, row };
    let answers = match answerer.answers(items, with_flags).await {
        Ok(answers) => answers,
        Err(unanswered) => return Ok(Err(unanswered)),
    };
    let frame = &mut context.frame;
    frame.put(mailbox.fetch_start(index, enabled).as_bytes()).await?;
    let (view, number) = (mailbox.view.as_ref(), row.email_number);
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
                let sent = send_literal(frame, view, number, &octets).await?;
                outcome = outcome.and(sent);
            }
            Answer::Binary(label, binary) => {
                frame.put(&label).await?;
                frame.put(b" ").await?;
                let sent = binary.send(frame, view, number).await?;
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
    Ok(outcome.map_err(Unanswered::from))
}

/// Tells of a new message at `index` what the client wants to know of every such one
/// (RFC 5465 §5.2). Nobody reads it by that: it stays unseen. Of a message that is gone already, or
/// can never be read again, nothing is said; `false` is for one that may be read later.
pub(crate) async fn tell_new<S: Stream>(
    context: &mut Context<S>,
    mailbox: &SelectedMailbox,
    index: usize,
    mut items: Vec<FetchItem>,
) -> Result<bool, Disconnect> {
    let Some(row) = mailbox.rows().get(index) else { return Ok(true) };
    // RFC 7162 §3.1, §3.2.4: what nobody asked for names its UID, and its MODSEQ where that is told.
    let (uid, mod_seq) = (!context.enabled.uid_only, context.enabled.condstore);
    let told = [(uid, FetchItem::Uid), (mod_seq && mailbox.keeps_mod_seq(), FetchItem::ModSeq)];
    for (_, item) in told.into_iter().filter(|(told, _)| *told).rev() {
        items.retain(|one| *one != item);
        items.insert(0, item);
    }
    if !mailbox.keeps_mod_seq() {
        items.retain(|item| *item != FetchItem::ModSeq);
    }
    let told = fetch_message(context, mailbox, index, row, &items, false).await?;
    let later = matches!(told, Err(Unanswered::Store(error)) if error.is_temporary());
    Ok(!later)
}

/// Answers of one message.
struct Answerer<'a> {
    settings: &'a ServerSettings,
    enabled: Enabled,
    mailbox: &'a SelectedMailbox,
    row: &'a ListedMessage,
}

impl Answerer<'_> {
    async fn answers(
        &self,
        items: &[FetchItem],
        with_flags: bool,
    ) -> Result<Vec<Answer>, Unanswered> {
        let summary = if items.iter().any(needs_summary) {
            self.mailbox.view.summary(self.row.email_number).await?
        } else {
            Arc::default()
        };
        let mut answers = Vec::with_capacity(items.len() + 2);
        for item in items {
            answers.push(match item {
                FetchItem::Binary { part, partial, .. } => binary(&summary, part, *partial)?,
                FetchItem::BinarySize { part } => self.binary_size(&summary, part).await?,
                other => match wanted_section(other) {
                    Some(wanted) => self.section(&summary, wanted).await?,
                    None => self.attribute(&summary, other),
                },
            });
        }
        if with_flags {
            let mod_seq = self.enabled.condstore && self.mailbox.keeps_mod_seq();
            let told = [(true, FetchItem::Flags), (mod_seq, FetchItem::ModSeq)];
            for (_, item) in told.into_iter().filter(|(told, item)| *told && !items.contains(item))
            {
                answers.push(self.attribute(&summary, &item));
            }
        }
        Ok(answers)
    }

    /// An item that is answered without reading the message.
    fn attribute(&self, summary: &Summary, item: &FetchItem) -> Answer {
        let attributes = Attributes {
            view: self.mailbox.view.as_ref(),
            row: self.row,
            summary,
            recent: self.mailbox.shows_recent(self.row.uid, self.enabled),
            strings: self.enabled.strings(),
            zone: &self.settings.time_zone,
        };
        let mut out = Vec::new();
        attributes.write(&mut out, item);
        Answer::Octets(out)
    }

    async fn section(
        &self,
        summary: &Summary,
        (label, section, partial): WantedSection,
    ) -> Result<Answer, Unanswered> {
        if summary.erased {
            return Ok(match erased::section(&summary.envelope, &section) {
                Some(octets) => Answer::Octets(literal(label, &octets, partial)),
                None => Answer::Erased(label),
            });
        }
        let found = if is_whole_message(&section) {
            Some(Octets::range(0..self.row.size))
        } else {
            let header_max = self.settings.limits.header_octets_max;
            let view = self.mailbox.view.as_ref();
            section::octets(view, self.row.email_number, summary, &section, header_max).await?
        };
        let cut = |octets: Octets| match partial {
            Some((origin, count)) => octets.part(origin, count.get()),
            None => octets,
        };
        Ok(Answer::Literal(label, found.map(cut)))
    }

    /// BINARY.SIZE: 0 for a part that is not there, because it is a number (RFC 3516 §7).
    async fn binary_size(&self, summary: &Summary, part: &[u32]) -> Result<Answer, Unanswered> {
        let found = if summary.erased { None } else { Binary::find(summary, part, None)? };
        let size = match found {
            Some(binary) => {
                binary.length(self.mailbox.view.as_ref(), self.row.email_number).await?
            }
            None => 0,
        };
        let mut answer = label(b"BINARY.SIZE", &whole(part), None);
        answer.extend_from_slice(format!(" {size}").as_bytes());
        Ok(Answer::Octets(answer))
    }
}

fn binary(summary: &Summary, part: &[u32], partial: Partial) -> Result<Answer, Unanswered> {
    let label = label(b"BINARY", &whole(part), partial);
    if summary.erased {
        return Ok(Answer::Erased(label));
    }
    Ok(match Binary::find(summary, part, partial)? {
        Some(binary) => Answer::Binary(label, binary),
        None => Answer::nil(label),
    })
}

/// `label` and as much of `octets` as `partial` asks for, as a literal.
fn literal(mut label: Vec<u8>, octets: &[u8], partial: Partial) -> Vec<u8> {
    let place = |number: u64| usize::try_from(number).unwrap_or(usize::MAX).min(octets.len());
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
        | FetchItem::Rfc822Text
        | FetchItem::Preview { .. }
        | FetchItem::Binary { .. }
        | FetchItem::BinarySize { .. } => true,
        FetchItem::Section { section, .. } => !is_whole_message(section),
        _ => false,
    }
}

fn is_whole_message(section: &Section) -> bool {
    section.part.is_empty() && section.text == SectionText::Whole
}

fn whole(part: &[u32]) -> Section {
    Section { part: part.to_vec(), text: SectionText::Whole }
}

type WantedSection = (Vec<u8>, Section, Partial);

/// The label and section of an item that is answered with octets of the message.
fn wanted_section(item: &FetchItem) -> Option<WantedSection> {
    let whole = |label: &[u8], text| (label.to_vec(), Section { part: Vec::new(), text }, None);
    Some(match item {
        FetchItem::Rfc822 => whole(b"RFC822", SectionText::Whole),
        FetchItem::Rfc822Header => whole(b"RFC822.HEADER", SectionText::Header),
        FetchItem::Rfc822Text => whole(b"RFC822.TEXT", SectionText::Text),
        FetchItem::Section { section, partial, .. } => {
            (label(b"BODY", section, *partial), section.clone(), *partial)
        }
        _ => return None,
    })
}

/// `name[section]<origin>`, the section as the client wrote it.
fn label(name: &[u8], section: &Section, partial: Partial) -> Vec<u8> {
    let mut label = name.to_vec();
    section.write(&mut label);
    if let Some((origin, _)) = partial {
        label.extend_from_slice(format!("<{origin}>").as_bytes());
    }
    label
}
