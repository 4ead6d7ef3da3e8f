//! The two tiers of an account: live mail, and the archive with a quota of its own.
//!
//! * A mailbox is of the archive when it is called [`ARCHIVE`] or stands below that name. Its record
//!   says so too: usage is counted by the record, and the record follows the name in the batch that
//!   gives the name. A mailbox that is being deleted keeps its tier until its rows are gone.
//! * Accounts that an older program made have no tiers: all they hold is charged as live, exactly.
//!   The first change of such an account adopts its mailboxes in the same batch ([`adopt`]), so that
//!   usage is exact before and after, and at no instant in between is a row in neither sum.
//! * A program that knows no tiers drops the note in the head with its first change, and the next one
//!   that knows them adopts the mailboxes again.
//!
//! Not here: limits and sums (`quota`), moves into the archive by rules (`mailbox::archive`).

use super::{draft::Draft, name::SEPARATOR};
use crate::{
    catalog::{
        keys::{self, KeyReader},
        records::{self, MailboxRecord},
    },
    error::StoreError,
    ids::MailboxId,
};

/// The mailbox that is the archive, with everything below it.
pub const ARCHIVE: &str = "Archivio";

/// Which usage and which quota a mailbox belongs to.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Tier {
    /// What arrives, is sent and is worked with.
    #[default]
    Live,
    /// What is kept.
    Archive,
}

impl Tier {
    /// The tier of a mailbox that is called `name`.
    #[must_use]
    pub fn of_name(name: &str) -> Self {
        match name.strip_prefix(ARCHIVE) {
            Some(rest) if rest.is_empty() || rest.starts_with(SEPARATOR) => Self::Archive,
            _ => Self::Live,
        }
    }

    /// The tier that a mailbox's usage is counted in.
    pub(crate) fn of(record: &MailboxRecord) -> Self {
        Self::of_number(record.tier)
    }

    /// Unknown ones, written by a newer program, count as live.
    pub(crate) fn of_number(number: u32) -> Self {
        if number == 1 { Self::Archive } else { Self::Live }
    }

    pub(crate) fn number(self) -> u32 {
        match self {
            Self::Live => 0,
            Self::Archive => 1,
        }
    }
}

/// Gives the mailboxes of an account that has none yet their tiers, and counts what is in the
/// archive. Run before the changes of a batch. What cannot be read leaves the account as it is: its
/// sums stay exact, and `check` names the damage.
pub(crate) async fn adopt(draft: &mut Draft<'_>) -> Result<(), StoreError> {
    if !draft.exists() || draft.head()?.tiers {
        return Ok(());
    }
    let checkpoint = draft.checkpoint();
    match adopt_mailboxes(draft).await {
        Err(StoreError::Damaged { .. } | StoreError::TooNew { .. }) => {
            draft.roll_back(&checkpoint);
            Ok(())
        }
        outcome => outcome,
    }
}

async fn adopt_mailboxes(draft: &mut Draft<'_>) -> Result<(), StoreError> {
    let prefix = keys::account(draft.account);
    let (mut octets, mut messages) = (0_u64, 0_u64);
    for (key, value) in draft.scan_prefix(keys::MAILBOXES, &prefix, usize::MAX).await? {
        let mut fields = KeyReader::new(keys::MAILBOXES, &key);
        fields.take_u64()?;
        let id = MailboxId(fields.take_u64()?);
        fields.finish()?;
        let mut record: MailboxRecord = records::decode(keys::MAILBOXES, &key, &value)?;
        let named = Tier::of_name(&record.name).number();
        let tier = if record.deleting { record.tier } else { named };
        if record.tier != tier {
            record.tier = tier;
            draft.put_mailbox(id, &record);
        }
        if Tier::of(&record) == Tier::Archive {
            octets = octets.saturating_add(record.charged_octets);
            messages = messages.saturating_add(record.exists);
        }
    }
    let account = draft.account;
    let head = draft.head()?;
    if octets > head.usage_octets || messages > head.usage_messages {
        let object = format!("usage of account {account}");
        return Err(StoreError::Damaged { object, detail: "it is less than its archive's".into() });
    }
    (head.archive_octets, head.archive_messages, head.tiers) = (octets, messages, true);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_is_a_name_and_what_stands_below_it() {
        for name in ["Archivio", "Archivio/2025", "Archivio/2025/INBOX"] {
            assert_eq!(Tier::of_name(name), Tier::Archive, "{name}");
        }
        for name in
            ["INBOX", "Archivi", "Archivio2", "archivio", "Lavori/Archivio", "Archivio vecchio"]
        {
            assert_eq!(Tier::of_name(name), Tier::Live, "{name}");
        }
    }
}
