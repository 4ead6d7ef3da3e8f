//! What a search finds in one mailbox, and the responses that tell it: SEARCH, SORT (RFC 3501 §7.2.5,
//! RFC 5256 §4) and ESEARCH (RFC 4731 §3).
//!
//! Invariants:
//!
//! * What is found is indexes of rows; what is told, sequence numbers or UIDs of them.
//! * Messages are judged some thousand at a time: their headers are all that is held of them. After
//!   each time other tasks have their turn, and a client that has gone away ends the search.
//!
//! Not here: whether a message matches (`message::search`).

use std::{borrow::Cow, collections::BTreeSet, ops::RangeInclusive, sync::Arc};

use storage::{
    account::headers::page::{HeaderFields, MessageHeaders},
    ids::{EmailNumber, Uid, UidValidity},
    mailbox::view::{ListedMessage, MailboxView},
};

use super::{
    command::fetch::no_mod_seq,
    completion::{Completion, Failure},
    grammar::{
        mailbox_name::NameForm,
        results::Results,
        search::{SearchKey, SearchProgram},
        sequence::{SequenceSet, write_set},
        write,
    },
    message::search::{Candidate, Search},
    message_limit::{self, Exceeded},
    places::{self, Places},
    progress,
    selected::SelectedMailbox,
    session::Context,
};
use crate::lines::{Disconnect, Stream};

/// Messages that are judged together: that many headers are held, about half a kilobyte each.
const MESSAGES_AT_ONCE: usize = 8_192;

/// As many where more than kept headers may have to be read of each.
const CONTENTS_AT_ONCE: usize = 2_048;

/// Numbers written at a time.
const NUMBERS_AT_ONCE: usize = 1_024;

/// The messages of a mailbox that are searched through.
pub(crate) struct Searched<'a> {
    pub(crate) view: &'a dyn MailboxView,
    pub(crate) rows: &'a [ListedMessage],
    /// `None` = the client has not selected the mailbox.
    pub(crate) selected: Option<&'a SelectedMailbox>,
}

impl<'a> Searched<'a> {
    /// What the client knows of its selected mailbox.
    pub(crate) fn selected(mailbox: &'a SelectedMailbox) -> Self {
        Self { view: mailbox.view.as_ref(), rows: mailbox.rows(), selected: Some(mailbox) }
    }

    /// Returns those rows that match, as ascending indexes; a message that is gone does not.
    pub(crate) async fn find<S: Stream>(
        &self,
        context: &mut Context<S>,
        program: &SearchProgram,
    ) -> Result<Vec<usize>, Failure> {
        self.check_mod_seq(program)?;
        let all: Vec<usize> = (0..self.rows.len()).collect();
        self.find_among(context, program, &all).await
    }

    /// As [`Self::find`], among the newest messages that `program` names where they are more than
    /// one command works on (RFC 9738 §3.1).
    pub(crate) async fn find_newest<S: Stream>(
        &self,
        context: &mut Context<S>,
        program: &SearchProgram,
    ) -> Result<(Vec<usize>, Option<Exceeded>), Failure> {
        let Some(limit) = context.server.settings.limits.message_limit else {
            return Ok((self.find(context, program).await?, None));
        };
        self.check_mod_seq(program)?;
        let mut named = self.named(context, program, message_limit::most(limit)).await?;
        let exceeded = message_limit::cut(self.rows, &mut named, Some(limit));
        Ok((self.find_among(context, program, &named).await?, exceeded))
    }

    /// Refuses a search whose answer would be wrong in parts where `program` names more messages
    /// than one command works on; `worked_on` counts those of a command in several mailboxes.
    pub(crate) async fn admit<S: Stream>(
        &self,
        context: &mut Context<S>,
        program: &SearchProgram,
        worked_on: &mut usize,
    ) -> Result<(), Failure> {
        let Some(limit) = context.server.settings.limits.message_limit else { return Ok(()) };
        let left = message_limit::most(limit).saturating_sub(*worked_on);
        let named = self.named(context, program, left).await?.len();
        *worked_on = worked_on.saturating_add(named);
        if named > left { Err(message_limit::too_many(limit).into()) } else { Ok(()) }
    }

    /// The newest rows that the sets of `program` name, as ascending indexes: `most` of them, and one
    /// more where there is one. No other row is looked at, but those of messages that are gone.
    async fn named<S: Stream>(
        &self,
        context: &mut Context<S>,
        program: &SearchProgram,
        most: usize,
    ) -> Result<Vec<usize>, Disconnect> {
        let program = self.resolved(program);
        let mut left: Places = std::iter::once(0..self.rows.len()).collect();
        for bound in program.bounds() {
            if left.len() + bound.ranges.len() > MESSAGES_AT_ONCE {
                context.frame.take_turns().await?;
            }
            left = places::within(self.rows, &left, bound);
        }
        let mut named = Vec::new();
        let newest = left.into_iter().rev().flat_map(Iterator::rev);
        for (looked_at, index) in newest.enumerate() {
            if named.len() > most {
                break;
            }
            if looked_at > 0 && looked_at % MESSAGES_AT_ONCE == 0 {
                context.frame.take_turns().await?;
            }
            named.extend(self.candidate(index).map(|_| index));
        }
        named.reverse();
        Ok(named)
    }

    /// RFC 7162 §3.1.2.2.
    fn check_mod_seq(&self, program: &SearchProgram) -> Result<(), Failure> {
        if self.selected.is_some_and(|mailbox| !mailbox.keeps_mod_seq()) && program.asks_mod_seq() {
            return Err(no_mod_seq().into());
        }
        Ok(())
    }

    /// As [`Self::find`], of the rows at `indexes`, which ascend.
    pub(crate) async fn find_among<S: Stream>(
        &self,
        context: &mut Context<S>,
        program: &SearchProgram,
        indexes: &[usize],
    ) -> Result<Vec<usize>, Failure> {
        let server = Arc::clone(&context.server);
        let (limits, zone) = (&server.settings.limits, &server.settings.time_zone);
        let program = self.resolved(program);
        let now = server.settings.clock.now();
        let search = Search { program: &program, zone, now, limits };
        let reads =
            |key: &SearchKey| matches!(key, SearchKey::Content { .. } | SearchKey::Header { .. });
        let at_once = if program.has(reads) { CONTENTS_AT_ONCE } else { MESSAGES_AT_ONCE };
        let mut found = Vec::new();
        let counts = context.progress.counts(indexes.len());
        for (turn, some) in indexes.chunks(at_once).enumerate() {
            if turn > 0 {
                progress::tell(context).await?;
                context.frame.take_turns().await?;
            }
            let candidates: Vec<Candidate<'_>> =
                some.iter().filter_map(|index| self.candidate(*index)).collect();
            let numbers = progress::during(context, search.find(&candidates)).await??;
            if counts {
                context.progress.reached(turn * at_once + some.len());
            }
            found.extend(numbers.into_iter().map(|number| number as usize - 1));
        }
        Ok(found)
    }

    fn resolved(&self, program: &SearchProgram) -> SearchProgram {
        let mut program = program.clone();
        let largest_number = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        let largest_uid = self.rows.last().map_or(0, |row| row.uid.get());
        let saved = match self.selected {
            Some(mailbox) if program.is_of_selection() => ranges(&mailbox.saved),
            _ => Arc::default(),
        };
        program.resolve(largest_number, largest_uid, &saved, self.view.other_account());
        program
    }

    fn candidate(&self, index: usize) -> Option<Candidate<'a>> {
        let row = self.rows.get(index)?;
        if self.selected.is_some_and(|mailbox| mailbox.is_expunged(row.uid)) {
            return None;
        }
        let number = u32::try_from(index + 1).ok()?;
        Some(Candidate { view: self.view, row, number, selected: self.selected })
    }

    /// Reads what is kept of the `fields` of the rows at `indexes`, some thousand at a time, and hands
    /// each to `take`; `None` for a message that is gone.
    pub(crate) async fn with_headers<S: Stream>(
        &self,
        context: &mut Context<S>,
        indexes: &[usize],
        fields: HeaderFields,
        mut take: impl FnMut(usize, &ListedMessage, Option<MessageHeaders>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        for (turn, some) in indexes.chunks(MESSAGES_AT_ONCE).enumerate() {
            if turn > 0 {
                progress::tell(context).await?;
                context.frame.take_turns().await?;
            }
            let rows: Vec<(usize, &ListedMessage)> =
                some.iter().filter_map(|index| Some((*index, self.rows.get(*index)?))).collect();
            let numbers: Vec<EmailNumber> = rows.iter().map(|(_, row)| row.email_number).collect();
            let headers = progress::during(context, self.view.headers(&numbers, fields)).await??;
            for ((index, row), headers) in rows.into_iter().zip(headers) {
                take(index, row, headers)?;
            }
        }
        Ok(())
    }
}

/// UIDs as ascending ranges.
fn ranges(uids: &BTreeSet<Uid>) -> Arc<[RangeInclusive<u32>]> {
    let written = write_set(uids.iter().map(|uid| uid.get()));
    SequenceSet::parse(written.as_bytes()).map(|set| set.resolve(0)).unwrap_or_default().into()
}

/// The number that the row at `index` is told by.
pub(crate) fn number(rows: &[ListedMessage], index: usize, uid: bool) -> u32 {
    let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
    if uid { rows.get(index).map_or(0, |row| row.uid.get()) } else { number }
}

/// How what is found is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Telling<'a> {
    /// `SEARCH` or `SORT`.
    pub(crate) response: &'static str,
    pub(crate) uid: bool,
    /// Whether the largest MODSEQ of what is told is told, too (RFC 7162 §3.1.5).
    pub(crate) mod_seq: bool,
    /// The mailbox, where it is not understood (RFC 7377 §2.1).
    pub(crate) mailbox: Option<(&'a str, UidValidity)>,
}

impl Telling<'_> {
    /// Answers a search in the selected mailbox, and keeps what `$` is to stand for.
    pub(crate) async fn answer<S: Stream>(
        self,
        context: &mut Context<S>,
        mailbox: &mut SelectedMailbox,
        results: Option<&Results>,
        found: &[usize],
    ) -> Result<(), Failure> {
        let Some(results) = results else {
            return Ok(self.plain(context, mailbox.rows(), found).await?);
        };
        let line = self.kept(context, mailbox, results, found)?;
        Ok(context.frame.put(&line).await?)
    }

    /// Keeps what `$` is to stand for and returns the ESEARCH response, empty where none is asked for.
    pub(crate) fn kept<S>(
        self,
        context: &Context<S>,
        mailbox: &mut SelectedMailbox,
        results: &Results,
        found: &[usize],
    ) -> Result<Vec<u8>, Completion> {
        if results.save {
            let saved = chosen(results, found);
            if saved.len() > context.server.settings.limits.search_saved_max {
                return Err(not_saved());
            }
            mailbox.saved = mailbox.uids(&saved).into_iter().collect();
        }
        let tell = results.tell();
        Ok(if tell { self.extended(context, mailbox.rows(), results, found) } else { Vec::new() })
    }

    /// A SEARCH or SORT response.
    async fn plain<S: Stream>(
        self,
        context: &mut Context<S>,
        rows: &[ListedMessage],
        found: &[usize],
    ) -> Result<(), Disconnect> {
        context.frame.put(format!("* {}", self.response).as_bytes()).await?;
        for some in found.chunks(NUMBERS_AT_ONCE) {
            let numbers = some.iter().map(|index| format!(" {}", number(rows, *index, self.uid)));
            context.frame.put(numbers.collect::<String>().as_bytes()).await?;
        }
        if let Some(mod_seq) = self.largest_mod_seq(rows, found) {
            context.frame.put(format!(" (MODSEQ {mod_seq})").as_bytes()).await?;
        }
        context.frame.put(b"\r\n").await
    }

    fn largest_mod_seq(self, rows: &[ListedMessage], told: &[usize]) -> Option<u64> {
        let of = |index: &usize| rows.get(*index).map(|row| row.mod_seq.0);
        told.iter().filter_map(of).max().filter(|_| self.mod_seq)
    }

    /// An ESEARCH response. MIN and MAX are the first and the last of what is found (RFC 5267 §3.1).
    pub(crate) fn extended<S>(
        self,
        context: &Context<S>,
        rows: &[ListedMessage],
        results: &Results,
        found: &[usize],
    ) -> Vec<u8> {
        let names = context.enabled.names();
        let mut line = correlated(&context.tag, self.mailbox, names, self.uid);
        let mut item = |name: &str, value: String| {
            line.extend_from_slice(format!(" {name} {value}").as_bytes());
        };
        let numbered = |index: &usize| number(rows, *index, self.uid);
        if let Some(first) = found.first().filter(|_| results.min) {
            item("MIN", numbered(first).to_string());
        }
        if let Some(last) = found.last().filter(|_| results.max) {
            item("MAX", numbered(last).to_string());
        }
        if results.all && !found.is_empty() {
            item("ALL", write_set(found.iter().map(numbered)));
        }
        if results.count {
            item("COUNT", found.len().to_string());
        }
        if let Some(partial) = results.partial {
            let part = write_set(found[partial.within(found.len())].iter().map(numbered));
            let part = if part.is_empty() { "NIL" } else { &part };
            item("PARTIAL", format!("({} {part})", partial.written()));
        }
        if let Some(mod_seq) = self.largest_mod_seq(rows, &chosen(results, found)) {
            item("MODSEQ", mod_seq.to_string());
        }
        line.extend_from_slice(b"\r\n");
        line
    }
}

/// An ESEARCH response up to its items: `* ESEARCH (TAG "a") UID`.
pub(crate) fn correlated(
    tag: &str,
    mailbox: Option<(&str, UidValidity)>,
    names: NameForm,
    uid: bool,
) -> Vec<u8> {
    let mut line = format!("* ESEARCH (TAG \"{tag}\"").into_bytes();
    if let Some((name, uid_validity)) = mailbox {
        line.extend_from_slice(b" MAILBOX ");
        write::mailbox(&mut line, name, names);
        line.extend_from_slice(format!(" UIDVALIDITY {uid_validity}").as_bytes());
    }
    line.push(b')');
    if uid {
        line.extend_from_slice(b" UID");
    }
    line
}

/// What `$` stands for, and whose MODSEQ is told: everything where ALL or COUNT is asked for, or
/// nothing; else what MIN, MAX and PARTIAL name (RFC 5182 §2.4, RFC 7162 §3.1.10, RFC 9394 §3.2).
fn chosen<'f>(results: &Results, found: &'f [usize]) -> Cow<'f, [usize]> {
    let Results { min, max, all, count, partial, .. } = *results;
    if all || count || !(min || max || partial.is_some()) {
        return found.into();
    }
    let mut some = BTreeSet::new();
    some.extend(found.first().filter(|_| min));
    some.extend(found.last().filter(|_| max));
    if let Some(partial) = partial {
        some.extend(&found[partial.within(found.len())]);
    }
    some.into_iter().collect()
}

/// Too much is found for `$` (RFC 5182 §2.1).
fn not_saved() -> Completion {
    Completion::no(
        "NOTSAVED",
        "Troppi risultati per salvarli: restringere la ricerca / Too many results to save: narrow the search",
    )
}

/// A search that asks to save and fails leaves nothing saved (RFC 5182 §2.1).
pub(crate) fn settle_saved<T>(
    mailbox: &mut SelectedMailbox,
    results: Option<&Results>,
    done: Result<T, Failure>,
) -> Result<T, Failure> {
    if done.is_err() && results.is_some_and(|results| results.save) {
        mailbox.saved.clear();
    }
    done
}

/// Does work that takes its time where it keeps nobody waiting.
pub(crate) async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!(%error, "work for an IMAP command was ended");
        let text =
            "Errore interno, segnalato ai gestori / Internal error, reported to the operators";
        Completion::no("SERVERBUG", text).into()
    })
}

/// SORT and THREAD would take more memory than they may.
pub(crate) fn too_many() -> Completion {
    Completion::no(
        "LIMIT",
        "Troppi messaggi da ordinare: restringere la ricerca / Too many messages to sort: narrow the search",
    )
}
