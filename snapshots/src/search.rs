//! Looks for messages across all snapshots of an account: where did one last exist, and since when?
//!
//! The latest snapshot is read whole; from there the walk goes back in time from one snapshot to the
//! one before by their differences, so that a page that several share is read once. Messages are told
//! apart by EmailNumber: one that was restored counts as another, with the same digest.
//!
//! A snapshot that goes meanwhile is dropped: what was seen in it stays, and the snapshot before it is
//! read whole.
//!
//! Messages whose summary cannot be read are found by their digest alone, and counted otherwise. Whether a
//! message is there now is asked by its digest, since a restore brings it back as another one. For that
//! some 100 octets are held for each message that came since the latest snapshot.
//!
//! Not here: messages that no snapshot holds; the text of messages.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use storage::{
    account::{
        Account,
        headers::page::{HeaderField, HeaderFields, MessageHeaders},
    },
    error::StoreError,
    ids::{AccountId, EmailNumber, MailboxId},
    text::{encoded_word, fold},
};
use trust::digest::Sha256Digest;

use crate::{
    diff::{self, Difference, Place},
    error::SnapshotError,
    keep::{Snapshots, open::OpenSnapshot, snapshot::Snapshot},
    tree::{read, row::ContentRow},
};

/// Rows that are looked at together.
const ROWS: usize = 2_000;

/// What is looked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Query {
    /// The message of these octets.
    Digest(Sha256Digest),
    /// This Message-ID, with or without its brackets, without regard to case.
    MessageId(String),
    /// This text in subject, sender or recipients, without regard to case.
    Text(String),
}

/// Where a message stood in a snapshot.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Seen {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// The mailbox and the UID, the first of several.
    pub place: Place,
    /// The mailbox's name at that instant.
    pub mailbox: String,
}

/// A message that was found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FoundMessage {
    /// Its number.
    pub email_number: EmailNumber,
    /// SHA-256 of its octets.
    pub digest: Sha256Digest,
    /// Octets.
    pub size: u64,
    /// INTERNALDATE of the row where it was last.
    pub internal_date: trust::clock::UnixMillis,
    /// Its Message-ID, as it stands in the message.
    pub message_id: Option<String>,
    /// Its subject, as it stands in the message, decoded.
    pub subject: Option<String>,
    /// The earliest snapshot that holds it.
    pub first: Seen,
    /// The latest snapshot that holds it.
    pub last: Seen,
    /// Where its octets stand now, also those of a message that a restore brought back; empty when nowhere.
    pub now: Vec<Place>,
}

/// What a search found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct FoundMessages {
    /// The one that was there last comes first.
    pub messages: Vec<FoundMessage>,
    /// There are more than were asked for.
    pub more: bool,
    /// Snapshots that were looked at.
    pub snapshots: u64,
    /// Messages whose headers cannot be read: they may be missing.
    pub unreadable: u64,
}

/// A message that is followed back in time.
#[derive(Clone)]
struct Followed {
    row: ContentRow,
    headers: Option<MessageHeaders>,
    first: Option<Seen>,
    last: Seen,
    /// Where it stands in the snapshot that the walk is at.
    places: BTreeSet<Place>,
    now: BTreeSet<Place>,
}

struct Search<'a> {
    account: Account,
    query: &'a Query,
    limit: usize,
    found: BTreeMap<EmailNumber, Followed>,
    more: bool,
    /// Messages whose headers cannot be read.
    unreadable: BTreeSet<EmailNumber>,
    /// What came since the latest snapshot.
    arrived: BTreeMap<Sha256Digest, BTreeSet<Place>>,
}

impl Snapshots {
    /// Looks for messages in the snapshots of an account; at most `limit` are found. `go_on` is asked
    /// before each snapshot, with how many are done and how many there are.
    ///
    /// # Errors
    ///
    /// What reading brings. Snapshots that go meanwhile are passed over.
    pub async fn search(
        &self,
        account: AccountId,
        query: &Query,
        limit: usize,
        mut go_on: impl FnMut(u64, u64) -> bool + Send,
    ) -> Result<FoundMessages, SnapshotError> {
        let handle = self.store().account(account).await?;
        let mut all = self.list(account).await?;
        all.reverse();
        let mut search = Search::new(handle, query, limit);
        let total = all.len() as u64;
        let (mut done, mut newer): (u64, Option<Arc<OpenSnapshot>>) = (0, None);
        for snapshot in &all {
            if !go_on(done, total) {
                break;
            }
            let open = match self.open(account, snapshot.number).await {
                Ok(open) => open,
                Err(SnapshotError::NoSuchSnapshot { .. }) => continue,
                Err(error) => return Err(error),
            };
            if search.step(newer.as_deref(), &open).await? {
                newer = Some(open);
                done += 1;
            }
        }
        if let Some(oldest) = &newer {
            search.close(oldest);
        }
        search.finish(done).await
    }
}

impl<'a> Search<'a> {
    fn new(account: Account, query: &'a Query, limit: usize) -> Self {
        Self {
            account,
            query,
            limit,
            found: BTreeMap::new(),
            more: false,
            unreadable: BTreeSet::new(),
            arrived: BTreeMap::new(),
        }
    }

    /// Goes on to `open`, and says whether it was still there. If not, everything is as before.
    async fn step(
        &mut self,
        newer: Option<&OpenSnapshot>,
        open: &OpenSnapshot,
    ) -> Result<bool, SnapshotError> {
        let before = (self.found.clone(), self.more);
        let mut went = match newer {
            None => self.latest(open).await,
            Some(newer) => self.back(newer, open).await,
        };
        if let (Some(newer), Err(SnapshotError::NoSuchSnapshot { number, .. })) = (newer, &went)
            && *number == newer.snapshot().number
        {
            (self.found, self.more) = before.clone();
            went = self.anew(newer, open).await;
        }
        match went {
            Ok(()) => Ok(true),
            Err(SnapshotError::NoSuchSnapshot { .. }) => {
                (self.found, self.more) = before;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Looks at every row of a snapshot.
    async fn whole(&mut self, open: &OpenSnapshot) -> Result<(), SnapshotError> {
        for (id, entry) in &open.state().mailboxes {
            let (salts, mut from) = (open.salts(*id), 0);
            loop {
                let read = read::rows(open.pages(), entry.content, &salts, from, ROWS).await;
                let rows: Vec<ContentRow> = match read {
                    Ok(rows) => rows,
                    Err(error) => return Err(open.or_expired(error).await),
                };
                let last = rows.last().map(|row| row.uid.get());
                let is_last = rows.len() < ROWS;
                let place = |row: &ContentRow| Place { mailbox: *id, uid: row.uid };
                self.look(open, rows.into_iter().map(|row| (place(&row), row)).collect()).await?;
                match last {
                    Some(last) if !is_last => from = u64::from(last) + 1,
                    _ => break,
                }
            }
        }
        Ok(())
    }

    /// Looks at the latest snapshot, and at what changed since.
    async fn latest(&mut self, open: &OpenSnapshot) -> Result<(), SnapshotError> {
        self.whole(open).await?;
        let state = self.account.state().await?;
        let (found, arrived) = (&mut self.found, &mut self.arrived);
        arrived.clear();
        for followed in found.values_mut() {
            followed.now = followed.places.clone();
        }
        diff::diff(open, diff::Later::Now(&state), |difference| {
            if let Difference::Added(place, row) = &difference {
                arrived.entry(row.digest).or_default().insert(*place);
            }
            let (gone, come, number) = match difference {
                Difference::Removed(place, row) => (Some(place), None, row.email_number),
                Difference::Added(place, row) => (None, Some(place), row.email_number),
                Difference::Moved { from, to, row } => (Some(from), Some(to), row.email_number),
                _ => return true,
            };
            if let Some(followed) = found.get_mut(&number) {
                if let Some(gone) = gone {
                    followed.now.remove(&gone);
                }
                followed.now.extend(come);
            }
            true
        })
        .await?;
        Ok(())
    }

    /// Goes from `newer` to the snapshot before it.
    async fn back(
        &mut self,
        newer: &OpenSnapshot,
        older: &OpenSnapshot,
    ) -> Result<(), SnapshotError> {
        let mailboxes: BTreeSet<MailboxId> =
            newer.state().mailboxes.keys().chain(older.state().mailboxes.keys()).copied().collect();
        let (mut only_older, mut only_newer) = (Vec::new(), Vec::new());
        for id in mailboxes {
            let mut tell = |difference| match difference {
                Difference::Removed(place, row) => only_older.push((place, row)),
                Difference::Added(place, row) => only_newer.push((place, row.email_number)),
                _ => {}
            };
            if let Err(error) = diff::content(older, newer, id, &mut tell).await {
                let error = older.or_expired(error).await;
                return Err(newer.or_expired(error).await);
            }
            // What is followed needs no second look, and the rest is not kept.
            only_newer.retain(|(_, number)| self.found.contains_key(number));
            let came = std::mem::take(&mut only_older);
            self.look(older, came).await?;
        }
        for (place, number) in only_newer {
            let Some(followed) = self.found.get_mut(&number) else { continue };
            followed.places.remove(&place);
            if followed.places.is_empty() && followed.first.is_none() {
                followed.first = Some(seen(newer, place));
            }
        }
        Ok(())
    }

    /// Goes from `newer`, which has gone, to the snapshot before it, which is read whole.
    async fn anew(
        &mut self,
        newer: &OpenSnapshot,
        older: &OpenSnapshot,
    ) -> Result<(), SnapshotError> {
        let mut were = BTreeMap::new();
        for (number, followed) in &mut self.found {
            if let Some(place) = std::mem::take(&mut followed.places).first() {
                were.insert(*number, *place);
            }
        }
        self.whole(older).await?;
        for (number, place) in were {
            let Some(followed) = self.found.get_mut(&number) else { continue };
            if followed.places.is_empty() && followed.first.is_none() {
                followed.first = Some(seen(newer, place));
            }
        }
        Ok(())
    }

    /// What still stands in the oldest snapshot was first seen there.
    fn close(&mut self, oldest: &OpenSnapshot) {
        for followed in self.found.values_mut() {
            if let (None, Some(place)) = (&followed.first, followed.places.first()) {
                followed.first = Some(seen(oldest, *place));
            }
        }
    }

    /// Takes up those rows of `open` that match.
    async fn look(
        &mut self,
        open: &OpenSnapshot,
        rows: Vec<(Place, ContentRow)>,
    ) -> Result<(), SnapshotError> {
        for rows in rows.chunks(ROWS) {
            let headers = self.headers(rows).await?;
            for ((place, row), headers) in rows.iter().zip(headers) {
                if let Some(followed) = self.found.get_mut(&row.email_number) {
                    followed.places.insert(*place);
                } else if self.matches(row, headers.as_ref()) {
                    if self.found.len() >= self.limit {
                        self.more = true;
                        continue;
                    }
                    let followed = Followed {
                        row: row.clone(),
                        headers,
                        first: None,
                        last: seen(open, *place),
                        places: [*place].into(),
                        now: BTreeSet::new(),
                    };
                    self.found.insert(row.email_number, followed);
                }
            }
        }
        Ok(())
    }

    /// The headers of rows that are to be looked at: of a digest, only those that match.
    async fn headers(
        &mut self,
        rows: &[(Place, ContentRow)],
    ) -> Result<Vec<Option<MessageHeaders>>, SnapshotError> {
        let wanted = |row: &ContentRow| match self.query {
            Query::Digest(digest) => row.digest == *digest,
            _ => true,
        };
        let numbers: BTreeSet<EmailNumber> =
            rows.iter().filter(|(_, row)| wanted(row)).map(|(_, row)| row.email_number).collect();
        let numbers: Vec<EmailNumber> = numbers.into_iter().collect();
        let fields: HeaderFields = [
            HeaderField::From,
            HeaderField::To,
            HeaderField::Cc,
            HeaderField::Subject,
            HeaderField::MessageId,
        ]
        .into_iter()
        .collect();
        let mut read = BTreeMap::new();
        let headers = match self.account.headers(&numbers, fields).await {
            Ok(headers) => headers,
            // One that cannot be read refuses all: each is asked for by itself.
            Err(error) if is_unreadable(&error) => vec![None; numbers.len()],
            Err(error) => return Err(error.into()),
        };
        for (number, headers) in numbers.iter().zip(headers) {
            let headers = match headers {
                Some(headers) => headers,
                // Blocks know the messages that have a row; of others there is the summary.
                None => match self.account.summary(*number).await {
                    Ok(summary) => MessageHeaders::of_fields(*number, &summary, fields),
                    Err(StoreError::NoSuchMessage { .. }) => continue,
                    Err(error) if is_unreadable(&error) => {
                        if !matches!(self.query, Query::Digest(_)) {
                            self.unreadable.insert(*number);
                        }
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                },
            };
            read.insert(*number, headers);
        }
        Ok(rows.iter().map(|(_, row)| read.get(&row.email_number).cloned()).collect())
    }

    fn matches(&self, row: &ContentRow, headers: Option<&MessageHeaders>) -> bool {
        let has = |field, text: &str| headers.is_some_and(|found| found.contains(field, text));
        match self.query {
            Query::Digest(digest) => row.digest == *digest,
            Query::MessageId(wanted) => {
                let bare =
                    |text: &str| fold(text.trim().trim_start_matches('<').trim_end_matches('>'));
                let found = headers.and_then(|found| found.text(HeaderField::MessageId));
                found.is_some_and(|found| bare(found) == bare(wanted))
            }
            Query::Text(text) => {
                let text = fold(text);
                [HeaderField::Subject, HeaderField::From, HeaderField::To, HeaderField::Cc]
                    .into_iter()
                    .any(|field| has(field, &text))
            }
        }
    }

    async fn finish(self, snapshots: u64) -> Result<FoundMessages, SnapshotError> {
        let mut now = self.arrived;
        for followed in self.found.values() {
            now.entry(followed.row.digest).or_default().extend(&followed.now);
        }
        let mut messages = Vec::with_capacity(self.found.len());
        for mut followed in self.found.into_values() {
            followed.now = now.get(&followed.row.digest).cloned().unwrap_or_default();
            messages.push(followed.finish(&self.account).await?);
        }
        messages.sort_by_key(|message| {
            std::cmp::Reverse((message.last.snapshot.number, message.email_number))
        });
        let unreadable = self.unreadable.len() as u64;
        Ok(FoundMessages { messages, more: self.more, snapshots, unreadable })
    }
}

impl Followed {
    async fn finish(self, account: &Account) -> Result<FoundMessage, SnapshotError> {
        let (subject, message_id) = self.shown(account).await?;
        Ok(FoundMessage {
            email_number: self.row.email_number,
            digest: self.row.digest,
            size: self.row.size,
            internal_date: self.row.internal_date,
            message_id,
            subject,
            first: self.first.unwrap_or_else(|| self.last.clone()),
            last: self.last,
            now: self.now.into_iter().collect(),
        })
    }

    /// Subject and Message-ID: searches know them in lower case, people want them as they were written.
    async fn shown(
        &self,
        account: &Account,
    ) -> Result<(Option<String>, Option<String>), SnapshotError> {
        match account.summary(self.row.email_number).await {
            Ok(summary) => {
                let text = |octets: &Option<Vec<u8>>| octets.as_deref().map(encoded_word::decode);
                Ok((text(&summary.envelope.subject), text(&summary.envelope.message_id)))
            }
            // Gone with its last snapshot meanwhile, or unreadable: as it was found.
            Err(error)
                if is_unreadable(&error) || matches!(error, StoreError::NoSuchMessage { .. }) =>
            {
                let text = |field| self.headers.as_ref().and_then(|headers| headers.text(field));
                let text = |field| text(field).map(str::to_owned);
                Ok((text(HeaderField::Subject), text(HeaderField::MessageId)))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether `error` is one message's, and the others can be read.
fn is_unreadable(error: &StoreError) -> bool {
    matches!(error, StoreError::Damaged { .. } | StoreError::TooNew { .. })
}

fn seen(open: &OpenSnapshot, place: Place) -> Seen {
    let name = open.state().mailboxes.get(&place.mailbox).map(|entry| entry.name.clone());
    Seen { snapshot: open.snapshot().clone(), place, mailbox: name.unwrap_or_default() }
}
