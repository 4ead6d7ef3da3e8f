//! `snapshot/…`: an account's snapshots listed and browsed; beside it taken, held, proved, compared,
//! searched, restored, exported, and forgotten where they cannot be read.
//!
//! Which snapshot an *instant* names, says `standing`.

pub mod compare;
pub mod export;
mod forget;
mod keep;
mod prove;
pub mod restore;
mod standing;
mod take;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use snapshots::{
    export::flag_names,
    keep::{
        Snapshots,
        open::OpenSnapshot,
        snapshot::{Snapshot, SnapshotKind},
    },
    restore::job::Scope,
};
use storage::{
    account::name::MailboxName,
    error::StoreError,
    ids::{MailboxId, Uid},
    summary::Envelope,
};

use crate::{
    control::{Kind, Operation, OperationError, Run, Site},
    pec::journal::JournalEvent,
    texts::Text,
};

use super::acts::{account, noted};
use standing::open;

pub use forget::{ForgottenView, SnapshotForget};
pub use keep::{SettingsView, SnapshotChange, SnapshotHold};
pub use prove::{AskedMessage, ProofView, SnapshotProve};
pub use take::{SnapshotTake, TakenView};

/// Messages or differences of one answer: it is one line of bounded length.
const LISTED_MAX: usize = 100_000;

pub(super) fn opened(site: &Site) -> Arc<Snapshots> {
    Arc::clone(site.runs.snapshots())
}

/// Notes in the journal that an operator reads what snapshots of the account at `address` hold.
pub(super) async fn read(site: &Site, address: &str, detail: &str) -> Result<(), OperationError> {
    site.store.commit(noted(JournalEvent::SnapshotRead, address, detail)).await?;
    Ok(())
}

/// Which part of a snapshot an act is about, for the journal.
pub(super) fn part(mailbox: Option<&str>, only: bool, uid: Option<u32>) -> String {
    match (mailbox, uid) {
        (None, _) => "the whole account".to_owned(),
        (Some(name), Some(uid)) => format!("UID {uid} of {name}"),
        (Some(name), None) if only => format!("{name} only"),
        (Some(name), None) => format!("{name} and what is below"),
    }
}

/// The part of a snapshot that is named: a mailbox, alone or with those below it, or a message of it. A name
/// that only stands above mailboxes means those.
pub(super) fn scope(
    open: &OpenSnapshot,
    mailbox: Option<&str>,
    only: bool,
    number: Option<u32>,
) -> Result<Scope, OperationError> {
    let is_part = only || number.is_some();
    let Some(name) = mailbox else {
        let which = Text::fixed(
            "di quale cartella? indicarla con --mailbox",
            "of which mailbox? name it with --mailbox",
        );
        let whole = Scope { below: true, ..Scope::default() };
        return if is_part { Err(OperationError::new(Kind::Invalid, which)) } else { Ok(whole) };
    };
    let above = format!("{}/", as_written(name));
    let mut names = open.state().mailboxes.values().map(|entry| &entry.name);
    match mailbox_named(open, name) {
        Ok(id) => {
            let uid = number.map(uid).transpose()?;
            Ok(Scope { mailbox: Some(id), above: None, below: !is_part, uid })
        }
        Err(_) if !is_part && names.any(|name| name.starts_with(&above)) => {
            Ok(Scope { above: Some(as_written(name)), below: true, ..Scope::default() })
        }
        Err(error) => Err(error),
    }
}

/// The name of a mailbox as it is kept, however a mail program writes it.
fn as_written(name: &str) -> String {
    MailboxName::new(name).map_or_else(|_| name.to_owned(), |name| name.to_string())
}

fn not_found(italian: String, english: String) -> OperationError {
    OperationError::new(Kind::NotFound, Text::filled(italian, english))
}

/// The mailbox of a snapshot that had a name.
pub(super) fn mailbox_named(open: &OpenSnapshot, name: &str) -> Result<MailboxId, OperationError> {
    let wanted = as_written(name);
    let found = open.state().mailboxes.iter().find(|(_, entry)| entry.name == wanted);
    found.map(|(id, _)| *id).ok_or_else(|| {
        let instant = open.snapshot().name();
        not_found(
            format!("il {instant} non c'era una cartella \"{name}\": `ceralacca snapshot browse`"),
            format!("at {instant} there was no mailbox \"{name}\": `ceralacca snapshot browse`"),
        )
    })
}

pub(super) fn uid(number: u32) -> Result<Uid, OperationError> {
    let invalid = Text::fixed("un UID è 1 o più", "a UID is 1 or more");
    Uid::new(number).ok_or_else(|| OperationError::new(Kind::Invalid, invalid))
}

/// Asks which snapshots an account has.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct SnapshotList {
    /// The account's address.
    pub account: String,
}

/// A snapshot as lists show it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct SnapshotView {
    /// The name of its folder.
    pub name: String,
    /// Its number in the account.
    pub number: u64,
    /// When it was taken, in ms since 1970.
    pub instant_millis: i64,
    /// `scheduled`, `on_demand`, `operator`.
    pub kind: String,
    /// Mailboxes.
    pub mailboxes: u32,
    /// Messages.
    pub messages: u64,
    /// Octets of the messages.
    pub octets: u64,
    /// Why it is held, when it is.
    pub hold: Option<String>,
    /// The hash of its state, in hexadecimal digits.
    pub state_root: String,
}

impl SnapshotView {
    fn of(snapshot: &Snapshot) -> Self {
        let kind = match snapshot.kind {
            SnapshotKind::Scheduled => "scheduled",
            SnapshotKind::OnDemand => "on_demand",
            SnapshotKind::Operator => "operator",
        };
        Self {
            name: snapshot.name(),
            number: snapshot.number,
            instant_millis: snapshot.record.instant.0,
            kind: kind.to_owned(),
            mailboxes: snapshot.record.mailboxes,
            messages: snapshot.record.messages,
            octets: snapshot.record.octets,
            hold: snapshot.hold.as_ref().map(|hold| hold.reason.clone()),
            state_root: snapshot.record.state_root.0.to_string(),
        }
    }
}

#[async_trait::async_trait]
impl Operation for SnapshotList {
    const NAME: &'static str = "snapshot/list";

    type Outcome = Vec<SnapshotView>;

    async fn run(&self, site: &Site, run: &Run) -> Result<Vec<SnapshotView>, OperationError> {
        let (account, _) = account(site, &self.account).await?;
        let all = run.reading(opened(site).list(account)).await??;
        Ok(all.iter().map(SnapshotView::of).collect())
    }
}

/// Asks what a snapshot holds: its mailboxes, or the messages of one.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct SnapshotBrowse {
    /// The account's address.
    pub account: String,
    /// Which snapshot.
    pub instant: String,
    /// Which mailbox; `None` lists the mailboxes.
    #[serde(default)]
    pub mailbox: Option<String>,
    /// Messages above this UID.
    #[serde(default)]
    pub after_uid: Option<u32>,
    /// How many messages at most.
    pub limit: usize,
}

/// What a snapshot holds.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Browsed {
    /// The snapshot's name.
    pub snapshot: String,
    /// The mailboxes, when none was named.
    pub mailboxes: Vec<MailboxRow>,
    /// The messages of the mailbox that was named.
    pub messages: Vec<MessageView>,
    /// There are more messages.
    pub more: bool,
    /// Messages of these whose headers cannot be read: they stand without subject and Message-ID.
    #[serde(default)]
    pub unreadable: u64,
    /// Why the account may have been otherwise at the instant that was asked for.
    #[serde(default)]
    pub note: Option<Text>,
}

/// A mailbox of a snapshot.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct MailboxRow {
    /// Its name.
    pub name: String,
    /// Its MailboxId.
    pub id: u64,
    /// Its UIDVALIDITY.
    pub uid_validity: u32,
    /// Messages.
    pub messages: u64,
    /// Octets of the messages.
    pub octets: u64,
}

/// A message of a snapshot.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct MessageView {
    /// Its UID.
    pub uid: u32,
    /// INTERNALDATE, in ms since 1970.
    pub internal_date_millis: i64,
    /// Octets.
    pub octets: u64,
    /// Flags as IMAP writes them.
    pub flags: String,
    /// The subject.
    pub subject: String,
    /// The Message-ID.
    pub message_id: String,
    /// SHA-256, in hexadecimal digits.
    pub sha256: String,
}

#[async_trait::async_trait]
impl Operation for SnapshotBrowse {
    const NAME: &'static str = "snapshot/browse";

    type Outcome = Browsed;

    async fn run(&self, site: &Site, run: &Run) -> Result<Browsed, OperationError> {
        let (account, settings) = account(site, &self.account).await?;
        let (open, note) = run.reading(open(&opened(site), account, &self.instant)).await??;
        let snapshot = open.snapshot().name();
        let what = self.mailbox.as_deref().unwrap_or("the list of mailboxes");
        read(site, &settings.address, &format!("browse {snapshot}: {what}")).await?;
        let Some(name) = &self.mailbox else {
            let mailboxes = open.state().mailboxes.iter().map(|(id, entry)| MailboxRow {
                name: entry.name.clone(),
                id: id.0,
                uid_validity: entry.uid_validity.0.get(),
                messages: entry.content.rows,
                octets: entry.octets,
            });
            let mut mailboxes: Vec<MailboxRow> = mailboxes.collect();
            mailboxes.sort_by(|one, other| one.name.cmp(&other.name));
            return Ok(Browsed { snapshot, mailboxes, note, ..Browsed::default() });
        };
        let mailbox = open.mailbox(mailbox_named(&open, name)?)?;
        let limit = self.limit.min(LISTED_MAX);
        let after = self.after_uid.and_then(Uid::new);
        let mut rows = run.reading(mailbox.rows_after(after, limit + 1)).await??;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let (mut messages, mut unreadable) = (Vec::with_capacity(rows.len()), 0);
        for row in rows {
            run.go_on()?;
            let envelope = match open.account().summary(row.email_number).await {
                Ok(summary) => summary.envelope.clone(),
                Err(StoreError::NoSuchMessage { .. }) => Envelope::default(),
                Err(StoreError::Damaged { .. } | StoreError::TooNew { .. }) => {
                    unreadable += 1;
                    Envelope::default()
                }
                Err(error) => return Err(error.into()),
            };
            let text = |octets: Option<Vec<u8>>| {
                let octets = octets.unwrap_or_default();
                storage::text::encoded_word::decode(&octets)
            };
            messages.push(MessageView {
                uid: row.uid.get(),
                internal_date_millis: row.internal_date.0,
                octets: row.size,
                flags: flag_names(&row.flags),
                subject: text(envelope.subject),
                message_id: text(envelope.message_id),
                sha256: row.digest.to_string(),
            });
        }
        Ok(Browsed { snapshot, messages, more, unreadable, note, ..Browsed::default() })
    }
}
