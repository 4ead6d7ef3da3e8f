//! Writes the messages of a snapshot out in formats that other programs read, as one stream.
//!
//! | format | what comes out |
//! |---|---|
//! | [`Format::Tar`] | a tar: one folder for each mailbox, also for an empty one, one `.eml` for each message |
//! | [`Format::Zip`] | the same as a zip (zip64 where needed, deflated) |
//! | [`Format::Maildir`] | a tar of a Maildir++ tree: INBOX at its top, `.Name.Below` beside it |
//! | [`Format::Mbox`] | a zip with one file in mboxrd for each mailbox |
//! | [`Format::OneMbox`] | one mboxrd file: one mailbox, or one message, and nothing beside it |
//!
//! * Every format but the last has `LEGGIMI.txt` (what the floor above has to say), `index.csv` (one line for
//!   each message: mailbox, UID, flags, INTERNALDATE, Message-ID, SHA-256 and octets of the message, file,
//!   and why it is missing) and, at the end, `SHA256SUMS` over all files, which `sha256sum -c` reads.
//! * A message that cannot be read is named in the index with the reason, and counted. What is written of
//!   the others is checked against their SHA-256 first.
//! * Names of mailboxes become names that every system can have ([`names`]); none leads out of the folder
//!   that the export is unpacked in.
//! * Memory is bounded: messages above 1 MiB, the index and the sums wait in temporary files without a
//!   name. Of a zip, which ends with a list of its files, some 600 octets a file are held; one of more than
//!   [`ZIP_MESSAGES_MAX`] messages is refused.
//! * What goes out goes in pieces of at most 128 KiB.
//!
//! Not here: where the stream goes.

mod container;
mod index;
mod mbox;
mod names;
#[cfg(test)]
mod tests;

use std::{
    io::{self, Read as _, Seek as _, Write as _},
    sync::Arc,
};

use storage::{
    error::StoreError,
    ids::{MailboxId, Uid},
    mailbox::{flags::Flags, view::MessageRow},
    store::Store,
};
use tempfile::SpooledTempFile;
use trust::{
    clock::UnixMillis,
    digest::{Sha256Digest, Sha256Hasher},
};

use self::{container::Container, index::Index, mbox::MboxQuoter, names::Names};
use crate::{
    error::SnapshotError,
    keep::open::{OpenSnapshot, SnapshotMailbox},
    restore::{job::Scope, one, within},
    state::MailboxEntry,
};

/// Octets of a message that are held in memory.
const HELD_OCTETS: usize = 1 << 20;

/// Octets written at once.
const PIECE: usize = 128 << 10;

/// Messages of one zip of `.eml` files: some 300 MB of memory.
pub const ZIP_MESSAGES_MAX: u64 = 500_000;

/// Rows read at once.
const ROWS: usize = 1_000;

/// Why a message is missing whose octets have another SHA-256.
pub const OTHER_OCTETS: &str = "its octets are not those that the snapshot names";

/// Messages that cannot be read and are told of one by one beside the index.
const NAMED_MAX: usize = 20;

/// What comes out.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Format {
    /// A tar of `.eml` files.
    Tar,
    /// A tar of a Maildir++ tree.
    Maildir,
    /// A zip of mboxrd files.
    Mbox,
    /// One mboxrd file.
    OneMbox,
    /// A zip of `.eml` files.
    Zip,
}

/// What is asked for.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// Which messages.
    pub scope: &'a Scope,
    /// In which form. [`Format::OneMbox`] is for a scope of one mailbox.
    pub format: Format,
    /// The text of `LEGGIMI.txt`, once everything else is written.
    pub readme: &'a (dyn Fn(&Exported) -> String + Send + Sync),
    /// What the index says of a message that is missing, by the English of the reason.
    pub missing: &'a (dyn Fn(&str) -> String + Send + Sync),
}

impl std::fmt::Debug for Asked<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { scope, format, .. } = self;
        formatter
            .debug_struct("Asked")
            .field("scope", scope)
            .field("format", format)
            .finish_non_exhaustive()
    }
}

/// Where the stream goes.
#[async_trait::async_trait]
pub trait Sink: Send + Sync {
    /// Takes the next octets, 128 KiB at most.
    async fn write(&mut self, octets: Vec<u8>) -> io::Result<()>;

    /// Hears how many messages of how many are done; says whether to go on.
    fn progress(&mut self, done: u64, total: u64) -> bool;
}

/// What was written.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Exported {
    /// Messages written.
    pub messages: u64,
    /// Octets of these.
    pub octets: u64,
    /// Messages that could not be read: the index says why.
    pub unreadable: u64,
    /// The first of them: mailbox, UID and why, in English.
    pub first_unreadable: Vec<(String, Uid, String)>,
    /// It was told to end, and is not whole.
    pub cut_short: bool,
}

/// Why an export ended.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The snapshot could not be read.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// What was read could not be written.
    #[error("what is exported cannot be written: free space, or choose another place")]
    Write(#[from] io::Error),
    /// More messages than a zip of `.eml` files is written of. Nothing was written.
    #[error("{0} messages are too many for one zip: export as tar, or mailbox by mailbox")]
    TooManyForZip(u64),
}

struct Export<'a> {
    store: &'a Store,
    open: &'a OpenSnapshot,
    asked: Asked<'a>,
    container: Container,
    names: Names,
    index: Index,
    sink: &'a mut dyn Sink,
    done: Exported,
    total: u64,
}

/// Exports what is asked for.
///
/// # Errors
///
/// [`SnapshotError::NotPresent`] when no mailbox has the UID that is asked for; what reading trees and
/// writing bring. Messages that cannot be read are no error.
pub async fn export(
    store: &Store,
    open: &Arc<OpenSnapshot>,
    asked: Asked<'_>,
    sink: &mut dyn Sink,
) -> Result<Exported, ExportError> {
    let (scope, format) = (asked.scope, asked.format);
    let mailboxes = within(open, scope)?;
    if format == Format::OneMbox && mailboxes.len() != 1 {
        let error = SnapshotError::LimitExceeded {
            what: "the number of mailboxes of one mbox",
            limit: 1,
            remedy: "export one mailbox, or choose another format",
        };
        return Err(error.into());
    }
    let total = match scope.uid {
        Some(uid) => {
            has_uid(open, &mailboxes, uid).await?;
            1
        }
        None => mailboxes.iter().map(|(_, entry)| entry.content.rows).sum(),
    };
    fits(format, total)?;
    let container = match format {
        Format::Tar | Format::Maildir => Container::tar(),
        Format::Mbox | Format::Zip => Container::zip(),
        Format::OneMbox => Container::plain(),
    };
    let mut export = Export {
        store,
        open,
        asked,
        container,
        names: Names::new(format),
        index: Index::new()?,
        sink,
        done: Exported::default(),
        total,
    };
    for (id, _) in mailboxes {
        let mailbox = open.mailbox(id)?;
        export.mailbox(&mailbox, scope).await?;
        if export.done.cut_short {
            return Ok(export.done);
        }
    }
    export.finish().await
}

/// Refuses what would take too much memory, before anything is written.
fn fits(format: Format, messages: u64) -> Result<(), ExportError> {
    let is_too_many = format == Format::Zip && messages > ZIP_MESSAGES_MAX;
    if is_too_many { Err(ExportError::TooManyForZip(messages)) } else { Ok(()) }
}

/// Refuses a UID that none of the mailboxes has, before anything is written.
async fn has_uid(
    open: &Arc<OpenSnapshot>,
    mailboxes: &[(MailboxId, &MailboxEntry)],
    uid: Uid,
) -> Result<(), SnapshotError> {
    for (id, _) in mailboxes {
        if one(open, *id, uid).await?.is_some() {
            return Ok(());
        }
    }
    Err(SnapshotError::NotPresent)
}

impl Export<'_> {
    async fn mailbox(
        &mut self,
        mailbox: &SnapshotMailbox,
        scope: &Scope,
    ) -> Result<(), ExportError> {
        let folder = self.names.folder(&mailbox.entry().name);
        let instant = self.open.snapshot().record.instant;
        let mut whole = Sha256Hasher::default();
        match self.asked.format {
            Format::Maildir => self.begin_maildir(&folder, instant)?,
            Format::Mbox => self.container.begin(&folder, None, instant)?,
            Format::Tar | Format::Zip => self.container.directory(&folder, instant)?,
            Format::OneMbox => {}
        }
        let mut after = scope.uid.and_then(|uid| Uid::new(uid.get() - 1));
        loop {
            let rows =
                mailbox.rows_after(after, if scope.uid.is_some() { 1 } else { ROWS }).await?;
            after = rows.last().map(|row| row.uid);
            let is_last = rows.len() < ROWS;
            for row in rows.iter().filter(|row| scope.uid.is_none_or(|uid| uid == row.uid)) {
                let progress = self.done.messages + self.done.unreadable;
                if !self.sink.progress(progress, self.total) {
                    self.done.cut_short = true;
                    return Ok(());
                }
                self.message(mailbox, &folder, row, &mut whole).await?;
            }
            if is_last {
                break;
            }
        }
        if self.asked.format == Format::Mbox {
            self.container.end();
            self.index.sum(whole.finish(), &folder)?;
        }
        self.drain().await
    }

    /// The folders of a mailbox, and for one that is not INBOX the empty file by which Courier knows it.
    fn begin_maildir(&mut self, folder: &str, instant: UnixMillis) -> io::Result<()> {
        for part in ["", "cur", "new", "tmp"] {
            self.container.directory(&names::joined(folder, part), instant)?;
        }
        if folder.is_empty() {
            return Ok(());
        }
        let mark = names::joined(folder, "maildirfolder");
        self.container.begin(&mark, Some(0), instant)?;
        self.container.end();
        self.index.sum(Sha256Hasher::default().finish(), &mark)
    }

    async fn message(
        &mut self,
        mailbox: &SnapshotMailbox,
        folder: &str,
        row: &MessageRow,
        whole: &mut Sha256Hasher,
    ) -> Result<(), ExportError> {
        let name = &mailbox.entry().name;
        let summary = self.open.account().summary(row.email_number).await;
        let message_id = summary.ok().and_then(|summary| summary.envelope.message_id.clone());
        let message_id = message_id.unwrap_or_default();
        let mut spool = match self.spool(row).await? {
            Ok(spool) => spool,
            Err(reason) => {
                self.done.unreadable += 1;
                if self.done.first_unreadable.len() < NAMED_MAX {
                    self.done.first_unreadable.push((name.clone(), row.uid, reason.clone()));
                }
                let missing = (self.asked.missing)(&reason);
                self.index.line(name, row, &message_id, "", &missing)?;
                return Ok(());
            }
        };
        let file = match self.asked.format {
            Format::Tar | Format::Zip => format!("{folder}/{:010}.eml", row.uid.get()),
            Format::Maildir => names::joined(folder, &names::maildir_file(mailbox.id(), row)),
            Format::Mbox | Format::OneMbox => folder.to_owned(),
        };
        match self.asked.format {
            Format::Mbox | Format::OneMbox => self.write_mbox(&mut spool, row, whole).await?,
            _ => self.write_file(&mut spool, row, &file).await?,
        }
        self.done.messages += 1;
        self.done.octets += row.size;
        self.index.line(name, row, &message_id, &file, "")?;
        Ok(())
    }

    /// Reads a message whole and checks it, or says why that cannot be.
    async fn spool(
        &mut self,
        row: &MessageRow,
    ) -> Result<Result<SpooledTempFile, String>, ExportError> {
        let stored = match self.open.account().stored(row.email_number).await {
            Ok(stored) => stored,
            Err(error) => return unreadable(self.open, error).await,
        };
        let mut spool = SpooledTempFile::new(HELD_OCTETS);
        let (mut hasher, mut read) = (Sha256Hasher::default(), 0);
        while read < row.size {
            let octets = match self.store.octets().read(&stored, read..row.size).await {
                Ok(octets) => octets,
                Err(error) => return unreadable(self.open, error).await,
            };
            if octets.is_empty() {
                break;
            }
            hasher.update(&octets);
            spool.write_all(&octets)?;
            read += octets.len() as u64;
        }
        if hasher.finish() != row.digest {
            return Ok(Err(OTHER_OCTETS.to_owned()));
        }
        spool.rewind()?;
        Ok(Ok(spool))
    }

    async fn write_file(
        &mut self,
        spool: &mut SpooledTempFile,
        row: &MessageRow,
        file: &str,
    ) -> Result<(), ExportError> {
        self.container.begin(file, Some(row.size), row.internal_date)?;
        self.copy(spool).await?;
        self.container.end();
        self.index.sum(row.digest, file)?;
        self.drain().await
    }

    async fn write_mbox(
        &mut self,
        spool: &mut SpooledTempFile,
        row: &MessageRow,
        whole: &mut Sha256Hasher,
    ) -> Result<(), ExportError> {
        let mut quoted = mbox::separator(row.internal_date);
        let (mut quoting, mut piece) = (MboxQuoter::default(), vec![0; PIECE]);
        loop {
            let count = spool.read(&mut piece)?;
            quoting.quote(piece.get(..count).unwrap_or_default(), &mut quoted);
            if count == 0 {
                quoting.finish(&mut quoted);
            }
            whole.update(&quoted);
            self.container.put(&quoted)?;
            quoted.clear();
            self.drain().await?;
            if count == 0 {
                return Ok(());
            }
        }
    }

    async fn copy(&mut self, from: &mut (dyn io::Read + Send)) -> Result<(), ExportError> {
        let mut piece = vec![0; PIECE];
        loop {
            let count = from.read(&mut piece)?;
            if count == 0 {
                return Ok(());
            }
            self.container.put(piece.get(..count).unwrap_or_default())?;
            self.drain().await?;
        }
    }

    async fn drain(&mut self) -> Result<(), ExportError> {
        // The end of a zip comes in one: the list of its files.
        for piece in self.container.take().chunks(PIECE) {
            self.sink.write(piece.to_vec()).await?;
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<Exported, ExportError> {
        if self.asked.format == Format::OneMbox {
            return Ok(self.done);
        }
        let instant = self.open.snapshot().record.instant;
        let readme = (self.asked.readme)(&self.done).into_bytes();
        self.container.begin(index::README, Some(readme.len() as u64), instant)?;
        self.copy(&mut readme.as_slice()).await?;
        self.container.end();
        self.index.sum(Sha256Digest::of(&readme), index::README)?;
        let (mut index, octets, digest) = self.index.lines()?;
        self.container.begin(index::FILE, Some(octets), instant)?;
        self.copy(&mut index).await?;
        self.container.end();
        self.index.sum(digest, index::FILE)?;
        let (mut sums, octets) = self.index.sums()?;
        self.container.begin(index::SUMS, Some(octets), instant)?;
        self.copy(&mut sums).await?;
        self.container.end();
        self.container.finish()?;
        self.drain().await?;
        Ok(self.done)
    }
}

/// The reason why one message is missing; an error when nothing can be read any more.
async fn unreadable<T>(
    open: &OpenSnapshot,
    error: StoreError,
) -> Result<Result<T, String>, ExportError> {
    let is_of_message = matches!(
        error,
        StoreError::Erased { .. }
            | StoreError::Damaged { .. }
            | StoreError::NoSuchMessage { .. }
            | StoreError::TooNew { .. }
    );
    let reason = error.to_string();
    let error = open.or_expired(error.into()).await;
    if is_of_message && !matches!(error, SnapshotError::NoSuchSnapshot { .. }) {
        return Ok(Err(reason));
    }
    Err(error.into())
}

/// Flags as the index writes them: `\Seen \Flagged $Forwarded`.
#[must_use]
pub fn flag_names(flags: &Flags) -> String {
    let system = [
        (flags.seen, "\\Seen"),
        (flags.answered, "\\Answered"),
        (flags.flagged, "\\Flagged"),
        (flags.deleted, "\\Deleted"),
        (flags.draft, "\\Draft"),
    ];
    let mut names: Vec<&str> =
        system.into_iter().filter(|(set, _)| *set).map(|(_, name)| name).collect();
    names.extend(flags.keywords.iter().map(storage::mailbox::flags::Keyword::as_str));
    names.join(" ")
}

/// An instant in UTC: `2026-11-21T09:30:00Z`.
fn instant(at: UnixMillis) -> String {
    jiff::Timestamp::from_millisecond(at.0).map_or_else(|_| at.0.to_string(), |at| at.to_string())
}
