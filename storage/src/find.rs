//! Where the octets of a message are: before it is erased, somebody has to know who else has them.
//!
//! A message is found again by its digest where it is the same, and by the chunks that it shares
//! where it is in part: the envelope around it, the receipt that embeds it, another message with
//! the same attachment. Its own text, and parts below 4 KiB, stand in chunks with what was around
//! them when they came: those of an envelope are other chunks, and are found by the attachments
//! only.

use std::collections::BTreeSet;

use crate::{
    account::message_name,
    catalog::{
        keys::{self, KeyReader},
        pages::Pages,
        records::{self, HeldRecord},
    },
    error::StoreError,
    held::HeldId,
    ids::{AccountId, EmailNumber, StoredId},
    octets::StoredMessage,
    store::StoreCore,
};

/// Entries read at once.
const PAGE: usize = 1_000;

/// Who has a message.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Holder {
    /// An account, under this number.
    Account(AccountId, EmailNumber),
    /// A record of a floor above.
    Held(HeldId),
}

/// A message that has octets of another one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Found {
    /// Who has it.
    pub holder: Holder,
    /// It is the same message, octet for octet; else it shares a chunk with it.
    pub same: bool,
}

/// Every message that is `message` or shares a chunk with it.
pub(crate) async fn find_octets(
    core: &StoreCore,
    message: &StoredMessage,
) -> Result<Vec<Found>, StoreError> {
    let chunks: BTreeSet<StoredId> = message.stored_ids().collect();
    let mut found = Vec::new();
    let mut look = |holder: Holder, octets: &[u8], name: String| -> Result<(), StoreError> {
        let shared = StoredMessage::decode_stored_ids(octets, || name.clone())?;
        if shared.iter().any(|stored| chunks.contains(stored)) {
            let same = StoredMessage::decode_identity(octets, || name.clone())?
                == (message.size(), message.digest());
            found.push(Found { holder, same });
        }
        Ok(())
    };
    let mut pages = Pages::prefix(keys::MESSAGES, &[], PAGE);
    while let Some(page) = pages.next(&*core.engine).await? {
        for (key, value) in &page {
            let mut fields = KeyReader::new(keys::MESSAGES, key);
            let account = AccountId(fields.take_u64()?);
            let number = EmailNumber(fields.take_u64()?);
            look(Holder::Account(account, number), value, message_name(account, number))?;
        }
    }
    let mut pages = Pages::prefix(keys::HELD_MESSAGES, &[], PAGE);
    while let Some(page) = pages.next(&*core.engine).await? {
        for (key, value) in &page {
            let record: HeldRecord = records::decode(keys::HELD_MESSAGES, key, value)?;
            let id = HeldId(key.as_ref().try_into().map_err(|_| {
                let detail = "its key is not 16 octets".to_owned();
                records::damaged(keys::HELD_MESSAGES, key, detail)
            })?);
            look(Holder::Held(id), &record.message, format!("held message {id}"))?;
        }
    }
    Ok(found)
}
