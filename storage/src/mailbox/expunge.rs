//! Removes rows for good (RFC 9051 §6.4.3, RFC 4315 §2.1), and forgets old entries of the log that
//! says so (RFC 7162 §3.2).
//!
//! The log of a mailbox is complete after its `expunge_floor`: a client that was last here before
//! the floor compares with a full list instead. What happened since the latest snapshot is kept, so
//! that the next one is worked out from the changes.

use trust::clock::UnixMillis;

use super::{rows::OpenMailbox, view::MessageRow};
use crate::{
    account::{draft::Draft, queue::Change},
    catalog::{
        keys::{self, KeyReader},
        records::{self, ExpungeRecord},
    },
    error::StoreError,
    ids::{MailboxId, Uid},
};

/// Entries of the log that one batch forgets.
const LOG_ENTRIES_MAX: usize = 1_000;

/// EXPUNGE of some rows of one mailbox: those of `uids` that carry `\Deleted`.
pub(crate) struct Expunge {
    pub(crate) mailbox: MailboxId,
    pub(crate) uids: Vec<Uid>,
}

#[async_trait::async_trait]
impl Change for Expunge {
    type Outcome = Vec<Uid>;

    async fn apply(&self, draft: &mut Draft<'_>) -> Result<Vec<Uid>, StoreError> {
        let mut mailbox = OpenMailbox::open(draft, self.mailbox).await?;
        let mut rows: Vec<MessageRow> = mailbox.find(draft, &self.uids).await?;
        rows.retain(|row| row.flags.deleted);
        if !rows.is_empty() {
            mailbox.expunge(draft, &rows).await?;
            mailbox.close(draft);
        }
        Ok(rows.into_iter().map(|row| row.uid).collect())
    }

    fn weight(&self) -> usize {
        256 * self.uids.len()
    }
}

/// Forgets what was expunged before an instant. Returns whether older entries are left.
pub(crate) struct TrimExpungeLog {
    pub(crate) mailbox: MailboxId,
    pub(crate) before: UnixMillis,
}

#[async_trait::async_trait]
impl Change for TrimExpungeLog {
    type Outcome = bool;

    async fn apply(&self, draft: &mut Draft<'_>) -> Result<bool, StoreError> {
        let mut mailbox = OpenMailbox::open(draft, self.mailbox).await?;
        let prefix = keys::mailbox(draft.account, self.mailbox);
        let entries = draft.scan_prefix(keys::EXPUNGE_LOG, &prefix, LOG_ENTRIES_MAX).await?;
        let full = entries.len() == LOG_ENTRIES_MAX;
        let head = draft.head()?;
        let up_to = if head.snapshot == 0 { u64::MAX } else { head.snapshot_mod_seq };
        let mut forgotten = 0;
        for (key, value) in &entries {
            let record: ExpungeRecord = records::decode(keys::EXPUNGE_LOG, key, value)?;
            let mut reader = KeyReader::new(keys::EXPUNGE_LOG, key);
            reader.take_u64()?;
            reader.take_u64()?;
            let mod_seq = reader.take_u64()?;
            if record.at >= self.before.0 || mod_seq > up_to {
                break;
            }
            mailbox.record.expunge_floor = mod_seq;
            draft.delete(keys::EXPUNGE_LOG, key.clone());
            forgotten += 1;
        }
        if forgotten > 0 {
            mailbox.close(draft);
        }
        Ok(full && forgotten == entries.len())
    }
}
