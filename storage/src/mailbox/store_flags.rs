//! Changes flags of rows (RFC 9051 §6.4.6), under a condition on their MODSEQ when asked
//! (RFC 7162 §3.1.3).
//!
//! Rows that already have the wanted flags keep their MODSEQ, so that nobody is told of a change
//! that was none.

use super::{
    flags::{FlagChange, Flags},
    rows::OpenMailbox,
    view::MessageRow,
};
use crate::{
    account::{draft::Draft, queue::Change},
    error::StoreError,
    ids::{MailboxId, ModSeq, Uid},
};

/// STORE on some rows of one mailbox.
pub(crate) struct StoreFlags {
    pub(crate) mailbox: MailboxId,
    pub(crate) uids: Vec<Uid>,
    pub(crate) change: FlagChange,
    pub(crate) flags: Flags,
    pub(crate) unchanged_since: Option<ModSeq>,
}

#[async_trait::async_trait]
impl Change for StoreFlags {
    type Outcome = (Vec<MessageRow>, Vec<Uid>);

    async fn apply(&self, draft: &mut Draft<'_>) -> Result<Self::Outcome, StoreError> {
        let mut mailbox = OpenMailbox::open(draft, self.mailbox).await?;
        let (mut rows, mut refused) = (Vec::new(), Vec::new());
        let mut mod_seq = None;
        for old in mailbox.find(draft, &self.uids).await? {
            if self.unchanged_since.is_some_and(|bound| old.mod_seq > bound) {
                refused.push(old.uid);
                continue;
            }
            let mut new = old.clone();
            new.flags.apply(self.change, &self.flags);
            if new.flags == old.flags {
                rows.push(old);
                continue;
            }
            let next = match mod_seq {
                Some(taken) => taken,
                None => *mod_seq.insert(draft.take_mod_seq()?),
            };
            new.mod_seq = next;
            mailbox.replace(draft, &old, &new)?;
            rows.push(new);
        }
        if mod_seq.is_some() {
            mailbox.close(draft);
        }
        Ok((rows, refused))
    }

    fn weight(&self) -> usize {
        256 * self.uids.len()
    }
}
