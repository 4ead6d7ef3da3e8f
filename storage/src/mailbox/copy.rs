//! Copies and moves rows between mailboxes of one account (RFC 9051 §6.4.7, RFC 6851).
//!
//! * All rows go in one batch, or none.
//! * A copy shares the message: same EmailNumber, one row more. It is charged like its source,
//!   because the holder's usage is the sum over his rows. A move within one tier changes no usage
//!   and is never refused for lack of space; one into the archive, or back, needs room there.
//! * A row that is moved into the archive notes where it was.

use super::{
    rows::{self, OpenMailbox},
    view::Copied,
};
use crate::{
    account::{draft::Draft, queue::Change},
    error::StoreError,
    ids::{MailboxId, Uid},
};

/// COPY or MOVE of some rows.
pub(crate) struct CopyRows {
    pub(crate) source: MailboxId,
    pub(crate) uids: Vec<Uid>,
    pub(crate) destination: MailboxId,
    /// Remove the source rows in the same batch.
    pub(crate) remove_source: bool,
}

#[async_trait::async_trait]
impl Change for CopyRows {
    type Outcome = Copied;

    async fn apply(&self, draft: &mut Draft<'_>) -> Result<Copied, StoreError> {
        if self.uids.len() > draft.limits.rows_per_batch_max {
            return Err(too_many_rows(draft.limits.rows_per_batch_max));
        }
        let mut source = OpenMailbox::open(draft, self.source).await?;
        let rows = source.find(draft, &self.uids).await?;
        // Within one mailbox the rows get new UIDs at its end.
        let mut other = match self.destination {
            destination if destination == self.source => None,
            destination => Some(OpenMailbox::open(draft, destination).await?),
        };
        let uid_validity = other.as_ref().unwrap_or(&source).uid_validity(draft)?;
        let mut uids = Vec::with_capacity(rows.len());
        if rows.is_empty() {
            return Ok(Copied { uid_validity, uids });
        }
        let tier = other.as_ref().unwrap_or(&source).tier();
        if self.remove_source {
            rows::transfer(draft, (source.tier(), tier), &rows).await?;
        } else {
            rows::charge_copies(draft, tier, &rows).await?;
        }
        let mod_seq = draft.take_mod_seq()?;
        for row in &rows {
            let origin = source.origin_of_moved(row, tier).filter(|_| self.remove_source);
            let destination = other.as_mut().unwrap_or(&mut source);
            uids.push((row.uid, rows::copy_row(draft, destination, row, mod_seq, origin)?));
            if self.remove_source {
                source.remove(draft, row)?;
            } else {
                rows::share_message(draft, row.email_number).await?;
            }
        }
        if self.remove_source {
            source.log_expunged(draft, &rows)?;
        }
        source.close(draft);
        if let Some(destination) = other {
            destination.close(draft);
        }
        Ok(Copied { uid_validity, uids })
    }

    fn weight(&self) -> usize {
        512 * self.uids.len()
    }
}

/// The error for a change that must be one batch and would be too large.
pub(crate) fn too_many_rows(limit: usize) -> StoreError {
    StoreError::LimitExceeded {
        what: "the number of messages in one change",
        limit: limit as u64,
        remedy: "choose fewer messages at once",
    }
}
