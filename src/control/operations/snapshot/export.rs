//! `snapshot/export`: puts the messages of a snapshot out, as one stream.

use serde::{Deserialize, Serialize};
use snapshots::export::{Asked, ExportError, Exported, Format, Sink, ZIP_MESSAGES_MAX, export};
use trust::clock::{Clock as _, SystemClock};

use super::{account, noted, open, opened, part, scope};
use crate::{
    control::{Kind, Operation, OperationError, Progress, Run, Site},
    pec::journal::JournalEvent,
    texts::{self, Text, export::Extent},
};

/// Asks for an export.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct SnapshotExport {
    /// The account's address.
    pub account: String,
    /// Which snapshot.
    pub instant: String,
    /// This mailbox only.
    #[serde(default)]
    pub mailbox: Option<String>,
    /// Without those below it.
    #[serde(default)]
    pub only: bool,
    /// This message of the mailbox only.
    #[serde(default)]
    pub uid: Option<u32>,
    /// What comes out.
    pub format: ExportFormat,
}

/// What comes out.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ExportFormat {
    /// A tar of `.eml` files.
    Tar,
    /// A tar of a Maildir++ tree.
    Maildir,
    /// A zip of mboxrd files; one such file when one mailbox or message is asked for.
    Mbox,
    /// A zip of `.eml` files.
    Zip,
}

/// What was put out.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ExportOutcome {
    /// The snapshot's name.
    pub snapshot: String,
    /// Messages.
    pub messages: u64,
    /// Octets of these.
    pub octets: u64,
    /// Messages that could not be read: the index says why.
    pub unreadable: u64,
    /// SHA-256 of the file, in hexadecimal digits, where one was written.
    #[serde(default)]
    pub sha256: Option<String>,
    /// The first of them, each with the reason, in English.
    #[serde(default)]
    pub first_unreadable: Vec<UnreadableMessage>,
    /// Why the account may have been otherwise at the instant that was asked for.
    #[serde(default)]
    pub note: Option<Text>,
}

/// A message that could not be read.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct UnreadableMessage {
    /// Its mailbox.
    pub mailbox: String,
    /// Its UID.
    pub uid: u32,
    /// Why, in English.
    pub reason: String,
}

impl SnapshotExport {
    /// Whether what comes out is one mboxrd file, with nothing beside it.
    #[must_use]
    pub fn is_one_mbox(&self) -> bool {
        self.format == ExportFormat::Mbox && (self.only || self.uid.is_some())
    }

    fn extent(&self) -> Extent<'_> {
        match (self.mailbox.as_deref(), self.uid) {
            (None, _) => Extent::Account,
            (Some(mailbox), Some(uid)) => Extent::Message(mailbox, uid),
            (Some(mailbox), None) if self.only => Extent::Mailbox(mailbox),
            (Some(mailbox), None) => Extent::Below(mailbox),
        }
    }

    fn form(&self) -> Format {
        match self.format {
            ExportFormat::Tar => Format::Tar,
            ExportFormat::Maildir => Format::Maildir,
            ExportFormat::Mbox if self.is_one_mbox() => Format::OneMbox,
            ExportFormat::Mbox => Format::Mbox,
            ExportFormat::Zip => Format::Zip,
        }
    }
}

fn too_many_for_zip(messages: u64) -> OperationError {
    let most = ZIP_MESSAGES_MAX;
    let italian = format!(
        "{messages} messaggi sono troppi per uno zip, che ne ha al più {most}: --format tar, o una cartella \
         alla volta"
    );
    let english = format!(
        "{messages} messages are too many for a zip, which has {most} at most: --format tar, or mailbox by \
         mailbox"
    );
    OperationError::new(Kind::Invalid, Text::filled(italian, english))
}

struct PutOut<'a>(&'a Run);

#[async_trait::async_trait]
impl Sink for PutOut<'_> {
    async fn write(&mut self, octets: Vec<u8>) -> std::io::Result<()> {
        self.0.put_out(octets.into()).await.map_err(std::io::Error::other)
    }

    fn progress(&mut self, done: u64, total: u64) -> bool {
        self.0.tell(Progress::new(Text::fixed("messaggi", "messages"), done, Some(total)));
        !self.0.is_cancelled()
    }
}

#[async_trait::async_trait]
impl Operation for SnapshotExport {
    const NAME: &'static str = "snapshot/export";

    type Outcome = ExportOutcome;

    async fn run(&self, site: &Site, run: &Run) -> Result<ExportOutcome, OperationError> {
        let (id, settings) = account(site, &self.account).await?;
        let snapshots = opened(site);
        let (opened, note) = run.reading(open(&snapshots, id, &self.instant)).await??;
        let number = opened.snapshot().number;
        let reading = snapshots.begin_reading(id, number, SystemClock.now());
        let _reading = run.reading(reading).await??;
        let scope = scope(&opened, self.mailbox.as_deref(), self.only, self.uid)?;
        let (format, name) = (self.form(), opened.snapshot().name());
        let extent = self.extent();
        let what = part(self.mailbox.as_deref(), self.only, self.uid);
        // Before the first octet goes out.
        let act =
            noted(JournalEvent::SnapshotExported, &settings.address, &format!("{name}: {what}"));
        site.store.commit(act).await?;
        let readme =
            |done: &Exported| texts::export::readme(&settings.address, &name, extent, format, done);
        let missing = |reason: &str| texts::export::missing(reason);
        let asked = Asked { scope: &scope, format, readme: &readme, missing: &missing };
        let done = export(&site.store, &opened, asked, &mut PutOut(run)).await;
        run.go_on()?;
        let done = done.map_err(|error| match error {
            ExportError::Snapshot(error) => error.into(),
            ExportError::Write(error) => OperationError::of_machine(&error),
            ExportError::TooManyForZip(messages) => too_many_for_zip(messages),
        })?;
        let unreadable = done.first_unreadable.into_iter();
        Ok(ExportOutcome {
            snapshot: opened.snapshot().name(),
            messages: done.messages,
            octets: done.octets,
            unreadable: done.unreadable,
            note,
            sha256: None,
            first_unreadable: unreadable
                .map(|(mailbox, uid, reason)| UnreadableMessage { mailbox, uid: uid.get(), reason })
                .collect(),
        })
    }
}
